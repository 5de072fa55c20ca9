//! Retained values as they are published: memory and journal change in one order, and a subscription that is made at
//! the same time sees each value once, as retained or live.

use super::context::Context;
use crate::broker::operations::ops::Ops;
use crate::exchange::Retained;
use crate::message::{Key, Message};

/// A retained value that was set and the one before, which is set back when the message is refused.
pub struct RetainedChange {
    pub message: Message,
    before: Option<Message>,
}

impl Context<'_> {
    /// True when the message becomes its topic's retained value.
    pub fn retains(&self, message: &Message) -> bool {
        message.meta().retain && *message.address().exchange == *self.vhost.topic_exchange
    }

    /// Makes the message its topic's retained value.
    pub fn retain(&self, message: &Message) -> RetainedChange {
        self.shared.charge(message);
        let mut retained = self.vhost.retained.lock();
        let before = self.set(&mut retained, &message.address().key, value_of(message));
        RetainedChange { message: message.clone(), before }
    }

    /// Sets the value back to the one before, unless another message has set it since.
    pub fn restore(&self, change: RetainedChange) {
        let key = &change.message.address().key;
        let mut retained = self.vhost.retained.lock();
        let is_last = match (retained.get(key), value_of(&change.message)) {
            (Some(now), Some(set)) => now.is(&set),
            (None, None) => true,
            _ => false,
        };
        if is_last {
            self.set(&mut retained, key, change.before);
        }
    }

    /// Submitted under the lock, so that memory and journal agree on which value is the last.
    fn set(&self, retained: &mut Retained, key: &Key, value: Option<Message>) -> Option<Message> {
        let mut ops = Ops::default();
        ops.retain(&self.vhost.name, key, value.as_ref());
        self.shared.committer.submit_ops(ops);
        retained.set(key.clone(), value)
    }
}

/// The value that a message sets: none when its body is empty, which clears the value.
fn value_of(message: &Message) -> Option<Message> {
    (!message.body().is_empty()).then(|| message.clone())
}
