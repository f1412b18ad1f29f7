//! How much stack an embedder's calls need, from the call on: the stack below is painted, and what is no longer paint was
//! used.

use cortex_m::register::msp;
use guest::command::{self, Command, Range};
use guest::register;
use smmuv3::{
    Env, Iova, NoInterrupts, NoTrace, Smmu, StreamId, SubstreamId, Terminated, Transaction, Translation,
};

use crate::world::{
    ASID, DATA, ENTRIES, NESTED, NOBODY, Ram, S1, S2, SUBSTREAM, VA, VA_NOWHERE, VA_OUTSIDE, VMID, World,
};

const PAINT: u32 = 0x5041_494e;
/// Bytes of stack that are painted: more than anything here may need.
const WINDOW: usize = 16 * 1024;

/// Bytes of stack that `call` used.
#[inline(never)]
fn high_water(call: impl FnOnce()) -> usize {
    let top = msp::read() as usize;
    let window = (top - WINDOW..top).step_by(4);
    for address in window.clone() {
        // SAFETY: below the stack pointer lies free stack, far more than WINDOW, and no interrupt is enabled.
        unsafe { (address as *mut u32).write_volatile(PAINT) };
    }
    call();
    let used = window.clone().find(|address| {
        // SAFETY: as above; the words were written by the loop.
        unsafe { (*address as *const u32).read_volatile() != PAINT }
    });
    let used = used.map_or(0, |lowest| top - lowest);
    assert!(used < WINDOW, "the paint is used up");
    used
}

/// The call itself, in a frame of its own, so that what it needs is below the paint's edge.
#[inline(never)]
fn translate(
    smmu: &mut Smmu<ENTRIES>,
    ram: &mut Ram,
    transaction: &Transaction,
) -> Result<Translation, Terminated> {
    smmu.translate(transaction, &mut Env { memory: ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace })
}

/// Likewise.
#[inline(never)]
fn write(smmu: &mut Smmu<ENTRIES>, ram: &mut Ram, offset: u32, data: &[u8]) {
    let mut env = Env { memory: ram, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
    smmu.write(offset, data, &mut env).expect("a register");
}

/// Says for each call what stack it needs.
pub(crate) fn measure(world: &mut World) {
    let page = |sid: u32, address: u64| Transaction::write(StreamId(sid), Iova(address));
    let nested = |address: u64| page(NESTED, address).with_substream(SubstreamId(SUBSTREAM));

    drop_caches(world);
    let miss = translated(world, &page(S1, VA), Some(DATA));
    let hit = translated(world, &page(S1, VA), Some(DATA));
    defmt::println!("stack: `translate`, hit {=usize}", hit);
    defmt::println!("stack: `translate`, miss {=usize}", miss);

    // Everything that is asked of memory, with nothing remembered, and every way to fail.
    let worst = [
        (page(S2, DATA), Some(DATA)),
        (nested(VA), Some(DATA)),
        (nested(VA + 0x1000), None),
        (nested(VA_OUTSIDE), None),
        (nested(VA_NOWHERE), None),
        (page(NESTED, VA), None),
        (page(S1, VA_NOWHERE), None),
        (page(NOBODY, VA), None),
    ];
    let worst = worst.into_iter().map(|(transaction, expected)| {
        drop_caches(world);
        translated(world, &transaction, expected)
    });
    defmt::println!("stack: `translate`, worst {=usize}", worst.max().unwrap_or(0).max(miss));

    let range = Range { num: 30, scale: 3, tg: 1, ttl: 3 };
    let each = [
        command::prefetch_config(S1),
        command::cfgi_ste(S1),
        command::cfgi_cd(NESTED, SUBSTREAM),
        command::cfgi_cd_all(NESTED),
        command::cfgi_all(),
        command::tlbi_nh_va(VMID, ASID, VA, Range::default()),
        command::tlbi_nh_va(VMID, ASID, VA, range),
        command::tlbi_nh_vaa(VMID, VA, range),
        command::tlbi_nh_asid(VMID, ASID),
        command::tlbi_nh_all(VMID),
        command::tlbi_el2_va(ASID, VA, range),
        command::tlbi_el2_all(),
        command::tlbi_s2_ipa(VMID, DATA, range),
        command::tlbi_s12_vmall(VMID),
        command::tlbi_nsnh_all(),
        command::atc_inv(S1),
        command::pri_resp(S1, 1),
        command::resume(S1, 1),
        command::stall_term(S1),
        command::sync(),
        command::sync_msi(0x1_2010, 7),
    ];
    let mut worst = 0;
    for command in each {
        refill(world);
        worst = worst.max(consumed(world, &[command]));
    }
    refill(world);
    worst = worst.max(consumed(world, &each));
    // An error stops the queue, and is told by a message.
    worst = worst.max(consumed(world, &[[0xfe, 0]]));
    defmt::println!("stack: `write`, CMDQ_PROD with every command {=usize}", worst);

    // Address translation by register walks inside the write.
    let World { smmu, ram, .. } = world;
    let sid = u64::from(NESTED) | u64::from(SUBSTREAM) << 32 | 1 << 52;
    write(smmu, ram, register::GATOS_SID, &sid.to_le_bytes());
    // HTTUI = 0, both stages, an unprivileged write.
    write(smmu, ram, register::GATOS_ADDR, &(VA_OUTSIDE | 0b11 << 10).to_le_bytes());
    smmu.drop_caches();
    let atos = high_water(|| write(smmu, ram, register::GATOS_CTRL, &1_u32.to_le_bytes()));
    defmt::println!("stack: `write`, GATOS_CTRL {=usize}", atos);
    defmt::println!("memory: `Smmu<64>` {=usize}", size_of::<Smmu<ENTRIES>>());
}

fn drop_caches(world: &mut World) {
    world.smmu.drop_caches();
}

/// Live entries of every kind for a command to find.
fn refill(world: &mut World) {
    let page = |sid: u32, address: u64| Transaction::read(StreamId(sid), Iova(address));
    let nested = page(NESTED, VA).with_substream(SubstreamId(SUBSTREAM));
    for transaction in [page(S1, VA), page(S1, VA + 0x1000), page(S2, DATA), nested] {
        translated(world, &transaction, None);
    }
}

/// The stack of a translation, which must lead to `expected` if that is known.
fn translated(world: &mut World, transaction: &Transaction, expected: Option<u64>) -> usize {
    let World { smmu, ram, .. } = world;
    let mut result = None;
    let used = high_water(|| result = Some(translate(smmu, ram, transaction)));
    if let Some(expected) = expected {
        let pa = result.and_then(Result::ok).map(|translation| translation.pa.0);
        assert_eq!(pa, Some(expected), "{transaction:x?}");
    }
    used
}

/// The stack of a write to CMDQ_PROD that announces `commands`.
fn consumed(world: &mut World, commands: &[Command]) -> usize {
    let prod = world.queue(commands);
    let World { smmu, ram, .. } = world;
    high_water(|| write(smmu, ram, register::CMDQ_PROD, &prod.to_le_bytes()))
}
