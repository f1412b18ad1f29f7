// The guided tour: one idea a step, shown by two or three panels, with parts that tick off as the reader does them.
// `{panel|word}` in a text leads to that panel.

import type { Counters, Panels, Preview, WalkView, Why } from './model.ts';
import type { Scenario } from './scenarios.ts';
import { bytes, count, grouped } from './words.ts';

/** What a part may look at. */
export interface Look {
  readonly panels: Panels;
  readonly preview: Preview | null;
  readonly why: Why | null;
  readonly walk: WalkView | null;
  /** What the step before this one cost, if it was run to its end. */
  readonly storm: () => Counters;
}

export interface Part {
  readonly text: string;
  /** The button that it asks for. */
  readonly at?: 'read' | 'unmap' | 'send' | 'sync' | 'run';
  readonly done: (look: Look) => boolean;
}

export type PanelId = 'guest' | 'walk' | 'iotlb' | 'composer' | 'why' | 'band' | 'queue' | 'counters' | 'tables';

export interface Lesson {
  readonly title: string;
  readonly text: readonly string[];
  /** What has been set up. */
  readonly scene: string;
  /** The composer's fields that have been explained by now. */
  readonly fields?: readonly string[];
  /** The panels that it is about: one above, then two columns. */
  readonly above?: PanelId;
  readonly panels: readonly PanelId[];
  readonly beside: readonly PanelId[];
  /** Time runs in this step, so that its controls are shown. */
  readonly time?: true;
  readonly parts: readonly Part[];
  /** Said once all parts are done; numbers in it are the model's. */
  readonly then: string | ((look: Look) => string);
  readonly scenario: Scenario;
}

/** How many of `parts` are done, in their order, if `before` of them were. */
export function advance(parts: readonly Part[], before: number, look: Look): number {
  let ticks = before;
  while (parts[ticks]?.done(look) === true) ticks += 1;
  return ticks;
}

function scenario(id: string, knobs: string, setup: string, script: string, compose: string): Scenario {
  return { id: `tour-${id}`, title: 'The scene of the tour', about: 'What was begun in the tour goes on here, with all panels.', group: 'tour', knobs, setup, script, fix: null, compose };
}

const PAGES = `stream 8 asid=3
map 8 0x4000000000 pa=0x2000000000 bytes=64K with=page
`;
const FILLED = `${PAGES}dma 8 0x4000000000 count=16 stride=4K
`;
const GIB = `stream 8 asid=3
stream 9 asid=7
map 8 0x4000000000 pa=0x2000000000 bytes=1G with=page
map 9 0x4000000000 pa=0x2100000000 bytes=16M with=page
dma 8 0x4000000000 count=47 stride=22M
dma 9 0x4000000000 count=16 stride=1M
unmap 8 0x4000000000 bytes=1G
`;
/** What the storm and the range are about. */
export const UNMAPPED = { first: 0x40_0000_0000, last: 0x40_3fff_ffff } as const;

/** What one range command did, beside what the storm did. */
function ranged({ panels: { last }, storm }: Look): string {
  if (last?.span == null) return '';
  const { span, scanned } = last;
  const over = (a: number, b: number) => Math.max(0, a - b);
  const more = over(span.last, UNMAPPED.last) + over(UNMAPPED.first, span.first);
  const less = over(UNMAPPED.last, span.last) + over(span.first, UNMAPPED.first);
  const { commands, syncs, scanned: before } = storm();
  return `One command of 16 bytes: ${span.formula}. It took ${count(scanned, 'look', 'looks')} into the IOTLB; the ${grouped(commands - syncs)} commands of the storm took ${grouped(before)} looks. `
    + `The storm’s cost grows with the pages that are named, the range’s with the entries that there are.${
      less > 0 ? ` But ${bytes(less)} of what was unmapped is not named: an entry there would stay.`
        : more > 0 ? ` But it names ${bytes(more)} more than was unmapped: entries there would go as well.` : ''}`;
}

/** No TLBI, so that nothing is previewed. */
const NONE = 'sync';
const ONE = 'tlbi_nh_va asid=3 address=0x4000000000 leaf=1';

const decides = ({ why }: Look, name: string) => why?.rows.some((row) => row.decides && row.name === name) === true;

export const LESSONS: readonly Lesson[] = [
  {
    title: 'What a TLB holds',
    text: [
      'An SMMU is Arm’s MMU for devices. A device (here stream 8) uses addresses of its own, IOVAs, and the SMMU finds where each leads by {walk|a walk} through page tables in memory: up to four descriptor reads.',
      'That is slow, so the result is kept in a TLB, {iotlb|the IOTLB}. Here nothing has been kept yet.',
    ],
    scene: 'one device with 16 mapped pages, and an IOTLB of 8 sets with 4 ways, all free.',
    panels: ['guest', 'iotlb'],
    beside: ['walk'],
    parts: [
      { text: 'Press “DMA read” under {guest|Guest and devices}: a miss. The tables are walked, and a cell of the IOTLB fills.', at: 'read', done: ({ panels }) => panels.counters.misses > 0 },
      { text: 'Press it again: a hit. No table was read.', at: 'read', done: ({ panels }) => panels.counters.hits > 0 },
      { text: 'Choose the filled cell. The line below the cells says what it remembers.', done: ({ why }) => why !== null },
    ],
    then: 'One miss, four reads, one entry; then a hit without a single read. The entry carries an ASID too: the number of the address space (the process) that it belongs to.',
    scenario: scenario('holds', 'sets=8 ways=4', PAGES, '', NONE),
  },
  {
    title: 'A table changes, the TLB does not',
    text: [
      'A driver that takes a page away clears its descriptor in memory. The IOTLB does not watch memory: what it kept is now stale, and the device still reaches a page that may belong to somebody else.',
    ],
    scene: 'the same device; it has read all 16 pages, so that each has an entry.',
    panels: ['guest', 'iotlb'],
    beside: ['walk'],
    parts: [
      { text: 'Press “Unmap it”. {walk|The walk} now ends at an invalid descriptor; the entry gets a purple corner, which means stale.', at: 'unmap', done: ({ panels }) => panels.stale > 0 },
      { text: 'Press “DMA read”. Where does it land?', at: 'read', done: ({ panels }) => panels.access?.stale === true },
    ],
    then: 'It landed in memory that the tables no longer name: a security hole. Somebody has to tell the SMMU.',
    scenario: scenario('stale', 'sets=8 ways=4', FILLED, '', NONE),
  },
  {
    title: 'Invalidation names what must go',
    text: [
      'So the driver puts a command into a queue in memory. CMD_TLBI_NH_VA names an address space (ASID) and an address.',
      'Entries that {composer|the command} would drop have a red frame in {iotlb|the IOTLB} before anything is sent: the preview is a dry run of the very code that will drop them.',
    ],
    scene: 'as before: 16 entries, of which the first is stale.',
    fields: ['asid', 'address'],
    panels: ['composer', 'iotlb'],
    beside: [],
    parts: [
      { text: 'Press “Send”. One command, one entry.', at: 'send', done: ({ panels }) => (panels.last?.dropped ?? 0) > 0 },
      { text: 'Press “+ CMD_SYNC”. It completes only when the commands before it have had their effect; until then the driver must not give the page away.', at: 'sync', done: ({ panels }) => (panels.last?.dropped ?? 0) > 0 && panels.counters.commands >= 2 },
    ],
    then: 'That is how one page is taken back: clear the descriptor, invalidate, sync. Only now may it be given away. Now think of a large buffer.',
    scenario: scenario('name', 'sets=8 ways=4', `${FILLED}unmap 8 0x4000000000 bytes=4K\n`, '', ONE),
  },
  {
    title: 'A storm',
    text: [
      '1 GiB has been unmapped: 262,144 pages of 4 KiB. A command as above names one address, so the driver has to send 262,144 of them: 4 MiB through {queue|a queue} of 64 slots.',
      'Only 47 of those pages are in {iotlb|the IOTLB}, but the driver cannot see which.',
    ],
    scene: 'a larger IOTLB, 16 sets with 8 ways; stream 8 (ASID 3) has 47 entries, stream 9 (ASID 7) has 16.',
    panels: ['iotlb', 'counters'],
    beside: ['queue'],
    time: true,
    parts: [
      { text: 'Press {run|“Run”} at the bottom and wait for the last command, a CMD_SYNC.', at: 'run', done: ({ panels: { counters } }) => counters.commands - counters.syncs >= 262_144 && counters.syncs > 0 },
    ],
    then: ({ panels: { counters } }) => `${grouped(counters.commands - counters.syncs)} commands (and ${counters.syncs} CMD_SYNC) took ${grouped(counters.scanned)} looks into the IOTLB, and ${grouped(counters.dropped)} entries were dropped: nearly every command found nothing. On Linux this has held a CPU for 26 seconds.`,
    scenario: scenario('storm', 'sets=16 ways=8', GIB, 'storm tlbi_nh_va asid=3 address=0x4000000000 leaf=1 count=262144 stride=4K\nsync\n', NONE),
  },
  {
    title: 'One range',
    text: [
      'SMMUv3.2 gave the same command a length: (NUM + 1) · 2^SCALE pages, whose size TG names. The SMMU then asks each entry that it has, “are you in this range?”, once, however many pages the range has.',
      'Stream 9 uses the same addresses under another ASID: its entries must stay.',
    ],
    scene: 'the same 47 stale entries, and 16 of another address space.',
    fields: ['asid', 'address', 'tg', 'num', 'scale'],
    above: 'band',
    panels: ['composer'],
    beside: ['iotlb'],
    parts: [
      { text: 'Set SCALE to 18, or drag the right edge of the red frame in {band|the address space}, until all 47 stale entries would go.', done: ({ preview }) => (preview?.needed ?? 0) >= 47 },
      { text: 'Press “Send”.', at: 'send', done: ({ panels }) => (panels.last?.dropped ?? 0) >= 47 },
    ],
    then: ranged,
    scenario: scenario('range', 'sets=16 ways=8', GIB, '', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=0 scale=3 leaf=1'),
  },
  {
    title: 'TTL: a promise about levels',
    text: [
      'A leaf is the descriptor that ends a walk. It sits at level 3 (a 4 KiB page), 2 (a 2 MiB block) or 1 (1 GiB). TTL tells at which level the leaves of the range are, so that the SMMU need not look for other sizes. TTL = 0 promises nothing.',
      'Here 32 MiB of 2 MiB blocks were unmapped: leaves at level 2. {composer|The command} says TTL = 3. This SMMU is strict: it believes the driver.',
    ],
    scene: 'a smaller IOTLB again, 8 sets with 4 ways; each of its 16 entries is a stale block of 2 MiB.',
    fields: ['asid', 'address', 'tg', 'num', 'scale', 'ttl'],
    panels: ['iotlb', 'composer'],
    beside: ['why'],
    parts: [
      { text: 'Choose an entry in {iotlb|the IOTLB}. {why|The table} shows which question it fails, and so survives.', done: (look) => decides(look, 'TTL') },
      { text: 'Correct TTL to 2: red frames, all would go.', done: ({ preview }) => (preview?.needed ?? 0) > 0 },
      { text: 'Try TTL = 0: they would go as well.', done: ({ preview }) => (preview?.needed ?? 0) > 0 && preview?.fields.some(({ name, value }) => name === 'TTL' && value === '0x0') === true },
    ],
    then: 'TTL only narrows. The right level is a speed-up; a wrong one leaves stale entries on SMMUs that believe it, and goes unnoticed on lenient ones; 0 is always right.',
    scenario: scenario('ttl', 'sets=8 ways=4 strict=1', `stream 8 asid=3
map 8 0x4000000000 pa=0x2000000000 bytes=32M with=block
dma 8 0x4000000000 count=16 stride=2M
unmap 8 0x4000000000 bytes=32M
`, '', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=9 ttl=3 leaf=1'),
  },
  {
    title: 'Leaf: what about the tables?',
    text: [
      'An SMMU also remembers the tables on the way to leaves, in {tables|a walk cache}, so that the next miss is shorter. Leaf = 1 says: only leaves have changed, keep remembered tables. Leaf = 0 takes both. (TTL speaks of leaves: the tables above them go whatever it says.)',
      'Here the driver freed a whole level 3 table, and its page now holds somebody else’s data.',
    ],
    scene: 'eight entries, and the three tables on their way; the last of these has been freed in memory.',
    fields: ['asid', 'address', 'tg', 'num', 'scale', 'ttl', 'leaf'],
    panels: ['guest', 'composer', 'tables'],
    beside: ['iotlb', 'walk'],
    parts: [
      { text: 'Send the command with Leaf = 1: all entries of {iotlb|the IOTLB} go, all tables of {tables|the walk cache} stay.', at: 'send', done: ({ panels }) => (panels.last?.dropped ?? 0) > 0 },
      { text: 'The tables say: nothing is mapped. But look at “What the next access would do” under {walk|the walk}: it skips to the remembered table, and reads somebody else’s data as descriptors. Press “DMA read”: it lands in foreign memory.', at: 'read', done: ({ panels }) => panels.access?.stale === true },
      { text: 'Clear Leaf, and send again.', at: 'send', done: ({ panels }) => panels.last !== null && !panels.last.script.includes('leaf=1') },
      { text: 'Press “DMA read” once more: a fault, as it should be.', at: 'read', done: ({ panels }) => panels.access !== null && !panels.access.ok && !panels.access.stale },
    ],
    then: 'Leaf = 1 is for changed pages, and cheaper. Once a table itself has been freed or replaced, only Leaf = 0 is enough.',
    scenario: scenario('leaf', 'sets=4 ways=4', `stream 8 asid=3
map 8 0x4000000000 pa=0x2000000000 bytes=2M with=page
dma 8 0x4000000000 count=8 stride=4K
free 8 0x4000000000 level=2
reuse pa=0x6660000000
`, '', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=5 ttl=3 leaf=1'),
  },
  {
    title: 'Why did this entry survive?',
    text: [
      'Everything of ASID 3 has been unmapped. {composer|One command} covers 4 MiB of it and says TTL = 3; entries without a red frame would survive it, each for one reason. Those of ASID 7 survive rightly: they are still mapped.',
      'An entry goes only if every question that the command asks is answered with yes: the right address space? within the range? at the promised level? {why|The table} lists them for the chosen entry; the first ✗ decides.',
    ],
    scene: '17 entries of two address spaces, pages and one block.',
    fields: ['asid', 'address', 'tg', 'num', 'scale', 'ttl', 'leaf'],
    panels: ['iotlb', 'composer'],
    beside: ['why'],
    parts: [
      { text: 'Find an entry of another address space: the ASID fails.', done: (look) => decides(look, 'ASID') },
      { text: 'Find one outside of the range: the Span fails.', done: (look) => decides(look, 'Span') },
      { text: 'Find one at another level than promised: the TTL fails. It is the one larger than a page.', done: (look) => decides(look, 'TTL') },
    ],
    then: 'You can now say of every entry why it survives. The lab has the same panels and more, with two dozen mistakes that real drivers made.',
    scenario: scenario('why', 'sets=8 ways=4 strict=1', `stream 8 asid=3
stream 9 asid=7
map 8 0x4000000000 pa=0x2000000000 bytes=64K with=page
map 8 0x4000200000 pa=0x2000200000 bytes=2M with=block
map 8 0x4010000000 pa=0x2010000000 bytes=64K with=page
map 9 0x4000000000 pa=0x2100000000 bytes=64K with=page
dma 8 0x4000000000 count=8 stride=4K
dma 8 0x4000200000
dma 8 0x4010000000 count=4 stride=4K
dma 9 0x4000008000 count=4 stride=4K
unmap 8 0x4000000000 bytes=512M
`, '', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=31 scale=5 ttl=3 leaf=1'),
  },
];
