//! Random bytes as a request or response head.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::ws::fuzz::fuzz_handshake(data));
