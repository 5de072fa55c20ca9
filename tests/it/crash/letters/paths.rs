//! What is known of each message's way, and what it may not do: be in its queue before its delay is over, become a dead
//! letter without a cause or before its time, and be in its queue once its dead letter was seen. The last holds over
//! crashes, too, because a message leaves its queue in the entry that its dead letter comes with.

use crate::crash::ledger::Key;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The broker's clock counts whole milliseconds: this much may something come early.
const EARLY: Duration = Duration::from_millis(5);
/// What waits comes at most this much after its time, or after a reader is there again.
const LATE: Duration = Duration::from_secs(5);

/// Why the dead letters of a queue are dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    Rejected,
    Expired,
    TooMany,
}

impl Cause {
    /// As the header `x-first-death-reason` has it.
    fn name(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::TooMany => "maxlen",
        }
    }
}

/// What its publisher asked for one message.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// Its exchange keeps it this long.
    pub delay: Option<Duration>,
    /// Its dead letter waits this long at an exchange.
    pub letter_delay: Option<Duration>,
    pub expiration: Option<Duration>,
}

struct Path {
    sent: Instant,
    terms: Terms,
    /// When it was rejected first, and in which life it was last.
    rejected: Option<(Instant, u32)>,
    dead: bool,
}

/// The ways of all messages of a flow.
pub struct Paths {
    cause: Cause,
    all: HashMap<Key, Path>,
    life: u32,
    /// When the reader of this life was there.
    since: Instant,
}

impl Paths {
    pub fn new(cause: Cause) -> Self {
        Self { cause, all: HashMap::new(), life: 0, since: Instant::now() }
    }

    /// A reader of a new life is there.
    pub fn begin(&mut self, life: u32, now: Instant) {
        (self.life, self.since) = (life, now);
    }

    /// Before its first byte is sent.
    pub fn sent(&mut self, key: Key, terms: Terms, sent: Instant) {
        self.all.insert(key, Path { sent, terms, rejected: None, dead: false });
    }

    /// Before the first byte of the rejection is sent.
    pub fn reject(&mut self, key: Key, now: Instant) {
        let life = self.life;
        if let Some(path) = self.all.get_mut(&key) {
            path.rejected = Some((path.rejected.map_or(now, |(first, _)| first), life));
        }
    }

    /// It was delivered from its queue: what is wrong about that, if anything.
    pub fn in_queue(&self, key: Key, now: Instant) -> Option<String> {
        let path = self.all.get(&key)?;
        if path.dead {
            return Some("it is in its queue, and its dead letter was there already".to_owned());
        }
        if path.rejected.is_some_and(|(_, life)| life == self.life) {
            return Some("rejected, and delivered again by the same process".to_owned());
        }
        self.untimely(path.sent, path.terms.delay?, now)
    }

    /// It was delivered as a dead letter, which names that queue and that reason: what is wrong about that.
    pub fn in_dead(
        &mut self,
        key: Key,
        (queue, death): (&str, [Option<String>; 2]),
        now: Instant,
    ) -> Option<String> {
        let path = self.all.get_mut(&key)?;
        path.dead = true;
        let path = self.all.get(&key)?;
        let expected = [Some(queue.to_owned()), Some(self.cause.name().to_owned())];
        if death != expected {
            return Some(format!("a dead letter of {death:?} instead of {expected:?}"));
        }
        match (self.cause, path.rejected) {
            (Cause::Rejected, None) => Some("a dead letter that nobody rejected".to_owned()),
            (Cause::Rejected, Some((first, _))) => {
                self.untimely(first, path.terms.letter_delay?, now)
            }
            (Cause::Expired, _) => {
                let due = path.sent + path.terms.expiration?;
                let early = due.saturating_duration_since(now);
                (early > EARLY).then(|| format!("expired {} ms early", early.as_millis()))
            }
            (Cause::TooMany, _) => None,
        }
    }

    fn untimely(&self, from: Instant, wait: Duration, now: Instant) -> Option<String> {
        let due = from + wait;
        let (early, late) = (
            due.saturating_duration_since(now),
            now.saturating_duration_since(due.max(self.since)),
        );
        let ms = wait.as_millis();
        if early > EARLY {
            return Some(format!("came {} ms before its {ms} ms were over", early.as_millis()));
        }
        (late > LATE).then(|| format!("came {} ms after its {ms} ms were over", late.as_millis()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key { stream: 0, number: 7 };

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn death(reason: &str) -> (&'static str, [Option<String>; 2]) {
        ("q", [Some("q".to_owned()), Some(reason.to_owned())])
    }

    /// A message with these terms, sent at that time.
    fn paths(cause: Cause, terms: Terms) -> (Paths, Instant) {
        let (mut paths, now) = (Paths::new(cause), Instant::now());
        paths.begin(1, now);
        paths.sent(KEY, terms, now);
        (paths, now)
    }

    #[track_caller]
    fn is_found(what: Option<String>, text: &str) {
        assert!(what.as_ref().is_some_and(|what| what.contains(text)), "{text:?} in {what:?}");
    }

    #[test]
    fn a_rejected_message_becomes_a_dead_letter_and_stays_one() {
        let (mut paths, now) = paths(Cause::Rejected, Terms::default());
        is_found(paths.in_dead(KEY, death("rejected"), now), "nobody rejected");
        let (mut paths, now) = self::paths(Cause::Rejected, Terms::default());
        assert_eq!(paths.in_queue(KEY, now), None);
        paths.reject(KEY, now);
        is_found(paths.in_queue(KEY, now), "by the same process");
        paths.begin(2, now);
        assert_eq!(paths.in_queue(KEY, now), None, "the kill may have come before the rejection");
        assert_eq!(paths.in_dead(KEY, death("rejected"), now), None);
        paths.begin(3, now);
        is_found(paths.in_queue(KEY, now), "its dead letter was there already");
    }

    #[test]
    fn another_queue_or_reason_is_found() {
        for wrong in [death("expired"), ("other", death("rejected").1), ("q", [None, None])] {
            let (mut paths, now) = paths(Cause::Rejected, Terms::default());
            paths.reject(KEY, now);
            is_found(paths.in_dead(KEY, wrong, now), "instead of");
        }
    }

    #[test]
    fn what_is_early_or_late_is_found() {
        let delayed = Terms { delay: Some(ms(300)), ..Terms::default() };
        let (mut paths, sent) = paths(Cause::Rejected, delayed);
        is_found(paths.in_queue(KEY, sent + ms(200)), "came 100 ms before its 300 ms were over");
        assert_eq!(paths.in_queue(KEY, sent + ms(299)), None);
        is_found(paths.in_queue(KEY, sent + ms(9000)), "came 8700 ms after");
        paths.begin(2, sent + ms(8000));
        assert_eq!(paths.in_queue(KEY, sent + ms(9000)), None, "the broker was not there");

        let letter = Terms { letter_delay: Some(ms(300)), ..Terms::default() };
        let (mut paths, sent) = self::paths(Cause::Rejected, letter);
        paths.reject(KEY, sent + ms(100));
        is_found(paths.in_dead(KEY, death("rejected"), sent + ms(350)), "came 50 ms before");
        assert_eq!(paths.in_dead(KEY, death("rejected"), sent + ms(400)), None);
    }

    #[test]
    fn what_expires_early_is_found() {
        let terms = Terms { expiration: Some(ms(80)), ..Terms::default() };
        let (mut paths, sent) = paths(Cause::Expired, terms);
        is_found(paths.in_dead(KEY, death("expired"), sent + ms(60)), "expired 20 ms early");
        assert_eq!(paths.in_dead(KEY, death("expired"), sent + ms(9000)), None);
    }
}
