//! A driver that tells what an SMMUv3 does: the same image runs before QEMU's device and before the model.
//!
//! Each line of what it says is one observation. Nothing here knows which of the two it runs on.

#![no_std]
#![no_main]

mod chapters;
mod machine;
mod memory;
mod smmu;
mod stage2;

use core::panic::PanicInfo;

/// Called by the first instructions.
// SAFETY: nothing else has this name.
#[unsafe(no_mangle)]
extern "C" fn main() -> ! {
    chapters::all();
    machine::say!("end");
    machine::end()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    machine::say!("{info}");
    machine::end()
}
