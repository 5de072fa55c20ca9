//! What things cost in memory. Every map, cache and queue whose size a client chooses charges its entries to the
//! [`Budget`](super::Budget) by [`Cost`]; what is shared is charged once, by whoever made it.
//!
//! The figures are bytes as the allocator hands them out, about: a test holds them within a factor of two of what the
//! process really takes (core/tests/bounds).

use super::{Address, Death, Fields, Key, Message, Name, Value};

/// What the allocator adds to an allocation, about.
pub const ALLOCATION: usize = 16;
/// What a map takes for an entry besides key and value: a free slot for each one in use, and the nodes between.
pub const MAP_ENTRY: usize = 32;

/// Something that takes memory.
pub trait Cost {
    /// Bytes that it takes, what it owns included.
    fn cost(&self) -> usize;
}

impl Cost for Name {
    fn cost(&self) -> usize {
        // Two counts stand in front of a shared text.
        size_of::<Name>() + 2 * size_of::<usize>() + self.len() + ALLOCATION
    }
}

impl Cost for Key {
    fn cost(&self) -> usize {
        size_of::<Key>() + self.bytes().len() + ALLOCATION
    }
}

impl Cost for Address {
    fn cost(&self) -> usize {
        // The exchange's name is shared.
        size_of::<Name>() + self.key.cost()
    }
}

impl Cost for Value {
    fn cost(&self) -> usize {
        let owned = match self {
            Value::Text(text) | Value::Symbol(text) => text.cost(),
            Value::Bytes(bytes) => bytes.len() + ALLOCATION,
            Value::List(values) => values.iter().map(Cost::cost).sum::<usize>() + ALLOCATION,
            Value::Map(pairs) => pairs.as_slice().cost(),
            _ => 0,
        };
        size_of::<Value>() + owned
    }
}

impl Cost for [(Name, Value)] {
    fn cost(&self) -> usize {
        self.iter().map(|(name, value)| name.cost() + value.cost()).sum::<usize>() + ALLOCATION
    }
}

impl Cost for Fields {
    fn cost(&self) -> usize {
        size_of::<Fields>() + self.headers.as_slice().cost() + self.annotations.as_slice().cost()
    }
}

impl Cost for Death {
    fn cost(&self) -> usize {
        let detail = self.detail.as_ref().map_or(0, |text| text.len() + ALLOCATION);
        let copies = self.copies.iter().flat_map(|keys| keys.iter());
        let copies: usize = copies.map(|key| size_of::<Key>() + key.cost()).sum();
        size_of::<Death>() + self.queue.len() + self.address.key.bytes().len() + detail + copies
    }
}

impl Cost for Message {
    fn cost(&self) -> usize {
        self.footprint()
    }
}
