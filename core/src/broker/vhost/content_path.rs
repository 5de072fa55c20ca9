//! A content route as a virtual host knows it: its queue, and what one run of its steps leads to. What a route does to
//! a message is behind the [`Transform`](crate::transform::Transform) seam.

use super::queue::Queue;
use crate::error::{Error, ErrorKind};
use crate::message::{Address, Formats, Message, Name, Value};
use crate::transform::{AfterFailure, ContentRoute, FailureKind, StepFailure, Verdict};
use parking_lot::RwLock;
use std::sync::Arc;

/// A route and its queue.
pub struct ContentPath {
    pub route: ContentRoute,
    /// Only for routes that are [`Cost::Queued`](crate::transform::Cost::Queued).
    queue: RwLock<Option<Arc<Queue>>>,
}

/// What one run led to.
#[derive(Default)]
pub struct RouteResult {
    pub outputs: Vec<Message>,
    /// The original goes on as it was.
    pub passes: bool,
    /// The publish is to be refused, and why.
    pub refused: Option<Error>,
}

impl ContentPath {
    /// A route whose queue is not there yet.
    pub fn new(route: ContentRoute) -> Arc<Self> {
        Arc::new(Self { route, queue: RwLock::new(None) })
    }

    /// Name of the queue in front of the route.
    pub fn queue_name(&self) -> Name {
        format!("route/{}", self.route.name).into()
    }

    /// The queue in front of the route.
    pub fn queue(&self) -> Option<Arc<Queue>> {
        self.queue.read().clone()
    }

    /// The queue in front of the route is declared.
    pub fn set_queue(&self, queue: Arc<Queue>) {
        *self.queue.write() = Some(queue);
    }

    /// True when it takes that message. It never takes its own results.
    pub fn wants(&self, message: &Message, formats: &Formats) -> bool {
        let been_here = message.meta().through.as_deref().unwrap_or_default();
        !been_here.contains(&self.route.name) && self.route.transform.wants(message, formats)
    }

    /// The same message, marked so that it does not enter this route again.
    pub fn marked(&self, message: &Message) -> Message {
        let mut meta = message.meta().clone();
        let been_here = meta.through.as_deref().unwrap_or_default();
        let through = been_here.iter().cloned().chain([self.route.name.clone()]);
        meta.through = Some(through.collect());
        meta.hops = meta.hops.saturating_add(1);
        message.with(message.address().clone(), meta)
    }

    /// Runs the steps once, in the publisher's turn.
    pub fn run(&self, message: &Message, formats: &Formats, dead_letter: &Address) -> RouteResult {
        let mut outputs = Vec::new();
        let verdict = self.route.transform.apply(message, 0, formats, &mut outputs);
        match self.judge(verdict, outputs) {
            Ok(result) => result,
            // A publisher's turn cannot wait for another attempt, so a failure is final at once.
            Err(fault) => self.give_up(message, &fault, formats, dead_letter),
        }
    }

    /// What the verdict means; a fault or a wish to retry is for the caller.
    pub fn judge(
        &self,
        verdict: Result<Verdict, StepFailure>,
        outputs: Vec<Message>,
    ) -> Result<RouteResult, StepFailure> {
        let own = |text: &str| StepFailure {
            module: Arc::from(self.route.transform.name()),
            version: Arc::from(""),
            kind: FailureKind::Guest,
            text: Arc::from(text),
        };
        match verdict? {
            Verdict::Pass => Ok(RouteResult { passes: true, ..RouteResult::default() }),
            Verdict::Emit => {
                let outputs = outputs.iter().map(|m| self.marked(m)).collect();
                Ok(RouteResult { outputs, ..RouteResult::default() })
            }
            Verdict::Drop(_) => Ok(RouteResult::default()),
            Verdict::Reject(why) => Ok(RouteResult {
                refused: Some(Error::new(ErrorKind::Invalid, why)),
                ..RouteResult::default()
            }),
            Verdict::Retry(_) | Verdict::Wait(_) => Err(own("the step asked for another attempt")),
        }
    }

    /// What the route's policy makes of a failure after the last attempt.
    pub fn give_up(
        &self,
        message: &Message,
        fault: &StepFailure,
        formats: &Formats,
        dead_letter: &Address,
    ) -> RouteResult {
        let (route, kind) = (&self.route.name, fault.kind.as_str());
        tracing::debug!(%route, module = %fault.module, kind, "a step of a content route failed for good");
        match self.route.on_error.then {
            AfterFailure::Pass => RouteResult { passes: true, ..RouteResult::default() },
            AfterFailure::Drop => RouteResult::default(),
            AfterFailure::Reject => RouteResult {
                refused: Some(Error::new(ErrorKind::Invalid, fault.text.clone())),
                ..RouteResult::default()
            },
            AfterFailure::DeadLetter => {
                let message = self.with_fault(message, fault, formats, dead_letter);
                RouteResult { outputs: vec![message], ..RouteResult::default() }
            }
        }
    }

    /// Where failures go: the route's own address, or else the configured one.
    pub fn dead_letter_address<'a>(&'a self, configured: &'a Address) -> &'a Address {
        self.route.on_error.dead_letter.as_ref().unwrap_or(configured)
    }

    /// The original with what went wrong in its headers, on its way to the dead-letter address.
    pub fn with_fault(
        &self,
        message: &Message,
        fault: &StepFailure,
        formats: &Formats,
        dead_letter: &Address,
    ) -> Message {
        let address = self.dead_letter_address(dead_letter);
        let mut fields = message.fields(formats).clone();
        let mut put = |name: &str, text: &str| {
            fields.headers.push((format!("mq.error.{name}").into(), Value::text(text)));
        };
        put("route", &self.route.name);
        put("module", &fault.module);
        put("version", &fault.version);
        put("kind", fault.kind.as_str());
        put("text", &fault.text);
        put("address", &message.address().to_string());
        let marked = self.marked(message);
        let mut meta = marked.meta().clone();
        meta.expires = None;
        meta.retain = false;
        Message::from_fields(address.clone(), meta, &fields, message.body().clone())
    }
}
