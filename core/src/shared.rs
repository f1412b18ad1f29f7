//! A device among threads: one control unit behind a spin lock (feature `sync`).
//!
//! The only file that names `spin`. The lock is held for one register access, one budget of commands, or one device
//! access; [`Shared::access`] runs the access itself under the lock, so that no CMD_SYNC completes between a
//! translation and its use.

use spin::mutex::SpinMutex;

use crate::device::{RegisterError, Resumed, Smmu, Terminated, Transaction, Translation};
use crate::env::Host;
use crate::env::memory::Memory;

/// A device that many threads use. Each call locks it; each thread lends what it has.
#[derive(Debug)]
pub struct Shared<const N: usize> {
    unit: SpinMutex<Smmu<N>>,
}

impl<const N: usize> Shared<N> {
    /// Shares `smmu`. Usable in a `static`.
    #[must_use]
    pub const fn new(smmu: Smmu<N>) -> Self {
        Self { unit: SpinMutex::new(smmu) }
    }

    /// As [`Smmu::read`].
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn read(&self, offset: u32, data: &mut [u8]) -> Result<(), RegisterError> {
        self.unit.lock().read(offset, data)
    }

    /// As [`Smmu::write`].
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn write<H: Host + ?Sized>(
        &self,
        offset: u32,
        data: &[u8],
        host: &mut H,
    ) -> Result<(), RegisterError> {
        self.unit.lock().write(offset, data, host)
    }

    /// As [`Smmu::pending`].
    #[must_use]
    pub fn pending(&self) -> bool {
        self.unit.lock().pending()
    }

    /// As [`Smmu::poll`]; other threads wait for one budget at most.
    pub fn poll<H: Host + ?Sized>(&self, budget: u32, host: &mut H) -> u32 {
        self.unit.lock().poll(budget, host)
    }

    /// As [`Smmu::next_resumed`].
    pub fn next_resumed<H: Host + ?Sized>(&self, host: &mut H) -> Option<Resumed> {
        self.unit.lock().next_resumed(host)
    }

    /// Translates and runs `access` on the result while the device is locked: an invalidation that completes before
    /// this call is obeyed by it, and one that completes after it finds the access done.
    ///
    /// `access` covers at most [`Translation::span`] bytes and does not use this device.
    ///
    /// # Errors
    /// [`Terminated`]; `access` has not run then.
    pub fn access<H: Host + ?Sized, R>(
        &self,
        transaction: &Transaction,
        host: &mut H,
        access: impl FnOnce(Translation, &mut H) -> R,
    ) -> Result<R, Terminated> {
        let mut unit = self.unit.lock();
        let translation = unit.translate(transaction, host)?;
        Ok(access(translation, host))
    }

    /// As [`Smmu::walk`].
    ///
    /// # Errors
    /// [`Terminated`].
    pub fn walk<M: Memory + ?Sized>(
        &self,
        transaction: &Transaction,
        memory: &M,
    ) -> Result<Translation, Terminated> {
        self.unit.lock().walk(transaction, memory)
    }

    /// Runs `use_it` on the device itself: for saving, restoring and looking at it.
    pub fn with<R>(&self, use_it: impl FnOnce(&mut Smmu<N>) -> R) -> R {
        use_it(&mut self.unit.lock())
    }

    /// The device, shared no longer.
    #[must_use]
    pub fn into_inner(self) -> Smmu<N> {
        self.unit.into_inner()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::Shared;
    use crate::env::{Env, interrupt::NoInterrupts, trace::NoTrace};
    use crate::{Abort, Configuration, Features, Iova, Memory, Pa, Settings, Smmu, StreamId, Transaction};

    struct NoMemory;

    impl Memory for NoMemory {
        fn read(&self, _: Pa, _: &mut [u8]) -> Result<(), Abort> {
            Err(Abort)
        }
        fn write(&mut self, _: Pa, _: &[u8]) -> Result<(), Abort> {
            Err(Abort)
        }
    }

    const CONFIGURATION: Configuration<16> = match Configuration::new(Features::SMMUV3_2, Settings::new(4, 4))
    {
        Ok(configuration) => configuration,
        Err(_) => panic!("does not compile"),
    };
    static DEVICE: Shared<16> = Shared::new(Smmu::of(CONFIGURATION));

    /// Four threads use one device; each sees the bypass that GBPA gives while SMMUEN is 0.
    #[test]
    fn threads_share_a_device_in_a_static() {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    let mut memory = NoMemory;
                    let mut env =
                        Env { memory: &mut memory, interrupts: &mut NoInterrupts, trace: &mut NoTrace };
                    for page in 0..100 {
                        let address = page << 12 | thread;
                        let read = Transaction::read(StreamId(7), Iova(address));
                        assert_eq!(DEVICE.access(&read, &mut env, |to, _| to.pa), Ok(Pa(address)));
                        let mut idr3 = [0; 4];
                        assert_eq!(DEVICE.read(0xc, &mut idr3), Ok(()));
                        assert_eq!(u32::from_le_bytes(idr3) >> 10 & 1, 1, "IDR3.RIL");
                    }
                });
            }
        });
        assert!(!DEVICE.pending());
    }
}
