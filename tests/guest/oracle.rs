//! The truth about a stage 1 walk, written down step by step from the tables, without any thought for speed.
//!
//! It knows the two-privilege regimes (NS-EL1, NS-EL2-E2H) and no hardware update of flags: a CD with HA or HD set is
//! outside what it can judge.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "an oracle that is asked what it cannot know must stop the test"
)]

use crate::bits::Words;
use crate::tables::{Cd, Grain, cd, descriptor};

/// What a transaction wants, after the STE's overrides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// A write; never an instruction.
    pub write: bool,
    /// An instruction read.
    pub instruction: bool,
    /// PnU.
    pub privileged: bool,
}

impl Access {
    /// An unprivileged data read.
    pub const READ: Access = Access { write: false, instruction: false, privileged: false };
    /// An unprivileged data write.
    pub const WRITE: Access = Access { write: true, instruction: false, privileged: false };
}

/// Why a walk failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// F_TRANSLATION
    Translation,
    /// F_ADDR_SIZE
    AddrSize,
    /// F_ACCESS
    Access,
    /// F_PERMISSION
    Permission,
    /// F_WALK_EABT, with the address of the descriptor.
    WalkEabt(u64),
}

impl Fault {
    /// The specification's name of the event.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Translation => "F_TRANSLATION",
            Fault::AddrSize => "F_ADDR_SIZE",
            Fault::Access => "F_ACCESS",
            Fault::Permission => "F_PERMISSION",
            Fault::WalkEabt(_) => "F_WALK_EABT",
        }
    }

    /// The number of the event.
    pub const fn number(self) -> u64 {
        match self {
            Fault::Translation => 0x10,
            Fault::AddrSize => 0x11,
            Fault::Access => 0x12,
            Fault::Permission => 0x13,
            Fault::WalkEabt(_) => 0x0b,
        }
    }
}

/// What became of a transaction: a physical address, or a fault.
pub type Answer = Result<u64, Fault>;

/// Who may do what, after tables, PAN and WXN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "u or p: unprivileged, privileged; r, w, x: read, write, execute")]
pub struct Rights {
    pub ur: bool,
    pub uw: bool,
    pub ux: bool,
    pub pr: bool,
    pub pw: bool,
    pub px: bool,
}

impl Rights {
    /// May this access go on?
    pub const fn allow(self, access: Access) -> bool {
        match (access.privileged, access.instruction, access.write) {
            (true, true, _) => self.px,
            (false, true, _) => self.ux,
            (true, false, true) => self.pw,
            (false, false, true) => self.uw,
            (true, false, false) => self.pr,
            (false, false, false) => self.ur,
        }
    }
}

/// A leaf that a walk ended at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The first input address that it translates, sign-extended.
    pub base: u64,
    /// log2 of its size.
    pub log2: u32,
    /// What `base` translates to.
    pub pa: u64,
    /// The granule of its table.
    pub grain: Grain,
    /// Its level.
    pub level: u32,
    /// nG = 0.
    pub global: bool,
    /// The Contiguous hint is set, where it has a meaning.
    pub contiguous: bool,
    /// Who may do what.
    pub rights: Rights,
}

/// A table descriptor that a walk used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The first input address under it, sign-extended.
    pub base: u64,
    /// log2 of what it covers.
    pub log2: u32,
    /// The granule.
    pub grain: Grain,
    /// Its level.
    pub level: u32,
    /// Where it lies.
    pub pa: u64,
    /// What it says.
    pub descriptor: u64,
}

/// A walk and all that a cache could have kept of it.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The input address without its tag, if TBI removes one.
    pub va: u64,
    /// What became of it.
    pub answer: Answer,
    /// The table descriptors on the way.
    pub tables: Vec<Table>,
    /// The leaf, unless a fault hid it; a permission fault does not.
    pub leaf: Option<Leaf>,
}

/// The half of a CD that translates an address.
struct Half {
    grain: Grain,
    txsz: u32,
    ttb: u64,
    disabled: bool,
    top_byte_ignored: bool,
    hierarchy_disabled: bool,
}

impl Half {
    fn lower(cd: &Cd) -> Half {
        Half {
            grain: *Grain::ALL.iter().find(|grain| grain.tg0() == cd.get(cd::TG0)).unwrap_or(&Grain::K4),
            txsz: cd.get(cd::T0SZ) as u32,
            ttb: cd.get(cd::TTB0) << 4,
            disabled: cd.get(cd::EPD0) == 1,
            top_byte_ignored: cd.get(cd::TBI0) == 1,
            hierarchy_disabled: cd.get(cd::HAD0) == 1,
        }
    }

    fn upper(cd: &Cd) -> Half {
        Half {
            grain: *Grain::ALL.iter().find(|grain| grain.tg1() == cd.get(cd::TG1)).unwrap_or(&Grain::K4),
            txsz: cd.get(cd::T1SZ) as u32,
            ttb: cd.get(cd::TTB1) << 4,
            disabled: cd.get(cd::EPD1) == 1,
            top_byte_ignored: cd.get(cd::TBI1) == 1,
            hierarchy_disabled: cd.get(cd::HAD1) == 1,
        }
    }
}

/// The size in bits that IPS, S2PS or OAS stands for, v3.1 to v3.3.
pub const fn size_bits(encoding: u64) -> u32 {
    match encoding {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ => 52,
    }
}

/// Walks the stage 1 tables of a legal CD, tables.md §6 and §7, in the order of its checks.
pub fn walk(cd: &Cd, oas: u32, memory: &impl Words, input: u64, access: Access) -> Walk {
    assert!(cd.get(cd::HA) == 0 && cd.get(cd::HD) == 0, "no hardware update of flags");
    let upper = input >> 55 & 1 == 1;
    let half = if upper { Half::upper(cd) } else { Half::lower(cd) };
    let grain = half.grain;
    let output_bits = size_bits(cd.get(cd::IPS)).min(oas);

    // The input address: VA[AddrTop : 64-TxSZ] must all equal VA[55].
    let mut va = input;
    if half.top_byte_ignored {
        va = if upper { va | 0xff << 56 } else { va & !(0xff << 56) };
    }
    let mut walk = Walk { va, answer: Err(Fault::Translation), tables: Vec::new(), leaf: None };
    let in_range = (64 - half.txsz..64).all(|position| (va >> position & 1 == 1) == upper);
    if !in_range || half.disabled {
        return walk;
    }

    // The start level and its table.
    let bits = 64 - half.txsz;
    let mut level = 3;
    while level > 0 && bits > grain.level_shift(level - 1) {
        level -= 1;
    }
    let entries = 1u64 << (bits - grain.level_shift(level));
    let alignment = (entries * 8).max(if output_bits == 52 { 64 } else { 1 });
    let mut table = half.ttb & !(alignment - 1);
    let mut index = (va & (u64::MAX >> half.txsz)) >> grain.level_shift(level);

    let (mut no_unprivileged, mut read_only, mut uxn_table, mut pxn_table) = (false, false, false, false);
    loop {
        let shift = grain.level_shift(level);
        let base = va >> shift << shift;
        let pa = table + 8 * index;
        let Some(entry) = memory.word(pa) else {
            walk.answer = Err(Fault::WalkEabt(pa));
            return walk;
        };
        let is_table = level < 3 && entry & 0b11 == 0b11;
        let is_page = level == 3 && entry & 0b11 == 0b11;
        let is_block = entry & 0b11 == 0b01 && block_allowed(grain, level, oas);
        if !is_table && !is_page && !is_block {
            walk.answer = Err(Fault::Translation);
            return walk;
        }

        // The address in it, as wide as this level says: a next table, or the output.
        let low_bits = if is_table { grain.shift() } else { shift };
        let mut output = entry & 0xffff_ffff_ffff & !((1 << low_bits) - 1);
        if grain == Grain::K64 && oas == 52 {
            output |= (entry >> 12 & 0xf) << 48;
        }
        if output >> output_bits != 0 {
            walk.answer = Err(Fault::AddrSize);
            return walk;
        }
        if is_table {
            walk.tables.push(Table { base, log2: shift, grain, level, pa, descriptor: entry });
            if !half.hierarchy_disabled {
                no_unprivileged |= entry >> 61 & 1 == 1;
                read_only |= entry >> 62 & 1 == 1;
                uxn_table |= entry >> 60 & 1 == 1;
                pxn_table |= entry >> 59 & 1 == 1;
            }
            table = output;
            level += 1;
            index = va >> grain.level_shift(level) & (grain.bytes() / 8 - 1);
            continue;
        }

        let leaf = crate::bits::Record([entry]);
        if leaf.get(descriptor::AF) == 0 && cd.get(cd::AFFD) == 0 {
            walk.answer = Err(Fault::Access);
            return walk;
        }
        let ap = leaf.get(descriptor::AP);
        let mut rights =
            Rights { pr: true, pw: ap & 0b10 == 0, ur: ap & 0b01 != 0, uw: ap == 0b01, ux: true, px: true };
        if no_unprivileged {
            rights.ur = false;
            rights.uw = false;
        }
        if read_only {
            rights.uw = false;
            rights.pw = false;
        }
        rights.ux = leaf.get(descriptor::UXN) == 0 && !uxn_table;
        rights.px = leaf.get(descriptor::PXN) == 0 && !pxn_table && !rights.uw;
        if cd.get(cd::PAN) == 1 && (rights.ur || rights.uw) {
            rights.pr = false;
            rights.pw = false;
        }
        if cd.get(cd::WXN) == 1 {
            rights.ux &= !rights.uw;
            rights.px &= !rights.pw;
        }
        // A run larger than what goes in or comes out has members that fault: the hint has no meaning (tables.md §7).
        let run = shift + grain.contiguous(level).trailing_zeros();
        let fits = run <= bits.min(output_bits);
        walk.leaf = Some(Leaf {
            base,
            log2: shift,
            pa: output,
            grain,
            level,
            global: leaf.get(descriptor::NG) == 0,
            contiguous: leaf.get(descriptor::CONTIGUOUS) == 1 && grain.contiguous(level) > 1 && fits,
            rights,
        });
        walk.answer =
            if rights.allow(access) { Ok(output | va & ((1 << shift) - 1)) } else { Err(Fault::Permission) };
        return walk;
    }
}

/// Block sizes of tables.md §6.
const fn block_allowed(grain: Grain, level: u32, oas: u32) -> bool {
    match (grain, level) {
        (_, 2) => true,
        (Grain::K4, 1) => true,
        (Grain::K64, 1) => oas >= 52,
        _ => false,
    }
}

/// The record of a stage 1 fault of an ordinary transaction, events.md §1 and §2: S2 = 0, CLASS = IN, or TT for an abort.
pub fn record(fault: Fault, stream: u32, substream: Option<u32>, input: u64, access: Access) -> [u64; 4] {
    let substream_bits = substream.map_or(0, |substream| 1 << 11 | u64::from(substream) << 12);
    let (class, fetch) = match fault {
        Fault::WalkEabt(pa) => (1u64, pa & 0x000f_ffff_ffff_fff8),
        _ => (2, 0),
    };
    let flags = u64::from(access.privileged) << (97 - 64)
        | u64::from(access.instruction) << (98 - 64)
        | u64::from(!access.write) << (99 - 64)
        | class << (104 - 64);
    [fault.number() | substream_bits | u64::from(stream) << 32, flags, input, fetch]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bits::Record;
    use crate::tables::{Heap, PageTables, descriptor};

    /// 64 KiB words of memory from address 0; whatever lies beyond aborts.
    struct Flat(Vec<u64>);

    impl Words for Flat {
        fn word(&self, pa: u64) -> Option<u64> {
            self.0.get(usize::try_from(pa / 8).ok()?).copied()
        }

        fn set_word(&mut self, pa: u64, value: u64) {
            self.0[usize::try_from(pa / 8).expect("a small address")] = value;
        }
    }

    fn lower(t0sz: u64, ttb: u64) -> Cd {
        cd::lower(cd::of(1, 4), Grain::K4, t0sz, ttb)
    }

    /// Descriptors written out by hand: 4 KiB granule, T0SZ = 25 (39 bits, start level 1), tables at 0x1000, 0x2000, 0x3000.
    #[test]
    fn a_walk_through_hand_written_tables() {
        let mut flat = Flat(vec![0; 0x1_0000]);
        flat.set_word(0x1000 + 8, 0x2003); // L1[1] → table
        flat.set_word(0x2000 + 16, 0x3003); // L2[2] → table
        flat.set_word(0x2000 + 24, 0x4020_0401); // L2[3]: block, AF, AP=00
        flat.set_word(0x3000 + 5 * 8, 0x0060_0000_1234_5f43); // L3[5]: page, UXN PXN nG AF SH=11 AP=01
        flat.set_word(0x3000 + 6 * 8, 0x0060_0000_1234_5b43); // AF = 0
        flat.set_word(0x3000 + 7 * 8, 0x0060_1000_0000_0f43); // output 2^44
        flat.set_word(0x3000 + 8 * 8, 0x0060_0000_1234_5f41); // reserved type
        flat.set_word(0x2000 + 32, 0x00f0_0003); // L2[4] → table outside memory
        let page = 0x4000_0000 + 2 * 0x20_0000 + 5 * 0x1000;
        let rows: [(&str, u64, Access, Answer); 10] = [
            ("page", page + 0x123, Access::READ, Ok(0x1234_5123)),
            ("page, write", page + 0x123, Access::WRITE, Ok(0x1234_5123)),
            ("never executable", page, Access { instruction: true, ..Access::READ }, Err(Fault::Permission)),
            ("AF = 0", page + 0x1000, Access::READ, Err(Fault::Access)),
            ("output above IPS", page + 0x2000, Access::READ, Err(Fault::AddrSize)),
            ("L3 type 01", page + 0x3000, Access::READ, Err(Fault::Translation)),
            ("block, unprivileged", 0x4060_0000, Access::READ, Err(Fault::Permission)),
            ("block, privileged", 0x406a_bcde, Access { privileged: true, ..Access::WRITE }, Ok(0x402a_bcde)),
            ("table outside memory", 0x4080_1000, Access::READ, Err(Fault::WalkEabt(0x00f0_0008))),
            ("above T0SZ", 1 << 39, Access::READ, Err(Fault::Translation)),
        ];
        for (name, va, access, expected) in rows {
            assert_eq!(walk(&lower(25, 0x1000), 44, &flat, va, access).answer, expected, "{name}");
        }
    }

    #[test]
    fn permissions_follow_the_table() {
        // AP[2:1], UXN, PXN, APTable, WXN, PAN → who may, in the order ur uw ux pr pw px
        let rows = [
            (0b00, 0, 0, 0b00, 0, 0, "--x|rwx"),
            (0b01, 0, 0, 0b00, 0, 0, "rwx|rw-"),
            (0b10, 0, 0, 0b00, 0, 0, "--x|r-x"),
            (0b11, 0, 0, 0b00, 0, 0, "r-x|r-x"),
            (0b01, 1, 0, 0b00, 0, 0, "rw-|rw-"),
            (0b00, 0, 1, 0b00, 0, 0, "--x|rw-"),
            (0b01, 0, 0, 0b01, 0, 0, "--x|rwx"),
            (0b01, 0, 0, 0b10, 0, 0, "r-x|r-x"),
            (0b01, 0, 0, 0b11, 0, 0, "--x|r-x"),
            (0b01, 0, 0, 0b00, 1, 0, "rw-|rw-"),
            (0b00, 0, 0, 0b00, 1, 0, "--x|rw-"),
            (0b01, 0, 0, 0b00, 0, 1, "rwx|---"),
            (0b01, 0, 0, 0b01, 0, 1, "--x|rwx"),
            (0b11, 0, 0, 0b00, 0, 1, "r-x|--x"),
        ];
        for (ap, uxn, pxn, aptable, wxn, pan, expected) in rows {
            let mut flat = Flat(vec![0; 0x1_0000]);
            let mut heap = Heap::new(0x1000, 0x1_0000);
            let mut tables = PageTables::stage1(Grain::K4, 25, &mut heap, &mut flat);
            tables.table_attributes = Record::ZERO.with(descriptor::APTABLE, aptable);
            let leaf = descriptor::S1_RW
                .with(descriptor::AP, ap)
                .with(descriptor::UXN, uxn)
                .with(descriptor::PXN, pxn);
            tables.map(&mut heap, &mut flat, 0x5000, 0x9000, 12, leaf);
            let cd = lower(25, tables.root).with(cd::WXN, wxn).with(cd::PAN, pan);
            let allowed = |privileged, write, instruction, letter| {
                let answer = walk(&cd, 44, &flat, 0x5000, Access { write, instruction, privileged }).answer;
                if answer.is_ok() { letter } else { '-' }
            };
            let side = |privileged| {
                [
                    allowed(privileged, false, false, 'r'),
                    allowed(privileged, true, false, 'w'),
                    allowed(privileged, false, true, 'x'),
                ]
            };
            let found: String = side(false).into_iter().chain(['|']).chain(side(true)).collect();
            assert_eq!(
                found, expected,
                "AP {ap:02b} UXN {uxn} PXN {pxn} APTable {aptable:02b} WXN {wxn} PAN {pan}"
            );
        }
    }

    #[test]
    fn the_builder_maps_what_the_walk_finds() {
        for grain in Grain::ALL {
            for txsz in [16, 25, 39] {
                let mut flat = Flat(vec![0; 0x20_0000]);
                let mut heap = Heap::new(0x1_0000, 0xf0_0000);
                let tables = PageTables::stage1(grain, txsz, &mut heap, &mut flat);
                let cd = cd::upper(cd::of(1, 5), grain, u64::from(txsz), tables.root);
                let bottom = u64::MAX << (64 - txsz);
                for level in (tables.start..4).filter(|&level| grain.leaf_allowed(level)) {
                    let shift = grain.level_shift(level);
                    if shift + 1 >= 64 - txsz {
                        continue;
                    }
                    let va = bottom + (1 << shift);
                    let pa = 3 << shift;
                    tables.map(&mut heap, &mut flat, va, pa, shift, descriptor::S1_RW);
                    let found = walk(&cd, 48, &flat, va + 0x123, Access::READ);
                    assert_eq!(found.answer, Ok(pa + 0x123), "{grain:?} TxSZ {txsz} level {level}");
                    if level < 3 {
                        tables.split(&mut heap, &mut flat, va);
                        let last = va + (1 << shift) - 1;
                        assert_eq!(
                            walk(&cd, 48, &flat, last, Access::READ).answer,
                            Ok(pa + (1 << shift) - 1)
                        );
                    }
                    tables.unmap(&mut flat, va);
                    assert_eq!(walk(&cd, 48, &flat, va, Access::READ).answer, Err(Fault::Translation));
                }
            }
        }
    }
}
