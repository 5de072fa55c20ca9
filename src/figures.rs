//! What the broker says of itself at topics under `$SYS/broker/`, in Mosquitto's names and units where it has the
//! figure.

use crossdock_core::{Broker, Key, Name, NodeLook, ProtocolTotals, VhostTotals};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::time::{MissedTickBehavior, interval};

/// Whose clients the figures are about.
const PROTOCOL: &str = "mqtt";
/// In front of each topic.
const PREFIX: &str = "$SYS/broker/";

/// Publishes figures again and again; what has not changed since is not said again.
pub struct Figures {
    started: Instant,
    /// The most clients that were seen connected at once.
    clients_max: u64,
    /// What was said last, by topic.
    said: HashMap<&'static str, String>,
}

impl Figures {
    /// Figures of a process that began then.
    fn new(started: Instant) -> Self {
        Self { started, clients_max: 0, said: HashMap::new() }
    }

    /// Begins to publish them; no `pause`: never.
    pub fn start(started: Instant, broker: &Broker, pause: Duration) {
        if !pause.is_zero() {
            tokio::spawn(Self::new(started).run(broker.clone(), pause));
        }
    }

    /// Publishes them, now and after each `pause`, for as long as the process runs.
    async fn run(mut self, broker: Broker, pause: Duration) {
        let Some(vhost) = broker.settings().vhosts.first().cloned() else { return };
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let changed = self.changed(&broker, &vhost);
            if let Err(error) = broker.publish_figures(&vhost, changed) {
                tracing::debug!(%error, "the broker's figures are not published");
            }
        }
    }

    /// What has changed, with its topic.
    fn changed(&mut self, broker: &Broker, vhost: &Name) -> Vec<(Key, String)> {
        let mut changed = Vec::new();
        for (topic, text) in self.all(broker, vhost) {
            if self.said.get(topic) != Some(&text) {
                changed.push((Key::from(&*format!("{PREFIX}{topic}")), text.clone()));
                self.said.insert(topic, text);
            }
        }
        changed
    }

    fn all(&mut self, broker: &Broker, vhost: &Name) -> Vec<(&'static str, String)> {
        let node = broker.look_at_node();
        let clients = totals_of(&node);
        let mut stored = VhostTotals::default();
        broker.totals().iter().for_each(|(_, totals)| stored.add(totals));
        let objects = broker.look_at_objects(vhost).unwrap_or_default();
        self.clients_max = self.clients_max.max(clients.connections);
        let (sessions, sent) = (objects.sessions as u64, clients.deliveries);
        let sent = sent.delivered + sent.delivered_unsettled + sent.direct;
        let counts = [
            ("clients/connected", clients.connections),
            ("clients/disconnected", sessions.saturating_sub(clients.connections)),
            ("clients/total", sessions.max(clients.connections)),
            ("clients/maximum", self.clients_max),
            ("subscriptions/count", objects.bindings as u64),
            ("retained messages/count", objects.retained as u64),
            ("store/messages/count", stored.depth.waiting),
            ("store/messages/bytes", stored.depth.waiting_bytes),
            ("publish/messages/received", clients.lanes.received),
            ("publish/messages/sent", sent),
            ("publish/messages/dropped", clients.lanes.dropped + node.dropped_for_subscribers),
            ("publish/bytes/received", clients.sizes.bytes),
            ("bytes/received", clients.bytes_received),
            ("bytes/sent", clients.bytes_sent),
            ("heap/current", (node.memory.waiting + node.memory.kept) as u64),
        ];
        let mut all = vec![
            ("version", concat!("crossdock version ", env!("CARGO_PKG_VERSION")).to_owned()),
            ("uptime", format!("{} seconds", self.started.elapsed().as_secs())),
        ];
        all.extend(counts.into_iter().map(|(topic, count)| (topic, count.to_string())));
        all
    }
}

fn totals_of(node: &NodeLook) -> ProtocolTotals {
    let totals = node.protocols.iter().find(|(protocol, _)| &**protocol == PROTOCOL);
    totals.map(|(_, totals)| *totals).unwrap_or_default()
}
