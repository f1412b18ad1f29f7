//! Memory attributes of what goes through (§13): overrides, stage 1, stage 2, both, and neither.
//!
//! A memory type is written as a MAIR byte: Device is 0b0000_dd00; otherwise `[7:4]` is outer and `[3:0]` inner, 0100
//! Non-cacheable, 10RW Write-Through, 11RW Write-Back, 00RW and 01RW the same but transient.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{Features, MemoryType, Settings, Shareability, Transaction};
use smmuv3_tests::bits::{Record, bit, bits};
use smmuv3_tests::driver::{Driver, register, transaction, value};
use smmuv3_tests::machine::SID;
use smmuv3_tests::oracle::Access;
use smmuv3_tests::stages::{IPA, Stages, VA};
use smmuv3_tests::tables::{cd, descriptor, ste};

/// Encodings of SH.
const NSH: u8 = 0b00;
const OSH: u8 = 0b10;
const ISH: u8 = 0b11;

/// An access with these attributes.
fn with(mair: u8, sh: u8, address: u64, access: Access) -> Transaction {
    Transaction {
        memory: MemoryType::from_mair(mair),
        sh: Shareability::from_sh(sh),
        ..transaction(SID, None, address, access)
    }
}

/// Memory type and shareability of what goes through; what is remembered has to say the same.
fn memory(stages: &mut Stages, ask: &Transaction) -> (u8, u8) {
    let [first, second] = [(); 2].map(|()| {
        let found = stages.translate(ask).unwrap_or_else(|event| panic!("{event:?}"));
        (found.attributes.memory.mair(), found.attributes.sh.sh())
    });
    assert_eq!(first, second, "a hit says what the walk said");
    first
}

/// `PRIV` and `INST` of what goes through.
fn permissions(stages: &mut Stages, ask: &Transaction) -> (bool, bool) {
    let found = stages.translate(ask).unwrap_or_else(|event| panic!("{event:?}"));
    (found.attributes.privileged, found.attributes.instruction)
}

#[test]
fn stage_1_replaces_what_came_in() {
    // MAIR byte, SH of the descriptor; memory type and shareability.
    let rows = [
        (0xff, 0b11, (0xff, ISH)),
        (0xff, 0b10, (0xff, OSH)),
        (0xff, 0b00, (0xff, NSH)),
        (0xff, 0b01, (0xff, NSH)), // reserved
        (0xbb, 0b11, (0xbb, ISH)),
        (0xee, 0b11, (0xee, ISH)),
        (0x77, 0b11, (0x77, ISH)),
        (0x33, 0b11, (0x33, ISH)),
        (0x4f, 0b11, (0x4f, ISH)),
        (0xf4, 0b00, (0xf4, NSH)),
        (0xf0, 0b11, (0xf3, ISH)), // an inner nibble of 0 is Write-Through transient
        (0x44, 0b00, (0x44, OSH)),
        (0x44, 0b11, (0x44, OSH)),
        (0x00, 0b00, (0x00, OSH)),
        (0x04, 0b11, (0x04, OSH)),
        (0x08, 0b11, (0x08, OSH)),
        (0x0c, 0b00, (0x0c, OSH)),
        (0x0f, 0b00, (0x0c, OSH)), // reserved [1:0] of Device
    ];
    for (mair, sh, expected) in rows {
        for index in 0..8 {
            let mut stages = Stages::usual(ste::STAGE_1);
            stages.set_cd(|cd| cd.with(cd::MAIR, mair << (8 * index)));
            let leaf = descriptor::S1_RW.with(descriptor::SH, sh).with(descriptor::ATTRINDX, index);
            stages.map_first(VA, IPA, 12, leaf);
            let found = memory(&mut stages, &with(0xff, OSH, VA, Access::READ));
            assert_eq!(found, expected, "MAIR {mair:#x}, Attr{index}, SH {sh:02b}");
        }
    }
    // Whatever came in, and whatever the STE makes of it.
    for (mair, sh) in [(0x00, NSH), (0x0c, OSH), (0x44, ISH), (0xff, NSH)] {
        let mut stages = Stages::usual(ste::STAGE_1);
        stages.set_ste(|ste| ste.with(ste::MTCFG, 1).with(ste::MEMATTR, 0b0010).with(ste::SHCFG, 0b10));
        assert_eq!(memory(&mut stages, &with(mair, sh, VA, Access::READ)), (0xff, ISH), "{mair:#x}");
    }
}

/// Stage 1 MAIR and SH, stage 2 MemAttr and SH, the result.
type Combined = (u8, u64, u64, u64, (u8, u8));

/// §13.1.5 and DDI 0487 §D8.6.
const COMBINED: &[Combined] = &[
    (0xff, 0b11, 0b1111, 0b11, (0xff, ISH)),
    // Shareability: OSH beats ISH beats NSH.
    (0xff, 0b00, 0b1111, 0b00, (0xff, NSH)),
    (0xff, 0b00, 0b1111, 0b11, (0xff, ISH)),
    (0xff, 0b11, 0b1111, 0b00, (0xff, ISH)),
    (0xff, 0b10, 0b1111, 0b11, (0xff, OSH)),
    (0xff, 0b11, 0b1111, 0b10, (0xff, OSH)),
    (0xff, 0b00, 0b1111, 0b10, (0xff, OSH)),
    // Inner and outer on their own: Non-cacheable beats Write-Through beats Write-Back.
    (0xff, 0b11, 0b1010, 0b11, (0xbb, ISH)),
    (0xbb, 0b11, 0b1111, 0b11, (0xbb, ISH)),
    (0xff, 0b11, 0b1011, 0b11, (0xbf, ISH)),
    (0xff, 0b11, 0b1110, 0b11, (0xfb, ISH)),
    (0xff, 0b11, 0b0111, 0b11, (0x4f, ISH)),
    (0xff, 0b11, 0b1101, 0b11, (0xf4, ISH)),
    (0xff, 0b11, 0b0101, 0b11, (0x44, OSH)),
    (0x44, 0b11, 0b1111, 0b11, (0x44, OSH)),
    (0x4f, 0b11, 0b1010, 0b10, (0x4b, OSH)), // the specification's third example
    (0xfb, 0b11, 0b1011, 0b11, (0xbb, ISH)),
    // Allocation hints are stage 1's.
    (0xee, 0b11, 0b1111, 0b11, (0xee, ISH)),
    (0xdd, 0b11, 0b1010, 0b11, (0x99, ISH)),
    (0x77, 0b11, 0b1111, 0b11, (0x77, ISH)),
    // Device beats Normal; nG, nR and nE beat G, R and E.
    (0x4f, 0b11, 0b0001, 0b11, (0x04, OSH)), // the first example
    (0x04, 0b11, 0b0000, 0b11, (0x00, OSH)), // the second
    (0xff, 0b11, 0b0011, 0b00, (0x0c, OSH)),
    (0x0c, 0b00, 0b1111, 0b00, (0x0c, OSH)),
    (0x0c, 0b00, 0b0010, 0b00, (0x08, OSH)),
    (0x08, 0b00, 0b0011, 0b00, (0x08, OSH)),
    (0x0c, 0b00, 0b0000, 0b00, (0x00, OSH)),
    (0x00, 0b00, 0b0011, 0b00, (0x00, OSH)),
    (0x44, 0b00, 0b0010, 0b00, (0x08, OSH)),
];

#[test]
fn both_stages_combine_to_the_weaker() {
    for &(mair, sh1, memattr, sh2, expected) in COMBINED {
        let mut stages = Stages::usual(ste::NESTED);
        stages.set_cd(|cd| cd.with(cd::MAIR, mair.into()));
        stages.map_first(VA, IPA, 12, descriptor::S1_RW.with(descriptor::SH, sh1));
        let second = descriptor::S2_RW.with(descriptor::SH, sh2).with(descriptor::MEMATTR, memattr);
        stages.map_second(IPA, 0x1_3000, 12, second);
        // Overrides of the STE do not count.
        stages.set_ste(|ste| ste.with(ste::MTCFG, 1).with(ste::SHCFG, 0b10).with(ste::ALLOCCFG, 0));
        let found = memory(&mut stages, &with(0xff, NSH, VA, Access::WRITE));
        assert_eq!(found, expected, "MAIR {mair:#x} with MemAttr {memattr:04b}: {found:x?}");
    }
}

#[test]
fn stage_2_alone_combines_with_what_came_in() {
    for &(mair, sh1, memattr, sh2, expected) in COMBINED {
        let mut stages = Stages::usual(ste::STAGE_2);
        let second = descriptor::S2_RW.with(descriptor::SH, sh2).with(descriptor::MEMATTR, memattr);
        stages.map_second(IPA, 0x1_3000, 12, second);
        let found = memory(&mut stages, &with(mair, sh1 as u8, IPA, Access::READ));
        assert_eq!(found, expected, "{mair:#x} with MemAttr {memattr:04b}: {found:x?}");
    }
}

#[test]
fn reserved_stage_2_types_are_device() {
    for memattr in [0b0100, 0b1000, 0b1100] {
        let mut stages = Stages::usual(ste::NESTED);
        stages.map_second(IPA, 0x1_3000, 12, descriptor::S2_RW.with(descriptor::MEMATTR, memattr));
        assert_eq!(memory(&mut stages, &with(0xff, NSH, VA, Access::READ)), (0x00, OSH), "{memattr:04b}");
    }
}

/// S2FWB = 1: MemAttr\[2:0] 0xx is Device, 101 Non-cacheable, 110 Write-Back, 111 as it comes.
const FORCED: &[(u8, u64, (u8, u8))] = &[
    (0xff, 0b0000, (0x00, OSH)),
    (0xff, 0b0001, (0x04, OSH)),
    (0xff, 0b0010, (0x08, OSH)),
    (0xff, 0b0011, (0x0c, OSH)),
    (0x0c, 0b0001, (0x04, OSH)),
    (0x04, 0b0011, (0x04, OSH)),
    (0xff, 0b0101, (0x44, OSH)),
    (0xbb, 0b0101, (0x44, OSH)),
    (0x44, 0b0101, (0x44, OSH)),
    (0x08, 0b0101, (0x08, OSH)),
    (0xff, 0b0110, (0xff, ISH)),
    (0xbb, 0b0110, (0xff, ISH)),
    (0xee, 0b0110, (0xee, ISH)),
    (0x4f, 0b0110, (0xff, ISH)),
    (0xe4, 0b0110, (0xef, ISH)),
    (0x73, 0b0110, (0x77, ISH)),
    (0xff, 0b0111, (0xff, ISH)),
    (0xbb, 0b0111, (0xbb, ISH)),
    (0x44, 0b0111, (0x44, OSH)),
    (0x08, 0b0111, (0x08, OSH)),
];

#[test]
fn stage_2_can_force_the_type() {
    for &(mair, memattr, expected) in FORCED {
        for config in [ste::NESTED, ste::STAGE_2] {
            let mut stages = Stages::usual(config);
            stages.set_cd(|cd| cd.with(cd::MAIR, mair.into()));
            stages.set_ste(|ste| ste.with(ste::S2FWB, 1));
            stages.map_second(IPA, 0x1_3000, 12, descriptor::S2_RW.with(descriptor::MEMATTR, memattr));
            // Stage 2 maps RAM as 1111, which would forbid walks if S2PTW were 1, but it is 0.
            let input = if config == ste::NESTED { VA } else { IPA };
            let found = memory(&mut stages, &with(mair, ISH, input, Access::READ));
            assert_eq!(found, expected, "{config:03b}: {mair:#x} with MemAttr {memattr:04b}: {found:x?}");
        }
    }
}

/// §13.1.1: Device and Non-cacheable are Outer Shareable, and stay so when stage 2 makes them Write-Back, with all hints.
#[test]
fn device_is_outer_shareable_before_it_is_forced() {
    for mair in [0x00, 0x0c, 0x44] {
        let mut stages = Stages::usual(ste::NESTED);
        stages.set_cd(|cd| cd.with(cd::MAIR, mair));
        stages.set_ste(|ste| ste.with(ste::S2FWB, 1));
        stages.map_first(VA, IPA, 12, descriptor::S1_RW.with(descriptor::SH, 0b00));
        stages.map_second(IPA, 0x1_3000, 12, descriptor::S2_RW.with(descriptor::MEMATTR, 0b0110));
        assert_eq!(memory(&mut stages, &with(0xff, NSH, VA, Access::READ)), (0xff, OSH), "{mair:#x}");
        stages.set_ste(|ste| ste.with(ste::CONFIG, ste::STAGE_2));
        let ask = with(mair as u8, NSH, IPA, Access::READ);
        assert_eq!(memory(&mut stages, &ask), (0xff, OSH), "{mair:#x}, stage 2 alone");
    }
}

#[test]
fn s2fwb_needs_fwb() {
    let features = Features { fwb: false, ..Features::SMMUV3_1 };
    let mut stages = Stages::new(features, ste::NESTED);
    stages.set_ste(|ste| ste.with(ste::S2FWB, 1));
    stages.map_second(IPA, 0x1_3000, 12, descriptor::S2_RW.with(descriptor::MEMATTR, 0b0110));
    // 0110 is outer Non-cacheable and inner Write-Through.
    assert_eq!(memory(&mut stages, &with(0xff, NSH, VA, Access::READ)), (0x4b, ISH));
}

/// What MTCFG and MemAttr, SHCFG and ALLOCCFG make of an incoming type and shareability.
struct Override {
    mtcfg: u64,
    memattr: u64,
    shcfg: u64,
    alloccfg: u64,
    incoming: (u8, u8),
    expected: (u8, u8),
}

const fn row(
    (mtcfg, memattr): (u64, u64),
    shcfg: u64,
    alloccfg: u64,
    incoming: (u8, u8),
    expected: (u8, u8),
) -> Override {
    Override { mtcfg, memattr, shcfg, alloccfg, incoming, expected }
}

const INCOMING: (u64, u64) = (0, 0b0101);

const OVERRIDES: &[Override] = &[
    row(INCOMING, 0b01, 0b0000, (0xff, NSH), (0xff, NSH)),
    row(INCOMING, 0b01, 0b0111, (0xbb, ISH), (0xbb, ISH)),
    row(INCOMING, 0b00, 0b0000, (0xff, ISH), (0xff, NSH)),
    row(INCOMING, 0b10, 0b0000, (0xff, ISH), (0xff, OSH)),
    row(INCOMING, 0b11, 0b0000, (0xff, NSH), (0xff, ISH)),
    // Device and Non-cacheable are Outer Shareable, whatever SHCFG says.
    row(INCOMING, 0b00, 0b0000, (0x44, ISH), (0x44, OSH)),
    row(INCOMING, 0b11, 0b0000, (0x08, ISH), (0x08, OSH)),
    row((1, 0b0000), 0b11, 0b0000, (0xff, ISH), (0x00, OSH)),
    row((1, 0b0001), 0b00, 0b0000, (0xff, ISH), (0x04, OSH)),
    row((1, 0b0010), 0b01, 0b0000, (0xff, ISH), (0x08, OSH)),
    row((1, 0b0011), 0b01, 0b0000, (0x44, ISH), (0x0c, OSH)),
    row((1, 0b0101), 0b11, 0b0000, (0xff, NSH), (0x44, OSH)),
    row((1, 0b0111), 0b11, 0b0000, (0xff, NSH), (0x4f, ISH)),
    row((1, 0b1101), 0b11, 0b0000, (0xff, NSH), (0xf4, ISH)),
    row((1, 0b1010), 0b11, 0b0000, (0xff, NSH), (0xbb, ISH)),
    row((1, 0b1111), 0b11, 0b0000, (0xbb, NSH), (0xff, ISH)),
    // A type without hints that becomes cacheable gets all of them.
    row((1, 0b1111), 0b11, 0b0000, (0x44, NSH), (0xff, ISH)),
    row((1, 0b1111), 0b00, 0b0000, (0x00, OSH), (0xff, NSH)),
    // Reserved MemAttr: Device-nGnRnE.
    row((1, 0b0100), 0b11, 0b0000, (0xff, NSH), (0x00, OSH)),
    row((1, 0b1000), 0b11, 0b0000, (0xff, NSH), (0x00, OSH)),
    row((1, 0b1100), 0b11, 0b0000, (0xff, NSH), (0x00, OSH)),
    // ALLOCCFG = 1RWT, of cacheable types alone; without R and W there is no T.
    row(INCOMING, 0b01, 0b1110, (0xff, ISH), (0xff, ISH)),
    row(INCOMING, 0b01, 0b1100, (0xff, ISH), (0xee, ISH)),
    row(INCOMING, 0b01, 0b1010, (0xff, ISH), (0xdd, ISH)),
    row(INCOMING, 0b01, 0b1000, (0xff, ISH), (0xcc, ISH)),
    row(INCOMING, 0b01, 0b1001, (0xff, ISH), (0xcc, ISH)),
    row(INCOMING, 0b01, 0b1111, (0xff, ISH), (0x77, ISH)),
    row(INCOMING, 0b01, 0b1101, (0xbb, ISH), (0x22, ISH)),
    row(INCOMING, 0b01, 0b1100, (0x4f, ISH), (0x4e, ISH)),
    row(INCOMING, 0b01, 0b1111, (0x44, ISH), (0x44, OSH)),
    row(INCOMING, 0b01, 0b1111, (0x04, ISH), (0x04, OSH)),
    row((1, 0b1111), 0b01, 0b1100, (0x44, ISH), (0xee, ISH)),
];

#[test]
fn a_bypassed_stream_is_overridden_by_its_ste() {
    for Override { mtcfg, memattr, shcfg, alloccfg, incoming, expected } in OVERRIDES {
        let mut stages = Stages::usual(ste::BYPASS);
        stages.set_ste(|ste| {
            let ste = ste.with(ste::MTCFG, *mtcfg).with(ste::MEMATTR, *memattr);
            ste.with(ste::SHCFG, *shcfg).with(ste::ALLOCCFG, *alloccfg)
        });
        let found = memory(&mut stages, &with(incoming.0, incoming.1, VA, Access::READ));
        assert_eq!(
            found, *expected,
            "MTCFG {mtcfg} {memattr:04b}, SHCFG {shcfg:02b}, ALLOCCFG {alloccfg:04b}"
        );
    }
}

/// Stage 2 sees the overridden attributes; one that is as strong as can be changes nothing of them.
#[test]
fn stage_2_alone_starts_from_the_overrides() {
    for Override { mtcfg, memattr, shcfg, alloccfg, incoming, expected } in OVERRIDES {
        let mut stages = Stages::usual(ste::STAGE_2);
        stages.set_ste(|ste| {
            let ste = ste.with(ste::MTCFG, *mtcfg).with(ste::MEMATTR, *memattr);
            ste.with(ste::SHCFG, *shcfg).with(ste::ALLOCCFG, *alloccfg)
        });
        stages.map_second(IPA, 0x1_3000, 12, descriptor::S2_RW.with(descriptor::SH, 0b00));
        let found = memory(&mut stages, &with(incoming.0, incoming.1, IPA, Access::READ));
        assert_eq!(
            found, *expected,
            "MTCFG {mtcfg} {memattr:04b}, SHCFG {shcfg:02b}, ALLOCCFG {alloccfg:04b}"
        );
    }
}

/// GBPA, registers.md §5: MemAttr `[3:0]`, MTCFG 4, ALLOCCFG `[11:8]`, SHCFG `[13:12]`, PRIVCFG `[17:16]`, INSTCFG `[19:18]`.
fn disabled(features: Features, mtcfg: u64, memattr: u64, shcfg: u64, alloccfg: u64) -> Driver<16> {
    let word = Record([0])
        .with(bits(0, 3, 0), memattr)
        .with(bit(0, 4), mtcfg)
        .with(bits(0, 11, 8), alloccfg)
        .with(bits(0, 13, 12), shcfg);
    let mut device = Driver::new(features, Settings::new(4, 4), 2);
    device.write32(register::GBPA, word.0[0] as u32 | value::GBPA_UPDATE);
    device
}

#[test]
fn a_disabled_smmu_is_overridden_by_gbpa() {
    for Override { mtcfg, memattr, shcfg, alloccfg, incoming, expected } in OVERRIDES {
        let mut device = disabled(Features::SMMUV3_2, *mtcfg, *memattr, *shcfg, *alloccfg);
        let ask = with(incoming.0, incoming.1, VA, Access::READ);
        let found = device.translate(&ask).unwrap_or_else(|event| panic!("{event:?}")).attributes;
        let found = (found.memory.mair(), found.sh.sh());
        assert_eq!(
            found, *expected,
            "MTCFG {mtcfg} {memattr:04b}, SHCFG {shcfg:02b}, ALLOCCFG {alloccfg:04b}"
        );
    }
}

#[test]
fn types_are_overridden_only_with_attr_types_ovr() {
    let features = Features { attr_types_ovr: false, ..Features::SMMUV3_2 };
    for Override { mtcfg, memattr, shcfg, alloccfg, .. } in OVERRIDES {
        for (incoming, expected) in [((0xee, ISH), (0xee, ISH)), ((0x04, NSH), (0x04, OSH))] {
            for config in [ste::BYPASS, ste::STAGE_2] {
                let mut stages = Stages::new(features, config);
                stages.set_ste(|ste| {
                    let ste = ste.with(ste::MTCFG, *mtcfg).with(ste::MEMATTR, *memattr);
                    ste.with(ste::SHCFG, *shcfg).with(ste::ALLOCCFG, *alloccfg)
                });
                stages.map_second(IPA, 0x1_3000, 12, descriptor::S2_RW.with(descriptor::SH, 0b00));
                let found = memory(&mut stages, &with(incoming.0, incoming.1, IPA, Access::READ));
                assert_eq!(found, expected, "Config = {config:03b}");
            }
            let mut device = disabled(features, *mtcfg, *memattr, *shcfg, *alloccfg);
            let ask = with(incoming.0, incoming.1, VA, Access::READ);
            let found = device.translate(&ask).unwrap_or_else(|event| panic!("{event:?}")).attributes;
            assert_eq!((found.memory.mair(), found.sh.sh()), expected, "GBPA");
        }
    }
}

/// PRIVCFG and INSTCFG: what comes in, the fields, what goes out. A write is always Data.
#[test]
fn permissions_are_overridden_only_with_attr_perms_ovr() {
    let access = |write, privileged, instruction| Access { write, privileged, instruction };
    // PRIVCFG, INSTCFG, write, PRIV and INST that come in, and that go out.
    let rows = [
        (0b00, 0b00, false, (false, false), (false, false)),
        (0b00, 0b00, false, (true, true), (true, true)),
        (0b01, 0b01, false, (true, true), (true, true)),
        (0b10, 0b10, false, (true, true), (false, false)),
        (0b11, 0b11, false, (false, false), (true, true)),
        (0b10, 0b11, false, (true, false), (false, true)),
        (0b11, 0b10, false, (false, true), (true, false)),
        (0b00, 0b00, true, (true, true), (true, false)),
        (0b11, 0b11, true, (false, false), (true, false)),
        (0b10, 0b11, true, (true, true), (false, false)),
    ];
    // Everybody may do everything, but nobody may execute what everybody may write: so, read-only for fetches.
    let any = descriptor::S1_RW.with(descriptor::UXN, 0).with(descriptor::PXN, 0);
    for overrides in [true, false] {
        let features = Features { attr_perms_ovr: overrides, ..Features::SMMUV3_2 };
        for (privcfg, instcfg, write, incoming, expected) in rows {
            let expected = if overrides { expected } else { (incoming.0, incoming.1 && !write) };
            let incoming = access(write, incoming.0, incoming.1);
            for config in [ste::STAGE_1, ste::STAGE_2, ste::NESTED, ste::BYPASS] {
                let mut stages = Stages::new(features, config);
                let ap = if write { 0b01 } else { 0b11 };
                stages.map_first(VA, IPA, 12, any.with(descriptor::AP, ap));
                stages.set_ste(|ste| ste.with(ste::PRIVCFG, privcfg).with(ste::INSTCFG, instcfg));
                let input = if config == ste::STAGE_2 { IPA } else { VA };
                let found = permissions(&mut stages, &transaction(SID, None, input, incoming));
                assert_eq!(found, expected, "{config:03b}: {privcfg:02b} {instcfg:02b} {incoming:?}");
            }
            let mut device = Driver::<16>::new(features, Settings::new(4, 4), 2);
            let word = 0b01 << 12 | privcfg << 16 | instcfg << 18;
            device.write32(register::GBPA, word as u32 | value::GBPA_UPDATE);
            let found = device.translate(&transaction(SID, None, VA, incoming));
            let found = found.unwrap_or_else(|event| panic!("{event:?}")).attributes;
            assert_eq!((found.privileged, found.instruction), expected, "GBPA: {privcfg:02b} {instcfg:02b}");
        }
    }
}

/// The overrides decide what is checked, not only what goes out.
#[test]
fn overridden_permissions_are_what_is_checked() {
    let privileged_only = descriptor::S1_RW.with(descriptor::AP, 0b00);
    for (privcfg, allowed) in [(0b00, false), (0b10, false), (0b11, true)] {
        let mut stages = Stages::usual(ste::STAGE_1);
        stages.map_first(VA, IPA, 12, privileged_only);
        stages.set_ste(|ste| ste.with(ste::PRIVCFG, privcfg));
        let found = stages.ask(&transaction(SID, None, VA, Access::READ));
        assert_eq!(found.is_ok(), allowed, "PRIVCFG {privcfg:02b}");
    }
    for (instcfg, allowed) in [(0b00, true), (0b10, true), (0b11, false)] {
        let mut stages = Stages::usual(ste::STAGE_1);
        stages.set_ste(|ste| ste.with(ste::INSTCFG, instcfg));
        let found = stages.ask(&transaction(SID, None, VA, Access::READ));
        assert_eq!(found.is_ok(), allowed, "INSTCFG {instcfg:02b}: the page is not executable");
    }
}

/// What one stream's look-up has left behind does not give another stream its attributes.
#[test]
fn streams_that_share_translations_keep_their_own_overrides() {
    let mut stages = Stages::usual(ste::STAGE_2);
    let other = stages.ste.with(ste::MTCFG, 1).with(ste::MEMATTR, 0b0101);
    stages.driver.install_ste(SID + 1, &other);
    let ask = with(0xff, NSH, IPA, Access::READ);
    assert_eq!(memory(&mut stages, &ask), (0xff, ISH));
    let ask = Transaction { stream: smmuv3::StreamId(SID + 1), ..ask };
    assert_eq!(memory(&mut stages, &ask), (0x44, OSH));
}
