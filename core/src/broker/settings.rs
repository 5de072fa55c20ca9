//! Limits and marks of a broker, and what it is made of.

use crate::auth::{Account, Authenticator};
use crate::error::{Error, ErrorKind};
use crate::exchange::{ExchangeSpec, filter};
use crate::message::{Address, Formats, Key, Name};
use crate::store::Store;
use std::sync::Arc;

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
        }
    }
}

/// What is a topic.
#[derive(Debug, Clone)]
pub struct TopicRules {
    /// Bytes of a topic at most.
    pub bytes_max: usize,
    /// Separators in a topic at most.
    pub separators_max: usize,
    /// Filters of topics that begin with `$` and are ordinary topics nevertheless (docs/SEMANTICS.md §1).
    pub dollar: Vec<Key>,
}

impl TopicRules {
    /// True for a topic that begins with `$` and is not said to be an ordinary one: nobody publishes there.
    pub fn is_reserved(&self, topic: &Key) -> bool {
        topic.bytes().first() == Some(&b'$')
            && !self.dollar.iter().any(|filter| filter::matches(filter, topic))
    }
}

impl TopicRules {
    /// `TooLarge` for a key, pattern or topic of more than `bytes_max` bytes, or with more than `separators_max`
    /// separators between its words.
    pub fn check(&self, bytes: usize, separators: usize) -> Result<(), Error> {
        let why = if bytes > self.bytes_max {
            format!(
                "{bytes} bytes are more than a topic may have: {} (limits.topic_bytes)",
                self.bytes_max
            )
        } else if separators > self.separators_max {
            let max = self.separators_max;
            format!(
                "{separators} separators are more than a topic may have: {max} (limits.topic_separators)"
            )
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::TooLarge, why))
    }
}

impl Default for TopicRules {
    fn default() -> Self {
        Self { bytes_max: 65_535, separators_max: 200, dollar: Vec::new() }
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
