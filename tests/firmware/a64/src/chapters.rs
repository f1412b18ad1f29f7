//! What is tried, chapter by chapter.

use guest::command::{self, Command, Range};
use guest::descriptor::{block, page, read_only_page, table};
use guest::{register, ste};

use crate::machine::Direction::{FromMemory, ToMemory};
use crate::machine::{EDU_STREAM, dma, find_edu, read32, say, write_words, write32, write64};
use crate::memory::{
    A, ASID, B, BLOCK, C, CD, LARGE, OFFSET, SOURCE, STAGE1, STREAM_LEAVES, STREAM_TABLE, TOKEN, VA, clear,
    context, landing, set_level2, set_page, set_ste,
};
use crate::smmu::{enable, errors, events, get, queues, recover, run, set, set64};
use crate::stage2;

const ALL_ON: u32 = register::cr0::SMMUEN | register::cr0::EVENTQEN | register::cr0::CMDQEN;
const LOG2_EVENTS: u32 = 5;
/// CR2.RECINVSID: StreamIDs out of range are recorded.
const RECINVSID: u32 = 1 << 1;

/// All of it.
pub(crate) fn all() {
    identify();
    reset_values();
    find_edu();
    bypass();
    boot(LOG2_EVENTS);
    translations();
    invalidations();
    faults();
    configurations();
    granules();
    commands();
    overflow();
    if get(register::IDR0) & 1 != 0 {
        stage2::stage2();
    }
    // Last, since some devices never come back to one level.
    two_levels();
}

fn identify() {
    say!("# identification");
    for (name, offset) in [
        ("IDR0", register::IDR0),
        ("IDR1", register::IDR1),
        ("IDR2", register::IDR2),
        ("IDR3", register::IDR3),
        ("IDR4", register::IDR4),
        ("IDR5", register::IDR5),
        ("IIDR", register::IIDR),
        ("AIDR", register::AIDR),
    ] {
        say!("{name}: {:#010x}", get(offset));
    }
}

fn reset_values() {
    say!("# after reset");
    for (name, offset) in [
        ("CR0", register::CR0),
        ("CR0ACK", register::CR0ACK),
        ("CR1", register::CR1),
        ("CR2", register::CR2),
        ("GBPA", register::GBPA),
        ("IRQ_CTRL", register::IRQ_CTRL),
        ("GERROR", register::GERROR),
        ("GERRORN", register::GERRORN),
        ("STRTAB_BASE_CFG", register::STRTAB_BASE_CFG),
        ("CMDQ_PROD", register::CMDQ_PROD),
        ("CMDQ_CONS", register::CMDQ_CONS),
        ("EVENTQ_PROD", register::EVENTQ_PROD),
    ] {
        say!("reset {name}: {:#010x}", get(offset));
    }
}

/// SMMUEN = 0: addresses pass, or with GBPA.ABORT do not.
fn bypass() {
    say!("# while SMMUEN = 0");
    clear();
    write32(SOURCE, TOKEN);
    dma(SOURCE, 4, FromMemory);
    landing();
    attempt("bypass", A);
    let before = get(register::GBPA);
    set(register::GBPA, before | 1 << 20);
    say!("GBPA.ABORT without Update: {}", get(register::GBPA) >> 20 & 1);
    set(register::GBPA, before | 1 << 31 | 1 << 20);
    while get(register::GBPA) >> 31 != 0 {}
    say!("GBPA.ABORT with Update: {}", get(register::GBPA) >> 20 & 1);
    attempt("GBPA.ABORT", A);
    set(register::GBPA, before & !(1 << 20) | 1 << 31);
    while get(register::GBPA) >> 31 != 0 {}
    attempt("bypass again", A);
}

/// As Linux does it: structures, command queue, invalidations, event queue, translation.
pub(crate) fn boot(log2_events: u32) {
    say!("# boot");
    enable(0);
    clear();
    set(register::CR1, 0);
    set(register::CR2, RECINVSID);
    set64(register::STRTAB_BASE, STREAM_TABLE);
    set(register::STRTAB_BASE_CFG, 5);
    queues(log2_events);
    enable(register::cr0::CMDQEN);
    say!("CFGI_ALL: {}", run(&[command::cfgi_all()]));
    say!("TLBI_NSNH_ALL: {}", run(&[command::tlbi_nsnh_all()]));
    enable(register::cr0::CMDQEN | register::cr0::EVENTQEN);
    set(register::IRQ_CTRL, register::irq_ctrl::EVENTQ_IRQEN | register::irq_ctrl::GERROR_IRQEN);
    say!("IRQ_CTRLACK: {:#x}", get(register::IRQ_CTRLACK));
    enable(ALL_ON);
    say!("CR0ACK: {:#x}", get(register::CR0ACK));
    // A guarded register keeps its value; where it does not, it gets it back.
    set(register::STRTAB_BASE_CFG, 4);
    say!("STRTAB_BASE_CFG while SMMUEN = 1: {:#x}", get(register::STRTAB_BASE_CFG));
    set(register::STRTAB_BASE_CFG, 5);
}

/// A DMA write to `address`: where it lands, and what is recorded.
pub(crate) fn attempt(what: &str, address: u64) {
    dma(address + OFFSET, 4, ToMemory);
    say!("{what}: {}", landing());
    events(LOG2_EVENTS);
}

/// Commands that are expected to be consumed.
pub(crate) fn obey(commands: &[Command]) {
    let error = run(commands);
    if error != 0 {
        say!("refused: {error}");
        recover();
    }
}

fn translations() {
    say!("# translations");
    set_page(0, page(A));
    set_page(1, page(C));
    attempt("page", VA);
    attempt("the next page", VA + 0x1000);
    attempt("page again", VA);

    // A read, through another mapping; what was read is written elsewhere.
    set_page(2, read_only_page(SOURCE));
    write32(SOURCE + 0x40, !TOKEN);
    dma(VA + 0x2040, 4, FromMemory);
    dma(VA + OFFSET, 4, ToMemory);
    say!("what was read: {:#010x}", !read32(A + OFFSET));

    // Across a page boundary: 8 bytes, half to each page.
    write32(SOURCE + 0x80, 1);
    write32(SOURCE + 0x84, 2);
    dma(VA + 0x2080, 8, FromMemory);
    dma(VA + 0xffc, 8, ToMemory);
    say!("across pages: {} {}", read32(A + 0xffc), read32(C));
    dma(VA + 0x2000, 4, FromMemory);
    events(LOG2_EVENTS);

    set_level2(block(BLOCK));
    obey(&[command::tlbi_nh_va(0, ASID, VA & !0x1f_ffff, Range::default()), command::tlbi_nh_all(0)]);
    attempt("block", VA & !0x1f_ffff);
    attempt("third page of the block", (VA & !0x1f_ffff) + 0x2000);
    set_level2(table(STAGE1[2]));
    obey(&[command::tlbi_nh_all(0)]);
    attempt("page after the block", VA);
}

/// A page is sent elsewhere; after each of these a DMA must land there.
fn invalidations() {
    say!("# invalidation");
    let one = |num, scale, ttl| Range { num, scale, tg: 1, ttl };
    let rows: [(&str, [Command; 2]); 10] = [
        ("NH_VA", [command::tlbi_nh_va(0, ASID, VA, Range::default()), command::sync()]),
        ("NH_VAA", [command::tlbi_nh_vaa(0, VA, Range::default()), command::sync()]),
        ("NH_VA of one page, TTL 3", [command::tlbi_nh_va(0, ASID, VA, one(0, 0, 3)), command::sync()]),
        ("NH_VA of two pages", [command::tlbi_nh_va(0, ASID, VA - 0x1000, one(1, 0, 3)), command::sync()]),
        (
            "NH_VA of 3 pages, odd start",
            [command::tlbi_nh_va(0, ASID, VA - 0x2000, one(2, 0, 3)), command::sync()],
        ),
        (
            "NH_VA of 31 << 5 pages",
            [command::tlbi_nh_va(0, ASID, VA - 0x10_0000, one(30, 5, 3)), command::sync()],
        ),
        ("NH_VAA of 1 GiB", [command::tlbi_nh_vaa(0, VA & !0x3fff_ffff, one(0, 18, 0)), command::sync()]),
        ("NH_ASID", [command::tlbi_nh_asid(0, ASID), command::sync()]),
        ("NH_ALL", [command::tlbi_nh_all(0), command::sync()]),
        ("NSNH_ALL", [command::tlbi_nsnh_all(), command::sync()]),
    ];
    for (target, (name, commands)) in [B, A].into_iter().cycle().zip(rows) {
        set_page(0, page(target));
        obey(&commands);
        attempt(name, VA);
    }
    set_page(0, 0);
    obey(&[command::tlbi_nh_va(0, ASID, VA, Range::default())]);
    attempt("unmapped", VA);
    set_page(0, page(A));
    attempt("mapped again", VA);
}

fn faults() {
    say!("# translation faults");
    attempt("not mapped", VA + 0x8000);
    attempt("no table", VA + 0x4000_0000);
    attempt("beyond TxSZ", 1 << 39);
    attempt("in the upper half", 0xffff_ff80_0000_0000);
    set_page(3, read_only_page(A));
    attempt("read-only", VA + 0x3000);
    set_page(4, page(A) & !(1 << 10));
    attempt("Access flag", VA + 0x4000);
    set_page(5, page(1 << 45));
    attempt("beyond IPS", VA + 0x5000);
    // Privileged alone: AP[1] = 0.
    set_page(6, page(A) & !(1 << 6));
    attempt("privileged page", VA + 0x6000);
    set_page(7, page(A) & !0b10);
    attempt("reserved descriptor", VA + 0x7000);

    // A table where there is no memory.
    set_level2(table(0x1_0000_0000));
    obey(&[command::tlbi_nh_all(0)]);
    attempt("table abort", VA);
    set_level2(table(STAGE1[2]));
    // APTable: no writes.
    set_level2(table(STAGE1[2]) | 1 << 62);
    obey(&[command::tlbi_nh_all(0)]);
    attempt("APTable", VA);
    set_level2(table(STAGE1[2]));
    obey(&[command::tlbi_nh_all(0)]);
    attempt("well again", VA);
}

fn configurations() {
    say!("# configuration");
    let with_ste = |name: &str, words: &[u64; 8], address: u64| {
        set_ste(words);
        obey(&[command::cfgi_ste(EDU_STREAM)]);
        attempt(name, address);
    };
    with_ste("STE.V = 0", &ste::INVALID, VA);
    with_ste("STE.Config = abort", &ste::ABORT, VA);
    with_ste("STE.Config = bypass", &ste::BYPASS, A);
    with_ste("STE whose CD is nowhere", &ste::stage1(0x1_0000_0000), VA);
    with_ste("STE of stage 1", &ste::stage1(CD), VA);

    let with_cd = |name: &str, change: fn(&mut [u64; 8])| {
        let mut words = context();
        change(&mut words);
        write_words(CD, &words);
        obey(&[command::cfgi_cd(EDU_STREAM, 0), command::tlbi_nh_all(0)]);
        attempt(name, VA);
    };
    with_cd("CD.V = 0", |words| words[0] &= !(1 << 31));
    with_cd("CD.AA64 = 0", |words| words[0] &= !(1 << 41));
    with_cd("CD.EPD0 = 1", |words| words[0] |= 1 << 14);
    with_cd("CD.R = 0", |words| {
        words[0] &= !(1 << 45);
        words[0] |= 1 << 14;
    });
    with_cd("CD.T0SZ = 5", |words| words[0] = words[0] & !0x3f | 5);
    with_cd("CD.IPS = 32 bits", |words| words[0] &= !(7 << 32));
    with_cd("CD.ASID = 9", |words| words[0] = words[0] & !(0xffff << 48) | 9 << 48);
    with_cd("CD as before", |_| {});
    // TBI0: the top byte is ignored.
    attempt("tagged address", VA | 0x5a << 56);
    with_cd("CD.TBI0", |words| words[0] |= 1 << 38);
    attempt("tagged address, TBI0", VA | 0x5a << 56);
    with_cd("CD as before", |_| {});

    // The stream table ends before the device's StreamID, or lies where there is no memory.
    for (name, base, log2) in [
        ("STRTAB LOG2SIZE = 3", STREAM_TABLE, 3),
        ("STRTAB nowhere", 0x1_0000_0000, 5),
        ("STRTAB as before", STREAM_TABLE, 5),
    ] {
        enable(ALL_ON & !register::cr0::SMMUEN);
        set64(register::STRTAB_BASE, base);
        set(register::STRTAB_BASE_CFG, log2);
        enable(ALL_ON);
        obey(&[command::cfgi_all()]);
        attempt(name, VA);
    }
}

/// 16 KiB and 64 KiB: one block or page each, in tables of two levels.
fn granules() {
    say!("# granules");
    for (name, tg0, t0sz, shift) in [("16 KiB", 0b10, 28, 14), ("64 KiB", 0b01, 22, 16)] {
        // 36 and 42 bits of input: levels 2 and 3.
        let stride = shift - 3;
        let mut words = context();
        words[0] = words[0] & !0xff | tg0 << 6 | t0sz;
        words[1] = LARGE[0];
        write_words(CD, &words);
        let address = 5 << (shift + stride) | 3 << shift;
        write64(LARGE[0] + 5 * 8, table(LARGE[1]));
        write64(LARGE[1] + 3 * 8, page(C));
        obey(&[command::cfgi_cd(EDU_STREAM, 0), command::tlbi_nh_all(0)]);
        attempt(name, address);
        let tg = if shift == 14 { 2 } else { 3 };
        write64(LARGE[1] + 3 * 8, page(A));
        let range = Range { num: 0, scale: 1, tg, ttl: 3 };
        obey(&[command::tlbi_nh_va(0, ASID, address, range)]);
        attempt("after a range", address);
        attempt("the page behind", address + (1 << shift));
        write64(LARGE[0] + 5 * 8, 0);
        write64(LARGE[1] + 3 * 8, 0);
    }
    write_words(CD, &context());
    obey(&[command::cfgi_cd(EDU_STREAM, 0), command::tlbi_nh_all(0)]);
    attempt("4 KiB again", VA);
}

/// A stream table of two levels, SPLIT = 8: the device's leaf is the first.
fn two_levels() {
    say!("# a stream table of two levels");
    write_words(STREAM_LEAVES + u64::from(EDU_STREAM) * 64, &ste::stage1(CD));
    let spans = [("Span = 9", 9), ("Span = 4", 4), ("Span = 3", 3), ("Span = 0", 0), ("Span = 9 again", 9)];
    enable(ALL_ON & !register::cr0::SMMUEN);
    set(register::STRTAB_BASE_CFG, 10 | 8 << 6 | 1 << 16);
    enable(ALL_ON);
    for (name, span) in spans {
        write64(STREAM_TABLE, STREAM_LEAVES | span);
        obey(&[command::cfgi_all()]);
        attempt(name, VA);
    }
    enable(ALL_ON & !register::cr0::SMMUEN);
    write64(STREAM_TABLE, 0);
    set(register::STRTAB_BASE_CFG, 5);
    enable(ALL_ON);
    obey(&[command::cfgi_all()]);
    attempt("one level again", VA);
}

/// Which opcodes are consumed, and what becomes of one that is not.
fn commands() {
    say!("# commands");
    say!("opcode 0xfe: error {}", run(&[[0xfe, 0]]));
    say!("GERROR: {:#x}", errors());
    say!("acknowledged: {:#x}", recover());
    say!("GERROR: {:#x}", errors());
    for row in 0..16 {
        let mut signs = [b'.'; 16];
        for (column, sign) in (0..).zip(&mut signs) {
            if run(&[[row << 4 | column, 0]]) == 0 {
                *sign = b'+';
            } else {
                recover();
            }
        }
        say!("opcodes {row:#x}_: {}", core::str::from_utf8(&signs).unwrap_or_default());
    }
    for (name, command) in [
        ("SYNC with CS = 3", [0x46 | 0b11 << 12, 0]),
        (
            "NH_VA with TG and nothing else",
            command::tlbi_nh_va(0, ASID, VA, Range { tg: 1, ..Range::default() }),
        ),
        ("CFGI_STE_RANGE", [0x04 | u64::from(EDU_STREAM) << 32, 3]),
        ("CFGI_CD_ALL", command::cfgi_cd_all(EDU_STREAM)),
        ("PREFETCH_CONFIG", command::prefetch_config(EDU_STREAM)),
    ] {
        let error = run(&[command]);
        say!("{name}: error {error}");
        if error != 0 {
            recover();
        }
    }
    attempt("after all commands", VA);
}

/// An event queue of two: the third record is lost, and that is told.
fn overflow() {
    boot(1);
    say!("# overflow of the event queue");
    for number in 1..=4 {
        dma(VA + OFFSET, 4, ToMemory);
        say!("{number}: EVENTQ_PROD {:#x} GERROR {:#x}", get(register::EVENTQ_PROD), get(register::GERROR));
    }
    events(1);
    say!("EVENTQ_CONS: {:#x}", get(register::EVENTQ_CONS));
    dma(VA + OFFSET, 4, ToMemory);
    say!("one more: EVENTQ_PROD {:#x}", get(register::EVENTQ_PROD));
    events(1);
    boot(LOG2_EVENTS);
    set_page(0, page(A));
    attempt("after a new start", VA);
}
