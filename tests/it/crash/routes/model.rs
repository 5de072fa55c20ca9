//! What the rules of docs/guide/routes.md make of one publish: every outcome that is right. There are several where
//! it matters whether the queue [`LATE`] is there at that moment.

use super::plan::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What is published, apart from its number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Its place in [`ENTRIES`].
    pub entry: usize,
    pub h: bool,
    /// It has the header `p`, which is `9`.
    pub p: bool,
    pub word: &'static str,
    /// The publisher is told when nobody got anything.
    pub mandatory: bool,
}

/// A copy of a message: where it is, through which routes it came (a bit for each), and which dead-lettered it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub queue: String,
    pub marks: u8,
    pub dead: Option<usize>,
}

pub type Copies = BTreeMap<Place, u32>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Stored,
    /// Nobody got anything.
    Unreached,
    /// Nobody got anything, because a tap dropped its copy.
    Vague,
    Refused,
    /// Refused, because a route's result has no destination.
    NotFound,
}

#[derive(Debug, Clone)]
pub struct Outcome {
    pub told: Told,
    pub copies: Copies,
    /// The publish itself needs room in [`FULL`].
    pub needs_room: bool,
    /// Routes (bits) whose queues it waits in.
    pub queued: u8,
    /// No route was asked. Then a publish that one queue refuses may be in the others.
    pub is_plain: bool,
}

/// All right outcomes of a publish, and the routes (bits) whose queues may have to wait for room in [`FULL`].
pub fn outcomes(plan: &Plan, shape: &Shape) -> (Vec<Outcome>, u8) {
    let mut all = Vec::new();
    let (mut choices, mut held) = (0, 0);
    // Each choice is a bit of the number: whether the queue is gone when one step is done.
    let mut number = 0u32;
    while number < 1 << choices {
        let mut model = Model {
            plan,
            choices: number,
            taken: 0,
            is_gone: None,
            held: 0,
            queued: 0,
            ran: false,
        };
        all.push(model.outcome(shape));
        assert!(model.taken < 16, "a message that meets the queue {} too often", LATE);
        choices = choices.max(model.taken);
        held |= model.held;
        number += 1;
    }
    (all, held)
}

#[derive(Debug, Clone)]
struct Msg {
    address: Address,
    h: bool,
    p: bool,
    word: &'static str,
    marks: u8,
}

/// Routes that watch the address come before those that watch a queue behind it.
#[derive(Debug, Clone)]
enum Level {
    Address,
    Queue(String),
}

#[derive(Debug, Clone)]
struct Job {
    route: usize,
    msg: Msg,
    level: Level,
    then: Next,
}

/// What follows when a queued route passed a message, or a queued divert had its turn.
#[derive(Debug, Clone)]
enum Next {
    /// The chain behind this many filters.
    Filters(usize),
    /// Further diverts, and whether one took it.
    Diverts(VecDeque<usize>, bool),
    Nothing,
}

/// What happens as a whole or not at all.
#[derive(Debug, Default)]
struct Unit {
    placed: Vec<Place>,
    jobs: Vec<Job>,
    dropped: bool,
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

    fn needs_room(&self) -> bool {
        self.placed.iter().any(|place| place.queue == FULL)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ran {
    Passed,
    Taken,
}

/// Why a step has no results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Told to the publisher as such, where the policy is to reject.
    Unroutable,
    Other,
    /// A module's refusal: dead-lettered whatever the policy is.
    Refusal,
}

struct Model<'a> {
    plan: &'a Plan,
    choices: u32,
    taken: u32,
    /// Whether [`LATE`] is gone for the unit being made; none: nobody asked yet.
    is_gone: Option<bool>,
    held: u8,
    queued: u8,
    /// A route worked on it.
    ran: bool,
}

/// The message in its chain: how far it is routed, and behind how many filters.
type At<'m> = (&'m Msg, &'m Level, usize);

impl Model<'_> {
    fn outcome(&mut self, shape: &Shape) -> Outcome {
        let address = Address::read(ENTRIES[shape.entry]);
        let msg = Msg { address, h: shape.h, p: shape.p, word: shape.word, marks: 0 };
        let mut unit = Unit::default();
        let none = Copies::new();
        // A publisher is there to be told no.
        if let Err(told) = self.chain(&mut unit, msg, (Level::Address, 0), false) {
            return Outcome { told, copies: none, needs_room: false, queued: 0, is_plain: false };
        }
        let told = match &unit {
            unit if !unit.placed.is_empty() || !unit.jobs.is_empty() => Told::Stored,
            Unit { vague: true, .. } => Told::Vague,
            Unit { dropped: true, .. } => Told::Stored,
            _ => Told::Unreached,
        };
        let needs_room = unit.needs_room();
        let mut copies = none;
        let mut jobs = VecDeque::new();
        self.settle(unit, &mut copies, &mut jobs);
        while let Some(job) = jobs.pop_front() {
            self.queued |= 1 << job.route;
            let route = job.route;
            self.is_gone = None;
            let unit = self.job(job);
            if unit.needs_room() {
                self.held |= 1 << route;
            }
            self.settle(unit, &mut copies, &mut jobs);
        }
        Outcome { told, copies, needs_room, queued: self.queued, is_plain: !self.ran }
    }

    fn settle(&self, unit: Unit, copies: &mut Copies, jobs: &mut VecDeque<Job>) {
        for place in unit.placed {
            *copies.entry(place).or_default() += 1;
        }
        jobs.extend(unit.jobs);
    }

    fn job(&mut self, job: Job) -> Unit {
        let mut unit = Unit::default();
        let Job { route, msg, level, then } = job;
        let next = if let Next::Filters(next) = &then { *next } else { 0 };
        // Nobody is told any more, so that nothing here refuses.
        let told = "what waits in a queue is refused by nothing";
        let ran = self.run(&mut unit, route, (&msg, &level, next), true).expect(told);
        match then {
            Next::Filters(next) if ran == Ran::Passed => {
                self.chain(&mut unit, msg, (level, next), true).expect(told);
            }
            Next::Diverts(rest, taken) => {
                let taken = taken || ran == Ran::Taken;
                self.diverts(&mut unit, (msg, level), (rest, taken), true).expect(told);
            }
            Next::Filters(_) | Next::Nothing => {}
        }
        unit
    }

    fn is_there(&mut self, queue: &str) -> bool {
        if queue != LATE {
            return QUEUES.contains(&queue);
        }
        let is_gone = *self.is_gone.get_or_insert_with(|| {
            self.taken += 1;
            self.choices >> (self.taken - 1) & 1 == 1
        });
        !is_gone
    }

    /// Queues that an address leads to; none: it is not there.
    fn targets(&mut self, msg: &Msg) -> Option<BTreeSet<String>> {
        let Address { exchange, key } = &msg.address;
        if exchange.is_empty() {
            return self.is_there(key).then(|| [key.clone()].into());
        }
        let kind = |name: &str| match name {
            TOPICS => Some("topic"),
            _ => EXCHANGES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind),
        };
        kind(exchange)?;
        let mut found = BTreeSet::new();
        let mut open = vec![exchange.as_str()];
        while let Some(source) = open.pop() {
            for binding in self.plan.bindings.iter().filter(|b| b.source == source) {
                let is_met = match kind(source) {
                    Some("direct") => binding.key == *key,
                    Some("topic") => meets(&binding.key, key),
                    Some("headers") => binding.h == Some(msg.h),
                    _ => true,
                };
                match binding.to {
                    to if is_met && to.starts_with("x.") => open.push(to),
                    to if is_met && self.is_there(to) => _ = found.insert(to.to_owned()),
                    _ => {}
                }
            }
        }
        Some(found)
    }

    fn watches_address(&self, route: usize, address: &Address) -> bool {
        let meets = |watch: &Address| {
            !address.exchange.is_empty()
                && watch.exchange == address.exchange
                && meets(&watch.key, &address.key)
        };
        self.plan.routes[route].watches.iter().any(meets)
    }

    /// Routes that watch here and take the message, the highest priority first.
    fn watchers(&self, msg: &Msg, level: &Level, filters: bool) -> Vec<usize> {
        let routes = &self.plan.routes;
        let watches = |r: &usize| match level {
            Level::Address => self.watches_address(*r, &msg.address),
            Level::Queue(queue) => {
                let watched = |w: &Address| w.exchange.is_empty() && w.key == *queue;
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
        let holds = match self.plan.routes[route].when {
            When::All => true,
            When::Header(h) => msg.h == h,
            When::Body(word) => msg.word == word,
            When::Part => msg.p,
        };
        holds && msg.marks & 1 << route == 0
    }

    /// Filters one after the other, then the others, then where it was going. `untold`: no publisher waits.
    fn chain(
        &mut self,
        unit: &mut Unit,
        msg: Msg,
        (level, from): (Level, usize),
        untold: bool,
    ) -> Result<(), Told> {
        let filters = self.watchers(&msg, &level, true);
        for (at, route) in filters.into_iter().enumerate().skip(from) {
            if !self.takes(route, &msg) {
                continue;
            }
            if self.plan.routes[route].queued {
                let then = Next::Filters(at + 1);
                unit.jobs.push(Job { route, msg, level, then });
                return Ok(());
            }
            if self.run(unit, route, (&msg, &level, at + 1), untold)? == Ran::Taken {
                return Ok(());
            }
        }
        let mut taken = false;
        let mut queued = VecDeque::new();
        for route in self.watchers(&msg, &level, false) {
            let r = &self.plan.routes[route];
            match (r.mode, r.queued) {
                _ if !self.takes(route, &msg) => {}
                (Mode::Tap, true) => {
                    let (msg, level) = (msg.clone(), level.clone());
                    unit.jobs.push(Job { route, msg, level, then: Next::Nothing });
                }
                (_, true) => queued.push_back(route),
                (mode, false) => {
                    let ran = self.run(unit, route, (&msg, &level, 0), untold)?;
                    taken |= mode == Mode::Divert && ran == Ran::Taken;
                }
            }
        }
        self.diverts(unit, (msg, level), (queued, taken), untold)
    }

    /// Queued diverts run one after the other; the message goes on only when all passed.
    fn diverts(
        &mut self,
        unit: &mut Unit,
        (msg, level): (Msg, Level),
        (mut rest, taken): (VecDeque<usize>, bool),
        untold: bool,
    ) -> Result<(), Told> {
        if let Some(route) = rest.pop_front() {
            unit.jobs.push(Job { route, msg, level, then: Next::Diverts(rest, taken) });
            return Ok(());
        }
        match level {
            _ if taken => Ok(()),
            Level::Queue(queue) => {
                unit.placed.push(Place { queue, marks: msg.marks, dead: None });
                Ok(())
            }
            Level::Address => {
                let queues = self.targets(&msg).unwrap_or_default();
                queues
                    .into_iter()
                    .try_for_each(|q| self.chain(unit, msg.clone(), (Level::Queue(q), 0), untold))
            }
        }
    }

    fn run(
        &mut self,
        unit: &mut Unit,
        route: usize,
        at: At<'_>,
        untold: bool,
    ) -> Result<Ran, Told> {
        self.ran = true;
        let (msg, r) = (at.0, &self.plan.routes[route]);
        let word = if r.queued { msg.word } else { "" };
        let is_tap = r.mode == Mode::Tap;
        match word {
            "keep" => Ok(Ran::Passed),
            "drop" => {
                unit.vague |= is_tap;
                unit.dropped |= !is_tap;
                Ok(Ran::Taken)
            }
            "error" => self.fail(unit, (route, msg), Fault::Other, untold),
            "reject" => self.fail(unit, (route, msg), Fault::Refusal, untold),
            _ => match self.emit(route, word == "split", at, untold)? {
                Ok(outputs) => {
                    unit.append(outputs);
                    Ok(Ran::Taken)
                }
                Err(fault) => self.fail(unit, (route, msg), fault, untold),
            },
        }
    }

    /// The addresses of a route's results; none: one of them cannot be computed.
    fn addresses(&self, route: usize, split: bool, msg: &Msg) -> Option<Vec<Address>> {
        let r = &self.plan.routes[route];
        let is_filter = r.mode == Mode::Filter;
        let mut all = if split { vec![Address::read(self.plan.split_to)] } else { Vec::new() };
        match is_filter {
            true => all.push(msg.address.clone()),
            false => {
                for to in &r.to {
                    if to.contains("{p}") && !msg.p {
                        return None;
                    }
                    all.push(Address::read(&to.replace("{p}", "9")));
                }
            }
        }
        Some(all)
    }

    /// When one of the results has nowhere to go none of them goes anywhere.
    fn emit(
        &mut self,
        route: usize,
        split: bool,
        (msg, level, next): At<'_>,
        untold: bool,
    ) -> Result<Result<Unit, Fault>, Told> {
        let r = &self.plan.routes[route];
        let Some(addresses) = self.addresses(route, split, msg) else {
            return Ok(Err(Fault::Other));
        };
        let goes_on = |to: &Address| r.mode == Mode::Filter && *to == msg.address;
        let mut all = Unit::default();
        let (here, elsewhere): (Vec<_>, Vec<_>) = addresses.into_iter().partition(goes_on);
        for to in elsewhere.into_iter().chain(here) {
            let mut output = msg.clone();
            output.marks |= 1 << route;
            // What is left of the body of a message that was split has no first word.
            output.word = if split { "" } else { msg.word };
            let mut one = Unit::default();
            if goes_on(&to) {
                self.chain(&mut one, output, (level.clone(), next), untold)?;
            } else {
                output.address = to;
                if self.targets(&output).is_none() {
                    return Ok(Err(Fault::Unroutable));
                }
                self.chain(&mut one, output, (Level::Address, 0), untold)?;
                if r.required && !one.reached() {
                    return Ok(Err(Fault::Unroutable));
                }
            }
            all.append(one);
        }
        Ok(Ok(all))
    }

    fn fail(
        &mut self,
        unit: &mut Unit,
        (route, msg): (usize, &Msg),
        fault: Fault,
        untold: bool,
    ) -> Result<Ran, Told> {
        let r = &self.plan.routes[route];
        match r.then {
            Then::Pass if fault != Fault::Refusal => return Ok(Ran::Passed),
            Then::Drop if fault != Fault::Refusal => {
                unit.vague |= r.mode == Mode::Tap;
                unit.dropped |= r.mode != Mode::Tap;
            }
            Then::Reject if !untold && fault == Fault::Unroutable => return Err(Told::NotFound),
            Then::Reject if !untold => return Err(Told::Refused),
            _ => {
                let queue = r.dead.unwrap_or(DEAD).to_owned();
                unit.placed.push(Place { queue, marks: msg.marks, dead: Some(route) });
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
