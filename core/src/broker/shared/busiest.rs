//! Who connects most, of late: user and address. However many there are, what is kept is bounded, and whoever makes
//! more than one in [`PAIRS_MAX`] of the connections of its span is among them.

use super::lately::{address, cut};
use crate::message::Name;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What is told goes back this far, and at most twice as far.
const SPAN: Duration = Duration::from_secs(10);
/// Pairs of user and address that are kept of one span.
const PAIRS_MAX: usize = 256;

/// Those who connected most in the last seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BusiestLately {
    pub seconds: u64,
    /// User, address and how many connections at least, most first. The user is empty where nobody has logged in.
    pub by: Vec<(Name, Name, u64)>,
}

/// The span that goes on, and the one before it.
#[derive(Debug, Default)]
pub struct Busiest {
    began: Option<Instant>,
    now: HashMap<(Name, Name), u64>,
    before: HashMap<(Name, Name), u64>,
}

impl Busiest {
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

    /// One more connection, of that user, if it is known, from that peer.
    pub fn note(&mut self, (user, peer): (&str, &str), now: Instant) {
        self.turn(now);
        self.began.get_or_insert(now);
        let pair = (cut(user).into(), address(peer).into());
        let has_room = self.now.len() < PAIRS_MAX;
        match self.now.get_mut(&pair) {
            Some(count) => *count += 1,
            None if has_room => drop(self.now.insert(pair, 1)),
            // Misra and Gries: each that finds no room takes one from all, so that only those stay who come often. As
            // many took part in each such step, so that it costs little for each.
            None => self.now.retain(|_, count| {
                *count -= 1;
                *count > 0
            }),
        }
    }

    /// Both spans together.
    pub fn look(&mut self, now: Instant) -> BusiestLately {
        self.turn(now);
        let mut sums = self.now.clone();
        for (pair, count) in &self.before {
            *sums.entry(pair.clone()).or_default() += count;
        }
        let mut by: Vec<(Name, Name, u64)> =
            sums.into_iter().map(|((user, peer), count)| (user, peer, count)).collect();
        by.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| (&a.0, &a.1).cmp(&(&b.0, &b.1))));
        let begun = self.began.map_or(Duration::ZERO, |began| now.duration_since(began));
        let back = if self.before.is_empty() { Duration::ZERO } else { SPAN };
        BusiestLately { seconds: (begun + back).as_secs(), by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_connects_most_is_told_however_many_others_there_are() {
        let (mut busiest, start) = (Busiest::default(), Instant::now());
        assert_eq!(busiest.look(start), BusiestLately::default());
        for n in 0..100_000 {
            busiest.note(("", &format!("10.{}.{}.7:1", n / 256 % 256, n % 256)), start);
            if n % 20 == 0 {
                busiest.note(("ann", &format!("192.0.2.1:{}", n % 60_000)), start);
            }
        }
        let told = busiest.look(start);
        assert!(told.by.len() <= PAIRS_MAX);
        let (user, address, count) = &told.by[0];
        assert_eq!((&**user, &**address), ("ann", "192.0.2.1"));
        assert!((4_500..=5_000).contains(count), "{count}");
    }

    #[test]
    fn what_is_older_is_not_told() {
        let (mut busiest, start) = (Busiest::default(), Instant::now());
        busiest.note(("ann", "10.0.0.1:1"), start);
        busiest.note(("bob", "[::1]:7"), start + SPAN);
        busiest.note(("bob", "[::1]:8"), start + SPAN);
        let told = busiest.look(start + SPAN);
        let expected = [("bob".into(), "[::1]".into(), 2), ("ann".into(), "10.0.0.1".into(), 1)];
        assert_eq!((told.seconds, told.by), (SPAN.as_secs(), expected.into()));
        assert_eq!(busiest.look(start + 2 * SPAN).by.len(), 1);
        assert_eq!(busiest.look(start + 4 * SPAN), BusiestLately::default());
    }
}
