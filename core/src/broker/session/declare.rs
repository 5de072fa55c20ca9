//! Declaring and deleting queues and exchanges. Memory and journal change in one order: operations are submitted under
//! the lock of the topology, so that nobody finds what is not on its way to the store.

use super::state::Session;
use crate::broker::door::events::{Declared, ObjectCounts, QueueStatus};
use crate::broker::door::names::check_new;
use crate::broker::operations::ops::Ops;
use crate::broker::shared::identifiers::Identifiers;
use crate::broker::turn::removal;
use crate::broker::vhost::content_path::{QUEUES, is_route_queue};
use crate::broker::vhost::host::reserved_queue;
use crate::broker::vhost::limits::Limit;
use crate::broker::vhost::queue::Queue;
use crate::broker::vhost::topology::{exchange_cost, queue_cost};
use crate::error::{Error, ErrorKind};
use crate::exchange::{ExchangeSpec, LogId};
use crate::log::{Life, Offset, QueueSpec};
use crate::message::{Name, Share};
use crate::rights::Action;
use std::sync::Arc;

/// What a name is one of, in errors.
const QUEUE: &str = "queue";

pub(super) fn refused(detail: impl Into<Arc<str>>) -> Error {
    Error::new(ErrorKind::Refused, detail)
}

impl Session {
    pub(super) fn check_owner(&self, queue: &Queue) -> Result<(), Error> {
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

    /// The queues in front of content routes are for no client, by no verb.
    fn check_name(&self, name: &str) -> Result<(), Error> {
        match is_route_queue(name) && !self.status.internal {
            true => Err(reserved_queue(name)),
            false => Ok(()),
        }
    }

    /// The name of a queue or an exchange that is not there yet.
    fn check_new(&self, what: &str, name: &str) -> Result<(), Error> {
        if self.status.internal {
            return Ok(());
        }
        let settings = &self.broker.shared().settings.at_start;
        let of_sessions = if what == QUEUE { &settings.topics.session_queues[..] } else { &[] };
        check_new(what, name, of_sessions)
    }

    /// What leaves a client's queue does not go into one of those either.
    pub(super) fn check_spec(&self, spec: &QueueSpec) -> Result<(), Error> {
        self.check_name(&spec.name)?;
        match &spec.dead_letter {
            Some((exchange, Some(key))) if exchange.is_empty() => {
                self.check_name(std::str::from_utf8(key.bytes()).unwrap_or_default())
            }
            _ => Ok(()),
        }
    }

    /// `LimitReached` when one more would be too many, or takes more memory than there is. `there`: how many there are.
    pub(super) fn check_limit(&self, what: Limit, there: usize, bytes: usize) -> Result<(), Error> {
        if self.status.internal {
            return Ok(());
        }
        self.vhost.limits.check(what, (there, 1), bytes, (&self.vhost.name, &self.inbox.origin))
    }

    /// `LimitReached` when `bytes` more would take what is kept beyond that share. 0 bytes always fit.
    pub(super) fn check_memory(&self, share: Share, bytes: usize) -> Result<(), Error> {
        self.vhost.limits.check_memory(share, bytes, (&self.vhost.name, &self.inbox.origin))
    }

    /// How many objects the virtual host has.
    pub fn counts(&self) -> ObjectCounts {
        let topology = self.vhost.topology.read();
        ObjectCounts { queues: topology.queues_count(), exchanges: topology.exchanges_count() }
    }

    pub(super) fn own_queue_named(&self, name: &str) -> Result<Arc<Queue>, Error> {
        let named = self.check_name(name);
        named.map_err(|why| if self.status.is_operators { routes_queue(name) } else { why })?;
        let queue = self.vhost.queue(name)?;
        self.check_owner(&queue)?;
        Ok(queue)
    }

    /// A queue that is looked into: operators look into those of content routes, too.
    pub(super) fn looked_into(&self, name: &str) -> Result<Arc<Queue>, Error> {
        if !self.status.is_operators {
            return self.own_queue_named(name);
        }
        let queue = self.vhost.queue(name)?;
        self.check_owner(&queue)?;
        Ok(queue)
    }

    /// An empty name asks for a generated one. `Mismatch` when it exists otherwise, `Locked` when exclusive elsewhere.
    pub async fn declare_queue(&mut self, mut spec: QueueSpec) -> Result<Declared, Error> {
        self.flush_behind().await;
        let shared = self.shared();
        let is_made_up = spec.name.is_empty();
        if is_made_up {
            spec.name = format!("amq.gen-{}", Identifiers::unique_text()).into();
        }
        self.check_spec(&spec)?;
        self.check_declare(&spec, is_made_up)?;
        let (queue, created) = self.known_or_new(spec, is_made_up)?;
        if created {
            if queue.spec.drops_dead_unasked() {
                tracing::warn!(
                    vhost = %self.vhost.name, queue = %queue.name,
                    "a queue was declared with x-dead-letter-strategy at-least-once, and dead-letters at \
                     most once: the strategy takes x-overflow reject-publish and a dead-letter exchange"
                );
            }
            removal::watch_unused(&shared, &self.vhost, &queue);
            if queue.owner.is_some() {
                self.exclusive.add(queue.clone());
            }
        }
        if queue.is_durable() {
            // Another session's declaration of it may still be on its way to the store.
            self.sync().await?;
        }
        Ok(Declared { status: status(&queue), created })
    }

    fn known_or_new(
        &self,
        mut spec: QueueSpec,
        is_made_up: bool,
    ) -> Result<(Arc<Queue>, bool), Error> {
        let shared = self.shared();
        let mut topology = self.vhost.topology.write();
        if let Some(known) = topology.queue(&spec.name).cloned() {
            drop(topology);
            self.check_owner(&known)?;
            if known.spec.life != spec.life {
                let (name, vhost) = (&spec.name, &self.vhost.name);
                let (is, other) = match known.spec.life {
                    Life::Exclusive => ("exclusive", "not"),
                    Life::Permanent => ("not exclusive", "as exclusive"),
                };
                let detail = format!(
                    "queue '{name}' in vhost '{vhost}' is {is}, and cannot be declared {other}"
                );
                return Err(Error::new(ErrorKind::Locked, detail));
            }
            if let Some(what) = known.spec.differs(&spec) {
                let (name, vhost) = (&spec.name, &self.vhost.name);
                let contrast = known.spec.contrast(&spec, what);
                let detail = format!(
                    "inequivalent arg '{what}' for queue '{name}' in vhost '{vhost}': {contrast}"
                );
                return Err(Error::new(ErrorKind::Mismatch, detail));
            }
            known.look(|state| state.unused_since = shared.now());
            return Ok((known, false));
        }
        if !is_made_up {
            self.check_new(QUEUE, &spec.name)?;
        }
        shared.check_disk_space()?;
        self.check_limit(Limit::Queues, topology.queues_count(), queue_cost(&spec))?;
        // Values came in a buffer that has to go.
        spec.arguments.iter_mut().for_each(|(_, value)| value.detach());
        let owner = (spec.life == Life::Exclusive).then_some(self.id);
        let queue = Queue::new(
            (LogId(shared.identifiers.next()), &self.vhost.name),
            spec,
            owner,
            shared.now(),
        );
        queue.join(&self.vhost.limits);
        let mut ops = Ops::default();
        if queue.is_durable() {
            ops.queue(&self.vhost.name, queue.id, &queue.spec);
        }
        topology.add_queue(queue.clone(), &self.vhost.generations);
        // Submitted under the lock: nobody can route to the queue before its declaration is on its way.
        shared.committer.submit_ops(ops);
        Ok((queue, true))
    }

    /// How a queue is now: `NotFound`, `Locked`. It does not count as a use of the queue.
    pub fn queue_status(&self, name: &str) -> Result<QueueStatus, Error> {
        self.check_look(name)?;
        self.own_queue_named(name).map(|queue| status(&queue))
    }

    /// Passive declare: the same, and a use of the queue. `NotFound`, `Locked`.
    pub fn ask_for_queue(&self, name: &str) -> Result<QueueStatus, Error> {
        let status = self.queue_status(name)?;
        let now = self.shared().now();
        self.own_queue_named(name)?.look(|state| state.unused_since = now);
        Ok(status)
    }

    /// What the queue was declared with.
    pub fn queue_spec(&self, name: &str) -> Result<QueueSpec, Error> {
        self.check_look(name)?;
        self.own_queue_named(name).map(|queue| queue.spec.clone())
    }

    /// Returns how many ready messages went with it. `NotFound`, `InUse`, `Locked`; `Refused` for the queue of a named
    /// session: see [`Session::end_session`].
    pub async fn delete_queue(
        &mut self,
        name: &str,
        if_unused: bool,
        if_empty: bool,
    ) -> Result<u64, Error> {
        self.arrived_all().await?;
        self.check_queue(Action::Configure, name)?;
        let queue = self.own_queue_named(name)?;
        self.check_no_session(&queue.name, queue.session())?;
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
        let shared = self.shared();
        self.touch();
        let (ops, count) = removal::remove_queue(&shared, &self.vhost, &queue);
        self.exclusive.remove(&queue);
        self.store(ops).await?;
        if queue.is_durable() {
            self.sync().await?;
        }
        Ok(count)
    }

    /// Drops all ready messages.
    pub async fn purge(&mut self, name: &str) -> Result<u64, Error> {
        self.arrived_all().await?;
        self.check_queue(Action::Read, name)?;
        let queue = self.own_queue_named(name)?;
        let (mut from, mut count) = (Some(Offset(0)), 0);
        let upto = queue.look(|state| state.sub.log.next());
        while let Some(first) = from {
            self.touch();
            from = queue.change(&mut self.turn.after, |state, effects| {
                state.sub.purge_some((first, upto), &mut count, effects)
            });
            self.settle_down();
            if from.is_some() {
                // The lock is let go, and others have their turn.
                self.flush_ops();
                tokio::task::yield_now().await;
            }
        }
        self.store(Ops::default()).await?;
        Ok(count)
    }

    /// `Mismatch` when it exists otherwise.
    pub async fn declare_exchange(&mut self, spec: ExchangeSpec) -> Result<(), Error> {
        self.flush_behind().await;
        self.check_exchange(Action::Configure, &spec.name)?;
        if let Some(kind) = spec.bad_alternate() {
            let (name, vhost) = (&spec.name, &self.vhost.name);
            let detail = format!(
                "invalid type '{kind}' for arg 'alternate-exchange' in exchange '{name}' in vhost '{vhost}'"
            );
            return Err(Error::new(ErrorKind::Invalid, detail));
        }
        if let Some(alternate) = spec.alternate() {
            // What this exchange does not route goes there.
            self.check_exchange(Action::Read, &spec.name)?;
            self.check_exchange(Action::Write, alternate)?;
        }
        if self.vhost.exchange(&spec.name).is_err() {
            // A plugin is asked before anything is locked.
            spec.check()?;
        }
        self.make_exchange(spec)?;
        self.sync().await
    }

    fn make_exchange(&self, mut spec: ExchangeSpec) -> Result<(), Error> {
        let shared = self.shared();
        let mut topology = self.vhost.topology.write();
        if let Some(known) = topology.exchange(&spec.name) {
            return match known.differs(&spec) {
                Some(what) => Err(mismatch((&spec.name, what), &self.vhost.name)),
                None => Ok(()),
            };
        }
        self.check_new("exchange", &spec.name)?;
        shared.check_disk_space()?;
        self.check_limit(Limit::Exchanges, topology.exchanges_count(), exchange_cost(&spec))?;
        spec.arguments.iter_mut().for_each(|(_, value)| value.detach());
        let mut ops = Ops::default();
        if spec.durable {
            ops.exchange(&self.vhost.name, &spec);
        }
        topology.add_exchange(spec, &self.vhost.generations);
        shared.committer.submit_ops(ops);
        Ok(())
    }

    /// Passive declare.
    pub fn exchange(&self, name: &str) -> Result<ExchangeSpec, Error> {
        self.vhost.exchange(name)
    }

    /// `NotFound`, `InUse` (something is bound to it), `Refused` (predeclared).
    pub async fn delete_exchange(&mut self, name: &str, if_unused: bool) -> Result<(), Error> {
        self.flush_all().await;
        self.check_exchange(Action::Configure, name)?;
        self.vhost.exchange(name)?;
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
            let mut ops = Ops::default();
            ops.exchange_gone(&self.vhost.name, name);
            self.shared().committer.submit_ops(ops);
        }
        self.sync().await
    }

    /// Flushes everything, held back or not: a verb that takes something away comes behind what was published before.
    pub(super) async fn arrived_all(&mut self) -> Result<(), Error> {
        self.flush_all().await;
        self.arrived().await
    }
}

/// What an operator is told who would change the queue of a content route: what waits there has been taken from its
/// publisher on the promise that the route has its turn.
fn routes_queue(name: &str) -> Error {
    let route = name.strip_prefix(QUEUES).unwrap_or_default();
    refused(format!(
        "queue '{name}' is where content route '{route}' works, which only takes messages out of it itself: \
         nothing was changed. crossdock ctl peek {name} looks into it, crossdock ctl show route {route} says \
         why they wait; once the route is not configured any more, crossdock ctl route drain {route} moves \
         them on"
    ))
}

pub(super) fn status(queue: &Queue) -> QueueStatus {
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
