//! Cut anywhere, limits, versions, content-length, and another parser as the oracle for what it parses.

use super::*;
use proptest::prelude::*;
use stomp_parser::client::ClientFrame;
use stomp_parser::headers::HeaderValue;

fn decoder(version: Version) -> Decoder {
    let mut decoder = Decoder::new(Limits::BEFORE_LOGIN);
    decoder.settle(version, Limits::AFTER_LOGIN);
    decoder
}

fn all(version: Version, bytes: &[u8]) -> Result<Vec<Frame>, Fault> {
    let (mut decoder, mut input) = (decoder(version), BytesMut::from(bytes));
    let mut frames = Vec::new();
    while let Some(frame) = decoder.decode(&mut input)? {
        frames.push(frame);
    }
    Ok(frames)
}

fn one(version: Version, bytes: &[u8]) -> Frame {
    let mut frames = all(version, bytes).unwrap();
    assert_eq!(frames.len(), 1);
    frames.remove(0)
}

fn fault(version: Version, bytes: &[u8]) -> Fault {
    match all(version, bytes) {
        Err(fault) => fault,
        Ok(frames) => panic!("{} frames out of {bytes:?}", frames.len()),
    }
}

fn said(frame: &Frame) -> (Command, Vec<(String, String)>, Vec<u8>) {
    let headers = frame.headers.iter();
    let headers = headers.map(|h| (h.name().into_owned(), h.value().into_owned())).collect();
    (frame.command, headers, frame.body.to_vec())
}

const STREAM: &[u8] =
    b"\n\r\nSEND\r\ndestination:/queue/a\r\ncontent-length:5\r\n\r\na\0b\nc\0\n\n\
    SUBSCRIBE\nid:0\ndestination:/queue/a\n\n\0\
    SEND\ndestination:/topic/x\nk\\cey:va\\nlue\n\nbody\0\r\n\
    DISCONNECT\nreceipt:bye\n\n\0\n";

#[test]
fn cut_at_every_byte() {
    let whole: Vec<_> = all(Version::V12, STREAM).unwrap().iter().map(said).collect();
    assert_eq!(whole.len(), 4);
    assert_eq!(whole[0].2, b"a\0b\nc");
    assert_eq!(whole[2].1[1], ("k:ey".into(), "va\nlue".into()));
    for cut in 0..=STREAM.len() {
        let (mut decoder, mut input) = (decoder(Version::V12), BytesMut::new());
        let mut frames = Vec::new();
        for piece in [&STREAM[..cut], &STREAM[cut..]] {
            input.extend_from_slice(piece);
            while let Some(frame) = decoder.decode(&mut input).unwrap() {
                frames.push(said(&frame));
            }
        }
        assert_eq!(frames, whole, "cut at {cut}");
    }
}

#[test]
fn byte_by_byte() {
    let whole: Vec<_> = all(Version::V12, STREAM).unwrap().iter().map(said).collect();
    let (mut decoder, mut input) = (decoder(Version::V12), BytesMut::new());
    let mut frames = Vec::new();
    for byte in STREAM {
        input.extend_from_slice(&[*byte]);
        while let Some(frame) = decoder.decode(&mut input).unwrap() {
            frames.push(said(&frame));
        }
    }
    assert_eq!(frames, whole);
}

#[test]
fn frames_are_slices_of_the_input() {
    let frame = one(Version::V12, b"SEND\ndestination:/queue/a\n\nhello\0");
    assert_eq!(&frame.headers.block()[..], b"destination:/queue/a\n");
    let (head, body) = (frame.headers.block().as_ptr(), frame.body.as_ptr());
    assert_eq!(body as usize - head as usize, frame.headers.block().len() + 1);
}

#[test]
fn content_length_decides_where_a_body_ends() {
    let body = |bytes: &[u8]| one(Version::V12, bytes).body.to_vec();
    assert_eq!(body(b"SEND\ncontent-length:3\n\n\0\0\0\0"), b"\0\0\0");
    assert_eq!(body(b"SEND\ncontent-length:0\n\n\0"), b"");
    assert_eq!(body(b"SEND\ncontent-length: 2 \n\nab\0"), b"ab");
    assert_eq!(body(b"SEND\ncontent-length:2\ncontent-length:9\n\nab\0"), b"ab");
    assert_eq!(body(b"SEND\n\nab\0"), b"ab");
    assert_eq!(fault(Version::V12, b"SEND\ncontent-length:1\n\nab\0"), Fault::NoNul);
    for bad in ["", "-1", "1x", "0x10", "99999999999999999999999"] {
        let bytes = format!("SEND\ncontent-length:{bad}\n\n\0");
        assert_eq!(fault(Version::V12, bytes.as_bytes()), Fault::BadContentLength, "{bad}");
    }
    let short = all(Version::V12, b"SEND\ncontent-length:5\n\nab\0").unwrap();
    assert!(short.is_empty(), "a body that has not arrived is waited for");
}

#[test]
fn limits_hold_before_the_bytes_arrive() {
    let limits = Limits { headers: 3, head_bytes: 64, body_bytes: 10 };
    let read = |bytes: &[u8]| {
        let mut decoder = Decoder::new(Limits::BEFORE_LOGIN);
        decoder.settle(Version::V12, limits);
        let mut input = BytesMut::from(bytes);
        decoder.decode(&mut input).map(|frame| frame.is_some())
    };
    assert_eq!(read(b"SEND\na:1\nb:2\nc:3\n\n\0"), Ok(true));
    assert_eq!(read(b"SEND\na:1\nb:2\nc:3\nd:4\n\n\0"), Err(Fault::TooManyHeaders(3)));
    assert_eq!(read(b"SEND\ncontent-length:10737418240\n\n"), Err(Fault::BodyTooLong(10)));
    assert_eq!(read(b"SEND\ncontent-length:11\n\n"), Err(Fault::BodyTooLong(10)));
    assert_eq!(read(b"SEND\n\n12345678901"), Err(Fault::BodyTooLong(10)));
    assert_eq!(read(b"SEND\n\n1234567890\0"), Ok(true));
    let long = [&b"SEND\na:"[..], &[b'x'; 100]].concat();
    assert_eq!(read(&long), Err(Fault::HeadersTooLong(64)), "without a line feed");
    let long = [&b"SEND\na:"[..], &[b'x'; 100], b"\n\n\0"].concat();
    assert_eq!(read(&long), Err(Fault::HeadersTooLong(64)));
}

#[test]
fn nul_ends_a_header_block_too_early() {
    assert_eq!(fault(Version::V12, b"SEND\na:b\0"), Fault::NulInHeaders);
    assert_eq!(fault(Version::V12, b"SEND\na:b\0c\n\n\0"), Fault::NulInHeaders);
}

#[test]
fn unknown_commands_are_refused_at_once() {
    for bytes in [&b"send\n\n\0"[..], b"HELLO\n\n\0", b"GET / HTTP/1.1\r\n", b"\x10\x0e\0\x04MQTT"]
    {
        assert!(matches!(fault(Version::V12, bytes), Fault::UnknownCommand(_)), "{bytes:?}");
    }
    let endless = [b'A'; 64];
    assert!(matches!(fault(Version::V12, &endless), Fault::UnknownCommand(_)));
    assert!(all(Version::V12, b"SUBSCR").unwrap().is_empty());
}

#[test]
fn only_some_frames_have_a_body() {
    let bytes = b"ACK\nid:1\n\nbody\0";
    assert_eq!(fault(Version::V12, bytes), Fault::UnexpectedBody("ACK"));
    assert_eq!(fault(Version::V11, bytes), Fault::UnexpectedBody("ACK"));
    assert_eq!(one(Version::V10, bytes).body, &b"body"[..]);
}

#[test]
fn versions_differ() {
    let bytes = b"SEND\r\na: x\\cy \r\n\r\n\0";
    assert_eq!(said(&one(Version::V10, bytes)).1, [("a".into(), "x\\cy".into())]);
    assert_eq!(said(&one(Version::V12, bytes)).1, [("a".into(), " x:y ".into())]);
    assert_eq!(said(&one(Version::V11, bytes)).1, [("a".into(), " x:y ".into())]);
    let inside = b"SEND\na:x\ry\n\n\0";
    assert_eq!(said(&one(Version::V11, inside)).1, [("a".into(), "x\ry".into())]);
    assert_eq!(fault(Version::V12, inside), Fault::BareCarriageReturn);
}

#[test]
fn ends_of_lines_and_nuls_between_frames_are_skipped_in_every_version() {
    for version in Version::ALL {
        let bytes = b"\n\0SEND\r\na:b\r\n\r\nx\0\0\n\r\n\0\nACK\nid:1\n\n\0\0\r\n";
        let commands: Vec<_> = all(version, bytes).unwrap().iter().map(|f| f.command).collect();
        assert_eq!(commands, [Command::Send, Command::Ack], "{version:?}");
    }
}

#[test]
fn a_content_length_where_there_is_no_body_says_nothing() {
    let bodiless = [
        "SUBSCRIBE",
        "UNSUBSCRIBE",
        "ACK",
        "NACK",
        "BEGIN",
        "COMMIT",
        "ABORT",
        "DISCONNECT",
        "CONNECT",
        "STOMP",
    ];
    for (version, command) in Version::ALL.into_iter().flat_map(|v| bodiless.map(|c| (v, c))) {
        for length in ["5", "0", "99999999999", "x"] {
            let bytes = format!("{command}\nid:1\ncontent-length:{length}\n\n\0SEND\n\ny\0");
            let frames = all(version, bytes.as_bytes()).unwrap();
            let commands: Vec<_> = frames.iter().map(|frame| frame.command.text()).collect();
            assert_eq!(commands, [command, "SEND"], "{version:?} {length}");
        }
    }
}

#[test]
fn connect_is_read_before_a_version_is_known() {
    let mut input =
        BytesMut::from(&b"CONNECT\r\npasscode:a\\b:c\r\naccept-version:1.2\r\n\r\n\0"[..]);
    let frame = Decoder::new(Limits::BEFORE_LOGIN).decode(&mut input).unwrap().unwrap();
    assert_eq!(frame.headers.get("passcode").unwrap(), "a\\b:c");
    let mut huge = BytesMut::from(&b"CONNECT\nlogin:"[..]);
    huge.extend_from_slice(&[b'x'; 20_000]);
    assert!(matches!(
        Decoder::new(Limits::BEFORE_LOGIN).decode(&mut huge),
        Err(Fault::HeadersTooLong(_))
    ));
}

#[test]
fn a_broken_frame_still_tells_its_receipt() {
    let (mut decoder, mut input) = (decoder(Version::V12), BytesMut::new());
    input.extend_from_slice(b"SEND\nreceipt:r\\c1\nno colon\n\n\0");
    assert_eq!(decoder.decode(&mut input).unwrap_err(), Fault::NoColon);
    assert_eq!(decoder.receipt(&input).as_deref(), Some("r:1"));
}

/// What the oracle reads of the subset that it parses: SEND and SUBSCRIBE of 1.2 with plain headers.
type Parsed = (Vec<(String, String)>, Vec<u8>);

fn oracle(bytes: &[u8]) -> Option<Parsed> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    match ClientFrame::try_from(bytes.to_vec()).ok()? {
        ClientFrame::Send(frame) => {
            let mut headers = vec![pair("destination", frame.destination().value())];
            headers.extend(frame.custom.iter().map(|h| pair(h.header_name(), h.value())));
            Some((headers, frame.body()?.to_vec()))
        }
        ClientFrame::Subscribe(frame) => {
            let mut headers = vec![pair("destination", frame.destination().value())];
            headers.push(pair("id", frame.id().value()));
            headers.extend(frame.custom.iter().map(|h| pair(h.header_name(), h.value())));
            Some((headers, Vec::new()))
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn agrees_with_another_parser(
        is_send in any::<bool>(),
        destination in "/[a-z]{1,5}/[a-z.]{1,12}",
        custom in proptest::collection::btree_map("x[a-z]{1,8}", "[a-zA-Z0-9 ,./-]{1,20}", 0..4),
        body in "[ -~]{0,40}",
    ) {
        let (command, id, body) = match is_send {
            true => ("SEND", "", &*body),
            false => ("SUBSCRIBE", "id:7\n", ""),
        };
        let custom: String = custom.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
        let bytes = format!("{command}\ndestination:{destination}\n{id}{custom}\n{body}\0");
        let frame = one(Version::V12, bytes.as_bytes());
        let (_, headers, got) = said(&frame);
        if let Some((mut want, want_body)) = oracle(bytes.as_bytes()) {
            let mut headers = headers;
            headers.sort();
            want.sort();
            prop_assert_eq!(headers, want);
            prop_assert_eq!(got, want_body);
        }
    }

    #[test]
    fn any_bytes_never_panic(
        version in 0usize..3,
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        prefix in prop_oneof![Just(""), Just("SEND\n"), Just("SEND\na:b\n\n"), Just("ACK\r\n")],
    ) {
        let _ = all(Version::ALL[version], &[prefix.as_bytes(), &bytes[..]].concat());
        let mut input = BytesMut::from(&bytes[..]);
        let _ = Decoder::new(Limits::BEFORE_LOGIN).decode(&mut input);
    }

    #[test]
    fn what_is_written_is_read(
        headers in proptest::collection::vec(("[^\0]{1,10}", "[^\0]{0,20}"), 0..5),
        body in proptest::collection::vec(any::<u8>(), 0..50),
    ) {
        use crate::codec::Writer;
        let mut out = BytesMut::new();
        let mut writer = Writer::begin(&mut out, Command::Send, Version::V12.rules());
        for (name, value) in &headers {
            prop_assert!(writer.header(name, value));
        }
        writer.body(&body);
        let (_, mut got, got_body) = said(&one(Version::V12, &out));
        prop_assert_eq!(got.pop(), Some(("content-length".to_owned(), body.len().to_string())));
        prop_assert_eq!(got, headers);
        prop_assert_eq!(got_body, body);
    }
}
