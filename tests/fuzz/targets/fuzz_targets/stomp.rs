//! libFuzzer on what STOMP clients send.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| crossdock_stomp::fuzz::codec(bytes));
