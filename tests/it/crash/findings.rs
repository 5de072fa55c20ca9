//! The findings and counters of a run. Shared by all flows; the texts of the first findings are kept, all are counted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Number of findings whose texts are kept.
const KEPT: usize = 40;

#[derive(Default)]
pub struct Findings {
    pub seed: u64,
    texts: Mutex<Vec<String>>,
    count: AtomicU64,
    /// Starts of the broker so far, including the current one.
    pub life: AtomicU64,
    pub sent: Count,
    pub confirmed: Count,
    pub refused: Count,
    pub delivered: Count,
    /// Deliveries flagged as redelivered.
    pub redelivered: Count,
    pub settled: Count,
    /// Settled without a reply shortly before a kill, and delivered again: allowed, and counted here.
    pub unsettled: Count,
    pub transactions: Count,
    /// Transactions without a reply before a kill, which turned out to be committed.
    pub found_committed: Count,
    pub found_rolled_back: Count,
    pub handshakes: Count,
    /// Dead letters delivered.
    pub letters: Count,
    /// Deliveries of what an exchange had kept for a time.
    pub waited: Count,
    /// Answers by direct reply-to that came, and those that were returned because their requester was gone.
    pub answers: Count,
    pub answers_returned: Count,
    pub values: Count,
    pub wills: Count,
    pub declared: Count,
    pub kills: Count,
    pub kills_in_recovery: Count,
    pub recoveries: Mutex<Vec<Duration>>,
}

#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn one(&self) {
        self.add(1);
    }

    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Findings {
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Records a finding and prints it.
    pub fn report(&self, text: &str) {
        let (seed, life) = (self.seed, self.life.load(Ordering::Relaxed));
        let text = format!("seed {seed}, life {life}: {text}");
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        if count < KEPT as u64 {
            eprintln!("FOUND {text}");
            self.texts.lock().expect("no holder panics").push(text);
        }
    }

    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub fn texts(&self) -> String {
        self.texts.lock().expect("no holder panics").join("\n")
    }

    /// The counters as text.
    pub fn figures(&self) -> String {
        let mut times = self.recoveries.lock().expect("no holder panics").clone();
        times.sort();
        let (half, most) = (times.get(times.len() / 2), times.last());
        let millis = |time: Option<&Duration>| time.map_or(0, |time| time.as_millis());
        format!(
            "kills: {} under load, {} while it recovered; starts: {}; start to ready: p50 {} ms, max {} ms\n\
             messages: {} sent, {} confirmed, {} refused, {} delivered, {} settled; {} flagged again, {} of them settled \
             before\n\
             transactions: {} with a reply, of those without one {} committed and {} not; QoS 2 handshakes: {}\n\
             dead letters: {}; delayed: {}; answers: {} came, {} without a requester were returned\n\
             retained values: {}; wills: {}; declarations and deletions: {}; findings: {}",
            self.kills.get(),
            self.kills_in_recovery.get(),
            times.len(),
            millis(half),
            millis(most),
            self.sent.get(),
            self.confirmed.get(),
            self.refused.get(),
            self.delivered.get(),
            self.settled.get(),
            self.redelivered.get(),
            self.unsettled.get(),
            self.transactions.get(),
            self.found_committed.get(),
            self.found_rolled_back.get(),
            self.handshakes.get(),
            self.letters.get(),
            self.waited.get(),
            self.answers.get(),
            self.answers_returned.get(),
            self.values.get(),
            self.wills.get(),
            self.declared.get(),
            self.count(),
        )
    }
}
