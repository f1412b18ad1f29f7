// The band's window on the address space, as arithmetic. Pure.

/** The largest address space that is drawn. */
export const SPACE = 2 ** 52;
/** No window is smaller. */
export const SMALLEST = 4096;

export interface Window {
  readonly from: number;
  readonly to: number;
}

export function clamp(window: Window): Window {
  const length = Math.min(SPACE, Math.max(SMALLEST, window.to - window.from));
  const from = Math.min(SPACE - length, Math.max(0, window.from));
  return { from, to: from + length };
}

/** Zooms about an address that stays where it is. */
export function zoom({ from, to }: Window, about: number, factor: number): Window {
  const length = Math.min(SPACE, Math.max(SMALLEST, (to - from) * factor));
  const share = (about - from) / (to - from);
  return clamp({ from: about - share * length, to: about + (1 - share) * length });
}

export function pan({ from, to }: Window, share: number): Window {
  const by = (to - from) * share;
  return clamp({ from: from + by, to: to + by });
}

/** A window around everything in `spans`, with some room on both sides. */
export function around(spans: readonly Window[]): Window {
  if (spans.length === 0) return { from: 0, to: 2 ** 40 };
  const from = Math.min(...spans.map((span) => span.from));
  const to = Math.max(...spans.map((span) => span.to));
  const room = Math.max((to - from) * 0.06, SMALLEST);
  return clamp({ from: from - room, to: to + room });
}

/** Round addresses, at most `most` of them: multiples of a power of two. */
export function ticks({ from, to }: Window, most: number): readonly number[] {
  let step = 2 ** Math.ceil(Math.log2((to - from) / most));
  step = Math.max(step, 1);
  const marks: number[] = [];
  for (let at = Math.ceil(from / step) * step; at < to; at += step) marks.push(at);
  return marks;
}

/** The power of two next to a length, if it is as `near`; else the length. */
export function snapped(length: number, near: number): number {
  const round = 2 ** Math.round(Math.log2(Math.max(1, length)));
  return Math.abs(round - length) <= near ? round : length;
}
