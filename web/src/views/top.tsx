// The head of the page: modes, scenarios, knobs, files, links; the palette and the sheet of keys.

import { type Signal, signal } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import { SCENARIOS } from '../scenarios.ts';
import { sentence, type Store } from '../store.ts';
import { forgetColours } from './canvas.tsx';
import { goTo, PLACES } from './places.ts';
import { Text } from './text.tsx';
import { back, forward, last, toggle } from './transport.tsx';

export const palette = signal(false);
export const sheet = signal(false);

const MODES = [['explain', 'Explain'], ['lab', 'Lab'], ['compare', 'Compare']] as const;

export function scheme(store: Store): void {
  const dark = getComputedStyle(document.documentElement).colorScheme.startsWith('dark')
    || (!document.documentElement.dataset['theme'] && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.dataset['theme'] = dark ? 'light' : 'dark';
  forgetColours();
  store.refresh();
}

export async function copyLink(store: Store): Promise<void> {
  try {
    const hash = await store.link();
    history.replaceState(null, '', `#${hash}`);
    const done = await navigator.clipboard.writeText(location.href).then(() => true, () => false);
    store.say(done ? 'the link to this state is copied' : 'the link to this state is in the address bar');
  } catch (error) {
    store.say(sentence(error), true);
  }
}

export function exportFile(store: Store): void {
  store.attempt(() => {
    const name = `${store.scenario.value.id}${store.fixed.value ? '-fixed' : ''}`;
    const text = store.model.exportTranscript(name);
    const address = URL.createObjectURL(new Blob([text], { type: 'application/jsonl' }));
    const anchor = document.createElement('a');
    anchor.href = address;
    anchor.download = `${name}.jsonl`;
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  });
}

async function importFile(store: Store, file: File | undefined): Promise<void> {
  if (file === undefined) return;
  const bytes = file.name.endsWith('.gz') ? file.stream().pipeThrough(new DecompressionStream('gzip')) : file.stream();
  try {
    store.importText(await new Response(bytes).text());
  } catch (error) {
    store.say(`${file.name}: ${sentence(error)}`, true);
  }
}

function pick(store: Store): void {
  const input = document.createElement('input');
  input.type = 'file';
  input.accept = '.jsonl,.gz';
  input.onchange = () => void importFile(store, input.files?.[0]);
  input.click();
}

export function Top({ store }: { readonly store: Store }) {
  const { mode, scenario, fixed } = store;
  const groups = [...new Set(SCENARIOS.map(({ group }) => group))];
  return (
    <header class="top">
      <h1>SMMUv3.2 <span>· TLB invalidation</span></h1>
      <div class="modes" role="group" aria-label="Mode">
        {MODES.map(([each, name]) => <button key={each} type="button" aria-pressed={mode.value === each} onClick={() => store.enter(each)}>{name}</button>)}
      </div>
      {mode.value === 'lab' ? (
        <label class="scenario">Scenario <select id="scenario" value={scenario.value.id} onChange={(event) => choose(store, event.currentTarget.value, false)}>
          {scenario.value.group === 'tour' ? <option value={scenario.value.id}>{scenario.value.title}</option> : null}
          {groups.map((group) => <optgroup key={group} label={group}>{SCENARIOS.filter((each) => each.group === group).map(({ id, title }) => <option key={id} value={id}>{title}</option>)}</optgroup>)}
        </select></label>
      ) : null}
      {mode.value === 'lab' && scenario.value.fix !== null ? <button type="button" id="fix" aria-pressed={fixed.value} onClick={() => choose(store, scenario.value.id, !fixed.value)}>{fixed.value ? 'Show the mistake' : 'Show the fix'}</button> : null}
      <div class="tools">
        <button type="button" onClick={() => { palette.value = true; }} title="Ctrl K">⌘ Commands</button>
        <button type="button" onClick={() => pick(store)}>Import</button>
        <button type="button" onClick={() => exportFile(store)}>Export</button>
        <button type="button" onClick={() => void copyLink(store)}>Copy link</button>
        <button type="button" onClick={() => scheme(store)}>◐<span class="hidden"> light or dark</span></button>
        <button type="button" onClick={() => { sheet.value = true; }}>?<span class="hidden"> keys</span></button>
      </div>
    </header>
  );
}

export function choose(store: Store, id: string, right: boolean): void {
  const found = SCENARIOS.find((each) => each.id === id);
  if (found !== undefined) store.begin(found, right, '');
}

const KNOBS = [
  ['ril', 'Range invalidation (RIL)', ['1', '0'], ['on', 'off']],
  ['strict', 'Hints', ['0', '1'], ['Natural', 'Strict']],
  ['walk', 'Walk cache', ['1', '0'], ['on', 'off']],
  ['granule', 'Granule', ['4', '16', '64'], ['4 KiB', '16 KiB', '64 KiB']],
  ['stages', 'Stages', ['1', '2', '12'], ['1', '2', '1 and 2']],
  ['sets', 'Sets', ['1', '2', '4', '8', '16', '32', '64', '128', '256', '512', '1024'], undefined],
  ['ways', 'Ways', ['1', '2', '4', '8', '16'], undefined],
] as const;

export function Story({ store }: { readonly store: Store }) {
  const { scenario, fixed, panels } = store;
  const words = new Map(panels.value.knobs.split(' ').map((word) => {
    const [key = '', value = ''] = word.split('=');
    return [key, value] as const;
  }));
  const lines = (fixed.value && scenario.value.fix !== null ? scenario.value.fix : scenario.value.script).trim().split('\n').filter((text) => text !== '');
  return (
    <section class="panel story" aria-labelledby="story-title">
      <h2 id="story-title">{scenario.value.title}{fixed.value ? ', done right' : ''}</h2>
      <p><Text text={scenario.value.about} /></p>
      <ol class="script">{lines.map((text, n) => <li key={n}><code>{text.trim()}</code></li>)}</ol>
      <details class="knobs">
        <summary>Knobs: {words.get('sets')} × {words.get('ways')}, RIL {words.get('ril') === '1' ? 'on' : 'off'}, {words.get('strict') === '1' ? 'Strict' : 'Natural'}</summary>
        <div class="fields">
          {KNOBS.map(([key, name, values, names]) => (
            <label key={key}>{name} <select value={words.get(key) ?? ''} onChange={(event) => store.setKnob(key, event.currentTarget.value)}>
              {values.map((value, n) => <option key={value} value={value}>{names?.[n] ?? value}</option>)}
            </select></label>
          ))}
        </div>
      </details>
    </section>
  );
}

function Dialog({ open, name, children }: { readonly open: Signal<boolean>; readonly name: string; readonly children: preact.ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const shown = open.value;
  useEffect(() => {
    if (shown) dialog.current?.showModal();
    else dialog.current?.close();
  }, [shown]);
  return <dialog ref={dialog} aria-label={name} onClose={() => { open.value = false; }} onClick={(event) => { if (event.target === dialog.current) open.value = false; }}>{shown ? children : null}</dialog>;
}

export function Sheet() {
  const rows = [
    ['space', 'run or pause'], ['. ,', 'step, step back'], ['Home End', 'first step, to the end'], ['Ctrl K', 'every command'], ['Enter', 'in the composer: send'],
    ['W S A D 0', 'in the address space: zoom, move, show all'], ['arrows', 'in the IOTLB: choose a slot'], ['P', 'light or dark'], ['K', 'copy link'],
    ...PLACES.map(([key, , name]) => [key.toUpperCase(), `go to: ${name}`]),
  ];
  return (
    <Dialog open={sheet} name="Keys">
      <h2>Keys</h2>
      <dl class="keys">{rows.map(([key, what]) => <div key={what}><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div>)}</dl>
      <button type="button" onClick={() => { sheet.value = false; }}>Close</button>
    </Dialog>
  );
}

export function Palette({ store }: { readonly store: Store }) {
  return <Dialog open={palette} name="Commands"><Search store={store} /></Dialog>;
}

function Search({ store }: { readonly store: Store }) {
  const [typed, setTyped] = useState('');
  const [at, setAt] = useState(0);
  const all: readonly (readonly [string, () => void])[] = [
    ...MODES.map(([mode, name]) => [`Mode: ${name}`, () => store.enter(mode)] as const),
    ['Run or pause', () => toggle(store)], ['Step', () => forward(store)], ['Step back', () => back(store)], ['To the end', () => last(store)],
    ['Send the composed command', () => store.send(true)], ['Copy link', () => void copyLink(store)], ['Export transcript', () => exportFile(store)], ['Import transcript', () => pick(store)],
    ['Light or dark', () => scheme(store)], ['Keys', () => { sheet.value = true; }],
    ...PLACES.map(([, id, name]) => [`Go to: ${name}`, () => goTo(id)] as const),
    ...SCENARIOS.flatMap(({ id, title, fix }) => [
      [`Scenario: ${title}`, () => { store.enter('lab'); choose(store, id, false); }] as const,
      ...(fix === null ? [] : [[`Fix: ${title}`, () => { store.enter('lab'); choose(store, id, true); }] as const]),
    ]),
    ...KNOBS.flatMap(([key, name, values, names]) => values.map((value, n) => [`Knob: ${name} ${names?.[n] ?? value}`, () => store.setKnob(key, value)] as const)),
  ];
  const find = (text: string) => all.filter(([name]) => text.toLowerCase().split(' ').every((word) => name.toLowerCase().includes(word))).slice(0, 12);
  const found = find(typed);
  // What stands in the field counts, drawn already or not.
  const run = (n: number, text: string) => {
    palette.value = false;
    find(text)[n]?.[1]();
  };
  return (
    <div class="palette">
      <input
        role="combobox" aria-expanded="true" aria-controls="found" aria-label="What to do" aria-activedescendant={`found-${at}`} placeholder="type a few letters" value={typed}
        onInput={(event) => { setTyped(event.currentTarget.value); setAt(0); }}
        onKeyDown={(event) => {
          if (event.key === 'Enter') run(event.currentTarget.value === typed ? at : 0, event.currentTarget.value);
          else if (event.key === 'ArrowDown') setAt(Math.min(found.length - 1, at + 1));
          else if (event.key === 'ArrowUp') setAt(Math.max(0, at - 1));
          else return;
          event.preventDefault();
        }}
      />
      <ul id="found" role="listbox" aria-label="Commands">{found.map(([name], n) => <li key={name} id={`found-${n}`} role="option" aria-selected={n === at} onClick={() => run(n, typed)}>{name}</li>)}</ul>
    </div>
  );
}

/** Keys of the whole page; letters only where nobody is typing. */
export function keys(store: Store, event: KeyboardEvent): void {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
    event.preventDefault();
    palette.value = true;
    return;
  }
  const typing = event.target instanceof HTMLElement && event.target.closest('input, select, textarea, dialog') !== null;
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const pressing = event.target instanceof HTMLElement && event.target.closest('button, summary') !== null;
  const place = PLACES.find(([key]) => key === event.key.toLowerCase());
  const act = {
    ' ': pressing ? undefined : () => toggle(store), '.': () => forward(store), ',': () => back(store), 'Home': () => store.seek(0), 'End': () => last(store),
    '?': () => { sheet.value = true; }, 'k': () => void copyLink(store), 'p': () => scheme(store),
  }[event.key] ?? (place === undefined ? undefined : () => goTo(place[1]));
  if (act === undefined) return;
  event.preventDefault();
  act();
}
