//! Every protocol to every protocol, through a topic and through a queue: body, content type, headers, correlation and
//! reply address (docs/SEMANTICS.md §1, §3, §5).

use crate::broker::Broker;
use crate::wire::amqp::{self, Amqp, Field};
use crate::wire::mqtt::{self, Connect, Mqtt};
use crate::wire::stomp::Stomp;

/// A message that is sent, and the message that must arrive.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    body: Vec<u8>,
    content_type: Option<String>,
    /// The header `colour`.
    colour: Option<String>,
    correlation: Option<String>,
    /// In the form of the peer's protocol.
    reply_to: Option<String>,
}

/// One connection of one protocol.
enum Peer {
    Amqp(Amqp),
    Mqtt(Mqtt),
    Stomp(Stomp),
}

const PROTOCOLS: [&str; 3] = ["amqp", "mqtt", "stomp"];

impl Peer {
    fn new(protocol: &str, broker: &Broker, client: &str) -> Self {
        match protocol {
            "amqp" => {
                let mut amqp = Amqp::connect(broker.amqp);
                amqp.confirm_select();
                Peer::Amqp(amqp)
            }
            "mqtt" => Peer::Mqtt(Mqtt::connect(broker.mqtt, &Connect::v5(client))),
            _ => Peer::Stomp(Stomp::connect(broker.stomp)),
        }
    }

    /// A reply address in the form of this protocol.
    fn own_reply_to(&self) -> &'static str {
        match self {
            Peer::Amqp(_) => "replies",
            Peer::Mqtt(_) => "replies",
            Peer::Stomp(_) => "/queue/replies",
        }
    }

    fn subscribe(&mut self, topic: &str) {
        match self {
            Peer::Amqp(amqp) => {
                let queue = format!("{topic}-reader");
                amqp.queue(&queue, false);
                amqp.bind(&queue, "amq.topic", &topic.replace('/', "."));
                amqp.consume(&queue, true);
            }
            Peer::Mqtt(mqtt) => mqtt.subscribe(topic, 1),
            Peer::Stomp(stomp) => {
                let destination = format!("/topic/{}", topic.replace('/', "."));
                stomp.subscribe("1", &destination, "auto", &[]);
            }
        }
    }

    fn consume(&mut self, queue: &str) {
        match self {
            Peer::Amqp(amqp) => amqp.consume(queue, true),
            Peer::Mqtt(mqtt) => mqtt.subscribe(&format!("$q/{queue}"), 1),
            Peer::Stomp(stomp) => stomp.subscribe("1", &format!("/queue/{queue}"), "auto", &[]),
        }
    }

    fn publish_to_topic(&mut self, topic: &str, sample: &Sample) {
        let dotted = topic.replace('/', ".");
        match self {
            Peer::Amqp(amqp) => send_amqp(amqp, "amq.topic", &dotted, sample),
            Peer::Mqtt(mqtt) => send_mqtt(mqtt, topic, sample),
            Peer::Stomp(stomp) => send_stomp(stomp, &format!("/topic/{dotted}"), sample),
        }
    }

    fn publish_to_queue(&mut self, queue: &str, sample: &Sample) {
        match self {
            Peer::Amqp(amqp) => send_amqp(amqp, "", queue, sample),
            Peer::Mqtt(mqtt) => send_mqtt(mqtt, &format!("$q/{queue}"), sample),
            Peer::Stomp(stomp) => send_stomp(stomp, &format!("/queue/{queue}"), sample),
        }
    }

    fn receive(&mut self) -> Sample {
        match self {
            Peer::Amqp(amqp) => {
                let delivery = amqp.receive();
                Sample {
                    colour: delivery.properties.header("colour"),
                    body: delivery.body,
                    content_type: delivery.properties.content_type,
                    correlation: delivery.properties.correlation,
                    reply_to: delivery.properties.reply_to,
                }
            }
            Peer::Mqtt(mqtt) => {
                let message = mqtt.receive();
                let user = &message.properties.user;
                let colour = user.iter().find(|(name, _)| name == "colour");
                let correlation = message.properties.correlation;
                Sample {
                    colour: colour.map(|(_, value)| value.clone()),
                    body: message.body,
                    content_type: message.properties.content_type,
                    correlation: correlation.map(|c| String::from_utf8_lossy(&c).into_owned()),
                    reply_to: message.properties.response_topic,
                }
            }
            Peer::Stomp(stomp) => {
                let frame = stomp.receive();
                let header = |name: &str| frame.header(name).map(str::to_owned);
                Sample {
                    colour: header("colour"),
                    content_type: header("content-type"),
                    correlation: header("correlation-id"),
                    reply_to: header("reply-to"),
                    body: frame.body.clone(),
                }
            }
        }
    }
}

fn send_amqp(amqp: &mut Amqp, exchange: &str, key: &str, sample: &Sample) {
    let colour = sample.colour.iter().map(|c| ("colour".to_owned(), Field::Text(c.clone())));
    let properties = amqp::Properties {
        content_type: sample.content_type.clone(),
        headers: colour.collect(),
        persistent: true,
        correlation: sample.correlation.clone(),
        reply_to: sample.reply_to.clone(),
    };
    amqp.publish(exchange, key, &properties, &sample.body);
    amqp.wait_confirms();
}

fn send_mqtt(mqtt: &mut Mqtt, topic: &str, sample: &Sample) {
    let colour = sample.colour.iter().map(|c| ("colour".to_owned(), c.clone()));
    let properties = mqtt::Properties {
        content_type: sample.content_type.clone(),
        response_topic: sample.reply_to.clone(),
        correlation: sample.correlation.as_ref().map(|c| c.clone().into_bytes()),
        user: colour.collect(),
    };
    mqtt.publish_with(topic, &sample.body, 1, &properties);
}

fn send_stomp(stomp: &mut Stomp, destination: &str, sample: &Sample) {
    let fields = [
        ("content-type", &sample.content_type),
        ("colour", &sample.colour),
        ("correlation-id", &sample.correlation),
        ("reply-to", &sample.reply_to),
    ];
    let set = fields.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
    let headers: Vec<(&str, &str)> = set.chain([("persistent", "true")]).collect();
    stomp.send(destination, &headers, &sample.body);
}

/// docs/SEMANTICS.md §5: the reply address of protocol `from` in the form of protocol `to`.
fn reply_to(from: &str, to: &str) -> &'static str {
    match (from, to) {
        ("amqp" | "stomp", "amqp") => "replies",
        ("amqp" | "stomp", "mqtt") => "$reply/q/replies",
        ("amqp", "stomp") => "/amq/queue/replies",
        ("stomp", "stomp") => "/queue/replies",
        // The base64url of `replies`, without padding.
        ("mqtt", "amqp") => "mq.reply.t.cmVwbGllcw",
        ("mqtt", "stomp") => "/topic/replies",
        _ => "replies",
    }
}

fn samples(sender: &Peer) -> Vec<Sample> {
    let full = Sample {
        body: b"text: \xC3\xA4\xE2\x82\xAC".to_vec(),
        content_type: Some("text/plain".to_owned()),
        colour: Some("blue: light".to_owned()),
        correlation: Some("c-1".to_owned()),
        reply_to: Some(sender.own_reply_to().to_owned()),
    };
    let binary = Sample {
        body: (0..=255).cycle().take(70_000).collect(),
        content_type: Some("application/octet-stream".to_owned()),
        ..full.clone()
    };
    let bare = Sample {
        body: Vec::new(),
        content_type: None,
        colour: None,
        correlation: None,
        reply_to: None,
    };
    let unnamed = Sample { body: b"\0\x01\xFF".to_vec(), ..bare.clone() };
    vec![full, binary, bare, unnamed]
}

/// Sends each sample from one peer to the other and checks the message that arrives.
fn check(
    from: &str,
    to: &str,
    reader: &mut Peer,
    mut send: impl FnMut(&Sample),
    samples: &[Sample],
) {
    for sample in samples {
        send(sample);
        let mut expected = sample.clone();
        if expected.reply_to.is_some() {
            expected.reply_to = Some(reply_to(from, to).to_owned());
        }
        assert_eq!(reader.receive(), expected, "{from} to {to}");
    }
}

#[test]
fn every_pair_through_a_topic() {
    let broker = Broker::start();
    for from in PROTOCOLS {
        for to in PROTOCOLS {
            let topic = format!("pairs/{from}/{to}");
            let mut reader = Peer::new(to, &broker, "reader");
            reader.subscribe(&topic);
            let mut sender = Peer::new(from, &broker, "sender");
            let samples = samples(&sender);
            let send = |sample: &Sample| sender.publish_to_topic(&topic, sample);
            check(from, to, &mut reader, send, &samples);
        }
    }
}

#[test]
fn every_pair_through_a_queue() {
    let broker = Broker::start();
    for from in PROTOCOLS {
        for to in PROTOCOLS {
            let queue = format!("pair.{from}.{to}");
            Amqp::connect(broker.amqp).queue(&queue, true);
            let mut reader = Peer::new(to, &broker, "reader");
            reader.consume(&queue);
            let mut sender = Peer::new(from, &broker, "sender");
            let samples = samples(&sender);
            let send = |sample: &Sample| sender.publish_to_queue(&queue, sample);
            check(from, to, &mut reader, send, &samples);
        }
    }
}

#[test]
fn one_topic_reaches_everybody() {
    let broker = Broker::start();
    let mut readers: Vec<Peer> =
        PROTOCOLS.iter().map(|to| Peer::new(to, &broker, "everybody")).collect();
    readers.iter_mut().for_each(|reader| reader.subscribe("sensors/city1/temp"));
    let mut watcher = Mqtt::connect(broker.mqtt, &Connect::v311("watcher"));
    watcher.subscribe("sensors/+/#", 0);
    for from in PROTOCOLS {
        let mut sender = Peer::new(from, &broker, "sender");
        let sample = samples(&sender).remove(0);
        sender.publish_to_topic("sensors/city1/temp", &sample);
        for reader in &mut readers {
            assert_eq!(reader.receive().body, sample.body, "from {from}");
        }
        let seen = watcher.receive();
        assert_eq!((seen.topic.as_str(), &seen.body), ("sensors/city1/temp", &sample.body));
    }
}

#[test]
fn a_request_and_its_reply_cross() {
    let broker = Broker::start();
    // An AMQP requester that waits on a queue, and an MQTT responder, which can only use topics.
    let mut requester = Amqp::connect(broker.amqp);
    requester.queue("answers", false);
    requester.consume("answers", true);
    let mut responder = Mqtt::connect(broker.mqtt, &Connect::v5("responder"));
    responder.subscribe("questions", 1);
    let question = amqp::Properties {
        correlation: Some("42".to_owned()),
        reply_to: Some("answers".to_owned()),
        ..amqp::Properties::default()
    };
    requester.publish("amq.topic", "questions", &question, b"?");
    let asked = responder.receive();
    let reply = mqtt::Properties {
        correlation: asked.properties.correlation,
        ..mqtt::Properties::default()
    };
    let topic = asked.properties.response_topic.expect("where to reply to");
    responder.publish_with(&topic, b"!", 1, &reply);
    let answer = requester.receive();
    assert_eq!(answer.body, b"!");
    assert_eq!(answer.properties.correlation.as_deref(), Some("42"));

    // The other way round: the AMQP responder publishes to the reply address as if it were a queue's name.
    let mut requester = Mqtt::connect(broker.mqtt, &Connect::v5("requester"));
    requester.subscribe("answers/mine", 1);
    let mut responder = Amqp::connect(broker.amqp);
    responder.queue("questions", true);
    responder.consume("questions", true);
    let question = mqtt::Properties {
        response_topic: Some("answers/mine".to_owned()),
        correlation: Some(b"43".to_vec()),
        ..mqtt::Properties::default()
    };
    requester.publish_with("$q/questions", b"?", 1, &question);
    let asked = responder.receive();
    let reply = amqp::Properties {
        correlation: asked.properties.correlation,
        ..amqp::Properties::default()
    };
    let key = asked.properties.reply_to.expect("where to reply to");
    responder.publish("", &key, &reply, b"!");
    let answer = requester.receive();
    assert_eq!((answer.topic.as_str(), answer.body.as_slice()), ("answers/mine", &b"!"[..]));
    assert_eq!(answer.properties.correlation.as_deref(), Some(&b"43"[..]));
}
