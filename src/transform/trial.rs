//! Tries a module as a step of a route would run it: same sandbox, same limits, same answers.

use super::samples::{self, Sample};
use super::{CheckOrder, Said};
use crate::config;
use crossdock_core::transform::{ContentRoute, ModuleLook, StepFailure, Verdict};
use crossdock_core::{Formats, Key, Message, Name};
use crossdock_transforms::{Host, Modules, RouteSpec, Surroundings};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of a body that are shown.
const SHOWN_BYTES: usize = 2_048;

/// The exchange that topics stand for.
const TOPICS: &str = "amq.topic";

/// Shows what the module makes of each sample.
pub fn check(order: &CheckOrder) -> Result<Said, Vec<String>> {
    let (_host, route, samples) = prepare(order)?;
    let mut said = vec![format!("{} loads", loaded(order, &route))];
    let mut has_failed = false;
    for sample in &samples {
        let started = Instant::now();
        let outcome = apply(&route, &sample.message);
        let took = started.elapsed();
        has_failed |= outcome.is_err();
        said.push(format!("{}, {} bytes, {took:.1?}:", sample.name, sample.message.body().len()));
        said.extend(shown(outcome));
    }
    for (name, number) in route.transform.modules().into_iter().flat_map(|look| look.numbers) {
        said.push(format!("it counted {name}: {number:?}"));
    }
    Ok(Said { said, has_failed })
}

/// Has the module work on the samples in turn, and shows how long that takes.
pub fn bench(order: &CheckOrder, time: Duration) -> Result<Said, Vec<String>> {
    let (_host, route, samples) = prepare(order)?;
    if samples.is_empty() {
        return Err(vec!["there is nothing to measure: name a file with --sample".to_owned()]);
    }
    let (mut took, mut bytes, mut failed) = (Vec::new(), 0_u64, None);
    let begun = Instant::now();
    for sample in samples.iter().cycle() {
        let started = Instant::now();
        if started.duration_since(begun) >= time && took.len() >= samples.len() {
            break;
        }
        if let Err(failure) = apply(&route, &sample.message) {
            failed.get_or_insert((sample.name.clone(), failure));
        }
        took.push(started.elapsed());
        bytes += sample.message.body().len() as u64;
    }
    let seconds = begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |part: usize| took.get(took.len() * part / 1_000).copied().unwrap_or_default();
    let mut said = vec![
        format!(
            "{}: {:.0} messages a second, {:.1} MB a second on one thread",
            loaded(order, &route),
            took.len() as f64 / seconds,
            bytes as f64 / seconds / 1e6
        ),
        format!("half of them take {:.1?}, 99 % at most {:.1?}", at(500), at(990)),
    ];
    let has_failed = failed.is_some();
    if let Some((sample, failure)) = failed {
        said.push(format!("it failed for {sample}: {}", words(&failure)));
    }
    Ok(Said { said, has_failed })
}

fn prepare(order: &CheckOrder) -> Result<(Host, ContentRoute, Vec<Sample>), Vec<String>> {
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
    };
    let made = host.compile(&spec, surroundings);
    let route = made.map_err(|mistakes| mistakes.iter().map(said_as_given).collect::<Vec<_>>())?;
    let address = config::address(&order.address, &topic_exchange)
        .map_err(|why| vec![format!("--address: {why}")])?;
    let samples = samples::read(order, &address)?;
    Ok((host, route, samples))
}

/// A mistake in terms of this command line.
fn said_as_given(mistake: &crossdock_transforms::Mistake) -> String {
    let option = match mistake.key.as_str() {
        "limits.memory" => "--memory",
        "limits.deadline" => "--deadline",
        "from[0]" => "--address",
        "steps[0].with" => "--with",
        key if key.starts_with("steps[0].grants") => "--grant",
        key if key.starts_with("steps[0].destinations") => "--destination",
        _ => return mistake.reason.clone(),
    };
    format!("{option}: {}", mistake.reason)
}

fn apply(route: &ContentRoute, message: &Message) -> Result<(Verdict, Vec<Message>), StepFailure> {
    let mut out = Vec::new();
    let verdict = route.transform.apply(message, 0, &Formats::new(Vec::new()), &mut out)?;
    Ok((verdict, out))
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
