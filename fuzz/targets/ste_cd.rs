//! Fuzzes [`smmuv3_fuzz::ste_cd`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smmuv3_fuzz::ste_cd::run(data));
