// A text with live nouns: `{panel|word}` is a button that leads to the panel, and lights it up while it is pointed at; if it
// names a button, it presses that. Words of the glossary say what they mean.

import { GLOSSARY, terms } from '../glossary.ts';
import { goTo } from './places.ts';

/** A word with its meaning, which appears when it is pointed at or reached by keyboard. */
export function Term({ word }: { readonly word: string }) {
  return <dfn class="term" tabIndex={0}>{word}<span class="meaning">: {GLOSSARY[word]}</span></dfn>;
}

/** A text without nouns. */
export function Terms({ text }: { readonly text: string }) {
  return <>{terms(text).map((piece, n) => (n % 2 === 1 ? <Term key={n} word={piece} /> : piece))}</>;
}

export function Text({ text }: { readonly text: string }) {
  return <>{text.split(/(\{\w+\|[^}]+\})/).map((piece, n) => {
    const [, id, word] = /^\{(\w+)\|([^}]+)\}$/.exec(piece) ?? [];
    if (id === undefined || word === undefined) return <Terms key={n} text={piece} />;
    const light = (on: boolean) => document.getElementById(id)?.classList.toggle('lit', on);
    const go = () => {
      light(false);
      const place = document.getElementById(id);
      if (place instanceof HTMLButtonElement) place.click();
      else goTo(id);
    };
    return <button key={n} type="button" class="noun" onClick={go} onMouseEnter={() => light(true)} onMouseLeave={() => light(false)} onFocus={() => light(true)} onBlur={() => light(false)}>{word}</button>;
  })}</>;
}
