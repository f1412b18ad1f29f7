// The frame of every panel: a heading, a key that leads to it, and what it holds.

import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';

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

/** Something that is made only while it is open: a table of what a canvas shows. */
export function Fold({ title = 'As a table', children }: { readonly title?: string; readonly children: () => ComponentChildren }) {
  const [open, setOpen] = useState(false);
  return (
    <details onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{title}</summary>
      {open ? children() : null}
    </details>
  );
}
