//! The messages of a queue: looking at them, a page at a time, and moving them.

use super::acts::Act;
use super::answer::Refusal;
use super::moves::MoveAsked;
use super::values;
use super::view::View;
use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossdock_core::{
    Cursor, Death, Fields, Filter, MessageState, MoveOrder, MoveReport, MoveTo, Offset,
    PEEK_MESSAGES_MAX, Peeked, carry,
};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// Bytes of a body that are shown.
const BODY_SHOWN_MAX: usize = 64 << 10;
/// Messages on a page where nothing else is asked for.
const PAGE: usize = 50;
/// Addresses and reasons of a report that are named.
const NAMED_MAX: usize = 100;

/// Which messages of which queue. `where` may stand several times: all of the conditions have to hold.
#[derive(Debug, Default)]
pub struct Peek {
    vhost: Option<String>,
    queue: String,
    from: Cursor,
    limit: usize,
    filter: Filter,
}

impl Peek {
    /// Reads the part of a request behind the question mark.
    pub fn read(pairs: Vec<(String, String)>) -> Result<Self, Refusal> {
        let mut peek = Self { limit: PAGE, ..Self::default() };
        let mut conditions = Vec::new();
        for (name, value) in pairs {
            match name.as_str() {
                "vhost" => peek.vhost = Some(value),
                "queue" => peek.queue = value,
                "from" => peek.from = cursor(&value)?,
                "where" => conditions.push(value),
                "limit" => {
                    let wrong = || {
                        let why = format!("limit is 1 to {PEEK_MESSAGES_MAX}, and not '{value}'");
                        Refusal::bad(why)
                    };
                    peek.limit = value.parse().map_err(|_| wrong())?;
                }
                _ => {
                    let why = format!("'{name}' is none of vhost, queue, from, where, limit");
                    return Err(Refusal::bad(why));
                }
            }
        }
        peek.filter = Filter::parse(conditions.iter().map(String::as_str))?;
        Ok(peek)
    }
}

fn cursor(text: &str) -> Result<Cursor, Refusal> {
    text.parse().map_err(|_| Refusal::bad(format!("from: '{text}' is no place in a queue")))
}

/// A page of messages.
pub async fn peek(view: &View, order: &Peek) -> Result<Json, Refusal> {
    let vhost = view.vhost(order.vhost.as_deref())?;
    let _turn = view.peek_turn().await?;
    let mut session = view.session(&vhost)?;
    let page = session.peek(&order.queue, order.from, order.limit, &order.filter).await?;
    let formats = view.broker.formats();
    let items: Vec<Json> = page
        .messages
        .iter()
        .map(|one| message(one, &one.message.fields_for_once(formats)))
        .collect();
    let mut shown = json!({
        "items": items, "looked_at": page.looked_at, "unreadable": page.unreadable,
    });
    if let (Some(shown), Some(next)) = (shown.as_object_mut(), page.next) {
        shown.insert("next".to_owned(), json!(next.to_string()));
    }
    Ok(shown)
}

fn message(one: &Peeked, fields: &Fields) -> Json {
    let message = &one.message;
    let meta = message.meta();
    let mut shown = json!({
        "offset": one.offset.0,
        "state": match one.state {
            MessageState::Ready => "ready",
            MessageState::Unacknowledged => "unacked",
        },
        "address": message.address().to_string(),
        "bytes": message.body().len(),
        "durable": meta.durable,
        "redelivered": one.redelivered,
        "attempts": one.attempts,
        "published_ms": meta.published.0,
        "user": &*meta.origin.user,
        "headers": values::all(&fields.headers),
    });
    let Some(object) = shown.as_object_mut() else { return shown };
    let mut put = |name: &str, value: Option<Json>| {
        if let Some(value) = value {
            object.insert(name.to_owned(), value);
        }
    };
    let properties = &fields.properties;
    let text = |id: &crossdock_core::Id| carry::id_to_text(id, usize::MAX).map(Json::from);
    put("content_type", properties.content_type.as_ref().map(|kind| json!(&**kind)));
    put("message_id", properties.message_id.as_ref().and_then(text));
    put("correlation_id", properties.correlation_id.as_ref().and_then(text));
    put("priority", meta.priority.map(Json::from));
    put("expires_ms", meta.expires.map(|at| json!(at.0)));
    let deaths: Vec<Json> = meta.deaths().iter().map(death).collect();
    put("deaths", (!deaths.is_empty()).then(|| deaths.into()));
    put_body(message.body(), &mut put);
    shown
}

/// The body as text, or in base64 where it is none; of a long one the beginning, which `cut` says.
pub fn put_body(body: &[u8], put: &mut impl FnMut(&str, Option<Json>)) {
    let part = body.get(..BODY_SHOWN_MAX).unwrap_or(body);
    put("cut", (part.len() < body.len()).then(|| json!(true)));
    match std::str::from_utf8(part) {
        Ok(text) => put("body", Some(json!(text))),
        // Cut within a character.
        Err(error) if error.error_len().is_none() && part.len() < body.len() => {
            let text = String::from_utf8_lossy(part.get(..error.valid_up_to()).unwrap_or_default());
            put("body", Some(json!(text)));
        }
        Err(_) => put("body_base64", Some(json!(STANDARD.encode(part)))),
    }
}

fn death(death: &Death) -> Json {
    json!({
        "queue": &*death.queue,
        "reason": death.reason.as_str(),
        "count": death.count,
        "time_ms": death.time.0,
        "address": death.address.to_string(),
    })
}

/// Messages that are to be moved. Without conditions and a limit all are meant, which `all` has to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveMessages {
    vhost: Option<String>,
    from: String,
    /// A queue; none: each to where it was published before it was dead-lettered.
    to: Option<String>,
    #[serde(default)]
    to_origin: bool,
    #[serde(default, rename = "where")]
    conditions: Vec<String>,
    #[serde(default)]
    all: bool,
    limit: Option<u64>,
    per_second: Option<u32>,
    #[serde(default)]
    dry_run: bool,
    /// Where in the queue to begin: what the report of a move before named as the next place.
    begin: Option<String>,
}

impl MoveMessages {
    fn order(&self) -> Result<MoveOrder, Refusal> {
        let to = match (&self.to, self.to_origin) {
            (Some(queue), false) => MoveTo::Queue(queue.as_str().into()),
            (None, true) => MoveTo::Origin,
            _ => return Err(Refusal::bad("messages are moved to a queue, or to their origins")),
        };
        let filter = Filter::parse(self.conditions.iter().map(String::as_str))?;
        if filter.is_all() && self.limit.is_none() && !self.all && !self.dry_run {
            let why =
                "there is no condition and no limit: every message is meant, which has to be said";
            return Err(Refusal::bad(why));
        }
        Ok(MoveOrder {
            filter,
            limit: self.limit,
            per_second: self.per_second,
            dry_run: self.dry_run,
            start: self.begin.as_deref().map_or(Ok(Cursor::START), cursor)?,
            ..MoveOrder::new(self.from.as_str(), to)
        })
    }
}

#[async_trait]
impl Act for MoveMessages {
    const WHAT: &'static str = "messages moved";
    const IS_LONG: bool = true;
    const IN_VHOST: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        let to = self.to.as_deref().unwrap_or("their origins");
        let dry = if self.dry_run { " (dry run)" } else { "" };
        (self.vhost.as_deref(), format!("{} to {to}{dry}", self.from))
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let order = self.order()?;
        let vhost = view.vhost(self.vhost.as_deref())?;
        let asked = MoveAsked {
            vhost: vhost.to_string(),
            from: self.from,
            to: self.to,
            drops: false,
            dry_run: self.dry_run,
            by: view.actor.user.to_string(),
            since: view.broker.now(),
        };
        let _place = view.common.moves.begin(asked, order.progress.clone())?;
        let mut session = view.session(&vhost)?;
        let report = session.move_messages(&order).await?;
        session.close().await?;
        Ok(report_of(&report, order.dry_run))
    }
}

/// Messages that are to be dropped. Without conditions, an offset and a limit all are meant, which `all` has to say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DropMessages {
    vhost: Option<String>,
    from: String,
    #[serde(default, rename = "where")]
    conditions: Vec<String>,
    /// The one of that number in its queue, which looking into the queue shows.
    offset: Option<u64>,
    #[serde(default)]
    all: bool,
    limit: Option<u64>,
    #[serde(default)]
    dry_run: bool,
}

impl DropMessages {
    fn order(&self) -> Result<MoveOrder, Refusal> {
        let filter = Filter::parse(self.conditions.iter().map(String::as_str))?;
        let is_some = !filter.is_all() || self.limit.is_some() || self.offset.is_some();
        if !is_some && !self.all && !self.dry_run {
            let why = "there is no condition, no offset and no limit: every message is meant, which has to \
                       be said";
            return Err(Refusal::bad(why));
        }
        Ok(MoveOrder {
            filter,
            limit: self.limit,
            only: self.offset.map(Offset),
            dry_run: self.dry_run,
            ..MoveOrder::new(self.from.as_str(), MoveTo::Nowhere)
        })
    }
}

#[async_trait]
impl Act for DropMessages {
    const WHAT: &'static str = "messages dropped";
    const IS_LONG: bool = true;
    const IN_VHOST: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        let dry = if self.dry_run { " (dry run)" } else { "" };
        (self.vhost.as_deref(), format!("{}{dry}", self.from))
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let order = self.order()?;
        let vhost = view.vhost(self.vhost.as_deref())?;
        let asked = MoveAsked {
            vhost: vhost.to_string(),
            from: self.from,
            to: None,
            drops: true,
            dry_run: self.dry_run,
            by: view.actor.user.to_string(),
            since: view.broker.now(),
        };
        let _place = view.common.moves.begin(asked, order.progress.clone())?;
        let mut session = view.session(&vhost)?;
        let report = session.move_messages(&order).await?;
        session.close().await?;
        if let Some(offset) = self.offset.filter(|_| report.matched == 0) {
            return Err(Refusal::missing(format!(
                "no ready message of offset {offset} that is meant is in queue '{}': crossdock ctl peek \
                 shows the offsets, and a consumer may have it",
                order.from
            )));
        }
        let stayed = report.refused.iter().take(NAMED_MAX);
        let mut shown = json!({
            "dry_run": order.dry_run, "matched": report.matched, "dropped": report.moved,
            "left": report.left,
            "stayed": stayed.map(|(why, n)| (why.to_string(), json!(n))).collect::<Map<_, _>>(),
        });
        if let (Some(shown), Some(why)) = (shown.as_object_mut(), &report.stopped) {
            shown.insert("stopped".to_owned(), json!(why.detail()));
        }
        Ok(shown)
    }
}

fn report_of(report: &MoveReport, is_dry: bool) -> Json {
    // Two addresses may be written alike.
    let mut to = BTreeMap::<String, u64>::new();
    for (address, count) in report.destinations.iter().take(NAMED_MAX) {
        *to.entry(address.to_string()).or_default() += count;
    }
    let elsewhere = report.moved.saturating_sub(to.values().sum());
    let refused = report.refused.iter().take(NAMED_MAX);
    let mut shown = json!({
        "dry_run": is_dry,
        "matched": report.matched,
        "moved": report.moved,
        "left": report.left,
        "to": to,
        "elsewhere": elsewhere,
        "to_routes": report.to_routes,
        "stayed": refused.map(|(why, count)| (why.to_string(), json!(count))).collect::<Map<_, _>>(),
    });
    let Some(object) = shown.as_object_mut() else { return shown };
    if let Some(why) = &report.stopped {
        object.insert("stopped".to_owned(), json!(why.detail()));
    }
    if let Some(next) = report.next {
        object.insert("next".to_owned(), json!(next.to_string()));
    }
    shown
}
