//! Fuzzes [`smmuv3_fuzz::transcript`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smmuv3_fuzz::transcript::run(data));
