//! A few threads that calls of one plugin run on. Whoever waits for a call gives up after a time; a call that hangs
//! keeps its thread.

use crossdock_core::wait::Thread;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

/// Calls that wait for a thread, at most: whoever waits for one takes a thread, too. The core holds publishers back
/// before that.
const WAITING_MAX: usize = 256;

/// How long whoever waits for an answer keeps its thread to itself. Most answers are there before, and to hand over
/// what else the thread was to do takes some microseconds.
const PATIENCE: Duration = Duration::from_millis(1);

/// Whoever wakes up later than a call's time by that part of it has not run in between, and neither has the call: the
/// process was stopped, or the machine had no time for it.
const LATE: u32 = 8;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// The call began, and did not return in time.
    Hangs,
    /// For the time of a call no thread was free for anybody, or none could be made.
    Busy,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// When a call last began.
    begun: Option<Instant>,
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
    /// Since then.
    Running(Instant),
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
        let thread = Thread::current();
        let slot = Arc::new(Slot { state: Mutex::new(State::Waiting), done: Condvar::new() });
        let theirs = slot.clone();
        self.submit(
            Box::new(move || {
                {
                    let mut state = theirs.state.lock();
                    if matches!(*state, State::Left) {
                        return;
                    }
                    *state = State::Running(Instant::now());
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
        let until = Instant::now() + self.time;
        {
            let mut state = slot.state.lock();
            let soon = Instant::now() + PATIENCE.min(self.time);
            while matches!(*state, State::Waiting | State::Running(_)) {
                if slot.done.wait_until(&mut state, soon).timed_out() {
                    break;
                }
            }
            if matches!(*state, State::Done(_))
                && let State::Done(result) = std::mem::replace(&mut *state, State::Left)
            {
                return Ok(result);
            }
        }
        thread.block(|| self.wait_for(&slot, until, progress))
    }

    /// Waits for the answer until then, or longer where its time begins again.
    fn wait_for<R>(
        &self,
        slot: &Slot<R>,
        mut until: Instant,
        progress: impl Fn() -> Option<Instant>,
    ) -> Result<R, Late> {
        let mut state = slot.state.lock();
        loop {
            match std::mem::replace(&mut *state, State::Left) {
                State::Done(result) => return Ok(result),
                other => *state = other,
            }
            if slot.done.wait_until(&mut state, until).timed_out() {
                let since = match *state {
                    State::Running(since) => progress().max(Some(since)),
                    _ => None,
                };
                if let Some(later) = self.more_time(since, until) {
                    until = later;
                    continue;
                }
                return match std::mem::replace(&mut *state, State::Left) {
                    State::Done(result) => Ok(result),
                    State::Running(_) => Err(Late::Hangs),
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
        let begun: Arc<OnceLock<Instant>> = Arc::default();
        let (answer, mut answered) = oneshot::channel();
        let theirs = begun.clone();
        let job = move || {
            if !answer.is_closed() {
                theirs.get_or_init(Instant::now);
                // Whoever waited may have gone meanwhile.
                let _ = answer.send(work());
            }
        };
        self.submit(Box::new(job), usize::MAX)?;
        let mut until = Instant::now() + self.time;
        loop {
            match timeout_at(until.into(), &mut answered).await {
                Ok(Ok(result)) => return Ok(result),
                // Its thread ended without an answer.
                Ok(Err(_)) => return Err(Late::Hangs),
                Err(_) => {}
            }
            match (self.more_time(begun.get().copied(), until), begun.get()) {
                (Some(later), _) => until = later,
                (None, Some(_)) => return Err(Late::Hangs),
                (None, None) => return Err(Late::Busy),
            }
        }
    }

    /// Until when a call that was to be over by then is waited for nevertheless; none: it is given up. Its time is its
    /// own: what it waited for a thread does not count, nor time in which this process did not run. It waits for a
    /// thread as long as others get one.
    fn more_time(&self, since: Option<Instant>, until: Instant) -> Option<Instant> {
        let now = Instant::now();
        let is_late = now.saturating_duration_since(until) > self.time / LATE;
        let begun = since.or_else(|| self.shared.queue.lock().begun);
        let own = begun.map(|since| since + self.time).filter(|own| *own > now);
        own.or_else(|| (is_late && since.is_some()).then(|| now + self.time))
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
                        Some(job) => {
                            queue.begun = Some(Instant::now());
                            break job;
                        }
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

    /// The time of a call is its own: those before it do not use it up.
    #[tokio::test]
    async fn waiting_for_a_thread_is_no_part_of_a_call() {
        let time = Duration::from_millis(400);
        let pool = Arc::new(Pool::new("test", 1, time));
        let callers: Vec<_> = (0..12)
            .map(|n| {
                let pool = pool.clone();
                thread::spawn(move || {
                    pool.call(move || {
                        thread::sleep(Duration::from_millis(90));
                        n
                    })
                })
            })
            .collect();
        let answers: Vec<_> = callers.into_iter().map(|it| it.join().expect("ends")).collect();
        assert!(answers.iter().all(|it| *it != Err(Late::Hangs)), "{answers:?}");
        assert!(answers.iter().all(Result::is_ok), "others got their turn meanwhile: {answers:?}");
        let later = (0..12).map(|_| pool.call_later(|| thread::sleep(Duration::from_millis(90))));
        let answers = futures_of(later.collect()).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(pool.call_later(|| 7).await, Ok(7));
    }

    /// All of them at once.
    async fn futures_of<F: Future>(all: Vec<F>) -> Vec<F::Output> {
        let mut all: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
        std::future::poll_fn(|context| {
            for (one, answer) in all.iter_mut().filter(|(_, answer)| answer.is_none()) {
                if let std::task::Poll::Ready(is) = one.as_mut().poll(context) {
                    *answer = Some(is);
                }
            }
            match all.iter().all(|(_, answer)| answer.is_some()) {
                true => std::task::Poll::Ready(()),
                false => std::task::Poll::Pending,
            }
        })
        .await;
        all.into_iter().filter_map(|(_, answer)| answer).collect()
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
