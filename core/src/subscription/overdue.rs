//! Which consumers have had a record for longer than their queue allows. No record has a timer of its own: giving one
//! out writes a number into it, and the queue looks at what its consumers have had longest when that may be due.

use super::{Handle, Subscription};
use crate::log::RecordState;
use crate::message::Timestamp;

/// Records of one consumer that one look goes through. Those that came back to it and were given again stand at two
/// places, and hide what is behind them until they are gone.
const LOOKS: usize = 256;

impl Subscription {
    /// Consumers that have something which they have to settle in time.
    pub fn holders(&self) -> Vec<Handle> {
        let holders = self.consumers.iter().filter(|c| c.has_time && c.in_flight() > 0);
        holders.map(|consumer| consumer.handle).collect()
    }

    /// When the consumer was given what it has had longest. What was given before `from` counts as given then.
    pub fn oldest_given(
        &mut self,
        handle: Handle,
        (from, now): (Timestamp, Timestamp),
    ) -> Option<Timestamp> {
        let mut oldest: Option<Timestamp> = None;
        for offset in self.consumers.first_in_flight(handle, LOOKS) {
            let Some(record) = self.log.get(offset) else { continue };
            if record.state == RecordState::InFlight(handle.0) {
                let given = record.given.before(now).max(from);
                oldest = Some(oldest.map_or(given, |oldest| oldest.min(given)));
            }
        }
        oldest
    }
}
