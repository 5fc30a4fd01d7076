//! Random bytes as a client's frame in JSON.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::protocol::fuzz::fuzz_json_commands(data));
