//! The slow part of a login: one password against a user's hashes. It costs the same for a wrong password and for a
//! user that does not exist.

use crate::password::{self, PasswordHash};
use crossdock_core::Secret;

/// Says whether a hash is a password's.
type Verify = dyn Fn(&PasswordHash, &Secret) -> bool + Send + Sync;

pub(crate) struct Check {
    verify: Box<Verify>,
    /// What is verified where there is no hash of the usual cost.
    dummy: PasswordHash,
}

/// The password is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Right {
    /// Which of the hashes it matches.
    pub(crate) nth: usize,
    /// That hash is to be replaced.
    pub(crate) rehash: bool,
}

impl Check {
    pub(crate) fn new() -> Self {
        Self::with(password::verify, password::dummy().clone())
    }

    /// One that verifies in another way. Tests count, and want cheap hashes.
    pub(crate) fn with(
        verify: impl Fn(&PasswordHash, &Secret) -> bool + Send + Sync + 'static,
        dummy: PasswordHash,
    ) -> Self {
        Self { verify: Box::new(verify), dummy }
    }

    /// Tries every hash of a user; of nobody, when there is none. Who has two hashes costs twice as much while the
    /// password is wrong: a rotation is short, and to double every login for it is not worth it.
    pub(crate) fn run(&self, hashes: &[PasswordHash], password: &Secret) -> Option<Right> {
        let mut numbered = hashes.iter().enumerate();
        if let Some((nth, hash)) = numbered.find(|(_, hash)| (self.verify)(hash, password)) {
            return Some(Right { nth, rehash: hash.is_legacy() });
        }
        // Legacy hashes are quick: without this they would tell that the user exists.
        if hashes.iter().all(PasswordHash::is_legacy) {
            (self.verify)(&self.dummy, password);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::Params;
    use bytes::Bytes;
    use std::time::Duration;

    fn cpu() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let nanoseconds = u32::try_from(time.tv_nsec).expect("less than a second");
        Duration::new(u64::try_from(time.tv_sec).expect("positive"), nanoseconds)
    }

    /// The middle of what these runs took.
    fn median(mut runs: Vec<Duration>) -> f64 {
        runs.sort();
        runs[runs.len() / 2].as_secs_f64()
    }

    #[test]
    fn an_unknown_user_takes_as_long_as_a_wrong_password() {
        // A sixty-fourth of the usual memory; the code is the same.
        let cheap = || Params::new(304, 2, 1, None).expect("parameters");
        let hash = |text: &'static str| {
            password::hash_with(&Secret(Bytes::from_static(text.as_bytes())), cheap())
        };
        let check = Check::with(password::verify, hash("nobody's").expect("a hash"));
        let argon2 = [hash("right").expect("a hash")];
        // RabbitMQ's SHA-256 of the password `test12`.
        let legacy = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR";
        let legacy = [PasswordHash::parse(legacy).expect("a hash")];
        let users: [&[PasswordHash]; 3] = [&argon2, &legacy, &[]];
        let mut runs = [const { Vec::new() }; 3];
        for n in 0..2_000 {
            let password = Secret(Bytes::from(format!("guess {n}")));
            for (runs, hashes) in runs.iter_mut().zip(users) {
                let begun = cpu();
                assert_eq!(check.run(hashes, &password), None);
                runs.push(cpu() - begun);
            }
        }
        let [argon2, legacy, unknown] = runs.map(median);
        for known in [argon2, legacy] {
            let difference = (known / unknown - 1.0).abs();
            assert!(difference < 0.05, "known {known} s, unknown {unknown} s of CPU time");
        }
    }
}
