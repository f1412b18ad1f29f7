// Two devices, one workload, one clock.

import { useEffect, useMemo, useState } from 'preact/hooks';
import { drawBand, drawGrid } from '../draw.ts';
import type { Model } from '../model.ts';
import { SCENARIOS } from '../scenarios.ts';
import { type Store, USUAL_KNOBS } from '../store.ts';
import { grouped } from '../words.ts';
import { Canvas } from './canvas.tsx';
import { Entries } from './grid.tsx';
import { Fold } from './panel.tsx';

/** Commands that the slower device still has to consume, for its bar. */
const STORM = 262_144;
const PACES = [[64, 'slow'], [1024, 'usual'], [8192, 'fast'], [STORM * 2, 'at once']] as const;

interface Racer {
  readonly name: string;
  readonly about: string;
  readonly model: Model;
  readonly total: number;
}

/** What both devices are about: 1 GiB, with some room. */
const WINDOW = { from: 0x3f_fc00_0000, to: 0x40_4400_0000 } as const;

export function Compare({ store }: { readonly store: Store }) {
  const [going, setGoing] = useState(false);
  const [pace, setPace] = useState(1024);
  const [round, setRound] = useState(0);
  const [, redraw] = useState(0);
  const racers = useMemo((): readonly Racer[] => {
    const of = (id: string) => SCENARIOS.find((each) => each.id === id);
    const create = (id: string, name: string, about: string, total: number): Racer => {
      const model = store.catalog.create(USUAL_KNOBS);
      const found = of(id);
      if (found !== undefined) model.load(USUAL_KNOBS, found.setup, found.script);
      model.fill();
      return { name, about, model, total };
    };
    return [
      create('storm', 'Without range invalidation', 'one CMD_TLBI_NH_VA a page, in batches as the queue has room', STORM),
      create('range', 'With range invalidation', 'one CMD_TLBI_NH_VA with TG = 1, NUM = 0, SCALE = 18', 1),
    ];
  }, [round]);

  useEffect(() => {
    if (!going) return undefined;
    let frame = 0;
    const go = () => {
      let left = 0;
      for (const { model } of racers) {
        left += model.run(pace);
        model.fill();
      }
      redraw((n) => n + 1);
      if (left === 0) setGoing(false);
      else frame = requestAnimationFrame(go);
    };
    frame = requestAnimationFrame(go);
    return () => cancelAnimationFrame(frame);
  }, [going, racers, pace]);

  const over = racers.every(({ model }) => model.counts().over);
  const sent = racers.map(({ model }) => tlbis(model));
  return (
    <div class="compare">
      <section class="panel story">
        <h2>1 GiB is unmapped: who is done first?</h2>
        <p>The same tables, the same entries, the same device twice; each consumes one command a step of the clock. On the left the driver names every page, on the right one range.</p>
        <div class="buttons">
          <button type="button" class="primary" id="race" disabled={over} onClick={() => setGoing(!going)}>{going ? '❚❚ Pause' : '▶ Race'}</button>
          <button type="button" onClick={() => { setGoing(false); setRound(round + 1); }}>Again</button>
          <label>pace <select value={String(pace)} onChange={(event) => setPace(Number(event.currentTarget.value))}>{PACES.map(([value, name]) => <option key={value} value={String(value)}>{name}</option>)}</select></label>
        </div>
        <p class="then" role="status" id="result">{over ? `${grouped(sent[0] ?? 0)} commands against ${grouped(sent[1] ?? 0)}; both dropped the same entries.` : ''}</p>
      </section>
      <div class="racers">{racers.map((racer, n) => <Lane key={n} racer={racer} sent={sent[n] ?? 0} />)}</div>
    </div>
  );
}

/** CMD_SYNC, the last command, is no invalidation. */
function tlbis(model: Model): number {
  const { commands, over } = model.counts();
  return Math.max(0, commands - (over ? 1 : 0));
}

function Lane({ racer, sent }: { readonly racer: Racer; readonly sent: number }) {
  const { model, total, name, about } = racer;
  const { counters, live, sets, ways, last } = model.panels();
  const { span } = last === null ? { span: null } : model.compose(last.script);
  const reached = last === null || span === null ? 'not begun' : span.text;
  const { over, now } = model.counts();
  return (
    <section class="panel" aria-label={name}>
      <header><h2>{name}</h2><p class="hint">{about}</p></header>
      <progress max={total} value={Math.min(sent, total)} aria-label={`${name}: commands consumed`} />
      <Canvas class="lane" label={`Addresses of the buffer; the last command named: ${reached}`} draw={(canvas, theme) => drawBand(canvas, theme, model.columns(), model.mapped(8), WINDOW, span, -1)} />
      <dl class="counters">
        <div><dt>commands</dt><dd class="huge">{grouped(sent)}</dd></div>
        <div><dt>queue traffic</dt><dd>{grouped(sent * 16)} bytes</dd></div>
        <div><dt>entries dropped</dt><dd>{grouped(counters.dropped)}</dd></div>
        <div><dt>slots scanned</dt><dd>{grouped(counters.scanned)}</dd></div>
        <div><dt>register writes</dt><dd>{grouped(counters.register_writes)}</dd></div>
        <div><dt>clock</dt><dd>{grouped(now)}{over ? ', done' : ''}</dd></div>
      </dl>
      <Canvas class="grid" label={`IOTLB: ${live} live entries of ${sets * ways}`} draw={(canvas, theme) => { drawGrid(canvas, theme, model.columns(), sets, ways, -1); }} />
      <Fold>{() => <><p class="under">The last command named: {reached}.</p><Entries columns={model.columns()} ways={ways} /></>}</Fold>
    </section>
  );
}
