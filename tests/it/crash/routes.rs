//! Content routes under SIGKILL: random routes, queues and bindings; publishers of three kinds; and after some kills
//! all queues are emptied and compared with what the rules make of every message. What was confirmed is there exactly
//! as often as the rules say, what was refused is nowhere, and of what nobody knows there is all or nothing.

mod book;
mod load;
mod model;
mod plan;

use super::dice::Dice;
use super::findings::Findings;
use super::flow::Round;
use super::node::{Node, Process, Ready};
use super::wire::Stop;
use super::{ENOUGH, LOAD, crash_in_recovery, report_errors, report_imbalance, rounds_and_seed};
use book::{Book, Kinds};
use load::{CLIENTS, Load};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Rounds with one configuration; then comes another one, with a new data folder.
const ROUNDS_OF_ONE: u64 = 5;
/// Queues are emptied at the start of one round in so many.
const READS: u64 = 3;
/// Rounds after which messages of every kind were seen.
const LONG: u64 = 50;

#[test]
fn routes_account_for_every_message_under_sigkill() {
    let (rounds, seed) = rounds_and_seed(3);
    eprintln!("routes under SIGKILL: seed {seed}, {rounds} rounds");
    let findings = Arc::new(Findings::new(seed));
    let start = Instant::now();
    let mut texts = String::new();
    let mut kinds = Kinds::default();
    let mut done = 0;
    while done < rounds && findings.count() < ENOUGH {
        let count = ROUNDS_OF_ONE.min(rounds - done);
        let before = findings.count();
        let mut run = Run::new(&findings, &Dice::new(seed).fork(done));
        run.rounds(count);
        if findings.count() > before {
            let toml = run.toml();
            let kept = run.node.keep();
            texts += &format!("\nrounds {} to {}: {kept}\n{toml}", done + 1, done + count);
        }
        run.book.lock().expect("no holder panics").count(&mut kinds);
        done += count;
    }
    let seconds = start.elapsed().as_secs();
    eprintln!("routes under SIGKILL: seed {seed}, {seconds} s\n{}\n{kinds:?}", findings.figures());
    assert_eq!(findings.count(), 0, "{}{texts}", findings.texts());
    assert!(findings.confirmed.get() > 0 && findings.delivered.get() > 0, "there was no load");
    if rounds >= LONG {
        assert!(kinds.lacks_nothing(), "a long run has messages of every kind: {kinds:?}");
    }
}

/// One configuration and its data folder.
struct Run<'a> {
    node: Node,
    book: Mutex<Book>,
    findings: &'a Findings,
    dice: Dice,
}

impl<'a> Run<'a> {
    fn new(findings: &'a Arc<Findings>, dice: &Dice) -> Self {
        let mut dice = dice.fork(1);
        let plan = plan::draw(&mut dice);
        let segment = if dice.chance(1, 2) { "1MiB" } else { "64MiB" };
        let node = Node::new(&["--set", &format!("store.segment_bytes={segment}")]);
        let node = node.with_routes(&plan.toml(), "transforms/tests/misbehave.wasm");
        let book = Mutex::new(Book::new(plan, findings.clone()));
        Self { node, book, findings, dice }
    }

    fn toml(&self) -> String {
        self.book.lock().map(|book| book.plan.toml()).unwrap_or_default()
    }

    fn rounds(&mut self, count: u64) {
        for _ in 0..count {
            crash_in_recovery(&self.node, self.findings, &mut self.dice);
            let Some((mut process, round)) = self.start(false) else { return };
            if self.dice.chance(1, READS) {
                let keeps_full = self.dice.chance(1, 2);
                self.tell("the reader", load::read(&self.book, &round, keeps_full));
            }
            self.load(&mut process, round);
            self.findings.kills.one();
            if self.findings.count() >= ENOUGH {
                return;
            }
        }
        let Some((_process, round)) = self.start(true) else { return };
        self.tell("the last reader", load::read(&self.book, &round, false));
        report_imbalance(&self.node, self.findings);
        report_errors(&self.node, self.findings);
    }

    fn start(&self, last: bool) -> Option<(Process, Round)> {
        let life = self.findings.life.fetch_add(1, Ordering::Relaxed) + 1;
        let mut process = self.node.spawn();
        let Some(Ready { amqp, mqtt, stomp, took }) = process.ready() else {
            let log = self.node.log();
            let tail: Vec<&str> = log.lines().rev().take(10).collect();
            let ended = process.ended();
            self.findings.report(&format!("the broker did not start: {ended:?} {tail:?}"));
            return None;
        };
        report_errors(&self.node, self.findings);
        report_imbalance(&self.node, self.findings);
        self.findings.recoveries.lock().expect("no holder panics").push(took);
        Some((process, Round { amqp, mqtt, stomp, life: life as u32, last, patient: false }))
    }

    /// Load with all clients, then a kill.
    fn load(&mut self, process: &mut Process, round: Round) {
        let time = Duration::from_millis(self.dice.range(LOAD.0, LOAD.1));
        let number = self.dice.next();
        std::thread::scope(|scope| {
            for (at, client) in CLIENTS.into_iter().enumerate() {
                let dice = self.dice.fork(number.wrapping_add(at as u64));
                let load = Load::new(&self.book, dice, round);
                let findings = self.findings;
                scope.spawn(move || match load.run(client) {
                    Err(Stop::Wrong(what)) => findings.report(&format!("{client:?}: {what}")),
                    Err(Stop::Gone) | Ok(()) => {}
                });
            }
            std::thread::sleep(time);
            if let Some(code) = process.ended() {
                self.findings.report(&format!("the broker ended by itself with {code:?}"));
            }
            process.kill();
        });
    }

    fn tell(&self, who: &str, step: Result<(), Stop>) {
        match step {
            Ok(()) => {}
            Err(Stop::Gone) => self.findings.report(&format!("{who}: cut off")),
            Err(Stop::Wrong(what)) => self.findings.report(&format!("{who}: {what}")),
        }
    }
}

/// The configurations of a run are such as `crossdock check-config` accepts.
#[test]
fn the_routes_of_the_crash_harness_are_accepted() {
    let (rounds, seed) = rounds_and_seed(3);
    for number in (0..rounds).step_by(ROUNDS_OF_ONE as usize) {
        let plan = plan::draw(&mut Dice::new(seed).fork(number).fork(1));
        let folder = crate::broker::Folder::new();
        let file = folder.write("crash.toml", &plan.toml());
        let output = crate::broker::crossdock(&["check-config", &file.to_string_lossy()]).output();
        let output = output.expect("the binary is there");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "seed {seed}: {text}\n{}", plan.toml());
    }
}
