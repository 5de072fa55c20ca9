//! Binding and unbinding, and a named session's own queue, which is made with its first binding.

use super::consume::taken_over;
use super::declare::refused;
use super::state::Session;
use crate::broker::door::request::{Bind, BindTarget, Replay};
use crate::broker::operations::ops::Ops;
use crate::broker::turn::context::Context;
use crate::broker::turn::removal;
use crate::broker::vhost::queue::Queue;
use crate::broker::vhost::topology::Topology;
use crate::error::{Error, ErrorKind};
use crate::exchange::{Binding, LogId, Tags, Target};
use crate::message::Message;
use std::sync::Arc;

impl Session {
    fn target(&mut self, to: &BindTarget) -> Result<Target, Error> {
        Ok(match to {
            BindTarget::Queue(name) => Target::Log(self.own_queue_named(name)?.id),
            BindTarget::Exchange(name) => {
                self.vhost.exchange(name)?;
                Target::Exchange(name.clone())
            }
            BindTarget::Own => {
                let named = self.named.clone();
                let named = named.ok_or_else(|| refused("the session has no name"))?;
                if !named.is_of(&self.inbox) {
                    return Err(taken_over());
                }
                Target::Session(named.id)
            }
        })
    }

    fn binding(&mut self, bind: Bind) -> Result<Binding, Error> {
        self.vhost.exchange(&bind.source)?;
        let target = self.target(&bind.to)?;
        let Bind { source, key, arguments, tag, skip_own, .. } = bind;
        let limits = &self.broker.shared().settings;
        if key.bytes().len() > limits.topics.bytes_max
            || key.separators() > limits.topics.separators_max
        {
            return Err(Error::new(ErrorKind::TooLarge, "the pattern is too long"));
        }
        Ok(Binding { source, key, arguments, target, tag, skip_own })
    }

    /// True when the binding was not there (an equal one gets the new tag).
    pub async fn bind(&mut self, bind: Bind) -> Result<bool, Error> {
        self.flush_behind();
        let (replay, to) = (bind.replay, bind.to.clone());
        let binding = self.binding(bind)?;
        let shared = self.shared();
        // A binding that exists already takes no disk space.
        if !self.vhost.topology.read().is_bound(&binding) {
            shared.check_disk_space()?;
        }
        if to == BindTarget::Own {
            self.make_own_queue()?;
        }
        self.touch();
        let vhost = self.vhost.clone();
        let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
        // Retained values are taken, and put where they go, with the topology's lock held: what is published meanwhile
        // is seen once, as retained or live, and never before an older value.
        let is_new = {
            let mut topology = vhost.topology.write();
            let mut ops = Ops::default();
            if topology.is_durable(&binding) {
                ops.binding(&vhost.name, &binding, true);
            }
            let is_new = topology
                .bind(binding.clone(), &vhost.generations)
                .ok_or_else(|| Error::new(ErrorKind::NotFound, "what is to be bound is gone"))?;
            shared.committer.submit_ops(ops);
            let wanted = match replay {
                Replay::Always => true,
                Replay::IfNew => is_new,
                Replay::Never => false,
            };
            if wanted && binding.source == vhost.topic_exchange {
                let values = vhost.retained.lock().matching(&binding.key, context.now);
                self.replay(context, &topology, &binding, values);
            }
            is_new
        };
        self.turn.run(context);
        self.finish(context, None);
        self.sync().await?;
        Ok(is_new)
    }

    /// Retained values go where the new binding leads.
    fn replay(
        &mut self,
        context: Context<'_>,
        topology: &Topology,
        binding: &Binding,
        values: Vec<Message>,
    ) {
        for value in values {
            let tags = Tags::of_retained(binding.tag);
            match (&binding.target, &self.named) {
                (Target::Session(_), Some(named)) => {
                    self.turn.replay(context, named, &value, tags);
                }
                (Target::Log(id), _) => {
                    if let Some(queue) = topology.queue_by_id(*id) {
                        self.turn.replay_into(context, queue, &value, tags);
                    }
                }
                _ => {}
            }
        }
        self.turn.place(context);
    }

    /// The named session's own queue comes with its first binding or consumer.
    pub(super) fn make_own_queue(&mut self) -> Result<Arc<Queue>, Error> {
        let named = self.named.clone().ok_or_else(|| refused("the session has no name"))?;
        if !named.is_of(&self.inbox) {
            return Err(taken_over());
        }
        if let Some(queue) = named.queue() {
            return Ok(queue);
        }
        let spec = named.with(|state| state.queue_spec.clone());
        let spec = spec.ok_or_else(|| refused("the session has no queue"))?;
        self.check_spec(&spec)?;
        let shared = self.shared();
        let mut topology = self.vhost.topology.write();
        let mut ops = Ops::default();
        let queue = match topology.queue(&spec.name).cloned() {
            Some(known) => {
                self.check_owner(&known)?;
                known
            }
            None => {
                let id = LogId(shared.identifiers.next());
                let queue = Queue::new((id, &self.vhost.name), spec, None, shared.now());
                queue.charge_to(&self.vhost.limits.budget);
                topology.add_queue(queue.clone(), &self.vhost.generations);
                if queue.is_durable() {
                    ops.queue(&self.vhost.name, queue.id, &queue.spec);
                }
                queue
            }
        };
        // The end of a session takes its queue away before the session is out of the topology.
        let begins = named.with(|state| {
            let before = state.queue.as_ref().and_then(|queue| queue.gone_at());
            let next = before.or(state.gone.map(|(_, next)| next));
            if state.ended {
                return None;
            }
            state.queue = Some(queue.clone());
            Some(next)
        });
        let Some(next) = begins else {
            shared.committer.submit_ops(ops);
            drop(topology);
            let (ops, _) = removal::remove_queue(&shared, &self.vhost, &queue);
            shared.committer.submit_ops(ops);
            return Err(taken_over());
        };
        queue.look(|state| {
            state.sub.rules.keeps_seen = true;
            if let Some(next) = next {
                // The client may still know numbers of its deleted queue.
                state.sub.log.skip_to(next);
                ops.next(queue.id, next);
            }
        });
        shared.committer.submit_ops(ops);
        if named.is_durable() {
            named.store(&self.vhost.name, |ops| shared.committer.submit_ops(ops));
        }
        Ok(queue)
    }

    /// True when it was there. Source, key, arguments and target count.
    pub async fn unbind(&mut self, bind: Bind) -> Result<bool, Error> {
        self.flush_all();
        let binding = self.binding(bind)?;
        let shared = self.shared();
        let found = {
            let mut topology = self.vhost.topology.write();
            let mut ops = Ops::default();
            if topology.is_durable(&binding) {
                ops.binding(&self.vhost.name, &binding, false);
            }
            let found = topology.unbind(&binding, &self.vhost.generations);
            removal::auto_delete_exchange(&self.vhost, &mut topology, &binding.source, &mut ops);
            shared.committer.submit_ops(ops);
            found
        };
        self.sync().await?;
        Ok(found)
    }
}
