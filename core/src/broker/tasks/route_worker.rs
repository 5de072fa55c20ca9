//! Content routes that run from a queue of their own: workers consume that queue. A message leaves it only together
//! with what it led to; what cannot be placed stays in the queue, and what is tried again gives up its place.

use super::route_inputs::{Input, WaitingInputs};
use crate::broker::door::events::Events;
use crate::broker::door::request::{Consumer, ConsumerSource};
use crate::broker::session::state::Session;
use crate::broker::turn::content::{Judged, Resumed};
use crate::broker::turn::context::HOPS_MAX;
use crate::broker::turn::failures;
use crate::broker::turn::plan::Obstacle;
use crate::broker::vhost::content_path::ContentPath;
use crate::broker::vhost::route_counters::{LastFailure, RouteEvent};
use crate::error::Error;
use crate::message::{Formats, Message, Value};
use crate::state::{State, StateChange, StateLayer};
use crate::subscription::{ConsumerId, Credit};
use crate::transform::{FailureKind, Order, Readiness, Results, StepFailure, Transform, Verdict};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// What a worker has at most: messages, and their bytes. Those that wait for another attempt or for a place count.
const WORK_CREDIT: Credit = Credit { messages: 1_088, bytes: 64 << 20 };
/// Messages whose steps run at once, and whose results are one unit for the store.
const CHUNK: usize = 64;
/// No pause before another attempt is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Between two looks whether a route's module is compiled.
const STARTING_PAUSE: Duration = Duration::from_millis(5);
/// What is shown as the failure of a message that a step asked to be called again with.
const ASKS: &str = "the step asked for another attempt";
/// How often a step may ask to be called again with one message.
const ASKED_MAX: u32 = 100;
/// No pause that a step asks for is longer.
const ASKED_PAUSE_MAX: Duration = Duration::from_secs(24 * 3600);
/// The first pause before another look for a place; doubled each time up to the last.
const PLACE_PAUSE: Duration = Duration::from_millis(20);
const PLACE_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Consumes a route's queue.
pub struct Worker {
    path: Arc<ContentPath>,
    session: Session,
    consumer: ConsumerId,
    waiting: WaitingInputs,
    work: VecDeque<Input>,
    /// True when another version of the route is to go on. Dropped when this worker has left.
    leave: watch::Receiver<bool>,
}

/// What the steps made of one message.
type Outcome = Result<(Verdict, Results), StepFailure>;
/// ... or nothing when they were not asked.
type Applied = (Input, Option<Outcome>);

impl Worker {
    /// A worker that consumes the route's queue on that session, and gets nothing yet: the messages are shared out when
    /// all workers of the route are there.
    pub async fn attach(path: Arc<ContentPath>, mut session: Session) -> Result<Self, Error> {
        let lane = session.lane();
        let consumer = Consumer {
            source: ConsumerSource::Queue(path.queue_name()),
            settles: true,
            exclusive: false,
            priority: 0,
            credit: Credit { messages: 0, bytes: 0 },
            pools: smallvec::SmallVec::new(),
            only_unexpired: false,
            has_time: false,
            tag: path.queue_name(),
        };
        let consumer = session.attach(lane, consumer).await?;
        let (waiting, work) = (WaitingInputs::default(), VecDeque::new());
        let leave = path.leave();
        Ok(Self { path, session, consumer, waiting, work, leave })
    }

    /// Works until the broker closes, or another version of the route is to go on: then what was not worked on is put
    /// back into its place.
    pub async fn run(mut self) {
        let consumer = self.consumer;
        self.session.set_credit(consumer, WORK_CREDIT);
        self.session.flush();
        let mut events = Events::default();
        let mut position = 0;
        while !*self.leave.borrow() {
            let next = self.waiting.next();
            tokio::select! {
                // An error cannot be: the route of this worker has the sender.
                _ = self.leave.changed() => continue,
                () = self.session.events(&mut events) => {
                    position += 1;
                    self.session.encoded(position);
                    self.session.flushed(position);
                    let new = events.deliveries.drain(..).map(|d| Input::new(d.offset, d.message));
                    self.work.extend(new);
                }
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    let due = self.waiting.take_due(Instant::now());
                    // They came before what is new.
                    due.into_iter().rev().for_each(|input| self.work.push_front(input));
                }
            }
            while !self.work.is_empty() && !*self.leave.borrow() {
                self.work_on_chunk(consumer).await;
            }
            self.session.flush();
        }
        let Self { session, leave, .. } = self;
        // A store that has failed takes nothing back; the next start delivers all of it again.
        let _ = session.close().await;
        drop(leave);
    }

    async fn work_on_chunk(&mut self, consumer: ConsumerId) {
        if self.path.route.transform.readiness() == Readiness::Starting {
            // All stay where they are: on hold, those that other sources send meanwhile would overtake them.
            return tokio::time::sleep(STARTING_PAUSE).await;
        }
        self.say_if_down();
        let mut chunk = Vec::with_capacity(CHUNK.min(self.work.len()));
        while chunk.len() < CHUNK
            && let Some(mut input) = self.work.pop_front()
        {
            input.waits = None;
            match self.waiting.is_behind(&input) {
                true => self.waiting.put_behind(input),
                false => chunk.push(input),
            }
        }
        if self.path.route.transform.remembers() {
            self.work_with_state(consumer, chunk).await;
        } else {
            for (input, applied) in self.apply(chunk, None).await {
                self.conclude(consumer, input, applied);
            }
            self.session.flush();
        }
        self.path.release_held();
    }

    /// As above, for steps that remember: each message has seen what those before it changed. So when such a change is
    /// not made, the steps are asked again about those behind it.
    async fn work_with_state(&mut self, consumer: ConsumerId, chunk: Vec<Input>) {
        let path = self.path.clone();
        let forgotten = path.state().forgotten();
        let layer = Arc::new(StateLayer::over(path.state().clone()));
        let mut applied = self.apply(chunk, Some(layer)).await.into_iter();
        let writing = path.state().write();
        if path.state().forgotten() == forgotten {
            for (input, outcome) in applied.by_ref() {
                let changes = |(_, results): &(Verdict, Results)| !results.changes.is_empty();
                let has_changed = outcome.as_ref().is_some_and(|it| it.as_ref().is_ok_and(changes));
                if !self.conclude(consumer, input, outcome) && has_changed {
                    break;
                }
            }
        }
        applied.rev().for_each(|(input, _)| self.work.push_front(input));
        self.session.flush();
        drop(writing);
    }

    /// Runs the steps of several messages on a blocking thread. `state`: what they remember; each sees what those
    /// before it have changed there.
    async fn apply(&self, inputs: Vec<Input>, state: Option<Arc<StateLayer>>) -> Vec<Applied> {
        let (path, formats) = (self.path.clone(), self.session.broker().formats().clone());
        let topics = self.session.broker().settings().topic_exchange.clone();
        let is_decided = |input: &Input| {
            input.decided.is_some()
                || input.message.meta().hops >= HOPS_MAX
                || path.clears(&input.message, &topics)
        };
        let asked: Vec<bool> = inputs.iter().map(|input| !is_decided(input)).collect();
        let calls = inputs.iter().zip(&asked).filter(|(_, is_asked)| **is_asked);
        let calls: Vec<(Message, u32)> =
            calls.map(|(it, _)| (it.message.clone(), it.attempt + it.asked)).collect();
        if calls.is_empty() {
            return inputs.into_iter().map(|input| (input, None)).collect();
        }
        let path = path.clone();
        let run = tokio::task::spawn_blocking(move || {
            let transform = &*path.route.transform;
            match state {
                None => all_at_once(transform, &calls, &formats),
                Some(state) => with_state(transform, &calls, (&formats, &state)),
            }
        });
        let mut outcomes = run.await.unwrap_or_default().into_iter();
        // A transform that panics has failed on all of them; the flow goes on.
        let trap = || failures::failure(&self.path, FailureKind::Trap, "the transform panicked");
        let answers = asked
            .into_iter()
            .map(|is_asked| is_asked.then(|| outcomes.next().unwrap_or_else(|| Err(trap()))));
        inputs.into_iter().zip(answers.collect::<Vec<_>>()).collect()
    }

    /// True when the message has left the queue, with all that its steps changed.
    fn conclude(
        &mut self,
        consumer: ConsumerId,
        mut input: Input,
        applied: Option<Outcome>,
    ) -> bool {
        let is_behind = self.waiting.is_behind(&input);
        let mut changes = Vec::new();
        let judged = match (applied, input.decided.take()) {
            (_, Some(decided)) => decided,
            (None, None) => match input.message.meta().hops >= HOPS_MAX {
                true => Judged::Failed(failures::too_many_hops(&self.path)),
                false => Judged::Clearing,
            },
            (Some(Ok((Verdict::Retry(wait), _))), _) if input.asked < ASKED_MAX && !is_behind => {
                input.asked += 1;
                self.count(RouteEvent::Retried);
                let asks = failures::failure(&self.path, FailureKind::Guest, ASKS);
                self.try_again(input, &asks, wait.min(ASKED_PAUSE_MAX));
                return false;
            }
            (Some(Ok((Verdict::Wait(wait), _))), _) if !is_behind => {
                input.waits = Some(self.path.counters.wait_between_attempts(None));
                self.waiting.hold(input, Instant::now() + wait.min(BACKOFF_MAX), true);
                return false;
            }
            (Some(Err(fault)), _) if self.may_retry(&input, &fault) && !is_behind => {
                self.retry(input, &fault);
                return false;
            }
            // It is asked again when it has its turn.
            (Some(Ok((Verdict::Retry(_) | Verdict::Wait(_), _)) | Err(_)), _) if is_behind => {
                self.waiting.put_behind(input);
                return false;
            }
            (Some(Err(fault)), _) => Judged::Failed(fault),
            (Some(Ok((verdict, results))), _) => {
                changes = results.changes;
                self.judge(&input, verdict, results.messages)
            }
        };
        if is_behind {
            self.keep_decision(&mut input, judged);
            self.waiting.put_behind(input);
            return false;
        }
        self.place(consumer, input, (judged, changes))
    }

    /// What the steps decided about a message that has to wait. Steps that remember are asked again: until then they
    /// may have decided about others.
    fn keep_decision(&self, input: &mut Input, judged: Judged) {
        if !self.path.route.transform.remembers() {
            input.decided = Some(judged);
        }
    }

    /// What the verdict means.
    fn judge(&self, input: &Input, verdict: Verdict, results: Vec<Message>) -> Judged {
        match verdict {
            Verdict::Pass => Judged::Pass,
            Verdict::Emit if input.attempt == 0 => Judged::Results(results),
            Verdict::Emit => {
                Judged::Results(results.iter().map(|m| self.marked(input, m)).collect())
            }
            Verdict::Drop(reason) => Judged::Dropped(reason),
            Verdict::Reject(why) => {
                Judged::Refused(failures::failure(&self.path, FailureKind::Guest, &why))
            }
            Verdict::Retry(_) | Verdict::Wait(_) => {
                let text = format!("the step asked for another attempt {ASKED_MAX} times");
                Judged::Failed(failures::failure(&self.path, FailureKind::Guest, &text))
            }
        }
    }

    /// A result of a message that gave up its place says so.
    fn marked(&self, input: &Input, result: &Message) -> Message {
        let mut fields = result.fields(self.session.broker().formats()).clone();
        let attempt = Value::text((input.attempt + 1).to_string());
        fields.headers.retain(|(name, _)| &**name != ATTEMPT);
        fields.headers.push((ATTEMPT.into(), attempt));
        let (address, meta) = (result.address().clone(), result.meta().clone());
        Message::from_fields(address, meta, &fields, result.body().clone())
    }

    /// The message leaves the queue with what it led to, or it waits for a place for that: then it is false.
    fn place(
        &mut self,
        consumer: ConsumerId,
        mut input: Input,
        (judged, changes): (Judged, Vec<StateChange>),
    ) -> bool {
        let place = (consumer, input.offset);
        let path = self.path.clone();
        match self.session.complete(place, &path, &input.message, (judged.clone(), &changes)) {
            Ok(()) => {
                self.placed(&input);
                return true;
            }
            Err(Resumed::Failed(fault)) if self.may_retry(&input, &fault) => {
                self.retry(input, &fault);
            }
            Err(Resumed::Failed(fault)) => {
                // Those behind it have seen its changes, which are not made.
                let is_placed = self.place(consumer, input, (Judged::Failed(fault), Vec::new()));
                return is_placed && changes.is_empty();
            }
            Err(Resumed::Obstacle(obstacle)) => {
                self.say_waiting(&obstacle);
                let pause = PLACE_PAUSE.saturating_mul(1 << input.refused.min(10));
                input.refused = input.refused.saturating_add(1);
                self.keep_decision(&mut input, judged);
                self.waiting.hold(input, Instant::now() + pause.min(PLACE_PAUSE_MAX), true);
            }
        }
        false
    }

    fn placed(&mut self, input: &Input) {
        if input.is_head {
            self.go_on(input.source);
        }
        if input.refused > 0 && self.path.said_waiting.swap(false, Ordering::AcqRel) {
            tracing::info!(route = %self.path.route.name, "the messages of a content route go on");
        }
    }

    /// Those behind the message have their turn, before what came later.
    fn go_on(&mut self, source: u64) {
        let behind = self.waiting.release(source);
        behind.into_iter().rev().for_each(|input| self.work.push_front(input));
    }

    fn may_retry(&self, input: &Input, fault: &StepFailure) -> bool {
        // A step that its failure has put out of use makes no other attempt: the message would wait, and do the same
        // to the step of the next start.
        let is_down = || matches!(self.path.route.transform.readiness(), Readiness::Down(_));
        fault.kind.may_pass()
            && input.attempt < u32::from(self.path.route.on_error.retry)
            && !is_down()
    }

    fn retry(&mut self, mut input: Input, fault: &StepFailure) {
        self.count(RouteEvent::Failed(fault.kind));
        self.count(RouteEvent::Retried);
        let backoff = self.path.route.on_error.backoff;
        let pause = backoff.saturating_mul(1 << input.attempt.min(20));
        input.attempt += 1;
        self.try_again(input, fault, pause.min(BACKOFF_MAX));
    }

    /// The message gives up its place, unless the order is strict.
    fn try_again(&mut self, mut input: Input, fault: &StepFailure, pause: Duration) {
        let (time, address) = (self.session.broker().now(), input.message.address().clone());
        let last = LastFailure { time, address, failure: fault.clone(), went_to: None };
        input.waits = Some(self.path.counters.wait_between_attempts(Some(last)));
        let (was_head, source) = (input.is_head, input.source);
        let is_strict = self.path.route.order == Order::Strict;
        self.waiting.hold(input, Instant::now() + pause, is_strict);
        if was_head && !is_strict {
            self.go_on(source);
        }
    }

    fn count(&self, event: RouteEvent) {
        let now = self.session.broker().now();
        self.path.counters.note(&self.path.route.name, event, now);
    }

    fn say_waiting(&self, obstacle: &Obstacle) {
        if self.path.said_waiting.swap(true, Ordering::AcqRel) {
            return;
        }
        self.path.counters.note_no_place(obstacle.error.detail().into());
        tracing::warn!(
            route = %self.path.route.name, why = %obstacle.error,
            "messages of a content route wait in its queue: there is no place for what they lead to"
        );
    }

    fn say_if_down(&self) {
        let Readiness::Down(why) = self.path.route.transform.readiness() else { return };
        if !self.path.said_down.swap(true, Ordering::AcqRel) {
            tracing::warn!(
                route = %self.path.route.name, %why,
                    "a content route is down: messages wait in its queue until what its step runs works"
            );
        }
    }
}

/// Messages on their way through steps that remember nothing.
fn all_at_once(
    transform: &dyn Transform,
    calls: &[(Message, u32)],
    formats: &Formats,
) -> Vec<Outcome> {
    let results = |messages| Results { messages, ..Results::default() };
    let applied = transform.apply_all(calls, formats).into_iter();
    applied.map(|it| it.map(|(verdict, messages)| (verdict, results(messages)))).collect()
}

/// One message after the other: each sees what those before it have changed.
fn with_state(
    transform: &dyn Transform,
    calls: &[(Message, u32)],
    (formats, state): (&Formats, &Arc<StateLayer>),
) -> Vec<Outcome> {
    let below: Arc<dyn State> = state.clone();
    let one = |(message, attempt): &(Message, u32)| {
        let mut out = Results::default();
        let verdict = transform.apply_with_state((message, *attempt), formats, &below, &mut out);
        if matches!(&verdict, Ok(Verdict::Pass | Verdict::Emit | Verdict::Drop(_))) {
            state.take_over(out.changes.clone());
        } else {
            out.changes.clear();
        }
        verdict.map(|verdict| (verdict, out))
    };
    calls.iter().map(one).collect()
}

/// The header that tells of a result how many attempts its message took.
const ATTEMPT: &str = "mq.error.attempt";
