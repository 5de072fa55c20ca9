//! Golden conversations: every `tests/*.txt` is played over in-memory sockets, and over WebSocket, against a real
//! broker on a memory store.
//!
//! ```text
//! # a comment
//! a> CONNECT v5 id=a clean      connection a opens and sends (v4 or v5 at its CONNECT)
//! a< CONNACK 00 present=0 …     what the broker answers, in order for each connection
//! a! open v4                    connection a opens and sends nothing yet
//! a! close                      the client closes its socket
//! a! gone                       the broker closes it
//! ! wait 100                    milliseconds
//! ! crash                       the broker restarts from what was stored; connections are lost
//! ! drain                       the broker tells connections to end
//! ! declare q                   a durable queue
//! ! declare q passing           one that does not survive a restart
//! ! delete q                    a queue is deleted
//! ! publish q "body"            a foreign message to a queue; `exchange:key "body"` to an exchange
//! ! count q 3                   ready messages of a queue
//! ```
//!
//! `UPDATE_EXPECT=1` writes the answers into the files.

mod stage;
mod wire;

use crossdock_core::memory::MemoryStore;
use crossdock_core::{
    Address, Broker, Drain, Fields, Message, Meta, Publish, QueueSpec, Session, Settings,
};
use crossdock_mqtt::Options;
use stage::{Client, open};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(10);

struct Stage {
    store: MemoryStore,
    broker: Broker,
    switch: watch::Sender<bool>,
    drain: Drain,
    clients: BTreeMap<String, Client>,
    other: Session,
    way: Way,
}

/// What carries the packets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Pipe,
    WebSocket,
}

fn settings() -> Settings {
    Settings { will_grace_ms: 50, ..Settings::default() }
}

impl Stage {
    async fn new(way: Way) -> Self {
        let store = MemoryStore::default();
        let (broker, other) = open(&store, settings()).await;
        let (switch, drain) = Drain::channel();
        Self { store, broker, switch, drain, clients: BTreeMap::new(), other, way }
    }

    fn connect(&mut self, name: &str, v5: bool) {
        let options = Options { subscriptions_max: 3, ..Options::default() };
        let client = match self.way {
            Way::Pipe => stage::connect(&self.broker, options, &self.drain, v5),
            Way::WebSocket => stage::websocket::connect(&self.broker, options, &self.drain, v5),
        };
        self.clients.insert(name.to_owned(), client);
    }

    async fn say(&mut self, name: &str, line: &str) {
        if line.starts_with("CONNECT") && !line.starts_with("CONNECT again") {
            self.connect(name, !line.contains(" v4"));
        }
        let client = self.clients.get_mut(name).expect("connected");
        client.say(&line.replace("CONNECT again", "CONNECT")).await;
    }

    /// Carries out an order; what is wrong about it.
    async fn order(&mut self, name: &str, order: &str) -> String {
        let words: Vec<&str> = order.splitn(3, ' ').collect();
        match (name, &words[..]) {
            ("", ["wait", ms]) => {
                tokio::time::sleep(Duration::from_millis(ms.parse().expect("ms"))).await;
            }
            ("", ["crash"]) => {
                // First, or the old broker would still see its connections end.
                let store = self.store.crashed();
                self.clients.clear();
                (self.broker, self.other) = open(&store, settings()).await;
                self.store = store;
            }
            ("", ["drain"]) => {
                self.switch.send(true).expect("watched");
            }
            ("", ["declare", queue]) => {
                let spec = QueueSpec::durable(*queue);
                self.other.declare_queue(spec).await.expect("declared");
            }
            ("", ["declare", queue, "passing"]) => {
                let spec = QueueSpec { name: (*queue).into(), ..QueueSpec::default() };
                self.other.declare_queue(spec).await.expect("declared");
            }
            ("", ["delete", queue]) => {
                self.other.delete_queue(queue, false, false).await.expect("deleted");
            }
            ("", ["publish", to, body]) => self.publish(to, body).await,
            ("", ["count", queue, count]) => {
                let status = self.other.queue_status(queue).expect("a queue");
                if status.messages.to_string() != *count {
                    return format!("{} ready in {queue}", status.messages);
                }
            }
            (name, ["open", version]) => self.connect(name, *version == "v5"),
            (name, ["close"]) => {
                self.clients.remove(name);
            }
            (name, ["gone"]) => {
                let client = self.clients.get_mut(name).expect("connected");
                assert_eq!(client.packet(PATIENCE).await, None, "{name}: end of stream");
                self.clients.remove(name);
            }
            other => panic!("no order {other:?}"),
        }
        String::new()
    }

    async fn publish(&mut self, to: &str, body: &str) {
        let address = match to.split_once(':') {
            Some((exchange, key)) => Address::new(exchange.into(), key.into()),
            None => Address::queue(to),
        };
        let mut meta = Meta::new(self.other.origin().clone(), self.broker.now());
        (meta.durable, meta.level) = (true, 1);
        let body = body.trim_matches('"').as_bytes().to_vec();
        let message = Message::from_fields(address, meta, &Fields::default(), body.into());
        let lane = self.other.lane();
        self.other.publish(lane, Publish::new(message, false));
        self.other.sync().await.expect("stored");
    }

    /// What has come and was not expected.
    async fn rest(&mut self, patience: Duration) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, client) in &mut self.clients {
            while let Some(line) = client.packet(patience).await {
                lines.push(format!("{name}< {line}"));
            }
        }
        lines
    }
}

/// Plays a file; returns it with what was really answered.
async fn play(script: &str, way: Way, update: bool) -> String {
    let mut stage = Stage::new(way).await;
    let mut out = String::new();
    let mut lines = script.lines().peekable();
    while let Some(line) = lines.next() {
        if line.is_empty() || line.starts_with('#') {
            let _ = writeln!(out, "{line}");
        } else if let Some((name, order)) = line.split_once("! ") {
            let _ = writeln!(out, "{line}");
            let wrong = stage.order(name.trim(), order).await;
            if !wrong.is_empty() {
                let _ = writeln!(out, "! {wrong}");
            }
        } else if let Some((name, said)) = line.split_once("> ") {
            let _ = writeln!(out, "{line}");
            stage.say(name, said).await;
        } else if let Some((name, _)) = line.split_once("< ")
            && !update
        {
            let client = stage.clients.get_mut(name).expect("connected");
            let got = client.packet(PATIENCE).await.unwrap_or_else(|| "(nothing)".into());
            let _ = writeln!(out, "{name}< {got}");
        }
        let told = lines.peek().is_none_or(|next| !next.contains("< "));
        if update && told && !line.is_empty() && !line.starts_with('#') {
            for line in stage.rest(Duration::from_millis(120)).await {
                let _ = writeln!(out, "{line}");
            }
        }
    }
    for line in stage.rest(Duration::from_millis(20)).await {
        let _ = writeln!(out, "{line}");
    }
    out
}

async fn check(file: &str, way: Way) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
    let script = std::fs::read_to_string(&path).expect("a transcript");
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let update = update && way == Way::Pipe;
    let played = play(&script, way, update).await;
    if update && played != script {
        std::fs::write(&path, &played).expect("written");
        return;
    }
    for (at, (want, got)) in script.lines().zip(played.lines()).enumerate() {
        assert_eq!(got, want, "{file}:{}\n{played}", at + 1);
    }
    assert_eq!(played, script, "{file}");
}

macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                check(concat!(stringify!($name), ".txt"), Way::Pipe).await;
            }
        )*

        /// The same over WebSocket.
        mod websocket {
            use super::{Way, check};

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    check(concat!(stringify!($name), ".txt"), Way::WebSocket).await;
                }
            )*
        }

        #[test]
        fn every_file_is_played() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
            let mut files: Vec<String> = std::fs::read_dir(folder)
                .expect("a folder")
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
                .filter_map(|name| name.strip_suffix(".txt").map(str::to_owned))
                .collect();
            let mut played = vec![$(stringify!($name).to_owned()),*];
            (files.sort(), played.sort());
            assert_eq!(files, played);
        }
    };
}

transcripts!(
    connect,
    refusals,
    publish,
    qos2,
    retained,
    wills,
    sessions,
    properties,
    aliases,
    errors,
    subscriptions,
    shared,
    queues,
    limits,
    restart,
    drain,
    old_version,
    version_3_1,
    codes,
    logins,
    qos2_queues,
    strings,
    headers,
    resent,
    values,
    answers,
    delayed,
);
