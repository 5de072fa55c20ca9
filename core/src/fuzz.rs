//! The body that every fuzzer of the journal's entries runs: proptest in the tests, libFuzzer by hand (tests/fuzz). Not
//! an API: it is compiled with the feature `fuzz` and in tests only.

use crate::broker::operations::ops;
use bytes::Bytes;

/// What must hold for any bytes that a disk may hold: reading answers, and reads no more operations than bytes.
pub fn entry(bytes: &[u8]) {
    let mut operations = 0;
    let mut broken = false;
    for operation in ops::read(Bytes::copy_from_slice(bytes)) {
        assert!(!broken, "reading goes on behind an operation that cannot be read");
        broken = operation.is_none();
        operations += 1;
    }
    assert!(operations <= bytes.len());
}

#[test]
fn holds_for_the_corpus_and_for_noise() {
    crossdock_fuzz::check("journal", entry);
}
