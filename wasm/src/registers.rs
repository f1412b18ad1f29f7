//! The identification registers as rows for the page (§6.3.1 to §6.3.8).

use wasm_bindgen::prelude::*;

/// One field of a register, and its value.
#[wasm_bindgen(getter_with_clone, inspectable)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The register's name without `SMMU_`.
    #[wasm_bindgen(readonly)]
    pub register: String,
    /// Where the register is in the window.
    #[wasm_bindgen(readonly)]
    pub offset: u32,
    /// The field's name.
    #[wasm_bindgen(readonly)]
    pub name: String,
    /// The field's highest bit.
    #[wasm_bindgen(readonly)]
    pub high: u32,
    /// The field's lowest bit.
    #[wasm_bindgen(readonly)]
    pub low: u32,
    /// What the field holds.
    #[wasm_bindgen(readonly)]
    pub value: u32,
}

/// Register, field, highest and lowest bit.
pub(crate) struct Row(u32, &'static str, u32, u32);

impl Row {
    /// Where the register is in the window.
    pub(crate) fn offset(&self) -> u32 {
        4 * self.0
    }

    /// The field while its register holds `word`.
    pub(crate) fn holding(&self, word: u32) -> Field {
        let &Self(index, name, high, low) = self;
        let value = (word >> low) & (u32::MAX >> (31 - (high - low)));
        Field {
            register: format!("IDR{index}"),
            offset: self.offset(),
            name: name.to_owned(),
            high,
            low,
            value,
        }
    }
}

/// The fields of `SMMU_IDR0`, `IDR1`, `IDR3` and `IDR5` that SMMUv3.2 knows.
pub(crate) const ID_FIELDS: &[Row] = &[
    Row(0, "S2P", 0, 0),
    Row(0, "S1P", 1, 1),
    Row(0, "TTF", 3, 2),
    Row(0, "COHACC", 4, 4),
    Row(0, "BTM", 5, 5),
    Row(0, "HTTU", 7, 6),
    Row(0, "DORMHINT", 8, 8),
    Row(0, "HYP", 9, 9),
    Row(0, "ATS", 10, 10),
    Row(0, "NS1ATS", 11, 11),
    Row(0, "ASID16", 12, 12),
    Row(0, "MSI", 13, 13),
    Row(0, "SEV", 14, 14),
    Row(0, "ATOS", 15, 15),
    Row(0, "PRI", 16, 16),
    Row(0, "VMW", 17, 17),
    Row(0, "VMID16", 18, 18),
    Row(0, "CD2L", 19, 19),
    Row(0, "VATOS", 20, 20),
    Row(0, "TTENDIAN", 22, 21),
    Row(0, "ATSRECERR", 23, 23),
    Row(0, "STALL_MODEL", 25, 24),
    Row(0, "TERM_MODEL", 26, 26),
    Row(0, "ST_LEVEL", 28, 27),
    Row(1, "SIDSIZE", 5, 0),
    Row(1, "SSIDSIZE", 10, 6),
    Row(1, "PRIQS", 15, 11),
    Row(1, "EVENTQS", 20, 16),
    Row(1, "CMDQS", 25, 21),
    Row(1, "ATTR_PERMS_OVR", 26, 26),
    Row(1, "ATTR_TYPES_OVR", 27, 27),
    Row(1, "REL", 28, 28),
    Row(1, "QUEUES_PRESET", 29, 29),
    Row(1, "TABLES_PRESET", 30, 30),
    Row(3, "HAD", 2, 2),
    Row(3, "PBHA", 3, 3),
    Row(3, "XNX", 4, 4),
    Row(3, "PPS", 5, 5),
    Row(3, "MPAM", 7, 7),
    Row(3, "FWB", 8, 8),
    Row(3, "STT", 9, 9),
    Row(3, "RIL", 10, 10),
    Row(3, "BBML", 12, 11),
    Row(5, "OAS", 2, 0),
    Row(5, "GRAN4K", 4, 4),
    Row(5, "GRAN16K", 5, 5),
    Row(5, "GRAN64K", 6, 6),
    Row(5, "VAX", 11, 10),
    Row(5, "STALL_MAX", 31, 16),
];
