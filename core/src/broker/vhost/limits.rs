//! How many objects there may be in a virtual host: what is refused beyond that is counted, and one warning a minute
//! for each limit says who met it.

use crate::broker::settings::ObjectLimits;
use crate::error::{Error, ErrorKind};
use crate::message::{Budget, Name, Origin, Share};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Between two warnings for one limit.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Clients whose refused requests are counted one by one between two warnings.
const CLIENTS: usize = 8;

/// What there can be too many of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Queues,
    Exchanges,
    Bindings,
    Sessions,
    Memos,
    Parked,
    RetainedValues,
    RetainedBytes,
    Consumers,
    TransactionItems,
    TransactionBytes,
    HeaderFields,
    HeaderBytes,
    ExchangesVisited,
    ConnectionsPerUser,
    ConnectionsPerVhost,
    /// What is kept takes as much memory as it may, whatever it is.
    Memory,
}

impl Limit {
    /// All of them, in their order.
    pub const ALL: [Limit; 17] = [
        Limit::Queues,
        Limit::Exchanges,
        Limit::Bindings,
        Limit::Sessions,
        Limit::Memos,
        Limit::Parked,
        Limit::RetainedValues,
        Limit::RetainedBytes,
        Limit::Consumers,
        Limit::TransactionItems,
        Limit::TransactionBytes,
        Limit::HeaderFields,
        Limit::HeaderBytes,
        Limit::ExchangesVisited,
        Limit::ConnectionsPerUser,
        Limit::ConnectionsPerVhost,
        Limit::Memory,
    ];

    /// The configuration key that sets it.
    pub fn key(self) -> &'static str {
        match self {
            Limit::Queues => "objects.queues",
            Limit::Exchanges => "objects.exchanges",
            Limit::Bindings => "objects.bindings",
            Limit::Sessions => "objects.sessions",
            Limit::Memos => "objects.memos",
            Limit::Parked => "objects.parked",
            Limit::RetainedValues => "objects.retained_values",
            Limit::RetainedBytes => "objects.retained_bytes",
            Limit::Consumers => "objects.consumers",
            Limit::TransactionItems => "objects.transaction_items",
            Limit::TransactionBytes => "objects.transaction_bytes",
            Limit::HeaderFields => "objects.header_fields",
            Limit::HeaderBytes => "objects.header_bytes",
            Limit::ExchangesVisited => "objects.exchanges_visited",
            Limit::ConnectionsPerUser => "limits.connections_per_user",
            Limit::ConnectionsPerVhost => "limits.connections_per_vhost",
            Limit::Memory => "memory.high",
        }
    }

    /// What it counts, for people.
    fn counts(self) -> &'static str {
        match self {
            Limit::Queues => "queues in this virtual host",
            Limit::Exchanges => "exchanges in this virtual host",
            Limit::Bindings => "bindings in this virtual host",
            Limit::Sessions => "named sessions in this virtual host",
            Limit::Memos => "notes of this session",
            Limit::Parked => "delayed messages and wills in this virtual host",
            Limit::RetainedValues => "retained values in this virtual host",
            Limit::RetainedBytes => "bytes of retained values in this virtual host",
            Limit::Consumers => "consumers of this connection",
            Limit::TransactionItems => "publishes and acknowledgements in open transactions",
            Limit::TransactionBytes => "bytes in open transactions",
            Limit::HeaderFields => "headers of one message",
            Limit::HeaderBytes => "bytes of headers of one message",
            Limit::ExchangesVisited => "exchanges that one publish goes through",
            Limit::ConnectionsPerUser => "connections of this user",
            Limit::ConnectionsPerVhost => "connections in this virtual host",
            Limit::Memory => "bytes of memory for what is kept",
        }
    }

    /// How far such things may fill the memory for what is kept.
    fn share(self) -> Share {
        match self {
            Limit::Parked
            | Limit::RetainedValues
            | Limit::RetainedBytes
            | Limit::TransactionItems
            | Limit::TransactionBytes => Share::Bulk,
            Limit::Queues | Limit::Exchanges | Limit::Bindings | Limit::Sessions => Share::Objects,
            _ => Share::Connection,
        }
    }

    /// Its value in the settings; none: it is not set there.
    fn value(self, limits: &ObjectLimits) -> Option<usize> {
        Some(match self {
            Limit::Queues => limits.queues,
            Limit::Exchanges => limits.exchanges,
            Limit::Bindings => limits.bindings,
            Limit::Sessions => limits.sessions,
            Limit::Memos => limits.memos,
            Limit::Parked => limits.parked,
            Limit::RetainedValues => limits.retained_values,
            Limit::RetainedBytes => limits.retained_bytes,
            Limit::Consumers => limits.consumers,
            Limit::TransactionItems => limits.transaction_items,
            Limit::TransactionBytes => limits.transaction_bytes,
            Limit::HeaderFields => limits.header_fields,
            Limit::HeaderBytes => limits.header_bytes,
            Limit::ExchangesVisited => limits.exchanges_visited,
            Limit::ConnectionsPerUser => return limits.clients.connections_per_user,
            Limit::ConnectionsPerVhost => return limits.clients.connections_per_vhost,
            Limit::Memory => return None,
        })
    }
}

/// The limits of a virtual host, and how often each was met.
#[derive(Debug)]
pub struct Limits {
    /// By limit, as they are now; the largest number where there is none.
    values: [AtomicUsize; Limit::ALL.len()],
    /// Bytes that are kept for one subscriber that may be away, as when the broker was opened.
    pub subscription_bytes: u64,
    /// Milliseconds that a consumer of a quorum queue may have a record, as when the broker was opened; 0: any time.
    pub consumer_timeout_ms: u64,
    pub budget: Arc<Budget>,
    met: [Met; Limit::ALL.len()],
}

#[derive(Debug, Default)]
struct Met {
    count: AtomicU64,
    recent: Mutex<Recent>,
}

/// Requests that met a limit since the last warning.
#[derive(Debug, Default)]
struct Recent {
    warned: Option<Instant>,
    refused: u64,
    max: usize,
    /// Whose they were: the few with the most (by the algorithm of Misra and Gries, so that any number of clients
    /// are counted with eight entries).
    by: Vec<(Origin, u64)>,
}

impl Recent {
    fn add(&mut self, who: &Origin, max: usize) {
        self.refused += 1;
        self.max = max;
        let is_same = |known: &Origin| {
            let names = known.user == who.user && known.client == who.client;
            names && (!who.client.is_empty() || known.peer == who.peer)
        };
        if let Some((_, count)) = self.by.iter_mut().find(|(known, _)| is_same(known)) {
            *count += 1;
        } else if self.by.len() < CLIENTS {
            self.by.push((who.clone(), 1));
        } else {
            self.by.retain_mut(|(_, count)| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// A minute has passed since the last warning, and there is something to say.
    fn is_due(&self) -> bool {
        self.refused > 0 && self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY)
    }

    /// What is to be said, and by whom most of it was.
    fn take(&mut self) -> (u64, usize, Origin) {
        self.warned = Some(Instant::now());
        let most = self.by.drain(..).max_by_key(|(_, count)| *count);
        (std::mem::take(&mut self.refused), self.max, most.map(|(who, _)| who).unwrap_or_default())
    }
}

impl Limits {
    /// Nobody has met any of them.
    pub fn new(objects: &ObjectLimits, budget: Arc<Budget>) -> Self {
        let values = std::array::from_fn(|_| AtomicUsize::new(usize::MAX));
        let subscription_bytes = objects.clients.subscription_bytes;
        let consumer_timeout_ms = objects.clients.consumer_timeout_ms;
        let met = std::array::from_fn(|_| Met::default());
        let limits = Self { values, subscription_bytes, consumer_timeout_ms, budget, met };
        limits.set(objects);
        limits
    }

    /// These hold from now on. What is beyond them already stays.
    pub fn set(&self, objects: &ObjectLimits) {
        for (limit, value) in Limit::ALL.iter().zip(&self.values) {
            value.store(limit.value(objects).unwrap_or(usize::MAX), Ordering::Relaxed);
        }
    }

    /// The value of a limit now.
    pub fn max(&self, limit: Limit) -> usize {
        match limit {
            Limit::Memory => self.budget.kept_max(),
            _ => self.values.get(limit as usize).map_or(0, |max| max.load(Ordering::Relaxed)),
        }
    }

    /// `LimitReached` when there would be more than there may be: `there` are, `more` are asked for, and they take
    /// `bytes`.
    pub fn check(
        &self,
        limit: Limit,
        (there, more): (usize, usize),
        bytes: usize,
        who: (&Name, &Origin),
    ) -> Result<(), Error> {
        if there.saturating_add(more) > self.max(limit) {
            return Err(self.refuse(limit, who));
        }
        self.check_memory(limit.share(), bytes, who)
    }

    /// `LimitReached` when `bytes` more would take what is kept beyond that share. 0 bytes always fit.
    pub fn check_memory(
        &self,
        share: Share,
        bytes: usize,
        who: (&Name, &Origin),
    ) -> Result<(), Error> {
        match bytes == 0 || self.budget.can_keep(share, bytes) {
            true => Ok(()),
            false => Err(self.refuse_at(Limit::Memory, self.budget.kept_share(share), who)),
        }
    }

    /// Counts a request that met the limit; the error that answers it.
    pub fn refuse(&self, limit: Limit, who: (&Name, &Origin)) -> Error {
        self.refuse_at(limit, self.max(limit), who)
    }

    fn refuse_at(&self, limit: Limit, max: usize, (vhost, who): (&Name, &Origin)) -> Error {
        let key = limit.key();
        let why = format!("there may be {max} {} ({key})", limit.counts());
        let error = Error::new(ErrorKind::LimitReached, why);
        let Some(met) = self.met.get(limit as usize) else { return error };
        met.count.fetch_add(1, Ordering::Relaxed);
        let mut recent = met.recent.lock();
        recent.add(who, max);
        if recent.is_due() {
            let what = recent.take();
            drop(recent);
            warn(vhost, limit, what);
        }
        error
    }

    /// Warns of limits that were met since their last warning, a minute ago.
    pub fn report(&self, vhost: &Name) {
        for (limit, met) in Limit::ALL.iter().zip(&self.met) {
            let mut recent = met.recent.lock();
            if recent.is_due() {
                let what = recent.take();
                drop(recent);
                warn(vhost, *limit, what);
            }
        }
    }

    /// How often the limit was met since the start.
    pub fn count(&self, limit: Limit) -> u64 {
        self.met.get(limit as usize).map_or(0, |met| met.count.load(Ordering::Relaxed))
    }
}

fn warn(vhost: &Name, limit: Limit, (refused, max, who): (u64, usize, Origin)) {
    let Origin { user, client, listener, peer, .. } = who;
    tracing::warn!(
        %vhost, %user, %client, %listener, %peer, limit = limit.key(), max, refused,
        "a limit was reached: requests beyond it are refused"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(client: &str, peer: &str) -> Origin {
        Origin { client: client.into(), peer: peer.into(), ..Origin::default() }
    }

    #[test]
    fn a_warning_names_who_did_the_most() {
        let mut recent = Recent::default();
        for n in 0..10_000 {
            // One of three is the same client; all others come once.
            match n % 3 {
                0 => recent.add(&origin("greedy", &format!("::1:{n}")), 5),
                _ => recent.add(&origin(&format!("other {n}"), "::1:7"), 5),
            }
            assert!(recent.by.len() <= CLIENTS);
        }
        let (refused, max, who) = recent.take();
        assert_eq!((refused, max, &*who.client), (10_000, 5, "greedy"));
        assert!(!recent.is_due());
        recent.add(&origin("", "::1:1"), 5);
        recent.add(&origin("", "::1:2"), 5);
        recent.add(&origin("", "::1:2"), 5);
        assert!(!recent.is_due(), "a minute has not passed");
        assert_eq!(&*recent.take().2.peer, "::1:2");
    }
}
