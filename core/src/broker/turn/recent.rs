//! Messages that exchanges keep for bindings that are still to come.

use super::context::Context;
use super::run::{Terms, Turn};
use crate::broker::vhost::route::Route;
use crate::exchange::recent_history::{History, is_kept};
use crate::message::{Account, Message};
use std::sync::Arc;

impl Turn {
    /// The message of that index is kept by these exchanges, unless it is refused.
    #[cold]
    pub(super) fn will_remember(&mut self, index: usize, histories: &[Arc<History>]) {
        self.later.remembered.extend(histories.iter().map(|history| (index, history.clone())));
    }

    /// Copies are kept, so that a message can leave memory while it waits in queues.
    #[cold]
    pub(super) fn remember_recent(&mut self, context: Context<'_>) {
        for (index, history) in std::mem::take(&mut self.later.remembered) {
            let Some(message) = self.messages.get(index) else { continue };
            if self.refused.get(index).is_some()
                || !is_kept(message.fields(&context.shared.formats))
            {
                continue;
            }
            let copy = message.detached();
            context.shared.charge(&copy);
            copy.charge_to(Account::Kept);
            history.keep(copy);
        }
    }

    /// A kept message goes where a new binding leads.
    #[cold]
    pub fn repeat(&mut self, context: Context<'_>, message: &Message, route: &Route) {
        if message.meta().expires.is_none_or(|at| at > context.now) {
            self.publish(context, message, route, Terms::Untold);
            self.run(context);
        }
    }
}
