//! The tables, on the terminal and in docs/benchmarks/. They name versions, the kind of machine and the commit, but no
//! names or paths of the machine.

use super::figures::{Results, number};
use super::peers::Kind;
use super::{FAULTS, PROVE_LOSS, START, Scenario};
use crate::{command, root};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::Path;

const IDLE: &str = "idle-mqtt";
const STEADY: &str = "latency-";
const METHOD: &str = "\
Every broker runs on this machine, on the loopback, beside the load generator (benches/load) that
measures it. Brokers take turns, scenario by scenario; a figure is the median of the rounds. A scenario
warms up for a second (a Java virtual machine for five) and is measured for five seconds. Producers are
held back before queues become long: at most 20,000 messages ahead of the consumers (2,000 of 16 KiB),
and write up to 64 KiB at once, so that brokers which work in batches can; at 1,000 messages a second
there are no batches. The figure to compare is deliveries per second of the broker's CPU time, all its
processes together, because the generator shares the processors.

Peers come from their Debian packages, with limits that would drop messages removed (Mosquitto: in-flight
and queue limits 0), RabbitMQ's MQTT prefetch at 1,000, and ActiveMQ's non-blocking transports. RabbitMQ
has no QoS 2, and ActiveMQ no AMQP 0-9-1.";

/// Prints the tables. If all scenarios were measured, also writes them to docs/benchmarks/.
pub fn report(results: &Results, scenarios: &[Scenario], ours: &Path, write: bool) -> Result<()> {
    let tables = tables(results, scenarios);
    println!("\n{tables}");
    if !write {
        return Ok(());
    }
    let date = said("date", &["-u", "+%Y-%m-%d"])?;
    let text = format!("# {date}\n\n{}\n{METHOD}\n\n{tables}", setting(results, ours));
    let folder = root().join("docs/benchmarks");
    fs::create_dir_all(&folder)?;
    let name = format!("{date}.md");
    fs::write(folder.join(&name), text).with_context(|| name.clone())?;
    println!("written to docs/benchmarks/{name}");
    Ok(())
}

/// Versions, commit and machine.
fn setting(results: &Results, ours: &Path) -> String {
    let mut text = String::new();
    let mut say = |line: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {line}");
    };
    for kind in results.kinds() {
        say(format!("{} {}", kind.name(), kind.version(ours)));
    }
    if let Ok(commit) = said("git", &["rev-parse", "--short", "HEAD"]) {
        let changes = said("git", &["--no-optional-locks", "status", "--porcelain"]);
        let changed = changes.is_ok_and(|changes| !changes.is_empty());
        say(format!("commit {commit}{}", if changed { ", with changes" } else { "" }));
    }
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field =
        |line: &str| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned());
    let model = processors.lines().find_map(field).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // The text behind the third number names a build.
    let kernel = kernel.trim().split('-').next().unwrap_or_default().to_owned();
    say(format!("{cores} cores ({model}), {} memory, Linux {kernel}", memory()));
    text
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = total.and_then(|total| total.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    format!("{:.0} GiB", kib.unwrap_or_default() / 1_048_576.0)
}

/// The output of a command.
fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = command(program, arguments).output().context("it cannot be run")?;
    anyhow::ensure!(output.status.success(), "{program} failed");
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn tables(results: &Results, scenarios: &[Scenario]) -> String {
    let is_load = |s: &&Scenario| {
        !s.name.starts_with(STEADY) && ![START, IDLE, PROVE_LOSS].contains(&s.name.as_str())
    };
    let of =
        |wanted: &dyn Fn(&&Scenario) -> bool| scenarios.iter().filter(wanted).collect::<Vec<_>>();
    let load = of(&is_load);
    let steady = of(&|s| s.name.starts_with(STEADY));
    let table = Table { results };
    let mut text = String::new();
    table.compare("Deliveries per second of the broker's CPU time", &load, "per_cpu", &mut text);
    table.show("The broker's CPU time for a delivery, us", &load, &["cpu_us"], &mut text);
    table.compare("Deliveries a second", &load, "rate", &mut text);
    table.show("Highest resident memory, MiB", &load, &["rss_mib"], &mut text);
    let percentiles = ["p50_us", "p99_us", "p999_us"];
    let title = "Latency at 1,000 messages a second, us: p50 / p99 / p99.9";
    table.show(title, &steady, &percentiles, &mut text);
    let one = |name: &'static str| of(&|s: &&Scenario| s.name == name);
    table.show(
        "Start: ms to ready / MiB at rest",
        &one(START),
        &["ready_ms", "rss_mib"],
        &mut text,
    );
    let title = "Idle MQTT connections: connects a second / KiB each";
    table.show(title, &one(IDLE), &["rate", "kib_each"], &mut text);
    let title = "A consumer that is too slow: messages lost";
    table.show(title, &one(PROVE_LOSS), &["lost"], &mut text);
    let title =
        "What the generator itself needs, us of CPU: to send a message / to read a delivery";
    table.show(title, &load, &["send_us", "read_us"], &mut text);
    faults(results, &mut text);
    text
}

/// Lost, duplicated, reordered or damaged messages, and failed measurements.
fn faults(results: &Results, text: &mut String) {
    text.push_str(
        "## Faults\n\nLost, duplicated, out of order, foreign, refused, unconfirmed; failures\n\n",
    );
    let mut none = true;
    // Losses in the scenario that is meant to lose messages are no faults.
    let kinds = results.kinds().into_iter().filter(|kind| *kind != Kind::MosquittoAsInstalled);
    for kind in kinds {
        for fault in results.faults(kind, &FAULTS) {
            none = false;
            text.push_str(&format!("- {}: {}\n", kind.name(), fault.replace('\n', " ")));
        }
    }
    text.push_str(if none { "None.\n" } else { "" });
}

struct Table<'a> {
    results: &'a Results,
}

impl Table<'_> {
    /// One figure, and ours divided by the best peer's.
    fn compare(&self, title: &str, scenarios: &[&Scenario], name: &str, text: &mut String) {
        let kinds = self.kinds(scenarios, &[name]);
        if kinds.is_empty() {
            return;
        }
        head(title, &kinds, Some("ratio"), text);
        for scenario in scenarios {
            let value = |kind: &Kind| self.results.median(&scenario.name, *kind, name);
            let mut cells: Vec<String> =
                kinds.iter().map(|kind| value(kind).map_or("–".to_owned(), number)).collect();
            let peers = kinds.iter().filter(|kind| **kind != Kind::Ours).filter_map(value);
            let best = peers.max_by(f64::total_cmp).filter(|best| *best > 0.0);
            let ratio = value(&Kind::Ours).zip(best).map(|(ours, best)| ours / best);
            cells.push(ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.1}")));
            row(scenario, &cells, text);
        }
        text.push('\n');
    }

    /// Figures without a comparison.
    fn show(&self, title: &str, scenarios: &[&Scenario], names: &[&str], text: &mut String) {
        let kinds = self.kinds(scenarios, names);
        if kinds.is_empty() {
            return;
        }
        head(title, &kinds, None, text);
        for scenario in scenarios {
            let cell = |kind: &Kind| {
                let value = |name: &&str| self.results.median(&scenario.name, *kind, name);
                let values: Vec<String> = names.iter().filter_map(value).map(number).collect();
                if values.is_empty() { "–".to_owned() } else { values.join(" / ") }
            };
            let cells: Vec<String> = kinds.iter().map(cell).collect();
            row(scenario, &cells, text);
        }
        text.push('\n');
    }

    /// Brokers that have any of these figures.
    fn kinds(&self, scenarios: &[&Scenario], names: &[&str]) -> Vec<Kind> {
        let has = |kind: &Kind, scenario: &Scenario| {
            names.iter().any(|name| self.results.median(&scenario.name, *kind, name).is_some())
        };
        let mut kinds = self.results.kinds();
        kinds.retain(|kind| scenarios.iter().any(|scenario| has(kind, scenario)));
        kinds
    }
}

fn head(title: &str, kinds: &[Kind], last: Option<&str>, text: &mut String) {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).chain(last).collect();
    let rule = "---:|".repeat(names.len());
    text.push_str(&format!("## {title}\n\n| scenario | {} |\n|---|{rule}\n", names.join(" | ")));
}

fn row(scenario: &Scenario, cells: &[String], text: &mut String) {
    let about = format!("{}: {}", scenario.name, scenario.about);
    text.push_str(&format!("| {about} | {} |\n", cells.join(" | ")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figures::Figures;

    #[test]
    fn ours_is_compared_with_the_best_peer() {
        let mut results = Results::default();
        for (kind, rate) in [(Kind::Ours, 600.0), (Kind::RabbitMq, 100.0), (Kind::Mosquitto, 300.0)]
        {
            let figures = [("per_cpu", rate), ("rate", rate), ("lost", rate - 600.0)];
            let figures = figures.map(|(name, value)| (name.to_owned(), value));
            results.add("s", kind, Ok(Figures::from(figures)));
        }
        let scenario = Scenario { name: "s".into(), protocols: Vec::new(), about: "it".into() };
        let text = tables(&results, &[scenario]);
        assert!(
            text.contains("| scenario | crossdock | rabbitmq | mosquitto | ratio |\n"),
            "{text}"
        );
        assert!(text.contains("| s: it | 600 | 100 | 300 | 2.0 |\n"), "{text}");
        assert!(text.ends_with("None.\n"), "{text}");
        results.add("s", Kind::RabbitMq, Err("gone".to_owned()));
        let mut text = String::new();
        faults(&results, &mut text);
        assert!(text.ends_with("- rabbitmq: s: gone\n"), "{text}");
    }
}
