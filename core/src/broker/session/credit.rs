//! Credit: how much a consumer, or several that share a pool, may have unsettled.

use super::state::Session;
use crate::broker::door::request::PoolId;
use crate::subscription::{ConsumerId, Credit, Pool};
use std::sync::Arc;

impl Session {
    /// Credit that consumers can share.
    pub fn pool(&mut self, credit: Credit) -> PoolId {
        self.consumers.pools.push(Arc::new(Pool::new(credit)));
        PoolId(u32::try_from(self.consumers.pools.len() - 1).unwrap_or(u32::MAX))
    }

    /// Sets a pool's credit. Below what is outstanding it stops dispatch and takes nothing back.
    pub fn set_pool(&mut self, pool: PoolId, credit: Credit) {
        self.touch();
        if let Some(pool) = self.consumers.pools.get(pool.0 as usize) {
            pool.set(credit, &mut self.turn.after.woken);
            self.settle_down();
        }
    }

    /// Sets a consumer's own credit.
    pub fn set_credit(&mut self, consumer: ConsumerId, credit: Credit) {
        self.touch();
        let now = self.broker.shared().now();
        let Some(attachment) = self.attachment(consumer) else { return };
        let (queue, handle) = (attachment.queue.clone(), attachment.handle);
        attachment.counts.set_prefetch(credit.messages);
        queue.change(&mut self.turn.after, |state, effects| {
            state.sub.consumers.set_credit(handle, credit);
            state.sub.dispatch(now, effects);
        });
        self.settle_down();
    }
}
