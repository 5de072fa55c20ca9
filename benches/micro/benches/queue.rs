//! All steps of a queue for a batch of messages: append, commit if they are durable, one dispatch, settle. No locks, no
//! sessions, no store: the pure half of the core. One iteration is one batch of 50 messages.
#![forbid(unsafe_code)]

use crossdock_core::{Address, Fields, Message, Meta, Origin, Timestamp, bench};
use divan::Bencher;
use divan::counter::ItemsCount;
use std::sync::Arc;
use std::time::Duration;

/// The broker's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each benchmark runs at least.
const TIME: Duration = Duration::from_millis(100);

/// Messages of one flush.
const BATCH: usize = 50;

fn main() {
    divan::Divan::default().min_time(TIME).config_with_args().main();
}

fn passing(bencher: Bencher, durable: bool, consumers: u32) {
    let mut meta = Meta::new(Arc::new(Origin::default()), Timestamp(1_700_000_000_000));
    meta.durable = durable;
    let body = vec![b'x'; 128].into();
    let message = Message::from_fields(Address::queue("orders"), meta, &Fields::default(), body);
    let mut queue = bench::queue(consumers);
    let mut pass = || queue.append_dispatch_settle(&message, BATCH);
    assert_eq!(pass(), BATCH, "nothing stays in the queue");
    bencher.counter(ItemsCount::new(BATCH)).bench_local(pass);
}

#[divan::bench(args = [1, 10])]
fn transient(bencher: Bencher, consumers: u32) {
    passing(bencher, false, consumers);
}

#[divan::bench(args = [1, 10])]
fn durable(bencher: Bencher, consumers: u32) {
    passing(bencher, true, consumers);
}
