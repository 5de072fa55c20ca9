//! Acknowledgements follow the sync: for every answer that says "stored", the trace of the broker's system calls shows
//! that the request was written to the journal, and that the fdatasync had ended, before the first byte of the answer.

use crate::crash::amqp::{ACK, Address, DELIVER, Link, Out};
use crate::crash::mqtt::{Connect, Mqtt, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet};
use crate::crash::node::{Node, Ready};
use crate::crash::stomp::Stomp;
use crate::crash::wire::{Step, wait, wrong};
use crate::durable_trace::{self as trace, Exchange};

/// A request: its name, and for an answer that says "stored", a text that the journal entry contains. Empty: any entry.
type Asked = (&'static str, Option<&'static str>);

/// Runs a client that waits for every answer, and compares its list of requests with the trace.
fn check(opening: &str, client: impl Fn(&Ready) -> Step<Vec<Vec<Asked>>>) {
    if !trace::is_there() {
        return;
    }
    let node = Node::new(&[]);
    let file = trace::name(&node.folder().join("trace"));
    let mut process = node.spawn_under(&trace::strace(&file, &[]));
    let ready = process.ready().unwrap_or_else(|| panic!("it did not start: {}", node.log()));
    let asked = client(&ready).unwrap_or_else(|stop| panic!("{stop:?}\n{}", node.log()));
    process.kill();
    let calls = trace::read(file.as_ref(), process.id());
    let found = trace::exchanges(&calls, opening);
    let counts = |lists: usize, each: Vec<usize>| (lists, each);
    assert_eq!(
        counts(found.len(), found.iter().map(Vec::len).collect()),
        counts(asked.len(), asked.iter().map(Vec::len).collect()),
        "each request is one exchange in the trace"
    );
    let mut early = Vec::new();
    let pairs = asked.iter().flatten().zip(found.iter().flatten());
    for ((name, stored), exchange) in pairs {
        let verdict = |mark: &&str| trace::too_early(&calls, exchange, mark);
        early.extend(stored.as_ref().and_then(verdict).map(|why| format!("{name}: {why}")));
    }
    assert!(early.is_empty(), "answered before it was stored:\n{}", early.join("\n"));
    let stored = asked.iter().flatten().filter(|(_, stored)| stored.is_some()).count();
    assert!(stored > 0 && found.iter().flatten().all(is_ordered));
}

fn is_ordered(exchange: &Exchange) -> bool {
    exchange.asked < exchange.answered
}

/// The requests that open a link with one channel.
const OPENED: [Asked; 4] =
    [("header", None), ("start-ok", None), ("open", None), ("channel.open", None)];

fn confirmed(link: &mut Link) -> Step<()> {
    wait("confirm", || match link.next()? {
        Some(event) if event.method == ACK => Ok(Some(())),
        Some(event) => wrong(format!("instead of a confirm: {:?}", event.method)),
        None => Ok(None),
    })
}

#[test]
fn amqp_answers_follow_their_sync() {
    check("AMQP", |ready| {
        let mut link = Link::open(ready.amqp, 1)?;
        let mut asked = OPENED.to_vec();
        link.declare("durable-queue", 2, &[])?;
        asked.push(("queue.declare", Some("durable-queue")));
        link.declare("deleted-queue", 2, &[])?;
        asked.push(("queue.declare", Some("deleted-queue")));
        link.delete("deleted-queue")?;
        asked.push(("queue.delete", Some("")));
        link.exchange("durable-exchange", "fanout")?;
        asked.push(("exchange.declare", Some("durable-exchange")));
        link.bind("durable-queue", "durable-exchange", "durable-key")?;
        asked.push(("queue.bind", Some("durable-key")));
        link.confirm_select(1)?;
        asked.push(("confirm.select", None));
        for (exchange, key, mark) in
            [("", "durable-queue", "amqp-mark-1"), ("durable-exchange", "", "amqp-mark-2")]
        {
            link.publish(1, &Address { exchange, key, ..Address::default() }, mark.as_bytes());
            link.wire.pump()?;
            confirmed(&mut link)?;
            asked.push(("basic.publish", Some(mark)));
        }

        let mut transaction = Link::open(ready.amqp, 1)?;
        let mut more = OPENED.to_vec();
        transaction.call(1, Out::method((90, 10)), (90, 11))?;
        more.push(("tx.select", None));
        transaction.prefetch(1, 1)?;
        more.push(("basic.qos", None));
        transaction.consume(1, "durable-queue")?;
        more.push(("basic.consume", None));
        let delivery = wait("delivery", || transaction.next())?;
        if delivery.method != DELIVER {
            return wrong(format!("{delivery:?}"));
        }
        let address = Address { key: "durable-queue", ..Address::default() };
        transaction.publish(1, &address, b"amqp-mark-3");
        transaction.call(1, Out::method((90, 20)), (90, 21))?;
        more.push(("tx.commit of a publish", Some("amqp-mark-3")));
        transaction.ack(1, delivery.delivery().tag, false);
        transaction.call(1, Out::method((90, 20)), (90, 21))?;
        more.push(("tx.commit of an ack", Some("")));
        Ok(vec![asked, more])
    });
}

/// Waits for this answer.
fn answered(client: &mut Mqtt, kind: u8, id: u16) -> Step<()> {
    wait("answer", || match client.next()? {
        Some(Packet::Answer(found, to, _)) if (found, to) == (kind, id) => Ok(Some(())),
        Some(other) => wrong(format!("instead of answer {kind}: {other:?}")),
        None => Ok(None),
    })
}

fn mqtt_answers_follow_their_sync(level: u8) {
    // The publisher's client id, then the subscriber's: both sessions outlive their connections.
    check("durable-session-", |ready| {
        let connect = |client| {
            let options =
                Connect { client, level, lasting: true, receive_maximum: None, will: None };
            Mqtt::connect(ready.mqtt, &options)
        };
        let mut subscriber = connect("durable-session-1")?;
        let mut asked = vec![("CONNECT", Some("durable-session-1"))];
        subscriber.subscribe("durable/+", 2)?;
        asked.push(("SUBSCRIBE", Some("")));
        subscriber.disconnect()?;

        let mut publisher = connect("durable-session-2")?;
        let mut more = vec![("CONNECT", Some("durable-session-2"))];
        publisher.publish(2, "durable/1", 1, b"mqtt-mark-1");
        answered(&mut publisher, PUBACK, 1)?;
        more.push(("PUBLISH QoS 1", Some("mqtt-mark-1")));
        publisher.publish(4, "durable/2", 2, b"mqtt-mark-2");
        answered(&mut publisher, PUBREC, 2)?;
        more.push(("PUBLISH QoS 2", Some("mqtt-mark-2")));
        publisher.answer(PUBREL, 2);
        answered(&mut publisher, PUBCOMP, 2)?;
        more.push(("PUBREL", Some("")));
        publisher.publish(3, "durable/3", 3, b"mqtt-mark-3");
        answered(&mut publisher, PUBACK, 3)?;
        more.push(("PUBLISH retained", Some("mqtt-mark-3")));
        Ok(vec![asked, more])
    });
}

#[test]
fn mqtt_311_answers_follow_their_sync() {
    mqtt_answers_follow_their_sync(4);
}

#[test]
fn mqtt_5_answers_follow_their_sync() {
    mqtt_answers_follow_their_sync(5);
}

fn receipt(client: &mut Stomp, id: &str) -> Step<()> {
    let frame = wait("RECEIPT", || client.next())?;
    match frame.command == "RECEIPT" && frame.header("receipt-id") == Some(id) {
        true => Ok(()),
        false => wrong(format!("instead of receipt {id}: {frame:?}")),
    }
}

#[test]
fn stomp_answers_follow_their_sync() {
    check("CONNECT\\n", |ready| {
        let mut sender = Stomp::connect(ready.stomp)?;
        let mut asked = vec![("CONNECT", None)];
        let to = ("destination", "/queue/durable");
        sender.send("SEND", &[to, ("persistent", "true"), ("receipt", "1")], b"stomp-mark-1");
        receipt(&mut sender, "1")?;
        asked.push(("SEND", Some("stomp-mark-1")));
        let part = ("transaction", "t");
        sender.send("BEGIN", &[part], b"");
        sender.send("SEND", &[to, part, ("persistent", "true")], b"stomp-mark-2");
        sender.send("COMMIT", &[part, ("receipt", "2")], b"");
        receipt(&mut sender, "2")?;
        asked.push(("COMMIT of a SEND", Some("stomp-mark-2")));

        let mut subscriber = Stomp::connect(ready.stomp)?;
        let mut more = vec![("CONNECT", None)];
        subscriber.subscribe("/queue/durable", 2)?;
        more.push(("SUBSCRIBE", None));
        // Both messages are delivered before the first is acknowledged, so only its receipt follows the ACK.
        let mut id = || -> Step<String> {
            let frame = wait("MESSAGE", || subscriber.next())?;
            Ok(frame.header("ack").unwrap_or_default().to_owned())
        };
        let (first, second) = (id()?, id()?);
        subscriber.send("ACK", &[("id", &first), ("receipt", "3")], b"");
        receipt(&mut subscriber, "3")?;
        more.push(("ACK", Some("")));
        subscriber.send("BEGIN", &[part], b"");
        subscriber.send("ACK", &[part, ("id", &second)], b"");
        subscriber.send("COMMIT", &[part, ("receipt", "4")], b"");
        receipt(&mut subscriber, "4")?;
        more.push(("COMMIT of an ACK", Some("")));
        Ok(vec![asked, more])
    });
}
