//! Lines that a module writes to the broker's log.

use super::bindings::log::Level;
use crate::step::bounded;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Lines that all instances of a step may write in a second.
const LINES: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

/// What one step's module says.
#[derive(Debug)]
pub(super) struct Voice {
    module: Arc<str>,
    route: Arc<str>,
    said: Mutex<Said>,
}

/// What was said in the current second.
#[derive(Debug)]
struct Said {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Voice {
    pub(super) fn new(module: Arc<str>, route: Arc<str>) -> Self {
        let said = Said { since: Instant::now(), lines: 0, left_out: 0 };
        Self { module, route, said: Mutex::new(said) }
    }

    /// Writes the line, or counts it.
    pub(super) fn say(&self, level: Level, text: &str) {
        let (is_said, left_out) = self.said.lock().next(Instant::now());
        let (module, route) = (&*self.module, &*self.route);
        if left_out > 0 {
            tracing::warn!(
                module,
                route,
                left_out,
                "a module wrote too many lines: the rest is left out"
            );
        }
        if !is_said {
            return;
        }
        let text = bounded(text);
        match level {
            Level::Debug => tracing::debug!(module, route, text, "a module says"),
            Level::Info => tracing::info!(module, route, text, "a module says"),
            Level::Warn => tracing::warn!(module, route, text, "a module warns"),
            Level::Error => tracing::error!(module, route, text, "a module reports an error"),
        }
    }
}

impl Said {
    /// Whether the next line is written, and how many of the second before were not.
    fn next(&mut self, now: Instant) -> (bool, u64) {
        let mut left_out = 0;
        if now.saturating_duration_since(self.since) >= SECOND {
            left_out = std::mem::take(&mut self.left_out);
            (self.since, self.lines) = (now, 0);
        }
        let is_said = self.lines < LINES;
        match is_said {
            true => self.lines += 1,
            false => self.left_out = self.left_out.saturating_add(1),
        }
        (is_said, left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_said_with_the_next_line() {
        let voice = Voice::new("m".into(), "r".into());
        let mut said = voice.said.lock();
        let start = said.since;
        let spoken = (0..250).filter(|_| said.next(start).0).count();
        assert_eq!((spoken, said.left_out), (100, 150));
        assert_eq!(said.next(start + SECOND), (true, 150));
        assert_eq!(said.next(start + SECOND), (true, 0));
    }
}
