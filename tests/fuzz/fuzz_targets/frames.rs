//! Random bytes as a peer's frames.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::ws::fuzz::fuzz_frames(data));
