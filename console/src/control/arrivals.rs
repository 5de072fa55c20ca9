//! Who comes: connections between two looks, and logins that were refused in the last minutes. A storm of
//! either is not seen in the connections of one moment: each is short.

use crossdock_core::{Broker, NodeLook};
use serde_json::{Value as Json, json};
use std::time::Instant;

/// Connections a second that are worth a line: clients that stay open a few an hour.
const UNUSUAL_A_SECOND: f64 = 20.0;
/// Pairs of user and address that are named; of more, those with most.
const NAMED_MAX: usize = 10;

/// Connections since the start, at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals {
    at: Instant,
    opened: u64,
    turned_away: u64,
}

impl Arrivals {
    /// Now.
    pub fn look(node: &NodeLook) -> Self {
        Self {
            at: Instant::now(),
            opened: node.protocols.iter().map(|(_, one)| one.opened).sum(),
            turned_away: node.connections_refused.iter().map(|(_, count)| count).sum(),
        }
    }

    /// What came from then until now.
    pub fn until(&self, now: &Arrivals) -> Json {
        let seconds = now.at.duration_since(self.at).as_secs_f64();
        let opened = now.opened.saturating_sub(self.opened);
        let turned_away = now.turned_away.saturating_sub(self.turned_away);
        // Two looks right after each other say nothing of a second.
        let a_second = if seconds < 0.5 { 0.0 } else { (opened + turned_away) as f64 / seconds };
        json!({
            "seconds": seconds,
            "opened": opened,
            "turned_away": turned_away,
            "unusual": a_second >= UNUSUAL_A_SECOND,
        })
    }
}

/// Logins that were refused in the last minutes.
pub fn refused_logins(broker: &Broker) -> Json {
    let told = broker.refused_lately();
    let named = told.by.iter().take(NAMED_MAX);
    let by: Vec<Json> = named
        .map(|(user, address, count)| {
            json!({ "user": &**user, "address": &**address, "count": count })
        })
        .collect();
    json!({ "count": told.count, "seconds": told.seconds, "most": by })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn many_connections_a_second_are_unusual_and_a_few_are_not() {
        let begin = Arrivals { at: Instant::now(), opened: 5, turned_away: 1 };
        let after = |ms, opened, turned_away| {
            let at = begin.at + Duration::from_millis(ms);
            begin.until(&Arrivals { at, opened, turned_away })
        };
        for (ms, opened, turned_away, is_unusual) in [
            (1_000, 5, 1, false),
            (1_000, 15, 1, false),
            (1_000, 25, 1, true),
            (1_000, 5, 21, true),
            (10_000, 105, 1, false),
            (10, 105, 1, false),
        ] {
            let told = after(ms, opened, turned_away);
            assert_eq!(told["unusual"], json!(is_unusual), "{told}");
            assert_eq!(told["opened"], json!(opened - 5), "{told}");
        }
    }
}
