//! Fuzzes [`smmuv3_fuzz::command_queue`].
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| smmuv3_fuzz::command_queue::run(data));
