//! Any bytes as commands, any queue indices, with transactions in between.
//!
//! The guest never changes its tables, so whatever it invalidates, a device with caches has to answer as one without.
//!
//! A sequence of actions, each one byte and what it needs, little-endian:
//!
//! | byte, modulo 16 | action | then |
//! |---|---|---|
//! | 0, 1, 2 | produce a command | its 16 bytes |
//! | 3 | ring CMDQ_PROD | |
//! | 4, 5 | a read, a write by a device | StreamID (1), address bits [38:12] (4) |
//! | 6 | acknowledge GERROR | |
//! | 7 | drain the event queue | |
//! | 8 | write CMDQ_PROD | any value (4) |
//! | 9 | disable the queue, write CMDQ_CONS, enable it | any value (4) |
//! | 10 | write a register that tables do not depend on | which (1), value (4) |
//! | 11 | write 16 bytes into a slot of the queue, telling nobody | slot (1), the bytes (16) |
//! | 12 | terminated or retried transactions come back | |
//! | 13 | write CMDQ_PROD as produced, then poll | portion (1) |
//! | 14 | save, and restore with other settings, at most twice | which (1), see [`settings`]; bit 5 is somebody who watches |
//! | 15 | a transaction with all its attributes | StreamID (1), flags (1), address (8) |
//!
//! Flags: bit 0 a write, 1 privileged, 2 an instruction fetch, 3 with SubstreamID `[7:4]`.

use smmuv3::{Iova, StreamId, SubstreamId, Transaction};
use smmuv3_tests::bits::Words;

use crate::input::Input;
use crate::machine::Machine;
use crate::world::{COMMAND_QUEUE, LOG2_COMMANDS, World, reg, settings};

/// Registers that may change at any time without making what is remembered wrong.
const REGISTERS: [u32; 12] = [
    reg::CR0,
    reg::CR1,
    reg::GBPA,
    reg::IRQ_CTRL,
    reg::GERRORN,
    reg::EVENTQ_CONS,
    reg::GERROR_IRQ_CFG1,
    reg::EVENTQ_IRQ_CFG1,
    reg::GERROR_IRQ_CFG0,
    reg::EVENTQ_IRQ_CFG0,
    reg::PRIQ_CONS,
    reg::EVENTQ_PROD,
];

/// Runs the actions in `data`.
pub fn run(data: &[u8]) {
    crate::on_machine(World::get(), |machine| {
        machine.asks_how_far = false; // the tables never change, and the other targets ask
        let mut input = Input::new(data);
        let mut restores = 2; // by far the most expensive action
        while act(&mut input, machine, &mut restores).is_some() {}
        machine.ring();
    });
}

fn act(input: &mut Input<'_>, machine: &mut Machine, restores: &mut u32) -> Option<()> {
    match input.byte()? % 16 {
        0..=2 => machine.produce(input.command()?),
        3 => machine.ring(),
        action @ (4 | 5) => {
            let stream = StreamId(u32::from(input.byte()?));
            let address = Iova((u64::from(input.word()?) << 12) & 0x7f_ffff_ffff);
            let kind = if action == 4 { Transaction::read } else { Transaction::write };
            let _ = machine.translate(&kind(stream, address));
        }
        6 => machine.acknowledge(),
        7 => machine.drain_events(),
        8 => machine.set(reg::CMDQ_PROD, input.word()?),
        9 => {
            let cr0 = machine.get(reg::CR0);
            machine.set(reg::CR0, cr0 & !8);
            machine.set(reg::CMDQ_CONS, input.word()?);
            machine.set(reg::CR0, cr0);
        }
        10 => {
            let offset = REGISTERS[usize::from(input.byte()?) % REGISTERS.len()];
            machine.set(offset, input.word()?);
        }
        11 => {
            let slot = u64::from(input.byte()?) & ((1 << LOG2_COMMANDS) - 1);
            let [low, high] = input.command()?;
            machine.ram.set_word(COMMAND_QUEUE + 16 * slot, low);
            machine.ram.set_word(COMMAND_QUEUE + 16 * slot + 8, high);
        }
        12 => while machine.resume().is_some() {},
        13 => {
            let portion = u32::from(input.byte()? % 8);
            let position = machine.produced();
            let _ = machine.write(reg::CMDQ_PROD, &position.to_le_bytes());
            machine.poll(portion);
        }
        14 => {
            let choice = input.byte()?;
            if *restores > 0 {
                *restores -= 1;
                machine.restore_into(settings(choice));
                machine.watch.is_watching = choice & 0x20 != 0;
            }
        }
        _ => {
            let transaction = transaction(input)?;
            let _ = machine.translate(&transaction);
        }
    }
    Some(())
}

/// A transaction from StreamID, flags and address.
pub(crate) fn transaction(input: &mut Input<'_>) -> Option<Transaction> {
    let stream = StreamId(u32::from(input.byte()?));
    let flags = input.byte()?;
    let address = Iova(input.dword()?);
    let kind = if flags & 1 == 0 { Transaction::read } else { Transaction::write };
    let plain = kind(stream, address);
    Some(Transaction {
        privileged: flags & 2 != 0,
        instruction: flags & 4 != 0,
        substream: (flags & 8 != 0).then_some(SubstreamId(u32::from(flags >> 4))),
        ..plain
    })
}
