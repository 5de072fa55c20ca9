//! Compiles a route's description into a route, and collects every mistake in it.

use crate::destination::{self, Destination};
use crate::expression::{Expression, Scope};
use crate::route::Route;
use crate::spec::{Isolation, RouteSpec, ThenSpec};
use crate::step::{Setting, Step};
use crate::units;
use crate::wasm::{Host, ModuleSpec};
use crossdock_core::transform::{ContentRoute, Cost, Mode, OnError, Transform, Watch};
use crossdock_core::{Address, Name, Value};
use serde_json::{Map, Value as Json};
use std::fmt;
use std::path::{Path, PathBuf};
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

const NAME_MAX: usize = 64;
const STEPS_MAX: usize = 32;
const MEMORY_DEFAULT: u64 = 16 << 20;
const MEMORY_MAX: u64 = 1 << 30;
const DEADLINE_DEFAULT: Duration = Duration::from_millis(50);
const DEADLINE_MAX: Duration = Duration::from_secs(60);

/// Steps that are planned and that this version does not have.
const PLANNED: [&str; 18] = [
    "xml-to-json",
    "json-to-xml",
    "csv-to-json",
    "json-select",
    "json-rename",
    "json-remove",
    "json-set",
    "template",
    "header-to-body",
    "body-to-header",
    "gzip",
    "gunzip",
    "base64",
    "charset",
    "split",
    "aggregate",
    "dedup",
    "throttle",
];

impl Host {
    /// Checks and compiles a route. Creates the first instance of each module, so that a bad `with` is found here.
    /// Compiling a module is slow: do not call this on a thread that serves connections.
    pub fn compile(
        &self,
        spec: &RouteSpec,
        base_dir: &Path,
        topic_exchange: &Name,
    ) -> Result<ContentRoute, Vec<Mistake>> {
        let unreadable = self.unreadable().clone();
        let scope = Scope { topic_exchange: topic_exchange.clone(), unreadable };
        let mut compiler = Compiler { host: self, spec, base_dir, scope, mistakes: Vec::new() };
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
    base_dir: &'a Path,
    scope: Scope,
    mistakes: Vec<Mistake>,
}

/// Limits of the route's modules: bytes of memory, and time for one message.
#[derive(Clone, Copy)]
struct Limits {
    memory: u64,
    deadline: Duration,
}

impl Compiler<'_> {
    fn route(&mut self) -> ContentRoute {
        let spec = self.spec;
        self.name();
        let watches = self.watches();
        let when = spec.when.as_deref().and_then(|text| {
            let condition = Expression::condition(text, &self.scope);
            self.keep("when", condition)
        });
        let limits = self.limits();
        let steps = self.steps(limits);
        let to = self.destinations();
        let mode = Mode::from(spec.mode);
        let mut queues: Vec<Name> = to.iter().filter_map(Destination::queue).collect();
        let route = Route { name: spec.name.clone(), when, steps, to, mode };
        let on_error = self.on_error(route.cost(), &mut queues);
        queues.dedup();
        let transform = Arc::new(route);
        let name = Name::from(spec.name.as_str());
        ContentRoute { on_error, queues, ..ContentRoute::new(name, watches, mode, transform) }
    }

    fn name(&mut self) {
        let name = &self.spec.name;
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(good) {
            let reason = format!("must be 1 to {NAME_MAX} letters, digits, '-', '_' and '.'");
            self.mistake("name", reason);
        }
    }

    fn watches(&mut self) -> Vec<Watch> {
        if self.spec.from.is_empty() {
            self.mistake("from", "is empty: name at least one address to watch");
        }
        let mut watches = Vec::new();
        for (i, text) in self.spec.from.iter().enumerate() {
            let watch = destination::watch(text, &self.scope.topic_exchange);
            watches.extend(self.keep(&format!("from[{i}]"), watch));
        }
        watches
    }

    fn destinations(&mut self) -> Vec<Destination> {
        let spec = self.spec;
        match (Mode::from(spec.mode), spec.to.is_empty()) {
            (Mode::Filter, false) => {
                self.mistake(
                    "to",
                    "mode filter sends the result where the original was going, so it has no 'to'",
                );
            }
            (Mode::Divert | Mode::Tap, true) => {
                self.mistake("to", "is empty: name at least one address to send results to")
            }
            _ => {}
        }
        let mut to = Vec::new();
        for (i, text) in spec.to.iter().enumerate() {
            let destination = Destination::parse(text, &self.scope);
            to.extend(self.keep(&format!("to[{i}]"), destination));
        }
        to
    }

    fn limits(&mut self) -> Limits {
        let spec = &self.spec.limits;
        let memory = match spec.memory.as_deref().map(units::size) {
            None => Ok(MEMORY_DEFAULT),
            Some(Ok(bytes)) if (1 << 16..=MEMORY_MAX).contains(&bytes) => Ok(bytes),
            Some(Ok(_)) => Err("must be from 64KiB to 1GiB".into()),
            Some(Err(reason)) => Err(reason),
        };
        let deadline = match spec.deadline.as_deref().map(units::duration) {
            None => Ok(DEADLINE_DEFAULT),
            Some(Ok(d)) if !d.is_zero() && d <= DEADLINE_MAX => Ok(d),
            Some(Ok(_)) => Err("must be from 1ms to 60s".into()),
            Some(Err(reason)) => Err(reason),
        };
        Limits {
            memory: self.keep("limits.memory", memory).unwrap_or(MEMORY_DEFAULT),
            deadline: self.keep("limits.deadline", deadline).unwrap_or(DEADLINE_DEFAULT),
        }
    }

    fn on_error(&mut self, cost: Cost, queues: &mut Vec<Name>) -> OnError {
        let spec = &self.spec.on_error;
        let backoff = self.keep("on_error.backoff", units::duration(&spec.backoff));
        if spec.then == ThenSpec::Reject && cost == Cost::Queued {
            let reason =
                "the publisher of a route with a wasm step is answered before the step runs";
            self.mistake("on_error.then", reason);
        }
        let dead_letter = spec.dead_letter.as_deref().and_then(|text| {
            let address = destination::address(text, &self.scope.topic_exchange);
            self.keep("on_error.dead_letter", address)
        });
        if dead_letter.is_some() && spec.then != ThenSpec::DeadLetter {
            self.mistake("on_error.dead_letter", "can only be set with then = \"dead-letter\"");
        }
        if let Some(name) = dead_letter.as_ref().filter(|a| a.is_queue()).map(queue_name) {
            queues.push(name);
        }
        OnError {
            retry: spec.retry,
            backoff: backoff.unwrap_or_default(),
            then: spec.then.into(),
            dead_letter,
        }
    }

    fn steps(&mut self, limits: Limits) -> Vec<Step> {
        let spec = self.spec;
        if spec.steps.len() > STEPS_MAX {
            self.mistake("steps", format!("has more than {STEPS_MAX} steps"));
            return Vec::new();
        }
        let mut steps = Vec::new();
        for (i, step) in spec.steps.iter().enumerate() {
            steps.extend(self.step(&format!("steps[{i}]"), step, limits));
        }
        if spec.limits != Default::default() && !spec.steps.iter().any(|s| s.contains_key("wasm")) {
            self.mistake("limits", "apply to wasm steps, and this route has none");
        }
        if spec.isolation == Isolation::PerMessage
            && !spec.steps.iter().any(|s| s.contains_key("wasm"))
        {
            self.mistake("isolation", "applies to wasm steps, and this route has none");
        }
        steps
    }

    fn step(&mut self, key: &str, step: &Map<String, Json>, limits: Limits) -> Option<Step> {
        let kinds: Vec<&String> = step.keys().filter(|name| *name != "with").collect();
        let &[kind] = kinds.as_slice() else {
            self.mistake(key, "a step has exactly one of set, remove and wasm");
            return None;
        };
        let value = step.get(kind)?;
        let with = step.get("with");
        if with.is_some() && kind != "wasm" {
            self.mistake(&format!("{key}.with"), "can only be set for a wasm step");
        }
        let key = format!("{key}.{kind}");
        match kind.as_str() {
            "set" => self.set(&key, value),
            "remove" => self.remove(&key, value),
            "wasm" => self.wasm(&key, value, with, limits),
            planned if PLANNED.contains(&planned) => {
                self.mistake(&key, "this built-in step does not exist yet; use a wasm module");
                None
            }
            _ => {
                self.mistake(&key, "unknown step; the steps are set, remove and wasm");
                None
            }
        }
    }

    fn set(&mut self, key: &str, value: &Json) -> Option<Step> {
        let Json::Object(members) = value else {
            self.mistake(key, "must be a table of names and expressions");
            return None;
        };
        let mut settings = Vec::new();
        for (name, value) in members {
            let key = format!("{key}.{name}");
            if name.is_empty() || name == "user_id" {
                self.mistake(&key, "cannot be set");
                continue;
            }
            let setting = match value {
                Json::String(text) => Expression::parse(text, &self.scope).map(Setting::Computed),
                Json::Bool(b) => Ok(Setting::Literal(Value::Bool(*b))),
                Json::Number(n) => match (n.as_i64(), n.as_f64()) {
                    (Some(n), _) => Ok(Setting::Literal(Value::I64(n))),
                    (None, Some(n)) => Ok(Setting::Literal(Value::F64(n))),
                    (None, None) => Err("is not a number that a header can hold".into()),
                },
                _ => Err("must be an expression, a number or a boolean".into()),
            };
            settings.extend(self.keep(&key, setting).map(|setting| (name.clone(), setting)));
        }
        Some(Step::Set(settings))
    }

    fn remove(&mut self, key: &str, value: &Json) -> Option<Step> {
        let names = match value {
            Json::Array(names) => {
                names.iter().map(|name| name.as_str().map(String::from)).collect()
            }
            _ => None,
        };
        let Some(names) = names else {
            self.mistake(key, "must be a list of names");
            return None;
        };
        let names: Vec<String> = names;
        if names.iter().any(|name| name == "user_id") {
            self.mistake(key, "user_id cannot be removed");
        }
        Some(Step::Remove(names))
    }

    fn wasm(
        &mut self,
        key: &str,
        value: &Json,
        with: Option<&Json>,
        limits: Limits,
    ) -> Option<Step> {
        let name = match value {
            Json::String(name) if !name.is_empty() => name,
            _ => {
                self.mistake(key, "must be the name or the path of a module");
                return None;
            }
        };
        let config = match with {
            None => "{}".to_string(),
            Some(with @ Json::Object(_)) => with.to_string(),
            Some(_) => {
                self.mistake(&key.replace(".wasm", ".with"), "must be a table");
                return None;
            }
        };
        let spec = ModuleSpec {
            name: name.as_str().into(),
            path: self.module_path(name),
            config,
            memory: limits.memory,
            deadline: limits.deadline,
            fresh: self.spec.isolation == Isolation::PerMessage,
            topic_exchange: self.scope.topic_exchange.clone(),
        };
        match self.host.module(spec) {
            Ok(module) => Some(Step::Wasm(module)),
            Err(refused) => {
                let key = match refused.about {
                    Some(about) if about.starts_with("limits") => about.to_string(),
                    Some(about) => key.replace(".wasm", &format!(".{about}")),
                    None => key.to_string(),
                };
                self.mistake(&key, refused.reason);
                None
            }
        }
    }

    /// A bare name is `NAME.wasm` in the folder of modules; with `/` or `.wasm` it is a path relative to that folder.
    fn module_path(&self, name: &str) -> PathBuf {
        match name.contains('/') || name.ends_with(".wasm") {
            true => self.base_dir.join(name),
            false => self.base_dir.join(format!("{name}.wasm")),
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
