//! Content routes of a configuration, compiled. When it is read again, a route that is written as before and whose
//! modules are the same files stays what it is.

use crate::config::{Loaded, Mistake};
use crate::plugins::Plugins;
use crossdock_core::Settings;
use crossdock_core::transform::ContentRoute;
use crossdock_transforms::{Host, Modules, RouteSpec, Surroundings};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a plan is made for.
pub enum Purpose {
    /// To be looked at. Modules are compiled now, and one that is missing or broken is a mistake.
    Check,
    /// A start: modules are compiled while the broker already serves, so one that is missing or broken keeps its own
    /// route down. Their compiled form is stored in this folder, for the next start.
    Start(PathBuf),
    /// A broker goes on by it: what has changed is compiled now, as for a check.
    Reload(Box<Before>),
}

impl Purpose {
    /// What a broker has that goes on.
    pub fn before(&self) -> Option<&Before> {
        match self {
            Purpose::Reload(before) => Some(before),
            Purpose::Check | Purpose::Start(_) => None,
        }
    }
}

/// What a broker that runs has of its routes and plugins.
#[derive(Clone)]
pub struct Before {
    pub routes: Routes,
    /// As at the start: they stay.
    pub plugins: Plugins,
    /// As at the start.
    pub cache_dir: PathBuf,
    /// As at the start: addresses of routes are read by what cannot change since.
    pub settings: Settings,
}

/// The routes, in the order of the file.
#[derive(Clone, Default)]
pub struct Routes {
    /// Runs their modules. None as long as there was no route.
    host: Option<Arc<Host>>,
    compiled: Vec<Compiled>,
}

/// A route as it is written, and what it was made into.
#[derive(Clone)]
struct Compiled {
    written: Written,
    route: ContentRoute,
}

/// All that makes a route what it is: two that are equal do the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    spec: RouteSpec,
    files: Vec<FileMark>,
}

/// A file that was not replaced nor written since has the same mark.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileMark {
    path: PathBuf,
    /// Its number, length and time of the last change; none: it cannot be looked at.
    seen: Option<(u64, u64, i64, i64)>,
}

impl Written {
    fn of(spec: &RouteSpec, base_dir: &Path) -> Self {
        let mark = |path: PathBuf| {
            let seen = fs::metadata(&path).ok();
            let seen = seen.map(|file| (file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
            FileMark { path, seen }
        };
        let files = spec.module_files(base_dir).into_iter().map(mark).collect();
        Self { spec: spec.clone(), files }
    }

    /// Those of a configuration.
    pub fn all(loaded: &Loaded) -> Vec<Self> {
        let specs = loaded.routes.iter().map(|(_, spec)| spec);
        specs.map(|spec| Self::of(spec, &loaded.base_dir)).collect()
    }

    pub fn name(&self) -> &str {
        self.spec.name()
    }
}

impl Routes {
    /// Compiles them. Without routes there is no host to run modules.
    pub fn compile(
        (loaded, settings): (&Loaded, &Settings),
        plugins: &Plugins,
        purpose: Purpose,
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let (modules, cache_dir, before) = match purpose {
            Purpose::Check => (Modules::Now, None, None),
            Purpose::Start(cache_dir) => (Modules::Later, Some(cache_dir), None),
            Purpose::Reload(before) => (Modules::Now, Some(before.cache_dir.clone()), Some(before)),
        };
        let mut all = Self::default();
        if let Some(before) = &before {
            all.host = before.routes.host.clone();
        }
        if loaded.routes.is_empty() {
            return all;
        }
        let host = match &all.host {
            Some(host) => host.clone(),
            None => match Host::new(cache_dir) {
                Ok(host) => Arc::new(host),
                Err(error) => {
                    let reason = format!("cannot prepare the WebAssembly host: {error}");
                    mistakes.push(loaded.mistake("route", reason));
                    return all;
                }
            },
        };
        let settings = before.as_ref().map_or(settings, |before| &before.settings);
        let surroundings = Surroundings {
            base_dir: &loaded.base_dir,
            topic_exchange: &settings.topic_exchange,
            dollar_topics: &settings.topics.dollar,
            modules,
            plugins: &plugins.steps(),
        };
        all.host = Some(host.clone());
        let known = before.as_ref().map(|before| &before.routes.compiled);
        let known = known.map(Vec::as_slice).unwrap_or_default();
        all.compile_each(loaded, (&host, surroundings), known, mistakes);
        all
    }

    fn compile_each(
        &mut self,
        loaded: &Loaded,
        (host, surroundings): (&Host, Surroundings<'_>),
        known: &[Compiled],
        mistakes: &mut Vec<Mistake>,
    ) {
        let mut names = BTreeSet::new();
        for (index, spec) in &loaded.routes {
            if !names.insert(spec.name()) {
                let reason = format!("another route is named '{}' too", spec.name());
                mistakes.push(loaded.mistake(format!("route[{index}].name"), reason));
            }
            // Before they are read: a file that changes meanwhile is another one the next time.
            let written = Written::of(spec, &loaded.base_dir);
            if let Some(same) = known.iter().find(|known| known.written == written) {
                self.compiled.push(same.clone());
                continue;
            }
            match host.compile(spec, surroundings) {
                Ok(route) => self.compiled.push(Compiled { written, route }),
                Err(found) => {
                    for mistake in found {
                        let key = match mistake.key.is_empty() {
                            true => format!("route[{index}]"),
                            false => format!("route[{index}].{}", mistake.key),
                        };
                        // What does not fit the rest of the configuration was said, perhaps, in other words.
                        if !mistakes.iter().any(|known| known.key == key) {
                            mistakes.push(loaded.mistake(key, mistake.reason));
                        }
                    }
                }
            }
        }
    }

    /// As the broker takes them.
    pub fn list(&self) -> Vec<ContentRoute> {
        self.compiled.iter().map(|compiled| compiled.route.clone()).collect()
    }

    /// As they are written.
    pub fn written(&self) -> Vec<Written> {
        self.compiled.iter().map(|compiled| compiled.written.clone()).collect()
    }

    /// The route of that name.
    pub fn find(&self, name: &str) -> Option<&ContentRoute> {
        self.compiled.iter().map(|compiled| &compiled.route).find(|route| *route.name == *name)
    }
}
