//! Random bytes as two texts to make a delta of, and as a delta.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::protocol::fuzz::fuzz_deltas(data));
