//! The model inside a Cortex-M4: a driver's first steps as the model's own log tells them, then how much stack the calls
//! of an embedder need. Everything is said in defmt frames; `firmware-check` decodes and judges them.

#![no_std]
#![no_main]

mod stack;
mod story;
mod world;

use core::panic::PanicInfo;

use cortex_m_semihosting::debug;
use defmt_semihosting as _;

#[cortex_m_rt::entry]
fn main() -> ! {
    let world = world::World::take();
    story::tell(world);
    stack::measure(world);
    debug::exit(debug::EXIT_SUCCESS);
    loop {
        cortex_m::asm::wfi();
    }
}

/// The story's own expectations; the model has no way here.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    defmt::error!("panic: {}", defmt::Display2Format(info));
    debug::exit(debug::EXIT_FAILURE);
    loop {
        cortex_m::asm::wfi();
    }
}
