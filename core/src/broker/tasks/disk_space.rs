//! Room on the disk: below the mark publishers are held back, below the hard mark nothing new is declared either;
//! consumers and their acknowledgements always go on, and what they free gives the room back.

use crate::broker::Inner;
use crate::broker::restart::clean::has_gain;
use crate::error::{Error, ErrorKind};
use crate::store::Space;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two looks, far from the mark and near it.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_NEAR: Duration = Duration::from_millis(100);
/// Without a setting: so much, or this part of the disk if that is more.
const ALARM_BYTES: u64 = 1 << 30;
const ALARM_PART: u64 = 20;
/// Nearer than so many times the mark is near.
const NEAR: u64 = 2;
/// Snapshots under the alarm: what consumers have freed is given back to the disk in time.
const LOOKS_PER_SNAPSHOT: u32 = 5;

/// Looks at the disk until the broker closes.
pub async fn run(core: Arc<Inner>) {
    let mut looks = 0;
    loop {
        let pause = match core.store.space().await {
            Ok(None) => return,
            Ok(Some(space)) => core.judge(space),
            Err(error) => {
                tracing::warn!(%error, "the room on the disk cannot be told");
                PAUSE
            }
        };
        if core.disk_alarmed.load(Ordering::Acquire) {
            looks += 1;
            if looks % LOOKS_PER_SNAPSHOT == 0 && has_gain(&core) {
                core.snapshot_due.notify_one();
            }
        }
        // Who writes much asks for a look before it is due.
        let _ = tokio::time::timeout(pause, core.look_due.notified()).await;
    }
}

impl Inner {
    fn judge(&self, space: Space) -> Duration {
        let Space { free, total } = space;
        let mark = self.settings.disk_free_alarm.unwrap_or((total / ALARM_PART).max(ALARM_BYTES));
        let was = self.disk_alarmed.load(Ordering::Acquire);
        // A little more than the mark ends the alarm, so that it does not flicker.
        let is = free < if was { mark + mark / 8 } else { mark };
        self.disk_alarmed.store(is, Ordering::Release);
        self.disk_full.store(is && free < self.settings.disk_free_hard, Ordering::Release);
        self.room_left.store(free.saturating_sub(mark), Ordering::Release);
        if is && !was {
            tracing::warn!(free, mark, "the disk is nearly full: publishers are held back");
        }
        if was && !is {
            tracing::info!(free, mark, "there is room on the disk again");
            self.release_held();
        }
        if free < mark.saturating_mul(NEAR) { PAUSE_NEAR } else { PAUSE }
    }

    /// So many bytes were written. Before the room that was seen last is used up, somebody looks again.
    pub(in crate::broker) fn used_room(&self, bytes: usize) {
        let bytes = bytes as u64;
        let left = self.room_left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
            Some(left.saturating_sub(bytes))
        });
        if left.is_ok_and(|left| left < bytes.saturating_mul(4)) {
            self.look_due.notify_one();
        }
    }

    /// An error while not even small things can be stored.
    pub(in crate::broker) fn room(&self) -> Result<(), Error> {
        match self.disk_full.load(Ordering::Acquire) {
            false => Ok(()),
            true => Err(Error::new(ErrorKind::Full, "the disk is nearly full")),
        }
    }
}
