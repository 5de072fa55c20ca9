//! One client of any protocol, and what is answered to what it tries.

use super::house::Door;
use crate::wire::amqp::{self, Amqp, Field, Out};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::stomp::Stomp;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a client says who it is: user and password; none: it says nothing. AMQP has no way to say nothing: its clients
/// then come as guest.
pub type LoginAs<'a> = Option<(&'a str, &'a str)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    Amqp,
    Mqtt5,
    Mqtt311,
    Stomp,
}

pub const SPEECHES: [Speech; 4] = [Speech::Amqp, Speech::Mqtt5, Speech::Mqtt311, Speech::Stomp];

/// What somebody tries. The names are of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    PublishToQueue(&'static str),
    /// A topic with `/`.
    PublishToTopic(&'static str),
    Retain(&'static str),
    /// A will: the client's identifier goes to the topic when the connection ends without a goodbye.
    Will(&'static str),
    Consume(&'static str),
    Subscribe(&'static str),
    /// As one of the group `crew`.
    Share(&'static str),
    Declare(&'static str),
    Delete(&'static str),
    Purge(&'static str),
    Look(&'static str),
    /// The queue to the topics.
    Bind(&'static str, &'static str),
    DeclareExchange(&'static str),
    DeleteExchange(&'static str),
    /// The session of the MQTT client with that identifier: as it, or as a consumer of its queue.
    Session(&'static str),
}

/// A client that has logged in, or not.
pub struct Visitor<'a> {
    pub speech: Speech,
    pub door: &'a Door,
    pub login: LoginAs<'a>,
}

impl Visitor<'_> {
    /// Only logs in.
    pub fn enter(&self) -> Result<(), String> {
        match self.speech {
            Speech::Amqp => self.amqp().map(drop),
            Speech::Stomp => self.stomp().map(drop),
            Speech::Mqtt5 | Speech::Mqtt311 => self.mqtt(&new_client(), None).map(drop),
        }
    }

    /// Logs in and tries it, with a body where there is one. None: the protocol has no place for it.
    pub fn tries(&self, deed: Deed, body: &str) -> Option<Result<(), String>> {
        match self.speech {
            Speech::Amqp => self.amqp_tries(deed, body),
            Speech::Stomp => self.stomp_tries(deed, body),
            Speech::Mqtt5 | Speech::Mqtt311 => self.mqtt_tries(deed, body),
        }
    }

    fn amqp(&self) -> Result<Amqp, String> {
        Amqp::log_in(self.door.knock(), self.login.unwrap_or(("guest", "guest")))
    }

    fn stomp(&self) -> Result<Stomp, String> {
        Stomp::log_in(self.door.knock(), self.login)
    }

    fn mqtt(&self, client: &str, will: Option<&str>) -> Result<Mqtt, String> {
        let level = if self.speech == Speech::Mqtt5 { 5 } else { 4 };
        let options = Connect { level, login: self.login, will, ..Connect::v5(client) };
        Mqtt::log_in(self.door.knock(), &options)
    }

    fn amqp_tries(&self, deed: Deed, body: &str) -> Option<Result<(), String>> {
        let publish = |exchange: &str, key: &str, headers: Vec<(String, Field)>| {
            let mut client = self.amqp()?;
            client.confirm_select();
            let properties = amqp::Properties { headers, ..amqp::Properties::default() };
            client.publish(exchange, key, &properties, body.as_bytes());
            client.confirmed()
        };
        let ask = |method: Out, reply: (u16, u16)| self.amqp()?.ask(method, reply).map(drop);
        let consume = |queue: &str| {
            let consume = Out::method(60, 20).u16(0).short(queue).short("").u8(2).table(&[]);
            ask(consume, (60, 21))
        };
        Some(match deed {
            Deed::PublishToQueue(queue) => publish("", queue, Vec::new()),
            Deed::PublishToTopic(topic) => publish("amq.topic", &dotted(topic), Vec::new()),
            Deed::Retain(topic) => {
                let retain = ("x-mqtt-retain".to_owned(), Field::Bool(true));
                publish("amq.topic", &dotted(topic), vec![retain])
            }
            Deed::Will(_) => return None,
            Deed::Consume(queue) => consume(queue),
            Deed::Session(client) => consume(&format!("mqtt/{client}")),
            Deed::Share(filter) => consume(&format!("share/crew/{filter}")),
            // A queue of the client's own, bound to the topics.
            Deed::Subscribe(filter) => self.amqp().and_then(|mut client| {
                let declare = Out::method(50, 10).u16(0).short("").u8(4).table(&[]);
                client.ask(declare, (50, 11))?;
                client.ask(bind("", filter), (50, 21)).map(drop)
            }),
            Deed::Declare(queue) => {
                ask(Out::method(50, 10).u16(0).short(queue).u8(0).table(&[]), (50, 11))
            }
            Deed::Look(queue) => {
                ask(Out::method(50, 10).u16(0).short(queue).u8(1).table(&[]), (50, 11))
            }
            Deed::Delete(queue) => ask(Out::method(50, 40).u16(0).short(queue).u8(0), (50, 41)),
            Deed::Purge(queue) => ask(Out::method(50, 30).u16(0).short(queue).u8(0), (50, 31)),
            Deed::Bind(queue, filter) => ask(bind(queue, filter), (50, 21)),
            Deed::DeclareExchange(name) => {
                let declare = Out::method(40, 10).u16(0).short(name).short("direct").u8(0);
                ask(declare.table(&[]), (40, 11))
            }
            Deed::DeleteExchange(name) => {
                ask(Out::method(40, 20).u16(0).short(name).u8(0), (40, 21))
            }
        })
    }

    fn mqtt_tries(&self, deed: Deed, body: &str) -> Option<Result<(), String>> {
        let publish = |topic: &str, retain: bool| {
            self.mqtt(&new_client(), None)?.try_publish(topic, body.as_bytes(), retain)
        };
        let subscribe = |filter: &str| self.mqtt(&new_client(), None)?.asks_for(filter);
        Some(match deed {
            Deed::PublishToQueue(queue) => publish(&format!("$q/{queue}"), false),
            Deed::PublishToTopic(topic) => publish(topic, false),
            Deed::Retain(topic) => publish(topic, true),
            // The connection ends here.
            Deed::Will(topic) => self.mqtt(body, Some(topic)).map(drop),
            Deed::Consume(queue) => subscribe(&format!("$q/{queue}")),
            Deed::Subscribe(filter) => subscribe(filter),
            Deed::Share(filter) => subscribe(&format!("$share/crew/{filter}")),
            Deed::Session(client) => self.mqtt(client, None).map(drop),
            _ => return None,
        })
    }

    fn stomp_tries(&self, deed: Deed, body: &str) -> Option<Result<(), String>> {
        let send = |to: &str, more: &[(&str, &str)]| {
            let headers = [&[("destination", to)], more].concat();
            self.stomp()?.try_request("SEND", &headers, body.as_bytes())
        };
        let subscribe = |from: &str| {
            let headers = [("id", "1"), ("destination", from), ("ack", "auto")];
            self.stomp()?.try_request("SUBSCRIBE", &headers, b"")
        };
        Some(match deed {
            Deed::PublishToQueue(queue) => send(&format!("/amq/queue/{queue}"), &[]),
            Deed::PublishToTopic(topic) => send(&format!("/topic/{topic}"), &[]),
            Deed::Retain(topic) => send(&format!("/topic/{topic}"), &[("retain", "true")]),
            Deed::Consume(queue) => subscribe(&format!("/amq/queue/{queue}")),
            Deed::Subscribe(filter) => subscribe(&format!("/topic/{filter}")),
            Deed::Share(filter) => subscribe(&format!("/amq/queue/share/crew/{filter}")),
            Deed::Session(client) => subscribe(&format!("/amq/queue/mqtt/{client}")),
            Deed::Declare(queue) => subscribe(&format!("/queue/{queue}")),
            _ => return None,
        })
    }
}

/// A client identifier that no session has.
fn new_client() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("visitor-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// queue.bind to topics.
fn bind(queue: &str, filter: &str) -> Out {
    let bind = Out::method(50, 20).u16(0).short(queue).short("amq.topic").short(&dotted(filter));
    bind.u8(0).table(&[])
}

/// A topic as AMQP writes it.
fn dotted(topic: &str) -> String {
    topic.replace('/', ".").replace('+', "*")
}
