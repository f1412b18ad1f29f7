//! Saving and restoring: a device goes on where it was, whatever was on its way.

#![allow(clippy::panic, clippy::indexing_slicing, reason = "a failed test panics")]

use smmuv3::device::State;
use smmuv3::{Features, PageRequest, Settings, Smmu, StreamId};
use smmuv3_tests::commands::{
    Leaf, atc_inv, prefetch_config, resume, stall_term, sync, tlbi_nsnh_all, tlbi_s12_vmall,
};
use smmuv3_tests::driver::{Driver, Outcome, RAM_BASE, register, transaction, value};
use smmuv3_tests::machine::{SID, VMID};
use smmuv3_tests::oracle::Access;
use smmuv3_tests::stages::{IPA, Stages, VA};
use smmuv3_tests::tables::{cd, descriptor, ste};

const READ: Access = Access::READ;
const WRITE: Access = Access::WRITE;
const ON: u32 = value::CMDQEN | value::EVENTQEN | value::SMMUEN;
const V3_3: Features = Features::SMMUV3_3;

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

/// What a guest and its devices do, step by step, each with something to show for it. What a device holds of them, a restored
/// one goes on with.
const CONVERSATION: &[fn(&mut Stages) -> String] = &[
    |stages| said(stages.ask(&transaction(SID, None, VA, READ))),
    // A queue that has stopped.
    |stages| format!("{:?}", stages.driver.submit(&[prefetch_config(SID), [0xff, 0], tlbi_s12_vmall(VMID)])),
    |stages| format!("{:?}", stages.driver.stopped()),
    |stages| format!("{:?}", stages.driver.recover()),
    // Transactions that wait.
    |stages| {
        stages.set_cd(|cd| cd.with(cd::S, 1));
        said(stages.ask(&transaction(SID, None, 0x6000, READ)))
    },
    |stages| said(stages.ask(&transaction(SID, None, 0x7000, WRITE))),
    |stages| format!("{:x?}", stages.driver.events()),
    |stages| {
        stages.map_first(0x6000, IPA, 12, descriptor::S1_RW);
        stages.driver.run(&[resume(SID, 1, 1, 0)]);
        "resumed".to_owned()
    },
    |stages| format!("{:x?}", stages.driver.call(|smmu, env| smmu.next_resumed(env))),
    |stages| {
        stages.driver.run(&[stall_term(SID)]);
        format!("{:x?}", stages.driver.call(|smmu, env| smmu.next_resumed(env)))
    },
    // An ATC that does not answer, and the SYNC that comes later.
    |stages| {
        stages.driver.watch.atc_is_silent = true;
        stages.driver.put(atc_inv(SID, None, 0, 52));
        format!("{:?}", stages.driver.ring())
    },
    |stages| format!("{:?}", stages.driver.submit(&[])),
    |stages| {
        stages.driver.write32(register::GERRORN, stages.driver.read32(register::GERROR));
        format!("{:?}", stages.driver.stopped())
    },
    // The same for an enhanced command queue, and an error of its own.
    |stages| {
        let at = 0x3_0000;
        stages.driver.write64(at, (RAM_BASE + 0x4_0000) | 3);
        stages.driver.write_record(RAM_BASE + 0x4_0000, &atc_inv(SID, None, 0, 52));
        stages.driver.write32(at + 8, 1 << 31 | 1);
        format!("{:#x}", stages.driver.read64(at + 8))
    },
    |stages| {
        let at = 0x3_0000;
        stages.driver.write_record(RAM_BASE + 0x4_0010, &sync());
        stages.driver.write32(at + 8, 1 << 31 | 2);
        format!("{:#x}", stages.driver.read64(at + 8))
    },
    |stages| {
        stages.driver.write32(0x3_0008, 1 << 31 | 1 << 23 | 2);
        format!("{:#x}", stages.driver.read64(0x3_0008))
    },
    // An overflow of page requests.
    |stages| {
        stages.driver.write64(register::PRIQ_BASE, (RAM_BASE + 0x3_0000) | 1 << 62);
        stages.driver.write_cr0(ON | value::PRIQEN);
        let outcomes = [(); 2].map(|()| stages.driver.call(|smmu, env| smmu.page_request(&REQUEST, env)));
        format!("{outcomes:?}")
    },
    |stages| {
        stages.driver.write32(register::PRIQ_CONS, 1);
        format!("{:?}", stages.driver.call(|smmu, env| smmu.page_request(&REQUEST, env)))
    },
    // An answer that is read later.
    |stages| {
        stages.driver.write64(register::GATOS_SID, SID.into());
        stages.driver.write64(register::GATOS_ADDR, VA | 3 << 10 | 1 << 8);
        String::new()
    },
    |stages| {
        stages.driver.write32(register::GATOS_CTRL, 1);
        String::new()
    },
    |stages| format!("{:#x}", stages.driver.read64(register::GATOS_PAR)),
    |stages| {
        let commands = [smmuv3_tests::commands::cfgi_ste(SID, Leaf::Only), tlbi_nsnh_all()];
        stages.driver.run(&commands);
        said(stages.ask(&transaction(SID, None, VA, WRITE)))
    },
];

#[test]
fn a_restored_device_goes_on_with_the_conversation() {
    let mut all = Stages::new(V3_3, ste::NESTED);
    let spoken: Vec<_> = CONVERSATION.iter().map(|step| step(&mut all)).collect();
    // Restored once, at each place; and at every place.
    for restored_before in 0..=CONVERSATION.len() {
        let mut stages = Stages::new(V3_3, ste::NESTED);
        for (number, step) in CONVERSATION.iter().enumerate() {
            if number == restored_before || restored_before == CONVERSATION.len() {
                restore(&mut stages);
            }
            assert_eq!(step(&mut stages), spoken[number], "step {number}, restored before {restored_before}");
        }
        assert_eq!(stages.driver.lines, all.driver.lines);
        assert_eq!(stages.driver.smmu.registers(), all.driver.smmu.registers());
        assert_eq!(stages.driver.watch.invalidations, all.driver.watch.invalidations);
    }
}

/// A state that was tampered with restores no more than the device has, or is refused.
#[test]
fn what_is_restored_is_checked() {
    let device = Driver::<256>::new(Features::MINIMAL, Settings::new(64, 4), 4);
    let saved = serde_json::to_string(&device.smmu.state()).unwrap_or_else(|error| panic!("{error}"));
    let restore = |saved: &str| {
        let state: State = serde_json::from_str(saved).map_err(|error| error.to_string())?;
        Smmu::<16>::from_state(&state, Settings::new(4, 4)).map_err(|error| error.to_string())
    };
    assert!(restore(&saved).is_ok());
    let registers = saved.find("\"registers\":[").map(|at| at + 13).expect("registers are a list");
    let all_ones = saved[registers..].split(']').next().expect("a list ends");
    let ones: Vec<_> = all_ones.split(',').map(|_| u64::MAX.to_string()).collect();
    let restored = restore(&saved.replace(all_ones, &ones.join(","))).expect("registers are masked");
    let mut cr0 = [0; 4];
    restored.read(0x20, &mut cr0).expect("CR0");
    assert_eq!(u32::from_le_bytes(cr0), 0b1101, "SMMUEN, EVENTQEN, CMDQEN");
    let mut idr0 = [0; 4];
    restored.read(0, &mut idr0).expect("IDR0");
    assert_eq!(u32::from_le_bytes(idr0), Features::MINIMAL.idr(0), "constants stay");
    for (what, broken) in [
        ("another layout", saved.replace("\"version\":1", "\"version\":2")),
        ("inconsistent features", saved.replace("\"s1p\":true", "\"s1p\":false")),
        ("too few registers", saved.replace(all_ones, "0,0")),
    ] {
        assert_ne!(broken, saved, "{what}");
        assert!(restore(&broken).is_err(), "{what}");
    }
}

/// The device becomes another one with the state of the first, and other caches.
fn restore(stages: &mut Stages) {
    let saved = serde_json::to_string(&stages.driver.smmu.state()).unwrap_or_else(|error| panic!("{error}"));
    let state: State = serde_json::from_str(&saved).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(state, stages.driver.smmu.state());
    assert_eq!(state.features(), &V3_3);
    let settings = Settings::new(4, 2);
    stages.driver.smmu = Smmu::from_state(&state, settings).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(stages.driver.smmu.state(), state);
}

fn said(found: Outcome) -> String {
    match found {
        Ok(pa) => format!("{pa:#x}"),
        Err(event) => event.unwrap_or("abort").to_owned(),
    }
}
