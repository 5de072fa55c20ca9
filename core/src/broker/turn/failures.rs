//! Failures of content routes: what `on_error` makes of them, and dead letters, which somebody has to take.

use super::content::{Step, Stop};
use super::context::HOPS_MAX;
use super::plan::{Obstacle, Plan};
use crate::broker::vhost::content_path::ContentPath;
use crate::broker::vhost::route_counters::{LastFailure, RouteEvent};
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::transform::{AfterFailure, FailureKind, StepFailure};
use std::sync::Arc;

impl Plan<'_> {
    /// Where a waiting message was going is gone: that is the failure of the route that had it.
    pub(super) fn lost(
        &mut self,
        path: &Arc<ContentPath>,
        message: &Message,
        error: &Error,
    ) -> Result<(), Obstacle> {
        let fault = unroutable(path, error.detail());
        self.note(path, RouteEvent::Failed(FailureKind::Unroutable));
        self.dead_letter(path, message, &fault)
    }

    /// What the route's policy makes of a failure after the last attempt.
    pub(super) fn give_up(
        &mut self,
        path: &Arc<ContentPath>,
        message: &Message,
        fault: &StepFailure,
    ) -> Result<Step, Obstacle> {
        self.note(path, RouteEvent::Failed(fault.kind));
        let then = match path.route.on_error.then {
            // It would only go round again.
            _ if fault.kind == FailureKind::Hops => AfterFailure::DeadLetter,
            AfterFailure::Reject if self.is_answered => AfterFailure::DeadLetter,
            then => then,
        };
        match then {
            AfterFailure::Pass => {
                self.note(path, RouteEvent::Passed);
                Ok(Step::Passed)
            }
            AfterFailure::Drop => {
                self.note(path, RouteEvent::Dropped(fault.text.clone()));
                self.is_handled = true;
                Ok(Step::Gone)
            }
            AfterFailure::Reject => {
                let kind = match fault.kind {
                    FailureKind::Unroutable => ErrorKind::Unroutable,
                    _ => ErrorKind::Invalid,
                };
                let error = Error::new(kind, fault.text.clone());
                Err(Obstacle { path: Some(path.clone()), error })
            }
            AfterFailure::DeadLetter => {
                self.dead_letter(path, message, fault)?;
                Ok(Step::Gone)
            }
        }
    }

    /// The original goes to the route's dead-letter address. Nobody there is no answer: it has to be taken.
    pub(super) fn dead_letter(
        &mut self,
        path: &Arc<ContentPath>,
        message: &Message,
        fault: &StepFailure,
    ) -> Result<(), Obstacle> {
        let shared = self.context.shared;
        let dead = path.with_fault(message, fault, &shared.formats, &shared.settings.dead_letter());
        let address = dead.address().clone();
        let no_taker = |why: &str| {
            let text = format!("{why}; the message failed with: {}", fault.text);
            // To its publisher it is as if there were no room.
            let error = Error::new(ErrorKind::Full, text);
            Obstacle { path: Some(path.clone()), error }
        };
        match self.emit(path, dead) {
            Ok(true) => {}
            Ok(false) => return Err(no_taker(&format!("nobody takes dead letters at {address}"))),
            Err(Stop::Failed(reason)) => {
                return Err(no_taker(&format!(
                    "its dead-letter address {address}: {}",
                    reason.text
                )));
            }
            Err(Stop::Obstacle(obstacle)) => return Err(obstacle),
        }
        let failure = LastFailure {
            time: self.context.now,
            address: message.address().clone(),
            failure: fault.clone(),
            went_to: Some(address),
        };
        self.note(path, RouteEvent::DeadLettered(Box::new(failure)));
        Ok(())
    }
}

/// A failure of the route itself, not of one of its steps.
pub fn failure(path: &ContentPath, kind: FailureKind, text: &str) -> StepFailure {
    let module = Arc::from(path.route.transform.name());
    StepFailure { module, version: Arc::from(""), kind, text: Arc::from(text) }
}

pub(super) fn unroutable(path: &ContentPath, text: &str) -> StepFailure {
    failure(path, FailureKind::Unroutable, text)
}

/// The message met as many routes as it may.
pub fn too_many_hops(path: &ContentPath) -> StepFailure {
    let text = format!("it went through {HOPS_MAX} content routes, one after the other");
    failure(path, FailureKind::Hops, &text)
}
