//! The model alone, as small firmware would use it: register accesses and DMA that come from outside. It is linked to be
//! measured, and never run.

#![no_std]
#![no_main]

use core::hint::black_box;
use core::panic::PanicInfo;

use cortex_m::singleton;
use smmuv3::{
    Abort, Configuration, Env, Features, Iova, Memory, NoInterrupts, NoTrace, Pa, Settings, Smmu, StreamId,
    SubstreamId, Transaction,
};

const CONFIGURATION: Configuration<64> = match Configuration::new(Features::SMMUV3_3, Settings::new(16, 4)) {
    Ok(configuration) => configuration,
    Err(_) => panic!("SMMUv3.3 with 16 sets of 4 ways is a device"),
};

/// A bus that somebody else implements.
struct Bus;

impl Memory for Bus {
    fn read(&self, address: Pa, data: &mut [u8]) -> Result<(), Abort> {
        black_box((address, data));
        black_box(Err(Abort))
    }

    fn write(&mut self, address: Pa, data: &[u8]) -> Result<(), Abort> {
        black_box((address, data));
        black_box(Err(Abort))
    }
}

#[cortex_m_rt::entry]
fn main() -> ! {
    let smmu = singleton!(: Smmu<64> = Smmu::of(CONFIGURATION)).expect("taken once");
    let mut env = Env { memory: &mut Bus, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
    loop {
        let mut data = black_box([0; 4]);
        black_box(smmu.read(black_box(0), &mut data).is_ok());
        black_box(smmu.write(black_box(0), &data, &mut env).is_ok());
        black_box(smmu.poll(black_box(64), &mut env));
        let transaction = Transaction::read(StreamId(0), Iova(0)).with_substream(SubstreamId(0));
        black_box(smmu.translate(&black_box(transaction), &mut env).is_ok());
        black_box(smmu.next_resumed(&mut env).is_some());
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {
        cortex_m::asm::wfi();
    }
}
