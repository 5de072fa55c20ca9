//! Messages that are read back from the store while they leave it, while it stops, and while it has lost them.

use crate::stage::*;
use crossdock_core::memory::{Faults, MemoryStore};
use crossdock_core::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber, span};

/// Counts the errors of the log on this thread.
#[derive(Clone, Default)]
struct Errors(Arc<AtomicUsize>);

impl Errors {
    fn listen() -> (Self, DefaultGuard) {
        let errors = Self::default();
        (errors.clone(), tracing::subscriber::set_default(errors))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Messages of the queue `q`.
const MESSAGES: usize = 1_000;

/// A queue whose messages have left memory.
async fn asleep() -> (Stage, Client) {
    let settings = Settings { memory_resident: 100_000, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let body = "x".repeat(500);
    let mut sent = 0;
    for n in 0..MESSAGES {
        sent = c.put(Address::queue("q"), &format!("{n} {body}"), |m| m.durable = true);
    }
    c.session.flush();
    c.confirmed(sent).await;
    until("memory is free", || stage.broker.memory_used() < 300_000).await;
    (stage, c)
}

#[tokio::test]
async fn what_is_purged_while_it_is_read_back_is_not_lost() {
    let (errors, _listening) = Errors::listen();
    let (stage, mut c) = asleep().await;
    stage.store.set_faults(Faults { reads_stalled: true, ..Faults::default() });
    c.consume("q", 100, true).await;
    until("it is read back", || stage.store.fetches() > 0).await;
    let mut other = stage.client().await;
    other.session.purge("q").await.expect("there");
    stage.store.trim_all();
    stage.store.set_faults(Faults::default());
    other.durable(Address::queue("q"), "the next one").await;
    until("what had come is gone", || c.ready("q") == 0).await;
    assert_eq!((errors.count(), stage.broker.losses()), (0, Vec::new()));
    assert!(stage.broker.audit().is_empty());
}

#[tokio::test]
async fn a_store_that_refuses_to_read_has_lost_nothing() {
    let (errors, _listening) = Errors::listen();
    let (stage, mut c) = asleep().await;
    stage.store.set_faults(Faults { reads_refused: true, ..Faults::default() });
    c.consume("q", 100, true).await;
    until("it is read back", || stage.store.fetches() > 2).await;
    stage.store.set_faults(Faults::default());
    for n in 0..MESSAGES / 50 {
        let got = c.take(50).await;
        assert!(got[0].message.body().starts_with(format!("{} ", n * 50).as_bytes()), "{n}");
        c.settle(&got, Outcome::Accepted);
    }
    assert_eq!((errors.count(), stage.broker.losses()), (0, Vec::new()));
}

#[tokio::test]
async fn what_cannot_be_read_back_is_lost_and_the_loss_is_kept() {
    let (errors, _listening) = Errors::listen();
    let (stage, mut c) = asleep().await;
    stage.store.trim_all();
    c.consume("q", 100, true).await;
    until("it is noted", || !stage.broker.losses().is_empty()).await;
    assert!(errors.count() > 0);
    let lost = stage.broker.losses().remove(0).lost;
    assert_eq!(lost.place, "queue 'q' in vhost '/'");
    assert!(lost.records.is_some_and(|records| records > 0) && !lost.may_be_nothing);
}
