//! Fuzzes [`smmuv3_fuzz::empty`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smmuv3_fuzz::empty::run(data));
