// What the guest and its devices may do: a line of script, or a button that writes one.

import { useState } from 'preact/hooks';
import type { Store } from '../store.ts';
import { hex } from '../words.ts';
import { Panel } from './panel.tsx';
import { Terms } from './text.tsx';

export function Guest({ store }: { readonly store: Store }) {
  const [line, setLine] = useState('');
  const { streams, access } = store.panels.value;
  const at = hex(store.walkAddress.value).replaceAll('_', '');
  const id = store.stream.value;
  const examples = [
    `dma ${id} ${at}`, `dma ${id} ${at} write`, `dma ${id} ${at} count=16 stride=4K`, `map ${id} ${at} pa=0x2300000000 bytes=64K with=page`,
    `unmap ${id} ${at} bytes=4K`, `remap ${id} ${at} pa=0x2400000000`, `linux ${id} ${at} bytes=64K`, 'events',
  ];
  return (
    <Panel id="guest" title="Guest and devices" shortcut="B" hint="maps, unmaps, reads and writes">
      <div class="inline">
        <label>Stream <select value={String(id)} onChange={(event) => { store.stream.value = Number(event.currentTarget.value); store.refresh(); }}>
          {streams.map((stream) => <option key={stream.id} value={String(stream.id)}>{stream.id}: ASID {stream.asid}, VMID {stream.vmid}</option>)}
        </select></label>
        <button type="button" id="read" onClick={() => store.act(`dma ${id} ${at}`)}>DMA read</button>
        <button type="button" id="unmap" onClick={() => store.act(`unmap ${id} ${at} bytes=4K`)}>Unmap it</button>
      </div>
      <form class="inline" onSubmit={(event) => { event.preventDefault(); if (store.act(line)) setLine(''); }}>
        <label class="wide">Line of script <input value={line} list="lines" onInput={(event) => setLine(event.currentTarget.value)} placeholder={examples[0]} spellcheck={false} /></label>
        <datalist id="lines">{examples.map((text) => <option key={text} value={text} />)}</datalist>
        <button>Do</button>
      </form>
      {access === null ? null : (
        <p class={access.stale ? 'sentence stale' : 'under'} id="access">
          Stream {access.stream}, <Terms text={access.text} />{access.stale ? `. STALE: this is what the device got; the tables say ${access.truth}` : ''}
        </p>
      )}
    </Panel>
  );
}
