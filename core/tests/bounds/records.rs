//! Records: what they take in memory is counted, and can leave it, also when their messages are small, and when
//! consumers have them.

use crate::consumers::stage::{Client, Stage, until};
use crate::measure::grows_linearly;
use crossdock_core::memory::MemoryStore;
use crossdock_core::*;
use std::process::Command;

const CHILD: &str = "CROSSDOCK_RECORDS_CHILD";

/// Bytes that this process takes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("a Linux kernel");
    let pages = text.split_whitespace().nth(1).and_then(|word| word.parse::<usize>().ok());
    pages.expect("pages") * 4096
}

/// Many copies of few messages: `count` messages of one byte in each of these queues.
async fn fill(c: &mut Client, key: &str, count: usize, durable: bool) {
    let all = Address::new("amq.direct".into(), key.into());
    for n in 1..=count {
        let last = c.put(all.clone(), "x", |meta| meta.durable = durable);
        if n % 50 == 0 || n == count {
            c.session.flush();
            c.confirmed(last).await;
        }
    }
}

async fn declare(c: &mut Client, name: &str, count: usize) {
    for n in 0..count {
        c.declare(QueueSpec::durable(format!("{name}{n}"))).await;
        c.bind("amq.direct", name, &format!("{name}{n}")).await;
    }
}

/// In a process of its own: others would be measured with it.
#[test]
fn what_records_take_is_counted() {
    if std::env::var(CHILD).is_err() {
        let test = "records::what_records_take_is_counted";
        let program = std::env::current_exe().expect("a program");
        let status = Command::new(program).args(["--exact", test]).env(CHILD, "1").status();
        assert!(status.expect("it runs").success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let settings =
            Settings { memory_resident: 4 << 30, memory_high: 8 << 30, ..Settings::default() };
        let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
        let mut c = stage.client().await;
        declare(&mut c, "transient", 500).await;
        declare(&mut c, "durable", 500).await;
        for (key, count, durable) in [("transient", 400, false), ("durable", 50, true)] {
            let (before, counted) = (resident(), stage.broker.memory_used());
            fill(&mut c, key, count, durable).await;
            let (rise, rise_counted) = (resident() - before, stage.broker.memory_used() - counted);
            assert!(rise_counted * 2 >= rise, "{key}: {rise_counted} of {rise} bytes are counted");
            assert!(rise_counted <= rise * 2, "{key}: {rise_counted} of {rise} bytes are counted");
        }
        c.session.delete_queue("transient0", false, false).await.expect("deleted");
    });
}

fn small(memory_resident: usize, memory_high: usize) -> Settings {
    Settings { memory_resident, memory_high, ..Settings::default() }
}

#[tokio::test]
async fn small_messages_leave_memory_and_their_pages_come_to_rest() {
    let stage = Stage::with(MemoryStore::default(), small(300_000, 64 << 20), Vec::new()).await;
    let mut c = stage.client().await;
    declare(&mut c, "q", 10).await;
    fill(&mut c, "q", 1_000, true).await;
    until("they are at rest", || stage.broker.memory_used() < 300_000).await;
    // The last page of each queue grows on, and everything comes in its order.
    fill(&mut c, "q", 100, true).await;
    c.consume("q3", 100, true).await;
    for _ in 0..11 {
        let got = c.take(100).await;
        c.settle(&got, Outcome::Accepted);
    }
    assert_eq!((c.ready("q3"), c.ready("q4")), (0, 1_100));
}

#[tokio::test]
async fn what_a_consumer_does_not_settle_leaves_memory_and_comes_back() {
    for durable in [true, false] {
        // What is transient leaves when publishers are held back only.
        let settings = if durable { small(100_000, 64 << 20) } else { small(100_000, 300_000) };
        let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
        let mut c = stage.client().await;
        c.declare(QueueSpec::durable("q")).await;
        let consumer = c.consume("q", 4_000, true).await;
        let mut got = Vec::new();
        for n in 0..40 {
            for m in 0..50 {
                c.put(Address::queue("q"), &(n * 50 + m).to_string(), |meta| {
                    meta.durable = durable
                });
            }
            c.session.flush();
            got.extend(c.take(50).await.into_iter().map(|d| (d.consumer, d.offset)));
        }
        until("they leave memory", || stage.broker.memory_used() < 291_000).await;
        let (settled, back) = got.split_at(1_000);
        for (consumer, offset) in settled {
            assert_eq!(c.session.settle(c.lane, *consumer, &[*offset], Outcome::Accepted), 1);
        }
        c.session.flush();
        c.session.detach(consumer, OnDetach::Return).await;
        c.consume("q", 4_000, true).await;
        let again = c.take(back.len()).await;
        let bodies = crate::consumers::stage::bodies(&again);
        assert_eq!(bodies, (1_000..2_000).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(again.iter().all(|d| d.redelivered && d.attempts == 0));
        c.settle(&again, Outcome::Accepted);
        assert_eq!(c.ready("q"), 0);
    }
}

#[test]
fn looking_for_what_can_leave() {
    use crossdock_core::exchange::{LogId, Tags};
    use crossdock_core::log::Place;
    use crossdock_core::subscription::{Arrival, Rules, Subscription};
    // Passes over records that were looked at and cannot leave cost nothing.
    grows_linearly("n passes over n records", 10_000, |n| {
        let mut sub = Subscription::new(LogId(1), Rules::default());
        let meta = Meta::new(std::sync::Arc::default(), Timestamp(1));
        let message =
            Message::from_fields(Address::queue("q"), meta, &Fields::default(), Default::default());
        let mut offsets = Vec::new();
        for _ in 0..n {
            let arrival = Arrival {
                message: message.clone(),
                tags: Tags::default(),
                durable: false,
                by: CameBy::Publish,
            };
            offsets.push(sub.append(arrival, Timestamp(1)));
        }
        crate::measure::timed(|| {
            (0..n).for_each(|_| assert_eq!(sub.evict(0, 0).0, 0));
            for offset in &offsets {
                assert!(sub.spilled(*offset, Place { pos: 1 + offset.0, index: 0 }));
            }
            assert!(sub.evict(0, 0).0 > 0 && !sub.log.has_hot());
            (0..n).for_each(|_| assert_eq!(sub.evict(0, 0).0, 0));
        })
    });
}

#[tokio::test]
async fn purging_and_expiring_much_goes_in_slices() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    declare(&mut c, "q", 1).await;
    c.consume("q0", 10, true).await;
    fill(&mut c, "q", 10_000, false).await;
    assert_eq!(c.session.purge("q0").await.expect("purged"), 9_990);
    assert_eq!((c.ready("q0"), c.take(10).await.len()), (0, 10));
    let ttl = crate::consumers::stage::queue("short", &[("x-message-ttl", Value::I64(1))]);
    c.declare(ttl).await;
    for _ in 0..5_000 {
        c.put(Address::queue("short"), "x", |_| {});
    }
    c.session.flush();
    until("all are expired", || c.ready("short") == 0).await;
    until("their memory is free", || stage.broker.memory_used() < 1 << 20).await;
}
