// The only file that knows generated code: it hands out frozen data and keeps every wasm handle to itself.

import init, { initSync, Machine } from './generated/smmuv3_wasm.js';
import type { Address, Field, Outcome } from './plain.ts';

export interface Model {
  readonly idFields: readonly Field[];
  dma(stream: number, address: Address, access: 'read' | 'write'): Outcome;
}

export interface Geometry {
  readonly sets: number;
  readonly ways: number;
}

/** Fetches the wasm beside the script, or takes the bytes of it. */
export async function load(geometry: Geometry, wasm?: BufferSource): Promise<Model> {
  if (wasm === undefined) await init();
  else initSync({ module: wasm });
  const machine = new Machine(geometry.sets, geometry.ways);
  return {
    idFields: Object.freeze(machine.idFields().map((row) => {
      const { register, offset, name, high, low, value } = row;
      row.free();
      return Object.freeze({ register, offset, name, high, low, value });
    })),
    dma(stream, address, access) {
      const result = machine.dma(stream, address, access === 'write');
      const { pa, span, response, event } = result;
      result.free();
      return Object.freeze(pa !== undefined && span !== undefined
        ? { kind: 'translated', pa, span }
        : { kind: 'terminated', response: response ?? 'abort', event });
    },
  };
}
