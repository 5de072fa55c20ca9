//! libFuzzer on what AMQP 0-9-1 clients send.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| crossdock_amqp091::fuzz::codec(bytes));
