//! Identifiers that travel with transactions and tag what caches keep.

/// Declares a number with a meaning: `Copy`, ordered, printed as hex.
macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name(pub $inner);

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

identifier! {
    /// StreamID: which device, as the stream table is indexed. 0 to 32 bits are implemented (`IDR1.SIDSIZE`).
    StreamId(u32)
}
identifier! {
    /// SubstreamID (a PCIe PASID): which address space of the device. 0 to 20 bits (`IDR1.SSIDSIZE`).
    SubstreamId(u32)
}
identifier! {
    /// ASID: which stage 1 address space. 8 or 16 bits (`IDR0.ASID16`).
    Asid(u16)
}
identifier! {
    /// VMID: which stage 2 address space. 8 or 16 bits (`IDR0.VMID16`).
    Vmid(u16)
}
identifier! {
    /// STAG: the name by which CMD_RESUME finds a stalled transaction.
    Stag(u16)
}

/// StreamWorld: the exception level whose translations a stream uses, which decides how they are tagged (§3.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StreamWorld {
    /// NS-EL1: tagged with VMID and ASID.
    El1,
    /// NS-EL2: no VMID, no ASID, one privilege, one range of addresses.
    El2,
    /// NS-EL2-E2H: ASID, no VMID.
    El2E2h,
}

impl StreamWorld {
    /// Whether translations are tagged with a VMID.
    #[must_use]
    pub const fn has_vmid(self) -> bool {
        matches!(self, Self::El1)
    }
}
