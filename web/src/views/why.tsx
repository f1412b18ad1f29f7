// Why an entry stays or goes: each predicate of the command, asked of this entry.

import { isTlbi, type Store } from '../store.ts';
import { Panel } from './panel.tsx';
import { Terms } from './text.tsx';

const SIGN = { holds: '✓', fails: '✗', unasked: '–' } as const;
const WORD = { holds: 'holds', fails: 'fails', unasked: 'not asked' } as const;

/** What a predicate asks, for somebody who sees it for the first time. */
const ASKS: Readonly<Record<string, string>> = {
  Regime: 'made for the same exception level?', Stage: 'made by that stage?', VMID: 'of that guest?', Global: 'allowed to go if global?', ASID: 'of that address space?',
  Span: 'do the addresses overlap?', Leaf: 'a leaf or a table?', TG: 'made with pages of that size?', TTL: 'is its leaf at the promised level?',
};

export function Reasons({ store }: { readonly store: Store }) {
  const found = store.why.value;
  return (
    <Panel id="why" title="Why does it stay, or go?" shortcut="Y" hint={isTlbi(store.preview.value) ? 'by the composed command' : 'by the last TLBI'}>
      {found === null ? <p class="empty">Choose an entry in the IOTLB or in the address space.</p> : (
        <>
          <p class={`sentence ${found.goes ? 'goes' : 'stays'}`} id="why-sentence">{found.sentence}</p>
          {found.stale ? <p class="sentence stale">Stale: {found.truth}.</p> : null}
          <dl class="facts">{found.entry.map(([name, value]) => <div key={name}><dt><Terms text={name} /></dt><dd>{value}</dd></div>)}</dl>
          <div class="scroll" tabIndex={0} role="region" aria-label="Predicates">
            <table class="predicates">
              <thead><tr><th scope="col"><span class="hidden">Answer</span></th><th scope="col">Predicate</th><th scope="col">Command</th><th scope="col">Entry</th></tr></thead>
              <tbody>{found.rows.map((row) => (
                <tr key={row.name} class={`${row.answer} ${row.decides ? 'decides' : ''}`}>
                  <td><span aria-hidden="true">{SIGN[row.answer]}</span><span class="hidden">{WORD[row.answer]}</span></td>
                  <th scope="row">{row.name}<small>{row.note === '' ? ASKS[row.name] : row.note}</small></th><td>{row.asks}</td><td>{row.has}</td>
                </tr>
              ))}</tbody>
            </table>
          </div>
        </>
      )}
    </Panel>
  );
}
