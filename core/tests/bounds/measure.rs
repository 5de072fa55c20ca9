//! CPU time at n and at 2n. The clock of the machine would count other processes, so the thread's own time is taken,
//! and the best of several tries counts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Tries of which the best counts.
const TRIES: usize = 6;
/// What is linear takes twice as long; caches and maps that grow add something.
const GROWTH_MAX: f64 = 2.5;

/// CPU time of this thread so far.
pub fn cpu_time() -> Duration {
    // The kernel counts at each tick, which is milliseconds apart, and when a thread gives way.
    std::thread::yield_now();
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a Linux kernel");
    let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(first.expect("nanoseconds"))
}

/// Runs `body` and returns the CPU time that it took on this thread.
pub fn timed(body: impl FnOnce()) -> Duration {
    let before = cpu_time();
    body();
    cpu_time().saturating_sub(before)
}

/// `run(n)` prepares what it needs and returns the CPU time of what is measured, for n items. That has to take at most
/// 2.5 times as long for twice as many.
pub fn grows_linearly(what: &str, n: usize, mut run: impl FnMut(usize) -> Duration) {
    // One at a time: they would take each other's caches.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut tried = Vec::new();
    for _ in 0..TRIES {
        let (once, twice) = (run(n), run(2 * n));
        let growth = twice.as_secs_f64() / once.as_secs_f64().max(1e-6);
        if growth <= GROWTH_MAX {
            return;
        }
        tried.push(format!("{n}: {once:?}, {}: {twice:?}, ×{growth:.2}", 2 * n));
    }
    panic!("{what} does not grow linearly: {}", tried.join("; "));
}

#[test]
fn what_is_quadratic_is_found() {
    // Invented times: what is judged here is the judge.
    let quadratic = |n: usize| Duration::from_nanos((n * n) as u64);
    let found = std::panic::catch_unwind(|| grows_linearly("a scan", 4_000, quadratic));
    assert!(found.is_err());
    grows_linearly("a sum", 40_000_000, |n| {
        timed(|| {
            std::hint::black_box((0..n).fold(0usize, |a, b| std::hint::black_box(a ^ b)));
        })
    });
}
