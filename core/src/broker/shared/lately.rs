//! Logins that were refused in the last minutes: by whom they were tried, and where from. However many names and
//! addresses are tried, what is kept is bounded: of those that find no room, only the number.

use crate::message::Name;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What is told goes back this far, and at most twice as far.
const SPAN: Duration = Duration::from_secs(300);
/// Pairs of user and address that are kept of one span.
const PAIRS_MAX: usize = 256;
/// Bytes of a user's name that are kept.
const USER_BYTES: usize = 64;

/// Refused logins of the last minutes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefusedLately {
    /// How many there were, in this many seconds.
    pub count: u64,
    pub seconds: u64,
    /// User, address and how many, most first. What clients said of themselves, true or not.
    pub by: Vec<(Name, Name, u64)>,
    /// How many are not among them.
    pub others: u64,
}

/// The span that goes on, and the one before it.
#[derive(Debug, Default)]
pub(super) struct Lately {
    began: Option<Instant>,
    now: Span,
    before: Span,
}

#[derive(Debug, Default)]
struct Span {
    pairs: HashMap<(Name, Name), u64>,
    others: u64,
}

impl Span {
    fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.others == 0
    }
}

impl Lately {
    /// Spans that are over are forgotten.
    fn turn(&mut self, now: Instant) {
        let Some(began) = self.began else { return };
        let age = now.duration_since(began);
        if age >= 2 * SPAN {
            *self = Self::default();
        } else if age >= SPAN {
            self.before = std::mem::take(&mut self.now);
            self.began = Some(began + SPAN);
        }
    }

    /// One more, of that user at that peer.
    pub fn note(&mut self, (user, peer): (&str, &str), now: Instant) {
        self.turn(now);
        self.began.get_or_insert(now);
        let pair = (cut(user).into(), address(peer).into());
        let has_room = self.now.pairs.len() < PAIRS_MAX;
        match self.now.pairs.get_mut(&pair) {
            Some(count) => *count += 1,
            None if has_room => drop(self.now.pairs.insert(pair, 1)),
            None => self.now.others += 1,
        }
    }

    /// Both spans together.
    pub fn look(&mut self, now: Instant) -> RefusedLately {
        self.turn(now);
        let mut sums: HashMap<(Name, Name), u64> = self.now.pairs.clone();
        for (pair, count) in &self.before.pairs {
            *sums.entry(pair.clone()).or_default() += count;
        }
        let others = self.now.others + self.before.others;
        let mut by: Vec<(Name, Name, u64)> =
            sums.into_iter().map(|((user, peer), count)| (user, peer, count)).collect();
        by.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| (&a.0, &a.1).cmp(&(&b.0, &b.1))));
        let begun = self.began.map_or(Duration::ZERO, |began| now.duration_since(began));
        let back = if self.before.is_empty() { Duration::ZERO } else { SPAN };
        let count = others + by.iter().map(|(_, _, count)| count).sum::<u64>();
        RefusedLately { count, seconds: (begun + back).as_secs(), by, others }
    }
}

/// The beginning of a name, as long as is kept.
pub(super) fn cut(user: &str) -> &str {
    let end = (0..=USER_BYTES.min(user.len())).rev().find(|end| user.is_char_boundary(*end));
    end.and_then(|end| user.get(..end)).unwrap_or_default()
}

/// The address of a peer, without the port.
pub(super) fn address(peer: &str) -> &str {
    peer.rsplit_once(':').map_or(peer, |(address, _)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minutes_are_told_and_what_is_older_is_not() {
        let (mut lately, start) = (Lately::default(), Instant::now());
        assert_eq!(lately.look(start), RefusedLately::default());
        for port in 1..=3 {
            lately.note(("ann", &format!("10.0.0.1:{port}")), start);
        }
        lately.note(("bob", "[::1]:7"), start + SPAN / 2);
        let told = lately.look(start + SPAN / 2);
        assert_eq!((told.count, told.seconds, told.others), (4, SPAN.as_secs() / 2, 0));
        let expected = [("ann".into(), "10.0.0.1".into(), 3), ("bob".into(), "[::1]".into(), 1)];
        assert_eq!(told.by, expected);
        lately.note(("bob", "[::1]:8"), start + SPAN);
        let told = lately.look(start + SPAN);
        assert_eq!((told.count, told.seconds), (5, SPAN.as_secs()));
        assert_eq!(lately.look(start + 2 * SPAN).count, 1, "the first span is forgotten");
        assert_eq!(lately.look(start + 4 * SPAN), RefusedLately::default());
    }

    #[test]
    fn however_many_are_tried_little_is_kept() {
        let (mut lately, now) = (Lately::default(), Instant::now());
        let long = "\u{e4}".repeat(1_000);
        for number in 0..10_000 {
            lately.note((&format!("{number} {long}"), "10.0.0.1:1"), now);
        }
        let told = lately.look(now);
        assert_eq!((told.count, told.by.len()), (10_000, PAIRS_MAX));
        assert_eq!(told.others, 10_000 - PAIRS_MAX as u64);
        assert!(told.by.iter().all(|(user, _, _)| user.len() <= USER_BYTES));
    }
}
