//! The body that every fuzzer of this codec runs: proptest in the tests, libFuzzer by hand (tests/fuzz). Not an API: it
//! is compiled with the feature `fuzz` and in tests only.

use crate::codec::properties::fitted;
use crate::codec::{ContentHeader, Frame, FrameKind, Properties, Refusal, frame, method, table};
use bytes::BytesMut;

/// What a connection agrees on when the client leaves it to us.
const FRAME_MAX: usize = 131_072;
/// The room for properties in the smallest frame that may be agreed on.
const PROPERTIES_MIN: usize = 4096 - 20;

/// What must hold for any bytes that a client sends.
pub fn codec(bytes: &[u8]) {
    let whole = frames(bytes, bytes.len().max(1));
    for piece in [1, 7] {
        assert_eq!(frames(bytes, piece), whole, "frames depend on how their bytes arrive");
    }
    for Frame { kind, payload, .. } in whole.0 {
        match kind {
            // That it answers, and does not panic, is all that there is to see.
            FrameKind::Method => drop(method::decode(&payload)),
            FrameKind::Header => {
                if let Ok(header) = ContentHeader::decode(&payload) {
                    properties(&header.properties);
                }
            }
            FrameKind::Body | FrameKind::Heartbeat => {}
        }
    }
    properties(&bytes::Bytes::copy_from_slice(bytes));
}

fn properties(encoded: &bytes::Bytes) {
    let Ok(properties) = Properties::decode(encoded) else { return };
    assert_eq!(properties.encode(), *encoded, "properties are not written as they were read");
    let headers = properties.headers.unwrap_or_default();
    let walked = table::entries(headers).all(|entry| entry.is_ok());
    assert_eq!(walked, table::decode(headers).is_ok(), "walking and decoding check differently");
    if walked {
        let (small, _) = fitted(encoded, PROPERTIES_MIN, |_| true);
        assert!(small.len() <= PROPERTIES_MIN, "fitted properties do not fit");
        assert!(Properties::decode(&small).is_ok(), "fitted properties cannot be read");
    }
}

/// All frames of bytes that arrive in pieces of `piece` bytes, and the fault that ends them.
fn frames(bytes: &[u8], piece: usize) -> (Vec<Frame>, Option<Refusal>) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match frame::decode(&mut buffer, FRAME_MAX) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(fault) => return (frames, Some(fault)),
            }
        }
    }
    (frames, None)
}

#[test]
fn holds_for_the_corpus_and_for_noise() {
    crossdock_fuzz::check("amqp091", codec);
}
