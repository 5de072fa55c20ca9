//! Records that a session has claimed: their delivery to its client was begun, and is the session's to finish. Nobody
//! else gets them. While their consumer is there they are in flight with it; after that they are held here.

use super::consumers::Given;
use super::{Effects, Handle, LeftBy, Outcome, Side, Subscription};
use crate::log::{Offset, Place, Record, RecordState};
use crate::message::{Message, Reason};

impl Subscription {
    /// A claimed record is with no consumer, and not ready either. `of`: only if that consumer has it.
    #[cold]
    pub fn keep_claimed(&mut self, offset: Offset, of: Option<Handle>, out: &mut Effects) {
        let Some(record) = self.log.get(offset) else { return };
        let Record { state, priority, counted, size, .. } = *record;
        match (state, of) {
            (RecordState::InFlight(handle), of) if of.is_none_or(|of| of.0 == handle) => {
                self.hold_claimed(offset);
                let given = Given { count: 1, bytes: u64::from(size), counted: u64::from(counted) };
                let handle = Handle(handle);
                if self.consumers.settled(handle, &[offset], given, &mut out.wake) {
                    let log = &mut self.log;
                    self.consumers.tidy(handle, |offset| {
                        log.get(offset).is_some_and(|r| r.state == RecordState::InFlight(handle.0))
                    });
                }
            }
            // After a restart.
            (RecordState::Ready, None) => {
                self.ready.take(offset, priority);
                self.count_out(counted);
                self.hold_claimed(offset);
            }
            _ => {}
        }
    }

    fn hold_claimed(&mut self, offset: Offset) {
        if let Some(record) = self.log.get_mut(offset) {
            record.state = RecordState::Held;
        }
    }

    /// The session says what became of a record that it has claimed: accepted or rejected.
    #[cold]
    pub fn settle_claimed(&mut self, offset: Offset, outcome: &Outcome, out: &mut Effects) {
        match (self.log.get(offset).map(|record| record.state), outcome) {
            (Some(RecordState::InFlight(handle)), _) => {
                self.settle(Handle(handle), &[offset], outcome, out);
            }
            (Some(RecordState::Held), Outcome::Accepted) => {
                let Some(record) = self.log.remove(offset) else { return };
                out.freed.extend(record.place);
                self.counts.left(Side::of(record.durable), LeftBy::Consumed, 1);
                if record.durable {
                    out.settled.push(offset);
                }
            }
            (Some(RecordState::Held), Outcome::Rejected { reason }) => {
                self.move_out(offset, Reason::Rejected, reason.clone(), out);
            }
            _ => {}
        }
    }

    /// The message of a claimed record, or where it is; none: the record is gone.
    #[cold]
    pub fn claimed(&mut self, offset: Offset) -> Option<(Option<Message>, Option<Place>)> {
        let record = self.log.get(offset)?;
        let is_claimed = matches!(record.state, RecordState::InFlight(_) | RecordState::Held);
        is_claimed.then(|| (record.message.clone(), record.place))
    }
}
