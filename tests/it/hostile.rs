//! Faulty and hostile peers: their connection is closed, nothing that they sent takes effect, and other clients are not
//! affected.

use crate::broker::Broker;
use crate::wire::amqp::{self, Amqp};
use crate::wire::mqtt::{self, Connect, Mqtt};
use crate::wire::stomp::{self, Stomp};
use crate::wire::{QUIET, Socket};
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes that cannot become a login close the connection at once; an incomplete login is closed after ten seconds.
const CLOSE_TIME: Duration = Duration::from_secs(12);

/// Well-behaved clients, which must not be affected.
struct Bystanders {
    amqp: Amqp,
    mqtt: Mqtt,
    stomp: Stomp,
}

impl Bystanders {
    fn new(broker: &Broker) -> Self {
        let mut amqp = Amqp::connect(broker.amqp);
        amqp.queue("bystander", false);
        amqp.consume("bystander", true);
        let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("bystander"));
        mqtt.subscribe("bystander", 1);
        let mut stomp = Stomp::connect(broker.stomp);
        stomp.subscribe("1", "/topic/bystander", "auto", &[]);
        Self { amqp, mqtt, stomp }
    }

    fn check(&mut self) {
        self.amqp.publish("", "bystander", &amqp::Properties::default(), b"ping");
        assert_eq!(self.amqp.receive().body, b"ping");
        self.mqtt.publish("bystander", b"ping", 1);
        assert_eq!(self.mqtt.receive().body, b"ping");
        assert_eq!(self.stomp.receive().body, b"ping");
    }
}

fn is_refused(address: SocketAddr, bytes: &[u8]) {
    let mut socket = Socket::connect(address);
    // The broker may close the connection before it has read everything.
    let _ = socket.try_send(bytes);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]);
    assert!(socket.is_closed_within(CLOSE_TIME), "still open after {shown:?}");
}

#[test]
fn wrong_first_bytes() {
    let broker = Broker::start();
    let mut bystanders = Bystanders::new(&broker);
    let http = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec();
    let tls = [0x16u8, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3, 0x55, 0x55, 0x55, 0x55].repeat(8);
    let noise: Vec<u8> =
        (0..2000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    for address in [broker.amqp, broker.mqtt, broker.stomp] {
        is_refused(address, &http);
        is_refused(address, &tls);
        is_refused(address, &noise);
        bystanders.check();
    }
    is_refused(broker.amqp, b"AMQP\x00\x01\x00\x00");
    is_refused(broker.mqtt, b"AMQP\x00\x00\x09\x01AMQP\x00\x00\x09\x01");
    is_refused(broker.stomp, b"MAYBE\n\n\0");
    bystanders.check();
}

#[test]
fn lengths_that_are_too_long() {
    let broker = Broker::start();
    let mut bystanders = Bystanders::new(&broker);
    // A frame of 4 GiB before the login.
    let mut huge = b"AMQP\x00\x00\x09\x01\x01\x00\x00\xFF\xFF\xFF\xFF".to_vec();
    huge.extend([0; 64]);
    is_refused(broker.amqp, &huge);
    // Remaining lengths of 256 MiB, and of five digits.
    is_refused(broker.mqtt, &[0x10, 0xFF, 0xFF, 0xFF, 0x7F, 0, 4, b'M', b'Q', b'T', b'T', 4]);
    is_refused(broker.mqtt, &[0x10, 0x80, 0x80, 0x80, 0x80, 0x01]);
    // A header of 4 MiB, 2,000 headers, and a body of 10 GB.
    let long = format!("CONNECT\nx:{}\n\n\0", "y".repeat(4 << 20));
    is_refused(broker.stomp, long.as_bytes());
    let many: String = (0..2000).map(|i| format!("h{i}:v\n")).collect();
    is_refused(broker.stomp, format!("CONNECT\n{many}\n\0").as_bytes());
    let mut stomp = Stomp::connect(broker.stomp);
    stomp.socket.send(b"SEND\ndestination:/queue/x\ncontent-length:10000000000\n\nx");
    assert!(stomp.socket.is_closed_within(CLOSE_TIME));
    // The same after a login.
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("huge"));
    mqtt.socket.send(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F, 0, 1, b'x']);
    assert!(mqtt.socket.is_closed_within(CLOSE_TIME));
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.socket.send(b"\x03\x00\x01\xFF\xFF\xFF\xFF");
    assert!(amqp.socket.is_closed_within(CLOSE_TIME));
    bystanders.check();
}

#[test]
fn frames_that_end_in_the_middle() {
    let broker = Broker::start();
    let mut bystanders = Bystanders::new(&broker);
    let mut setup = Amqp::connect(broker.amqp);
    setup.queue("halves", true);
    let amqp = amqp::publish("", "halves", &amqp::Properties::persistent(), &[7; 300]);
    let mqtt = mqtt::publish(5, "$q/halves", &[7; 300], (1, 9), &mqtt::Properties::default());
    let stomp = stomp::frame("SEND", &[("destination", "/queue/halves")], &[7; 300]);
    for cut in [1, 7, 20, 50, 200, 310] {
        let mut client = Amqp::connect(broker.amqp);
        client.socket.send(&amqp[..cut.min(amqp.len() - 1)]);
        let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("halves"));
        client.socket.send(&mqtt[..cut.min(mqtt.len() - 1)]);
        let mut client = Stomp::connect(broker.stomp);
        client.socket.send(&stomp[..cut.min(stomp.len() - 1)]);
    }
    bystanders.check();
    std::thread::sleep(QUIET);
    assert_eq!(setup.ready("halves"), 0, "an incomplete frame took effect");
}

#[test]
fn nothing_happens_before_the_login() {
    let broker = Broker::start();
    let mut setup = Amqp::connect(broker.amqp);
    setup.queue("early", true);
    let mut watcher = Mqtt::connect(broker.mqtt, &Connect::v5("watcher"));
    watcher.subscribe("early", 1);

    let mut early = b"AMQP\x00\x00\x09\x01".to_vec();
    early.extend(amqp::publish("", "early", &amqp::Properties::default(), b"x"));
    is_refused(broker.amqp, &early);
    is_refused(broker.mqtt, &mqtt::publish(4, "early", b"x", (0, 0), &mqtt::Properties::default()));
    is_refused(broker.stomp, &stomp::frame("SEND", &[("destination", "/queue/early")], b"x"));

    // Sent together with a login that is refused.
    let login = [("accept-version", "1.2"), ("host", "/"), ("login", "guest"), ("passcode", "no")];
    let mut pipelined = stomp::frame("CONNECT", &login, b"");
    pipelined.extend(stomp::frame("SEND", &[("destination", "/queue/early")], b"x"));
    is_refused(broker.stomp, &pipelined);
    let mut connect = Connect::v311("refused").packet();
    // Protocol level 9.
    connect[8] = 9;
    connect.extend(mqtt::publish(4, "early", b"x", (0, 0), &mqtt::Properties::default()));
    is_refused(broker.mqtt, &connect);

    assert!(watcher.receive_within(QUIET).is_none());
    assert_eq!(setup.ready("early"), 0);
}

#[test]
fn packets_that_only_a_server_sends() {
    let broker = Broker::start();
    let mut bystanders = Bystanders::new(&broker);
    for kind in [0x20, 0x90, 0xB0, 0xD0, 0xF0, 0x00] {
        let mut client = Mqtt::connect(broker.mqtt, &Connect::v5("odd"));
        let _ = client.socket.try_send(&mqtt::packet(kind, &[0, 1]));
        assert!(client.socket.is_closed_within(CLOSE_TIME), "{kind:#x}");
    }
    let mut client = Stomp::connect(broker.stomp);
    client.socket.send(&stomp::frame("MESSAGE", &[("destination", "/queue/x")], b"x"));
    assert!(client.socket.is_closed_within(CLOSE_TIME));
    // A second CONNECT.
    let mut client = Mqtt::connect(broker.mqtt, &Connect::v311("twice"));
    client.socket.send(&Connect::v311("twice").packet());
    assert!(client.socket.is_closed_within(CLOSE_TIME));
    // A method that the server sends, on an open channel.
    let mut client = Amqp::connect(broker.amqp);
    client.socket.send(&amqp::frame(1, 1, &[0, 60, 0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]));
    assert!(client.socket.is_closed_within(CLOSE_TIME));
    bystanders.check();
}

#[test]
fn connections_that_come_and_go() {
    let broker = Broker::start();
    let mut bystanders = Bystanders::new(&broker);
    for _ in 0..50 {
        for address in [broker.amqp, broker.mqtt, broker.stomp] {
            drop(Socket::connect(address));
        }
    }
    // New connections take over the same session again and again.
    for _ in 0..50 {
        Mqtt::connect(broker.mqtt, &Connect::persistent("same"));
    }
    bystanders.check();
}
