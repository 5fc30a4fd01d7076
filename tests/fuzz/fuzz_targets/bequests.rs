//! Random bytes as what the control thread of another process leaves.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::handover::fuzz::fuzz_bequest(data));
