//! A driver's first steps, told by the model's log.

use guest::command::{self, Range};
use guest::register;
use smmuv3::fmt::Log;
use smmuv3::{Env, Iova, NoInterrupts, StreamId, SubstreamId, Transaction};

use crate::world::{
    ASID, BOOT, DATA, NESTED, NOBODY, S1, S2, SUBSTREAM, VA, VA_NOWHERE, VA_OUTSIDE, VMID, World,
};

/// Boot, DMA, faults, invalidation by range, and a command that is none.
pub(crate) fn tell(world: &mut World) {
    defmt::println!("boot");
    for (offset, value, bytes) in BOOT {
        write(world, offset, value, bytes);
    }
    let ready = [command::cfgi_all(), command::tlbi_el2_all(), command::tlbi_nsnh_all(), command::sync()];
    ring(world, &ready);

    defmt::println!("a device reads and writes");
    let page = |sid: u32, address: u64| Transaction::write(StreamId(sid), Iova(address));
    let nested = |address: u64| page(NESTED, address).with_substream(SubstreamId(SUBSTREAM));
    dma(world, page(S1, VA + 8));
    dma(world, page(S1, VA + 16));
    dma(world, page(S2, DATA));
    dma(world, nested(VA + 24));

    defmt::println!("faults");
    dma(world, page(S1, VA + 0x1000));
    dma(world, page(S1, VA_NOWHERE));
    dma(world, nested(VA_OUTSIDE));
    dma(world, page(NOBODY, 0));

    defmt::println!("invalidation");
    let range = Range { num: 1, scale: 0, tg: 1, ttl: 3 };
    ring(world, &[command::tlbi_nh_va(VMID, ASID, VA, range), command::sync()]);
    ring(world, &[command::tlbi_nh_asid(0, ASID), command::cfgi_ste(S1), command::sync()]);
    dma(world, page(S1, VA + 8));

    defmt::println!("a command that is none");
    ring(world, &[[0xfe, 0], command::sync()]);
    defmt::println!("CMDQ_CONS {=u32:#010x} GERROR {=u32:#x}", read(world, register::CMDQ_CONS), {
        read(world, register::GERROR)
    });
    // The driver puts a CMD_SYNC into the slot, and acknowledges.
    let wrong = read(world, register::CMDQ_CONS) & 0xff;
    world.ram.set(0x1_0000 + u64::from(wrong) * 16, &command::sync());
    let errors = read(world, register::GERROR);
    write(world, register::GERRORN, errors.into(), 4);
    defmt::println!("CMDQ_CONS {=u32:#010x}", read(world, register::CMDQ_CONS));
}

fn write(world: &mut World, offset: u32, value: u64, bytes: usize) {
    let mut env = Env { memory: &mut world.ram, interrupts: &mut NoInterrupts, trace: &mut Log };
    let written = world.smmu.write(offset, &value.to_le_bytes()[..bytes], &mut env);
    written.expect("a register");
}

fn read(world: &World, offset: u32) -> u32 {
    let mut value = [0; 4];
    world.smmu.read(offset, &mut value).expect("a register");
    u32::from_le_bytes(value)
}

fn ring(world: &mut World, commands: &[command::Command]) {
    let prod = world.queue(commands);
    write(world, register::CMDQ_PROD, prod.into(), 4);
}

fn dma(world: &mut World, transaction: Transaction) {
    let walked = world.smmu.walk(&transaction, &world.ram);
    let mut env = Env { memory: &mut world.ram, interrupts: &mut NoInterrupts, trace: &mut Log };
    let translated = world.smmu.translate(&transaction, &mut env);
    assert_eq!(translated, walked, "caches are invisible to a driver that invalidates");
    match translated {
        Ok(translation) => defmt::println!(
            "stream {=u32}: {=u64:#x} is {=u64:#x}, and {=u64} bytes from there",
            transaction.stream.0,
            transaction.address.0,
            translation.pa.0,
            translation.span
        ),
        Err(terminated) => {
            defmt::println!(
                "stream {=u32}: {=u64:#x} goes nowhere: {}",
                transaction.stream.0,
                transaction.address.0,
                terminated
            );
            if terminated.event.is_some() {
                defmt::println!("record {:#018x}", world.last_event());
            }
        }
    }
}
