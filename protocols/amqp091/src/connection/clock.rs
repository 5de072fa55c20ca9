//! The connection's deadlines: heartbeats both ways (AMQP 0-9-1 §4.2.7), and output that does not move.

use std::time::Duration;
use tokio::time::Instant;

/// Deadlines are looked at so often at least.
const LOOK_MAX: Duration = Duration::from_secs(5);
const LOOK_MIN: Duration = Duration::from_millis(100);

/// What a look at the clock found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Nothing,
    /// Nothing was sent for half an interval.
    Heartbeat,
    /// Nothing came for two intervals.
    PeerSilent,
    /// Waiting output did not move.
    OutputStuck,
}

/// When what happened last.
#[derive(Debug)]
pub struct Clock {
    heartbeat: Option<Duration>,
    write_time: Duration,
    read_at: Instant,
    written_at: Instant,
    /// Since when output waits without moving.
    waits_since: Option<Instant>,
}

impl Clock {
    /// `heartbeat` in seconds; 0 is none.
    pub fn new(heartbeat: u16, write_time: Duration, now: Instant) -> Self {
        let heartbeat = (heartbeat > 0).then(|| Duration::from_secs(u64::from(heartbeat)));
        Self { heartbeat, write_time, read_at: now, written_at: now, waits_since: None }
    }

    /// Octets came, or reading was stopped by us: that is no silence of the peer.
    pub fn read(&mut self, now: Instant) {
        self.read_at = now;
    }

    /// Octets went out.
    pub fn wrote(&mut self, now: Instant) {
        self.written_at = now;
        self.waits_since = None;
    }

    /// Output waits or not.
    pub fn output(&mut self, waits: bool, now: Instant) {
        match waits {
            true => self.waits_since = self.waits_since.or(Some(now)),
            false => self.waits_since = None,
        }
    }

    /// What is due now.
    pub fn look(&self, now: Instant) -> Due {
        if self.waits_since.is_some_and(|since| now.duration_since(since) >= self.write_time) {
            return Due::OutputStuck;
        }
        let Some(interval) = self.heartbeat else { return Due::Nothing };
        if now.duration_since(self.read_at) >= interval * 2 {
            return Due::PeerSilent;
        }
        let idle = now.duration_since(self.written_at) >= interval / 2;
        match idle && self.waits_since.is_none() {
            true => Due::Heartbeat,
            false => Due::Nothing,
        }
    }

    /// When to look next. Activity only moves deadlines away, so looking too early is all that can happen.
    pub fn next_look(&self, now: Instant) -> Instant {
        let wait = self.heartbeat.map_or(LOOK_MAX, |interval| {
            let send = (self.written_at + interval / 2).saturating_duration_since(now);
            let silent = (self.read_at + interval * 2).saturating_duration_since(now);
            send.min(silent)
        });
        now + wait.clamp(LOOK_MIN, LOOK_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeats_and_silence() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clock = Clock::new(2, Duration::from_secs(15), start);
        assert_eq!(clock.look(at(999)), Due::Nothing);
        assert_eq!(clock.look(at(1000)), Due::Heartbeat);
        clock.wrote(at(1000));
        assert_eq!(clock.look(at(1500)), Due::Nothing);
        clock.wrote(at(3500));
        assert_eq!(clock.look(at(4000)), Due::PeerSilent);
        clock.read(at(3900));
        assert_eq!(clock.look(at(4000)), Due::Nothing);
        assert_eq!(clock.next_look(at(4000)), at(4500));
    }

    #[test]
    fn output_that_does_not_move() {
        let start = Instant::now();
        let at = |s| start + Duration::from_secs(s);
        let mut clock = Clock::new(0, Duration::from_secs(15), start);
        clock.output(true, at(1));
        clock.output(true, at(10));
        assert_eq!(clock.look(at(15)), Due::Nothing);
        assert_eq!(clock.look(at(16)), Due::OutputStuck);
        clock.wrote(at(16));
        assert_eq!(clock.look(at(40)), Due::Nothing);
        assert_eq!(clock.next_look(at(40)), at(45));
    }
}
