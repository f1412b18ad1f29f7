//! A CPU of the library Unicorn, as far as this machine uses it. All `unsafe` of this package is here.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::rc::Rc;

use anyhow::{Result, bail};

/// Unicorn's engine.
#[repr(C)]
struct Engine {
    opaque: [u8; 0],
}

type OnRead = extern "C" fn(*mut Engine, u64, u32, *mut c_void) -> u64;
type OnWrite = extern "C" fn(*mut Engine, u64, u32, u64, *mut c_void);

#[link(name = "unicorn")]
unsafe extern "C" {
    fn uc_open(architecture: c_int, mode: c_int, engine: *mut *mut Engine) -> c_int;
    fn uc_close(engine: *mut Engine) -> c_int;
    fn uc_strerror(code: c_int) -> *const c_char;
    fn uc_mem_map(engine: *mut Engine, address: u64, bytes: usize, rights: u32) -> c_int;
    fn uc_mem_read(engine: *mut Engine, address: u64, data: *mut c_void, bytes: usize) -> c_int;
    fn uc_mem_write(engine: *mut Engine, address: u64, data: *const c_void, bytes: usize) -> c_int;
    fn uc_mmio_map(
        engine: *mut Engine,
        address: u64,
        bytes: usize,
        on_read: OnRead,
        reader: *mut c_void,
        on_write: OnWrite,
        writer: *mut c_void,
    ) -> c_int;
    fn uc_emu_start(engine: *mut Engine, begin: u64, until: u64, microseconds: u64, count: usize) -> c_int;
    fn uc_emu_stop(engine: *mut Engine) -> c_int;
}

const ARM64: c_int = 2;
const LITTLE_ENDIAN: c_int = 0;
const ALL_RIGHTS: u32 = 7;

fn check(code: c_int, what: &str) -> Result<()> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the function returns a string constant for every code.
    let cause = unsafe { CStr::from_ptr(uc_strerror(code)) };
    bail!("unicorn: {what}: {}", cause.to_string_lossy());
}

/// Physical memory of a machine, for as long as a call lasts.
pub(crate) struct Ram<'a> {
    engine: &'a mut Engine,
}

impl Ram<'_> {
    /// Fills `data` from `address` on; `false` where there is no memory.
    pub(crate) fn read(&self, address: u64, data: &mut [u8]) -> bool {
        let engine = std::ptr::from_ref(&*self.engine).cast_mut();
        // SAFETY: the engine is open; `data` is as long as is said. The call reads the machine's memory and nothing else.
        unsafe { uc_mem_read(engine, address, data.as_mut_ptr().cast(), data.len()) == 0 }
    }

    /// Stores `data` from `address` on; `false` where there is no memory.
    pub(crate) fn write(&mut self, address: u64, data: &[u8]) -> bool {
        // SAFETY: as `read`.
        unsafe { uc_mem_write(self.engine, address, data.as_ptr().cast(), data.len()) == 0 }
    }
}

/// What a machine has beside memory.
pub(crate) trait Devices {
    /// A CPU reads `size` bytes.
    fn read(&mut self, address: u64, size: u32) -> u64;

    /// A CPU writes `size` bytes; `false` ends the run.
    fn write(&mut self, address: u64, size: u32, value: u64, ram: &mut Ram<'_>) -> bool;
}

/// A window in which devices are.
struct Window<D> {
    base: u64,
    devices: Rc<RefCell<D>>,
}

/// A CPU, its memory, and devices.
pub(crate) struct Machine<D> {
    engine: *mut Engine,
    devices: Rc<RefCell<D>>,
    /// Lent to the engine, which is closed first.
    windows: Vec<Rc<Window<D>>>,
}

impl<D: Devices> Machine<D> {
    /// An AArch64 CPU at EL1 with neither memory nor windows.
    pub(crate) fn new(devices: Rc<RefCell<D>>) -> Result<Self> {
        let mut engine = null_mut();
        // SAFETY: `engine` receives the handle.
        check(unsafe { uc_open(ARM64, LITTLE_ENDIAN, &mut engine) }, "open")?;
        Ok(Self { engine, devices, windows: Vec::new() })
    }

    /// Puts memory into the machine.
    pub(crate) fn add_ram(&mut self, address: u64, bytes: usize) -> Result<()> {
        // SAFETY: the engine is open.
        check(unsafe { uc_mem_map(self.engine, address, bytes, ALL_RIGHTS) }, "map memory")
    }

    /// Sends accesses of these addresses to the devices.
    pub(crate) fn add_window(&mut self, address: u64, bytes: usize) -> Result<()> {
        let window = Rc::new(Window { base: address, devices: Rc::clone(&self.devices) });
        let lent = Rc::as_ptr(&window).cast_mut().cast::<c_void>();
        self.windows.push(window);
        // SAFETY: the engine is open. The callbacks are given `lent`, a Window<D> on the heap that this machine drops only
        // after it has closed the engine, and use it as shared.
        let code =
            unsafe { uc_mmio_map(self.engine, address, bytes, on_read::<D>, lent, on_write::<D>, lent) };
        check(code, "map devices")
    }

    /// The machine's memory.
    pub(crate) fn ram(&mut self) -> Ram<'_> {
        // SAFETY: the engine is open for as long as the machine is there, which is borrowed.
        Ram { engine: unsafe { &mut *self.engine } }
    }

    /// Runs from `entry` on, until a device ends it or for this long.
    pub(crate) fn run(&mut self, entry: u64, seconds: u64) -> Result<()> {
        // SAFETY: the engine is open; callbacks are as `add_window` says.
        check(unsafe { uc_emu_start(self.engine, entry, u64::MAX, seconds * 1_000_000, 0) }, "run")
    }
}

impl<D> Drop for Machine<D> {
    fn drop(&mut self) {
        // SAFETY: opened by `new`, closed here alone, and before the windows go.
        unsafe { uc_close(self.engine) };
    }
}

extern "C" fn on_read<D: Devices>(_: *mut Engine, offset: u64, size: u32, window: *mut c_void) -> u64 {
    // SAFETY: what `add_window` lent.
    let window = unsafe { &*window.cast::<Window<D>>() };
    window.devices.borrow_mut().read(window.base + offset, size)
}

extern "C" fn on_write<D: Devices>(
    engine: *mut Engine,
    offset: u64,
    size: u32,
    value: u64,
    window: *mut c_void,
) {
    // SAFETY: what `add_window` lent, and the engine that calls.
    let (window, engine) = unsafe { (&*window.cast::<Window<D>>(), &mut *engine) };
    let mut ram = Ram { engine };
    if !window.devices.borrow_mut().write(window.base + offset, size, value, &mut ram) {
        // SAFETY: may be called from a callback.
        unsafe { uc_emu_stop(ram.engine) };
    }
}
