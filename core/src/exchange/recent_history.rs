//! `x-recent-history`: every binding gets each message, and a new one gets the newest messages from before it, too.
//! They are kept in memory only: a restart forgets them, as with RabbitMQ's plugin.

use super::fanout::Fanout;
use super::{Binding, ExchangeSpec, FieldsOf, Hit, Matcher};
use crate::error::{Error, ErrorKind};
use crate::message::{Fields, Key, Message, Value, lookup};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// The argument that says how many messages are kept.
pub const LENGTH: &str = "x-recent-history-length";
/// The header of a message that is not kept.
const NO_STORE: &str = "x-recent-history-no-store";
const LENGTH_DEFAULT: usize = 20;
/// Messages, and bytes of them, that one exchange keeps at most.
const LENGTH_MAX: usize = 10_000;
const BYTES_MAX: usize = 16 << 20;

/// How many messages an exchange is to keep.
fn length(spec: &ExchangeSpec) -> Result<usize, Error> {
    let Some(value) = lookup(&spec.arguments, LENGTH) else { return Ok(LENGTH_DEFAULT) };
    match value.as_i64().map(usize::try_from) {
        Some(Ok(length @ 1..=LENGTH_MAX)) => Ok(length),
        Some(Ok(length)) if length > 0 => {
            let detail = format!(
                "Invalid argument, '{LENGTH}' is {length}, and can be {LENGTH_MAX} at most"
            );
            Err(Error::new(ErrorKind::Invalid, detail))
        }
        _ => {
            let detail = format!("Invalid argument, '{LENGTH}' must be a positive integer");
            Err(Error::new(ErrorKind::Invalid, detail))
        }
    }
}

/// Whether an exchange may have its arguments.
pub fn check(spec: &ExchangeSpec) -> Result<(), Error> {
    length(spec).map(|_| ())
}

/// Whether a message is to be kept.
pub fn is_kept(fields: &Fields) -> bool {
    !matches!(fields.header(NO_STORE), Some(Value::Bool(true)))
}

/// The newest messages of one exchange.
#[derive(Debug)]
pub struct History {
    length: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Kept {
    fn forget_oldest(&mut self) -> Option<Message> {
        let oldest = self.messages.pop_front()?;
        self.bytes = self.bytes.saturating_sub(oldest.size());
        Some(oldest)
    }
}

impl History {
    /// Keeps a message. Those that it takes the place of are gone.
    pub fn keep(&self, message: Message) {
        let mut kept = self.kept.lock();
        kept.bytes += message.size();
        kept.messages.push_back(message);
        let mut gone = Vec::new();
        while kept.messages.len() > self.length || kept.bytes > BYTES_MAX {
            gone.extend(kept.forget_oldest());
        }
        drop(kept);
    }

    /// What is kept, the oldest first.
    pub fn all(&self) -> Vec<Message> {
        self.kept.lock().messages.iter().cloned().collect()
    }
}

/// The bindings, and what a new one gets.
pub struct RecentHistory {
    bindings: Fanout,
    history: Arc<History>,
}

impl RecentHistory {
    /// Without bindings, and with nothing kept.
    pub fn new(spec: &ExchangeSpec) -> Self {
        // Arguments that are none have been refused.
        let length = length(spec).unwrap_or(LENGTH_DEFAULT);
        let history = Arc::new(History { length, kept: Mutex::default() });
        Self { bindings: Fanout::default(), history }
    }
}

impl Matcher for RecentHistory {
    fn bind(&mut self, binding: Arc<Binding>) {
        self.bindings.bind(binding);
    }

    fn unbind(&mut self, binding: &Binding) -> bool {
        self.bindings.unbind(binding)
    }

    fn route(&self, key: &Key, fields: FieldsOf<'_>, out: &mut Vec<Hit>) {
        self.bindings.route(key, fields, out);
    }

    fn history(&self) -> Option<&Arc<History>> {
        Some(&self.history)
    }

    fn len(&self) -> usize {
        self.bindings.len()
    }

    fn bindings(&self) -> Vec<Arc<Binding>> {
        self.bindings.bindings()
    }

    fn bytes(&self) -> usize {
        self.bindings.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::Kind;
    use crate::message::{Address, Meta, Timestamp};
    use bytes::Bytes;

    fn spec(length: Option<Value>) -> ExchangeSpec {
        let arguments = length.map(|length| (LENGTH.into(), length)).into_iter().collect();
        ExchangeSpec { arguments, ..ExchangeSpec::new("x", Kind::RecentHistory) }
    }

    fn message(body: Bytes) -> Message {
        let meta = Meta::new(Arc::default(), Timestamp(1));
        Message::from_fields(Address::new("x".into(), "k".into()), meta, &Fields::default(), body)
    }

    #[test]
    fn a_length_is_a_number_above_nothing() {
        for (value, length) in [
            (None, Some(20)),
            (Some(Value::I32(3)), Some(3)),
            (Some(Value::I64(10_000)), Some(10_000)),
            (Some(Value::I64(10_001)), None),
            (Some(Value::I64(0)), None),
            (Some(Value::I64(-1)), None),
            (Some(Value::text("3")), None),
        ] {
            assert_eq!(super::length(&spec(value.clone())).ok(), length, "{value:?}");
        }
    }

    #[test]
    fn the_newest_are_kept_as_long_as_they_are_few_and_small() {
        let matcher = RecentHistory::new(&spec(Some(Value::I32(3))));
        let history = matcher.history().expect("it keeps some");
        for number in 0..5_u8 {
            history.keep(message(Bytes::from(vec![number])));
        }
        let bodies: Vec<u8> = history.all().iter().map(|message| message.body()[0]).collect();
        assert_eq!(bodies, [2, 3, 4]);
        history.keep(message(Bytes::from(vec![0; BYTES_MAX - 200])));
        assert_eq!(history.all().len(), 3);
        history.keep(message(Bytes::from(vec![9; 1_000])));
        let sizes: Vec<usize> = history.all().iter().map(|message| message.body().len()).collect();
        assert_eq!(sizes, [1_000]);
        history.keep(message(Bytes::from(vec![0; BYTES_MAX])));
        assert!(history.all().is_empty());
    }

    #[test]
    fn a_message_may_ask_not_to_be_kept() {
        let of = |value| Fields { headers: vec![(NO_STORE.into(), value)], ..Fields::default() };
        assert!(!is_kept(&of(Value::Bool(true))));
        assert!(is_kept(&of(Value::Bool(false))) && is_kept(&Fields::default()));
    }
}
