//! What an embedder sees beside the registers: commands as values and as bytes, names, what is remembered, what is refused.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::arch::features::{ConfigError, Ecmdqs, QueuesPreset, StallModel, TablesPreset, TtEndian};
use smmuv3::shared::Shared;
use smmuv3::{
    Asid, Command, Configuration, Env, EventKind, Features, Granule, Iova, Ipa, Level, NoTrace, Pa, Settings,
    Smmu, StreamId, SubstreamId,
};
use smmuv3_tests::commands::{self, Hint, Leaf};
use smmuv3_tests::driver::{Driver, register, transaction};
use smmuv3_tests::machine::{Machine, SID, nh_va};
use smmuv3_tests::oracle::Access;

const V3_2: Features = Features::SMMUV3_2;

/// Every command: bytes by the guest's own builders, names by §4's headings.
fn every_command() -> [(commands::Command, &'static str); 30] {
    let hint = Hint { num: 30, scale: 18, ttl: 2, tg: 1 };
    let va = 0xffff_8000_0000_3000;
    [
        (commands::prefetch_config(0x1234_5678), "CMD_PREFETCH_CONFIG"),
        (commands::prefetch_addr(7, va), "CMD_PREFETCH_ADDR"),
        (commands::cfgi_ste(7, Leaf::Only), "CMD_CFGI_STE"),
        (commands::cfgi_ste(7, Leaf::AndTables), "CMD_CFGI_STE"),
        (commands::cfgi_ste_range(7, 3), "CMD_CFGI_STE_RANGE"),
        (commands::cfgi_all(), "CMD_CFGI_ALL"),
        (commands::cfgi_cd(7, 0xf_ffff, Leaf::Only), "CMD_CFGI_CD"),
        (commands::cfgi_cd_all(7), "CMD_CFGI_CD_ALL"),
        (commands::tlbi_nh_all(0xaaaa), "CMD_TLBI_NH_ALL"),
        (commands::tlbi_nh_asid(0xaaaa, 0xbbbb), "CMD_TLBI_NH_ASID"),
        (commands::tlbi_nh_va(1, 2, va, Leaf::Only, hint), "CMD_TLBI_NH_VA"),
        (commands::tlbi_nh_va(1, 2, va, Leaf::AndTables, Hint::NONE), "CMD_TLBI_NH_VA"),
        (commands::tlbi_nh_vaa(1, va, Leaf::Only, hint), "CMD_TLBI_NH_VAA"),
        (commands::tlbi_el2_all(), "CMD_TLBI_EL2_ALL"),
        (commands::tlbi_el2_asid(9), "CMD_TLBI_EL2_ASID"),
        (commands::tlbi_el2_va(9, va, Leaf::Only, hint), "CMD_TLBI_EL2_VA"),
        (commands::tlbi_el2_vaa(va, Leaf::Only, hint), "CMD_TLBI_EL2_VAA"),
        (commands::tlbi_s12_vmall(0xaaaa), "CMD_TLBI_S12_VMALL"),
        (commands::tlbi_s2_ipa(3, 0xf_ffff_ffff_f000, Leaf::Only, hint), "CMD_TLBI_S2_IPA"),
        (commands::tlbi_nsnh_all(), "CMD_TLBI_NSNH_ALL"),
        (commands::atc_inv(9, Some(1), 0, 52), "CMD_ATC_INV"),
        (commands::atc_inv(9, None, 0x5000, 0), "CMD_ATC_INV"),
        (commands::pri_resp(9, Some(1), 0x1ff, 0b10), "CMD_PRI_RESP"),
        (commands::pri_resp(9, None, 0, 0b00), "CMD_PRI_RESP"),
        (commands::resume(5, 0xcafe, 1, 0), "CMD_RESUME"),
        (commands::resume(5, 0xcafe, 0, 1), "CMD_RESUME"),
        (commands::stall_term(5), "CMD_STALL_TERM"),
        (commands::sync(), "CMD_SYNC"),
        (commands::sync_with(0b01, 0x8_0000_1004, 0xdead_beef), "CMD_SYNC"),
        (commands::sync_with(0b10, 0, 0), "CMD_SYNC"),
    ]
}

#[test]
fn every_command_is_written_as_it_was_read() {
    for (bytes, name) in every_command() {
        let Ok(command) = Command::decode(bytes, &V3_2) else { panic!("{name} is a command of SMMUv3.2") };
        assert_eq!(command.name(), name);
        assert_eq!(u64::from(command.opcode()), bytes[0] & 0xff, "{name}");
        assert_eq!(command.encode(), bytes, "{name}");
    }
}

/// The numbers of §7.3's headings.
#[test]
fn events_have_their_names_and_numbers() {
    let table = [
        (0x01, "F_UUT"),
        (0x02, "C_BAD_STREAMID"),
        (0x03, "F_STE_FETCH"),
        (0x04, "C_BAD_STE"),
        (0x05, "F_BAD_ATS_TREQ"),
        (0x06, "F_STREAM_DISABLED"),
        (0x07, "F_TRANSL_FORBIDDEN"),
        (0x08, "C_BAD_SUBSTREAMID"),
        (0x09, "F_CD_FETCH"),
        (0x0a, "C_BAD_CD"),
        (0x0b, "F_WALK_EABT"),
        (0x10, "F_TRANSLATION"),
        (0x11, "F_ADDR_SIZE"),
        (0x12, "F_ACCESS"),
        (0x13, "F_PERMISSION"),
        (0x20, "F_TLB_CONFLICT"),
        (0x21, "F_CFG_CONFLICT"),
        (0x24, "E_PAGE_REQUEST"),
        (0x25, "F_VMS_FETCH"),
    ];
    let known: Vec<_> =
        (0..=0xff).filter_map(|n| EventKind::from_number(n).map(|kind| (n, kind.name()))).collect();
    assert_eq!(known, table);
}

#[test]
fn numbers_are_printed_as_the_specification_writes_them() {
    assert_eq!(format!("{} {} {}", Iova(0x1234), Ipa(0), Pa(0xffff_ffff_f000)), "0x1234 0x0 0xfffffffff000");
    assert_eq!(format!("{} {} {}", StreamId(8), SubstreamId(0xf_ffff), Asid(0xff)), "0x8 0xfffff 0xff");
    assert_eq!(Granule::Kib16.bytes(), 16 << 10);
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let good = Settings::new(16, 4);
    let rows = [
        (Settings { iotlb_sets: 3, ..good }, "iotlb_sets: a power of two"),
        (Settings { iotlb_ways: 0, ..good }, "iotlb_ways: at least 1"),
        (Settings { iotlb_sets: 32, ..good }, "iotlb_sets: sets times ways must fit the device's capacity"),
        (Settings { commands_per_write: 0, ..good }, "commands_per_write: at least 1"),
    ];
    for (settings, expected) in rows {
        let refused = Smmu::<64>::new(V3_2, settings).err().map(|error| error.to_string());
        assert_eq!(refused.as_deref(), Some(expected));
    }
    let features = Features { sidsize: 33, ..V3_2 };
    let refused = Configuration::<64>::new(features, good).err().map(|error| error.to_string());
    assert_eq!(refused.as_deref(), Some("IDR1.SIDSIZE: at most 32"));
    let many = Features { ecmdq: Some(Ecmdqs { log2_pages: 9, log2_queues: 0 }), ..Features::SMMUV3_3 };
    assert!(matches!(many.check(), Err(ConfigError::Inconsistent { field: "IDR6", .. })));
}

/// ID register values with one field other than SMMUv3.2's, and what is said about those that are not modelled.
#[test]
fn features_are_read_from_id_registers() {
    let shown = |features: Features| [0, 1, 2, 3, 4, 5].map(|number| features.idr(number));
    let v3_0 = Features::SMMUV3_0;
    let possible = [
        Features { ttendian: TtEndian::Mixed, ..V3_2 },
        Features { ttendian: TtEndian::Big, ..V3_2 },
        Features { stall_model: StallModel::Stall, ..V3_2 },
        Features { oas_bits: 32, ..v3_0 },
        Features { oas_bits: 36, ..v3_0 },
        Features { oas_bits: 42, ..v3_0 },
        Features { tables_preset: Some(TablesPreset::default()), ..V3_2 },
        Features { queues_preset: Some(QueuesPreset::default()), ..V3_2 },
    ];
    for features in possible {
        assert_eq!(Features::from_idr(shown(features), features.iidr, features.aidr()), Ok(features));
    }

    let change = |number: usize, bits: u32| {
        let mut idr = shown(V3_2);
        idr[number] ^= bits;
        Features::from_idr(idr, 0, 2).err().map(|error| error.to_string())
    };
    let impossible = [
        // TTENDIAN 0b10 becomes 0b01, STALL_MODEL 0b00 becomes 0b11, TTF 0b10 becomes 0b01, 0b00, 0b11.
        (0, 0b11 << 21, "IDR0.TTENDIAN: 0b01 is reserved"),
        (0, 0b11 << 24, "IDR0.STALL_MODEL: 0b11 is reserved"),
        (0, 0b11 << 2, "IDR0.TTF (AArch32 tables): not modelled"),
        (0, 0b10 << 2, "IDR0.TTF without AArch64: not modelled"),
        (0, 0b01 << 2, "IDR0.TTF (AArch32 tables): not modelled"),
        (0, 1 << 8, "IDR0.DORMHINT: not modelled"),
        (0, 1 << 30, "IDR0.RME_IMPL: not modelled"),
        (0, 1 << 31, "IDR0: not modelled"),
        (2, 1 << 31, "IDR2: not modelled"),
        (3, 1 << 7, "IDR3: not modelled"),
        (4, 1, "IDR4: not modelled"),
        (5, 1 << 7, "IDR5: not modelled"),
        (5, 0b001, "IDR5.OAS: not modelled"),
    ];
    for (number, bits, expected) in impossible {
        assert_eq!(change(number, bits).as_deref(), Some(expected), "IDR{number} ^ {bits:#x}");
    }
    let newer = Features::from_idr(shown(V3_2), 0, 4).err().map(|error| error.to_string());
    assert_eq!(newer.as_deref(), Some("AIDR: not modelled"));
}

#[test]
fn what_is_remembered_can_be_looked_at() {
    let mut machine = Machine::usual();
    assert!(machine.driver.smmu.iotlb().is_empty());
    let pages = [0x5000, 0x6000, 0x7000];
    machine.cache_and_unmap(&pages, 12);
    let smmu = &machine.driver.smmu;
    let iotlb = smmu.iotlb();
    assert_eq!(iotlb.geometry(), (smmu.settings().iotlb_sets, smmu.settings().iotlb_ways));
    assert_eq!(iotlb.len(), 3);
    let mut seen: Vec<u64> = iotlb.entries().map(|(_, entry)| entry.input).collect();
    seen.sort_unstable();
    assert_eq!(seen, pages);
    let entries = iotlb.entries().filter_map(|(slot, entry)| slot.map(|slot| (slot, entry)));
    for (slot, entry) in entries {
        assert_eq!(iotlb.entry(slot), Some(entry));
        assert_eq!(entry.shape(), (Granule::Kib4, Level::L3));
        assert!(entry.translates(&entry.space, entry.input + 0xfff));
        assert!(!entry.translates(&entry.space, entry.input + 0x1000));
        assert!(iotlb.age(slot) < 10, "used a moment ago");
    }
    let mut levels: Vec<Level> = smmu.walk_cache().entries().map(|table| table.level).collect();
    levels.sort_unstable();
    levels.dedup();
    assert_eq!(levels.last(), Some(&Level::L2), "the table of level 3 is remembered");

    machine.run(nh_va(0x6000, Hint::NONE));
    assert_eq!(machine.driver.smmu.iotlb().len(), 2);
}

/// A shared device does what the device in it does.
#[test]
fn a_shared_device_is_the_device() {
    let mut machine = Machine::usual();
    machine.cache_and_unmap(&[0x5000], 12);
    let mut driver = machine.driver;
    driver.put(nh_va(0x5000, Hint::NONE));
    driver.put(commands::sync());
    let prod = driver.prod();
    let Driver { smmu, mut ram, mut lines, .. } = driver;
    let device = Shared::new(smmu);
    let ask = transaction(SID, None, 0x5000, Access::READ);
    assert!(device.walk(&ask, &ram).is_err(), "the table says that nothing is there");
    let mut env = Env { memory: &mut ram, interrupts: &mut lines, trace: &mut NoTrace };
    assert_eq!(device.access(&ask, &mut env, |found, _| found.pa), Ok(Pa(0x5000)), "the IOTLB has it");
    assert_eq!(device.with(|smmu| smmu.iotlb().len()), 1);
    assert!(device.write(register::CMDQ_PROD, &prod.to_le_bytes(), &mut env).is_ok());
    assert!(!device.pending());
    assert_eq!(device.poll(64, &mut env), 0, "nothing is left to consume");
    assert!(device.next_resumed(&mut env).is_none(), "nothing has stalled");
    assert!(device.into_inner().iotlb().is_empty());
}
