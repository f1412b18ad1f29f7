// A command, field by field, with what it would do shown while it is composed. Nothing is computed here.

import { isTlbi, type Store } from '../store.ts';
import { LESSONS } from '../tour.ts';
import { bits, grouped } from '../words.ts';
import { Panel } from './panel.tsx';

const TG = ['0: no range', '1: 4 KiB', '2: 16 KiB', '3: 64 KiB'] as const;
/** What a field means to somebody who sees it for the first time. */
const HELP: Readonly<Record<string, string>> = {
  VMID: 'the guest (virtual machine) whose entries are meant; 0 where there is none',
  ASID: 'the address space (process) whose entries are meant; global entries belong to all',
  Address: 'where the range begins; the address of the page, where there is no range',
  IPA: 'an intermediate address: what stage 1 puts out and stage 2 takes in',
  TG: 'the size of the pages in which the range is counted; 0: no range, one page',
  NUM: 'the range has (NUM + 1) · 2^SCALE pages',
  SCALE: 'the range has (NUM + 1) · 2^SCALE pages',
  TTL: 'a promise: all leaves in the range are at this level. 3: 4 KiB pages, 2: 2 MiB blocks, 1: 1 GiB. 0 promises nothing',
  Leaf: 'a promise: only leaves have changed, remembered tables are still right. Unset, tables are dropped too',
  StreamID: 'the device whose configuration is meant',
  SubstreamID: 'which of the stream’s contexts is meant',
  Range: '2^(Range + 1) StreamIDs; 31: all',
  CS: 'how the end of CMD_SYNC is told: 0 not at all, 1 by interrupt, 2 by WFE event',
  Size: '2^Size pages of 4 KiB',
};
const TTL = ['0: any level', '1', '2', '3'] as const;

export function Compose({ store }: { readonly store: Store }) {
  const { composer, kind, preview, hot } = store;
  const answer = preview.value;
  const set = (key: string, value: string) => {
    composer.value = { ...composer.value, fields: { ...composer.value.fields, [key]: value } };
    store.refresh();
  };
  const ok = !('error' in answer);
  const pages = isTlbi(answer) && answer.span !== null ? Math.max(1, Math.round((answer.span.last - answer.span.first + 1) / 4096)) : 0;
  // The tour shows a field once its step has explained it; what is set all the same is named.
  const lesson = store.mode.value === 'explain' ? LESSONS[store.step.value]?.fields : undefined;
  const told = (key: string) => lesson === undefined || lesson.includes(key);
  const all = kind.value?.fields ?? [];
  const untold = ok ? all.filter(({ key }) => !told(key)).flatMap(({ name }) => answer.fields.filter((field) => field.name === name && field.value !== '0x0')) : [];
  const storm = () => {
    if (!isTlbi(answer) || answer.span === null) return;
    const plain = answer.script.replace(/ (num|scale|tg|ttl)=\S+/g, '');
    if (store.act(`storm ${plain} count=${pages} stride=4K`, pages <= 64)) {
      store.running.value = pages > 64;
      store.speed.value = 4096;
    }
  };
  return (
    <Panel id="composer" title="Command composer" shortcut="C" hint="nothing is sent until Enter">
      <form onSubmit={(event) => { event.preventDefault(); store.send(true); }}>
        <div class="fields">
          <label>Command
            <select
              value={composer.value.name}
              onChange={(event) => { composer.value = { ...composer.value, name: event.currentTarget.value }; store.refresh(); }}
            >
              {store.catalog.kinds.map(({ name }) => <option key={name} value={name}>CMD_{name.toUpperCase()}</option>)}
            </select>
          </label>
          {all.filter(({ key }) => told(key)).map(({ key, name, width }) => (
            <label key={key} onMouseEnter={() => { hot.value = name; }} onMouseLeave={() => { hot.value = null; }} class={`f-${key} ${hot.value === name ? 'hot' : ''}`}>
              {name} <Entry name={key} width={width} value={composer.value.fields[key] ?? ''} set={set} focus={(on) => { hot.value = on ? name : null; }} />
            </label>
          ))}
        </div>
        <p class="help" id="help">{hot.value !== null && HELP[hot.value] !== undefined ? <><b>{hot.value}</b> {HELP[hot.value]}</> : 'Point at a field to read what it means.'}</p>
        {untold.length === 0 ? null : <p class="under">Set as well, and explained later: {untold.map(({ name, value }) => `${name} ${Number(value)}`).join(', ')}.</p>}
        {ok && answer.span !== null ? <p class="mono range">{answer.span.formula} → {answer.span.text}</p> : <p class="mono range">{ok && answer.tlbi ? 'every address' : ' '}</p>}
        <output class={`verdict ${ok && answer.legal ? '' : 'bad'}`} aria-live="polite" id="preview">
          {ok ? answer.sentence : answer.error}{ok && answer.tables > 0 ? `, ${answer.tables} of the walk cache's tables` : ''}
        </output>
        {ok ? <Words store={store} words={answer.words} fields={answer.fields} /> : null}
        <div class="buttons">
          <button class="primary" id="send" disabled={!ok}>Send ⏎</button>
          <button type="button" id="sync" onClick={() => store.sync()}>+ CMD_SYNC</button>
          {pages > 1 && pages <= 1 << 20 ? <button type="button" onClick={storm}>as {grouped(pages)} single commands</button> : null}
        </div>
      </form>
    </Panel>
  );
}

interface EntryProps {
  readonly name: string;
  readonly width: number;
  readonly value: string;
  readonly set: (key: string, value: string) => void;
  readonly focus: (on: boolean) => void;
}

function Entry({ name, width, value, set, focus }: EntryProps) {
  const given = { name, onFocus: () => focus(true), onBlur: () => focus(false) };
  if (name === 'tg' || name === 'ttl') {
    return (
      <select {...given} value={value === '' ? '0' : value} onChange={(event) => set(name, event.currentTarget.value)}>
        {(name === 'tg' ? TG : TTL).map((text, n) => <option key={text} value={String(n)}>{text}</option>)}
      </select>
    );
  }
  if (name === 'leaf') return <input {...given} type="checkbox" checked={value === '1'} onChange={(event) => set(name, event.currentTarget.checked ? '1' : '0')} />;
  if (name === 'num' || name === 'scale') {
    const most = name === 'num' ? 31 : 2 ** Math.min(width, 6) - 1;
    return (
      <span class="slide">
        <input {...given} inputMode="numeric" value={value === '' ? '0' : value} onInput={(event) => set(name, event.currentTarget.value)} />
        <input type="range" tabIndex={-1} aria-label={`${name.toUpperCase()}, sliding`} min="0" max={Math.min(most, 31)} value={value === '' ? '0' : value} onInput={(event) => set(name, event.currentTarget.value)} />
      </span>
    );
  }
  return <input {...given} value={value} placeholder="0" onInput={(event) => set(name, event.currentTarget.value)} spellcheck={false} />;
}

interface WordsProps {
  readonly store: Store;
  readonly words: readonly [string, string];
  readonly fields: readonly { readonly name: string; readonly high: number; readonly low: number; readonly value: string }[];
}

/** Both words as bits to scale, each field in its place. */
function Words({ store, words, fields }: WordsProps) {
  return (
    <div class="words">
      {[1, 0].map((word) => {
        const inside = fields.filter(({ low }) => Math.floor(low / 64) === word).sort((a, b) => b.high - a.high);
        const cells = [];
        let next = word * 64 + 63;
        for (const field of inside) {
          if (field.high < next) cells.push(<i key={next} style={{ flexGrow: next - field.high }} />);
          cells.push(
            <b
              key={field.name} style={{ flexGrow: field.high - field.low + 1 }} class={`${store.hot.value === field.name ? 'hot' : ''} ${field.value === '0x0' ? 'zero' : ''}`}
              title={`${field.name} ${bits(field)} = ${field.value}`}
              onMouseEnter={() => { store.hot.value = field.name; }} onMouseLeave={() => { store.hot.value = null; }}
            ><span>{field.name}</span></b>,
          );
          next = field.low - 1;
        }
        if (next >= word * 64) cells.push(<i key={next} style={{ flexGrow: next - word * 64 + 1 }} />);
        return <div key={word}><code>word {word} {words[word as 0 | 1]}</code><div class="bits">{cells}</div></div>;
      })}
    </div>
  );
}
