//! The wall clock. The only file of the core that asks the system for the time.
//!
//! It goes by a monotonic clock, and follows the system's: when the machine was suspended or the system's clock was
//! set, a time that a client named must still mean that time. It never goes back: ahead of the system's clock, it goes
//! at half speed until they agree.

use crate::message::Timestamp;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Between two looks at the system's clock, in milliseconds. Slow time begins that long after it was found to be
/// needed, so that nobody has read a later time before.
pub const LOOK_EVERY_MS: u64 = 1_000;
/// A difference, in milliseconds, that is left as it is.
const TOLERANCE_MS: u64 = 500;

/// Wall-clock time that never goes back.
pub struct WallClock {
    started: Instant,
    course: Course,
    /// Where it has jumped to last; 0: nowhere.
    jumped_to_ms: AtomicU64,
}

/// What following the system's clock led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correction {
    /// The system's clock was ahead by that many milliseconds: this one has jumped there.
    Jumped(u64),
    /// The system's clock is behind by that many milliseconds: this one goes at half speed until they agree.
    Slowed(u64),
    /// They agree again.
    Agreed,
}

/// How milliseconds of the monotonic clock become wall-clock time. One task changes it; there are two rules, of which
/// one is in use while the other is written.
#[derive(Default)]
struct Course {
    rules: [Rule; 2],
    in_use: AtomicU64,
}

#[derive(Default)]
struct Rule {
    /// What is added to the monotonic clock.
    offset_ms: AtomicI64,
    /// From that moment of the monotonic clock on it counts half. 0: never.
    half_from_ms: AtomicU64,
}

impl Rule {
    fn time(&self, passed_ms: u64) -> u64 {
        let (offset, half_from) =
            (self.offset_ms.load(Ordering::Relaxed), self.half_from_ms.load(Ordering::Relaxed));
        let lost = if half_from == 0 { 0 } else { passed_ms.saturating_sub(half_from).div_ceil(2) };
        (passed_ms - lost).saturating_add_signed(offset)
    }
}

impl Course {
    fn starting_at(system_ms: u64) -> Self {
        let course = Self::default();
        course.rule().offset_ms.store(signed(system_ms), Ordering::Relaxed);
        course
    }

    fn rule(&self) -> &Rule {
        let [first, second] = &self.rules;
        if self.in_use.load(Ordering::Acquire) == 0 { first } else { second }
    }

    fn set(&self, offset_ms: i64, half_from_ms: u64) {
        let in_use = self.in_use.load(Ordering::Relaxed);
        let [first, second] = &self.rules;
        let unused = if in_use == 0 { second } else { first };
        unused.offset_ms.store(offset_ms, Ordering::Relaxed);
        unused.half_from_ms.store(half_from_ms, Ordering::Relaxed);
        self.in_use.store(1 - in_use, Ordering::Release);
    }

    fn time(&self, passed_ms: u64) -> u64 {
        self.rule().time(passed_ms)
    }

    fn follow(&self, passed_ms: u64, system_ms: u64) -> Option<Correction> {
        let own = self.time(passed_ms);
        let is_slow = self.rule().half_from_ms.load(Ordering::Relaxed) != 0;
        let (ahead, behind) = (system_ms.saturating_sub(own), own.saturating_sub(system_ms));
        if ahead > TOLERANCE_MS {
            self.set(signed(system_ms) - signed(passed_ms), 0);
            return Some(Correction::Jumped(ahead));
        }
        if is_slow && behind <= TOLERANCE_MS / 2 {
            self.set(signed(own) - signed(passed_ms), 0);
            return Some(Correction::Agreed);
        }
        if !is_slow && behind > TOLERANCE_MS {
            let offset = self.rule().offset_ms.load(Ordering::Relaxed);
            self.set(offset, passed_ms + LOOK_EVERY_MS);
            return Some(Correction::Slowed(behind));
        }
        None
    }
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

impl WallClock {
    /// A clock that starts at the system's time.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            course: Course::starting_at(system_ms()),
            jumped_to_ms: AtomicU64::new(0),
        }
    }

    /// Milliseconds since the epoch.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.course.time(self.passed_ms()))
    }

    /// Looks at the system's clock and follows it. One caller at a time.
    pub fn follow(&self) -> Option<Correction> {
        let correction = self.course.follow(self.passed_ms(), system_ms());
        if let Some(Correction::Jumped(_)) = correction {
            self.jumped_to_ms.store(self.now().0, Ordering::Relaxed);
        }
        correction
    }

    /// Where it has jumped to last; 0: nowhere.
    pub fn jumped_to(&self) -> Timestamp {
        Timestamp(self.jumped_to_ms.load(Ordering::Relaxed))
    }

    fn passed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn system_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000;
    const YEAR: u64 = 365 * 86_400_000;

    /// Follows a system clock that is `off` milliseconds from the monotonic one, second by second, until `until`; what
    /// was corrected and when.
    fn follow(course: &Course, seconds: std::ops::Range<u64>, off: i64) -> Vec<(u64, Correction)> {
        let mut last = 0;
        let mut corrected = Vec::new();
        for second in seconds {
            for ms in second * 1_000..(second + 1) * 1_000 {
                let now = course.time(ms);
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
            let passed = (second + 1) * 1_000;
            let system = (START + passed).saturating_add_signed(off);
            corrected.extend(course.follow(passed, system).map(|c| (second, c)));
            assert!(course.time(passed) >= last);
        }
        corrected
    }

    #[test]
    fn small_differences_are_left() {
        let course = Course::starting_at(START);
        assert_eq!(follow(&course, 0..3, 500), []);
        assert_eq!(follow(&course, 3..6, -500), []);
        assert_eq!(course.time(6_000), START + 6_000);
    }

    #[test]
    fn after_a_suspend_it_jumps_forward() {
        let course = Course::starting_at(START);
        let hour = 3_600_000;
        let jumped = follow(&course, 0..3, signed(hour));
        assert_eq!(jumped, [(0, Correction::Jumped(hour))]);
        assert_eq!(course.time(3_000), START + hour + 3_000);
        // A machine that starts without the time, and gets it from the network later.
        let course = Course::starting_at(0);
        let jumped = course.follow(5_000, START);
        assert_eq!(
            (jumped, course.time(6_000)),
            (Some(Correction::Jumped(START - 5_000)), START + 1_000)
        );
    }

    #[test]
    fn ahead_of_the_system_it_goes_at_half_speed_until_they_agree() {
        let course = Course::starting_at(START);
        let corrected = follow(&course, 0..30, -10_000);
        let kinds: Vec<Correction> = corrected.iter().map(|(_, c)| *c).collect();
        assert_eq!(kinds, [Correction::Slowed(10_000), Correction::Agreed]);
        let agreed = corrected.last().map_or(0, |(second, _)| *second);
        assert!((19..=22).contains(&agreed), "{agreed}");
        let off = (START + 30_000 - 10_000).abs_diff(course.time(30_000));
        assert!(off <= 250, "{off}");
    }

    #[test]
    fn while_it_is_slow_it_can_still_jump() {
        let course = Course::starting_at(START + YEAR);
        let slowed = course.follow(1_000, START + 1_000);
        assert_eq!(slowed, Some(Correction::Slowed(YEAR)));
        assert_eq!(course.time(4_000), START + YEAR + 3_000);
        assert_eq!(course.follow(4_000, START + 4_000), None);
        let far = START + 2 * YEAR;
        assert_eq!(course.follow(5_000, far), Some(Correction::Jumped(YEAR - 3_500)));
        assert_eq!(course.time(6_000), far + 1_000);
    }
}
