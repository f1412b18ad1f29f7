//! Addresses of the three spaces, translation granules and levels, and the sizes that follow (DDI 0487 §D8.2).

use core::fmt;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name(pub u64);

        impl $name {
            /// This address `bytes` further on; wraps at 2^64, which no translated address reaches.
            #[must_use]
            #[inline]
            pub const fn offset(self, bytes: u64) -> Self {
                Self(self.0.wrapping_add(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

address! {
    /// The address that a device puts on the bus: a VA where stage 1 translates, otherwise an IPA or a PA.
    Iova
}
address! {
    /// Intermediate physical address: output of stage 1, input of stage 2.
    Ipa
}
address! {
    /// Physical address: what reaches memory.
    Pa
}

/// `2^bits - 1`, for any number of bits.
#[must_use]
#[inline]
pub const fn low_mask(bits: u32) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// `address` rounded down to a multiple of `2^bits`.
#[must_use]
#[inline]
pub const fn align_down(address: u64, bits: u32) -> u64 {
    address & !low_mask(bits)
}

/// A translation stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Stage {
    /// Stage 1: virtual address to intermediate physical address.
    S1,
    /// Stage 2: intermediate physical address to physical address.
    S2,
}

/// A translation granule: the size of a page and of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Granule {
    /// 4 KiB.
    Kib4,
    /// 16 KiB.
    Kib16,
    /// 64 KiB.
    Kib64,
}

impl Granule {
    /// log2 of the page size in bytes: 12, 14 or 16.
    #[must_use]
    #[inline]
    pub const fn shift(self) -> u32 {
        12 + 2 * self as u32
    }

    /// The page size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// Index bits that one full table resolves: 9, 11 or 13.
    #[must_use]
    #[inline]
    pub const fn stride(self) -> u32 {
        self.shift() - 3
    }

    /// log2 of the bytes that one descriptor at `level` covers.
    #[must_use]
    #[inline]
    pub const fn level_shift(self, level: Level) -> u32 {
        self.shift() + (3 - level.number()) * self.stride()
    }

    /// Whether a block (at levels 0 to 2) or page (level 3) descriptor is legal at `level`, without `IDR5.DS`.
    /// A 64 KiB level 1 block (4 TiB) needs an output size of 52 bits.
    #[must_use]
    #[inline]
    pub const fn has_leaf(self, level: Level, oas_bits: u32) -> bool {
        match (self, level) {
            (_, Level::L3 | Level::L2) | (Self::Kib4, Level::L1) => true,
            (Self::Kib64, Level::L1) => oas_bits >= 52,
            _ => false,
        }
    }

    /// log2 of the number of entries that the Contiguous bit joins at `level`; 0 where the bit is RES0
    /// (DDI 0487 §D8.7.1).
    #[must_use]
    #[inline]
    pub const fn contiguous_shift(self, level: Level) -> u32 {
        match (self, level) {
            (Self::Kib4, Level::L1 | Level::L2 | Level::L3) => 4,
            (Self::Kib16, Level::L3) => 7,
            (Self::Kib16 | Self::Kib64, Level::L2) | (Self::Kib64, Level::L3) => 5,
            _ => 0,
        }
    }
}

/// A level of lookup; level 3 holds pages. Level -1 belongs to `IDR5.DS` and stays absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Level {
    /// Level 0.
    L0,
    /// Level 1.
    L1,
    /// Level 2.
    L2,
    /// Level 3: pages.
    L3,
}

impl Level {
    /// All levels, from the root of the largest tables to pages.
    pub const ALL: [Self; 4] = [Self::L0, Self::L1, Self::L2, Self::L3];

    /// 0 to 3.
    #[must_use]
    #[inline]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The level of a number; above 3 it is level 3.
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        match number {
            0 => Self::L0,
            1 => Self::L1,
            2 => Self::L2,
            _ => Self::L3,
        }
    }

    /// The next level of lookup, or `None` after pages.
    #[must_use]
    #[inline]
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::L0 => Some(Self::L1),
            Self::L1 => Some(Self::L2),
            Self::L2 => Some(Self::L3),
            Self::L3 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Granule, Level, align_down, low_mask};

    /// The walk parameters of DDI 0487 §D8.2: bytes covered by one descriptor, as log2.
    #[test]
    fn level_shifts() {
        let table = [
            (Granule::Kib4, [39, 30, 21, 12]),
            (Granule::Kib16, [47, 36, 25, 14]),
            (Granule::Kib64, [55, 42, 29, 16]),
        ];
        for (granule, shifts) in table {
            assert_eq!(Level::ALL.map(|level| granule.level_shift(level)), shifts, "{granule:?}");
        }
    }

    #[test]
    fn masks_of_every_width() {
        assert_eq!([low_mask(0), low_mask(12), low_mask(64)], [0, 0xfff, u64::MAX]);
        assert_eq!(align_down(0x1fff, 12), 0x1000);
    }
}
