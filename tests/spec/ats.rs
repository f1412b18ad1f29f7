//! Address Translation Services (§3.9, §7.3.6 to §7.3.8, §13.7): requests, translated traffic, invalidation of ATCs.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{AtsGrant, AtsRefusal, Features, Response, Terminated, Transaction};
use smmuv3_tests::bits::{Bits, Record, Words};
use smmuv3_tests::commands::{atc_inv, field, sync, sync_with};
use smmuv3_tests::driver::{Boot, RAM_BASE, STREAM_TABLE, Stopped, register, transaction, value};
use smmuv3_tests::machine::{Machine, SID, nh_va};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::stages::{IPA, PA, Stages, VA};
use smmuv3_tests::tables::{descriptor, ste};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;
const FETCH: Access = Access { write: false, instruction: true, privileged: false };
const WRITE_AND_FETCH: Access = Access { write: true, instruction: true, privileged: false };
const PRIVILEGED_WRITE: Access = Access { write: true, instruction: false, privileged: true };
const ON: u32 = value::CMDQEN | value::EVENTQEN | value::SMMUEN;
/// Addresses between the pages that are mapped and RAM.
const NOWHERE: u64 = 0x4000_0000;

/// A translation completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// Success: the address, and what is granted.
    Granted(u64, &'static str),
    /// Success with R = W = 0.
    Nothing,
    /// UR
    Unsupported,
    /// CA
    Abort,
}

use Said::{Abort, Granted, Nothing, Unsupported};

/// What the device answers to a translation request; `READ` has NW = 1.
fn request(stages: &mut Stages, ask: &Transaction) -> Said {
    match stages.driver.call(|smmu, env| smmu.translation_request(ask, env)) {
        Ok(AtsGrant { address: None, read: false, write: false, execute: false, .. }) => Nothing,
        Ok(AtsGrant { address: Some(address), read, write, execute, .. }) => {
            let rights = match (read, write, execute) {
                (true, false, false) => "R",
                (true, true, false) => "RW",
                (true, false, true) => "RX",
                (true, true, true) => "RWX",
                (false, true, false) => "W",
                _ => "?",
            };
            Granted(address, rights)
        }
        Ok(odd) => panic!("{odd:?}"),
        Err(AtsRefusal::UnsupportedRequest) => Unsupported,
        Err(AtsRefusal::CompleterAbort) => Abort,
    }
}

/// What becomes of translated traffic: its address, or an abort.
fn translated(stages: &mut Stages, ask: &Transaction) -> Result<u64, ()> {
    match stages.driver.call(|smmu, env| smmu.translated(ask, env)) {
        Ok(found) => Ok(found.pa.0),
        Err(Terminated { response: Response::Abort, .. }) => Err(()),
        Err(odd) => panic!("{odd:?}"),
    }
}

/// A stream of this Config that may use ATS, with what its requests leave behind thrown away.
fn may(config: u64) -> Stages {
    let mut stages = Stages::usual(config);
    stages.set_ste(|ste| ste.with(ste::EATS, 0b01));
    stages
}

fn split() -> Stages {
    let mut stages = Stages::usual(ste::NESTED);
    stages.driver.write_cr0(ON | value::ATSCHK);
    stages.set_ste(|ste| ste.with(ste::EATS, 0b10));
    stages
}

const fn ask(address: u64, access: Access) -> Transaction {
    transaction(SID, None, address, access)
}

/// A request with PASID 1.
const fn ask_1(address: u64, access: Access) -> Transaction {
    transaction(SID, Some(1), address, access)
}

#[test]
fn a_request_is_answered_with_what_the_stages_make_of_it() {
    for (config, address, expected) in [
        (ste::STAGE_1, VA, Granted(IPA, "RW")),
        (ste::STAGE_2, IPA, Granted(PA, "RW")),
        (ste::NESTED, VA, Granted(PA, "RW")),
    ] {
        let mut stages = may(config);
        assert_eq!(request(&mut stages, &ask(address, WRITE)), expected, "Config = {config:03b}");
        let found = stages.driver.call(|smmu, env| smmu.translation_request(&ask(address, READ), env));
        let Ok(AtsGrant { span, read: true, execute: false, .. }) = found else { panic!("{found:?}") };
        assert_eq!(span, 0x1000);
        assert!(stages.driver.events().is_empty());
    }
}

/// The rows that are UR, and the record where there is one. Span, `[67:64]` of the record, counts STUs and is not compared.
#[test]
fn requests_that_are_unsupported() {
    type Row = (&'static str, fn() -> Stages, Transaction, Option<[u64; 4]>);
    const READ_RECORD: Option<[u64; 4]> = Some([0x0000_0007_0000_0005, 0x8000_0000, 0x5000, 0]);
    let rows: &[Row] = &[
        (
            "SMMUEN = 0",
            || {
                let mut stages = may(ste::STAGE_1);
                stages.driver.write_cr0(value::CMDQEN | value::EVENTQEN);
                stages
            },
            ask(0x5678, READ),
            READ_RECORD,
        ),
        (
            "SMMUEN = EVENTQEN = 0",
            || {
                let mut stages = may(ste::STAGE_1);
                stages.driver.write_cr0(value::CMDQEN);
                stages
            },
            ask(0x5678, READ),
            None,
        ),
        ("EATS = 00", || Stages::usual(ste::STAGE_1), ask(0x5678, READ), READ_RECORD),
        (
            "EATS = 00, NW = 0: W is bit 94",
            || Stages::usual(ste::STAGE_1),
            ask(0x5678, WRITE),
            Some([0x0000_0007_0000_0005, 0xc000_0000, 0x5000, 0]),
        ),
        (
            "EATS = 00, PASID, Exe and Priv: X is bit 93, P is bit 92",
            || Stages::usual(ste::STAGE_1),
            transaction(SID, Some(0xabcde), 0xfedc_ba98_7654_3210, Access { privileged: true, ..FETCH }),
            Some([0x0000_0007_abcd_e805, 0xb000_0000, 0xfedc_ba98_7654_3000, 0]),
        ),
        (
            "EATS = 00, as requested and not as overridden",
            || {
                let mut stages = Stages::usual(ste::STAGE_1);
                stages.set_ste(|ste| ste.with(ste::PRIVCFG, 0b11).with(ste::INSTCFG, 0b11));
                stages
            },
            ask(0x5678, READ),
            READ_RECORD,
        ),
        (
            "EATS = 10 with ATSCHK = 0",
            || {
                let mut stages = split();
                stages.driver.write_cr0(ON);
                stages
            },
            ask(0x5678, READ),
            READ_RECORD,
        ),
        (
            "EATS = 11",
            || {
                let mut stages = Stages::usual(ste::NESTED);
                stages.driver.write_cr0(ON | value::ATSCHK);
                stages.set_ste(|ste| ste.with(ste::EATS, 0b11));
                stages
            },
            ask(0x5678, READ),
            READ_RECORD,
        ),
        ("Config = 100", || may(ste::BYPASS), ask(0x5678, READ), READ_RECORD),
        ("Config = 000", || may(0b000), ask(0x5678, READ), None),
    ];
    for (name, prepare, ask, record) in rows {
        let mut stages = prepare();
        stages.driver.events();
        assert_eq!(request(&mut stages, ask), Unsupported, "{name}");
        let events: Vec<_> = stages
            .driver
            .events()
            .iter()
            .map(|event| [event[0], event[1] & !0xf, event[2], event[3]])
            .collect();
        assert_eq!(events, record.iter().copied().collect::<Vec<_>>(), "{name}: {events:x?}");
    }
}

/// A configuration error: what leads to it, the request, and its record, of which RnW is UNKNOWN.
type Error = (&'static str, fn(&mut Stages), Transaction, [u64; 4]);

const ERRORS: &[Error] = &[
    ("C_BAD_STREAMID", |_| {}, transaction(0x1234, None, VA, READ), [0x0000_1234_0000_0002, 0, 0, 0]),
    (
        "F_STE_FETCH",
        |stages| {
            let cr2 = stages.driver.read32(register::CR2);
            stages.driver.boot(Boot { strtab_base: 0x4_0000, cr2, ..Boot::USUAL });
        },
        ask(VA, READ),
        [0x0000_0007_0000_0003, 0, 0, 0x4_01c0],
    ),
    (
        "C_BAD_STE, V = 0",
        |stages| stages.set_ste(|ste| ste.with(ste::V, 0)),
        ask(VA, READ),
        [0x0000_0007_0000_0004, 0, 0, 0],
    ),
    (
        "C_BAD_STE, ILLEGAL: STRW = 01",
        |stages| stages.set_ste(|ste| ste.with(ste::STRW, 0b01)),
        ask(VA, READ),
        [0x0000_0007_0000_0004, 0, 0, 0],
    ),
    ("C_BAD_SUBSTREAMID", |_| {}, ask_1(VA, READ), [0x0000_0007_0000_1008, 0, 0, 0]),
    (
        "F_STREAM_DISABLED",
        |stages| {
            stages.add_substream();
            stages.set_ste(|ste| ste.with(ste::S1DSS, 0b00));
        },
        ask(VA, READ),
        [0x0000_0007_0000_0006, 0, 0, 0],
    ),
    (
        "F_CD_FETCH",
        |stages| stages.set_ste(|ste| ste.with(ste::S1CONTEXTPTR, 0x1_2340 >> 6)),
        ask(VA, READ),
        [0x0000_0007_0000_0009, 0, 0, 0x1_2340],
    ),
    (
        "C_BAD_CD",
        |stages| stages.set_cd(|cd| cd.with(smmuv3_tests::tables::cd::V, 0)),
        ask(VA, READ),
        [0x0000_0007_0000_000a, 0, 0, 0],
    ),
    (
        "F_WALK_EABT",
        |stages| stages.set_cd(|cd| cd.with(smmuv3_tests::tables::cd::TTB0, 0x2_0000 >> 4)),
        ask(0x0000_0080_0000_5678, READ),
        [0x0000_0007_0000_000b, 0x0000_0100_0000_0000, 0x0000_0080_0000_5678, 0x2_0008],
    ),
];

#[test]
fn configuration_errors_abort_and_are_recorded_only_with_rec_cfg_ats() {
    let features = Features { atsrecerr: true, ..Features::SMMUV3_2 };
    for rec_cfg_ats in [false, true] {
        for (name, prepare, ask, record) in ERRORS {
            let mut stages = Stages::new(features, ste::STAGE_1);
            let wanted = if rec_cfg_ats { value::REC_CFG_ATS } else { 0 };
            stages.driver.boot(Boot { cr2: Boot::USUAL.cr2 | wanted, ..Boot::USUAL });
            stages.set_ste(|ste| ste.with(ste::EATS, 0b01));
            prepare(&mut stages);
            stages.driver.events();
            assert_eq!(request(&mut stages, ask), Abort, "{name}");
            let events: Vec<_> = stages
                .driver
                .events()
                .iter()
                .map(|event| [event[0], event[1] & !(1 << 35), event[2], event[3]])
                .collect();
            let expected = if rec_cfg_ats { vec![*record] } else { vec![] };
            assert_eq!(events, expected, "{name}, REC_CFG_ATS = {rec_cfg_ats}: {events:x?}");
        }
    }
}

#[test]
fn c_bad_streamid_needs_recinvsid_as_well() {
    let mut stages = Stages::new(Features { atsrecerr: true, ..Features::SMMUV3_2 }, ste::STAGE_1);
    stages.driver.boot(Boot { cr2: value::REC_CFG_ATS, ..Boot::USUAL });
    assert_eq!(request(&mut stages, &transaction(0x1234, None, VA, READ)), Abort);
    assert!(stages.driver.events().is_empty());
}

/// Faults of translation at either stage are Success with R = W = 0: no record, and nothing waits, whatever CD.S says.
#[test]
fn translation_faults_grant_nothing() {
    use smmuv3_tests::tables::cd;
    type Row = (&'static str, u64, fn(&mut Stages), u64);
    let rows: &[Row] = &[
        ("stage 1 F_TRANSLATION", ste::STAGE_1, |_| {}, 0x6000),
        ("stage 1 F_TRANSLATION, out of range", ste::STAGE_1, |_| {}, 1 << 50),
        (
            "stage 1 F_ADDR_SIZE",
            ste::STAGE_1,
            |stages| stages.map_first(0x6000, 1 << 47, 12, descriptor::S1_RW),
            0x6000,
        ),
        (
            "stage 1 F_ACCESS",
            ste::STAGE_1,
            |stages| stages.map_first(0x6000, IPA, 12, descriptor::S1_RW.with(descriptor::AF, 0)),
            0x6000,
        ),
        ("stage 2 F_TRANSLATION, alone", ste::STAGE_2, |_| {}, NOWHERE),
        (
            "stage 2 F_TRANSLATION of stage 1's output",
            ste::NESTED,
            |stages| stages.map_first(0x6000, NOWHERE, 12, descriptor::S1_RW),
            0x6000,
        ),
        (
            "stage 2 F_ACCESS of stage 1's output",
            ste::NESTED,
            |stages| {
                stages.map_first(0x6000, 0xa000, 12, descriptor::S1_RW);
                stages.map_second(0xa000, 0xa000, 12, descriptor::S2_RW.with(descriptor::AF, 0));
            },
            0x6000,
        ),
        (
            "stage 2 F_TRANSLATION of the CD",
            ste::NESTED,
            |stages| stages.set_ste(|ste| ste.with(ste::S1CONTEXTPTR, NOWHERE >> 6)),
            VA,
        ),
        (
            "stage 2 F_TRANSLATION of a table",
            ste::NESTED,
            |stages| stages.set_cd(|cd| cd.with(cd::TTB0, NOWHERE >> 4)),
            VA,
        ),
        (
            "stage 2 F_PERMISSION of the CD",
            ste::NESTED,
            |stages| {
                stages.map_second(NOWHERE, stages.context & !0xfff, 12, WRITE_ONLY);
                let inside = NOWHERE + (stages.context & 0xfff);
                stages.set_ste(|ste| ste.with(ste::S1CONTEXTPTR, inside >> 6));
            },
            VA,
        ),
        (
            "stage 2 F_PERMISSION of a table",
            ste::NESTED,
            |stages| {
                let root = stages.first.root;
                stages.map_second(NOWHERE, root, 12, WRITE_ONLY);
                stages.set_cd(|cd| cd.with(cd::TTB0, NOWHERE >> 4));
            },
            VA,
        ),
    ];
    const WRITE_ONLY: descriptor::Attributes = descriptor::S2_RW.with(descriptor::S2AP, 0b10);
    for stalls in [0, 1] {
        for (name, config, prepare, address) in rows {
            let mut stages = may(*config);
            // 44 bits, so that a wider output of stage 1 is F_ADDR_SIZE.
            stages.set_cd(|cd| cd.with(cd::S, stalls).with(cd::IPS, 4));
            prepare(&mut stages);
            stages.driver.events();
            assert_eq!(request(&mut stages, &ask(*address, WRITE)), Nothing, "{name}");
            assert!(stages.driver.events().is_empty(), "{name}");
            assert_eq!(stages.driver.smmu.stalled().count(), 0, "{name}");
        }
    }
}

/// §13.7: what a page allows, by privilege, is what is granted of what was asked.
#[test]
fn permissions_that_remain_are_granted() {
    const AP: Bits = descriptor::AP;
    const UXN: Bits = descriptor::UXN;
    const X: descriptor::Attributes = descriptor::S1_RW.with(UXN, 0);
    const NW: Access = READ;
    let both = Access { privileged: true, ..READ };
    type Row = (&'static str, descriptor::Attributes, descriptor::Attributes, Access, Said);
    const S1: descriptor::Attributes = descriptor::S1_RW;
    const S2: descriptor::Attributes = descriptor::S2_RW;
    let rows: &[Row] = &[
        ("all RW, NW = 0", S1, S2, WRITE, Granted(PA, "RW")),
        ("all RO, NW = 0", S1.with(AP, 0b11), S2, WRITE, Granted(PA, "R")),
        ("all RO, NW = 1", S1.with(AP, 0b11), S2, NW, Granted(PA, "R")),
        ("privileged RW, unprivileged asks", S1.with(AP, 0b00), S2, WRITE, Nothing),
        ("privileged RW, privileged asks", S1.with(AP, 0b00), S2, PRIVILEGED_WRITE, Granted(PA, "RW")),
        ("privileged RO, privileged asks", S1.with(AP, 0b10), S2, PRIVILEGED_WRITE, Granted(PA, "R")),
        ("privileged RO, privileged asks, NW = 1", S1.with(AP, 0b10), S2, both, Granted(PA, "R")),
        ("stage 2 RO", S1, S2.with(descriptor::S2AP, 0b01), WRITE, Granted(PA, "R")),
        ("stage 2 WO", S1, S2.with(descriptor::S2AP, 0b10), WRITE, Granted(PA, "W")),
        ("stage 2 nothing", S1, S2.with(descriptor::S2AP, 0b00), WRITE, Nothing),
        ("RO and executable, Exe = 1", X.with(AP, 0b11), S2, FETCH, Granted(PA, "RX")),
        ("RW and executable, NW = 0 and Exe = 1", X, S2, WRITE_AND_FETCH, Granted(PA, "RWX")),
        ("RO and executable, Exe = 0", X.with(AP, 0b11), S2, NW, Granted(PA, "R")),
        ("RO and not executable, Exe = 1", S1.with(AP, 0b11), S2, FETCH, Granted(PA, "R")),
        (
            "RO, executable in stage 1 alone, Exe = 1",
            X.with(AP, 0b11),
            S2.with(descriptor::S2XN, 0b10),
            FETCH,
            Granted(PA, "R"),
        ),
    ];
    for (name, first, second, access, expected) in rows {
        let mut stages = may(ste::NESTED);
        stages.map_first(VA, IPA, 12, *first);
        stages.map_second(IPA, PA, 12, *second);
        stages.add_substream();
        assert_eq!(request(&mut stages, &ask_1(VA, *access)), *expected, "{name}");
        assert!(stages.driver.events().is_empty(), "{name}");
    }
}

#[test]
fn privcfg_decides_whose_permissions_are_granted() {
    for (privcfg, expected) in [(0b00, Nothing), (0b10, Nothing), (0b11, Granted(IPA, "RW"))] {
        let mut stages = may(ste::STAGE_1);
        stages.map_first(VA, IPA, 12, descriptor::S1_RW.with(descriptor::AP, 0b00));
        stages.set_ste(|ste| ste.with(ste::PRIVCFG, privcfg));
        assert_eq!(request(&mut stages, &ask(VA, WRITE)), expected, "PRIVCFG = {privcfg:02b}");
    }
}

#[test]
fn s1dss_without_a_pasid() {
    // Terminated: CA. Bypassed, stage 1 alone: the identity, R = W = 1. Bypassed, both: stage 2 alone. CD 0: as any.
    for (config, s1dss, address, expected) in [
        (ste::STAGE_1, 0b00, VA, Abort),
        (ste::STAGE_1, 0b01, 0x1234_5000, Granted(0x1234_5000, "RW")),
        (ste::STAGE_1, 0b10, VA, Granted(IPA, "RW")),
        (ste::STAGE_1, 0b11, VA, Abort),
        (ste::NESTED, 0b00, VA, Abort),
        (ste::NESTED, 0b01, IPA, Granted(PA, "RW")),
        (ste::NESTED, 0b10, VA, Granted(PA, "RW")),
    ] {
        let mut stages = may(config);
        stages.add_substream();
        stages.set_ste(|ste| ste.with(ste::S1DSS, s1dss));
        assert_eq!(request(&mut stages, &ask(address, WRITE)), expected, "{config:03b}, S1DSS = {s1dss:02b}");
        assert!(stages.driver.events().is_empty());
    }
}

#[test]
fn an_address_beyond_ias_that_bypasses_stage_1_grants_nothing() {
    let features = Features { oas_bits: 44, vax52: false, ..Features::SMMUV3_2 };
    for config in [ste::STAGE_1, ste::STAGE_2] {
        let mut stages = Stages::new(features, config);
        if config == ste::STAGE_1 {
            stages.add_substream();
        }
        stages.set_ste(|ste| ste.with(ste::EATS, 0b01).with(ste::S1DSS, 0b01));
        assert_eq!(request(&mut stages, &ask(1 << 44, WRITE)), Nothing, "Config = {config:03b}");
    }
}

/// §3.13.7: AF is set by any request that is granted something; a page is made dirty only if NW = 0.
#[test]
fn flags_are_updated_as_the_request_says() {
    use smmuv3_tests::tables::cd;
    let clean = descriptor::S1_RW.with(descriptor::AP, 0b11).with(descriptor::DBM, 1);
    let old = clean.with(descriptor::AF, 0);
    let rows: &[(&str, descriptor::Attributes, Access, Said, descriptor::Attributes)] = &[
        (
            "AF = 0, NW = 1",
            descriptor::S1_RW.with(descriptor::AF, 0),
            READ,
            Granted(IPA, "RW"),
            descriptor::S1_RW,
        ),
        ("writable clean, NW = 1", clean, READ, Granted(IPA, "R"), clean),
        ("writable clean, NW = 0", clean, WRITE, Granted(IPA, "RW"), clean.with(descriptor::AP, 0b01)),
        ("writable clean and AF = 0, NW = 1", old, READ, Granted(IPA, "R"), clean),
        (
            "writable clean and AF = 0, NW = 0",
            old,
            WRITE,
            Granted(IPA, "RW"),
            clean.with(descriptor::AP, 0b01),
        ),
        (
            "writable clean for privileged, unprivileged asks",
            clean.with(descriptor::AP, 0b10),
            WRITE,
            Nothing,
            clean.with(descriptor::AP, 0b10),
        ),
    ];
    for (name, before, access, expected, after) in rows {
        let mut stages = may(ste::STAGE_1);
        stages.set_cd(|cd| cd.with(cd::HA, 1).with(cd::HD, 1));
        stages.map_first(VA, IPA, 12, *before);
        assert_eq!(request(&mut stages, &ask(VA, *access)), *expected, "{name}");
        // Bits 1:0 and the address aside, what the descriptor says now.
        let now = stages.first_leaf(VA).descriptor & !(IPA | 0b11);
        assert_eq!(now, after.0[0], "{name}: {now:#x}");
    }
}

#[test]
fn a_request_may_be_answered_from_the_cache_and_may_fill_it() {
    let mut stages = may(ste::NESTED);
    assert_eq!(request(&mut stages, &ask(VA, WRITE)), Granted(PA, "RW"));
    let fills = stages.driver.counters.fills;
    assert_eq!(stages.ask(&ask(VA, WRITE)), Ok(PA));
    assert_eq!(stages.driver.counters.fills, fills);
}

#[test]
fn split_stage_requests_return_intermediate_addresses() {
    let mut stages = split();
    assert_eq!(request(&mut stages, &ask(VA + 0x123, WRITE)), Granted(IPA + 0x123, "RW"));
    assert_eq!(request(&mut stages, &ask(0x6000, WRITE)), Nothing);
    // The device comes back with what it was told, and stage 2 does the rest.
    assert_eq!(translated(&mut stages, &ask(IPA + 0x123, WRITE)), Ok(PA + 0x123));
    assert!(stages.driver.events().is_empty());
}

const TRANSL_FORBIDDEN: [u64; 4] = [0x0000_0007_0000_0007, 0x0000_0008_0000_0000, 0x5678, 0];

/// Translated traffic: what becomes of it, and its record.
#[test]
fn translated_traffic() {
    type Row = (&'static str, u64, u64, u32, Transaction, Result<u64, ()>, Option<[u64; 4]>);
    let on_and_checked = ON | value::ATSCHK;
    let address = ask(0x5678, READ);
    let wide = ask(1 << 52, READ);
    let rows: &[Row] = &[
        ("ATSCHK = 0: no look-up", ste::STAGE_1, 0b00, ON, address, Ok(0x5678), None),
        (
            "ATSCHK = 0: no look-up of a bad StreamID",
            ste::STAGE_1,
            0,
            ON,
            transaction(0x1234, None, 0x5678, READ),
            Ok(0x5678),
            None,
        ),
        ("ATSCHK = 0: beyond OAS", ste::STAGE_1, 0b00, ON, wide, Err(()), None),
        ("EATS = 00", ste::STAGE_1, 0b00, on_and_checked, address, Err(()), Some(TRANSL_FORBIDDEN)),
        ("EATS = 11", ste::NESTED, 0b11, on_and_checked, address, Err(()), Some(TRANSL_FORBIDDEN)),
        (
            "EATS = 00, write with all address bits",
            ste::STAGE_1,
            0b00,
            on_and_checked,
            ask(0xfedc_ba98_7654_3210, WRITE),
            Err(()),
            Some([0x0000_0007_0000_0007, 0, 0xfedc_ba98_7654_3210, 0]),
        ),
        ("Config = 100", ste::BYPASS, 0b01, on_and_checked, address, Err(()), Some(TRANSL_FORBIDDEN)),
        ("Config = 000", 0b000, 0b01, on_and_checked, address, Err(()), None),
        (
            "bad StreamID",
            ste::STAGE_1,
            0b01,
            on_and_checked,
            transaction(0x1234, None, 0x5678, READ),
            Err(()),
            None,
        ),
        ("V = 0", ste::STAGE_1, 0b01, on_and_checked, transaction(8, None, 0x5678, READ), Err(()), None),
        ("EATS = 01, stage 1", ste::STAGE_1, 0b01, on_and_checked, address, Ok(0x5678), None),
        ("EATS = 01, both stages", ste::NESTED, 0b01, on_and_checked, address, Ok(0x5678), None),
        ("EATS = 01, beyond OAS", ste::NESTED, 0b01, on_and_checked, wide, Err(()), None),
        (
            "EATS = 10: stage 2",
            ste::NESTED,
            0b10,
            on_and_checked,
            ask(IPA + 0x678, READ),
            Ok(PA + 0x678),
            None,
        ),
        (
            "EATS = 10, stage 2 F_TRANSLATION: S2 is bit 103, CLASS = IN",
            ste::NESTED,
            0b10,
            on_and_checked,
            ask(NOWHERE + 0x678, READ),
            Err(()),
            Some([0x0000_0007_0000_0010, 0x0000_0288_0000_0000, NOWHERE + 0x678, NOWHERE]),
        ),
    ];
    for (name, config, eats, cr0, ask, expected, record) in rows {
        let mut stages = Stages::usual(*config);
        stages.driver.write_cr0(*cr0);
        stages.set_ste(|ste| ste.with(ste::EATS, *eats));
        stages.driver.events();
        assert_eq!(translated(&mut stages, ask), *expected, "{name}");
        let events = stages.driver.events();
        assert_eq!(events, record.iter().copied().collect::<Vec<_>>(), "{name}: {events:x?}");
    }
}

#[test]
fn translated_traffic_aborts_while_smmuen_is_0() {
    let mut stages = may(ste::STAGE_1);
    stages.driver.write_cr0(value::CMDQEN | value::EVENTQEN);
    assert_eq!(translated(&mut stages, &ask(0x5678, READ)), Err(()));
    // A record is permitted, and if there is one, it is this.
    assert!(stages.driver.events().iter().all(|event| *event == TRANSL_FORBIDDEN));
}

#[test]
fn split_stage_traffic_beyond_ias_is_f_addr_size_of_stage_1() {
    let features = Features { oas_bits: 44, vax52: false, ..Features::SMMUV3_2 };
    let mut stages = Stages::new(features, ste::NESTED);
    stages.driver.write_cr0(ON | value::ATSCHK);
    stages.set_ste(|ste| ste.with(ste::EATS, 0b10));
    let last = (1 << 44) - 0x1000;
    stages.map_second(last, PA, 12, descriptor::S2_RW);
    assert_eq!(translated(&mut stages, &ask(last + 0xfff, READ)), Ok(PA + 0xfff));
    assert_eq!(translated(&mut stages, &ask(1 << 44, READ)), Err(()));
    assert_eq!(stages.driver.events(), [[0x0000_0007_0000_0011, 0x0000_0208_0000_0000, 1 << 44, 0]]);
}

#[test]
fn split_stage_faults_are_recorded_if_s2r_says_so() {
    let mut stages = split();
    stages.set_ste(|ste| ste.with(ste::S2R, 0));
    assert_eq!(translated(&mut stages, &ask(NOWHERE, READ)), Err(()));
    assert!(stages.driver.events().is_empty());
}

/// Unprivileged data, whatever the transaction says, until the STE overrides it.
#[test]
fn split_stage_traffic_is_unprivileged_data() {
    const PRIVILEGED_ONLY: u64 = 0b11; // S2XN: executable by privileged software alone
    let fetch = Access { write: false, instruction: true, privileged: true };
    let rows = [
        // XN, PRIVCFG, INSTCFG, readable, expected
        (0b00, 0b00, 0b00, 0b11, true),
        (0b10, 0b00, 0b00, 0b11, true), // data, though it says instruction
        (0b10, 0b00, 0b11, 0b11, false),
        (PRIVILEGED_ONLY, 0b00, 0b11, 0b11, false),
        (PRIVILEGED_ONLY, 0b11, 0b11, 0b11, true),
        (0b00, 0b00, 0b00, 0b00, false), // data needs to be readable
    ];
    for (xn, privcfg, instcfg, s2ap, expected) in rows {
        let mut stages = split();
        stages.map_second(
            IPA,
            PA,
            12,
            descriptor::S2_RW.with(descriptor::S2XN, xn).with(descriptor::S2AP, s2ap),
        );
        stages.set_ste(|ste| ste.with(ste::PRIVCFG, privcfg).with(ste::INSTCFG, instcfg));
        let found = translated(&mut stages, &ask(IPA, fetch));
        assert_eq!(found.is_ok(), expected, "XN {xn:02b}, PRIVCFG {privcfg:02b}, INSTCFG {instcfg:02b}");
        for event in stages.driver.events() {
            let (pnu, ind) = (event[1] >> 33 & 1, event[1] >> 34 & 1);
            assert_eq!((pnu, ind), (privcfg & 1, instcfg & 1), "PnU is bit 97, InD is bit 98");
        }
    }
}

/// §3.9.1.3: with PASIDTT = 0 translated traffic has no SubstreamID, also in its record.
#[test]
fn split_stage_traffic_has_no_substream() {
    let mut stages = split();
    let ask = transaction(SID, Some(5), NOWHERE, READ);
    assert!(translated(&mut stages, &ask).is_err());
    let expected = [0x0000_0007_0000_0010, 0x0000_0288_0000_0000, NOWHERE, NOWHERE];
    assert_eq!(stages.driver.events(), [expected]);
}

#[test]
fn atc_inv_is_passed_on_with_its_span() {
    let mut machine = Machine::usual();
    let address = 0xfedc_ba98_7654_3000;
    for size in 0..64 {
        machine.run(atc_inv(SID, None, address, size));
        let Some(seen) = machine.driver.watch.invalidations.pop() else { panic!("Size {size}") };
        // Beyond 52, which is everything, the span is UNKNOWN: here, everything.
        let aligned = if size < 52 { address >> (12 + size) << (12 + size) } else { 0 };
        assert_eq!((seen.stream.0, seen.substream, seen.global), (SID, None, false), "Size {size}");
        assert_eq!((seen.address, u64::from(seen.size)), (aligned, size.min(52)), "Size {size}");
    }
}

#[test]
fn global_needs_a_pasid() {
    for (ssid, g, expected) in
        [(None, 1, false), (Some(0x12345), 1, true), (Some(0), 1, true), (Some(3), 0, false)]
    {
        let mut machine = Machine::usual();
        machine.run(Record(atc_inv(SID, ssid, 0x5000, 0)).with(field::ATC_GLOBAL, g).0);
        let [seen] = machine.driver.watch.invalidations[..] else { panic!("one invalidation") };
        assert_eq!((seen.substream.map(|ssid| ssid.0), seen.global), (ssid, expected));
    }
}

#[test]
fn atc_inv_is_ignored_while_smmuen_is_0() {
    let mut machine = Machine::usual();
    machine.driver.write_cr0(value::CMDQEN | value::EVENTQEN);
    machine.driver.watch.atc_is_silent = true;
    machine.run(atc_inv(SID, None, 0, 52));
    assert!(machine.driver.watch.invalidations.is_empty());
}

/// commands.md §1: StreamIDs and SubstreamIDs beyond IDR1's sizes have no effect, and are no error.
#[test]
fn atc_inv_of_nobody_goes_nowhere() {
    let features = Features { ssidsize: 4, ..Features::SMMUV3_2 };
    let mut stages = Stages::new(features, ste::STAGE_1);
    for (sid, ssid, expected) in
        [(0xffff, None, 1), (0x1_0000, None, 0), (u32::MAX, None, 0), (SID, Some(15), 1), (SID, Some(16), 0)]
    {
        stages.driver.run(&[atc_inv(sid, ssid, 0, 52)]);
        assert_eq!(stages.driver.watch.invalidations.len(), expected, "{sid:#x} {ssid:?}");
        stages.driver.watch.invalidations.clear();
    }
}

#[test]
fn atc_inv_needs_ats() {
    let mut machine = Machine::new(
        Features { ats: false, pri: false, priqs: 0, ..Features::SMMUV3_2 },
        smmuv3_tests::machine::STRICT,
        smmuv3_tests::tables::Grain::K4,
    );
    let stopped = machine.driver.submit(&[atc_inv(SID, None, 0, 52)]);
    assert_eq!(stopped.map_err(|stopped| stopped.code), Err(value::CERROR_ILL));
}

/// commands.md §2: the SYNC after an ATC_INV that nobody answered stops the queue, without a signal; what came before has
/// happened; the acknowledgement runs it again.
#[test]
fn an_atc_that_does_not_answer_stops_the_next_sync() {
    let mut machine = Machine::usual();
    machine.cache_and_unmap(&[0x5000, 0x6000], 12);
    let message = RAM_BASE + 0x8_0000;
    machine.driver.watch.atc_is_silent = true;
    let start = machine.driver.prod();
    machine.driver.put(nh_va(0x5000, smmuv3_tests::commands::Hint::NONE));
    machine.driver.put(atc_inv(SID, None, 0x5000, 0));
    machine.driver.put(atc_inv(SID, None, 0x6000, 0));
    machine.driver.put(sync_with(1, message, 0x1234_5678));
    machine.driver.put(nh_va(0x6000, smmuv3_tests::commands::Hint::NONE));
    machine.driver.put(sync());
    assert_eq!(
        machine.driver.ring(),
        Err(Stopped { code: value::CERROR_ATC_INV_SYNC, index: start + 3 }),
        "RD is at the SYNC"
    );
    assert_eq!(machine.driver.read32(register::GERROR), value::CMDQ_ERR);
    assert_eq!(machine.driver.ram.word(message), Some(0), "no completion signal");
    assert_eq!(machine.driver.lines.cmd_sync, 0);
    assert_eq!(machine.driver.watch.invalidations.len(), 2);
    assert!(!machine.is_cached(0x5000), "the TLBI before has taken effect");
    assert!(machine.is_cached(0x6000), "the one behind has not");
    machine.driver.write32(register::GERRORN, value::CMDQ_ERR);
    assert_eq!(machine.driver.stopped(), Ok(()));
    assert_eq!(machine.driver.ram.word(message), Some(0x1234_5678));
    assert_eq!(machine.driver.lines.cmd_sync, 1);
    assert!(!machine.is_cached(0x6000));
    assert_eq!(machine.driver.watch.invalidations.len(), 2, "nothing is sent twice");
}

#[test]
fn an_answered_atc_inv_is_no_error() {
    let mut machine = Machine::usual();
    machine.run(atc_inv(SID, Some(4), 0, 52));
    machine.driver.watch.atc_is_silent = true;
    machine.driver.put(atc_inv(SID, None, 0, 52));
    assert_eq!(machine.driver.ring(), Ok(()), "no SYNC, no error");
    machine.driver.put(sync());
    assert!(machine.driver.ring().is_err());
}

/// The STE that a look-up of translated traffic remembers goes with CMD_CFGI_STE.
#[test]
fn a_permission_to_use_ats_can_be_taken_back() {
    let mut stages = may(ste::STAGE_1);
    stages.driver.write_cr0(ON | value::ATSCHK);
    assert_eq!(translated(&mut stages, &ask(0x5678, READ)), Ok(0x5678));
    let ste = stages.ste.with(ste::EATS, 0);
    stages.driver.write_record(STREAM_TABLE + 64 * u64::from(SID), &ste.0);
    stages.driver.run(&[smmuv3_tests::commands::cfgi_ste(SID, smmuv3_tests::commands::Leaf::Only)]);
    assert_eq!(translated(&mut stages, &ask(0x5678, READ)), Err(()));
}
