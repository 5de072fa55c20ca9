//! What the programs share: where the broker is, names of their own, and checks, which are counted.

use std::fmt::Debug;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// What must not come is awaited for this long.
const QUIET: Duration = Duration::from_millis(150);

static CHECKS: AtomicUsize = AtomicUsize::new(0);

/// The broker's host and port.
pub fn broker() -> (String, u16) {
    let address = std::env::var("CROSSDOCK_AMQP").unwrap_or_else(|_| "127.0.0.1:5672".to_owned());
    let (host, port) = address.rsplit_once(':').expect("CROSSDOCK_AMQP is host and port");
    (host.to_owned(), port.parse().expect("a port"))
}

/// A name that no other run has.
pub fn name(program: &str) -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    format!("{program}-{:x}", time.as_nanos())
}

/// Ends the program when something is not as it should be.
#[track_caller]
pub fn check<T: PartialEq<U> + Debug, U: Debug>(what: &str, found: T, expected: U) {
    assert!(found == expected, "{what}: {found:?} instead of {expected:?}");
    CHECKS.fetch_add(1, Ordering::Relaxed);
}

pub fn checks() -> usize {
    CHECKS.load(Ordering::Relaxed)
}

/// What comes in time.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {} s", PATIENCE.as_secs()),
    }
}

/// Whether nothing comes.
pub async fn is_quiet<T>(future: impl Future<Output = T>) -> bool {
    tokio::time::timeout(QUIET, future).await.is_err()
}

/// The answer of the tutorial's RPC server.
pub fn fibonacci(n: u64) -> u64 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

/// The tutorial's topics: a key, and which of the patterns `*.orange.*`, `*.*.rabbit` and `lazy.#` it meets.
pub const TOPICS: [(&str, [bool; 3]); 6] = [
    ("quick.orange.rabbit", [true, true, false]),
    ("lazy.orange.elephant", [true, false, true]),
    ("quick.orange.fox", [true, false, false]),
    ("lazy.pink.rabbit", [false, true, true]),
    ("orange", [false, false, false]),
    ("lazy.orange.new.rabbit", [false, false, true]),
];
pub const PATTERNS: [&str; 3] = ["*.orange.*", "*.*.rabbit", "lazy.#"];
