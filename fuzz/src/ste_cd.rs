//! Hostile structures: stream tables, STEs, CDs and translation tables of any content, found by registers of any content.
//!
//! Nothing remembered: translation is the walk without caches, and a second time, remembered, it is the same. Where the STE is
//! follows from the registers by another reading of §3.3.1 and §6.3.25 ([`locate`]).
//!
//! Actions, each one byte and what it needs, little-endian:
//!
//! | byte, modulo 8 | action | then |
//! |---|---|---|
//! | 0 | flip bits of an STE | StreamID (1), word (1), bits (8) |
//! | 1 | flip bits of a CD | which (1), word (1), bits (8) |
//! | 2 | STRTAB_BASE_CFG and STRTAB_BASE, as [`stream_table`] says | value (4), base (1) |
//! | 3 | write a level 1 stream table descriptor | which (1), Span (1), pointer (1), bits flipped (8) |
//! | 4 | flip bits of a descriptor | tree (1), table (1), entry (1), bits (8) |
//! | 5 | a transaction | StreamID (4), flags (1), SubstreamID (2), address (8) |
//! | 6 | a transaction to what an entry translates | StreamID (1), flags (1), table (1), entry (1) |
//! | 7 | write CR2 | value (1) |
//!
//! Flags: bit 0 a write, 1 privileged, 2 an instruction fetch, 3 with SubstreamID; for 6, SubstreamID `[5:4]`, bit 6 the
//! upper half.

use smmuv3::{EventKind, Iova, Response, StreamId, SubstreamId, Transaction};
use smmuv3_tests::bits::Words;
use smmuv3_tests::driver::value;

use crate::guest::{place, tree_of};
use crate::input::Input;
use crate::machine::Machine;
use crate::world::{LOG2_STREAMS, STREAM_TABLE, World, reg};

/// Where level 1 stream table descriptors are written: four pages after the linear table.
const L1_TABLE: u64 = 0x3000;
/// IDR1.SIDSIZE
const SIDSIZE: u32 = 16;

/// Runs the actions in `data`.
pub fn run(data: &[u8]) {
    let world = World::get();
    crate::on_machine(world, |machine| {
        machine.asks_what_is_kept = false;
        machine.watch.is_watching = true; // which STE is read has to be told
        let mut strtab = (STREAM_TABLE, LOG2_STREAMS);
        let mut input = Input::new(data);
        while act(&mut input, machine, world, &mut strtab).is_some() {}
    });
}

fn act(input: &mut Input<'_>, machine: &mut Machine, world: &World, strtab: &mut (u64, u32)) -> Option<()> {
    match input.byte()? % 8 {
        0 => {
            let sid = u64::from(input.byte()? % 16);
            flip(machine, STREAM_TABLE + 64 * sid + 8 * u64::from(input.byte()? % 8), input.dword()?);
        }
        1 => {
            let context = world.contexts[usize::from(input.byte()?) % world.contexts.len()];
            let pa = match context.is_virtual {
                true => world.frames[(context.location >> 12) as usize][0] + (context.location & 0xfff),
                false => context.location,
            };
            flip(machine, pa + 8 * u64::from(input.byte()? % 8), input.dword()?);
        }
        2 => {
            let (config, base) = (input.word()?, input.byte()?);
            *strtab = stream_table(machine, config, base);
        }
        3 => {
            let [which, span, pointer] = input.bytes()?.map(u64::from);
            let word = (STREAM_TABLE + 64 * pointer) | span & 0x1f;
            machine.ram.set_word(L1_TABLE + 8 * which, word ^ input.dword()?);
        }
        4 => {
            let tree = &world.trees[usize::from(input.byte()?) % world.trees.len()];
            let (node, index) = place(tree, input.byte()?, input.byte()?);
            let location = tree.nodes[node].location + 8 * index;
            let pa = match tree.is_virtual {
                true => world.frames[(location >> 12) as usize][0] + (location & 0xfff),
                false => location,
            };
            flip(machine, pa, input.dword()?);
        }
        5 => {
            let sid = input.word()?;
            let flags = input.byte()?;
            let substream = u32::from(input.half()?);
            translate(machine, *strtab, sid, flags, substream, input.dword()?);
        }
        6 => {
            let [sid, flags, node, index] = input.bytes()?;
            let tree = &world.trees[tree_of(sid, flags)];
            let (node, index) = place(tree, node, index);
            let address = tree.address(node, index) | u64::from(sid) << 4;
            translate(machine, *strtab, sid.into(), flags, u32::from(flags >> 4 & 3), address);
        }
        _ => {
            let value = input.byte()?;
            disabled(machine, |machine| machine.set(reg::CR2, value.into()));
        }
    }
    Some(())
}

fn flip(machine: &mut Machine, pa: u64, bits: u64) {
    let word = machine.ram.word(pa).expect("memory");
    machine.ram.set_word(pa, word ^ bits);
}

/// Writes the registers of the stream table while SMMUEN is 0: STRTAB_BASE_CFG as given, and a base near the linear table
/// (bits `[4:0]`, in 64 bytes), or with bit 5 near the level 1 table; bit 6 sets address bits beyond memory, bit 7 leaves the
/// base alone. Returns what was written.
fn stream_table(machine: &mut Machine, config: u32, base: u8) -> (u64, u32) {
    let near = if base & 0x20 == 0 { STREAM_TABLE } else { L1_TABLE };
    let high = if base & 0x40 == 0 { 0 } else { 0x000a_0000_0000_0000 };
    let address = (near + 64 * u64::from(base & 0x1f)) | high;
    disabled(machine, |machine| {
        machine.set(reg::STRTAB_BASE_CFG, config);
        if base & 0x80 == 0 {
            machine.set64(reg::STRTAB_BASE, address | 1 << 62);
        }
        (machine.get64(reg::STRTAB_BASE), config)
    })
}

fn disabled<R>(machine: &mut Machine, change: impl FnOnce(&mut Machine) -> R) -> R {
    let cr0 = machine.get(reg::CR0);
    machine.set(reg::CR0, cr0 & !value::SMMUEN);
    let result = change(machine);
    machine.set(reg::CR0, cr0);
    result
}

fn translate(machine: &mut Machine, strtab: (u64, u32), sid: u32, flags: u8, substream: u32, address: u64) {
    let kind = if flags & 1 == 0 { Transaction::read } else { Transaction::write };
    let transaction = Transaction {
        privileged: flags & 2 != 0,
        instruction: flags & 4 != 0,
        substream: (flags & 8 != 0).then_some(SubstreamId(substream & 0xf_ffff)),
        ..kind(StreamId(sid), Iova(address))
    };
    while machine.smmu.stalled().next().is_some() {
        // Nothing waits: a place for one more is always free.
        disabled(machine, |_| ());
        while machine.call(4, 16, |smmu, env| smmu.next_resumed(env)).is_some() {}
    }
    machine.drain_events();
    machine.smmu.drop_caches();
    let expected = locate(machine, strtab, sid);
    let held = machine.translate_hostile(&transaction);
    let found = machine.watch.ste;
    match expected {
        Place::Nowhere => assert_eq!(found, None, "StreamID {sid:#x} has no STE"),
        Place::At(at) if machine.ram.word(at).is_none() => assert_eq!(found, None, "no memory at {at:#x}"),
        Place::At(at) => assert_eq!(found, Some(at), "the STE of StreamID {sid:#x}"),
    }
    if expected == Place::Nowhere {
        let end = machine.translate_unjudged(&transaction).expect_err("StreamID has no STE");
        let records = machine.get(reg::CR2) & value::RECINVSID != 0;
        assert_eq!(end.response, Response::Abort);
        assert_eq!(end.event, records.then_some(EventKind::BadStreamId), "C_BAD_STREAMID");
    }
    if held {
        // Remembered now, and as fast as where nobody watches.
        machine.watch.is_watching = false;
        machine.translate_hostile(&transaction);
        machine.watch.is_watching = true;
    }
}

/// Where a StreamID's STE is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// C_BAD_STREAMID.
    Nowhere,
    /// There, or where a level 1 descriptor would be that cannot be read.
    At(u64),
}

/// §3.3.1: linear, or two levels of which the second has 2^(Span − 1) STEs. Addresses are aligned to the size of what is there
/// and cut to 52 bits.
fn locate(machine: &Machine, (base, config): (u64, u32), sid: u32) -> Place {
    const ADDRESS: u64 = 0x000f_ffff_ffff_ffc0;
    let (log2size, sid) = (config & 0x3f, u64::from(sid));
    if sid >= 1 << log2size.min(SIDSIZE) {
        return Place::Nowhere;
    }
    let aligned = |address: u64, log2: u32| (address & ADDRESS) >> log2.min(63) << log2.min(63);
    if config >> 16 & 3 != 1 {
        return Place::At((aligned(base, log2size + 6) + 64 * sid) & 0x000f_ffff_ffff_ffff);
    }
    let split = match config >> 6 & 0x1f {
        8 => 8,
        10 => 10,
        _ => 6,
    };
    let l1 = (aligned(base, (log2size.saturating_sub(split) + 3).max(6)) + 8 * (sid >> split))
        & 0x000f_ffff_ffff_ffff;
    let Some(word) = machine.ram.word(l1) else { return Place::At(l1) };
    let span = (word & 0x1f) as u32;
    let index = sid & ((1 << split) - 1);
    if span == 0 || span > split + 1 || index >= 1 << (span - 1) {
        return Place::Nowhere;
    }
    Place::At(aligned(word, span - 1 + 6) + 64 * index)
}
