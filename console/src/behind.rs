//! Work for operators that takes a core for some milliseconds: on a thread of its own, to which the kernel prefers all
//! that serve clients. With as many threads that have work as there are cores, a client would wait for milliseconds
//! until it has its turn. Such work holds a lock for some tens of microseconds at most, for the lock is held for longer
//! when the thread has to wait in between.

use rustix::process::nice;
use std::thread;
use tokio::sync::oneshot;

/// How much less often than others such a thread has its turn, of 19: a tenth of the time while all cores are busy.
const NICENESS: i32 = 10;

/// Called after each part of some work, so that whoever waits for the core has it now: the kernel lets even such a
/// thread finish its slice of 0.7 to 3 ms before it takes the core away.
pub fn give_way() {
    thread::yield_now();
}

/// What the work comes to; none: there was no thread for it, or it panicked.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (done, result) = oneshot::channel();
    let work = move || {
        // In Linux a priority is a thread's. Where the kernel does not want it, the work is done all the same.
        #[cfg(target_os = "linux")]
        let _ = nice(NICENESS);
        // An error: nobody waits for it any more.
        let _ = done.send(work());
    };
    thread::Builder::new().name("for operators".to_owned()).spawn(work).ok()?;
    result.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_gives_way_and_nobody_else_does() {
        let before = nice(0).expect("Linux");
        let inside = run(|| nice(0).expect("Linux")).await.expect("a result");
        // Under `nice` there may be less left to give way by.
        assert_eq!((inside, nice(0).expect("Linux")), ((before + NICENESS).min(19), before));
    }

    #[tokio::test]
    async fn work_that_panics_has_no_result() {
        assert_eq!(run(|| (0..).take(3).map(|n| 6 / (2 - n)).sum::<i32>()).await, None);
    }
}
