//! Counters of the journal: batches, their sizes, and how long the syncs took. Updated once for each sync.

use std::time::Duration;

/// Classes of the histogram.
const CLASSES: usize = 16;

/// Counts since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Batches that were written and synced.
    pub syncs: u64,
    pub entries: u64,
    /// Bytes of their records, headers and padding included.
    pub bytes: u64,
    /// Time of all syncs together.
    pub sync_time: Duration,
    /// Batches by their number of entries: 1, 2–3, 4–7, .. and in the last class all that are larger.
    pub entries_per_sync: [u64; CLASSES],
}

impl Figures {
    /// Counts a batch of at least one entry.
    pub fn count(&mut self, entries: u64, bytes: u64, sync_time: Duration) {
        self.syncs += 1;
        self.entries += entries;
        self.bytes += bytes;
        self.sync_time += sync_time;
        let class = entries.max(1).ilog2() as usize;
        if let Some(count) = self.entries_per_sync.get_mut(class.min(CLASSES - 1)) {
            *count += 1;
        }
    }

    /// Writes the counters to the log.
    pub fn log(&self) {
        let syncs = self.syncs.max(1);
        let mean = self.sync_time.as_micros() / u128::from(syncs);
        let used = self.entries_per_sync.iter().rposition(|count| *count > 0);
        let classes = self.entries_per_sync.get(..used.map_or(0, |last| last + 1));
        tracing::info!(
            syncs = self.syncs,
            entries = self.entries,
            bytes_per_sync = self.bytes / syncs,
            mean_sync_us = mean as u64,
            entries_per_sync = ?classes.unwrap_or_default(),
            "the journal is closed"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_counted_by_powers_of_two() {
        let mut figures = Figures::default();
        for entries in [1, 2, 3, 4, 7, 8, 1 << 15, 1 << 40] {
            figures.count(entries, 10, Duration::from_micros(5));
        }
        assert_eq!(figures.entries_per_sync[..5], [1, 2, 2, 1, 0]);
        assert_eq!(figures.entries_per_sync[CLASSES - 1], 2);
        assert_eq!((figures.syncs, figures.bytes), (8, 80));
        assert_eq!(figures.sync_time, Duration::from_micros(40));
    }
}
