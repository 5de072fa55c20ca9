//! Refused logins: counted, each with a line in the log up to a number a minute, and one line for all that are more.

use super::lately::{Lately, RefusedLately};
use crate::message::Name;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// In one minute the log has at most [`LINES_MAX`] lines, and one with the number of the other refused logins.
const MINUTE: Duration = Duration::from_secs(60);
const LINES_MAX: u64 = 100;

/// A login that was refused: what the client said of itself, true or not, and where it came from.
#[derive(Debug, Clone)]
pub struct RefusedLogin<'a> {
    pub protocol: &'a str,
    pub listener: &'a Name,
    pub peer: &'a Name,
    pub user: &'a Name,
    pub client: &'a Name,
    pub why: &'a str,
}

/// Logins that were refused since the start.
#[derive(Debug, Default)]
pub struct RefusedLogins {
    count: AtomicU64,
    minute: Mutex<Minute>,
    lately: Mutex<Lately>,
}

/// What was said in the minute that has begun.
#[derive(Debug, Default)]
struct Minute {
    /// It begins with its first line.
    began: Option<Instant>,
    lines: u64,
    spared: u64,
}

impl Minute {
    /// The logins of the minute before that had no line, if that minute is over.
    fn ends(&mut self, now: Instant) -> u64 {
        if self.began.is_none_or(|began| now.duration_since(began) < MINUTE) {
            return 0;
        }
        std::mem::take(self).spared
    }

    /// Whether one more has a line.
    fn has_line(&mut self, now: Instant) -> bool {
        self.began.get_or_insert(now);
        let has_line = self.lines < LINES_MAX;
        *(if has_line { &mut self.lines } else { &mut self.spared }) += 1;
        has_line
    }
}

impl RefusedLogins {
    /// Counts a refused login, and logs it unless a hundred others were in this minute.
    pub fn note(&self, login: &RefusedLogin<'_>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.report();
        let now = Instant::now();
        self.lately.lock().note((login.user, login.peer), now);
        let has_line = self.minute.lock().has_line(now);
        let RefusedLogin { protocol, listener, peer, user, client, why } = login;
        let (user, client) = (&***user, &***client);
        if has_line {
            tracing::warn!(
                protocol, user, client, %peer, %listener, why,
                "a login was refused: this client was not let in, and only this line says why"
            );
        }
    }

    /// Sums up the minute that is over, if there was more than was logged.
    pub fn report(&self) {
        let spared = self.minute.lock().ends(Instant::now());
        if spared > 0 {
            tracing::warn!(
                count = spared,
                "more logins were refused in the last minute than are logged one by one"
            );
        }
    }

    /// Those of the last minutes.
    pub fn lately(&self) -> RefusedLately {
        self.lately.lock().look(Instant::now())
    }

    /// How many were refused since the start.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_a_hundred_lines_and_a_sum() {
        let (mut minute, start) = (Minute::default(), Instant::now());
        assert_eq!(minute.ends(start), 0);
        let lines = (0..10_000).filter(|_| minute.has_line(start)).count();
        assert_eq!(lines as u64, LINES_MAX);
        assert_eq!(minute.ends(start + MINUTE / 2), 0);
        assert_eq!(minute.ends(start + MINUTE), 9_900);
        assert_eq!(minute.ends(start + MINUTE), 0);
        assert!(minute.has_line(start + MINUTE));
    }
}
