//! The ways to publish: four that tell the publisher what became of it, and four that have no way to say no.

use super::amqp::Channel;
use super::mqtt::Client;
use crate::broker::Broker;
use crate::wire::PATIENCE;
use crate::wire::stomp::{Stomp, frame};
use std::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    AmqpConfirm,
    AmqpTx,
    Mqtt5,
    StompReceipt,
    Mqtt3,
    MqttQos0,
    AmqpUnconfirmed,
    StompSilent,
}

/// They hear what became of a publish.
pub const TOLD: [Way; 4] = [Way::AmqpConfirm, Way::AmqpTx, Way::Mqtt5, Way::StompReceipt];
/// They have no word for "no".
pub const SILENT: [Way; 4] = [Way::Mqtt3, Way::MqttQos0, Way::AmqpUnconfirmed, Way::StompSilent];

/// What a publisher heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Stored,
    /// Taken, and nobody was there.
    Unroutable,
    /// The protocol's own word.
    Refused(String),
    /// The protocol has no answer, and the connection lives.
    Nothing,
    /// The connection was closed without a word.
    Closed,
}

impl Answer {
    pub fn is_no(&self) -> bool {
        matches!(self, Answer::Refused(_))
    }
}

/// The queue of the second message of a transaction: it goes with the first one or stays out with it.
pub const COMPANIONS: &str = "companions";

enum Wire {
    Amqp(Channel),
    Mqtt(Client),
    Stomp(Stomp),
}

pub struct Publisher {
    way: Way,
    wire: Wire,
    pub mandatory: bool,
}

impl Publisher {
    pub fn connect(broker: &Broker, way: Way, client: &str) -> Self {
        let mut wire = match way {
            Way::AmqpConfirm | Way::AmqpTx | Way::AmqpUnconfirmed => {
                Wire::Amqp(Channel::connect(broker.amqp))
            }
            Way::Mqtt5 => Wire::Mqtt(Client::connect(broker.mqtt, 5, client)),
            Way::Mqtt3 | Way::MqttQos0 => Wire::Mqtt(Client::connect(broker.mqtt, 4, client)),
            Way::StompReceipt | Way::StompSilent => Wire::Stomp(Stomp::connect(broker.stomp)),
        };
        if let Wire::Amqp(channel) = &mut wire {
            match way {
                Way::AmqpConfirm => channel.ask((85, 10), &[&[0]], (85, 11)).expect("confirms"),
                Way::AmqpTx => channel.ask((90, 10), &[], (90, 11)).expect("transactions"),
                _ => {}
            }
        }
        Self { way, wire, mandatory: false }
    }

    /// Publishes to a topic, its words separated by `/`.
    pub fn publish(&mut self, topic: &str, body: &str) -> Answer {
        let (way, mandatory) = (self.way, self.mandatory);
        let dotted = topic.replace('/', ".");
        match &mut self.wire {
            Wire::Amqp(channel) => {
                channel.publish("amq.topic", &dotted, mandatory, body.as_bytes());
                amqp_answer(channel, way, body)
            }
            Wire::Mqtt(client) if way == Way::MqttQos0 => {
                client.publish_at_most_once(topic, body.as_bytes());
                silent(client.is_alive())
            }
            Wire::Mqtt(client) => match client.publish(topic, body.as_bytes(), false) {
                Some(0) => Answer::Stored,
                Some(0x10) => Answer::Unroutable,
                Some(code) => Answer::Refused(format!("0x{code:02x}")),
                None => Answer::Closed,
            },
            Wire::Stomp(stomp) => {
                let destination = format!("/topic/{topic}");
                send(stomp, &destination, body, way == Way::StompReceipt)
            }
        }
    }
}

impl Publisher {
    /// Publishes to a queue by its name.
    pub fn publish_to_queue(&mut self, queue: &str, body: &str) -> Answer {
        match &mut self.wire {
            Wire::Amqp(channel) => {
                channel.publish("", queue, false, body.as_bytes());
                amqp_answer(channel, self.way, body)
            }
            Wire::Mqtt(_) => self.publish(&format!("$q/{queue}"), body),
            Wire::Stomp(stomp) => {
                let destination = format!("/queue/{}", queue.replace('/', "%2F"));
                send(stomp, &destination, body, self.way == Way::StompReceipt)
            }
        }
    }
}

fn silent(is_alive: bool) -> Answer {
    if is_alive { Answer::Nothing } else { Answer::Closed }
}

fn amqp_answer(channel: &mut Channel, way: Way, body: &str) -> Answer {
    let answer = match way {
        Way::AmqpConfirm => channel.answer(&[(60, 80), (60, 120)]),
        Way::AmqpTx => {
            channel.publish("", COMPANIONS, false, body.as_bytes());
            channel.send((90, 20), &[]);
            channel.answer(&[(90, 21)])
        }
        _ => return silent(channel.is_alive()),
    };
    match (answer, channel.returned.take()) {
        (Ok((60, 120)), _) => Answer::Refused("nack".to_owned()),
        (Ok(_), Some(312)) => Answer::Unroutable,
        (Ok(_), None) => Answer::Stored,
        (Ok(_), Some(code)) => Answer::Refused(format!("returned {code}")),
        (Err(closed), _) => Answer::Refused(closed),
    }
}

/// SEND, with a receipt or with proof that the connection lives.
pub fn send(stomp: &mut Stomp, destination: &str, body: &str, receipt: bool) -> Answer {
    let mut headers = vec![("destination", destination), ("persistent", "true")];
    if receipt {
        headers.push(("receipt", "1"));
    }
    _ = stomp.socket.try_send(&frame("SEND", &headers, body.as_bytes()));
    if !receipt {
        let proof = [("transaction", "proof"), ("receipt", "2")];
        _ = stomp.socket.try_send(&frame("BEGIN", &proof, b""));
        _ = stomp.socket.try_send(&frame("ABORT", &[("transaction", "proof")], b""));
    }
    match stomp.frame(Instant::now() + PATIENCE) {
        None => Answer::Closed,
        Some(frame) if frame.command == "RECEIPT" && !receipt => Answer::Nothing,
        Some(frame) if frame.command == "RECEIPT" => match frame.header("mq-unroutable") {
            Some("true") => Answer::Unroutable,
            _ => Answer::Stored,
        },
        Some(frame) if frame.command == "ERROR" => {
            Answer::Refused(frame.header("crossdock-code").unwrap_or("without a code").to_owned())
        }
        Some(frame) => Answer::Refused(format!("{frame:?}")),
    }
}
