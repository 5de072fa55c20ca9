//! Consumers that do not settle within the queue's time.

use crate::stage::*;
use crossdock_core::*;
use std::time::{Duration, Instant};

fn limited(name: &str, ms: i32) -> QueueSpec {
    queue(name, &[("x-consumer-timeout", Value::I32(ms)), ("x-delivery-limit", Value::I32(0))])
}

async fn consume(c: &mut Client, queue: &str, credit: u32) -> ConsumerId {
    let consumer = Consumer {
        source: ConsumerSource::Queue(queue.into()),
        settles: true,
        exclusive: false,
        priority: 0,
        credit: Credit::messages(credit),
        pools: Default::default(),
        only_unexpired: false,
        has_time: true,
        tag: "".into(),
    };
    c.session.attach(c.lane, consumer).await.expect("attached")
}

/// The next notice that a consumer was late, and after how long.
async fn late(c: &mut Client) -> (Late, Duration) {
    let started = Instant::now();
    for _ in 0..40 {
        for notice in c.events().await.notices {
            if let Notice::Late(late) = notice {
                return (late, started.elapsed());
            }
        }
    }
    panic!("nobody was late");
}

#[tokio::test]
async fn what_is_not_settled_in_time_goes_back_uncounted() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(limited("q", 500)).await;
    for body in ["1", "2", "3"] {
        c.durable(Address::queue("q"), body).await;
    }
    let consumer = consume(&mut c, "q", 2).await;
    let got = c.take(2).await;
    c.settle(&got[..1], Outcome::Accepted);
    let (late, after) = late(&mut c).await;
    assert_eq!((late.consumer, late.lane, &*late.queue), (consumer, Some(c.lane), "q"));
    assert_eq!(late.timeout_ms, 500);
    assert!(
        after >= Duration::from_millis(250) && after < Duration::from_millis(1500),
        "{after:?}"
    );
    assert_eq!(c.ready("q"), 2);
    // It is nobody's: it comes to the next one, with the limit of no failure at all.
    c.settle(&got[1..], Outcome::Failed);
    let mut other = stage.client().await;
    other.consume("q", 10, true).await;
    let again = other.take(2).await;
    assert_eq!(bodies(&again), ["2", "3"]);
    assert_eq!((again[0].redelivered, again[0].attempts), (true, 0));
    assert_eq!(stage.broker.audit(), []);
}

#[tokio::test]
async fn who_settles_in_time_is_left_alone_however_long_the_first_one_waits() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(limited("q", 600)).await;
    consume(&mut c, "q", 2).await;
    let started = Instant::now();
    let mut last = None;
    // There is always something unsettled, and nothing for longer than the time; what is given back begins again. A
    // consumer that is ended would get nothing more.
    while started.elapsed() < Duration::from_millis(1500) {
        c.publish(Address::queue("q"), "x");
        let got = c.take(1).await;
        if let Some(before) = last.replace(got) {
            c.settle(&before, Outcome::Accepted);
        }
    }
    let mut got = last.take().expect("one");
    for _ in 0..4 {
        c.settle(&got, Outcome::Released);
        got = c.take(1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let (_, after) = late(&mut c).await;
    assert!(after < Duration::from_millis(1500), "{after:?}");
}

#[tokio::test]
async fn what_was_got_one_by_one_has_the_same_time() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(limited("q", 300)).await;
    c.publish(Address::queue("q"), "x");
    let (got, _) = c.session.get(c.lane, "q", true).await.expect("there").expect("one");
    let (late, _) = late(&mut c).await;
    assert_eq!((late.consumer, late.lane), (got.consumer, Some(c.lane)));
    assert_eq!(c.ready("q"), 1);
}

#[tokio::test]
async fn quorum_queues_have_the_time_of_the_house_and_others_none() {
    let settings = |ms| {
        let mut settings = Settings::default();
        settings.objects.clients.consumer_timeout_ms = ms;
        settings
    };
    let stage = Stage::with(Default::default(), settings(300), Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(queue("quorum", &[("x-queue-type", Value::text("quorum"))])).await;
    let never = [("x-queue-type", Value::text("quorum")), ("x-consumer-timeout", Value::I32(0))];
    c.declare(queue("never", &never)).await;
    c.declare(queue("classic", &[])).await;
    let mut consumers = Vec::new();
    for name in ["never", "classic", "quorum"] {
        c.publish(Address::queue(name), name);
        consumers.push(consume(&mut c, name, 1).await);
    }
    c.take(3).await;
    assert_eq!(late(&mut c).await.0.consumer, consumers[2]);
    let until = Instant::now() + Duration::from_millis(700);
    while Instant::now() < until {
        assert!(c.events().await.notices.is_empty());
    }
}

#[tokio::test]
async fn a_queue_that_goes_with_its_last_consumer_goes_with_a_late_one() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec { auto_delete: true, ..limited("q", 300) }).await;
    c.publish(Address::queue("q"), "x");
    consume(&mut c, "q", 1).await;
    c.take(1).await;
    late(&mut c).await;
    until("it is gone", || c.session.queue_status("q").is_err()).await;
}
