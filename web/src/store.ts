// The one state that all three modes share: a machine, what the reader composes, selects and looks at. Views read signals;
// everything that changes the machine goes through here.

import { batch, computed, signal } from '@preact/signals';
import { type Deed, type Shared, decode, encode } from './link.ts';
import type { Columns, Counters, KindView, Library, Model, Panels, Preview, WalkView, Why } from './model.ts';
import { FLAG } from './model.ts';
import { type Scenario, SCENARIOS } from './scenarios.ts';
import { LESSONS } from './tour.ts';
import { type Window, around } from './view.ts';
import { count } from './words.ts';

export type Mode = Shared['mode'];

export interface Composer {
  readonly name: string;
  readonly fields: Readonly<Record<string, string>>;
}

export interface Failure {
  readonly error: string;
}

export const USUAL_KNOBS = 'sets=16 ways=8 ril=1 walk=1 strict=0 granule=4 stages=1 queue=6';

export type Store = ReturnType<typeof createStore>;

export function createStore(catalog: Library) {
  const model: Model = catalog.create('');
  const first = SCENARIOS[0];
  if (first === undefined) throw new Error('there are no scenarios');

  const mode = signal<Mode>('explain');
  const scenario = signal<Scenario>(first);
  const fixed = signal(false);
  const knobs = signal(USUAL_KNOBS);
  const composer = signal<Composer>({ name: 'tlbi_nh_va', fields: {} });
  const preview = signal<Preview | Failure>({ error: '' });
  const panels = signal<Panels>(model.panels());
  const mapped = signal<Float64Array>(new Float64Array());
  const columns = signal<Columns>(model.columns());
  const slot = signal(-1);
  const why = signal<Why | null>(null);
  const walk = signal<WalkView | null>(null);
  const walkAddress = signal(0x40_0000_0000n);
  const stream = signal(8);
  const window = signal<Window>({ from: 0, to: 2 ** 40 });
  const running = signal(false);
  const speed = signal(1);
  const message = signal<{ readonly text: string; readonly bad: boolean } | null>(null);
  const step = signal(0);
  const finished = signal<ReadonlySet<number>>(new Set()); // steps of the tour that have been done
  const ticks = signal(0); // parts of the tour's step that are done
  const hot = signal<string | null>(null); // the command field that is pointed at
  const tick = signal(0); // counts redraws of the canvases
  let deeds: readonly Deed[] = [];
  let imported = false;

  const kind = computed<KindView | undefined>(() => catalog.kinds.find(({ name }) => name === composer.value.name));
  const line = computed(() => {
    const { name, fields } = composer.value;
    const words = (kind.value?.fields ?? []).map(({ key }) => {
      const value = (fields[key] ?? '').replaceAll('_', '').trim();
      return value === '' || value === '0' ? '' : ` ${key}=${value}`;
    });
    return name + words.join('');
  });

  /** Asks the machine for everything that is shown; a light refresh, between others while time runs, for entries alone. */
  function refresh(light = false): void {
    batch(() => {
      try {
        preview.value = model.compose(line.value);
      } catch (error) {
        preview.value = { error: sentence(error) };
        model.fill();
      }
      if (light) {
        columns.value = model.columns();
        tick.value += 1;
        return;
      }
      panels.value = model.panels();
      if (!panels.value.streams.some(({ id }) => id === stream.value)) stream.value = panels.value.streams[0]?.id ?? stream.value;
      walk.value = model.walk(stream.value, walkAddress.value);
      mapped.value = model.mapped(stream.value);
      why.value = slot.value < 0 ? null : model.why(slot.value, !isTlbi(preview.value));
      columns.value = model.columns();
      tick.value += 1;
    });
  }

  function say(text: string, bad = false): void {
    message.value = { text, bad };
  }

  /** Does something that may be refused; what was there before is still there then. */
  function attempt(action: () => void): boolean {
    try {
      action();
      refresh();
      return true;
    } catch (error) {
      say(sentence(error), true);
      refresh();
      return false;
    }
  }

  function compose(text: string): void {
    const [name = '', ...words] = text.split(' ');
    const fields = Object.fromEntries(words.map((word) => {
      const [key = '', value = ''] = word.split('=');
      return [key, value];
    }));
    composer.value = { name, fields };
  }

  /** The knobs in force: the usual ones, the scenario's, the reader's. */
  function begin(next: Scenario, right: boolean, turned: string): boolean {
    return attempt(() => {
      const script = right && next.fix !== null ? next.fix : next.script;
      model.load(`${USUAL_KNOBS} ${next.knobs} ${turned}`, next.setup, script);
      batch(() => {
        scenario.value = next;
        fixed.value = right;
        deeds = [];
        imported = false;
        slot.value = -1;
        ticks.value = 0;
        running.value = false;
        message.value = null;
        compose(next.compose);
        stream.value = 8;
        const address = /dma \d+ (0x[0-9a-f]+)/.exec(next.setup + next.script)?.[1];
        if (address !== undefined) walkAddress.value = BigInt(address);
        refresh();
        knobs.value = panels.value.knobs;
        lookAround();
      });
    });
  }

  /** The band shows all that is live or mapped. */
  function lookAround(): void {
    const { start, log2, flags, slots } = columns.value;
    const spans: Window[] = [];
    for (let at = 0; at < slots; at++) {
      const flag = flags[at] ?? 0;
      if ((flag & FLAG.live) !== 0 && (flag & FLAG.stage2) === 0) spans.push({ from: start[at] ?? 0, to: (start[at] ?? 0) + 2 ** (log2[at] ?? 12) });
    }
    for (let at = 0; at < mapped.value.length; at += 3) spans.push({ from: mapped.value[at] ?? 0, to: mapped.value[at + 1] ?? 0 });
    window.value = around(spans);
  }

  /** A mode with what belongs into it: the tour's step, or a scenario of the lab. */
  function enter(next: Mode): void {
    batch(() => {
      mode.value = next;
      if (next === 'explain') toStep(step.value);
      // What has been begun in the tour goes on in the lab.
      else if (next === 'lab' && scenario.value.group === 'tour' && ticks.value === 0 && finished.value.size === 0) begin(first ?? scenario.value, false, '');
    });
  }

  function toStep(n: number): void {
    const lesson = LESSONS[n];
    if (lesson === undefined) return;
    batch(() => {
      step.value = n;
      if (scenario.value.id !== lesson.scenario.id) begin(lesson.scenario, false, '');
      if (lesson.time === true) speed.value = 16384;
      // The step after the storm speaks of its cost: it is found out before it is asked for.
      if (LESSONS[n - 1]?.time === true) setTimeout(storm, 300);
    });
  }

  function setKnob(name: string, value: string): void {
    const turned = panels.value.knobs.split(' ').filter((word) => !word.startsWith('raw=') && !(name === 'ril' && word.startsWith('idr=')))
      .map((word) => word.startsWith(`${name}=`) ? `${name}=${value}` : word).join(' ');
    const composed = composer.value;
    const before = window.value;
    if (begin(scenario.value, fixed.value, turned)) {
      composer.value = composed;
      window.value = before;
      refresh();
    }
  }

  /** The reader does something now; it runs to its end unless it is long. */
  function act(text: string, runs = true): boolean {
    return attempt(() => {
      const { now } = model.counts();
      model.act(text);
      deeds = [...deeds, [now, text]];
      if (runs) model.runAction();
      message.value = null;
    });
  }

  function send(sync: boolean): void {
    if (!act(line.value) || !sync) return;
    const { last } = panels.value;
    if (panels.value.queue.stopped) return say('the queue has stopped: nothing behind the error is looked at', true);
    if (!isTlbi(preview.value) || last === null) return say(`sent: ${'name' in preview.value ? preview.value.name : line.value}`);
    const { dropped, excess, tables, text } = last;
    say(`sent: ${text}. ${count(dropped, 'entry', 'entries')} of the IOTLB dropped${excess === 0 ? '' : `, ${excess} in excess`}${tables === 0 ? '' : `, and ${count(tables, 'table', 'tables')} of the walk cache`}`);
  }

  /** CMD_SYNC, and what it means that it has been consumed. */
  function sync(): void {
    if (!act('sync')) return;
    const { queue, stale } = panels.value;
    if (queue.stopped || queue.waiting > 0) say('CMD_SYNC waits: the queue has stopped before it', true);
    else say(`CMD_SYNC is done, so every command before it is. ${stale === 0 ? 'No entry is stale.' : `But ${count(stale, 'entry is', 'entries are')} still stale.`}`);
  }

  /** What the storm of the tour costs, run once on another machine when somebody asks. */
  let stormed: Counters | undefined;
  function storm(): Counters {
    if (stormed === undefined) {
      const other = catalog.create(USUAL_KNOBS);
      const { knobs: words, setup, script } = LESSONS.find(({ time }) => time === true)?.scenario ?? scenario.value;
      other.load(`${USUAL_KNOBS} ${words}`, setup, script);
      other.run(0xffff_ffff);
      stormed = other.panels().counters;
      // Its memory may have moved that of the columns.
      queueMicrotask(() => refresh());
    }
    return stormed;
  }

  function run(moments: number, light = false): number {
    const done = model.run(moments);
    refresh(light && done !== 0);
    return done;
  }

  function seek(moment: number): void {
    running.value = false;
    model.seek(moment);
    refresh();
  }

  function importText(text: string): void {
    attempt(() => {
      model.importTranscript(text);
      deeds = [];
      imported = true;
      slot.value = -1;
      say('imported: press run');
    });
  }

  function shared(): Shared {
    return {
      mode: mode.value, scenario: scenario.value.id, fixed: fixed.value, knobs: panels.value.knobs, deeds, now: panels.value.now,
      compose: line.value, step: step.value, ticks: ticks.value, window: [window.value.from, window.value.to], stream: stream.value,
      slot: slot.value, walk: walkAddress.value.toString(),
    };
  }

  async function link(): Promise<string> {
    if (imported) throw new Error('an imported transcript is too long for a link: export it instead');
    return encode(shared());
  }

  async function open(hash: string): Promise<void> {
    const state = await decode(hash);
    const found = [...SCENARIOS, ...LESSONS.map((lesson) => lesson.scenario)].find(({ id }) => id === state.scenario);
    if (found === undefined) throw new Error(`there is no scenario "${state.scenario}"`);
    if (!begin(found, state.fixed, state.knobs)) throw new Error(message.value?.text ?? 'this link cannot be opened');
    for (const [moment, text] of state.deeds) {
      const { now, end } = model.counts();
      if (moment <= end) model.seek(moment);
      else model.run(moment - now);
      model.act(text);
      model.runAction();
    }
    deeds = state.deeds;
    const { now, end } = model.counts();
    if (state.now > end) model.run(state.now - now);
    else model.seek(state.now);
    batch(() => {
      mode.value = state.mode;
      step.value = state.step;
      ticks.value = state.ticks;
      slot.value = state.slot;
      stream.value = state.stream;
      walkAddress.value = BigInt(state.walk);
      window.value = { from: state.window[0], to: state.window[1] };
      compose(state.compose);
      refresh();
    });
  }

  function select(at: number): void {
    slot.value = at;
    const { start, flags, slots } = columns.value;
    if (at >= 0 && at < slots && ((flags[at] ?? 0) & FLAG.live) !== 0 && ((flags[at] ?? 0) & FLAG.stage2) === 0) {
      walkAddress.value = BigInt(start[at] ?? 0);
    }
    refresh();
  }

  enter(mode.value);
  return {
    catalog, model, mode, scenario, fixed, knobs, composer, kind, line, preview, panels, mapped, columns, slot, why, walk,
    walkAddress, stream, window, running, speed, message, step, ticks, finished, hot, tick,
    refresh, say, attempt, compose, begin, lookAround, enter, toStep, setKnob, act, send, sync, storm, run, seek, importText, link, open, select,
  };
}

export function isTlbi(preview: Preview | Failure): preview is Preview {
  return 'tlbi' in preview && preview.tlbi;
}

export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
