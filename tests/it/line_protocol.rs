//! The sample that speaks a protocol of lines, in a broker that runs: its messages cross to all other protocols and
//! back, and what is stored of them survives whatever happens to either side. What is said on one connection is in
//! plugins/loader/tests/loading/conversations.

use crate::broker::{Broker, Folder, crossdock};
use crate::plugins::{said, start, with_plugin};
use crate::wire::amqp::{Amqp, Field, Properties};
use crate::wire::mqtt::{self, Connect, Mqtt};
use crate::wire::stomp::Stomp;
use crate::wire::{PATIENCE, Socket, eventually};
use std::time::Instant;

/// A client of the protocol of lines.
struct Lines(Socket);

impl Lines {
    fn connect(broker: &Broker) -> Self {
        let word = broker.ready.split(' ').find_map(|word| word.strip_prefix("lines="));
        let address = word.and_then(|address| address.parse().ok()).expect("it listens");
        Self(Socket::connect(address))
    }

    fn guest(broker: &Broker) -> Self {
        let mut client = Self::connect(broker);
        assert_eq!(client.asks("LOGIN guest guest"), "OK");
        client
    }

    fn say(&mut self, text: &str) {
        self.0.send(format!("{text}\n").as_bytes());
    }

    fn line(&mut self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The next line without its end.
    fn bytes(&mut self) -> Vec<u8> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.0.buffered().iter().position(|byte| *byte == b'\n') {
                let mut line = self.0.take(end + 1);
                line.pop();
                return line;
            }
            assert!(self.0.read_more(until), "no line came");
        }
    }

    fn asks(&mut self, text: &str) -> String {
        self.say(text);
        self.line()
    }
}

const LINES: &str = "[listeners.lines]\nbind = \"127.0.0.1:0\"\nprotocols = [\"lines\"]\n";

#[test]
fn messages_of_a_plugins_protocol_cross_to_all_others() {
    let folder = Folder::new();
    let broker = start(&folder, &with_plugin("line-protocol", LINES));
    let mut lines = Lines::guest(&broker);
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.queue("q", true);
    amqp.bind("q", "amq.topic", "plant.#");
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("reader"));
    mqtt.subscribe("plant/#", 1);
    let mut stomp = Stomp::connect(broker.stomp);
    stomp.request("SUBSCRIBE", &[("id", "1"), ("destination", "/topic/plant.a")], b"");

    assert_eq!(lines.asks("PUB topic:plant/a two\\nlines"), "OK");
    assert_eq!(mqtt.receive().body, b"two\nlines");
    assert_eq!(stomp.receive().body, b"two\nlines");
    let delivery = amqp.get("q").expect("a message");
    assert_eq!((delivery.key.as_str(), &delivery.body[..]), ("plant.a", &b"two\nlines"[..]));

    assert_eq!(lines.asks("SUB topic:plant/+"), "OK");
    assert_eq!(lines.asks("GET queue:q"), "OK");
    mqtt.publish("plant/b", b"from mqtt", 1);
    let came = [lines.line(), lines.line()];
    assert!(came.contains(&"MSG topic:plant/b from mqtt".to_owned()), "{came:?}");
    assert!(came.contains(&"MSG 1 topic:plant/b from mqtt".to_owned()), "{came:?}");
    // What is not acknowledged is there for others.
    assert_eq!(lines.asks("NACK 1"), "OK");
    assert_eq!(lines.line(), "AGAIN 2 topic:plant/b from mqtt");
    assert_eq!(lines.asks("ACK 2"), "OK");
    stomp.request("SEND", &[("destination", "/queue/q")], b"from stomp");
    assert_eq!(lines.line(), "MSG 3 queue:q from stomp");
    assert_eq!(lines.asks("QUIT"), "OK");
    eventually("it goes back", || (amqp.ready("q") == 1).then_some(()));
    let (listed, _) = said(&broker, &["ctl", "list", "plugins"]);
    assert!(listed.contains("protocol:lines"), "{listed}");

    let mut stranger = Lines::connect(&broker);
    assert_eq!(stranger.asks("PUB topic:a b"), "ERR LOGIN comes first");
    assert!(stranger.asks("LOGIN guest wrong").starts_with("ERR login was refused"));
}

/// Bodies that no text is: every byte, ends of lines at both ends, and none.
fn bodies() -> [Vec<u8>; 4] {
    [(0..=255).collect(), b"\r\n\\n\n".to_vec(), Vec::new(), vec![0xff; 100_000]]
}

/// As the protocol writes a body.
fn written(body: &[u8]) -> Vec<u8> {
    let one = |byte: &u8| match byte {
        b'\n' => b"\\n".to_vec(),
        b'\r' => b"\\r".to_vec(),
        b'\\' => b"\\\\".to_vec(),
        other => vec![*other],
    };
    body.iter().flat_map(one).collect()
}

#[test]
fn bodies_of_all_bytes_cross_to_all_protocols_and_back() {
    let folder = Folder::new();
    let broker = start(&folder, &with_plugin("line-protocol", LINES));
    let mut lines = Lines::guest(&broker);
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.queue("q", true);
    amqp.bind("q", "amq.topic", "raw");
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("reader"));
    mqtt.subscribe("raw", 1);
    let mut stomp = Stomp::connect(broker.stomp);
    stomp.request("SUBSCRIBE", &[("id", "1"), ("destination", "/topic/raw")], b"");
    for body in bodies() {
        lines.0.send(&[&b"PUB topic:raw "[..], &written(&body), b"\n"].concat());
        assert_eq!(lines.line(), "OK");
        let delivery = amqp.get("q").expect("a message");
        assert_eq!((&delivery.body, delivery.redelivered), (&body, false));
        // It asks for nothing but to be stored: no type, no headers.
        assert_eq!(delivery.properties, Properties::persistent());
        let message = mqtt.receive();
        assert_eq!((&message.body, message.qos), (&body, 1));
        assert_eq!(message.properties, mqtt::Properties::default());
        let frame = stomp.receive();
        assert_eq!((&frame.body, frame.header("content-type")), (&body, None));
    }
    // The way back, from messages that have all kinds of properties: the body is what it was.
    assert_eq!(lines.asks("SUB topic:back"), "OK");
    amqp.confirm_select();
    for body in bodies() {
        let properties = Properties {
            content_type: Some("application/json".into()),
            headers: vec![("kind".into(), Field::Number(7))],
            ..Properties::persistent()
        };
        let wanted = [&b"MSG topic:back "[..], &written(&body)].concat();
        amqp.publish("amq.topic", "back", &properties, &body);
        assert_eq!(lines.bytes(), wanted);
        let user = vec![("a".to_owned(), "b".to_owned())];
        mqtt.publish_with("back", &body, 1, &mqtt::Properties { user, ..Default::default() });
        assert_eq!(lines.bytes(), wanted);
        stomp.request("SEND", &[("destination", "/topic/back"), ("kind", "7")], &body);
        assert_eq!(lines.bytes(), wanted);
    }
}

#[test]
fn what_is_confirmed_survives_a_crash() {
    let folder = Folder::new();
    let mut broker = start(&folder, &with_plugin("line-protocol", LINES));
    Amqp::connect(broker.amqp).queue("q", true);
    let mut lines = Lines::guest(&broker);
    for n in 0..50 {
        assert_eq!(lines.asks(&format!("PUB queue:q {n}")), "OK");
    }
    broker.crash();
    let mut lines = Lines::guest(&broker);
    assert_eq!(lines.asks("GET queue:q"), "OK");
    // Nobody knows whom they were delivered to before the crash.
    for n in 0..50 {
        assert_eq!(lines.line(), format!("AGAIN {} queue:q {n}", n + 1));
    }
    // Those that were acknowledged are gone for good, the others come once more.
    for n in 1..=49 {
        assert_eq!(lines.asks(&format!("ACK {n}")), "OK");
    }
    drop(lines);
    let mut amqp = Amqp::connect(broker.amqp);
    eventually("all but one are settled", || (amqp.ready("q") == 1).then_some(()));
    let last = eventually("the last comes back", || amqp.get("q"));
    assert_eq!((&last.body[..], last.redelivered), (&b"49"[..], true));
    assert!(amqp.get("q").is_none(), "and no other");
}

#[test]
fn what_a_client_has_not_settled_is_there_for_others_when_it_dies() {
    let folder = Folder::new();
    let broker = start(&folder, &with_plugin("line-protocol", LINES));
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.queue("q", true);
    let mut dies = Lines::guest(&broker);
    for n in 1..=3 {
        assert_eq!(dies.asks(&format!("PUB queue:q {n}")), "OK");
    }
    assert_eq!(dies.asks("GET queue:q"), "OK");
    for n in 1..=3 {
        assert_eq!(dies.line(), format!("MSG {n} queue:q {n}"));
    }
    assert_eq!(dies.asks("ACK 2"), "OK");
    drop(dies);
    eventually("they are back", || (amqp.ready("q") == 2).then_some(()));
    amqp.consume("q", false);
    let first = amqp.receive();
    assert_eq!((&first.body[..], first.redelivered), (&b"1"[..], true));
    let third = amqp.receive();
    assert_eq!((&third.body[..], third.redelivered), (&b"3"[..], true));

    // Clients of other protocols die, too.
    drop(amqp);
    let mut lines = Lines::guest(&broker);
    eventually("they are back", || {
        let mut amqp = Amqp::connect(broker.amqp);
        (amqp.ready("q") == 2).then_some(())
    });
    assert_eq!(lines.asks("GET queue:q"), "OK");
    assert_eq!([lines.line(), lines.line()], ["AGAIN 1 queue:q 1", "AGAIN 2 queue:q 3"]);
    assert_eq!([lines.asks("ACK 1"), lines.asks("ACK 2")], ["OK", "OK"]);
    assert_eq!(lines.asks("QUIT"), "OK");
    let mut amqp = Amqp::connect(broker.amqp);
    assert!(amqp.get("q").is_none(), "nothing is left");
}

#[test]
fn a_protocol_that_panics_ends_its_connections_and_nothing_else() {
    let folder = Folder::new();
    let listener = LINES.replace("[\"lines\"]", "[\"misspeak\"]");
    let broker = start(&folder, &with_plugin("misspeak", &listener));
    let mut broken = Lines::connect(&broker);
    broken.say("panic");
    assert!(broken.0.is_closed_within(PATIENCE));
    let mut next = Lines::connect(&broker);
    assert!(next.0.is_closed_within(PATIENCE));
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.queue("q", true);
    let (status, code) = said(&broker, &["status", "--seconds", "0"]);
    assert!(code == Some(1) && status.contains("misspeaking"), "{status}");
}

#[test]
fn a_plugins_protocol_has_a_listener_of_its_own() {
    let folder = Folder::new();
    let shared = LINES.replace("[\"lines\"]", "[\"lines\", \"mqtt\"]");
    for (more, wanted) in [
        (shared, "listeners.lines.protocols: 'lines' shares no port"),
        (format!("{LINES}transport = \"ws\"\n"), "is not for 'lines', which is spoken over TCP"),
    ] {
        let file = folder.write("hub.toml", &with_plugin("line-protocol", &more));
        let output = crossdock(&["check-config", &file.to_string_lossy()]).output();
        let output = output.expect("the binary is there");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(wanted), "{said}");
        assert_eq!(output.status.code(), Some(2));
    }
}
