//! What an adapter keeps for its client outside of the broker: it counts against the memory budget all the same, and is
//! refused at the same limits.

use super::state::Session;
use crate::broker::vhost::limits::Limit;
use crate::error::Error;
use crate::message::{Account, Charge, Share};

impl Session {
    /// A charge of no bytes for what is kept: whoever has it tells it when that grows or shrinks.
    pub fn kept(&self) -> Charge {
        self.vhost.limits.budget.charge(Account::Kept, 0)
    }

    /// `LimitReached` when `bytes` more would take what is kept beyond half of `memory.high`.
    pub fn may_keep(&self, bytes: usize) -> Result<(), Error> {
        let who = (&self.vhost.name, &*self.inbox.origin);
        self.vhost.limits.check_memory(Share::Connection, bytes, who)
    }

    /// `LimitReached` when `items` and `bytes` are more than the open transactions of one connection may have together.
    pub fn may_keep_open(&self, items: usize, bytes: usize) -> Result<(), Error> {
        let (limits, who) = (&self.vhost.limits, (&self.vhost.name, &*self.inbox.origin));
        limits.check(Limit::TransactionItems, (items, 0), 0, who)?;
        limits.check(Limit::TransactionBytes, (bytes, 0), bytes.min(1), who)
    }
}
