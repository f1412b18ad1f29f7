// What is drawn on canvases, as plain functions of data. Colours come from the style sheet.

import { type Columns, FLAG, STALE, VERDICT } from './model.ts';
import type { Window } from './view.ts';
import { ticks } from './view.ts';
import { bytes, hex } from './words.ts';

export interface Theme {
  readonly ink: string;
  readonly dim: string;
  readonly line: string;
  readonly free: string;
  readonly panel: string;
  readonly page: string;
  readonly block: string;
  readonly giant: string;
  readonly stage2: string;
  readonly needed: string;
  readonly excess: string;
  readonly missed: string;
  readonly accent: string;
  readonly table: string;
  readonly cpu: string;
}

/** Canvases know no style sheet: the colours are read once a scheme. */
export function theme(): Theme {
  const probe = document.createElement('span');
  probe.hidden = true;
  document.body.append(probe);
  const colour = (name: string) => {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  };
  const found = {
    ink: colour('ink'), dim: colour('dim'), line: colour('line'), free: colour('free'), panel: colour('panel'),
    page: colour('page'), block: colour('block'), giant: colour('giant'), stage2: colour('stage2'),
    needed: colour('needed'), excess: colour('excess'), missed: colour('missed'), accent: colour('accent'), table: colour('table'), cpu: colour('cpu'),
  };
  probe.remove();
  return found;
}

/** The page's letters grow with wide screens; what is drawn grows with them. */
const LETTERS = 13.5;

/** Pixels of the page to one of a drawing. */
export function scale(): number {
  return (Number.parseFloat(getComputedStyle(document.documentElement).fontSize) || LETTERS) / LETTERS;
}

/** How wide a drawing is, in its own pixels. */
export function widthOf(canvas: HTMLCanvasElement): number {
  return canvas.clientWidth / scale();
}

/** Makes a canvas as fine as the screen is. */
export function prepare(canvas: HTMLCanvasElement, height: number): { readonly ctx: CanvasRenderingContext2D; readonly width: number } | undefined {
  const page = scale();
  const ratio = (globalThis.devicePixelRatio || 1) * page;
  const width = canvas.clientWidth / page;
  if (width === 0) return undefined;
  const size = [Math.round(width * ratio), Math.round(height * ratio)] as const;
  if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
  const high = `${height * page}px`;
  if (canvas.style.height !== high) canvas.style.height = high;
  const ctx = canvas.getContext('2d');
  if (ctx === null) return undefined;
  ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
  ctx.clearRect(0, 0, width, height);
  return { ctx, width };
}

/** The lane of an entry: giants, blocks, pages, and intermediate addresses. */
export function laneOf(log2: number, flags: number): 0 | 1 | 2 | 3 {
  if ((flags & FLAG.stage2) !== 0) return 3;
  return log2 >= 30 ? 0 : log2 >= 21 ? 1 : 2;
}

export const LANES = ['≥ 1 GiB', '≥ 2 MiB', 'pages', 'IPA'] as const;

/** The colours of the lanes. */
function palette(theme: Theme): readonly string[] {
  return [theme.giant, theme.block, theme.page, theme.stage2];
}

export interface Span {
  readonly first: number;
  readonly last: number;
}

/** Where things are in the band. */
export const BAND = { height: 190, left: 64, strip: 4, stripHeight: 14, top: 40, lane: 27, tables: 14 } as const;

export function toX(address: number, window: Window, width: number): number {
  return BAND.left + ((address - window.from) / (window.to - window.from)) * (width - BAND.left);
}

export function toAddress(x: number, window: Window, width: number): number {
  return window.from + ((x - BAND.left) / (width - BAND.left)) * (window.to - window.from);
}

export function drawBand(
  canvas: HTMLCanvasElement, theme: Theme, columns: Columns, mapped: Float64Array, window: Window, span: Span | null, slot: number,
): void {
  const ready = prepare(canvas, BAND.height);
  if (ready === undefined) return;
  const { ctx, width } = ready;
  const { left, strip, stripHeight, top, lane } = BAND;
  ctx.font = '11px ui-monospace, monospace';
  ctx.textBaseline = 'middle';

  // The whole space, with the window in it, on a scale of powers: small addresses would vanish otherwise.
  const whole = (address: number) => left + (Math.log2(Math.max(address, 2 ** 12) / 2 ** 12) / 40) * (width - left);
  ctx.fillStyle = theme.free;
  ctx.fillRect(left, strip, width - left, stripHeight);
  ctx.fillStyle = theme.dim;
  ctx.fillText('all', 0, strip + stripHeight / 2);
  const fills = palette(theme);
  // Thousands of entries may share a pixel: each is drawn once.
  const across = Math.ceil(width) + 4;
  const seen = new Uint8Array(across * (LANES.length + 1));
  for (let at = 0; at < columns.slots; at++) {
    if (((columns.flags[at] ?? 0) & FLAG.live) === 0) continue;
    const x = Math.round(whole(columns.start[at] ?? 0));
    const n = laneOf(columns.log2[at] ?? 12, columns.flags[at] ?? 0);
    if (((seen[x] ?? 0) & (1 << n)) !== 0) continue;
    seen[x] = (seen[x] ?? 0) | (1 << n);
    ctx.fillStyle = fills[n] ?? theme.page;
    ctx.fillRect(x, strip + 3, 2, stripHeight - 6);
  }
  ctx.strokeStyle = theme.accent;
  ctx.lineWidth = 2;
  ctx.strokeRect(whole(window.from), strip - 1, Math.max(4, whole(window.to) - whole(window.from)), stripHeight + 2);

  // The lanes.
  const bottom = top + LANES.length * lane;
  LANES.forEach((name, n) => {
    ctx.fillStyle = theme.dim;
    ctx.fillText(name, 0, top + n * lane + lane / 2);
    ctx.fillStyle = theme.line;
    ctx.fillRect(left, top + (n + 1) * lane, width - left, 1);
  });
  ctx.fillStyle = theme.dim;
  ctx.fillText('tables', 0, bottom + BAND.tables / 2 + 2);
  ctx.save();
  ctx.beginPath();
  ctx.rect(left, 0, width - left, BAND.height);
  ctx.clip();
  ctx.fillStyle = theme.table;
  for (let at = 0; at < mapped.length; at += 3) {
    const [from = 0, to = 0] = [mapped[at], mapped[at + 1]];
    if (to < window.from || from > window.to) continue;
    const x = toX(from, window, width);
    ctx.fillRect(x, bottom + 3, Math.max(1, toX(to, window, width) - x), BAND.tables - 5);
  }
  for (let at = 0; at < columns.slots; at++) {
    const flags = columns.flags[at] ?? 0;
    if ((flags & FLAG.live) === 0) continue;
    const start = columns.start[at] ?? 0;
    const size = 2 ** (columns.log2[at] ?? 12);
    if (start + size < window.from || start > window.to) continue;
    const n = laneOf(columns.log2[at] ?? 12, flags);
    const x = toX(start, window, width);
    const wide = Math.max(2, toX(start + size, window, width) - x - (size > (window.to - window.from) / 400 ? 1 : 0));
    const y = top + n * lane + 5;
    const stale = columns.stale[at] ?? 0;
    if (wide <= 2 && at !== slot) {
      const place = (n + 1) * across + Math.max(0, Math.round(x));
      const drawn = 1 | (stale === STALE.moved || stale === STALE.gone ? 2 : 0) | (4 << (columns.verdict[at] ?? 0));
      if (((seen[place] ?? 0) & drawn) === drawn) continue;
      seen[place] = (seen[place] ?? 0) | drawn;
    }
    ctx.fillStyle = fills[n] ?? theme.page;
    ctx.fillRect(x, y, wide, lane - 10);
    if (stale === STALE.moved || stale === STALE.gone) {
      ctx.fillStyle = theme.missed;
      ctx.fillRect(x, y - 4, Math.max(2, wide), 3);
    }
    const verdict = columns.verdict[at] ?? 0;
    if (verdict === VERDICT.needed || verdict === VERDICT.excess) {
      ctx.fillStyle = verdict === VERDICT.needed ? theme.needed : theme.excess;
      ctx.fillRect(x, y + lane - 10, Math.max(2, wide), 3);
    }
    if (at === slot) {
      ctx.strokeStyle = theme.ink;
      ctx.lineWidth = 2;
      ctx.strokeRect(x - 2, y - 5, wide + 4, lane);
    }
  }

  // The composed command.
  if (span !== null) {
    const x = toX(span.first, window, width);
    const wide = Math.max(3, toX(span.last + 1, window, width) - x);
    ctx.globalAlpha = 0.12;
    ctx.fillStyle = theme.needed;
    ctx.fillRect(x, top - 6, wide, bottom - top + 6);
    ctx.globalAlpha = 1;
    ctx.strokeStyle = theme.needed;
    ctx.lineWidth = 2;
    ctx.strokeRect(x, top - 6, wide, bottom - top + 6);
    ctx.fillStyle = theme.needed;
    for (const edge of [x, x + wide]) ctx.fillRect(edge - 3, top + 42, 6, 22);
    const text = `${hex(span.first)} … ${bytes(span.last - span.first + 1)}`;
    ctx.font = 'bold 11px ui-monospace, monospace';
    const length = ctx.measureText(text).width;
    ctx.fillText(text, Math.min(Math.max(x, left + 2), Math.max(left, width - length - 4)), top - 14);
    ctx.font = '11px ui-monospace, monospace';
  }
  ctx.restore();

  // The axis.
  const marks = ticks(window, Math.max(2, Math.floor((width - left) / 130)));
  for (const mark of marks) {
    const x = toX(mark, window, width);
    ctx.fillStyle = theme.line;
    ctx.fillRect(x, bottom + BAND.tables, 1, 6);
    ctx.fillStyle = theme.dim;
    const text = hex(mark);
    ctx.fillText(text, Math.min(x, width - ctx.measureText(text).width), bottom + BAND.tables + 15);
  }
}

/** How the slots lie on the grid's canvas: sets side by side, ways below each other, wrapped where a row is full. */
export interface Layout {
  readonly wide: number;
  readonly high: number;
  readonly across: number;
  readonly rows: number;
  readonly sets: number;
  readonly ways: number;
  readonly height: number;
  readonly gap: number;
  /** Room above each row for the numbers of its sets. */
  readonly head: number;
}

/** The grid is no higher if it can be helped. */
const HIGHEST = 190;
/** Cells that say what is in them are so wide at least, and so high. */
const TELLING = { wide: 74, high: 38 } as const;
/** Cells that are narrower have no room for their set's number. */
const NUMBERED = 16;
const HEAD = 13;

export function layout(width: number, sets: number, ways: number): Layout {
  const place = (least: number, high: number) => {
    const rows = Math.ceil(sets / Math.max(1, Math.min(sets, Math.floor(width / least))));
    const across = Math.ceil(sets / rows);
    const gap = rows > 1 ? 4 : 0;
    const wide = Math.min(150, width / across);
    const head = wide >= NUMBERED ? HEAD : 0;
    return { wide, high, across, rows, sets, ways, gap, head, height: rows * (head + ways * high + gap) };
  };
  // Few slots have room for words.
  const told = place(TELLING.wide, TELLING.high);
  if (told.rows === 1 || (sets * ways <= 64 && told.height <= 2 * HIGHEST)) return told;
  for (let side = 22; side > 5; side--) {
    const found = place(side, side);
    if (found.height <= HIGHEST) return found;
  }
  return place(5, 5);
}

export function cellAt({ wide, high, across, ways, gap, head }: Layout, slot: number): { readonly x: number; readonly y: number } {
  const set = Math.floor(slot / ways);
  const row = Math.floor(set / across);
  return { x: (set % across) * wide, y: row * (head + ways * high + gap) + head + (slot % ways) * high };
}

export function slotAt({ wide, high, across, rows, sets, ways, gap, head }: Layout, x: number, y: number): number {
  const row = Math.floor(y / (head + ways * high + gap));
  const way = Math.floor((y - row * (head + ways * high + gap) - head) / high);
  const column = Math.floor(x / wide);
  const set = row * across + column;
  return x < 0 || y < 0 || row >= rows || column >= across || way < 0 || way >= ways || set >= sets ? -1 : set * ways + way;
}

export function drawGrid(canvas: HTMLCanvasElement, theme: Theme, columns: Columns, sets: number, ways: number, slot: number): Layout | undefined {
  const width = widthOf(canvas);
  const place = layout(width, sets, ways);
  const ready = prepare(canvas, Math.max(20, place.height));
  if (ready === undefined) return undefined;
  const { ctx } = ready;
  const space = spaceOf(place);
  const [broad, side] = [place.wide - space, place.high - space];
  ctx.drawImage(empty(place, theme, width), 0, 0, width, Math.max(20, place.height));
  const telling = broad > 70 && side > 24;
  ctx.textBaseline = 'middle';
  ctx.textAlign = 'center';
  // Thousands of cells: colours and lines are set only where they change.
  const fills = palette(theme);
  let ink = '';
  let alpha = 1;
  const fill = (colour: string, pale: number) => {
    if (colour !== ink) ctx.fillStyle = ink = colour;
    if (pale !== alpha) ctx.globalAlpha = alpha = pale;
  };
  for (let at = 0; at < columns.slots; at++) {
    const flags = columns.flags[at] ?? 0;
    if (flags === 0 && at !== slot) continue;
    const cell = cellAt(place, at);
    const [x, y] = [cell.x + space / 2, cell.y + space / 2];
    if ((flags & FLAG.live) === 0) {
      if ((flags & FLAG.justGone) !== 0) fill(ink, 1), hatch(ctx, theme.needed, x, y, broad, side);
    } else {
      // Ages by powers of two, as 32 - clz32 counts them.
      const pale = Math.max(0.45, 1 - (32 - Math.clz32(columns.age[at] ?? 0)) / 16);
      fill(fills[laneOf(columns.log2[at] ?? 12, flags)] ?? theme.page, telling ? 1 : pale);
      ctx.fillRect(x, y, broad, side);
      if (telling) {
        // Words want a full colour: age is a bar under them.
        fill(theme.panel, 1);
        ctx.fillRect(x + 5, y + side - 6, (broad - 10) * pale, 1.5);
        tell(ctx, columns, at, x + broad / 2, y + side / 2 - 1, broad - 14);
      } else if ((flags & FLAG.global) !== 0 && side > 9) {
        fill(theme.panel, 1);
        ctx.beginPath();
        ctx.arc(x + broad / 2, y + side / 2, side / 6, 0, 7);
        ctx.fill();
      }
      const verdict = columns.verdict[at] ?? 0;
      if (verdict !== VERDICT.stays) {
        fill(ink, 1);
        const thick = side > 14 ? 3 : side > 8 ? 2 : 1;
        ctx.lineWidth = thick;
        ctx.strokeStyle = verdict === VERDICT.needed ? theme.needed : verdict === VERDICT.excess ? theme.excess : theme.missed;
        ctx.setLineDash(verdict === VERDICT.excess ? [4, 3] : verdict === VERDICT.missed ? [2, 2] : []);
        ctx.strokeRect(x + thick / 2, y + thick / 2, broad - thick, side - thick);
        ctx.setLineDash([]);
      }
      const stale = columns.stale[at] ?? 0;
      if (stale === STALE.moved || stale === STALE.gone) {
        fill(theme.missed, 1);
        ctx.beginPath();
        const corner = Math.min(side * 0.7, 13);
        ctx.moveTo(x, y);
        ctx.lineTo(x + corner, y);
        ctx.lineTo(x, y + corner);
        ctx.fill();
      }
    }
    if (at === slot) {
      fill(ink, 1);
      // Around the cell, so that its own frame stays in sight.
      ctx.lineWidth = Math.max(1.5, space / 2);
      ctx.strokeStyle = theme.ink;
      ctx.strokeRect(x - space / 4, y - space / 4, broad + space / 2, side + space / 2);
    }
  }
  return place;
}

/** Between cells; the ring around the chosen one lies there. */
function spaceOf({ high }: Layout): number {
  return high > 24 ? 6 : high > 10 ? 3 : 1;
}

/** What a cell holds, in two lines: the end of its address, and whose it is. */
function tell(ctx: CanvasRenderingContext2D, columns: Columns, at: number, x: number, y: number, most: number): void {
  const start = columns.start[at] ?? 0;
  const whole = hex(start);
  ctx.font = '11px ui-monospace, monospace';
  const room = Math.floor(most / ctx.measureText('0').width);
  ctx.fillText(whole.length <= room ? whole : `…${whole.slice(1 - room).replace(/^_/, '')}`, x, y - 6);
  ctx.font = '10px system-ui, sans-serif';
  const whose = ((columns.flags[at] ?? 0) & FLAG.global) !== 0 ? 'global' : `ASID ${columns.asid[at] ?? 0}`;
  const size = bytes(2 ** (columns.log2[at] ?? 12));
  const long = `${whose} · ${size}`;
  ctx.fillText(ctx.measureText(long).width <= most ? long : whose, x, y + 7);
}

let blank: { readonly key: string; readonly image: HTMLCanvasElement } | undefined;

/** The grid without entries: drawn once a shape, since most of thousands of slots stay as they are. */
function empty(place: Layout, theme: Theme, width: number): HTMLCanvasElement {
  const space = spaceOf(place);
  const ratio = (globalThis.devicePixelRatio || 1) * scale();
  const key = [width, ratio, theme.free, theme.dim, ...Object.values(place)].join();
  if (blank?.key === key) return blank.image;
  const image = document.createElement('canvas');
  [image.width, image.height] = [Math.round(width * ratio), Math.round(Math.max(20, place.height) * ratio)];
  const ctx = image.getContext('2d');
  if (ctx !== null) {
    ctx.scale(ratio, ratio);
    ctx.fillStyle = theme.free;
    for (let at = 0; at < place.sets * place.ways; at++) {
      const { x, y } = cellAt(place, at);
      ctx.fillRect(x + space / 2, y + space / 2, place.wide - space, place.high - space);
    }
    ctx.fillStyle = theme.dim;
    ctx.font = '10px system-ui, sans-serif';
    ctx.textAlign = 'center';
    for (let set = 0; place.head > 0 && set < place.sets; set++) {
      const { x, y } = cellAt(place, set * place.ways);
      ctx.fillText(place.wide > 40 ? `set ${set}` : String(set), x + place.wide / 2, y - 3);
    }
  }
  blank = { key, image };
  return image;
}

function hatch(ctx: CanvasRenderingContext2D, colour: string, x: number, y: number, wide: number, side: number): void {
  ctx.save();
  ctx.beginPath();
  ctx.rect(x, y, wide, side);
  ctx.clip();
  ctx.strokeStyle = colour;
  ctx.lineWidth = 1.5;
  for (let at = -side; at < wide; at += 5) {
    ctx.beginPath();
    ctx.moveTo(x + at, y + side);
    ctx.lineTo(x + at + side, y);
    ctx.stroke();
  }
  ctx.restore();
}

export const TIME_LANES = [['CPU', 1], ['queue', 2], ['TLB', 4], ['DMA', 8], ['event', 16]] as const;
export const TIME_LEFT = 52;
/** Something wrong in a lane. */
export const BAD = 32;

export function drawTimeline(canvas: HTMLCanvasElement, theme: Theme, marks: Uint8Array, now: number, end: number): void {
  const height = TIME_LANES.length * 11 + 4;
  const ready = prepare(canvas, height);
  if (ready === undefined) return;
  const { ctx, width } = ready;
  ctx.font = '10px ui-monospace, monospace';
  ctx.textBaseline = 'middle';
  const colours = [theme.cpu, theme.needed, theme.giant, theme.page, theme.excess];
  const each = (width - TIME_LEFT) / Math.max(1, marks.length);
  const at = TIME_LEFT + (width - TIME_LEFT) * (end === 0 ? 0 : now / end);
  TIME_LANES.forEach(([name, bit], n) => {
    const y = 2 + n * 11;
    ctx.fillStyle = theme.dim;
    ctx.fillText(name, 0, y + 4);
    ctx.fillStyle = theme.free;
    ctx.fillRect(TIME_LEFT, y, width - TIME_LEFT, 8);
    for (let m = 0; m < marks.length; m++) {
      const mark = marks[m] ?? 0;
      if ((mark & bit) === 0) continue;
      const x = TIME_LEFT + m * each;
      ctx.globalAlpha = x > at ? 0.35 : 1;
      ctx.fillStyle = bit === 8 && (mark & BAD) !== 0 ? theme.missed : colours[n] ?? theme.ink;
      ctx.fillRect(x, y, Math.max(1.5, Math.min(each - 1, 16)), 8);
    }
    ctx.globalAlpha = 1;
  });
  ctx.fillStyle = theme.accent;
  ctx.fillRect(at - 1, 0, 2, height);
}

export interface Series {
  readonly name: string;
  readonly values: readonly number[];
}

/** Small plots side by side; each on a scale of its own. */
export function drawPlots(canvas: HTMLCanvasElement, theme: Theme, series: readonly Series[], at: readonly number[], now: number): void {
  const across = Math.max(1, Math.min(series.length, Math.floor(widthOf(canvas) / 120)));
  const rows = Math.ceil(series.length / across);
  const ready = prepare(canvas, rows * 60);
  if (ready === undefined) return;
  const { ctx, width } = ready;
  const wide = width / across;
  const last = at.at(-1) ?? 1;
  ctx.font = '11px system-ui, sans-serif';
  ctx.textBaseline = 'top';
  series.forEach(({ name, values }, n) => {
    const left = (n % across) * wide;
    const top = Math.floor(n / across) * 60;
    const most = Math.max(1e-9, ...values);
    ctx.fillStyle = theme.dim;
    ctx.fillText(name, left, top);
    ctx.fillStyle = theme.free;
    ctx.fillRect(left, top + 16, wide - 8, 38);
    ctx.strokeStyle = theme.accent;
    ctx.lineWidth = 1.5;
    ctx.beginPath();
    values.forEach((value, m) => {
      const x = left + ((at[m] ?? 0) / Math.max(1, last)) * (wide - 8);
      const y = top + 52 - (value / most) * 34;
      if (m === 0) ctx.moveTo(x, y);
      else ctx.lineTo(x, y);
    });
    ctx.stroke();
    ctx.fillStyle = theme.needed;
    ctx.fillRect(left + (now / Math.max(1, last)) * (wide - 8) - 0.5, top + 16, 1, 38);
  });
}

