//! A virtual host: exchanges, queues, named sessions and bindings under one lock, and routes resolved from them.
//!
//! Lock order: **vhost → log → inbox**; nothing here waits while holding one.

use super::content_path::{ContentPath, QUEUES, is_route_queue};
use super::crowds::Holds;
use super::departing::Departing;
use super::drops::{DropReason, Drops};
use super::exchange_counts::ExchangeCounts;
use super::generations::Generations;
use super::gone::GoneQueues;
use super::limits::{Limit, Limits};
use super::named::Named;
use super::queue::Queue;
use super::route::{ContentHit, Route};
use super::route_cache::RouteCache;
use super::topology::Topology;
use super::unroutable::UnroutableReport;
use crate::broker::settings::{Settings, TopicRules};
use crate::error::{Error, ErrorKind};
use crate::exchange::{
    Answer, ExchangeSpec, FieldsOf, LogId, Retained, SessionId, Unknown, filter,
};
use crate::message::{Address, Budget, Message, Name, Origin, Timestamp};
use crate::transform::Watch;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

/// A virtual host.
pub struct Vhost {
    pub name: Name,
    pub topic_exchange: Name,
    topic_rules: TopicRules,
    pub topology: RwLock<Topology>,
    pub retained: Mutex<Retained>,
    /// Held while a named session is opened or ended; before every other lock.
    pub opening: Mutex<()>,
    pub generations: Generations,
    pub routes: RouteCache,
    /// Content routes; only the default virtual host has any.
    pub content: RwLock<Arc<[Arc<ContentPath>]>>,
    pub drops: Drops,
    pub departing: Departing,
    pub limits: Limits,
    /// What queues that are gone have counted.
    pub gone: Mutex<GoneQueues>,
    /// What holds publishers back here.
    pub holds: Holds,
    unroutable: UnroutableReport,
}

/// The queues in front of content routes are nobody's but the broker's.
pub fn reserved_queue(name: &str) -> Error {
    let detail =
        format!("queue '{name}' is the broker's own: '{QUEUES}' is where content routes work");
    Error::new(ErrorKind::Refused, detail)
}

fn not_found(what: &str, name: &str, vhost: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("no {what} '{name}' in vhost '{vhost}'"))
}

impl Vhost {
    /// An empty virtual host with the default exchange and these predeclared ones.
    pub fn new(
        name: Name,
        settings: &Settings,
        predeclared: &[ExchangeSpec],
        budget: &Arc<Budget>,
    ) -> Arc<Self> {
        let (topic_exchange, topic_rules) =
            (settings.topic_exchange.clone(), settings.topics.clone());
        let topology =
            Topology::with_predeclared(predeclared, (&topic_exchange, &topic_rules), budget);
        Arc::new(Self {
            name,
            topic_exchange,
            topic_rules,
            topology: RwLock::new(topology),
            retained: Mutex::new(Retained::new(budget)),
            opening: Mutex::default(),
            generations: Generations::new(),
            routes: RouteCache::new(budget),
            content: RwLock::new(Arc::new([])),
            drops: Drops::default(),
            departing: Departing::default(),
            limits: Limits::new(&settings.objects, budget.clone()),
            gone: Mutex::default(),
            holds: Holds::default(),
            unroutable: UnroutableReport::default(),
        })
    }

    /// Counts a message that was refused and dropped, and whose publisher was sent no refusal.
    pub fn note_drop(&self, reason: DropReason, address: &Address, why: &Error) {
        self.drops.note(reason, (&self.name, address), why);
    }

    /// Remembers a publish to that exchange that reached nobody, and tells of it now and then.
    pub fn note_unroutable(&self, exchange: &ExchangeCounts, message: &Message, now: Timestamp) {
        self.unroutable.note(&self.name, &exchange.last_unroutable, message, now);
    }

    /// Counts a publish that was refused before it was routed.
    pub fn count_refused(&self, address: &Address) {
        let counts = self.topology.read().counts_of(&address.exchange).cloned();
        if let Some(counts) = counts {
            counts.refuse();
        }
    }

    /// The queue of that name.
    pub fn queue(&self, name: &str) -> Result<Arc<Queue>, Error> {
        let topology = self.topology.read();
        topology.queue(name).cloned().ok_or_else(|| not_found("queue", name, &self.name))
    }

    /// The queue of that id, if it is still there.
    pub fn queue_by_id(&self, id: LogId) -> Option<Arc<Queue>> {
        self.topology.read().queue_by_id(id).cloned()
    }

    /// All queues.
    pub fn queues(&self) -> Vec<Arc<Queue>> {
        self.topology.read().queues().cloned().collect()
    }

    /// All named sessions.
    pub fn sessions(&self) -> Vec<Arc<Named>> {
        self.topology.read().sessions().cloned().collect()
    }

    /// The session of that id.
    pub fn session_by_id(&self, id: SessionId) -> Option<Arc<Named>> {
        self.topology.read().session_by_id(id).cloned()
    }

    /// The exchange of that name, as declared.
    pub fn exchange(&self, name: &str) -> Result<ExchangeSpec, Error> {
        let topology = self.topology.read();
        let found = topology.exchange(name).cloned();
        found.ok_or_else(|| not_found("exchange", name, &self.name))
    }

    /// Resolves an address for that publisher. The flag: the result depends on the address alone and may be cached.
    /// `under_lock` is called while the topology is locked, so that no binding is made meanwhile. Where plugins route,
    /// they are asked in between, with nothing locked.
    pub fn route(
        &self,
        (address, publisher): (&Address, &Origin),
        fields: FieldsOf<'_>,
        under_lock: impl FnOnce(&Route),
    ) -> Result<(Route, bool), Error> {
        self.check(address)?;
        let visits_max = self.limits.max(Limit::ExchangesVisited);
        let mut answers: Vec<Answer> = Vec::new();
        loop {
            let topology = self.topology.read();
            let (found, cacheable) = topology
                .find(address, fields, (visits_max, &answers))
                .ok_or_else(|| not_found("exchange", &address.exchange, &self.name))?;
            // Each round asks exchanges that were not asked before.
            if found.is_too_far || answers.len() > visits_max {
                drop(topology);
                return Err(self.limits.refuse(Limit::ExchangesVisited, (&self.name, publisher)));
            }
            if !found.unknown.is_empty() {
                drop(topology);
                for unknown in found.unknown {
                    match unknown {
                        Unknown::Failed(why) => return Err(why),
                        Unknown::Ask(question) => {
                            answers.push(self.holds.crowds.ask(&question, &address.key, fields));
                        }
                    }
                }
                continue;
            }
            if found.is_denied {
                self.note_drop(DropReason::Denied, address, &Self::reserved(address));
            }
            let mut route = topology.targets(address, found);
            // Content routes have their turn when it is due.
            if !route.is_delayed_at(&address.exchange) {
                self.watchers(address, &mut route);
            }
            under_lock(&route);
            return Ok((route, cacheable));
        }
    }

    /// Nobody publishes to the broker's own addresses, and no content route sends there.
    pub fn check(&self, address: &Address) -> Result<(), Error> {
        if address.is_queue() {
            let name = std::str::from_utf8(address.key.bytes()).unwrap_or_default();
            return match is_route_queue(name) {
                true => Err(reserved_queue(name)),
                false => Ok(()),
            };
        }
        if address.exchange == self.topic_exchange && self.topic_rules.is_reserved(&address.key) {
            return Err(Self::reserved(address));
        }
        Ok(())
    }

    fn reserved(address: &Address) -> Error {
        let detail = format!("topics that begin with '$' are the broker's: '{}'", address.key);
        Error::new(ErrorKind::Refused, detail)
    }

    /// Content routes that watch that queue, in the order of their turns.
    pub fn watchers_of(&self, queue: &Queue) -> Vec<ContentHit> {
        let content = self.content.read().clone();
        let watches = |path: &&Arc<ContentPath>| {
            let mut watches = path.route.watches.iter();
            watches.any(|watch| matches!(watch, Watch::Queue(name) if *name == queue.name))
        };
        let mut hits: Vec<ContentHit> = content
            .iter()
            .filter(watches)
            .map(|path| ContentHit { path: path.clone(), queue: Some(queue.id) })
            .collect();
        hits.sort_by_key(|hit| hit.path.turn());
        hits
    }

    /// A publish was refused, and its publisher expects no answer. Where an address leads to no exchange, adapters have
    /// a word for it nevertheless.
    #[cold]
    pub fn note_untold(&self, address: &Address, why: &Error) {
        match why.kind() {
            ErrorKind::NotFound => {}
            ErrorKind::Refused => self.note_drop(DropReason::Denied, address, why),
            _ => self.note_drop(DropReason::Refused, address, why),
        }
    }

    /// `Invalid`: a content route watches the address of a copy, and would send the copy on as the message itself.
    #[cold]
    pub fn check_copy(&self, address: &Address, route: &Route) -> Result<(), Error> {
        let mut watched = Route::default();
        if route.delays.is_some() {
            // What an exchange keeps meets content routes only when it is due.
            self.watchers(address, &mut watched);
        }
        if !route.is_watched() && !watched.is_watched() {
            return Ok(());
        }
        let detail = format!("a content route watches {address}: no copy of a message goes there");
        Err(Error::new(ErrorKind::Invalid, detail))
    }

    fn watchers(&self, address: &Address, route: &mut Route) {
        let content = self.content.read().clone();
        for path in content.iter() {
            for watch in &path.route.watches {
                match watch {
                    Watch::Queue(name) => {
                        let queue = route.queues.iter().find(|q| q.name == *name).map(|q| q.id);
                        // The address of a queue that is not declared is watched, too.
                        let addressed =
                            address.is_queue() && **address.key.bytes() == *name.as_bytes();
                        if queue.is_some() || addressed {
                            route.content.push(ContentHit { path: path.clone(), queue });
                        }
                    }
                    Watch::Exchange(name, pattern) => {
                        if address.exchange == *name && filter::matches(pattern, &address.key) {
                            route.content.push(ContentHit { path: path.clone(), queue: None });
                        }
                    }
                }
            }
        }
        // A route that watches the whole address takes the message once, whatever else it watches.
        route.content.sort_by_key(|hit| (hit.path.turn(), hit.queue));
        route.content.dedup_by(|next, kept| {
            let is_same_route = next.path.route.name == kept.path.route.name;
            is_same_route && (kept.queue.is_none() || kept.queue == next.queue)
        });
    }
}
