//! What translation completions grant, what page requests are answered, and the hints that accesses leave with (§3.9.1,
//! §8.1, §13).

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::{
    AtsGrant, Features, MemoryType, PageRequest, PageRequestOutcome, PageResponse, Shareability, StreamId,
    SubstreamId, Transaction,
};
use smmuv3_tests::bits::Words;
use smmuv3_tests::driver::{Boot, RAM_BASE, register, transaction, value};
use smmuv3_tests::machine::SID;
use smmuv3_tests::oracle::Access;
use smmuv3_tests::stages::{IPA, PA, Stages, VA};
use smmuv3_tests::tables::{cd, descriptor, ste};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;
const FETCH: Access = Access { write: false, instruction: true, privileged: false };
const ON: u32 = value::CMDQEN | value::EVENTQEN | value::SMMUEN;
const NOWHERE: u64 = 0x4000_0000;

fn split() -> Stages {
    let mut stages = Stages::usual(ste::NESTED);
    stages.driver.write_cr0(ON | value::ATSCHK);
    stages.set_ste(|ste| ste.with(ste::EATS, 0b10));
    stages
}

fn may(config: u64) -> Stages {
    let mut stages = Stages::usual(config);
    stages.set_ste(|ste| ste.with(ste::EATS, 0b01));
    stages
}

fn request(stages: &mut Stages, ask: &Transaction) -> (Option<u64>, bool, bool, bool) {
    let found = stages.driver.call(|smmu, env| smmu.translation_request(ask, env));
    let Ok(AtsGrant { address, read, write, execute, .. }) = found else { panic!("{found:?}") };
    (address, read, write, execute)
}

/// §13.6.3: permissions are those of both stages, though the address is stage 1's.
#[test]
fn split_stage_requests_are_granted_what_both_stages_allow() {
    let rows = [
        (0b11, (Some(IPA), true, true, false)),
        (0b01, (Some(IPA), true, false, false)),
        (0b00, (None, false, false, false)),
    ];
    for (s2ap, expected) in rows {
        let mut stages = split();
        stages.map_second(IPA, PA, 12, descriptor::S2_RW.with(descriptor::S2AP, s2ap));
        assert_eq!(request(&mut stages, &transaction(SID, None, VA, WRITE)), expected, "S2AP {s2ap:02b}");
    }
    let mut stages = split();
    stages.map_first(0x6000, NOWHERE, 12, descriptor::S1_RW);
    let found = request(&mut stages, &transaction(SID, None, 0x6000, WRITE));
    assert_eq!(found, (None, false, false, false), "stage 2 F_TRANSLATION");
}

#[test]
fn split_stage_requests_span_the_smaller_leaf() {
    let mut stages = split();
    stages.map_first(0x4020_0000, 0x4060_0000, 21, descriptor::S1_RW);
    stages.map_second(0x4060_0000, 0x1_0000, 12, descriptor::S2_RW);
    let found = stages
        .driver
        .call(|smmu, env| smmu.translation_request(&transaction(SID, None, 0x4020_0000, READ), env));
    assert_eq!(found.map(|grant| grant.span), Ok(0x1000));
}

/// §13.6.5: the identity, with what stage 2 allows.
#[test]
fn split_stage_requests_that_skip_stage_1() {
    for (s2ap, expected) in [
        (0b11, (Some(IPA), true, true, false)),
        (0b01, (Some(IPA), true, false, false)),
        (0b00, (None, false, false, false)),
    ] {
        let mut stages = split();
        stages.add_substream();
        stages.set_ste(|ste| ste.with(ste::S1DSS, 0b01));
        stages.map_second(IPA, PA, 12, descriptor::S2_RW.with(descriptor::S2AP, s2ap));
        assert_eq!(request(&mut stages, &transaction(SID, None, IPA, WRITE)), expected, "S2AP {s2ap:02b}");
    }
}

/// §13.7.1: Exe is granted where the page is readable as well; INSTCFG decides what reading is.
#[test]
fn exe_needs_read() {
    let x = descriptor::S1_RW.with(descriptor::UXN, 0);
    let (xo, rx, ro) = (
        x.with(descriptor::AP, 0b00),
        x.with(descriptor::AP, 0b11),
        descriptor::S1_RW.with(descriptor::AP, 0b11),
    );
    let rows = [
        ("XO", xo, 0b00, FETCH, (None, false, false, false)),
        ("RX", rx, 0b00, FETCH, (Some(IPA), true, false, true)),
        ("XO, INSTCFG = INST", xo, 0b11, FETCH, (Some(IPA), true, false, true)),
        ("XO, INSTCFG = INST, Exe = 0", xo, 0b11, READ, (Some(IPA), true, false, false)),
        ("RO, INSTCFG = INST", ro, 0b11, FETCH, (None, false, false, false)),
        ("RO, INSTCFG = DATA", ro, 0b10, FETCH, (Some(IPA), true, false, true)),
        ("RX, INSTCFG = INST, Exe = 0", rx, 0b11, READ, (Some(IPA), true, false, false)),
    ];
    let mut wrong = Vec::new();
    for (name, leaf, instcfg, access, expected) in rows {
        let mut stages = may(ste::STAGE_1);
        stages.map_first(VA, IPA, 12, leaf);
        stages.add_substream();
        stages.set_ste(|ste| ste.with(ste::INSTCFG, instcfg));
        let found = request(&mut stages, &transaction(SID, Some(1), VA, access));
        if found != expected {
            wrong.push((name, found));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// §13.7: without a PASID there is neither Exe nor Priv.
#[test]
fn exe_and_priv_need_a_pasid() {
    let mut stages = may(ste::STAGE_1);
    let page = descriptor::S1_RW.with(descriptor::UXN, 0).with(descriptor::AP, 0b11);
    stages.map_first(VA, IPA, 12, page);
    let found = request(&mut stages, &transaction(SID, None, VA, FETCH));
    assert_eq!(found, (Some(IPA), true, false, false), "Exe");
    let mut stages = may(ste::STAGE_1);
    stages.map_first(VA, IPA, 12, descriptor::S1_RW.with(descriptor::AP, 0b00));
    let found = request(&mut stages, &transaction(SID, None, VA, Access { privileged: true, ..WRITE }));
    assert_eq!(found, (None, false, false, false), "Priv");
}

/// §3.9.1.2: R = W = 0 says the size of an STU, the smallest granule.
#[test]
fn nothing_granted_spans_an_stu() {
    let mut stages = may(ste::STAGE_1);
    let found =
        stages.driver.call(|smmu, env| smmu.translation_request(&transaction(SID, None, 0x6000, READ), env));
    assert_eq!(found.map(|grant| grant.span), Ok(0x1000));
}

/// §3.9.1.2: where stage 1 grants nothing, its output is not translated.
#[test]
fn stage_2_is_not_asked_where_stage_1_grants_nothing() {
    let mut stages = may(ste::NESTED);
    stages.map_first(0x6000, NOWHERE, 12, descriptor::S1_RW.with(descriptor::AP, 0b00));
    stages.map_second(NOWHERE, 0x9000, 12, descriptor::S2_RW);
    let above = stages.second.find(&stages.driver.ram, NOWHERE, 2);
    stages.driver.ram.set_word(above.pa, 0x2_0000 | 0b11); // its walk would abort: CA
    let found = request(&mut stages, &transaction(SID, None, 0x6000, WRITE));
    assert_eq!(found, (None, false, false, false));
}

/// §3.9.1.3: with ATSCHK and REC_CFG_ATS, configuration errors of translated traffic are recorded.
#[test]
fn configuration_errors_of_translated_traffic_are_recorded_with_rec_cfg_ats() {
    let mut stages = Stages::new(Features { atsrecerr: true, ..Features::SMMUV3_2 }, ste::STAGE_1);
    stages.driver.boot(Boot { cr2: value::REC_CFG_ATS, ..Boot::USUAL });
    stages.driver.write_cr0(ON | value::ATSCHK);
    for (sid, record) in [(8, [0x0000_0008_0000_0004, 0, 0, 0]), (0x1234, [0x0000_1234_0000_0002, 0, 0, 0])] {
        let ask = transaction(sid, None, VA, READ);
        assert!(stages.driver.call(|smmu, env| smmu.translated(&ask, env)).is_err());
        assert_eq!(stages.driver.events(), [record], "{sid:#x}; RECINVSID does not count");
    }
}

fn pri(features: Features, cr2: u32) -> Stages {
    let mut stages = Stages::new(features, ste::STAGE_1);
    stages.driver.boot(Boot { cr2, ..Boot::USUAL });
    stages.driver.write64(register::PRIQ_BASE, RAM_BASE + 0x3_0000);
    stages.driver.write_cr0(ON | value::PRIQEN);
    stages
}

const REQUEST: PageRequest = PageRequest {
    stream: StreamId(SID),
    substream: Some(SubstreamId(1)),
    address: VA,
    group: 0,
    read: true,
    write: false,
    execute: false,
    privileged: false,
    last: true,
};

/// §8.1: PPAR counts wherever the STE is valid, whatever its Config.
#[test]
fn ppar_of_streams_that_are_not_translated() {
    for config in [0b000, ste::BYPASS, ste::STAGE_2] {
        for (ppar, pasid) in [(0, false), (1, true)] {
            let mut stages = pri(Features::SMMUV3_2, 0);
            stages.set_ste(|ste| ste.with(ste::CONFIG, config).with(ste::PPAR, ppar));
            stages.driver.call(|smmu, env| smmu.page_request(&REQUEST, env));
            let outcome = stages.driver.call(|smmu, env| smmu.page_request(&REQUEST, env));
            let expected = PageRequestOutcome::Answered { response: PageResponse::Success, pasid };
            assert_eq!(outcome, expected, "Config = {config:03b}, PPAR = {ppar}");
        }
    }
}

/// §8.1: with REC_CFG_ATS, errors of the look-up of PPAR are recorded.
#[test]
fn errors_of_the_look_up_of_ppar_are_recorded_with_rec_cfg_ats() {
    let mut stages = pri(Features { atsrecerr: true, ..Features::SMMUV3_2 }, value::REC_CFG_ATS);
    stages.set_ste(|ste| ste.with(ste::V, 0));
    stages.driver.call(|smmu, env| smmu.page_request(&REQUEST, env));
    stages.driver.call(|smmu, env| smmu.page_request(&REQUEST, env));
    let events = stages.driver.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0], [0x0000_0007_0000_1804, 0, 0, 0], "C_BAD_STE of substream 1");
}

fn incoming(mair: u8, sh: u8, address: u64) -> Transaction {
    Transaction {
        memory: MemoryType::from_mair(mair),
        sh: Shareability::from_sh(sh),
        ..transaction(SID, None, address, READ)
    }
}

fn memory(stages: &mut Stages, ask: &Transaction) -> (u8, u8) {
    let found = stages.translate(ask).unwrap_or_else(|event| panic!("{event:?}")).attributes;
    (found.memory.mair(), found.sh.sh())
}

/// §13.4.2: allocation hints of a cacheable input are combined with stage 1's.
#[test]
fn hints_that_come_in_are_combined_with_stage_1() {
    for (mair, from, expected) in [
        (0xff, 0xee, 0xee),
        (0xff, 0xdd, 0xdd),
        (0xee, 0xff, 0xee),
        (0xee, 0xdd, 0xcc),
        (0xff, 0x77, 0x77),
        (0xbb, 0xee, 0xaa),
        (0xff, 0x44, 0xff), // no hints come in
        (0xff, 0x00, 0xff),
    ] {
        let mut stages = Stages::usual(ste::STAGE_1);
        stages.set_cd(|cd| cd.with(cd::MAIR, mair));
        assert_eq!(memory(&mut stages, &incoming(from, 3, VA)).0, expected, "{from:#x} into {mair:#x}");
    }
}

/// §13.1.4: MTCFG replaces the type; hints that came in stay.
#[test]
fn hints_that_come_in_survive_mtcfg() {
    let mut stages = Stages::usual(ste::BYPASS);
    stages.set_ste(|ste| ste.with(ste::MTCFG, 1).with(ste::MEMATTR, 0b1111));
    assert_eq!(memory(&mut stages, &incoming(0xee, 3, VA)), (0xee, 3));
    assert_eq!(memory(&mut stages, &incoming(0xaa, 3, VA)), (0xee, 3), "Write-Through to Write-Back");
}
