//! Limits and marks of a broker, and what it is made of.

use crate::auth::{Account, Authenticator};
use crate::error::{Error, ErrorKind};
use crate::exchange::{ExchangeSpec, filter, is_route_state};
use crate::message::{Address, Formats, Key, Name};
use crate::store::Store;
use parking_lot::RwLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Limits and marks.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of resident messages over which publishers are held back.
    pub memory_high: usize,
    /// Bytes of resident messages over which those that are stored leave memory while they wait.
    pub memory_resident: usize,
    /// Free bytes of the disk under which publishers are held back; none: 1 GiB, or 5 % if that is more.
    pub disk_free_alarm: Option<u64>,
    /// Free bytes under which nothing new is declared either.
    pub disk_free_hard: u64,
    /// Bytes of journal after which a snapshot is taken, at the earliest.
    pub snapshot_bytes: usize,
    /// Open although entries of the journal are damaged that may have held anything.
    pub accept_damage: bool,
    /// Bytes of publishes that one session may have held or uncommitted.
    pub session_share: usize,
    /// Bytes of level-0 deliveries that wait for one session; what comes beyond is dropped and counted.
    pub inbox_bytes_max: usize,
    /// Bytes of one message at most.
    pub message_bytes_max: usize,
    pub topics: TopicRules,
    /// How much of everything else there may be.
    pub objects: ObjectLimits,
    /// After a crash: milliseconds that wills of sessions that were connected wait at least.
    pub will_grace_ms: u64,
    /// The exchange whose bindings are the shared topic tree.
    pub topic_exchange: Name,
    /// Where content routes without an address of their own send messages that failed.
    pub dead_letter: Address,
    /// Virtual hosts; the first is the default one.
    pub vhosts: Vec<Name>,
}

/// How many objects there may be. A virtual host's, where nothing else is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectLimits {
    pub queues: usize,
    pub exchanges: usize,
    pub bindings: usize,
    /// Named sessions.
    pub sessions: usize,
    /// Memos of one named session.
    pub memos: usize,
    /// Publishes that wait for their time, and wills.
    pub parked: usize,
    pub retained_values: usize,
    /// Bytes of all retained values.
    pub retained_bytes: usize,
    /// Consumers of one connection.
    pub consumers: usize,
    /// Publishes and acknowledgements in the open transactions of one connection.
    pub transaction_items: usize,
    /// Their bytes.
    pub transaction_bytes: usize,
    /// Headers of one message.
    pub header_fields: usize,
    /// Their bytes.
    pub header_bytes: usize,
    /// Exchanges that one publish goes through.
    pub exchanges_visited: usize,
    pub clients: ClientLimits,
}

/// How much one of them may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections of one user at once, in all virtual hosts; none: any number.
    pub connections_per_user: Option<usize>,
    /// Connections in one virtual host at once; none: any number.
    pub connections_per_vhost: Option<usize>,
    /// Bytes of messages that are kept for one subscriber that may be away; beyond it the oldest go.
    pub subscription_bytes: u64,
    /// Milliseconds that a consumer of a quorum queue may have a record, unless the queue says otherwise; 0: any time.
    pub consumer_timeout_ms: u64,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections_per_user: None,
            connections_per_vhost: None,
            subscription_bytes: 1 << 30,
            consumer_timeout_ms: 30 * 60 * 1000,
        }
    }
}

impl Default for ObjectLimits {
    fn default() -> Self {
        Self {
            queues: 200_000,
            exchanges: 100_000,
            bindings: 2_000_000,
            sessions: 1_000_000,
            memos: 200_000,
            parked: 1_000_000,
            retained_values: 5_000_000,
            retained_bytes: 1 << 30,
            consumers: 50_000,
            transaction_items: 100_000,
            transaction_bytes: 64 << 20,
            header_fields: 1_000,
            header_bytes: 256 << 10,
            exchanges_visited: 1_000,
            clients: ClientLimits::default(),
        }
    }
}

/// What is a topic, and which names of queues are taken.
#[derive(Debug, Clone)]
pub struct TopicRules {
    /// Bytes of a topic at most.
    pub bytes_max: usize,
    /// Separators in a topic at most.
    pub separators_max: usize,
    /// Filters of topics that begin with `$` and are ordinary topics nevertheless (docs/SEMANTICS.md §1).
    pub dollar: Vec<Key>,
    /// Queues whose names begin like this are those of clients' sessions: nobody declares one.
    pub session_queues: Vec<Name>,
}

impl TopicRules {
    /// True for a topic that begins with `$` and is not said to be an ordinary one, and for the broker's own: nobody
    /// publishes there.
    pub fn is_reserved(&self, topic: &Key) -> bool {
        topic.bytes().first() == Some(&b'$')
            && (is_route_state(topic)
                || !self.dollar.iter().any(|filter| filter::matches(filter, topic)))
    }
}

impl Default for TopicRules {
    fn default() -> Self {
        Self {
            bytes_max: 65_535,
            separators_max: 200,
            dollar: Vec::new(),
            session_queues: Vec::new(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory_high: 1 << 30,
            memory_resident: 128 << 20,
            disk_free_alarm: None,
            disk_free_hard: 256 << 20,
            snapshot_bytes: 64 << 20,
            accept_damage: false,
            session_share: 1 << 20,
            inbox_bytes_max: 8 << 20,
            message_bytes_max: 16 << 20,
            topics: TopicRules::default(),
            objects: ObjectLimits::default(),
            will_grace_ms: 30_000,
            topic_exchange: "amq.topic".into(),
            dead_letter: Address::queue("dead-letters"),
            vhosts: vec!["/".into()],
        }
    }
}

/// The settings as they are now. What can change while the broker runs is read where it is used, and without a lock
/// where that is often: a change counts for whoever looks next.
#[derive(Debug)]
pub struct LiveSettings {
    /// As they were when the broker was opened.
    pub at_start: Settings,
    session_share: AtomicUsize,
    inbox_bytes_max: AtomicUsize,
    message_bytes_max: AtomicUsize,
    topic_bytes_max: AtomicUsize,
    topic_separators_max: AtomicUsize,
    /// The largest number: not set.
    disk_free_alarm: AtomicU64,
    disk_free_hard: AtomicU64,
    objects: RwLock<ObjectLimits>,
    dead_letter: RwLock<Address>,
}

impl LiveSettings {
    /// As those settings have them.
    pub fn new(at_start: Settings) -> Self {
        let live = Self {
            session_share: AtomicUsize::new(0),
            inbox_bytes_max: AtomicUsize::new(0),
            message_bytes_max: AtomicUsize::new(0),
            topic_bytes_max: AtomicUsize::new(0),
            topic_separators_max: AtomicUsize::new(0),
            disk_free_alarm: AtomicU64::new(0),
            disk_free_hard: AtomicU64::new(0),
            objects: RwLock::new(at_start.objects.clone()),
            dead_letter: RwLock::new(at_start.dead_letter.clone()),
            at_start,
        };
        live.set(&live.at_start);
        live
    }

    /// As those settings have them from now on.
    pub fn set(&self, settings: &Settings) {
        let set = |number: &AtomicUsize, to: usize| number.store(to, Ordering::Relaxed);
        set(&self.session_share, settings.session_share);
        set(&self.inbox_bytes_max, settings.inbox_bytes_max);
        set(&self.message_bytes_max, settings.message_bytes_max);
        set(&self.topic_bytes_max, settings.topics.bytes_max);
        set(&self.topic_separators_max, settings.topics.separators_max);
        let alarm = settings.disk_free_alarm.unwrap_or(u64::MAX);
        self.disk_free_alarm.store(alarm, Ordering::Relaxed);
        self.disk_free_hard.store(settings.disk_free_hard, Ordering::Relaxed);
        *self.objects.write() = settings.objects.clone();
        *self.dead_letter.write() = settings.dead_letter.clone();
    }

    /// Bytes of publishes that one session may have held or uncommitted.
    pub fn session_share(&self) -> usize {
        self.session_share.load(Ordering::Relaxed)
    }

    /// Bytes of level-0 deliveries that wait for one session.
    pub fn inbox_bytes_max(&self) -> usize {
        self.inbox_bytes_max.load(Ordering::Relaxed)
    }

    /// Bytes of one message at most.
    pub fn message_bytes_max(&self) -> usize {
        self.message_bytes_max.load(Ordering::Relaxed)
    }

    /// `TooLarge` for a key, pattern or topic of more than `limits.topic_bytes`, or with more than
    /// `limits.topic_separators` between its words.
    pub fn check_topic(&self, bytes: usize, separators: usize) -> Result<(), Error> {
        let bytes_max = self.topic_bytes_max.load(Ordering::Relaxed);
        let separators_max = self.topic_separators_max.load(Ordering::Relaxed);
        let why = if bytes > bytes_max {
            format!(
                "{bytes} bytes are more than a topic may have: {bytes_max} (limits.topic_bytes)"
            )
        } else if separators > separators_max {
            format!(
                "{separators} separators are more than a topic may have: {separators_max} \
                 (limits.topic_separators)"
            )
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::TooLarge, why))
    }

    /// Free bytes of the disk under which publishers are held back, if it is set.
    pub fn disk_free_alarm(&self) -> Option<u64> {
        Some(self.disk_free_alarm.load(Ordering::Relaxed)).filter(|bytes| *bytes != u64::MAX)
    }

    /// Free bytes under which nothing new is declared either.
    pub fn disk_free_hard(&self) -> u64 {
        self.disk_free_hard.load(Ordering::Relaxed)
    }

    /// How much of everything else there may be.
    pub fn objects(&self) -> ObjectLimits {
        self.objects.read().clone()
    }

    /// Where content routes without an address of their own send messages that failed.
    pub fn dead_letter(&self) -> Address {
        self.dead_letter.read().clone()
    }
}

/// All that a broker is made of.
pub struct Setup {
    pub settings: Settings,
    pub formats: Formats,
    /// Predeclared exchanges.
    pub topology: Vec<ExchangeSpec>,
    pub store: Arc<dyn Store>,
    pub authenticator: Arc<dyn Authenticator>,
    /// The users of the configuration.
    pub users: Vec<Account>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_option_makes_what_routes_remember_ordinary_topics() {
        let rules = TopicRules {
            dollar: vec![Key::from("$aws/#"), Key::from("$route-state/#")],
            ..TopicRules::default()
        };
        let is_reserved = |topic: &str| rules.is_reserved(&Key::from(topic));
        assert!(is_reserved("$route-state/r/1/a") && is_reserved("$SYS/a"));
        assert!(!is_reserved("$aws/a") && !is_reserved("$route-state") && !is_reserved("a"));
    }
}
