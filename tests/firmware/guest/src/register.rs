//! Register offsets (§6.2), by Arm's names.

#![allow(missing_docs, reason = "the names are the specification's own")]

pub const IDR0: u32 = 0x00;
pub const IDR1: u32 = 0x04;
pub const IDR2: u32 = 0x08;
pub const IDR3: u32 = 0x0c;
pub const IDR4: u32 = 0x10;
pub const IDR5: u32 = 0x14;
pub const IIDR: u32 = 0x18;
pub const AIDR: u32 = 0x1c;
pub const CR0: u32 = 0x20;
pub const CR0ACK: u32 = 0x24;
pub const CR1: u32 = 0x28;
pub const CR2: u32 = 0x2c;
pub const GBPA: u32 = 0x44;
pub const IRQ_CTRL: u32 = 0x50;
pub const IRQ_CTRLACK: u32 = 0x54;
pub const GERROR: u32 = 0x60;
pub const GERRORN: u32 = 0x64;
pub const STRTAB_BASE: u32 = 0x80;
pub const STRTAB_BASE_CFG: u32 = 0x88;
pub const CMDQ_BASE: u32 = 0x90;
pub const CMDQ_PROD: u32 = 0x98;
pub const CMDQ_CONS: u32 = 0x9c;
pub const EVENTQ_BASE: u32 = 0xa0;
pub const EVENTQ_IRQ_CFG0: u32 = 0xb0;
pub const EVENTQ_IRQ_CFG1: u32 = 0xb8;
pub const EVENTQ_IRQ_CFG2: u32 = 0xbc;
pub const GERROR_IRQ_CFG0: u32 = 0x68;
pub const GERROR_IRQ_CFG1: u32 = 0x70;
pub const GATOS_CTRL: u32 = 0x100;
pub const GATOS_SID: u32 = 0x108;
pub const GATOS_ADDR: u32 = 0x110;
pub const EVENTQ_PROD: u32 = 0x1_00a8;
pub const EVENTQ_CONS: u32 = 0x1_00ac;

/// CR0.
pub mod cr0 {
    pub const SMMUEN: u32 = 1 << 0;
    pub const EVENTQEN: u32 = 1 << 2;
    pub const CMDQEN: u32 = 1 << 3;
}

/// IRQ_CTRL.
pub mod irq_ctrl {
    pub const GERROR_IRQEN: u32 = 1 << 0;
    pub const EVENTQ_IRQEN: u32 = 1 << 2;
}
