//! The register map as one table (§6.2, §6.3), and the fields of each register.
//!
//! One row serves MMIO dispatch, reset, logs and the test that walks the map. What a register *does* is `device::mmio`.

use crate::arch::bits::Field;

/// Bytes of pages 0 and 1, of 64 KiB each.
pub const SIZE_BYTES: u32 = 0x2_0000;
/// Bytes of a page.
pub const PAGE_BYTES: u32 = 0x1_0000;
/// Where the table below puts the VATOS page; `IDR2.BA_VATOS` says where it is.
pub const VATOS_PAGE: u32 = 0x2_0000;

/// Who may write a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// RO: writes are ignored.
    ReadOnly,
    /// RW, under the row's guard.
    ReadWrite,
}

/// What must hold for a write to have effect; otherwise it is ignored (mandatory since SMMUv3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Guard {
    /// Always.
    None,
    /// `SMMUEN` is 0 in CR0 and CR0ACK.
    SmmuDisabled,
    /// `CMDQEN` is 0 in CR0 and CR0ACK.
    CmdqDisabled,
    /// `EVENTQEN` is 0 in CR0 and CR0ACK.
    EventqDisabled,
    /// `GERROR_IRQEN` is 0 in IRQ_CTRL and IRQ_CTRLACK.
    GerrorIrqDisabled,
    /// `EVENTQ_IRQEN` is 0 in IRQ_CTRL and IRQ_CTRLACK.
    EventqIrqDisabled,
    /// `PRIQEN` is 0 in CR0 and CR0ACK, as written: SMMUEN does not mask it.
    PriqDisabled,
    /// `PRIQ_IRQEN` is 0 in IRQ_CTRL and IRQ_CTRLACK.
    PriqIrqDisabled,
    /// CR1: `TABLE_*` while `SMMUEN` is 0, `QUEUE_*` while all queues are disabled.
    Cr1,
    /// GBPA: `Update` is 0 and the write has it 1.
    Update,
}

/// What the register belongs to; without it the register is RES0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Needs {
    /// Every SMMU.
    Nothing,
    /// `IDR0.MSI`.
    Msi,
    /// `IDR0.PRI`.
    Pri,
    /// `IDR0.PRI` and `IDR0.MSI`.
    PriMsi,
    /// `IDR0.ATOS`.
    Atos,
    /// `IDR0.VATOS`.
    Vatos,
    /// A feature that this model does not have: `IDR3.MPAM`.
    Absent,
}

/// A row of the register map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Register {
    /// Which register.
    pub id: Reg,
    /// Arm's name without `SMMU_`.
    pub name: &'static str,
    /// Offset from page 0; page 1 begins at 0x10000.
    pub offset: u32,
    /// Width in bytes: 4 or 8.
    pub width: u32,
    /// Read-only or not.
    pub kind: Kind,
    /// The bits that exist, if the register does.
    pub bits: u64,
    /// What a write needs.
    pub guard: Guard,
    /// What the register needs to exist.
    pub needs: Needs,
    /// The value after reset. Constants that depend on `Features` show 0 here; UNKNOWN values reset to 0.
    pub reset: u64,
}

macro_rules! register_map {
    ($($id:ident $name:literal $offset:literal $width:literal $kind:ident $bits:expr, $guard:ident $needs:ident $reset:literal;)*) => {
        /// A register of the Non-secure programming interface.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[expect(missing_docs, reason = "the names are the architecture's; the table holds the rest")]
        pub enum Reg { $($id),* }

        /// Every Non-secure register of pages 0 and 1 and of the VATOS page, in the order of their offsets.
        pub const REGISTERS: [Register; [$(Reg::$id),*].len()] = [$(
            Register {
                id: Reg::$id, name: $name, offset: $offset, width: $width, kind: Kind::$kind, bits: $bits,
                guard: Guard::$guard, needs: Needs::$needs, reset: $reset,
            }
        ),*];
    };
}

const ALL32: u64 = 0xffff_ffff;
const QUEUE_BASE: u64 = 0x400f_ffff_ffff_ffff;
const MSI_ADDRESS: u64 = 0x000f_ffff_ffff_fffc;

register_map! {
    // Register        name                offset  width kind      bits  guard needs reset
    Idr0            "IDR0"              0x000   4 ReadOnly  ALL32, None Nothing 0;
    Idr1            "IDR1"              0x004   4 ReadOnly  ALL32, None Nothing 0;
    Idr2            "IDR2"              0x008   4 ReadOnly  ALL32, None Nothing 0;
    Idr3            "IDR3"              0x00c   4 ReadOnly  ALL32, None Nothing 0;
    Idr4            "IDR4"              0x010   4 ReadOnly  ALL32, None Nothing 0;
    Idr5            "IDR5"              0x014   4 ReadOnly  ALL32, None Nothing 0;
    Iidr            "IIDR"              0x018   4 ReadOnly  ALL32, None Nothing 0;
    Aidr            "AIDR"              0x01c   4 ReadOnly  ALL32, None Nothing 0;
    Cr0             "CR0"               0x020   4 ReadWrite 0x0000_01df, None Nothing 0;
    Cr0ack          "CR0ACK"            0x024   4 ReadOnly  0x0000_01df, None Nothing 0;
    Cr1             "CR1"               0x028   4 ReadWrite 0x0000_0fff, Cr1 Nothing 0;
    Cr2             "CR2"               0x02c   4 ReadWrite 0x0000_000f, SmmuDisabled Nothing 0;
    Statusr         "STATUSR"           0x040   4 ReadOnly  0x0000_0001, None Nothing 0;
    Gbpa            "GBPA"              0x044   4 ReadWrite 0x801f_3f1f, Update Nothing 0x1000;
    Agbpa           "AGBPA"             0x048   4 ReadWrite 0, None Nothing 0;
    IrqCtrl         "IRQ_CTRL"          0x050   4 ReadWrite 0x0000_0007, None Nothing 0;
    IrqCtrlack      "IRQ_CTRLACK"       0x054   4 ReadOnly  0x0000_0007, None Nothing 0;
    Gerror          "GERROR"            0x060   4 ReadOnly  0x0000_03fd, None Nothing 0;
    Gerrorn         "GERRORN"           0x064   4 ReadWrite 0x0000_03fd, None Nothing 0;
    GerrorIrqCfg0   "GERROR_IRQ_CFG0"   0x068   8 ReadWrite MSI_ADDRESS, GerrorIrqDisabled Msi 0;
    GerrorIrqCfg1   "GERROR_IRQ_CFG1"   0x070   4 ReadWrite ALL32, GerrorIrqDisabled Msi 0;
    GerrorIrqCfg2   "GERROR_IRQ_CFG2"   0x074   4 ReadWrite 0x0000_003f, GerrorIrqDisabled Msi 0;
    StrtabBase      "STRTAB_BASE"       0x080   8 ReadWrite 0x400f_ffff_ffff_ffc0, SmmuDisabled Nothing 0;
    StrtabBaseCfg   "STRTAB_BASE_CFG"   0x088   4 ReadWrite 0x0003_07ff, SmmuDisabled Nothing 0;
    CmdqBase        "CMDQ_BASE"         0x090   8 ReadWrite QUEUE_BASE, CmdqDisabled Nothing 0;
    CmdqProd        "CMDQ_PROD"         0x098   4 ReadWrite 0x000f_ffff, None Nothing 0;
    CmdqCons        "CMDQ_CONS"         0x09c   4 ReadWrite 0x7f0f_ffff, CmdqDisabled Nothing 0;
    EventqBase      "EVENTQ_BASE"       0x0a0   8 ReadWrite QUEUE_BASE, EventqDisabled Nothing 0;
    EventqIrqCfg0   "EVENTQ_IRQ_CFG0"   0x0b0   8 ReadWrite MSI_ADDRESS, EventqIrqDisabled Msi 0;
    EventqIrqCfg1   "EVENTQ_IRQ_CFG1"   0x0b8   4 ReadWrite ALL32, EventqIrqDisabled Msi 0;
    EventqIrqCfg2   "EVENTQ_IRQ_CFG2"   0x0bc   4 ReadWrite 0x0000_003f, EventqIrqDisabled Msi 0;
    PriqBase        "PRIQ_BASE"         0x0c0   8 ReadWrite QUEUE_BASE, PriqDisabled Pri 0;
    PriqIrqCfg0     "PRIQ_IRQ_CFG0"     0x0d0   8 ReadWrite MSI_ADDRESS, PriqIrqDisabled PriMsi 0;
    PriqIrqCfg1     "PRIQ_IRQ_CFG1"     0x0d8   4 ReadWrite ALL32, PriqIrqDisabled PriMsi 0;
    PriqIrqCfg2     "PRIQ_IRQ_CFG2"     0x0dc   4 ReadWrite 0x8000_003f, PriqIrqDisabled Pri 0;
    GatosCtrl       "GATOS_CTRL"        0x100   4 ReadWrite 0x0000_0001, None Atos 0;
    GatosSid        "GATOS_SID"         0x108   8 ReadWrite 0x001f_ffff_ffff_ffff, None Atos 0;
    GatosAddr       "GATOS_ADDR"        0x110   8 ReadWrite 0xffff_ffff_ffff_ffc0, None Atos 0;
    GatosPar        "GATOS_PAR"         0x118   8 ReadOnly  0xffff_ffff_ffff_ffff, None Atos 0;
    Mpamidr         "MPAMIDR"           0x130   4 ReadOnly  0x00ff_ffff, None Absent 0;
    Gmpam           "GMPAM"             0x138   4 ReadWrite 0x80ff_ffff, None Absent 0;
    Gbpmpam         "GBPMPAM"           0x13c   4 ReadWrite 0x80ff_ffff, None Absent 0;
    VatosSel        "VATOS_SEL"         0x180   4 ReadWrite 0x0000_ffff, None Vatos 0;
    Idr6            "IDR6"              0x190   4 ReadOnly  0x0f0f_0000, None Nothing 0;
    Pidr4           "PIDR4"             0xfd0   4 ReadOnly  0xff, None Nothing 0;
    Pidr5           "PIDR5"             0xfd4   4 ReadOnly  0xff, None Nothing 0;
    Pidr6           "PIDR6"             0xfd8   4 ReadOnly  0xff, None Nothing 0;
    Pidr7           "PIDR7"             0xfdc   4 ReadOnly  0xff, None Nothing 0;
    Pidr0           "PIDR0"             0xfe0   4 ReadOnly  0xff, None Nothing 0;
    Pidr1           "PIDR1"             0xfe4   4 ReadOnly  0xff, None Nothing 0;
    Pidr2           "PIDR2"             0xfe8   4 ReadOnly  0xff, None Nothing 0x08;
    Pidr3           "PIDR3"             0xfec   4 ReadOnly  0xff, None Nothing 0;
    Cidr0           "CIDR0"             0xff0   4 ReadOnly  0xff, None Nothing 0x0d;
    Cidr1           "CIDR1"             0xff4   4 ReadOnly  0xff, None Nothing 0xf0;
    Cidr2           "CIDR2"             0xff8   4 ReadOnly  0xff, None Nothing 0x05;
    Cidr3           "CIDR3"             0xffc   4 ReadOnly  0xff, None Nothing 0xb1;
    EventqProd      "EVENTQ_PROD"       0x100a8 4 ReadWrite 0x800f_ffff, EventqDisabled Nothing 0;
    EventqCons      "EVENTQ_CONS"       0x100ac 4 ReadWrite 0x800f_ffff, None Nothing 0;
    PriqProd        "PRIQ_PROD"         0x100c8 4 ReadWrite 0x800f_ffff, PriqDisabled Pri 0;
    PriqCons        "PRIQ_CONS"         0x100cc 4 ReadWrite 0x800f_ffff, None Pri 0;
    VatosCtrl       "VATOS_CTRL"        0x20a00 4 ReadWrite 0x0000_0001, None Vatos 0;
    VatosSid        "VATOS_SID"         0x20a08 8 ReadWrite 0x001f_ffff_ffff_ffff, None Vatos 0;
    VatosAddr       "VATOS_ADDR"        0x20a10 8 ReadWrite 0xffff_ffff_ffff_ffc0, None Vatos 0;
    VatosPar        "VATOS_PAR"         0x20a18 8 ReadOnly  0xffff_ffff_ffff_ffff, None Vatos 0;
}

/// Bytes at the beginning of each page that hold all of its registers.
const USED_BYTES: u32 = 0x1000;

/// Which register a 32-bit word belongs to.
#[derive(Clone, Copy)]
struct Word {
    /// The number of its row.
    row: u8,
    /// Bit `n` is set if the word is there on page `n`.
    pages: u8,
    /// How many lower bits of the register are in another word.
    shift: u8,
}

/// The words of all pages, which have no two registers at the same place.
const WORDS: [Word; USED_BYTES as usize / 4] = {
    let mut words = [Word { row: 0, pages: 0, shift: 0 }; USED_BYTES as usize / 4];
    let mut n = 0;
    while n < REGISTERS.len() {
        #[expect(clippy::indexing_slicing, reason = "both are below their lengths, or this does not compile")]
        {
            let Register { offset, width, .. } = REGISTERS[n];
            let mut byte = 0;
            while byte < width {
                let word = &mut words[((offset + byte) % PAGE_BYTES) as usize / 4];
                assert!(word.pages == 0);
                // The event and PRI queue indices of page 1 are found at page 0 as well.
                let pages = match offset / PAGE_BYTES {
                    1 => 0b11,
                    page => 1 << page,
                };
                *word = Word { row: n as u8, pages, shift: 8 * byte as u8 };
                byte += 4;
            }
        }
        n += 1;
    }
    words
};

/// The number of the row that holds the byte at `offset`, and how far the register's value has to be shifted right to begin
/// with the 32 bits around it.
#[inline]
pub(crate) fn word(offset: u32) -> Option<(usize, u32)> {
    let (page, inside) = (offset / PAGE_BYTES, offset % PAGE_BYTES);
    let word = WORDS.get(inside as usize / 4)?;
    (page < 8 && word.pages >> page & 1 != 0).then_some((word.row.into(), word.shift.into()))
}

/// The row that holds the byte at `offset`. The event and PRI queue indices of page 1 are found at page 0 as well.
#[must_use]
#[inline]
pub fn find(offset: u32) -> Option<&'static Register> {
    const TABLE: &[Register] = &REGISTERS;
    word(offset).and_then(|(row, _)| TABLE.get(row))
}

impl Reg {
    /// The register's row.
    #[must_use]
    pub fn row(self) -> &'static Register {
        const FIRST: Register = REGISTERS[0];
        // Rows are in the order of the enumeration, so the look-up never misses.
        REGISTERS.get(self as usize).unwrap_or(&FIRST)
    }
}

/// CR0 and CR0ACK.
pub mod cr0 {
    use super::Field;
    /// `SMMUEN`.
    pub const SMMUEN: Field = Field::bit(0);
    /// `PRIQEN`.
    pub const PRIQEN: Field = Field::bit(1);
    /// `EVENTQEN`.
    pub const EVENTQEN: Field = Field::bit(2);
    /// `CMDQEN`.
    pub const CMDQEN: Field = Field::bit(3);
    /// `ATSCHK`.
    pub const ATSCHK: Field = Field::bit(4);
    /// `VMW`: how many low VMID bits an invalidation ignores, 0 to 4.
    pub const VMW: Field = Field::bits(8, 6);
}

/// CR1.
pub mod cr1 {
    use super::Field;
    /// `QUEUE_IC`, `QUEUE_OC`, `QUEUE_SH`.
    pub const QUEUE: Field = Field::bits(5, 0);
    /// `TABLE_IC`, `TABLE_OC`, `TABLE_SH`.
    pub const TABLE: Field = Field::bits(11, 6);
}

/// CR2.
pub mod cr2 {
    use super::Field;
    /// `E2H`.
    pub const E2H: Field = Field::bit(0);
    /// `RECINVSID`.
    pub const RECINVSID: Field = Field::bit(1);
    /// `PTM`: broadcast TLB maintenance is ignored.
    pub const PTM: Field = Field::bit(2);
    /// `REC_CFG_ATS`: configuration errors of translation requests are recorded.
    pub const REC_CFG_ATS: Field = Field::bit(3);
}

/// GBPA.
pub mod gbpa {
    use super::Field;
    /// `MemAttr`.
    pub const MEMATTR: Field = Field::bits(3, 0);
    /// `MTCFG`.
    pub const MTCFG: Field = Field::bit(4);
    /// `ALLOCCFG`.
    pub const ALLOCCFG: Field = Field::bits(11, 8);
    /// `SHCFG`.
    pub const SHCFG: Field = Field::bits(13, 12);
    /// `PRIVCFG`.
    pub const PRIVCFG: Field = Field::bits(17, 16);
    /// `INSTCFG`.
    pub const INSTCFG: Field = Field::bits(19, 18);
    /// `ABORT`.
    pub const ABORT: Field = Field::bit(20);
    /// `Update`.
    pub const UPDATE: Field = Field::bit(31);
}

/// IRQ_CTRL and IRQ_CTRLACK.
pub mod irq_ctrl {
    use super::Field;
    /// `GERROR_IRQEN`.
    pub const GERROR_IRQEN: Field = Field::bit(0);
    /// `PRIQ_IRQEN`.
    pub const PRIQ_IRQEN: Field = Field::bit(1);
    /// `EVENTQ_IRQEN`.
    pub const EVENTQ_IRQEN: Field = Field::bit(2);
}

/// GERROR and GERRORN.
pub mod gerror {
    use super::Field;
    /// `CMDQ_ERR`: command consumption has stopped.
    pub const CMDQ_ERR: Field = Field::bit(0);
    /// `EVENTQ_ABT_ERR`: the event queue is not writable.
    pub const EVENTQ_ABT_ERR: Field = Field::bit(2);
    /// `PRIQ_ABT_ERR`: the PRI queue is not writable.
    pub const PRIQ_ABT_ERR: Field = Field::bit(3);
    /// `MSI_CMDQ_ABT_ERR`.
    pub const MSI_CMDQ_ABT_ERR: Field = Field::bit(4);
    /// `MSI_EVENTQ_ABT_ERR`.
    pub const MSI_EVENTQ_ABT_ERR: Field = Field::bit(5);
    /// `MSI_PRIQ_ABT_ERR`.
    pub const MSI_PRIQ_ABT_ERR: Field = Field::bit(6);
    /// `MSI_GERROR_ABT_ERR`: raises no interrupt.
    pub const MSI_GERROR_ABT_ERR: Field = Field::bit(7);
    /// `CMDQP_ERR`: an enhanced command queue has stopped.
    pub const CMDQP_ERR: Field = Field::bit(9);
}

/// `*_IRQ_CFG2`.
pub mod irq_cfg2 {
    use super::Field;
    /// `LO` of PRIQ_IRQ_CFG2: interrupt on Last rather than on non-empty.
    pub const LO: Field = Field::bit(31);
    /// `MemAttr`.
    pub const MEMATTR: Field = Field::bits(3, 0);
    /// `SH`.
    pub const SH: Field = Field::bits(5, 4);
}

/// STRTAB_BASE and STRTAB_BASE_CFG.
pub mod strtab {
    use super::Field;
    /// STRTAB_BASE `ADDR[51:6]`.
    pub const ADDR: Field = Field::bits(51, 6);
    /// `LOG2SIZE`.
    pub const LOG2SIZE: Field = Field::bits(5, 0);
    /// `SPLIT`.
    pub const SPLIT: Field = Field::bits(10, 6);
    /// `FMT`.
    pub const FMT: Field = Field::bits(17, 16);
}

/// CMDQ_BASE and EVENTQ_BASE.
pub mod queue_base {
    use super::Field;
    /// `LOG2SIZE`.
    pub const LOG2SIZE: Field = Field::bits(4, 0);
    /// `ADDR[51:5]`.
    pub const ADDR: Field = Field::bits(51, 5);
}

/// Queue indices.
pub mod queue_index {
    use super::Field;
    /// `WR` or `RD`: index and wrap bit.
    pub const POSITION: Field = Field::bits(19, 0);
    /// `ERR` of CMDQ_CONS.
    pub const ERR: Field = Field::bits(30, 24);
    /// `OVFLG` or `OVACKFLG`.
    pub const OVERFLOW: Field = Field::bit(31);
}

/// GATOS and VATOS registers.
pub mod atos {
    use super::Field;
    /// `RUN` of CTRL.
    pub const RUN: Field = Field::bit(0);
    /// `STREAMID` of SID.
    pub const STREAMID: Field = Field::bits(31, 0);
    /// `SUBSTREAMID` of SID.
    pub const SUBSTREAMID: Field = Field::bits(51, 32);
    /// `SSID_VALID` of SID.
    pub const SSID_VALID: Field = Field::bit(52);
    /// `HTTUI` of ADDR: flags in tables are not updated.
    pub const HTTUI: Field = Field::bit(6);
    /// `InD` of ADDR.
    pub const IND: Field = Field::bit(7);
    /// `RnW` of ADDR.
    pub const RNW: Field = Field::bit(8);
    /// `PnU` of ADDR.
    pub const PNU: Field = Field::bit(9);
    /// `TYPE` of ADDR: 1 stage 1, 2 stage 2, 3 both.
    pub const TYPE: Field = Field::bits(11, 10);
    /// `ADDR` of ADDR.
    pub const ADDR: Field = Field::bits(63, 12);
    /// `FAULT` of PAR.
    pub const FAULT: Field = Field::bit(0);
    /// `REASON` of PAR.
    pub const REASON: Field = Field::bits(2, 1);
    /// `FAULTCODE` of PAR.
    pub const FAULTCODE: Field = Field::bits(11, 4);
    /// `SH` of PAR.
    pub const SH: Field = Field::bits(9, 8);
    /// `Size` of PAR.
    pub const SIZE: Field = Field::bit(11);
    /// `ADDR` and `FADDR` of PAR.
    pub const PA: Field = Field::bits(51, 12);
    /// `ATTR` of PAR: a `MAIR` byte.
    pub const ATTR: Field = Field::bits(63, 56);
}

#[cfg(test)]
mod tests {
    use super::{PAGE_BYTES, REGISTERS, Reg, find};

    #[test]
    fn rows_are_in_order_and_do_not_overlap() {
        for (i, pair) in REGISTERS.windows(2).enumerate() {
            assert!(pair[0].offset + pair[0].width <= pair[1].offset, "{}", pair[1].name);
            assert_eq!(pair[0].id as usize, i);
        }
        for row in &REGISTERS {
            assert_eq!(row.offset % row.width, 0, "{}", row.name);
            assert_eq!(row.id.row(), row);
            assert!(row.width == 8 || row.bits <= 0xffff_ffff, "{}", row.name);
        }
    }

    #[test]
    fn every_byte_finds_its_row() {
        let name = |offset| find(offset).map(|row| row.name);
        assert_eq!(name(0), Some("IDR0"));
        assert_eq!(name(0x84), Some("STRTAB_BASE"));
        assert_eq!(name(0x8c), None);
        assert_eq!(name(0xa8), Some("EVENTQ_PROD"), "alias");
        assert_eq!(name(0x1_00ac), Some("EVENTQ_CONS"));
        assert_eq!(name(0x1_0000), None);
        assert_eq!(name(0x2_0a00), Some("VATOS_CTRL"));
        assert_eq!((name(0xa00), name(0x1_0a00)), (None, None));
        assert_eq!((name(0x1_0020), name(0x2_0020), name(0x1020), name(u32::MAX)), (None, None, None, None));
        for offset in 0..4 * PAGE_BYTES {
            let at = match offset {
                0xa8..=0xaf | 0xc8..=0xcf => offset + PAGE_BYTES,
                _ => offset,
            };
            let holds = |row: &&super::Register| (row.offset..row.offset + row.width).contains(&at);
            assert_eq!(find(offset), REGISTERS.iter().find(holds), "{offset:#x}");
        }
        assert_eq!(find(0x20).map(|row| row.id), Some(Reg::Cr0));
    }
}
