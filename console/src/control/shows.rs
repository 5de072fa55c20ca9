//! Each object as JSON. A field is a value or absent, never null; times are milliseconds since 1970, sizes bytes.

use super::operations::{CertificateLook, Standing};
use super::values;
use super::view::View;
use crossdock_core::transform::{ModuleLook, Number, Pause, RehearsalLook};
use crossdock_core::{
    Account, AccountSource, BindingLook, CameBy, ChannelLook, ConnectionLook, ConsumerLook,
    Destination, ExchangeLook, LastFailure, LeftBy, QueueLook, RouteStatus, SessionLife,
    SessionLook, Tally, VhostTotals,
};
use serde_json::{Map, Value as Json, json};
use std::time::Duration;

/// The detail in which client libraries say what they are for.
const CONNECTION_NAME: &str = "connection_name";

/// Adds a field that may be absent.
pub fn put(object: &mut Json, name: &str, value: Option<Json>) {
    if let (Some(object), Some(value)) = (object.as_object_mut(), value) {
        object.insert(name.to_owned(), value);
    }
}

/// Puts the fields of `more` behind those of `object`.
fn join(mut object: Json, more: Json) -> Json {
    if let (Some(object), Json::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

/// A queue on a line of a list.
pub fn queue(vhost: &str, look: &QueueLook) -> Json {
    let (spec, depth) = (&look.spec, &look.depth);
    json!({
        "vhost": vhost,
        "name": &*spec.name,
        "messages": depth.messages(),
        "ready": depth.ready,
        "unacked": depth.in_flight,
        "being_stored": depth.being_stored(),
        "bytes": depth.messages_bytes(),
        "consumers": depth.consumers,
        "durable": spec.durable,
        "exclusive": look.is_exclusive,
        "auto_delete": spec.auto_delete,
    })
}

/// A queue by itself.
pub fn whole_queue(vhost: &str, look: &QueueLook) -> Json {
    let (spec, deliveries) = (&look.spec, &look.deliveries);
    let mut shown = join(
        queue(vhost, look),
        json!({
            "arguments": values::all(&spec.arguments),
            "came": came(&look.records),
            "left": left(&look.records),
            "deliveries": {
                "delivered": deliveries.delivered,
                "delivered_unsettled": deliveries.delivered_unsettled,
                "got": deliveries.got,
                "got_unsettled": deliveries.got_unsettled,
                "redelivered": deliveries.redelivered,
                "requeued": deliveries.requeued,
            },
            "refused_full": deliveries.turned_away,
        }),
    );
    let dead = spec.dead_letter.as_ref();
    put(&mut shown, "dead_letter_exchange", dead.map(|(exchange, _)| json!(&**exchange)));
    let key = dead.and_then(|(_, key)| key.as_ref());
    put(&mut shown, "dead_letter_key", key.map(|key| json!(key.to_string())));
    put(&mut shown, "kept_for", spec.kept_for.as_ref().map(|name| json!(&**name)));
    put(&mut shown, "delivery_limit", spec.delivery_limit.map(|limit| json!(limit)));
    shown
}

fn came(tally: &Tally) -> Json {
    let each = CameBy::ALL.into_iter().map(|by| (by.as_str().to_owned(), json!(tally.came(by))));
    each.collect::<Map<_, _>>().into()
}

/// By reason; those that did not happen are absent.
fn left(tally: &Tally) -> Json {
    let each = LeftBy::ALL.into_iter().map(|by| (by, tally.left(by)));
    let some = each.filter(|(_, count)| *count > 0);
    some.map(|(by, count)| (by.as_str().to_owned(), json!(count))).collect::<Map<_, _>>().into()
}

/// An exchange.
pub fn exchange(vhost: &str, look: &ExchangeLook) -> Json {
    let (spec, totals) = (&look.spec, &look.totals);
    let mut shown = json!({
        "vhost": vhost,
        "name": &*spec.name,
        "type": spec.kind.as_str(),
        "durable": spec.durable,
        "auto_delete": spec.auto_delete,
        "internal": spec.internal,
        "predeclared": look.is_predeclared,
        "published": totals.published(),
        "routed": totals.routed,
        "unroutable": totals.unroutable,
        "refused": totals.refused,
        "arguments": values::all(&spec.arguments),
    });
    let last = look.last_unroutable.as_ref().map(|last| {
        json!({
            "since_ms": last.time.0,
            "key": last.key.to_string(),
            "user": &*last.user,
            "client": &*last.client,
            "peer": &*last.peer,
        })
    });
    put(&mut shown, "last_unroutable", last);
    shown
}

/// A binding.
pub fn binding(vhost: &str, look: &BindingLook) -> Json {
    let (kind, name) = match &look.destination {
        Destination::Queue(name) => ("queue", name),
        Destination::Exchange(name) => ("exchange", name),
        Destination::Session(name) => ("session", name),
    };
    json!({
        "vhost": vhost,
        "source": &*look.source,
        "key": look.key.to_string(),
        "destination_type": kind,
        "destination": &**name,
        "arguments": values::all(&look.arguments),
    })
}

/// A connection.
pub fn connection(look: &ConnectionLook) -> Json {
    let (about, totals, deliveries) = (&look.about, &look.totals, &look.deliveries);
    let mut shown = json!({
        "number": look.number,
        "protocol": &*about.protocol,
        "version": &*about.version,
        "vhost": &*look.vhost,
        "user": &*look.user,
        "client": &*look.client,
        "name": name_of(look),
        "peer": &*look.peer,
        "listener": &*look.listener,
        "secure": about.secure,
        "since_ms": look.since.0,
        "channels": look.channels,
        "received_bytes": look.received,
        "sent_bytes": look.sent,
        "published": totals.received,
        "confirmed": totals.confirmed,
        "returned": totals.returned,
        "refused": totals.refused,
        "dropped": totals.dropped,
        "delivered": deliveries.delivered + deliveries.delivered_unsettled + deliveries.direct,
        "not_read_in_time": deliveries.direct_dropped,
        "got": deliveries.got + deliveries.got_unsettled,
        "acked": deliveries.acknowledged,
        "unacked": look.unsettled,
        "details": values::all(&about.details),
    });
    put(&mut shown, "session", look.session.as_ref().map(|name| json!(&**name)));
    shown
}

/// What a client calls itself: its identifier, where its protocol has one and it gives it, or else the name that it
/// gives its connection. Nobody checks that; it may be empty.
fn name_of(look: &ConnectionLook) -> &str {
    if !look.client.is_empty() {
        return &look.client;
    }
    let details = look.about.details.iter();
    let mut named = details.filter(|(name, _)| &**name == CONNECTION_NAME);
    named.next().and_then(|(_, value)| value.as_str()).unwrap_or_default()
}

/// A channel of a connection.
pub fn channel(connection: u64, look: &ChannelLook) -> Json {
    let totals = &look.totals;
    let mut shown = json!({
        "connection": connection,
        "lane": look.id.0,
        "prefetch": look.prefetch,
        "consumers": look.consumers,
        "published": totals.received,
        "confirmed": totals.confirmed,
        "returned": totals.returned,
        "refused": totals.refused,
        "dropped": totals.dropped,
        "unacked": look.unsettled,
    });
    put(&mut shown, "channel", look.label.map(|label| json!(label)));
    shown
}

/// A consumer.
pub fn consumer(look: &ConsumerLook) -> Json {
    let mut shown = json!({
        "connection": look.connection,
        "lane": look.channel.0,
        "queue": &*look.queue,
        "tag": &*look.tag,
        "acks": look.settles,
        "exclusive": look.is_exclusive,
        "priority": look.priority,
        "delivered": look.delivered,
        "unacked": look.unsettled,
    });
    put(&mut shown, "prefetch", look.prefetch.map(|prefetch| json!(prefetch)));
    shown
}

/// A named session.
pub fn session(vhost: &str, look: &SessionLook) -> Json {
    let mut shown = json!({
        "vhost": vhost,
        "name": &*look.name,
        "user": &*look.user,
        "client": &*look.client,
        "connected": look.connection.is_some(),
        "lasts": look.life.lasts(),
        "waiting": look.waiting,
        "bindings": look.bindings,
    });
    put(&mut shown, "connection", look.connection.map(|number| json!(number)));
    put(&mut shown, "queue", look.queue.as_ref().map(|name| json!(&**name)));
    put(&mut shown, "gone_since_ms", look.gone_since.map(|at| json!(at.0)));
    if let SessionLife::For(ms) = look.life {
        put(&mut shown, "expires_after_ms", Some(json!(ms)));
    }
    shown
}

/// The certificates of a listener, and when the first of them ends.
pub fn certificates(listener: &mut Json, all: &[CertificateLook]) {
    let ms = |seconds: i64| seconds.saturating_mul(1_000);
    let first = all.iter().map(|one| one.until_s).min();
    put(listener, "certificate_expires_ms", first.map(|until| json!(ms(until))));
    let each = all.iter().map(|one| {
        let mut shown = json!({
            "file": one.file,
            "number": one.number,
            "valid_from_ms": ms(one.from_s),
            "valid_until_ms": ms(one.until_s),
        });
        let (Standing::Warning(text) | Standing::Trouble(text)) = &one.standing else {
            return shown;
        };
        put(&mut shown, "wrong", Some(json!(text)));
        shown
    });
    let each: Vec<Json> = each.collect();
    put(listener, "certificates", (!each.is_empty()).then(|| json!(each)));
}

/// A virtual host.
pub fn vhost(name: &str, totals: &VhostTotals, connections: usize) -> Json {
    json!({
        "name": name,
        "connections": connections,
        "queues": totals.queues,
        "messages": totals.depth.messages(),
        "ready": totals.depth.ready,
        "unacked": totals.depth.in_flight,
        "being_stored": totals.depth.being_stored(),
        "bytes": totals.depth.messages_bytes(),
        "published": totals.exchanges.published(),
        "routed": totals.exchanges.routed,
        "unroutable": totals.exchanges.unroutable,
        "refused": totals.exchanges.refused,
    })
}

/// A user, without what its passwords are verified by.
pub fn user(account: &Account, source: AccountSource, connections: usize) -> Json {
    let rights = account.vhosts.iter().map(|(vhost, rights)| {
        let text = rights.text();
        let mut shown = json!({
            "configure": text.configure, "write": text.write, "read": text.read,
        });
        let regexes = text
            .regexes
            .as_ref()
            .map(|all| json!({ "configure": all.configure, "write": all.write, "read": all.read }));
        put(&mut shown, "regexes", regexes);
        (vhost.to_string(), shown)
    });
    json!({
        "name": &*account.name,
        "source": match source {
            AccountSource::Configuration => "configuration",
            AccountSource::RunTime => "store",
        },
        "tags": account.tags.iter().map(|tag| &**tag).collect::<Vec<&str>>(),
        "verifiers": account.verifiers.len(),
        "connections": connections,
        "vhosts": rights.collect::<Map<_, _>>(),
    })
}

/// A content route. Its counts begin at the start of the broker, those of a module when it was loaded: each says
/// since when.
pub fn route(status: &RouteStatus, times: Times) -> Json {
    let failed = status.failed.iter().filter(|(_, count)| *count > 0);
    let failed = failed.map(|(kind, count)| (kind.as_str().to_owned(), json!(count)));
    let mut shown = json!({
        "name": &*status.name,
        "counted_since_ms": times.start_ms,
        "waiting": status.waiting,
        "taken": status.taken,
        "emitted": status.emitted,
        "no_subscriber": status.no_subscriber,
        "passed": status.passed,
        "dropped": status.dropped,
        "rejected": status.rejected,
        "retried": status.retried,
        "not_cleared": status.not_cleared,
        "dead_lettered": status.dead_lettered,
        "failed": failed.collect::<Map<_, _>>(),
    });
    let waits = &status.waits;
    put(&mut shown, "last_failure", status.last_failure.as_ref().map(failure));
    put(&mut shown, "between_attempts", Some(json!(waits.between_attempts)));
    put(&mut shown, "last_attempt", waits.last_attempt.as_ref().map(failure));
    put(&mut shown, "no_place", waits.no_place.as_ref().map(|why| json!(&**why)));
    put(&mut shown, "down", waits.down.as_ref().map(|why| json!(&**why)));
    let modules = Some(&status.modules).filter(|modules| !modules.is_empty());
    let modules = modules.map(|all| all.iter().map(|look| module(look, times)).collect());
    put(&mut shown, "modules", modules);
    shown
}

/// From when things are counted, in milliseconds since 1970.
#[derive(Clone, Copy)]
pub struct Times {
    pub start_ms: u64,
    pub now_ms: u64,
}

impl Times {
    pub fn of(view: &View) -> Self {
        let start_ms = (view.common.started.unix_seconds() * 1e3) as u64;
        Self { start_ms, now_ms: view.broker.now().0 }
    }

    fn ago(self, time: Duration) -> Json {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        json!(self.now_ms.saturating_sub(ms))
    }
}

fn module(look: &ModuleLook, times: Times) -> Json {
    let failed = look.failed.iter().filter(|(_, count)| *count > 0);
    let failed = failed.map(|(kind, count)| (kind.as_str().to_owned(), json!(count)));
    let number = |number: &Number| match number {
        Number::Counter(sum) => json!(sum),
        Number::Gauge(value) => json!(value),
    };
    let numbers = look.numbers.iter().map(|(name, value)| (name.clone(), number(value)));
    let mut shown = json!({
        "name": &*look.name,
        "version": &*look.version,
        "counted_since_ms": times.ago(look.age),
        "calls": look.calls,
        "mean_us": look.micros.checked_div(look.calls).unwrap_or_default(),
        "instances": look.instances,
        "failed": failed.collect::<Map<_, _>>(),
        "numbers": numbers.collect::<Map<_, _>>(),
    });
    let state = look
        .state
        .map(|(step, size)| json!({ "step": step, "keys": size.keys, "bytes": size.bytes }));
    put(&mut shown, "state", state);
    let longest = look.paused.first();
    put(&mut shown, "paused_ms", longest.map(|pause| json!(pause.rest.as_millis() as u64)));
    let pauses = longest.map(|_| look.paused.iter().map(|one| pause(one, times)).collect());
    put(&mut shown, "pauses", pauses);
    put(&mut shown, "before", look.before.as_ref().map(|version| json!(&**version)));
    let rolled_back = look.rolled_back.as_ref().map(|failed| {
        json!({
            "name": &*failed.name,
            "version": &*failed.version,
            "since_ms": times.ago(failed.since),
            "why": &*failed.why,
            "works_at_the_next_start": failed.is_configured,
        })
    });
    put(&mut shown, "rolled_back", rolled_back);
    let rehearsal = look.rehearsal.as_ref().map(|look| rehearsal(look, times));
    put(&mut shown, "rehearsal", rehearsal);
    shown
}

fn pause(pause: &Pause, times: Times) -> Json {
    json!({
        "user": &*pause.user,
        "client": &*pause.client,
        "address": &*pause.address,
        "since_ms": times.ago(pause.since),
        "rest_ms": u64::try_from(pause.rest.as_millis()).unwrap_or(u64::MAX),
        "reason": &*pause.reason,
    })
}

fn rehearsal(look: &RehearsalLook, times: Times) -> Json {
    let mut shown = json!({
        "name": &*look.name,
        "counted_since_ms": times.ago(look.age),
        "compared": look.compared,
        "different": look.different,
        "failed": look.failed,
        "skipped": look.skipped,
    });
    put(&mut shown, "version", look.version.as_ref().map(|version| json!(&**version)));
    put(&mut shown, "why_not", look.why_not.as_ref().map(|why| json!(&**why)));
    let last = look.last.as_ref().map(|last| {
        json!({
            "address": &*last.address,
            "was": &*last.was,
            "would_be": &*last.would_be,
        })
    });
    put(&mut shown, "last_difference", last);
    shown
}

fn failure(last: &LastFailure) -> Json {
    let mut shown = json!({
        "time_ms": last.time.0,
        "address": last.address.to_string(),
        "module": &*last.failure.module,
        "kind": last.failure.kind.as_str(),
        "text": &*last.failure.text,
    });
    put(&mut shown, "went_to", last.went_to.as_ref().map(|address| json!(address.to_string())));
    shown
}
