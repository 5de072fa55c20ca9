//! A consumer of any protocol.

use crate::broker::Broker;
use crate::wire::amqp::Amqp;
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::stomp::Stomp;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Amqp,
    Mqtt,
    Stomp,
}

impl Protocol {
    /// The queue of the stuck consumer that is still there when that is gone.
    pub fn stuck_queue(self, durable: bool) -> Option<&'static str> {
        match (self, durable) {
            (Self::Amqp, _) => Some("stuck"),
            (Self::Stomp, true) => Some("stuck.s"),
            _ => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes what comes.
    Fast,
    /// It has few messages at once, and acknowledges each.
    Slow,
    /// It is sent whatever there is, and reads nothing.
    Stuck,
}

/// Messages that the slow one has at once.
const FEW: u16 = 10;
const MANY: u16 = 1000;

pub enum Reader {
    Amqp(Amqp),
    Mqtt(Mqtt),
    Stomp(Stomp, Role),
}

impl Reader {
    pub fn open(broker: &Broker, protocol: Protocol, role: Role, durable: bool) -> Self {
        let name = match role {
            Role::Fast => "fast",
            Role::Slow => "slow",
            Role::Stuck => "stuck",
        };
        let prefetch = if role == Role::Slow { FEW } else { MANY };
        // The publisher asks for this one when it is done.
        Amqp::connect(broker.amqp).queue("fast", durable);
        match protocol {
            Protocol::Amqp => {
                let mut client = Amqp::connect(broker.amqp);
                client.queue(name, durable);
                client.bind(name, "amq.topic", "slow.t");
                client.prefetch(prefetch);
                client.consume(name, role == Role::Stuck);
                Self::Amqp(client)
            }
            Protocol::Mqtt => {
                let connect = Connect { clean: !durable, ..Connect::v5(name) };
                // MQTT 5 without an expiry ends with its connection: a lasting session is one of 3.1.1.
                let connect = match durable {
                    true => Connect::persistent(name),
                    false => Connect { receive_maximum: Some(prefetch), ..connect },
                };
                let mut client = Mqtt::connect(broker.mqtt, &connect);
                client.subscribe("slow/t", u8::from(role != Role::Stuck));
                Self::Mqtt(client)
            }
            Protocol::Stomp => {
                let login = [("login", "guest"), ("passcode", "guest"), ("client-id", name)];
                let headers = [&[("accept-version", "1.2"), ("host", "/")][..], &login].concat();
                let mut client = Stomp::connect_with(broker.stomp, &headers);
                let prefetch = prefetch.to_string();
                let mut more = vec![("prefetch-count", prefetch.as_str())];
                if durable {
                    more.push(("activemq.subscriptionName", "s"));
                }
                let ack = if role == Role::Slow { "client-individual" } else { "auto" };
                let more = if role == Role::Slow { &more[..] } else { &more[1..] };
                client.subscribe("1", "/topic/slow.t", ack, more);
                Self::Stomp(client, role)
            }
        }
    }

    /// The body of the next message, which is acknowledged.
    pub fn next(&mut self, within: Duration) -> Option<Vec<u8>> {
        match self {
            Self::Amqp(client) => {
                let delivery = client.receive_within(within)?;
                client.ack(&delivery);
                Some(delivery.body)
            }
            Self::Mqtt(client) => {
                let message = client.receive_within(within)?;
                client.acknowledge(&message);
                Some(message.body)
            }
            Self::Stomp(client, role) => {
                let message = client.receive_within(within)?;
                if *role == Role::Slow {
                    client.ack(&message);
                }
                Some(message.body)
            }
        }
    }

    /// Whether the broker gives it up in time; it reads nothing before that.
    pub fn is_closed_within(&mut self, time: Duration) -> bool {
        let socket = match self {
            Self::Amqp(client) => &mut client.socket,
            Self::Mqtt(client) => &mut client.socket,
            Self::Stomp(client, _) => &mut client.socket,
        };
        std::thread::sleep(time / 2);
        socket.is_closed_within(time / 2)
    }
}
