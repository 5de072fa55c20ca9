//! What is known to be lost: the list, the lines of the status, and the act of an operator who has seen it.

use super::acts::Act;
use super::answer::Refusal;
use super::view::View;
use async_trait::async_trait;
use crossdock_core::store::Loss;
use crossdock_core::{Broker, readable};
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// Lines of the status for each of the two kinds; of more, their number.
const LINES_MAX: usize = 10;

/// One of them; what is not known is not in it.
pub fn loss(loss: &Loss) -> Json {
    let Loss { number, found_ms, lost } = loss;
    let mut shown = json!({
        "number": number,
        "found_ms": found_ms,
        "place": lost.place,
        "what": lost.what,
        "may_be_nothing": lost.may_be_nothing,
        "text": format!("{number}: {lost}"),
    });
    if let Some(fields) = shown.as_object_mut() {
        let known = [("records", lost.records), ("bytes", lost.bytes)];
        let known = known.into_iter().filter_map(|(name, count)| Some((name, count?)));
        fields.extend(known.map(|(name, count)| (name.to_owned(), json!(count))));
    }
    shown
}

/// All that no operator has accepted.
pub fn standing(broker: &Broker) -> Json {
    let all = broker.losses();
    let certain = all.iter().filter(|loss| !loss.lost.may_be_nothing).count();
    let items: Vec<Json> = all.iter().map(loss).collect();
    json!({ "count": all.len(), "certain": certain, "items": items })
}

/// Adds what is lost to the troubles, and what may be to the warnings.
pub fn say(broker: &Broker, troubles: &mut Vec<String>, warnings: &mut Vec<String>) {
    let now = broker.now().0;
    let (uncertain, certain): (Vec<Loss>, Vec<Loss>) =
        broker.losses().into_iter().partition(|loss| loss.lost.may_be_nothing);
    let kinds = [("lost", certain, troubles), ("perhaps lost", uncertain, warnings)];
    for (is_it, losses, lines) in kinds {
        let Some(last) = losses.last() else { continue };
        let hidden = losses.len().saturating_sub(LINES_MAX);
        let shown = losses.iter().skip(hidden);
        lines.extend(shown.map(|one| {
            let ago = readable::span(now.saturating_sub(one.found_ms) / 1_000);
            format!("{is_it}, found {ago} ago, in {}", one.lost)
        }));
        if hidden > 0 {
            lines.push(format!("{hidden} more of what is {is_it}: crossdock ctl list losses"));
        }
        if let Some(line) = lines.last_mut() {
            let command = format!("crossdock ctl accept losses {}", last.number);
            line.push_str(&format!("; when you have seen to all up to here: {command}"));
        }
    }
}

/// An operator has seen what is lost.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptLosses {
    /// The number of the last one that was seen.
    upto: u64,
}

#[async_trait]
impl Act for AcceptLosses {
    const WHAT: &'static str = "losses accepted";

    fn object(&self) -> (Option<&str>, String) {
        (None, self.upto.to_string())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        match view.broker.accept_losses(self.upto).await? {
            0 => {
                let why =
                    format!("there is no loss up to number {} that was not accepted", self.upto);
                Err(Refusal::missing(why))
            }
            accepted => Ok(json!({ "accepted": accepted })),
        }
    }
}
