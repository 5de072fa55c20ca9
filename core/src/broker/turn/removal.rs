//! How queues and exchanges end: deleted, with their last consumer or binding, or unused for their time.

use super::run::{Scene, Turn};
use crate::broker::door::events::Notice;
use crate::broker::journal::committer::Unit;
use crate::broker::vhost::host::{Topology, Vhost};
use crate::broker::vhost::queue::{Queue, QueueState};
use crate::broker::{Inner, Ops};
use crate::error::{Error, ErrorKind};
use crate::exchange::LogId;
use crate::log::{Offset, Place, State};
use crate::subscription::Subscription;
use std::ops::ControlFlow;
use std::sync::Arc;

impl Inner {
    /// Takes a queue out of everything: its bindings, its consumers, its records. What has to be stored, and how many
    /// ready messages it had.
    pub(in crate::broker) fn remove_queue(
        self: &Arc<Self>,
        vhost: &Arc<Vhost>,
        queue: &Arc<Queue>,
    ) -> (Ops, u64) {
        let mut ops = Ops::default();
        {
            let mut topology = vhost.topology.write();
            let gone = topology.remove_queue(queue, &vhost.generations);
            for binding in gone {
                self.auto_delete_exchange(vhost, &mut topology, &binding.source, &mut ops);
            }
            // Under the lock: a queue that is declared anew, or an exchange, comes behind it in the journal.
            if queue.is_durable() {
                ops.queue_gone(queue.id);
            }
            self.committer.submit(Unit::of(std::mem::take(&mut ops)));
        }
        let mut waiting = Vec::new();
        let (count, seats) = queue.look(|state| {
            state.deleted = true;
            queue.set_gone(state.sub.log.next());
            let seats: Vec<_> = state.seats().map(|(h, inbox)| (h, inbox.clone())).collect();
            let seats: Vec<_> = seats
                .into_iter()
                .filter_map(|(h, inbox)| state.sub.consumers.get_mut(h).map(|c| (c.id, inbox)))
                .collect();
            let count = state.sub.ready().0;
            ops.freed = state.empty(&mut waiting);
            (count, seats)
        });
        for (consumer, inbox) in seats {
            inbox.take_back(consumer, &mut waiting);
            let why = format!("queue '{}' was deleted", queue.name);
            inbox.notice(Notice::Detached { consumer, why: Error::new(ErrorKind::NotFound, why) });
        }
        self.go_on(vhost, waiting);
        (ops, count)
    }

    /// Queues that waited for credit that came back go on.
    fn go_on(self: &Arc<Self>, vhost: &Arc<Vhost>, queues: Vec<LogId>) {
        if queues.is_empty() {
            return;
        }
        let scene = Scene { core: self, vhost, now: self.now() };
        let mut turn = Turn::default();
        turn.after.queues = queues;
        turn.run(scene);
        turn.finish(scene, None);
    }

    /// An auto-delete exchange goes with its last binding.
    pub(in crate::broker) fn auto_delete_exchange(
        &self,
        vhost: &Vhost,
        topology: &mut Topology,
        name: &str,
        ops: &mut Ops,
    ) {
        let goes = topology.exchange(name).is_some_and(|e| e.auto_delete);
        if goes && !topology.has_bindings(name) {
            topology.remove_exchange(name, &vhost.generations);
            ops.exchange_gone(&vhost.name, name);
        }
    }

    /// An auto-delete queue goes with its last consumer; an expiring one begins to wait.
    pub(in crate::broker) fn after_detach(
        self: &Arc<Self>,
        vhost: &Arc<Vhost>,
        queue: &Arc<Queue>,
    ) -> Ops {
        let unused = queue.look(|state| {
            !state.deleted && state.had_consumer && state.sub.consumers.active_count() == 0
        });
        if unused && queue.spec.auto_delete {
            return self.remove_queue(vhost, queue).0;
        }
        if unused {
            self.watch_unused(vhost, queue);
        }
        Ops::default()
    }
}

impl QueueState {
    /// Lets go of everything, credit included (`waiting`: who waited for that); the places that were taken.
    fn empty(&mut self, waiting: &mut Vec<LogId>) -> Vec<Place> {
        let mut places = Vec::new();
        self.sub.log.visit(Offset(0), |_, record| {
            places.extend(record.place.filter(|_| record.state != State::Uncommitted));
            ControlFlow::Continue(())
        });
        self.sub.consumers.give_all_back(waiting);
        let rules = self.sub.rules.clone();
        self.sub = Subscription::new(self.sub.id, rules);
        self.clear_seats();
        places
    }
}
