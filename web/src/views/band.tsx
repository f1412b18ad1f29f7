// The address space: what the IOTLB holds, what the tables map, and the span of the composed command, to be dragged.

import { signal } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';
import { BAND, drawBand, LANES, laneOf, scale, toAddress, toX, widthOf } from '../draw.ts';
import { FLAG } from '../model.ts';
import { isTlbi, type Store } from '../store.ts';
import { pan, snapped, zoom } from '../view.ts';
import { bytes, count, hex } from '../words.ts';
import { Canvas } from './canvas.tsx';
import { Fold, Panel } from './panel.tsx';

type Grip = 'left' | 'right' | 'middle' | 'space';
const under = signal('');

export function Band({ store }: { readonly store: Store }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const grip = useRef<{ readonly kind: Grip; readonly at: number; readonly first: number; readonly last: number } | null>(null);
  const { preview, columns, window, slot, mapped } = store;
  void store.tick.value;
  const span = isTlbi(preview.value) ? preview.value.span : null;
  const { from, to } = window.value;

  useEffect(() => {
    const element = canvas.current;
    if (element === null) return undefined;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const about = toAddress(event.offsetX / scale(), window.value, widthOf(element));
      window.value = event.shiftKey ? pan(window.value, Math.sign(event.deltaY) * 0.1) : zoom(window.value, about, event.deltaY > 0 ? 1.25 : 0.8);
    };
    element.addEventListener('wheel', wheel, { passive: false });
    return () => element.removeEventListener('wheel', wheel);
  }, []);

  const width = () => (canvas.current === null ? 1 : widthOf(canvas.current));
  const gripAt = (x: number): Grip => {
    if (span === null) return 'space';
    const [left, right] = [toX(span.first, window.value, width()), toX(span.last + 1, window.value, width())];
    if (Math.abs(x - right) < 9) return 'right';
    if (Math.abs(x - left) < 9) return 'left';
    return x > left && x < right ? 'middle' : 'space';
  };

  const drag = (event: PointerEvent) => {
    const x = event.offsetX / scale();
    const held = grip.current;
    if (held === null) {
      const kind = gripAt(x);
      if (canvas.current !== null) canvas.current.style.cursor = kind === 'left' || kind === 'right' ? 'ew-resize' : kind === 'middle' ? 'move' : 'grab';
      under.value = describe(store, toAddress(x, window.value, width()));
      return;
    }
    const by = ((x - held.at) / (width() - BAND.left)) * (to - from);
    if (held.kind === 'space') {
      window.value = pan(window.value, -(event.movementX / scale() / (width() - BAND.left)));
      return;
    }
    if (held.kind === 'middle') store.composer.value = withFields(store, { address: hex(round(Math.max(0, held.first + by), store)) });
    else stretch(store, held.kind, held.first, held.last, by, (8 / (width() - BAND.left)) * (to - from));
    store.refresh();
  };

  const keys = (event: KeyboardEvent) => {
    const key = event.key.toLowerCase();
    const middle = (from + to) / 2;
    const moved = key === 'w' || key === '+' ? zoom(window.value, middle, 0.7) : key === 's' || key === '-' ? zoom(window.value, middle, 1.4)
      : key === 'a' || key === 'arrowleft' ? pan(window.value, -0.15) : key === 'd' || key === 'arrowright' ? pan(window.value, 0.15) : undefined;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (moved !== undefined) window.value = moved;
    else if (key === '0') store.lookAround();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const live = rows(store);
  return (
    <Panel id="band" title="Address space" shortcut="V" hint={<>drag the red frame or its edges; wheel or W S zooms, A D moves, 0 shows all</>}>
      <Canvas
        canvas={canvas}
        label={`Addresses ${hex(Math.floor(from))} to ${hex(Math.floor(to))}: ${count(live.length, 'entry', 'entries')} of the IOTLB${span === null ? '' : `; the composed command names ${span.text}`}`}
        tabIndex={0}
        class="band"
        data-entries={live.length}
        draw={(element, theme) => drawBand(element, theme, columns.value, mapped.value, { from, to }, span, slot.value)}
        onPointerMove={drag}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          const x = event.offsetX / scale();
          const kind = event.offsetY / scale() < 30 ? 'space' : gripAt(x);
          grip.current = { kind, at: x, first: span?.first ?? 0, last: span?.last ?? 0 };
        }}
        onPointerUp={(event) => {
          const held = grip.current;
          grip.current = null;
          const x = event.offsetX / scale();
          if (held !== null && Math.abs(x - held.at) < 3) store.select(entryAt(store, toAddress(x, window.value, width()), event.offsetY / scale()));
        }}
        onPointerLeave={() => { under.value = ''; }}
        onKeyDown={keys}
      />
      <p class="under">{under.value || `${bytes(to - from)} shown, from ${hex(Math.floor(from))}`}</p>
      <Fold>{() => (
        <div class="scroll" tabIndex={0} role="region" aria-label="Entries by address">
          <table>
            <thead><tr><th scope="col">First address</th><th scope="col">Size</th><th scope="col">Lane</th><th scope="col">Leads to</th></tr></thead>
            <tbody>{live.map(({ at, start, size, lane, output }) => (
              <tr key={at}><td>{hex(start)}</td><td>{bytes(size)}</td><td>{LANES[lane]}</td><td>{hex(output)}</td></tr>
            ))}</tbody>
          </table>
        </div>
      )}</Fold>
    </Panel>
  );
}

function withFields(store: Store, fields: Readonly<Record<string, string>>) {
  return { ...store.composer.value, fields: { ...store.composer.value.fields, ...fields } };
}

function granule(store: Store): number {
  const tg = Number(store.composer.value.fields['tg'] ?? '0');
  return tg === 0 ? store.panels.value.streams.find(({ id }) => id === store.stream.value)?.granule ?? 12 : 10 + 2 * tg;
}

function round(address: number, store: Store): number {
  const unit = 2 ** granule(store);
  return Math.floor(address / unit) * unit;
}

/** An edge is pulled: NUM and SCALE become those of the nearest length that can be said; `near` to a round one, of that. */
function stretch(store: Store, edge: 'left' | 'right', first: number, last: number, by: number, near: number): void {
  const shift = granule(store);
  const from = edge === 'left' ? round(Math.min(Math.max(0, first + by), last), store) : first;
  const length = edge === 'left' ? last + 1 - from : Math.max(2 ** shift, last + 1 + by - first);
  const { num, scale } = store.model.fit(snapped(length, near), shift);
  store.composer.value = withFields(store, {
    address: hex(from), num: String(num), scale: String(scale), tg: String((shift - 10) / 2),
    ...(num === 0 && scale === 0 && (store.composer.value.fields['ttl'] ?? '0') === '0' ? { ttl: '3' } : {}),
  });
}

function rows(store: Store) {
  const { slots, start, log2, flags, output } = store.columns.value;
  const found = [];
  for (let at = 0; at < slots; at++) {
    if (((flags[at] ?? 0) & FLAG.live) === 0) continue;
    found.push({ at, start: start[at] ?? 0, size: 2 ** (log2[at] ?? 12), lane: laneOf(log2[at] ?? 12, flags[at] ?? 0), output: output[at] ?? 0 });
  }
  return found.sort((a, b) => a.start - b.start);
}

function entryAt(store: Store, address: number, y?: number): number {
  const { slots, start, log2, flags } = store.columns.value;
  const { from, to } = store.window.value;
  const near = (to - from) / 300;
  let best = -1;
  for (let at = 0; at < slots; at++) {
    const flag = flags[at] ?? 0;
    if ((flag & FLAG.live) === 0) continue;
    const lane = laneOf(log2[at] ?? 12, flag);
    if (y !== undefined && Math.floor((y - BAND.top) / BAND.lane) !== lane) continue;
    const first = start[at] ?? 0;
    if (address >= first - near && address < first + 2 ** (log2[at] ?? 12) + near) best = at;
  }
  return best;
}

function describe(store: Store, address: number): string {
  if (address < 0) return '';
  const at = entryAt(store, address);
  const { start, log2, output, asid } = store.columns.value;
  if (at < 0) return hex(Math.floor(address));
  return `${hex(Math.floor(address))}: slot ${at}, ${hex(start[at] ?? 0)} → ${hex(output[at] ?? 0)}, ${bytes(2 ** (log2[at] ?? 12))}, ASID ${asid[at] ?? 0}`;
}
