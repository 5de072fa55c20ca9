//! The rules of content routes, as docs/SEMANTICS.md states them, on lists: no batches, no clock, no store. What a
//! publish leads to is a [`Unit`] that happens as a whole or not at all.

use crate::acts::{Act, body_of_output, course, wants};
use crate::plan::*;
use crossdock_core::transform::{AfterFailure, FailureKind, Mode};
use crossdock_core::{Address, Kind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Msg {
    pub body: String,
    pub address: Address,
    h: u8,
    through: BTreeSet<usize>,
    hops: u8,
}

/// How far a message is routed: routes that watch the address come before those that watch a queue behind it.
#[derive(Debug, Clone)]
enum Level {
    Address,
    Queue(String),
}

/// What waits in a queued route's queue.
#[derive(Debug, Clone)]
struct Job {
    route: usize,
    msg: Msg,
    level: Level,
    then: Then,
}

#[derive(Debug, Clone)]
enum Then {
    /// The chain goes on behind this many filters.
    Filters(usize),
    /// Further diverts, and whether one has taken the message.
    Diverts(VecDeque<usize>, bool),
    Nothing,
}

/// Why nothing of a publish happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum No {
    Full,
    Invalid,
    /// The dead-letter address has no taker.
    Unheard,
    NotFound,
}

/// What a publish leads to.
#[derive(Debug, Default)]
struct Unit {
    placed: Vec<(String, String)>,
    jobs: Vec<Job>,
    /// A verdict or a policy dropped something.
    dropped: bool,
    /// A tap dropped its copy, or a route had no output: whether somebody was reached is a matter of taste.
    vague: bool,
}

impl Unit {
    fn reached(&self) -> bool {
        !self.placed.is_empty() || !self.jobs.is_empty() || self.dropped || self.vague
    }

    fn append(&mut self, mut other: Unit) {
        self.placed.append(&mut other.placed);
        self.jobs.append(&mut other.jobs);
        self.dropped |= other.dropped;
        self.vague |= other.vague;
    }
}

/// What the publisher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Stored,
    Unroutable,
    /// Either is right.
    StoredOrUnroutable,
    /// It depends on which of several dead-letter addresses counts.
    StoredOrNo,
    No(No),
}

/// Whether a route had the message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ran {
    Passed,
    Taken,
}

/// More of it is not worth a test: the routes multiply messages.
const WORK_MAX: usize = 400;

pub struct Model<'a> {
    plan: &'a Plan,
    bindings: Vec<Binding>,
    /// Queues that are there, and how much they still take.
    queues: BTreeMap<String, usize>,
    exchanges: BTreeMap<&'static str, Kind>,
    pub contents: Vec<(String, String)>,
    held: VecDeque<Job>,
    /// Refused publishes without a confirm: at least and at most one copy in a dead-letter queue.
    pub refused_unconfirmed: BTreeMap<u32, bool>,
    /// Ids of messages that went through too many routes.
    pub far: BTreeSet<u32>,
    /// Publishes that no route was asked about and that one queue refused: each of these queues may have it or not.
    pub partial: BTreeMap<u32, Vec<String>>,
    /// Attempts by route and body; none: it does not follow from the rules how many there are.
    pub attempts: BTreeMap<(usize, String), Option<u32>>,
    /// What waits behind something that is held, by route and body.
    blocked: BTreeSet<(usize, String)>,
    work: usize,
}

pub const UNLIMITED: usize = usize::MAX;

impl<'a> Model<'a> {
    pub fn new(plan: &'a Plan) -> Self {
        let mut queues: BTreeMap<String, usize> = BTreeMap::new();
        for name in QUEUES.iter().chain(&[LATE, "heard"]) {
            queues.insert((*name).into(), UNLIMITED);
        }
        queues.insert(SESSION.into(), UNLIMITED);
        queues.insert(FULL.into(), 0);
        queues.insert(SHORT.into(), SHORT_ROOM);
        for (name, state) in [(DEAD, plan.dead), (OWN_DEAD, plan.own_dead)] {
            match state {
                DeadState::Open => _ = queues.insert(name.into(), UNLIMITED),
                DeadState::Full => _ = queues.insert(name.into(), 0),
                DeadState::Missing => {}
            }
        }
        Self {
            plan,
            bindings: plan.bindings.clone(),
            queues,
            exchanges: EXCHANGES.into_iter().collect(),
            contents: Vec::new(),
            held: VecDeque::new(),
            refused_unconfirmed: BTreeMap::new(),
            far: BTreeSet::new(),
            partial: BTreeMap::new(),
            attempts: BTreeMap::new(),
            blocked: BTreeSet::new(),
            work: 0,
        }
    }

    /// It became too much.
    pub fn is_too_much(&self) -> bool {
        self.work > WORK_MAX
    }

    pub fn delete_queue(&mut self, name: &str) {
        self.queues.remove(name);
        self.bindings.retain(|b| b.to != Leads::Queue(LATE) || name != LATE);
        self.contents.retain(|(queue, _)| queue != name);
    }

    pub fn delete_exchange(&mut self, name: &'static str) {
        self.exchanges.remove(name);
        self.bindings.retain(|b| b.source != name && b.to != Leads::Exchange(name));
    }

    /// Every queue has room and every dead-letter address a taker; what was held goes on.
    pub fn relieve(&mut self) {
        for name in [FULL, DEAD, OWN_DEAD] {
            self.queues.insert(name.into(), UNLIMITED);
        }
        self.queues.insert("late-taker".into(), UNLIMITED);
        self.exchanges.insert("dead.x", Kind::Fanout);
        let taker = |source, key| Binding { source, key, h: None, to: Leads::Queue("late-taker") };
        self.bindings.push(taker("dead.x", ""));
        self.bindings.push(taker(DEAD_TOPICS, "un/heard"));
        let held = std::mem::take(&mut self.held);
        self.work_off(held);
    }

    /// What is in the queues of routes.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Routes that hold something.
    pub fn holding(&self) -> BTreeSet<usize> {
        self.held.iter().map(|job| job.route).collect()
    }

    /// Ids that came through routes that hold something: who is behind it depends on who came first.
    pub fn open_ids(&self) -> BTreeSet<u32> {
        let is_held = |route: usize| self.held.iter().any(|job| job.route == route);
        let of = self.attempts.keys().chain(&self.blocked);
        let ids = of.filter(|(route, _)| is_held(*route));
        ids.map(|(_, body)| crate::acts::id_of(body)).collect()
    }

    /// What publishing that leads to.
    pub fn publish(&mut self, put: &Put) -> Told {
        let work = self.work;
        let unit = self.client(put);
        let no_route = unit.as_ref().is_ok_and(|unit| unit.jobs.is_empty()) && self.work == work;
        let queues = |unit: &Unit| unit.placed.iter().map(|(q, _)| q.clone()).collect();
        let queues: Vec<String> = unit.as_ref().map(queues).unwrap_or_default();
        let told = self.tell(unit);
        if no_route && told == Told::No(No::Full) {
            self.partial.insert(put.id, queues);
            return if put.can_refuse { told } else { Told::StoredOrNo };
        }
        if let Told::No(no) = told
            && !(put.confirm && put.can_refuse)
            && no != No::NotFound
        {
            let takers = self.plan.routes.iter().filter_map(|r| r.dead.clone());
            let takers: Vec<Address> = takers.chain([queue(DEAD)]).collect();
            let works = |to: &Address| {
                let queues = self.targets(to, put.h).unwrap_or_default();
                !queues.is_empty() && queues.iter().all(|q| self.queues[q] > 0)
            };
            let (all, any) = (takers.iter().all(works), takers.iter().any(works));
            self.refused_unconfirmed.insert(put.id, all);
            // Dead-lettered and taken, or dropped and the connection closed.
            return match (all, any) {
                (true, _) => Told::Stored,
                (false, true) => Told::StoredOrNo,
                _ => told,
            };
        }
        told
    }

    /// All of them or nothing; true: committed.
    pub fn commit(&mut self, puts: &[Put]) -> bool {
        let mut whole = Unit::default();
        for put in puts {
            match self.client(put) {
                Ok(unit) => whole.append(unit),
                Err(_) => return false,
            }
        }
        self.settle(whole).is_ok()
    }

    fn tell(&mut self, unit: Result<Unit, No>) -> Told {
        let unit = match unit {
            Ok(unit) => unit,
            Err(no) => return Told::No(no),
        };
        let told = match (unit.placed.is_empty() && unit.jobs.is_empty(), &unit) {
            (false, _) => Told::Stored,
            (true, Unit { vague: true, .. }) => Told::StoredOrUnroutable,
            (true, Unit { dropped: true, .. }) => Told::Stored,
            _ => Told::Unroutable,
        };
        match self.settle(unit) {
            Ok(()) => told,
            Err(no) => Told::No(no),
        }
    }

    fn client(&mut self, put: &Put) -> Result<Unit, No> {
        let msg = Msg {
            body: put.id.to_string(),
            address: put.to.clone(),
            h: put.h,
            through: BTreeSet::new(),
            hops: self.plan.hops,
        };
        let mut unit = Unit::default();
        match self.route(&mut unit, msg)? {
            true => Ok(unit),
            false if put.to.exchange.is_empty() => Ok(Unit::default()),
            false => Err(No::NotFound),
        }
    }

    /// Limits count all that a unit places. Then routes with queues work until nothing is left to do.
    fn settle(&mut self, unit: Unit) -> Result<(), No> {
        let jobs = self.place(unit)?;
        self.work_off(jobs.into());
        Ok(())
    }

    fn place(&mut self, unit: Unit) -> Result<Vec<Job>, No> {
        let count = |queue: &str| unit.placed.iter().filter(|(q, _)| q == queue).count();
        if unit.placed.iter().any(|(queue, _)| count(queue) > self.queues[queue]) {
            return Err(No::Full);
        }
        for (queue, _) in &unit.placed {
            let room = self.queues.get_mut(queue).expect("it is there");
            *room = if *room == UNLIMITED { UNLIMITED } else { *room - 1 };
        }
        self.contents.extend(unit.placed);
        Ok(unit.jobs)
    }

    fn work_off(&mut self, mut jobs: VecDeque<Job>) {
        while let Some(job) = jobs.pop_front() {
            self.work += 1;
            if self.is_too_much() {
                return;
            }
            let blocked = self.held.iter().any(|held| {
                // What waits for a place keeps it, and its source waits behind it.
                held.route == job.route && held.msg.address == job.msg.address
            });
            if blocked {
                self.blocked.insert((job.route, job.msg.body.clone()));
                self.held.push_back(job);
                continue;
            }
            match self.run_job(job.clone()).and_then(|unit| self.place(unit)) {
                Ok(more) => jobs.extend(more),
                Err(_) => {
                    self.attempts.insert((job.route, job.msg.body.clone()), None);
                    self.held.push_back(job);
                }
            }
        }
    }

    /// Guest and hops failures are not tried again, others are.
    fn count_attempts(&mut self, route: usize, body: &str, unplaced: Option<FailureKind>) {
        let course = course(self.plan, route, body);
        let retry = u32::from(self.plan.routes[route].retry);
        let count = match (course.again, course.fails, unplaced) {
            (1.., ..) => None,
            (_, fails, _) if fails > 0 && course.kind == FailureKind::Guest => Some(1),
            (_, fails, _) if fails > retry => Some(retry + 1),
            (_, _, Some(FailureKind::Unroutable)) => Some(retry + 1),
            (_, fails, _) => Some(fails + 1),
        };
        self.attempts.insert((route, body.to_owned()), count);
    }

    fn run_job(&mut self, job: Job) -> Result<Unit, No> {
        let mut unit = Unit::default();
        let Job { route, msg, level, then } = job;
        let next = if let Then::Filters(next) = &then { *next } else { 0 };
        let ran = self.run(&mut unit, route, (&msg, &level, next))?;
        match then {
            Then::Filters(next) if ran == Ran::Passed => self.chain(&mut unit, msg, level, next)?,
            Then::Diverts(rest, taken) => {
                self.diverts(&mut unit, (msg, level), rest, taken || ran == Ran::Taken)?;
            }
            Then::Filters(_) | Then::Nothing => {}
        }
        Ok(unit)
    }

    // ---- routing ----

    /// False: the queue or exchange is not there, and nobody watches it.
    fn route(&mut self, unit: &mut Unit, msg: Msg) -> Result<bool, No> {
        if self.targets(&msg.address, msg.h).is_none() {
            return Ok(false);
        }
        self.chain(unit, msg, Level::Address, 0)?;
        Ok(true)
    }

    /// Queues that an address leads to by bindings; none: it is not there. A missing queue that is watched is there.
    fn targets(&self, address: &Address, h: u8) -> Option<BTreeSet<String>> {
        let key = String::from_utf8_lossy(address.key.bytes()).into_owned();
        if address.is_queue() {
            if self.queues.contains_key(&key) {
                return Some([key].into());
            }
            let watched = |r: usize| self.watches_address(r, address);
            return (0..self.plan.routes.len()).any(watched).then(BTreeSet::new);
        }
        let mut found = BTreeSet::new();
        let mut open = vec![self.exchanges.get_key_value(address.exchange.as_str())?];
        while let Some((source, kind)) = open.pop() {
            for binding in self.bindings.iter().filter(|b| b.source == *source) {
                let meets = match kind {
                    Kind::Fanout => true,
                    Kind::Direct => binding.key == key,
                    Kind::Topic => meets(binding.key, &key),
                    Kind::Headers => binding.h == Some(h),
                    // No plan has one.
                    Kind::Random
                    | Kind::LocalRandom
                    | Kind::ModulusHash
                    | Kind::ConsistentHash
                    | Kind::Delayed
                    | Kind::RecentHistory
                    | Kind::Foreign(_) => false,
                };
                match binding.to {
                    Leads::Queue(name) if meets => _ = found.insert(name.to_owned()),
                    Leads::Session if meets => _ = found.insert(SESSION.to_owned()),
                    Leads::Exchange(name) if meets => {
                        open.extend(self.exchanges.get_key_value(name));
                    }
                    _ => {}
                }
            }
        }
        Some(found)
    }

    /// A queue that is not there is watched by its address.
    fn watches_address(&self, route: usize, address: &Address) -> bool {
        let key = String::from_utf8_lossy(address.key.bytes());
        self.plan.routes[route].watches.iter().any(|watch| match watch {
            Watched::Exchange(name, pattern) => {
                address.exchange.as_str() == *name && meets(pattern, &key)
            }
            Watched::Queue(name) => {
                address.is_queue() && *name == key && !self.queues.contains_key(*name)
            }
        })
    }

    /// Routes that watch here, the highest priority first.
    fn watchers(&self, msg: &Msg, level: &Level, filters: bool) -> Vec<usize> {
        let routes = &self.plan.routes;
        let watches = |r: &usize| match level {
            Level::Address => self.watches_address(*r, &msg.address),
            Level::Queue(queue) => {
                let watched = |w: &Watched| matches!(w, Watched::Queue(q) if q == queue);
                // Who watches the address takes the message once.
                routes[*r].watches.iter().any(watched) && !self.watches_address(*r, &msg.address)
            }
        };
        let is = |r: &usize| (routes[*r].mode == Mode::Filter) == filters;
        let mut found: Vec<usize> = (0..routes.len()).filter(is).filter(watches).collect();
        found.sort_by_key(|r| std::cmp::Reverse(routes[*r].priority));
        found
    }

    fn takes(&self, route: usize, msg: &Msg) -> bool {
        !msg.through.contains(&route) && wants(self.plan, route, &msg.body, msg.h)
    }

    /// It runs from a queue of its own. What may go no further need not wait to fail.
    fn waits(&self, route: usize, msg: &Msg) -> bool {
        self.plan.routes[route].queued && msg.hops < HOPS_MAX
    }

    /// Filters one after the other, then the others, then where it was going.
    fn chain(&mut self, unit: &mut Unit, msg: Msg, level: Level, from: usize) -> Result<(), No> {
        let filters = self.watchers(&msg, &level, true);
        for (at, route) in filters.into_iter().enumerate().skip(from) {
            if !self.takes(route, &msg) {
                continue;
            }
            if self.waits(route, &msg) {
                let then = Then::Filters(at + 1);
                unit.jobs.push(Job { route, msg, level, then });
                return Ok(());
            }
            if self.run(unit, route, (&msg, &level, at + 1))? == Ran::Taken {
                return Ok(());
            }
        }
        let mut taken = false;
        let mut queued = VecDeque::new();
        for route in self.watchers(&msg, &level, false) {
            let (mode, is_queued) = (self.plan.routes[route].mode, self.waits(route, &msg));
            match (mode, is_queued) {
                _ if !self.takes(route, &msg) => {}
                (Mode::Tap, true) => {
                    let (msg, level) = (msg.clone(), level.clone());
                    unit.jobs.push(Job { route, msg, level, then: Then::Nothing });
                }
                (_, true) => queued.push_back(route),
                _ => {
                    let ran = self.run(unit, route, (&msg, &level, 0))?;
                    taken |= mode == Mode::Divert && ran == Ran::Taken;
                }
            }
        }
        self.diverts(unit, (msg, level), queued, taken)
    }

    /// Queued diverts run one after the other; the message goes on only when all passed.
    fn diverts(
        &mut self,
        unit: &mut Unit,
        (msg, level): (Msg, Level),
        mut rest: VecDeque<usize>,
        taken: bool,
    ) -> Result<(), No> {
        if let Some(route) = rest.pop_front() {
            let then = Then::Diverts(rest, taken);
            unit.jobs.push(Job { route, msg, level, then });
            return Ok(());
        }
        match level {
            _ if taken => Ok(()),
            Level::Queue(queue) => {
                unit.placed.push((queue, msg.body));
                Ok(())
            }
            Level::Address => {
                let queues = self.targets(&msg.address, msg.h).unwrap_or_default();
                queues
                    .into_iter()
                    .try_for_each(|q| self.chain(unit, msg.clone(), Level::Queue(q), 0))
            }
        }
    }

    // ---- routes ----

    /// Runs a route's steps to their end: all attempts.
    fn run(
        &mut self,
        unit: &mut Unit,
        route: usize,
        (msg, level, next): (&Msg, &Level, usize),
    ) -> Result<Ran, No> {
        self.work += 1;
        if msg.hops >= HOPS_MAX {
            self.far.insert(crate::acts::id_of(&msg.body));
            return self.fail(unit, route, msg, Some(FailureKind::Hops));
        }
        let course = course(self.plan, route, &msg.body);
        let outputs = match &course.act {
            Act::Emit(to) => Some(self.emit(route, to, (msg, level, next))),
            _ => None,
        };
        let r = &self.plan.routes[route];
        let unplaced =
            outputs.as_ref().and_then(|made| made.as_ref().ok()?.as_ref().err().copied());
        self.count_attempts(route, &msg.body, unplaced);
        let tries = if r.queued { u32::from(r.retry) } else { 0 };
        if course.again > 100 {
            return self.fail(unit, route, msg, None);
        }
        let final_at_once = course.kind == FailureKind::Guest && course.fails > 0;
        if final_at_once || course.fails > tries {
            return self.fail(unit, route, msg, Some(course.kind));
        }
        match course.act {
            Act::Pass => Ok(Ran::Passed),
            Act::Drop => {
                match r.mode {
                    Mode::Tap => unit.vague = true,
                    _ => unit.dropped = true,
                }
                Ok(Ran::Taken)
            }
            Act::Reject => Err(No::Invalid),
            Act::Emit(to) => match outputs.expect("made above")? {
                Ok(outputs) => {
                    unit.vague |= to.is_empty();
                    unit.append(outputs);
                    Ok(Ran::Taken)
                }
                Err(kind) => self.fail(unit, route, msg, Some(kind)),
            },
        }
    }

    /// When one of the outputs has nowhere to go none of them goes anywhere.
    fn emit(
        &mut self,
        route: usize,
        to: &[Option<Address>],
        (msg, level, next): (&Msg, &Level, usize),
    ) -> Result<Result<Unit, FailureKind>, No> {
        let mut all = Unit::default();
        let is_filter = self.plan.routes[route].mode == Mode::Filter;
        let goes_on =
            |to: &Option<Address>| is_filter && to.as_ref().is_none_or(|to| *to == msg.address);
        // First what goes elsewhere: where one has nowhere to go, the message goes no way at all.
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            to.iter().enumerate().partition(|(_, to)| goes_on(to));
        for (n, to) in elsewhere.into_iter().chain(here) {
            if self.work > WORK_MAX {
                return Ok(Ok(all));
            }
            let mut output = msg.clone();
            output.body = body_of_output(route, &msg.body, n);
            output.through.insert(route);
            let mut one = Unit::default();
            if goes_on(to) {
                self.chain(&mut one, output, level.clone(), next)?;
            } else if let Some(to) = to {
                output.address = to.clone();
                output.hops += 1;
                if !self.route(&mut one, output)? {
                    return Ok(Err(FailureKind::Unroutable));
                }
                if self.plan.routes[route].required && !one.reached() {
                    return Ok(Err(FailureKind::Unroutable));
                }
            }
            all.append(one);
        }
        Ok(Ok(all))
    }

    fn fail(
        &mut self,
        unit: &mut Unit,
        route: usize,
        msg: &Msg,
        kind: Option<FailureKind>,
    ) -> Result<Ran, No> {
        let r = &self.plan.routes[route];
        match r.then {
            AfterFailure::Pass => return Ok(Ran::Passed),
            AfterFailure::Reject => return Err(No::Invalid),
            AfterFailure::Drop if r.mode == Mode::Tap => unit.vague = true,
            AfterFailure::Drop => unit.dropped = true,
            AfterFailure::DeadLetter => {
                let to = r.dead.clone().unwrap_or_else(|| queue(DEAD));
                let queues = self.targets(&to, msg.h).unwrap_or_default();
                if queues.is_empty() {
                    return Err(No::Unheard);
                }
                let kind = kind.map_or("?", FailureKind::as_str);
                let body = format!("{} !r{route}:{kind}", msg.body);
                unit.placed.extend(queues.into_iter().map(|q| (q, body.clone())));
            }
        }
        Ok(Ran::Taken)
    }
}

/// Patterns in topic form.
fn meets(pattern: &str, key: &str) -> bool {
    fn words(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((&"#", rest)), _) => {
                words(rest, key) || !key.is_empty() && words(pattern, &key[1..])
            }
            (Some((word, rest)), Some((first, others))) => {
                (*word == "+" || word == first) && words(rest, others)
            }
            _ => false,
        }
    }
    let pattern: Vec<&str> = pattern.split('/').collect();
    let key: Vec<&str> = key.split('/').collect();
    words(&pattern, &key)
}
