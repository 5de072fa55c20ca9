//! What the steps of a content route remember: stored in the unit that settles the message and has its results, as
//! retained values of topics that are the broker's own.

use super::context::Context;
use super::run::Turn;
use crate::broker::operations::ops::Ops;
use crate::broker::vhost::content_path::ContentPath;
use crate::broker::vhost::route_state::{key_of, prefix_of, topic_of};
use crate::message::{Address, Fields, Key, Message, Meta};
use crate::state::StateChange;
use std::sync::Arc;

impl Turn {
    /// The changes of a message of the route, which is settled in this turn. `RouteState::write` is held until the turn
    /// is finished.
    pub fn remember(&mut self, context: Context<'_>, path: &ContentPath, changes: &[StateChange]) {
        if changes.is_empty() {
            return;
        }
        let mut retained = context.vhost.retained.lock();
        for (key, value) in changes {
            let topic = topic_of(&path.route.name, key);
            let message = value.as_ref().map(|value| {
                let mut meta = Meta::new(Arc::default(), context.now);
                meta.durable = true;
                let address = Address::new(context.vhost.topic_exchange.clone(), topic.clone());
                let message =
                    Message::from_fields(address, meta, &Fields::default(), value.clone());
                context.shared.charge(&message);
                message
            });
            self.unit.ops.retain(&context.vhost.name, &topic, message.as_ref());
            retained.set(topic, message);
        }
        drop(retained);
        path.state().change(changes);
    }
}

impl Context<'_> {
    /// What is stored of a route's state.
    pub fn remembered(&self, route: &str) -> Vec<StateChange> {
        let prefix = prefix_of(route);
        let retained = self.vhost.retained.lock();
        let values = retained.after(Some(Key::from(prefix.as_str())));
        let values = values.take_while(|(topic, _)| topic.bytes().starts_with(prefix.as_bytes()));
        let each = values.filter_map(|(topic, message)| {
            Some((key_of(&prefix, topic)?, Some(message.body().clone())))
        });
        each.collect()
    }

    /// All that is stored of a route's state goes. How many keys there were.
    pub fn forget_state(&self, route: &str) -> usize {
        let (all, mut ops) = (self.remembered(route), Ops::default());
        let mut retained = self.vhost.retained.lock();
        for (key, _) in &all {
            let topic = topic_of(route, key);
            ops.retain(&self.vhost.name, &topic, None);
            retained.set(topic, None);
        }
        self.shared.committer.submit_ops(ops);
        all.len()
    }
}
