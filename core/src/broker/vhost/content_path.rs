//! A content route as a virtual host knows it: its queue, its counters, the publishers that wait for room in its
//! queue, and what becomes of messages at its border. What a route does to a message is behind the
//! [`Transform`](crate::transform::Transform) seam.

use super::held::HeldSessions;
use super::inbox::Inbox;
use super::queue::Queue;
use super::route_counters::RouteCounters;
use super::route_state::RouteState;
use crate::message::{Address, Formats, Journey, Message, Meta, Name, Onward, Value};
use crate::transform::{ContentRoute, Mode, StepFailure};
use parking_lot::RwLock;
use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::watch;

/// The names of the queues in front of routes begin with it. They are the broker's own: no client reaches them.
pub const QUEUES: &str = "route/";
/// Messages and bytes that wait in a route's queue before its publishers are held back.
const WAITING_MAX: u64 = 100_000;
const WAITING_BYTES_MAX: u64 = 256 << 20;

/// True for the name of a queue in front of a route.
pub fn is_route_queue(name: &str) -> bool {
    name.starts_with(QUEUES)
}

/// True when the queue of a route holds as much as it may; what its workers have counts, too.
pub fn is_route_queue_full(queue: &Queue) -> bool {
    queue.look(|state| {
        let log = &state.sub.log;
        log.len() >= WAITING_MAX || log.bytes() >= WAITING_BYTES_MAX
    })
}

/// A version of a route, and its queue.
pub struct ContentPath {
    pub route: ContentRoute,
    /// Its place among the configured routes.
    place: AtomicUsize,
    /// Only for routes that are [`Cost::Queued`](crate::transform::Cost::Queued).
    queue: RwLock<Option<Arc<Queue>>>,
    pub counters: Arc<RouteCounters>,
    border: Arc<Border>,
    /// It was said that messages wait in its queue; and that it is down.
    pub said_waiting: AtomicBool,
    pub said_down: AtomicBool,
    /// Tells the workers of this version to leave. Each has a receiver until it has left.
    leave: watch::Sender<bool>,
}

/// What all versions of a route share: a publisher may still have an old one.
struct Border {
    /// Sessions whose publishes are held back until there is room in its queue.
    held: HeldSessions,
    /// Its queue was found full, and there was no room since.
    is_marked_full: AtomicBool,
    /// How many routes of the virtual host are marked so.
    full_routes: Arc<AtomicUsize>,
    /// The route was taken away: nobody works on what waits in its queue, so nobody is held back for that.
    is_gone: AtomicBool,
    /// What its steps remember.
    state: Arc<RouteState>,
}

impl ContentPath {
    /// A route whose queue is not there yet; `place` is its place among the configured ones.
    pub fn new(route: ContentRoute, place: usize, full_routes: Arc<AtomicUsize>) -> Arc<Self> {
        let border = Border {
            held: HeldSessions::default(),
            is_marked_full: AtomicBool::new(false),
            full_routes,
            is_gone: AtomicBool::new(false),
            state: Arc::default(),
        };
        Self::with(route, place, (Arc::default(), Arc::new(border)))
    }

    /// The same route in another version. Its counts go on.
    pub fn instead(&self, route: ContentRoute, place: usize) -> Arc<Self> {
        Self::with(route, place, (self.counters.clone(), self.border.clone()))
    }

    fn with(
        route: ContentRoute,
        place: usize,
        (counters, border): (Arc<RouteCounters>, Arc<Border>),
    ) -> Arc<Self> {
        Arc::new(Self {
            route,
            place: AtomicUsize::new(place),
            queue: RwLock::new(None),
            counters,
            border,
            said_waiting: AtomicBool::new(false),
            said_down: AtomicBool::new(false),
            leave: watch::Sender::new(false),
        })
    }

    /// It stands elsewhere among the configured routes from now on.
    pub fn set_place(&self, place: usize) {
        self.place.store(place, Ordering::Relaxed);
    }

    /// True when that route is this version.
    pub fn is(&self, route: &ContentRoute) -> bool {
        self.route.name == route.name && Arc::ptr_eq(&self.route.transform, &route.transform)
    }

    /// For a worker: becomes true when it has to leave, and is dropped when it has.
    pub fn leave(&self) -> watch::Receiver<bool> {
        self.leave.subscribe()
    }

    /// Has the workers of this version leave; resolves when they have.
    pub async fn end_workers(&self) {
        self.leave.send_replace(true);
        self.leave.closed().await;
    }

    /// The route is not configured any more.
    pub fn retire(&self) {
        self.border.is_gone.store(true, Ordering::Release);
        self.release_held();
    }

    /// What its steps remember.
    pub fn state(&self) -> &Arc<RouteState> {
        &self.border.state
    }

    /// Name of the queue in front of the route.
    pub fn queue_name(&self) -> Name {
        format!("{QUEUES}{}", self.route.name).into()
    }

    /// The queue in front of the route.
    pub fn queue(&self) -> Option<Arc<Queue>> {
        self.queue.read().clone()
    }

    /// The queue in front of the route is declared.
    pub fn set_queue(&self, queue: Arc<Queue>) {
        *self.queue.write() = Some(queue);
    }

    /// The order in which routes that watch one address have their turn: filters first, the highest priority in front,
    /// then as configured.
    pub fn turn(&self) -> (bool, Reverse<i32>, usize) {
        let is_filter = self.route.mode == Mode::Filter;
        let place = self.place.load(Ordering::Relaxed);
        (!is_filter, Reverse(if is_filter { self.route.priority } else { 0 }), place)
    }

    /// True when the message went through the route, or the route did not take it when it was asked.
    pub fn had_turn(&self, message: &Message) -> bool {
        let name = &self.route.name;
        message.meta().journey.as_ref().is_some_and(|journey| {
            journey.through.contains(name)
                || journey.onward.as_ref().is_some_and(|onward| onward.asked.contains(name))
        })
    }

    /// True when it takes that message. It never takes its own results, and never has two turns.
    pub fn wants(&self, message: &Message, formats: &Formats) -> bool {
        !self.had_turn(message) && self.route.transform.wants(message, formats)
    }

    /// True when a retained value is cleared by that message: it has nothing for the steps to work on.
    pub fn clears(&self, message: &Message, topic_exchange: &str) -> bool {
        let is_topic = *message.address().exchange == *topic_exchange;
        message.meta().retain && message.body().is_empty() && is_topic
    }

    /// Where failures go: the route's own address, or else the configured one.
    pub fn dead_letter_address<'a>(&'a self, configured: &'a Address) -> &'a Address {
        self.route.on_error.dead_letter.as_ref().unwrap_or(configured)
    }

    /// The original with what went wrong in its headers, on its way to the dead-letter address.
    pub fn with_fault(
        &self,
        message: &Message,
        fault: &StepFailure,
        formats: &Formats,
        dead_letter: &Address,
    ) -> Message {
        let mut fields = message.fields(formats).clone();
        fields.headers.retain(|(name, _)| !name.starts_with("mq.error."));
        let mut put = |name: &str, text: &str| {
            fields.headers.push((format!("mq.error.{name}").into(), Value::text(text)));
        };
        put("route", &self.route.name);
        put("module", &fault.module);
        put("version", &fault.version);
        put("kind", fault.kind.as_str());
        put("text", &fault.text);
        put("address", &message.address().to_string());
        let mut meta = passed_through(message.meta(), &self.route.name);
        meta.expires = None;
        meta.retain = false;
        // So its queue counts it among those that were dead-lettered.
        meta.moves = meta.moves.max(1);
        let address = self.dead_letter_address(dead_letter).clone();
        Message::from_fields(address, meta, &fields, message.body().clone())
    }

    /// True when its queue holds as much as it may: publishers are held back.
    pub fn is_full(&self) -> bool {
        if self.border.is_gone.load(Ordering::Acquire) {
            return false;
        }
        let queue = self.queue.read();
        queue.as_ref().is_some_and(|queue| is_route_queue_full(queue))
    }

    /// True when its queue holds as much as it may, which is noted until there is room.
    pub fn mark_full(&self) -> bool {
        if !self.is_full() {
            return false;
        }
        if !self.border.is_marked_full.swap(true, Ordering::AcqRel) {
            self.border.full_routes.fetch_add(1, Ordering::AcqRel);
            tracing::warn!(
                route = %self.route.name, messages_max = WAITING_MAX, bytes_max = WAITING_BYTES_MAX,
                "the queue of a content route is full: its publishers are held back until there is room"
            );
        }
        true
    }

    /// Wakes that session when there is room in the queue again.
    pub fn hold(&self, inbox: &Arc<Inbox>) {
        self.border.held.hold(inbox);
    }

    /// The session has left: it is not to be woken.
    pub fn forget(&self, inbox: &Arc<Inbox>) {
        self.border.held.forget(inbox);
    }

    /// Records left the queue: sessions that are held back look again when there is room.
    pub fn release_held(&self) {
        let border = &self.border;
        if !border.is_marked_full.load(Ordering::Acquire) || self.is_full() {
            return;
        }
        if border.is_marked_full.swap(false, Ordering::AcqRel) {
            border.full_routes.fetch_sub(1, Ordering::AcqRel);
        }
        border.held.release();
    }
}

impl fmt::Debug for ContentPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentPath({})", self.route.name)
    }
}

/// The settings of a message that went through that route and goes on.
pub fn passed_through(meta: &Meta, route: &Name) -> Meta {
    let mut meta = meta.clone();
    let mut through = meta.through().to_vec();
    if !through.contains(route) {
        through.push(route.clone());
    }
    meta.journey = Some(Arc::new(Journey { through, onward: None }));
    meta
}

/// The settings of a message that waits in a route's queue.
pub fn waiting(meta: &Meta, onward: Onward) -> Meta {
    let mut meta = meta.clone();
    let through = meta.through().to_vec();
    meta.journey = Some(Arc::new(Journey { through, onward: Some(onward) }));
    meta
}

/// The same message on its way again, behind the route in whose queue it waited.
pub fn onward_again(message: &Message) -> Message {
    let mut meta = message.meta().clone();
    let through = meta.through().to_vec();
    meta.journey = (!through.is_empty()).then(|| Arc::new(Journey { through, onward: None }));
    // A delay or retained flag was acted on, if so, when it was published.
    message.with(message.address().clone(), meta)
}
