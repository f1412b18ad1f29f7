//! Fields of little-endian records, written as the specification's tables print them: a dword and a bit range in it.
//!
//! Deliberately not the core's field type: the guest's bytes must not come from the code that they test.

#![allow(clippy::indexing_slicing, reason = "a field outside its record is a mistake in a test")]

/// Bits `hi:lo` of dword `dword`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    dword: usize,
    hi: u32,
    lo: u32,
}

/// The bits `hi:lo` of dword `dword` of a record.
pub const fn bits(dword: usize, hi: u32, lo: u32) -> Bits {
    assert!(lo <= hi && hi < 64);
    Bits { dword, hi, lo }
}

/// One bit of dword `dword` of a record.
pub const fn bit(dword: usize, position: u32) -> Bits {
    bits(dword, position, position)
}

/// The bits `hi:lo` of a whole record, as commands and events are numbered.
pub const fn across(hi: u32, lo: u32) -> Bits {
    assert!(hi / 64 == lo / 64);
    bits((lo / 64) as usize, hi % 64, lo % 64)
}

/// A record of `W` dwords: an STE, a CD, a descriptor, a command, an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<const W: usize>(pub [u64; W]);

impl<const W: usize> Record<W> {
    /// All bits clear.
    pub const ZERO: Self = Record([0; W]);

    /// The same record with one field replaced; a value too wide for the field is a mistake in the test.
    #[must_use]
    pub const fn with(mut self, at: Bits, value: u64) -> Self {
        let ones = u64::MAX >> (63 - (at.hi - at.lo));
        assert!(value <= ones, "the value does not fit into the field");
        self.0[at.dword] = self.0[at.dword] & !(ones << at.lo) | value << at.lo;
        self
    }

    /// The value of a field.
    pub const fn get(&self, at: Bits) -> u64 {
        self.0[at.dword] >> at.lo & u64::MAX >> (63 - (at.hi - at.lo))
    }

    /// The record as it lies in memory.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|dword| dword.to_le_bytes()).collect()
    }
}

/// Memory of 64-bit words, as tables need it. `None` means that a read aborts.
pub trait Words {
    /// Reads one aligned word.
    fn word(&self, pa: u64) -> Option<u64>;
    /// Writes one aligned word; an address outside memory is a mistake in the test.
    fn set_word(&mut self, pa: u64, value: u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_replaced_and_nothing_else() {
        let record = Record([u64::MAX, 0]).with(bits(0, 11, 4), 0x5a).with(across(127, 76), 0x123);
        assert_eq!(record.0, [0xffff_ffff_ffff_f5af, 0x12_3000]);
        assert_eq!(record.get(bits(0, 11, 4)), 0x5a);
        assert_eq!(Record([0x0102_0304_0506_0708]).bytes(), [8, 7, 6, 5, 4, 3, 2, 1]);
    }
}
