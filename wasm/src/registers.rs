//! The registers that the page shows, with their fields (§6.3). Where a field is, is the model's knowledge.

use smmuv3::arch::{bits::Field, features::field};
use smmuv3::format::regs::{Reg, cr0, cr2, gbpa, gerror, irq_ctrl, queue_base, queue_index, strtab};

macro_rules! id {
    ($($name:ident)*) => { &[$((stringify!($name), field::$name)),*] };
}
macro_rules! of {
    ($module:ident: $($name:ident)*) => { &[$((stringify!($name), $module::$name)),*] };
}

/// A register, and its fields by name.
type Row = (Reg, &'static [(&'static str, Field)]);

pub(crate) const SHOWN: &[Row] = &[
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
    (
        Reg::Idr0,
        id!(S2P S1P TTF COHACC BTM HTTU DORMHINT HYP ATS NS1ATS ASID16 MSI SEV ATOS PRI VMW VMID16 CD2L VATOS TTENDIAN
            ATSRECERR STALL_MODEL TERM_MODEL ST_LEVEL),
    ),
    (Reg::Idr1, id!(SIDSIZE SSIDSIZE PRIQS EVENTQS CMDQS ATTR_PERMS_OVR ATTR_TYPES_OVR)),
    (Reg::Idr3, id!(HAD XNX FWB STT RIL BBML E0PD PTWNNC)),
    (Reg::Idr5, id!(OAS GRAN4K GRAN16K GRAN64K VAX STALL_MAX)),
];
