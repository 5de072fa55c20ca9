//! The arguments that a queue is declared with, as the field writes them with `x-` names: what each may be, for which
//! type of queue, and what it sets. Whatever is wrong refuses the declaration; arguments with other names are kept,
//! shown, and mean nothing.

use super::spec::{Life, Overflow, QueueSpec};
use crate::error::{Error, ErrorKind};
use crate::message::{Key, Name, Value, lookup};
use std::fmt;

/// The type of a queue.
pub const KIND: &str = "x-queue-type";

/// Whether a dead letter stays in its queue until it is taken.
const STRATEGY: &str = "x-dead-letter-strategy";
const AT_LEAST_ONCE: &str = "at-least-once";

/// Delayed retry (RabbitMQ 4.3): which returned records wait, and the first and the longest time, in milliseconds.
const RETRY_TYPE: &str = "x-delayed-retry-type";
const RETRY_MIN: &str = "x-delayed-retry-min";
const RETRY_MAX: &str = "x-delayed-retry-max";
/// The first time where none was given.
const RETRY_MIN_MS: u64 = 1_000;

/// Milliseconds that a consumer may have a record without settling it; 0: as long as it likes.
const CONSUMER_TIMEOUT: &str = "x-consumer-timeout";

/// Times to live and to expire have at most 10 years, as with RabbitMQ. Celery declares queues for delays of 4 years.
const SPAN_MAX_MS: u64 = 10 * 365 * 24 * 60 * 60 * 1000;

/// Failed deliveries after which a message of a quorum queue is dead-lettered, unless an argument says otherwise
/// (RabbitMQ 4.0). Other queues have a limit only by argument.
const QUORUM_DELIVERY_LIMIT: u16 = 20;

/// The type of queue that clients ask for. It is one engine for both: a quorum queue is durable, counts failed
/// deliveries by itself, and takes what RabbitMQ's takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueKind {
    Classic,
    Quorum,
}

impl QueueKind {
    /// As clients write it.
    pub fn as_str(self) -> &'static str {
        match self {
            QueueKind::Classic => "classic",
            QueueKind::Quorum => "quorum",
        }
    }

    /// The delivery limit of a queue that was declared without one.
    pub fn delivery_limit(self) -> Option<u16> {
        (self == QueueKind::Quorum).then_some(QUORUM_DELIVERY_LIMIT)
    }
}

/// What becomes of records that come back from consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Returns {
    /// Failed deliveries after which a record is dead-lettered.
    pub limit: Option<u16>,
    /// That was asked for, and counts what consumers give back of their own accord, too.
    pub has_own_limit: bool,
    /// What failed is delivered again after a time.
    pub delays_failed: bool,
    /// So is what came back without a failure.
    pub delays_uncounted: bool,
    /// Milliseconds, for each failure.
    pub delay_min_ms: u64,
    /// Milliseconds, at most.
    pub delay_max_ms: u64,
}

/// How a record that a consumer may have seen came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// It counts as a failed delivery.
    Failed,
    Uncounted,
}

impl Returns {
    /// Milliseconds after which a record is ready again that failed so often. None: at once.
    pub fn delay_ms(&self, how: Returned, attempts: u16) -> Option<u64> {
        let is_delayed = match how {
            Returned::Failed => self.delays_failed,
            Returned::Uncounted => self.delays_uncounted,
        };
        let ms = self.delay_min_ms.saturating_mul(u64::from(attempts.max(1)));
        is_delayed.then_some(ms.min(self.delay_max_ms)).filter(|ms| *ms > 0)
    }
}

/// Why a queue cannot be declared like that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadDeclare {
    queue: Name,
    what: Bad,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Bad {
    /// The value of an argument cannot be: its name, and why.
    Value(&'static str, String),
    /// Queues of that type have no such argument.
    NotOfKind(&'static str, QueueKind),
    /// Queues of that type cannot be like that.
    Property(&'static str),
    /// Streams are not served.
    Stream,
}

impl BadDeclare {
    /// It asks for a stream, which is not served.
    pub fn is_not_served(&self) -> bool {
        self.what == Bad::Stream
    }

    /// The argument that is wrong, and why.
    pub fn argument(&self) -> (&'static str, String) {
        match &self.what {
            Bad::Value(name, why) => (name, why.clone()),
            Bad::NotOfKind(name, kind) => {
                (name, format!("queues of type {} have no such argument", kind.as_str()))
            }
            Bad::Property(name) => (KIND, format!("a queue of this type cannot be {name}")),
            Bad::Stream => (KIND, "streams are not served".to_owned()),
        }
    }

    /// The error, with the virtual host that the queue is meant for.
    pub fn in_vhost(&self, vhost: &str) -> String {
        self.text(&format!("queue '{}' in vhost '{vhost}'", self.queue))
    }

    fn text(&self, queue: &str) -> String {
        match &self.what {
            Bad::Value(name, why) => format!("invalid arg '{name}' for {queue}: {why}"),
            Bad::NotOfKind(name, kind) => {
                format!("invalid arg '{name}' for {queue} of queue type {}", kind.as_str())
            }
            Bad::Property(name) => format!("invalid property '{name}' for {queue}"),
            Bad::Stream => format!("queue type stream for {queue}: streams are not served"),
        }
    }
}

impl fmt::Display for BadDeclare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&format!("queue '{}'", self.queue)))
    }
}

impl From<BadDeclare> for Error {
    fn from(bad: BadDeclare) -> Self {
        Error::new(ErrorKind::Invalid, bad.to_string())
    }
}

/// Arguments of one type of queue alone. The others of [`QueueSpec::ARGUMENTS`] are taken by both.
const CLASSIC_ONLY: [&str; 4] =
    ["x-max-priority", "x-queue-mode", "x-queue-version", "x-queue-master-locator"];
const QUORUM_ONLY: [&str; 8] = [
    "x-quorum-initial-group-size",
    "x-quorum-target-group-size",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    STRATEGY,
    RETRY_TYPE,
    RETRY_MIN,
    RETRY_MAX,
];
/// And of streams, which are not served.
const STREAM_ONLY: [&str; 4] = [
    "x-max-age",
    "x-stream-max-segment-size-bytes",
    "x-stream-filter-size-bytes",
    "x-initial-cluster-size",
];

impl QueueSpec {
    /// The arguments that have an effect, or are checked. Clients may give others, which are kept and take no part.
    pub const ARGUMENTS: [&str; 24] = [
        "x-message-ttl",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-overflow",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        STRATEGY,
        "x-single-active-consumer",
        "x-delivery-limit",
        KIND,
        "x-queue-mode",
        "x-queue-version",
        "x-queue-master-locator",
        "x-queue-leader-locator",
        "x-quorum-initial-group-size",
        "x-quorum-target-group-size",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        CONSUMER_TIMEOUT,
        RETRY_TYPE,
        RETRY_MIN,
        RETRY_MAX,
    ];

    /// The type that was asked for.
    pub fn kind(&self) -> QueueKind {
        match lookup(&self.arguments, KIND).and_then(Value::as_str) {
            Some("quorum") => QueueKind::Quorum,
            _ => QueueKind::Classic,
        }
    }

    /// The delivery limit was asked for: then it counts what a consumer gives back of its own accord, too.
    pub fn has_own_delivery_limit(&self) -> bool {
        lookup(&self.arguments, "x-delivery-limit").is_some()
    }

    /// Milliseconds after which a record that its consumer has not settled is taken back. None: nothing was asked for;
    /// 0: never.
    pub fn consumer_timeout_ms(&self) -> Option<u64> {
        let asked = lookup(&self.arguments, CONSUMER_TIMEOUT)?;
        asked.as_i64().and_then(|ms| u64::try_from(ms).ok())
    }

    /// Dead letters were to stay until they are taken.
    fn wants_dead_kept(&self) -> bool {
        lookup(&self.arguments, STRATEGY).and_then(Value::as_str) == Some(AT_LEAST_ONCE)
    }

    /// Dead letters stay until they are taken. As with RabbitMQ that takes an address for them, and refused publishes
    /// when the queue is full.
    pub fn keeps_dead(&self) -> bool {
        let is_possible = self.limits.overflow == Overflow::RejectNew && self.dead_letter.is_some();
        self.wants_dead_kept() && is_possible
    }

    /// Dead letters were to stay until they are taken, and do not, because of other settings.
    pub fn drops_dead_unasked(&self) -> bool {
        self.wants_dead_kept() && !self.keeps_dead()
    }

    /// What becomes of records that come back from consumers.
    pub fn returns(&self) -> Returns {
        let ms = |name| lookup(&self.arguments, name)?.as_i64().and_then(|n| u64::try_from(n).ok());
        let (failed, uncounted) = match lookup(&self.arguments, RETRY_TYPE).and_then(Value::as_str)
        {
            Some("all") => (true, true),
            Some("failed") => (true, false),
            Some("returned") => (false, true),
            _ => (false, false),
        };
        Returns {
            limit: self.delivery_limit,
            has_own_limit: self.has_own_delivery_limit(),
            delays_failed: failed,
            delays_uncounted: uncounted,
            delay_min_ms: ms(RETRY_MIN).unwrap_or(RETRY_MIN_MS),
            delay_max_ms: ms(RETRY_MAX).unwrap_or(SPAN_MAX_MS),
        }
    }

    /// Reads the queue arguments that the field writes with `x-` names, for a queue whose other settings are set.
    pub fn with_arguments(
        mut self,
        arguments: Vec<(Name, Value)>,
    ) -> Result<QueueSpec, BadDeclare> {
        self.arguments = arguments;
        match self.read() {
            Ok(()) => Ok(self),
            Err(what) => Err(BadDeclare { queue: self.name, what }),
        }
    }

    fn read(&mut self) -> Result<(), Bad> {
        let given = Given(&self.arguments);
        let kind = match given.text(KIND)? {
            None | Some("classic") => QueueKind::Classic,
            Some("quorum") => QueueKind::Quorum,
            Some("stream") => return Err(Bad::Stream),
            Some(other) => return bad(KIND, format!("unsupported queue type '{other}'")),
        };
        given.check_kind(kind)?;
        check_properties(self, kind)?;
        let (ttl_ms, expires_ms) = (given.span("x-message-ttl")?, given.span("x-expires")?);
        if expires_ms == Some(0) {
            return bad("x-expires", "0 is no time: 1 or more");
        }
        let (messages, bytes) =
            (given.number("x-max-length")?, given.number("x-max-length-bytes")?);
        let max_priority = match given.number("x-max-priority")?.map(u8::try_from) {
            None => None,
            Some(Ok(max)) => Some(max),
            Some(Err(_)) => return bad("x-max-priority", "255 at most"),
        };
        let overflow = match given.text("x-overflow")? {
            None | Some("drop-head") => Overflow::DropHead,
            Some("reject-publish") => Overflow::RejectNew,
            Some("reject-publish-dlx") => Overflow::RejectNewDeadLetter,
            Some(other) => return bad("x-overflow", format!("unknown overflow policy '{other}'")),
        };
        let single_active = given.flag("x-single-active-consumer")?;
        let dead_letter = given.dead_letter()?;
        given.check_the_rest()?;
        let delivery_limit = match given.integer("x-delivery-limit")? {
            None => kind.delivery_limit(),
            // As RabbitMQ: below 0 is no limit.
            Some(limit) => u64::try_from(limit).ok().map(|n| u16::try_from(n).unwrap_or(u16::MAX)),
        };
        (self.ttl_ms, self.expires_ms, self.max_priority) = (ttl_ms, expires_ms, max_priority);
        (self.limits.messages, self.limits.bytes) = (messages, bytes);
        self.limits.overflow = overflow;
        (self.single_active, self.dead_letter) = (single_active, dead_letter);
        self.delivery_limit = delivery_limit;
        Ok(())
    }
}

/// A quorum queue is durable, and nobody's alone.
fn check_properties(spec: &QueueSpec, kind: QueueKind) -> Result<(), Bad> {
    let checks = [
        ("exclusive", spec.life == Life::Exclusive),
        ("non-durable", !spec.durable),
        ("auto-delete", spec.auto_delete),
    ];
    match checks.iter().find(|(_, is_so)| *is_so) {
        Some((name, _)) if kind == QueueKind::Quorum => Err(Bad::Property(name)),
        _ => Ok(()),
    }
}

fn bad<T>(name: &'static str, why: impl Into<String>) -> Result<T, Bad> {
    Err(Bad::Value(name, why.into()))
}

/// The arguments of one declaration.
struct Given<'a>(&'a [(Name, Value)]);

impl<'a> Given<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        lookup(self.0, name)
    }

    fn check_kind(&self, kind: QueueKind) -> Result<(), Bad> {
        let others: &[&str] = match kind {
            QueueKind::Classic => &QUORUM_ONLY,
            QueueKind::Quorum => &CLASSIC_ONLY,
        };
        match others.iter().chain(&STREAM_ONLY).find(|name| self.get(name).is_some()) {
            Some(name) => Err(Bad::NotOfKind(name, kind)),
            None => Ok(()),
        }
    }

    fn integer(&self, name: &'static str) -> Result<Option<i64>, Bad> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_i64() {
                Some(number) => Ok(Some(number)),
                None => bad(name, format!("expected integer, got {}", value.type_name())),
            },
        }
    }

    fn number(&self, name: &'static str) -> Result<Option<u64>, Bad> {
        match self.integer(name)?.map(|number| (number, u64::try_from(number))) {
            None => Ok(None),
            Some((_, Ok(number))) => Ok(Some(number)),
            Some((number, Err(_))) => bad(name, format!("{number} is below 0")),
        }
    }

    /// Milliseconds.
    fn span(&self, name: &'static str) -> Result<Option<u64>, Bad> {
        match self.number(name)? {
            Some(ms) if ms > SPAN_MAX_MS => {
                bad(name, format!("{ms} ms is too long: {SPAN_MAX_MS} at most"))
            }
            ms => Ok(ms),
        }
    }

    fn text(&self, name: &'static str) -> Result<Option<&'a str>, Bad> {
        match self.get(name) {
            None => Ok(None),
            Some(value) => match value.as_str() {
                Some(text) => Ok(Some(text)),
                None => bad(name, format!("expected longstr, got {}", value.type_name())),
            },
        }
    }

    fn flag(&self, name: &'static str) -> Result<bool, Bad> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(is_so)) => Ok(*is_so),
            Some(value) => bad(name, format!("expected bool, got {}", value.type_name())),
        }
    }

    fn word(&self, name: &'static str, words: &[&str]) -> Result<(), Bad> {
        match self.text(name)? {
            Some(word) if !words.contains(&word) => {
                bad(name, format!("'{word}' is none of {}", words.join(", ")))
            }
            _ => Ok(()),
        }
    }

    fn dead_letter(&self) -> Result<Option<(Name, Option<Key>)>, Bad> {
        let exchange = self.text("x-dead-letter-exchange")?;
        let key = self.text("x-dead-letter-routing-key")?.map(Key::from);
        match (exchange, key) {
            (None, None) => Ok(None),
            (None, Some(_)) => {
                bad("x-dead-letter-routing-key", "there is no x-dead-letter-exchange")
            }
            // The argument is written with dots; only the default exchange takes it as it is.
            (Some(""), key) => Ok(Some((Name::default(), key))),
            (Some(name), key) => Ok(Some((name.into(), key.map(|k| k.swapped())))),
        }
    }

    /// Arguments that ask for what is so anyway: messages that wait leave memory, there is one node and one format of a
    /// queue, and a dead letter is stored in the same entry in which its queue loses it.
    fn check_the_rest(&self) -> Result<(), Bad> {
        self.word("x-queue-mode", &["default", "lazy"])?;
        if let Some(version) = self.number("x-queue-version")?
            && !(1..=2).contains(&version)
        {
            return bad("x-queue-version", format!("unsupported queue version '{version}'"));
        }
        self.word("x-queue-master-locator", &["client-local", "min-masters", "random"])?;
        self.word(
            "x-queue-leader-locator",
            &["client-local", "balanced", "random", "least-leaders"],
        )?;
        self.word(STRATEGY, &["at-most-once", AT_LEAST_ONCE])?;
        self.word(RETRY_TYPE, &["disabled", "all", "failed", "returned"])?;
        self.span(RETRY_MIN)?;
        self.span(RETRY_MAX)?;
        self.span(CONSUMER_TIMEOUT)?;
        for name in ["x-max-in-memory-length", "x-max-in-memory-bytes"] {
            self.number(name)?;
        }
        for name in ["x-quorum-initial-group-size", "x-quorum-target-group-size"] {
            if self.number(name)? == Some(0) {
                return bad(name, "0 nodes hold nothing: 1 or more");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(given: &[(&str, Value)]) -> Vec<(Name, Value)> {
        given.iter().map(|(name, value)| ((*name).into(), value.clone())).collect()
    }

    fn spec(given: &[(&str, Value)]) -> Result<QueueSpec, BadDeclare> {
        QueueSpec::durable("q").with_arguments(arguments(given))
    }

    fn quorum(more: &[(&str, Value)]) -> Vec<(Name, Value)> {
        arguments(&[&[(KIND, Value::text("quorum"))], more].concat())
    }

    #[test]
    fn arguments_are_read() {
        let q = spec(&[
            ("x-message-ttl", Value::I32(500)),
            ("x-max-priority", Value::I8(10)),
            ("x-dead-letter-exchange", Value::text("dlx")),
            ("x-dead-letter-routing-key", Value::text("a.b")),
            ("x-queue-mode", Value::text("lazy")),
            ("something", Value::text("else")),
        ]);
        let q = q.expect("valid");
        assert_eq!((q.ttl_ms, q.max_priority), (Some(500), Some(10)));
        assert_eq!(q.dead_letter, Some(("dlx".into(), Some("a/b".into()))));
        assert_eq!(q.arguments.len(), 6);
    }

    #[test]
    fn a_delivery_limit_is_a_quorum_queues_or_asked_for() {
        let limit = |given: &[(&str, Value)]| spec(given).expect("valid").delivery_limit;
        let dead = ("x-dead-letter-exchange", Value::text("dlx"));
        let three = ("x-delivery-limit", Value::I32(3));
        let is_quorum = (KIND, Value::text("quorum"));
        assert_eq!(limit(std::slice::from_ref(&dead)), None);
        assert_eq!(limit(&[dead, three.clone()]), Some(3));
        assert_eq!(limit(std::slice::from_ref(&is_quorum)), Some(20));
        assert_eq!(limit(&[is_quorum.clone(), three]), Some(3));
        assert_eq!(limit(&[is_quorum, ("x-delivery-limit", Value::I32(-1))]), None);
    }

    #[test]
    fn bad_arguments_are_refused_by_name() {
        let all = [
            ("x-message-ttl", Value::I32(-1), "-1 is below 0"),
            ("x-message-ttl", Value::text("5"), "expected integer, got longstr"),
            ("x-message-ttl", Value::I64(1 << 40), "1099511627776 ms is too long"),
            ("x-expires", Value::I32(0), "0 is no time"),
            ("x-expires", Value::I64(315_360_000_001), "315360000001 ms is too long"),
            ("x-max-length", Value::I32(-1), "-1 is below 0"),
            ("x-max-length-bytes", Value::Bool(true), "expected integer, got bool"),
            ("x-max-priority", Value::I32(256), "255 at most"),
            ("x-overflow", Value::text("spill"), "unknown overflow policy 'spill'"),
            (KIND, Value::text("bogus"), "unsupported queue type 'bogus'"),
            (KIND, Value::I32(1), "expected longstr, got signedint"),
            ("x-dead-letter-exchange", Value::I32(5), "expected longstr"),
            ("x-dead-letter-routing-key", Value::text("k"), "there is no x-dead-letter-exchange"),
            ("x-single-active-consumer", Value::text("yes"), "expected bool, got longstr"),
            ("x-delivery-limit", Value::text("3"), "expected integer"),
            ("x-queue-mode", Value::text("bogus"), "'bogus' is none of default, lazy"),
            ("x-queue-version", Value::I32(3), "unsupported queue version '3'"),
            ("x-queue-leader-locator", Value::text("bogus"), "'bogus' is none of client-local"),
            ("x-consumer-timeout", Value::I32(-1), "-1 is below 0"),
            ("x-consumer-timeout", Value::text("1m"), "expected integer, got longstr"),
        ];
        for (name, value, why) in all {
            let text = spec(&[(name, value)]).expect_err(why).in_vhost("/");
            let front = format!("invalid arg '{name}' for queue 'q' in vhost '/': {why}");
            assert!(text.starts_with(&front), "{text}");
        }
    }

    #[test]
    fn a_delay_grows_with_the_failures_up_to_its_maximum() {
        let delays = |kind: &str, how| {
            let given = quorum(&[
                (RETRY_TYPE, Value::text(kind)),
                (RETRY_MIN, Value::I32(100)),
                (RETRY_MAX, Value::I32(250)),
            ]);
            let spec = QueueSpec::durable("q").with_arguments(given).expect("valid");
            [0, 1, 2, 3].map(|attempts| spec.returns().delay_ms(how, attempts))
        };
        let all = [Some(100), Some(100), Some(200), Some(250)];
        assert_eq!(delays("all", Returned::Failed), all);
        assert_eq!(delays("all", Returned::Uncounted), all);
        assert_eq!(delays("failed", Returned::Uncounted), [None; 4]);
        assert_eq!(delays("returned", Returned::Failed), [None; 4]);
        assert_eq!(delays("disabled", Returned::Failed), [None; 4]);
        let bad = quorum(&[(RETRY_TYPE, Value::text("some"))]);
        let why = QueueSpec::durable("q").with_arguments(bad).expect_err("unknown").to_string();
        assert!(why.contains("'some' is none of disabled, all, failed, returned"), "{why}");
    }

    #[test]
    fn dead_letters_stay_where_that_is_possible() {
        let keeps = |more: &[(&str, Value)]| {
            let strategy = (STRATEGY, Value::text(AT_LEAST_ONCE));
            let given = quorum(&[&[strategy], more].concat());
            let spec = QueueSpec::durable("q").with_arguments(given).expect("valid");
            (spec.keeps_dead(), spec.drops_dead_unasked())
        };
        let dead = ("x-dead-letter-exchange", Value::text("dlx"));
        let reject = ("x-overflow", Value::text("reject-publish"));
        assert_eq!(keeps(&[dead.clone(), reject.clone()]), (true, false));
        assert_eq!((keeps(&[dead]), keeps(&[reject])), ((false, true), (false, true)));
    }

    #[test]
    fn a_type_refuses_what_it_has_not() {
        for name in ["x-max-age", "x-delayed-retry-type", "x-dead-letter-strategy"] {
            let text = spec(&[(name, Value::text("1D"))]).expect_err(name).to_string();
            assert_eq!(text, format!("invalid arg '{name}' for queue 'q' of queue type classic"));
        }
        for name in ["x-max-age", "x-max-priority", "x-queue-mode"] {
            let given = quorum(&[(name, Value::I32(5))]);
            let text = QueueSpec::durable("q").with_arguments(given).expect_err(name).to_string();
            assert_eq!(text, format!("invalid arg '{name}' for queue 'q' of queue type quorum"));
        }
        for (spec, name) in [
            (QueueSpec { durable: false, ..QueueSpec::durable("q") }, "non-durable"),
            (QueueSpec { life: Life::Exclusive, ..QueueSpec::durable("q") }, "exclusive"),
            (QueueSpec { auto_delete: true, ..QueueSpec::durable("q") }, "auto-delete"),
        ] {
            let text = spec.clone().with_arguments(quorum(&[])).expect_err(name).to_string();
            assert_eq!(text, format!("invalid property '{name}' for queue 'q'"));
            assert!(spec.with_arguments(Vec::new()).is_ok());
        }
        assert!(spec(&[(KIND, Value::text("stream"))]).expect_err("stream").is_not_served());
    }
}
