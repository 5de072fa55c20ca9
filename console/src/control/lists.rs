//! Lists of objects, a page at a time, and each object by itself.
//!
//! A page is `{"items": […], "next": "…"}`; `next` is what the next page begins behind, and absent on the last one.

use super::answer::Refusal;
use super::losses;
use super::shows;
use super::view::View;
use crossdock_core::{BindingPlace, Broker, ConnectionLook, Name, Page};
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// What people call the default exchange, whose name is empty.
const DEFAULT: &str = "(default)";
/// Items on one page, at most.
const ITEMS_MAX: usize = 500;

/// Which part of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// None: the default one.
    vhost: Option<String>,
    /// Where the page begins; none: at the beginning.
    after: Option<String>,
    limit: Option<usize>,
}

impl Which {
    fn limit(&self) -> Result<usize, Refusal> {
        match self.limit.unwrap_or(ITEMS_MAX) {
            limit @ 1..=ITEMS_MAX => Ok(limit),
            limit => Err(Refusal::bad(format!("limit is 1 to {ITEMS_MAX}, and not {limit}"))),
        }
    }

    /// Where a list of connections, or of what they have, begins. `7`: behind connection 7. `7+500`: at connection 7,
    /// of which 500 items were shown already.
    fn number(&self) -> Result<(u64, usize), Refusal> {
        let Some(text) = &self.after else { return Ok((0, 0)) };
        let read = match text.split_once('+') {
            Some((number, skip)) => number.parse().ok().zip(skip.parse().ok()),
            None => text.parse().ok().map(|number| (number, 0)),
        };
        read.ok_or_else(|| wrong_place(text))
    }
}

fn wrong_place(text: &str) -> Refusal {
    Refusal::bad(format!("after: '{text}' is no place of this list"))
}

/// One object.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct One {
    vhost: Option<String>,
    name: String,
}

/// What there are lists of.
const KINDS: [&str; 14] = [
    "queues",
    "exchanges",
    "bindings",
    "connections",
    "channels",
    "consumers",
    "sessions",
    "vhosts",
    "users",
    "routes",
    "listeners",
    "plugins",
    "moves",
    "losses",
];

/// A page of the list of that kind.
pub fn list(view: &View, kind: &str, which: &Which) -> Result<Json, Refusal> {
    let broker = &view.broker;
    let limit = which.limit()?;
    let page = Page { after: which.after.as_deref(), max: limit };
    match kind {
        "queues" | "exchanges" | "sessions" => {
            let vhost = view.vhost(which.vhost.as_deref())?;
            let items = named(broker, kind, (&vhost, page))?;
            Ok(by_name(items, limit))
        }
        "bindings" => bindings(view, which, limit),
        "connections" => {
            let found = broker.look_at_connections(which.number()?.0, limit);
            let last = found.last().filter(|_| found.len() == limit);
            let next = last.map(|last| last.number.to_string());
            Ok(paged(found.iter().map(shows::connection).collect(), next))
        }
        "channels" => of_connections(broker, which, limit, &channels),
        "consumers" => of_connections(broker, which, limit, &consumers),
        "vhosts" => Ok(some(all_vhosts(view), which, limit)),
        "users" => Ok(some(all_users(broker), which, limit)),
        "routes" => Ok(some(all_routes(view), which, limit)),
        "listeners" => Ok(some(listeners(view), which, limit)),
        "losses" => {
            let mut all = broker.losses();
            let after = which.number()?.0;
            all.retain(|loss| loss.number > after);
            all.truncate(limit);
            let last = all.last().filter(|_| all.len() == limit);
            let next = last.map(|last| last.number.to_string());
            Ok(paged(all.iter().map(losses::loss).collect(), next))
        }
        "plugins" => Ok(some(plugins(view), which, limit)),
        // There are fewer than a page has room for.
        "moves" => Ok(paged(view.common.moves.list(), None)),
        _ => Err(Refusal::missing(format!("'{kind}' is none of {}", KINDS.join(", ")))),
    }
}

fn paged(items: Vec<Json>, next: Option<String>) -> Json {
    match next {
        Some(next) => json!({ "items": items, "next": next }),
        None => json!({ "items": items }),
    }
}

/// A page whose next one begins behind the last name.
fn by_name(items: Vec<Json>, limit: usize) -> Json {
    let last = items.last().filter(|_| items.len() == limit);
    let next = last.and_then(|last| last.get("name")).and_then(Json::as_str).map(str::to_owned);
    paged(items, next)
}

/// A page of what is short enough to be had as a whole, sorted by name.
fn some(mut all: Vec<Json>, which: &Which, limit: usize) -> Json {
    fn name(item: &Json) -> &str {
        item.get("name").and_then(Json::as_str).unwrap_or_default()
    }
    all.sort_by(|a, b| name(a).cmp(name(b)));
    if let Some(after) = &which.after {
        all.retain(|item| name(item) > after.as_str());
    }
    all.truncate(limit);
    by_name(all, limit)
}

fn named(
    broker: &Broker,
    kind: &str,
    (vhost, page): (&Name, Page<'_>),
) -> Result<Vec<Json>, Refusal> {
    Ok(match kind {
        "queues" => {
            let found = broker.look_at_queues(vhost, page)?;
            found.iter().map(|queue| shows::queue(vhost, queue)).collect()
        }
        "exchanges" => {
            // The default one has the empty name: it is the first.
            let default = match page.after {
                None => Some(broker.look_at_default_exchange(vhost)?),
                Some(_) => None,
            };
            let max = page.max - usize::from(default.is_some());
            let found = broker.look_at_exchanges(vhost, Page { max, ..page })?;
            let all = default.iter().chain(&found);
            all.map(|exchange| shows::exchange(vhost, exchange)).collect()
        }
        _ => {
            let found = broker.look_at_sessions(vhost, page)?;
            found.iter().map(|session| shows::session(vhost, session)).collect()
        }
    })
}

/// Bindings of one destination may be more than a page has room for: its place says how many of those behind the
/// place that it names were shown already.
fn bindings(view: &View, which: &Which, limit: usize) -> Result<Json, Refusal> {
    let vhost = view.vhost(which.vhost.as_deref())?;
    let (after, skip) = match &which.after {
        None => (None, 0),
        Some(text) => {
            let (skip, place) = text.split_once('+').ok_or_else(|| wrong_place(text))?;
            let skip: usize = skip.parse().map_err(|_| wrong_place(text))?;
            let place = match place {
                "" => None,
                place => Some(BindingPlace::parse(place).ok_or_else(|| wrong_place(text))?),
            };
            (place, skip)
        }
    };
    let (found, next) = view.broker.look_at_bindings(&vhost, after.as_ref(), skip + limit)?;
    let rest = found.get(skip..).unwrap_or_default();
    let items: Vec<Json> =
        rest.iter().take(limit).map(|binding| shows::binding(&vhost, binding)).collect();
    let next = match rest.len() > limit {
        true => {
            let place = after.map(|place| place.to_string()).unwrap_or_default();
            Some(format!("{}+{place}", skip + limit))
        }
        false => next.map(|place| format!("0+{place}")),
    };
    Ok(paged(items, next))
}

fn channels(broker: &Broker, one: &ConnectionLook) -> Vec<Json> {
    let found = broker.look_at_channels(one.number).unwrap_or_default();
    found.iter().map(|channel| shows::channel(one.number, channel)).collect()
}

fn consumers(broker: &Broker, one: &ConnectionLook) -> Vec<Json> {
    let found = broker.look_at_consumers(one.number).unwrap_or_default();
    found.iter().map(shows::consumer).collect()
}

/// What each connection has some of, in the order of connections.
fn of_connections(
    broker: &Broker,
    which: &Which,
    limit: usize,
    of: &dyn Fn(&Broker, &ConnectionLook) -> Vec<Json>,
) -> Result<Json, Refusal> {
    let (begun, skip) = which.number()?;
    // One that some items were shown of is looked at again, if it is still there.
    let mut last = if skip > 0 { begun.saturating_sub(1) } else { begun };
    let mut items = Vec::new();
    loop {
        let found = broker.look_at_connections(last, ITEMS_MAX);
        if found.is_empty() {
            return Ok(paged(items, None));
        }
        for one in &found {
            let shown = if one.number == begun { skip } else { 0 };
            let theirs = of(broker, one);
            let (room, rest) = (limit - items.len(), theirs.len().saturating_sub(shown));
            items.extend(theirs.into_iter().skip(shown).take(room));
            if rest > room {
                return Ok(paged(items, Some(format!("{}+{}", one.number, shown + room))));
            }
            last = one.number;
            if items.len() == limit {
                return Ok(paged(items, Some(last.to_string())));
            }
        }
    }
}

fn all_vhosts(view: &View) -> Vec<Json> {
    let broker = &view.broker;
    let all = broker.totals();
    all.iter()
        .map(|(name, totals)| shows::vhost(name, totals, broker.connections_in(name)))
        .collect()
}

fn all_users(broker: &Broker) -> Vec<Json> {
    let all = broker.users();
    all.iter()
        .map(|(user, source)| shows::user(user, *source, broker.connections_of(&user.name)))
        .collect()
}

fn listeners(view: &View) -> Vec<Json> {
    let all = view.common.operations.listeners();
    all.iter()
        .map(|one| {
            let mut shown = json!({
                "name": one.name, "addresses": one.addresses, "protocols": one.protocols,
                "tls": one.tls,
            });
            shows::certificates(&mut shown, &one.certificates);
            shown
        })
        .collect()
}

fn plugins(view: &View) -> Vec<Json> {
    let all = view.common.operations.plugins();
    all.iter()
        .map(|one| {
            let mut shown = json!({
                "name": one.name, "file": one.file, "plugin": one.plugin, "version": one.version,
                "brings": one.brings, "calls": one.calls, "refused": one.refused,
                "in_use": one.out_of_use.is_none(),
            });
            let why = one.out_of_use.as_ref().map(|why| json!(why));
            shows::put(&mut shown, "out_of_use", why);
            shown
        })
        .collect()
}

/// One object of that kind.
pub fn show(view: &View, kind: &str, one: &One) -> Result<Json, Refusal> {
    let broker = &view.broker;
    let name = one.name.as_str();
    let in_vhost = || view.vhost(one.vhost.as_deref());
    match kind {
        "queue" => {
            let vhost = in_vhost()?;
            Ok(shows::whole_queue(&vhost, &broker.look_at_queue(&vhost, name)?))
        }
        "exchange" => {
            let vhost = in_vhost()?;
            let look = match (name, broker.look_at_exchange(&vhost, name)) {
                ("" | DEFAULT, Err(_)) => broker.look_at_default_exchange(&vhost),
                (_, look) => look,
            };
            Ok(shows::exchange(&vhost, &look?))
        }
        "session" => {
            let vhost = in_vhost()?;
            session(broker, &vhost, name)
        }
        "connection" => connection(broker, name),
        "vhost" => found(all_vhosts(view), kind, name),
        "user" => found(all_users(broker), kind, name),
        "route" => found(all_routes(view), kind, name),
        "listener" => found(listeners(view), kind, name),
        "plugin" => found(plugins(view), kind, name),
        _ => Err(Refusal::missing(format!(
            "'{kind}' is none of queue, exchange, session, connection, vhost, user, route, listener, plugin"
        ))),
    }
}

fn all_routes(view: &View) -> Vec<Json> {
    let times = shows::Times::of(view);
    view.broker.route_status().iter().map(|status| shows::route(status, times)).collect()
}

fn found(all: Vec<Json>, kind: &str, name: &str) -> Result<Json, Refusal> {
    let is_it = |item: &Json| item.get("name").and_then(Json::as_str) == Some(name);
    let missing = || Refusal::missing(format!("there is no {kind} '{name}'"));
    all.into_iter().find(is_it).ok_or_else(missing)
}

fn session(broker: &Broker, vhost: &Name, name: &str) -> Result<Json, Refusal> {
    let mut after: Option<Name> = None;
    loop {
        let page = Page { after: after.as_deref(), max: ITEMS_MAX };
        let some = broker.look_at_sessions(vhost, page)?;
        if let Some(found) = some.iter().find(|session| &*session.name == name) {
            return Ok(shows::session(vhost, found));
        }
        match some.last() {
            Some(last) if &*last.name < name => after = Some(last.name.clone()),
            _ => {
                let why = format!("there is no session '{name}' in virtual host '{vhost}'");
                return Err(Refusal::missing(why));
            }
        }
    }
}

/// A connection with its channels and consumers, as many of each as a page has room for.
fn connection(broker: &Broker, name: &str) -> Result<Json, Refusal> {
    let number = name.parse().ok();
    let missing = || {
        Refusal::missing(format!("there is no connection '{name}': each has a number in the list"))
    };
    let look = number.and_then(|number| broker.look_at_connection(number)).ok_or_else(missing)?;
    let first = |mut all: Vec<Json>| {
        all.truncate(ITEMS_MAX);
        all
    };
    let mut shown = shows::connection(&look);
    if let Some(object) = shown.as_object_mut() {
        object.insert("channel_list".into(), first(channels(broker, &look)).into());
        object.insert("consumer_list".into(), first(consumers(broker, &look)).into());
    }
    Ok(shown)
}
