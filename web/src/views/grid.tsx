// The IOTLB, slot by slot.

import { useRef } from 'preact/hooks';
import { drawGrid, laneOf, type Layout, scale, slotAt } from '../draw.ts';
import { type Columns, FLAG, REASONS, STALE, VERDICT } from '../model.ts';
import { isTlbi, type Store } from '../store.ts';
import { bytes, count, hex } from '../words.ts';
import { Canvas } from './canvas.tsx';
import { Fold, Panel } from './panel.tsx';

const LEGEND = [
  ['page', 'pages'], ['block', '≥ 2 MiB'], ['giant', '≥ 1 GiB'], ['stage2', 'stage 2 (IPA)'], ['stale', 'stale: the tables say something else'],
  ['needed', 'would go'], ['excess', 'would go in excess'], ['missed', 'stale, and would stay'], ['gone', 'just gone'],
] as const;

export function Grid({ store }: { readonly store: Store }) {
  const place = useRef<Layout | undefined>(undefined);
  const { columns, panels, slot, preview } = store;
  void store.tick.value;
  const { sets, ways, live, stale } = panels.value;
  const answer = isTlbi(preview.value) ? preview.value : null;
  const seen = shown(columns.value);
  const move = (by: number) => {
    const slots = sets * ways;
    store.select(((slot.value < 0 ? 0 : slot.value + by) % slots + slots) % slots);
  };
  return (
    <Panel
      id="iotlb" title="IOTLB" shortcut="T"
      hint={<>{sets} sets × {ways} ways, {live} live{stale === 0 ? null : <>, <b class="missed">{stale} stale</b></>}
        {answer === null ? null : <> · <b class="needed">{answer.needed + answer.excess}</b> would go{answer.excess === 0 ? null : <> (<b class="excess">{answer.excess}</b> in excess)</>}
          {answer.missed === 0 ? null : <>, <b class="missed">{answer.missed}</b> missed</>}</>}</>}
    >
      <Canvas
        tabIndex={0}
        class="grid"
        data-live={live}
        label={`IOTLB, ${sets} sets of ${ways} ways: ${count(live, 'live entry', 'live entries')}, ${stale} stale. Arrow keys choose a slot.`}
        draw={(element, theme) => { place.current = drawGrid(element, theme, columns.value, sets, ways, slot.value); }}
        onPointerDown={(event) => {
          if (place.current !== undefined) store.select(slotAt(place.current, event.offsetX / scale(), event.offsetY / scale()));
        }}
        onKeyDown={(event) => {
          const by = new Map([['ArrowLeft', -ways], ['ArrowRight', ways], ['ArrowUp', -1], ['ArrowDown', 1]]).get(event.key);
          if (by === undefined) return;
          event.preventDefault();
          move(by);
        }}
      />
      <p class="legend" aria-hidden="true">{LEGEND.filter(([kind]) => seen.has(kind)).map(([kind, name]) => <span key={kind}><i class={`swatch ${kind}`} />{name}</span>)}<span>column: set</span><span>cell: way</span>{live === 0 ? null : <span>pale, or short bar: unused for long</span>}</p>
      <output class="said" aria-live="polite">{slot.value < 0 ? `Choose a slot to see ${answer === null ? 'what it holds' : 'why its entry stays or goes'}.` : said(store, slot.value)}</output>
      <Fold>{() => (
        <Entries columns={columns.value} ways={ways} id="iotlb-table" />
      )}</Fold>
    </Panel>
  );
}

function said(store: Store, at: number): string {
  const { ways } = store.panels.value;
  const where = `Set ${Math.floor(at / ways)}, way ${at % ways}`;
  const { flags, start, output, log2, asid, vmid } = store.columns.value;
  const flag = flags[at] ?? 0;
  if ((flag & FLAG.live) === 0) return `${where}: free`;
  const holds = `${where}: ${hex(start[at] ?? 0)} → ${hex(output[at] ?? 0)}, ${bytes(2 ** (log2[at] ?? 12))}, ASID ${asid[at] ?? 0}, VMID ${vmid[at] ?? 0}${(flag & FLAG.global) === 0 ? '' : ', global'}`;
  const why = isTlbi(store.preview.value) ? store.why.value : null;
  return why === null ? holds : `${holds}. ${why.sentence}`;
}

/** Which swatches the grid shows. */
function shown({ slots, flags, log2, stale, verdict }: Columns): ReadonlySet<string> {
  const lanes = ['giant', 'block', 'page', 'stage2'];
  const fates = ['', 'needed', 'excess', 'missed'];
  const seen = new Set<string>();
  // Bits first: there may be thousands of slots.
  let [kinds, fate] = [0, 0];
  for (let at = 0; at < slots; at++) {
    const flag = flags[at] ?? 0;
    if ((flag & FLAG.live) === 0) {
      if ((flag & FLAG.justGone) !== 0) seen.add('gone');
      continue;
    }
    kinds |= 1 << laneOf(log2[at] ?? 12, flag);
    fate |= 1 << (verdict[at] ?? 0);
    if (stale[at] === STALE.moved || stale[at] === STALE.gone) fate |= 16;
  }
  lanes.forEach((name, n) => { if ((kinds & (1 << n)) !== 0) seen.add(name); });
  fates.forEach((name, n) => { if ((fate & (1 << n)) !== 0) seen.add(name); });
  if ((fate & 16) !== 0) seen.add('stale');
  return seen;
}

/** The live entries as a table. */
export function Entries({ columns, ways, id }: { readonly columns: Columns; readonly ways: number; readonly id?: string }) {
  const { slots, start, output, log2, asid, vmid, flags, age, stale, verdict, reason } = columns;
  const rows = [];
  for (let at = 0; at < slots; at++) {
    const flag = flags[at] ?? 0;
    if ((flag & FLAG.live) === 0) continue;
    const fate = verdict[at] ?? 0;
    rows.push(
      <tr key={at}>
        <td>{Math.floor(at / ways)}</td><td>{at % ways}</td><td>{hex(start[at] ?? 0)}</td><td>{bytes(2 ** (log2[at] ?? 12))}</td>
        <td>{hex(output[at] ?? 0)}</td><td>{(flag & FLAG.global) === 0 ? asid[at] ?? 0 : 'global'}</td><td>{vmid[at] ?? 0}</td><td>{age[at] ?? 0}</td>
        <td>{stale[at] === STALE.moved ? 'moved' : stale[at] === STALE.gone ? 'unmapped' : stale[at] === STALE.unknown ? 'not asked' : 'as mapped'}</td>
        <td>{fate === VERDICT.needed ? 'goes' : fate === VERDICT.excess ? 'goes in excess' : `${fate === VERDICT.missed ? 'stays, stale' : 'stays'}${reason[at] ? `: ${REASONS[(reason[at] ?? 1) - 1] ?? ''}` : ''}`}</td>
      </tr>,
    );
  }
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Live entries">
      <table id={id}>
        <thead><tr>{['Set', 'Way', 'Input', 'Size', 'Output', 'ASID', 'VMID', 'Age', 'Tables say', 'Composed command'].map((name) => <th scope="col" key={name}>{name}</th>)}</tr></thead>
        <tbody>{rows}</tbody>
      </table>
    </div>
  );
}
