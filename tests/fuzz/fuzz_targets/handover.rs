//! Random bytes as what another process hands over.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::handover::fuzz::fuzz_handover(data));
