// Panels that are lists of records: registers, queue, events, configuration, walk cache, counters, log.

import { useRef, useState } from 'preact/hooks';
import { drawPlots } from '../draw.ts';
import type { Bits, LineKind, RecordView, TableView } from '../model.ts';
import type { Store } from '../store.ts';
import { bits, count, grouped, hex, number } from '../words.ts';
import { Canvas } from './canvas.tsx';
import { Fold, Panel } from './panel.tsx';
import { Terms } from './text.tsx';

/** A record's bits to scale, most significant first. */
function Fields({ fields, width, changed }: { readonly fields: readonly Bits[]; readonly width: number; readonly changed: (name: string) => boolean }) {
  const cells = [];
  let next = width * 8 - 1;
  for (const field of [...fields].sort((a, b) => b.high - a.high)) {
    if (field.high < next) cells.push(<i key={next} style={{ flexGrow: Math.min(4, next - field.high) }} />);
    cells.push(
      <b key={field.name} style={{ flexGrow: Math.max(2, field.high - field.low + 1) }} class={`${field.value === '0x0' ? 'zero' : ''} ${changed(field.name) ? 'changed' : ''}`} title={`${field.name} ${bits(field)} = ${field.value}`}>
        <span>{field.name} {field.value.replace(/^0x(?=[0-9]$)/, '')}</span>
      </b>,
    );
    next = field.low - 1;
  }
  if (next >= 0) cells.push(<i key={next} style={{ flexGrow: Math.min(4, next + 1) }} />);
  return <div class="bits">{cells}</div>;
}

export function Registers({ store }: { readonly store: Store }) {
  const [all, setAll] = useState(false);
  const before = useRef<{ now: number; values: Map<string, string>; older: Map<string, string> }>({ now: -1, values: new Map(), older: new Map() });
  const { registers, now } = store.panels.value;
  if (before.current.now !== now) {
    before.current = { now, older: before.current.values, values: new Map(registers.flatMap(({ name, fields }) => fields.map((field) => [name + field.name, field.value]))) };
  }
  const shown = all ? registers : registers.filter(({ name }) => ['CR0', 'CMDQ_PROD', 'CMDQ_CONS', 'GERROR', 'IDR3'].includes(name));
  return (
    <Panel id="registers" title="Registers" shortcut="R" hint="amber: changed by the last step">
      {shown.map((register) => (
        <div class="register" key={register.name}>
          <div>
            <span>SMMU_{register.name}</span>
            {register.writable ? (
              <input
                aria-label={`SMMU_${register.name}`} key={register.value} defaultValue={register.value} spellcheck={false}
                onKeyDown={(event) => {
                  if (event.key !== 'Enter') return;
                  const value = number(event.currentTarget.value);
                  if (value === undefined) store.say('a register holds a number', true);
                  else store.act(`reg ${register.name} ${hex(value)}${register.width === 8 ? ' eight' : ''}`);
                }}
              />
            ) : <code>{register.value}</code>}
          </div>
          <Fields
            fields={register.fields} width={register.width}
            changed={(name) => (before.current.older.get(register.name + name) ?? before.current.values.get(register.name + name)) !== before.current.values.get(register.name + name)}
          />
        </div>
      ))}
      <button type="button" class="quiet" onClick={() => setAll(!all)}>{all ? 'Fewer registers' : `All ${registers.length} registers`}</button>
    </Panel>
  );
}

export function Queue({ store }: { readonly store: Store }) {
  const [chosen, setChosen] = useState<number | null>(null);
  const { queue } = store.panels.value;
  const shown = queue.slots.length;
  const ring = 68;
  const centre = 100;
  const point = (index: number, radius: number) => {
    const angle = (index / shown) * 2 * Math.PI - Math.PI / 2;
    return [centre + radius * Math.cos(angle), centre + radius * Math.sin(angle)] as const;
  };
  const arc = (index: number) => {
    const gap = shown > 32 ? 0.06 : 0.04;
    const [[a, b], [c, d], [e, f], [g, h]] = [point(index + gap, ring), point(index + 1 - gap, ring), point(index + 1 - gap, ring + 18), point(index + gap, ring + 18)];
    return `M${a} ${b}A${ring} ${ring} 0 0 1 ${c} ${d}L${e} ${f}A${ring + 18} ${ring + 18} 0 0 0 ${g} ${h}Z`;
  };
  const hand = (index: number, name: string, kind: string, inside: boolean) => {
    const [x, y] = point(index, inside ? ring - 4 : ring + 22);
    const [u, v] = point(index, inside ? ring - 16 : ring + 29);
    const [s, t] = point(index, inside ? ring - 28 : ring + 26);
    return <g class={kind}><line x1={x} y1={y} x2={u} y2={v} />{inside ? <text x={s} y={t + 3} text-anchor="middle">{name}</text> : null}</g>;
  };
  const slot = chosen === null ? queue.slots[queue.cons] : queue.slots[chosen];
  return (
    <Panel id="queue" title="Command queue" shortcut="Q" hint={`${queue.entries} slots of 16 bytes`}>
      <div class="ring">
        <svg viewBox="0 0 200 200" role="img" aria-label={`Command queue: ${queue.waiting} waiting of ${queue.entries}, PROD ${queue.prod} wrap ${queue.prodWrap}, CONS ${queue.cons} wrap ${queue.consWrap}${queue.stopped ? `, stopped with error ${queue.error}` : ''}`}>
          {queue.slots.map(({ index, state, text }) => <path key={index} d={arc(index)} class={`${state} ${chosen === index ? 'chosen' : ''}`} onClick={() => setChosen(index)}><title>{`${index}: ${text}`}</title></path>)}
          {hand(queue.prod, 'PROD', 'prod', true)}
          {hand(queue.cons, queue.prod === queue.cons ? '' : 'CONS', 'cons', true)}
          <text x="100" y="98" text-anchor="middle" class="big">{queue.waiting + queue.unannounced}</text>
          <text x="100" y="112" text-anchor="middle">{queue.stopped ? 'stopped' : queue.unannounced > 0 ? 'not announced' : 'waiting'}</text>
        </svg>
        <dl>
          <div><dt><Terms text="PROD" /></dt><dd>{queue.prod}, <Terms text="wrap" /> {queue.prodWrap}</dd></div>
          <div><dt><Terms text="CONS" /></dt><dd>{queue.cons}, wrap {queue.consWrap}</dd></div>
          <div><dt><Terms text="ERR" /></dt><dd class={queue.stopped ? 'bad' : ''}>{queue.error}{queue.stopped ? ', stopped' : ''}</dd></div>
        </dl>
      </div>
      {slot === undefined ? null : <p class="mono slot"><b>slot {slot.index}</b> {slot.text}<br /><code>{slot.words[0]} {slot.words[1]}</code></p>}
      <Fold>{() => (
        <div class="scroll" tabIndex={0} role="region" aria-label="Queue slots">
          <table><thead><tr><th scope="col">Slot</th><th scope="col">State</th><th scope="col">Command</th><th scope="col">Words</th></tr></thead>
            <tbody>{queue.slots.map(({ index, state, text, words }) => <tr key={index}><td>{index}</td><td>{state}</td><td>{text}</td><td>{words.join(' ')}</td></tr>)}</tbody></table>
        </div>
      )}</Fold>
    </Panel>
  );
}

function Record({ record }: { readonly record: RecordView }) {
  return (
    <details class="record">
      <summary><b>{record.title}</b> {record.text}{record.cached ? <small> remembered</small> : null}</summary>
      <p class="chips">{record.fields.map((field) => <span key={field.name} title={bits(field)}>{field.name} {bits(field)} <b>{field.value}</b></span>)}</p>
      <p class="mono">{record.address === '' ? '' : `at ${record.address}: `}{record.words.join(' ')}</p>
    </details>
  );
}

export function Events({ store }: { readonly store: Store }) {
  const { events } = store.panels.value;
  return (
    <Panel id="events" title="Event queue" shortcut="E" hint={`${events.length} records`}>
      {events.length === 0 ? <p class="empty">No event has been recorded.</p> : <>{events.slice(0, 8).map((record, n) => <Record key={n} record={record} />)}
        <button type="button" class="quiet" onClick={() => store.act('events')}>Drain</button></>}
    </Panel>
  );
}

export function Configuration({ store }: { readonly store: Store }) {
  const { config, tables } = store.panels.value;
  return (
    <Panel id="configuration" title="Configuration and walk cache" shortcut="F" hint="what memory holds, what is remembered">
      {config.map((record) => <Record key={record.title} record={record} />)}
      <Fold title={`Walk cache: ${tables.length} tables`}>{() => <Remembered tables={tables} />}</Fold>
    </Panel>
  );
}

function Remembered({ tables }: { readonly tables: readonly TableView[] }) {
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Walk cache">
      <table>
        <thead><tr><th scope="col">Level</th><th scope="col">Input</th><th scope="col">Next table</th><th scope="col">Command</th></tr></thead>
        <tbody>{tables.slice(0, 64).map((row) => <tr key={row.text + row.level + row.input}><td>L{row.level}</td><td title={`${row.text}, ${row.size}`}>{row.input}</td><td>{row.next}</td><td>{row.verdict === 'goes' || row.verdict === '–' ? row.verdict : `stays: ${row.verdict}`}</td></tr>)}</tbody>
      </table>
    </div>
  );
}

/** The walk cache alone, for the tour. */
export function WalkCache({ store }: { readonly store: Store }) {
  const { tables } = store.panels.value;
  return (
    <Panel id="tables" title="Walk cache" hint={count(tables.length, 'table is remembered', 'tables are remembered')}>
      {tables.length === 0 ? <p class="empty">Nothing is remembered of the way to leaves.</p> : <Remembered tables={tables} />}
    </Panel>
  );
}

const COUNTED = [
  ['commands', 'commands'], ['scanned', 'slots scanned'], ['dropped', 'entries dropped'], ['excess', 'in excess'], ['hits', 'IOTLB hits'],
  ['misses', 'IOTLB misses'], ['descriptors', 'descriptor reads'], ['table_hits', 'walk cache hits'], ['evictions', 'evictions'], ['events', 'events'], ['stale', 'stale answers'], ['register_writes', 'register writes'],
] as const;

export function Counts({ store }: { readonly store: Store }) {
  const { counters, now } = store.panels.value;
  const samples = store.model.samples();
  const at = samples.map((sample) => sample.at);
  const rate = samples.map(({ counters: { hits, misses } }) => (hits + misses === 0 ? 0 : hits / (hits + misses)));
  const series = [
    { name: 'commands', values: samples.map((sample) => sample.counters.commands) },
    { name: 'dropped', values: samples.map((sample) => sample.counters.dropped) },
    { name: 'in excess', values: samples.map((sample) => sample.counters.excess) },
    { name: 'scanned', values: samples.map((sample) => sample.counters.scanned) },
    { name: 'hit rate', values: rate },
  ];
  return (
    <Panel id="counters" title="Counters" shortcut="U" hint="since the scenario began">
      <dl class="counters">{COUNTED.map(([key, name]) => <div key={key}><dt>{name}{key === 'commands' && counters.syncs > 0 ? `, with ${grouped(counters.syncs)} CMD_SYNC` : ''}</dt><dd class={key === 'stale' && counters.stale > 0 ? 'bad' : ''}>{grouped(counters[key])}</dd></div>)}</dl>
      <Canvas label={`Plots over time of ${series.map(({ name }) => name).join(', ')}; their last values are listed above`} draw={(canvas, theme) => drawPlots(canvas, theme, series, at, now)} class="plots" />
      <Fold title="The plots as a table">{() => (
        <div class="scroll" tabIndex={0} role="region" aria-label="Counters over time">
          <table>
            <thead><tr><th scope="col">Step</th>{series.map(({ name }) => <th scope="col" key={name}>{name}</th>)}</tr></thead>
            <tbody>{at.map((moment, n) => <tr key={moment}><td>{grouped(moment)}</td>{series.map(({ name, values }) => <td key={name}>{name === 'hit rate' ? `${((values[n] ?? 0) * 100).toFixed(0)} %` : grouped(values[n] ?? 0)}</td>)}</tr>)}</tbody>
          </table>
        </div>
      )}</Fold>
    </Panel>
  );
}

const KINDS: readonly LineKind[] = ['cpu', 'command', 'tlb', 'dma', 'event', 'error', 'note'];

export function Log({ store }: { readonly store: Store }) {
  const [only, setOnly] = useState('all');
  const { log } = store.panels.value;
  const shown = log.filter(({ kind }) => only === 'all' || kind === only).slice(0, 60);
  return (
    <Panel id="log" title="Log" shortcut="L" hint={(
      <label>show <select value={only} onChange={(event) => setOnly(event.currentTarget.value)}><option>all</option>{KINDS.map((kind) => <option key={kind}>{kind}</option>)}</select></label>
    )}>
      <ol class="log scroll" tabIndex={0} role="list" aria-label="Log, newest first">
        {shown.map((line) => (
          <li key={`${line.first}${line.kind}${line.text}`} class={line.kind}>
            <button type="button" onClick={() => store.seek(line.last)} title="go to this step">{grouped(line.last)}</button>
            <span>{line.text}{line.last > line.first ? <b> × {grouped(line.last - line.first + 1)}</b> : null}</span>
          </li>
        ))}
      </ol>
    </Panel>
  );
}
