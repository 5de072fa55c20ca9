//! WebSocket as a transport: with a published client, and byte by byte.

use super::stage::{Stage, rest, take};
use super::tls::{Certificates, trusting};
use crossdock_net::Transport;
use std::net::TcpStream as Blocking;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Error, Message, WebSocket};

async fn stage(names: &[&'static str], origins: &[&str]) -> Stage {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    Stage::with(names, &["127.0.0.1:0"], |spec| {
        spec.transport = Transport::WebSocket { origins };
    })
    .await
}

/// Opens a WebSocket; the name that was agreed on.
async fn open(
    stage: &Stage,
    path: &str,
    lines: &[(&'static str, &str)],
) -> Result<(WebSocket<Blocking>, Option<String>), u16> {
    let address = stage.addresses[0];
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    for (name, value) in lines {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let opened = spawn_blocking(move || {
        let stream = Blocking::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        match tungstenite::client(request, stream) {
            Ok(opened) => Ok(opened),
            Err(tungstenite::HandshakeError::Failure(Error::Http(response))) => {
                Err(response.status().as_u16())
            }
            Err(other) => panic!("{other}"),
        }
    });
    let (socket, response) = opened.await.unwrap()?;
    let name = response.headers().get("Sec-WebSocket-Protocol");
    Ok((socket, name.map(|name| name.to_str().unwrap().to_owned())))
}

/// Says that, and returns the messages that come until as many bytes are back.
async fn say(
    mut socket: WebSocket<Blocking>,
    message: Message,
) -> (WebSocket<Blocking>, Vec<Message>) {
    spawn_blocking(move || {
        let mut left = message.len();
        socket.send(message).unwrap();
        let mut back = Vec::new();
        while left > 0 {
            let message = socket.read().unwrap();
            left -= message.len();
            back.push(message);
        }
        (socket, back)
    })
    .await
    .unwrap()
}

/// A frame of a client.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(long as u16).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn request(path: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// Reads the head of the response.
async fn upgraded(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(take(stream, 1).await);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
}

/// A raw connection behind its opening request.
async fn raw(stage: &Stage) -> TcpStream {
    let mut stream = stage.connect().await;
    stream.write_all(&request("/")).await.unwrap();
    upgraded(&mut stream).await;
    stream
}

#[tokio::test]
async fn sub_protocol_path_or_first_bytes_tell_the_protocol() {
    let mut stage = stage(&["stomp", "mqtt"], &[]).await;
    for (path, offered, said, protocol, agreed) in [
        ("/", Some("x, mqtt"), "any", "mqtt", Some("mqtt")),
        ("/ws", Some("v12.stomp"), "any", "stomp", Some("v12.stomp")),
        ("/mqtt", Some("v11.stomp"), "any", "stomp", Some("v11.stomp")),
        ("/mqtt", None, "any", "mqtt", None),
        ("/stomp?a=b", None, "any", "stomp", None),
        ("/", None, "message", "mqtt", None),
        ("/ws", None, "send", "stomp", None),
    ] {
        let lines: Vec<_> =
            offered.iter().map(|offered| ("Sec-WebSocket-Protocol", *offered)).collect();
        let (socket, name) = open(&stage, path, &lines).await.unwrap();
        assert_eq!(name.as_deref(), agreed);
        let is_text = agreed.is_some_and(|name| name.ends_with("stomp"));
        let message = match protocol {
            "stomp" => Message::text(said),
            _ => Message::binary(said.as_bytes()),
        };
        let (_socket, back) = say(socket, message).await;
        let want = match is_text {
            true => Message::text(said),
            false => Message::binary(said.as_bytes()),
        };
        assert_eq!(back, [want], "{path} {offered:?}");
        assert_eq!(stage.seen().await.protocol, protocol);
    }
}

#[tokio::test]
async fn requests_that_are_refused_get_their_status() {
    let mut stage = stage(&["stomp", "mqtt"], &["https://a.example"]).await;
    for (path, name, value, status) in [
        ("/other", "X", "y", 404),
        ("/", "Origin", "https://b.example", 403),
        ("/", "Upgrade", "h2c", 426),
        ("/", "Sec-WebSocket-Protocol", "amqp", 400),
    ] {
        assert_eq!(open(&stage, path, &[(name, value)]).await.err(), Some(status), "{name}");
    }
    assert!(open(&stage, "/", &[("Origin", "https://a.example")]).await.is_ok());
    let mut peer = stage.connect().await;
    peer.write_all(&[&b"GET / HTTP/1.1\r\n"[..], &[b'x'; 17 << 10]].concat()).await.unwrap();
    let answer = String::from_utf8(rest(&mut peer).await.0).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("16 KiB"), "{answer}");
    let mut peer = stage.connect().await;
    peer.write_all(b"\x10\x0c\0\x04MQTT\r\n\r\n").await.unwrap();
    assert!(rest(&mut peer).await.0.starts_with(b"HTTP/1.1 400 "));
    let mut peer = stage.connect().await;
    peer.write_all(b"\x16\x03\x01\0\0").await.unwrap();
    assert_eq!(rest(&mut peer).await.0, b"");
    assert!(stage.is_unseen());
}

/// A request and frames of every kind, and what comes back besides.
fn script() -> (Vec<u8>, &'static [u8]) {
    let sent = [
        request("/stomp"),
        frame(0x82, b"a"),
        frame(0x01, "b\u{e9}".as_bytes().get(..2).unwrap()),
        frame(0x89, b"ping"),
        frame(0x00, b"\xa9\xe2\x82"),
        frame(0x80, b"\xacc"),
        frame(0x8a, b"unasked"),
        frame(0x82, b""),
        frame(0x82, &[b'd'; 130]),
        frame(0x88, b"\x03\xe8bye"),
    ];
    (sent.concat(), b"ab\xc3\xa9\xe2\x82\xacc")
}

/// Takes frames of the server apart: payload of messages, pongs, and the payload of the close frame.
fn apart(mut bytes: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>, Vec<u8>) {
    let (mut messages, mut pongs, mut close) = (Vec::new(), Vec::new(), Vec::new());
    while let [first, length, rest @ ..] = bytes {
        let (length, rest) = match length {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            length => (usize::from(*length), rest),
        };
        let (payload, rest) = rest.split_at(length);
        match first {
            0x82 => messages.extend_from_slice(payload),
            0x8a => pongs.push(payload.to_vec()),
            0x88 => close = payload.to_vec(),
            other => panic!("a frame that begins with {other:x}"),
        }
        bytes = rest;
    }
    (messages, pongs, close)
}

#[tokio::test]
async fn what_comes_may_be_cut_and_joined_anywhere() {
    let stage = stage(&["stomp"], &[]).await;
    let (sent, front) = script();
    let want = [front, &[b'd'; 130]].concat();
    let request = request("/stomp").len();
    let mut cuts: Vec<usize> = (0..request).step_by(17).collect();
    cuts.extend(request - 5..=sent.len());
    for cut in cuts {
        let mut peer = stage.connect().await;
        peer.write_all(&sent[..cut]).await.unwrap();
        sleep(Duration::from_millis(2)).await;
        peer.write_all(&sent[cut..]).await.unwrap();
        upgraded(&mut peer).await;
        let (messages, pongs, close) = apart(&rest(&mut peer).await.0);
        // What was said behind the last answer is not answered any more when the peer has closed.
        assert!(want.starts_with(&messages), "cut at {cut}");
        assert!(pongs.iter().all(|pong| pong == b"ping") && pongs.len() <= 1, "cut at {cut}");
        assert_eq!(close, b"\x03\xe8", "cut at {cut}");
    }
    // Byte by byte everything is answered in its turn.
    let mut peer = stage.connect().await;
    for byte in &sent {
        peer.write_all(&[*byte]).await.unwrap();
        sleep(Duration::from_millis(1)).await;
    }
    upgraded(&mut peer).await;
    let (messages, pongs, close) = apart(&rest(&mut peer).await.0);
    assert_eq!((messages, pongs, &*close), (want, vec![b"ping".to_vec()], &b"\x03\xe8"[..]));
}

#[tokio::test]
async fn whoever_breaks_the_rules_is_told_which() {
    let stage = stage(&["stomp"], &[]).await;
    let huge = [&b"\x82\xff\0\0\0\0\x01\x01\0\x01"[..], &[0; 100]].concat();
    for (bytes, code) in [
        (huge, 1009),
        (b"\x82\x01a".to_vec(), 1002),
        (frame(0xc2, b"a"), 1002),
        (frame(0x80, b"a"), 1002),
        ([frame(0x02, b"a"), frame(0x82, b"b")].concat(), 1002),
        (frame(0x09, b"a"), 1002),
        (frame(0x89, &[0; 126]), 1002),
        (frame(0x88, b"\x03"), 1002),
        (frame(0x88, b"\x03\xed"), 1002),
        (frame(0x88, b"\x03\xe8\xff"), 1007),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x81, b"\xe2\x82"), 1007),
        (frame(0x88, b""), 0),
        (frame(0x88, b"\x0b\xb8why"), 3000),
    ] {
        let mut peer = raw(&stage).await;
        peer.write_all(&bytes).await.unwrap();
        let (_, _, close) = apart(&rest(&mut peer).await.0);
        let told = close.first_chunk().map_or(0, |code| u16::from_be_bytes(*code));
        assert_eq!(told, code, "{bytes:x?}");
    }
}

/// [MQTT-6.0.0-1]
#[tokio::test]
async fn text_is_refused_where_a_protocol_has_none() {
    for (names, path, offered, is_refused) in [
        (&["mqtt"][..], "/", None, true),
        (&["mqtt"], "/mqtt", None, true),
        (&["mqtt"], "/ws", Some("mqtt"), true),
        (&["stomp", "mqtt"], "/mqtt", None, true),
        (&["stomp", "amqp"], "/", Some("amqp"), true),
        (&["stomp", "mqtt"], "/stomp", None, false),
        (&["stomp", "mqtt"], "/", Some("v12.stomp"), false),
    ] {
        let stage = stage(names, &[]).await;
        let lines: Vec<_> =
            offered.iter().map(|offered| ("Sec-WebSocket-Protocol", *offered)).collect();
        let (mut socket, _) = open(&stage, path, &lines).await.unwrap();
        let answer = spawn_blocking(move || {
            socket.send(Message::text("hello")).unwrap();
            socket.read().unwrap()
        });
        match answer.await.unwrap() {
            Message::Close(Some(close)) if is_refused => {
                assert_eq!(close.code, CloseCode::Unsupported, "{names:?} {path}");
            }
            answer => assert!(!is_refused && answer.len() == 5, "{names:?} {path}: {answer}"),
        }
    }
}

#[tokio::test]
async fn messages_of_any_size_pass_and_slow_readers_get_all() {
    let stage = stage(&["mqtt"], &[]).await;
    for size in [1, 125, 126, 65_535, 65_536, 5_000_000] {
        let (socket, _) = open(&stage, "/", &[]).await.unwrap();
        let sent: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let (_socket, back) = say(socket, Message::binary(sent.clone())).await;
        let back: Vec<u8> = back.into_iter().flat_map(Message::into_data).collect();
        assert!(back == sent, "{size}");
    }
}

#[tokio::test]
async fn pings_are_answered_between_messages_that_do_not_move() {
    let stage = stage(&["mqtt"], &[]).await;
    let (mut reader, mut writer) = raw(&stage).await.into_split();
    let part: Vec<u8> = frame(0x82, &[b'x'; 60_000]);
    let writing = tokio::spawn(async move {
        // More than the sockets hold, so that a message to the peer is under way when the ping comes.
        for n in 0..200 {
            writer.write_all(&part).await.unwrap();
            if n % 50 == 0 {
                writer.write_all(&frame(0x89, &[n])).await.unwrap();
            }
        }
        writer
    });
    sleep(Duration::from_millis(300)).await;
    let (mut messages, mut pongs) = (0, Vec::new());
    while messages < 200 * 60_000 || pongs.last() != Some(&vec![150]) {
        let head = take(&mut reader, 2).await;
        let length = match head[1] {
            126 => u16::from_be_bytes(take(&mut reader, 2).await.try_into().unwrap()).into(),
            127 => u64::from_be_bytes(take(&mut reader, 8).await.try_into().unwrap()) as usize,
            short => short.into(),
        };
        let payload = take(&mut reader, length).await;
        match head[0] {
            0x82 => {
                assert!(payload.iter().all(|byte| *byte == b'x'));
                messages += length;
            }
            0x8a => pongs.push(payload),
            other => panic!("a frame that begins with {other:x}"),
        }
    }
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn what_is_no_text_goes_to_a_stomp_client_as_binary() {
    let stage = stage(&["stomp"], &[]).await;
    let lines = [("Sec-WebSocket-Protocol", "v12.stomp")];
    let (socket, _) = open(&stage, "/", &lines).await.unwrap();
    let (socket, back) = say(socket, Message::text("gr\u{fc}n")).await;
    assert_eq!(back, [Message::text("gr\u{fc}n")]);
    let (_socket, back) = say(socket, Message::binary(&b"\xff\0"[..])).await;
    assert_eq!(back, [Message::binary(&b"\xff\0"[..])]);
}

#[tokio::test]
async fn both_sides_may_close() {
    let stage = stage(&["mqtt"], &[]).await;
    let (socket, _) = open(&stage, "/", &[]).await.unwrap();
    let (mut socket, _) = say(socket, Message::binary(&b"mind"[..])).await;
    stage.stop.send_replace(true);
    let closed = spawn_blocking(move || {
        let message = socket.read().unwrap();
        let Message::Close(Some(frame)) = message else { panic!("{message} and no close") };
        assert_eq!(frame.code, CloseCode::Normal);
        // The client's answer goes out, and then the connection ends.
        loop {
            match socket.read() {
                Ok(_) => {}
                Err(error) => return matches!(error, Error::ConnectionClosed),
            }
        }
    });
    assert!(closed.await.unwrap());
    timeout(Duration::from_secs(5), stage.served).await.expect("ends").unwrap();
}

#[tokio::test]
async fn it_works_over_tls() {
    let own = Certificates::new();
    let handle = own.handle();
    let mut stage = Stage::new(|spec| {
        spec.tls = Some(handle);
        spec.transport = Transport::WebSocket { origins: Vec::new() };
    })
    .await;
    let mut peer = trusting(&stage, &own).await.unwrap();
    peer.write_all(&[request("/mqtt"), frame(0x82, b"mind")].concat()).await.unwrap();
    upgraded(&mut peer).await;
    assert_eq!(take(&mut peer, 6).await, b"\x82\x04mind");
    assert!(stage.seen().await.secure);
    peer.write_all(&frame(0x88, b"")).await.unwrap();
    assert_eq!(rest(&mut peer).await.0, b"\x88\x00");
}
