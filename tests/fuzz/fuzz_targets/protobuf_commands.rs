//! Random bytes as a client's frame in Protobuf.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::protocol::fuzz::fuzz_protobuf_commands(data));
