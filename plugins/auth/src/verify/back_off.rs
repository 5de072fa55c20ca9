//! Who has to wait before the next try: whoever failed often from one address. It is kept by user and address, so that
//! somebody who guesses a user's password does not lock the user out elsewhere. Loopback addresses are addresses.
//!
//! After the fifth failure a source is refused for one second, after each further one for twice as long, up to a
//! minute, where nothing else is set ([`Delays`]). What is refused in that time is no failure. A success, or ten
//! minutes without a failure, clears it.

use super::aging::Aging;
use super::origin::{Origin, Source, UserId};
use crossdock_core::{DelayedLogin, Name};
use std::time::{Duration, Instant};

/// The first delay. It doubles with each further failure.
const DELAY_FIRST: Duration = Duration::from_secs(1);
/// Passwords of a refused source that are compared with those right lately, at once: a fleet that comes back. Each is
/// there again after [`LOOK_AGAIN`].
const LOOKS: u32 = 50;
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// After this time without a failure, all is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// Most sources, and most origins, that are kept.
const ENTRIES_MAX: usize = 100_000;
/// An origin with this many failures, whoever the users were, is served after the others.
const ORIGIN_FAILURES_DOUBTFUL: u32 = 20;

/// Bytes of the name of somebody who has to wait that are kept, for operators.
const NAME_BYTES: usize = 64;

/// When a source has to wait, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// The failure, counted from 1, after which a source has to wait for the first time.
    pub from_failure: u32,
    /// The longest time that it has to wait.
    pub longest: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self { from_failure: 5, longest: Duration::from_secs(60) }
    }
}

impl Delays {
    /// How long a source is refused after its last failure was the one of this number, counted from 1.
    fn after(self, failures: u32) -> Duration {
        match failures.saturating_add(1).saturating_sub(self.from_failure.max(1)) {
            0 => Duration::ZERO,
            beyond => {
                let factor = 1u32.checked_shl(beyond - 1).unwrap_or(u32::MAX);
                DELAY_FIRST.saturating_mul(factor).min(self.longest)
            }
        }
    }
}

/// What is known of one source.
struct Failures {
    count: u32,
    refused_until: Instant,
    /// When all looks of the source at what was right lately are there again; none: it has had none.
    looked: Option<Instant>,
    /// The name that was tried, for the operator's status: while its next login has to wait, or had to before.
    name: Option<Name>,
}

pub(crate) struct BackOff {
    delays: Delays,
    sources: Aging<Source, Failures>,
    origins: Aging<Origin, u32>,
}

impl BackOff {
    pub(crate) fn new(delays: Delays, now: Instant) -> Self {
        Self {
            delays,
            sources: Aging::new(ENTRIES_MAX, FORGOTTEN_AFTER, now),
            origins: Aging::new(ENTRIES_MAX, FORGOTTEN_AFTER, now),
        }
    }

    /// Whether the source may not try now.
    pub(crate) fn is_refused(&self, source: &Source, now: Instant) -> bool {
        self.sources.get(source, now).is_some_and(|(_, failures)| now < failures.refused_until)
    }

    /// Whether it may be looked if a password was right lately, although the source is refused: ten times a second in
    /// the long run.
    pub(crate) fn may_look(&mut self, source: &Source, now: Instant) -> bool {
        let Some(failures) = self.sources.get_mut(source, now) else { return true };
        let all_there = failures.looked.unwrap_or(now).max(now) + LOOK_AGAIN;
        let may = all_there <= now + LOOK_AGAIN * LOOKS;
        if may {
            failures.looked = Some(all_there);
        }
        may
    }

    /// Whether others are served first: the source failed lately, or its origin did so often.
    pub(crate) fn is_doubtful(&self, source: &Source, now: Instant) -> bool {
        let of_origin = self.origins.get(&source.origin, now).map_or(0, |(_, count)| *count);
        self.sources.get(source, now).is_some() || of_origin >= ORIGIN_FAILURES_DOUBTFUL
    }

    pub(crate) fn failed(&mut self, source: Source, name: &str, now: Instant) {
        let before = self.sources.get(&source, now);
        let (before, looked) = before.map_or((0, None), |(_, known)| (known.count, known.looked));
        let count = before.saturating_add(1);
        let delay = self.delays.after(count);
        // A name that begins like that stands for tokens, which nobody has to wait with.
        let is_shown = !delay.is_zero() && !name.starts_with('\0');
        let name = is_shown.then(|| cut(name).into());
        let failures = Failures { count, refused_until: now + delay, looked, name };
        self.sources.put(source, failures, now);
        let of_origin = self.origins.get(&source.origin, now).map_or(0, |(_, count)| *count);
        self.origins.put(source.origin, of_origin.saturating_add(1), now);
    }

    /// Clears the source. Its origin keeps its failures: who has one right password could clear them for others.
    pub(crate) fn succeeded(&mut self, source: &Source) {
        self.sources.remove(source);
    }

    /// Who has to wait: how many, and `max` of them, those that wait longest first.
    pub(crate) fn delayed(&self, max: usize, now: Instant) -> (usize, Vec<DelayedLogin>) {
        let waiting = self.sources.iter(now).filter(|(_, failures)| now < failures.refused_until);
        let each = waiting.filter_map(|(source, failures)| {
            Some((failures.refused_until, source, failures, failures.name.as_ref()?))
        });
        let mut all: Vec<_> = each.collect();
        all.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.3.cmp(b.3)));
        let told = all.iter().take(max).map(|(until, source, failures, name)| DelayedLogin {
            user: (*name).clone(),
            from: source.origin.to_string().into(),
            failures: failures.count,
            left: until.saturating_duration_since(now),
        });
        (all.len(), told.collect())
    }

    /// Clears all sources of a user. Returns how many of them had to wait. Their origins keep their failures.
    pub(crate) fn end_delay(&mut self, user: &UserId, now: Instant) -> usize {
        let theirs = self.sources.iter(now).filter(|(source, _)| source.user == *user);
        let waiting = theirs.filter(|(_, failures)| now < failures.refused_until).count();
        self.sources.remove_where(|source| source.user == *user);
        waiting
    }
}

/// The beginning of a name, as long as is kept.
fn cut(name: &str) -> &str {
    name.get(..name.floor_char_boundary(NAME_BYTES)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::ProcessKey;

    fn source(user: &str, address: [u8; 4]) -> Source {
        let user = UserId::of(user, &ProcessKey::new(&[0; 32]));
        Source { user, origin: Origin::V4(address.into()) }
    }

    #[test]
    fn the_delay_begins_at_the_fifth_failure_and_doubles_to_a_minute() {
        let seconds = |delays: Delays| (0..14).map(move |n| delays.after(n).as_secs());
        let usual: Vec<u64> = seconds(Delays::default()).collect();
        assert_eq!(usual, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(Delays::default().after(u32::MAX), Duration::from_secs(60));
        let strict = Delays { from_failure: 1, longest: Duration::from_secs(3) };
        assert_eq!(seconds(strict).take(5).collect::<Vec<_>>(), [0, 1, 2, 3, 3]);
    }

    #[test]
    fn a_source_is_refused_until_its_delay_is_over_and_no_other_one_is() {
        let (mut back_off, mut now) =
            (BackOff::new(Delays::default(), Instant::now()), Instant::now());
        let bad = source("admin", [127, 0, 0, 1]);
        for _ in 0..4 {
            back_off.failed(bad, "user", now);
            assert!(!back_off.is_refused(&bad, now));
        }
        for seconds in [1, 2, 4] {
            back_off.failed(bad, "user", now);
            assert!(back_off.is_refused(&bad, now));
            assert!(!back_off.is_refused(&source("admin", [127, 0, 0, 2]), now));
            assert!(!back_off.is_refused(&source("other", [127, 0, 0, 1]), now));
            now += Duration::from_secs(seconds) - Duration::from_millis(1);
            assert!(back_off.is_refused(&bad, now));
            now += Duration::from_millis(1);
            assert!(!back_off.is_refused(&bad, now));
        }
    }

    #[test]
    fn a_success_or_ten_minutes_clear_it() {
        let now = Instant::now();
        let mut back_off = BackOff::new(Delays::default(), now);
        let bad = source("admin", [192, 0, 2, 1]);
        let five =
            |back_off: &mut BackOff, now| (0..5).for_each(|_| back_off.failed(bad, "user", now));
        five(&mut back_off, now);
        back_off.succeeded(&bad);
        assert!(!back_off.is_refused(&bad, now) && !back_off.is_doubtful(&bad, now));
        five(&mut back_off, now);
        let nearly = now + FORGOTTEN_AFTER - Duration::from_secs(1);
        assert!(back_off.is_doubtful(&bad, nearly));
        let later = now + FORGOTTEN_AFTER;
        assert!(!back_off.is_doubtful(&bad, later));
        back_off.failed(bad, "user", later);
        assert!(!back_off.is_refused(&bad, later), "failures were remembered for longer");
    }

    #[test]
    fn an_origin_with_many_failures_is_doubtful_for_every_user() {
        let now = Instant::now();
        let mut back_off = BackOff::new(Delays::default(), now);
        for n in 0..ORIGIN_FAILURES_DOUBTFUL {
            assert!(!back_off.is_doubtful(&source("good", [192, 0, 2, 1]), now));
            back_off.failed(source(&format!("user-{n}"), [192, 0, 2, 1]), "user", now);
        }
        assert!(back_off.is_doubtful(&source("good", [192, 0, 2, 1]), now));
        assert!(!back_off.is_refused(&source("good", [192, 0, 2, 1]), now));
        assert!(!back_off.is_doubtful(&source("good", [192, 0, 2, 2]), now));
    }

    #[test]
    fn the_tables_are_bounded() {
        let now = Instant::now();
        let mut back_off = BackOff::new(Delays::default(), now);
        for n in 0..u32::try_from(ENTRIES_MAX).expect("small") + 1_000 {
            back_off.failed(source("user", n.to_be_bytes()), "user", now);
        }
        assert!(back_off.sources.len() <= ENTRIES_MAX && back_off.origins.len() <= ENTRIES_MAX);
    }

    #[test]
    fn who_has_to_wait_is_told_and_can_be_let_off() {
        let now = Instant::now();
        let mut back_off = BackOff::new(Delays::default(), now);
        let far = |back_off: &mut BackOff, times| {
            for _ in 0..times {
                back_off.failed(source("ann", [10, 0, 0, 1]), "ann", now);
            }
        };
        far(&mut back_off, 4);
        assert_eq!(back_off.delayed(9, now), (0, Vec::new()), "four are forgiven");
        far(&mut back_off, 2);
        let long = "\u{e4}".repeat(100);
        for _ in 0..5 {
            back_off.failed(source("other", [10, 0, 0, 2]), &long, now);
            back_off.failed(source("ann", [10, 0, 0, 3]), "ann", now);
        }
        let (count, told) = back_off.delayed(1, now);
        let expected = DelayedLogin {
            user: "ann".into(),
            from: "10.0.0.1".into(),
            failures: 6,
            left: Duration::from_secs(2),
        };
        assert_eq!((count, told), (3, vec![expected]));
        assert!(back_off.delayed(9, now).1.iter().all(|one| one.user.len() <= NAME_BYTES));
        let ann = source("ann", [0; 4]).user;
        assert_eq!(back_off.end_delay(&ann, now), 2);
        assert_eq!(back_off.end_delay(&ann, now), 0);
        assert!(!back_off.is_refused(&source("ann", [10, 0, 0, 1]), now));
        assert_eq!(back_off.delayed(9, now).0, 1, "the other one waits on");
        far(&mut back_off, 4);
        assert_eq!(back_off.delayed(9, now).0, 1, "its failures were forgotten");
        assert_eq!(back_off.delayed(9, now + Duration::from_secs(1)).0, 0);
    }
}
