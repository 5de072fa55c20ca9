//! The subscriptions of one connection, by the tokens of the dialog, and what is not settled yet. Without the broker.

use crossdock_core::{ConsumerId, Name, Offset};
use rustc_hash::FxHashMap;

/// Subscriptions of one connection.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;

/// A subscription.
pub struct Subscription {
    pub token: u64,
    pub consumer: ConsumerId,
    /// Its own queue, which goes with it.
    pub own_queue: Option<Name>,
    pub settles: bool,
}

/// All of them. What is not settled is bounded by the credit of each.
#[derive(Default)]
pub struct Subscriptions {
    by_token: FxHashMap<u64, Subscription>,
    tokens: FxHashMap<ConsumerId, u64>,
    unsettled: FxHashMap<u64, (ConsumerId, Offset)>,
    deliveries: u64,
}

impl Subscriptions {
    pub fn len(&self) -> usize {
        self.by_token.len()
    }

    pub fn has(&self, token: u64) -> bool {
        self.by_token.contains_key(&token)
    }

    pub fn add(&mut self, subscription: Subscription) {
        self.tokens.insert(subscription.consumer, subscription.token);
        self.by_token.insert(subscription.token, subscription);
    }

    /// Takes one out, with all that is not settled of it.
    pub fn remove(&mut self, token: u64) -> Option<Subscription> {
        let gone = self.by_token.remove(&token)?;
        self.tokens.remove(&gone.consumer);
        self.unsettled.retain(|_, (consumer, _)| *consumer != gone.consumer);
        Some(gone)
    }

    /// The token of a consumer.
    pub fn token(&self, consumer: ConsumerId) -> Option<u64> {
        self.tokens.get(&consumer).copied()
    }

    /// Notes a delivery: the token of its subscription, and its own number, 0 where it settles itself.
    pub fn delivered(&mut self, consumer: ConsumerId, offset: Offset) -> Option<(u64, u64)> {
        let token = self.token(consumer)?;
        if !self.by_token.get(&token)?.settles {
            return Some((token, 0));
        }
        self.deliveries += 1;
        self.unsettled.insert(self.deliveries, (consumer, offset));
        Some((token, self.deliveries))
    }

    /// What a delivery was, once.
    pub fn settled(&mut self, delivery: u64) -> Option<(ConsumerId, Offset)> {
        self.unsettled.remove(&delivery)
    }

    /// All consumers.
    pub fn consumers(&self) -> Vec<ConsumerId> {
        self.tokens.keys().copied().collect()
    }
}
