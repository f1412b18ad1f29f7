// The frame of every panel: a heading, a key that leads to it, and what it holds.

import type { ComponentChildren } from 'preact';

interface Props {
  readonly id: string;
  readonly title: string;
  readonly hint?: ComponentChildren;
  readonly shortcut?: string;
  readonly children: ComponentChildren;
}

export function Panel({ id, title, hint, shortcut, children }: Props) {
  return (
    <section class="panel" id={id} aria-labelledby={`${id}-title`} tabIndex={-1}>
      <header>
        <h2 id={`${id}-title`}>{title}</h2>
        {hint === undefined ? null : <p class="hint">{hint}</p>}
        {shortcut === undefined ? null : <kbd>{shortcut}</kbd>}
      </header>
      {children}
    </section>
  );
}
