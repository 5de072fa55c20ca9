//! The crash harness: the real process with one data folder, load with all protocols at once, SIGKILL at any moment,
//! also during recovery. After each kill every acknowledged message must be there, exactly once where that was
//! promised, in order and undamaged, and nothing else.
//!
//! `CRASH_ROUNDS` and `CRASH_SEED` set rounds and seed; `cargo xtask crash` sets them. The seed decides what the
//! clients do, but not how the kernel schedules them, so a seed repeats the kind of run and not every byte of it.

pub mod amqp;
mod body;
mod dice;
mod findings;
mod flow;
mod ledger;
mod letters;
pub mod mqtt;
mod newest;
pub mod node;
mod queues;
mod replies;
mod routes;
mod sends;
mod sessions;
pub mod stomp;
mod topology;
mod transactions;
mod values;
pub mod wire;

use dice::Dice;
use findings::Findings;
use flow::{Books, Flow, Round};
use node::Node;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use wire::Stop;

/// Rounds in an ordinary test run.
const ROUNDS: u64 = 4;
/// A run ends after this many findings.
const ENOUGH: u64 = 20;
/// Rounds after which there was load of every kind.
const LONG: u64 = 100;
/// Milliseconds of load before a kill: lowest and highest.
const LOAD: (u64, u64) = (50, 1500);
/// Largest number of milliseconds from a start to a kill during recovery.
const RECOVERY: u64 = 60;
/// The figures are printed after every this many rounds.
const NEWS: u64 = 100;

#[test]
fn what_was_acknowledged_survives_sigkill_at_any_moment() {
    let (rounds, seed) = rounds_and_seed(ROUNDS);
    run(seed, rounds);
}

/// What the environment asks for, or this many rounds and a seed of the clock.
fn rounds_and_seed(rounds: u64) -> (u64, u64) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let chosen = clock.map_or(1, |time| time.as_nanos() as u64 % 1_000_000_000);
    (number("CRASH_ROUNDS").unwrap_or(rounds), number("CRASH_SEED").unwrap_or(chosen))
}

fn run(seed: u64, rounds: u64) {
    eprintln!("crash harness: seed {seed}, {rounds} rounds");
    let findings = Arc::new(Findings::new(seed));
    let mut dice = Dice::new(seed);
    let mut flows = flows(&findings, &dice);
    // Small segments are begun, sealed and trimmed often.
    let segment = if dice.chance(1, 2) { "8MiB" } else { "64MiB" };
    let node = Node::new(&["--set", &format!("store.segment_bytes={segment}")]);
    let node = node.with_routes(queues::ROUTES, "examples/xml-to-json.wasm");
    let start = Instant::now();
    for done in 1..=rounds {
        crash_in_recovery(&node, &findings, &mut dice);
        let load = Duration::from_millis(dice.range(LOAD.0, LOAD.1));
        if !round(&node, &findings, &mut flows, Load::Until(load)) || findings.count() >= ENOUGH {
            break;
        }
        findings.kills.one();
        if done % NEWS == 0 {
            eprintln!(
                "--- {done} rounds in {} s\n{}",
                start.elapsed().as_secs(),
                findings.figures()
            );
        }
    }
    round(&node, &findings, &mut flows, Load::Last { patient: rounds > ROUNDS });
    report_errors(&node, &findings);
    eprintln!(
        "crash harness: seed {seed}, {} s\n{}",
        start.elapsed().as_secs(),
        findings.figures()
    );
    if findings.count() > 0 {
        let kept = node.keep();
        panic!("{} findings, {kept}\n{}", findings.count(), findings.texts());
    }
    assert!(findings.confirmed.get() > 0 && findings.delivered.get() > 0, "there was no load");
    if rounds >= LONG {
        let kinds =
            [&findings.letters, &findings.waited, &findings.answers, &findings.answers_returned];
        let figures = findings.figures();
        assert!(
            kinds.iter().all(|kind| kind.get() > 0),
            "a long run has all kinds of load: {figures}"
        );
    }
}

fn flows(findings: &Arc<Findings>, dice: &Dice) -> Vec<Box<dyn Flow>> {
    let mut books = Books::new(findings.clone());
    let mut flows = queues::Queues::all(&mut books, dice);
    flows.push(Box::new(newest::Newest::new(&mut books, dice)));
    flows.extend(letters::Letters::all(&mut books, dice));
    flows.push(Box::new(replies::Replies::new(&mut books, dice)));
    flows.push(Box::new(topology::Topology::new(findings.clone(), dice)));
    flows.extend(transactions::Transactions::all(&mut books, dice));
    flows.extend(sessions::Sessions::all(&mut books, dice));
    flows.push(Box::new(values::Values::new(&mut books, dice)));
    flows.push(Box::new(values::Wills::new(&mut books, dice)));
    flows.push(Box::new(sends::Sends::new(&mut books, dice)));
    flows
}

/// In some rounds: starts the broker and kills it before it is ready or just after, several times in a row.
fn crash_in_recovery(node: &Node, findings: &Findings, dice: &mut Dice) {
    if !dice.chance(1, 3) {
        return;
    }
    for _ in 0..dice.range(1, 4) {
        findings.life.fetch_add(1, Ordering::Relaxed);
        let before_ready = node.spawn().kill_after(Duration::from_millis(dice.below(RECOVERY + 1)));
        findings.kills_in_recovery.add(before_ready.into());
    }
}

/// A SIGKILL damages nothing, so every ERROR line in the broker's log is a finding.
fn report_errors(node: &Node, findings: &Findings) {
    let news = node.news();
    let errors: Vec<&str> = news.lines().filter(|line| line.contains(" ERROR ")).collect();
    if let [first, ..] = errors.as_slice() {
        findings.report(&format!(
            "{} ERROR lines in the broker's log, the first: {first}",
            errors.len()
        ));
    }
    if news.contains("panicked at") {
        findings.report("the broker panicked");
    }
}

/// Every queue has to balance at any moment, also before and after all else is done.
fn report_imbalance(node: &Node, findings: &Findings) {
    if let Some(what) = node.imbalance() {
        findings.report(&format!("the audit of a running broker: {what}"));
    }
}

/// The kinds of round.
#[derive(Debug, Clone, Copy)]
enum Load {
    /// Load for this long, then a kill.
    Until(Duration),
    /// The last round, without a kill: everything is checked. `patient`: wait for things that the broker does late.
    Last { patient: bool },
}

/// Runs one life of the broker. False if it did not start.
fn round(node: &Node, findings: &Findings, flows: &mut [Box<dyn Flow>], load: Load) -> bool {
    let life = findings.life.fetch_add(1, Ordering::Relaxed) + 1;
    let mut process = node.spawn();
    let Some(ready) = process.ready() else {
        let tail: Vec<String> = node.log().lines().rev().take(10).map(str::to_owned).collect();
        findings.report(&format!("the broker did not start: {:?} {tail:?}", process.ended()));
        return false;
    };
    report_errors(node, findings);
    report_imbalance(node, findings);
    findings.recoveries.lock().expect("no holder panics").push(ready.took);
    let (amqp, mqtt, stomp) = (ready.amqp, ready.mqtt, ready.stomp);
    let (last, patient) = match load {
        Load::Until(_) => (false, false),
        Load::Last { patient } => (true, patient),
    };
    let round = Round { amqp, mqtt, stomp, life: life as u32, last, patient };
    std::thread::scope(|scope| {
        for flow in flows {
            scope.spawn(move || match flow.run(&round) {
                Err(Stop::Wrong(what)) => findings.report(&format!("{}: {what}", flow.name())),
                Err(Stop::Gone) if round.last => {
                    findings.report(&format!("{}: cut off", flow.name()))
                }
                _ => {}
            });
        }
        if let Load::Until(load) = load {
            std::thread::sleep(load);
            if let Some(code) = process.ended() {
                findings.report(&format!("the broker ended by itself with {code:?}"));
            }
            process.kill();
        }
    });
    if last {
        report_imbalance(node, findings);
    }
    true
}
