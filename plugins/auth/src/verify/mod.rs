//! The service that says whether a password is a user's, for all protocols. Hashing is slow on purpose, so what this is
//! about is who waits for whom:
//!
//! ```text
//!            failed too often? ─► refused, unless it was right lately  (back_off)
//! attempt ─► verified lately?  ─► accepted                             (aging)
//!            being verified?   ─► waits for that one's answer          (one hash for any number of equal logins)
//!            line is full?     ─► unavailable                          (line)
//!            waits ─► one of as many workers as there are cores ─► right or wrong   (check)
//! ```
//!
//! Always: a refusal does not tell a wrong password from an unknown user or from back-off, by its text or its time.
//! Everything that is kept is bounded, and under the process's key: no password, and no name but of users whose next
//! login has to wait, for the operator's status. A login whose connection has ended is not verified. A guess counts,
//! even if whoever made it does not wait for the answer.

mod aging;
mod back_off;
mod check;
mod counts;
mod line;
mod origin;
#[cfg(test)]
mod verify_tests;
mod worker;

pub use back_off::Delays;
pub use counts::{Counts, Outcome};

use crate::keyed::ProcessKey;
use crate::password::{PASSWORD_BYTES_MAX, PasswordHash};
use aging::Aging;
use back_off::BackOff;
use bytes::Bytes;
use check::Check;
use counts::Counters;
use crossdock_core::{DelayedLogin, Error, ErrorKind, Name, Secret};
use line::{Line, Trust};
use origin::{Source, UserId};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use worker::{Answer, Job};

/// How long a verified password is taken without another verification.
const CACHED_FOR: Duration = Duration::from_secs(60);
/// How long a verified password is remembered: its next verification comes before those of strangers.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
/// Most verified passwords that are remembered.
const REMEMBERED_MAX: usize = 100_000;
/// Passwords of one user from one address that may wait at once. More are guesses, made faster than back-off counts.
const GUESSES_WAITING_MAX: usize = 8;
/// How often a login joins another address's verification that is then given up for that address's sake.
const JOINS_MAX: usize = 3;

/// How much may be verified, and may wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerifierSettings {
    /// Verifications that run at once. Default: one for each core.
    pub running_max: usize,
    /// Verifications that wait. Default: 4,096.
    pub waiting_max: usize,
    /// Who has to wait after tries that failed.
    pub delays: Delays,
}

impl Default for VerifierSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { running_max: cores, waiting_max: 4_096, delays: Delays::default() }
    }
}

/// A login with a password.
#[derive(Debug, Clone)]
pub struct Attempt<'a> {
    pub user: &'a Name,
    pub password: &'a Secret,
    /// Where it comes from.
    pub address: IpAddr,
    /// The hashes of which any may match: two while a password is rotated. None: there is no such user.
    pub hashes: Option<Arc<[PasswordHash]>>,
}

/// A password that was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Which of the attempt's hashes matches.
    pub nth: usize,
    /// The caller is to hash the password again, because the hash that matched is legacy. Told to one login only of
    /// those that were verified together.
    pub rehash: bool,
}

/// The service. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Verifier {
    shared: Arc<Shared>,
}

struct Shared {
    key: ProcessKey,
    check: Check,
    running_max: usize,
    state: Mutex<State>,
    counters: Counters,
}

struct State {
    /// Passwords that were right lately, whose they are, and which of the hashes matches.
    remembered: Aging<PairId, (UserId, usize)>,
    back_off: BackOff,
    line: Line<Job>,
    /// Verifications that wait or run.
    flights: HashMap<PairId, Flight>,
    /// Workers.
    running: usize,
}

/// A user with a password and the hashes that it is to match: when these change, it is another pair.
type PairId = [u8; 32];

/// A verification that waits or runs, as those see it who wait for its answer.
struct Flight {
    answer: watch::Sender<Option<Answer>>,
    /// Who began it.
    source: Source,
    /// Its user was told to be forgotten after it began: a right password is not remembered.
    is_stale: bool,
}

/// A login that is under way.
struct Entry {
    source: Source,
    pair: PairId,
}

/// What becomes of a login at first.
enum Begun {
    /// The number: which of the hashes matches, where one does.
    Ended(Outcome, usize),
    Waits {
        answer: watch::Receiver<Option<Answer>>,
        of: Source,
        is_first: bool,
    },
}

impl Verifier {
    /// `key` is what remembered passwords are kept under.
    pub fn new(settings: VerifierSettings, key: ProcessKey) -> Self {
        Self::with_check(settings, key, Check::new())
    }

    fn with_check(settings: VerifierSettings, key: ProcessKey, check: Check) -> Self {
        let now = now();
        let state = State {
            remembered: Aging::new(REMEMBERED_MAX, REMEMBERED_FOR, now),
            back_off: BackOff::new(settings.delays, now),
            line: Line::new(settings.waiting_max),
            flights: HashMap::new(),
            running: 0,
        };
        let running_max = settings.running_max.max(1);
        let (state, counters) = (Mutex::new(state), Counters::default());
        Self { shared: Arc::new(Shared { key, check, running_max, state, counters }) }
    }

    /// Whether the password is the user's. Has to be called on a tokio runtime. Can be cancelled.
    ///
    /// [`ErrorKind::Refused`]: it is not, or there is no such user, or too many tries failed;
    /// [`ErrorKind::Unavailable`]: too many logins wait, and a later try may succeed; [`ErrorKind::Internal`]: a
    /// fault of ours.
    ///
    /// It says what was so when the attempt was made: the caller looks afterwards whether the user is still there.
    pub async fn verify(&self, attempt: &Attempt<'_>) -> Result<Verified, Error> {
        let entry = self.entry(attempt);
        let wrong = match attempt.hashes {
            Some(_) => Outcome::Wrong,
            None => Outcome::Unknown,
        };
        for _ in 0..JOINS_MAX {
            let (mut answer, of, is_first) = match self.begin(&entry, attempt) {
                Begun::Ended(outcome, nth) => return self.end(outcome, (nth, false)),
                Begun::Waits { answer, of, is_first } => (answer, of, is_first),
            };
            let answer = answer.wait_for(Option::is_some).await.ok().and_then(|answer| *answer);
            let is_others = of != entry.source;
            match answer.unwrap_or(Answer::Broken) {
                Answer::Right(right) => {
                    if is_others {
                        self.shared.state.lock().back_off.succeeded(&entry.source);
                    }
                    return self.end(Outcome::Accepted, (right.nth, right.rehash && is_first));
                }
                Answer::Wrong => {
                    if is_others {
                        self.shared.state.lock().back_off.failed(entry.source, attempt.user, now());
                    }
                    return self.end(wrong, (0, false));
                }
                // What another address brought upon itself is not this one's fault.
                Answer::BackedOff | Answer::PushedOut if is_others => {}
                Answer::BackedOff => return self.end(Outcome::BackedOff, (0, false)),
                Answer::PushedOut => return self.end(Outcome::QueueFull, (0, false)),
                Answer::Broken => return self.end(Outcome::Broken, (0, false)),
            }
        }
        self.end(Outcome::QueueFull, (0, false))
    }

    /// What remembered passwords are kept under.
    pub(crate) fn key(&self) -> ProcessKey {
        self.shared.key.clone()
    }

    /// For logins that are proved in another way, as by SCRAM or a token: whether the user may try now from this
    /// address. [`ErrorKind::Refused`]: too many tries failed.
    pub fn admit(&self, user: &Name, address: IpAddr) -> Result<(), Error> {
        let source = self.source(user, address);
        match self.shared.state.lock().back_off.is_refused(&source, now()) {
            true => self.end(Outcome::BackedOff, (0, false)).map(drop),
            false => Ok(()),
        }
    }

    /// Whether tries of the user from this address are refused now, because too many failed.
    pub fn is_refused(&self, user: &Name, address: IpAddr) -> bool {
        let source = self.source(user, address);
        self.shared.state.lock().back_off.is_refused(&source, now())
    }

    /// Notes how such a login ended. Right ones clear the back-off; wrong ones, and those of unknown users, count.
    pub fn note(&self, user: &Name, address: IpAddr, outcome: Outcome) {
        let source = self.source(user, address);
        self.shared.counters.count(outcome);
        let mut state = self.shared.state.lock();
        match outcome {
            Outcome::Accepted | Outcome::Cached => state.back_off.succeeded(&source),
            Outcome::Wrong | Outcome::Unknown => state.back_off.failed(source, user, now()),
            Outcome::BackedOff | Outcome::QueueFull | Outcome::Broken => {}
        }
    }

    /// Forgets that a user's passwords were right: the next login verifies.
    pub fn forget(&self, user: &Name) {
        let user = UserId::of(user, &self.shared.key);
        let mut state = self.shared.state.lock();
        state.remembered.retain(|(of, _)| *of != user);
        for flight in state.flights.values_mut().filter(|flight| flight.source.user == user) {
            flight.is_stale = true;
        }
    }

    /// Who has to wait, because too many tries failed: how many, and `max` of them, those that wait longest first.
    pub fn delayed(&self, max: usize) -> (usize, Vec<DelayedLogin>) {
        self.shared.state.lock().back_off.delayed(max, now())
    }

    /// Lets that user try again at once, from everywhere, as if no try had failed. Returns at how many addresses it had
    /// to wait.
    pub fn end_delay(&self, user: &str) -> usize {
        let user = UserId::of(user, &self.shared.key);
        self.shared.state.lock().back_off.end_delay(&user, now())
    }

    /// How logins ended since the start.
    pub fn counts(&self) -> Counts {
        self.shared.counters.read()
    }

    /// How many verifications wait.
    pub fn waiting(&self) -> usize {
        self.shared.state.lock().line.waiting()
    }

    fn source(&self, user: &Name, address: IpAddr) -> Source {
        Source { user: UserId::of(user, &self.shared.key), origin: address.into() }
    }

    fn entry(&self, attempt: &Attempt<'_>) -> Entry {
        let hashes = attempt.hashes.iter().flat_map(|hashes| hashes.iter());
        let mut parts: Vec<&[u8]> = vec![b"pair", attempt.user.as_bytes(), &attempt.password.0];
        parts.extend(hashes.map(|hash| hash.text().as_bytes()));
        let pair = self.shared.key.of(&parts);
        Entry { source: self.source(attempt.user, attempt.address), pair }
    }

    /// Decides what can be decided at once; otherwise joins a verification, or lines one up and sees that somebody
    /// works.
    fn begin(&self, entry: &Entry, attempt: &Attempt<'_>) -> Begun {
        let (now, source) = (now(), entry.source);
        let mut state = self.shared.state.lock();
        let verified = state.remembered.get(&entry.pair, now).map(|(at, (_, nth))| (at, *nth));
        let is_refused = state.back_off.is_refused(&source, now);
        // What was right lately is not kept out by somebody else's wrong password, behind the same address and for the
        // same user; but remembered passwords cannot be guessed at without end.
        if is_refused && !(state.back_off.may_look(&source, now) && verified.is_some()) {
            return Begun::Ended(Outcome::BackedOff, 0);
        }
        let flight = state.flights.get(&entry.pair).map(|f| (f.answer.subscribe(), f.source));
        // Before the remembered passwords: otherwise these could be guessed at without end.
        if flight.is_none() && state.line.waiting_of(&source) >= GUESSES_WAITING_MAX {
            return Begun::Ended(Outcome::BackedOff, 0);
        }
        if let Some((at, nth)) = verified
            && now.saturating_duration_since(at) < CACHED_FOR
        {
            if !is_refused {
                state.back_off.succeeded(&source);
            }
            return Begun::Ended(Outcome::Cached, nth);
        }
        if let Some((answer, of)) = flight {
            return Begun::Waits { answer, of, is_first: false };
        }
        let trust = match verified.is_none() && state.back_off.is_doubtful(&source, now) {
            true => Trust::Doubtful,
            false => Trust::Trusted,
        };
        match state.line.push(source, trust, Job::new(entry, attempt)) {
            Err(_) => return Begun::Ended(Outcome::QueueFull, 0),
            Ok(Some(pushed_out)) => state.answer(&pushed_out.pair, Answer::PushedOut),
            Ok(None) => {}
        }
        let (sender, answer) = watch::channel(None);
        let flight = Flight { answer: sender, source, is_stale: false };
        state.flights.insert(entry.pair, flight);
        let needs_worker = state.running < self.shared.running_max;
        state.running += usize::from(needs_worker);
        drop(state);
        if needs_worker {
            let shared = self.shared.clone();
            tokio::task::spawn_blocking(move || shared.work());
        }
        Begun::Waits { answer, of: source, is_first: true }
    }

    /// `nth` and `rehash` are as in [`Verified`], where the password was right.
    fn end(&self, outcome: Outcome, (nth, rehash): (usize, bool)) -> Result<Verified, Error> {
        self.shared.counters.count(outcome);
        match outcome {
            Outcome::Accepted | Outcome::Cached => Ok(Verified { nth, rehash }),
            Outcome::Wrong | Outcome::Unknown | Outcome::BackedOff => {
                Err(Error::new(ErrorKind::Refused, crate::REFUSED))
            }
            Outcome::QueueFull => Err(Error::new(
                ErrorKind::Unavailable,
                "too many logins wait for their passwords to be verified: try again later",
            )),
            Outcome::Broken => Err(Error::new(
                ErrorKind::Internal,
                "the verification of the password ended by a fault of the broker: try again",
            )),
        }
    }
}

impl State {
    /// Tells all that wait for a verification how it ended.
    fn answer(&mut self, pair: &PairId, answer: Answer) {
        if let Some(flight) = self.flights.remove(pair) {
            flight.answer.send_replace(Some(answer));
        }
    }
}

/// The time, as tokio's tests can set it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
