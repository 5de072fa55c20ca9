//! Dead letters that were more work than one turn may do: as many at a time as a turn may, others in between.

use crate::broker::shared::Shared;
use crate::broker::turn::context::Context;
use crate::broker::turn::run::Turn;
use crate::broker::vhost::host::Vhost;
use std::sync::Arc;

/// Goes on with what waits in a virtual host, until the broker closes.
pub async fn run(shared: Arc<Shared>, vhost: Arc<Vhost>) {
    loop {
        vhost.departing.woken().await;
        while !vhost.departing.is_empty() {
            let context = Context { shared: &shared, vhost: &vhost, now: shared.now() };
            let mut turn = Turn::default();
            let mut count = 0;
            while !turn.is_full()
                && let Some((queue, left)) = vhost.departing.pop()
            {
                turn.leave(context, &queue, left);
                count += 1;
            }
            turn.run(context);
            turn.finish(context, None);
            if let Some(open_turn) = vhost.departing.submitted(count) {
                shared.open_turns.leave(open_turn);
            }
            tokio::task::yield_now().await;
        }
    }
}
