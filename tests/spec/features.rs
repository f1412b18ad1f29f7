//! What the ID registers show (§6.3.1 to §6.3.8): each field is toggled, and what it promises is asked for.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use std::collections::BTreeSet;

use smmuv3::arch::features::{self, Ecmdqs, QueuesPreset, StallModel, TablesPreset, TtEndian};
use smmuv3::{
    Command, Features, PageRequest, PageRequestOutcome, PageResponse, Response, StreamId, SubstreamId,
};
use smmuv3_tests::bits::{Record, Words};
use smmuv3_tests::commands::{
    Hint, atc_inv, field, pri_resp, resume, stall_term, sync, sync_with, tlbi_el2_all, tlbi_nh_all,
};
use smmuv3_tests::driver::{
    Boot, COMMAND_QUEUE, Driver, EVENT_QUEUE, Outcome, RAM_BASE, STREAM_TABLE, register, transaction, value,
};
use smmuv3_tests::machine::{Machine, SID, STRICT, VMID, nh_va};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::stages::{IPA, PA, Stages, VA};
use smmuv3_tests::tables::{Grain, PageTables, cd, descriptor, l1cd, ste};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;
const FETCH: Access = Access { write: false, instruction: true, privileged: true };
const ON: u32 = value::CMDQEN | value::EVENTQEN | value::SMMUEN;

const V3_0: Features = Features::SMMUV3_0;
const V3_1: Features = Features::SMMUV3_1;
const V3_2: Features = Features::SMMUV3_2;
const V3_3: Features = Features::SMMUV3_3;
const NO_S1: Features = Features { s1p: false, hyp: false, vatos: false, ..V3_2 };
const NO_S2: Features =
    Features { s2p: false, xnx: false, fwb: false, hyp: false, vmw: false, vatos: false, ..V3_2 };
const NO_PRI: Features = Features { pri: false, priqs: 0, ..V3_2 };
const TERMINATE: Features = Features { stall_model: StallModel::Terminate, stall_max: 0, ..V3_2 };
/// Without what needs 64 KiB granules.
const NARROW: Features = Features { oas_bits: 48, vax52: false, ..V3_2 };
const PRESET_TABLES: Features =
    Features { tables_preset: Some(TablesPreset { base: STREAM_TABLE, config: 8 }), ..V3_2 };
const PRESET_QUEUES: Features = Features {
    queues_preset: Some(QueuesPreset {
        command: COMMAND_QUEUE | 6,
        event: EVENT_QUEUE | 5,
        pri: (RAM_BASE + 0x3_0000) | 3,
    }),
    ..V3_2
};

/// A field of an ID register: its name in the core's list, where it is, how it is asked for, and for each set of features what
/// it shows and what the answer is.
struct Row {
    name: &'static str,
    idr: usize,
    bits: (u32, u32),
    probe: fn(Features) -> String,
    cases: &'static [(Features, u32, &'static str)],
}

const fn row(
    name: &'static str,
    idr: usize,
    bits: (u32, u32),
    probe: fn(Features) -> String,
    cases: &'static [(Features, u32, &'static str)],
) -> Row {
    Row { name, idr, bits, probe, cases }
}

const ROWS: &[Row] = &[
    row(
        "S2P",
        0,
        (0, 0),
        |f| said(usual(f, ste::STAGE_2, IPA)),
        &[(NO_S2, 0, "C_BAD_STE"), (V3_2, 1, "0x13000")],
    ),
    row(
        "S1P",
        0,
        (1, 1),
        |f| said(usual(f, ste::STAGE_1, VA)),
        &[(NO_S1, 0, "C_BAD_STE"), (V3_2, 1, "0x9000")],
    ),
    row("TTF", 0, (3, 2), aarch32, &[(V3_2, 0b10, "C_BAD_CD"), (V3_0, 0b10, "C_BAD_CD")]),
    row(
        "COHACC",
        0,
        (4, 4),
        works,
        &[(Features { cohacc: false, ..V3_2 }, 0, "0x9000"), (V3_2, 1, "0x9000")],
    ),
    row(
        "BTM",
        0,
        (5, 5),
        broadcast,
        &[(Features { btm: false, ..V3_2 }, 0, "PTM 0: kept, kept"), (V3_2, 1, "PTM 1: gone, kept")],
    ),
    row(
        "HTTU",
        0,
        (7, 6),
        updates,
        &[
            (Features { httu: 0, ..V3_2 }, 0, "HA C_BAD_CD, HD C_BAD_CD"),
            (Features { httu: 1, ..V3_2 }, 1, "HA 0x9000, HD C_BAD_CD"),
            (V3_2, 2, "HA 0x9000, HD 0x9000"),
        ],
    ),
    row(
        "HYP",
        0,
        (9, 9),
        |f| run(f, tlbi_el2_all()),
        &[(Features { hyp: false, ..V3_1 }, 0, "CERROR_ILL"), (V3_1, 1, "done")],
    ),
    row(
        "ATS",
        0,
        (10, 10),
        |f| format!("{}, CR0 {:#x}", run(f, atc_inv(SID, None, 0, 52)), cr0(f) & value::ATSCHK),
        &[(Features { ats: false, ..NO_PRI }, 0, "CERROR_ILL, CR0 0x0"), (V3_2, 1, "done, CR0 0x10")],
    ),
    row(
        "NS1ATS",
        0,
        (11, 11),
        split_stage,
        &[(V3_2, 0, "0x13000"), (Features { ns1ats: true, ..V3_2 }, 1, "C_BAD_STE")],
    ),
    row(
        "ASID16",
        0,
        (12, 12),
        |f| with_cd(f, |cd| cd.with(cd::ASID, 0x100)),
        &[(Features { asid16: false, ..V3_2 }, 0, "C_BAD_CD"), (V3_2, 1, "0x9000")],
    ),
    row(
        "MSI",
        0,
        (13, 13),
        messages,
        &[(Features { msi: false, ..V3_2 }, 0, "0 messages"), (V3_2, 1, "1 messages")],
    ),
    row(
        "SEV",
        0,
        (14, 14),
        events,
        &[(Features { sev: false, ..V3_2 }, 0, "0 events"), (V3_2, 1, "1 events")],
    ),
    row(
        "ATOS",
        0,
        (15, 15),
        |f| keeps(f, register::GATOS_ADDR),
        &[(Features { atos: false, vatos: false, ..V3_2 }, 0, "0x0"), (V3_2, 1, "0xffffffffffffffc0")],
    ),
    row("PRI", 0, (16, 16), page_request, &[(NO_PRI, 0, "Failure, CERROR_ILL"), (V3_2, 1, "Queued, done")]),
    row(
        "VMW",
        0,
        (17, 17),
        vmid_wildcard,
        &[(Features { vmw: false, ..V3_2 }, 0, "VMW 0, kept"), (V3_2, 1, "VMW 1, gone")],
    ),
    row(
        "VMID16",
        0,
        (18, 18),
        |f| with_ste(f, ste::STAGE_1, |ste| ste.with(ste::S2VMID, 0x100)),
        &[(Features { vmid16: false, ..V3_2 }, 0, "C_BAD_STE"), (V3_2, 1, "0x9000")],
    ),
    row(
        "CD2L",
        0,
        (19, 19),
        two_level_contexts,
        &[(Features { cd2l: false, ..V3_2 }, 0, "C_BAD_STE"), (V3_2, 1, "0x9000")],
    ),
    row(
        "VATOS",
        0,
        (20, 20),
        |f| format!("{:#x}, {}", device(f).smmu.window_bytes(), keeps_32(f, register::VATOS_SEL)),
        &[(Features { vatos: false, ..V3_2 }, 0, "0x20000, 0x0"), (V3_2, 1, "0x30000, 0xffff")],
    ),
    row(
        "TTENDIAN",
        0,
        (22, 21),
        byte_orders,
        &[
            (
                Features { ttendian: TtEndian::Mixed, ..V3_2 },
                0b00,
                "little 0x9000 0x13000, big 0x9000 0x13000",
            ),
            (V3_2, 0b10, "little 0x9000 0x13000, big C_BAD_CD C_BAD_STE"),
            (
                Features { ttendian: TtEndian::Big, ..V3_2 },
                0b11,
                "little C_BAD_CD C_BAD_STE, big 0x9000 0x13000",
            ),
        ],
    ),
    row(
        "ATSRECERR",
        0,
        (23, 23),
        |f| format!("CR2 {}", keeps_32(f, register::CR2)),
        &[(V3_2, 0, "CR2 0x7"), (Features { atsrecerr: true, ..V3_2 }, 1, "CR2 0xf")],
    ),
    row(
        "STALL_MODEL",
        0,
        (25, 24),
        stalls,
        &[
            (V3_2, 0b00, "S = 0 F_TRANSLATION, S = 1 stalled, RESUME done"),
            (TERMINATE, 0b01, "S = 0 F_TRANSLATION, S = 1 C_BAD_CD, RESUME CERROR_ILL"),
            (
                Features { stall_model: StallModel::Stall, ..V3_2 },
                0b10,
                "S = 0 C_BAD_CD, S = 1 stalled, RESUME done",
            ),
        ],
    ),
    row(
        "TERM_MODEL",
        0,
        (26, 26),
        without_abort,
        &[(V3_2, 0, "RazWi F_TRANSLATION"), (Features { term_model: true, ..V3_2 }, 1, "Abort C_BAD_CD")],
    ),
    row(
        "ST_LEVEL",
        0,
        (28, 27),
        |f| keeps_32(f, register::STRTAB_BASE_CFG),
        &[
            (Features { two_level_stream_table: false, sidsize: 6, ..V3_2 }, 0b00, "0x3f"),
            (V3_2, 0b01, "0x307ff"),
        ],
    ),
    row(
        "SIDSIZE",
        1,
        (5, 0),
        stream_ids,
        &[
            (Features { sidsize: 0, ..V3_2 }, 0, "0 bits"),
            (Features { sidsize: 7, ..V3_2 }, 7, "7 bits"),
            (V3_2, 16, "16 bits"),
            (Features { sidsize: 32, ..V3_2 }, 32, "32 bits"),
        ],
    ),
    row(
        "SSIDSIZE",
        1,
        (10, 6),
        substream_ids,
        &[
            (Features { ssidsize: 0, ..V3_2 }, 0, "S1CDMax is ignored, C_BAD_SUBSTREAMID"),
            (Features { ssidsize: 1, ..V3_2 }, 1, "S1CDMax up to 1, 0x9000"),
            (Features { ssidsize: 8, ..V3_2 }, 8, "S1CDMax up to 8, 0x9000"),
            (V3_2, 20, "S1CDMax up to 20, 0x9000"),
        ],
    ),
    row(
        "PRIQS",
        1,
        (15, 11),
        |f| format!("{} requests", page_requests(f)),
        &[
            (Features { priqs: 0, ..V3_2 }, 0, "1 requests"),
            (Features { priqs: 3, ..V3_2 }, 3, "8 requests"),
            (V3_2, 19, "16 requests"),
        ],
    ),
    row(
        "EVENTQS",
        1,
        (20, 16),
        |f| format!("{} events", event_records(f)),
        &[
            (Features { eventqs: 0, ..V3_2 }, 0, "1 events"),
            (Features { eventqs: 3, ..V3_2 }, 3, "8 events"),
            (V3_2, 19, "16 events"),
        ],
    ),
    row(
        "CMDQS",
        1,
        (25, 21),
        |f| format!("CONS {}", full_command_queue(f)),
        &[
            (Features { cmdqs: 2, ..V3_2 }, 2, "CONS 0"),
            (Features { cmdqs: 3, ..V3_2 }, 3, "CONS 8"),
            (V3_2, 19, "CONS 8"),
        ],
    ),
    row(
        "ATTR_PERMS_OVR",
        1,
        (26, 26),
        |f| overridden(f, |ste| ste.with(ste::PRIVCFG, 0b11).with(ste::INSTCFG, 0b11)),
        &[
            (Features { attr_perms_ovr: false, ..V3_2 }, 0, "0xff 0 false false"),
            (V3_2, 1, "0xff 0 true true"),
        ],
    ),
    row(
        "ATTR_TYPES_OVR",
        1,
        (27, 27),
        |f| overridden(f, |ste| ste.with(ste::MTCFG, 1).with(ste::MEMATTR, 0b1010).with(ste::SHCFG, 0b11)),
        &[
            (Features { attr_types_ovr: false, ..V3_2 }, 0, "0xff 0 false false"),
            (V3_2, 1, "0xbb 3 false false"),
        ],
    ),
    row(
        "REL",
        1,
        (28, 28),
        works,
        &[(PRESET_TABLES, 0, "0x9000"), (Features { rel: true, ..PRESET_TABLES }, 1, "0x9000")],
    ),
    row(
        "QUEUES_PRESET",
        1,
        (29, 29),
        |f| format!("{}, {}", keeps(f, register::CMDQ_BASE), works(f)),
        &[(V3_2, 0, "0x400fffffffffffff, 0x9000"), (PRESET_QUEUES, 1, "0x80010006, 0x9000")],
    ),
    row(
        "TABLES_PRESET",
        1,
        (30, 30),
        |f| format!("{}, {}", keeps(f, register::STRTAB_BASE), works(f)),
        &[(V3_2, 0, "0x400fffffffffffc0, 0x9000"), (PRESET_TABLES, 1, "0x80000000, 0x9000")],
    ),
    row(
        "ECMDQ",
        1,
        (31, 31),
        |f| format!("{:#x}", device(f).read64(register::CMDQ_CONTROL_PAGE_BASE0)),
        &[(Features { ecmdq: None, ..V3_3 }, 0, "0x0"), (V3_3, 1, "0x30003")],
    ),
    row(
        "BA_VATOS",
        2,
        (9, 0),
        |f| format!("{:#x}", device(f).smmu.window_bytes()),
        &[
            (V3_2, 0, "0x30000"),
            (Features { ba_vatos: 1, ..V3_2 }, 1, "0x40000"),
            (Features { ba_vatos: 1023, ..V3_2 }, 1023, "0x4020000"),
        ],
    ),
    row(
        "HAD",
        3,
        (2, 2),
        hierarchical,
        &[(V3_0, 0, "F_PERMISSION"), (Features { had: true, ..V3_0 }, 1, "0x9000")],
    ),
    row(
        "XNX",
        3,
        (4, 4),
        privileged_fetch,
        &[(V3_0, 0, "0x13000"), (Features { xnx: true, ..V3_0 }, 1, "F_PERMISSION")],
    ),
    row(
        "PPS",
        3,
        (5, 5),
        automatic_response,
        &[(V3_2, 0, "PASID false"), (Features { pps: true, ..V3_2 }, 1, "PASID true")],
    ),
    row(
        "FWB",
        3,
        (8, 8),
        force_write_back,
        &[(V3_1, 0, "0x4b"), (Features { fwb: true, ..V3_1 }, 1, "0xff")],
    ),
    row(
        "STT",
        3,
        (9, 9),
        |f| with_cd(f, |cd| cd.with(cd::T0SZ, 40)),
        // A walk over 24 bits starts at level 2, where the table for 48 bits has nothing.
        &[(V3_1, 0, "C_BAD_CD"), (V3_2, 1, "F_TRANSLATION")],
    ),
    row(
        "RIL",
        3,
        (10, 10),
        range,
        &[(V3_1, 0, "gone, kept"), (Features { ril: true, ..V3_1 }, 1, "gone, gone")],
    ),
    row(
        "BBML",
        3,
        (12, 11),
        block_to_table,
        &[(V3_1, 0, "0x40005000"), (Features { bbml: 1, ..V3_2 }, 1, "0x40005000"), (V3_2, 2, "0x40005000")],
    ),
    row(
        "E0PD",
        3,
        (13, 13),
        e0pd,
        &[(V3_2, 0, "0x9000 0x9000"), (Features { e0pd: true, ..V3_2 }, 1, "F_TRANSLATION 0x9000")],
    ),
    row(
        "PTWNNC",
        3,
        (14, 14),
        device_tables,
        &[
            (V3_2, 0, "S2PTW = 0 0x13000, S2PTW = 1 F_PERMISSION"),
            (Features { ptwnnc: true, ..V3_2 }, 1, "S2PTW = 0 0x13000, S2PTW = 1 F_PERMISSION"),
        ],
    ),
    row(
        "OAS",
        5,
        (2, 0),
        output_bits,
        &[
            (Features { oas_bits: 32, ..V3_2 }, 0, "32 bits"),
            (Features { oas_bits: 36, ..V3_2 }, 1, "36 bits"),
            (Features { oas_bits: 40, ..V3_2 }, 2, "40 bits"),
            (Features { oas_bits: 42, ..V3_2 }, 3, "42 bits"),
            (Features { oas_bits: 44, ..V3_2 }, 4, "44 bits"),
            (Features { oas_bits: 48, ..V3_2 }, 5, "48 bits"),
            (V3_2, 6, "52 bits"),
        ],
    ),
    row(
        "GRAN4K",
        5,
        (4, 4),
        |f| granule(f, Grain::K4),
        &[(Features { gran4k: false, ..V3_2 }, 0, "C_BAD_CD"), (V3_2, 1, "0x20000")],
    ),
    row(
        "GRAN16K",
        5,
        (5, 5),
        |f| granule(f, Grain::K16),
        &[(Features { gran16k: false, ..V3_2 }, 0, "C_BAD_CD"), (V3_2, 1, "0x20000")],
    ),
    row(
        "GRAN64K",
        5,
        (6, 6),
        |f| granule(f, Grain::K64),
        &[(Features { gran64k: false, ..NARROW }, 0, "C_BAD_CD"), (V3_2, 1, "0x20000")],
    ),
    row(
        "VAX",
        5,
        (11, 10),
        wide_addresses,
        &[(Features { vax52: false, ..V3_2 }, 0, "C_BAD_CD"), (V3_2, 1, "0x20000")],
    ),
    row(
        "STALL_MAX",
        5,
        (31, 16),
        |f| format!("{} stalled", stalled(f)),
        &[
            (TERMINATE, 0, "0 stalled"),
            (Features { stall_max: 1, ..V3_2 }, 1, "1 stalled"),
            (V3_2, 16, "16 stalled"),
            (Features { stall_max: 32, ..V3_2 }, 32, "32 stalled"),
        ],
    ),
    row(
        "CMDQ_CONTROL_PAGE_LOG2NUMQ",
        6,
        (19, 16),
        last_interface,
        &[
            (V3_2, 0, "none"),
            (ecmdqs(0, 0), 0, "1 of 0x10000"),
            (V3_3, 2, "8 of 0x4000"),
            (ecmdqs(0, 4), 4, "16 of 0x1000"),
        ],
    ),
    row(
        "CMDQ_CONTROL_PAGE_LOG2NUMP",
        6,
        (27, 24),
        |f| format!("{:#x}", device(f).smmu.window_bytes()),
        &[
            (V3_2, 0, "0x30000"),
            (ecmdqs(0, 0), 0, "0x40000"),
            (V3_3, 1, "0x50000"),
            (ecmdqs(4, 0), 4, "0x130000"),
        ],
    ),
];

const fn ecmdqs(log2_pages: u8, log2_queues: u8) -> Features {
    Features { ecmdq: Some(Ecmdqs { log2_pages, log2_queues }), ..V3_3 }
}

/// Offsets of IDR0 to IDR6.
const IDR: [u32; 7] = [0x00, 0x04, 0x08, 0x0c, 0x10, 0x14, register::IDR6];

#[test]
fn each_field_shows_what_the_device_does() {
    for Row { name, idr, bits: (hi, lo), probe, cases } in ROWS {
        let mut answers = BTreeSet::new();
        for (features, shown, expected) in *cases {
            let word = device(*features).read32(IDR[*idr]);
            assert_eq!(word >> lo & (u32::MAX >> (31 - (hi - lo))), *shown, "IDR{idr}.{name}");
            assert_eq!(probe(*features), *expected, "IDR{idr}.{name} = {shown}");
            answers.insert(*expected);
        }
        // These say something about the system, allow the guest more, or have one value here.
        let same = matches!(*name, "TTF" | "COHACC" | "REL" | "BBML" | "PTWNNC");
        assert_eq!(answers.len() == 1, same, "IDR{idr}.{name}");
    }
}

#[test]
fn bits_that_no_row_has_read_0() {
    let mut shown = [0; 7];
    for Row { name, idr, bits: (hi, lo), .. } in ROWS {
        let mask = u32::MAX >> (31 - (hi - lo)) << lo;
        assert_eq!(shown[*idr] & mask, 0, "IDR{idr}.{name} overlaps");
        shown[*idr] |= mask;
    }
    let presets = [Features::MINIMAL, Features::QEMU_10, V3_0, V3_1, V3_2, V3_3];
    let cases = ROWS.iter().flat_map(|row| row.cases.iter().map(|(features, ..)| *features));
    for features in presets.into_iter().chain(cases) {
        let device = device(features);
        for (number, offset) in IDR.into_iter().enumerate() {
            assert_eq!(device.read32(offset) & !shown[number], 0, "IDR{number}");
        }
    }
    assert_eq!(shown[4], 0, "IDR4 is IMPLEMENTATION DEFINED, and empty here");
}

/// A row for each field of the core's list that is ever shown.
#[test]
fn every_field_has_a_row() {
    let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), ROWS.len(), "one row each");
    for (_, name, _) in features::field::ALL {
        // Rows are named by the constants: capitals.
        assert_eq!(names.contains(name.to_uppercase().as_str()), name != "DORMHINT", "{name}");
    }
}

/// README.md has one row for each field, and none for what is not in the list.
#[test]
fn the_readme_lists_every_field() {
    let readme = include_str!("../../README.md");
    let rows = readme
        .lines()
        .skip_while(|line| *line != "## What is implemented")
        .filter_map(|line| line.strip_prefix("| `IDR"))
        .filter_map(|line| line.split_once('`'));
    let mut listed: Vec<_> = rows.map(|(name, _)| format!("IDR{name}")).collect();
    let mut expected: Vec<_> =
        features::field::ALL.iter().map(|(register, name, _)| format!("{register}.{name}")).collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

/// A device in reset.
fn device(features: Features) -> Driver<256> {
    Driver::new(features, STRICT, 4)
}

fn booted(features: Features) -> Driver<256> {
    Driver::booted(features, STRICT, 4)
}

fn said(found: Outcome) -> String {
    match found {
        Ok(pa) => format!("{pa:#x}"),
        Err(event) => event.unwrap_or("abort").to_owned(),
    }
}

fn usual(features: Features, config: u64, address: u64) -> Outcome {
    Stages::new(features, config).ask(&transaction(SID, None, address, READ))
}

fn with_ste(
    features: Features,
    config: u64,
    change: fn(smmuv3_tests::tables::Ste) -> smmuv3_tests::tables::Ste,
) -> String {
    let mut stages = Stages::new(features, config);
    stages.set_ste(change);
    said(stages.ask(&transaction(SID, None, VA, READ)))
}

fn with_cd(features: Features, change: fn(smmuv3_tests::tables::Cd) -> smmuv3_tests::tables::Cd) -> String {
    let mut stages = Stages::new(features, ste::STAGE_1);
    stages.set_cd(change);
    said(stages.ask(&transaction(SID, None, VA, READ)))
}

fn works(features: Features) -> String {
    said(usual(features, ste::STAGE_1, VA))
}

fn aarch32(features: Features) -> String {
    with_cd(features, |cd| cd.with(cd::AA64, 0))
}

/// What a command comes to.
fn run(features: Features, command: smmuv3_tests::commands::Command) -> String {
    match booted(features).submit(&[command]) {
        Ok(()) => "done".to_owned(),
        Err(stopped) if stopped.code == value::CERROR_ILL => "CERROR_ILL".to_owned(),
        Err(stopped) => format!("{stopped:?}"),
    }
}

/// The bits of CR0 that stay.
fn cr0(features: Features) -> u32 {
    let mut device = device(features);
    device.write32(register::CR0, u32::MAX);
    device.read32(register::CR0ACK)
}

/// The bits of a register that stay, in reset.
fn keeps(features: Features, offset: u32) -> String {
    let mut device = device(features);
    device.write64(offset, u64::MAX);
    format!("{:#x}", device.read64(offset))
}

fn keeps_32(features: Features, offset: u32) -> String {
    let mut device = device(features);
    device.write32(offset, u32::MAX);
    format!("{:#x}", device.read32(offset))
}

fn kept(cached: bool) -> &'static str {
    if cached { "kept" } else { "gone" }
}

/// A broadcast TLBI with CR2.PTM = 0, and with PTM = 1.
fn broadcast(features: Features) -> String {
    let [participates, ignores] = [0, value::PTM].map(|ptm| {
        let mut machine = Machine::new(features, STRICT, Grain::K4);
        machine.driver.boot(Boot { cr2: value::RECINVSID | ptm, ..Boot::USUAL });
        machine.cache_and_unmap(&[VA], 12);
        let had_effect = machine.driver.call(|smmu, env| smmu.broadcast(&Command::TlbiNsnhAll, env));
        let cached = machine.is_cached(VA);
        assert_eq!(had_effect, !cached);
        kept(cached)
    });
    let ptm = device(features).read32(register::CR2) >> 2 & 1;
    format!("PTM {ptm}: {participates}, {ignores}")
}

/// A read of a page with AF = 0 and HA = 1, and a write to a writable-clean page with HD = 1.
fn updates(features: Features) -> String {
    let [ha, hd] = [0, 1].map(|hd| {
        let mut stages = Stages::new(features, ste::STAGE_1);
        stages.set_cd(|cd| cd.with(cd::HA, 1).with(cd::HD, hd));
        let leaf = match hd {
            0 => descriptor::S1_RW.with(descriptor::AF, 0),
            _ => descriptor::S1_RW.with(descriptor::AP, 0b11).with(descriptor::DBM, 1),
        };
        stages.map_first(VA, IPA, 12, leaf);
        said(stages.ask(&transaction(SID, None, VA, Access { write: hd == 1, ..READ })))
    });
    format!("HA {ha}, HD {hd}")
}

fn split_stage(features: Features) -> String {
    let mut stages = Stages::new(features, ste::NESTED);
    stages.driver.write_cr0(ON | value::ATSCHK);
    stages.set_ste(|ste| ste.with(ste::EATS, 0b10));
    said(stages.ask(&transaction(SID, None, VA, READ)))
}

fn messages(features: Features) -> String {
    let mut device = booted(features);
    device.run(&[sync_with(1, RAM_BASE + 0x8_0000, 1)]);
    assert_eq!(device.lines.cmd_sync, 1);
    format!("{} messages", device.watch.messages.len())
}

fn events(features: Features) -> String {
    let mut device = booted(features);
    device.run(&[Record(sync()).with(field::CS, 0b10).0]);
    format!("{} events", device.lines.events)
}

const REQUEST: PageRequest = PageRequest {
    stream: StreamId(SID),
    substream: None,
    address: VA,
    group: 0,
    read: true,
    write: false,
    execute: false,
    privileged: false,
    last: true,
};

fn with_pri_queue(features: Features, log2_entries: u64) -> Driver<256> {
    let mut device = booted(features);
    device.write64(register::PRIQ_BASE, (RAM_BASE + 0x3_0000) | log2_entries);
    device.write32(register::CR0, ON | value::PRIQEN);
    device
}

fn page_request(features: Features) -> String {
    let outcome = with_pri_queue(features, 3).call(|smmu, env| smmu.page_request(&REQUEST, env));
    let outcome = match outcome {
        PageRequestOutcome::Queued => "Queued",
        PageRequestOutcome::Answered { response: PageResponse::Failure, pasid: false } => "Failure",
        odd => panic!("{odd:?}"),
    };
    format!("{outcome}, {}", run(features, pri_resp(SID, None, 0, 0)))
}

/// How many requests a queue of 16 takes before it overflows.
fn page_requests(features: Features) -> usize {
    let mut device = with_pri_queue(features, 4);
    let sent = (0..20).map(|_| device.call(|smmu, env| smmu.page_request(&REQUEST, env)));
    sent.filter(|outcome| *outcome == PageRequestOutcome::Queued).count()
}

fn automatic_response(features: Features) -> String {
    let mut device = with_pri_queue(features, 0);
    device.install_ste(SID, &ste::stage1(RAM_BASE, VMID));
    let request = PageRequest { substream: Some(SubstreamId(1)), ..REQUEST };
    device.call(|smmu, env| smmu.page_request(&request, env));
    match device.call(|smmu, env| smmu.page_request(&request, env)) {
        PageRequestOutcome::Answered { response: PageResponse::Success, pasid } => format!("PASID {pasid}"),
        odd => panic!("{odd:?}"),
    }
}

/// CMD_TLBI_NH_ALL of the VMID beside, with CR0.VMW = 1.
fn vmid_wildcard(features: Features) -> String {
    let mut machine = Machine::new(features, STRICT, Grain::K4);
    machine.cache_and_unmap(&[VA], 12);
    machine.driver.write32(register::CR0, ON | 1 << 6);
    let vmw = machine.driver.read32(register::CR0ACK) >> 6 & 7;
    machine.run(tlbi_nh_all(VMID ^ 1));
    format!("VMW {vmw}, {}", kept(machine.is_cached(VA)))
}

fn two_level_contexts(features: Features) -> String {
    let mut stages = Stages::new(features, ste::STAGE_1);
    let leaf = stages.driver.heap.allocate(0x1000);
    let first = stages.driver.heap.allocate(64);
    let cd = stages.cd;
    stages.driver.write_record(leaf, &cd.0);
    stages.driver.ram.set_word(first, l1cd(leaf));
    stages.set_ste(|ste| {
        let ste = ste.with(ste::S1CONTEXTPTR, first >> 6).with(ste::S1FMT, 0b01);
        ste.with(ste::S1CDMAX, 8).with(ste::S1DSS, 0b10)
    });
    said(stages.ask(&transaction(SID, None, VA, READ)))
}

/// Stage 1 tables, and stage 2 tables, in either byte order.
fn byte_orders(features: Features) -> String {
    let [little, big] = [0, 1].map(|endi| {
        let turn = |tables: &PageTables, stages: &mut Stages, address: u64| {
            // Every descriptor on the way, the deepest first: none is found behind one that is turned.
            for level in (tables.start..4).rev() {
                let slot = tables.find(&stages.driver.ram, address, level);
                stages.driver.ram.set_word(slot.pa, slot.descriptor.swap_bytes());
            }
        };
        let mut one = Stages::new(features, ste::STAGE_1);
        one.set_cd(|cd| cd.with(cd::ENDI, endi));
        let mut two = Stages::new(features, ste::STAGE_2);
        two.set_ste(|ste| ste.with(ste::S2ENDI, endi));
        if endi == 1 {
            let (first, second) = (one.first.clone(), two.second.clone());
            turn(&first, &mut one, VA);
            turn(&second, &mut two, IPA);
        }
        let first = one.ask(&transaction(SID, None, VA, READ));
        let second = two.ask(&transaction(SID, None, IPA, READ));
        format!("{} {}", said(first), said(second))
    });
    format!("little {little}, big {big}")
}

fn stalls(features: Features) -> String {
    let [s_0, s_1] = [0, 1].map(|s| {
        let mut stages = Stages::new(features, ste::STAGE_1);
        stages.set_cd(|cd| cd.with(cd::S, s));
        let ended =
            stages.driver.call(|smmu, env| smmu.translate(&transaction(SID, None, 0x6000, READ), env));
        match ended {
            Err(ended) if matches!(ended.response, Response::Stalled(_)) => "stalled",
            Err(ended) => ended.event.map_or("abort", |event| event.name()),
            Ok(_) => "translated",
        }
    });
    let [first, second] = [resume(SID, 0, 0, 0), stall_term(SID)].map(|command| run(features, command));
    assert_eq!(first, second);
    format!("S = 0 {s_0}, S = 1 {s_1}, RESUME {first}")
}

/// How many of 40 faults are held.
fn stalled(features: Features) -> usize {
    let mut stages = Stages::new(features, ste::STAGE_1);
    let stalls = u64::from(features.stall_model != StallModel::Terminate);
    stages.set_cd(|cd| cd.with(cd::S, stalls));
    for page in 0..40 {
        let ask = transaction(SID, None, 0x10_0000 + 0x1000 * page, READ);
        assert_eq!(stages.ask(&ask), Err(Some("F_TRANSLATION")));
    }
    stages.driver.smmu.stalled().count()
}

fn without_abort(features: Features) -> String {
    let mut stages = Stages::new(features, ste::STAGE_1);
    stages.set_cd(|cd| cd.with(cd::A, 0));
    match stages.driver.call(|smmu, env| smmu.translate(&transaction(SID, None, 0x6000, READ), env)) {
        Err(ended) => format!("{:?} {}", ended.response, ended.event.map_or("none", |event| event.name())),
        Ok(found) => format!("{found:?}"),
    }
}

/// How wide StreamIDs are: with LOG2SIZE = 32 the table is at 0, where there is no memory; further up are zeros.
fn stream_ids(features: Features) -> String {
    let mut device = device(features);
    device.boot(Boot { strtab_base: 0, strtab_base_cfg: 32, ..Boot::USUAL });
    let valid = |sid: u64, device: &mut Driver<256>| match device.access(sid as u32, 0, READ) {
        Err(Some("F_STE_FETCH" | "C_BAD_STE")) => true,
        Err(Some("C_BAD_STREAMID")) => false,
        odd => panic!("{odd:?}"),
    };
    let width = (0..32).find(|bits| !valid(1 << bits, &mut device)).unwrap_or(32);
    assert!(valid((1 << width) - 1, &mut device));
    format!("{width} bits")
}

#[test]
fn stream_ids_of_every_width() {
    for sidsize in 0..=32 {
        assert_eq!(stream_ids(Features { sidsize, ..V3_2 }), format!("{sidsize} bits"));
    }
}

/// The largest S1CDMax, and SubstreamID 1 of two.
fn substream_ids(features: Features) -> String {
    let mut stages = Stages::new(features, ste::STAGE_1);
    stages.add_substream();
    let second = said(stages.ask(&transaction(SID, Some(1), VA, READ)));
    // A table that is aligned to any size.
    let contexts = stages.driver.heap.allocate(64);
    let cd = stages.cd;
    stages.driver.write_record(contexts, &cd.0);
    let accepted = (1..32).filter(|&max| {
        stages.set_ste(|ste| ste.with(ste::S1CDMAX, max).with(ste::S1CONTEXTPTR, contexts >> 6));
        stages.ask(&transaction(SID, None, VA, READ)) != Err(Some("C_BAD_STE"))
    });
    match accepted.count() {
        31 => format!("S1CDMax is ignored, {second}"),
        largest => format!("S1CDMax up to {largest}, {second}"),
    }
}

/// How many events a queue of 16 takes before it overflows.
fn event_records(features: Features) -> usize {
    let mut device = device(features);
    device.boot(Boot { log2_events: 4, ..Boot::USUAL });
    (0..20)
        .filter(|_| {
            assert_eq!(device.access(0, 0, READ), Err(Some("C_BAD_STE")));
            device.read32(register::EVENTQ_PROD) & value::OVERFLOW == 0
        })
        .count()
}

/// CONS of a queue of 8 that is full; smaller ones look empty.
fn full_command_queue(features: Features) -> u32 {
    let mut device = device(features);
    device.write64(register::CMDQ_BASE, COMMAND_QUEUE | 3);
    for slot in 0..8 {
        device.write_record(COMMAND_QUEUE + 16 * slot, &sync());
    }
    device.write_cr0(value::CMDQEN);
    device.write32(register::CMDQ_PROD, 8);
    device.read32(register::CMDQ_CONS)
}

fn overridden(
    features: Features,
    change: fn(smmuv3_tests::tables::Ste) -> smmuv3_tests::tables::Ste,
) -> String {
    let mut stages = Stages::new(features, ste::BYPASS);
    stages.set_ste(change);
    let found = stages.translate(&transaction(SID, None, VA, READ));
    let found = found.unwrap_or_else(|event| panic!("{event:?}")).attributes;
    let (memory, sh) = (found.memory.mair(), found.sh.sh());
    format!("{memory:#x} {sh} {} {}", found.privileged, found.instruction)
}

/// A read behind table descriptors that forbid it, with CD.HAD0 = 1.
fn hierarchical(features: Features) -> String {
    let mut stages = Stages::new(features, ste::STAGE_1);
    let above = stages.first.find(&stages.driver.ram, VA, 2);
    let forbids = Record([above.descriptor]).with(descriptor::APTABLE, 0b01).0[0];
    stages.driver.ram.set_word(above.pa, forbids);
    stages.set_cd(|cd| cd.with(cd::HAD0, 1));
    said(stages.ask(&transaction(SID, None, VA, READ)))
}

/// A privileged fetch where stage 2 says 01: for unprivileged software alone, or with bit 53 ignored, for all.
fn privileged_fetch(features: Features) -> String {
    let mut stages = Stages::new(features, ste::STAGE_2);
    stages.map_second(IPA, PA, 12, descriptor::S2_RW.with(descriptor::S2XN, 0b01));
    said(stages.ask(&transaction(SID, None, IPA, FETCH)))
}

/// MemAttr 0110 with S2FWB = 1: Write-Back, or outer Non-cacheable and inner Write-Through.
fn force_write_back(features: Features) -> String {
    let mut stages = Stages::new(features, ste::STAGE_2);
    stages.set_ste(|ste| ste.with(ste::S2FWB, 1));
    stages.map_second(IPA, PA, 12, descriptor::S2_RW.with(descriptor::MEMATTR, 0b0110));
    let found = stages.translate(&transaction(SID, None, IPA, READ));
    format!("{:#x}", found.unwrap_or_else(|event| panic!("{event:?}")).attributes.memory.mair())
}

/// Two pages of 4 KiB from 0x5000 on by NUM = 1.
fn range(features: Features) -> String {
    let mut machine = Machine::new(features, STRICT, Grain::K4);
    machine.cache_and_unmap(&[0x5000, 0x6000], 12);
    machine.run(nh_va(0x5000, Hint { num: 1, scale: 0, ttl: 0, tg: 1 }));
    let [first, second] = [0x5000, 0x6000].map(|va| kept(machine.is_cached(va)));
    format!("{first}, {second}")
}

/// A block that became a table while it was cached: either answer is the same, and nothing conflicts.
fn block_to_table(features: Features) -> String {
    let mut machine = Machine::new(features, STRICT, Grain::K4);
    machine.map(0x4000_0000, 0x4000_0000, 21);
    assert_eq!(machine.read(0x4000_5000), Ok(0x4000_5000));
    let tables = machine.tables.clone();
    tables.split(&mut machine.driver.heap, &mut machine.driver.ram, 0x4000_0000);
    assert_eq!(machine.read(0x4000_5000), Ok(0x4000_5000));
    machine.run(nh_va(0x4000_0000, Hint::NONE));
    said(machine.read(0x4000_5000))
}

/// CD.E0PD0, bit 2 of DW1: unprivileged, and privileged.
fn e0pd(features: Features) -> String {
    let mut stages = Stages::new(features, ste::STAGE_1);
    stages.set_cd(|cd| cd.with(smmuv3_tests::bits::bit(1, 2), 1));
    let [user, privileged] = [false, true]
        .map(|privileged| said(stages.ask(&transaction(SID, None, VA, Access { privileged, ..READ }))));
    format!("{user} {privileged}")
}

/// Stage 1 tables in what stage 2 calls Device.
fn device_tables(features: Features) -> String {
    let [allowed, protected] = [0, 1].map(|s2ptw| {
        let mut stages = Stages::new(features, ste::NESTED);
        let root = stages.first.root;
        stages.map_second(0x4000_0000, root, 12, descriptor::S2_RW.with(descriptor::MEMATTR, 0b0001));
        stages.set_cd(|cd| cd.with(cd::TTB0, 0x4000_0000 >> 4));
        stages.set_ste(|ste| ste.with(ste::S2PTW, s2ptw));
        said(stages.ask(&transaction(SID, None, VA, READ)))
    });
    format!("S2PTW = 0 {allowed}, S2PTW = 1 {protected}")
}

/// How wide addresses are that bypass both stages.
fn output_bits(features: Features) -> String {
    let mut stages = Stages::new(features, ste::BYPASS);
    let mut passes = |address: u64| match stages.ask(&transaction(SID, None, address, WRITE)) {
        Ok(pa) => pa == address,
        Err(Some("F_ADDR_SIZE")) => false,
        odd => panic!("{odd:?}"),
    };
    let width = (30..64).find(|bits| !passes(1 << bits)).unwrap_or(64);
    assert!(passes((1 << width) - 1));
    format!("{width} bits")
}

fn granule(features: Features, grain: Grain) -> String {
    let mut machine = Machine::new(features, STRICT, grain);
    machine.map(0x1_0000, 0x2_0000, grain.shift());
    said(machine.read(0x1_0000))
}

/// 52 bits of input with 64 KiB pages.
fn wide_addresses(features: Features) -> String {
    let mut machine = Machine::new(features, STRICT, Grain::K64);
    let Driver { heap, ram, .. } = &mut machine.driver;
    machine.tables = PageTables::stage1(Grain::K64, 12, heap, ram);
    let root = machine.tables.root;
    machine.map(1 << 51, 0x2_0000, 16);
    machine.set_cd(machine.cd.with(cd::T0SZ, 12).with(cd::TTB0, root >> 4));
    said(machine.read(1 << 51))
}

/// How many interfaces of command queues there are, and how far they are apart.
fn last_interface(features: Features) -> String {
    let mut device = device(features);
    let Some(end) = device.smmu.window_bytes().checked_sub(0x3_0000).filter(|bytes| *bytes != 0) else {
        return "none".to_owned();
    };
    let bases: Vec<_> = (0..end)
        .step_by(0x100)
        .filter(|offset| {
            device.write64(0x3_0000 + offset, 0x20);
            device.read64(0x3_0000 + offset) != 0
        })
        .collect();
    let apart = bases.get(1).copied().unwrap_or(end);
    format!("{} of {apart:#x}", bases.len())
}

#[test]
fn presets_cannot_be_written_and_work() {
    let mut device = booted(Features { pri: true, ..PRESET_QUEUES });
    for (offset, expected) in [
        (register::CMDQ_BASE, COMMAND_QUEUE | 6),
        (register::EVENTQ_BASE, EVENT_QUEUE | 5),
        (register::PRIQ_BASE, (RAM_BASE + 0x3_0000) | 3),
    ] {
        device.write_cr0(0);
        device.write64(offset, u64::MAX);
        device.write32(offset, 0);
        assert_eq!(device.read64(offset), expected, "{offset:#x}");
    }
    device.write_cr0(ON | value::PRIQEN);
    assert_eq!(device.access(0, 0, READ), Err(Some("C_BAD_STE")));
    assert_eq!(device.events().len(), 1);
    let outcome = device.call(|smmu, env| smmu.page_request(&REQUEST, env));
    assert_eq!(outcome, PageRequestOutcome::Queued);
    assert_ne!(device.ram.word(RAM_BASE + 0x3_0000), Some(0));
    device.smmu.reset();
    assert_eq!(device.read64(register::CMDQ_BASE), COMMAND_QUEUE | 6, "reset brings them back");

    let mut device = self::device(PRESET_TABLES);
    device.write64(register::STRTAB_BASE, u64::MAX);
    device.write32(register::STRTAB_BASE_CFG, u32::MAX);
    assert_eq!(device.read64(register::STRTAB_BASE), STREAM_TABLE);
    assert_eq!(device.read32(register::STRTAB_BASE_CFG), 8);
}
