// The way of an address through STE, CD and tables; a descriptor can be opened, and edited in memory.

import { useState } from 'preact/hooks';
import type { Store } from '../store.ts';
import { GLOSSARY } from '../glossary.ts';
import { bits, hex, number } from '../words.ts';
import { Panel } from './panel.tsx';
import { Terms } from './text.tsx';

export function Walk({ store }: { readonly store: Store }) {
  const [open, setOpen] = useState<number | null>(null);
  const found = store.walk.value;
  const chosen = open === null ? undefined : found?.steps[open];
  return (
    <Panel id="walk" title="Page-table walk" shortcut="G" hint={found === null ? undefined : `stream ${found.stream}`}>
      <form
        class="inline"
        onSubmit={(event) => {
          event.preventDefault();
          const typed = number(String(new FormData(event.currentTarget).get('walk-address')));
          if (typed === undefined) return store.say('an address is a number below 2^64, such as 0x40_0000_0000', true);
          store.walkAddress.value = typed;
          store.refresh();
        }}
      >
        <label>Address <input name="walk-address" key={store.walkAddress.value.toString()} defaultValue={hex(store.walkAddress.value)} spellcheck={false} /></label>
        <button>Walk</button>
        <button type="button" onClick={() => store.act(`dma ${store.stream.value} ${hex(store.walkAddress.value)}`)}>DMA read</button>
      </form>
      {found === null ? null : (
        <>
          <div class="split" role="img" aria-label={`Address split: ${found.split.map((part) => `${part.name} ${part.value}`).join(', ')}`}>
            {found.split.map((part) => <span key={part.name} style={{ flexGrow: part.high - part.low + 1 }}><i>{part.name}</i><b>{part.value}</b><small>{bits(part)}</small></span>)}
          </div>
          <h3>What the tables say</h3>
          <ol class="walk">
            {found.steps.map((step, n) => (
              <li key={`${n}${step.address}`} class={step.kind}>
                <button type="button" aria-pressed={open === n} onClick={() => setOpen(open === n ? null : n)}>
                  <b title={GLOSSARY[step.title]}>{step.title}</b> {step.text}
                </button>
              </li>
            ))}
            <li class={found.ok ? 'end' : 'end bad'}><b aria-hidden="true">{found.ok ? '→' : '✗'}</b> <Terms text={found.result} /></li>
          </ol>
          <h3>What the next access would do</h3>
          <ol class="walk own">{found.own.map((text, n) => <li key={n}>{text}</li>)}</ol>
          <p class={found.stale ? 'sentence stale' : 'under'}><Terms text={found.cached} /></p>
          {chosen === undefined ? null : (
            <div class="descriptor">
              <form
                class="inline"
                onSubmit={(event) => {
                  event.preventDefault();
                  const word = number(String(new FormData(event.currentTarget).get('word')));
                  if (word === undefined) return store.say('a descriptor is a number below 2^64', true);
                  const little = Array.from({ length: 8 }, (_, n) => ((word >> BigInt(8 * n)) & 0xffn).toString(16).padStart(2, '0')).join('');
                  store.act(`poke ${chosen.address} ${little}`);
                }}
              >
                <label>{chosen.title} at {chosen.address} <input name="word" key={chosen.address + chosen.word} defaultValue={chosen.word} spellcheck={false} /></label>
                <button>Write</button>
              </form>
              {chosen.fields.length === 0 ? null : <p class="chips">{chosen.fields.map((field) => <span key={field.name} title={bits(field)}>{field.name} <b>{field.value}</b></span>)}</p>}
              {chosen.near.length === 0 ? null : (
                <table><caption>Its neighbours</caption><tbody>{chosen.near.map((row) => (
                  <tr key={row.address} class={row.here ? 'decides' : ''}><td>{row.address}</td><td>{row.word}</td><td>{row.text}</td></tr>
                ))}</tbody></table>
              )}
            </div>
          )}
        </>
      )}
    </Panel>
  );
}
