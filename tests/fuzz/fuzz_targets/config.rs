//! Random bytes as a configuration file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::config::fuzz::fuzz_config(data));
