//! Content routes begin, and change while the broker runs: what they need is declared, their workers start, and what an
//! old route left is pointed out. And the other end: messages of a route that is not configured any more are moved on.

use super::route_worker::Worker;
use crate::auth::Identity;
use crate::broker::door::events::Events;
use crate::broker::door::request::{Consumer, ConsumerSource, SessionSpec};
use crate::broker::journal::unit::Unit;
use crate::broker::session::opening::open_internal;
use crate::broker::session::state::Session;
use crate::broker::shared::{Broker, Shared};
use crate::broker::turn::content::Judged;
use crate::broker::turn::context::Context;
use crate::broker::turn::failures;
use crate::broker::turn::removal;
use crate::broker::vhost::content_path::{self, ContentPath, QUEUES, is_route_queue};
use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::queue::Queue;
use crate::broker::vhost::route_counters::RouteStatus;
use crate::error::{Error, ErrorKind};
use crate::log::{Offset, QueueSpec};
use crate::message::{Address, Fields, Formats, Message, Name, Origin};
use crate::state::{State, StateKey};
use crate::subscription::{ConsumerId, Credit};
use crate::transform::{
    ContentRoute, Cost, FailureKind, Mode, Readiness, StepFailure, Transform, Verdict,
};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two looks for dead letters that no warning has told of yet.
const REPORT_EVERY: Duration = Duration::from_secs(60);
/// Messages that are moved at once when an old route is drained.
const DRAIN_CREDIT: Credit = Credit { messages: 256, bytes: 64 << 20 };
/// How long a drain waits for a message that is still being read back.
const DRAIN_WAIT: Duration = Duration::from_secs(10);

/// What became of the messages of a route that is not configured any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteDrained {
    /// They went on to where they were going, or where it was asked to.
    pub moved: u64,
    /// They lead nowhere: the dead-letter address has them.
    pub dead_lettered: u64,
    /// There is no place for them, not even there: they are where they were.
    pub left: u64,
}

/// Declares what the routes need and starts their workers.
pub async fn start(broker: &Broker, routes: Vec<ContentRoute>) -> Result<(), Error> {
    let Some(vhost) = broker.shared().default_vhost() else { return Ok(()) };
    exchange(broker, &vhost, routes).await?;
    let paths = vhost.content.read().clone();
    say_orphans(&vhost, |queue| paths.iter().all(|path| path.queue_name() != queue.name));
    broker.shared().background.spawn(report(broker.shared().clone(), vhost));
    Ok(())
}

/// These routes instead of those that are there. What can be refused is done before anything changes. One whose
/// transform is the one that is there stays as it is.
///
/// A new version takes over the queue of the old one: its workers are attached, the old ones finish what they are
/// working on and put back the rest, and then the new ones begin, so that each message is worked on by one version and
/// keeps its place.
pub async fn change(broker: &Broker, routes: Vec<ContentRoute>) -> Result<(), Error> {
    let Some(vhost) = broker.shared().default_vhost() else { return Ok(()) };
    let gone = exchange(broker, &vhost, routes).await?;
    // Publishers whose turns began before have put into the queues what they had for the routes.
    broker.shared().open_turns.wait().await;
    gone.iter().for_each(|path| path.release_held());
    say_orphans(&vhost, |queue| gone.iter().any(|path| path.queue_name() == queue.name));
    Ok(())
}

/// Makes the routes of the virtual host these. Returns those that are not there any more.
async fn exchange(
    broker: &Broker,
    vhost: &Arc<Vhost>,
    routes: Vec<ContentRoute>,
) -> Result<Vec<Arc<ContentPath>>, Error> {
    let old = vhost.content.read().clone();
    let (mut all, mut new) = (Vec::new(), Vec::new());
    for (place, route) in routes.into_iter().enumerate() {
        let before = old.iter().find(|path| path.route.name == route.name);
        let path = match before {
            Some(path) if path.is(&route) => {
                path.set_place(place);
                all.push(path.clone());
                continue;
            }
            Some(path) => path.instead(route, place),
            None => ContentPath::new(route, place, vhost.holds.full.clone()),
        };
        let remembers = |path: &ContentPath| path.route.transform.remembers();
        if remembers(&path) && !before.is_some_and(|before| remembers(before)) {
            let context = Context { shared: broker.shared(), vhost, now: broker.shared().now() };
            path.state().change(&context.remembered(&path.route.name));
        }
        all.push(path.clone());
        new.push(path);
    }
    declare(broker, vhost, &new).await?;
    let mut workers = Vec::new();
    for path in new.iter().filter(|path| path.queue().is_some()) {
        for _ in 0..path.route.concurrency.max(1) {
            workers.push(Worker::attach(path.clone(), session(broker, vhost)?).await?);
        }
    }
    *vhost.content.write() = all.clone().into();
    vhost.generations.bump();
    let is_kept = |path: &&Arc<ContentPath>| all.iter().any(|kept| Arc::ptr_eq(kept, path));
    let ended: Vec<_> = old.iter().filter(|path| !is_kept(path)).cloned().collect();
    let has_name = |name: &Name| all.iter().any(|path| path.route.name == *name);
    let gone: Vec<_> = ended.iter().filter(|old| !has_name(&old.route.name)).cloned().collect();
    gone.iter().for_each(|path| path.retire());
    for path in &ended {
        path.end_workers().await;
    }
    for path in &new {
        if let Some(queue) = path.queue() {
            queue.look(|state| state.sub.rules.by_source = path.route.concurrency > 1);
        }
        // There may be room by now, of which nobody was told meanwhile.
        path.release_held();
    }
    for worker in workers {
        broker.shared().background.spawn(worker.run());
    }
    Ok(gone)
}

/// What each route did since the start.
pub fn status(broker: &Broker) -> Vec<RouteStatus> {
    let Some(vhost) = broker.shared().default_vhost() else { return Vec::new() };
    let paths = vhost.content.read().clone();
    let status = |path: &Arc<ContentPath>| {
        let waiting = path.queue().map(|queue| queue.look(|state| state.sub.log.len()));
        let down = match path.route.transform.readiness() {
            Readiness::Down(why) => Some(why),
            Readiness::Ready | Readiness::Starting => None,
        };
        let no_place = path.said_waiting.load(Ordering::Acquire);
        let name = path.route.name.clone();
        let status = path.counters.status((name, waiting.unwrap_or_default()), no_place, down);
        let mut modules = path.route.transform.modules();
        for (step, size) in modules.iter_mut().filter_map(|look| look.state.as_mut()) {
            *size = path.state().size(*step);
        }
        RouteStatus { modules, ..status }
    };
    paths.iter().map(status).collect()
}

/// Modules that were rehearsed take the places of those that work.
pub fn promote(broker: &Broker, name: &str, anyway: bool) -> Result<Vec<String>, Error> {
    let paths = broker.shared().default_vhost().map(|vhost| vhost.content.read().clone());
    let path = paths.iter().flat_map(|paths| paths.iter()).find(|path| *path.route.name == *name);
    let no_route =
        || Error::new(ErrorKind::NotFound, format!("there is no content route '{name}'"));
    let promoted = path.ok_or_else(no_route)?.route.transform.promote(anyway);
    promoted.map_err(|why| Error::new(ErrorKind::Invalid, format!("route '{name}': {why}")))
}

/// What the steps of a route remember, whether or not it is configured.
pub fn remembered(broker: &Broker, name: &str) -> Vec<(StateKey, Bytes)> {
    let shared = broker.shared();
    let Some(vhost) = shared.default_vhost() else { return Vec::new() };
    let context = Context { shared, vhost: &vhost, now: shared.now() };
    let mut all: Vec<(StateKey, Bytes)> = context
        .remembered(name)
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// What the steps of a route remember is forgotten, whether or not it is configured. How many keys there were.
pub async fn forget(broker: &Broker, name: &str) -> Result<usize, Error> {
    let shared = broker.shared();
    let Some(vhost) = shared.default_vhost() else { return Ok(0) };
    let path = vhost.content.read().iter().find(|path| *path.route.name == *name).cloned();
    let context = Context { shared, vhost: &vhost, now: shared.now() };
    let keys = {
        // A message that is being handled is asked for again, or has ended before.
        let writing = path.as_ref().map(|path| path.state().write());
        let keys = context.forget_state(name);
        path.iter().for_each(|path| path.state().forget());
        drop(writing);
        keys
    };
    shared.committer.sync(Unit::default()).await?;
    Ok(keys)
}

/// Moves on what waits in the queue of a route that is not configured any more.
pub async fn drain(
    broker: &Broker,
    name: &str,
    to: Option<&Address>,
) -> Result<RouteDrained, Error> {
    let no_vhost = || Error::new(ErrorKind::NotFound, "there is no virtual host");
    let vhost = broker.shared().default_vhost().ok_or_else(no_vhost)?;
    if vhost.content.read().iter().any(|path| *path.route.name == *name) {
        let detail = format!("route '{name}' is configured: its own workers empty its queue");
        return Err(Error::new(ErrorKind::InUse, detail));
    }
    let mut route = ContentRoute::new(name.into(), Vec::new(), Mode::Divert, Arc::new(Gone));
    // What is moved has to arrive somewhere.
    route.required = true;
    let path = ContentPath::new(route, 0, vhost.holds.full.clone());
    let queue = vhost.queue(&path.queue_name())?;
    if let Some(to) = to {
        let none = Fields::default();
        let (route, _) = vhost.route((to, &Origin::default()), &|| &none, |_| ())?;
        if to.is_queue() && route.queues.is_empty() && route.content.is_empty() {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no {to}")));
        }
    }
    let configured = vhost.content.read().iter().map(|path| path.route.name.clone()).collect();
    let drained = RouteDrained::default();
    let mut drain = Drain { path, to: to.cloned(), configured, drained };
    drain.run(session(broker, &vhost)?, &queue).await?;
    if drain.drained.left == 0 {
        let (ops, _) = removal::remove_queue(broker.shared(), &vhost, &queue);
        broker.shared().committer.submit_ops(ops);
    }
    session(broker, &vhost)?.close().await?;
    Ok(drain.drained)
}

fn session(broker: &Broker, vhost: &Vhost) -> Result<Session, Error> {
    let origin = Origin { user: "route".into(), ..Origin::default() };
    let identity = Identity::unlimited("route");
    open_internal(broker, &SessionSpec::anonymous(vhost.name.clone(), origin, identity))
}

/// Declares the queues of the routes, and those that they send to and nothing else declared.
async fn declare(broker: &Broker, vhost: &Vhost, paths: &[Arc<ContentPath>]) -> Result<(), Error> {
    if paths.is_empty() {
        return Ok(());
    }
    let mut session = session(broker, vhost)?;
    let configured = &broker.shared().settings.dead_letter();
    for path in paths {
        let dead_letter = path.dead_letter_address(configured);
        let dead = dead_letter.is_queue().then(|| Name::from(dead_letter.key.to_string()));
        for name in path.route.queues.iter().chain(&dead) {
            if session.queue_status(name).is_err() {
                session.declare_queue(QueueSpec::durable(name.clone())).await?;
            }
        }
        let name = path.queue_name();
        let is_there = session.queue_status(&name).is_ok();
        // A route that had a queue until it lost its wasm steps works on what waits there.
        if is_there || path.route.transform.cost() == Cost::Queued {
            if !is_there {
                session.declare_queue(QueueSpec::durable(name.clone())).await?;
            }
            let queue = vhost.queue(&name)?;
            path.set_queue(queue);
        }
    }
    session.close().await
}

/// Says which queues of routes have messages that no worker will take.
fn say_orphans(vhost: &Vhost, is_orphan: impl Fn(&Queue) -> bool) {
    for queue in vhost.queues() {
        let messages = queue.look(|state| state.sub.log.len());
        if is_route_queue(&queue.name) && messages > 0 && is_orphan(&queue) {
            let route = queue.name.strip_prefix(QUEUES).unwrap_or_default();
            tracing::warn!(
                route, queue = %queue.name, messages,
                "messages wait in the queue of a content route that is not configured (any more): move \
                 them on with `crossdock ctl route drain ROUTE`"
            );
        }
    }
}

/// Warns about dead letters that came within a minute of a warning.
async fn report(shared: Arc<Shared>, vhost: Arc<Vhost>) {
    loop {
        tokio::time::sleep(REPORT_EVERY).await;
        let paths = vhost.content.read().clone();
        for path in paths.iter() {
            path.counters.warn(&path.route.name, shared.now());
        }
    }
}

/// The steps of a route that is gone: none.
struct Gone;

impl Transform for Gone {
    fn name(&self) -> &str {
        "none"
    }

    fn cost(&self) -> Cost {
        Cost::Queued
    }

    fn wants(&self, _: &Message, _: &Formats) -> bool {
        false
    }

    fn apply(
        &self,
        _: &Message,
        _: u32,
        _: &Formats,
        _: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        Ok(Verdict::Pass)
    }
}

/// Empties the queue of an old route.
struct Drain {
    path: Arc<ContentPath>,
    to: Option<Address>,
    /// Routes that are configured now.
    configured: Vec<Name>,
    drained: RouteDrained,
}

impl Drain {
    async fn run(&mut self, mut session: Session, queue: &Queue) -> Result<(), Error> {
        session.moves();
        let lane = session.lane();
        let consumer = Consumer {
            source: ConsumerSource::Queue(queue.name.clone()),
            settles: true,
            exclusive: true,
            priority: 0,
            credit: DRAIN_CREDIT,
            pools: smallvec::SmallVec::new(),
            only_unexpired: false,
            has_time: false,
            tag: queue.name.clone(),
        };
        let consumer = session.attach(lane, consumer).await?;
        let mut events = Events::default();
        let mut position = 0;
        while queue.look(|state| state.sub.log.len()) > self.drained.left {
            if tokio::time::timeout(DRAIN_WAIT, session.events(&mut events)).await.is_err() {
                break;
            }
            position += 1;
            session.encoded(position);
            session.flushed(position);
            for delivery in events.deliveries.drain(..) {
                self.move_on(&mut session, (consumer, delivery.offset), &delivery.message);
            }
            session.flush();
            if self.drained.left >= u64::from(DRAIN_CREDIT.messages) {
                break;
            }
        }
        session.close().await?;
        self.drained.left = queue.look(|state| state.sub.log.len());
        Ok(())
    }

    /// The message, so that only routes have their turn that were to have it anyway.
    fn without_new_routes(&self, message: &Message) -> Message {
        let mut onward = message.meta().onward().cloned().unwrap_or_default();
        let new = self.configured.iter().filter(|name| !onward.later.contains(name));
        onward.asked.extend(new.cloned().collect::<Vec<_>>());
        message.with(message.address().clone(), content_path::waiting(message.meta(), onward))
    }

    fn move_on(&mut self, session: &mut Session, place: (ConsumerId, Offset), message: &Message) {
        let path = self.path.clone();
        let went = match &self.to {
            Some(to) => {
                let result = message.with(to.clone(), message.meta().clone());
                let results = Judged::Results(vec![result]);
                session
                    .complete(place, &path, &self.without_new_routes(message), (results, &[]))
                    .is_ok()
            }
            None => session.complete_without(place, &path, message).is_ok_and(|went| went),
        };
        if went {
            self.drained.moved += 1;
            return;
        }
        let text =
            "its content route is not configured any more, and nobody takes it where it was going";
        let fault = failures::failure(&path, FailureKind::Unroutable, text);
        let message = self.without_new_routes(message);
        match session.complete(place, &path, &message, (Judged::Refused(fault), &[])) {
            Ok(()) => self.drained.dead_lettered += 1,
            Err(_) => self.drained.left += 1,
        }
    }
}
