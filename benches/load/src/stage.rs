//! Sets up a scenario: declares queues and exchanges, connects all clients, consumers first; and removes it all again.

use crate::scenario::{Scenario, Side, Through};
use crate::tally::Spread;
use crate::wire::amqp::{self, Source, Target};
use crate::wire::stomp::{self, Ack};
use crate::wire::{Body, Client, Consume, Produce, mqtt};
use anyhow::{Context, Result};
use std::net::SocketAddr;

/// The broker's addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Broker {
    pub amqp: Option<SocketAddr>,
    pub mqtt: Option<SocketAddr>,
    pub stomp: Option<SocketAddr>,
    /// Its process id, if its CPU time and memory are to be measured.
    pub pid: Option<u32>,
}

/// All connected clients of a scenario.
pub struct Stage {
    pub producers: Vec<Client<dyn Produce>>,
    pub consumers: Vec<Client<dyn Consume>>,
    pub body: Body,
    /// Expected size of the bodies that consumers receive; 0: not known.
    pub body_bytes: usize,
}

/// The topic that the route of examples/hub.toml watches, and the queue it writes to.
const ROUTE_TOPIC: &str = "suppliers/load/stock";
const ROUTE_QUEUE: &str = "inventory";

impl Broker {
    fn amqp(&self) -> Result<SocketAddr> {
        self.amqp.context("no AMQP address was given")
    }

    /// The address for MQTT.
    pub fn mqtt(&self) -> Result<SocketAddr> {
        self.mqtt.context("no MQTT address was given")
    }

    fn stomp(&self) -> Result<SocketAddr> {
        self.stomp.context("no STOMP address was given")
    }
}

/// Connects all clients. `run` makes the names unique to this run.
pub fn set_up(scenario: &Scenario, broker: &Broker, run: &str) -> Result<Stage> {
    let name = format!("load.{run}.{}", scenario.name);
    let body = match scenario.through {
        Through::Route => Body::xml(),
        _ => Body::binary(scenario.body_bytes),
    };
    let consumers = (0..scenario.consumers).map(|at| consumer(scenario, broker, &name, at));
    let consumers = consumers.collect::<Result<_>>()?;
    let producers =
        (0..scenario.producers).map(|at| producer(scenario, broker, (&name, at), &body));
    let producers = producers.collect::<Result<_>>()?;
    let body_bytes = if scenario.through == Through::Route { 0 } else { body.bytes.len() };
    Ok(Stage { producers, consumers, body, body_bytes })
}

/// Removes the queues and exchanges of a run. Those that belong to a connection are removed with it.
pub fn tear_down(scenario: &Scenario, broker: &Broker, run: &str) -> Result<()> {
    let name = format!("load.{run}.{}", scenario.name);
    // A queue that STOMP clients made is removed with AMQP, if the broker supports AMQP.
    let Some(address) = broker.amqp else { return Ok(()) };
    let queues = match (scenario.through, scenario.to) {
        (Through::Queue | Through::Bindings(_), _) | (Through::Topic, Side::Amqp { .. }) => {
            vec![name.clone()]
        }
        _ => Vec::new(),
    };
    let exchanges = match scenario.through {
        Through::Fanout | Through::Bindings(_) => vec![name],
        _ => Vec::new(),
    };
    amqp::delete(address, &queues, &exchanges)
}

fn consumer(
    scenario: &Scenario,
    broker: &Broker,
    name: &str,
    at: u16,
) -> Result<Client<dyn Consume>> {
    let context = || format!("consumer {at} of {}", scenario.name);
    match scenario.to {
        Side::Amqp { durable, auto_ack, .. } => {
            let source = source(scenario, name, at, durable);
            let ack_every = if auto_ack { 0 } else { source.ack_every };
            amqp::consumer(broker.amqp()?, &Source { ack_every, ..source })
        }
        Side::Mqtt { qos } => {
            let client = format!("{name}.c{at}");
            mqtt::subscriber(broker.mqtt()?, &client, &name.replace('.', "/"), qos)
        }
        Side::Stomp { individual, .. } => {
            let ack = if individual { Ack::Individual } else { Ack::Auto };
            stomp::subscriber(broker.stomp()?, &destination(scenario, name), ack)
        }
    }
    .with_context(context)
}

fn source(scenario: &Scenario, name: &str, at: u16, durable: bool) -> Source {
    let plain = Source {
        queue: name.to_owned(),
        durable,
        prefetch: 1000,
        ack_every: 100,
        ..Source::default()
    };
    match scenario.through {
        Through::Queue => plain,
        Through::Route => Source { queue: ROUTE_QUEUE.to_owned(), exists: true, ..plain },
        Through::Fanout => Source {
            // Each has a queue of its own, unless they share one.
            queue: if scenario.spread == Spread::Copies {
                format!("{name}.{at}")
            } else {
                plain.queue
            },
            exclusive: scenario.spread == Spread::Copies,
            exchange: Some((name.to_owned(), "fanout")),
            bindings: vec![String::new()],
            ..plain
        },
        Through::Bindings(count) => Source {
            exchange: Some((name.to_owned(), "topic")),
            // Half of the bindings have wildcards.
            bindings: (0..count)
                .map(|at| if at % 2 == 0 { format!("a.k{at}.z") } else { format!("*.k{at}.#") })
                .collect(),
            ..plain
        },
        Through::Topic => Source {
            exchange: Some(("amq.topic".to_owned(), "topic")),
            bindings: vec![name.to_owned()],
            ..plain
        },
    }
}

fn producer(
    scenario: &Scenario,
    broker: &Broker,
    (name, at): (&str, u16),
    body: &Body,
) -> Result<Client<dyn Produce>> {
    match scenario.from {
        Side::Amqp { durable, confirm, .. } => {
            let (exchange, keys) = match scenario.through {
                Through::Fanout => (name.to_owned(), vec![String::new()]),
                Through::Bindings(count) => {
                    (name.to_owned(), (0..count).map(|at| format!("a.k{at}.z")).collect())
                }
                Through::Topic => ("amq.topic".to_owned(), vec![name.to_owned()]),
                Through::Queue | Through::Route => (String::new(), vec![name.to_owned()]),
            };
            let target = Target { exchange, keys, durable, confirm };
            amqp::publisher(broker.amqp()?, &target, body)
        }
        Side::Mqtt { qos } => {
            let topic = match scenario.through {
                Through::Route => ROUTE_TOPIC.to_owned(),
                _ => name.replace('.', "/"),
            };
            mqtt::publisher(broker.mqtt()?, (&format!("{name}.p{at}"), &topic), qos, body)
        }
        Side::Stomp { receipts, .. } => {
            stomp::publisher(broker.stomp()?, &destination(scenario, name), receipts, body)
        }
    }
    .with_context(|| format!("producer {at} of {}", scenario.name))
}

fn destination(scenario: &Scenario, name: &str) -> String {
    match scenario.through {
        Through::Topic => format!("/topic/{name}"),
        _ => format!("/queue/{name}"),
    }
}
