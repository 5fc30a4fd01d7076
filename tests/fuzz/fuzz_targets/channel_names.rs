//! Random text as the name of a channel, and of a user.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::protocol::fuzz::fuzz_channel_names(data));
