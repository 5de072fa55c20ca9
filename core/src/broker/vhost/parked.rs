//! Parked publishes: routed when due, or cancelled before. Two kinds: due at a time, and due some time after their
//! session's connection is gone (wills).

use crate::broker::door::request::{ParkId, ParkUntil};
use crate::exchange::SessionId;
use crate::message::{Message, Name, Timestamp};
use std::collections::BTreeMap;

/// One parked publish.
pub struct ParkedPublish {
    pub vhost: Name,
    pub message: Message,
    pub due: ParkUntil,
    pub owner: SessionId,
    /// When it is due, once that is known.
    pub at: Option<Timestamp>,
    /// It is in the journal.
    pub durable: bool,
    /// The name of its owner, when that did not outlive the last start.
    pub orphan_of: Option<Name>,
}

/// All parked publishes.
#[derive(Default)]
pub struct Parked {
    all: BTreeMap<ParkId, ParkedPublish>,
    /// How many of them are orphans. There are some only shortly after a start.
    orphans: usize,
}

impl Parked {
    /// Adds one; when it is due, if that is known.
    pub fn add(&mut self, id: ParkId, mut publish: ParkedPublish) -> Option<Timestamp> {
        if let ParkUntil::At(at) = publish.due {
            publish.at = Some(at);
        }
        let at = publish.at;
        self.orphans += usize::from(publish.orphan_of.is_some());
        self.all.insert(id, publish);
        at
    }

    /// Takes one out.
    pub fn take(&mut self, id: ParkId) -> Option<ParkedPublish> {
        let publish = self.all.remove(&id)?;
        self.orphans -= usize::from(publish.orphan_of.is_some());
        Some(publish)
    }

    /// Takes one out if it is due.
    pub fn take_due(&mut self, id: ParkId, now: Timestamp) -> Option<ParkedPublish> {
        let due = self.all.get(&id)?.at.is_some_and(|at| at <= now);
        if due { self.take(id) } else { None }
    }

    /// The owner's connection is gone (or, when `ended`, its session). Returns what waited for that, and when that is
    /// due.
    pub fn gone(
        &mut self,
        owner: SessionId,
        now: Timestamp,
        ended: bool,
    ) -> Vec<(ParkId, Timestamp)> {
        let mut due = Vec::new();
        for (id, publish) in self.all.iter_mut().filter(|(_, p)| p.owner == owner) {
            if let ParkUntil::Disconnected { delay_ms } = publish.due {
                let at = if ended { now } else { now.plus(delay_ms) };
                publish.at = Some(publish.at.map_or(at, |known| known.min(at)));
                due.push((*id, at));
            }
        }
        due
    }

    /// The owner is back. Returns the stored publishes that waited for it to be gone and are forgotten now, and those
    /// that are due nevertheless: all when its session `ended` with this, and those without a delay when the owner was
    /// still `connected`.
    pub fn back(
        &mut self,
        owner: SessionId,
        now: Timestamp,
        (ended, connected): (bool, bool),
    ) -> (Vec<ParkId>, Vec<ParkId>) {
        let (mut forgotten, mut due) = (Vec::new(), Vec::new());
        for (id, publish) in self.all.iter_mut().filter(|(_, p)| p.owner == owner) {
            match publish.due {
                ParkUntil::Disconnected { delay_ms } if ended || connected && delay_ms == 0 => {
                    publish.at = Some(now);
                    due.push(*id);
                }
                ParkUntil::Disconnected { .. } => forgotten.push(*id),
                ParkUntil::At(_) => {}
            }
        }
        forgotten.retain(|id| self.take(*id).is_some_and(|p| p.durable));
        (forgotten, due)
    }

    /// The client of that name is back, whose session did not outlive the last start. Returns what waited for it to be
    /// gone: that is due now.
    pub fn orphans(&mut self, vhost: &Name, name: &Name, now: Timestamp) -> Vec<ParkId> {
        let theirs =
            |p: &&mut ParkedPublish| p.vhost == *vhost && p.orphan_of.as_ref() == Some(name);
        if self.orphans == 0 {
            return Vec::new();
        }
        let mut due = Vec::new();
        for (id, publish) in &mut self.all {
            if theirs(&publish) {
                publish.at = Some(now);
                due.push(*id);
            }
        }
        due
    }

    /// Something waits for that session's connection to be gone.
    pub fn has_will_of(&self, owner: SessionId) -> bool {
        self.all.values().any(|p| p.owner == owner && p.due.is_gone())
    }

    /// All, for snapshots.
    pub fn iter(&self) -> impl Iterator<Item = (&ParkId, &ParkedPublish)> {
        self.all.iter()
    }
}
