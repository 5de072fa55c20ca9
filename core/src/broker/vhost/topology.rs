//! What is declared in a virtual host, and the bindings between.

use super::exchange_counts::{ExchangeCounts, ExchangeTotals};
use super::generations::Generations;
use super::named::Named;
use super::queue::Queue;
use super::replies::Replies;
use super::route::{Found, Route, SessionHit};
use crate::broker::accounts::subject::Subject;
use crate::broker::settings::TopicRules;
use crate::error::Error;
use crate::exchange::recent_history::History;
use crate::exchange::{
    Asked, Binding, BindingTag, Bindings, ExchangeSpec, LogId, Matcher, SessionId, Tags, Target,
};
use crate::log::QueueSpec;
use crate::message::cost::{ALLOCATION, Cost, MAP_ENTRY};
use crate::message::{Account, Address, Budget, Charge, Fields, Key, Name};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// What the lists of a target's bindings take, besides the bindings.
const TARGET_BYTES: usize = size_of::<(Target, Bindings)>() + MAP_ENTRY + ALLOCATION;

/// What a queue takes while it is empty.
pub fn queue_cost(spec: &QueueSpec) -> usize {
    let places = size_of::<(Name, Arc<Queue>)>() + size_of::<(LogId, Arc<Queue>)>();
    size_of::<Queue>() + spec.cost() + places + 2 * MAP_ENTRY + ALLOCATION
}

/// What an exchange takes without bindings.
pub fn exchange_cost(spec: &ExchangeSpec) -> usize {
    // A matcher is a map or two.
    size_of::<Exchange>() + spec.cost() + 2 * MAP_ENTRY + ALLOCATION
}

/// What a binding takes.
pub fn binding_cost(binding: &Binding) -> usize {
    binding.cost() + TARGET_BYTES
}

/// What a named session takes, without its queue, bindings and memos.
pub fn session_cost(name: &Name, queue: Option<&QueueSpec>) -> usize {
    let places = size_of::<(Name, Arc<Named>)>() + size_of::<(SessionId, NamedSession)>();
    let own = size_of::<Named>() + size_of::<Subject>() + name.cost() + queue.map_or(0, Cost::cost);
    own + places + 2 * MAP_ENTRY + ALLOCATION
}

/// What is declared.
pub struct Topology {
    exchanges: BTreeMap<Name, Exchange>,
    queues: BTreeMap<Name, Arc<Queue>>,
    queues_by_id: BTreeMap<LogId, Arc<Queue>>,
    sessions: BTreeMap<Name, Arc<Named>>,
    sessions_by_id: BTreeMap<SessionId, NamedSession>,
    /// The same bindings that the matchers hold, by where they lead.
    bound: BTreeMap<Target, Bindings>,
    /// Names that lead to a session for as long as one of its lanes lives.
    pub replies: Replies,
    bindings_count: usize,
    topic_exchange: Name,
    topic_rules: TopicRules,
    /// Of the default exchange, which is not among the others.
    default_exchange: Arc<ExchangeCounts>,
    /// What exchanges that are gone have counted.
    gone_exchanges: ExchangeTotals,
    /// What all that takes, counted against the memory budget.
    kept: Charge,
}

/// An exchange and its bindings.
pub(super) struct Exchange {
    pub spec: ExchangeSpec,
    pub matcher: Box<dyn Matcher>,
    pub counts: Arc<ExchangeCounts>,
    /// Predeclared ones cannot be deleted.
    predeclared: bool,
}

struct NamedSession {
    session: Arc<Named>,
    /// What was charged for it.
    bytes: usize,
}

impl Topology {
    /// Nothing but these exchanges.
    pub fn with_predeclared(
        predeclared: &[ExchangeSpec],
        (topic_exchange, topic_rules): (&Name, &TopicRules),
        budget: &Arc<Budget>,
    ) -> Self {
        let mut topology = Topology {
            exchanges: BTreeMap::new(),
            queues: BTreeMap::new(),
            queues_by_id: BTreeMap::new(),
            sessions: BTreeMap::new(),
            sessions_by_id: BTreeMap::new(),
            bound: BTreeMap::new(),
            replies: Replies::default(),
            bindings_count: 0,
            topic_exchange: topic_exchange.clone(),
            topic_rules: topic_rules.clone(),
            default_exchange: Arc::default(),
            gone_exchanges: ExchangeTotals::default(),
            kept: budget.charge(Account::Kept, 0),
        };
        for spec in predeclared {
            topology.put_exchange(spec.clone(), true);
        }
        topology
    }

    fn put_exchange(&mut self, spec: ExchangeSpec, predeclared: bool) {
        if self.exchanges.contains_key(&spec.name) {
            return;
        }
        self.kept.grow(exchange_cost(&spec));
        let matcher = spec.matcher(predeclared && spec.name == self.topic_exchange);
        let counts = Arc::new(ExchangeCounts::new(&spec.name));
        let exchange = Exchange { spec, matcher, counts, predeclared };
        self.exchanges.insert(exchange.spec.name.clone(), exchange);
    }

    pub(super) fn exchange_named(&self, name: &str) -> Option<&Exchange> {
        self.exchanges.get(name)
    }

    /// Nobody publishes to those topics, by whatever exchange.
    pub(super) fn is_reserved(&self, exchange: &Exchange, key: &Key) -> bool {
        exchange.spec.name == self.topic_exchange && self.topic_rules.is_reserved(key)
    }

    /// Each target once, the tags of its bindings joined. Sessions whose owners may not read the address are left out.
    pub(super) fn targets(&self, address: &Address, mut found: Found) -> Route {
        found.queues.sort_unstable();
        found.queues.dedup();
        found.sessions.sort_by_key(|(id, ..)| *id);
        let queues =
            found.queues.iter().filter_map(|id| self.queues_by_id.get(id).cloned()).collect();
        let mut sessions: Vec<SessionHit> = found
            .sessions
            .chunk_by(|a, b| a.0 == b.0)
            .filter_map(|group| {
                let id = group.first()?.0;
                let session = self.session_by_id(id)?.clone();
                if !session.may_get(address, self.bindings_to(&Target::Session(id))) {
                    return None;
                }
                let all: Vec<BindingTag> = group.iter().map(|(_, tag, _)| *tag).collect();
                let own: Vec<BindingTag> =
                    group.iter().filter(|(.., skip)| !skip).map(|(_, tag, _)| *tag).collect();
                let own_tags = (!own.is_empty()).then(|| Tags::new(&own));
                Some(SessionHit { session, tags: Tags::new(&all), own_tags })
            })
            .collect();
        if let Some(reply) = found.reply {
            sessions.push(*reply);
        }
        Route {
            exchange: found.exchange,
            queues,
            sessions,
            content: Vec::new(),
            delays: (!found.delays.is_empty()).then(|| found.delays.into()),
            histories: (!found.histories.is_empty()).then(|| found.histories.into()),
            steps: found.steps,
        }
    }

    /// What an exchange keeps for new bindings.
    pub fn history_of(&self, exchange: &str) -> Option<&Arc<History>> {
        self.exchanges.get(exchange)?.matcher.history()
    }

    /// Where a single binding leads with a message of that address, without those behind it.
    pub fn target(&self, address: &Address, binding: &Binding) -> Route {
        let mut found = Found::default();
        match &binding.target {
            Target::Log(id) => found.queues.push(*id),
            Target::Session(id) => found.sessions.push((*id, binding.tag, binding.skip_own)),
            Target::Exchange(_) => {}
        }
        self.targets(address, found)
    }

    /// Where a figure of the broker's leads: to those who subscribed to it in the topic tree, and not on from there.
    /// `under_lock` is called before a binding can be made.
    pub fn figure_route(&self, address: &Address, under_lock: impl FnOnce()) -> Route {
        let mut found = Found::default();
        let mut hits = Vec::new();
        if let Some(exchange) = self.exchanges.get(&address.exchange) {
            let none = Fields::default();
            exchange.matcher.route(&address.key, &|| &none, &mut hits);
        }
        for hit in hits {
            match hit.target {
                Target::Log(id) => found.queues.push(id),
                Target::Session(id) => found.sessions.push((id, hit.tag, hit.skip_own)),
                Target::Exchange(_) => {}
            }
        }
        under_lock();
        self.targets(address, found)
    }

    /// The counters of an exchange, the default one's for the empty name.
    pub fn counts_of(&self, exchange: &str) -> Option<&Arc<ExchangeCounts>> {
        match exchange {
            "" => Some(&self.default_exchange),
            name => self.exchanges.get(name).map(|exchange| &exchange.counts),
        }
    }

    /// The counters of the next `max` exchanges behind that one, without the default exchange.
    pub fn exchange_counts_after(
        &self,
        after: Option<&Name>,
        max: usize,
    ) -> Vec<Arc<ExchangeCounts>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.exchanges.range::<Name, _>((from, Bound::Unbounded));
        behind.take(max).map(|(_, exchange)| exchange.counts.clone()).collect()
    }

    /// What exchanges that are gone have counted.
    pub fn gone_exchanges(&self) -> ExchangeTotals {
        self.gone_exchanges
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
        // Nothing is bound to it yet: only the default exchange leads there.
        generations.bump_word(queue.name.as_bytes());
        self.kept.grow(queue_cost(&queue.spec));
        self.queues.insert(queue.name.clone(), queue.clone());
        self.queues_by_id.insert(queue.id, queue);
    }

    /// Takes a queue and its bindings out; the bindings that are gone.
    pub fn remove_queue(&mut self, queue: &Queue, generations: &Generations) -> Vec<Arc<Binding>> {
        generations.bump_word(queue.name.as_bytes());
        if self.queues.get(&queue.name).is_some_and(|q| q.id == queue.id) {
            self.queues.remove(&queue.name);
        }
        if self.queues_by_id.remove(&queue.id).is_some() {
            self.kept.shrink(queue_cost(&queue.spec));
        }
        self.unbind_target(&Target::Log(queue.id), generations)
    }

    /// The session of that name.
    pub fn session(&self, name: &str) -> Option<&Arc<Named>> {
        self.sessions.get(name)
    }

    /// The session of that id.
    pub fn session_by_id(&self, id: SessionId) -> Option<&Arc<Named>> {
        self.sessions_by_id.get(&id).map(|known| &known.session)
    }

    /// Adds a named session.
    pub fn add_session(&mut self, session: Arc<Named>) {
        let bytes = session.with(|state| session_cost(&session.name, state.queue_spec.as_ref()));
        self.kept.grow(bytes);
        self.sessions.insert(session.name.clone(), session.clone());
        self.sessions_by_id.insert(session.id, NamedSession { session, bytes });
    }

    /// Takes a session and its bindings out.
    pub fn remove_session(&mut self, session: &Named, generations: &Generations) {
        if self.sessions.get(&session.name).is_some_and(|s| s.id == session.id) {
            self.sessions.remove(&session.name);
        }
        if let Some(gone) = self.sessions_by_id.remove(&session.id) {
            self.kept.shrink(gone.bytes);
        }
        self.unbind_target(&Target::Session(session.id), generations);
    }

    /// Takes the bindings to a target out, and only looks at those.
    fn unbind_target(&mut self, target: &Target, generations: &Generations) -> Vec<Arc<Binding>> {
        let Some(gone) = self.bound.remove(target) else { return Vec::new() };
        self.kept.shrink(TARGET_BYTES);
        for binding in gone.as_slice() {
            self.uncount(binding);
            if let Some(exchange) = self.exchanges.get_mut(&binding.source) {
                bump(generations, exchange, &binding.key);
                exchange.unbind(binding, &self.kept);
            }
        }
        gone.into_vec()
    }

    fn uncount(&mut self, binding: &Binding) {
        self.bindings_count -= 1;
        self.kept.shrink(binding.cost());
    }

    /// Takes a binding out of the list of its target.
    fn unlist(&mut self, binding: &Binding) -> bool {
        let Some(list) = self.bound.get_mut(&binding.target) else { return false };
        let Some((_, gone)) = list.remove(binding) else { return false };
        if list.is_empty() {
            self.bound.remove(&binding.target);
            self.kept.shrink(TARGET_BYTES);
        }
        self.uncount(&gone);
        true
    }

    /// The exchange of that name, as declared.
    pub fn exchange(&self, name: &str) -> Option<&ExchangeSpec> {
        self.exchanges.get(name).map(|e| &e.spec)
    }

    /// All exchanges but the default one.
    pub fn exchanges(&self) -> impl Iterator<Item = &ExchangeSpec> {
        self.exchanges.values().map(|exchange| &exchange.spec)
    }

    /// Adds an exchange.
    pub fn add_exchange(&mut self, spec: ExchangeSpec, generations: &Generations) {
        generations.bump();
        self.put_exchange(spec, false);
    }

    /// True for exchanges that every virtual host has.
    pub fn is_predeclared(&self, name: &str) -> bool {
        self.exchanges.get(name).is_some_and(|e| e.predeclared)
    }

    /// True when something is bound to that exchange.
    pub fn has_bindings(&self, name: &str) -> bool {
        self.exchanges.get(name).is_some_and(|e| !e.matcher.is_empty())
    }

    /// Takes an exchange out, with the bindings from and to it, and only looks at those.
    pub fn remove_exchange(&mut self, name: &str, generations: &Generations) {
        generations.bump();
        self.unbind_target(&Target::Exchange(name.into()), generations);
        let Some(exchange) = self.exchanges.remove(name) else { return };
        self.gone_exchanges.add(&exchange.counts.totals());
        self.kept.shrink(exchange_cost(&exchange.spec) + exchange.matcher.bytes());
        for binding in exchange.matcher.bindings() {
            self.unlist(&binding);
        }
    }

    /// Adds a binding, or gives the equal one this tag. True when it was not there; none: no such exchange.
    pub fn bind(
        &mut self,
        binding: impl Into<Arc<Binding>>,
        generations: &Generations,
    ) -> Option<bool> {
        let binding = binding.into();
        let is_there = self.has_target(&binding.target);
        let exchange = self.exchanges.get_mut(&binding.source).filter(|_| is_there)?;
        bump(generations, exchange, &binding.key);
        self.kept.grow(binding.cost());
        exchange.bind(binding.clone(), &self.kept);
        let list = self.bound.entry(binding.target.clone()).or_insert_with(|| {
            self.kept.grow(TARGET_BYTES);
            Bindings::default()
        });
        match list.put(binding).1 {
            Some(old) => self.kept.shrink(old.cost()),
            None => {
                self.bindings_count += 1;
                return Some(true);
            }
        }
        Some(false)
    }

    /// Takes over the bindings of a start, listed by where they lead. Ids are given once: a binding to the id of a
    /// deleted queue or session leads nowhere and is left out, and so is one from an exchange that is not there.
    pub fn restore_bindings(
        &mut self,
        mut stored: BTreeMap<Target, Bindings>,
        generations: &Generations,
    ) {
        generations.bump();
        let before = self.matchers_bytes();
        let mut bytes = 0;
        stored.retain(|target, list| {
            if !self.has_target(target) {
                return false;
            }
            let mut lost = Vec::new();
            for binding in list.as_slice() {
                match self.exchanges.get_mut(&binding.source) {
                    Some(exchange) => {
                        exchange.matcher.bind(binding.clone());
                        bytes += binding.cost();
                    }
                    None => lost.push(binding.clone()),
                }
            }
            lost.iter().for_each(|binding| _ = list.remove(binding));
            self.bindings_count += list.len();
            !list.is_empty()
        });
        bytes += stored.len() * TARGET_BYTES + self.matchers_bytes().saturating_sub(before);
        self.kept.grow(bytes);
        self.bound.append(&mut stored);
    }

    fn matchers_bytes(&self) -> usize {
        self.exchanges.values().map(|exchange| exchange.matcher.bytes()).sum()
    }

    fn has_target(&self, target: &Target) -> bool {
        match target {
            Target::Session(id) => self.sessions_by_id.contains_key(id),
            Target::Log(id) => self.queues_by_id.contains_key(id),
            // One that is deleted takes its bindings with it; what is bound to its name later is not bound to that.
            Target::Exchange(name) => self.exchanges.contains_key(name),
        }
    }

    /// Removes a binding. False when there is none.
    pub fn unbind(&mut self, binding: &Binding, generations: &Generations) -> bool {
        if !self.unlist(binding) {
            return false;
        }
        let Some(exchange) = self.exchanges.get_mut(&binding.source) else { return false };
        bump(generations, exchange, &binding.key);
        exchange.unbind(binding, &self.kept)
    }

    /// `Invalid`: the kind of its exchange does not take such a binding.
    pub fn check(&self, binding: &Binding) -> Result<(), Error> {
        let exchange = self.exchanges.get(&binding.source);
        exchange.map_or(Ok(()), |exchange| exchange.matcher.check(binding))
    }

    /// Who is asked whether that exchange takes a binding, where it is of a plugin's kind.
    pub fn asked(&self, exchange: &str) -> Option<Arc<Asked>> {
        self.exchanges.get(exchange)?.matcher.asked().cloned()
    }

    /// That binding is there.
    pub fn is_bound(&self, binding: &Binding) -> bool {
        self.bound.get(&binding.target).is_some_and(|list| list.get(binding).is_some())
    }

    /// Bindings that lead to that target.
    pub fn bindings_to(&self, target: &Target) -> &[Arc<Binding>] {
        self.bound.get(target).map(Bindings::as_slice).unwrap_or_default()
    }

    /// True when that binding survives a restart: what it leads from and to does.
    pub fn is_durable(&self, binding: &Binding) -> bool {
        let from = self.exchanges.get(&binding.source).is_some_and(|e| e.spec.durable);
        from && match &binding.target {
            Target::Exchange(name) => self.exchanges.get(name).is_some_and(|e| e.spec.durable),
            Target::Log(id) => self.queues_by_id.get(id).is_some_and(|q| q.is_durable()),
            Target::Session(id) => self.session_by_id(*id).is_some_and(|s| s.is_durable()),
        }
    }

    /// The next `max` declared exchanges behind that one that survive a restart.
    pub fn durable_exchanges_after(&self, after: Option<&Name>, max: usize) -> Vec<ExchangeSpec> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.exchanges.range::<Name, _>((from, Bound::Unbounded)).map(|(_, e)| e);
        let durable = behind.filter(|e| e.spec.durable && !e.predeclared);
        durable.take(max).map(|e| e.spec.clone()).collect()
    }

    /// All queues.
    pub fn queues(&self) -> impl Iterator<Item = &Arc<Queue>> {
        self.queues_by_id.values()
    }

    /// All named sessions.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Named>> {
        self.sessions_by_id.values().map(|known| &known.session)
    }

    /// The next `max` queues by name, behind that one.
    pub fn queues_behind(&self, after: Option<&str>, max: usize) -> Vec<Arc<Queue>> {
        behind(&self.queues, after, max)
    }

    /// The next `max` named sessions by name, behind that one.
    pub fn sessions_behind(&self, after: Option<&str>, max: usize) -> Vec<Arc<Named>> {
        behind(&self.sessions, after, max)
    }

    /// The next `max` queues behind that one.
    pub fn queues_after(&self, after: LogId, max: usize) -> Vec<Arc<Queue>> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        self.queues_by_id.range(behind).take(max).map(|(_, queue)| queue.clone()).collect()
    }

    /// The next `max` named sessions behind that one.
    pub fn sessions_after(&self, after: SessionId, max: usize) -> Vec<Arc<Named>> {
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        self.sessions_by_id.range(behind).take(max).map(|(_, s)| s.session.clone()).collect()
    }

    /// The bindings of the next targets behind that one, all of each target: `max`, and those that its last target has
    /// beyond that. Nothing: there is no target behind it.
    pub fn bindings_after(&self, after: Option<&Target>, max: usize) -> Vec<Arc<Binding>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut all = Vec::new();
        for (_, list) in self.bound.range::<Target, _>((from, Bound::Unbounded)) {
            all.extend(list.as_slice().iter().cloned());
            if all.len() >= max {
                break;
            }
        }
        all
    }

    /// How many queues there are.
    pub fn queues_count(&self) -> usize {
        self.queues_by_id.len()
    }

    /// How many exchanges there are, predeclared ones included.
    pub fn exchanges_count(&self) -> usize {
        self.exchanges.len()
    }

    /// How many named sessions there are.
    pub fn sessions_count(&self) -> usize {
        self.sessions_by_id.len()
    }

    /// How many bindings there are.
    pub fn bindings_count(&self) -> usize {
        self.bindings_count
    }
}

impl Exchange {
    fn bind(&mut self, binding: Arc<Binding>, kept: &Charge) {
        let before = self.matcher.bytes();
        self.matcher.bind(binding);
        kept.grow(self.matcher.bytes().saturating_sub(before));
    }

    fn unbind(&mut self, binding: &Binding, kept: &Charge) -> bool {
        let before = self.matcher.bytes();
        let found = self.matcher.unbind(binding);
        kept.shrink(before.saturating_sub(self.matcher.bytes()));
        found
    }
}

/// The next `max` of these, by name, behind that one.
fn behind<T: Clone>(all: &BTreeMap<Name, T>, after: Option<&str>, max: usize) -> Vec<T> {
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    all.range::<str, _>((from, Bound::Unbounded)).take(max).map(|(_, one)| one.clone()).collect()
}

/// Bindings changed: of which keys the routes may have changed.
fn bump(generations: &Generations, exchange: &Exchange, key: &Key) {
    if exchange.matcher.reads_fields() {
        // No route that leads through it is cached.
        return;
    }
    match exchange.spec.kind.is_keyed() {
        true => generations.bump_for(key),
        // The key says nothing about what is routed.
        false => generations.bump(),
    }
}

#[cfg(test)]
#[path = "topology_tests.rs"]
mod tests;
