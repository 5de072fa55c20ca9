//! The body that every fuzzer of this codec runs: proptest in the tests, libFuzzer by hand (tests/fuzz). Not an API: it
//! is compiled with the feature `fuzz` and in tests only.

use crate::codec::{Command, Decoder, Frame, Limits, Version, Writer};
use bytes::BytesMut;

/// A frame as text: command, headers, body.
type Said = (Command, Vec<(String, String)>, Vec<u8>);

/// What must hold for any bytes that a client sends. The first byte chooses the version, the rest is the stream.
pub fn codec(bytes: &[u8]) {
    let Some((first, stream)) = bytes.split_first() else { return };
    let chosen = usize::from(*first) % Version::ALL.len();
    let version = Version::ALL.get(chosen).copied().unwrap_or(Version::V12);
    let whole = frames(stream, stream.len().max(1), version);
    for piece in [1, 7] {
        assert_eq!(frames(stream, piece, version), whole, "frames depend on how bytes arrive");
    }
    whole.0.iter().for_each(comes_back);
    // A stranger's bytes, before a version is known.
    drop(Decoder::new(Limits::BEFORE_LOGIN).decode(&mut BytesMut::from(stream)));
}

/// What was read can be written, and is read again as the same.
fn comes_back((command, headers, body): &Said) {
    if command.is_connect() {
        return;
    }
    let mut out = BytesMut::new();
    let mut writer = Writer::begin(&mut out, *command, Version::V12.rules());
    let mut written = Vec::new();
    for (name, value) in headers.iter().filter(|(name, _)| name != "content-length") {
        if writer.header(name, value) {
            written.push((name.clone(), value.clone()));
        }
    }
    // STOMP 1.0 lets every frame have a body, later versions let three.
    let body = if command.may_have_body() { &body[..] } else { &[] };
    match command.may_have_body() {
        true => writer.body(body),
        false => writer.end(),
    }
    let (again, has_fault) = frames(&out, out.len(), Version::V12);
    assert_eq!((again.len(), has_fault), (1, false), "what was written is not one frame");
    for (command_again, mut headers, body_again) in again {
        headers.retain(|(name, _)| name != "content-length");
        assert_eq!((&command_again, &headers, &body_again[..]), (command, &written, body));
    }
}

/// All frames of bytes that arrive in pieces of `piece` bytes, and whether a fault ends them. Which fault it is may
/// depend on the pieces: an unknown command is shown as far as it has arrived.
fn frames(bytes: &[u8], piece: usize, version: Version) -> (Vec<Said>, bool) {
    let (mut decoder, mut buffer, mut frames) =
        (Decoder::new(Limits::BEFORE_LOGIN), BytesMut::new(), Vec::new());
    decoder.settle(version, Limits::AFTER_LOGIN);
    for piece in bytes.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(said(&frame)),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

fn said(frame: &Frame) -> Said {
    let headers = frame.headers.iter();
    let headers = headers.map(|h| (h.name().into_owned(), h.value().into_owned())).collect();
    (frame.command, headers, frame.body.to_vec())
}

#[test]
fn holds_for_the_corpus_and_for_noise() {
    crossdock_fuzz::check("stomp", codec);
}
