//! Fuzzes [`smmuv3_fuzz::registers`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smmuv3_fuzz::registers::run(data));
