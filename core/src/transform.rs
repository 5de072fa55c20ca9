//! The seam to content routes: what watches addresses, asks a predicate, reshapes, and sends on. The core decides
//! when a route runs and stores its outcome; what it does to a message is the implementation's.

use crate::message::{Address, Formats, Key, Message, Name};
use std::sync::Arc;
use std::time::Duration;

/// Where a route's steps may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// Cheap: in the publisher's own turn.
    Inline,
    /// May be slow or retry: from the route's own queue, on a blocking thread.
    Queued,
}

/// What becomes of the original when a route took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is not routed on.
    Divert,
    /// It is routed on, and the route gets a copy.
    Tap,
    /// The result replaces it and is routed on in its place.
    Filter,
}

/// What happens when a step failed and is not tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterFailure {
    DeadLetter,
    /// The original is routed on as it was.
    Pass,
    Drop,
    /// The publish is refused (inline routes only).
    Reject,
}

/// What a route does about failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnError {
    /// Further attempts after the first.
    pub retry: u16,
    /// Before the first retry; doubled for each further one.
    pub backoff: Duration,
    pub then: AfterFailure,
    /// Where `DeadLetter` sends to; none: the vhost's.
    pub dead_letter: Option<Address>,
}

/// What a route watches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Watch {
    /// All that goes into the queue of that name, by its address or through exchanges.
    Queue(Name),
    /// What is published to that exchange with a key that the pattern (topic form) matches.
    Exchange(Name, Key),
}

/// The outcome of a message's way through a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The original goes on unchanged, as if the route had not taken it.
    Pass,
    /// What was put into `out` goes where it is addressed.
    Emit,
    /// Nothing goes on, on purpose.
    Drop(Arc<str>),
    /// The publish is to be refused.
    Reject(Arc<str>),
    Retry(Duration),
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    /// Name of the step or module, and its version.
    pub module: Arc<str>,
    pub version: Arc<str>,
    pub kind: FailureKind,
    /// At most 1 KiB.
    pub text: Arc<str>,
}

/// The kinds of failure, as dead-letter headers show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The module broke a rule of its sandbox.
    Trap,
    Timeout,
    Memory,
    /// The step itself said that it could not.
    Guest,
}

impl FailureKind {
    /// The word in headers.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Trap => "trap",
            FailureKind::Timeout => "timeout",
            FailureKind::Memory => "memory",
            FailureKind::Guest => "guest",
        }
    }
}

/// A compiled chain of steps. Exactly one verdict per input.
pub trait Transform: Send + Sync {
    fn name(&self) -> &str;
    fn cost(&self) -> Cost;
    /// The route's predicate, asked in the publisher's turn: never slow, never fails.
    fn wants(&self, message: &Message, formats: &Formats) -> bool;
    /// Runs the steps; outputs are complete messages with their addresses. Blocking when [`Cost::Queued`].
    fn apply(
        &self,
        input: &Message,
        formats: &Formats,
        out: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure>;
}

/// A route as the broker runs it.
#[derive(Clone)]
pub struct ContentRoute {
    pub name: Name,
    pub watches: Vec<Watch>,
    pub mode: Mode,
    pub on_error: OnError,
    pub transform: Arc<dyn Transform>,
    /// Durable queues that it sends to by name; declared at start when nothing else declares them.
    pub queues: Vec<Name>,
}
