//! What queues had counted, counted on from the snapshot through the journal behind it.
//!
//! A snapshot is taken while traffic flows, so it says for each queue up to which entry its counts go: the entries
//! behind that are counted here, once each. Stores from before queues counted have none: what such a queue holds has
//! come, and what it settled since the snapshot.

use crate::log::Log;
use crate::store::Pos;
use crate::subscription::{CameBy, LeftBy, QueueCounts, Side, Tally};

/// The counts of one queue while the journal is read.
#[derive(Default)]
pub struct StoredCounts {
    durable: Tally,
    transient: Tally,
    /// Up to which entry `durable` goes. None: the snapshot does not say.
    upto: Option<Pos>,
}

impl StoredCounts {
    /// Those of a queue whose declaration is in the entry at `pos`; in a snapshot: 0.
    pub fn begin(pos: Pos) -> Self {
        Self { upto: (pos > Pos(0)).then_some(Pos(0)), ..Self::default() }
    }

    /// The snapshot says what was counted up to that entry.
    pub fn set(&mut self, upto: Pos, durable: Tally) {
        (self.upto, self.durable) = (Some(upto), durable);
    }

    /// What is not stored came to this.
    pub fn set_transient(&mut self, transient: Tally) {
        self.transient = transient;
    }

    fn is_counted(&self, pos: Pos) -> bool {
        self.upto.is_some_and(|upto| pos <= upto)
    }

    /// The entry at `pos` has a record of it.
    pub fn came(&mut self, pos: Pos, by: CameBy) {
        if !self.is_counted(pos) {
            self.durable.add_came(by, 1);
        }
    }

    /// The entry at `pos` settles that many of its records.
    pub fn left(&mut self, pos: Pos, by: LeftBy, count: usize) {
        if !self.is_counted(pos) {
            self.durable.add_left(by, count as u64);
        }
    }

    /// The queue of that log counts on from here. What was not stored is gone. `is_damaged`: entries of the journal
    /// were lost, so that the counts may not be right, and are put right.
    pub fn restore(mut self, log: &Log, counts: &QueueCounts, is_damaged: bool) {
        let lost = self.transient.came_all().saturating_sub(self.transient.left_all());
        self.transient.add_left(LeftBy::TransientLost, lost);
        if self.upto.is_none() || is_damaged {
            let (came, left) = (self.durable.came_all(), self.durable.left_all() + log.len());
            self.durable.add_came(CameBy::Publish, left.saturating_sub(came));
            self.durable.add_left(LeftBy::Unreadable, came.saturating_sub(left));
        }
        counts.restore(Side::Durable, &self.durable);
        counts.restore(Side::Stored, &self.durable);
        counts.restore(Side::Transient, &self.transient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_once() {
        let mut stored = StoredCounts::begin(Pos(0));
        let mut tally = Tally::default();
        tally.add_came(CameBy::Publish, 10);
        tally.add_left(LeftBy::Consumed, 8);
        stored.set(Pos(20), tally);
        for pos in [19, 20, 21] {
            stored.came(Pos(pos), CameBy::DeadLetter);
            stored.left(Pos(pos), LeftBy::Purged, 3);
        }
        let counts = QueueCounts::default();
        stored.restore(&Log::default(), &counts, false);
        let tally = counts.tally(Side::Durable);
        assert_eq!((tally.came_all(), tally.left_all()), (11, 11));
        assert_eq!(counts.tally(Side::Stored), tally);
    }

    #[test]
    fn an_old_store_has_counted_what_is_there() {
        let mut stored = StoredCounts::begin(Pos(0));
        stored.came(Pos(21), CameBy::Publish);
        stored.left(Pos(22), LeftBy::Consumed, 5);
        let counts = QueueCounts::default();
        stored.restore(&Log::default(), &counts, false);
        let tally = counts.tally(Side::Durable);
        assert_eq!((tally.came(CameBy::Publish), tally.left(LeftBy::Consumed)), (5, 5));
    }

    #[test]
    fn what_was_not_stored_is_lost() {
        let (mut stored, mut tally) = (StoredCounts::begin(Pos(3)), Tally::default());
        tally.add_came(CameBy::Publish, 7);
        tally.add_left(LeftBy::Consumed, 4);
        stored.set_transient(tally);
        let counts = QueueCounts::default();
        stored.restore(&Log::default(), &counts, false);
        assert_eq!(counts.tally(Side::Transient).left(LeftBy::TransientLost), 3);
    }
}
