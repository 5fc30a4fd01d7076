//! Random bytes as the session of a client of another process.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::session::fuzz::fuzz_handed_session(data));
