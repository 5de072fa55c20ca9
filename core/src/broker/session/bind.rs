//! Binding and unbinding, and a named session's own queue, which is made with its first binding.

use super::consume::taken_over;
use super::declare::refused;
use super::state::Session;
use crate::broker::door::request::{Bind, BindTarget, Replay};
use crate::broker::operations::ops::Ops;
use crate::broker::shared::Shared;
use crate::broker::turn::context::Context;
use crate::broker::turn::removal;
use crate::broker::vhost::drops::DropReason;
use crate::broker::vhost::limits::Limit;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::queue::Queue;
use crate::broker::vhost::topology::{binding_cost, queue_cost};
use crate::error::{Error, ErrorKind};
use crate::exchange::{Binding, LogId, Target};
use crate::log::Offset;
use crate::message::{Message, Share};
use crate::rights::{Action, Object};
use std::sync::Arc;

/// Kept messages that a new binding is given with locks held.
const REPEAT_SLICE: usize = 256;

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
        self.broker.shared().settings.check_topic(key.bytes().len(), key.separators())?;
        let mut binding = Binding { source, key, arguments, target, tag, skip_own };
        // It came in a buffer that has to go.
        binding.detach();
        Ok(binding)
    }

    /// A binding that exists already takes nothing. Nothing is added before this is asked; that another connection
    /// binds between this and the binding itself makes one more than the limit for each connection at most.
    fn may_bind(&self, shared: &Shared, binding: &Binding) -> Result<(), Error> {
        let asked = {
            let topology = self.vhost.topology.read();
            if topology.is_bound(binding) {
                return Ok(());
            }
            topology.asked(&binding.source)
        };
        if let Some(asked) = asked {
            asked.check(binding)?;
        }
        let topology = self.vhost.topology.read();
        topology.check(binding)?;
        shared.check_disk_space()?;
        self.check_limit(Limit::Bindings, topology.bindings_count(), binding_cost(binding))
    }

    /// True when the binding was not there (an equal one gets the new tag).
    pub async fn bind(&mut self, bind: Bind) -> Result<bool, Error> {
        self.flush_behind().await;
        let (replay, to) = (bind.replay, bind.to.clone());
        let is_part = self.check_bind((&bind.source, &bind.key), &to)?;
        let binding = self.binding(bind)?;
        let shared = self.shared();
        self.may_bind(&shared, &binding)?;
        if to == BindTarget::Own {
            self.make_own_queue()?;
        }
        self.touch();
        let vhost = self.vhost.clone();
        let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
        let (is_new, newest, recent) = {
            let mut topology = vhost.topology.write();
            let mut ops = Ops::default();
            if topology.is_durable(&binding) {
                ops.binding(&vhost.name, &binding, true);
            }
            let is_new = topology
                .bind(binding.clone(), &vhost.generations)
                .ok_or_else(|| Error::new(ErrorKind::NotFound, "what is to be bound is gone"))?;
            shared.committer.submit_ops(ops);
            if is_part {
                self.rights.looks = true;
                // With the bindings locked: nobody judges it without this one from now on.
                self.named.iter().for_each(|named| named.judge_again());
            }
            // What is set from now on reaches the binding live.
            let recent = topology.history_of(&binding.source).filter(|_| is_new).map(|it| it.all());
            (is_new, vhost.retained.lock().newest(), recent)
        };
        self.turn.run(context);
        self.finish(context, None);
        if let Some(recent) = recent {
            self.repeat(&binding, recent).await;
        }
        let wanted = match replay {
            Replay::Always => true,
            Replay::IfNew => is_new,
            Replay::Never => false,
        };
        let is_reached = !matches!(binding.target, Target::Exchange(_));
        if wanted && is_reached && binding.source == vhost.topic_exchange {
            self.replay(&binding, newest, is_part).await?;
        }
        self.sync().await?;
        Ok(is_new)
    }

    /// What its exchange kept from before a binding goes where that leads; some of it at a time, so that others have
    /// their turn.
    #[cold]
    async fn repeat(&mut self, binding: &Binding, recent: Vec<Message>) {
        let (shared, vhost) = (self.shared(), self.vhost.clone());
        for some in recent.chunks(REPEAT_SLICE) {
            self.touch();
            let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
            for message in some {
                let route = match &binding.target {
                    Target::Exchange(name) => {
                        let fields = || message.fields(&shared.formats);
                        let onward = (&message.address().at(name), &*message.meta().origin);
                        vhost.route(onward, &fields, |_| ()).map(|(route, _)| route)
                    }
                    _ => Ok(vhost.topology.read().target(message.address(), binding)),
                };
                match route {
                    Ok(route) => self.turn.repeat(context, message, &route),
                    Err(why) => vhost.note_drop(DropReason::Refused, message.address(), &why),
                }
            }
            self.finish(context, None);
            tokio::task::yield_now().await;
        }
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
        let (queue, is_known) = match topology.queue(&spec.name).cloned() {
            Some(known) => {
                self.check_owner(&known)?;
                // Somebody else declared it: the session's name gives no right to it.
                self.rights.subject.check(Action::Read, &Object::Queue(&known.name))?;
                (known, true)
            }
            None => {
                // Their number is the number of sessions.
                let lasts = named.with(|state| state.life.lasts());
                let bytes = if lasts { queue_cost(&spec) } else { 0 };
                self.check_memory(Share::Objects, bytes)?;
                let id = LogId(shared.identifiers.next());
                let queue = Queue::new((id, &self.vhost.name), spec, None, shared.now());
                queue.join(&self.vhost.limits);
                (queue, false)
            }
        };
        // A session that has ended meanwhile gets none, and takes none away: what has the name now may be the queue of
        // the session that came after it. One that ends from here on takes this queue away itself, behind this lock.
        let Some(next) = give_queue(&named, &queue) else { return Err(taken_over()) };
        if !is_known {
            topology.add_queue(queue.clone(), &self.vhost.generations);
            if queue.is_durable() {
                ops.queue(&self.vhost.name, queue.id, &queue.spec);
            }
        }
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

    /// What leads to a queue, whichever exchanges that are.
    pub fn queue_bindings(&self, name: &str) -> Vec<Bind> {
        let Ok(queue) = self.vhost.queue(name) else { return Vec::new() };
        let topology = self.vhost.topology.read();
        let bindings = topology.bindings_to(&Target::Log(queue.id));
        let bind = |binding: &Arc<Binding>| Bind {
            arguments: binding.arguments.clone(),
            tag: binding.tag,
            skip_own: binding.skip_own,
            ..Bind::new(
                binding.source.clone(),
                binding.key.clone(),
                BindTarget::Queue(queue.name.clone()),
            )
        };
        bindings.iter().map(bind).collect()
    }

    /// True when it was there. Source, key, arguments and target count.
    pub async fn unbind(&mut self, bind: Bind) -> Result<bool, Error> {
        self.flush_all().await;
        self.check_unbind((&bind.source, &bind.key), &bind.to)?;
        let binding = self.binding(bind)?;
        let shared = self.shared();
        let found = {
            let mut topology = self.vhost.topology.write();
            let mut ops = Ops::default();
            if topology.is_durable(&binding) {
                ops.binding(&self.vhost.name, &binding, false);
            }
            let found = topology.unbind(&binding, &self.vhost.generations);
            if found {
                let source = &binding.source;
                removal::auto_delete_exchange(&self.vhost, &mut topology, source, &mut ops);
            }
            shared.committer.submit_ops(ops);
            found
        };
        self.sync().await?;
        Ok(found)
    }
}

/// The queue is the session's own from now on: the number that its next record has at least, since the client may still
/// know numbers of a queue that the session had before. None when the session has ended.
fn give_queue(named: &Named, queue: &Arc<Queue>) -> Option<Option<Offset>> {
    named.with(|state| {
        if state.ended {
            return None;
        }
        let before = state.queue.as_ref().and_then(|queue| queue.gone_at());
        let next = before.or(state.gone.map(|(_, next)| next));
        state.queue = Some(queue.clone());
        queue.belong_to(&named.name);
        Some(next)
    })
}

#[cfg(test)]
#[path = "bind_tests.rs"]
mod tests;
