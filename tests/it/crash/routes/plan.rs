//! The configuration of a run, from its seed: queues, exchanges, bindings, and two to five routes that overlap. What
//! a route sends to is watched only by routes behind it, so that the broker finds no circle.

use crate::broker::root;
use crate::crash::dice::Dice;
use std::collections::BTreeSet;
use std::fmt::{self, Write};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Filter,
    Divert,
    Tap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    DeadLetter,
    Pass,
    Drop,
    Reject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    All,
    /// The header `h` is `1`, or `0`.
    Header(bool),
    /// The body has this word.
    Body(&'static str),
    /// The header `p` is there.
    Part,
}

/// An address: the exchange (empty: the queue of that name) and the key in topic form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    pub exchange: String,
    pub key: String,
}

#[derive(Debug, Clone)]
pub struct Route {
    pub mode: Mode,
    /// It has a wasm step, and so a queue of its own.
    pub queued: bool,
    pub priority: i32,
    pub required: bool,
    pub strict: bool,
    pub concurrency: u64,
    pub retry: u64,
    pub then: Then,
    /// A queue; none: the virtual host's.
    pub dead: Option<&'static str>,
    /// Addresses with patterns as keys.
    pub watches: Vec<Address>,
    pub when: When,
    /// Addresses; `{p}` in one stands for the header `p`.
    pub to: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct Binding {
    pub source: &'static str,
    pub key: String,
    /// What the headers exchange compares with the header `h`.
    pub h: Option<bool>,
    /// An exchange has a name that begins with `x.`.
    pub to: &'static str,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub bindings: Vec<Binding>,
    pub routes: Vec<Route>,
    /// Where the module sends the first part of a message that it splits.
    pub split_to: &'static str,
    /// Room of the queue [`FULL`].
    pub room: u64,
}

pub const TOPICS: &str = "amq.topic";
/// A queue that is soon full.
pub const FULL: &str = "full";
/// A queue that a client deletes.
pub const LATE: &str = "late";
pub const DEAD: &str = "dead-letters";
pub const OWN_DEAD: &str = "own-dead";
/// All queues, those with dead letters at the end.
pub const QUEUES: [&str; 8] = ["q0", "q1", "q2", "q3", FULL, LATE, OWN_DEAD, DEAD];
/// Exchanges with their types. Each is bound to exchanges behind it at most.
pub const EXCHANGES: [(&str, &str); 5] = [
    ("x.fan", "fanout"),
    ("x.direct", "direct"),
    ("x.head", "headers"),
    ("x.topic", "topic"),
    ("x.out", "fanout"),
];

/// What clients publish to. Those at the end are no topics.
pub const ENTRIES: [&str; 10] = [
    "topic:in/a",
    "topic:in/b",
    "queue:q0",
    "queue:q1",
    "exchange:x.direct/k1",
    "exchange:x.direct/k2",
    "exchange:x.head/h",
    "exchange:x.fan/f",
    "exchange:x.topic/t/a",
    "queue:full",
];
/// So many of [`ENTRIES`] can be published to by MQTT.
pub const MQTT_ENTRIES: u64 = 4;

/// What the module is asked for by the first word of a body.
pub const WORDS: [&str; 6] = ["go", "error", "keep", "drop", "reject", "split"];

impl Address {
    /// Reads `queue:NAME`, `topic:KEY`, `exchange:NAME` and `exchange:NAME/KEY`.
    pub fn read(text: &str) -> Self {
        let (kind, rest) = text.split_once(':').expect("an address of ours");
        let (exchange, key) = match kind {
            "queue" => ("", rest),
            "topic" => (TOPICS, rest),
            _ => rest.split_once('/').unwrap_or((rest, "#")),
        };
        Self { exchange: exchange.into(), key: key.into() }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exchange.as_str() {
            "" => write!(f, "queue:{}", self.key),
            TOPICS => write!(f, "topic:{}", self.key),
            exchange => write!(f, "exchange:{exchange}/{}", self.key),
        }
    }
}

fn pick<T: Clone>(dice: &mut Dice, from: &[T]) -> T {
    from[dice.below(from.len() as u64) as usize].clone()
}

/// The plan of a seed.
pub fn draw(dice: &mut Dice) -> Plan {
    let count = dice.range(2, 5) as usize;
    let routes = (0..count).map(|index| route(dice, index, index + 1 == count)).collect();
    let bindings = bindings(dice, count);
    let split_to = pick(dice, &["queue:q3", "topic:s/9"]);
    Plan { bindings, routes, split_to, room: dice.range(1, 60) }
}

fn route(dice: &mut Dice, index: usize, is_last: bool) -> Route {
    let mode = pick(dice, &[Mode::Filter, Mode::Divert, Mode::Tap]);
    let queued = dice.chance(1, 2);
    let is_filter = mode == Mode::Filter;
    let then = match (dice.below(5), queued) {
        (0, _) => Then::Pass,
        (1, _) => Then::Drop,
        (2, false) => Then::Reject,
        _ => Then::DeadLetter,
    };
    // Letters to a full queue wait, or refuse the publisher, as results do.
    let dead = match dice.below(10) {
        0 => Some(FULL),
        1..4 => Some(OWN_DEAD),
        _ => None,
    };
    Route {
        mode,
        queued,
        priority: if is_filter { dice.range(0, 2) as i32 - 1 } else { 0 },
        required: !is_filter && dice.chance(1, 5),
        strict: queued && dice.chance(1, 3),
        concurrency: if queued { dice.range(1, 3) } else { 1 },
        retry: if queued { dice.below(3) } else { 0 },
        then,
        dead: dead.filter(|_| then == Then::DeadLetter),
        watches: watches(dice, index, is_last, is_filter),
        when: when(dice),
        to: if is_filter { Vec::new() } else { destinations(dice, index, is_last) },
    }
}

fn when(dice: &mut Dice) -> When {
    match dice.below(8) {
        0 => When::Header(true),
        1 => When::Header(false),
        2 => When::Body("go"),
        3 => When::Body("split"),
        4 => When::Part,
        _ => When::All,
    }
}

/// Topics `s/N` are sent to by routes before the N-th only, the queues q2 and q3 by all.
fn watches(dice: &mut Dice, index: usize, is_last: bool, is_filter: bool) -> Vec<Address> {
    let mut all: Vec<String> = [
        "topic:in/a",
        "topic:in/+",
        "topic:in/#",
        "exchange:x.direct/k1",
        "exchange:x.direct",
        "exchange:x.head",
        "exchange:x.fan",
        "exchange:x.topic/t/#",
        "queue:q0",
        "queue:q1",
    ]
    .map(str::to_owned)
    .into();
    all.extend((1..=index).map(|n| format!("topic:s/{n}")));
    if is_last {
        all.extend(["topic:s/#".to_owned(), "queue:q2".to_owned()]);
    }
    if is_filter {
        all.extend(["topic:#", "queue:q2", "queue:q3"].map(str::to_owned));
    }
    let mut watches: Vec<Address> = Vec::new();
    for _ in 0..dice.range(1, 4) {
        let watch = Address::read(&pick(dice, &all));
        if !watches.contains(&watch) {
            watches.push(watch);
        }
    }
    watches
}

fn destinations(dice: &mut Dice, index: usize, is_last: bool) -> Vec<String> {
    let mut all: Vec<String> =
        ["queue:q3", "exchange:x.out/o", "topic:un/heard"].map(str::to_owned).into();
    if !is_last {
        all.push("queue:q2".to_owned());
        all.extend((index + 1..=5).map(|n| format!("topic:s/{n}")));
        if dice.chance(1, 4) {
            all.extend(["topic:s/{p}", "topic:s/{p}"].map(str::to_owned));
        }
    }
    for (name, parts) in [(FULL, 5), (LATE, 3)] {
        if dice.chance(1, parts) {
            all.extend([format!("queue:{name}"), format!("queue:{name}")]);
        }
    }
    let mut to: Vec<String> = (0..dice.range(1, 3)).map(|_| pick(dice, &all)).collect();
    to.sort();
    to.dedup();
    to
}

fn bindings(dice: &mut Dice, routes: usize) -> Vec<Binding> {
    let mut all = Vec::new();
    let out = Binding { source: "x.out", key: String::new(), h: None, to: "q3" };
    all.push(out);
    let sources = ["in/a", "in/+", "#in", "k1", "k2", "head", "head", "fan", "fan", "t/#", "#"];
    for what in sources {
        if dice.chance(1, 4) {
            continue;
        }
        let (source, key) = match what {
            "in/a" | "in/+" => (TOPICS, what),
            "#in" => (TOPICS, "in/#"),
            "k1" | "k2" => ("x.direct", what),
            "head" => ("x.head", ""),
            "fan" => ("x.fan", ""),
            _ => ("x.topic", what),
        };
        let h = (what == "head").then(|| dice.chance(1, 2));
        let to = match dice.below(20) {
            0 => FULL,
            1 => LATE,
            2 if what == "fan" => "x.topic",
            _ => pick(dice, &["q0", "q1", "q2", "q3"]),
        };
        all.push(Binding { source, key: key.to_owned(), h, to });
    }
    for key in (1..=routes).map(|n| format!("s/{n}")).chain(["s/9".to_owned(), "s/#".to_owned()]) {
        // Only the last route and filters watch q2.
        let to = if dice.chance(1, 15) { FULL } else { pick(dice, &["q2", "q3"]) };
        if dice.chance(2, 3) {
            all.push(Binding { source: TOPICS, key, h: None, to });
        }
    }
    let mut seen = BTreeSet::new();
    all.retain(|b| seen.insert((b.source, b.key.clone(), b.h, b.to)));
    all
}

impl Plan {
    pub fn toml(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a text grows");
        text
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        for queue in QUEUES {
            writeln!(out, "[[queue]]\nname = \"{queue}\"")?;
            if queue == FULL {
                let room = self.room;
                writeln!(
                    out,
                    "arguments = {{ x-max-length = {room}, x-overflow = \"reject-publish\" }}"
                )?;
            }
        }
        for (name, kind) in EXCHANGES {
            writeln!(out, "[[exchange]]\nname = \"{name}\"\ntype = \"{kind}\"")?;
        }
        for binding in &self.bindings {
            let Binding { source, key, h, to } = binding;
            let kind = if to.starts_with("x.") { "exchange" } else { "queue" };
            writeln!(
                out,
                "[[binding]]\nsource = \"{source}\"\nkey = \"{key}\"\nto = \"{kind}:{to}\""
            )?;
            if let Some(h) = h {
                writeln!(out, "arguments = {{ h = \"{}\" }}", u8::from(*h))?;
            }
        }
        self.routes.iter().enumerate().try_for_each(|(n, route)| route.write(n, out))
    }

    /// The body of a message: what it asks the module for, and its number, which every part has.
    pub fn body(&self, word: &str, id: u32) -> String {
        match word {
            "split" => format!("split {}=#{id}# #{id}#", self.split_to),
            word => format!("{word} #{id}#"),
        }
    }
}

impl Route {
    fn write(&self, number: usize, out: &mut String) -> fmt::Result {
        let list = |words: &[String]| {
            words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
        };
        let from: Vec<String> = self.watches.iter().map(Address::to_string).collect();
        writeln!(out, "[[route]]\nname = \"r{number}\"\nfrom = [{}]", list(&from))?;
        match self.when {
            When::All => {}
            When::Header(h) => writeln!(out, "when = \"h = '{}'\"", u8::from(h))?,
            When::Body(word) => writeln!(out, "when = \"body LIKE '%{word}%'\"")?,
            When::Part => writeln!(out, "when = \"p IS NOT NULL\"")?,
        }
        let module = root().join("transforms/tests/misbehave.wasm");
        // What messages may ask to be split to.
        let granted = "destinations = [\"queue:q3\", \"topic:s/9\"]";
        let module = format!("{{ wasm = \"{}\", {granted} }}, ", module.display());
        let module = if self.queued { &module } else { "" };
        writeln!(out, "steps = [{module}{{ set = {{ m_r{number} = \"'yes'\" }} }}]")?;
        let mode = format!("{:?}", self.mode).to_lowercase();
        writeln!(out, "mode = \"{mode}\"")?;
        match self.mode {
            Mode::Filter => writeln!(out, "priority = {}", self.priority)?,
            _ => writeln!(out, "to = [{}]\nrequired = {}", list(&self.to), self.required)?,
        }
        if self.queued {
            let order = if self.strict { "strict" } else { "relaxed" };
            writeln!(out, "order = \"{order}\"\nconcurrency = {}", self.concurrency)?;
            writeln!(out, "limits = {{ deadline = \"5s\" }}")?;
        }
        let then = match self.then {
            Then::DeadLetter => "dead-letter",
            Then::Pass => "pass",
            Then::Drop => "drop",
            Then::Reject => "reject",
        };
        let dead = self.dead.map(|dead| format!(", dead_letter = \"queue:{dead}\""));
        let retry = format!(", retry = {}, backoff = \"5ms\"", self.retry);
        let retry = if self.queued { &retry } else { "" };
        writeln!(out, "on_error = {{ then = \"{then}\"{}{retry} }}", dead.unwrap_or_default())
    }
}
