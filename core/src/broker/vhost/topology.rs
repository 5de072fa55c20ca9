//! What is declared in a virtual host, and the bindings between.

use super::generations::Generations;
use super::named::Named;
use super::queue::Queue;
use super::route::{Found, Route, SessionHit};
use crate::broker::settings::TopicRules;
use crate::exchange::{
    Binding, BindingTag, ExchangeSpec, FieldsOf, Hit, LogId, Matcher, SessionId, Tags, Target,
};
use crate::message::{Address, Key, Name};
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

/// What is declared.
#[derive(Default)]
pub struct Topology {
    exchanges: BTreeMap<Name, Exchange>,
    queues: HashMap<Name, Arc<Queue>>,
    queues_by_id: BTreeMap<LogId, Arc<Queue>>,
    sessions: HashMap<Name, Arc<Named>>,
    sessions_by_id: BTreeMap<SessionId, Arc<Named>>,
    /// The same bindings that the matchers hold, by where they lead.
    bound: BTreeMap<Target, Vec<Arc<Binding>>>,
    topic_exchange: Name,
    topic_rules: TopicRules,
}

struct Exchange {
    spec: ExchangeSpec,
    matcher: Box<dyn Matcher>,
    /// Predeclared ones cannot be deleted.
    predeclared: bool,
}

impl Topology {
    /// Nothing but these exchanges.
    pub fn with_predeclared(
        predeclared: &[ExchangeSpec],
        (topic_exchange, topic_rules): (&Name, &TopicRules),
    ) -> Self {
        let mut topology = Topology {
            topic_exchange: topic_exchange.clone(),
            topic_rules: topic_rules.clone(),
            ..Topology::default()
        };
        for spec in predeclared {
            let matcher = spec.kind.matcher(spec.name == *topic_exchange);
            let exchange = Exchange { spec: spec.clone(), matcher, predeclared: true };
            topology.exchanges.entry(spec.name.clone()).or_insert(exchange);
        }
        topology
    }

    /// Where an address leads, and whether that depends on the address alone. None: there is no such exchange.
    pub(super) fn find(&self, address: &Address, fields: FieldsOf<'_>) -> Option<(Found, bool)> {
        let mut found = Found::default();
        if address.is_queue() {
            let name = std::str::from_utf8(address.key.bytes()).unwrap_or_default();
            found.queues.extend(self.queues.get(name).map(|q| q.id));
            return Some((found, true));
        }
        let first = self.exchanges.get(&address.exchange)?;
        let cacheable = self.walk(first, &address.key, fields, &mut found);
        Some((found, cacheable))
    }

    /// Follows bindings from exchange to exchange, each exchange once. True when only the key was looked at.
    fn walk(&self, first: &Exchange, key: &Key, fields: FieldsOf<'_>, found: &mut Found) -> bool {
        let mut cacheable = true;
        let mut visited = vec![&first.spec.name];
        let mut next = vec![first];
        let mut hits: Vec<Hit> = Vec::new();
        while let Some(exchange) = next.pop() {
            // What is refused when it is published to the topic tree does not come in by another exchange.
            if exchange.spec.name == self.topic_exchange && self.topic_rules.is_reserved(key) {
                continue;
            }
            cacheable &= !exchange.matcher.reads_fields();
            hits.clear();
            exchange.matcher.route(key, fields, &mut hits);
            let nothing = hits.is_empty();
            for hit in hits.drain(..) {
                match hit.target {
                    Target::Log(id) => found.queues.push(id),
                    Target::Session(id) => found.sessions.push((id, hit.tag, hit.skip_own)),
                    Target::Exchange(name) => {
                        self.enter(&name, &mut visited, &mut next);
                    }
                }
            }
            if nothing && let Some(alternate) = exchange.spec.alternate() {
                self.enter(alternate, &mut visited, &mut next);
            }
        }
        cacheable
    }

    fn enter<'a>(&'a self, name: &str, visited: &mut Vec<&'a Name>, next: &mut Vec<&'a Exchange>) {
        if let Some(exchange) = self.exchanges.get(name)
            && !visited.contains(&&exchange.spec.name)
        {
            visited.push(&exchange.spec.name);
            next.push(exchange);
        }
    }

    /// Each target once, the tags of its bindings joined.
    pub(super) fn targets(&self, mut found: Found) -> Route {
        found.queues.sort_unstable();
        found.queues.dedup();
        found.sessions.sort_by_key(|(id, ..)| *id);
        let queues =
            found.queues.iter().filter_map(|id| self.queues_by_id.get(id).cloned()).collect();
        let sessions = found
            .sessions
            .chunk_by(|a, b| a.0 == b.0)
            .filter_map(|group| {
                let session = self.sessions_by_id.get(&group.first()?.0)?.clone();
                let all: Vec<BindingTag> = group.iter().map(|(_, tag, _)| *tag).collect();
                let own: Vec<BindingTag> =
                    group.iter().filter(|(.., skip)| !skip).map(|(_, tag, _)| *tag).collect();
                let own_tags = (!own.is_empty()).then(|| Tags::new(&own));
                Some(SessionHit { session, tags: Tags::new(&all), own_tags })
            })
            .collect();
        Route { queues, sessions, content: Vec::new() }
    }

    /// The queue of that name.
    pub fn queue(&self, name: &str) -> Option<&Arc<Queue>> {
        self.queues.get(name)
    }

    /// The queue of that id.
    pub fn queue_by_id(&self, id: LogId) -> Option<&Arc<Queue>> {
        self.queues_by_id.get(&id)
    }

    /// Adds a queue.
    pub fn add_queue(&mut self, queue: Arc<Queue>, generations: &Generations) {
        generations.bump();
        self.queues.insert(queue.name.clone(), queue.clone());
        self.queues_by_id.insert(queue.id, queue);
    }

    /// Takes a queue and its bindings out; the bindings that are gone.
    pub fn remove_queue(&mut self, queue: &Queue, generations: &Generations) -> Vec<Arc<Binding>> {
        generations.bump();
        if self.queues.get(&queue.name).is_some_and(|q| q.id == queue.id) {
            self.queues.remove(&queue.name);
        }
        self.queues_by_id.remove(&queue.id);
        self.unbind_target(&Target::Log(queue.id))
    }

    /// The session of that name.
    pub fn session(&self, name: &str) -> Option<&Arc<Named>> {
        self.sessions.get(name)
    }

    /// The session of that id.
    pub fn session_by_id(&self, id: SessionId) -> Option<&Arc<Named>> {
        self.sessions_by_id.get(&id)
    }

    /// Adds a named session.
    pub fn add_session(&mut self, session: Arc<Named>) {
        self.sessions.insert(session.name.clone(), session.clone());
        self.sessions_by_id.insert(session.id, session);
    }

    /// Takes a session and its bindings out.
    pub fn remove_session(&mut self, session: &Named, generations: &Generations) {
        generations.bump();
        if self.sessions.get(&session.name).is_some_and(|s| s.id == session.id) {
            self.sessions.remove(&session.name);
        }
        self.sessions_by_id.remove(&session.id);
        self.unbind_target(&Target::Session(session.id));
    }

    fn unbind_target(&mut self, target: &Target) -> Vec<Arc<Binding>> {
        let gone = self.bound.remove(target).unwrap_or_default();
        for binding in &gone {
            if let Some(exchange) = self.exchanges.get_mut(&binding.source) {
                exchange.matcher.unbind(binding);
            }
        }
        gone
    }

    /// The exchange of that name, as declared.
    pub fn exchange(&self, name: &str) -> Option<&ExchangeSpec> {
        self.exchanges.get(name).map(|e| &e.spec)
    }

    /// Adds an exchange.
    pub fn add_exchange(&mut self, spec: ExchangeSpec, generations: &Generations) {
        generations.bump();
        let matcher = spec.kind.matcher(false);
        let exchange = Exchange { spec, matcher, predeclared: false };
        self.exchanges.entry(exchange.spec.name.clone()).or_insert(exchange);
    }

    /// True for exchanges that every virtual host has.
    pub fn is_predeclared(&self, name: &str) -> bool {
        self.exchanges.get(name).is_some_and(|e| e.predeclared)
    }

    /// True when something is bound to that exchange.
    pub fn has_bindings(&self, name: &str) -> bool {
        self.exchanges.get(name).is_some_and(|e| !e.matcher.is_empty())
    }

    /// Takes an exchange out, with the bindings from and to it.
    pub fn remove_exchange(&mut self, name: &str, generations: &Generations) {
        generations.bump();
        self.unbind_target(&Target::Exchange(name.into()));
        self.exchanges.remove(name);
        self.bound.retain(|_, list| {
            list.retain(|binding| *binding.source != *name);
            !list.is_empty()
        });
    }

    /// Adds a binding, or gives the equal one this tag. True when it was not there; none: no such exchange.
    pub fn bind(&mut self, binding: Binding, generations: &Generations) -> Option<bool> {
        if let Target::Session(id) = &binding.target
            && !self.sessions_by_id.contains_key(id)
        {
            return None;
        }
        if let Target::Log(id) = &binding.target
            && !self.queues_by_id.contains_key(id)
        {
            return None;
        }
        let exchange = self.exchanges.get_mut(&binding.source)?;
        bump(generations, exchange, &binding.key);
        let list = self.bound.entry(binding.target.clone()).or_default();
        let old = list.iter().position(|b| b.is(&binding));
        if let Some(at) = old {
            exchange.matcher.unbind(&binding);
            list.swap_remove(at);
        }
        let binding = Arc::new(binding);
        list.push(binding.clone());
        exchange.matcher.bind(binding);
        Some(old.is_none())
    }

    /// Removes a binding. False when there is none.
    pub fn unbind(&mut self, binding: &Binding, generations: &Generations) -> bool {
        match self.exchanges.get(&binding.source) {
            Some(exchange) => bump(generations, exchange, &binding.key),
            None => generations.bump(),
        }
        let Some(list) = self.bound.get_mut(&binding.target) else { return false };
        let Some(at) = list.iter().position(|b| b.is(binding)) else { return false };
        list.swap_remove(at);
        if list.is_empty() {
            self.bound.remove(&binding.target);
        }
        match self.exchanges.get_mut(&binding.source) {
            Some(exchange) => exchange.matcher.unbind(binding),
            None => false,
        }
    }

    /// That binding is there.
    pub fn is_bound(&self, binding: &Binding) -> bool {
        self.bindings_to(&binding.target).iter().any(|known| known.is(binding))
    }

    /// Bindings that lead to that target.
    pub fn bindings_to(&self, target: &Target) -> &[Arc<Binding>] {
        self.bound.get(target).map(Vec::as_slice).unwrap_or_default()
    }

    /// True when that binding survives a restart: what it leads from and to does.
    pub fn is_durable(&self, binding: &Binding) -> bool {
        let from = self.exchanges.get(&binding.source).is_some_and(|e| e.spec.durable);
        from && match &binding.target {
            Target::Exchange(name) => self.exchanges.get(name).is_some_and(|e| e.spec.durable),
            Target::Log(id) => self.queues_by_id.get(id).is_some_and(|q| q.is_durable()),
            Target::Session(id) => self.sessions_by_id.get(id).is_some_and(|s| s.is_durable()),
        }
    }

    /// The next `max` declared exchanges behind that one that survive a restart.
    pub fn durable_exchanges_after(&self, after: Option<&Name>, max: usize) -> Vec<ExchangeSpec> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.exchanges.range::<Name, _>((from, Bound::Unbounded)).map(|(_, e)| e);
        let durable = behind.filter(|e| e.spec.durable && !e.predeclared);
        durable.take(max).map(|e| e.spec.clone()).collect()
    }

    /// The next `max` queues behind that one.
    pub fn queues_after(&self, after: LogId, max: usize) -> Vec<Arc<Queue>> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        self.queues_by_id.range(behind).take(max).map(|(_, queue)| queue.clone()).collect()
    }

    /// The next `max` named sessions behind that one.
    pub fn sessions_after(&self, after: SessionId, max: usize) -> Vec<Arc<Named>> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        self.sessions_by_id.range(behind).take(max).map(|(_, session)| session.clone()).collect()
    }

    /// The bindings of the next targets behind that one, all of each target: `max`, and those that its last target has
    /// beyond that. Nothing: there is no target behind it.
    pub fn bindings_after(&self, after: Option<&Target>, max: usize) -> Vec<Arc<Binding>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut all = Vec::new();
        for (_, list) in self.bound.range::<Target, _>((from, Bound::Unbounded)) {
            all.extend(list.iter().cloned());
            if all.len() >= max {
                break;
            }
        }
        all
    }

    /// How many named sessions there are.
    pub fn sessions_count(&self) -> usize {
        self.sessions_by_id.len()
    }

    /// All queues.
    pub fn queues(&self) -> impl Iterator<Item = &Arc<Queue>> {
        self.queues_by_id.values()
    }

    /// All named sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Named>> {
        self.sessions_by_id.values()
    }
}

/// Bindings changed: of which keys the routes may have changed.
fn bump(generations: &Generations, exchange: &Exchange, key: &Key) {
    match exchange.spec.kind.is_keyed() {
        true => generations.bump_for(key),
        // The key says nothing about what is routed.
        false => generations.bump(),
    }
}
