//! The allocator of the process, and giving back what threads have freed.
//!
//! Each thread has pages of its own. What another thread frees in them, and what is empty, is looked at when the thread
//! allocates the next many times; a thread that has nothing to do any more keeps it for ever. So a thread looks before
//! it goes to sleep. It does so at most once a second; a thread that has slept since without having looked is idle, and
//! [`idle_threads`] says that it is to be woken for that.

pub use mimalloc::MiMalloc as Allocator;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Between two looks of one thread.
const PAUSE: Duration = Duration::from_secs(1);

/// Threads that went to sleep without having looked.
static UNSEEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// When this thread has looked last, and whether it is among those.
    static LOOKED: Cell<(Option<Instant>, bool)> = const { Cell::new((None, false)) };
}

/// This thread goes to sleep: it gives back what is free of its pages, if it has not done so of late.
pub fn before_sleep() {
    LOOKED.with(|looked| {
        let (at, is_unseen) = looked.get();
        if at.is_some_and(|at| at.elapsed() < PAUSE) {
            if !is_unseen {
                UNSEEN.fetch_add(1, Ordering::Relaxed);
            }
            looked.set((at, true));
            return;
        }
        give_back();
        if is_unseen {
            UNSEEN.fetch_sub(1, Ordering::Relaxed);
        }
        looked.set((Some(Instant::now()), false));
    });
}

/// How many threads have gone to sleep, perhaps, without having given back what they had.
pub fn idle_threads() -> usize {
    UNSEEN.load(Ordering::Relaxed)
}

/// Gives back what is free of this thread's pages, and what was free for a second of all.
#[allow(unsafe_code)]
fn give_back() {
    unsafe extern "C" {
        fn mi_collect(force: bool);
    }
    // SAFETY: the function is the allocator's own, which is linked with this crate; it takes no pointer, may be called
    // by any thread at any time, and only releases memory that nobody has.
    unsafe { mi_collect(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_looks_once_a_second() {
        before_sleep();
        assert_eq!(idle_threads(), 0);
        before_sleep();
        before_sleep();
        assert_eq!(idle_threads(), 1);
        std::thread::sleep(PAUSE);
        before_sleep();
        assert_eq!(idle_threads(), 0);
    }
}
