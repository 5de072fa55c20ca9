//! The seam to content routes: what watches addresses, asks a predicate, reshapes, and sends on. The core decides
//! when a route runs and stores its outcome; what it does to a message is the implementation's.

use crate::message::{Address, Formats, Key, Message, Name};
use crate::state::{State, StateChange, StateSize};
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
    /// The publish is refused (inline routes only): its publisher is told why.
    Reject,
}

/// What a route does about failures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnError {
    /// Further attempts after the first, for failures that [may pass](FailureKind::may_pass).
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
    /// A step asks to be called again with this message after that time. This is no failure.
    Retry(Duration),
    /// The message was not looked at: a module is paused for its source, is still being compiled, or all its
    /// instances are busy. It is to be offered again after that time, and this was no attempt.
    Wait(Duration),
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
    /// The step itself said that it could not: it will say so again.
    Guest,
    /// A result is addressed to a queue or exchange that is not there, or was to reach somebody and reached nobody.
    Unroutable,
    /// The message went through too many content routes.
    Hops,
}

impl FailureKind {
    /// All kinds.
    pub const ALL: [FailureKind; 6] = [
        FailureKind::Trap,
        FailureKind::Timeout,
        FailureKind::Memory,
        FailureKind::Guest,
        FailureKind::Unroutable,
        FailureKind::Hops,
    ];

    /// The word in headers.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureKind::Trap => "trap",
            FailureKind::Timeout => "timeout",
            FailureKind::Memory => "memory",
            FailureKind::Guest => "guest",
            FailureKind::Unroutable => "unroutable",
            FailureKind::Hops => "hops",
        }
    }

    /// False when the same message would fail in the same way again.
    pub fn may_pass(self) -> bool {
        !matches!(self, FailureKind::Guest | FailureKind::Hops)
    }
}

/// Whether a route can work at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    Ready,
    /// A module is being compiled.
    Starting,
    /// It cannot work until there is another configuration or module; why.
    Down(Arc<str>),
}

/// What happens to the order of one source's messages when one of them has to be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// It gives up its place: those behind it go on.
    #[default]
    Relaxed,
    /// Those of the same source wait behind it.
    Strict,
}

/// Who sent a message, and where to: messages of one source keep their order, and a module that fails is paused for
/// that source only. The number is stored with messages that wait for a route.
pub fn source(message: &Message) -> u64 {
    message.source()
}

/// How a module of a route does, since the route was compiled.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModuleLook {
    pub name: Arc<str>,
    /// The first digits of the hash of its content.
    pub version: Arc<str>,
    pub calls: u64,
    /// Instances made so far.
    pub instances: u64,
    /// Calls that failed, by kind.
    pub failed: Vec<(FailureKind, u64)>,
    /// Calls that took at most 2^i µs, not counting those of the places before; the last place has no end.
    pub latency: Vec<u64>,
    /// Time of all calls, in microseconds.
    pub micros: u64,
    /// How long it has been there.
    pub age: Duration,
    /// Its pauses, of which each is for one source: the longest first, [`PAUSES_SHOWN`] at most.
    pub paused: Vec<Pause>,
    /// Its step remembers: its number among those of the route that do, and how much.
    pub state: Option<(u16, StateSize)>,
    /// What it counts itself, by name.
    pub numbers: Vec<(String, Number)>,
    /// It is new and on probation: the version that takes its place again if it fails.
    pub before: Option<Arc<str>>,
    /// A newer one failed, and this one took its place again.
    pub rolled_back: Option<RolledBack>,
    /// A newer one is called with the same messages.
    pub rehearsal: Option<RehearsalLook>,
}

/// Pauses of one module that are shown.
pub const PAUSES_SHOWN: usize = 10;

/// A module is not called for one source, because it failed for that source's messages again and again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pause {
    pub user: Name,
    pub client: Name,
    /// Where the source's messages are published.
    pub address: Arc<str>,
    /// Since the first of the pauses between which no message was answered.
    pub since: Duration,
    /// Until the next message is tried.
    pub rest: Duration,
    /// The last failure.
    pub reason: Arc<str>,
}

/// A new module that failed on probation, and does not work any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RolledBack {
    /// Its name, as the step says it.
    pub name: Arc<str>,
    pub version: Arc<str>,
    /// Since when the one before works again.
    pub since: Duration,
    pub why: Arc<str>,
    /// The configuration names it: a start, and a change of the route, would begin with it.
    pub is_configured: bool,
}

/// A new module beside one that works: its answers are compared and thrown away.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RehearsalLook {
    /// The new module.
    pub name: Arc<str>,
    /// Its version; none: it is not there yet.
    pub version: Option<Arc<str>>,
    /// Why it cannot be loaded.
    pub why_not: Option<Arc<str>>,
    /// How long it is rehearsed.
    pub age: Duration,
    /// Messages that both answered.
    pub compared: u64,
    /// Of these, messages that the new one answered in another way.
    pub different: u64,
    /// Of these, messages that the new one failed for, and the other did not.
    pub failed: u64,
    /// Messages that there was no time for, or while the new module was paused.
    pub skipped: u64,
    /// The last one that differed.
    pub last: Option<Difference>,
}

/// How two modules answered one message, each at most 1 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where the message was published.
    pub address: Arc<str>,
    pub was: Arc<str>,
    pub would_be: Arc<str>,
}

/// A number that a module counts itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Counter(u64),
    Gauge(f64),
}

/// What the steps made of one message: the verdict, and the messages that go on.
pub type Applied = Result<(Verdict, Vec<Message>), StepFailure>;

/// A compiled chain of steps. Exactly one verdict per input.
pub trait Transform: Send + Sync {
    fn name(&self) -> &str;
    fn cost(&self) -> Cost;
    /// The route's predicate, asked in the publisher's turn: never slow, never fails.
    fn wants(&self, message: &Message, formats: &Formats) -> bool;
    /// Whether it can work now; asked before each batch of a queued route.
    fn readiness(&self) -> Readiness {
        Readiness::Ready
    }
    /// Its modules, in the order of the steps; those that are being compiled or cannot be loaded are left out.
    fn modules(&self) -> Vec<ModuleLook> {
        Vec::new()
    }
    /// Modules that were rehearsed take the places of those that work: a line for each. `anyway`: even if nothing was
    /// compared, or something differed. An error says why nothing has changed.
    fn promote(&self, anyway: bool) -> Result<Vec<String>, String> {
        let _ = anyway;
        Err("it has no module that is rehearsed".to_owned())
    }
    /// Runs the steps; outputs are complete messages with their addresses, and their hops as the input's. Blocking when
    /// [`Cost::Queued`]. `attempt` is 0 the first time, and one more after each failure or [`Verdict::Retry`].
    fn apply(
        &self,
        input: &Message,
        attempt: u32,
        formats: &Formats,
        out: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure>;
    /// The same for several messages, each with its attempt: one result for each, in their order.
    fn apply_all(&self, inputs: &[(Message, u32)], formats: &Formats) -> Vec<Applied> {
        let one = |(input, attempt): &(Message, u32)| {
            let mut out = Vec::new();
            self.apply(input, *attempt, formats, &mut out).map(|verdict| (verdict, out))
        };
        inputs.iter().map(one).collect()
    }
    /// Whether a step remembers something from message to message. Then its messages are taken one after the other, and
    /// [`apply_with_state`](Self::apply_with_state) is called.
    fn remembers(&self) -> bool {
        false
    }
    /// As [`apply`](Self::apply), with what its steps remember. What a message changes counts with the verdicts `Pass`,
    /// `Emit` and `Drop` only.
    fn apply_with_state(
        &self,
        (input, attempt): (&Message, u32),
        formats: &Formats,
        state: &Arc<dyn State>,
        out: &mut Results,
    ) -> Result<Verdict, StepFailure> {
        let _ = state;
        self.apply(input, attempt, formats, &mut out.messages)
    }
}

/// What the steps of a route made of one message.
#[derive(Debug, Default)]
pub struct Results {
    /// Each with its address.
    pub messages: Vec<Message>,
    /// What they remember of it.
    pub changes: Vec<StateChange>,
}

/// A route as the broker runs it.
#[derive(Clone)]
pub struct ContentRoute {
    pub name: Name,
    pub watches: Vec<Watch>,
    pub mode: Mode,
    /// Of several filters that watch one address the one with the highest comes first; equals in the order they are
    /// configured in.
    pub priority: i32,
    /// A result that reaches nobody is a failure.
    pub required: bool,
    pub order: Order,
    /// Workers that take messages from a queued route's queue; at least 1.
    pub concurrency: u16,
    pub on_error: OnError,
    pub transform: Arc<dyn Transform>,
    /// Durable queues that it sends to by name; declared at start when nothing else declares them.
    pub queues: Vec<Name>,
    /// Topics that it sends to: a publish that clears a retained value clears theirs.
    pub topics: Topics,
}

impl ContentRoute {
    /// A route with nothing configured but this; failures are dead-lettered at once.
    pub fn new(name: Name, watches: Vec<Watch>, mode: Mode, transform: Arc<dyn Transform>) -> Self {
        let on_error = OnError {
            retry: 0,
            backoff: Duration::from_millis(200),
            then: AfterFailure::DeadLetter,
            dead_letter: None,
        };
        Self {
            name,
            watches,
            mode,
            priority: 0,
            required: false,
            order: Order::Relaxed,
            concurrency: 1,
            on_error,
            transform,
            queues: Vec::new(),
            topics: Topics::default(),
        }
    }
}

/// Topics among a route's destinations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topics {
    /// Those that are the same for every message.
    pub constant: Vec<Address>,
    /// How many are computed from the message: their retained values cannot be cleared through the route.
    pub computed: usize,
}
