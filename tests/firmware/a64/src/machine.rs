//! QEMU's board `virt` as far as this driver uses it: memory, a serial port, a PCI device that makes DMA.

use core::arch::{asm, global_asm};
use core::fmt;

const UART: u64 = 0x0900_0000;
/// Configuration space of PCI bus 0, with `highmem=off`.
const ECAM: u64 = 0x3f00_0000;
/// Where the `edu` device's registers are put.
const EDU: u64 = 0x1000_0000;
/// Device 1, function 0: its requester ID, and so its StreamID.
pub(crate) const EDU_STREAM: u32 = 1 << 3;

/// Said last: whoever runs the machine may stop it.
const END: u8 = 0x04;

// No MMU, so memory is Device memory to the CPU and DMA is coherent with it. Formatting may use vector registers.
global_asm!(
    ".section .text.start, \"ax\"",
    ".global _start",
    "_start:",
    "mov x0, #(3 << 20)",
    "msr cpacr_el1, x0",
    "isb",
    "ldr x0, =__stack_top",
    "mov sp, x0",
    "ldr x0, =__bss_start",
    "ldr x1, =__bss_end",
    "1: cmp x0, x1",
    "b.hs 2f",
    "str xzr, [x0], #8",
    "b 1b",
    "2: bl main",
);

/// Reads a 32-bit word of memory or of a device.
pub(crate) fn read32(address: u64) -> u32 {
    let value;
    // SAFETY: there is no MMU; the address is one of this board's. A single instruction that every emulator of devices
    // understands, which a compiler's choice of addressing mode need not be.
    unsafe { asm!("ldr {0:w}, [{1}]", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// Writes one.
pub(crate) fn write32(address: u64, value: u32) {
    // SAFETY: as `read32`; this program keeps nothing of its own where it writes.
    unsafe { asm!("str {0:w}, [{1}]", in(reg) value, in(reg) address, options(nostack)) };
}

/// Reads a 64-bit word.
pub(crate) fn read64(address: u64) -> u64 {
    let value;
    // SAFETY: as `read32`.
    unsafe { asm!("ldr {0}, [{1}]", out(reg) value, in(reg) address, options(nostack)) };
    value
}

/// Writes one.
pub(crate) fn write64(address: u64, value: u64) {
    // SAFETY: as `write32`.
    unsafe { asm!("str {0}, [{1}]", in(reg) value, in(reg) address, options(nostack)) };
}

/// Writes consecutive 64-bit words.
pub(crate) fn write_words(address: u64, words: &[u64]) {
    for (at, word) in (address..).step_by(8).zip(words) {
        write64(at, *word);
    }
}

/// Ends the machine: by a sign to who runs it, and by PSCI.
pub(crate) fn end() -> ! {
    write32(UART, END.into());
    loop {
        // SAFETY: SYSTEM_OFF does not return where PSCI is there.
        unsafe { asm!("hvc #0", in("x0") 0x8400_0008_u64, options(nostack)) };
    }
}

/// The serial port.
pub(crate) struct Uart;

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            write32(UART, byte.into());
        }
        Ok(())
    }
}

/// Prints a line.
macro_rules! say {
    ($($arguments:tt)*) => {{
        use core::fmt::Write as _;
        // The port takes everything.
        let _ = writeln!($crate::machine::Uart, $($arguments)*);
    }};
}
pub(crate) use say;

/// Finds the `edu` device, gives it an address, and lets it be a master.
pub(crate) fn find_edu() {
    let config = ECAM + u64::from(EDU_STREAM << 12);
    say!("PCI: {:#010x}", read32(config));
    write32(config + 0x10, EDU as u32);
    write32(config + 0x04, 0b110);
    say!("edu: {:#010x}", read32(EDU));
    write32(EDU + 4, 0x1234_5678);
    say!("edu: {:#010x}", read32(EDU + 4));
}

/// A DMA of `bytes` between memory at `address` and the device's buffer.
pub(crate) fn dma(address: u64, bytes: u64, direction: Direction) {
    const BUFFER: u64 = 0x4_0000;
    let (source, destination) = match direction {
        Direction::FromMemory => (address, BUFFER),
        Direction::ToMemory => (BUFFER, address),
    };
    write64(EDU + 0x80, source);
    write64(EDU + 0x88, destination);
    write64(EDU + 0x90, bytes);
    write32(EDU + 0x98, 1 | (direction as u32) << 1);
    while read32(EDU + 0x98) & 1 != 0 {}
}

/// Which way a DMA goes.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    /// The device reads memory.
    FromMemory = 0,
    /// The device writes memory.
    ToMemory = 1,
}
