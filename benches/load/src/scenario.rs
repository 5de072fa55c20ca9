//! The scenarios: who sends which messages to whom, and within which limits. Only data; nothing here runs.

use crate::tally::Spread;

/// A protocol and its delivery level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Amqp { durable: bool, confirm: bool, auto_ack: bool },
    Mqtt { qos: u8 },
    Stomp { receipts: bool, individual: bool },
}

/// The queue, exchange or topic that messages go through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// One queue.
    Queue,
    /// A fanout exchange.
    Fanout,
    /// A topic exchange with this many bindings to one queue; messages use them in turn.
    Bindings(u16),
    /// One topic, which all protocols can use.
    Topic,
    /// The content route of examples/hub.toml, which converts XML to JSON.
    Route,
}

/// A scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub from: Side,
    pub to: Side,
    pub through: Through,
    pub producers: u16,
    pub consumers: u16,
    pub spread: Spread,
    pub body_bytes: usize,
    /// Messages that all producers together may be ahead of the consumers, so that queues stay short; 0: no limit.
    pub ahead: u64,
    /// Messages that a producer may have unconfirmed; 0: messages are not confirmed.
    pub in_flight: u64,
    /// Messages per second of each producer; 0: as fast as possible.
    pub rate: u64,
    /// Messages after which each producer ends; 0: no limit.
    pub count: u64,
    /// Microseconds that a consumer spends on each message.
    pub pause_us: u64,
}

/// Connections of the idle scenario.
pub const IDLE_CONNECTIONS: usize = 5_000;
/// Name of the idle scenario.
pub const IDLE: &str = "idle-mqtt";
/// Description of the idle scenario.
pub const IDLE_ABOUT: &str = "5,000 idle MQTT connections: connects a second, memory of each";

const AMQP: Side = Side::Amqp { durable: false, confirm: false, auto_ack: false };
const AMQP_AUTO_ACK: Side = Side::Amqp { durable: false, confirm: false, auto_ack: true };
const AMQP_DURABLE: Side = Side::Amqp { durable: true, confirm: true, auto_ack: false };
const STOMP: Side = Side::Stomp { receipts: false, individual: false };
const QOS_0: Side = Side::Mqtt { qos: 0 };
const QOS_1: Side = Side::Mqtt { qos: 1 };
const QOS_2: Side = Side::Mqtt { qos: 2 };

/// One AMQP producer, one queue, one consumer.
const PLAIN: Scenario = Scenario {
    name: "",
    about: "",
    from: AMQP,
    to: AMQP,
    through: Through::Queue,
    producers: 1,
    consumers: 1,
    spread: Spread::Shared,
    body_bytes: 128,
    ahead: 20_000,
    in_flight: 0,
    rate: 0,
    count: 0,
    pause_us: 0,
};

const fn plain(name: &'static str, about: &'static str) -> Scenario {
    Scenario { name, about, ..PLAIN }
}

const fn sized(name: &'static str, about: &'static str, body_bytes: usize) -> Scenario {
    Scenario { body_bytes, ..plain(name, about) }
}

const fn durable(name: &'static str, about: &'static str, body_bytes: usize) -> Scenario {
    let in_flight = 1000;
    Scenario { from: AMQP_DURABLE, to: AMQP_DURABLE, in_flight, ..sized(name, about, body_bytes) }
}

const fn auto_ack(name: &'static str, about: &'static str, body_bytes: usize) -> Scenario {
    Scenario { to: AMQP_AUTO_ACK, ..sized(name, about, body_bytes) }
}

/// One producer, ten queues, each with its consumer.
const fn fanout(name: &'static str, about: &'static str, body_bytes: usize) -> Scenario {
    let (through, spread) = (Through::Fanout, Spread::Copies);
    Scenario { through, consumers: 10, spread, ahead: 5_000, ..sized(name, about, body_bytes) }
}

const fn bindings(
    name: &'static str,
    about: &'static str,
    (count, body_bytes): (u16, usize),
) -> Scenario {
    Scenario { through: Through::Bindings(count), ..sized(name, about, body_bytes) }
}

const fn mqtt(name: &'static str, about: &'static str, side: Side) -> Scenario {
    let in_flight = match side {
        Side::Mqtt { qos: 0 } => 0,
        _ => 100,
    };
    Scenario { from: side, to: side, through: Through::Topic, in_flight, ..plain(name, about) }
}

const fn stomp(name: &'static str, about: &'static str, through: Through) -> Scenario {
    Scenario { from: STOMP, to: STOMP, through, ..plain(name, about) }
}

/// A scenario at a rate that every broker can handle.
const fn steady(name: &'static str, about: &'static str, of: Scenario) -> Scenario {
    Scenario { name, about, ahead: 0, rate: 1000, ..of }
}

/// All scenarios, in the order in which they are run.
pub const SCENARIOS: &[Scenario] = &[
    plain("amqp-transient-128", "AMQP, 1 to 1, 128 B, prefetch 1,000"),
    sized("amqp-transient-1k", "AMQP, 1 to 1, 1 KiB, prefetch 1,000", 1024),
    Scenario {
        ahead: 2_000,
        ..sized("amqp-transient-16k", "AMQP, 1 to 1, 16 KiB, prefetch 1,000", 16_384)
    },
    Scenario {
        producers: 4,
        consumers: 4,
        ..plain("amqp-transient-4x4", "AMQP, 4 to 4 on one queue, 128 B")
    },
    auto_ack("amqp-auto-ack-128", "AMQP, auto-ack, 1 to 1, 128 B", 128),
    auto_ack("amqp-auto-ack-1k", "AMQP, auto-ack, 1 to 1, 1 KiB", 1024),
    Scenario {
        ahead: 2_000,
        ..auto_ack("amqp-auto-ack-16k", "AMQP, auto-ack, 1 to 1, 16 KiB", 16_384)
    },
    durable("amqp-durable-128", "AMQP, durable, confirmed, window 1,000, 128 B", 128),
    durable("amqp-durable-1k", "AMQP, durable, confirmed, window 1,000, 1 KiB", 1024),
    Scenario {
        ahead: 2_000,
        ..durable("amqp-durable-16k", "AMQP, durable, confirmed, window 1,000, 16 KiB", 16_384)
    },
    fanout("amqp-fanout-10", "AMQP, fanout exchange, 1 to 10, 128 B", 128),
    fanout("amqp-fanout-10-1k", "AMQP, fanout exchange, 1 to 10, 1 KiB", 1024),
    Scenario {
        ahead: 1_000,
        ..fanout("amqp-fanout-10-16k", "AMQP, fanout exchange, 1 to 10, 16 KiB", 16_384)
    },
    bindings("amqp-topic-100", "AMQP, topic exchange, 100 bindings, 1 to 1, 128 B", (100, 128)),
    bindings("amqp-topic-1000", "AMQP, topic exchange, 1,000 bindings, 1 to 1, 128 B", (1000, 128)),
    bindings(
        "amqp-topic-1000-1k",
        "AMQP, topic exchange, 1,000 bindings, 1 to 1, 1 KiB",
        (1000, 1024),
    ),
    Scenario {
        ahead: 2_000,
        ..bindings(
            "amqp-topic-1000-16k",
            "AMQP, topic exchange, 1,000 bindings, 1 to 1, 16 KiB",
            (1000, 16_384),
        )
    },
    mqtt("mqtt-qos0", "MQTT 3.1.1, QoS 0, 1 to 1, 128 B", QOS_0),
    mqtt("mqtt-qos1", "MQTT 3.1.1, QoS 1, window 100, 1 to 1, 128 B", QOS_1),
    mqtt("mqtt-qos2", "MQTT 3.1.1, QoS 2, window 100, 1 to 1, 128 B", QOS_2),
    Scenario {
        consumers: 50,
        spread: Spread::Copies,
        ahead: 2_000,
        ..mqtt("mqtt-fanout-50", "MQTT 3.1.1, QoS 0, 1 to 50, 128 B", QOS_0)
    },
    stomp("stomp-queue-auto", "STOMP 1.2, queue, ack:auto, 1 to 1, 128 B", Through::Queue),
    Scenario {
        to: Side::Stomp { receipts: false, individual: true },
        ..stomp(
            "stomp-queue-individual",
            "STOMP 1.2, queue, ack:client-individual, 1 to 1, 128 B",
            Through::Queue,
        )
    },
    stomp("stomp-topic", "STOMP 1.2, topic, ack:auto, 1 to 1, 128 B", Through::Topic),
    Scenario {
        from: Side::Stomp { receipts: true, individual: true },
        to: Side::Stomp { receipts: true, individual: true },
        in_flight: 1000,
        ..stomp(
            "stomp-durable",
            "STOMP 1.2, persistent, receipts, window 1,000, 128 B",
            Through::Queue,
        )
    },
    Scenario {
        from: QOS_0,
        through: Through::Topic,
        ..plain("mqtt-to-amqp", "MQTT QoS 0 to AMQP, through a topic, 128 B")
    },
    Scenario {
        from: STOMP,
        to: QOS_0,
        through: Through::Topic,
        ..plain("stomp-to-mqtt", "STOMP to MQTT QoS 0, through a topic, 128 B")
    },
    Scenario {
        from: QOS_0,
        to: AMQP,
        through: Through::Route,
        ahead: 5_000,
        ..plain("route-xml-to-json", "MQTT QoS 0 to AMQP through the WASM module, 128 B of XML")
    },
    steady("latency-amqp", "AMQP transient, 1,000 messages a second, 128 B", PLAIN),
    Scenario {
        in_flight: 1000,
        ..steady(
            "latency-amqp-durable",
            "AMQP durable, 1,000 messages a second, 128 B",
            durable("", "", 128),
        )
    },
    steady("latency-mqtt", "MQTT QoS 0, 1,000 messages a second, 128 B", mqtt("", "", QOS_0)),
    steady(
        "latency-stomp",
        "STOMP queue, ack:auto, 1,000 messages a second, 128 B",
        stomp("", "", Through::Queue),
    ),
    Scenario {
        ahead: 0,
        count: 5_000,
        pause_us: 400,
        ..mqtt("prove-loss", "MQTT QoS 1, 5,000 messages to a consumer that is too slow", QOS_1)
    },
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

impl Scenario {
    /// Deliveries that each message leads to.
    pub fn copies(&self) -> u64 {
        match self.spread {
            Spread::Shared => 1,
            Spread::Copies => u64::from(self.consumers),
        }
    }

    /// Names of the protocols that it needs.
    pub fn protocols(&self) -> Vec<&'static str> {
        let mut names = vec![self.from.protocol(), self.to.protocol()];
        names.dedup();
        names
    }
}

impl Side {
    pub fn protocol(self) -> &'static str {
        match self {
            Self::Amqp { .. } => "amqp",
            Self::Mqtt { .. } => "mqtt",
            Self::Stomp { .. } => "stomp",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_there_and_differ() {
        let names: HashSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        assert!(!names.contains("") && !names.contains(IDLE));
        assert!(SCENARIOS.iter().all(|scenario| !scenario.about.is_empty()));
    }

    #[test]
    fn who_is_confirmed_has_a_window() {
        for scenario in SCENARIOS {
            let confirmed = match scenario.from {
                Side::Amqp { confirm, .. } => confirm,
                Side::Mqtt { qos } => qos > 0,
                Side::Stomp { receipts, .. } => receipts,
            };
            assert_eq!(confirmed, scenario.in_flight > 0, "{}", scenario.name);
        }
    }

    /// What Crossdock and RabbitMQ are compared by.
    #[test]
    fn amqp_is_measured_in_every_way_with_every_size() {
        let ways: [fn(&Scenario) -> bool; 4] = [
            |it| it.to == AMQP_AUTO_ACK && it.through == Through::Queue,
            |it| it.from == AMQP_DURABLE && it.in_flight > 0 && it.through == Through::Queue,
            |it| it.through == Through::Fanout && it.copies() == 10,
            |it| it.through == Through::Bindings(1000),
        ];
        for (number, way) in ways.iter().enumerate() {
            for size in [128, 1024, 16_384] {
                let is = |it: &&Scenario| way(it) && it.body_bytes == size && it.rate == 0;
                assert_eq!(SCENARIOS.iter().filter(is).count(), 1, "way {number}, {size} bytes");
            }
        }
    }

    #[test]
    fn every_scenario_is_bounded() {
        for scenario in SCENARIOS {
            let bounded = scenario.ahead > 0 || scenario.rate > 0 || scenario.count > 0;
            assert!(bounded, "{}", scenario.name);
        }
    }
}
