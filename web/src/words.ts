// Numbers and outcomes as a reader sees them, and what a reader typed as numbers. Pure.

import type { Address, Field, Outcome } from './plain.ts';

/** `0x1_2345_6789`: grouped from the right, as the specification's readers count. */
export function hex(value: bigint): string {
  return `0x${value.toString(16).replace(/(?=(?:[0-9a-f]{4})+$)(?!^)/g, '_')}`;
}

/** `[28:27]`, or `[4]` for a single bit. */
export function bits({ high, low }: Pick<Field, 'high' | 'low'>): string {
  return high === low ? `[${high}]` : `[${high}:${low}]`;
}

/** A field in binary, as wide as it is. */
export function binary({ high, low, value }: Pick<Field, 'high' | 'low' | 'value'>): string {
  return `0b${value.toString(2).padStart(high - low + 1, '0')}`;
}

/** What was typed, as an address below 2^64, or nothing if it is none. */
export function address(typed: string): Address | undefined {
  const digits = typed.trim().replaceAll('_', '');
  if (!/^(0x[0-9a-f]+|[0-9]+)$/i.test(digits)) return undefined;
  const value = BigInt(digits);
  return value < 1n << 64n ? value : undefined;
}

export function sentence(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'translated':
      return `reached ${hex(outcome.pa)}; the same translation covers ${outcome.span} bytes from there`;
    case 'terminated':
      return `terminated (${outcome.response}), ${outcome.event ?? 'no event'}`;
    default:
      return assertUnreachable(outcome);
  }
}

/** Fields by register, in the order in which they came. */
export function byRegister(fields: readonly Field[]): ReadonlyMap<string, readonly Field[]> {
  const registers = new Map<string, Field[]>();
  for (const field of fields) {
    const row = registers.get(field.register);
    if (row === undefined) registers.set(field.register, [field]);
    else row.push(field);
  }
  return registers;
}

function assertUnreachable(value: never): never {
  throw new Error(`a case was forgotten: ${String(value)}`);
}
