//! Short names of values that are too long for a place which whoever answers copies, and reads nothing else: an id of
//! a correlation, a topic to answer to. Whoever writes the place keeps the value here and writes its name; what comes
//! back with the name gets the value again.
//!
//! A value is kept for its requesters: as long as one of their connections lives, or a message of theirs, and 60
//! seconds more. All of them take [`BYTES_MAX`] at most, those of one requester [`REQUESTER_BYTES_MAX`]; beyond that
//! the oldest values go, and their names lead nowhere.

use super::budget::{Account, Budget, Charge};
use super::cost::{ALLOCATION, Cost, MAP_ENTRY};
use super::{Fields, Id, Key, Name, Origin, ReplyTo, Timestamp};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, OnceLock, Weak};

/// Names of ids of correlations begin like this.
pub const CORRELATION: &str = "mq.corr.";
/// Names of topics to answer to begin like this.
pub const REPLY_TOPIC: &str = "mq.reply.a.";

/// How long a name is known when its last requester is gone, in milliseconds.
const AFTERLIFE_MS: u64 = 60_000;
/// Between two looks for requesters that are gone, in milliseconds.
const LOOK_EVERY_MS: u64 = 5_000;

/// Bytes of memory that all values, and those of one requester, take at most.
pub const BYTES_MAX: usize = 16 << 20;
pub const REQUESTER_BYTES_MAX: usize = 512 << 10;

/// A value that has a name.
#[derive(Debug, Clone, PartialEq)]
pub enum Aliased {
    Correlation(Id),
    Topic(Key),
}

/// The names of all adapters.
#[derive(Debug, Default)]
pub struct Aliases {
    state: Mutex<State>,
    charge: OnceLock<Charge>,
}

#[derive(Debug, Default)]
struct State {
    /// Values by their names, and for how many requesters each is kept.
    known: HashMap<Name, (Aliased, usize)>,
    /// By the addresses of their origins, which live as long as somebody points to them.
    requesters: HashMap<usize, Requester>,
    /// Who has which name.
    kept: HashSet<(usize, Name)>,
    bytes: usize,
    looked: Timestamp,
}

#[derive(Debug)]
struct Requester {
    origin: Weak<Origin>,
    /// When it was found to be gone.
    gone: Option<Timestamp>,
    /// The oldest first, with the bytes that each takes.
    names: VecDeque<(Name, usize)>,
    bytes: usize,
}

impl Aliases {
    /// What it takes counts against that budget.
    pub fn charge_to(&self, budget: &Arc<Budget>) {
        self.charge.get_or_init(|| budget.charge(Account::Kept, 0));
    }

    /// Keeps a value under a name that no other value has.
    pub fn keep(&self, name: Name, value: Aliased, requester: &Arc<Origin>, now: Timestamp) {
        let mut state = self.state.lock();
        if state.looked.until(now) >= LOOK_EVERY_MS {
            state.look(now);
        }
        state.add(name, value, requester);
        if let Some(charge) = self.charge.get() {
            charge.set(state.bytes);
        }
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<Aliased> {
        self.state.lock().known.get(name).map(|(value, _)| value.clone())
    }

    /// Names in the fields of an answer become what they stand for.
    #[inline]
    pub fn restore(&self, fields: &mut Fields) {
        let p = &fields.properties;
        if p.correlation_id.is_some() || p.reply_to.is_some() {
            self.restore_names(fields);
        }
    }

    fn restore_names(&self, fields: &mut Fields) {
        let p = &mut fields.properties;
        if let Some(Id::Text(name)) = &p.correlation_id
            && name.starts_with(CORRELATION)
            && let Some(Aliased::Correlation(id)) = self.get(name)
        {
            p.correlation_id = Some(id);
        }
        if let Some(ReplyTo::Queue(name)) = &p.reply_to
            && let Some(topic) = self.topic(name)
        {
            p.reply_to = Some(ReplyTo::Topic(topic));
        }
    }

    /// The topic, in topic form, that a name stands for.
    pub fn topic(&self, name: &str) -> Option<Key> {
        if !name.starts_with(REPLY_TOPIC) {
            return None;
        }
        match self.get(name) {
            Some(Aliased::Topic(topic)) => Some(topic),
            _ => None,
        }
    }
}

impl State {
    fn add(&mut self, name: Name, value: Aliased, requester: &Arc<Origin>) {
        let at = Arc::as_ptr(requester).addr();
        let new = || Requester {
            origin: Arc::downgrade(requester),
            gone: None,
            names: VecDeque::new(),
            bytes: 0,
        };
        if !self.kept.insert((at, name.clone())) {
            return;
        }
        let its = self.requesters.entry(at).or_insert_with(new);
        let bytes = cost(&name, &value);
        let known = self.known.entry(name.clone()).or_insert((value, 0));
        known.1 += 1;
        its.names.push_back((name, bytes));
        its.bytes += bytes;
        self.bytes += bytes;
        while self.requesters.get(&at).is_some_and(|its| its.bytes > REQUESTER_BYTES_MAX) {
            self.drop_oldest(at);
        }
        while self.bytes > BYTES_MAX {
            self.make_room();
        }
    }

    /// Who is gone is noted, and forgotten after a while.
    fn look(&mut self, now: Timestamp) {
        self.looked = now;
        let mut over = Vec::new();
        for (at, its) in &mut self.requesters {
            if its.origin.strong_count() == 0 {
                let gone = *its.gone.get_or_insert(now);
                if gone.until(now) >= AFTERLIFE_MS {
                    over.push(*at);
                }
            }
        }
        over.into_iter().for_each(|at| self.forget(at));
    }

    fn forget(&mut self, at: usize) {
        while self.drop_oldest(at) {}
        self.requesters.remove(&at);
    }

    /// Half of what the requester with the most has: whoever has much loses first, and the search is rare.
    fn make_room(&mut self) {
        let most = self.requesters.iter().max_by_key(|(_, its)| its.bytes);
        let Some((at, half)) = most.map(|(at, its)| (*at, its.bytes / 2)) else { return };
        while self.requesters.get(&at).is_some_and(|its| its.bytes > half) {
            self.drop_oldest(at);
        }
    }

    /// False when there is none.
    fn drop_oldest(&mut self, at: usize) -> bool {
        let Some(its) = self.requesters.get_mut(&at) else { return false };
        let Some((name, bytes)) = its.names.pop_front() else { return false };
        its.bytes -= bytes;
        self.bytes -= bytes;
        if let Some((_, count)) = self.known.get_mut(&name) {
            *count -= 1;
            if *count == 0 {
                self.known.remove(&name);
            }
        }
        self.kept.remove(&(at, name));
        true
    }
}

fn cost(name: &Name, value: &Aliased) -> usize {
    let value_bytes = match value {
        Aliased::Correlation(Id::Text(text)) => text.len(),
        Aliased::Correlation(Id::Binary(bytes)) => bytes.len(),
        Aliased::Correlation(_) => 0,
        Aliased::Topic(key) => key.cost(),
    };
    let places = size_of::<(Name, Aliased)>() + 2 * size_of::<(usize, Name)>() + 3 * MAP_ENTRY;
    name.cost() + value_bytes + places + 2 * ALLOCATION
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> Aliased {
        Aliased::Correlation(Id::Text(text.into()))
    }

    #[test]
    fn a_name_is_known_while_its_requester_lives_and_a_minute_more() {
        let aliases = Aliases::default();
        let (one, other) = (Arc::new(Origin::default()), Arc::new(Origin::default()));
        aliases.keep("mq.corr.1".into(), id("first"), &one, Timestamp(0));
        aliases.keep("mq.corr.1".into(), id("first"), &other, Timestamp(0));
        aliases.keep("mq.corr.2".into(), id("second"), &other, Timestamp(1_000_000));
        assert_eq!(aliases.get("mq.corr.1"), Some(id("first")));
        drop(other);
        let third = Arc::new(Origin::default());
        let later = |ms: u64, name: &str| {
            aliases.keep("mq.corr.3".into(), id("third"), &third, Timestamp(1_000_000 + ms));
            aliases.get(name)
        };
        assert!(later(10_000, "mq.corr.2").is_some(), "it is found to be gone");
        assert!(later(69_999, "mq.corr.2").is_some());
        assert!(later(75_000, "mq.corr.2").is_none());
        assert!(later(75_000, "mq.corr.1").is_some(), "the other one lives");
        drop(one);
        later(80_000, "");
        assert!(later(150_000, "mq.corr.1").is_none());
        assert_eq!(aliases.state.lock().known.len(), 1);
    }

    #[test]
    fn fields_get_back_what_names_stand_for() {
        let aliases = Aliases::default();
        let one = Arc::new(Origin::default());
        aliases.keep("mq.corr.1".into(), id("long"), &one, Timestamp(0));
        let topic = Aliased::Topic("a/b".into());
        aliases.keep("mq.reply.a.1".into(), topic, &one, Timestamp(0));
        let mut fields = Fields::default();
        fields.properties.correlation_id = Some(Id::Text("mq.corr.1".into()));
        fields.properties.reply_to = Some(ReplyTo::Queue("mq.reply.a.1".into()));
        aliases.restore(&mut fields);
        assert_eq!(fields.properties.correlation_id, Some(Id::Text("long".into())));
        assert_eq!(fields.properties.reply_to, Some(ReplyTo::Topic("a/b".into())));
        let unknown = Some(Id::Text("mq.corr.2".into()));
        fields.properties.correlation_id = unknown.clone();
        aliases.restore(&mut fields);
        assert_eq!(fields.properties.correlation_id, unknown);
    }

    #[test]
    fn nobody_can_make_it_grow_or_crowd_others_out() {
        let aliases = Aliases::default();
        let budget = Arc::new(Budget::new(1 << 20, 1 << 30));
        aliases.charge_to(&budget);
        let (quiet, loud) = (Arc::new(Origin::default()), Arc::new(Origin::default()));
        aliases.keep("mq.corr.quiet".into(), id("quiet"), &quiet, Timestamp(0));
        let long = "x".repeat(10_000);
        for n in 0..1_000 {
            aliases.keep(format!("mq.corr.{n}").into(), id(&long), &loud, Timestamp(0));
        }
        assert!(aliases.state.lock().bytes <= REQUESTER_BYTES_MAX + 1_000);
        let crowd: Vec<_> = (0..100).map(|_| Arc::new(Origin::default())).collect();
        for n in 0..10_000 {
            let name = format!("mq.corr.c{n}").into();
            aliases.keep(name, id(&long), &crowd[n % 100], Timestamp(0));
        }
        assert!(aliases.state.lock().bytes <= BYTES_MAX);
        assert_eq!(budget.used(Account::Kept), aliases.state.lock().bytes);
        assert_eq!(aliases.get("mq.corr.quiet"), Some(id("quiet")));
        assert!(aliases.get("mq.corr.c9999").is_some());
    }
}
