//! What a flow is: one kind of load with its own ledger, which goes on from life to life of the broker.

use super::findings::Findings;
use super::ledger::Ledger;
use super::wire::{Step, rest};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is owed comes within this time of the last thing that came, or it is lost.
pub const LOST_AFTER: Duration = Duration::from_secs(10);
/// How long a flow watches at the end for what must not come.
pub const QUIET: Duration = Duration::from_millis(300);
/// Messages that may be owed before the publishers of a flow pause.
pub const BACKLOG: usize = 400;

/// One life of the broker.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    pub amqp: SocketAddr,
    pub mqtt: SocketAddr,
    pub stomp: SocketAddr,
    /// How many starts there were.
    pub life: u32,
    /// Nobody kills it: check everything, and end.
    pub last: bool,
    /// There is time to wait for what the broker does late.
    pub patient: bool,
}

pub trait Flow: Send {
    fn name(&self) -> String;

    /// Checks what the last life left, and makes load until the broker is gone; in the last round it ends by itself.
    fn run(&mut self, round: &Round) -> Step<()>;
}

/// How to make a ledger.
#[derive(Clone)]
pub struct Books {
    pub findings: Arc<Findings>,
    next: u16,
}

impl Books {
    pub fn new(findings: Arc<Findings>) -> Self {
        Self { findings, next: 1 }
    }

    /// Stream numbers are given once in a run: no flow mistakes another's message for its own.
    pub fn open(&mut self, name: &str, streams: usize, places: usize) -> Ledger {
        let first = self.next;
        self.next += streams as u16;
        Ledger::new(name, self.findings.clone(), first, (streams, places))
    }
}

/// Runs until nothing is owed; what does not come is lost. `turn` says whether anything came.
pub fn until_paid<T>(
    flow: &mut T,
    owed: impl Fn(&T) -> usize,
    mut turn: impl FnMut(&mut T) -> Step<bool>,
) -> Step<bool> {
    let mut last = Instant::now();
    loop {
        let (before, came) = (owed(flow), turn(flow)?);
        if owed(flow) == 0 {
            return Ok(true);
        }
        if came || owed(flow) < before {
            last = Instant::now();
        } else {
            rest();
        }
        if last.elapsed() > LOST_AFTER {
            return Ok(false);
        }
    }
}

/// Runs for that long after the last thing that came.
pub fn until_quiet(mut turn: impl FnMut() -> Step<bool>) -> Step<()> {
    let mut last = Instant::now();
    while last.elapsed() < QUIET {
        match turn()? {
            true => last = Instant::now(),
            false => rest(),
        }
    }
    Ok(())
}
