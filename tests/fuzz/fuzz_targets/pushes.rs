//! Random bytes as a message of pushes, in either format.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::protocol::fuzz::fuzz_pushes(data));
