//! Queues that are kept for subscribers that may be away: when to look how much they hold (`tasks::sleepers` does), and
//! what of theirs was dropped, with one warning a minute that says whose most of it was.

use crate::broker::vhost::queue::Queue;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// The first warning comes so long after the first dropped message: with what a burst of publishes has dropped.
const FIRST_AFTER: Duration = Duration::from_secs(2);
/// Queues whose dropped messages are counted one by one between two warnings.
const QUEUES: usize = 8;

/// What is known of all such queues.
#[derive(Default)]
pub struct Sleepers {
    /// Bytes that were written to the journal since the start.
    written: AtomicU64,
    /// Value of `written` from which on the task measures the queues again.
    look_at: AtomicU64,
    pub look_due: Notify,
    /// Messages dropped since the start.
    dropped: AtomicU64,
    recent: Mutex<Recent>,
}

impl Sleepers {
    /// So many bytes were written to the journal.
    pub fn wrote(&self, bytes: usize) {
        let written = self.written.fetch_add(bytes as u64, Ordering::AcqRel) + bytes as u64;
        if written >= self.look_at.load(Ordering::Acquire) {
            self.look_due.notify_one();
        }
    }

    /// Bytes that were written to the journal since the start.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// The task measures the queues again when `bytes` more were written to the journal.
    pub fn look_after(&self, bytes: u64) {
        self.look_at.store(self.written().saturating_add(bytes), Ordering::Release);
    }

    /// Messages of that queue were dropped because it, or all of them together, held too much.
    pub fn note_dropped(&self, queue: &Arc<Queue>, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        self.recent.lock().add(queue, count);
    }

    /// How many were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Warns of what was dropped since the last warning, if that is a minute ago. `is_last`: the broker ends.
    pub fn report(&self, is_last: bool) {
        let mut recent = self.recent.lock();
        if !recent.is_due(is_last) {
            return;
        }
        let (dropped, whose) = recent.take();
        drop(recent);
        let Some((most, of_these)) = whose else { return };
        let client = most.spec.kept_for.as_ref().map_or("", |name| &**name);
        let (vhost, queue) = (&most.vhost, &most.name);
        tracing::warn!(
            client, %vhost, %queue, of_these, dropped, total = self.dropped(),
            "messages that waited for a subscriber were dropped, the oldest first: it holds more than \
             limits.subscription_bytes, or all such subscribers hold more than the disk has room for"
        );
    }
}

/// What was dropped since the last warning.
#[derive(Default)]
struct Recent {
    warned: Option<Instant>,
    /// When the first was dropped since then.
    began: Option<Instant>,
    dropped: u64,
    /// Whose it was: the few with the most (by the algorithm of Misra and Gries).
    by: Vec<(Arc<Queue>, u64)>,
}

impl Recent {
    fn add(&mut self, queue: &Arc<Queue>, mut count: u64) {
        self.dropped += count;
        self.began.get_or_insert_with(Instant::now);
        if let Some((_, known)) = self.by.iter_mut().find(|(known, _)| Arc::ptr_eq(known, queue)) {
            *known += count;
            return;
        }
        if self.by.len() == QUEUES {
            let least = self.by.iter().map(|(_, count)| *count).min().unwrap_or(0).min(count);
            count -= least;
            self.by.retain_mut(|(_, count)| {
                *count -= least;
                *count > 0
            });
        }
        if count > 0 && self.by.len() < QUEUES {
            self.by.push((queue.clone(), count));
        }
    }

    /// A minute has passed since the last warning, and there is something to say.
    fn is_due(&self, is_last: bool) -> bool {
        let has_begun = self.began.is_some_and(|at| at.elapsed() >= FIRST_AFTER);
        let is_time = has_begun && self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY);
        self.dropped > 0 && (is_last || is_time)
    }

    /// How many there were, and the queue with the most and its part.
    fn take(&mut self) -> (u64, Option<(Arc<Queue>, u64)>) {
        (self.warned, self.began) = (Some(Instant::now()), None);
        let most = self.by.drain(..).max_by_key(|(_, count)| *count);
        (std::mem::take(&mut self.dropped), most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::LogId;
    use crate::log::QueueSpec;
    use crate::message::Timestamp;

    #[test]
    fn a_warning_names_whose_most_of_it_was() {
        let queue = |n: u64| {
            let spec =
                QueueSpec { kept_for: Some("c".into()), ..QueueSpec::durable(n.to_string()) };
            Queue::new((LogId(n), &"/".into()), spec, None, Timestamp(0))
        };
        let queues: Vec<_> = (0..1_000).map(queue).collect();
        let mut recent = Recent::default();
        for other in &queues {
            recent.add(other, 1);
            recent.add(&queues[7], 3);
            assert!(recent.by.len() <= QUEUES);
        }
        assert!(!recent.is_due(false), "more may come in a moment");
        recent.began = Instant::now().checked_sub(FIRST_AFTER);
        assert!(recent.is_due(false));
        let (dropped, most) = recent.take();
        let (most, _) = most.expect("somebody's");
        assert_eq!((dropped, &*most.name), (4_000, "7"));
        assert!(!recent.is_due(true));
        recent.add(&queues[1], 5);
        recent.began = Instant::now().checked_sub(FIRST_AFTER);
        assert!(!recent.is_due(false), "a minute has not passed");
        assert!(recent.is_due(true), "the broker ends");
    }
}
