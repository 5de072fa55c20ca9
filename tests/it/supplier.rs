//! The main job: suppliers publish XML by any protocol, the warehouse consumes JSON by any protocol, as
//! examples/hub.toml configures. A message that cannot be transformed goes to the dead-letter queue and does not affect
//! the next one.

use crate::broker::Broker;
use crate::wire::amqp::{self, Amqp, Delivery};
use crate::wire::eventually;
use crate::wire::mqtt::{self, Connect, Mqtt};
use crate::wire::stomp::{Frame, Stomp};
use serde_json::{Value, json};

const ITEM: &[u8] = br#"<item id="I101" stock="50"/>"#;
const TOPIC: &str = "suppliers/acme/stock";

/// The warehouse: an AMQP consumer of the queue, and a STOMP subscriber of the topic.
struct Warehouse {
    queue: Amqp,
    topic: Stomp,
}

impl Warehouse {
    fn new(broker: &Broker) -> Self {
        let mut queue = Amqp::connect(broker.amqp);
        queue.consume("inventory", true);
        let mut topic = Stomp::connect(broker.stomp);
        topic.subscribe("1", "/topic/inventory", "auto", &[]);
        Self { queue, topic }
    }

    /// Both must receive this JSON.
    fn expect(&mut self, expected: &Value) -> (Delivery, Frame) {
        let (delivery, frame) = (self.queue.receive(), self.topic.receive());
        assert_eq!(&parse(&delivery.body), expected);
        assert_eq!(delivery.properties.content_type.as_deref(), Some("application/json"));
        assert_eq!(&parse(&frame.body), expected);
        assert_eq!(frame.header("content-type"), Some("application/json"));
        (delivery, frame)
    }
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(body)))
}

/// Publishes with every protocol, with and without a content type.
fn publish_from_everywhere(broker: &Broker, mut then: impl FnMut(&str)) {
    let mut v3 = Mqtt::connect(broker.mqtt, &Connect::v311("acme-3"));
    v3.publish(TOPIC, ITEM, 0);
    then("MQTT 3.1.1, QoS 0");
    v3.publish(TOPIC, ITEM, 1);
    then("MQTT 3.1.1, QoS 1");
    let mut v5 = Mqtt::connect(broker.mqtt, &Connect::v5("acme-5"));
    let said = mqtt::Properties {
        content_type: Some("application/xml".to_owned()),
        ..mqtt::Properties::default()
    };
    v5.publish_with(TOPIC, ITEM, 2, &said);
    then("MQTT 5, QoS 2, application/xml");
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    let said = amqp::Properties {
        content_type: Some("text/xml; charset=utf-8".to_owned()),
        ..amqp::Properties::persistent()
    };
    for (properties, name) in [(said, "AMQP, text/xml"), (amqp::Properties::default(), "AMQP")] {
        amqp.publish("amq.topic", "suppliers.acme.stock", &properties, ITEM);
        amqp.wait_confirms();
        then(name);
    }
    amqp.publish("", "supplier.in", &amqp::Properties::default(), ITEM);
    amqp.wait_confirms();
    then("AMQP, queue");
    let mut stomp = Stomp::connect(broker.stomp);
    stomp.send("/topic/suppliers.acme.stock", &[("content-type", "application/xml")], ITEM);
    then("STOMP, application/xml");
    stomp.send("/topic/suppliers/acme/stock", &[], ITEM);
    then("STOMP");
}

#[test]
fn xml_from_every_protocol_becomes_json_for_every_protocol() {
    let broker = Broker::hub();
    let mut warehouse = Warehouse::new(&broker);
    let expected = json!({"item_id": "I101", "stock": 50});
    publish_from_everywhere(&broker, |from| {
        println!("{from}");
        warehouse.expect(&expected);
    });
}

#[test]
fn headers_travel_with_the_result() {
    let broker = Broker::hub();
    let mut warehouse = Warehouse::new(&broker);
    let mut supplier = Mqtt::connect(broker.mqtt, &Connect::v5("acme"));
    let properties = mqtt::Properties {
        correlation: Some(b"order-7".to_vec()),
        user: vec![("region".to_owned(), "eu".to_owned())],
        ..mqtt::Properties::default()
    };
    supplier.publish_with(TOPIC, ITEM, 1, &properties);
    let (delivery, frame) = warehouse.expect(&json!({"item_id": "I101", "stock": 50}));
    assert_eq!(delivery.properties.header("region").as_deref(), Some("eu"));
    assert_eq!(delivery.properties.correlation.as_deref(), Some("order-7"));
    assert!(delivery.properties.persistent, "a QoS 1 publish stays durable");
    assert_eq!(frame.header("region"), Some("eu"));
    assert_eq!(frame.header("correlation-id"), Some("order-7"));
    assert_eq!(frame.header("priority"), Some("7"), "the route's set step");
}

#[test]
fn a_message_that_is_not_xml_is_routed_as_without_the_route() {
    let broker = Broker::hub();
    let mut watcher = Mqtt::connect(broker.mqtt, &Connect::v5("watcher"));
    watcher.subscribe("suppliers/#", 1);
    let mut supplier = Mqtt::connect(broker.mqtt, &Connect::v5("acme"));
    // XML is diverted, so the first message that the watcher gets is the second one published.
    supplier.publish(TOPIC, ITEM, 1);
    supplier.publish(TOPIC, br#"{"id": 1}"#, 1);
    assert_eq!(watcher.receive().body, br#"{"id": 1}"#);
}

#[test]
fn malformed_xml_is_dead_lettered_with_the_reason() {
    let broker = Broker::hub();
    let mut warehouse = Warehouse::new(&broker);
    let mut supplier = Mqtt::connect(broker.mqtt, &Connect::v5("acme"));
    let broken = br#"<item id="I101" stock="50""#;
    supplier.publish(TOPIC, broken, 1);
    // The retries of the malformed message do not delay the next one.
    supplier.publish("suppliers/other/stock", ITEM, 1);
    let mut operator = Amqp::connect(broker.amqp);
    let dead = eventually("a dead letter", || operator.get("dead-letters"));
    assert_eq!(dead.body, broken);
    let headers = &dead.properties.headers;
    let errors = headers.iter().filter(|(name, _)| name.starts_with("mq.error")).count();
    assert!(errors >= 2, "module and reason: {headers:?}");
    warehouse.expect(&json!({"item_id": "I101", "stock": 50}));
    supplier.publish(TOPIC, ITEM, 1);
    warehouse.expect(&json!({"item_id": "I101", "stock": 50}));
}

#[test]
fn a_crash_loses_nothing_that_was_acknowledged() {
    let mut broker = Broker::hub();
    let mut supplier = Mqtt::connect(broker.mqtt, &Connect::v5("acme"));
    for number in 0..200 {
        let item = format!("<item id=\"I{number}\" stock=\"{number}\"/>");
        supplier.publish(TOPIC, item.as_bytes(), 1);
    }
    broker.crash();
    let mut queue = Amqp::connect(broker.amqp);
    queue.consume("inventory", true);
    let mut seen = [false; 200];
    while seen.contains(&false) {
        let item = parse(&queue.receive().body);
        let stock = item["stock"].as_u64().expect("a number");
        assert_eq!(item["item_id"], json!(format!("I{stock}")));
        seen[stock as usize] = true;
    }
}
