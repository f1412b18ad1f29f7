//! The identification registers as rows for the page (§6.3). Where a field is, is the model's knowledge.

use smmuv3::arch::{bits, features::field};
use smmuv3::format::regs::Reg;
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

/// A field that can be asked for its value.
pub(crate) struct Row {
    pub(crate) register: Reg,
    name: &'static str,
    bits: bits::Field,
}

impl Row {
    /// The field while its register holds `word`.
    pub(crate) fn holding(&self, word: u64) -> Field {
        let register = self.register.row();
        let low = u32::from(self.bits.lo());
        Field {
            register: register.name.to_owned(),
            offset: register.offset,
            name: self.name.to_owned(),
            high: low + u32::from(self.bits.width()) - 1,
            low,
            value: self.bits.get(word) as u32, // no ID register is wider
        }
    }
}

macro_rules! rows {
    ($($register:ident: $($name:ident)*;)*) => {
        &[$($(Row { register: Reg::$register, name: stringify!($name), bits: field::$name },)*)*]
    };
}

/// The fields that the model knows by name.
pub(crate) const ID_FIELDS: &[Row] = rows! {
    Idr0: S2P S1P TTF COHACC BTM HTTU DORMHINT HYP ATS NS1ATS ASID16 MSI SEV ATOS PRI VMW VMID16 CD2L VATOS TTENDIAN
        ATSRECERR STALL_MODEL TERM_MODEL ST_LEVEL;
    Idr1: SIDSIZE SSIDSIZE PRIQS EVENTQS CMDQS ATTR_PERMS_OVR ATTR_TYPES_OVR REL QUEUES_PRESET TABLES_PRESET ECMDQ;
    Idr2: BA_VATOS;
    Idr3: HAD XNX PPS FWB STT RIL BBML E0PD PTWNNC;
    Idr5: OAS GRAN4K GRAN16K GRAN64K VAX STALL_MAX;
    Idr6: LOG2NUMQ LOG2NUMP;
};
