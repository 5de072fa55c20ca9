//! The protocols inside WebSocket (RFC 6455): the handshake, sub-protocols, and packets that are cut anywhere.

use super::house::{House, owner, password};
use crate::wire::mqtt::{Connect, Mqtt, Properties, packet, publish};
use crate::wire::stomp::{Stomp, frame};
use crate::wire::{PATIENCE, Socket, eventually};
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

pub const LISTENER: &str = "[listeners.web]\nbind = \"127.0.0.1:0\"\n\
                        protocols = [\"amqp\", \"mqtt\", \"stomp\"]\ntransport = \"ws\"\n";
/// The key of RFC 6455, section 1.3, and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The last frame of a message.
pub const END: u8 = 0x80;

/// A client's side of a WebSocket.
pub struct Ws {
    socket: Socket,
}

/// Asks for a WebSocket; the head of the answer.
fn ask(address: SocketAddr, path: &str, more: &[&str]) -> (Socket, String) {
    let mut socket = Socket::connect(address);
    let mut request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: keep-alive, \
         Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
    );
    more.iter().for_each(|line| request.push_str(&format!("{line}\r\n")));
    request.push_str("\r\n");
    socket.send(request.as_bytes());
    let until = Instant::now() + PATIENCE;
    let end = loop {
        let found = socket.buffered().windows(4).position(|window| window == b"\r\n\r\n");
        match found {
            Some(at) => break at + 4,
            None => assert!(socket.read_more(until), "the head of an answer"),
        }
    };
    let head = String::from_utf8(socket.take(end)).expect("UTF-8");
    (socket, head)
}

impl Ws {
    /// At that path, with that sub-protocol.
    pub fn open(address: SocketAddr, path: &str, sub_protocol: Option<&str>) -> Self {
        let wanted = sub_protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}"));
        let more: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let (socket, head) = ask(address, path, &more);
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT), "{head}");
        if let Some(line) = &wanted {
            assert!(head.contains(line.as_str()), "{head}");
        }
        Self { socket }
    }

    /// One frame, masked as a client has to.
    pub fn send(&mut self, head: u8, payload: &[u8]) {
        self.socket.send(&masked(head, payload));
    }

    /// One frame that the broker may not read any more.
    pub fn try_send(&mut self, head: u8, payload: &[u8]) -> io::Result<()> {
        self.socket.try_send(&masked(head, payload))
    }

    /// Whether the broker closes the connection.
    pub fn is_closed(&mut self) -> bool {
        self.socket.is_closed_within(PATIENCE)
    }

    /// The next frame: its first byte and its payload.
    pub fn receive(&mut self) -> (u8, Vec<u8>) {
        let until = Instant::now() + PATIENCE;
        assert!(self.socket.fill(2, until), "a frame");
        let (head, short) = (self.socket.buffered()[0], self.socket.buffered()[1]);
        assert_eq!(short & 0x80, 0, "what the broker sends is not masked");
        let (at, length) = match short {
            126 => {
                assert!(self.socket.fill(4, until), "a length");
                let bytes = self.socket.buffered();
                (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]])))
            }
            short => (2, usize::from(short)),
        };
        assert!(self.socket.fill(at + length, until), "a payload");
        let bytes = self.socket.take(at + length);
        (head, bytes[at..].to_vec())
    }

    /// Bytes of messages until there are so many.
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < count {
            bytes.extend(self.receive().1);
        }
        bytes
    }
}

fn masked(head: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    let mut bytes = vec![head];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | short as u8),
        long @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((long as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// MQTT's binary messages: packets that are cut anywhere, and several in one frame.
#[test]
fn mqtt_in_binary_messages() {
    let house = House::open(&[LISTENER, &owner("ann")].concat());
    let (address, password) = (house.address("web"), password("ann"));
    let login = Some(("ann", &*password));
    let mut other = Mqtt::connect_as(house.broker.mqtt, &Connect::v5("other"), "ann", &password);
    other.subscribe("ann/web", 1);
    let ways = [("/mqtt", Some("mqtt")), ("/mqtt", None), ("/", Some("mqtt")), ("/ws", None)];
    for (path, sub_protocol) in ways {
        let mut ws = Ws::open(address, path, sub_protocol);
        let connect = Connect { login, ..Connect::v311("web") }.packet();
        // One byte in each message.
        connect.iter().for_each(|byte| ws.send(END | BINARY, &[*byte]));
        assert_eq!(ws.bytes(4), [0x20, 2, 0, 0]);
        // A message of three frames, with a ping between them, and two packets and a half in it.
        let subscribe = packet(0x82, &[&[0, 1, 0, 7][..], b"ann/web", &[0]].concat());
        let publish = packet(0x32, &[&[0, 7][..], b"ann/web", &[0, 2], b"hello"].concat());
        let all = [subscribe, publish, vec![0xC0]].concat();
        ws.send(BINARY, &all[..3]);
        ws.send(END | PING, b"there?");
        ws.send(0, &all[3..20]);
        ws.send(END, &all[20..]);
        assert_eq!(ws.receive(), (END | PONG, b"there?".to_vec()));
        assert_eq!(other.receive().body, b"hello");
        ws.send(END | BINARY, &[0]);
        // SUBACK, PUBACK, the message itself, PINGRESP; their order is the protocol's.
        let got = ws.bytes(5 + 4 + 16 + 2);
        for part in [&[0x90, 3, 0, 1, 0][..], &[0x40, 2, 0, 2], b"ann/webhello", &[0xD0, 0]] {
            assert!(got.windows(part.len()).any(|window| window == part), "{part:?} in {got:?}");
        }
        ws.send(END | CLOSE, &1000u16.to_be_bytes());
        let (head, code) = ws.receive();
        assert_eq!((head, code), (END | CLOSE, vec![0x03, 0xE8]));
        assert!(ws.socket.is_closed_within(PATIENCE));
    }
}

/// A frame that is larger than any message is refused by its head, and a peer that has sent all of it is told so.
#[test]
fn a_frame_that_is_too_large() {
    let house = House::open(LISTENER);
    let mut ws = Ws::open(house.address("web"), "/mqtt", Some("mqtt"));
    let mut frame = vec![END | BINARY, 0x80 | 127];
    frame.extend((20u64 << 20).to_be_bytes());
    frame.extend([0; 4]);
    frame.resize(20 << 20, 0);
    ws.socket.send(&frame);
    assert_eq!(ws.receive(), (END | CLOSE, 1009u16.to_be_bytes().to_vec()));
    assert!(ws.is_closed());
}

/// Where larger messages are allowed, so are frames that carry them.
#[test]
fn a_frame_is_as_large_as_messages_may_be() {
    let house = House::open(&[LISTENER, "[limits]\nmessage_bytes = \"32MiB\"\n"].concat());
    let mut ws = Ws::open(house.address("web"), "/mqtt", Some("mqtt"));
    ws.send(END | BINARY, &Connect::v311("web").packet());
    assert_eq!(ws.bytes(4), [0x20, 2, 0, 0]);
    let body = vec![0; 20 << 20];
    ws.send(END | BINARY, &publish(4, "t", &body, (1, 1), &Properties::default()));
    assert_eq!(ws.bytes(4), [0x40, 2, 0, 1]);
}

#[test]
fn stomp_in_text_messages() {
    let house = House::open(&[LISTENER, &owner("ann")].concat());
    let (address, password) = (house.address("web"), password("ann"));
    let mut other = Stomp::connect_as(house.broker.stomp, "ann", &password);
    other.subscribe("1", "/topic/ann/web", "auto", &[]);
    for (path, sub_protocol) in [("/stomp", Some("v12.stomp")), ("/stomp", None), ("/", None)] {
        let mut ws = Ws::open(address, path, sub_protocol);
        let headers =
            [("accept-version", "1.2"), ("host", "/"), ("login", "ann"), ("passcode", &*password)];
        let connect = frame("CONNECT", &headers, b"");
        let (first, second) = connect.split_at(30);
        ws.send(TEXT, first);
        ws.send(END, second);
        let (head, connected) = ws.receive();
        assert!(connected.starts_with(b"CONNECTED\n"), "{connected:?}");
        let is_text = sub_protocol.is_some();
        assert_eq!(head, END | if is_text { TEXT } else { BINARY }, "as the sub-protocol says");
        let send = frame("SEND", &[("destination", "/topic/ann/web")], b"hello");
        ws.send(END | TEXT, &send);
        assert_eq!(other.receive().body, b"hello");
    }
}

/// Who may not log in is told in the protocol, inside the WebSocket.
#[test]
fn a_refused_login_is_told_inside() {
    let house = House::open(&[LISTENER, &owner("ann")].concat());
    let mut ws = Ws::open(house.address("web"), "/mqtt", Some("mqtt"));
    let connect = Connect { login: Some(("ann", "a guess")), ..Connect::v311("web") }.packet();
    ws.send(END | BINARY, &connect);
    assert_eq!(ws.bytes(4), [0x20, 2, 0, 4]);
    assert!(ws.socket.is_closed_within(PATIENCE));
}

#[test]
fn what_is_no_request_for_a_websocket_is_refused() {
    let listener = LISTENER.to_owned() + "origins = [\"https://app.example.org\"]\n";
    let house = House::open(&listener);
    let address = house.address("web");
    let cases: [(&str, &[&str], &str); 5] = [
        ("/elsewhere", &[], "HTTP/1.1 404 "),
        ("/mqtt", &["Sec-WebSocket-Protocol: chat"], "HTTP/1.1 400 "),
        ("/mqtt", &["Origin: https://evil.example.org"], "HTTP/1.1 403 "),
        ("/mqtt", &["Origin: https://app.example.org"], "HTTP/1.1 101 "),
        // Programs send none.
        ("/mqtt", &[], "HTTP/1.1 101 "),
    ];
    for (path, more, expected) in cases {
        let (_socket, head) = ask(address, path, more);
        assert!(head.starts_with(expected), "{path} {more:?}: {head}");
    }
    let mut socket = Socket::connect(address);
    socket.send(b"GET /mqtt HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(socket.fill(13, Instant::now() + PATIENCE));
    assert!(socket.take(13).starts_with(b"HTTP/1.1 426 "));
    // A frame that is not masked (RFC 6455, section 5.1).
    let mut ws = Ws::open(address, "/mqtt", Some("mqtt"));
    ws.socket.send(&[END | BINARY, 1, 0x10]);
    let (head, code) = ws.receive();
    assert_eq!((head, &code[..2]), (END | CLOSE, &1002u16.to_be_bytes()[..]));
    assert!(ws.socket.is_closed_within(PATIENCE));
    eventually("a line in the log", || {
        house.broker.log().contains("its request for a WebSocket was refused").then_some(())
    });
}
