//! Parked publishes: routed when due, or cancelled before. Two kinds: due at a time, and due some time after their
//! session's connection is gone (wills).

use crate::broker::accounts::subject::Subject;
use crate::broker::door::request::{ParkId, ParkUntil};
use crate::exchange::SessionId;
use crate::message::cost::{Cost, MAP_ENTRY};
use crate::message::{Account, Budget, Charge, Message, Name, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

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
    /// Whose right to publish it is; none: its origin says, since its owner's login was before the last start.
    pub subject: Option<Arc<Subject>>,
}

impl Cost for ParkedPublish {
    /// Its entry; the message has a charge of its own.
    fn cost(&self) -> usize {
        let is_indexed = usize::from(self.due.is_gone()) + usize::from(self.orphan_of.is_some());
        let name = self.orphan_of.as_ref().map_or(0, Cost::cost);
        let index = size_of::<(Name, Name, ParkId)>() + MAP_ENTRY;
        size_of::<(ParkId, ParkedPublish)>() + MAP_ENTRY + is_indexed * index + name
    }
}

/// All parked publishes. They are kept, not waiting: nothing but their time or a withdrawal lets them go.
pub struct Parked {
    all: BTreeMap<ParkId, ParkedPublish>,
    /// Those that wait for their session's connection to be gone, by session.
    wills: BTreeSet<(SessionId, ParkId)>,
    /// Those whose owner did not outlive the last start, by virtual host and the owner's name. There are some only
    /// shortly after a start.
    orphans: BTreeSet<(Name, Name, ParkId)>,
    /// How many there are in each virtual host.
    counts: BTreeMap<Name, usize>,
    /// What the entries take.
    charge: Charge,
}

impl Parked {
    /// None; those that come are charged to that budget.
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self {
            all: BTreeMap::new(),
            wills: BTreeSet::new(),
            orphans: BTreeSet::new(),
            counts: BTreeMap::new(),
            charge: budget.charge(Account::Kept, 0),
        }
    }

    /// Adds one, whose message is charged already; when it is due, if that is known.
    pub fn add(&mut self, id: ParkId, mut publish: ParkedPublish) -> Option<Timestamp> {
        if let ParkUntil::At(at) = publish.due {
            publish.at = Some(at);
        }
        publish.message.charge_to(Account::Kept);
        self.charge.grow(publish.cost());
        if publish.due.is_gone() {
            self.wills.insert((publish.owner, id));
        }
        if let Some(name) = &publish.orphan_of {
            self.orphans.insert((publish.vhost.clone(), name.clone(), id));
        }
        *self.counts.entry(publish.vhost.clone()).or_default() += 1;
        let at = publish.at;
        self.all.insert(id, publish);
        at
    }

    /// Takes one out. Its message can leave memory from now on.
    pub fn take(&mut self, id: ParkId) -> Option<ParkedPublish> {
        let publish = self.all.remove(&id)?;
        self.wills.remove(&(publish.owner, id));
        if let Some(name) = &publish.orphan_of {
            self.orphans.remove(&(publish.vhost.clone(), name.clone(), id));
        }
        if let Some(count) = self.counts.get_mut(&publish.vhost) {
            *count = count.saturating_sub(1);
        }
        self.charge.shrink(publish.cost());
        publish.message.charge_to(Account::Waiting);
        Some(publish)
    }

    /// Takes one out if it is due.
    pub fn take_due(&mut self, id: ParkId, now: Timestamp) -> Option<ParkedPublish> {
        let due = self.all.get(&id)?.at.is_some_and(|at| at <= now);
        if due { self.take(id) } else { None }
    }

    /// How many there are in that virtual host.
    pub fn count(&self, vhost: &Name) -> usize {
        self.counts.get(vhost).copied().unwrap_or(0)
    }

    fn wills_of(&self, owner: SessionId) -> Vec<ParkId> {
        let theirs = self.wills.range((owner, ParkId(0))..=(owner, ParkId(u64::MAX)));
        theirs.map(|(_, id)| *id).collect()
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
        for id in self.wills_of(owner) {
            let Some(publish) = self.all.get_mut(&id) else { continue };
            if let ParkUntil::Disconnected { delay_ms } = publish.due {
                let at = if ended { now } else { now.plus(delay_ms) };
                let at = publish.at.map_or(at, |known| known.min(at));
                publish.at = Some(at);
                due.push((id, at));
            }
        }
        due
    }

    /// The owner is back. Returns the publishes that waited for it to be gone and are forgotten now, and whether each
    /// is stored; and those that are due nevertheless: all when its session `ended` with this, and those without a
    /// delay when the owner was still `connected`.
    pub fn back(
        &mut self,
        owner: SessionId,
        now: Timestamp,
        (ended, connected): (bool, bool),
    ) -> (Vec<(ParkId, bool)>, Vec<ParkId>) {
        let (mut forgotten, mut due) = (Vec::new(), Vec::new());
        for id in self.wills_of(owner) {
            let Some(publish) = self.all.get_mut(&id) else { continue };
            match publish.due {
                ParkUntil::Disconnected { delay_ms } if ended || connected && delay_ms == 0 => {
                    publish.at = Some(now);
                    due.push(id);
                }
                _ => forgotten.extend(self.take(id).map(|publish| (id, publish.durable))),
            }
        }
        (forgotten, due)
    }

    /// The client of that name is back, whose session did not outlive the last start. Returns what waited for it to be
    /// gone: that is due now.
    pub fn orphans(&mut self, vhost: &Name, name: &Name, now: Timestamp) -> Vec<ParkId> {
        if self.orphans.is_empty() {
            return Vec::new();
        }
        let entry = |id| (vhost.clone(), name.clone(), ParkId(id));
        let theirs = self.orphans.range(entry(0)..=entry(u64::MAX));
        let due: Vec<ParkId> = theirs.map(|(.., id)| *id).collect();
        for id in &due {
            if let Some(publish) = self.all.get_mut(id) {
                publish.at = Some(now);
            }
        }
        due
    }

    /// Something waits for that session's connection to be gone.
    pub fn has_will_of(&self, owner: SessionId) -> bool {
        self.wills.range((owner, ParkId(0))..=(owner, ParkId(u64::MAX))).next().is_some()
    }

    /// Those behind that one, for snapshots.
    pub fn after(&self, id: Option<ParkId>) -> impl Iterator<Item = (&ParkId, &ParkedPublish)> {
        self.all.range((id.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
    }
}
