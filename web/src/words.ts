// Numbers as a reader sees them, and what a reader typed as numbers. Pure.

/** `0x1_2345_6789`: grouped from the right, as the specification's readers count. */
export function hex(value: bigint | number): string {
  return `0x${value.toString(16).replace(/(?=(?:[0-9a-f]{4})+$)(?!^)/g, '_')}`;
}

/** `262,144`. */
export function grouped(value: number): string {
  return Math.round(value).toString().replace(/(?=(?:\d{3})+$)(?!^)/g, ',');
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** `4 KiB`, `1.5 GiB`. */
export function bytes(value: number): string {
  const unit = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, value)) / 10));
  const amount = value / 2 ** (10 * unit);
  return `${Number.isInteger(amount) ? amount : amount.toFixed(1)} ${UNITS[unit] ?? 'B'}`;
}

/** `[28:27]`, or `[4]` for a single bit. */
export function bits({ high, low }: { readonly high: number; readonly low: number }): string {
  return high === low ? `[${high}]` : `[${high}:${low}]`;
}

/** What was typed, as a number below 2^64, or nothing if it is none. */
export function number(typed: string): bigint | undefined {
  const digits = typed.trim().replaceAll('_', '');
  if (!/^(0x[0-9a-f]+|[0-9]+)$/i.test(digits)) return undefined;
  const value = BigInt(digits);
  return value < 1n << 64n ? value : undefined;
}

/** One of `n` things: `1 entry`, `2 entries`. */
export function count(n: number, one: string, many: string): string {
  return `${grouped(n)} ${n === 1 ? one : many}`;
}
