// A canvas that is drawn again when what it shows, its width or the colour scheme changes.

import { signal } from '@preact/signals';
import type { CanvasHTMLAttributes, RefObject } from 'preact';
import { useEffect, useRef } from 'preact/hooks';
import { type Theme, theme } from '../draw.ts';

const current = signal<Theme | null>(null);

/** The colours in force. */
export function colours(): Theme {
  current.value ??= theme();
  return current.value;
}

export function forgetColours(): void {
  current.value = null;
}

matchMedia('(prefers-color-scheme: dark)').addEventListener('change', forgetColours);

interface Props extends Omit<CanvasHTMLAttributes<HTMLCanvasElement>, 'ref'> {
  readonly draw: (canvas: HTMLCanvasElement, theme: Theme) => void;
  readonly label: string;
  readonly canvas?: RefObject<HTMLCanvasElement | null>;
}

export function Canvas({ draw, label, canvas, ...rest }: Props) {
  const own = useRef<HTMLCanvasElement>(null);
  const last = useRef(draw);
  last.current = draw;
  const colour = colours();
  useEffect(() => {
    if (own.current !== null) draw(own.current, colour);
  });
  useEffect(() => {
    const element = own.current;
    if (element === null) return undefined;
    if (canvas !== undefined) canvas.current = element;
    const watch = new ResizeObserver(() => last.current(element, colours()));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  return <canvas ref={own} role="img" aria-label={label} {...rest} />;
}
