//! Integers and lengths at their bounds, alone and inside WebSocket frames that end behind every byte.

use super::Good;
use crate::broker::Broker;
use crate::doors::house::House;
use crate::doors::websocket::{BINARY, END, LISTENER, Ws};
use crate::wire::mqtt::{Connect, Mqtt, packet};
use crate::wire::{PATIENCE, Socket};

/// Packets behind a CONNECT that no client may send: what is wrong with each.
fn wrong() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a remaining length of five bytes", vec![0x30, 0x80, 0x80, 0x80, 0x80, 0x01]),
        ("a remaining length of four bytes that all go on", vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("a property length of five bytes", packet(0x30, b"\0\x01t\x80\x80\x80\x80\x01")),
        ("a property length past the packet", packet(0x30, b"\0\x01t\x7F\x01\0")),
        ("a subscription identifier of five bytes", {
            packet(0x82, b"\0\x01\x06\x0B\x80\x80\x80\x80\x01\0\x01t\0")
        }),
        ("a topic longer than the packet", packet(0x30, b"\xFF\xFFt")),
        ("a topic without bytes", packet(0x30, b"\0\0\0x")),
        ("a user property that ends in its name", packet(0x30, b"\0\x01t\x03\x26\0\x05")),
        ("a packet without its identifier", packet(0x32, b"\0\x01t")),
        ("an identifier of zero", packet(0x32, b"\0\x01t\0\0\0")),
        ("QoS 3", packet(0x36, b"\0\x01t\0\x01\0")),
        ("a filter without bytes", packet(0x82, b"\0\x01\0\0\0\0")),
        ("SUBSCRIBE without a filter", packet(0x82, b"\0\x01\0")),
        ("an empty packet", packet(0x82, b"")),
        ("CONNACK from a client", packet(0x20, b"\0\0\0")),
        ("SUBACK from a client", packet(0x90, b"\0\x01\0\0")),
        ("UNSUBACK from a client", packet(0xB0, b"\0\x01\0\0")),
        ("PINGRESP from a client", packet(0xD0, b"")),
    ]
}

#[test]
fn wrong_lengths_close_the_connection() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    for (what, bytes) in wrong() {
        let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("wrong"));
        let _ = client.socket.try_send(&bytes);
        assert!(client.socket.is_closed_within(PATIENCE), "still open after {what}");
        good.is_served(what);
    }
}

#[test]
fn wrong_lengths_inside_websocket() {
    let house = House::open(LISTENER);
    let mut good = Good::new(&house.broker);
    for (what, bytes) in wrong() {
        let mut ws = Ws::open(house.address("web"), "/mqtt", Some("mqtt"));
        for byte in Connect::v5("wrong").packet() {
            ws.send(END | BINARY, &[byte]);
        }
        let (_, connack) = ws.receive();
        assert_eq!((connack[0], connack[3]), (0x20, 0), "{connack:?}");
        for byte in &bytes {
            // What comes behind the wrong byte finds the connection closed.
            if ws.try_send(END | BINARY, &[*byte]).is_err() {
                break;
            }
        }
        assert!(ws.is_closed(), "still open after {what}");
        good.is_served(what);
    }
}

/// Every part of CONNECT that may be missing is missing, and the other way round: flags without their fields.
#[test]
fn logins_without_their_parts() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    for level in [4u8, 5] {
        for flags in 0..=255u8 {
            let mut body = b"\0\x04MQTT".to_vec();
            body.extend([level, flags, 0, 0]);
            if level == 5 {
                body.push(0);
            }
            // A client identifier, and nothing of what the flags promise.
            body.extend(b"\0\x01c");
            let mut socket = Socket::connect(broker.mqtt);
            let _ = socket.try_send(&packet(0x10, &body));
            let promises = flags & 0b1100_0100 != 0;
            let is_taken = socket.fill(4, std::time::Instant::now() + PATIENCE)
                && socket.buffered()[0] == 0x20
                && socket.buffered()[3] == 0;
            assert!(!(promises || flags & 1 == 1) || !is_taken, "flags {flags:#010b} were taken");
        }
    }
    good.is_served("logins without their parts");
}
