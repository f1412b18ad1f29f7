// The guided tour: seven ideas, each with one thing to do, and how the page notices that it was done.

import type { Panels, Preview } from './model.ts';
import type { Scenario } from './scenarios.ts';

export interface Look {
  readonly panels: Panels;
  readonly preview: Preview | null;
  readonly slot: number;
}

export interface Lesson {
  readonly title: string;
  readonly text: string;
  readonly task: string;
  readonly done: (look: Look) => boolean;
  /** Said once it is done. */
  readonly then: string;
  readonly scenario: Scenario;
}

function scenario(id: string, knobs: string, setup: string, script: string, compose: string): Scenario {
  return { id: `tour-${id}`, title: '', about: '', group: 'tour', knobs, setup, script, fix: null, compose };
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
dma 8 0x4000000000 count=48 stride=22M
dma 9 0x4000000000 count=16 stride=1M
unmap 8 0x4000000000 bytes=1G
`;
const ONE = 'tlbi_nh_va asid=3 address=0x4000000000 leaf=1';

export const LESSONS: readonly Lesson[] = [
  {
    title: 'What a TLB holds',
    text: 'A device does not use physical addresses. Its address, an IOVA, goes through translation tables in memory, and the SMMU reads up to four descriptors to find where it leads. That is slow, so the result is kept in the IOTLB. Here nothing has been kept yet.',
    task: 'Press “DMA read” under Guest and devices, and watch a cell of the IOTLB fill. Press it again: the second time is a hit.',
    done: ({ panels }) => panels.counters.hits > 0,
    then: 'One miss, four descriptor reads, one entry; then a hit without a single read.',
    scenario: scenario('holds', 'sets=8 ways=4', PAGES, '', ONE),
  },
  {
    title: 'A table changes, a TLB does not',
    text: 'The driver unmaps the page: it clears the descriptor in memory. The IOTLB does not watch memory. What it kept is now stale, and the device still reaches a page that may belong to somebody else.',
    task: 'Press “Unmap it”, then “DMA read” once more.',
    done: ({ panels }) => panels.access?.stale === true,
    then: 'The DMA landed in memory that the tables no longer name. The entry is marked by a purple corner.',
    scenario: scenario('stale', 'sets=8 ways=4', FILLED, '', ONE),
  },
  {
    title: 'Invalidation names what must go',
    text: 'So the driver sends a command: CMD_TLBI_NH_VA names an ASID and an address. Entries that it would drop have a red frame before anything is sent: the preview is a dry run of the same code that will drop them.',
    task: 'Press “Send” in the command composer.',
    done: ({ panels }) => (panels.last?.dropped ?? 0) > 0,
    then: 'One command, one entry. CMD_SYNC, which a driver sends next, completes only when the entry has gone.',
    scenario: scenario('name', 'sets=8 ways=4', `${FILLED}unmap 8 0x4000000000 bytes=4K\n`, '', ONE),
  },
  {
    title: 'A storm',
    text: '1 GiB has been unmapped: 262,144 pages of 4 KiB. Without range invalidation the driver names each of them: 262,144 commands, 4 MiB through a queue of a few slots. Only 47 entries are in the IOTLB at all, but the driver cannot know which.',
    task: 'Press “Run”, and wait for the last command.',
    done: ({ panels }) => panels.counters.commands >= 262_144,
    then: '262,144 commands, 47 entries dropped. On Linux this has held a CPU for 26 seconds.',
    scenario: scenario('storm', 'sets=16 ways=8', GIB, 'storm tlbi_nh_va asid=3 address=0x4000000000 leaf=1 count=262144 stride=4K\nsync\n', ONE),
  },
  {
    title: 'One range',
    text: 'IDR3.RIL brings a range to the command: (NUM + 1) · 2^SCALE units of the granule that TG names. SCALE = 18 is 262,144 pages of 4 KiB: one command does what the storm did. The other stream’s entries have another ASID: they stay.',
    task: 'Drag the right edge of the red frame in the address space, or set SCALE to 18, until everything of ASID 3 has a red frame. Then send.',
    done: ({ panels }) => (panels.last?.dropped ?? 0) >= 47,
    then: '16 bytes instead of 4 MiB. That is why one command replaced 262,144.',
    scenario: scenario('range', 'sets=16 ways=8', GIB, '', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=0 scale=3 ttl=3 leaf=1'),
  },
  {
    title: 'TTL: a promise about levels',
    text: 'TTL tells at which level the leaves are, so that an SMMU need not look for other sizes. These leaves are 2 MiB blocks, at level 2, and the command says 3. This device is strict: it believes the driver, and every stale entry stays.',
    task: 'Choose an entry in the IOTLB to see which predicate spares it. Then correct TTL to 2 in the composer.',
    done: ({ preview, slot }) => slot >= 0 && (preview?.needed ?? 0) > 0,
    then: 'With the right level all of them go. A wrong TTL works on lenient devices and fails on strict ones; TTL = 0 says nothing, and is always right.',
    scenario: scenario('ttl', 'sets=8 ways=4 strict=1', `stream 8 asid=3
map 8 0x4000000000 pa=0x2000000000 bytes=32M with=block
dma 8 0x4000000000 count=16 stride=2M
unmap 8 0x4000000000 bytes=32M
`, '', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=9 ttl=3 leaf=1'),
  },
  {
    title: 'Leaf: what about the tables?',
    text: 'The SMMU remembers tables on the way to leaves too, so that the next miss is shorter. Leaf = 1 says that only leaves have changed. Here a whole table was freed and its page is used for something else: the walk cache still leads into it.',
    task: 'Send the command with Leaf = 1 and press “DMA read”: it lands in foreign memory. Then clear Leaf, send again, and read once more.',
    done: ({ panels }) => panels.counters.stale > 0 && panels.access !== null && !panels.access.ok && !panels.access.stale,
    then: 'Leaf = 0 took the tables as well. You can now say why an entry survives: look for the first predicate that fails.',
    scenario: scenario('leaf', 'sets=8 ways=4', `stream 8 asid=3
map 8 0x4000000000 pa=0x2000000000 bytes=2M with=page
dma 8 0x4000000000 count=8 stride=4K
free 8 0x4000000000 level=2
reuse pa=0x6660000000
`, '', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=5 ttl=3 leaf=1'),
  },
];
