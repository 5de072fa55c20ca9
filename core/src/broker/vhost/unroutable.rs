//! Publishes that reached nobody: the last of each exchange is remembered, and a line of the log names one a minute.
//! They are ordinary where devices publish what nobody reads yet, and a mistake where a key is misspelt.

use crate::message::{Key, Message, Name, Timestamp};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Milliseconds between two lines of the log.
const SAY_EVERY_MS: u64 = 60_000;
/// Milliseconds in which one is remembered for an exchange, and the others are counted only.
const NOTE_EVERY_MS: u64 = 1_000;

/// A publish that reached nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unroutable {
    pub time: Timestamp,
    pub key: Key,
    /// Who published it.
    pub user: Name,
    pub client: Name,
    pub peer: Name,
}

/// The last one of an exchange.
#[derive(Debug, Default)]
pub struct LastUnroutable {
    /// Its time in milliseconds; 0: there was none.
    noted: AtomicU64,
    last: Mutex<Option<Unroutable>>,
}

impl LastUnroutable {
    /// Remembers it, unless that was done for another one within a second.
    fn note(&self, message: &Message, now: Timestamp) {
        let noted = self.noted.load(Ordering::Relaxed);
        if noted != 0 && Timestamp(noted).until(now) < NOTE_EVERY_MS {
            return;
        }
        self.noted.store(now.0.max(1), Ordering::Relaxed);
        let origin = &message.meta().origin;
        *self.last.lock() = Some(Unroutable {
            time: now,
            key: message.address().detached().key,
            user: origin.user.clone(),
            client: origin.client.clone(),
            peer: origin.peer.clone(),
        });
    }

    /// That one.
    pub fn get(&self) -> Option<Unroutable> {
        self.last.lock().clone()
    }
}

/// What the log was told of those of a virtual host.
#[derive(Debug, Default)]
pub struct UnroutableReport {
    untold: AtomicU64,
    /// When it was told last, in milliseconds; 0: never.
    told: AtomicU64,
}

impl UnroutableReport {
    /// A publish to an exchange of that virtual host reached nobody; `last` is the exchange's.
    #[cold]
    pub fn note(&self, vhost: &Name, last: &LastUnroutable, message: &Message, now: Timestamp) {
        last.note(message, now);
        // One that is retained is there for who subscribes next: nothing that the log has to tell.
        if message.meta().retain {
            return;
        }
        self.untold.fetch_add(1, Ordering::Relaxed);
        let told = self.told.load(Ordering::Relaxed);
        let is_due = told == 0 || Timestamp(told).until(now) >= SAY_EVERY_MS;
        let swap =
            |to: u64| self.told.compare_exchange(told, to, Ordering::Relaxed, Ordering::Relaxed);
        // An error: somebody else is saying it.
        if !is_due || swap(now.0.max(1)).is_err() {
            return;
        }
        let (unroutable, address) = (self.untold.swap(0, Ordering::Relaxed), message.address());
        let origin = &message.meta().origin;
        tracing::info!(
            %vhost, unroutable, exchange = shown(&address.exchange), key = %address.key, user = %origin.user,
            client = %origin.client, peer = %origin.peer,
            "publishes reached nobody: nothing is bound where they went; the last one is named, \
             and crossdock ctl show exchange names it for each exchange"
        );
    }
}

/// The default exchange has no name.
fn shown(exchange: &str) -> &str {
    if exchange.is_empty() { "(default)" } else { exchange }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Address, Fields, Meta};
    use bytes::Bytes;
    use std::sync::Arc;

    /// It is counted as unroutable as every other one, so that whoever looks for it has to find it.
    #[test]
    fn the_last_one_may_be_a_retained_one_which_the_log_is_not_told_of() {
        let (report, last) = (UnroutableReport::default(), LastUnroutable::default());
        let mut meta = Meta::new(Arc::default(), Timestamp(0));
        meta.retain = true;
        let address = Address::new("t".into(), "a/b".into());
        let message = Message::from_fields(address, meta, &Fields::default(), Bytes::new());
        report.note(&"/".into(), &last, &message, Timestamp(5_000));
        let noted = last.get().expect("it is noted");
        assert_eq!((noted.time, noted.key.to_string()), (Timestamp(5_000), "a/b".to_owned()));
        assert_eq!(report.told.load(Ordering::Relaxed), 0);
    }
}
