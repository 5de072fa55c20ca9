//! Compiles a route's description into a route, and collects every mistake in it.

mod steps;

use crate::destination::{self, AddressRules, Destination, Topic};
use crate::expression::{Expression, Scope};
use crate::route::Route;
use crate::spec::{LimitSpec, OnErrorSpec, RouteSpec, Section};
use crate::wasm::Host;
use crate::{units, written};
use crossdock_core::step::StepMakers;
use crossdock_core::transform::{AfterFailure, ContentRoute, Mode, OnError, Order, Topics, Watch};
use crossdock_core::{Address, Key, Name};
use serde_json::Value as Json;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Something wrong in a route's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key, relative to the route: `steps[1].wasm`.
    pub key: String,
    pub reason: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// When modules are read and compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Modules {
    /// Before `compile` returns; one that is missing or broken is a mistake.
    Now,
    /// In the background; one that is missing or broken takes its route down, and nothing else.
    Later,
}

/// What a route is compiled for.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The folder that relative paths of modules begin at.
    pub base_dir: &'a Path,
    /// The exchange whose keys are written as `topic:`.
    pub topic_exchange: &'a Name,
    /// Filters of topics that begin with `$` and are ordinary topics nevertheless.
    pub dollar_topics: &'a [Key],
    pub modules: Modules,
    /// Plugins that steps may name.
    pub plugins: &'a StepMakers,
}

const NAME_MAX: usize = 64;
const CONCURRENCY_MAX: i64 = 64;
const MEMORY_DEFAULT: u64 = 16 << 20;
const MEMORY_MAX: u64 = 1 << 30;
const DEADLINE_DEFAULT: Duration = Duration::from_millis(50);
const DEADLINE_MAX: Duration = Duration::from_secs(60);
const BACKOFF_DEFAULT: Duration = Duration::from_millis(200);

const MODES: [(&str, Mode); 3] =
    [("divert", Mode::Divert), ("tap", Mode::Tap), ("filter", Mode::Filter)];
const ORDERS: [(&str, Order); 2] = [("relaxed", Order::Relaxed), ("strict", Order::Strict)];
/// Whether each message gets an instance of its own.
const ISOLATIONS: [(&str, bool); 2] = [("shared", false), ("per-message", true)];
const AFTER_FAILURE: [(&str, AfterFailure); 4] = [
    ("dead-letter", AfterFailure::DeadLetter),
    ("pass", AfterFailure::Pass),
    ("drop", AfterFailure::Drop),
    ("reject", AfterFailure::Reject),
];

impl Host {
    /// Checks and compiles a route. With [`Modules::Now`] it also creates the first instance of each module, so that a
    /// bad `with` is found here; that is slow: do not call it on a thread that serves connections.
    pub fn compile(
        &self,
        spec: &RouteSpec,
        surroundings: Surroundings<'_>,
    ) -> Result<ContentRoute, Vec<Mistake>> {
        let rules = AddressRules {
            topic_exchange: surroundings.topic_exchange.clone(),
            dollar_topics: surroundings.dollar_topics.to_vec(),
        };
        let scope = Scope { rules: Arc::new(rules), unreadable: self.unreadable().clone() };
        let (granted, mistakes) = (Vec::new(), Vec::new());
        let host = self;
        let mut compiler =
            Compiler { host, spec, surroundings, scope, granted, remembering: 0, mistakes };
        let route = compiler.route();
        match compiler.mistakes.is_empty() {
            true => Ok(route),
            false => Err(compiler.mistakes),
        }
    }
}

struct Compiler<'a> {
    host: &'a Host,
    spec: &'a RouteSpec,
    surroundings: Surroundings<'a>,
    scope: Scope,
    /// Queues that steps let their modules send to.
    granted: Vec<Name>,
    /// Steps so far that remember something.
    remembering: u16,
    mistakes: Vec<Mistake>,
}

/// What the modules of the route may use, and how they are run.
#[derive(Clone, Copy)]
struct Sandbox {
    /// Bytes.
    memory: u64,
    /// For one message.
    deadline: Duration,
    /// A new instance for each message.
    fresh: bool,
}

impl Compiler<'_> {
    fn route(&mut self) -> ContentRoute {
        let spec = self.spec;
        let name = self.name();
        let watches = self.watches();
        let when = self.read("when", &spec.when, |value| written::text(value).map(str::to_owned));
        let when = when.and_then(|text| {
            let condition = Expression::condition(&text, &self.scope);
            self.keep("when", condition)
        });
        let mode = match &spec.mode {
            Json::Null => Some(Mode::Divert),
            written => self.keep("mode", written::word(written, &MODES)),
        };
        let sandbox = self.sandbox();
        let steps = self.steps(sandbox);
        let to = self.destinations(mode);
        let mut queues: Vec<Name> = to.iter().filter_map(Destination::queue).collect();
        queues.append(&mut self.granted);
        let topics = self.topics(&to);
        let on_error = self.on_error(&mut queues);
        let mut seen = std::collections::BTreeSet::new();
        queues.retain(|queue| seen.insert(queue.to_string()));
        let rules = self.scope.rules.clone();
        let route = Route {
            name: name.clone(),
            when,
            steps,
            to,
            rules,
            mode: mode.unwrap_or(Mode::Divert),
        };
        let mut made = ContentRoute::new(Name::from(name), watches, route.mode, Arc::new(route));
        (made.on_error, made.queues, made.topics) = (on_error, queues, topics);
        self.manner(mode, &mut made);
        made
    }

    fn name(&mut self) -> String {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match written::text(&self.spec.name) {
            Ok(name) if !name.is_empty() && name.len() <= NAME_MAX && name.chars().all(good) => {
                return name.to_owned();
            }
            Ok(_) => self.mistake(
                "name",
                format!("must be 1 to {NAME_MAX} letters, digits, '-', '_' and '.'"),
            ),
            Err(reason) => self.mistake("name", reason),
        }
        String::new()
    }

    fn watches(&mut self) -> Vec<Watch> {
        let from = self.texts("from", &self.spec.from);
        if from.as_ref().is_some_and(Vec::is_empty) && self.spec.from != Json::Null {
            self.mistake("from", "is empty: name at least one address to watch");
        }
        let mut watches = Vec::new();
        for (i, text) in from.into_iter().flatten() {
            let watch = destination::watch(text, &self.scope.rules.topic_exchange);
            watches.extend(self.keep(&format!("from[{i}]"), watch));
        }
        watches
    }

    /// No mode: what is written is none, so it is not known whether there has to be a destination.
    fn destinations(&mut self, mode: Option<Mode>) -> Vec<Destination> {
        let spec = self.spec;
        let texts = self.texts("to", &spec.to);
        match (mode, &texts) {
            (Some(Mode::Filter), Some(texts)) if !texts.is_empty() => {
                self.mistake(
                    "to",
                    "mode filter sends the result where the original was going, so it has no 'to'",
                );
            }
            (Some(Mode::Divert | Mode::Tap), Some(texts)) if texts.is_empty() => {
                self.mistake("to", "is empty: name at least one address to send results to");
            }
            _ => {}
        }
        let mut to = Vec::new();
        for (i, text) in texts.into_iter().flatten() {
            let destination = Destination::parse(text, &self.scope);
            to.extend(self.keep(&format!("to[{i}]"), destination));
        }
        to
    }

    fn topics(&self, to: &[Destination]) -> Topics {
        let mut topics = Topics::default();
        for topic in to.iter().filter_map(|to| to.topic(&self.scope.rules.topic_exchange)) {
            match topic {
                Topic::Computed => topics.computed += 1,
                Topic::Constant(address) if topics.constant.contains(&address) => {}
                Topic::Constant(address) => topics.constant.push(address),
            }
        }
        topics
    }

    /// How messages are run: what makes sense for some routes only.
    fn manner(&mut self, mode: Option<Mode>, route: &mut ContentRoute) {
        const QUEUED: &str = "applies to routes with a wasm or plugin step, and this route has none: \
             it runs while its message is published";
        let spec = self.spec;
        let priority = self.read("priority", &spec.priority, |value| {
            written::whole(value, i64::from(i32::MIN)..=i64::from(i32::MAX))
        });
        if spec.priority != Json::Null && matches!(mode, Some(Mode::Divert | Mode::Tap)) {
            self.mistake(
                "priority",
                "applies to mode filter: other routes all get the same message",
            );
        }
        let order = self.read("order", &spec.order, |value| written::word(value, &ORDERS));
        let concurrency = self.read("concurrency", &spec.concurrency, |value| {
            written::whole(value, 1..=CONCURRENCY_MAX)
        });
        for (key, value) in [("order", &spec.order), ("concurrency", &spec.concurrency)] {
            if *value != Json::Null && !self.is_queued() {
                self.mistake(key, QUEUED);
            }
        }
        if self.remembering > 0 && concurrency.is_some_and(|workers| workers > 1) {
            self.mistake(
                "concurrency",
                "a step that grants \"kv\" handles one message at a time: leave it out, or set it to 1",
            );
        }
        let required = self.read("required", &spec.required, written::boolean);
        route.priority = priority.and_then(|n| i32::try_from(n).ok()).unwrap_or(0);
        route.required = required.unwrap_or(false);
        route.order = order.unwrap_or_default();
        route.concurrency = concurrency.and_then(|n| u16::try_from(n).ok()).unwrap_or(1);
    }

    fn sandbox(&mut self) -> Sandbox {
        let empty = LimitSpec::default();
        let spec = self.section("limits", &self.spec.limits).unwrap_or(&empty);
        let memory = self.read("limits.memory", &spec.memory, |value| {
            match written::text(value).and_then(units::size)? {
                bytes if (1 << 16..=MEMORY_MAX).contains(&bytes) => Ok(bytes),
                _ => Err("must be from 64KiB to 1GiB".into()),
            }
        });
        let deadline = self.read("limits.deadline", &spec.deadline, |value| {
            match written::text(value).and_then(units::duration)? {
                time if !time.is_zero() && time <= DEADLINE_MAX => Ok(time),
                _ => Err("must be from 1ms to 60s".into()),
            }
        });
        let isolation = &self.spec.isolation;
        let fresh = self.read("isolation", isolation, |value| written::word(value, &ISOLATIONS));
        if !self.has_modules() {
            if *spec != empty {
                self.mistake("limits", "apply to wasm steps, and this route has none");
            }
            if fresh == Some(true) {
                self.mistake("isolation", "applies to wasm steps, and this route has none");
            }
        }
        Sandbox {
            memory: memory.unwrap_or(MEMORY_DEFAULT),
            deadline: deadline.unwrap_or(DEADLINE_DEFAULT),
            fresh: fresh.unwrap_or(false),
        }
    }

    fn on_error(&mut self, queues: &mut Vec<Name>) -> OnError {
        let empty = OnErrorSpec::default();
        let spec = self.section("on_error", &self.spec.on_error).unwrap_or(&empty);
        let retry = self.read("on_error.retry", &spec.retry, |value| {
            written::whole(value, 0..=i64::from(u16::MAX))
        });
        let backoff = self.read("on_error.backoff", &spec.backoff, |value| {
            written::text(value).and_then(units::duration)
        });
        let then =
            self.read("on_error.then", &spec.then, |value| written::word(value, &AFTER_FAILURE));
        for (key, value) in [("retry", &spec.retry), ("backoff", &spec.backoff)] {
            if *value != Json::Null && !self.is_queued() {
                let reason = "has no effect without a wasm or plugin step: the route runs once, \
                     while its message is published";
                self.mistake(&format!("on_error.{key}"), reason);
            }
        }
        if then == Some(AfterFailure::Reject) && self.is_queued() {
            let reason = "the publisher of a route with a wasm or plugin step is answered before \
                 the step runs";
            self.mistake("on_error.then", reason);
        }
        let rules = self.scope.rules.clone();
        let dead_letter = self.read("on_error.dead_letter", &spec.dead_letter, |value| {
            written::text(value).and_then(|text| match text.contains(['{', '}']) {
                true => Err("nothing is computed here, so an address has no braces".into()),
                false => destination::allowed(text, &rules),
            })
        });
        if dead_letter.is_some() && then.is_some_and(|then| then != AfterFailure::DeadLetter) {
            self.mistake("on_error.dead_letter", "can only be set with then = \"dead-letter\"");
        }
        if let Some(name) = dead_letter.as_ref().filter(|a| a.is_queue()).map(queue_name) {
            queues.push(name);
        }
        OnError {
            retry: retry.and_then(|n| u16::try_from(n).ok()).unwrap_or(0),
            backoff: backoff.unwrap_or(BACKOFF_DEFAULT),
            then: then.unwrap_or(AfterFailure::DeadLetter),
            dead_letter,
        }
    }

    /// The texts of a list, each with its index; none if it is no list, which is then a mistake. What is not written is
    /// an empty list.
    fn texts<'s>(&mut self, key: &str, value: &'s Json) -> Option<Vec<(usize, &'s str)>> {
        if *value == Json::Null {
            return Some(Vec::new());
        }
        let items = self.keep(key, written::list(value))?;
        let mut texts = Vec::new();
        let mut complete = true;
        for (i, item) in items.iter().enumerate() {
            let text = self.keep(&format!("{key}[{i}]"), written::text(item));
            complete &= text.is_some();
            texts.extend(text.map(|text| (i, text)));
        }
        (complete || !texts.is_empty()).then_some(texts)
    }

    fn section<'s, T>(&mut self, key: &str, section: &'s Section<T>) -> Option<&'s T> {
        match section {
            Section::Is(table) => Some(table),
            Section::Not(found) => {
                self.mistake(key, format!("expected a table, found {found}"));
                None
            }
        }
    }

    /// Reads a value, if it is written.
    fn read<T>(
        &mut self,
        key: &str,
        value: &Json,
        read: impl FnOnce(&Json) -> Result<T, String>,
    ) -> Option<T> {
        match value {
            Json::Null => None,
            written => self.keep(key, read(written)),
        }
    }

    fn keep<T>(&mut self, key: &str, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(reason) => {
                self.mistake(key, reason);
                None
            }
        }
    }

    fn mistake(&mut self, key: &str, reason: impl Into<String>) {
        self.mistakes.push(Mistake { key: key.into(), reason: reason.into() });
    }
}

fn queue_name(address: &Address) -> Name {
    Name::from(address.key.to_string())
}

#[cfg(test)]
#[path = "compile_tests.rs"]
mod tests;
