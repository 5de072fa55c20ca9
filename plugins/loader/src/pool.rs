//! A few threads that calls of one plugin run on. Whoever waits for a call gives up after a time; a call that hangs
//! keeps its thread.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Calls that wait for a thread, at most. One for each thread that routes is enough.
const WAITING_MAX: usize = 1_024;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// The call began, and did not return in time.
    Hangs,
    /// No thread was free in time, or no thread could be made.
    Busy,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

struct Shared {
    name: String,
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// The threads. They are made when they are needed, and stay as long as the process.
pub struct Pool {
    shared: Arc<Shared>,
    threads_max: usize,
    /// How long a call may take.
    time: Duration,
}

enum State<R> {
    Waiting,
    Running,
    Done(R),
    /// Nobody waits any more.
    Left,
}

struct Slot<R> {
    state: Mutex<State<R>>,
    done: Condvar,
}

impl Pool {
    /// Threads of that name.
    pub fn new(name: &str, threads_max: usize, time: Duration) -> Self {
        let queue = Mutex::default();
        let shared = Shared { name: name.to_owned(), queue, wake: Condvar::new() };
        Self { shared: Arc::new(shared), threads_max, time }
    }

    /// How long a call may take.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Runs that on a thread of the pool and waits for it, for as long as a call may take.
    pub fn call<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Late> {
        self.call_while(work, || None)
    }

    /// The same for a call that does several things: its time begins again with each. `progress`: when it did the last.
    pub fn call_while<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
        progress: impl Fn() -> Option<Instant>,
    ) -> Result<R, Late> {
        let slot = Arc::new(Slot { state: Mutex::new(State::Waiting), done: Condvar::new() });
        let theirs = slot.clone();
        self.submit(
            Box::new(move || {
                {
                    let mut state = theirs.state.lock();
                    if matches!(*state, State::Left) {
                        return;
                    }
                    *state = State::Running;
                }
                let result = work();
                let mut state = theirs.state.lock();
                if !matches!(*state, State::Left) {
                    *state = State::Done(result);
                    theirs.done.notify_one();
                }
            }),
            WAITING_MAX,
        )?;
        let mut until = Instant::now() + self.time;
        let mut state = slot.state.lock();
        loop {
            match std::mem::replace(&mut *state, State::Left) {
                State::Done(result) => return Ok(result),
                other => *state = other,
            }
            if slot.done.wait_until(&mut state, until).timed_out() {
                match progress().map(|last| last + self.time) {
                    Some(later) if later > until => {
                        until = later;
                        continue;
                    }
                    _ => {}
                }
                return match std::mem::replace(&mut *state, State::Left) {
                    State::Done(result) => Ok(result),
                    State::Running => Err(Late::Hangs),
                    State::Waiting | State::Left => Err(Late::Busy),
                };
            }
        }
    }

    /// The same for whoever must not block its thread. Each connection asks for one thing at a time: as many wait as
    /// there are connections.
    pub async fn call_later<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Late> {
        let has_begun = Arc::new(AtomicBool::new(false));
        let (answer, answered) = oneshot::channel();
        let theirs = has_begun.clone();
        let job = move || {
            if !answer.is_closed() {
                theirs.store(true, Ordering::Release);
                // Whoever waited may have gone meanwhile.
                let _ = answer.send(work());
            }
        };
        self.submit(Box::new(job), usize::MAX)?;
        match timeout(self.time, answered).await {
            Ok(Ok(result)) => Ok(result),
            _ if has_begun.load(Ordering::Acquire) => Err(Late::Hangs),
            _ => Err(Late::Busy),
        }
    }

    /// Runs that some time, without waiting for it. Not at all when too much waits.
    pub fn later(&self, work: impl FnOnce() + Send + 'static) {
        // Freeing what a plugin made is all that is asked for so: it stays then.
        let _ = self.submit(Box::new(work), WAITING_MAX);
    }

    fn submit(&self, job: Job, waiting_max: usize) -> Result<(), Late> {
        let mut queue = self.shared.queue.lock();
        if queue.jobs.len() >= waiting_max {
            return Err(Late::Busy);
        }
        queue.jobs.push_back(job);
        if queue.jobs.len() > queue.idle && queue.threads < self.threads_max {
            match self.start() {
                Ok(()) => queue.threads += 1,
                // Whoever waits behind others gets his turn.
                Err(_) if queue.threads > 0 => {}
                Err(_) => {
                    queue.jobs.pop_back();
                    return Err(Late::Busy);
                }
            }
        }
        self.shared.wake.notify_one();
        Ok(())
    }

    fn start(&self) -> io::Result<()> {
        let shared = self.shared.clone();
        let named = thread::Builder::new().name(self.shared.name.clone());
        named.spawn(move || shared.work()).map(|_| ())
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let job = {
                let mut queue = self.queue.lock();
                loop {
                    match queue.jobs.pop_front() {
                        Some(job) => break job,
                        None => {
                            queue.idle += 1;
                            self.wake.wait(&mut queue);
                            queue.idle -= 1;
                        }
                    }
                }
            };
            job();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_return_or_are_given_up() {
        let pool = Pool::new("test", 2, Duration::from_millis(200));
        assert_eq!(pool.call(|| 7), Ok(7));
        for n in 0..1_000 {
            assert_eq!(pool.call(move || n), Ok(n));
        }
        let forever = || thread::sleep(Duration::from_secs(3_600));
        assert_eq!(pool.call(forever), Err(Late::Hangs));
        assert_eq!(pool.call(|| 8), Ok(8), "there is another thread");
        assert_eq!(pool.call(forever), Err(Late::Hangs));
        assert_eq!(pool.call(|| 9), Err(Late::Busy), "there is none");
        let started = Instant::now();
        for _ in 0..WAITING_MAX + 10 {
            pool.later(|| ());
        }
        assert_eq!(pool.call(|| 10), Err(Late::Busy));
        assert!(started.elapsed() < Duration::from_millis(150), "too much waits already");
    }

    #[test]
    fn the_time_begins_again_with_each_progress() {
        let pool = Pool::new("test", 2, Duration::from_millis(200));
        let last = Arc::new(Mutex::new(None));
        let progress = || *last.lock();
        let steps = |count: usize| {
            let last = last.clone();
            move || {
                for _ in 0..count {
                    thread::sleep(Duration::from_millis(50));
                    *last.lock() = Some(Instant::now());
                }
            }
        };
        assert_eq!(pool.call_while(steps(12), progress), Ok(()), "600 ms in all");
        let hangs = {
            let steps = steps(2);
            move || {
                steps();
                thread::sleep(Duration::from_secs(3_600));
            }
        };
        let started = Instant::now();
        assert_eq!(pool.call_while(hangs, progress), Err(Late::Hangs));
        let took = started.elapsed().as_millis();
        assert!((300..2_000).contains(&took), "{took} ms: 200 behind the last");
    }

    #[tokio::test]
    async fn whoever_must_not_block_gets_the_same() {
        let pool = Pool::new("test", 2, Duration::from_millis(200));
        assert_eq!(pool.call_later(|| 7).await, Ok(7));
        let forever = || thread::sleep(Duration::from_secs(3_600));
        assert_eq!(pool.call_later(forever).await, Err(Late::Hangs));
        assert_eq!(pool.call_later(forever).await, Err(Late::Hangs));
        assert_eq!(pool.call_later(|| 8).await, Err(Late::Busy));
    }

    #[test]
    fn many_wait_for_few_threads() {
        let pool = Arc::new(Pool::new("test", 2, Duration::from_secs(10)));
        let callers: Vec<_> = (0..8)
            .map(|n| {
                let pool = pool.clone();
                thread::spawn(move || (0..500).all(|m| pool.call(move || n * m) == Ok(n * m)))
            })
            .collect();
        assert!(callers.into_iter().all(|caller| caller.join().expect("ends")));
        assert_eq!(pool.shared.queue.lock().threads, 2);
    }
}
