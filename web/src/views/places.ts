// Where panels are, and the keys that lead to them.

export const PLACES: readonly (readonly [key: string, id: string, name: string])[] = [
  ['v', 'band', 'Address space'], ['t', 'iotlb', 'IOTLB'], ['c', 'composer', 'Command composer'], ['y', 'why', 'Why'], ['g', 'walk', 'Page-table walk'],
  ['r', 'registers', 'Registers'], ['q', 'queue', 'Command queue'], ['e', 'events', 'Event queue'], ['f', 'configuration', 'Configuration'],
  ['b', 'guest', 'Guest and devices'], ['u', 'counters', 'Counters'], ['l', 'log', 'Log'], ['i', 'time', 'Time'],
];

export function goTo(id: string): void {
  const panel = document.getElementById(id);
  panel?.scrollIntoView({ block: 'nearest' });
  const inside = panel?.querySelector<HTMLElement>('canvas[tabindex], button.primary, input, select, button');
  (inside ?? panel)?.focus();
}
