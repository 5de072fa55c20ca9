//! One connection of any of the protocols, with the same verbs.

use super::amqp::Amqp;
use super::mqtt::Mqtt;
use super::said::Said;
use super::stomp::Stomp;
use crate::broker::Broker;
use std::time::Duration;

/// A protocol and its version; short names, because every line of the table has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    A,
    M3,
    M5,
    S,
    S11,
    S10,
}

impl Wire {
    pub fn name(self) -> &'static str {
        match self {
            Wire::A => "AMQP 0-9-1",
            Wire::M3 => "MQTT 3.1.1",
            Wire::M5 => "MQTT 5",
            Wire::S => "STOMP 1.2",
            Wire::S11 => "STOMP 1.1",
            Wire::S10 => "STOMP 1.0",
        }
    }

    /// The last letter of its cells on the page.
    pub fn column(self) -> char {
        match self {
            Wire::A => 'a',
            Wire::M3 => '3',
            Wire::M5 => '5',
            Wire::S | Wire::S11 | Wire::S10 => 's',
        }
    }
}

pub enum Peer {
    Amqp(Amqp),
    Mqtt(Mqtt),
    Stomp(Stomp),
}

impl Peer {
    /// `words` are the options of an MQTT connection.
    pub fn connect(
        wire: Wire,
        broker: &Broker,
        client: &str,
        words: &[&str],
    ) -> Result<Self, String> {
        Ok(match wire {
            Wire::A => Peer::Amqp(Amqp::connect(broker.amqp)?),
            Wire::M3 => Peer::Mqtt(Mqtt::connect(broker.mqtt, 4, client, words)?),
            Wire::M5 => Peer::Mqtt(Mqtt::connect(broker.mqtt, 5, client, words)?),
            Wire::S => Peer::Stomp(Stomp::connect(broker.stomp, "1.2", client)?),
            Wire::S11 => Peer::Stomp(Stomp::connect(broker.stomp, "1.1", client)?),
            Wire::S10 => Peer::Stomp(Stomp::connect(broker.stomp, "1.0", client)?),
        })
    }

    /// Subscribes to `at`, in the protocol's own words.
    pub fn subscribe(&mut self, at: &str) -> Result<(), String> {
        match self {
            Peer::Amqp(amqp) => amqp.subscribe(at),
            Peer::Mqtt(mqtt) => mqtt.subscribe(at),
            Peer::Stomp(stomp) => stomp.subscribe(at),
        }
    }

    /// Publishes; what the broker answered.
    pub fn publish(&mut self, said: &Said) -> String {
        match self {
            Peer::Amqp(amqp) => amqp.publish(said),
            Peer::Mqtt(mqtt) => mqtt.publish(said),
            Peer::Stomp(stomp) => stomp.publish(said),
        }
    }

    /// The next message, if one comes in time; it is not settled.
    pub fn receive(&mut self, time: Duration) -> Result<Option<Said>, String> {
        match self {
            Peer::Amqp(amqp) => amqp.receive(time),
            Peer::Mqtt(mqtt) => mqtt.receive(time),
            Peer::Stomp(stomp) => stomp.receive(time),
        }
    }

    /// Settles a message, in the protocol's own words; `ack` is known to all.
    pub fn settle(&mut self, message: &Said, how: &str) {
        match self {
            Peer::Amqp(amqp) => amqp.settle(message, how),
            Peer::Mqtt(mqtt) => mqtt.settle(message, how),
            Peer::Stomp(stomp) => stomp.settle(message, how),
        }
    }
}
