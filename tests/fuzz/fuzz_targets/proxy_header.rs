//! Random bytes as a header of the PROXY protocol, and as a list of forwarded addresses.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| longwire::address::fuzz_proxy_header(data));
