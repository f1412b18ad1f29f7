//! Physical memory as the device uses it.

use crate::arch::addr::Pa;

/// An external abort: nothing answers at this address, or it refuses the access. Memory is not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Abort;

/// Physical memory. An access that aborts has no effect.
///
/// The device reads 8 to 64 bytes, or up to 256 of a command queue at once, and writes 4 to 32. An access is aligned to 8
/// bytes or its size; a queue's commands are read again one by one where a longer read aborts.
pub trait Memory {
    /// Fills `data` from `address` on.
    ///
    /// # Errors
    /// [`Abort`] if any byte cannot be read.
    fn read(&self, address: Pa, data: &mut [u8]) -> Result<(), Abort>;

    /// Stores `data` from `address` on.
    ///
    /// # Errors
    /// [`Abort`] if any byte cannot be written.
    fn write(&mut self, address: Pa, data: &[u8]) -> Result<(), Abort>;

    /// The little-endian 64-bit word at `address`, a multiple of 8.
    ///
    /// # Errors
    /// [`Abort`] if it cannot be read.
    #[inline]
    fn read_u64(&self, address: Pa) -> Result<u64, Abort> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Replaces the little-endian 64-bit word at `address` by `new` if it is `current`, and says whether it was.
    ///
    /// Used for hardware updates of translation tables (§3.13). The default is a read and a write; where other
    /// threads write the same memory, override it by an atomic operation.
    ///
    /// # Errors
    /// [`Abort`] if the word cannot be read and written, or does not support atomic access.
    fn compare_exchange(&mut self, address: Pa, current: u64, new: u64) -> Result<bool, Abort> {
        if self.read_u64(address)? != current {
            return Ok(false);
        }
        self.write(address, &new.to_le_bytes())?;
        Ok(true)
    }
}

/// Little-endian words from `address` on.
#[inline]
pub(crate) fn read_words<const W: usize, M: Memory + ?Sized>(
    memory: &M,
    address: Pa,
) -> Result<[u64; W], Abort> {
    let mut bytes = [[0; 8]; W];
    memory.read(address, bytes.as_flattened_mut())?;
    let mut words = [0; W];
    for (word, bytes) in words.iter_mut().zip(bytes) {
        *word = u64::from_le_bytes(bytes);
    }
    Ok(words)
}

/// Stores little-endian words from `address` on.
#[inline]
pub(crate) fn write_words<const W: usize, M: Memory + ?Sized>(
    memory: &mut M,
    address: Pa,
    words: &[u64; W],
) -> Result<(), Abort> {
    let mut bytes = [[0; 8]; W];
    for (bytes, word) in bytes.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    memory.write(address, bytes.as_flattened())
}
