//! What the end of the last start would have done.

use crate::broker::door::request::SessionLife;
use crate::broker::shared::Shared;
use crate::broker::turn::context::Context;
use crate::broker::turn::removal::{after_detach, end_group, end_session, keep_claims};
use crate::broker::turn::run::Turn;
use crate::broker::vhost::queue::Aftermath;
use crate::exchange::LogId;
use std::sync::Arc;

/// Sessions that were to end with their connection have ended, groups without members with them; auto-delete queues
/// lose their last consumer, and queues hold their limits, whose drops are stored lazily.
pub fn catch_up(shared: &Arc<Shared>) {
    for vhost in shared.all_vhosts().iter() {
        for named in vhost.sessions().iter().filter(|named| named.is_durable()) {
            let groups: Vec<LogId> = named.with(|state| state.groups().collect());
            for queue in groups.into_iter().filter_map(|id| vhost.queue_by_id(id)) {
                queue.look(|state| state.members.join(named.id));
            }
            // Nobody consumes yet: nothing comes of it.
            keep_claims(vhost, named, &mut Aftermath::default());
        }
        for named in vhost.sessions().iter().filter(|named| !named.is_durable()) {
            let mut ops = end_session(shared, vhost, named);
            if shared.parked.lock().has_will_of(named.id) {
                // After another crash its will must still name its owner.
                let owner = named.with(|state| state.owner.clone());
                let session = (named.id, &*named.name, (&*owner.user, &*owner.client));
                ops.session(&vhost.name, session, SessionLife::No, None);
            }
            shared.committer.submit_ops(ops);
        }
        for queue in vhost.queues() {
            if queue.spec.is_group() && queue.look(|state| state.members.is_to_end()) {
                shared.committer.submit_ops(end_group(shared, vhost, &queue));
                continue;
            }
            // Most sessions' own queues are like that: nothing is to be done.
            if queue.look(|state| state.sub.log.is_empty() && !state.had_consumer) {
                continue;
            }
            shared.committer.submit_ops(after_detach(shared, vhost, &queue));
            let mut turn = Turn::default();
            let context = Context { shared, vhost, now: shared.now() };
            let open_turn = shared.open_turns.enter();
            queue
                .change(&mut turn.after, |state, effects| state.sub.dispatch(context.now, effects));
            turn.run(context);
            turn.finish(context, None);
            shared.open_turns.leave(open_turn);
        }
    }
}
