//! Disk faults, with the real process: after a failed sync or write it ends without a further acknowledgement. And a
//! store with a newer format is not changed.

use crate::crash::amqp::{ACK, Address, Link};
use crate::crash::mqtt::{Connect, Mqtt, PUBACK, Packet};
use crate::crash::node::{Node, Ready};
use crate::crash::stomp::Stomp;
use crate::crash::wire::{Step, wait, wrong};
use crate::durable_trace as trace;
use std::time::Duration;

/// Exit codes of the program.
const EXIT_MISTAKES: Option<i32> = Some(2);
const EXIT_STORE: Option<i32> = Some(3);
/// Messages after which a test fails because no fault was injected.
const MANY: usize = 500;
const QUEUE: &str = "kept";

/// A publisher that waits for every acknowledgement.
enum Publisher {
    Amqp(Link),
    Mqtt(Mqtt),
    Stomp(Stomp),
}

impl Publisher {
    fn connect(protocol: &str, ready: &Ready) -> Step<Self> {
        Ok(match protocol {
            "AMQP" => {
                let mut link = Link::open(ready.amqp, 1)?;
                link.confirm_select(1)?;
                Self::Amqp(link)
            }
            "MQTT" => {
                let (lasting, receive_maximum, will) = (false, None, None);
                let options =
                    Connect { client: "publisher", level: 4, lasting, receive_maximum, will };
                Self::Mqtt(Mqtt::connect(ready.mqtt, &options)?)
            }
            _ => Self::Stomp(Stomp::connect(ready.stomp)?),
        })
    }

    /// Publishes into the queue and waits for the acknowledgement.
    fn publish(&mut self, body: &[u8]) -> Step<()> {
        match self {
            Self::Amqp(link) => {
                link.publish(1, &Address { key: QUEUE, ..Address::default() }, body);
                wait("confirm", || match link.next()? {
                    Some(event) if event.method == ACK => Ok(Some(())),
                    Some(event) => wrong(format!("{:?}", event.method)),
                    None => Ok(None),
                })
            }
            Self::Mqtt(mqtt) => {
                mqtt.publish(2, "kept", 1, body);
                wait("PUBACK", || match mqtt.next()? {
                    Some(Packet::Answer(PUBACK, 1, _)) => Ok(Some(())),
                    Some(packet) => wrong(format!("{packet:?}")),
                    None => Ok(None),
                })
            }
            Self::Stomp(client) => {
                let headers =
                    [("destination", "/queue/kept"), ("persistent", "true"), ("receipt", "r")];
                client.send("SEND", &headers, body);
                match wait("RECEIPT", || client.next())? {
                    frame if frame.command == "RECEIPT" => Ok(()),
                    frame => wrong(format!("{frame:?}")),
                }
            }
        }
    }
}

/// Text by which an acknowledgement of the protocol is found in the trace.
fn acknowledgement(protocol: &str) -> &'static str {
    match protocol {
        // Class 60, method 80.
        "AMQP" => "\\0<\\0P",
        "MQTT" => "\"@\\2",
        _ => "RECEIPT",
    }
}

fn body(number: usize) -> Vec<u8> {
    format!("message {number}").into_bytes()
}

/// Publishes until a system call of the store fails; then starts the broker without the fault and compares.
fn ends_without_a_false_answer(protocol: &str, fault: &str) {
    let node = Node::new(&[]);
    let file = trace::name(&node.folder().join("trace"));
    let mut process = node.spawn_under(&trace::strace(&file, &["-e", fault]));
    let ready = process.ready().unwrap_or_else(|| panic!("{protocol}, {fault}: {}", node.log()));
    let prepare = || -> Step<Publisher> {
        let mut link = Link::open(ready.amqp, 1)?;
        link.declare(QUEUE, 2, &[])?;
        link.bind(QUEUE, "amq.topic", "kept")?;
        Publisher::connect(protocol, &ready)
    };
    let mut publisher = prepare().unwrap_or_else(|stop| panic!("{protocol}, {fault}: {stop:?}"));
    let mut acknowledged = 0;
    let end = loop {
        match publisher.publish(&body(acknowledged)) {
            Ok(()) => acknowledged += 1,
            Err(stop) => break stop,
        }
        assert!(acknowledged < MANY, "{protocol}, {fault}: the fault was not injected");
    };
    assert!(acknowledged > 0, "{protocol}, {fault}: {end:?}");
    let code = process.ends_within(Duration::from_secs(10));
    assert_eq!(code, Some(EXIT_STORE), "{protocol}, {fault}: {}", node.log());
    assert!(node.log().contains("ERROR"), "the log has no ERROR line: {}", node.log());
    let calls = trace::read(file.as_ref(), process.id());
    let journal = calls.iter().filter(|call| call.file.contains("/journal-"));
    let failed = journal.filter(|call| call.is_injected()).map(|call| call.begun).min();
    let failed = failed.expect("it was the journal that failed");
    let late = calls.iter().filter(|call| call.begun > failed && call.is_sent());
    let late: Vec<&str> =
        late.map(|c| c.text.as_str()).filter(|t| t.contains(acknowledgement(protocol))).collect();
    assert!(late.is_empty(), "{protocol}, {fault}: acknowledged after the failure: {late:?}");
    let sent =
        calls.iter().filter(|call| call.is_sent() && call.text.contains(acknowledgement(protocol)));
    assert!(sent.count() >= acknowledged, "the trace does not show the acknowledgements");

    let again = node.spawn();
    let ready = again.ready().unwrap_or_else(|| panic!("a clean start: {}", node.log()));
    let mut link = Link::open(ready.amqp, 1).expect("it serves");
    let there = link.get_all(1, QUEUE).expect("it serves");
    assert!(there.len() >= acknowledged, "{protocol}, {fault}: {} of {acknowledged}", there.len());
    for (number, delivery) in there.iter().enumerate() {
        assert_eq!(delivery.body, body(number), "{protocol}, {fault}");
    }
}

fn for_each_protocol(fault: &str) {
    if trace::is_there() {
        for protocol in ["AMQP", "MQTT", "STOMP"] {
            ends_without_a_false_answer(protocol, fault);
        }
    }
}

#[test]
fn a_failed_sync_is_final() {
    for_each_protocol("inject=fdatasync:error=EIO:when=20+");
}

#[test]
fn a_full_disk_without_an_alarm_before_is_final() {
    // After more writes than one thread makes during the start, before the spare segment is complete.
    for_each_protocol("inject=pwrite64:error=ENOSPC:when=40+");
}

/// CRC32C, computed bit by bit: the store's checksum.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82F6_3B78 * (sum & 1)))
    })
}

#[test]
fn a_store_of_a_newer_format_is_left_alone() {
    assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    let node = Node::new(&[]);
    let mut process = node.spawn();
    let ready = process.ready().unwrap_or_else(|| panic!("{}", node.log()));
    let mut publisher = Publisher::connect("STOMP", &ready).expect("it serves");
    publisher.publish(&body(0)).expect("a receipt");
    process.kill();
    let folder = node.data_dir().join("store");
    let names = std::fs::read_dir(&folder).expect("the store").map_while(Result::ok);
    let segment =
        names.map(|entry| entry.path()).find(|path| trace::name(path).contains("journal-"));
    let segment = segment.expect("there is a segment");
    let mut bytes = std::fs::read(&segment).expect("readable");
    let before = bytes.clone();
    // docs/STORE.md: the version is bytes 8-11, the checksum over bytes 0-59 is bytes 60-63.
    assert_eq!(bytes[60..64], crc32c(&bytes[..60]).to_le_bytes());
    let version = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
    bytes[8..12].copy_from_slice(&(version + 1).to_le_bytes());
    let sum = crc32c(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&sum);
    std::fs::write(&segment, &bytes).expect("writable");

    let from = node.log().len();
    let mut process = node.spawn();
    assert!(process.ready().is_none(), "it must not say that it is ready");
    let code = process.ends_within(Duration::from_secs(10));
    let log = node.log();
    assert_eq!(code, Some(EXIT_MISTAKES), "{log}");
    let said = &log[from..];
    let names =
        said.contains(&trace::name(&segment)) && said.contains(&format!("format {}", version + 1));
    assert!(names && said.contains(&format!("up to {version}")), "{said}");
    assert!(std::fs::read(&segment).expect("readable") == bytes, "a newer segment was changed");

    // Only the version kept the broker from starting.
    std::fs::write(&segment, &before).expect("writable");
    let ready = node.spawn();
    let address = ready.ready().unwrap_or_else(|| panic!("{}", node.log()));
    let mut link = Link::open(address.amqp, 1).expect("it serves");
    assert_eq!(link.get_all(1, QUEUE).expect("it serves").len(), 1);
}
