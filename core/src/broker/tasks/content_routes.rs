//! Content routes at work: the inline way in a publisher's turn, and the worker that consumes a route's own queue.
//! What a route does to a message is behind the [`Transform`](crate::transform::Transform) seam.

use crate::broker::door::events::Events;
use crate::broker::door::request::{Consumer, Publish, SessionSpec, Source};
use crate::broker::session::state::Session;
use crate::broker::turn::run::Scene;
use crate::broker::vhost::queue::Queue;
use crate::broker::{Broker, Inner};
use crate::error::{Error, ErrorKind};
use crate::log::{Offset, QueueSpec};
use crate::message::{Address, Formats, Message, Name, Origin, Timestamp, Value};
use crate::subscription::{Credit, Outcome};
use crate::transform::{ContentRoute, Cost, Fault, FaultKind, Mode, Then, Verdict};
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;

/// A worker takes so many messages at once; they wait while one of them is retried.
const WORK_CREDIT: u32 = 64;
/// No back-off is longer.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// A route and its queue.
pub struct ContentPath {
    pub route: ContentRoute,
    /// Only for routes that are [`Cost::Queued`].
    queue: RwLock<Option<Arc<Queue>>>,
}

/// What one run led to.
#[derive(Default)]
pub struct Step {
    pub outputs: Vec<Message>,
    /// The original goes on as it was.
    pub keep: bool,
    /// The publisher is to be told.
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

    /// Whether it takes that message; its own results never.
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
    pub fn run(&self, scene: Scene<'_>, message: &Message) -> Step {
        let mut outputs = Vec::new();
        let verdict = self.route.transform.apply(message, &scene.core.formats, &mut outputs);
        match self.judge(verdict, outputs) {
            Ok(step) => step,
            // There is nowhere to wait in somebody's turn, so a failure is final at once.
            Err(fault) => self.give_up(scene, message, &fault),
        }
    }

    /// What the verdict means; a fault or a wish to retry is for the caller.
    fn judge(&self, verdict: Result<Verdict, Fault>, outputs: Vec<Message>) -> Result<Step, Fault> {
        let own = |text: &str| Fault {
            module: Arc::from(self.route.transform.name()),
            version: Arc::from(""),
            kind: FaultKind::Guest,
            text: Arc::from(text),
        };
        match verdict? {
            Verdict::Keep => Ok(Step { keep: true, ..Step::default() }),
            Verdict::Emit => {
                let outputs = outputs.iter().map(|m| self.marked(m)).collect();
                Ok(Step { outputs, ..Step::default() })
            }
            Verdict::Drop(_) => Ok(Step::default()),
            Verdict::Reject(why) => {
                Ok(Step { refused: Some(Error::new(ErrorKind::Invalid, why)), ..Step::default() })
            }
            Verdict::Retry(_) => Err(own("the step asked for another attempt")),
        }
    }

    /// The route's policy for what failed for good.
    fn give_up(&self, scene: Scene<'_>, message: &Message, fault: &Fault) -> Step {
        let (route, kind) = (&self.route.name, fault.kind.as_str());
        tracing::debug!(%route, module = %fault.module, kind, "step failed");
        match self.route.on_error.then {
            Then::Pass => Step { keep: true, ..Step::default() },
            Then::Drop => Step::default(),
            Then::Reject => Step {
                refused: Some(Error::new(ErrorKind::Invalid, fault.text.clone())),
                ..Step::default()
            },
            Then::DeadLetter => {
                let vhosts = &scene.core.settings.dead_letter;
                let address = self.route.on_error.dead_letter.as_ref().unwrap_or(vhosts);
                let letter = self.letter(message, fault, address, &scene.core.formats);
                Step { outputs: vec![letter], ..Step::default() }
            }
        }
    }

    /// The original with what went wrong in its headers.
    fn letter(
        &self,
        message: &Message,
        fault: &Fault,
        address: &Address,
        formats: &Formats,
    ) -> Message {
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

/// Declares what the routes need and starts their workers.
pub async fn start(broker: &Broker, routes: Vec<ContentRoute>) -> Result<(), Error> {
    let Some(vhost) = broker.inner().default_vhost() else { return Ok(()) };
    let paths: Vec<Arc<ContentPath>> = routes.into_iter().map(ContentPath::new).collect();
    if paths.is_empty() {
        return Ok(());
    }
    let origin = Origin { user: "route".into(), ..Origin::default() };
    let mut session =
        broker.seat(SessionSpec::anonymous(vhost.name.clone(), origin.clone()), true)?.0;
    let dead_letter = &broker.inner().settings.dead_letter;
    for path in &paths {
        let on_error = path.route.on_error.dead_letter.as_ref().unwrap_or(dead_letter);
        let dead = (path.route.on_error.then == Then::DeadLetter && on_error.is_queue())
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
            *path.queue.write() = Some(vhost.queue(&name)?);
        }
    }
    session.close().await?;
    for path in paths.iter().filter(|p| p.route.transform.cost() == Cost::Queued) {
        let spec = SessionSpec::anonymous(vhost.name.clone(), origin.clone());
        let worker = Worker { path: path.clone(), session: broker.seat(spec, true)?.0 };
        broker.inner().spawn(worker.run());
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
    result: Result<Step, Fault>,
    wait: Option<Duration>,
}

impl Worker {
    async fn run(mut self) {
        let lane = self.session.lane();
        let consumer = Consumer {
            source: Source::Queue(self.path.queue_name()),
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
                tracing::error!(route = %self.path.route.name, %error, "route cannot consume its queue");
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
                let step = match done.result {
                    Ok(step) => step,
                    Err(fault) => match self.retry(&done.input, fault, done.wait).await {
                        Ok(step) => step,
                        Err(fault) => self.give_up(&done.input, &fault),
                    },
                };
                self.emit(lane, &done.input, step);
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
                let verdict = path.route.transform.apply(&input, &formats, &mut outputs);
                let wait = match &verdict {
                    Ok(Verdict::Retry(wait)) => Some(*wait),
                    _ => None,
                };
                all.push(Done { offset, input, result: path.judge(verdict, outputs), wait });
            }
            all
        });
        // A transform that panics has failed on all of them; the flow goes on.
        let trap = || Fault {
            module: Arc::from(self.path.route.transform.name()),
            version: Arc::from(""),
            kind: FaultKind::Trap,
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
        mut fault: Fault,
        mut wait: Option<Duration>,
    ) -> Result<Step, Fault> {
        let on_error = &self.path.route.on_error;
        let mut backoff = on_error.backoff;
        for _ in 0..on_error.retry {
            tokio::time::sleep(wait.take().unwrap_or(backoff).min(BACKOFF_MAX)).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
            let Some(done) = self.apply(vec![(Offset(0), input.clone())]).await.pop() else {
                break;
            };
            match done.result {
                Ok(step) => return Ok(step),
                Err(next) => (fault, wait) = (next, done.wait),
            }
        }
        Err(fault)
    }

    fn give_up(&self, input: &Message, fault: &Fault) -> Step {
        let core = self.session.broker().inner();
        let vhost = self.session.vhost();
        self.path.give_up(Scene { core, vhost, now: Timestamp::default() }, input, fault)
    }

    fn emit(&mut self, lane: crate::broker::LaneId, input: &Message, step: Step) {
        let pass = step.keep && self.path.route.mode != Mode::Tap;
        let original = pass.then(|| self.path.marked(input));
        // The publisher was confirmed long ago; a refusal can only be kept as a dead letter.
        let refused = step.refused.map(|why| {
            let fault = Fault {
                module: Arc::from(self.path.route.transform.name()),
                version: Arc::from(""),
                kind: FaultKind::Guest,
                text: Arc::from(why.detail()),
            };
            let core = self.session.broker().inner();
            let own = self.path.route.on_error.dead_letter.as_ref();
            let address = own.unwrap_or(&core.settings.dead_letter);
            self.path.letter(input, &fault, address, &core.formats)
        });
        for message in step.outputs.into_iter().chain(original).chain(refused) {
            self.session.publish(lane, Publish { message, confirm: false, mandatory: false });
        }
    }
}

/// What [`start`] needs of the broker's inside.
impl Inner {
    /// Runs a task until the broker closes.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().push(tokio::spawn(task));
    }
}
