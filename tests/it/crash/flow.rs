//! A flow is one kind of load with its own ledger, which continues over all lives (starts) of the broker.

use super::findings::Findings;
use super::ledger::Ledger;
use super::wire::{Step, rest};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A message that is owed counts as lost if nothing has come for this long.
pub const LOST_AFTER: Duration = Duration::from_secs(10);
/// At the end, a flow watches for this long for messages that must not come.
pub const QUIET: Duration = Duration::from_millis(300);
/// Owed messages at which the publishers of a flow pause.
pub const BACKLOG: usize = 400;

/// One life of the broker.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    pub amqp: SocketAddr,
    pub mqtt: SocketAddr,
    pub stomp: SocketAddr,
    /// Number of starts so far.
    pub life: u32,
    /// The last round, without a kill: check everything, then end.
    pub last: bool,
    /// Wait for things that the broker does late.
    pub patient: bool,
}

pub trait Flow: Send {
    fn name(&self) -> String;

    /// Checks the state after the last life, then makes load until the broker is killed; in the last round it returns.
    fn run(&mut self, round: &Round) -> Step<()>;
}

/// Creates the ledgers of a run.
#[derive(Clone)]
pub struct Books {
    pub findings: Arc<Findings>,
    next: u16,
}

impl Books {
    pub fn new(findings: Arc<Findings>) -> Self {
        Self { findings, next: 1 }
    }

    /// Each stream number is used once in a run, so no flow takes another's message for its own.
    pub fn open(&mut self, name: &str, streams: usize, places: usize) -> Ledger {
        let first = self.next;
        self.next += streams as u16;
        Ledger::new(name, self.findings.clone(), first, (streams, places))
    }
}

/// Runs `turn` until nothing is owed; messages that do not come are lost. `turn` returns whether anything came.
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

/// Runs `turn` until nothing has come for `QUIET`.
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
