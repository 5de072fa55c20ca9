//! Parked publishes: routed when due, or cancelled before. Two kinds: due at a time, and due some time after their
//! session's connection is gone (wills).

use crate::broker::accounts::subject::Subject;
use crate::broker::door::request::{ParkId, ParkUntil};
use crate::exchange::SessionId;
use crate::message::cost::{Cost, MAP_ENTRY};
use crate::message::{Account, Budget, Charge, Key, Message, Name, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// One parked publish.
pub struct ParkedPublish {
    pub vhost: Name,
    pub message: Message,
    pub due: ParkUntil,
    /// Further keys by which it is routed at its exchange, beside its own.
    pub copies: Box<[Key]>,
    pub owner: SessionId,
    /// When it is due, once that is known.
    pub at: Option<Timestamp>,
    /// It is in the journal.
    pub durable: bool,
    /// The name of the session that it is a will of; none: it is no will, or the session has no name.
    pub of: Option<Name>,
    /// That session did not outlive the last start.
    pub is_orphan: bool,
    /// Whose right to publish it is; none: its origin says, since its owner's login was before the last start.
    pub subject: Option<Arc<Subject>>,
}

impl Cost for ParkedPublish {
    /// Its entry; the message has a charge of its own.
    fn cost(&self) -> usize {
        let is_indexed = usize::from(self.due.is_gone()) + usize::from(self.of.is_some());
        let name = self.of.as_ref().map_or(0, Cost::cost);
        let index = size_of::<(Name, Name, ParkId)>() + MAP_ENTRY;
        let keys: usize = self.copies.iter().map(Cost::cost).sum();
        size_of::<(ParkId, ParkedPublish)>() + MAP_ENTRY + is_indexed * index + name + keys
    }
}

/// All parked publishes. They are kept, not waiting: nothing but their time or a withdrawal lets them go.
pub struct Parked {
    all: BTreeMap<ParkId, ParkedPublish>,
    /// Those that wait for their session's connection to be gone, by session.
    wills: BTreeSet<(SessionId, ParkId)>,
    /// The same by virtual host and the session's name, under which its client comes back, also when the session has
    /// ended.
    named: BTreeSet<(Name, Name, ParkId)>,
    /// Those of `named` that were due and are being routed.
    routing: Vec<(ParkId, Name, Name)>,
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
            named: BTreeSet::new(),
            routing: Vec::new(),
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
        if let Some(name) = &publish.of {
            self.named.insert((publish.vhost.clone(), name.clone(), id));
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
        if let Some(name) = &publish.of {
            self.named.remove(&(publish.vhost.clone(), name.clone(), id));
        }
        if let Some(count) = self.counts.get_mut(&publish.vhost) {
            *count = count.saturating_sub(1);
        }
        self.charge.shrink(publish.cost());
        publish.message.charge_to(Account::Waiting);
        Some(publish)
    }

    /// Takes one out if it is due, to be routed: [`Parked::routed`] says when that has happened.
    pub fn take_due(&mut self, id: ParkId, now: Timestamp) -> Option<ParkedPublish> {
        let is_due = self.all.get(&id)?.at.is_some_and(|at| at <= now);
        let publish = if is_due { self.take(id) } else { None }?;
        if let Some(name) = &publish.of {
            self.routing.push((id, publish.vhost.clone(), name.clone()));
        }
        Some(publish)
    }

    /// One that was taken out has been routed.
    pub fn routed(&mut self, id: ParkId) {
        self.routing.retain(|(routing, ..)| *routing != id);
    }

    /// True while a will of a session of that name is being routed.
    pub fn is_routing(&self, vhost: &Name, name: &Name) -> bool {
        self.routing.iter().any(|(_, host, of)| host == vhost && of == name)
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

    /// The client of the session of that name is back. Returns the wills that waited for it to be gone and are
    /// forgotten now, and whether each is stored; and those that are due nevertheless: what is due already, all of
    /// sessions that have ended, and those without a delay when the client was still `connected`. `survivor`: the
    /// session that goes on; none: a new one begins.
    pub fn back(
        &mut self,
        (vhost, name): (&Name, &Name),
        now: Timestamp,
        (survivor, connected): (Option<SessionId>, bool),
    ) -> (Vec<(ParkId, bool)>, Vec<ParkId>) {
        let (mut forgotten, mut due) = (Vec::new(), Vec::new());
        let entry = |id| (vhost.clone(), name.clone(), ParkId(id));
        let theirs = self.named.range(entry(0)..=entry(u64::MAX));
        for id in theirs.map(|(.., id)| *id).collect::<Vec<_>>() {
            let Some(publish) = self.all.get_mut(&id) else { continue };
            let ended = survivor != Some(publish.owner);
            let is_over = publish.at.is_some_and(|at| at <= now);
            match publish.due {
                ParkUntil::Disconnected { delay_ms }
                    if ended || is_over || connected && delay_ms == 0 =>
                {
                    publish.at = Some(publish.at.map_or(now, |at| at.min(now)));
                    due.push(id);
                }
                _ => forgotten.extend(self.take(id).map(|publish| (id, publish.durable))),
            }
        }
        (forgotten, due)
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
