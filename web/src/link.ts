// Any state as a link: `#v1.` and base64url of deflated JSON. No server, no library.

/** What the reader did, and at which moment. */
export type Deed = readonly [moment: number, line: string];

export interface Shared {
  readonly mode: 'explain' | 'lab' | 'compare';
  readonly scenario: string;
  readonly fixed: boolean;
  readonly knobs: string;
  readonly deeds: readonly Deed[];
  readonly now: number;
  readonly compose: string;
  readonly step: number;
  readonly ticks: number;
  readonly window: readonly [number, number];
  readonly stream: number;
  readonly slot: number;
  readonly walk: string;
}

const VERSION = 'v1.';

export async function encode(state: Shared): Promise<string> {
  const text = new TextEncoder().encode(JSON.stringify(state));
  const packed = await pass(text, new CompressionStream('deflate-raw'));
  return VERSION + btoa(String.fromCharCode(...packed)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}

/** The state behind `#…`; an `Error` says what is wrong with it. */
export async function decode(hash: string): Promise<Shared> {
  if (!hash.startsWith(VERSION)) throw new Error('this link was made by another version of the page');
  let value: unknown;
  try {
    const plain = atob(hash.slice(VERSION.length).replaceAll('-', '+').replaceAll('_', '/'));
    const packed = Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
    value = JSON.parse(new TextDecoder().decode(await pass(packed, new DecompressionStream('deflate-raw'))));
  } catch {
    throw new Error('this link is damaged');
  }
  if (!isShared(value)) throw new Error('this link lacks something');
  return value;
}

async function pass(data: Uint8Array<ArrayBuffer>, through: ReadableWritablePair<Uint8Array, BufferSource>): Promise<Uint8Array> {
  const stream = new Blob([data]).stream().pipeThrough(through);
  return new Uint8Array(await new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer());
}

function isShared(value: unknown): value is Shared {
  if (typeof value !== 'object' || value === null) return false;
  const has = (name: string, type: string) => name in value && typeof Reflect.get(value, name) === type;
  const mode: unknown = Reflect.get(value, 'mode');
  const deeds: unknown = Reflect.get(value, 'deeds');
  const window: unknown = Reflect.get(value, 'window');
  return (mode === 'explain' || mode === 'lab' || mode === 'compare')
    && has('scenario', 'string') && has('fixed', 'boolean') && has('knobs', 'string') && has('now', 'number')
    && has('compose', 'string') && has('step', 'number') && has('ticks', 'number') && has('stream', 'number') && has('slot', 'number') && has('walk', 'string')
    && Array.isArray(deeds) && deeds.every((deed) => Array.isArray(deed) && typeof deed[0] === 'number' && typeof deed[1] === 'string')
    && Array.isArray(window) && window.length === 2 && window.every((edge) => typeof edge === 'number');
}
