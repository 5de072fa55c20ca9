//! Nothing takes effect before a login is complete, in whatever order its parts come.

use super::Good;
use crate::broker::Broker;
use crate::wire::amqp::{self, Amqp, Out};
use crate::wire::mqtt::{self, Connect, Mqtt, Properties};
use crate::wire::stomp::{self};
use crate::wire::{PATIENCE, QUIET, Socket, eventually};
use std::time::Instant;

fn is_closed(broker: &Broker, protocol: &str, bytes: &[u8]) {
    let address = match protocol {
        "amqp" => broker.amqp,
        "mqtt" => broker.mqtt,
        _ => broker.stomp,
    };
    let mut socket = Socket::connect(address);
    let _ = socket.try_send(bytes);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
    assert!(socket.is_closed_within(PATIENCE), "{protocol}: still open after {shown:?}");
}

fn start_ok(mechanism: &str, response: &[u8]) -> Vec<u8> {
    let start_ok = Out::method(10, 11).table(&[]).short(mechanism).long(response);
    start_ok.short("en_US").frame(0)
}

#[test]
fn what_comes_before_the_login_has_no_effect() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    good.0.queue("early", false);
    let hello = b"AMQP\0\0\x09\x01".to_vec();
    let tune = Out::method(10, 31).u16(0).u32(131_072).u16(0).frame(0);
    let open = Out::method(10, 40).short("/").short("").u8(0).frame(0);
    let channel = Out::method(20, 10).short("").frame(1);
    let publish = amqp::publish("", "early", &amqp::Properties::default(), b"x");
    let declare = crate::wire::frames::declare("made-early", 0, &[]);
    let right = start_ok("PLAIN", b"\0guest\0guest");
    let wrong = start_ok("PLAIN", b"\0guest\0wrong");
    // Everything at once behind a login that is refused, a step left out, steps in another order, mechanisms that are
    // not offered or need a certificate.
    let all: [&[&[u8]]; 9] = [
        &[&hello, &wrong, &tune, &open, &channel, &declare, &publish],
        &[&hello, &tune, &open, &channel, &declare, &publish],
        &[&hello, &open, &channel, &declare, &publish],
        &[&hello, &channel, &declare, &publish],
        &[&hello, &right, &open, &channel, &declare, &publish],
        &[&hello, &right, &right, &tune, &open, &channel, &declare, &publish],
        &[&hello, &start_ok("EXTERNAL", b"guest"), &tune, &open, &channel, &declare, &publish],
        &[&hello, &start_ok("SCRAM-SHA-256", b"n,,n=guest"), &tune, &open, &channel, &publish],
        &[&hello, &start_ok("PLAIN", b"guest"), &tune, &open, &channel, &declare, &publish],
    ];
    for parts in all {
        is_closed(&broker, "amqp", &parts.concat());
    }

    let wrong = Connect { login: Some(("guest", "wrong")), ..Connect::v311("early") };
    let publish = mqtt::publish(4, "$q/early", b"x", (1, 1), &Properties::default());
    for parts in [[&wrong.packet()[..], &publish].concat(), publish.clone()] {
        is_closed(&broker, "mqtt", &parts);
    }
    // AUTH, and packets of a server, as the first.
    for kind in [0xF0, 0x20, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0] {
        is_closed(&broker, "mqtt", &[mqtt::packet(kind, &[0, 1]), publish.clone()].concat());
    }

    let send = stomp::frame("SEND", &[("destination", "/queue/early")], b"x");
    let wrong = [("accept-version", "1.2"), ("host", "/"), ("login", "guest"), ("passcode", "x")];
    let none = [("accept-version", "9.9"), ("host", "/")];
    for connect in [&wrong[..], &none[..]] {
        let connect = stomp::frame("CONNECT", connect, b"");
        is_closed(&broker, "stomp", &[connect, send.clone()].concat());
    }
    for command in ["SEND", "SUBSCRIBE", "BEGIN", "COMMIT", "ACK", "DISCONNECT", "CONNECTED"] {
        let early = stomp::frame(command, &[("destination", "/queue/early"), ("id", "1")], b"x");
        is_closed(&broker, "stomp", &early);
    }

    std::thread::sleep(QUIET);
    assert_eq!(good.0.ready("early"), 0, "a message came in");
    let look = Out::method(50, 10).u16(0).short("made-early").u8(1).table(&[]);
    let mut other = Amqp::connect(broker.amqp);
    let refused = other.ask(look, (50, 11)).expect_err("nobody declared it");
    assert!(refused.starts_with("404"), "{refused}");
    good.is_served("logins out of order");
}

/// One identifier, taken over again and again by clients that do not wait for each other: one of them has it in the
/// end, and nothing is left behind.
#[test]
fn takeovers_in_a_storm() {
    let broker = Broker::start();
    let mut good = Good::new(&broker);
    let address = broker.mqtt;
    for _ in 0..5 {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                std::thread::spawn(move || {
                    for _ in 0..25 {
                        let mut socket = Socket::connect(address);
                        let mut burst = Connect::persistent("contested").packet();
                        burst.extend(mqtt::packet(0x82, &[0, 1, 0, 1, b't', 1]));
                        let _ = socket.try_send(&burst);
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("it only sends");
        }
        good.is_served("takeovers");
    }
    // Those that were sent may come in one after the other still.
    let mut last = eventually("the last one has it", || {
        let last = Mqtt::log_in(Socket::connect(address), &Connect::persistent("contested"));
        let mut last = last.ok()?;
        std::thread::sleep(QUIET);
        last.socket.try_send(&[0xC0, 0]).ok()?;
        let until = Instant::now() + QUIET;
        while last.socket.read_more(until) {}
        last.socket.buffered().windows(2).any(|two| two == [0xD0, 0]).then_some(last)
    });
    last.socket.take(last.socket.buffered().len());
    last.subscribe("t", 1);
    last.publish("t", b"x", 1);
    assert_eq!(last.receive().body, b"x");
}
