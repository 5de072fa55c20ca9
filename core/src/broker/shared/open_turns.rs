//! Turns that have changed memory and not yet submitted that to the committer. A snapshot that is taken meanwhile
//! counts only when they have.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;

/// Counts open turns, in two classes, so that one can wait for all that are open now without waiting for new ones.
#[derive(Default)]
pub struct OpenTurns {
    epoch: AtomicU64,
    even: AtomicUsize,
    odd: AtomicUsize,
    /// Held by whoever waits: one after the other.
    waiting: Mutex<()>,
}

impl OpenTurns {
    fn open(&self, class: usize) -> &AtomicUsize {
        if class == 0 { &self.even } else { &self.odd }
    }

    /// A turn begins to change memory.
    pub fn enter(&self) -> usize {
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            let class = (epoch % 2) as usize;
            self.open(class).fetch_add(1, Ordering::SeqCst);
            if self.epoch.load(Ordering::SeqCst) == epoch {
                return class;
            }
            self.open(class).fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// What it changed is submitted.
    pub fn leave(&self, class: usize) {
        self.open(class).fetch_sub(1, Ordering::SeqCst);
    }

    /// Resolves when every turn that is open now has left.
    pub async fn wait(&self) {
        let _one = self.waiting.lock().await;
        let class = (self.epoch.fetch_add(1, Ordering::SeqCst) % 2) as usize;
        while self.open(class).load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test(start_paused = true)]
    async fn only_turns_that_were_open_are_waited_for() {
        let turns = Arc::new(OpenTurns::default());
        let old = turns.enter();
        let waiting = tokio::spawn({
            let turns = turns.clone();
            async move { turns.wait().await }
        });
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert!(!waiting.is_finished());
        let new = turns.enter();
        turns.leave(old);
        waiting.await.expect("no panic");
        turns.leave(new);
    }
}
