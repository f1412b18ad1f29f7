// A device at the SMMU's door: one transaction at a time, and what became of each.

import type { Address } from '../plain.ts';
import { address } from '../words.ts';

interface Props {
  readonly log: readonly string[];
  readonly send: (stream: number, address: Address, access: 'read' | 'write') => void;
}

export function Dma({ log, send }: Props) {
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = event.currentTarget as HTMLFormElement;
    const typed = new FormData(form);
    const to = address(String(typed.get('address')));
    const input = form.elements.namedItem('address');
    if (input instanceof HTMLInputElement) {
      input.setCustomValidity(to === undefined ? 'a number below 2^64, such as 0x4000_0000' : '');
      input.reportValidity();
    }
    if (to !== undefined) send(Number(typed.get('stream')), to, typed.get('access') === 'write' ? 'write' : 'read');
  };
  return (
    <>
      <form onSubmit={submit} noValidate>
        <label>StreamID <input name="stream" type="number" min="0" max="65535" defaultValue="7" required /></label>
        <label>Address <input name="address" defaultValue="0x4000_0000" required /></label>
        <label>Access <select name="access"><option>read</option><option>write</option></select></label>
        <button>Send</button>
      </form>
      <ol aria-live="polite" reversed>{log.map((line, index) => <li key={log.length - index}>{line}</li>)}</ol>
    </>
  );
}
