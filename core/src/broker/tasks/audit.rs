//! Looks whether every queue and exchange balances: at the start, and then again and again, slowly. One that does not
//! is a fault of the broker, and an operator wants to know of it before a user asks where a message is.

use crate::broker::count::{Imbalance, audit_exchanges, audit_queues};
use crate::broker::shared::Shared;
use crate::exchange::LogId;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Queues that are looked at before others have their turn.
const QUEUES: usize = 256;
/// Between two passes, at least.
const PAUSE: Duration = Duration::from_secs(5);
/// A pass that took some time is followed by a pause of this many times as much.
const PAUSE_TIMES: u32 = 1_000;
/// Between two lines of the log.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Looks until the broker closes.
pub async fn run(shared: Arc<Shared>) {
    let mut said: Option<Instant> = None;
    loop {
        let (mut found, mut took) = (Vec::new(), Duration::ZERO);
        for vhost in shared.all_vhosts().iter() {
            let mut next = Some(LogId(0));
            while let Some(last) = next {
                let begun = Instant::now();
                next = audit_queues(vhost, (last, QUEUES), &mut found);
                took += begun.elapsed();
                tokio::task::yield_now().await;
            }
            audit_exchanges(vhost, &mut found);
        }
        if !found.is_empty() && said.is_none_or(|said| said.elapsed() > SAY_EVERY) {
            said = Some(Instant::now());
            report(&found);
        }
        tokio::time::sleep(PAUSE.max(took * PAUSE_TIMES)).await;
    }
}

/// Says that these addresses do not balance.
pub fn report(found: &[Imbalance]) {
    let Some(first) = found.first() else { return };
    tracing::error!(
        addresses = found.len(),
        %first,
        "the counts of a queue or an exchange do not come out: messages that came to it are nowhere, or were \
         counted wrongly; please report this"
    );
}
