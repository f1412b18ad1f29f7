// The library of scenarios: what a driver does, right and wrong. D numbers are real drivers' and devices' mistakes.
// `{panel|word}` in a text leads to that panel.

export interface Scenario {
  readonly id: string;
  readonly title: string;
  readonly about: string;
  readonly group: string;
  readonly knobs: string;
  /** Done before the reader looks. */
  readonly setup: string;
  readonly script: string;
  /** What the driver should have done instead. */
  readonly fix: string | null;
  /** What the composer begins with. */
  readonly compose: string;
}

/** Two buffers in use: 1 GiB by 4 KiB pages at 0x40_0000_0000, and others beside it. */
const GIB = `stream 8 asid=3
stream 9 asid=7
map 8 0x4000000000 pa=0x2000000000 bytes=1G with=page
map 8 0x4040000000 pa=0x2040000000 bytes=512M with=block
map 9 0x4000000000 pa=0x2100000000 bytes=16M with=page
dma 8 0x4000000000 count=48 stride=22M
dma 8 0x4040000000 count=16 stride=32M
dma 9 0x4000000000 count=16 stride=1M
`;

const GIB_BLOCKS = `stream 8 asid=3
stream 9 asid=7
map 8 0x4000000000 pa=0x2000000000 bytes=1G with=block
map 9 0x4000000000 pa=0x2100000000 bytes=16M with=page
dma 8 0x4000000000 count=64 stride=16M
dma 9 0x4000000000 count=16 stride=1M
`;

const PAGES = `stream 8 asid=3
map 8 0x4000000000 pa=0x2000000000 bytes=2M with=page
dma 8 0x4000000000 count=16 stride=4K
`;

const BLOCKS = `stream 8 asid=3
map 8 0x4000000000 pa=0x2000000000 bytes=64M with=block
dma 8 0x4000000000 count=16 stride=2M
`;

const NESTED = `stream 8 asid=3 vmid=7 stages=12
map 8 0x10000000 pa=0x2010000000 bytes=2M with=page stage=2
map 8 0x4000000000 pa=0x10000000 bytes=2M with=block
dma 8 0x4000000000 count=24 stride=64K
`;

const RANGE = 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=0 scale=18 ttl=3 leaf=1';
const ONE = 'tlbi_nh_va asid=3 address=0x4000000000 leaf=1';

const lines = (...all: readonly string[]): string => `${all.join('\n')}\n`;

export const SCENARIOS: readonly Scenario[] = [
  {
    group: '1 GiB', id: 'storm', title: '1 GiB unmapped, one command a page (D5)', knobs: '', setup: GIB, compose: ONE,
    about: 'Without range invalidation a driver names every page: 262,144 commands of 16 bytes, 4 MiB through the {queue|queue}. Press {time|Run}, and watch how little each of them does. On Linux in 2023 it took a CPU 26 seconds.',
    script: lines('unmap 8 0x4000000000 bytes=1G', 'storm tlbi_nh_va asid=3 address=0x4000000000 leaf=1 count=262144 stride=4K', 'sync', 'dma 8 0x4000000000'),
    fix: lines('unmap 8 0x4000000000 bytes=1G', 'linux 8 0x4000000000 bytes=1G', 'dma 8 0x4000000000'),
  },
  {
    group: '1 GiB', id: 'range', title: '1 GiB unmapped, one range command', knobs: '', setup: GIB, compose: RANGE,
    about: '{registers|IDR3.RIL} = 1: NUM, SCALE and TG of the {composer|command} name a range. One command does what 262,144 did.',
    script: lines('unmap 8 0x4000000000 bytes=1G', 'linux 8 0x4000000000 bytes=1G', 'dma 8 0x4000000000'),
    fix: null,
  },
  {
    group: '1 GiB', id: 'blocks', title: '1 GiB in 2 MiB blocks, one command a block', knobs: '', setup: GIB_BLOCKS, compose: ONE,
    about: 'Larger leaves need fewer commands: 512 for 1 GiB in blocks of 2 MiB, each in the {band|second lane}. A range still needs one.',
    script: lines('unmap 8 0x4000000000 bytes=1G', 'storm tlbi_nh_va asid=3 address=0x4000000000 leaf=1 count=512 stride=2M', 'sync', 'dma 8 0x4000000000'),
    fix: lines('unmap 8 0x4000000000 bytes=1G', 'linux 8 0x4000000000 bytes=1G ttl=2', 'dma 8 0x4000000000'),
  },
  {
    group: '1 GiB', id: 'minus', title: '1 GiB minus a page', knobs: '', setup: GIB, compose: RANGE,
    about: 'A length is (NUM + 1) · 2^SCALE pages. 262,143 is no such number: four commands, lowest first. The {log|log} lists them.',
    script: lines('unmap 8 0x4000000000 bytes=1G-4K', 'linux 8 0x4000000000 bytes=1G-4K', 'dma 8 0x403ffff000'),
    fix: null,
  },
  {
    group: 'Hints', id: 'ttl', title: 'Wrong TTL: a table of blocks is removed (D3)', knobs: 'strict=1', setup: BLOCKS,
    compose: 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=31 scale=9 ttl=3',
    about: 'TTL = 3 promises that every leaf in the range is a 4 KiB page. These are 2 MiB blocks: a strict device keeps them all. Choose one in the {iotlb|IOTLB} to see {why|which predicate spares it}. (Linux, 2023.)',
    script: lines('free 8 0x4000000000 level=1', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=31 scale=9 ttl=3', 'sync', 'dma 8 0x4000000000'),
    fix: lines('free 8 0x4000000000 level=1', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=31 scale=9 ttl=0', 'sync', 'dma 8 0x4000000000'),
  },
  {
    group: 'Hints', id: 'leaf', title: 'Leaf = 1 after a table was freed', knobs: '', setup: PAGES,
    compose: 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=5 ttl=3 leaf=1',
    about: 'The driver frees a table, and its page is used for something else. Leaf = 1 says that tables stay as they are: the {configuration|walk cache} goes on leading into the freed page.',
    script: lines('free 8 0x4000000000 level=2', 'reuse pa=0x6660000000', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=5 ttl=3 leaf=1', 'sync', 'dma 8 0x4000040000'),
    fix: lines('free 8 0x4000000000 level=2', 'reuse pa=0x6660000000', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=5 leaf=0', 'sync', 'dma 8 0x4000040000'),
  },
  {
    group: 'Hints', id: 'ill', title: 'A granule without a range (D4)', knobs: '', setup: PAGES, compose: 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 leaf=1',
    about: 'TG is set, but NUM, SCALE and TTL are all 0: a reserved form. The {queue|command queue} stops with CERROR_ILL, and nothing after it runs. (Linux, 2023.)',
    script: lines('unmap 8 0x4000000000 bytes=4K', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 leaf=1', 'sync', 'dma 8 0x4000000000'),
    fix: lines('unmap 8 0x4000000000 bytes=4K', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 ttl=3 leaf=1', 'sync', 'dma 8 0x4000000000'),
  },
  {
    group: 'Hints', id: 'strict', title: 'Passes here, stale on the board (D10)', knobs: 'strict=1', setup: BLOCKS,
    compose: 'tlbi_nh_va asid=3 address=0x4000000000 tg=3 num=3 scale=8 ttl=2 leaf=1',
    about: 'The tables are made of 4 KiB granules, and TG says 64 KiB. A natural device takes it as a hint; a strict one compares it, and keeps every entry. Turn the knob “Hints”.',
    script: lines('unmap 8 0x4000000000 bytes=64M', 'tlbi_nh_va asid=3 address=0x4000000000 tg=3 num=3 scale=8 ttl=2 leaf=1', 'sync', 'dma 8 0x4000000000'),
    fix: lines('unmap 8 0x4000000000 bytes=64M', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=31 scale=9 ttl=2 leaf=1', 'sync', 'dma 8 0x4000000000'),
  },
  {
    group: 'Hints', id: 'bits', title: 'Address bits leaked into TTL (D13)', knobs: 'strict=1', setup: PAGES,
    compose: 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=7 scale=1 ttl=2 leaf=1',
    about: 'An operand made for a CPU’s TLBI: two stray bits make TTL = 2, where the leaves are at level 3. A strict device keeps all of them.',
    script: lines('unmap 8 0x4000000000 bytes=64K', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=7 scale=1 ttl=2 leaf=1', 'sync', 'dma 8 0x4000000000'),
    fix: lines('unmap 8 0x4000000000 bytes=64K', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=7 scale=1 ttl=3 leaf=1', 'sync', 'dma 8 0x4000000000'),
  },
  {
    group: 'Scope', id: 'first', title: 'Only the first page of a range (D1)', knobs: '', setup: PAGES, compose: ONE,
    about: 'Sixteen pages are unmapped and one is invalidated: fifteen {iotlb|stale entries}. (Linux, 2015.)',
    script: lines('unmap 8 0x4000000000 bytes=64K', 'tlbi_nh_va asid=3 address=0x4000000000 leaf=1', 'sync', 'dma 8 0x4000004000'),
    fix: lines('unmap 8 0x4000000000 bytes=64K', 'linux 8 0x4000000000 bytes=64K', 'dma 8 0x4000004000'),
  },
  {
    group: 'Scope', id: 'off', title: 'A size that is off by one (D2)', knobs: '', setup: PAGES, compose: ONE,
    about: 'The loop counts bytes down by pages, and its size is no multiple: it never ends. The same command goes out again and again. (Linux, 2022; here it is stopped after 4,096.)',
    script: lines('unmap 8 0x4000000000 bytes=64K', 'storm tlbi_nh_va asid=3 address=0x4000000000 leaf=1 count=4096 stride=0', 'sync', 'dma 8 0x4000004000'),
    fix: lines('unmap 8 0x4000000000 bytes=64K', 'linux 8 0x4000000000 bytes=64K', 'dma 8 0x4000004000'),
  },
  {
    group: 'Scope', id: 'none', title: 'No invalidation at all (D11)', knobs: '', setup: PAGES, compose: ONE,
    about: 'A stale hit, and nobody knows whether anything was invalidated. Select the {iotlb|entry}: {why|it tells} who filled it, when, and that no command has asked about it.',
    script: lines('unmap 8 0x4000000000 bytes=16K', 'dma 8 0x4000001000'),
    fix: lines('unmap 8 0x4000000000 bytes=16K', 'linux 8 0x4000000000 bytes=16K', 'dma 8 0x4000001000'),
  },
  {
    group: 'Scope', id: 'asid', title: 'By ASID: global entries stay', knobs: '', setup: PAGES, compose: 'tlbi_nh_asid asid=3',
    about: 'CMD_TLBI_NH_ASID spares global entries (nG = 0), since they belong to every ASID. CMD_TLBI_NH_VA takes them.',
    script: lines('map 8 0x4000400000 pa=0x2000400000 bytes=64K with=page global', 'dma 8 0x4000400000 count=8 stride=4K', 'unmap 8 0x4000000000 bytes=8M', 'tlbi_nh_asid asid=3', 'sync', 'dma 8 0x4000400000'),
    fix: lines('map 8 0x4000400000 pa=0x2000400000 bytes=64K with=page global', 'dma 8 0x4000400000 count=8 stride=4K', 'unmap 8 0x4000000000 bytes=8M', 'tlbi_nh_asid asid=3', 'linux 8 0x4000400000 bytes=64K', 'dma 8 0x4000400000'),
  },
  {
    group: 'Scope', id: 'shift', title: 'The operand shifted by the page size (D13)', knobs: '', setup: PAGES, compose: 'tlbi_nh_va asid=3 address=0x4000000 leaf=1',
    about: 'A CPU’s TLBI takes the address shifted right by 12; the SMMU’s command holds it in place. The wrong {band|addresses} are invalidated.',
    script: lines('unmap 8 0x4000000000 bytes=4K', 'tlbi_nh_va asid=3 address=0x4000000 leaf=1', 'sync', 'dma 8 0x4000000000'),
    fix: lines('unmap 8 0x4000000000 bytes=4K', 'tlbi_nh_va asid=3 address=0x4000000000 leaf=1', 'sync', 'dma 8 0x4000000000'),
  },
  {
    group: 'Scope', id: 'noril', title: 'Range fields without RIL', knobs: 'ril=0', setup: PAGES, compose: 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=0 ttl=3 leaf=1',
    about: '{registers|IDR3.RIL} = 0: NUM, SCALE, TG and TTL do not exist. The range command is taken as one page.',
    script: lines('unmap 8 0x4000000000 bytes=64K', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=0 ttl=3 leaf=1', 'sync', 'dma 8 0x4000004000'),
    fix: lines('unmap 8 0x4000000000 bytes=64K', 'storm tlbi_nh_va asid=3 address=0x4000000000 leaf=1 count=16 stride=4K', 'sync', 'dma 8 0x4000004000'),
  },
  {
    group: 'Queue', id: 'sync', title: 'No CMD_SYNC before the memory is used again (D12)', knobs: '', setup: PAGES, compose: 'sync',
    about: 'The commands wait in the {queue|queue}, and the driver hands the page to somebody else. Until CMD_SYNC completes, a device still reaches it.',
    script: lines('unmap 8 0x4000000000 bytes=4K', 'put tlbi_nh_va asid=3 address=0x4000000000 leaf=1', 'dma 8 0x4000000000', 'sync', 'dma 8 0x4000000000'),
    fix: lines('unmap 8 0x4000000000 bytes=4K', 'put tlbi_nh_va asid=3 address=0x4000000000 leaf=1', 'sync', 'dma 8 0x4000000000'),
  },
  {
    group: 'Queue', id: 'wrap', title: 'The wrap bit is lost on the second lap (D7)', knobs: 'queue=3', setup: PAGES, compose: ONE,
    about: 'Eight slots. The driver writes PROD = 1 where 9 is meant: index 1, wrap bit 1. The device sees a {queue|queue} that makes no sense and leaves it alone. (UEFI, 2025.)',
    script: lines('storm tlbi_nh_va asid=3 address=0x7000000000 leaf=1 count=7', 'unmap 8 0x4000000000 bytes=4K', 'put tlbi_nh_va asid=3 address=0x4000000000 leaf=1', 'put sync', 'reg CMDQ_PROD 1', 'dma 8 0x4000000000'),
    fix: lines('storm tlbi_nh_va asid=3 address=0x7000000000 leaf=1 count=7', 'unmap 8 0x4000000000 bytes=4K', 'put tlbi_nh_va asid=3 address=0x4000000000 leaf=1', 'put sync', 'reg CMDQ_PROD 9', 'dma 8 0x4000000000'),
  },
  {
    group: 'Stages', id: 'nested', title: 'Stage 1 block over stage 2 pages', knobs: '', setup: NESTED, compose: 'tlbi_nh_va vmid=7 asid=3 address=0x4000000000 leaf=1',
    about: 'A 2 MiB block of stage 1 lies on 4 KiB pages of stage 2: the {iotlb|IOTLB} holds 4 KiB pieces, and each remembers the block. One command at the block takes all of them.',
    script: lines('unmap 8 0x4000000000 bytes=2M', 'tlbi_nh_va vmid=7 asid=3 address=0x4000000000 leaf=1', 'sync', 'dma 8 0x4000010000'),
    fix: null,
  },
  {
    group: 'Stages', id: 's2ipa', title: 'S2_IPA alone (D8)', knobs: '', setup: NESTED, compose: 'tlbi_s2_ipa vmid=7 address=0x10000000 tg=1 num=15 scale=5 ttl=3',
    about: 'A hypervisor unmaps stage 2 and sends CMD_TLBI_S2_IPA. It names entries of stage 2 alone: the combined ones stay, and “it did not seem to work”. (UEFI, 2025.)',
    script: lines('unmap 8 0x10000000 bytes=2M stage=2', 'tlbi_s2_ipa vmid=7 address=0x10000000 tg=1 num=15 scale=5 ttl=3', 'sync', 'dma 8 0x4000000000'),
    fix: lines('unmap 8 0x10000000 bytes=2M stage=2', 'tlbi_s2_ipa vmid=7 address=0x10000000 tg=1 num=15 scale=5 ttl=3', 'tlbi_nh_all vmid=7', 'sync', 'dma 8 0x4000000000'),
  },
  {
    group: 'Stages', id: 'vmid', title: 'The wrong scope: another VMID (D13)', knobs: '', setup: NESTED, compose: 'tlbi_s12_vmall vmid=6',
    about: 'CMD_TLBI_S12_VMALL drops everything of one guest. Of the wrong one, it drops nothing.',
    script: lines('unmap 8 0x4000000000 bytes=2M', 'tlbi_s12_vmall vmid=6', 'sync', 'dma 8 0x4000000000'),
    fix: lines('unmap 8 0x4000000000 bytes=2M', 'tlbi_s12_vmall vmid=7', 'sync', 'dma 8 0x4000000000'),
  },
  {
    group: 'Drivers', id: 'linux', title: 'A conversation with Linux', knobs: '', setup: GIB, compose: RANGE,
    about: 'How Linux maps, uses and unmaps: single pages by one command, buffers by ranges, a whole table with Leaf = 0.',
    script: lines(
      'map 8 0x7fff000000 pa=0x2200000000 bytes=128K with=page', 'dma 8 0x7fff000000 count=8 stride=16K', 'unmap 8 0x7fff000000 bytes=128K', 'linux 8 0x7fff000000 bytes=128K',
      'map 8 0x7ffe000000 pa=0x2210000000 bytes=4K with=page', 'dma 8 0x7ffe000000 write', 'unmap 8 0x7ffe000000 bytes=4K', 'linux 8 0x7ffe000000 bytes=4K',
      'unmap 8 0x4040000000 bytes=512M', 'linux 8 0x4040000000 bytes=512M ttl=2', 'free 8 0x4000000000 level=1', 'linux 8 0x4000000000 bytes=1G leaf=0 ttl=0', 'dma 8 0x4000000000', 'events',
    ),
    fix: null,
  },
  {
    group: 'Drivers', id: 'bbm', title: 'Break before make? (D9)', knobs: '', setup: BLOCKS, compose: 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=0 scale=9 ttl=2 leaf=1',
    about: 'BBML = 2: a block may become a table that says the same, without going through an invalid descriptor; the old {iotlb|entry} is still right. Moving one page of it is another matter: until the block is invalidated, a device may see either.',
    script: lines('split 8 0x4000000000', 'dma 8 0x4000001000', 'remap 8 0x4000001000 pa=0x2200000000', 'dma 8 0x4000001000'),
    fix: lines('split 8 0x4000000000', 'dma 8 0x4000001000', 'unmap 8 0x4000001000 bytes=4K', 'linux 8 0x4000000000 bytes=2M ttl=0', 'map 8 0x4000001000 pa=0x2200000000 bytes=4K with=page', 'dma 8 0x4000001000'),
  },
  {
    group: 'Devices', id: 'index', title: 'A walk cache that looks in the wrong place (D6)', knobs: '', setup: PAGES,
    compose: 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=5 leaf=1',
    about: 'Tegra194 and Tegra234 index their walk cache one way when they fill it and another way when they invalidate: tables outlive the command that names them. This model has no such fault; Leaf = 1, which spares tables, stands in for it. The remedy was to never free a table: only leaves change.',
    script: lines('free 8 0x4000000000 level=2', 'reuse pa=0x6660000000', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=5 leaf=1', 'sync', 'map 8 0x4000000000 pa=0x2200000000 bytes=64K with=page', 'dma 8 0x4000004000'),
    fix: lines('unmap 8 0x4000000000 bytes=2M', 'tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=5 leaf=1', 'sync', 'map 8 0x4000000000 pa=0x2200000000 bytes=64K with=page', 'dma 8 0x4000004000'),
  },
  {
    group: 'Devices', id: 'evict', title: 'A TLB of one entry', knobs: 'sets=1 ways=1', setup: PAGES, compose: ONE,
    about: 'Two pages in turn, room for one: every access misses and evicts. Invalidation has little to do.',
    script: lines('dma 8 0x4000000000 count=12 stride=4K', 'unmap 8 0x4000000000 bytes=64K', 'linux 8 0x4000000000 bytes=64K', 'dma 8 0x4000000000'),
    fix: null,
  },
];
