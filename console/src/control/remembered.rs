//! What the modules of a content route remember (`kv`), to look at.

use super::answer::Refusal;
use super::messages::put_body;
use super::shows;
use super::view::View;
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// Keys in one answer.
const KEYS_MAX: usize = 500;

/// Which keys.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    /// The route's.
    name: String,
    /// Keys that begin with it.
    #[serde(default)]
    prefix: String,
    /// The last key of the page before, as `step/key`.
    after: Option<String>,
}

/// A page of keys with their values, of all steps; of a long value the beginning.
pub fn page(view: &View, which: &Remembered) -> Result<Json, Refusal> {
    let after = which.after.as_deref().map(|text| {
        let read = text.split_once('/').and_then(|(step, key)| Some((step.parse().ok()?, key)));
        read.ok_or_else(|| Refusal::bad(format!("after: '{text}' is no STEP/KEY")))
    });
    let after: Option<(u16, &str)> = after.transpose()?;
    let all = view.broker.route_state(&which.name);
    let is_behind = |step: u16, key: &str| after.is_none_or(|place| (step, key) > place);
    let mut meant = all
        .iter()
        .filter(|((step, key), _)| key.starts_with(&which.prefix) && is_behind(*step, key));
    let shown: Vec<Json> = meant
        .by_ref()
        .take(KEYS_MAX)
        .map(|((step, key), value)| {
            let mut shown = json!({ "step": step, "key": &**key, "bytes": value.len() });
            put_body(value, &mut |name, value| shows::put(&mut shown, name, value));
            shown
        })
        .collect();
    let last = shown.last().filter(|_| meant.next().is_some());
    let next = last.map(|last| {
        let text = |field: &str| last.get(field).map(Json::to_string).unwrap_or_default();
        let key = last.get("key").and_then(Json::as_str).unwrap_or_default();
        format!("{}/{key}", text("step"))
    });
    let mut page = json!({ "items": shown });
    shows::put(&mut page, "next", next.map(Json::from));
    Ok(page)
}
