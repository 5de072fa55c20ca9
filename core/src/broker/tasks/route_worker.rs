//! Content routes that run from a queue of their own: one worker for each consumes that queue.

use crate::broker::door::events::Events;
use crate::broker::door::request::{Consumer, ConsumerSource, LaneId, Publish, SessionSpec};
use crate::broker::session::opening::open_internal;
use crate::broker::session::state::Session;
use crate::broker::shared::Broker;
use crate::broker::vhost::content_path::{ContentPath, RouteResult};
use crate::error::Error;
use crate::log::{Offset, QueueSpec};
use crate::message::{Message, Name, Origin};
use crate::subscription::{Credit, Outcome};
use crate::transform::{AfterFailure, ContentRoute, Cost, FailureKind, Mode, StepFailure, Verdict};
use std::sync::Arc;
use std::time::Duration;

/// Messages that a worker takes at once; the others wait while one of them is retried.
const WORK_CREDIT: u32 = 64;
/// No back-off is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Declares what the routes need and starts their workers.
pub async fn start(broker: &Broker, routes: Vec<ContentRoute>) -> Result<(), Error> {
    let Some(vhost) = broker.shared().default_vhost() else { return Ok(()) };
    let paths: Vec<Arc<ContentPath>> = routes.into_iter().map(ContentPath::new).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let origin = Origin { user: "route".into(), ..Origin::default() };
    let mut session =
        open_internal(broker, &SessionSpec::anonymous(vhost.name.clone(), origin.clone()))?;
    let dead_letter = &broker.shared().settings.dead_letter;
    for path in &paths {
        let on_error = path.dead_letter_address(dead_letter);
        let dead = (path.route.on_error.then == AfterFailure::DeadLetter && on_error.is_queue())
            .then(|| Name::from(on_error.key.to_string()));
        for name in path.route.queues.iter().chain(&dead) {
            if session.queue_status(name).is_err() {
                session.declare_queue(QueueSpec::durable(name.clone())).await?;
            }
        }
        if path.route.transform.cost() == Cost::Queued {
            let name = path.queue_name();
            if session.queue_status(&name).is_err() {
                session.declare_queue(QueueSpec::durable(name.clone())).await?;
            }
            path.set_queue(vhost.queue(&name)?);
        }
    }
    session.close().await?;
    for path in paths.iter().filter(|p| p.route.transform.cost() == Cost::Queued) {
        let spec = SessionSpec::anonymous(vhost.name.clone(), origin.clone());
        let worker = Worker { path: path.clone(), session: open_internal(broker, &spec)? };
        broker.shared().background.spawn(worker.run());
    }
    *vhost.content.write() = paths.into();
    vhost.generations.bump();
    Ok(())
}

/// Consumes a route's queue, in order: the settle of an input and all its outputs are one unit, so that a crash
/// repeats the step and never the effect.
struct Worker {
    path: Arc<ContentPath>,
    session: Session,
}

/// One input after its run.
struct Done {
    offset: Offset,
    input: Message,
    result: Result<RouteResult, StepFailure>,
    wait: Option<Duration>,
}

impl Worker {
    async fn run(mut self) {
        let lane = self.session.lane();
        let consumer = Consumer {
            source: ConsumerSource::Queue(self.path.queue_name()),
            settles: true,
            exclusive: true,
            priority: 0,
            credit: Credit::messages(WORK_CREDIT),
            pools: smallvec::SmallVec::new(),
            skip_own: false,
            tag: self.path.queue_name(),
        };
        let consumer = match self.session.attach(lane, consumer).await {
            Ok(consumer) => consumer,
            Err(error) => {
                tracing::error!(
                    route = %self.path.route.name, %error,
                    "a content route cannot consume its queue: messages wait there until the broker is \
                     started again"
                );
                return;
            }
        };
        let mut events = Events::default();
        let mut position = 0;
        loop {
            self.session.events(&mut events).await;
            position += 1;
            self.session.encoded(position);
            self.session.flushed(position);
            let inputs: Vec<(Offset, Message)> =
                events.deliveries.drain(..).map(|d| (d.offset, d.message)).collect();
            if inputs.is_empty() {
                self.session.flush();
                continue;
            }
            for done in self.apply(inputs).await {
                let result = match done.result {
                    Ok(result) => result,
                    Err(fault) => match self.retry(&done.input, fault, done.wait).await {
                        Ok(result) => result,
                        Err(fault) => self.give_up(&done.input, &fault),
                    },
                };
                self.emit(lane, &done.input, result);
                self.session.settle(lane, consumer, &[done.offset], Outcome::Accepted);
                self.session.flush();
            }
        }
    }

    /// Runs the steps of several inputs on a blocking thread.
    async fn apply(&self, inputs: Vec<(Offset, Message)>) -> Vec<Done> {
        let (path, formats) = (self.path.clone(), self.session.broker().formats().clone());
        let kept = inputs.clone();
        let run = tokio::task::spawn_blocking(move || {
            let mut all = Vec::with_capacity(inputs.len());
            for (offset, input) in inputs {
                let mut outputs = Vec::new();
                let verdict = path.route.transform.apply(&input, 0, &formats, &mut outputs);
                let wait = match &verdict {
                    Ok(Verdict::Retry(wait) | Verdict::Wait(wait)) => Some(*wait),
                    _ => None,
                };
                all.push(Done { offset, input, result: path.judge(verdict, outputs), wait });
            }
            all
        });
        // A transform that panics has failed on all of them; the flow goes on.
        let trap = || StepFailure {
            module: Arc::from(self.path.route.transform.name()),
            version: Arc::from(""),
            kind: FailureKind::Trap,
            text: Arc::from("the transform panicked"),
        };
        run.await.unwrap_or_else(|_| {
            let failed = |(offset, input)| Done { offset, input, result: Err(trap()), wait: None };
            kept.into_iter().map(failed).collect()
        })
    }

    async fn retry(
        &self,
        input: &Message,
        mut fault: StepFailure,
        mut wait: Option<Duration>,
    ) -> Result<RouteResult, StepFailure> {
        let on_error = &self.path.route.on_error;
        let mut backoff = on_error.backoff;
        for _ in 0..on_error.retry {
            tokio::time::sleep(wait.take().unwrap_or(backoff).min(BACKOFF_MAX)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            let Some(done) = self.apply(vec![(Offset(0), input.clone())]).await.pop() else {
                break;
            };
            match done.result {
                Ok(result) => return Ok(result),
                Err(next) => (fault, wait) = (next, done.wait),
            }
        }
        Err(fault)
    }

    fn give_up(&self, input: &Message, fault: &StepFailure) -> RouteResult {
        let shared = self.session.broker().shared();
        self.path.give_up(input, fault, &shared.formats, &shared.settings.dead_letter)
    }

    fn emit(&mut self, lane: LaneId, input: &Message, result: RouteResult) {
        let passes = result.passes && self.path.route.mode != Mode::Tap;
        let original = passes.then(|| self.path.marked(input));
        // The publisher was confirmed long ago; a refusal can only be kept as a dead letter.
        let refused = result.refused.map(|why| {
            let fault = StepFailure {
                module: Arc::from(self.path.route.transform.name()),
                version: Arc::from(""),
                kind: FailureKind::Guest,
                text: Arc::from(why.detail()),
            };
            let shared = self.session.broker().shared();
            self.path.with_fault(input, &fault, &shared.formats, &shared.settings.dead_letter)
        });
        for message in result.outputs.into_iter().chain(original).chain(refused) {
            self.session.publish(lane, Publish { message, confirm: false, mandatory: false });
        }
    }
}
