//! A start costs what was stored, and what is gone costs nothing but its reading.

use crate::bindings::here;
use crate::bindings::stage::{self, Client, Stage, topic};
use crate::measure::{cpu_time, grows_linearly};
use crossdock_core::memory::MemoryStore;
use crossdock_core::*;
use std::time::{Duration, Instant};

/// Everything stays in the journal, and there may be much of it.
fn settings() -> Settings {
    Settings { snapshot_bytes: usize::MAX, memory_high: 16 << 30, ..Settings::default() }
}

/// Bytes of memory that this process takes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("a Linux kernel");
    let pages = text.split_whitespace().nth(1).and_then(|word| word.parse::<usize>().ok());
    pages.expect("a number of pages") << 12
}

async fn open(store: MemoryStore) -> Stage {
    Stage::with(store, settings(), Vec::new()).await
}

/// CPU time of a start on what `fill` stored.
fn start(fill: impl AsyncFnOnce(&Stage, &mut Client)) -> Duration {
    here(async {
        let stage = open(MemoryStore::default()).await;
        let mut client = stage.client().await;
        fill(&stage, &mut client).await;
        let store = stage.store.crashed();
        let before = cpu_time();
        let started = open(store).await;
        let took = cpu_time().saturating_sub(before);
        drop(started);
        took
    })
}

async fn declare(client: &mut Client, n: usize) {
    for i in 0..n {
        client.declare(QueueSpec::durable(&*format!("q{i}"))).await;
    }
}

#[test]
fn a_start_with_many_bindings() {
    for kind in [Kind::Direct, Kind::Fanout, Kind::Topic, Kind::Headers] {
        grows_linearly(&format!("a start with bindings of one {kind:?} exchange"), 400, |n| {
            start(async |_: &Stage, client: &mut Client| {
                client.session.declare_exchange(ExchangeSpec::new("x", kind)).await.expect("made");
                client.declare(QueueSpec::durable("q")).await;
                for i in 0..n {
                    client.bind("x", &format!("k{i}"), "q").await;
                }
            })
        });
    }
}

#[test]
fn a_start_with_many_queues_on_one_fanout() {
    grows_linearly("a start with queues of one fanout", 1_000, |n| {
        start(async |_: &Stage, client: &mut Client| {
            declare(client, n).await;
            for i in 0..n {
                client.bind("amq.fanout", "", &format!("q{i}")).await;
            }
        })
    });
}

#[test]
fn a_start_with_many_exchanges_that_are_bound_and_gone() {
    grows_linearly("a start with exchanges", 700, |n| {
        start(async |_: &Stage, client: &mut Client| {
            for i in 0..n {
                let spec = ExchangeSpec::new(format!("x{i}"), Kind::Fanout);
                client.session.declare_exchange(spec).await.expect("made");
                let to = BindTarget::Exchange(format!("x{i}").into());
                let bind = Bind::new("amq.fanout", "".into(), to);
                client.session.bind(bind).await.expect("bound");
            }
            for i in 0..n / 2 {
                let name = format!("x{}", 2 * i);
                client.session.delete_exchange(&name, false).await.expect("gone");
            }
        })
    });
}

#[test]
fn a_start_with_many_sessions() {
    grows_linearly("a start with sessions", 500, |n| {
        start(async |stage: &Stage, _: &mut Client| sessions(stage, n).await)
    });
}

#[test]
fn what_came_and_went_again_and_again_takes_linear_time() {
    grows_linearly("a start with the same names declared, bound and deleted", 700, |n| {
        start(async |_: &Stage, client: &mut Client| {
            client.declare(QueueSpec::durable("stays")).await;
            for _ in 0..n {
                client.declare(QueueSpec::durable("q")).await;
                client.bind("amq.fanout", "", "q").await;
                client.bind("amq.fanout", "", "stays").await;
                client.session.delete_queue("q", false, false).await.expect("gone");
            }
        })
    });
}

/// Sessions that outlive their connections, with three subscriptions each.
async fn sessions(stage: &Stage, n: usize) {
    for i in 0..n {
        let mut client = stage.named(&format!("client-{i}"), false, SessionLife::Forever).await;
        for s in 0..3 {
            client.subscribe(&format!("plant/{i}/line/{s}"), 1).await;
        }
    }
}

async fn set_values(client: &mut Client, n: usize) {
    for i in 0..n {
        client.put(topic(&format!("plant/{}/value/{}", i % 10, i)), "21.5", |meta| {
            stage::at_level_1(meta);
            meta.retain = true;
        });
    }
    client.session.flush();
    // It is stored behind them.
    client.declare(QueueSpec::durable("last")).await;
}

#[tokio::test]
async fn what_is_kept_counts_the_same_after_a_start() {
    let stage = open(MemoryStore::default()).await;
    let mut client = stage.client().await;
    declare(&mut client, 10).await;
    client.session.declare_exchange(ExchangeSpec::new("x", Kind::Headers)).await.expect("made");
    client.session.declare_exchange(ExchangeSpec::new("gone", Kind::Topic)).await.expect("made");
    for i in 0..300 {
        let sources = ["amq.direct", stage::TOPICS, "amq.fanout", "x", "gone"];
        client.bind(sources[i % 5], &format!("key/{i}"), &format!("q{}", i % 10)).await;
    }
    client.session.delete_exchange("gone", false).await.expect("gone");
    client.session.delete_queue("q1", false, false).await.expect("gone");
    set_values(&mut client, 100).await;
    client.put(topic("plant/1/value/1"), "", |meta| meta.retain = true);
    client.put(topic("plant/2/value/2"), "a longer one", |meta| meta.retain = true);
    set_values(&mut client, 0).await;
    drop(client);
    let before = stage.broker.memory_kept();
    let started = open(stage.store.crashed()).await;
    assert_eq!(started.broker.memory_kept(), before);
}

#[test]
fn a_start_with_an_exchange_that_is_deleted_and_bound_again_and_again() {
    grows_linearly("a start with deleted exchanges", 300, |n| {
        start(async |_: &Stage, client: &mut Client| {
            client.declare(QueueSpec::durable("q")).await;
            for i in 0..n {
                let spec = ExchangeSpec::new("x", Kind::Direct);
                client.session.declare_exchange(spec).await.expect("made");
                for key in 0..4 {
                    client.bind("x", &format!("k{i}-{key}"), "q").await;
                }
                client.session.delete_exchange("x", false).await.expect("gone");
            }
        })
    });
}

/// How many of each there are: a hundredth of what tests/it/floods/start.rs starts the program with.
const BINDINGS: usize = 2_000;
const SESSIONS: usize = 1_000;
const VALUES: usize = 10_000;

async fn bindings(client: &mut Client) {
    declare(client, 1_000).await;
    for i in 0..BINDINGS {
        let source = if i % 2 == 0 { "amq.direct" } else { stage::TOPICS };
        client.bind(source, &format!("key/{}/{i}", i % 777), &format!("q{}", i % 1_000)).await;
    }
}

async fn values(client: &mut Client) {
    for i in 0..VALUES {
        // Not in order.
        let key = i.wrapping_mul(7_919) % VALUES;
        let address = topic(&format!("plant/{}/value/{key}", key % 1_000));
        client.put(address, "21.5", |meta| {
            stage::at_level_1(meta);
            meta.retain = true;
        });
        if i % 1_000 == 999 {
            client.session.flush();
            client.session.declare_queue(QueueSpec::durable("q0")).await.expect("declared");
            client.events().await;
        }
    }
}

/// Time of a start, that part of it which its own thread worked, and how much more memory the process takes then.
fn measured(fill: impl AsyncFnOnce(&Stage, &mut Client)) {
    here(async {
        let stage = open(MemoryStore::default()).await;
        let mut client = stage.client().await;
        fill(&stage, &mut client).await;
        let store = stage.store.crashed();
        let (before, cpu, resident) = (Instant::now(), cpu_time(), self::resident());
        let started = open(store).await;
        let (took, cpu) = (before.elapsed(), cpu_time().saturating_sub(cpu));
        let grown = self::resident().saturating_sub(resident) >> 20;
        println!("{took:?}, {cpu:?} of CPU on one thread, {grown} MiB");
        assert!(cpu < std::time::Duration::from_secs(3), "a start took {cpu:?} of CPU");
        drop(started);
    });
}

#[test]
fn a_start_with_a_lot_of_bindings() {
    measured(async |_: &Stage, client: &mut Client| bindings(client).await);
}

#[test]
fn a_start_with_a_lot_of_sessions() {
    measured(async |stage: &Stage, _: &mut Client| sessions(stage, SESSIONS).await);
}

#[test]
fn a_start_with_a_lot_of_values() {
    measured(async |_: &Stage, client: &mut Client| values(client).await);
}
