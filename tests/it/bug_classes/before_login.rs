//! Peers that have not logged in cost next to nothing: neither what they promise nor how slowly they send takes memory,
//! and they are closed in time.

use super::Good;
use crate::broker::Broker;
use crate::wire::Socket;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What may become the beginning of a login is waited for this long, all bytes together.
const LOGIN_TIME: Duration = Duration::from_millis(10_500);
/// What cannot become one is closed as soon as that is known; a busy machine takes longer to tell it.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Connections of one protocol that try the same at once.
const PEERS: usize = 100;
/// Memory that they may take together.
const MEMORY_MAX: usize = 16 << 20;

/// First bytes that promise more than anybody may send before a login, by protocol.
fn promises() -> Vec<(&'static str, Vec<u8>)> {
    let amqp = |frame: &[u8]| [b"AMQP\0\0\x09\x01".as_slice(), frame].concat();
    let stomp = |text: &str| text.as_bytes().to_vec();
    vec![
        ("amqp", amqp(&[1, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF])),
        ("amqp", amqp(&[1, 0, 0, 0x1F, 0xFF, 0xFF, 0xFF])),
        // A frame that is complete, and a table in it that says it has 4 GiB.
        (
            "amqp",
            amqp(&[1, 0, 0, 0, 0, 0, 10, 0, 10, 0, 11, 0xFF, 0xFF, 0xFF, 0xFF, 1, b'x', 0xCE]),
        ),
        ("mqtt", vec![0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4, b'M', b'Q', b'T', b'T', 5]),
        ("mqtt", vec![0x10, 0x80, 0x80, 0x80, 0x40, 0, 4, b'M', b'Q', b'T', b'T', 4]),
        ("mqtt", vec![0x30, 0xFF, 0xFF, 0x03, 0, 1, b'x']),
        ("stomp", stomp("SEND\ncontent-length:10000000000\n\nx")),
        ("stomp", stomp(&format!("CONNECT\nx:{}", "y".repeat(80_000)))),
        ("stomp", stomp(&format!("CONNECT\n{}", "a:b\n".repeat(2_000)))),
    ]
}

fn address(broker: &Broker, protocol: &str) -> SocketAddr {
    match protocol {
        "amqp" => broker.amqp,
        "mqtt" => broker.mqtt,
        _ => broker.stomp,
    }
}

#[test]
fn promised_lengths_take_no_memory() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    good.is_served("nobody");
    for (protocol, bytes) in promises() {
        let before = broker.resident();
        let mut peers: Vec<Socket> = Vec::new();
        for _ in 0..PEERS {
            let mut socket = Socket::connect(address(&broker, protocol));
            // The broker may close the connection before it has read everything.
            let _ = socket.try_send(&bytes);
            peers.push(socket);
        }
        let grown = broker.resident().saturating_sub(before);
        assert!(grown <= MEMORY_MAX, "{protocol}: {grown} bytes for {PEERS} connections");
        good.is_served(protocol);
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(30)]).into_owned();
        for mut peer in peers {
            assert!(peer.is_closed_within(AT_ONCE), "{protocol}: still open after {shown:?}");
        }
    }
}

/// 200 of each protocol at once: silent ones, one byte a second, half a login, a promise of much.
#[test]
fn hostile_peers_before_the_login() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    good.is_served("nobody");
    let before = broker.resident();
    let halves: [(&str, &[u8]); 3] = [
        ("amqp", b"AMQP\0\0\x09\x01\x01\0\0\0\0\x20\0"),
        ("mqtt", &[0x10, 0x60, 0, 4, b'M', b'Q', b'T', b'T', 4, 2]),
        ("stomp", b"CONNECT\naccept-version:1.2\nhost:"),
    ];
    let started = Instant::now();
    let mut peers: Vec<(Socket, Option<&[u8]>)> = Vec::new();
    for (protocol, half) in halves {
        for n in 0..200 {
            let mut socket = Socket::connect(address(&broker, protocol));
            let slow = match n % 3 {
                0 => None,
                1 => {
                    socket.send(half);
                    None
                }
                _ => Some(half),
            };
            peers.push((socket, slow));
        }
    }
    // A byte a second does not make the time longer.
    for second in 0..8 {
        std::thread::sleep(Duration::from_secs(1));
        for (socket, slow) in &mut peers {
            if let Some(byte) = slow.and_then(|half| half.get(second..=second)) {
                let _ = socket.try_send(byte);
            }
        }
        good.is_served("600 hostile peers");
    }
    let grown = broker.resident().saturating_sub(before);
    assert!(grown <= 96 << 20, "{grown} bytes for 3 times 200 connections");
    println!("{grown} bytes for 3 times 200 hostile connections");
    for (socket, _) in &mut peers {
        let left = LOGIN_TIME.saturating_sub(started.elapsed()) + AT_ONCE;
        assert!(socket.is_closed_within(left), "still open after {:?}", started.elapsed());
    }
    good.is_served("nobody any more");
}
