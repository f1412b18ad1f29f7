//! A device among threads (feature `sync`): no CMD_SYNC completes between a translation and its use.

#![allow(clippy::panic, reason = "a failed test panics")]

use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration;
use std::thread;

use smmuv3::shared::Shared;
use smmuv3::{Env, NoTrace};
use smmuv3_tests::commands::{self, Hint};
use smmuv3_tests::driver::{Driver, register, transaction};
use smmuv3_tests::machine::{Machine, SID, nh_va};
use smmuv3_tests::oracle::Access;

const WAITING: u8 = 0;
const TRANSLATED: u8 = 1;
const USED: u8 = 2;

#[test]
fn e10_an_access_is_over_before_an_invalidation_completes() {
    let mut machine = Machine::usual();
    machine.cache_and_unmap(&[0x5000], 12);
    let mut driver = machine.driver;
    driver.put(nh_va(0x5000, Hint::NONE));
    driver.put(commands::sync());
    let prod = driver.prod();
    let Driver { smmu, ram, lines, .. } = driver;
    let device = Shared::new(smmu);
    let ask = transaction(SID, None, 0x5000, Access::READ);
    let step = AtomicU8::new(WAITING);
    thread::scope(|threads| {
        threads.spawn(|| {
            let (mut ram, mut lines) = (ram.clone(), lines.clone());
            let mut env = Env { memory: &mut ram, interrupts: &mut lines, trace: &mut NoTrace };
            let done = device.access(&ask, &mut env, |found, _| {
                step.store(TRANSLATED, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(50)); // the other thread's turn, if it were let in
                step.store(USED, Ordering::SeqCst);
                found.pa.0
            });
            assert_eq!(done.ok(), Some(0x5000), "before the invalidation");
        });
        while step.load(Ordering::SeqCst) == WAITING {
            thread::yield_now();
        }
        let (mut ram, mut lines) = (ram.clone(), lines.clone());
        let mut env = Env { memory: &mut ram, interrupts: &mut lines, trace: &mut NoTrace };
        assert!(device.write(register::CMDQ_PROD, &prod.to_le_bytes(), &mut env).is_ok());
        assert_eq!(step.load(Ordering::SeqCst), USED, "CMD_SYNC has completed before the access");
        assert!(device.access(&ask, &mut env, |_, _| ()).is_err(), "after the invalidation");
    });
}
