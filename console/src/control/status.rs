//! Whether all is well: the audit, alarms, health, and one screen of everything.

use super::answer::Refusal;
use super::arrivals::{Arrivals, busiest, delays, refused_logins, unfinished};
use super::losses;
use super::operations::Standing;
use super::view::View;
use crate::process::Usage;
use crossdock_core::readable::bytes;
use crossdock_core::transform::{FailureKind, ModuleLook};
use crossdock_core::{
    Broker, CameBy, ExchangeLook, Imbalance, LastFailure, LeftAs, LeftBy, Name, NodeLook, Page,
    QueueLook, RouteStatus, Tally, Timestamp, Unroutable, VhostTotals,
};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};
use std::time::Duration;

/// Exchanges without a plugin for their type that are named in one status.
const LACKING_SHOWN: usize = 10;
/// Queues that are looked at together.
const SLICE: usize = 500;
/// Queues that are looked at twice, to see which grow.
const WATCHED_MAX: usize = 20_000;
/// Names in a list of the screen; of more, the largest are shown.
const NAMED_MAX: usize = 10;
/// The longest time between the two looks.
const SECONDS_MAX: u64 = 10;
/// A failure of a route is shown as a trouble for this many milliseconds.
const LATELY_MS: u64 = 10 * 60 * 1_000;
/// Of a hundred file descriptors, this many may be taken before it is a trouble.
const DESCRIPTORS_PERCENT: u64 = 90;
/// Addresses that do not balance, in one answer.
const IMBALANCES_MAX: usize = 500;

/// Every address that does not balance, with its numbers; and what is known to be lost.
pub fn audit(view: &View) -> Json {
    let found = view.broker.audit();
    let items: Vec<Json> = found.iter().take(IMBALANCES_MAX).map(imbalance).collect();
    json!({ "balanced": found.is_empty(), "count": found.len(), "items": items,
        "losses": losses::standing(&view.broker) })
}

fn imbalance(found: &Imbalance) -> Json {
    let (vhost, numbers) = match found {
        Imbalance::Queue { vhost, totals, .. } => {
            let numbers = json!({
                "came": totals.tally.came_all(), "left": totals.tally.left_all(),
                "waiting": totals.waiting,
            });
            (vhost, numbers)
        }
        Imbalance::Exchange { vhost, totals, .. } => {
            let numbers = json!({
                "published": totals.published(), "routed": totals.routed,
                "unroutable": totals.unroutable, "refused": totals.refused,
            });
            (vhost, numbers)
        }
    };
    // Sums of 64-bit counters: it fits unless they are damaged, and is cut then.
    let missing = i64::try_from(found.missing()).unwrap_or(i64::MAX);
    json!({
        "vhost": &**vhost,
        "address": found.address().to_string(),
        "missing": missing,
        "numbers": numbers,
        "text": found.to_string(),
    })
}

/// What holds publishers back, or has stopped the store, in words.
fn troubles_of(node: &NodeLook) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    if node.store_failed {
        found.push(("store", "the store has failed: nothing is acknowledged any more".to_owned()));
    }
    let (memory, disk) = (&node.memory, &node.disk);
    if memory.alarm {
        let text = format!(
            "publishers are held back: messages that wait take {} of memory; that began over {}, what \
             memory.high, {}, leaves beside {} that are kept, and ends below {}",
            bytes(memory.waiting as u64),
            bytes(memory.alarm_marks.0 as u64),
            bytes(memory.high_mark as u64),
            bytes(memory.kept as u64),
            bytes(memory.alarm_marks.1 as u64)
        );
        found.push(("memory", text));
    }
    if disk.alarm {
        let text = format!(
            "publishers are held back: the disk has {} free; that began below {} (store.disk_free_alarm), \
             and ends above {}",
            bytes(disk.free),
            bytes(disk.alarm_mark),
            bytes(disk.alarm_mark.saturating_add(disk.alarm_mark / 8))
        );
        found.push(("disk", text));
    }
    if disk.exhausted {
        let text = format!(
            "no queue, exchange or binding is made: the disk has {} free, less than {} \
             (store.disk_free_hard)",
            bytes(disk.free),
            bytes(disk.hard_mark)
        );
        found.push(("disk-hard", text));
    }
    found
}

/// The alarms that are on.
pub fn alarms(view: &View) -> Json {
    let node = view.broker.look_at_node();
    let items = troubles_of(&node).into_iter();
    let items: Vec<Json> =
        items.map(|(alarm, text)| json!({ "alarm": alarm, "text": text })).collect();
    json!({ "items": items, "publishers_held": node.publishers_held })
}

/// Whether messages are taken.
pub fn health(view: &View) -> Json {
    let mut why: Vec<String> =
        troubles_of(&view.broker.look_at_node()).into_iter().map(|(_, text)| text).collect();
    why.extend(draining(view));
    json!({ "well": why.is_empty(), "troubles": why })
}

fn draining(view: &View) -> Option<String> {
    let text = "the broker is drained: it takes no connections; start it again to take some";
    view.common.operations.is_draining().then(|| text.to_owned())
}

/// How long a status takes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// Seconds between the two looks that tell which queues grow; none: 1.
    seconds: Option<u64>,
}

impl Pace {
    fn time(&self) -> Result<Duration, Refusal> {
        match self.seconds.unwrap_or(1) {
            seconds @ 0..=SECONDS_MAX => Ok(Duration::from_secs(seconds)),
            seconds => {
                Err(Refusal::bad(format!("seconds are 0 to {SECONDS_MAX}, and not {seconds}")))
            }
        }
    }
}

/// A queue at the first look.
struct Watched {
    vhost: Name,
    queue: Name,
    waiting: u64,
    consumed: u64,
    lost: u64,
}

/// What a second look at the watched queues finds.
#[derive(Default)]
struct Second<'a> {
    /// Queues in which more waits than before, by more than was consumed meanwhile: less than half of what came. The
    /// fastest first.
    growing: Vec<(u64, &'a Watched)>,
    /// Queues that lost messages: how many between the two looks, and how many in all. Those that lose now come first,
    /// then those that have lost most.
    losing: Vec<(u64, u64, &'a Watched)>,
}

/// What one walk over all queues finds.
#[derive(Default)]
struct Walk {
    watched: Vec<Watched>,
    /// Queues with dead letters in them, and how many.
    dead: Vec<(Name, Name, u64)>,
    /// Not all queues fitted into `watched`.
    is_cut: bool,
}

fn walk(broker: &Broker) -> Walk {
    let mut found = Walk::default();
    for vhost in broker.vhosts() {
        let mut last: Option<Name> = None;
        loop {
            let page = Page { after: last.as_deref(), max: SLICE };
            // It is gone.
            let Ok(some) = broker.look_at_queues(&vhost, page) else { break };
            let Some(queue) = some.last() else { break };
            last = Some(queue.spec.name.clone());
            some.iter().for_each(|queue| found.add(&vhost, queue));
        }
    }
    found.dead.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    found
}

fn consumed(records: &Tally) -> u64 {
    records.left_as(LeftAs::Consumed)
}

impl Walk {
    fn add(&mut self, vhost: &Name, look: &QueueLook) {
        let (name, depth) = (&look.spec.name, &look.depth);
        // No more of them can be there than came.
        let dead = look.records.came(CameBy::DeadLetter).min(depth.waiting);
        if dead > 0 {
            self.dead.push((vhost.clone(), name.clone(), dead));
        }
        if self.watched.len() == WATCHED_MAX {
            self.is_cut = true;
            return;
        }
        self.watched.push(Watched {
            vhost: vhost.clone(),
            queue: name.clone(),
            waiting: depth.waiting,
            consumed: consumed(&look.records),
            lost: lost_in(&look.records),
        });
    }

    fn again(&self, broker: &Broker) -> Second<'_> {
        let mut second = Second::default();
        for before in &self.watched {
            let Ok(now) = broker.look_at_queue(&before.vhost, &before.queue) else { continue };
            let more = now.depth.waiting.saturating_sub(before.waiting);
            if more > consumed(&now.records).saturating_sub(before.consumed) {
                second.growing.push((more, before));
            }
            let lost = lost_in(&now.records);
            if lost > 0 {
                second.losing.push((lost.saturating_sub(before.lost), lost, before));
            }
        }
        second.growing.sort_by_key(|(more, _)| std::cmp::Reverse(*more));
        second.losing.sort_by_key(|(now, all, _)| std::cmp::Reverse((*now, *all)));
        second
    }
}

/// One screen: whether all is well, and where to look.
pub async fn status(view: &View, pace: &Pace) -> Result<Json, Refusal> {
    let time = pace.time()?;
    let before = view
        .look(|view| Ok((walk(&view.broker), Arrivals::look(&view.broker.look_at_node()))))
        .await?;
    tokio::time::sleep(time).await;
    view.look(move |view| Ok(screen(view, &before))).await
}

fn screen(view: &View, (walk, arrivals): &(Walk, Arrivals)) -> Json {
    let (broker, common) = (&view.broker, &view.common);
    let node = broker.look_at_node();
    let mut totals = VhostTotals::default();
    broker.totals().iter().for_each(|(_, one)| totals.add(one));
    let usage = Usage::now();
    let mut troubles: Vec<String> = troubles_of(&node).into_iter().map(|(_, text)| text).collect();
    troubles.extend(draining(view));
    troubles
        .extend(broker.audit().iter().take(NAMED_MAX).map(|one| format!("out of balance: {one}")));
    let mut warnings = certificates(view, &mut troubles);
    routes(broker, &mut troubles, &mut warnings);
    losses::say(broker, &mut troubles, &mut warnings);
    troubles.extend(plugins(view));
    troubles.extend(without_plugin(&view.broker));
    if usage.open_files * 100 >= usage.max_files.saturating_mul(DESCRIPTORS_PERCENT) {
        let (open, max) = (usage.open_files, usage.max_files);
        troubles.push(format!(
            "{open} of {max} file descriptors are open: connections are refused soon"
        ));
    }
    let second = walk.again(broker);
    let growing = &second.growing;
    let dead: u64 = walk.dead.iter().map(|(_, _, count)| count).sum();
    json!({
        "well": troubles.is_empty(),
        "troubles": troubles,
        "warnings": warnings,
        "node": common.node.name,
        "version": common.node.version,
        "pid": std::process::id(),
        "uptime_s": common.started.uptime(),
        "publishers_held": node.publishers_held,
        "queues": { "count": totals.queues, "messages": totals.depth.messages(),
            "ready": totals.depth.ready, "unacked": totals.depth.in_flight,
            "being_stored": totals.depth.being_stored(),
            "bytes": totals.depth.messages_bytes() },
        "growing_unread": { "count": growing.len(), "all_watched": !walk.is_cut,
            "largest": growing.iter().take(NAMED_MAX).map(|(more, one)| json!({
                "vhost": &*one.vhost, "queue": &*one.queue, "more": more,
                "messages": one.waiting + more,
            })).collect::<Vec<Json>>() },
        "dead_letters": { "waiting": dead,
            "largest": walk.dead.iter().take(NAMED_MAX).map(|(vhost, queue, count)| json!({
                "vhost": &**vhost, "queue": &**queue, "messages": count,
            })).collect::<Vec<Json>>() },
        "lost": lost(&totals.records, &node),
        "lost_by_queue": losing(&second.losing),
        "unroutable": totals.exchanges.unroutable,
        "unroutable_last": unroutable(broker),
        "routes": route_sums(&broker.route_status()),
        "moves": common.moves.list(),
        "connections": { "count": node.connections,
            "by_protocol": node.protocols.iter().map(|(name, one)| {
                (name.to_string(), json!(one.connections))
            }).collect::<Map<_, _>>() },
        "arrivals": arrivals.until(&Arrivals::look(&node)),
        "busiest": busiest(broker),
        "refused_logins": refused_logins(broker),
        "login_delays": delays(broker),
        "logins_unfinished": unfinished(&node),
        "memory": { "resident_bytes": usage.resident,
            "messages_bytes": node.memory.waiting + node.memory.kept,
            "high_bytes": node.memory.high_mark },
        "disk": { "free_bytes": node.disk.free, "total_bytes": node.disk.total,
            "alarm_bytes": node.disk.alarm_mark },
        "descriptors": { "open": usage.open_files, "max": usage.max_files },
    })
}

/// What all routes come to.
fn route_sums(all: &[RouteStatus]) -> Json {
    let sum = |of: fn(&RouteStatus) -> u64| all.iter().map(of).sum::<u64>();
    json!({
        "count": all.len(),
        "waiting": sum(|route| route.waiting),
        "between_attempts": sum(|route| route.waits.between_attempts),
        "dead_lettered": sum(|route| route.dead_lettered),
    })
}

fn is_loss(by: LeftBy) -> bool {
    matches!(by.class(), LeftAs::Expired | LeftAs::Dropped | LeftAs::TransientLost)
}

/// Messages of one queue that left it without being consumed, moved or asked to go.
fn lost_in(records: &Tally) -> u64 {
    LeftBy::ALL.into_iter().filter(|by| is_loss(*by)).map(|by| records.left(by)).sum()
}

/// The queues that lost messages. `more`: between the two looks.
fn losing(all: &[(u64, u64, &Watched)]) -> Json {
    let named = all.iter().take(NAMED_MAX).map(|(more, lost, queue)| {
        json!({ "vhost": &*queue.vhost, "queue": &*queue.queue, "lost": lost, "more": more })
    });
    json!({ "count": all.len(), "largest": named.collect::<Vec<Json>>() })
}

/// The last publish of each exchange that reached nobody, the newest first.
fn unroutable(broker: &Broker) -> Json {
    let (now, mut last) = (broker.now(), Vec::new());
    let mut note = |vhost: &Name, look: &ExchangeLook| {
        if let Some(one) = &look.last_unroutable {
            last.push((one.time, vhost.clone(), look.spec.name.clone(), one.clone()));
            // However many exchanges there are, little is kept.
            if last.len() > SLICE {
                newest(&mut last);
            }
        }
    };
    for vhost in broker.vhosts() {
        if let Ok(default) = broker.look_at_default_exchange(&vhost) {
            note(&vhost, &default);
        }
        let mut after: Option<Name> = None;
        loop {
            let page = Page { after: after.as_deref(), max: SLICE };
            // It is gone.
            let Ok(some) = broker.look_at_exchanges(&vhost, page) else { break };
            let Some(exchange) = some.last() else { break };
            after = Some(exchange.spec.name.clone());
            some.iter().for_each(|exchange| note(&vhost, exchange));
        }
    }
    newest(&mut last);
    let each = last.iter().map(|(time, vhost, exchange, one)| {
        json!({
            "vhost": &**vhost, "exchange": &**exchange, "key": one.key.to_string(),
            "user": &*one.user, "since_ms": time.0, "ago_s": time.until(now) / 1_000,
        })
    });
    Json::Array(each.collect())
}

fn newest(last: &mut Vec<(Timestamp, Name, Name, Unroutable)>) {
    last.sort_by_key(|(time, ..)| std::cmp::Reverse(*time));
    last.truncate(NAMED_MAX);
}

/// Messages that left queues without being consumed, moved or asked to go, by why.
fn lost(records: &Tally, node: &NodeLook) -> Json {
    let each = LeftBy::ALL.into_iter().filter(|by| is_loss(*by) && records.left(*by) > 0);
    let mut lost: Map<_, _> =
        each.map(|by| (by.as_str().to_owned(), json!(records.left(by)))).collect();
    let unread: u64 = node.protocols.iter().map(|(_, one)| one.deliveries.direct_dropped).sum();
    if unread > 0 {
        lost.insert("not_read_in_time".to_owned(), json!(unread));
    }
    lost.into()
}

/// Adds the certificates of listeners that are not valid now to the troubles; returns those that end soon.
fn certificates(view: &View, troubles: &mut Vec<String>) -> Vec<String> {
    let mut warnings = Vec::new();
    for listener in view.common.operations.listeners() {
        for certificate in listener.certificates {
            match certificate.standing {
                Standing::Good => {}
                Standing::Warning(text) => warnings.push(text),
                Standing::Trouble(text) => troubles.push(text),
            }
        }
    }
    warnings
}

/// Plugins that are out of use, each with why.
fn plugins(view: &View) -> impl Iterator<Item = String> {
    view.common.operations.plugins().into_iter().filter_map(|one| {
        let why = one.out_of_use?;
        let (name, brings) = (one.name, one.brings.join(", "));
        Some(format!("plugin '{name}' ({brings}) is out of use until the next start: {why}"))
    })
}

/// Exchanges whose type no plugin brings, the first few of them.
fn without_plugin(broker: &Broker) -> impl Iterator<Item = String> {
    let mut found = broker.exchanges_without_plugin(LACKING_SHOWN + 1);
    let more = found.len() > LACKING_SHOWN;
    found.truncate(LACKING_SHOWN);
    let each = found.into_iter().map(|(vhost, spec)| {
        let (name, kind) = (spec.name, spec.kind.as_str());
        format!(
            "exchange '{name}' in virtual host '{vhost}' refuses what is published to it: no plugin that is \
             loaded brings its type, '{kind}'; configure the plugin again, or delete the exchange"
        )
    });
    each.chain(more.then(|| "there are more exchanges whose types no plugin brings".to_owned()))
}

/// Adds routes that cannot go on, or that gave up a message a short time ago, to the troubles; those that try again to
/// the warnings. Each with what failed last, and the queue to look at.
fn routes(broker: &Broker, troubles: &mut Vec<String>, warnings: &mut Vec<String>) {
    let now = broker.now();
    let said = |last: &LastFailure| {
        let (failure, ago) = (&last.failure, last.time.until(now) / 1_000);
        format!("{ago} s ago: {} {}", failure.kind.as_str(), failure.text)
    };
    for route in broker.route_status() {
        let (name, waits) = (&route.name, &route.waits);
        let queue = format!("{} messages wait in queue 'route/{name}'", route.waiting);
        if let Some(why) = &waits.down {
            troubles.push(format!("route '{name}' is down, {queue}: {why}"));
        }
        if let Some(why) = &waits.no_place {
            troubles.push(format!("route '{name}' has no place for its results, {queue}: {why}"));
        }
        route.modules.iter().for_each(|look| modules(look, (name, &queue), troubles));
        // What is down tries nothing again: its messages wait.
        if waits.between_attempts > 0 && waits.down.is_none() {
            let last = waits.last_attempt.as_ref().or(route.last_failure.as_ref());
            let last = last.map(|last| format!("; the last attempt failed {}", said(last)));
            warnings.push(format!(
                "route '{name}' tries {} messages again, {queue}{}",
                waits.between_attempts,
                last.unwrap_or_default()
            ));
        }
        if let Some(last) = route.last_failure.as_ref().filter(|it| it.time.until(now) < LATELY_MS)
        {
            let to = last.went_to.as_ref().map(|address| format!(", {address},"));
            let queue = last.went_to.as_ref().filter(|address| address.is_queue());
            let queue = queue.map(|address| address.key.to_string());
            let is_broken = matches!(
                last.failure.kind,
                FailureKind::Trap | FailureKind::Timeout | FailureKind::Memory
            );
            let when = if is_broken { " once its step is mended" } else { "" };
            let help = queue.map(|queue| {
                format!(
                    "; to see them: crossdock ctl peek {queue}, to have the route try them again{when}: \
                     crossdock ctl move {queue} --to-origin"
                )
            });
            let minutes = (LATELY_MS - last.time.until(now)).div_ceil(60_000);
            troubles.push(format!(
                "route '{name}' sent {} messages to its dead-letter address{} since the start, the last \
                 one {}; this is shown for {minutes} min more{}",
                route.dead_lettered,
                to.unwrap_or_default(),
                said(last),
                help.unwrap_or_default()
            ));
        }
    }
}

/// Adds what is wrong with a module of a route: for whom it is paused, and that a new one was rolled back.
fn modules(look: &ModuleLook, (route, queue): (&Name, &str), troubles: &mut Vec<String>) {
    for pause in &look.paused {
        troubles.push(format!(
            "module '{}' of route '{route}' is paused for what user '{}', client '{}', sends to {}, since \
             {} s ago; in {} s one message is tried; {queue}: {}",
            look.name,
            pause.user,
            pause.client,
            pause.address,
            pause.since.as_secs(),
            pause.rest.as_millis().div_ceil(1_000),
            pause.reason
        ));
    }
    if let Some(failed) = &look.rolled_back {
        let next = match failed.is_configured {
            true => {
                "the next start begins with it: put another file in its place, then crossdock ctl reload"
            }
            false => "take it out of the configuration, or rehearse a mended one (`shadow`)",
        };
        troubles.push(format!(
            "module '{}', version {}, of route '{route}' was rolled back {} s ago, version {} of module '{}' \
             works: {}; {next}",
            failed.name,
            failed.version,
            failed.since.as_secs(),
            look.version,
            look.name,
            failed.why
        ));
    }
}
