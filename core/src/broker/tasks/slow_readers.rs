//! Deliveries of level 0 that were dropped because their receivers read more slowly than messages come: one warning a
//! minute says how many there were, and whose most of them were. They are counted where they are dropped.

use crate::broker::shared::Shared;
use crate::broker::vhost::connection::Connection;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Connections that are looked at before others have their turn.
const SLICE: usize = 1_000;

/// Looks until the broker closes.
pub async fn run(shared: Arc<Shared>) {
    let mut known = Known::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if known.warned.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            continue;
        }
        let mut look = Look::default();
        let mut last = 0;
        loop {
            let some = shared.users.connections.after(last, SLICE);
            let Some(end) = some.last() else { break };
            last = end.origin.connection;
            some.iter().for_each(|connection| look.add(connection, &known));
            tokio::task::yield_now().await;
        }
        look.total += shared.users.connections.gone_direct_dropped();
        known.warn(look);
    }
}

/// What was known at the last warning.
#[derive(Default)]
struct Known {
    warned: Option<Instant>,
    /// Deliveries that were dropped by then, of all connections, and of each open one that had some.
    total: u64,
    by_connection: HashMap<u64, u64>,
}

/// One look at all connections.
#[derive(Default)]
struct Look {
    total: u64,
    by_connection: HashMap<u64, u64>,
    /// The connection with the most since the last warning, and how many.
    most: Option<(Arc<Connection>, u64)>,
}

impl Look {
    fn add(&mut self, connection: &Arc<Connection>, known: &Known) {
        let dropped = connection.deliveries().direct_dropped;
        if dropped == 0 {
            return;
        }
        let number = connection.origin.connection;
        self.total += dropped;
        self.by_connection.insert(number, dropped);
        let new =
            dropped - known.by_connection.get(&number).copied().unwrap_or_default().min(dropped);
        if new > self.most.as_ref().map_or(0, |(_, most)| *most) {
            self.most = Some((connection.clone(), new));
        }
    }
}

impl Known {
    /// Warns of what was dropped since the last warning, if anything was.
    fn warn(&mut self, look: Look) {
        // A connection that left during the look may be in it twice, or not at all: the next look has it once.
        let dropped = look.total.saturating_sub(self.total);
        if dropped == 0 {
            return;
        }
        let (connection, of_these) = match &look.most {
            Some((connection, count)) => (Some(&connection.origin), *count),
            None => (None, 0),
        };
        let (user, client) = connection.map_or(("", ""), |origin| (&*origin.user, &*origin.client));
        let connection = connection.map_or(0, |origin| origin.connection);
        tracing::warn!(
            client,
            user,
            connection,
            of_these,
            dropped,
            total = look.total,
            "messages of level 0 were dropped: their subscribers read more slowly than messages come, and \
             limits.inbox_bytes waits for each of them already"
        );
        *self = Self {
            warned: Some(Instant::now()),
            total: look.total,
            by_connection: look.by_connection,
        };
    }
}
