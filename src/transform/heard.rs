//! What a module says while it is tried: the lines that it writes to the log and prints, as `check` shows them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Lines that are kept of one call; a module writes no more than 100 in a second anyway, but prints what it likes.
const LINES_MAX: usize = 200;
/// The events of modules are of this part of the program.
const MODULES: &str = "crossdock_transforms::wasm";

/// Listens to what modules say on the thread that listens.
#[derive(Clone, Default)]
pub struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    /// Does something, and hears what is said meanwhile on this thread: the lines, in their order.
    pub fn during<T>(does: impl FnOnce() -> T) -> (T, Vec<String>) {
        let heard = Self::default();
        let done = tracing::subscriber::with_default(heard.clone(), does);
        let lines = std::mem::take(&mut *heard.0.lock().unwrap_or_else(PoisonError::into_inner));
        (done, lines)
    }
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with(MODULES)
    }

    fn event(&self, event: &Event<'_>) {
        let mut said = Said::default();
        event.record(&mut said);
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES_MAX {
            lines.push(said.line(&event.metadata().level().to_string().to_lowercase()));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The fields of one event that `check` shows.
#[derive(Default)]
struct Said {
    message: String,
    text: Option<String>,
    stream: Option<String>,
    left_out: Option<u64>,
}

impl Said {
    fn line(self, level: &str) -> String {
        match (self.text, self.stream, self.left_out) {
            (Some(text), ..) => format!("log, {level}: {text}"),
            (None, Some(stream), _) => format!("{stream}: {}", self.message),
            (None, None, Some(lines)) => format!("log: {} ({lines} lines)", self.message),
            (None, None, None) => format!("{level}: {}", self.message),
        }
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "text" => self.text = Some(value.to_owned()),
            "stream" => self.stream = Some(value.to_owned()),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "left_out" {
            self.left_out = Some(value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }
}
