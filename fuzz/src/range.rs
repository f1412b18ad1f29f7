//! One TLBI command over a full IOTLB, against the page-by-page truth.
//!
//! Every address is mapped: tables lead to themselves again and again, with pages, contiguous runs and blocks of all sizes among
//! them. Two devices remember the same translations; one takes hints for hints, the other takes every command to the letter.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bit 0 no walk cache, 1 somebody who watches, `[3:2]` geometry |
//! | 1 | how many accesses, modulo 32 |
//! | for each: 1 | stream `[3:0]` modulo 9; bit 4 relative, bit 5 the upper half |
//! | 5 or 2 | address bits `[51:12]`, or a signed distance (1) from the last one in units of 4 KiB << (1) |
//! | 1 | opcode, one of [`OPCODES`] |
//! | 1, 1 | NUM `[4:0]`, SCALE `[5:0]` |
//! | 1 | TTL `[1:0]`, TG `[3:2]`, Leaf bit 4, bit 5 relative, bit 6 the upper half |
//! | 1 | VMID `[2:0]`, ASID `[5:3]` |
//! | 5 or 2 | the address, as above; relative to the first access |

use smmuv3::arch::addr::Stage;
use smmuv3::arch::id::StreamWorld;
use smmuv3::{Iova, StreamId, Transaction};
use smmuv3_tests::bits::{Record, Words};
use smmuv3_tests::commands::{self, Command, field, opcode};
use smmuv3_tests::kept_nested::Fact;
use smmuv3_tests::tables::{Grain, Ste, cd, descriptor, ste};

use crate::input::Input;
use crate::kept::{Kept, live};
use crate::machine::{Device, Machine};
use crate::memory::Ram;
use crate::world::{
    CONTEXTS, EVENT_QUEUE, FEATURES, LENT_END, LOG2_STREAMS, STREAM_TABLE, World, boot, settings,
};

/// The commands, by number modulo their count.
pub const OPCODES: [u8; 12] = [
    opcode::TLBI_NH_VA,
    opcode::TLBI_NH_VAA,
    opcode::TLBI_S2_IPA,
    opcode::TLBI_EL2_VA,
    opcode::TLBI_EL2_VAA,
    opcode::TLBI_NH_ASID,
    opcode::TLBI_NH_ALL,
    opcode::TLBI_S12_VMALL,
    opcode::TLBI_NSNH_ALL,
    opcode::TLBI_EL2_ALL,
    opcode::TLBI_NH_VA,
    opcode::TLBI_NH_VAA,
];

/// Granule, start level and input bits of each stream's tables; VMIDs 1 to 3 have two ASIDs each, then stage 2 and NS-EL2.
const SHAPES: [(Grain, u32, u32); 9] = [
    (Grain::K4, 0, 48),
    (Grain::K4, 0, 48),
    (Grain::K16, 1, 47),
    (Grain::K16, 1, 47),
    (Grain::K64, 2, 42),
    (Grain::K64, 2, 42),
    (Grain::K4, 1, 39),
    (Grain::K4, 0, 48),
    (Grain::K4, 1, 39),
];
const STAGE_2: usize = 6;
const EL2: usize = 7;

/// VMID, ASID, StreamWorld and stage that a stream's translations are tagged with.
const fn tags(stream: usize) -> (u16, u16, StreamWorld, Stage) {
    match stream {
        STAGE_2 => (4, 0, StreamWorld::El1, Stage::S2),
        EL2 => (0, 0, StreamWorld::El2, Stage::S1),
        8 => (5, 1, StreamWorld::El1, Stage::S1),
        stream => (1 + stream as u16 / 2, 1 + stream as u16 % 2, StreamWorld::El1, Stage::S1),
    }
}

/// Runs the command in `data`.
pub fn run(data: &[u8]) {
    let _ = try_run(&mut Input::new(data));
}

fn try_run(input: &mut Input<'_>) -> Option<()> {
    let plan = input.byte()?;
    let mut accesses = Vec::with_capacity(32);
    let mut last = 0;
    for _ in 0..input.byte()? % 32 {
        let what = input.byte()?;
        let stream = usize::from(what & 0xf) % SHAPES.len();
        last = address(input, what & 0x10 != 0, what & 0x20 != 0, last, SHAPES[stream].2)?;
        accesses.push((stream, last));
    }
    let opcode = OPCODES[usize::from(input.byte()?) % OPCODES.len()];
    let [num, scale, hints, ids] = input.bytes()?.map(u64::from);
    let first = accesses.first().map_or(0, |access| access.1);
    let operand = address(input, hints & 0x20 != 0, hints & 0x40 != 0, first, 64)?;
    let command = commands::plain(opcode)
        .with(field::NUM, num & 0x1f)
        .with(field::SCALE, scale & 0x3f)
        .with(field::TTL, hints & 3)
        .with(field::TG, hints >> 2 & 3)
        .with(field::LEAF, hints >> 4 & 1)
        .with(field::VMID, ids & 7)
        .with(field::ASID, ids >> 3 & 7)
        .with(field::ADDRESS, operand >> 12)
        .0;

    let mut seen: Option<(Vec<Fact>, Vec<Fact>)> = None;
    for strict in [false, true] {
        crate::on_machine(world(), |machine| {
            let left = obey(machine, plan, strict, &accesses, command);
            if let Some((held, natural)) = &seen {
                let (held_here, strict) = &left;
                assert_eq!(held, held_here, "the two devices have not remembered the same");
                let more = natural.iter().find(|fact| !strict.contains(fact));
                assert!(more.is_none(), "{command:x?}: kept, although to the letter it goes: {more:x?}");
            }
            seen = Some(left);
        });
    }
    Some(())
}

/// Fills a device, gives it the command, and compares what is left with the truth. Returns what it held before and after.
fn obey(
    machine: &mut Machine,
    plan: u8,
    strict: bool,
    accesses: &[(usize, u64)],
    command: Command,
) -> (Vec<Fact>, Vec<Fact>) {
    let choice = plan >> 2 & 3 | u8::from(strict) << 2 | (plan & 1) << 3;
    machine.smmu.clone_from(world().device(choice));
    machine.watch.is_watching = plan & 2 != 0;
    for &(stream, address) in accesses {
        let _ = machine.translate(&Transaction::read(StreamId(stream as u32), Iova(address)));
    }
    let held: Vec<_> = live(&machine.smmu).collect();
    machine.produce(command);
    machine.ring();
    let left: Vec<_> = live(&machine.smmu).collect();

    let mut judge = Kept::of(&machine.smmu);
    let may_stay = judge.survivors(&machine.smmu, &held, command);
    for fact in &held {
        let stays = may_stay.contains(fact);
        let is_left = left.contains(fact);
        assert!(stays || !is_left, "{command:x?} leaves {fact:x?}");
        assert_eq!(
            stays,
            !is_named(command, fact),
            "{command:x?}: two readings of the architecture: {fact:x?}"
        );
        assert!(
            !strict || is_left || !stays || !is_certain(command),
            "{command:x?} to the letter takes {fact:x?} as well"
        );
    }
    assert!(left.iter().all(|fact| held.contains(fact)), "an invalidation has made entries");

    // What answers now without memory was remembered, and what was remembered answers.
    machine.ram.is_unplugged = true;
    for &(stream, address) in accesses {
        let (vmid, asid, world, stage) = tags(stream);
        let is_held = machine.smmu.iotlb().entries().any(|(_, entry)| {
            (entry.space.vmid.0, entry.space.world, entry.space.stage) == (vmid, world, stage)
                && (entry.global || entry.space.asid.0 == asid)
                && address >> entry.log2_size == entry.input >> entry.log2_size
        });
        let answer = machine.translate_unjudged(&Transaction::read(StreamId(stream as u32), Iova(address)));
        assert_eq!(answer.is_ok(), is_held, "stream {stream}, {address:#x}: {answer:x?}");
    }
    (held, left)
}

/// An address of `bits`, sign-extended if `upper`.
fn address(input: &mut Input<'_>, relative: bool, upper: bool, last: u64, bits: u32) -> Option<u64> {
    if relative {
        let [distance, shift] = input.bytes()?;
        let distance = i64::from(distance as i8) << (12 + u32::from(shift) % 40);
        return Some(last.wrapping_add_signed(distance) & !0xfff);
    }
    let mut bytes = [0; 8];
    bytes[..5].copy_from_slice(&input.bytes::<5>()?);
    let address = u64::from_le_bytes(bytes) << 12;
    Some(if upper { address | u64::MAX << bits.min(52) } else { address & (u64::MAX >> (64 - bits)) })
}

/// The page-by-page truth: is any 4 KiB page of what `fact` stands for among those that the command names? A run of pages is
/// among them if its first or last page is, or if it has the command's first.
fn is_named(command: Command, fact: &Fact) -> bool {
    let raw = Record(command);
    let get = |at| raw.get(at);
    let code = get(field::OPCODE) as u8;
    let by_address = matches!(
        code,
        opcode::TLBI_NH_VA
            | opcode::TLBI_NH_VAA
            | opcode::TLBI_EL2_VA
            | opcode::TLBI_EL2_VAA
            | opcode::TLBI_S2_IPA
    );
    let (tg, ttl) = (get(field::TG), get(field::TTL));
    // 16 KiB has no blocks at level 1: reserved, and taken as no level.
    let ttl = if tg == 0b10 && ttl == 1 { 0 } else { ttl };
    if by_address && tg != 0 && get(field::NUM) == 0 && get(field::SCALE) == 0 && ttl == 0 {
        return false; // CERROR_ILL
    }
    let (is_el2, is_ipa, vmid, asid, grain, level, base, log2, is_table) = match fact {
        Fact::Entry(entry) => {
            let own = if entry.is_ipa { entry.s2 } else { entry.s1 }.expect("its own stage took part");
            let base = entry.base >> own.log2 << own.log2;
            let el2 = entry.world != smmuv3_tests::oracle_nested::World::El1;
            (el2, entry.is_ipa, entry.vmid, entry.asid, own.grain, own.level, base, own.log2, false)
        }
        Fact::Table(table) => {
            let log2 = table.grain.level_shift(table.level);
            let el2 = table.world != smmuv3_tests::oracle_nested::World::El1;
            (el2, table.is_ipa, table.vmid, table.asid, table.grain, table.level, table.base, log2, true)
        }
        Fact::Context(_) => return false,
    };
    let is_global = asid.is_none();
    let of_vmid = u64::from(vmid) == get(field::VMID);
    let of_asid = asid == Some(get(field::ASID) as u16);
    let whose = match code {
        opcode::TLBI_NSNH_ALL => !is_el2,
        opcode::TLBI_S12_VMALL => !is_el2 && of_vmid,
        opcode::TLBI_NH_ALL => !is_el2 && of_vmid && !is_ipa,
        opcode::TLBI_NH_ASID => !is_el2 && of_vmid && !is_ipa && of_asid,
        opcode::TLBI_NH_VA => !is_el2 && of_vmid && !is_ipa && (of_asid || is_global),
        opcode::TLBI_NH_VAA => !is_el2 && of_vmid && !is_ipa,
        opcode::TLBI_S2_IPA => !is_el2 && of_vmid && is_ipa,
        opcode::TLBI_EL2_ALL | opcode::TLBI_EL2_VA | opcode::TLBI_EL2_VAA => is_el2,
        _ => false,
    };
    if !whose || !by_address {
        return whose;
    }
    if !is_certain(command) {
        return false; // the range is UNPREDICTABLE
    }
    let hints = match tg {
        0 => !is_table || get(field::LEAF) == 0,
        _ => {
            let same = grain.tlbi_tg() == tg;
            let at_level = if is_table {
                ttl == 0 || u64::from(level) < ttl
            } else {
                ttl == 0 || u64::from(level) == ttl
            };
            same && at_level && (!is_table || get(field::LEAF) == 0)
        }
    };
    let shift = [12, 12, 14, 16][tg as usize];
    let start = if code == opcode::TLBI_S2_IPA { get(field::IPA) } else { get(field::ADDRESS) };
    let start = u128::from(start << 12);
    let units = if tg == 0 { 1 } else { u128::from(get(field::NUM) + 1) << get(field::SCALE) };
    let end = start + (units << shift); // at most 2^65 + 2^84
    let is_page_named = |page: u128| start <= page && page < end;
    let (first, last) = (u128::from(base), u128::from(base) + (1 << log2) - 4096);
    let same_half = base >> 63 == (start as u64) >> 63;
    hints && same_half && (is_page_named(first) || is_page_named(last) || first <= start && start <= last)
}

/// Does the architecture say precisely what the command names? Not for an address that is aligned to less than its hints say, or
/// that is no address.
fn is_certain(command: Command) -> bool {
    let raw = Record(command);
    let code = raw.get(field::OPCODE) as u8;
    let is_virtual =
        matches!(code, opcode::TLBI_NH_VA | opcode::TLBI_NH_VAA | opcode::TLBI_EL2_VA | opcode::TLBI_EL2_VAA);
    if !is_virtual && code != opcode::TLBI_S2_IPA {
        return true;
    }
    let start = if is_virtual { raw.get(field::ADDRESS) } else { raw.get(field::IPA) } << 12;
    let grain = match raw.get(field::TG) {
        0 => return !is_virtual || matches!(start as i64 >> 52, 0 | -1),
        1 => Grain::K4,
        2 => Grain::K16,
        _ => Grain::K64,
    };
    let log2 = match (grain, raw.get(field::TTL)) {
        (grain, 0) | (grain @ Grain::K16, 1) => grain.shift(),
        (grain, ttl) => grain.level_shift(ttl as u32),
    };
    start & ((1 << log2) - 1) == 0 && (!is_virtual || matches!(start as i64 >> 52, 0 | -1))
}

/// The machine: tables for every granule in which each address is mapped.
fn world() -> &'static World {
    thread_local!(static WORLD: &'static World = Box::leak(Box::new(build())));
    WORLD.with(|world| *world)
}

fn build() -> World {
    let smmu = Device::new(FEATURES, settings(0)).expect("a geometry that fits");
    let mut ram = Ram::new(0x6_0000, EVENT_QUEUE..LENT_END);
    let mut next = 0x8000u64;
    let mut streams = Vec::new();
    let mut roots: Vec<u64> = Vec::new();
    for (stream, &(grain, start, bits)) in SHAPES.iter().enumerate() {
        // Streams of one VMID share their tables, the last has those of an earlier one from level 1 on.
        let root = match stream {
            1 | 3 | 5 => roots[stream - 1],
            EL2 => roots[0],
            8 => roots[0] + 4096,
            _ => tables(&mut ram, &mut next, grain, start, stream == STAGE_2),
        };
        roots.push(root);
        let (vmid, asid, world, _) = tags(stream);
        let context = CONTEXTS + 64 * stream as u64;
        let txsz = u64::from(64 - bits);
        let mut cd = cd::lower(cd::of(asid, 5), grain, txsz, root);
        if world == StreamWorld::El1 {
            cd = cd::upper(cd, grain, txsz, root);
        }
        for (n, &word) in (0..).zip(&cd.0) {
            ram.set_word(context + 8 * n, word);
        }
        let ste: Ste = match stream {
            STAGE_2 => ste::of(ste::STAGE_2)
                .with(ste::S2VMID, 4)
                .with(ste::S2T0SZ, txsz)
                .with(ste::S2SL0, 1)
                .with(ste::S2PS, 5)
                .with(ste::S2AA64, 1)
                .with(ste::S2R, 1)
                .with(ste::S2TTB, root >> 4),
            EL2 => ste::stage1(context, 0).with(ste::STRW, 0b10),
            _ => ste::stage1(context, vmid),
        };
        streams.push(ste);
        for (n, &word) in (0..).zip(&ste.0) {
            ram.set_word(STREAM_TABLE + 64 * stream as u64 + 8 * n, word);
        }
    }
    assert!(streams.len() <= 1 << LOG2_STREAMS && next <= ram.len());
    let mut machine = Machine::new(smmu, ram);
    boot(&mut machine);
    machine.ram.settle();
    World {
        machine,
        trees: Vec::new(),
        contexts: Vec::new(),
        streams,
        frames: Default::default(),
        devices: Default::default(),
    }
}

/// One table for each level, whose entries all lead to the next: every fourth is a block where there are blocks, pages are runs
/// in the upper half of the last table, and every seventh page is global.
fn tables(ram: &mut Ram, next: &mut u64, grain: Grain, start: u32, stage2: bool) -> u64 {
    let bytes = grain.bytes();
    let root = next.next_multiple_of(bytes);
    *next = root + bytes * u64::from(4 - start);
    let attributes = if stage2 { descriptor::S2_RW } else { descriptor::S1_RW };
    for level in start..4 {
        let table = root + bytes * u64::from(level - start);
        let shift = grain.level_shift(level);
        let entries = bytes / 8;
        for index in 0..entries {
            let is_block = grain.leaf_allowed(level) && (level == 3 || index % 4 == 3);
            let run = if level == 3 && index >= entries / 2 { grain.contiguous(3) } else { 1 };
            let output =
                0x4000_0000_0000 | ((index / run * run * 5 % entries / run * run) + index % run) << shift;
            let global = level == 3 && !stage2 && (index / run) % 7 == 0;
            let attributes = match (is_block, stage2) {
                (false, _) => Record::ZERO,
                (true, true) => attributes.with(descriptor::CONTIGUOUS, u64::from(run > 1)),
                (true, false) => attributes
                    .with(descriptor::CONTIGUOUS, u64::from(run > 1))
                    .with(descriptor::NG, u64::from(!global)),
            };
            let word = if is_block {
                descriptor::leaf(grain, level, output & 0xffff_ffff_ffff, attributes)
            } else {
                descriptor::table(grain, table + bytes, attributes)
            };
            ram.set_word(table + 8 * index, word);
        }
    }
    root
}
