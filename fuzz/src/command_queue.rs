//! Any bytes as commands, with transactions in between.
//!
//! The guest never changes its tables, so whatever it invalidates, a device with caches has to answer as one without.

use crate::{Input, world::World};
use smmuv3::{Env, Iova, NoInterrupts, NoTrace, StreamId, Transaction};

/// A sequence of actions, each one byte and what it needs:
///
/// | byte, modulo 8 | action | then |
/// |---|---|---|
/// | 0, 1, 2 | produce a command | its 16 bytes |
/// | 3 | ring CMDQ_PROD | |
/// | 4, 5 | a read, a write by a device | StreamId (1 byte), address bits [38:12] (4 bytes, little-endian) |
/// | 6 | acknowledge GERROR | |
/// | 7 | drain the event queue | |
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    while act(&mut input, &mut world).is_some() {}
    world.ring();
}

fn act(input: &mut Input<'_>, world: &mut World) -> Option<()> {
    match input.byte()? % 8 {
        0..=2 => world.produce(input.bytes()?),
        3 => world.ring(),
        action @ (4 | 5) => {
            let stream = StreamId(u32::from(input.byte()?));
            let address = Iova((u64::from(u32::from_le_bytes(input.bytes()?)) << 12) & 0x7f_ffff_ffff);
            let kind = if action == 4 { Transaction::read } else { Transaction::write };
            caches_are_invisible(world, &kind(stream, address));
        }
        6 => world.acknowledge(),
        _ => world.drain_events(),
    }
    Some(())
}

fn caches_are_invisible(world: &mut World, transaction: &Transaction) {
    let truth = world.smmu.walk(transaction, &world.ram);
    let mut env = Env { memory: &mut world.ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
    let answer = world.smmu.translate(transaction, &mut env);
    match (answer, truth) {
        (Ok(answer), Ok(truth)) => assert_eq!(answer.pa, truth.pa, "{transaction:x?}"),
        (Err(answer), Err(truth)) => assert_eq!(answer.event, truth.event, "{transaction:x?}"),
        (answer, truth) => panic!("{transaction:x?}: {answer:x?}, without caches {truth:x?}"),
    }
}
