//! An operator ends a named session: what its client would do with a clean start, for clients that come no more.

use super::consume::resume;
use super::opening::check_session_owner;
use super::state::Session;
use crate::broker::door::events::{Notice, SessionEnded};
use crate::broker::operations::ops::Ops;
use crate::broker::turn::removal;
use crate::error::{Error, ErrorKind};
use crate::message::Name;

impl Session {
    /// Ends a named session with all that it keeps: its bindings, its memos, and its queue, whose messages leave as
    /// deleted. A connection that has it is told to end, with `why`; its wills are due now. `NotFound`; `Refused`: it
    /// belongs to another user.
    pub async fn end_session(&mut self, name: &str, why: &str) -> Result<SessionEnded, Error> {
        self.arrived_all().await?;
        let (ended, ops) = self.end_now(name, why)?;
        self.settle_down();
        self.store(ops).await?;
        self.sync().await?;
        Ok(ended)
    }

    fn end_now(&mut self, name: &str, why: &str) -> Result<(SessionEnded, Ops), Error> {
        let (shared, vhost) = (self.shared(), self.vhost.clone());
        // Nobody opens it meanwhile.
        let _one = vhost.opening.lock();
        let found = vhost.topology.read().session(name).cloned();
        let named = found.ok_or_else(|| {
            let detail = format!("there is no session '{name}' in vhost '{}'", vhost.name);
            Error::new(ErrorKind::NotFound, detail)
        })?;
        if !self.rights.subject.is_unlimited() {
            check_session_owner(&named, &self.rights.subject)?;
        }
        self.touch();
        let now = shared.now();
        let messages = named.queue().map_or(0, |queue| queue.look(|state| state.sub.log.len()));
        let connected = named.with(|state| state.inbox.take());
        if let Some(inbox) = &connected {
            inbox.notice(Notice::Closed(Error::new(ErrorKind::Unavailable, why)));
            resume(&named, inbox, &mut self.turn.after, now);
        }
        removal::owner_gone(&shared, named.id, now, true);
        let ops = removal::end_session(&shared, &vhost, &named);
        Ok((SessionEnded { messages, was_connected: connected.is_some() }, ops))
    }

    /// `Refused` where a queue keeps what a named session is owed: without it the session would keep nothing any more,
    /// and its client would not know.
    pub(super) fn check_no_session(
        &self,
        queue: &Name,
        session: Option<&Name>,
    ) -> Result<(), Error> {
        let Some(session) = session else { return Ok(()) };
        let detail = format!(
            "queue '{queue}' in vhost '{}' is the one of session '{session}', which would keep nothing \
             without it: end the session instead (crossdock ctl delete session {session})",
            self.vhost.name
        );
        Err(Error::new(ErrorKind::Refused, detail))
    }
}
