//! What a seed stands for: exchanges, queues, routes, and what clients do with them.

use crossdock_core::transform::{AfterFailure, Mode};
use crossdock_core::{Address, Kind};

/// A small generator: a seed has to mean the same whatever the versions of libraries.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        let mut dice = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        (0..4).for_each(|_| _ = dice.roll(2));
        dice
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 8) % sides as u64) as usize
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }
}

/// FNV-1a: what a route does to a message follows from the seed, the route and the body.
pub fn hash(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0xff]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

pub const TOPICS: &str = "amq.topic";
/// Where failures go unless a route says otherwise.
pub const DEAD: &str = "dead-letters";
/// A queue that takes nothing until the end.
pub const FULL: &str = "full";
/// A queue with room for a few.
pub const SHORT: &str = "short";
pub const SHORT_ROOM: usize = 6;
/// A queue and an exchange that clients delete.
pub const LATE: &str = "late";
pub const LATE_EXCHANGE: &str = "late.x";
/// A queue that is watched and never declared.
pub const WATCHED_ONLY: &str = "watched.only";

pub fn topic(key: &str) -> Address {
    exchange(TOPICS, key)
}

pub fn exchange(name: &str, key: &str) -> Address {
    Address::new(name.into(), key.into())
}

pub fn queue(name: &str) -> Address {
    Address::queue(name)
}

/// What a binding leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leads {
    Queue(&'static str),
    Exchange(&'static str),
    /// A connected named session that subscribes, as MQTT clients do.
    Session,
}

/// What a session's queue is called in the lists of copies.
pub const SESSION: &str = "session";

#[derive(Debug, Clone)]
pub struct Binding {
    pub source: &'static str,
    pub key: &'static str,
    /// What a headers exchange compares with the header `h`.
    pub h: Option<u8>,
    pub to: Leads,
}

/// The state of the dead-letter queues while the routes run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadState {
    Open,
    Full,
    /// Deleted before the first publish, and declared again at the end.
    Missing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watched {
    Queue(&'static str),
    Exchange(&'static str, &'static str),
}

/// A route's predicate.
#[derive(Debug, Clone, Copy)]
pub enum When {
    All,
    /// One in so many of the ids.
    Some(u32),
    Header(u8),
    /// It went through that route.
    Been(usize),
    NotBeen(usize),
}

#[derive(Debug, Clone)]
pub struct RoutePlan {
    pub mode: Mode,
    pub queued: bool,
    pub priority: i32,
    pub required: bool,
    pub strict: bool,
    pub concurrency: u16,
    pub retry: u16,
    pub then: AfterFailure,
    pub dead: Option<Address>,
    pub watches: Vec<Watched>,
    pub when: When,
    /// Where its outputs go.
    pub to: Vec<Address>,
    /// It may refuse a publish.
    pub rejects: bool,
    /// It may have no output at all.
    pub may_be_empty: bool,
}

/// What a client publishes.
#[derive(Debug, Clone)]
pub struct Put {
    pub id: u32,
    pub to: Address,
    pub h: u8,
    pub durable: bool,
    pub confirm: bool,
    /// The publisher's protocol has a word for "no".
    pub can_refuse: bool,
    pub mandatory: bool,
}

#[derive(Debug, Clone)]
pub enum Step {
    /// One flush.
    Publish(Vec<Put>),
    Transaction(Vec<Put>, bool),
    /// Routed when the client's session is gone.
    Will(Put),
    /// Routed by the broker's timer.
    Delayed(Put),
    DeleteQueue(&'static str),
    DeleteExchange(&'static str),
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub bindings: Vec<Binding>,
    pub routes: Vec<RoutePlan>,
    pub steps: Vec<Step>,
    pub dead: DeadState,
    pub own_dead: DeadState,
    /// Hops that every publish has behind it.
    pub hops: u8,
    /// The broker is killed and started again before what is held gets room.
    pub restarts: bool,
}

/// Routes that a message may go through, one behind the other.
pub const HOPS_MAX: u8 = 32;

/// Exchanges that every seed declares. Each may be bound to those behind it, so there is no circle.
pub const EXCHANGES: [(&str, Kind); 7] = [
    (TOPICS, Kind::Topic),
    ("direct", Kind::Direct),
    ("headers", Kind::Headers),
    ("fanout", Kind::Fanout),
    ("more", Kind::Topic),
    (LATE_EXCHANGE, Kind::Fanout),
    (DEAD_TOPICS, Kind::Topic),
];

/// Topics of dead letters: watched by no route.
pub const DEAD_TOPICS: &str = "dead.topics";

pub const QUEUES: [&str; 5] = ["q0", "q1", "q2", "q3", "q4"];
/// The dead-letter queue of routes that have one of their own.
pub const OWN_DEAD: &str = "own-dead";

/// Addresses that clients publish to.
fn entries() -> Vec<Address> {
    vec![
        topic("a/b"),
        topic("a/c"),
        topic("b/c"),
        exchange("direct", "k1"),
        exchange("direct", "k2"),
        exchange("headers", "h"),
        exchange("fanout", "f"),
        exchange("more", "a/b"),
        queue("q0"),
        queue("q1"),
        queue("q2"),
    ]
}

/// Addresses where nothing is, nobody listens, or nothing fits.
fn odd_entries() -> Vec<Address> {
    let unheard = [topic("un/heard"), queue("nowhere"), exchange("gone", "k")];
    let watched = [queue(WATCHED_ONLY), queue(FULL)];
    unheard.into_iter().chain(watched).collect()
}

struct Drawing {
    dice: Dice,
    all_inline: bool,
    may_reject: bool,
    has_required: bool,
}

/// The plan of a seed.
pub fn draw(seed: u64) -> Plan {
    let mut dice = Dice::new(seed);
    let all_inline = dice.chance(35);
    let may_reject = dice.chance(40);
    let has_required = dice.chance(30);
    let mut drawing = Drawing { dice, all_inline, may_reject, has_required };
    let count = 2 + drawing.dice.roll(4);
    let routes: Vec<RoutePlan> = (0..count).map(|i| drawing.route(i)).collect();
    let bindings = drawing.bindings();
    let steps = drawing.steps();
    let dice = &mut drawing.dice;
    let mut state = || match dice.roll(10) {
        0 => DeadState::Full,
        1 => DeadState::Missing,
        _ => DeadState::Open,
    };
    let (dead, own_dead) = (state(), state());
    let hops = if dice.chance(8) { HOPS_MAX - dice.roll(3) as u8 } else { 0 };
    let restarts = dice.chance(20);
    let mut plan = Plan { seed, bindings, routes, steps, dead, own_dead, hops, restarts };
    if hops > 0 {
        // What else a policy does with too many hops is not for this test.
        plan.routes.iter_mut().for_each(|r| r.then = AfterFailure::DeadLetter);
    }
    if restarts {
        plan.bindings.retain(|b| b.to != Leads::Session);
        plan.puts().for_each(|put| put.durable = true);
    }
    plan
}

impl Plan {
    fn puts(&mut self) -> impl Iterator<Item = &mut Put> {
        self.steps.iter_mut().flat_map(|step| match step {
            Step::Publish(puts) | Step::Transaction(puts, _) => puts.iter_mut(),
            Step::Will(put) | Step::Delayed(put) => std::slice::from_mut(put).iter_mut(),
            Step::DeleteQueue(_) | Step::DeleteExchange(_) => [].iter_mut(),
        })
    }
}

impl Drawing {
    fn route(&mut self, index: usize) -> RoutePlan {
        let mode = self.dice.pick(&[Mode::Filter, Mode::Divert, Mode::Tap]);
        // A filter that waits in front of a route that refuses: who is told no is not for this test.
        let filter_inline = mode == Mode::Filter && self.may_reject;
        let queued = !self.all_inline && !filter_inline && self.dice.chance(55);
        let then = self.dice.pick(&[
            AfterFailure::DeadLetter,
            AfterFailure::DeadLetter,
            AfterFailure::Pass,
            AfterFailure::Drop,
            AfterFailure::Reject,
        ]);
        let rejects = self.may_reject && !queued;
        let then = match then {
            AfterFailure::Reject if !rejects => AfterFailure::DeadLetter,
            then => then,
        };
        let required = self.has_required && mode != Mode::Filter && self.dice.chance(50);
        let when = self.when(index);
        let mut watches = self.watches(rejects || then == AfterFailure::Reject, mode);
        if matches!(when, When::Been(_) | When::NotBeen(_)) {
            // Such a predicate may say no at the address and yes at the queue behind it: not both.
            let is_queue = |w: &Watched| matches!(w, Watched::Queue(_));
            let first = is_queue(&watches[0]);
            watches.retain(|w| is_queue(w) == first);
        }
        RoutePlan {
            mode,
            queued,
            priority: if mode == Mode::Filter { self.dice.roll(3) as i32 - 1 } else { 0 },
            required,
            strict: queued && self.dice.chance(30),
            concurrency: if queued { 1 + self.dice.roll(3) as u16 } else { 1 },
            retry: if queued { self.dice.roll(3) as u16 } else { 0 },
            then,
            dead: self.dead(),
            watches,
            when,
            to: self.destinations(index),
            rejects,
            may_be_empty: !self.has_required,
        }
    }

    fn when(&mut self, index: usize) -> When {
        let other = self.dice.roll(5);
        match self.dice.roll(8) {
            0 | 1 => When::Some(2 + self.dice.roll(2) as u32),
            2 => When::Header(self.dice.roll(2) as u8),
            3 if other != index => When::Been(other),
            4 if other != index => When::NotBeen(other),
            _ => When::All,
        }
    }

    /// Routes that refuse watch only what no route sends to.
    fn watches(&mut self, refuses: bool, mode: Mode) -> Vec<Watched> {
        let entries = [
            Watched::Exchange(TOPICS, "a/b"),
            Watched::Exchange(TOPICS, "a/+"),
            Watched::Exchange("direct", "k1"),
            Watched::Exchange("headers", "#"),
        ];
        let any = [
            Watched::Exchange(TOPICS, "#"),
            Watched::Exchange(TOPICS, "+/c"),
            Watched::Exchange(TOPICS, "m/#"),
            Watched::Exchange(TOPICS, "m/1"),
            Watched::Exchange("fanout", "#"),
            Watched::Exchange("more", "#"),
            Watched::Queue("q0"),
            Watched::Queue("q1"),
            Watched::Queue("q3"),
            Watched::Queue("q4"),
        ];
        let mut all = Vec::new();
        for _ in 0..=self.dice.roll(2) {
            let watch = match refuses || self.dice.chance(40) {
                true => self.dice.pick(&entries),
                false => self.dice.pick(&any),
            };
            if !all.contains(&watch) {
                all.push(watch);
            }
        }
        if mode == Mode::Divert && !refuses && self.dice.chance(10) {
            all.push(Watched::Queue(WATCHED_ONLY));
        }
        all
    }

    fn dead(&mut self) -> Option<Address> {
        match self.dice.roll(12) {
            0..=3 => Some(queue(OWN_DEAD)),
            4 => Some(exchange(DEAD_TOPICS, "heard")),
            5 => Some(exchange(DEAD_TOPICS, "un/heard")),
            6 => Some(exchange("dead.x", "k")),
            _ => None,
        }
    }

    /// What a route sends to: mostly what is there.
    fn destinations(&mut self, index: usize) -> Vec<Address> {
        let good = [
            queue("q2"),
            queue("q3"),
            queue("q4"),
            topic("m/1"),
            topic("m/2"),
            topic("b/c"),
            exchange("fanout", "x"),
            exchange("more", "z"),
            queue(LATE),
            exchange(LATE_EXCHANGE, "l"),
        ];
        let odd = [topic("un/heard"), queue(FULL), queue("nowhere"), exchange("gone", "k")];
        let mut to: Vec<Address> = (0..2).map(|_| self.dice.pick(&good)).collect();
        if self.dice.chance(40) {
            to.push(self.dice.pick(&odd));
        }
        if self.all_inline && self.dice.chance(40) {
            to.push(queue(SHORT));
        }
        // A name of its own, so that what it sends can be told by the place, too.
        to.push(queue(QUEUES[index % QUEUES.len()]));
        to
    }

    fn bindings(&mut self) -> Vec<Binding> {
        let mut all = Vec::new();
        let keys = |source: &str| -> &[&'static str] {
            match source {
                TOPICS => &["a/b", "a/+", "#", "b/#", "m/1", "m/#", "+/c"],
                "direct" => &["k1", "k2"],
                "more" => &["a/#", "#", "z"],
                _ => &[""],
            }
        };
        let ordinary = &EXCHANGES[..EXCHANGES.len() - 1];
        for (at, (source, kind)) in ordinary.iter().copied().enumerate() {
            for _ in 0..1 + self.dice.roll(3) {
                let key = self.dice.pick(keys(source));
                let h = (kind == Kind::Headers).then(|| self.dice.roll(2) as u8);
                let to = match at + 1 < ordinary.len() && self.dice.chance(25) {
                    true => {
                        let behind = ordinary.len() - at - 1;
                        Leads::Exchange(ordinary[at + 1 + self.dice.roll(behind)].0)
                    }
                    false if self.dice.chance(4) => Leads::Queue(FULL),
                    false if source == TOPICS && self.dice.chance(25) => Leads::Session,
                    false => Leads::Queue(self.dice.pick(&QUEUES)),
                };
                all.push(Binding { source, key, h, to });
            }
        }
        // `#` would hear everything, and nothing would be unheard.
        if self.dice.chance(60) {
            all.retain(|b| b.source != TOPICS || b.key != "#");
        }
        let to = Leads::Queue("heard");
        all.push(Binding { source: DEAD_TOPICS, key: "heard", h: None, to });
        all
    }

    fn put(&mut self, id: &mut u32) -> Put {
        *id += 1;
        let to = match self.dice.chance(15) {
            true => self.dice.pick(&odd_entries()),
            false if self.all_inline && self.dice.chance(10) => queue(SHORT),
            false => self.dice.pick(&entries()),
        };
        let h = self.dice.roll(2) as u8;
        let durable = self.dice.chance(70);
        let can_refuse = self.dice.chance(85) || to.exchange.as_str() == "gone";
        let mandatory = self.dice.chance(20);
        Put { id: *id, to, h, durable, confirm: true, can_refuse, mandatory }
    }

    fn steps(&mut self) -> Vec<Step> {
        let mut id = 0;
        let mut steps = Vec::new();
        for _ in 0..6 + self.dice.roll(20) {
            let step = match self.dice.roll(12) {
                0..=4 => Step::Publish(vec![self.put(&mut id)]),
                5..=6 => Step::Publish((0..3).map(|_| self.put(&mut id)).collect()),
                7 => Step::Publish(vec![self.unconfirmed(&mut id)]),
                8 => {
                    let puts = (0..2).map(|_| self.unconfirmed(&mut id)).collect();
                    Step::Transaction(puts, self.dice.chance(80))
                }
                9 => Step::Will(self.unconfirmed(&mut id)),
                10 => Step::Delayed(self.unconfirmed(&mut id)),
                _ if self.dice.chance(50) => Step::DeleteQueue(LATE),
                _ => Step::DeleteExchange(LATE_EXCHANGE),
            };
            steps.push(step);
        }
        steps
    }

    /// An exchange that is not there has no way to say so here: the adapters close the channel.
    fn unconfirmed(&mut self, id: &mut u32) -> Put {
        let mut put = self.put(id);
        if put.to.exchange.as_str() == "gone" {
            put.to = topic("a/b");
        }
        Put { confirm: false, ..put }
    }
}
