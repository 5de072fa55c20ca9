//! The control verbs of a session. They flush first, so that they never overtake a publish, and resolve when their
//! effect is stored.

use super::Ops;
use super::events::{Declared, QueueStatus};
use super::named::Named;
use super::queue::{Aftermath, Queue};
use super::request::{Bind, Consumer, Due, Keep, LaneId, ParkId, Replay, Source, To, Unsettled};
use super::session::{Attachment, Session};
use super::turn::Scene;
use crate::error::{Error, ErrorKind};
use crate::exchange::{Binding, ExchangeSpec, LogId, Tags, Target};
use crate::log::{Life, QueueSpec};
use crate::message::{Message, Name};
use crate::subscription::{Attached, ConsumerId, Credit, Delivery};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn refused(detail: impl Into<Arc<str>>) -> Error {
    Error::new(ErrorKind::Refused, detail)
}

impl Session {
    /// Stores operations, behind everything submitted so far.
    async fn store(&mut self, ops: Ops) -> Result<(), Error> {
        self.turn.unit().ops.append(&mut { ops });
        let durable = self.turn.is_durable();
        self.flush_ops();
        match durable {
            true => self.sync().await,
            false => Ok(()),
        }
    }

    /// Resolves when all that this session did so far is stored; confirms are in [`Session::events`] by then.
    pub async fn sync(&mut self) -> Result<(), Error> {
        self.flush();
        let core = self.core();
        core.committer.sync(super::committer::Unit::default()).await
    }

    /// What this session published before is in its queues before the next verb looks at them.
    async fn arrived(&mut self) -> Result<(), Error> {
        self.flush();
        match self.inbox.outstanding.load(Ordering::Acquire) {
            0 => Ok(()),
            _ => self.core().committer.sync(super::committer::Unit::default()).await,
        }
    }

    fn check_owner(&self, queue: &Queue) -> Result<(), Error> {
        match queue.owner {
            Some(owner) if owner != self.id => {
                let detail = format!(
                    "cannot obtain exclusive access to locked queue '{}' in vhost '{}'",
                    queue.name, self.vhost.name
                );
                Err(Error::new(ErrorKind::Locked, detail))
            }
            _ => Ok(()),
        }
    }

    fn own_queue_named(&self, name: &str) -> Result<Arc<Queue>, Error> {
        let queue = self.vhost.queue(name)?;
        self.check_owner(&queue)?;
        Ok(queue)
    }

    /// An empty name asks for a generated one. `Mismatch` when it exists otherwise, `Locked` when exclusive elsewhere.
    pub async fn declare_queue(&mut self, mut spec: QueueSpec) -> Result<Declared, Error> {
        self.flush();
        let core = self.core();
        if spec.name.is_empty() {
            spec.name = format!("amq.gen-{}", core.unique()).into();
        }
        let owner = (spec.life == Life::Exclusive).then_some(self.id);
        let mut ops = Ops::default();
        let queue = {
            let mut topology = self.vhost.topology.write();
            if let Some(known) = topology.queue(&spec.name).cloned() {
                drop(topology);
                self.check_owner(&known)?;
                if let Some(what) = known.spec.differs(&spec) {
                    let (name, vhost) = (&spec.name, &self.vhost.name);
                    let (wanted, is) = (spec.show(what), known.spec.show(what));
                    let detail = format!(
                        "inequivalent arg '{what}' for queue '{name}' in vhost '{vhost}': \
                         received {wanted} but current is {is}"
                    );
                    return Err(Error::new(ErrorKind::Mismatch, detail));
                }
                return Ok(Declared { status: status(&known), created: false });
            }
            core.room()?;
            let queue =
                Queue::new((LogId(core.next_id()), &self.vhost.name), spec, owner, core.now());
            if queue.is_durable() {
                ops.queue(&self.vhost.name, queue.id, &queue.spec);
            }
            topology.add_queue(queue.clone(), &self.vhost.generations);
            // Submitted under the lock: nobody can route to the queue before its declaration is on its way.
            core.committer.submit(super::committer::Unit::of(std::mem::take(&mut ops)));
            queue
        };
        core.watch_unused(&self.vhost, &queue);
        if owner.is_some() {
            self.exclusive.push(queue.clone());
        }
        if queue.is_durable() {
            self.sync().await?;
        }
        Ok(Declared { status: status(&queue), created: true })
    }

    /// Passive declare: `NotFound`, `Locked`.
    pub fn queue_status(&self, name: &str) -> Result<QueueStatus, Error> {
        self.own_queue_named(name).map(|queue| status(&queue))
    }

    /// What the queue was declared with.
    pub fn queue_spec(&self, name: &str) -> Result<QueueSpec, Error> {
        self.own_queue_named(name).map(|queue| queue.spec.clone())
    }

    /// Returns how many ready messages went with it. `NotFound`, `InUse`, `Locked`.
    pub async fn delete_queue(
        &mut self,
        name: &str,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<u64, Error> {
        self.arrived().await?;
        let queue = self.own_queue_named(name)?;
        let now = status(&queue);
        let in_use = |what| {
            let detail = format!("queue '{name}' in vhost '{}' {what}", self.vhost.name);
            Err(Error::new(ErrorKind::InUse, detail))
        };
        if if_unused && now.consumers > 0 {
            return in_use("in use");
        }
        if if_empty && now.messages > 0 {
            return in_use("not empty");
        }
        let core = self.core();
        let (ops, count) = core.remove_queue(&self.vhost, &queue);
        self.exclusive.retain(|q| q.id != queue.id);
        self.store(ops).await?;
        Ok(count)
    }

    /// Drops all ready messages.
    pub async fn purge(&mut self, name: &str) -> Result<u64, Error> {
        self.arrived().await?;
        let queue = self.own_queue_named(name)?;
        self.touch();
        let count = queue.step(&mut self.turn.after, |state, effects| state.sub.purge(effects));
        self.settle_down();
        self.store(Ops::default()).await?;
        Ok(count)
    }

    /// `Mismatch` when it exists otherwise.
    pub async fn declare_exchange(&mut self, spec: ExchangeSpec) -> Result<(), Error> {
        self.flush();
        let core = self.core();
        {
            let mut topology = self.vhost.topology.write();
            if let Some(known) = topology.exchange(&spec.name) {
                return match known.differs(&spec) {
                    Some(what) => Err(mismatch((&spec.name, what), &self.vhost.name)),
                    None => Ok(()),
                };
            }
            core.room()?;
            let mut ops = Ops::default();
            if spec.durable {
                ops.exchange(&self.vhost.name, &spec);
            }
            topology.add_exchange(spec, &self.vhost.generations);
            core.committer.submit(super::committer::Unit::of(ops));
        }
        self.sync().await
    }

    /// Passive declare.
    pub fn exchange(&self, name: &str) -> Result<ExchangeSpec, Error> {
        self.vhost.exchange(name)
    }

    /// `NotFound`, `InUse` (something is bound to it), `Refused` (predeclared).
    pub async fn delete_exchange(&mut self, name: &str, if_unused: bool) -> Result<(), Error> {
        self.flush();
        self.vhost.exchange(name)?;
        let mut ops = Ops::default();
        {
            let mut topology = self.vhost.topology.write();
            if topology.is_predeclared(name) {
                return Err(refused(format!("exchange '{name}' cannot be deleted")));
            }
            if if_unused && topology.has_bindings(name) {
                let detail = format!("exchange '{name}' in vhost '{}' in use", self.vhost.name);
                return Err(Error::new(ErrorKind::InUse, detail));
            }
            topology.remove_exchange(name, &self.vhost.generations);
            ops.exchange_gone(&self.vhost.name, name);
        }
        self.store(ops).await
    }

    fn target(&mut self, to: &To) -> Result<Target, Error> {
        Ok(match to {
            To::Queue(name) => Target::Log(self.own_queue_named(name)?.id),
            To::Exchange(name) => {
                self.vhost.exchange(name)?;
                Target::Exchange(name.clone())
            }
            To::Own => {
                let named = self.named.clone();
                let named = named.ok_or_else(|| refused("the session has no name"))?;
                Target::Session(named.id)
            }
        })
    }

    fn binding(&mut self, bind: Bind) -> Result<Binding, Error> {
        self.vhost.exchange(&bind.source)?;
        let target = self.target(&bind.to)?;
        let Bind { source, key, arguments, tag, skip_own, .. } = bind;
        let limits = &self.broker.inner().settings;
        if key.bytes().len() > limits.topic_bytes_max
            || key.separators() > limits.topic_separators_max
        {
            return Err(Error::new(ErrorKind::TooLarge, "the pattern is too long"));
        }
        Ok(Binding { source, key, arguments, target, tag, skip_own })
    }

    /// True when the binding was not there (an equal one gets the new tag).
    pub async fn bind(&mut self, bind: Bind) -> Result<bool, Error> {
        self.flush();
        self.core().room()?;
        let (replay, to) = (bind.replay, bind.to.clone());
        let binding = self.binding(bind)?;
        if to == To::Own {
            self.make_own_queue()?;
        }
        let core = self.core();
        // Taken with the topology's lock held, so that a value published meanwhile is seen once: as retained or live.
        let (is_new, values) = {
            let mut topology = self.vhost.topology.write();
            let mut ops = Ops::default();
            if topology.is_durable(&binding) {
                ops.binding(&self.vhost.name, &binding, true);
            }
            let is_new = topology
                .bind(binding.clone(), &self.vhost.generations)
                .ok_or_else(|| Error::new(ErrorKind::NotFound, "no such exchange"))?;
            core.committer.submit(super::committer::Unit::of(ops));
            let wanted = match replay {
                Replay::Always => true,
                Replay::IfNew => is_new,
                Replay::Never => false,
            };
            let values = match wanted && binding.source == self.vhost.topic_exchange {
                true => self.vhost.retained.lock().matching(&binding.key, core.now()),
                false => Vec::new(),
            };
            (is_new, values)
        };
        self.replay(&binding, values);
        self.sync().await?;
        Ok(is_new)
    }

    /// Retained values go where the new binding leads.
    fn replay(&mut self, binding: &Binding, values: Vec<Message>) {
        if values.is_empty() {
            return;
        }
        let core = self.core();
        self.touch();
        let vhost = self.vhost.clone();
        let scene = Scene { core: &core, vhost: &vhost, now: core.now() };
        let queue = match binding.target {
            Target::Log(id) => vhost.queue_by_id(id),
            _ => None,
        };
        for value in values {
            let tags = Tags::of_retained(binding.tag);
            match (&binding.target, &queue, &self.named) {
                (Target::Session(_), _, Some(named)) => {
                    self.turn.replay(scene, named, &value, tags);
                }
                (_, Some(queue), _) => self.turn.replay_into(scene, queue, &value, tags),
                _ => {}
            }
        }
        self.turn.run(scene);
        self.finish(scene, None);
    }

    /// The named session's own queue comes with its first binding or consumer.
    fn make_own_queue(&mut self) -> Result<Arc<Queue>, Error> {
        let named = self.named.clone().ok_or_else(|| refused("the session has no name"))?;
        if let Some(queue) = named.queue() {
            return Ok(queue);
        }
        let spec = named.with(|state| state.queue_spec.clone());
        let spec = spec.ok_or_else(|| refused("the session has no queue"))?;
        let core = self.core();
        let mut topology = self.vhost.topology.write();
        if let Some(known) = topology.queue(&spec.name).cloned() {
            named.with(|state| state.queue = Some(known.clone()));
            return Ok(known);
        }
        let queue = Queue::new((LogId(core.next_id()), &self.vhost.name), spec, None, core.now());
        topology.add_queue(queue.clone(), &self.vhost.generations);
        named.with(|state| state.queue = Some(queue.clone()));
        let mut ops = Ops::default();
        if queue.is_durable() {
            ops.queue(&self.vhost.name, queue.id, &queue.spec);
            let keep = named.with(|state| state.keep);
            ops.session(&self.vhost.name, (named.id, &named.name), keep, Some(queue.id));
        }
        core.committer.submit(super::committer::Unit::of(ops));
        Ok(queue)
    }

    /// True when it was there. Source, key, arguments and target count.
    pub async fn unbind(&mut self, bind: Bind) -> Result<bool, Error> {
        self.flush();
        let binding = self.binding(bind)?;
        let core = self.core();
        let mut ops = Ops::default();
        let found = {
            let mut topology = self.vhost.topology.write();
            if topology.is_durable(&binding) {
                ops.binding(&self.vhost.name, &binding, false);
            }
            let found = topology.unbind(&binding, &self.vhost.generations);
            core.auto_delete_exchange(&self.vhost, &mut topology, &binding.source, &mut ops);
            found
        };
        self.store(ops).await?;
        Ok(found)
    }

    /// Starts consuming. `NotFound`, `Locked` (exclusive queue), `InUse` (exclusive consumer).
    pub async fn attach(&mut self, lane: LaneId, consumer: Consumer) -> Result<ConsumerId, Error> {
        self.arrived().await?;
        let queue = match &consumer.source {
            Source::Queue(name) => self.own_queue_named(name)?,
            Source::Own => self.make_own_queue()?,
        };
        let id = self.new_consumer();
        let pools: smallvec::SmallVec<[_; 2]> =
            consumer.pools.iter().filter_map(|p| self.pools.get(p.0 as usize).cloned()).collect();
        let (now, inbox) = (self.core().now(), self.inbox.clone());
        let attached = queue.step(&mut self.turn.after, |state, effects| {
            if state.deleted {
                return Err(Error::new(ErrorKind::NotFound, "the queue is being deleted"));
            }
            let alone = state.sub.consumers.active_count() == 0;
            if state.sub.consumers.has_exclusive() || consumer.exclusive && !alone {
                let detail = format!("queue '{}' is in exclusive use", queue.name);
                return Err(Error::new(ErrorKind::InUse, detail));
            }
            let is_first = queue.spec.auto_delete && queue.is_durable() && !state.had_consumer;
            let handle = state.sub.consumers.handle();
            let mut attached = Attached::new(handle, id, consumer.credit);
            attached.exclusive = consumer.exclusive;
            attached.priority = consumer.priority;
            attached.pools = pools;
            attached.window = Some(inbox.window.clone());
            attached.skip_own = consumer.skip_own.then(|| inbox.origin.clone());
            state.attach(attached, inbox);
            state.sub.dispatch(now, effects);
            Ok((handle, is_first))
        });
        let (handle, is_first) = attached?;
        if is_first {
            self.turn.unit().ops.used(queue.id);
        }
        let (settles, owned) = (consumer.settles, queue.clone());
        self.consumers.insert(id, Attachment { queue, handle, lane, settles, is_getter: false });
        self.flush_ops();
        if is_first {
            self.sync().await?;
        }
        if let Source::Own = consumer.source {
            self.core().loaded(&owned).await; // They come before those of other queues.
        }
        Ok(id)
    }

    /// Stops consuming. An auto-delete queue goes with its last consumer.
    pub async fn detach(&mut self, consumer: ConsumerId, unsettled: Unsettled) {
        self.flush();
        let ops = match unsettled {
            Unsettled::Return => self.release(consumer),
            Unsettled::Stay => self.stop(consumer),
        };
        // The consumer is gone whether or not the deletion of its queue could be stored.
        let _ = self.store(ops).await;
    }

    /// Deliveries end; what is unsettled stays with the consumer. What its connection has not taken goes back.
    fn stop(&mut self, consumer: ConsumerId) -> Ops {
        let Some(attachment) = self.consumers.get(&consumer) else { return Ops::default() };
        let (queue, handle) = (attachment.queue.clone(), attachment.handle);
        self.touch();
        let unseen = self.inbox.take_back(consumer, &mut self.turn.after.queues);
        let core = self.core();
        queue.step(&mut self.turn.after, |state, effects| {
            state.sub.consumers.stop(handle);
            let released = crate::subscription::Outcome::Released;
            state.sub.settle(handle, &unseen, &released, effects);
            state.unused_since = core.now();
            state.sub.dispatch(core.now(), effects);
        });
        self.settle_down();
        core.after_detach(&self.vhost, &queue)
    }

    /// The consumer goes, and what it has goes back.
    pub(super) fn release(&mut self, consumer: ConsumerId) -> Ops {
        let Some(Attachment { queue, handle, .. }) = self.forget(consumer) else {
            return Ops::default();
        };
        self.touch();
        let core = self.core();
        queue.step(&mut self.turn.after, |state, effects| {
            state.detach(handle, core.now(), effects);
            state.sub.dispatch(core.now(), effects);
        });
        self.settle_down();
        core.after_detach(&self.vhost, &queue)
    }

    /// Ends a lane: its consumers leave, what they had unsettled goes back, an open transaction is rolled back.
    pub fn drop_lane(&mut self, lane: LaneId) {
        self.flush();
        let mut ops = Ops::default();
        for consumer in self.consumers_of(Some(lane)) {
            ops.append(&mut self.release(consumer));
        }
        self.turn.unit().ops.append(&mut ops);
        self.lanes.retain(|(id, _)| *id != lane);
        self.flush_ops();
    }

    /// One message now, or none; with it the number of messages still ready. With `settles` it has to be settled
    /// like a delivery of [`Delivery::consumer`].
    pub async fn get(
        &mut self,
        lane: LaneId,
        queue: &str,
        settles: bool,
    ) -> Result<Option<(Delivery, u64)>, Error> {
        self.arrived().await?;
        let queue = self.own_queue_named(queue)?;
        let known = self.getter(lane, queue.id, settles);
        let consumer = known.unwrap_or_else(|| {
            let id = self.new_consumer();
            let handle = queue.look(|state| {
                let handle = state.sub.consumers.handle();
                let nothing = Credit { messages: 0, bytes: 0 };
                let mut attached = Attached::new(handle, id, nothing);
                attached.is_getter = true;
                state.sub.consumers.attach(attached);
                handle
            });
            let queue = queue.clone();
            self.consumers.insert(id, Attachment { queue, handle, lane, settles, is_getter: true });
            id
        });
        for _ in 0..2 {
            if let Some(found) = self.get_once(&queue, consumer, settles) {
                self.flush_ops();
                return Ok(Some(found));
            }
            // The head may have to be fetched first.
            let waits = queue.look(|state| state.sub.is_loading());
            self.flush_ops();
            if !waits {
                break;
            }
            self.core().loaded(&queue).await;
        }
        Ok(None)
    }

    fn get_once(
        &mut self,
        queue: &Arc<Queue>,
        consumer: ConsumerId,
        settles: bool,
    ) -> Option<(Delivery, u64)> {
        self.touch();
        let handle = self.consumers.get(&consumer)?.handle;
        let now = self.core().now();
        let found = queue.step(&mut self.turn.after, |state, effects| {
            if !state.sub.get(handle, now, effects) {
                return None;
            }
            let at = effects.deliveries.iter().position(|(h, _)| *h == handle)?;
            let (_, delivery) = effects.deliveries.remove(at);
            if !settles {
                let accepted = crate::subscription::Outcome::Accepted;
                state.sub.settle(handle, &[delivery.offset], &accepted, effects);
            }
            state.unused_since = now;
            Some((delivery, state.sub.ready().0))
        });
        self.settle_down();
        found
    }

    /// A publish that is routed when due.
    pub async fn park(&mut self, due: Due, message: Message) -> Result<ParkId, Error> {
        self.flush();
        let core = self.core();
        core.room()?;
        let session = self.named.clone();
        let id = ParkId(core.next_id());
        let mut ops = Ops::default();
        let stays = session.as_ref().is_some_and(|s| s.is_durable());
        let durable = match due {
            Due::At(_) => message.meta().durable,
            Due::Gone { .. } => stays || message.meta().durable,
        };
        if durable {
            let owner = session.as_ref().map(|s| s.id);
            ops.park(id, &self.vhost.name, (due, owner), &message);
        }
        core.park(id, &self.vhost, (due, self.id), (message, durable));
        self.store(ops).await?;
        Ok(id)
    }

    /// False when it is gone already.
    pub async fn unpark(&mut self, id: ParkId) -> Result<bool, Error> {
        self.flush();
        let Some(parked) = self.core().parked.lock().take(id) else { return Ok(false) };
        let mut ops = Ops::default();
        if parked.durable {
            ops.unpark(id);
        }
        self.store(ops).await?;
        Ok(true)
    }

    /// How long the session lives on.
    pub async fn set_keep(&mut self, keep: Keep) -> Result<(), Error> {
        self.flush();
        let Some(named) = self.named.clone() else { return Ok(()) };
        let queue = named.with(|state| {
            state.keep = keep;
            state.queue.clone()
        });
        let mut ops = Ops::default();
        let queue = queue.filter(|q| q.is_durable()).map(|q| q.id);
        ops.session(&self.vhost.name, (named.id, &named.name), keep, queue);
        self.store(ops).await
    }

    /// Leaves in order: held publishes are routed, what was stored is waited for. Wills stay parked: unpark first.
    pub async fn close(mut self) -> Result<(), Error> {
        self.flush_all();
        let result = self.core().committer.sync(super::committer::Unit::default()).await;
        self.leave();
        result
    }
}

fn status(queue: &Queue) -> QueueStatus {
    queue.look(|state| QueueStatus {
        name: queue.name.clone(),
        messages: state.sub.waiting(),
        consumers: u32::try_from(state.sub.consumers.active_count()).unwrap_or(u32::MAX),
    })
}

fn mismatch((name, what): (&Name, &str), vhost: &Name) -> Error {
    let detail = format!("inequivalent arg '{what}' for exchange '{name}' in vhost '{vhost}'");
    Error::new(ErrorKind::Mismatch, detail)
}

/// What a session that is opened again finds of itself.
pub(super) fn resume(named: &Named, after: &mut Aftermath, now: crate::message::Timestamp) {
    let Some(queue) = named.queue() else { return };
    queue.step(after, |state, effects| {
        let handles: Vec<_> = state.seats().map(|(handle, _)| handle).collect();
        for handle in handles {
            state.detach(handle, now, effects);
        }
    });
}
