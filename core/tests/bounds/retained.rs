//! Retained values: counted, limited, gone when they expire, and found without a look at all of them.

use crate::measure::{cpu_time, grows_linearly};
use crate::stage::{Client, Stage, bodies, topic, until};
use crossdock_core::memory::MemoryStore;
use crossdock_core::*;
use std::time::Duration;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn retain(client: &mut Client, key: &str, body: &str) -> ConfirmOutcome {
    let number = client.put(topic(key), body, |meta| meta.retain = true);
    client.session.flush();
    client.confirmed(number).await
}

/// Without a confirm.
fn retain_untold(client: &mut Client, key: &str, body: &str, expires: Option<Timestamp>) {
    let message = client.message(topic(key), body, |meta| {
        meta.retain = true;
        meta.expires = expires;
    });
    let lane = client.lane;
    client.session.publish(lane, Publish::new(message, false));
    client.session.flush();
}

async fn subscribe(client: &mut Client, pattern: &str) {
    let mut bind = Bind::new(crate::stage::TOPICS, pattern.into(), BindTarget::Own);
    bind.replay = Replay::Always;
    client.session.bind(bind).await.expect("bound");
}

async fn retained(client: &mut Client, pattern: &str) -> Vec<Delivery> {
    subscribe(client, pattern).await;
    let mut found = Vec::new();
    loop {
        let mut events = client.events().await;
        if events.deliveries.is_empty() {
            return found;
        }
        found.append(&mut events.deliveries);
    }
}

#[test]
fn values_are_set_cleared_and_expired_one_by_one() {
    // Nothing is held back, for nobody awaits anything here.
    let settings = Settings { session_share: 64 << 20, ..Settings::default() };
    let run = |n: usize| {
        runtime().block_on(async {
            let stage = Stage::with(MemoryStore::default(), settings.clone(), Vec::new()).await;
            let mut client = stage.client().await;
            let kept = stage.broker.memory_kept();
            let before = cpu_time();
            for number in 0..n {
                retain_untold(&mut client, &format!("a/{number}/b"), "value", None);
            }
            let most = stage.broker.memory_kept();
            assert!(most >= kept + n * 250, "{} bytes each", (most - kept) / n);
            for number in 0..n {
                retain_untold(&mut client, &format!("a/{number}/b"), "", None);
            }
            assert_eq!(stage.broker.memory_kept(), kept);
            let soon = client.session.broker().now().plus(30);
            for number in 0..n {
                retain_untold(&mut client, &format!("a/{number}/b"), "value", Some(soon));
            }
            until("all have expired", || stage.broker.memory_kept() == kept).await;
            cpu_time().saturating_sub(before)
        })
    };
    grows_linearly("setting, clearing and expiring values", 1_000, run);
}

#[test]
fn a_subscription_that_matches_nothing_looks_at_few_values() {
    let run = |n: usize| {
        runtime().block_on(async {
            let stage = Stage::new().await;
            let mut client = stage.client().await;
            for number in 0..n {
                retain_untold(&mut client, &format!("sensors/{number}/value"), "value", None);
            }
            let mut reader = stage.named("reader", true, SessionLife::No).await;
            let before = cpu_time();
            for number in 0..n / 100 {
                for pattern in ["other/#", "+/none", "sensors/x/+"] {
                    subscribe(&mut reader, &format!("{pattern}/{number}").replace("#/", "")).await;
                }
            }
            cpu_time().saturating_sub(before)
        })
    };
    grows_linearly("subscriptions that match nothing", 2_000, run);
}

#[tokio::test]
async fn values_beyond_a_limit_are_refused_and_the_others_stay_usable() {
    let mut settings = Settings::default();
    settings.objects.retained_values = 2;
    settings.objects.retained_bytes = 200;
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut client = stage.client().await;
    let is_refused = |outcome: ConfirmOutcome| match outcome {
        ConfirmOutcome::Refused(why) => why.kind() == ErrorKind::LimitReached,
        _ => false,
    };
    let mut listener = stage.named("listener", true, SessionLife::No).await;
    listener.subscribe("#", 0).await;
    assert!(!is_refused(retain(&mut client, "a", "1").await));
    assert!(!is_refused(retain(&mut client, "b", "2").await));
    assert_eq!(listener.take(2).await.len(), 2);
    assert!(is_refused(retain(&mut client, "c", "3").await), "too many");
    assert!(is_refused(retain(&mut client, "a", &"x".repeat(300)).await), "too large");
    listener.nothing().await;
    // Whoever cannot be told is not stopped: the message goes to those who are there.
    retain_untold(&mut client, "c", "live", None);
    assert_eq!(bodies(&listener.take(1).await), ["live"]);
    // One as large is taken, and clearing makes room.
    assert!(!is_refused(retain(&mut client, "a", "4").await));
    assert!(!is_refused(retain(&mut client, "b", "").await));
    assert!(!is_refused(retain(&mut client, "c", "5").await));
    let mut reader = stage.named("reader", true, SessionLife::No).await;
    assert_eq!(bodies(&retained(&mut reader, "#").await), ["4", "5"]);
    // A transaction is refused as a whole.
    let lane = client.lane;
    client.session.begin(lane);
    for key in ["a", "d"] {
        client.put(topic(key), "6", |meta| meta.retain = true);
    }
    let refused = client.session.commit(lane).await.expect_err("one value too many");
    assert_eq!(refused.kind(), ErrorKind::LimitReached);
    let mut reader = stage.named("reader-2", true, SessionLife::No).await;
    assert_eq!(bodies(&retained(&mut reader, "#").await), ["4", "5"]);
}

fn small_memory() -> Settings {
    Settings { memory_high: 64 << 20, session_share: 256 << 20, ..Settings::default() }
}

/// Publishers are not held back, or not for long.
async fn publishers_go_on(client: &mut Client) {
    let wait = async {
        let number = client.put(topic("live"), "x", |_| {});
        loop {
            client.session.flush();
            let events = client.events().await;
            if events.confirms.iter().any(|confirm| confirm.number == number) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.expect("the alarm ends by itself");
}

#[tokio::test]
async fn large_values_do_not_hold_publishers_for_ever() {
    let stage = Stage::with(MemoryStore::default(), small_memory(), Vec::new()).await;
    let mut client = stage.client().await;
    let body = "x".repeat(1 << 20);
    for number in 0..71 {
        retain_untold(&mut client, &format!("v/{number}"), &body, None);
    }
    publishers_go_on(&mut client).await;
    assert!(stage.broker.memory_kept() <= 33 << 20, "what is kept takes at most half");
    // What is there can be cleared.
    for number in 0..71 {
        retain_untold(&mut client, &format!("v/{number}"), "", None);
    }
    publishers_go_on(&mut client).await;
    assert!(stage.broker.memory_kept() < 1 << 20);
}

#[tokio::test]
async fn a_store_with_more_values_than_may_be_kept_opens_and_can_be_cleared() {
    let settings = Settings { memory_high: 1 << 30, ..small_memory() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut client = stage.client().await;
    let body = "x".repeat(1 << 20);
    for number in 0..71 {
        retain_untold(&mut client, &format!("v/{number}"), &body, None);
    }
    client.session.sync().await.expect("stored");
    let store = stage.store.crashed();
    drop((client, stage));
    let stage = Stage::with(store, small_memory(), Vec::new()).await;
    assert!(stage.broker.memory_kept() > 71 << 20, "recovery refuses nothing");
    let mut client = stage.client().await;
    publishers_go_on(&mut client).await;
    for number in 0..71 {
        retain_untold(&mut client, &format!("v/{number}"), "", None);
    }
    publishers_go_on(&mut client).await;
    assert!(stage.broker.memory_kept() < 1 << 20);
}

#[tokio::test]
async fn values_that_expired_are_gone_also_after_a_start() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    let now = stage.broker.now();
    retain_untold(&mut client, "early", "1", Some(now.plus(300)));
    retain_untold(&mut client, "late", "2", Some(now.plus(60_000)));
    retain_untold(&mut client, "ever", "3", None);
    client.session.sync().await.expect("stored");
    let store = stage.store.crashed();
    let kept = stage.broker.memory_kept();
    until("one has expired", || stage.broker.memory_kept() < kept).await;
    let mut reader = stage.named("reader", true, SessionLife::No).await;
    assert_eq!(bodies(&retained(&mut reader, "#").await), ["3", "2"]);
    // The removal is stored, and a start that does not know of it removes what has expired.
    client.session.sync().await.expect("stored");
    for store in [stage.store.crashed(), store] {
        let again = Stage::with(store, Settings::default(), Vec::new()).await;
        let mut reader = again.named("reader", true, SessionLife::No).await;
        assert_eq!(bodies(&retained(&mut reader, "#").await), ["3", "2"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_value_is_seen_once_and_never_before_an_older_one() {
    const TOPICS: usize = 3_000;
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    for number in 0..TOPICS {
        retain_untold(&mut client, &format!("t/{number:04}"), "0", None);
    }
    let publishing = tokio::spawn(async move {
        for round in 1..4 {
            for number in 0..TOPICS {
                retain_untold(&mut client, &format!("t/{number:04}"), &round.to_string(), None);
                if number % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    });
    let mut seen = std::collections::BTreeMap::<Key, Vec<(bool, String)>>::new();
    let mut reader = stage.named("reader", true, SessionLife::No).await;
    subscribe(&mut reader, "t/+").await;
    let finished = async {
        publishing.await.expect("published");
    };
    let mut finished = std::pin::pin!(finished);
    let mut is_over = false;
    loop {
        let events = reader.events().await;
        if events.deliveries.is_empty() && is_over {
            break;
        }
        for delivery in events.deliveries {
            let body = String::from_utf8_lossy(delivery.message.body()).into_owned();
            let key = delivery.message.address().key.clone();
            seen.entry(key).or_default().push((delivery.retained, body));
        }
        is_over =
            is_over || tokio::time::timeout(Duration::from_millis(1), &mut finished).await.is_ok();
    }
    assert_eq!(seen.len(), TOPICS);
    for (key, values) in seen {
        assert!(values.iter().skip(1).all(|(retained, _)| !retained), "{key}: {values:?}");
        let bodies: Vec<&String> = values.iter().map(|(_, body)| body).collect();
        assert!(bodies.is_sorted_by(|a, b| a < b), "{key}: {values:?}");
        assert_eq!(bodies.last().map(|body| body.as_str()), Some("3"), "{key}: {values:?}");
    }
}
