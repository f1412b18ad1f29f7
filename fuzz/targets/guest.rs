//! Fuzzes [`smmuv3_fuzz::guest`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smmuv3_fuzz::guest::run(data));
