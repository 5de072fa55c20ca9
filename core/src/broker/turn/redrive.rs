//! Moving a message for an operator: where it was published to before it died, what it becomes on its way out of
//! its queue, and the one step that takes it to where that leads, as a whole or not at all.

use super::context::Context;
use super::plan::Plan;
use super::run::Turn;
use crate::broker::vhost::queue::Queue;
use crate::error::{Error, ErrorKind};
use crate::exchange::LogId;
use crate::message::{
    Address, Death, Fields, Journey, Key, Message, Name, Neutral, Timestamp, Value, lookup,
};
use std::sync::Arc;

/// The header that says what a message that was moved went through before.
const REDRIVEN: &str = "mq.redriven";
/// What a content route said of a message that it failed on.
const ERROR: &str = "mq.error.";

/// Where a message was published to before it was dead-lettered, or before a content route failed on it, whatever came
/// first; for one that was moved since then, before that. None: nothing of the kind is known of it. What a client wrote
/// into headers counts for nothing.
pub fn origin_of(context: Context<'_>, message: &Message) -> Option<Address> {
    let fields = is_brokers(message).then(|| message.fields_for_once(&context.shared.formats));
    let failed = fields.as_ref().and_then(|fields| {
        let text = fields.header("mq.error.address")?.as_str()?;
        parse(context, text)
    });
    match (message.meta().first_death(), failed) {
        (Some(death), Some(failed)) if is_for_failures(context, &death.address) => Some(failed),
        (Some(death), _) => Some(death.address.clone()),
        (None, Some(failed)) => Some(failed),
        (None, None) => fields.as_ref().and_then(|fields| earlier_origin(fields)),
    }
}

/// The broker wrote its headers.
fn is_brokers(message: &Message) -> bool {
    message.native().format == Neutral::ID
}

/// What content routes fail on goes there.
fn is_for_failures(context: Context<'_>, address: &Address) -> bool {
    let configured = context.shared.settings.dead_letter();
    let content = context.vhost.content.read().clone();
    configured == *address
        || content.iter().any(|path| path.dead_letter_address(&configured) == address)
}

/// An address as [`Address`] shows it. The name of an exchange may have a separator in it: the one that is there is
/// meant.
fn parse(context: Context<'_>, text: &str) -> Option<Address> {
    if let Some(name) = text.strip_prefix("queue:") {
        return Some(Address::queue(name));
    }
    let rest = text.strip_prefix("exchange:")?;
    let topology = context.vhost.topology.read();
    let address = |(at, _): (usize, &str)| {
        let (exchange, key) = (rest.get(..at)?, rest.get(at + 1..)?);
        let is_there = topology.exchange(exchange).is_some();
        is_there.then(|| Address::new(exchange.into(), Key::from(key)))
    };
    rest.match_indices('/').find_map(address)
}

fn earlier_origin(fields: &Fields) -> Option<Address> {
    let Value::Map(said) = fields.header(REDRIVEN)? else { return None };
    let exchange: Name = lookup(said, "exchange")?.as_str()?.into();
    match lookup(said, "key")? {
        Value::Bytes(key) => Some(Address::new(exchange, Key::new(key.clone()))),
        key => Some(Address::new(exchange, Key::from(key.as_str()?))),
    }
}

/// The message as it goes to `to`: nothing is left of its deaths, hops and failures, which would count against it.
/// What they were is in the header `mq.redriven`. A message without any of that keeps its header bytes as they are.
pub fn redriven(context: Context<'_>, message: &Message, from: &Name, to: Address) -> Message {
    let formats = &context.shared.formats;
    let mut meta = message.meta().clone();
    let failed =
        is_brokers(message).then(|| failed_in(&message.fields_for_once(formats))).flatten();
    let has_met = !meta.deaths().is_empty() || meta.moves > 0 || meta.hops > 0 || failed.is_some();
    let said = has_met.then(|| history(context, message, from));
    // What went through a route is what came out of it. The one that failed on it is to have its turn again.
    let is_through = |route: &&Name| failed.as_ref().is_none_or(|failed| **failed != ***route);
    let through: Vec<Name> = meta.through().iter().filter(is_through).cloned().collect();
    meta.journey = (!through.is_empty()).then(|| Arc::new(Journey { through, onward: None }));
    (meta.deaths, meta.moves, meta.hops) = (None, 0, 0);
    // It was retained, if so, when it was published.
    meta.retain = false;
    let Some(said) = said else { return message.with(to, meta) };
    let mut fields = message.fields_for_once(formats).into_owned();
    fields
        .headers
        .retain(|(name, _)| **name != *REDRIVEN && !(failed.is_some() && name.starts_with(ERROR)));
    fields.headers.push((REDRIVEN.into(), said));
    Message::from_fields(to, meta, &fields, message.body().clone())
}

/// The content route that failed on a message; empty: it had nowhere to go, without any route. None: neither.
fn failed_in(fields: &Fields) -> Option<Name> {
    fields.header("mq.error.kind")?;
    let route = fields.header("mq.error.route").and_then(Value::as_str);
    Some(route.unwrap_or_default().into())
}

fn history(context: Context<'_>, message: &Message, from: &Name) -> Value {
    let (meta, fields) = (message.meta(), message.fields_for_once(&context.shared.formats));
    let mut said: Vec<(Name, Value)> = vec![
        ("from".into(), Value::Text(from.clone())),
        ("time".into(), timestamp(context.now)),
        ("count".into(), Value::I64(times(message, &fields) + 1)),
    ];
    if let Some(origin) = origin_of(context, message) {
        said.push(("exchange".into(), Value::Text(origin.exchange.clone())));
        said.push(("key".into(), key_of(&origin)));
    }
    if meta.hops > 0 {
        said.push(("hops".into(), Value::I64(i64::from(meta.hops))));
    }
    if !meta.deaths().is_empty() {
        said.push(("deaths".into(), Value::List(meta.deaths().iter().map(death).collect())));
    }
    if is_brokers(message) {
        let errors = fields.headers.iter().filter(|(name, _)| name.starts_with(ERROR));
        said.extend(
            errors.map(|(name, value)| {
                (name.strip_prefix("mq.").unwrap_or(name).into(), value.clone())
            }),
        );
    }
    Value::Map(said)
}

/// Keys are text, but for some that clients of AMQP made up.
fn key_of(origin: &Address) -> Value {
    match std::str::from_utf8(origin.key.bytes()) {
        Ok(text) => Value::text(text),
        Err(_) => Value::Bytes(origin.key.detached().bytes().clone()),
    }
}

/// How often it was moved before.
fn times(message: &Message, fields: &Fields) -> i64 {
    let said = fields.header(REDRIVEN).filter(|_| is_brokers(message));
    match said {
        Some(Value::Map(said)) => lookup(said, "count").and_then(Value::as_i64).unwrap_or(1),
        _ => 0,
    }
}

fn death(death: &Death) -> Value {
    Value::Map(vec![
        ("queue".into(), Value::Text(death.queue.clone())),
        ("reason".into(), Value::text(death.reason.as_str())),
        ("count".into(), Value::I64(i64::from(death.count))),
        ("time".into(), timestamp(death.time)),
    ])
}

fn timestamp(at: Timestamp) -> Value {
    Value::Timestamp(i64::try_from(at.0).unwrap_or(i64::MAX))
}

/// Where a message went that was moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Went {
    /// To all that keep what its address leads to.
    There,
    /// Into the queue of a content route, which has its turn later, and may fail on it.
    ToRoute,
    /// Nowhere: it was dropped.
    Nowhere,
}

/// Whether something is done, or only found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    Do,
    Ask,
}

impl Turn {
    /// Takes a message to where its address leads, as a publish would, and to all of that or nothing: an error says why
    /// none of it happens. It does not go back to `source`, not to subscribers alone who get it now or never, and not
    /// to where a content route sends it that fails on it now.
    /// Nothing is appended before the turn runs.
    pub fn move_to(
        &mut self,
        context: Context<'_>,
        message: &Message,
        source: &Queue,
        how: Try,
    ) -> Result<Went, Error> {
        let address = message.address();
        let fields = || message.fields_for_once(&context.shared.formats).into_owned();
        let decoded = std::cell::OnceCell::new();
        let fields = || decoded.get_or_init(fields);
        let (route, _) = context.vhost.route((address, &message.meta().origin), &fields, |_| ())?;
        let mut plan = Plan::new(context, false);
        let followed = plan.follow(message, &route).map_err(|obstacle| obstacle.error);
        let possible = followed
            .and_then(|()| is_processed(&plan))
            .and_then(|()| is_kept(&plan, address, Some(source.id)))
            .and_then(|()| self.admits(&plan, true).map_err(|obstacle| obstacle.error));
        let went = if plan.fed.is_empty() { Went::There } else { Went::ToRoute };
        if possible.is_err() || how == Try::Ask {
            plan.undo();
            return possible.map(|()| went);
        }
        if let Some(exchange) = &route.exchange {
            self.published.passed(exchange, true);
        }
        self.carry_out(context, plan);
        Ok(went)
    }
}

/// No content route fails on it at once: it would only be a dead letter once more.
fn is_processed(plan: &Plan<'_>) -> Result<(), Error> {
    let Some((path, fault)) = plan.dead_lettered() else { return Ok(()) };
    let (route, text) = (&path.route.name, &fault.text);
    let why = format!("content route '{route}' failed on it again: {text}");
    Err(Error::new(ErrorKind::Unroutable, why))
}

/// Somebody keeps it, and not the queue that it is in.
pub(super) fn is_kept(
    plan: &Plan<'_>,
    address: &Address,
    source: Option<LogId>,
) -> Result<(), Error> {
    let nobody = |why: String| Err(Error::new(ErrorKind::Unroutable, why));
    if !plan.is_handled {
        return nobody(format!("nobody is there at {address}"));
    }
    let mut queues = plan.placements.iter().flat_map(|placement| {
        let own = placement.sessions.iter().filter_map(|hit| {
            let level = placement.message.meta().level.min(hit.tags.level());
            hit.session.queue().filter(|_| level > 0).map(|queue| queue.id)
        });
        placement.queues.iter().map(|queue| queue.id).chain(own)
    });
    if queues.clone().any(|id| Some(id) == source) {
        return nobody(format!("{address} leads back to the queue that it is in"));
    }
    let waits = plan.placements.iter().any(|placement| placement.delays.is_some());
    if !plan.placements.is_empty() && !waits && queues.next().is_none() {
        return nobody(format!("only subscribers that keep nothing are at {address}"));
    }
    Ok(())
}
