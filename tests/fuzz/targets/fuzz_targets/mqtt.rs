//! libFuzzer on what MQTT clients send.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| crossdock_mqtt::fuzz::codec(bytes));
