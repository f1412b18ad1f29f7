//! Memory attributes and how the stages' are combined (§13.1 to §13.5, DDI 0487 §D8.6).
//!
//! A memory type is kept as a `MAIR` byte in one canonical form, which is also what `PAR.ATTR` shows: Device is
//! `0b0000_dd00`; Normal has the outer cacheability in `[7:4]` and the inner in `[3:0]`.

/// Memory type, shareability, and what the access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Attributes {
    /// Memory type with allocation hints.
    pub memory: MemoryType,
    /// Shareability.
    pub sh: Shareability,
    /// `PRIV`: privileged.
    pub privileged: bool,
    /// `INST`: an instruction fetch.
    pub instruction: bool,
}

/// A memory type, as a canonical `MAIR` byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct MemoryType(u8);

/// A shareability domain, in the encoding of `SH`; 0b01 is reserved and taken as Non-shareable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Shareability {
    /// 0b00: Non-shareable.
    #[default]
    NonShareable,
    /// 0b10: Outer Shareable.
    Outer,
    /// 0b11: Inner Shareable.
    Inner,
}

/// A cacheability nibble's hints: read allocate, write allocate, non-transient.
const ALLOCATE: u8 = 0b11;

impl MemoryType {
    /// Device-nGnRnE.
    pub const DEVICE_NGNRNE: Self = Self(0);
    /// Normal, inner and outer Non-cacheable.
    pub const NON_CACHEABLE: Self = Self(0x44);
    /// Normal, inner and outer Write-Back, read and write allocate, non-transient: what a client without attributes has.
    pub const WRITE_BACK: Self = Self(0xff);

    /// The type of a `MAIR` byte (§5.4): every byte has one.
    #[must_use]
    pub const fn from_mair(byte: u8) -> Self {
        if byte >> 4 == 0 {
            Self(byte & 0b1100)
        } else {
            // An inner nibble of 0 is Write-Through transient.
            Self(if byte & 0xf == 0 { byte | 0b0011 } else { byte })
        }
    }

    /// The type of a stage 2 `MemAttr[3:0]`, which is also that of `STE.MemAttr`, with full allocation hints; reserved
    /// encodings are Device-nGnRnE.
    #[must_use]
    pub const fn from_stage2(code: u8) -> Self {
        match (code >> 2 & 0b11, code & 0b11) {
            (0b00, device) => Self(device << 2),
            (_, 0b00) => Self::DEVICE_NGNRNE,
            (outer, inner) => Self(cacheability(outer) << 4 | cacheability(inner)),
        }
    }

    /// The type whose canonical byte this is.
    #[inline]
    pub(crate) const fn from_canonical(byte: u8) -> Self {
        Self(byte)
    }

    /// The canonical `MAIR` byte.
    #[must_use]
    pub const fn mair(self) -> u8 {
        self.0
    }

    /// Whether it is any Device type.
    #[must_use]
    pub const fn is_device(self) -> bool {
        self.0 >> 4 == 0
    }

    /// Whether both cacheabilities are Non-cacheable.
    #[must_use]
    pub const fn is_non_cacheable(self) -> bool {
        self.0 == Self::NON_CACHEABLE.0
    }

    /// The weaker of two types: Device beats Normal, nG, nR and nE beat G, R and E, and inner and outer separately
    /// Non-cacheable beats Write-Through beats Write-Back. Allocation hints are those of `self`, if it is cacheable.
    #[must_use]
    pub fn combine(self, second: Self) -> Self {
        match (self.is_device(), second.is_device()) {
            (true, true) => Self(self.0.min(second.0)),
            (true, false) => self,
            (false, true) => second,
            (false, false) => {
                Self(weaker(self.0 >> 4, second.0 >> 4) << 4 | weaker(self.0 & 0xf, second.0 & 0xf))
            }
        }
    }

    /// The type that stage 2 gives with `S2FWB` = 1, from bits `[2:0]` of `MemAttr`.
    #[must_use]
    pub fn forced(self, code: u8) -> Self {
        match code & 0b111 {
            code @ 0b000..=0b011 => {
                let device = Self(code << 2);
                if self.is_device() { self.combine(device) } else { device }
            }
            0b101 if self.is_device() => self,
            0b101 => Self::NON_CACHEABLE,
            0b110 if self.is_device() || self.is_non_cacheable() => Self::WRITE_BACK,
            0b110 => Self(write_back(self.0 >> 4) << 4 | write_back(self.0 & 0xf)),
            0b111 => self,
            _ => Self::DEVICE_NGNRNE,
        }
    }

    /// The same type with the hints of `incoming` taken into account, inner and outer separately: what one of both does not
    /// allocate is not allocated, and what one calls transient is (§13.4.2). A type that is not cacheable has no hints.
    #[must_use]
    pub fn hinted_by(self, incoming: Self) -> Self {
        if self.is_device() || incoming.is_device() {
            return self;
        }
        let nibble = |own: u8, other: u8| match (kind(own), kind(other)) {
            (Cache::None, _) | (_, Cache::None) => own,
            (cache, _) => {
                let allocate = own & other & ALLOCATE;
                let transient = (own & other) >> 3 == 0;
                encode(cache, transient && allocate != 0, allocate)
            }
        };
        Self(nibble(self.0 >> 4, incoming.0 >> 4) << 4 | nibble(self.0 & 0xf, incoming.0 & 0xf))
    }

    /// The same type with the allocation hints of `ALLOCCFG[2:0]` (R, W, T), if it is cacheable.
    #[must_use]
    pub fn with_allocation(self, hints: u8) -> Self {
        if self.is_device() {
            return self;
        }
        // R is bit 2, W bit 1, T bit 0; a nibble without any hint is not transient, since 0b0x00 means something else.
        let allocate = (hints >> 2 & 1) << 1 | hints >> 1 & 1;
        let transient = hints & 1 != 0 && allocate != 0;
        let nibble = |nibble: u8| match kind(nibble) {
            Cache::None => nibble,
            cache => encode(cache, transient, allocate),
        };
        Self(nibble(self.0 >> 4) << 4 | nibble(self.0 & 0xf))
    }
}

impl Shareability {
    /// The domain of an `SH` field.
    #[must_use]
    pub const fn from_sh(code: u8) -> Self {
        match code & 0b11 {
            0b10 => Self::Outer,
            0b11 => Self::Inner,
            _ => Self::NonShareable,
        }
    }

    /// The `SH` encoding.
    #[must_use]
    pub const fn sh(self) -> u8 {
        match self {
            Self::NonShareable => 0b00,
            Self::Outer => 0b10,
            Self::Inner => 0b11,
        }
    }

    /// The wider of two domains: Outer beats Inner beats Non-shareable.
    #[must_use]
    pub const fn combine(self, second: Self) -> Self {
        match (self, second) {
            (Self::Outer, _) | (_, Self::Outer) => Self::Outer,
            (Self::Inner, _) | (_, Self::Inner) => Self::Inner,
            _ => Self::NonShareable,
        }
    }

    /// The domain that an access to `memory` has: Device and Non-cacheable are always Outer Shareable.
    #[must_use]
    pub const fn of(self, memory: MemoryType) -> Self {
        if memory.is_device() || memory.is_non_cacheable() { Self::Outer } else { self }
    }
}

/// What a cacheability nibble says, strongest last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cache {
    None,
    WriteThrough,
    WriteBack,
}

const fn kind(nibble: u8) -> Cache {
    match nibble {
        0b0100 => Cache::None,
        0b0000..=0b0011 | 0b1000..=0b1011 => Cache::WriteThrough,
        _ => Cache::WriteBack,
    }
}

/// The nibble of a stage 2 cacheability: 01 Non-cacheable, 10 Write-Through, 11 Write-Back.
const fn cacheability(code: u8) -> u8 {
    match code {
        0b10 => encode(Cache::WriteThrough, false, ALLOCATE),
        0b11 => encode(Cache::WriteBack, false, ALLOCATE),
        _ => 0b0100,
    }
}

const fn encode(cache: Cache, transient: bool, allocate: u8) -> u8 {
    let persistent = if transient { 0 } else { 0b1000 };
    match cache {
        Cache::None => 0b0100,
        Cache::WriteThrough => persistent | allocate,
        Cache::WriteBack => persistent | 0b0100 | allocate,
    }
}

/// The weaker of two nibbles, with the hints of the first if that is cacheable.
fn weaker(first: u8, second: u8) -> u8 {
    match kind(first).min(kind(second)) {
        Cache::None => 0b0100,
        cache => retyped(first, cache),
    }
}

fn write_back(nibble: u8) -> u8 {
    if kind(nibble) == Cache::None {
        encode(Cache::WriteBack, false, ALLOCATE)
    } else {
        retyped(nibble, Cache::WriteBack)
    }
}

/// A cacheable nibble as another type with the same hints. Write-Back cannot be transient without a hint.
fn retyped(nibble: u8, cache: Cache) -> u8 {
    let transient = nibble & 0b1000 == 0;
    encode(cache, transient && nibble & ALLOCATE != 0, nibble & ALLOCATE)
}

#[cfg(test)]
mod tests {
    use super::{MemoryType, Shareability};

    /// DDI 0487 §D8.6, by hand: (stage 1 MAIR, stage 2 MemAttr, combined MAIR).
    #[test]
    fn stages_combine_to_the_weaker() {
        let rows = [
            (0xff, 0b1111, 0xff),
            (0xff, 0b1010, 0xbb),
            (0xff, 0b0101, 0x44),
            (0xff, 0b1101, 0xf4),
            (0xbb, 0b1111, 0xbb),
            (0x44, 0b1111, 0x44),
            (0xff, 0b0001, 0x04),
            (0x0c, 0b1111, 0x0c),
            (0x0c, 0b0010, 0x08),
            (0x04, 0b0011, 0x04),
            (0x77, 0b1111, 0x77),
            (0x77, 0b1010, 0x33),
            (0xff, 0b0100, 0x00),
        ];
        for (first, second, expected) in rows {
            let combined = MemoryType::from_mair(first).combine(MemoryType::from_stage2(second));
            assert_eq!(combined.mair(), expected, "{first:#x} with {second:#06b}");
        }
    }

    #[test]
    fn force_write_back() {
        let rows = [
            (0x44, 0b110, 0xff),
            (0x00, 0b110, 0xff),
            (0xbb, 0b110, 0xff),
            (0xee, 0b110, 0xee),
            (0xff, 0b101, 0x44),
            (0x08, 0b101, 0x08),
            (0x08, 0b111, 0x08),
            (0xff, 0b001, 0x04),
            (0x00, 0b011, 0x00),
            (0xff, 0b100, 0x00),
        ];
        for (first, code, expected) in rows {
            assert_eq!(
                MemoryType::from_mair(first).forced(code).mair(),
                expected,
                "{first:#x} with {code:#05b}"
            );
        }
    }

    #[test]
    fn shareability_widens_and_device_is_outer() {
        use Shareability::{Inner, NonShareable, Outer};
        assert_eq!(Inner.combine(NonShareable), Inner);
        assert_eq!(Inner.combine(Outer), Outer);
        assert_eq!(Inner.of(MemoryType::DEVICE_NGNRNE), Outer);
        assert_eq!(Inner.of(MemoryType::WRITE_BACK), Inner);
    }

    #[test]
    fn allocation_hints_are_replaced() {
        assert_eq!(MemoryType::WRITE_BACK.with_allocation(0b100).mair(), 0xee);
        assert_eq!(MemoryType::WRITE_BACK.with_allocation(0b111).mair(), 0x77);
        assert_eq!(MemoryType::NON_CACHEABLE.with_allocation(0b111).mair(), 0x44);
        assert_eq!(MemoryType::DEVICE_NGNRNE.with_allocation(0b111).mair(), 0x00);
    }
}
