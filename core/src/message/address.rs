//! Where a message was published to: an exchange and a key.

use super::key::{Key, Name};
use bytes::Bytes;
use std::fmt;

/// An exchange and a key. The default exchange has the empty name, and its key is a queue's name.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Address {
    /// Name of the exchange; empty: the default one.
    pub exchange: Name,
    /// The key in the exchange's form (see [`Key`]).
    pub key: Key,
}

impl Address {
    /// The same address with memory of its own: its key may be a part of a larger buffer.
    pub(crate) fn detached(&self) -> Self {
        let key = Key::new(Bytes::copy_from_slice(self.key.bytes()));
        Self { exchange: self.exchange.clone(), key }
    }

    /// The address of one queue: the default exchange with the queue's name as the key.
    pub fn queue(name: &str) -> Self {
        Self { exchange: Name::default(), key: Key::from(name) }
    }

    /// An exchange and a key.
    pub fn new(exchange: Name, key: Key) -> Self {
        Self { exchange, key }
    }

    /// True for the default exchange.
    pub fn is_queue(&self) -> bool {
        self.exchange.is_empty()
    }

    /// The same message sent on to another exchange keeps its key. A key is opaque at the default exchange
    /// and in topic form elsewhere, so crossing that line swaps it into the other form.
    pub fn at(&self, exchange: &Name) -> Address {
        let key = match self.exchange.is_empty() == exchange.is_empty() {
            true => self.key.clone(),
            false => self.key.swapped(),
        };
        Address { exchange: exchange.clone(), key }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_queue() {
            true => write!(f, "queue:{}", self.key),
            false => write!(f, "exchange:{}/{}", self.exchange, self.key),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
