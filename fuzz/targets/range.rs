//! Fuzzes [`smmuv3_fuzz::range`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smmuv3_fuzz::range::run(data));
