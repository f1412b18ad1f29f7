// The only file that knows generated code: it hands out plain data and views of the columns, and keeps every wasm handle
// to itself.

import init, { initSync, kinds as kindsOf, Machine } from './generated/smmuv3_wasm.js';
import type { KindView, Panels, Preview, Sample, WalkView, Why } from './generated/smmuv3_wasm.js';

export type * from './generated/smmuv3_wasm.js';

/** The IOTLB, a row a slot. Valid until the model is called again. */
export interface Columns {
  readonly slots: number;
  readonly start: Float64Array;
  readonly output: Float64Array;
  readonly age: Uint32Array;
  readonly asid: Uint16Array;
  readonly vmid: Uint16Array;
  readonly log2: Uint8Array;
  readonly flags: Uint8Array;
  readonly stale: Uint8Array;
  readonly verdict: Uint8Array;
  readonly reason: Uint8Array;
}

/** Bits of `flags`. */
export const FLAG = { live: 1, global: 2, stage2: 4, both: 8, fractured: 16, el2: 32, justGone: 64 } as const;
/** Values of `stale`. */
export const STALE = { fresh: 0, moved: 1, gone: 2, unknown: 3 } as const;
/** Values of `verdict`. */
export const VERDICT = { stays: 0, needed: 1, excess: 2, missed: 3 } as const;
/** The predicates in the order of `reason`, which counts from 1. */
export const REASONS = ['Regime', 'Stage', 'VMID', 'Global', 'ASID', 'Span', 'Leaf', 'TG', 'TTL'] as const;

/** A device, its guest and their time. Whatever is refused is an `Error` with a sentence. */
export interface Model {
  load(knobs: string, setup: string, script: string): void;
  importTranscript(text: string): void;
  exportTranscript(name: string): string;
  act(line: string): void;
  run(moments: number): number;
  runAction(): number;
  seek(moment: number): void;
  compose(line: string): Preview;
  fill(): void;
  columns(): Columns;
  panels(): Panels;
  why(slot: number, last: boolean): Why | null;
  walk(stream: number, address: bigint): WalkView;
  mapped(stream: number): Float64Array;
  marks(from: number, to: number, count: number): Uint8Array;
  samples(): readonly Sample[];
  fit(bytes: number, shift: number): { readonly num: number; readonly scale: number };
  counts(): { readonly now: number; readonly end: number; readonly over: boolean; readonly commands: number; readonly live: number };
}

export interface Library {
  readonly kinds: readonly KindView[];
  create(knobs: string): Model;
}

/** Fetches the wasm beside the script, or takes the bytes of it. */
export async function load(wasm?: BufferSource): Promise<Library> {
  const { memory } = wasm === undefined ? await init() : initSync({ module: wasm });
  return { kinds: kindsOf(), create: (knobs) => model(new Machine(knobs), memory) };
}

function model(machine: Machine, memory: WebAssembly.Memory): Model {
  return {
    load: (knobs, setup, script) => machine.load(knobs, setup, script),
    importTranscript: (text) => machine.import(text),
    exportTranscript: (name) => machine.export(name),
    act: (line) => machine.act(line),
    run: (moments) => machine.run(moments),
    runAction: () => machine.runAction(),
    seek: (moment) => machine.seek(moment),
    compose: (line) => machine.compose(line),
    fill: () => machine.fill(),
    columns() {
      const at = machine.columns();
      const slots = machine.slots;
      const { buffer } = memory; // anew every time: it is another one after memory has grown
      const place = (n: number) => at[n] ?? 0;
      return {
        slots,
        start: new Float64Array(buffer, place(0), slots),
        output: new Float64Array(buffer, place(1), slots),
        age: new Uint32Array(buffer, place(2), slots),
        asid: new Uint16Array(buffer, place(3), slots),
        vmid: new Uint16Array(buffer, place(4), slots),
        log2: new Uint8Array(buffer, place(5), slots),
        flags: new Uint8Array(buffer, place(6), slots),
        stale: new Uint8Array(buffer, place(7), slots),
        verdict: new Uint8Array(buffer, place(8), slots),
        reason: new Uint8Array(buffer, place(9), slots),
      };
    },
    panels: () => machine.panels(),
    why: (slot, last) => machine.why(slot, last),
    walk: (stream, address) => machine.walk(stream, address),
    mapped: (stream) => machine.mapped(stream),
    marks: (from, to, count) => machine.marks(from, to, count),
    samples: () => machine.samples(),
    fit(bytes, shift) {
      const [num = 0, scale = 0] = Machine.fit(bytes, shift);
      return { num, scale };
    },
    counts: () => ({ now: machine.now, end: machine.end, over: machine.over, commands: machine.commands, live: machine.live }),
  };
}
