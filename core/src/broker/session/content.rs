//! What the workers of content routes do with the messages of their queue: results and settlement are one unit, so that
//! a crash repeats a step and never its effect.

use super::state::Session;
use crate::broker::turn::content::{Judged, Resumed};
use crate::broker::turn::context::Context;
use crate::broker::turn::plan::Obstacle;
use crate::broker::vhost::content_path::ContentPath;
use crate::log::Offset;
use crate::message::Message;
use crate::state::StateChange;
use crate::subscription::{ConsumerId, LeftBy, Outcome};
use std::sync::Arc;

impl Session {
    /// A message of the route's queue goes on as its steps decided, and leaves the queue with that; or it stays.
    /// [`Session::flush`] hands it to the store.
    pub fn complete(
        &mut self,
        (consumer, offset): (ConsumerId, Offset),
        path: &Arc<ContentPath>,
        message: &Message,
        (judged, changes): (Judged, &[StateChange]),
    ) -> Result<(), Resumed> {
        self.touch();
        let (shared, vhost) = (self.shared(), self.vhost().clone());
        let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
        self.turn.resume(context, path, message, judged)?;
        self.turn.remember(context, path, changes);
        self.settle_at_once(consumer, &[offset], &self.done_with());
        Ok(())
    }

    /// A message of a queue whose route is not configured any more goes on as if that route had not matched it. False
    /// when that leads nowhere: it stays.
    pub fn complete_without(
        &mut self,
        (consumer, offset): (ConsumerId, Offset),
        path: &Arc<ContentPath>,
        message: &Message,
    ) -> Result<bool, Obstacle> {
        self.touch();
        let (shared, vhost) = (self.shared(), self.vhost().clone());
        let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
        let is_handled = self.turn.go_on_without(context, path, message)?;
        if is_handled {
            self.settle_at_once(consumer, &[offset], &self.done_with());
        }
        Ok(is_handled)
    }

    /// What this session does with the messages of its queue is counted as moved by an operator from now on.
    pub fn moves(&mut self) {
        self.turn.moves = true;
    }

    /// How a message leaves the queue with what it led to.
    fn done_with(&self) -> Outcome {
        match self.turn.moves {
            true => Outcome::Removed(LeftBy::Moved),
            false => Outcome::Accepted,
        }
    }
}
