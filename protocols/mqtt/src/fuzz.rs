//! The body that every fuzzer of this codec runs: proptest in the tests, libFuzzer by hand (tests/fuzz). Not an API: it
//! is compiled with the feature `fuzz` and in tests only.

use crate::codec::{Fault, Frame, Packet, Version, cut, decode, decode_connect};
use bytes::BytesMut;

/// Bytes of one packet at most.
const PACKET_MAX: usize = 1 << 20;

/// What must hold for any bytes that a client sends. The first byte chooses the version, the rest is the stream.
pub fn codec(bytes: &[u8]) {
    let Some((first, stream)) = bytes.split_first() else { return };
    let version = if first & 1 == 0 { Version::V311 } else { Version::V5 };
    let whole = frames(stream, stream.len().max(1), version);
    for piece in [1, 7] {
        assert_eq!(frames(stream, piece, version), whole, "packets depend on how bytes arrive");
    }
    for frame in whole.0 {
        let length = frame.body.len();
        if let Ok(connect) = decode_connect(frame.clone()) {
            assert!(connect.client_id.as_str().len() <= length);
        }
        if let Ok(Packet::Publish(publish)) = decode(frame, version) {
            assert!(publish.topic.bytes().len() + publish.payload.len() <= length);
        }
    }
}

/// All packets of bytes that arrive in pieces of `piece` bytes, and the fault that ends them.
fn frames(bytes: &[u8], piece: usize, version: Version) -> (Vec<Frame>, Option<Fault>) {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match cut(&mut buffer, PACKET_MAX, version.is_5()) {
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
    crossdock_fuzz::check("mqtt", codec);
}
