//! Tries a module as a step of a route would run it: same sandbox, same limits, same answers.

use super::heard::Heard;
use super::samples::{self, Sample};
use super::{BenchOrder, CheckOrder, Said};
use crate::config;
use crossdock_core::state::{NoState, State, StateLayer};
use crossdock_core::step::StepMakers;
use crossdock_core::transform::{ContentRoute, ModuleLook, Number, Results, StepFailure, Verdict};
use crossdock_core::{Formats, Key, Message, Name, Origin};
use crossdock_transforms::{Host, Modules, RouteSpec, Surroundings};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a step can grant.
const GRANTS: [&str; 3] = ["log", "metrics", "kv"];
/// Bytes of a body that are shown.
const SHOWN_BYTES: usize = 2_048;

/// The exchange that topics stand for.
const TOPICS: &str = "amq.topic";

/// Failures after which a measurement ends that was not told to go on.
const FAILURES_MAX: u64 = 5;

/// Shows what the module makes of each sample, and what it says.
pub fn check(order: &CheckOrder) -> Result<Said, Vec<String>> {
    let (_host, tried, samples) = prepare(order)?;
    let mut said = vec![format!("{} loads", loaded(order, &tried.route))];
    let mut has_failed = false;
    for (number, sample) in (1..).zip(&samples) {
        let message = from_another(&sample.message, number);
        let started = Instant::now();
        let (outcome, lines) = Heard::during(|| tried.apply(&message));
        let took = started.elapsed();
        has_failed |= outcome.is_err();
        said.push(format!("{}, {} bytes, {took:.1?}:", sample.name, sample.message.body().len()));
        said.extend(shown(outcome));
        said.extend(lines.into_iter().map(|line| format!("  {line}")));
    }
    for (name, number) in tried.route.transform.modules().into_iter().flat_map(|look| look.numbers)
    {
        said.push(match number {
            Number::Counter(sum) => format!("its counter {name} is {sum}"),
            Number::Gauge(value) => format!("its gauge {name} is {value}"),
        });
    }
    Ok(Said { said, has_failed })
}

/// What a measurement has found so far.
#[derive(Default)]
struct Measured {
    /// How long each message took that the module answered.
    took: Vec<Duration>,
    /// Bytes of their bodies.
    bytes: u64,
    failed: u64,
    /// Of the failures, the first one: the sample and why.
    first: Option<(String, StepFailure)>,
}

impl Measured {
    /// Calls the module with the sample once. The time that it was not called is none of its figures.
    fn measure(&mut self, tried: &Tried, sample: &Sample) {
        // After a failure as if somebody else had sent it: the module is never paused for five of them.
        let message = from_another(&sample.message, self.failed + 1);
        let started = Instant::now();
        match tried.apply(&message) {
            Ok((Verdict::Wait(time), _)) => std::thread::sleep(time),
            Ok(_) => {
                self.took.push(started.elapsed());
                self.bytes += message.body().len() as u64;
            }
            Err(failure) => {
                self.failed += 1;
                self.first.get_or_insert((sample.name.clone(), failure));
            }
        }
    }

    fn said(mut self, module: &str, keep_going: bool) -> Said {
        let seconds = self.took.iter().sum::<Duration>().as_secs_f64();
        self.took.sort_unstable();
        let count = self.took.len();
        let at = |part: usize| self.took.get(count * part / 1_000).copied().unwrap_or_default();
        let mut said = match count {
            0 => vec![format!("{module}: no message was answered, so there are no figures")],
            _ => vec![
                format!(
                    "{module}: {:.0} messages a second, {:.1} MB a second on one thread",
                    count as f64 / seconds,
                    self.bytes as f64 / seconds / 1e6
                ),
                format!("half of them take {:.1?}, 99 % at most {:.1?}", at(500), at(990)),
            ],
        };
        if let Some((sample, failure)) = &self.first {
            let all = self.failed + count as u64;
            let stopped = match keep_going || self.failed < FAILURES_MAX {
                true => "",
                false => "; it was stopped then, --keep-going has it go on",
            };
            said.push(format!(
                "it failed for {} of {all} messages, which are not in the figures{stopped}",
                self.failed
            ));
            said.push(format!("the first failure, for {sample}: {}", words(failure)));
        }
        Said { said, has_failed: self.failed > 0 }
    }
}

/// Has the module work on the samples in turn, and shows how long that takes.
pub fn bench(order: &BenchOrder) -> Result<Said, Vec<String>> {
    let (_host, tried, samples) = prepare(&order.check)?;
    if samples.is_empty() {
        return Err(vec!["there is nothing to measure: name a file with --sample".to_owned()]);
    }
    let (time, mut measured) = (Duration::from_secs(order.seconds), Measured::default());
    let begun = Instant::now();
    for (number, sample) in samples.iter().cycle().enumerate() {
        let is_over = begun.elapsed() >= time && number >= samples.len();
        if is_over || measured.failed >= FAILURES_MAX && !order.keep_going {
            break;
        }
        measured.measure(&tried, sample);
    }
    Ok(measured.said(&loaded(&order.check, &tried.route), order.keep_going))
}

/// The sample as if that one of several clients had sent it: what one sends does not pause the module for another.
fn from_another(message: &Message, client: u64) -> Message {
    if client == 1 {
        return message.clone();
    }
    let mut meta = message.meta().clone();
    let client = format!("{} {client}", meta.origin.client).into();
    meta.origin = Arc::new(Origin { client, ..(*meta.origin).clone() });
    message.with(message.address().clone(), meta)
}

fn prepare(order: &CheckOrder) -> Result<(Host, Tried, Vec<Sample>), Vec<String>> {
    let host = Host::new(None).map_err(|error| vec![error.to_string()])?;
    let with: Json = serde_json::from_str(&order.with)
        .map_err(|error| vec![format!("--with {}: {error}", order.with)])?;
    // As a route's step names a file, and not one of the folder of modules.
    let module = std::path::absolute(&order.module)
        .map_err(|error| vec![format!("{}: {error}", order.module.display())])?;
    let limits = [("memory", &order.memory), ("deadline", &order.deadline)];
    let limits: serde_json::Map<String, Json> = limits
        .into_iter()
        .filter_map(|(key, value)| Some((key.into(), json!(value.as_ref()?))))
        .collect();
    let spec: RouteSpec = serde_json::from_value(json!({
        "name": "check",
        "from": [order.address],
        "to": ["queue:out"],
        "steps": [{
            "wasm": module,
            "with": with,
            "grants": order.grants,
            "destinations": order.destinations,
        }],
        "limits": limits,
    }))
    .map_err(|error| vec![error.to_string()])?;
    let topic_exchange: Name = TOPICS.into();
    let surroundings = Surroundings {
        base_dir: Path::new("/"),
        topic_exchange: &topic_exchange,
        dollar_topics: &[Key::from("#")],
        modules: Modules::Now,
        plugins: &StepMakers::default(),
    };
    let made = host.compile(&spec, surroundings);
    let route = made.map_err(|mistakes| mistakes.iter().map(said_as_given).collect::<Vec<_>>())?;
    let address = config::address(&order.address, &topic_exchange)
        .map_err(|why| vec![format!("--address: {why}")])?;
    let samples = samples::read(order, &address)?;
    let state = Arc::new(StateLayer::over(Arc::new(NoState)));
    Ok((host, Tried { route, state }, samples))
}

/// A mistake in terms of this command line.
fn said_as_given(mistake: &crossdock_transforms::Mistake) -> String {
    let option = match mistake.key.as_str() {
        "limits.memory" => Some("--memory"),
        "limits.deadline" => Some("--deadline"),
        "from[0]" => Some("--address"),
        "steps[0].with" => Some("--with"),
        key if key.starts_with("steps[0].grants") => Some("--grant"),
        key if key.starts_with("steps[0].destinations") => Some("--destination"),
        _ => None,
    };
    // What a step is to say stands in an option here.
    let reason = GRANTS.iter().fold(mistake.reason.clone(), |reason, word| {
        let step = format!("add grants = [\"{word}\"] to the step");
        reason.replace(&step, &format!("add --grant {word}"))
    });
    option.map(|option| format!("{option}: {reason}")).unwrap_or(reason)
}

/// A route that is tried, and what its module remembers meanwhile.
struct Tried {
    route: ContentRoute,
    state: Arc<StateLayer>,
}

impl Tried {
    fn apply(&self, message: &Message) -> Result<(Verdict, Vec<Message>), StepFailure> {
        let (transform, formats) = (&self.route.transform, Formats::new(Vec::new()));
        let mut out = Results::default();
        if !transform.remembers() {
            let verdict = transform.apply(message, 0, &formats, &mut out.messages)?;
            return Ok((verdict, out.messages));
        }
        let state: Arc<dyn State> = self.state.clone();
        let verdict = transform.apply_with_state((message, 0), &formats, &state, &mut out)?;
        self.state.take_over(out.changes);
        Ok((verdict, out.messages))
    }
}

fn loaded(order: &CheckOrder, route: &ContentRoute) -> String {
    let look = route.transform.modules().into_iter().next().unwrap_or_default();
    let ModuleLook { version, .. } = look;
    format!("{}, version {version}", order.module.display())
}

fn shown(outcome: Result<(Verdict, Vec<Message>), StepFailure>) -> Vec<String> {
    let (verdict, out) = match outcome {
        Ok(outcome) => outcome,
        Err(failure) => return vec![format!("  fails: {}", words(&failure))],
    };
    match verdict {
        Verdict::Pass => vec!["  keep: it goes on as if there were no route".to_owned()],
        Verdict::Drop(why) => vec![format!("  drop: {why}")],
        Verdict::Reject(why) => vec![format!("  reject: {why}")],
        Verdict::Retry(after) => vec![format!("  again after {after:?}")],
        Verdict::Wait(time) => vec![format!("  waits for {time:?}: the module is paused")],
        Verdict::Emit if out.is_empty() => vec!["  emits nothing".to_owned()],
        Verdict::Emit => out.iter().flat_map(output).collect(),
    }
}

fn output(message: &Message) -> Vec<String> {
    let fields = message.fields(&Formats::new(Vec::new()));
    let mut lines = vec![format!("  to {}", message.address())];
    if let Some(content_type) = &fields.properties.content_type {
        lines.push(format!("    content_type: {content_type}"));
    }
    for (name, value) in &fields.headers {
        let (text, _) = crossdock_core::message::carry::to_text(value);
        lines.push(format!("    {name}: {text}"));
    }
    let body = message.body();
    let part = body.get(..SHOWN_BYTES).unwrap_or(body);
    let more = match body.len() - part.len() {
        0 => String::new(),
        more => format!(" ... and {more} bytes"),
    };
    lines.push(format!("    {}{more}", String::from_utf8_lossy(part).trim_end()));
    lines
}

fn words(failure: &StepFailure) -> String {
    format!("{}: {}", failure.kind.as_str(), failure.text)
}
