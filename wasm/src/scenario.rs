//! The library of scenarios: what a driver does, right and wrong. D numbers are real drivers' mistakes.

use serde::Serialize;

#[derive(Serialize)]
pub(crate) struct Scenario {
    id: &'static str,
    title: &'static str,
    about: &'static str,
    knobs: &'static str,
    /// Done before the reader looks.
    setup: &'static str,
    script: &'static str,
    /// What the driver should have done instead.
    fix: Option<&'static str>,
    /// What the composer begins with.
    compose: &'static str,
    group: &'static str,
}

/// Two buffers in use: 1 GiB by 4 KiB pages at 0x40_0000_0000, and others beside it.
const GIB: &str = "stream 8 asid=3
stream 9 asid=7
map 8 0x4000000000 pa=0x2000000000 bytes=1G with=page
map 8 0x4040000000 pa=0x2040000000 bytes=512M with=block
map 9 0x4000000000 pa=0x2100000000 bytes=16M with=page
dma 8 0x4000000000 count=48 stride=22M
dma 8 0x4040000000 count=16 stride=32M
dma 9 0x4000000000 count=16 stride=1M
";

const PAGES: &str = "stream 8 asid=3
map 8 0x4000000000 pa=0x2000000000 bytes=2M with=page
dma 8 0x4000000000 count=16 stride=4K
";

const BLOCKS: &str = "stream 8 asid=3
map 8 0x4000000000 pa=0x2000000000 bytes=64M with=block
dma 8 0x4000000000 count=16 stride=2M
";

const NESTED: &str = "stream 8 asid=3 vmid=7 stages=12
map 8 0x10000000 pa=0x2010000000 bytes=2M with=page stage=2
map 8 0x4000000000 pa=0x10000000 bytes=2M with=block
dma 8 0x4000000000 count=24 stride=64K
";

const RANGE: &str = "tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=0 scale=18 ttl=3 leaf=1";
const ONE: &str = "tlbi_nh_va asid=3 address=0x4000000000 leaf=1";

macro_rules! scenarios {
    ($($group:literal $id:literal $title:literal $knobs:literal $setup:ident $compose:expr, $about:literal $script:literal $(fix $fix:literal)?;)*) => {
        pub(crate) const ALL: &[Scenario] = &[$(Scenario {
            id: $id, title: $title, about: $about, knobs: $knobs, setup: $setup, script: $script,
            fix: scenarios!(@fix $($fix)?), compose: $compose, group: $group,
        }),*];
    };
    (@fix $fix:literal) => { Some($fix) };
    (@fix) => { None };
}

scenarios! {
    "1 GiB" "storm" "1 GiB unmapped, one command a page" "" GIB ONE,
    "Without range invalidation a driver names every page: 262,144 commands of 16 bytes, 4 MiB through the queue. Press run, and watch how little each of them does."
    "unmap 8 0x4000000000 bytes=1G
storm tlbi_nh_va asid=3 address=0x4000000000 leaf=1 count=262144 stride=4K
sync
dma 8 0x4000000000"
    fix "unmap 8 0x4000000000 bytes=1G
linux 8 0x4000000000 bytes=1G
dma 8 0x4000000000";

    "1 GiB" "range" "1 GiB unmapped, one range command" "" GIB RANGE,
    "IDR3.RIL = 1: NUM, SCALE and TG name a range. One command does what 262,144 did."
    "unmap 8 0x4000000000 bytes=1G
linux 8 0x4000000000 bytes=1G
dma 8 0x4000000000";

    "1 GiB" "blocks" "1 GiB in 2 MiB blocks, one command a block" "" BLOCKS ONE,
    "Larger leaves need fewer commands: 512 for 1 GiB. Here 32 blocks of 2 MiB are unmapped."
    "unmap 8 0x4000000000 bytes=64M
storm tlbi_nh_va asid=3 address=0x4000000000 leaf=1 count=32 stride=2M
sync
dma 8 0x4000000000"
    fix "unmap 8 0x4000000000 bytes=64M
linux 8 0x4000000000 bytes=64M ttl=2
dma 8 0x4000000000";

    "1 GiB" "minus" "1 GiB minus a page" "" GIB RANGE,
    "A length is (NUM + 1) · 2^SCALE pages. 262,143 is no such number: four commands, lowest first."
    "unmap 8 0x4000000000 bytes=1G-4K
linux 8 0x4000000000 bytes=1G-4K
dma 8 0x403ffff000";

    "Hints" "ttl" "Wrong TTL: a table of blocks is removed (D3)" "strict=1" BLOCKS "tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=31 scale=9 ttl=3",
    "TTL = 3 promises that every leaf in the range is a 4 KiB page. These are 2 MiB blocks: a strict device keeps them all. (Linux, 2023.)"
    "free 8 0x4000000000 level=1
tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=31 scale=9 ttl=3
sync
dma 8 0x4000000000"
    fix "free 8 0x4000000000 level=1
tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=31 scale=9 ttl=0
sync
dma 8 0x4000000000";

    "Hints" "leaf" "Leaf = 1 after a table was freed" "" PAGES "tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=5 ttl=3 leaf=1",
    "The driver frees a table, and its page is used for something else. Leaf = 1 says that tables stay as they are: the walk cache goes on leading into the freed page."
    "free 8 0x4000000000 level=2
reuse pa=0x6660000000
tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=5 ttl=3 leaf=1
sync
dma 8 0x4000040000"
    fix "free 8 0x4000000000 level=2
reuse pa=0x6660000000
tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=5 leaf=0
sync
dma 8 0x4000040000";

    "Hints" "ill" "A granule without a range (D4)" "" PAGES "tlbi_nh_va asid=3 address=0x4000000000 tg=1 leaf=1",
    "TG is set, but NUM, SCALE and TTL are all 0: a reserved form. The command queue stops with CERROR_ILL, and nothing after it runs. (Linux, 2023.)"
    "unmap 8 0x4000000000 bytes=4K
tlbi_nh_va asid=3 address=0x4000000000 tg=1 leaf=1
sync
dma 8 0x4000000000"
    fix "unmap 8 0x4000000000 bytes=4K
tlbi_nh_va asid=3 address=0x4000000000 tg=1 ttl=3 leaf=1
sync
dma 8 0x4000000000";

    "Hints" "strict" "Passes here, stale on the board (D10)" "strict=1" BLOCKS "tlbi_nh_va asid=3 address=0x4000000000 tg=3 num=3 scale=8 ttl=2 leaf=1",
    "The tables are made of 4 KiB granules, and TG says 64 KiB. A natural device takes it as a hint; a strict one compares it, and keeps every entry. Turn the knob."
    "unmap 8 0x4000000000 bytes=64M
tlbi_nh_va asid=3 address=0x4000000000 tg=3 num=3 scale=8 ttl=2 leaf=1
sync
dma 8 0x4000000000"
    fix "unmap 8 0x4000000000 bytes=64M
tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=31 scale=9 ttl=2 leaf=1
sync
dma 8 0x4000000000";

    "Hints" "bits" "Address bits leaked into TTL (D13)" "strict=1" PAGES "tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=7 scale=1 ttl=2 leaf=1",
    "An operand made for a CPU's TLBI: two stray bits make TTL = 2, where the leaves are at level 3. A strict device keeps all of them."
    "unmap 8 0x4000000000 bytes=64K
tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=7 scale=1 ttl=2 leaf=1
sync
dma 8 0x4000000000"
    fix "unmap 8 0x4000000000 bytes=64K
tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=7 scale=1 ttl=3 leaf=1
sync
dma 8 0x4000000000";

    "Scope" "first" "Only the first page of a range (D1)" "" PAGES ONE,
    "Sixteen pages are unmapped and one is invalidated: fifteen stale entries. (Linux, 2015.)"
    "unmap 8 0x4000000000 bytes=64K
tlbi_nh_va asid=3 address=0x4000000000 leaf=1
sync
dma 8 0x4000004000"
    fix "unmap 8 0x4000000000 bytes=64K
linux 8 0x4000000000 bytes=64K
dma 8 0x4000004000";

    "Scope" "none" "No invalidation at all (D11)" "" PAGES ONE,
    "A stale hit, and nobody knows whether anything was invalidated. Select the entry: it tells who filled it, when, and that no command has asked about it."
    "unmap 8 0x4000000000 bytes=16K
dma 8 0x4000001000"
    fix "unmap 8 0x4000000000 bytes=16K
linux 8 0x4000000000 bytes=16K
dma 8 0x4000001000";

    "Scope" "asid" "By ASID: global entries stay" "" PAGES "tlbi_nh_asid asid=3",
    "CMD_TLBI_NH_ASID spares global entries (nG = 0), since they belong to every ASID. CMD_TLBI_NH_VA takes them."
    "map 8 0x4000400000 pa=0x2000400000 bytes=64K with=page global
dma 8 0x4000400000 count=8 stride=4K
unmap 8 0x4000000000 bytes=8M
tlbi_nh_asid asid=3
sync
dma 8 0x4000400000"
    fix "map 8 0x4000400000 pa=0x2000400000 bytes=64K with=page global
dma 8 0x4000400000 count=8 stride=4K
unmap 8 0x4000000000 bytes=8M
tlbi_nh_asid asid=3
linux 8 0x4000400000 bytes=64K
dma 8 0x4000400000";

    "Scope" "shift" "The operand shifted by the page size (D13)" "" PAGES "tlbi_nh_va asid=3 address=0x4000000 leaf=1",
    "A CPU's TLBI takes the address shifted right by 12; the SMMU's command holds it in place. The wrong addresses are invalidated."
    "unmap 8 0x4000000000 bytes=4K
tlbi_nh_va asid=3 address=0x4000000 leaf=1
sync
dma 8 0x4000000000"
    fix "unmap 8 0x4000000000 bytes=4K
tlbi_nh_va asid=3 address=0x4000000000 leaf=1
sync
dma 8 0x4000000000";

    "Scope" "noril" "Range fields without RIL" "ril=0" PAGES "tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=0 ttl=3 leaf=1",
    "IDR3.RIL = 0: NUM, SCALE, TG and TTL do not exist. The range command is taken as one page."
    "unmap 8 0x4000000000 bytes=64K
tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=15 scale=0 ttl=3 leaf=1
sync
dma 8 0x4000004000"
    fix "unmap 8 0x4000000000 bytes=64K
storm tlbi_nh_va asid=3 address=0x4000000000 leaf=1 count=16 stride=4K
sync
dma 8 0x4000004000";

    "Scope" "off" "A size that is off by one (D2)" "" PAGES ONE,
    "The loop counts bytes down by pages, and its size is no multiple: it never ends. The same command goes out again and again. (Linux, 2022; here it is stopped after 4,096.)"
    "unmap 8 0x4000000000 bytes=64K
storm tlbi_nh_va asid=3 address=0x4000000000 leaf=1 count=4096 stride=0
sync
dma 8 0x4000004000"
    fix "unmap 8 0x4000000000 bytes=64K
linux 8 0x4000000000 bytes=64K
dma 8 0x4000004000";

    "Queue" "sync" "No CMD_SYNC before the memory is used again (D12)" "" PAGES "sync",
    "The commands wait in the queue, and the driver hands the page to somebody else. Until CMD_SYNC completes, a device still reaches it."
    "unmap 8 0x4000000000 bytes=4K
put tlbi_nh_va asid=3 address=0x4000000000 leaf=1
dma 8 0x4000000000
sync
dma 8 0x4000000000"
    fix "unmap 8 0x4000000000 bytes=4K
put tlbi_nh_va asid=3 address=0x4000000000 leaf=1
sync
dma 8 0x4000000000";

    "Queue" "wrap" "The wrap bit is lost on the second lap (D7)" "queue=3" PAGES ONE,
    "Eight slots. The driver writes PROD = 1 where 9 is meant: index 1, wrap bit 1. The device sees a queue that makes no sense and leaves it alone. (UEFI, 2025.)"
    "storm tlbi_nh_va asid=3 address=0x7000000000 leaf=1 count=7
unmap 8 0x4000000000 bytes=4K
put tlbi_nh_va asid=3 address=0x4000000000 leaf=1
put sync
reg CMDQ_PROD 1
dma 8 0x4000000000"
    fix "storm tlbi_nh_va asid=3 address=0x7000000000 leaf=1 count=7
unmap 8 0x4000000000 bytes=4K
put tlbi_nh_va asid=3 address=0x4000000000 leaf=1
put sync
reg CMDQ_PROD 9
dma 8 0x4000000000";

    "Stages" "nested" "Stage 1 block over stage 2 pages" "" NESTED "tlbi_nh_va vmid=7 asid=3 address=0x4000000000 leaf=1",
    "A 2 MiB block of stage 1 lies on 4 KiB pages of stage 2: the IOTLB holds 4 KiB pieces, and each remembers the block. One command at the block takes all of them."
    "unmap 8 0x4000000000 bytes=2M
tlbi_nh_va vmid=7 asid=3 address=0x4000000000 leaf=1
sync
dma 8 0x4000010000";

    "Stages" "s2ipa" "S2_IPA alone (D8)" "" NESTED "tlbi_s2_ipa vmid=7 address=0x10000000 tg=1 num=15 scale=5 ttl=3",
    "A hypervisor unmaps stage 2 and sends CMD_TLBI_S2_IPA. It names entries of stage 2 alone: the combined ones stay, and \"it did not seem to work\". (UEFI, 2025.)"
    "unmap 8 0x10000000 bytes=2M stage=2
tlbi_s2_ipa vmid=7 address=0x10000000 tg=1 num=15 scale=5 ttl=3
sync
dma 8 0x4000000000"
    fix "unmap 8 0x10000000 bytes=2M stage=2
tlbi_s2_ipa vmid=7 address=0x10000000 tg=1 num=15 scale=5 ttl=3
tlbi_nh_all vmid=7
sync
dma 8 0x4000000000";

    "Stages" "vmid" "The other VMID" "" NESTED "tlbi_s12_vmall vmid=6",
    "CMD_TLBI_S12_VMALL drops everything of one guest. Of the wrong one, it drops nothing."
    "unmap 8 0x4000000000 bytes=2M
tlbi_s12_vmall vmid=6
sync
dma 8 0x4000000000"
    fix "unmap 8 0x4000000000 bytes=2M
tlbi_s12_vmall vmid=7
sync
dma 8 0x4000000000";

    "Drivers" "linux" "A conversation with Linux" "" GIB RANGE,
    "How Linux maps, uses and unmaps: single pages by one command, buffers by ranges, a whole table with Leaf = 0."
    "map 8 0x7fff000000 pa=0x2200000000 bytes=128K with=page
dma 8 0x7fff000000 count=8 stride=16K
unmap 8 0x7fff000000 bytes=128K
linux 8 0x7fff000000 bytes=128K
map 8 0x7ffe000000 pa=0x2210000000 bytes=4K with=page
dma 8 0x7ffe000000 write
unmap 8 0x7ffe000000 bytes=4K
linux 8 0x7ffe000000 bytes=4K
unmap 8 0x4040000000 bytes=512M
linux 8 0x4040000000 bytes=512M ttl=2
free 8 0x4000000000 level=1
linux 8 0x4000000000 bytes=1G leaf=0 ttl=0
dma 8 0x4000000000
events";

    "Drivers" "bbm" "Break before make? (D9)" "" BLOCKS "tlbi_nh_va asid=3 address=0x4000000000 tg=1 num=0 scale=9 ttl=2 leaf=1",
    "BBML 2: a block may become a table that says the same, without going through an invalid descriptor. The old entry is still right. Changing one page of it is another matter."
    "split 8 0x4000000000
dma 8 0x4000001000
remap 8 0x4000001000 pa=0x2200000000
dma 8 0x4000001000
linux 8 0x4000000000 bytes=2M ttl=0
dma 8 0x4000001000";

    "Drivers" "evict" "A TLB of one entry" "sets=1 ways=1" PAGES ONE,
    "Two pages in turn, room for one: every access misses and evicts. Invalidation has little to do."
    "dma 8 0x4000000000 count=12 stride=4K
unmap 8 0x4000000000 bytes=64K
linux 8 0x4000000000 bytes=64K
dma 8 0x4000000000";
}
