//! Retained values as they are published: memory and journal change in one order, and a subscription that is made at
//! the same time sees each value once, as retained or live.

use super::context::Context;
use crate::broker::operations::ops::Ops;
use crate::exchange::Retained;
use crate::message::{Key, Message};

/// A value that was set and the one before, in case the message is refused.
pub struct RetainedChange {
    pub message: Message,
    before: Option<Message>,
}

impl Context<'_> {
    /// The message becomes its topic's retained value.
    pub fn retains(&self, message: &Message) -> bool {
        message.meta().retain && *message.address().exchange == *self.vhost.topic_exchange
    }

    /// Sets it.
    pub fn retain(&self, message: &Message) -> RetainedChange {
        self.shared.charge(message);
        let mut retained = self.vhost.retained.lock();
        let before = self.set(&mut retained, &message.address().key, value_of(message));
        RetainedChange { message: message.clone(), before }
    }

    /// Sets it back, unless somebody has set another since.
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

    /// Submitted under the lock: what memory has at last is what the journal says at last.
    fn set(&self, retained: &mut Retained, key: &Key, value: Option<Message>) -> Option<Message> {
        let mut ops = Ops::default();
        ops.retain(&self.vhost.name, key, value.as_ref());
        self.shared.committer.submit_ops(ops);
        retained.set(key.clone(), value)
    }
}

/// An empty body clears.
fn value_of(message: &Message) -> Option<Message> {
    (!message.body().is_empty()).then(|| message.clone())
}
