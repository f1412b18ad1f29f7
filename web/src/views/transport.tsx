// Time: run, step, back, scrub.

import { useEffect, useRef } from 'preact/hooks';
import { BAD, drawTimeline, scale, TIME_LANES, TIME_LEFT } from '../draw.ts';
import type { Store } from '../store.ts';
import { grouped } from '../words.ts';
import { Canvas } from './canvas.tsx';
import { Fold } from './panel.tsx';

const SPEEDS = [1, 4, 16, 256, 4096, 16384, 65536] as const;
/** Marks that the timeline asks for at most. */
const MARKS = 600;

export function back(store: Store): void {
  store.seek(Math.max(0, store.panels.value.now - 1));
}

export function forward(store: Store): void {
  store.running.value = false;
  if (store.run(1) === 0) store.say(store.panels.value.trouble ?? 'the script is over: send a command, or choose a scenario');
}

export function toggle(store: Store): void {
  const { over, now, end } = store.panels.value;
  store.running.value = !store.running.value && !(over && now === end);
}

export function last(store: Store): void {
  store.running.value = false;
  store.run(0xffff_ffff);
}

/** The lanes that a mark is in, in words. */
function happened(mark: number): string {
  const lanes: string[] = TIME_LANES.filter(([, bit]) => (mark & bit) !== 0).map(([name]) => name);
  return [...lanes, ...((mark & BAD) === 0 ? [] : ['something wrong'])].join(', ');
}

export function Transport({ store }: { readonly store: Store }) {
  const { panels, running, speed } = store;
  const { now, end, over, trouble } = panels.value;
  const time = useRef(0);

  useEffect(() => {
    if (!running.value) return undefined;
    let frame = 0;
    let count = 0;
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    const go = (at: number) => {
      frame = requestAnimationFrame(go);
      // One step a frame is already sixty a second: slower speeds wait.
      const wait = speed.value === 1 ? 450 : speed.value === 4 ? 120 : calm ? 250 : 0;
      if (at - time.current < wait) return;
      time.current = at;
      // An odd number, so that a frame is not always at the same place of a batch of commands; calm frames are fewer.
      const steps = speed.value <= 16 ? 1 : Math.ceil(speed.value / 16 * (calm ? 15 : 1)) | 1;
      count += 1;
      if (store.run(steps, speed.value > 4 && count % 4 !== 0) === 0) running.value = false;
    };
    frame = requestAnimationFrame(go);
    return () => {
      cancelAnimationFrame(frame);
      store.refresh();
    };
  }, [running.value]);

  const marks = store.model.marks(0, end, Math.max(1, Math.min(MARKS, end)));
  const seek = (event: PointerEvent) => {
    if (event.buttons === 0 || !(event.currentTarget instanceof HTMLElement)) return;
    const share = (event.offsetX - TIME_LEFT * scale()) / (event.currentTarget.clientWidth - TIME_LEFT * scale());
    store.seek(Math.round(Math.min(1, Math.max(0, share)) * end));
  };
  return (
    <section class="panel transport" id="time" aria-label="Time" tabIndex={-1}>
      <div class="buttons">
        <button type="button" onClick={() => store.seek(0)} title="first step (Home)">|◂<span class="hidden"> first</span></button>
        <button type="button" onClick={() => back(store)} disabled={now === 0} title="step back (,)">◂ Back</button>
        <button type="button" class="primary" onClick={() => toggle(store)} title="run or pause (space)" id="run">{running.value ? '❚❚ Pause' : '▶ Run'}</button>
        <button type="button" onClick={() => forward(store)} title="step (.)">Step ▸</button>
        <button type="button" onClick={() => last(store)} title="to the end (End)">▸|<span class="hidden"> last</span></button>
        <label>speed <select value={String(speed.value)} onChange={(event) => { speed.value = Number(event.currentTarget.value); }}>
          {SPEEDS.map((each) => <option key={each} value={String(each)}>{each === 1 ? 'slow' : each === 4 ? 'walking' : `× ${grouped(each)}`}</option>)}
        </select></label>
        <label class="scrub"><span class="hidden">step</span><input type="range" min="0" max={end} value={now} onInput={(event) => store.seek(Number(event.currentTarget.value))} /></label>
        <output id="moment">step {grouped(now)} of {grouped(end)}{now === end ? (over ? (trouble === null ? ', over' : '') : ', more to come') : ''}</output>
      </div>
      {trouble === null ? null : <p class="sentence stale">The script stopped: {trouble}.</p>}
      <Canvas
        label={`Timeline of ${grouped(end)} steps, now at ${grouped(now)}; lanes for CPU, queue, TLB, DMA and events.`}
        draw={(canvas, theme) => drawTimeline(canvas, theme, marks, now, end)}
        class="timeline" onPointerDown={seek} onPointerMove={seek}
      />
      <Fold>{() => (
        <div class="scroll" tabIndex={0} role="region" aria-label="Timeline">
          <table>
            <thead><tr><th scope="col">Steps up to</th><th scope="col">What happened</th></tr></thead>
            <tbody>{[...marks].map((mark, n) => <tr key={n}><td>{grouped(Math.floor((n + 1) * end / marks.length))}</td><td>{happened(mark)}</td></tr>)}</tbody>
          </table>
        </div>
      )}</Fold>
    </section>
  );
}
