//! The native plugins of a configuration. A library stays in the process: when the configuration is read again, the
//! plugins that are there go on, and what has changed counts from the next start.

use crate::config::{Loaded, Mistake};
use crate::wiring::Protocols;
use crossdock_console::PluginLook;
use crossdock_core::dialog::Speaker;
use crossdock_core::step::StepMakers;
use crossdock_loader::{self as loader, Spec};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long a call may take.
const CALL_TIME: Duration = Duration::from_secs(1);
/// Threads for the calls of one plugin.
const THREADS: usize = 2;
/// Characters of a plugin's name.
const NAME_MAX: usize = 64;

/// Plugins that are loaded.
#[derive(Clone, Default)]
pub struct Plugins(Vec<loader::Loaded>);

impl Plugins {
    /// Loads those of a configuration. `before`: those that run are kept, and no others are loaded.
    pub fn load(loaded: &Loaded, before: Option<&Plugins>, mistakes: &mut Vec<Mistake>) -> Self {
        let specs = specs(loaded, mistakes);
        if let Some(running) = before {
            for (index, spec) in specs {
                if let Err(why) = loader::check_file(&spec) {
                    mistakes
                        .push(loaded.mistake(format!("plugin[{index}].{}", why.key), why.reason));
                }
            }
            return running.clone();
        }
        let mut all = Vec::new();
        for (index, spec) in specs {
            match loader::load(&spec) {
                Ok(plugin) => all.push(plugin),
                Err(why) => {
                    mistakes
                        .push(loaded.mistake(format!("plugin[{index}].{}", why.key), why.reason));
                }
            }
        }
        let all = Self(all);
        all.check_protocols(loaded, mistakes);
        all
    }

    /// The one of that name.
    pub fn find(&self, name: &str) -> Option<&loader::Loaded> {
        self.0.iter().find(|plugin| plugin.spec().name == name)
    }

    /// The protocols that they speak.
    pub fn speakers(&self) -> impl Iterator<Item = Arc<dyn Speaker>> {
        self.0.iter().filter_map(|plugin| plugin.speaker().cloned())
    }

    /// Those that content routes may name in a step.
    pub fn steps(&self) -> StepMakers {
        let named = |plugin: &loader::Loaded| (plugin.spec().name.clone(), plugin.steps().cloned());
        StepMakers(self.0.iter().map(named).collect())
    }

    /// A mistake for each protocol that is there already.
    fn check_protocols(&self, loaded: &Loaded, mistakes: &mut Vec<Mistake>) {
        let own = Protocols::default().all();
        let mut names: BTreeSet<&str> = own.iter().map(|protocol| protocol.name()).collect();
        for plugin in &self.0 {
            let Some(name) = plugin.speaker().map(|speaker| speaker.name()) else { continue };
            if !names.insert(name) {
                let called = &plugin.spec().name;
                let at = loaded.config.plugins.iter().position(|it| it.name == *called);
                let key = format!("plugin[{}].path", at.unwrap_or_default());
                mistakes
                    .push(loaded.mistake(key, format!("the protocol '{name}' is there already")));
            }
        }
    }

    /// As operators see them.
    pub fn looks(&self) -> Vec<PluginLook> {
        self.0.iter().map(|plugin| shown(plugin.look())).collect()
    }

    /// One line of the log for each.
    pub fn log(&self) {
        for look in self.looks() {
            let (brings, plugin) = (look.brings.join(", "), look.plugin);
            tracing::info!(
                name = look.name,
                file = look.file,
                plugin,
                version = look.version,
                brings,
                "a plugin is loaded"
            );
        }
    }
}

fn shown(look: loader::Look) -> PluginLook {
    let loader::Look { name, file, plugin, version, brings, calls, refused, out_of_use } = look;
    PluginLook { name, file, plugin, version, brings, calls, refused, out_of_use }
}

/// As they are configured, by name, each as text: what differs is another plugin.
pub fn written(loaded: &Loaded) -> BTreeMap<String, String> {
    let specs = specs(loaded, &mut Vec::new());
    specs.into_iter().map(|(_, spec)| (spec.name.clone(), format!("{spec:?}"))).collect()
}

/// Those that can be loaded, each with its place in the file.
fn specs(loaded: &Loaded, mistakes: &mut Vec<Mistake>) -> Vec<(usize, Spec)> {
    let mut names = BTreeSet::new();
    let mut specs = Vec::new();
    for (index, plugin) in loaded.config.plugins.iter().enumerate() {
        let before = mistakes.len();
        let mut wrong = |field: &str, reason: String| {
            mistakes.push(loaded.mistake(format!("plugin[{index}].{field}"), reason));
        };
        let name = &plugin.name;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(fits) {
            let reason = format!("is not 1 to {NAME_MAX} letters, digits, '-', '_' and '.'");
            wrong("name", reason);
        } else if !names.insert(name.clone()) {
            wrong("name", format!("another plugin is named '{name}' too"));
        }
        if let Some(sha256) = &plugin.sha256
            && !(sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            wrong("sha256", "is not 64 hexadecimal digits".to_owned());
        }
        let with = serde_json::to_string(&plugin.with).unwrap_or_default();
        let limits = &plugin.limits;
        let spec = Spec {
            name: name.clone(),
            path: plugin.path.clone(),
            sha256: plugin.sha256.clone(),
            with,
            call_time: limits.call_time.map_or(CALL_TIME, |span| span.0),
            threads: limits.threads.unwrap_or(THREADS),
        };
        if mistakes.len() == before {
            specs.push((index, spec));
        }
    }
    specs
}
