//! Refused rights: counted, one warning a minute for each user, and lines of the audit, which are bounded because a
//! client can be refused as often as it asks.

use super::subject::Subject;
use crate::message::Name;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where the audit goes: the target of its log lines.
pub const AUDIT: &str = "crossdock::audit";
/// Time between two warnings about one user. In it the audit has at most [`LINES_MAX`] lines about refused rights.
const MINUTE: Duration = Duration::from_secs(60);
const LINES_MAX: u64 = 100;
/// Users about whom a warning is remembered. Of more, those of the last minute are forgotten.
const USERS_MAX: usize = 1_000;

/// What was refused since the start.
#[derive(Debug, Default)]
pub struct Refusals {
    count: AtomicU64,
    state: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    /// The last warning about each user, and how many refusals there were since.
    warned: BTreeMap<Name, (Instant, u64)>,
    /// The minute of the audit that has begun: since when, how many lines it has, and how many it was spared.
    minute: Option<(Instant, u64, u64)>,
}

impl Said {
    /// How many refusals of that user a warning is about now; none: the last one is not a minute old.
    fn warns(&mut self, user: &Name, now: Instant) -> Option<u64> {
        if let Some((at, since)) = self.warned.get_mut(user) {
            *since += 1;
            if now.duration_since(*at) < MINUTE {
                return None;
            }
            *at = now;
            return Some(std::mem::take(since));
        }
        if self.warned.len() >= USERS_MAX {
            self.warned.retain(|_, (at, _)| now.duration_since(*at) < MINUTE);
        }
        if self.warned.len() < USERS_MAX {
            self.warned.insert(user.clone(), (now, 0));
            return Some(1);
        }
        None
    }

    /// Whether the audit has a line for one more, and how many it was spared in the minute before.
    fn audits(&mut self, now: Instant) -> (bool, u64) {
        let (at, lines, spared) = self.minute.get_or_insert((now, 0, 0));
        let mut before = 0;
        if now.duration_since(*at) >= MINUTE {
            before = *spared;
            (*at, *lines, *spared) = (now, 0, 0);
        }
        let has_line = *lines < LINES_MAX;
        *(if has_line { lines } else { spared }) += 1;
        (has_line, before)
    }
}

impl Refusals {
    /// Counts a refused right, and says so as often as that is to be said.
    pub fn note(&self, who: &Subject, action: &dyn fmt::Display, object: &dyn fmt::Display) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let (warning, (has_line, spared)) = {
            let (mut said, now) = (self.state.lock(), Instant::now());
            (said.warns(&who.user, now), said.audits(now))
        };
        let Subject { user, client, from, .. } = who;
        let vhost = who.vhost();
        if spared > 0 {
            tracing::info!(target: AUDIT, spared, "more rights were refused in the last minute");
        }
        if has_line {
            let (from, vhost, client) = (&**from, &**vhost, &**client);
            tracing::info!(
                target: AUDIT,
                user = &**user, client, from, vhost, %action, object = %Printable(object),
                "a right was refused"
            );
        }
        if let Some(refused) = warning {
            tracing::warn!(
                %user, %client, %from, %vhost, %action, object = %Printable(object), refused,
                "a user tried what it has no right to: it was refused; give it the right if it is to do that"
            );
        }
    }

    /// How many rights were refused.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

/// Names as clients send them, on one line of the log.
struct Printable<'a>(&'a dyn fmt::Display);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        text.chars().try_for_each(|character| match character.is_control() {
            true => write!(f, "{}", character.escape_default()),
            false => f.write_char(character),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_warned_about_once_a_minute_and_the_audit_is_bounded() {
        let mut said = Said::default();
        let (start, user) = (Instant::now(), Name::from("u"));
        assert_eq!(said.warns(&user, start), Some(1));
        assert_eq!((0..5).filter_map(|_| said.warns(&user, start)).count(), 0);
        assert_eq!(said.warns(&user, start + MINUTE), Some(6));
        let lines = (0..250).filter(|_| said.audits(start).0).count();
        assert_eq!(lines as u64, LINES_MAX);
        assert_eq!(said.audits(start + MINUTE), (true, 150));
        for n in 0..2 * USERS_MAX {
            said.warns(&format!("u{n}").into(), start + MINUTE);
        }
        assert!(said.warned.len() <= USERS_MAX);
        assert_eq!(said.warns(&"late".into(), start + 3 * MINUTE), Some(1), "others made room");
    }
}
