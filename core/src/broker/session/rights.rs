//! What a session may do. Every verb asks here; what belongs to the session needs no right: a queue that is exclusive
//! to it, and the queue of a named session.
//!
//! What is read is judged by what it stands for. A subscription of which only a part is allowed is taken, where its
//! messages come to one session alone or to a group, and then every message is looked at. Other queues are bound only
//! to what may be read as a whole.

use super::state::Session;
use crate::broker::accounts::subject::Subject;
use crate::broker::door::events::{Events, Notice};
use crate::broker::door::names::is_reply_name;
use crate::broker::door::request::BindTarget;
use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::queue::Queue;
use crate::error::Error;
use crate::exchange::{Binding, LogId, Target};
use crate::log::{Life, Offset, QueueSpec};
use crate::message::{Address, Key, Name};
use crate::rights::{Action, Coverage, Object, shared_filter};
use crate::subscription::{ConsumerId, Delivery, LeftBy, Outcome};
use parking_lot::Mutex;
use rustc_hash::{FxBuildHasher, FxHashMap};
use std::hash::BuildHasher;
use std::sync::Arc;

/// Addresses about which an answer is remembered, and bytes of the key of one at most.
const PLACES: usize = 32;
const KEY_BYTES_MAX: usize = 1_024;

/// The rights of a session, and what is remembered of them.
pub(super) struct SessionRights {
    pub subject: Arc<Subject>,
    writes: Answers,
    reads: Answers,
    /// About queues that are looked at: behind a lock, for whoever looks changes nothing.
    views: Mutex<Answers>,
    /// The generation of the accounts at which its consumers and bindings were judged.
    judged: u64,
    /// Some of what it is subscribed to it may not read: every delivery to it is looked at.
    pub looks: bool,
}

/// Answers to one question about addresses: one place for each.
#[derive(Default)]
struct Answers(Vec<Option<(Address, u64, bool)>>);

impl Answers {
    /// The answer about that address. `generation`: of the accounts, read before `ask` is called.
    fn about(&mut self, address: &Address, generation: u64, ask: impl FnOnce() -> bool) -> bool {
        if address.key.bytes().len() > KEY_BYTES_MAX {
            return ask();
        }
        if self.0.is_empty() {
            self.0.resize_with(PLACES, || None);
        }
        // The low bits of this hash are its weakest.
        let place = (FxBuildHasher.hash_one(address) >> 32) as usize % PLACES;
        let Some(place) = self.0.get_mut(place) else { return ask() };
        match place {
            Some((known, at, answer)) if *at == generation && known == address => *answer,
            _ => {
                let answer = ask();
                *place = Some((address.detached(), generation, answer));
                answer
            }
        }
    }
}

impl SessionRights {
    /// Those of that subject.
    pub fn of(subject: Arc<Subject>) -> Self {
        // Bindings of a session that is resumed are judged with its first events.
        let judged = u64::MAX;
        let (writes, reads) = (Answers::default(), Answers::default());
        Self { subject, writes, reads, views: Mutex::default(), judged, looks: false }
    }

    fn may_get(&mut self, address: &Address) -> bool {
        let (subject, generation) = (&self.subject, self.subject.generation());
        self.reads.about(address, generation, || subject.may_get(address))
    }
}

impl Session {
    /// `Refused` when this session may not publish to that address.
    #[inline]
    pub(super) fn check_write(&mut self, address: &Address) -> Result<(), Error> {
        match self.rights.subject.is_unlimited() {
            true => Ok(()),
            false => self.check_limited_write(address),
        }
    }

    fn check_limited_write(&mut self, address: &Address) -> Result<(), Error> {
        // Who was told a reply address was asked for an answer. One that is gone leads nowhere, and is no trespass.
        if address.is_queue() && is_reply_name(address.key.bytes()) {
            return Ok(());
        }
        let subject = &self.rights.subject;
        let (generation, object) = (subject.generation(), subject.at(address));
        let ask = || subject.may(Action::Write, &object);
        match self.rights.writes.about(address, generation, ask) {
            true => Ok(()),
            false => Err(subject.refuse(Action::Write, &object)),
        }
    }

    /// The queue belongs to this session.
    fn owns(&self, queue: &Queue) -> bool {
        queue.owner == Some(self.id)
            || self
                .named
                .as_ref()
                .and_then(|named| named.queue())
                .is_some_and(|own| own.id == queue.id)
    }

    fn owns_named(&self, name: &str) -> bool {
        self.vhost.queue(name).is_ok_and(|queue| self.owns(&queue))
    }

    /// `Refused` when the action on a queue is not allowed.
    pub(super) fn check_queue(&self, action: Action, name: &str) -> Result<(), Error> {
        let subject = &self.rights.subject;
        match subject.is_unlimited() || self.owns_named(name) {
            true => Ok(()),
            false => subject.check(action, &Object::Queue(name)),
        }
    }

    /// The same for what members of a shared subscription do with the queue of their group.
    pub(super) fn check_member(&self, action: Action, name: &str) -> Result<(), Error> {
        match self.rights.subject.shared_coverage(name) > Coverage::Nothing {
            true => Ok(()),
            false => self.check_queue(action, name),
        }
    }

    /// `Refused` for whoever may do nothing at all with the queue: it is not told about it either. The answer is
    /// remembered, since some clients look at a queue whenever they send to it.
    pub(super) fn check_look(&self, name: &str) -> Result<(), Error> {
        match self.may_look_at_queue(name) {
            true => Ok(()),
            false => Err(self.rights.subject.refuse(Action::Read, &Object::Queue(name))),
        }
    }

    /// Whether the user may do anything at all with the queue. For those who ask before they do something else, which
    /// is refused then: this is no refusal.
    pub fn may_look_at_queue(&self, name: &str) -> bool {
        let SessionRights { subject, views, .. } = &self.rights;
        if subject.is_unlimited() {
            return true;
        }
        let (generation, object) = (subject.generation(), Object::Queue(name));
        let may_look = || {
            let any = [Action::Configure, Action::Write, Action::Read];
            any.into_iter().any(|action| subject.may(action, &object))
                || subject.shared_coverage(name) > Coverage::Nothing
        };
        views.lock().about(&Address::queue(name), generation, may_look) || self.owns_named(name)
    }

    /// Declaring a queue: the right to configure it, unless it is there already and may be looked at. Where it sends
    /// what leaves it: as in RabbitMQ the rights to read the queue and to write there. `is_made_up`: its name is the
    /// broker's choice.
    pub(super) fn check_declare(&self, spec: &QueueSpec, is_made_up: bool) -> Result<(), Error> {
        let subject = &self.rights.subject;
        if subject.is_unlimited() {
            return Ok(());
        }
        let is_own = is_made_up && spec.life == Life::Exclusive;
        match self.vhost.queue(&spec.name).is_ok() {
            _ if is_own => {}
            true => self.check_look(&spec.name)?,
            // Where what leaves a group's queue goes is not for every member to say.
            false if spec.dead_letter.is_some() => {
                self.check_queue(Action::Configure, &spec.name)?;
            }
            false => self.check_member(Action::Configure, &spec.name)?,
        }
        let Some((exchange, key)) = &spec.dead_letter else { return Ok(()) };
        if !is_own {
            self.check_queue(Action::Read, &spec.name)?;
        }
        match key {
            Some(key) => {
                let address = Address::new(exchange.clone(), key.clone());
                subject.check(Action::Write, &subject.at(&address))
            }
            None => subject.check(Action::Write, &subject.exchange(exchange)),
        }
    }

    /// `Refused` when the action on an exchange as a whole is not allowed.
    pub(super) fn check_exchange(&self, action: Action, name: &str) -> Result<(), Error> {
        let subject = &self.rights.subject;
        subject.check(action, &subject.exchange(name))
    }

    /// Binding: the right to write to the target, and to read what the key stands for. A part of that is enough where
    /// every delivery is looked at: for this session, for a queue that it owns, and for the queue of a group that
    /// collects just that. The answer is whether it is only a part.
    pub(super) fn check_bind(
        &self,
        (source, key): (&Name, &Key),
        to: &BindTarget,
    ) -> Result<bool, Error> {
        let subject = &self.rights.subject;
        if subject.is_unlimited() {
            return Ok(false);
        }
        self.check_target((source, key), to)?;
        let is_keyed = self.vhost.exchange(source).is_ok_and(|spec| spec.kind.is_keyed());
        if !is_keyed {
            self.check_exchange(Action::Read, source)?;
            return Ok(false);
        }
        match subject.coverage(source, key) {
            Coverage::Everything => Ok(false),
            Coverage::Some if self.may_be_part((source, key), to) => Ok(true),
            _ => {
                let address = Address::new(source.clone(), key.clone());
                Err(subject.refuse(Action::Read, &subject.at(&address)))
            }
        }
    }

    /// Unbinding: as binding, except that a part of what the key stands for is always enough, and that nothing is asked
    /// about what leads to this session.
    pub(super) fn check_unbind(
        &self,
        (source, key): (&Name, &Key),
        to: &BindTarget,
    ) -> Result<(), Error> {
        let subject = &self.rights.subject;
        let is_own = match to {
            BindTarget::Own => true,
            BindTarget::Queue(name) => self.owns_named(name),
            BindTarget::Exchange(_) => false,
        };
        if is_own || subject.is_unlimited() {
            return Ok(());
        }
        self.check_target((source, key), to)?;
        match subject.coverage(source, key) {
            Coverage::Nothing => self.check_exchange(Action::Read, source),
            _ => Ok(()),
        }
    }

    /// The right to write to what is bound.
    fn check_target(&self, (source, key): (&Name, &Key), to: &BindTarget) -> Result<(), Error> {
        match to {
            BindTarget::Own => Ok(()),
            BindTarget::Exchange(name) => self.check_exchange(Action::Write, name),
            BindTarget::Queue(name) if self.collects(name, (source, key)) => {
                self.check_member(Action::Write, name)
            }
            BindTarget::Queue(name) => self.check_queue(Action::Write, name),
        }
    }

    /// The queue is that of a group whose filter is the key.
    fn collects(&self, queue: &str, (source, key): (&Name, &Key)) -> bool {
        *source == self.vhost.topic_exchange
            && shared_filter(queue).is_some_and(|filter| filter.as_bytes() == key.bytes())
    }

    /// Deliveries of what is bound so are looked at one by one, and nothing leaves the queue otherwise.
    fn may_be_part(&self, (source, key): (&Name, &Key), to: &BindTarget) -> bool {
        match to {
            BindTarget::Own => *source == self.vhost.topic_exchange,
            BindTarget::Exchange(_) => false,
            BindTarget::Queue(name) => {
                let queue = self.vhost.queue(name);
                let is_end = queue.is_ok_and(|queue| queue.spec.dead_letter.is_none());
                is_end && (self.owns_named(name) || self.collects(name, (source, key)))
            }
        }
    }

    /// Whether a message that came by a binding of this session's own may be delivered to it.
    pub(super) fn may_get(&mut self, address: &Address) -> bool {
        self.rights.subject.is_unlimited() || self.rights.may_get(address)
    }

    /// Whether a message of a queue that this session may read may be shown to it. What its own queue collected by a
    /// subscription of which only a part is allowed is looked at one by one, as deliveries are.
    pub(super) fn may_see(&mut self, queue: &Queue, address: &Address) -> bool {
        let is_whole = self.rights.subject.is_unlimited() || !self.owns(queue);
        is_whole || self.rights.may_get(address)
    }

    /// Deliveries that this session has no right to (any more) are taken out of its events.
    #[inline]
    pub(super) fn withhold(&mut self, events: &mut Events) {
        if self.rights.subject.is_unlimited() {
            return;
        }
        if self.rights.judged != self.rights.subject.generation() {
            self.judge(events);
        }
        if self.rights.looks && !events.deliveries.is_empty() {
            self.look_at_deliveries(events);
        }
    }

    /// A consumer of that queue is new: whether what it gets is looked at.
    pub(super) fn judge_new(&mut self, queue: &Queue) -> bool {
        if self.rights.subject.is_unlimited() {
            return false;
        }
        let verdict = verdict(&self.rights.subject, &self.vhost, queue, self.owns(queue));
        self.rights.looks |= matches!(verdict, Verdict::Part);
        self.is_looked_at(queue)
    }

    /// A single delivery that this session has no right to is taken away from it.
    pub(super) fn is_withheld(&mut self, queue: &Queue, delivery: &Delivery) -> bool {
        let is_withheld =
            self.rights.looks && self.owns(queue) && !self.may_get(delivery.message.address());
        if is_withheld {
            self.drop_delivery(delivery);
            self.settle_down();
        }
        is_withheld
    }

    /// Accounts have changed: consumers of queues that may not be read any more end, and it is found out whether
    /// deliveries have to be looked at.
    fn judge(&mut self, events: &mut Events) {
        let subject = self.rights.subject.clone();
        self.rights.judged = subject.generation();
        let mut ended = Vec::new();
        let mut looks = self.named.as_ref().is_some_and(|named| {
            let topology = self.vhost.topology.read();
            is_part(&subject, topology.bindings_to(&Target::Session(named.id)))
        });
        let mut verdicts: FxHashMap<LogId, Verdict> = FxHashMap::default();
        for id in self.consumers.of(None) {
            let Some(attachment) = self.consumers.get(id) else { continue };
            let queue = &attachment.queue;
            let queue = queue.clone();
            let judge = || verdict(&subject, &self.vhost, &queue, self.owns(&queue));
            match *verdicts.entry(queue.id).or_insert_with(judge) {
                Verdict::All => {}
                Verdict::Part => looks = true,
                // What serves single gets gives nothing by itself, and has to be settled.
                Verdict::Nothing if attachment.is_getter => {}
                Verdict::Nothing => ended.push((id, queue.clone())),
            }
            let is_looked_at = self.is_looked_at(&queue);
            if let Some(attachment) = self.consumers.get_mut(id) {
                attachment.is_looked_at = is_looked_at;
            }
        }
        self.rights.looks = looks;
        for (id, queue) in ended {
            self.end_consumer(id, events);
            // Its end was told already; the own queue of a session that somebody took over was no trespass.
            if queue.is_gone() {
                continue;
            }
            let why = subject.refuse(Action::Read, &Object::Queue(&queue.name));
            events.notices.push(Notice::Detached { consumer: id, why });
        }
    }

    /// A consumer ends; what its client has not seen goes back as it was.
    fn end_consumer(&mut self, consumer: ConsumerId, events: &mut Events) {
        let theirs = |delivery: &mut Delivery| delivery.consumer == consumer;
        let unseen: Vec<Delivery> = events.deliveries.extract_if(.., theirs).collect();
        let bytes = unseen.iter().map(|delivery| delivery.message.size() as u64).sum();
        let offsets: Vec<Offset> = unseen.iter().map(|delivery| delivery.offset).collect();
        self.inbox.window.release(offsets.len() as u64, bytes, &mut self.turn.after.woken);
        let mut ops = self.release(consumer, offsets, &Outcome::Left);
        self.turn.unit().ops.append(&mut ops);
        self.flush_ops();
    }

    fn look_at_deliveries(&mut self, events: &mut Events) {
        let mut withheld: Vec<Delivery> = Vec::new();
        let (consumers, rights) = (&self.consumers, &mut self.rights);
        events.deliveries.retain(|delivery| {
            // An answer was asked for, whatever its address.
            let is_answer = delivery.tags.reply_id().is_some();
            let is_looked_at = delivery.consumer == ConsumerId::DIRECT && !is_answer
                || consumers.get(delivery.consumer).is_some_and(|a| a.is_looked_at);
            let may = !is_looked_at || rights.may_get(delivery.message.address());
            if !may {
                withheld.push(delivery.clone());
            }
            may
        });
        if withheld.is_empty() {
            return;
        }
        for delivery in withheld {
            self.drop_delivery(&delivery);
            let size = delivery.message.size();
            match delivery.consumer {
                ConsumerId::DIRECT => self.inbox.direct_written(size),
                _ => self.inbox.window.release(1, size as u64, &mut self.turn.after.woken),
            }
        }
        self.settle_down();
        self.flush_ops();
    }

    /// Deliveries from there are looked at one by one: by their topics some may not be for this session.
    fn is_looked_at(&self, queue: &Queue) -> bool {
        let subject = &self.rights.subject;
        self.owns(queue)
            || shared_filter(&queue.name).is_some()
                && !subject.may(Action::Read, &Object::Queue(&queue.name))
    }

    /// It leaves its queue, and goes nowhere else: a dead-letter address is no way around a right.
    fn drop_delivery(&mut self, delivery: &Delivery) {
        let subject = &self.rights.subject;
        subject.refuse(Action::Read, &subject.at(delivery.message.address()));
        if delivery.consumer != ConsumerId::DIRECT {
            let at = [delivery.offset];
            // It was taken from its queue, if not by its client.
            if let Some(attachment) = self.consumers.get(delivery.consumer) {
                attachment.counts.delivered(1);
            }
            let outcome = Outcome::Removed(LeftBy::NoRight);
            self.settle_now(delivery.consumer, &at, &outcome, Vec::new());
        }
    }
}

/// What may be read of a queue.
#[derive(Clone, Copy)]
enum Verdict {
    Nothing,
    Part,
    All,
}

fn is_part(subject: &Subject, bindings: &[Arc<Binding>]) -> bool {
    let is_whole = |b: &Arc<Binding>| subject.coverage(&b.source, &b.key) == Coverage::Everything;
    !bindings.iter().all(is_whole)
}

fn verdict(subject: &Subject, vhost: &Vhost, queue: &Queue, is_own: bool) -> Verdict {
    if is_own {
        let topology = vhost.topology.read();
        return match is_part(subject, topology.bindings_to(&Target::Log(queue.id))) {
            true => Verdict::Part,
            false => Verdict::All,
        };
    }
    if subject.may(Action::Read, &Object::Queue(&queue.name)) {
        return Verdict::All;
    }
    match subject.shared_coverage(&queue.name) {
        Coverage::Nothing => Verdict::Nothing,
        // It may have been bound to more by somebody who may read more.
        Coverage::Some | Coverage::Everything => Verdict::Part,
    }
}
