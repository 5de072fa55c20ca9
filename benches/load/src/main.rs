//! A load generator for message brokers: raw blocking sockets, frames built once, a thread for each side; it measures
//! its own CPU time. It works with any broker and shares no code with ours. Scenarios are in scenario.rs; `cargo
//! xtask bench` runs them against our broker and its peers.
#![forbid(unsafe_code)]

mod backlog;
mod flow;
mod histogram;
mod idle;
mod report;
mod run;
mod scenario;
mod stage;
mod stamp;
mod tally;
mod threads;
mod usage;
mod wire;

use anyhow::{Context, Result, bail};
use backlog::Size;
use run::Times;
use scenario::{IDLE, IDLE_ABOUT, IDLE_CONNECTIONS, SCENARIOS};
use stage::Broker;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "\
crossdock-load --list
crossdock-load --backlog fill|drain [--messages N] [--body-bytes N] [--queues N] --amqp ADDRESS [--pid PID]
crossdock-load --scenario NAME... [--amqp ADDRESS] [--mqtt ADDRESS] [--stomp ADDRESS] [--pid PID]
               [--seconds N] [--warm-up N] [--connections N] [--pairs]

  --list          names of the scenarios, the protocols that each needs, and what it is
  --amqp, ...     where the broker listens, 127.0.0.1:5672 for example; user and password are guest
  --pid           the broker's process: its CPU time and memory are measured, with all its children's
  --seconds       measured time of a scenario, 5 by default
  --warm-up       time before that, 1 by default
  --connections   of idle-mqtt, 5,000 by default
  --backlog       fill a durable queue, or drain it: 1,000,000 messages of 1,024 bytes by default
  --pairs         one line of name=value pairs a scenario";

#[derive(Debug)]
struct Options {
    list: bool,
    pairs: bool,
    scenarios: Vec<String>,
    broker: Broker,
    times: Times,
    connections: usize,
    backlog: Option<String>,
    size: Size,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = match parse(&arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("crossdock-load: {error:#}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if options.list {
        list();
        return ExitCode::SUCCESS;
    }
    let mut failed = false;
    let backlog = match options.backlog.as_deref() {
        Some("fill") => backlog::fill(&options.broker, options.size),
        Some(_) => backlog::drain(&options.broker, options.size),
        None => Ok(()),
    };
    if let Err(error) = backlog {
        eprintln!("crossdock-load: backlog: {error:#}");
        failed = true;
    }
    for name in &options.scenarios {
        if let Err(error) = perform(name, &options) {
            eprintln!("crossdock-load: {name}: {error:#}");
            failed = true;
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn parse(arguments: &[String]) -> Result<Options> {
    let (seconds, warm_up) = (Duration::from_secs(5), Duration::from_secs(1));
    let mut options = Options {
        list: false,
        pairs: false,
        scenarios: Vec::new(),
        broker: Broker::default(),
        times: Times { warm_up, measure: seconds },
        connections: IDLE_CONNECTIONS,
        backlog: None,
        size: Size { messages: 1_000_000, body_bytes: 1024, queues: 1 },
    };
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("{option} needs a value"));
        match option.as_str() {
            "--list" => options.list = true,
            "--pairs" => options.pairs = true,
            "--scenario" => options.scenarios.push(value()?.clone()),
            "--amqp" => options.broker.amqp = Some(value()?.parse().context("--amqp")?),
            "--mqtt" => options.broker.mqtt = Some(value()?.parse().context("--mqtt")?),
            "--stomp" => options.broker.stomp = Some(value()?.parse().context("--stomp")?),
            "--pid" => options.broker.pid = Some(value()?.parse().context("--pid")?),
            "--seconds" => options.times.measure = seconds_of(value()?).context("--seconds")?,
            "--warm-up" => options.times.warm_up = seconds_of(value()?).context("--warm-up")?,
            "--backlog" => options.backlog = Some(value()?.clone()),
            "--messages" => options.size.messages = value()?.parse().context("--messages")?,
            "--queues" => options.size.queues = value()?.parse().context("--queues")?,
            "--body-bytes" => options.size.body_bytes = value()?.parse().context("--body-bytes")?,
            "--connections" => options.connections = value()?.parse().context("--connections")?,
            _ => bail!("unknown option {option}"),
        }
    }
    let unknown = |name: &&String| name.as_str() != IDLE && scenario::find(name).is_none();
    if let Some(name) = options.scenarios.iter().find(unknown) {
        bail!("unknown scenario {name}; --list prints the scenarios");
    }
    if let Some(other) = options.backlog.as_deref().filter(|what| !["fill", "drain"].contains(what))
    {
        bail!("--backlog is fill or drain, not {other}");
    }
    if !options.list && options.scenarios.is_empty() && options.backlog.is_none() {
        bail!("name at least one scenario with --scenario");
    }
    Ok(options)
}

fn seconds_of(text: &str) -> Result<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

/// Prints name, protocols and description of each scenario, separated by tabs.
fn list() {
    for scenario in SCENARIOS {
        println!("{}\t{}\t{}", scenario.name, scenario.protocols().join(","), scenario.about);
    }
    println!("{IDLE}\tmqtt\t{IDLE_ABOUT}");
}

fn perform(name: &str, options: &Options) -> Result<()> {
    let (about, figures) = match scenario::find(name) {
        Some(scenario) => {
            let outcome = run::run(scenario, &options.broker, options.times)?;
            (scenario.about, report::pairs(&outcome))
        }
        None => {
            let idle = idle::idle(&options.broker, options.connections)?;
            (IDLE_ABOUT, report::idle_pairs(&idle))
        }
    };
    match options.pairs {
        true => println!("{}", report::line(name, &figures)),
        false => print!("{}", report::text(name, about, &figures)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Options> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_are_taken_or_named() {
        let options =
            parsed("--scenario mqtt-qos0 --mqtt 127.0.0.1:1883 --seconds 0.5 --pairs").unwrap();
        assert!(options.pairs && options.broker.mqtt.is_some());
        assert_eq!(options.times.measure, Duration::from_millis(500));
        for (wrong, said) in [
            ("--pairs", "name at least one scenario with --scenario"),
            ("--scenario", "--scenario needs a value"),
            ("--scenario x", "unknown scenario x; --list prints the scenarios"),
            ("--seconds -1", "--seconds"),
            ("--fast", "unknown option --fast"),
        ] {
            assert_eq!(parsed(wrong).unwrap_err().to_string(), said);
        }
    }
}
