//! The registers that the page shows, with their fields (§6.3). Where a field is, is the model's knowledge.

use smmuv3::arch::{bits::Field, features::field};
use smmuv3::format::regs::{Reg, cr0, cr2, gbpa, gerror, irq_ctrl, queue_base, queue_index, strtab};

macro_rules! of {
    ($module:ident: $($name:ident)*) => { &[$((stringify!($name), $module::$name)),*] };
}

/// A register, and its fields by name.
type Row = (Reg, &'static [(&'static str, Field)]);

const SHOWN: &[Row] = &[
    (Reg::Cr0, of!(cr0: SMMUEN PRIQEN EVENTQEN CMDQEN ATSCHK VMW)),
    (Reg::CmdqProd, of!(queue_index: POSITION)),
    (Reg::CmdqCons, of!(queue_index: POSITION ERR)),
    (Reg::CmdqBase, of!(queue_base: LOG2SIZE ADDR)),
    (Reg::Gerror, of!(gerror: CMDQ_ERR EVENTQ_ABT_ERR PRIQ_ABT_ERR MSI_CMDQ_ABT_ERR MSI_EVENTQ_ABT_ERR)),
    (Reg::Gerrorn, of!(gerror: CMDQ_ERR EVENTQ_ABT_ERR PRIQ_ABT_ERR MSI_CMDQ_ABT_ERR MSI_EVENTQ_ABT_ERR)),
    (Reg::EventqProd, of!(queue_index: POSITION OVERFLOW)),
    (Reg::EventqCons, of!(queue_index: POSITION OVERFLOW)),
    (Reg::EventqBase, of!(queue_base: LOG2SIZE ADDR)),
    (Reg::StrtabBase, of!(strtab: ADDR)),
    (Reg::StrtabBaseCfg, of!(strtab: LOG2SIZE SPLIT FMT)),
    (Reg::Cr2, of!(cr2: E2H RECINVSID PTM REC_CFG_ATS)),
    (Reg::Gbpa, of!(gbpa: MEMATTR MTCFG ALLOCCFG SHCFG PRIVCFG INSTCFG ABORT UPDATE)),
    (Reg::IrqCtrl, of!(irq_ctrl: GERROR_IRQEN PRIQ_IRQEN EVENTQ_IRQEN)),
];

/// Every register that the page shows; the fields of ID registers are the model's own table.
pub(crate) fn shown() -> Vec<(Reg, Vec<(&'static str, Field)>)> {
    let own = SHOWN.iter().map(|(register, rows)| (*register, rows.to_vec()));
    let id = [Reg::Idr0, Reg::Idr1, Reg::Idr3, Reg::Idr5].map(|register| {
        let rows = field::ALL.iter().filter(|row| row.0 == register.row().name);
        (register, rows.map(|(_, name, bits)| (*name, *bits)).collect())
    });
    own.chain(id).collect()
}
