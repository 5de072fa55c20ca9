//! libFuzzer on entries of the journal.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| crossdock_core::fuzz::entry(bytes));
