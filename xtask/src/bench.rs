//! `cargo xtask bench`: our broker and its peers, one after another on this machine, under the load generator of
//! benches/load. Brokers take turns, scenario by scenario and round by round; medians are compared. The figure to
//! compare is deliveries per second of the broker's CPU time: the generator shares the machine, so deliveries per
//! second depend on it as much as on the broker.

mod broker;
mod figures;
mod peers;
mod processes;
mod report;

use crate::{binary, cargo, command, target};
use anyhow::{Context, Result, bail, ensure};
use broker::{Folder, Running};
use figures::{Figures, Results};
pub use peers::Kind;
use std::path::PathBuf;
use std::process::ExitCode;

/// The text of `--help`.
pub const USAGE: &str = "\
cargo xtask bench [--peer rabbitmq|mosquitto|activemq|none]... [--scenario NAME]... [--rounds N]
                  [--quick] [--install]
      measure the broker and its peers; without --peer, all peers that are installed. The results of
      a run of all scenarios are written to docs/benchmarks/. --quick measures one round of one second each.
      --install installs the Debian packages of peers that are missing. Scenarios: start,
      prove-loss, and those that `crossdock-load --list` prints; 'amqp-fanout-*' means all that begin so.
      CROSSDOCK_BIN names a broker binary to use instead of building one";

/// The scenario that this program runs without the generator.
const START: &str = "start";
/// The scenario for which every broker is restarted before each round.
const IDLE: &str = "idle-mqtt";
/// The scenario that proves that the generator counts lost messages; run only if named.
const PROVE_LOSS: &str = "prove-loss";
/// Figures that must be 0 for our broker in every scenario.
const FAULTS: [&str; 6] = ["lost", "duplicated", "disordered", "foreign", "refused", "unconfirmed"];

/// The options of a run.
#[derive(Debug)]
struct Options {
    peers: Vec<Kind>,
    /// Names of scenarios; empty: all.
    scenarios: Vec<String>,
    rounds: usize,
    quick: bool,
    install: bool,
}

/// A scenario of the generator.
#[derive(Debug)]
pub struct Scenario {
    pub name: String,
    pub protocols: Vec<String>,
    pub about: String,
}

/// Everything that a run needs.
struct Bench {
    generator: PathBuf,
    broker: PathBuf,
    options: Options,
    folder: Folder,
}

/// Runs the benchmarks. Fails if our broker fails.
pub fn bench(arguments: &[&str]) -> Result<ExitCode> {
    let options = parse(arguments)?;
    let (generator, broker) = build()?;
    let scenarios = wanted(&list(&generator)?, &options)?;
    let bench = Bench { generator, broker, options, folder: Folder::new()? };
    let peers = bench.peers()?;
    let mut results = Results::default();
    for scenario in &scenarios {
        match scenario.name.as_str() {
            START => bench.starts(&peers, &mut results)?,
            _ => bench.scenario(scenario, &peers, &mut results)?,
        }
    }
    let complete = bench.options.scenarios.is_empty() && !bench.options.quick;
    report::report(&results, &scenarios, &bench.broker, complete)?;
    let faults = results.faults(Kind::Ours, &FAULTS);
    for fault in &faults {
        println!("our broker failed: {fault}");
    }
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(arguments: &[&str]) -> Result<Options> {
    let all = vec![Kind::RabbitMq, Kind::Mosquitto, Kind::ActiveMq];
    let mut options = Options {
        peers: Vec::new(),
        scenarios: Vec::new(),
        rounds: 3,
        quick: false,
        install: false,
    };
    let (mut named, mut rounds) = (false, None);
    let mut rest = arguments.iter();
    while let Some(option) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("{option} needs a value"));
        match *option {
            "--peer" => {
                named = true;
                match *value()? {
                    "none" => {}
                    name => options.peers.push(Kind::peer(name)?),
                }
            }
            "--scenario" => options.scenarios.push((*value()?).to_owned()),
            "--rounds" => rounds = Some(value()?.parse::<usize>().context("--rounds")?),
            "--quick" => options.quick = true,
            "--install" => options.install = true,
            _ => bail!("unknown option {option}\n{USAGE}"),
        }
    }
    if !named {
        options.peers = all;
    }
    options.rounds = rounds.unwrap_or(if options.quick { 1 } else { 3 });
    ensure!(options.rounds > 0, "--rounds is 0");
    Ok(options)
}

/// Builds the generator, and the broker unless CROSSDOCK_BIN names one.
fn build() -> Result<(PathBuf, PathBuf)> {
    let mut arguments = vec!["build", "--release", "--package", "crossdock-load"];
    let named = std::env::var_os("CROSSDOCK_BIN").map(PathBuf::from);
    if named.is_none() {
        arguments.extend(["--package", "crossdock", "--bins"]);
    }
    let status = cargo(&arguments).status().context("cargo cannot be run")?;
    ensure!(status.success(), "the broker and the generator could not be built");
    let generator = target().join("release").join("crossdock-load");
    Ok((generator, named.unwrap_or_else(binary)))
}

/// The generator's scenarios.
fn list(generator: &PathBuf) -> Result<Vec<Scenario>> {
    let output = command(generator, &["--list"]).output().context("the generator cannot be run")?;
    let text = String::from_utf8(output.stdout)?;
    let read = |line: &str| {
        let mut fields = line.split('\t').map(str::to_owned);
        let (name, protocols) = (fields.next()?, fields.next()?);
        let protocols = protocols.split(',').map(str::to_owned).collect();
        Some(Scenario { name, protocols, about: fields.next()? })
    };
    let start = Scenario {
        name: START.to_owned(),
        protocols: Vec::new(),
        about: "from the start to the last open port; memory one second later".to_owned(),
    };
    Ok([start].into_iter().chain(text.lines().filter_map(read)).collect())
}

fn wanted(all: &[Scenario], options: &Options) -> Result<Vec<Scenario>> {
    for name in &options.scenarios {
        let known = || all.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(" ");
        ensure!(
            all.iter().any(|s| is_meant(s, name)),
            "no scenario {name}; there are: {}",
            known()
        );
    }
    let is_wanted = |scenario: &&Scenario| match options.scenarios.as_slice() {
        [] => scenario.name != PROVE_LOSS,
        names => names.iter().any(|name| is_meant(scenario, name)),
    };
    let copy = |scenario: &Scenario| Scenario {
        name: scenario.name.clone(),
        protocols: scenario.protocols.clone(),
        about: scenario.about.clone(),
    };
    Ok(all.iter().filter(is_wanted).map(copy).collect())
}

/// Whether a name is the scenario's, or its beginning with a `*` behind it.
fn is_meant(scenario: &Scenario, name: &str) -> bool {
    match name.strip_suffix('*') {
        Some(beginning) => scenario.name.starts_with(beginning) && scenario.name != PROVE_LOSS,
        None => scenario.name == name,
    }
}

impl Bench {
    /// The peers that are installed or can be installed.
    fn peers(&self) -> Result<Vec<Kind>> {
        let mut found = Vec::new();
        for peer in &self.options.peers {
            match peer.missing() {
                Some(packages) if self.options.install => {
                    peers::install(&packages)?;
                    found.push(*peer);
                }
                Some(packages) => println!(
                    "{}: skipped, the Debian packages {} are not installed",
                    peer.name(),
                    packages.join(", ")
                ),
                None => found.push(*peer),
            }
        }
        Ok(found)
    }

    /// Measures the start of each broker, once in each round.
    fn starts(&self, peers: &[Kind], results: &mut Results) -> Result<()> {
        for kind in [Kind::Ours].iter().chain(peers) {
            for _ in 0..self.options.rounds {
                let figures =
                    Running::start(*kind, &self.broker, &self.folder).and_then(|running| {
                        Ok(Figures::from([
                            ("ready_ms".to_owned(), running.took.as_secs_f64() * 1e3),
                            ("rss_mib".to_owned(), running.resident_mib_at_rest()?),
                        ]))
                    });
                self.note(START, *kind, figures, results);
            }
        }
        Ok(())
    }

    /// Runs a scenario with every broker that supports it.
    fn scenario(&self, scenario: &Scenario, peers: &[Kind], results: &mut Results) -> Result<()> {
        let kinds: Vec<Kind> = match scenario.name.as_str() {
            // With its default limits, Mosquitto drops messages for a slow consumer.
            PROVE_LOSS => vec![Kind::Ours, Kind::MosquittoAsInstalled],
            "route-xml-to-json" => vec![Kind::Ours],
            _ => [Kind::Ours].iter().chain(peers).filter(|k| k.can(scenario)).copied().collect(),
        };
        if scenario.name == IDLE && self.options.rounds > 1 {
            // A broker reuses the memory of closed connections, so only the first connections after a start show
            // the memory of one.
            return (0..self.options.rounds)
                .try_for_each(|_| self.turns(scenario, (&kinds, 1), results));
        }
        self.turns(scenario, (&kinds, self.options.rounds), results)
    }

    /// Starts the brokers and lets them take turns.
    fn turns(
        &self,
        scenario: &Scenario,
        (kinds, rounds): (&[Kind], usize),
        results: &mut Results,
    ) -> Result<()> {
        let mut running = Vec::new();
        for kind in kinds.iter().copied() {
            let with = if scenario.name.starts_with("route-") { Kind::OursWithRoute } else { kind };
            match Running::start(with, &self.broker, &self.folder) {
                Ok(broker) => running.push((kind, broker)),
                Err(error) => self.note(&scenario.name, kind, Err(error), results),
            }
        }
        for _ in 0..rounds {
            for (kind, broker) in &running {
                self.note(&scenario.name, *kind, self.measure(scenario, broker), results);
            }
        }
        if scenario.name == PROVE_LOSS {
            let lost = results.median(PROVE_LOSS, Kind::MosquittoAsInstalled, "lost");
            ensure!(
                lost > Some(0.0),
                "the generator counted no lost messages, although this scenario loses some"
            );
            println!("{PROVE_LOSS}: {} messages lost, as expected", lost.unwrap_or_default());
        }
        Ok(())
    }

    fn measure(&self, scenario: &Scenario, broker: &Running) -> Result<Figures> {
        let mut generator = peers::limited(&self.generator, &[]);
        generator.args(["--pairs", "--scenario", &scenario.name]);
        generator.args(["--pid", &broker.pid().to_string()]);
        for (protocol, address) in &broker.addresses {
            generator.arg(format!("--{protocol}")).arg(address.to_string());
        }
        if self.options.quick {
            generator.args(["--seconds", "1", "--warm-up", "0.5"]);
        } else if broker.kind == Kind::ActiveMq {
            // A Java virtual machine needs time to compile its code.
            generator.args(["--warm-up", "5"]);
        }
        let output = generator.output().context("the generator cannot be run")?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        figures::parse(&String::from_utf8(output.stdout)?)
    }

    fn note(&self, scenario: &str, kind: Kind, figures: Result<Figures>, results: &mut Results) {
        match &figures {
            Ok(figures) => println!("{scenario}: {}: {}", kind.name(), figures::brief(figures)),
            Err(error) => println!("{scenario}: {}: {error:#}", kind.name()),
        }
        results.add(scenario, kind, figures.map_err(|error| format!("{error:#}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_or_named() {
        let plain = parse(&[]).unwrap();
        assert_eq!((plain.peers.len(), plain.rounds), (3, 3));
        let quick = parse(&["--quick", "--peer", "none", "--scenario", "start"]).unwrap();
        assert_eq!((quick.peers.len(), quick.rounds), (0, 1));
        assert!(parse(&["--peer", "artemis"]).is_err());
        assert!(parse(&["--rounds", "0"]).is_err());
        assert!(parse(&["--fast"]).is_err());
    }

    #[test]
    fn the_proof_of_loss_is_run_only_if_it_is_asked_for() {
        let scenario = |name: &str| Scenario {
            name: name.to_owned(),
            protocols: Vec::new(),
            about: String::new(),
        };
        let all = [scenario("a-1"), scenario("a-2"), scenario(PROVE_LOSS)];
        let names = |arguments: &[&str]| {
            let scenarios = wanted(&all, &parse(arguments).unwrap());
            scenarios.map(|all| all.into_iter().map(|s| s.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap(), ["a-1", "a-2"]);
        assert_eq!(names(&["--scenario", "a-*"]).unwrap(), ["a-1", "a-2"]);
        assert_eq!(names(&["--scenario", "*2"]).ok(), None);
        assert_eq!(names(&["--scenario", "*"]).unwrap(), ["a-1", "a-2"]);
        assert_eq!(names(&["--scenario", PROVE_LOSS]).unwrap(), [PROVE_LOSS]);
        assert!(names(&["--scenario", "b"]).is_err());
    }
}
