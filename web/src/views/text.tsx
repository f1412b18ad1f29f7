// A text with live nouns: `{panel|word}` is a button that leads to the panel, and lights it up while it is pointed at.

import { goTo } from './places.ts';

export function Text({ text }: { readonly text: string }) {
  return <>{text.split(/(\{\w+\|[^}]+\})/).map((piece, n) => {
    const [, id, word] = /^\{(\w+)\|([^}]+)\}$/.exec(piece) ?? [];
    if (id === undefined || word === undefined) return piece;
    const light = (on: boolean) => document.getElementById(id)?.classList.toggle('lit', on);
    return <button key={n} type="button" class="noun" onClick={() => { light(false); goTo(id); }} onMouseEnter={() => light(true)} onMouseLeave={() => light(false)} onFocus={() => light(true)} onBlur={() => light(false)}>{word}</button>;
  })}</>;
}
