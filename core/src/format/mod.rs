//! Layouts: bytes to values and back. Formats know no memory; what they cannot represent cannot be wrong.

pub mod cd;
pub mod command;
pub mod descriptor;
pub mod event;
pub mod regs;
pub mod ste;

use crate::arch::addr::low_mask;
use crate::arch::features::{Features, TtEndian, Version};

/// The byte order of a translation table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Endian {
    /// `ENDI` = 0.
    Little,
    /// `ENDI` = 1.
    Big,
}

impl Endian {
    const fn from_bit(big: bool) -> Self {
        if big { Self::Big } else { Self::Little }
    }

    /// Whether `IDR0.TTENDIAN` allows this byte order.
    fn is_allowed(self, features: &Features) -> bool {
        match features.ttendian {
            TtEndian::Mixed => true,
            TtEndian::Little => self == Self::Little,
            TtEndian::Big => self == Self::Big,
        }
    }
}

/// The bits of an address field that exist: `[51:0]`, `[47:0]` in SMMUv3.0.
fn address_bits(features: &Features, value: u64) -> u64 {
    let bits = if features.version >= Version::V3_1 { 52 } else { 48 };
    value & low_mask(bits)
}

/// The effective size in bits of `CD.IPS` or `STE.S2PS`: the encoding of `IDR5.OAS`, capped to OAS. 0b111 is taken
/// as 0b110, and SMMUv3.0 takes both as 48 bits.
fn output_bits(features: &Features, code: u64) -> u8 {
    let bits = match code {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ if features.version == Version::V3_0 => 48,
        _ => 52,
    };
    bits.min(features.oas_bits)
}
