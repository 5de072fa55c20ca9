//! Open transactions: what they will do when committed. Whoever adds to them asks the session first whether it may keep
//! that: nothing of them is in the broker yet.

use super::subscriptions::Token;
use crate::mapping::titles::{BAD_TRANSACTION, titled, titled_as};
use crossdock_core::{Error, ErrorKind, Outcome, Publish};
use rustc_hash::FxHashMap;

/// One frame of a transaction.
#[derive(Debug)]
pub(super) enum Operation {
    Publish(Publish),
    Settle(Token, Outcome),
}

impl Operation {
    /// Bytes of memory that it takes until it is committed.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>()
            + match self {
                Operation::Publish(publish) => publish.message.weight(),
                Operation::Settle(..) => 0,
            }
    }

    fn size(&self) -> usize {
        match self {
            Operation::Publish(publish) => publish.message.size(),
            Operation::Settle(..) => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Open {
    operations: Vec<Operation>,
    /// How many of them are messages.
    messages: usize,
    /// Bytes of its messages and of its name.
    bytes: usize,
    memory: usize,
}

/// All open ones of a connection, by name.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: FxHashMap<String, Open>,
    operations: usize,
    bytes: usize,
    memory: usize,
}

impl Transactions {
    /// Operations and bytes that there would be with one more.
    pub(super) fn with(&self, step: &Operation) -> (usize, usize) {
        (self.operations + 1, self.bytes + step.size())
    }

    /// Transactions and bytes that there would be with one more transaction.
    pub(super) fn with_begun(&self, name: &str) -> (usize, usize) {
        (self.open.len() + 1, self.bytes + name.len())
    }

    /// Bytes of memory that all of them take.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    pub(super) fn begin(&mut self, name: &str) -> Result<(), Error> {
        if self.open.contains_key(name) {
            return Err(titled(BAD_TRANSACTION, format!("transaction '{name}' has begun already")));
        }
        self.bytes += name.len();
        let (bytes, memory) = (name.len(), size_of::<Open>() + 2 * name.len());
        self.memory += memory;
        self.open.insert(name.to_owned(), Open { bytes, memory, ..Open::default() });
        Ok(())
    }

    pub(super) fn add(&mut self, name: &str, step: Operation) -> Result<(), Error> {
        let size = step.size();
        if !self.open.contains_key(name) {
            return Err(unknown(name));
        }
        self.operations += 1;
        self.bytes += size;
        if let Some(open) = self.open.get_mut(name) {
            open.bytes += size;
            open.messages += usize::from(matches!(step, Operation::Publish(_)));
            open.memory += step.memory();
            self.memory += step.memory();
            open.operations.push(step);
        }
        Ok(())
    }

    /// It has messages to send.
    pub(super) fn publishes(&self, name: &str) -> bool {
        self.open.get(name).is_some_and(|open| open.messages > 0)
    }

    /// Ends it; its operations in order.
    pub(super) fn end(&mut self, name: &str) -> Result<Vec<Operation>, Error> {
        let open = self.open.remove(name).ok_or_else(|| unknown(name))?;
        self.operations -= open.operations.len();
        self.bytes -= open.bytes;
        self.memory = self.memory.saturating_sub(open.memory);
        Ok(open.operations)
    }
}

fn unknown(name: &str) -> Error {
    let error = Error::new(ErrorKind::NotFound, format!("there is no transaction '{name}'"));
    titled_as(BAD_TRANSACTION, &error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use crossdock_core::{Address, ConsumerId, Fields, Message, Meta, Timestamp};
    use std::sync::Arc;

    fn message(bytes: usize) -> Operation {
        let meta = Meta::new(Arc::default(), Timestamp(1));
        let body = Bytes::from(vec![0; bytes]);
        let message = Message::from_fields(Address::queue("q"), meta, &Fields::default(), body);
        Operation::Publish(Publish::new(message, false))
    }

    fn ack() -> Operation {
        Operation::Settle(Token { consumer: ConsumerId(1), number: 1 }, Outcome::Accepted)
    }

    #[test]
    fn several_at_once() {
        let mut all = Transactions::default();
        all.begin("a").unwrap();
        all.begin("b").unwrap();
        assert_eq!(all.begin("a").unwrap_err().kind(), ErrorKind::Invalid);
        all.add("a", message(10)).unwrap();
        all.add("b", ack()).unwrap();
        assert_eq!(all.add("c", ack()).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(all.end("a").unwrap().len(), 1);
        assert_eq!(all.end("a").unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(all.end("b").unwrap().len(), 1);
        assert_eq!((all.operations, all.bytes), (0, 0));
    }

    #[test]
    fn what_is_open_is_counted() {
        let mut all = Transactions::default();
        all.begin("a").unwrap();
        all.add("a", message(1 << 20)).unwrap();
        all.add("a", ack()).unwrap();
        assert!(all.memory() > 1 << 20);
        let (operations, bytes) = all.with(&message(1 << 20));
        assert!(operations == 3 && bytes > 2 << 20);
        assert_eq!(all.end("a").unwrap().len(), 2);
        assert_eq!((all.operations, all.bytes, all.memory), (0, 0, 0));
    }
}
