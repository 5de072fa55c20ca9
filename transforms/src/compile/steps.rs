//! The steps of a route.

use super::{Compiler, Modules, Sandbox};
use crate::decision::Places;
use crate::destination;
use crate::expression::Expression;
use crate::native::Native;
use crate::spec::module_file;
use crate::step::{Memory, Setting, Step};
use crate::wasm::{Grant, Grants, MemoryGrant, ModuleSpec, Slot};
use crate::{units, written};
use crossdock_core::transform::Watch;
use crossdock_core::{ErrorKind, Value};
use serde_json::{Map, Value as Json};
use std::sync::Arc;

const STEPS_MAX: usize = 32;
const STEPS: [&str; 4] = ["set", "remove", "wasm", "plugin"];
/// Keys beside `wasm`.
const OF_MODULES: [&str; 5] = ["with", "grants", "destinations", "shadow", "kv_max"];
/// Those of them that a plugin has as well.
const OF_PLUGINS: [&str; 2] = ["with", "destinations"];
/// Bytes that a step may remember, as configured: built in, at least, at most.
const KV_MAX: (u64, u64, u64) = (1 << 20, 1 << 10, 64 << 20);

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

/// What is wrong with a key that a step of that kind does not have.
fn unknown_key(kind: &str, key: &str) -> String {
    let known = match kind {
        "wasm" => OF_MODULES.as_slice(),
        "plugin" => OF_PLUGINS.as_slice(),
        _ => return format!("unknown key; a step `{kind}` has no other keys"),
    };
    match written::nearest(key, known.iter().copied()) {
        Some(meant) => format!("unknown key; did you mean '{meant}'?"),
        None => format!("unknown key; beside `{kind}` there can be {}", known.join(", ")),
    }
}

impl Compiler<'_> {
    /// Whether there is a wasm step, good or bad.
    pub(super) fn has_modules(&self) -> bool {
        self.has_step("wasm")
    }

    /// Whether there is a wasm or plugin step, good or bad: then the route has a queue of its own.
    pub(super) fn is_queued(&self) -> bool {
        self.has_step("wasm") || self.has_step("plugin")
    }

    fn has_step(&self, kind: &str) -> bool {
        let steps = self.spec.steps.as_array();
        steps.is_some_and(|steps| steps.iter().any(|step| step.get(kind).is_some()))
    }

    pub(super) fn steps(&mut self, sandbox: Sandbox) -> Vec<Step> {
        let spec = self.spec;
        let steps = match &spec.steps {
            Json::Null => return Vec::new(),
            written => self.keep("steps", written::list(written)).unwrap_or_default(),
        };
        if steps.len() > STEPS_MAX {
            self.mistake("steps", format!("has more than {STEPS_MAX} steps"));
            return Vec::new();
        }
        let mut made = Vec::new();
        for (i, step) in steps.iter().enumerate() {
            let key = format!("steps[{i}]");
            if let Some(step) = self.keep(&key, written::table(step)) {
                made.extend(self.step(&key, step, sandbox));
            }
        }
        made
    }

    fn step(&mut self, key: &str, step: &Map<String, Json>, sandbox: Sandbox) -> Option<Step> {
        let kind = self.kind(key, step)?;
        let value = step.get(kind)?;
        for beside in step.keys().filter(|name| OF_MODULES.contains(&name.as_str())) {
            let of_both = OF_PLUGINS.contains(&beside.as_str());
            let reason = match (kind, of_both) {
                ("wasm", _) | ("plugin", true) => continue,
                (_, true) => "can only be set for a wasm or plugin step",
                (_, false) => "can only be set for a wasm step",
            };
            self.mistake(&format!("{key}.{beside}"), reason);
        }
        let key = format!("{key}.{kind}");
        match kind {
            "set" => self.set(&key, value),
            "remove" => self.remove(&key, value),
            "wasm" => self.wasm(&key, value, step, sandbox),
            "plugin" => self.plugin(&key, value, step),
            planned if PLANNED.contains(&planned) => {
                self.mistake(&key, "this built-in step does not exist yet; use a wasm module");
                None
            }
            unknown => {
                self.mistake(
                    &key,
                    match written::nearest(unknown, STEPS.into_iter()) {
                        Some(meant) => format!("unknown step; did you mean '{meant}'?"),
                        None => {
                            "unknown step; the steps are set, remove, wasm and plugin".to_owned()
                        }
                    },
                );
                None
            }
        }
    }

    /// Which kind of step it is; what else is written in it and cannot be there is a mistake.
    fn kind<'s>(&mut self, key: &str, step: &'s Map<String, Json>) -> Option<&'s str> {
        let is_kind = |name: &str| STEPS.contains(&name) || PLANNED.contains(&name);
        let names = || step.keys().map(String::as_str);
        let kinds: Vec<&str> = names().filter(|name| is_kind(name)).collect();
        let others = || names().filter(|name| !is_kind(name) && !OF_MODULES.contains(name));
        match (kinds.as_slice(), others().collect::<Vec<_>>().as_slice()) {
            (&[kind], others) => {
                for other in others {
                    self.mistake(&format!("{key}.{other}"), unknown_key(kind, other));
                }
                Some(kind)
            }
            ([], &[unknown]) => Some(unknown),
            _ => {
                self.mistake(key, "a step has exactly one of set, remove, wasm and plugin");
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
        step: &Map<String, Json>,
        sandbox: Sandbox,
    ) -> Option<Step> {
        let name = match value {
            Json::String(name) if !name.is_empty() => name,
            _ => {
                self.mistake(key, "must be the name or the path of a module");
                return None;
            }
        };
        let mut grants = self.grants(key, step);
        grants.memory = self.memory(key, step, &grants);
        let memory = if grants.memory.is_some() { Memory::Kept } else { Memory::None };
        let config = self.with(&key.replace(".wasm", ".with"), step)?;
        let spec = ModuleSpec {
            route: self.spec.name().into(),
            name: name.as_str().into(),
            path: module_file(self.surroundings.base_dir, name),
            config,
            memory: sandbox.memory,
            deadline: sandbox.deadline,
            fresh: sandbox.fresh,
            rules: self.scope.rules.clone(),
            grants: Arc::new(grants),
            rehearsed: false,
        };
        let shadow = step.get("shadow").and_then(|shadow| self.shadow(key, shadow, &spec));
        let slot = self.slot(key, spec)?;
        if let Some(shadow) = shadow {
            let (key, name) = (key.replace(".wasm", ".shadow"), shadow.name.clone());
            slot.rehearse(name, self.slot(&key, shadow)?);
        }
        Some(Step::Wasm(slot, memory))
    }

    /// What the step may remember, if it grants that.
    fn memory(
        &mut self,
        key: &str,
        step: &Map<String, Json>,
        grants: &Grants,
    ) -> Option<MemoryGrant> {
        let (default, least, most) = KV_MAX;
        let key = key.replace(".wasm", ".kv_max");
        let written = step.get("kv_max").unwrap_or(&Json::Null);
        let bytes =
            self.read(&key, written, |value| match written::text(value).and_then(units::size)? {
                bytes if (least..=most).contains(&bytes) => Ok(bytes),
                _ => Err("must be from 1KiB to 64MiB".into()),
            });
        if !grants.interfaces.contains(&Grant::Kv) {
            if *written != Json::Null {
                self.mistake(&key, "has no effect unless the step grants \"kv\"");
            }
            return None;
        }
        self.remembering += 1;
        let bytes_max = usize::try_from(bytes.unwrap_or(default)).unwrap_or(usize::MAX);
        Some(MemoryGrant { step: self.remembering, bytes_max })
    }

    /// The settings of a module or plugin, as JSON.
    fn with(&mut self, key: &str, step: &Map<String, Json>) -> Option<String> {
        match step.get("with") {
            None => Some("{}".to_string()),
            Some(with @ Json::Object(_)) => Some(with.to_string()),
            Some(_) => {
                self.mistake(key, "must be a table");
                None
            }
        }
    }

    /// A step that a plugin does.
    fn plugin(&mut self, key: &str, value: &Json, step: &Map<String, Json>) -> Option<Step> {
        let of = |name: &str| key.replace(".plugin", &format!(".{name}"));
        let places = self.places(&of("destinations"), step);
        let with = self.with(&of("with"), step);
        let name = match value {
            Json::String(name) if !name.is_empty() => name,
            _ => {
                self.mistake(key, "must be the name of a plugin");
                return None;
            }
        };
        let maker = self.keep(key, self.surroundings.plugins.find(name).cloned())?;
        match maker.make(&with?) {
            Ok(step) => {
                Some(Step::Native(Box::new(Native::new(step, self.scope.rules.clone(), places))))
            }
            Err(why) => {
                let key =
                    if why.kind() == ErrorKind::Invalid { of("with") } else { key.to_owned() };
                self.mistake(&key, why.detail());
                None
            }
        }
    }

    /// The module that is rehearsed: as the step's, but for the file.
    fn shadow(&mut self, key: &str, shadow: &Json, spec: &ModuleSpec) -> Option<ModuleSpec> {
        let name = match shadow {
            Json::String(name) if !name.is_empty() => name,
            _ => {
                let reason = "must be the name or the path of a module";
                self.mistake(&key.replace(".wasm", ".shadow"), reason);
                return None;
            }
        };
        let path = module_file(self.surroundings.base_dir, name);
        Some(ModuleSpec { name: name.as_str().into(), path, rehearsed: true, ..spec.clone() })
    }

    /// The place of a module.
    fn slot(&mut self, key: &str, spec: ModuleSpec) -> Option<Arc<Slot>> {
        if self.surroundings.modules == Modules::Later {
            return Some(self.host.load_later(spec));
        }
        match self.host.load(spec) {
            Ok(slot) => Some(slot),
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

    /// What the step lets its module use.
    fn grants(&mut self, key: &str, step: &Map<String, Json>) -> Grants {
        let of = |name: &str| key.replace(".wasm", &format!(".{name}"));
        let mut grants =
            Grants { places: self.places(&of("destinations"), step), ..Grants::default() };
        let words = self.texts(&of("grants"), step.get("grants").unwrap_or(&Json::Null));
        for (at, word) in words.into_iter().flatten() {
            match Grant::ALL.into_iter().find(|grant| grant.as_str() == word) {
                Some(grant) => grants.interfaces.push(grant),
                None => self.mistake(
                    &format!("{}[{at}]", of("grants")),
                    format!("'{word}' is none of {}", Grant::ALL.map(Grant::as_str).join(", ")),
                ),
            }
        }
        grants
    }

    /// Where the step's outputs may be sent.
    fn places(&mut self, key: &str, step: &Map<String, Json>) -> Places {
        let topics = self.scope.rules.topic_exchange.clone();
        // What is wrong with these, and what is computed, is said where they are read.
        let own = self.spec.to().into_iter().filter(|(_, text)| !text.contains(['{', '}']));
        let own = own.filter_map(|(_, text)| destination::address(text, &topics).ok());
        let mut places = Places { own: own.collect(), granted: Vec::new() };
        let written = step.get("destinations").unwrap_or(&Json::Null);
        for (at, place) in self.texts(key, written).into_iter().flatten() {
            let granted = self.keep(&format!("{key}[{at}]"), destination::watch(place, &topics));
            if let Some(Watch::Queue(name)) = &granted {
                self.granted.push(name.clone());
            }
            places.granted.extend(granted);
        }
        places
    }
}
