//! Who comes: connections between two looks, and logins that were refused in the last minutes or have to wait. A storm
//! of either is not seen in the connections of one moment: each is short.

use super::acts::Act;
use super::answer::Refusal;
use super::view::View;
use async_trait::async_trait;
use crossdock_core::{Broker, Name, NodeLook, Unfinished};
use serde::Deserialize;
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
    left_early: u64,
}

impl Arrivals {
    /// Now.
    pub fn look(node: &NodeLook) -> Self {
        Self {
            at: Instant::now(),
            opened: node.protocols.iter().map(|(_, one)| one.opened).sum(),
            turned_away: node.connections_refused.iter().map(|(_, count)| count).sum(),
            left_early: node.logins_unfinished.iter().map(|one| one.count).sum(),
        }
    }

    /// What came from then until now.
    pub fn until(&self, now: &Arrivals) -> Json {
        let seconds = now.at.duration_since(self.at).as_secs_f64();
        let opened = now.opened.saturating_sub(self.opened);
        let turned_away = now.turned_away.saturating_sub(self.turned_away);
        let left_early = now.left_early.saturating_sub(self.left_early);
        let all = opened + turned_away + left_early;
        // Two looks right after each other say nothing of a second.
        let a_second = if seconds < 0.5 { 0.0 } else { all as f64 / seconds };
        json!({
            "seconds": seconds,
            "opened": opened,
            "turned_away": turned_away,
            "left_early": left_early,
            "unusual": a_second >= UNUSUAL_A_SECOND,
        })
    }
}

/// Whose connections came most in the last seconds.
pub fn busiest(broker: &Broker) -> Json {
    let told = broker.busiest_lately();
    let most: Vec<Json> = told.by.iter().take(NAMED_MAX).map(of_pair).collect();
    json!({ "seconds": told.seconds, "most": most })
}

/// Clients that were lost before their login was complete, since the start: those of which there are some.
pub fn unfinished(node: &NodeLook) -> Json {
    let some = node.logins_unfinished.iter().filter(|one| one.count > 0);
    let each = some.map(|one| {
        json!({
            "listener": &*one.listener, "protocol": &*one.protocol, "count": one.count,
            "left": one.why == Unfinished::Left,
        })
    });
    Json::Array(each.collect())
}

/// Names that have to wait before their next try, because too many failed.
pub fn delays(broker: &Broker) -> Json {
    let (count, longest) = broker.delayed_logins(NAMED_MAX);
    let each = longest.iter().map(|one| {
        let left = u64::try_from(one.left.as_millis()).unwrap_or(u64::MAX);
        json!({
            "user": &*one.user, "address": &*one.from, "failures": one.failures,
            "left_s": one.left.as_secs_f64(), "until": broker.now().plus(left).0,
        })
    });
    json!({ "count": count, "longest": each.collect::<Vec<Json>>() })
}

/// A name is to wait no longer, wherever it comes from.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClearLoginDelay {
    name: String,
}

#[async_trait]
impl Act for ClearLoginDelay {
    const WHAT: &'static str = "login delay ended";

    fn object(&self) -> (Option<&str>, String) {
        (None, self.name.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        match view.broker.end_login_delay(&self.name) {
            0 => Err(Refusal::missing(format!(
                "no login of '{}' has to wait now: its next try is judged at once",
                self.name
            ))),
            addresses => Ok(json!({ "addresses": addresses })),
        }
    }
}

fn of_pair((user, address, count): &(Name, Name, u64)) -> Json {
    json!({ "user": &**user, "address": &**address, "count": count })
}

/// Logins that were refused in the last minutes.
pub fn refused_logins(broker: &Broker) -> Json {
    let told = broker.refused_lately();
    let by: Vec<Json> = told.by.iter().take(NAMED_MAX).map(of_pair).collect();
    json!({ "count": told.count, "seconds": told.seconds, "most": by })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn many_connections_a_second_are_unusual_and_a_few_are_not() {
        let begin = Arrivals { at: Instant::now(), opened: 5, turned_away: 1, left_early: 2 };
        let after = |ms, opened, (turned_away, left_early)| {
            let at = begin.at + Duration::from_millis(ms);
            begin.until(&Arrivals { at, opened, turned_away, left_early })
        };
        for (ms, opened, others, is_unusual) in [
            (1_000, 5, (1, 2), false),
            (1_000, 15, (1, 2), false),
            (1_000, 25, (1, 2), true),
            (1_000, 5, (21, 2), true),
            (1_000, 5, (1, 22), true),
            (10_000, 105, (1, 2), false),
            (10, 105, (1, 2), false),
        ] {
            let told = after(ms, opened, others);
            assert_eq!(told["unusual"], json!(is_unusual), "{told}");
            assert_eq!(told["opened"], json!(opened - 5), "{told}");
        }
    }
}
