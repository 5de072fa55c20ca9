//! Content routes, accounted for by seed: every copy of every message is found exactly where and as often as the rules
//! say, and every publisher was told what the rules say.
//!
//! A seed draws exchanges, queues, routes and publishes (`plan`). What each route does to each message follows from the
//! seed (`acts`). The real broker plays it (`play`), and the rules on lists say what has to come out (`model`). Outputs
//! keep the body and append the route's name, so each copy tells its way.
//!
//! `ROUTE_SEEDS` sets how many seeds run, `ROUTE_SEED` runs one and prints it.

mod acts;
mod model;
mod plan;
mod play;

use crossdock_core::ErrorKind;
use crossdock_core::transform::Mode;
use model::{Model, No, Told};
use plan::{Plan, Put, Step};
use play::{Heard, Seen};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What the rules say about a plan.
struct Due {
    told: BTreeMap<u32, (Told, Put)>,
    commits: Vec<bool>,
    before: Vec<(String, String)>,
    after: Vec<(String, String)>,
    /// Not to be compared before everything had room.
    open: BTreeSet<u32>,
    loose: BTreeMap<u32, bool>,
    partial: BTreeMap<u32, Vec<String>>,
    far: BTreeSet<u32>,
    attempts: BTreeMap<(usize, String), Option<u32>>,
    held: usize,
    /// Routes that held something before everything had room.
    holding: BTreeSet<usize>,
}

/// Or the number of a step without which the plan would do.
fn due(plan: &Plan) -> Result<Due, usize> {
    let mut model = Model::new(plan);
    let (mut told, mut commits) = (BTreeMap::new(), Vec::new());
    for (at, step) in plan.steps.iter().enumerate() {
        let deletes = matches!(step, Step::DeleteQueue(_) | Step::DeleteExchange(_));
        if deletes && model.held() > 0 {
            // Whether a message waits behind a held one of its source depends on which came first: the
            // model cannot say whether a later deletion meets it.
            return Err(at);
        }
        match step {
            Step::Publish(puts) => {
                for put in puts {
                    told.insert(put.id, (model.publish(put), put.clone()));
                }
            }
            Step::Transaction(puts, true) => commits.push(model.commit(puts)),
            Step::Transaction(_, false) => {}
            Step::Will(put) | Step::Delayed(put) => _ = model.publish(put),
            Step::DeleteQueue(name) => model.delete_queue(name),
            Step::DeleteExchange(name) => model.delete_exchange(name),
        }
        if model.is_too_much() {
            return Err(at);
        }
    }
    let before = model.contents.clone();
    let (open, held, holding) = (model.open_ids(), model.held(), model.holding());
    model.relieve();
    if model.is_too_much() {
        return Err(plan.steps.len() - 1);
    }
    Ok(Due {
        told,
        commits,
        before,
        after: model.contents,
        open,
        loose: model.refused_unconfirmed,
        partial: model.partial,
        far: model.far,
        attempts: model.attempts,
        held,
        holding,
    })
}

/// The seed's plan without steps that multiply messages too much or whose outcome is not determined.
fn plan_of(seed: u64) -> (Plan, Due) {
    let mut plan = plan::draw(seed);
    loop {
        match due(&plan) {
            Ok(due) => return (plan, due),
            Err(step) => _ = plan.steps.remove(step),
        }
    }
}

fn run(plan: &Plan) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(play::play(Arc::new(plan.clone())))
}

fn fits(told: &Told, heard: &Heard) -> bool {
    match (told, heard) {
        (Told::Stored | Told::StoredOrUnroutable | Told::StoredOrNo, Heard::Stored) => true,
        (Told::StoredOrNo, Heard::Refused(_) | Heard::Unroutable) => true,
        (Told::Unroutable | Told::StoredOrUnroutable, Heard::Unroutable) => true,
        (Told::No(No::Full), Heard::Refused(kind)) => *kind == ErrorKind::Full,
        // One route says no, and another one's output or dead letter has no place: either may be told.
        (Told::No(No::Invalid), Heard::Refused(kind)) => {
            // Without a word for "no" it is told as if it were not possible now.
            let invalid = [ErrorKind::Invalid, ErrorKind::Full, ErrorKind::Unroutable];
            invalid.contains(kind) || *kind == ErrorKind::Unavailable
        }
        (Told::No(No::Invalid), Heard::Unroutable) => true,
        (Told::No(No::NotFound), Heard::Refused(kind)) => *kind == ErrorKind::NotFound,
        (Told::No(No::Unheard), Heard::Refused(_) | Heard::Unroutable) => true,
        _ => false,
    }
}

type Copies = Vec<(String, String)>;

/// What is in one list and not in the other.
fn differences(due: &Copies, seen: &Copies, skip: impl Fn(u32) -> bool) -> Vec<String> {
    let mut counts: BTreeMap<&(String, String), i64> = BTreeMap::new();
    let counted = |copy: &&(String, String)| !skip(acts::id_of(&copy.1));
    due.iter().filter(counted).for_each(|copy| *counts.entry(copy).or_default() += 1);
    seen.iter().filter(counted).for_each(|copy| *counts.entry(copy).or_default() -= 1);
    let wrong = counts.into_iter().filter(|(_, n)| *n != 0);
    wrong
        .map(|((queue, body), n)| match n > 0 {
            true => format!("{n} x missing: [{body}] in {queue}"),
            false => format!("{} x too many: [{body}] in {queue}", -n),
        })
        .collect()
}

fn compare(plan: &Plan, due: &Due, seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    for (id, (told, put)) in &due.told {
        if due.far.contains(id) {
            continue;
        }
        if let Some(heard) = seen.confirms.get(id) {
            if !fits(told, heard) {
                wrong.push(format!("{id}: its publisher should hear {told:?} and heard {heard:?}"));
            }
        } else if put.confirm {
            wrong.push(format!("{id}: no confirm"));
        } else {
            let returned = seen.returned.contains(id);
            let has_to = put.mandatory && *told == Told::Unroutable;
            let may = put.mandatory
                && matches!(
                    told,
                    Told::StoredOrUnroutable | Told::StoredOrNo | Told::No(No::Unheard)
                );
            if returned != has_to && !may {
                wrong.push(format!("{id}: returned {returned}, told {told:?}"));
            }
        }
    }
    if due.commits != seen.commits {
        wrong.push(format!("commits: {:?}, and there were {:?}", due.commits, seen.commits));
    }
    let loose = |id: u32| {
        let is_refused = due.loose.contains_key(&id) || due.partial.contains_key(&id);
        is_refused || due.far.contains(&id)
    };
    let open = |id: u32| loose(id) || due.open.contains(&id);
    wrong
        .extend(differences(&due.before, &seen.before, open).iter().map(|w| format!("first: {w}")));
    wrong.extend(differences(&due.after, &seen.after, loose).iter().map(|w| format!("last: {w}")));
    compare_loose(due, seen, &mut wrong);
    compare_far(due, seen, &mut wrong);
    compare_partial(due, seen, &mut wrong);
    compare_attempts(plan, due, seen, &mut wrong);
    compare_order(plan, due, seen, &mut wrong);
    wrong
}

const DEAD_QUEUES: [&str; 4] = [plan::DEAD, plan::OWN_DEAD, "heard", "late-taker"];

/// Refused and without a confirm: one dead letter where there is room for it, and nothing else.
fn compare_loose(due: &Due, seen: &Seen, wrong: &mut Vec<String>) {
    for (id, must) in due.loose.iter().filter(|(id, _)| !due.far.contains(id)) {
        let copies: Vec<_> = seen.after.iter().filter(|(_, b)| acts::id_of(b) == *id).collect();
        let misplaced = copies.iter().any(|(queue, _)| !DEAD_QUEUES.contains(&queue.as_str()));
        if copies.len() > 1 || misplaced || *must && copies.is_empty() {
            wrong.push(format!("{id}: refused without a confirm, and then: {copies:?}"));
        }
    }
}

/// What went through too many routes is dead-lettered at least once, by one of the routes that wanted it.
fn compare_far(due: &Due, seen: &Seen, wrong: &mut Vec<String>) {
    let dead = |copies: &Copies| -> BTreeSet<u32> {
        let far = copies.iter().filter(|(_, body)| body.ends_with(":hops"));
        far.map(|(_, body)| acts::id_of(body)).collect()
    };
    let told_no = |id: &u32| seen.confirms.get(id).is_some_and(|heard| *heard != Heard::Stored);
    for id in dead(&due.after).difference(&dead(&seen.after)).filter(|id| !told_no(id)) {
        wrong.push(format!("{id} went through too many routes, and is no dead letter"));
    }
}

/// Without a content route, the queues of one publish are full each for itself.
fn compare_partial(due: &Due, seen: &Seen, wrong: &mut Vec<String>) {
    for (id, queues) in &due.partial {
        let copies: Vec<_> = seen.after.iter().filter(|(_, b)| acts::id_of(b) == *id).collect();
        let is_one = |q: &String| copies.iter().filter(|(queue, _)| queue == q).count() <= 1;
        // Publishers without a word for "no" may find it there.
        let may_be_dead = due.told.get(id).is_none_or(|(_, put)| !put.confirm || !put.can_refuse);
        let is_dead = |q: &str| may_be_dead && DEAD_QUEUES.contains(&q);
        let is_due = |q: &str, body: &str| {
            (queues.iter().any(|due| due == q) || is_dead(q)) && *body == id.to_string()
        };
        let all_due = copies.iter().all(|(queue, body)| is_due(queue, body));
        if !queues.iter().all(is_one) || !all_due {
            wrong.push(format!("{id}: refused by one of {queues:?}, and then: {copies:?}"));
        }
    }
}

/// Attempts count from 0; failures of the step's own word are not tried again. What waits behind another message may be
/// asked again when it has its turn: that is the same attempt.
fn compare_attempts(plan: &Plan, due: &Due, seen: &Seen, wrong: &mut Vec<String>) {
    for ((route, body), count) in &due.attempts {
        let Some(count) = count.filter(|_| plan.routes[*route].queued) else { continue };
        let attempts = seen.attempts.get(&(*route, body.clone())).cloned().unwrap_or_default();
        let numbers: BTreeSet<u32> = attempts.iter().copied().collect();
        if !numbers.iter().copied().eq(0..count) && !due.holding.contains(route) {
            wrong.push(format!("r{route} [{body}]: {count} attempts, and there were {attempts:?}"));
        }
    }
}

/// What came through one route that keeps the order, from one source to one queue, is in the order of publishing.
fn compare_order(plan: &Plan, due: &Due, seen: &Seen, wrong: &mut Vec<String>) {
    // What comes to it from another queue may have lost its order there.
    let is_alone = |r: usize| {
        let mut others = plan.routes.iter().enumerate().filter(|(other, _)| *other != r);
        others.all(|(_, route)| !route.queued || route.mode == Mode::Tap)
    };
    for (r, _) in plan.routes.iter().enumerate().filter(|(r, route)| route.strict && is_alone(*r)) {
        let mut last: BTreeMap<(&str, String), u32> = BTreeMap::new();
        let through = |body: &str| {
            let mut words = body.split(' ').skip(1);
            let first = words.next().is_some_and(|w| w.starts_with(&format!("r{r}.")));
            first && words.next().is_none()
        };
        // A session gets transient messages at once: they may overtake durable ones.
        let in_queues = seen.before.iter().filter(|(queue, _)| queue != plan::SESSION);
        for (queue, body) in in_queues.filter(|(_, body)| through(body)) {
            let id = acts::id_of(body);
            let Some((_, put)) = due.told.get(&id) else { continue };
            let before = last.insert((queue, put.to.to_string()), id).unwrap_or(0);
            if before > id {
                wrong
                    .push(format!("r{r} keeps the order, and in {queue} {id} came after {before}"));
            }
        }
    }
}

/// The number of seeds, and one alone.
fn asked() -> (u64, Option<u64>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    (number("ROUTE_SEEDS").unwrap_or(1000), number("ROUTE_SEED"))
}

#[derive(Default)]
struct Totals {
    copies: AtomicU64,
    held: AtomicU64,
    refused: AtomicU64,
}

fn check(seed: u64, totals: &Totals) -> Result<(), String> {
    let (plan, due) = plan_of(seed);
    let seen = run(&plan);
    totals.copies.fetch_add(seen.after.len() as u64, Ordering::Relaxed);
    totals.held.fetch_add(due.held as u64, Ordering::Relaxed);
    let refused = due.told.values().filter(|(told, _)| matches!(told, Told::No(_))).count();
    totals.refused.fetch_add(refused as u64, Ordering::Relaxed);
    let wrong = compare(&plan, &due, &seen);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("seed {seed}:\n  {}", wrong.join("\n  ")))
}

fn caught(seed: u64, totals: &Totals) -> Result<(), String> {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(seed, totals)));
    result.unwrap_or_else(|_| Err(format!("seed {seed}: panicked")))
}

fn show(plan: &Plan) {
    println!("dead letters {:?}, own {:?}", plan.dead, plan.own_dead);
    println!("hops {}, restarts {}", plan.hops, plan.restarts);
    plan.bindings.iter().for_each(|b| println!("{b:?}"));
    plan.routes.iter().enumerate().for_each(|(r, route)| println!("r{r}: {route:?}"));
    plan.steps.iter().for_each(|step| println!("{step:?}"));
}

#[test]
fn every_copy_is_accounted_for() {
    let (seeds, one) = asked();
    let totals = Totals::default();
    if let Some(seed) = one {
        let (plan, _) = plan_of(seed);
        show(&plan);
        for (route, body) in run(&plan).attempts.into_keys() {
            println!("r{route} [{body}]: {:?}", acts::course(&plan, route, &body));
        }
        caught(seed, &totals).unwrap_or_else(|wrong| panic!("{wrong}"));
        return;
    }
    let next = AtomicU64::new(1);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(seed) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).filter(|s| *s <= seeds)
                {
                    if let Err(wrong) = caught(seed, &totals) {
                        failures.lock().expect("not poisoned").push((seed, wrong));
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("not poisoned");
    failures.sort();
    let Totals { copies, held, refused } = totals;
    println!(
        "{seeds} seeds: {copies:?} copies, {held:?} inputs held back, {refused:?} publishes refused"
    );
    let shown: Vec<&str> = failures.iter().take(10).map(|(_, wrong)| wrong.as_str()).collect();
    assert!(failures.is_empty(), "{} of {seeds} seeds:\n{}", failures.len(), shown.join("\n"));
}

/// What the seam says: an attempt's number is one more after each failure and after each wish to be called again.
#[test]
fn a_wish_to_be_called_again_counts_as_an_attempt() {
    let mut checked = 0;
    for seed in 1..1000 {
        let (plan, due) = plan_of(seed);
        let seen = run(&plan);
        for ((route, body), attempts) in &seen.attempts {
            let course = acts::course(&plan, *route, body);
            let is_plain = (1..10).contains(&course.again) && !due.holding.contains(route);
            if is_plain && course.act == acts::Act::Pass {
                let numbers: BTreeSet<u32> = attempts.iter().copied().collect();
                let want: BTreeSet<u32> = (0..=course.again).collect();
                assert_eq!(numbers, want, "seed {seed}, r{route} [{body}]");
                checked += 1;
            }
        }
    }
    assert!(checked > 10, "{checked} are too few to tell");
}

#[test]
fn a_seed_is_a_history() {
    let digest = |seed: u64| {
        let (plan, _) = plan_of(seed);
        let mut seen = run(&plan);
        // Workers of one route overtake each other: only what there is counts, not its order.
        seen.before.sort();
        seen.after.sort();
        format!("{plan:?} {seen:?}")
    };
    for seed in [1, 2, 3, 11, 12] {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
    }
    assert_ne!(digest(1), digest(2));
}
