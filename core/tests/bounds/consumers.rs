//! Consumers: attaching, giving, settling and leaving take as long as they are about, however many others there are.

use crate::measure::{grows_linearly, timed};
use bytes::Bytes;
use crossdock_core::exchange::{LogId, Tags};
use crossdock_core::log::{Offset, Place};
use crossdock_core::subscription::{
    Arrival, Attached, Effects, Handle, Pool, Rules, Serves, Subscription,
};
use crossdock_core::*;
use smallvec::smallvec;
use stage::{Client, Stage};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use crate::stage;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A queue without a shell.
struct Bare {
    sub: Subscription,
    effects: Effects,
}

impl Bare {
    fn new(rules: Rules) -> Self {
        Self { sub: Subscription::new(LogId(1), rules), effects: Effects::default() }
    }

    fn attach(&mut self, credit: u32, change: impl FnOnce(&mut Attached)) -> Handle {
        let handle = self.sub.consumers.handle();
        let mut consumer = Attached::new(handle, ConsumerId(handle.0), Credit::messages(credit));
        change(&mut consumer);
        self.sub.consumers.attach(consumer);
        handle
    }

    fn append(&mut self, count: usize) {
        let meta = Meta::new(Arc::default(), NOW);
        let body = Bytes::from_static(b"x");
        let message = Message::from_fields(Address::queue("q"), meta, &Fields::default(), body);
        for _ in 0..count {
            let arrival = Arrival {
                message: message.clone(),
                tags: Tags::default(),
                durable: false,
                by: CameBy::Publish,
            };
            self.sub.append(arrival, NOW);
        }
    }

    fn dispatch(&mut self) -> Vec<(Handle, Offset)> {
        self.sub.dispatch(NOW, &mut self.effects);
        self.effects.deliveries.drain(..).map(|(handle, d)| (handle, d.offset)).collect()
    }

    fn settle(&mut self, (handle, offset): (Handle, Offset), outcome: &Outcome) {
        assert_eq!(self.sub.settle(handle, &[offset], outcome, &mut self.effects), 1);
    }
}

#[test]
fn attaching_and_leaving() {
    for priorities in [1, i32::MAX] {
        grows_linearly("attaching and leaving", 4_000, |n| {
            let mut queue = Bare::new(Rules::default());
            timed(|| {
                let handles: Vec<Handle> = (0..n as i32)
                    .map(|i| queue.attach(10, |c| c.priority = (i % priorities) as i16))
                    .collect();
                assert_eq!(queue.sub.consumers.active_count(), n);
                for handle in handles {
                    assert!(!queue.sub.consumers.has_exclusive());
                    queue.sub.leave_all(handle, &[], &Outcome::Failed, &mut queue.effects);
                }
                assert_eq!(queue.sub.consumers.active_count(), 0);
            })
        });
    }
}

#[test]
fn one_after_the_other_is_the_active_consumer() {
    grows_linearly("single active consumers that leave", 2_000, |n| {
        let mut queue = Bare::new(Rules { serves: Serves::Highest, ..Rules::default() });
        let handles: Vec<Handle> = (0..n).map(|_| queue.attach(10, |_| {})).collect();
        queue.append(n);
        timed(|| {
            for handle in handles {
                let given = queue.dispatch();
                assert!(given.iter().all(|(to, _)| *to == handle));
                assert_eq!(given.len(), 10);
                let unseen: Vec<Offset> = given.into_iter().map(|(_, offset)| offset).collect();
                queue.sub.leave_all(handle, &unseen, &Outcome::Failed, &mut queue.effects);
            }
        })
    });
}

#[test]
fn giving_one_to_each_and_settling_it() {
    grows_linearly("n consumers with a prefetch of 1", 4_000, |n| {
        let mut queue = Bare::new(Rules::default());
        (0..n).for_each(|_| _ = queue.attach(1, |_| {}));
        queue.append(2 * n);
        timed(|| {
            let given = queue.dispatch();
            assert_eq!(given.len(), n, "each has one");
            for one in given {
                queue.settle(one, &Outcome::Accepted);
                assert_eq!(queue.dispatch().len(), 1);
            }
        })
    });
}

#[test]
fn publishing_past_consumers_without_credit() {
    grows_linearly("n consumers without credit", 4_000, |n| {
        let mut queue = Bare::new(Rules::default());
        (0..n).for_each(|_| _ = queue.attach(1, |c| c.priority = 1));
        queue.append(n);
        assert_eq!(queue.dispatch().len(), n);
        queue.attach(u32::MAX, |_| {});
        timed(|| {
            for _ in 0..n {
                assert!(queue.sub.admits(1, 1));
                queue.append(1);
                assert_eq!(queue.dispatch().len(), 1);
            }
        })
    });
}

#[test]
fn leaving_with_much_in_flight() {
    grows_linearly("one consumer that leaves", 10_000, |n| {
        let mut queue = Bare::new(Rules::default());
        let handle = queue.attach(u32::MAX, |_| {});
        queue.append(n);
        let given = queue.dispatch();
        timed(|| {
            // The newest first, and half of them come back.
            for (at, one) in given.iter().rev().take(n / 2).enumerate() {
                let outcome = if at % 2 == 0 { Outcome::Accepted } else { Outcome::Released };
                queue.settle(*one, &outcome);
            }
            queue.sub.leave_all(handle, &[], &Outcome::Failed, &mut queue.effects);
            assert_eq!(queue.sub.ready().0 as usize, n - n.div_ceil(4));
        })
    });
    grows_linearly("n consumers that leave a queue with n records", 2_000, |n| {
        let mut queue = Bare::new(Rules::default());
        let handles: Vec<Handle> = (0..n).map(|_| queue.attach(1, |_| {})).collect();
        queue.append(2 * n);
        assert_eq!(queue.dispatch().len(), n);
        timed(|| {
            for handle in handles {
                queue.sub.leave_all(handle, &[], &Outcome::Failed, &mut queue.effects);
            }
            assert_eq!(queue.sub.ready().0 as usize, 2 * n);
        })
    });
}

#[test]
fn moving_what_was_rejected_and_is_not_in_memory() {
    grows_linearly("n rejected records that are read back", 4_000, |n| {
        let mut queue = Bare::new(Rules { dead_letters: true, ..Rules::default() });
        let handle = queue.attach(u32::MAX, |_| {});
        queue.append(n);
        let given = queue.dispatch();
        let place = |at: Offset| Place { pos: 1 + at.0, index: 0 };
        given.iter().for_each(|(_, at)| assert!(queue.sub.spilled(*at, place(*at))));
        queue.sub.evict(0, 0);
        let mut other = Bare::new(Rules::default());
        other.attach(u32::MAX, |_| {});
        other.append(1);
        other.sub.dispatch(NOW, &mut other.effects);
        let message =
            other.effects.deliveries.first().map(|(_, d)| d.message.clone()).expect("one");
        timed(|| {
            for (_, offset) in &given {
                let rejected = Outcome::Rejected { reason: None };
                queue.settle((handle, *offset), &rejected);
                queue.dispatch();
                // Few are read back at a time.
                if offset.0 % 16 == 15 {
                    let load = std::mem::take(&mut queue.effects.load);
                    queue.sub.loaded(load.into_iter().map(|(o, _)| (o, message.clone())).collect());
                }
            }
            while !queue.sub.log.is_empty() {
                queue.dispatch();
                let load = std::mem::take(&mut queue.effects.load);
                queue.sub.loaded(load.into_iter().map(|(o, _)| (o, message.clone())).collect());
            }
            let moved: Vec<Offset> = queue.effects.departures.iter().map(|d| d.offset).collect();
            assert_eq!(moved, (0..n as u64).map(Offset).collect::<Vec<_>>(), "all, in their order");
        })
    });
}

#[test]
fn who_waits_for_shared_credit_has_its_turn() {
    let mut queue = Bare::new(Rules::default());
    let pool = Arc::new(Pool::new(Credit::messages(1)));
    let all: Vec<Handle> =
        (0..3).map(|_| queue.attach(9, |c| c.pools = smallvec![pool.clone()])).collect();
    queue.append(7);
    let mut turns = Vec::new();
    let mut given = queue.dispatch();
    while let [one] = given[..] {
        turns.push(one.0);
        queue.settle(one, &Outcome::Accepted);
        given = queue.dispatch();
    }
    assert_eq!(turns, all.iter().cycle().take(7).copied().collect::<Vec<_>>());
    // One that leaves while it waits keeps nobody waiting.
    queue.append(2);
    let first = queue.dispatch();
    queue.sub.leave_all(all[0], &[], &Outcome::Failed, &mut queue.effects);
    queue.sub.leave_all(all[1], &[], &Outcome::Failed, &mut queue.effects);
    first.into_iter().filter(|(to, _)| *to == all[2]).for_each(|one| {
        queue.settle(one, &Outcome::Accepted);
    });
    let mut got = 0;
    while let [one] = queue.dispatch()[..] {
        got += 1;
        queue.settle(one, &Outcome::Accepted);
    }
    assert!(got >= 1 && queue.sub.log.is_empty());
}

/// Runs on this thread alone, so that its time is the broker's.
fn alone<R>(run: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(run)
}

fn cpu_of(run: impl Future<Output = Duration>) -> Duration {
    alone(run)
}

async fn queues(client: &mut Client, count: usize) {
    for n in 0..count {
        client.declare(QueueSpec { durable: false, ..QueueSpec::durable(format!("q{n}")) }).await;
    }
}

/// Everything that is delivered until `count` deliveries have come, each settled when it comes.
async fn settle_all(client: &mut Client, count: usize) {
    let mut left = count;
    while left > 0 {
        let got = client.events().await.deliveries;
        assert!(!got.is_empty(), "{left} of {count} are still to come");
        left -= got.len();
        client.settle(&got, Outcome::Accepted);
    }
}

fn consumer(queue: usize, pools: impl IntoIterator<Item = PoolId>) -> Consumer {
    Consumer {
        source: ConsumerSource::Queue(format!("q{queue}").into()),
        settles: true,
        exclusive: false,
        priority: 0,
        credit: Credit::UNLIMITED,
        pools: pools.into_iter().collect(),
        only_unexpired: false,
        has_time: false,
        tag: "".into(),
    }
}

#[test]
fn queues_that_wait_for_shared_credit() {
    grows_linearly("n queues that share credit for one message", 300, |n| {
        cpu_of(async {
            let stage = Stage::new().await;
            let mut c = stage.client().await;
            queues(&mut c, n).await;
            let pool = c.session.pool(Credit::messages(1));
            for at in 0..n {
                c.session.attach(c.lane, consumer(at, [pool])).await.expect("attached");
            }
            let mut publisher = stage.client().await;
            for at in 0..n {
                publisher.publish(Address::queue(&format!("q{at}")), "x");
            }
            let before = crate::measure::cpu_time();
            settle_all(&mut c, n).await;
            crate::measure::cpu_time() - before
        })
    });
}

#[test]
fn queues_that_wait_for_the_window() {
    grows_linearly("n queues whose consumers' window is exhausted", 300, |n| {
        cpu_of(async {
            let stage = Stage::new().await;
            let mut c = stage.client().await;
            queues(&mut c, n).await;
            for at in 0..n {
                c.session.attach(c.lane, consumer(at, [])).await.expect("attached");
            }
            let mut publisher = stage.client().await;
            publisher.publish(Address::queue("q0"), &"x".repeat(3 << 20));
            let before = crate::measure::cpu_time();
            for at in 0..n {
                publisher.publish(Address::queue(&format!("q{at}")), "x");
                // The window of another connection is its own.
                publisher.events().await;
            }
            settle_all(&mut c, n + 1).await;
            crate::measure::cpu_time() - before
        })
    });
}

#[test]
fn one_flush_for_many_consumers() {
    grows_linearly("n deliveries to n consumers", 1_000, |n| {
        cpu_of(async {
            let stage = Stage::new().await;
            let mut c = stage.client().await;
            queues(&mut c, 1).await;
            for _ in 0..n {
                c.session.attach(c.lane, consumer(0, [])).await.expect("attached");
            }
            let mut publisher = stage.client().await;
            let before = crate::measure::cpu_time();
            for _ in 0..n {
                publisher.put(Address::queue("q0"), "x", |_| {});
            }
            publisher.session.flush();
            let taken = crate::measure::cpu_time() - before;
            settle_all(&mut c, n).await;
            taken
        })
    });
}

#[test]
fn single_gets() {
    for (settles, settled) in [(false, false), (true, true), (true, false)] {
        grows_linearly("n single gets from n queues", 300, |n| {
            cpu_of(async {
                let stage = Stage::new().await;
                let mut c = stage.client().await;
                queues(&mut c, n).await;
                let mut publisher = stage.client().await;
                for at in 0..n {
                    publisher.publish(Address::queue(&format!("q{at}")), "x");
                }
                let kept = stage.broker.memory_kept();
                let before = crate::measure::cpu_time();
                for at in 0..n {
                    let got = c.session.get(c.lane, &format!("q{at}"), settles).await;
                    let (delivery, left) = got.expect("there").expect("one");
                    assert_eq!(left, 0);
                    if settled {
                        c.settle(&[delivery], Outcome::Accepted);
                    }
                }
                let taken = crate::measure::cpu_time() - before;
                // Who got one and has nothing to settle has left.
                let stay = settles && !settled;
                assert_eq!(stage.broker.memory_kept() > kept, stay);
                c.session.drop_lane(c.lane);
                assert_eq!(publisher.ready("q0"), u64::from(stay), "it comes back");
                taken
            })
        });
    }
}

#[test]
fn a_connection_has_a_limit_of_consumers() {
    alone(async {
        let objects = ObjectLimits { consumers: 3, ..ObjectLimits::default() };
        let settings = Settings { objects, ..Settings::default() };
        let stage = Stage::with(memory::MemoryStore::default(), settings, Vec::new()).await;
        let mut c = stage.client().await;
        queues(&mut c, 1).await;
        let kept = stage.broker.memory_kept();
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(c.session.attach(c.lane, consumer(0, [])).await.expect("attached"));
        }
        let refused = c.session.attach(c.lane, consumer(0, [])).await.map_err(|e| e.kind());
        assert_eq!(refused.err(), Some(ErrorKind::LimitReached));
        assert!(stage.broker.memory_kept() > kept);
        // A stopped consumer without anything to settle does not count.
        for id in ids {
            c.session.detach(id, OnDetach::Stay).await;
        }
        assert_eq!(stage.broker.memory_kept(), kept);
        c.session.attach(c.lane, consumer(0, [])).await.expect("attached");
    });
}
