/** A field of a record: bits [high:low], numbered across the whole record; the value in hexadecimal. */
export interface Bits { readonly name: string; readonly high: number; readonly low: number; readonly value: string }

export interface Counters {
  readonly commands: number; readonly syncs: number; readonly scanned: number; readonly dropped: number; readonly excess: number;
  readonly hits: number; readonly misses: number; readonly evictions: number; readonly descriptors: number;
  readonly table_hits: number; readonly events: number; readonly stale: number; readonly register_writes: number; readonly unexpected: number;
}

export interface RegisterView {
  readonly name: string; readonly offset: number; readonly width: number; readonly value: string;
  readonly writable: boolean; readonly fields: readonly Bits[];
}

export interface QueueSlot {
  readonly index: number; readonly text: string; readonly words: readonly [string, string];
  readonly state: 'empty' | 'done' | 'waiting' | 'unannounced' | 'refused';
}

export interface QueueView {
  readonly entries: number; readonly prod: number; readonly prodWrap: number; readonly cons: number;
  readonly consWrap: number; readonly waiting: number; readonly unannounced: number; readonly error: number;
  readonly stopped: boolean; readonly slots: readonly QueueSlot[];
}

/** An event, an STE or a CD. */
export interface RecordView {
  readonly title: string; readonly text: string; readonly address: string; readonly words: readonly string[];
  readonly fields: readonly Bits[]; readonly cached: boolean;
}

export interface TableView {
  readonly text: string; readonly level: number; readonly input: string; readonly size: string;
  readonly next: string; readonly verdict: string;
}

export type LineKind = 'cpu' | 'command' | 'tlb' | 'dma' | 'event' | 'error' | 'note';
export interface LineView { readonly first: number; readonly last: number; readonly kind: LineKind; readonly text: string }

/** Addresses that a command names: first and last, in words, and how NUM and SCALE say so. */
export interface Span { readonly first: number; readonly last: number; readonly text: string; readonly formula: string }

/** The TLBI before, and what it did. `tables` counts the walk cache's, `scanned` slots of the IOTLB. */
export interface LastCommand {
  readonly text: string; readonly script: string; readonly dropped: number; readonly excess: number; readonly scanned: number;
  readonly tables: number; readonly span: Span | null;
}

export interface AccessView {
  readonly stream: number; readonly text: string; readonly truth: string;
  readonly stale: boolean; readonly hit: boolean; readonly reads: number; readonly ok: boolean;
}

export interface StreamView {
  readonly id: number; readonly asid: number; readonly vmid: number; readonly stages: '1' | '2' | '12'; readonly granule: number;
}

export interface Panels {
  readonly now: number; readonly end: number; readonly over: boolean; readonly trouble: string | null;
  readonly note: string; readonly knobs: string; readonly sets: number; readonly ways: number; readonly live: number;
  readonly stale: number; readonly counters: Counters; readonly registers: readonly RegisterView[];
  readonly queue: QueueView; readonly events: readonly RecordView[]; readonly config: readonly RecordView[];
  readonly tables: readonly TableView[]; readonly log: readonly LineView[]; readonly last: LastCommand | null;
  readonly access: AccessView | null; readonly streams: readonly StreamView[];
}

export interface Preview {
  readonly name: string; readonly script: string; readonly words: readonly [string, string]; readonly fields: readonly Bits[];
  readonly legal: boolean; readonly tlbi: boolean;
  readonly span: Span | null;
  readonly needed: number; readonly excess: number; readonly missed: number; readonly tables: number; readonly sentence: string;
}

export interface Predicate {
  readonly name: string; readonly answer: 'unasked' | 'holds' | 'fails'; readonly asks: string; readonly has: string;
  readonly decides: boolean;
  /** Why it is not asked, where it is not. */
  readonly note: string;
}

export interface Why {
  readonly entry: readonly (readonly [string, string])[]; readonly command: string; readonly rows: readonly Predicate[];
  readonly goes: boolean; readonly needed: boolean; readonly sentence: string; readonly truth: string;
  readonly stale: boolean; readonly slot: number;
}

export interface WalkStep {
  readonly kind: 'ste' | 'cd' | 's1' | 's2'; readonly title: string; readonly text: string; readonly address: string;
  readonly word: string; readonly fields: readonly Bits[];
  readonly near: readonly { readonly address: string; readonly word: string; readonly text: string; readonly here: boolean }[];
}

export interface WalkView {
  readonly address: string; readonly stream: number; readonly split: readonly Bits[]; readonly steps: readonly WalkStep[];
  readonly result: string; readonly ok: boolean; readonly own: readonly string[]; readonly cached: string; readonly reads: number; readonly stale: boolean;
}

export interface KindView { readonly name: string; readonly fields: readonly { readonly key: string; readonly name: string; readonly width: number }[] }

export interface Sample { readonly at: number; readonly counters: Counters }
