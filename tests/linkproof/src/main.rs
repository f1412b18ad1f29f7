//! The proof by the linker that nothing a guest does can make the model panic or allocate.
//!
//! Every public function is called with values that the compiler knows nothing about. What remains reachable after
//! link-time optimisation is linked; the panic handler calls a function that exists nowhere, and there is no allocator. So
//! this program links if and only if no panic and no allocation can be reached. It is never run.

#![no_std]
#![no_main]

mod device;
mod host;
mod values;

use core::hint::black_box;
use core::panic::PanicInfo;

#[cfg(feature = "planted-allocation")]
extern crate alloc;

unsafe extern "C" {
    /// Exists nowhere: its name is the linker's message.
    safe fn a_panic_is_reachable_from_the_model() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    a_panic_is_reachable_from_the_model()
}

/// Where an image begins.
// SAFETY: nothing else in this program has this name.
#[unsafe(no_mangle)]
pub extern "C" fn _start() -> ! {
    loop {
        values::values();
        device::device();
        #[cfg(feature = "planted-panic")]
        planted_panic();
        #[cfg(feature = "planted-allocation")]
        planted_allocation();
    }
}

/// A value that the compiler knows nothing about but its type.
#[inline(always)]
pub(crate) fn any<T>(value: T) -> T {
    black_box(value)
}

/// Keeps a result, and with it what computes it.
#[inline(always)]
pub(crate) fn keep<T>(value: T) {
    black_box(value);
}

/// What the proof has to find: a guest's value as an index.
#[cfg(feature = "planted-panic")]
fn planted_panic() {
    use smmuv3::format::regs::Reg;

    let smmu = any(device::DEVICE);
    let queues = [1_u8; 32];
    keep(queues[smmu.registers().get(Reg::CmdqProd) as usize]);
}

/// Likewise: one word on a heap that is not there.
#[cfg(feature = "planted-allocation")]
fn planted_allocation() {
    keep(alloc::boxed::Box::new(any(0_u64)));
}
