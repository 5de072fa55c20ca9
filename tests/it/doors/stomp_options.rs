//! What a listener can be set to for STOMP, by its keys: each of them has its effect, and counts for new connections.

use super::house::House;
use crate::wire::Socket;
use crate::wire::mqtt::{Connect, Mqtt, Properties};
use crate::wire::stomp::Stomp;

const ACTIVEMQ: &str = "\
[listeners.stomp]
stomp_dialect = \"activemq\"
stomp_timestamp = \"s\"
stomp_carry = \"off\"
stomp_anycast_prefixes = [\"jms.queue.\"]
stomp_multicast_prefixes = [\"jms.topic.\"]
stomp_strict_host = true
";

/// A connection whose `host` is a virtual host.
fn connect(house: &House) -> Stomp {
    Stomp::connect(house.broker.stomp)
}

#[test]
fn each_key_of_a_listener_has_its_effect() {
    let house = House::open(ACTIVEMQ);
    let mut stomp = connect(&house);
    let dead = [("x-dead-letter-exchange", ""), ("x-dead-letter-routing-key", "dead")];
    stomp.subscribe("dead", "/queue/dead", "auto", &[]);
    stomp.subscribe("q", "jms.queue.q", "client-individual", &dead);
    stomp.send("/queue/q", &[("timestamp", "1700000000")], b"poison");
    let message = stomp.receive();
    assert_eq!(message.header("timestamp"), Some("1700000000"));
    assert_eq!(message.header("amq-msg-type"), None, "this client sends a content-length");
    let ack = message.header("ack").expect("an id to acknowledge").to_owned();
    stomp.request("NACK", &[("id", &ack)], b"");
    assert_eq!(stomp.receive().header("subscription"), Some("dead"));

    stomp.subscribe("t", "/topic/t", "auto", &[]);
    stomp.send("jms.topic.t", &[], b"x");
    assert_eq!(stomp.receive().header("subscription"), Some("t"));

    let mut mqtt = Mqtt::connect(house.broker.mqtt, &Connect::v5("sender"));
    let user = vec![("mq.subject".into(), "s".into())];
    let carried = Properties { user, ..Properties::default() };
    mqtt.publish_with("t", b"y", 1, &carried);
    assert_eq!(stomp.receive().header("mq.subject"), None);

    // Others read the seconds as what they are.
    let log = house.reload("[listeners.stomp]\nstomp_dialect = \"auto\"\n");
    assert!(log.contains("from now on key=\"listeners.stomp.stomp_dialect\""), "{log}");
    let mut others = Stomp::connect(house.broker.stomp);
    others.subscribe("t", "/topic/t", "auto", &[]);
    stomp.send("/topic/t", &[("timestamp", "1700000000")], b"z");
    assert_eq!(others.receive().header("timestamp"), Some("1700000000000"));
    mqtt.publish_with("t", b"y", 1, &carried);
    assert_eq!(others.receive().header("mq.subject"), Some("s"));
}

#[test]
fn a_host_that_is_none_and_words_that_are_none_are_refused() {
    let house = House::open("[listeners.stomp]\nstomp_strict_host = true\n");
    let refused = Stomp::open(
        Socket::connect(house.broker.stomp),
        &[("host", "broker.example.org"), ("login", "guest"), ("passcode", "guest")],
    );
    assert!(refused.is_err_and(|why| why.contains("not_found")));
    let log = house.reload("[listeners.stomp]\nstomp_timestamp = \"minutes\"\n");
    assert!(log.contains("listeners.stomp.stomp_timestamp: 'minutes' is none of ms, s"), "{log}");
}
