//! Wire bytes to messages and back, as each adapter does it for its most frequent frame: one read with a batch of
//! publishes, one output buffer for a batch of deliveries. No socket, no session, no routing.
//!
//! | benchmark | from | to |
//! |---|---|---|
//! | `decode` | a buffer of complete frames | decoded frames |
//! | `receive` | the same | messages, ready to be routed |
//! | `deliver` | messages of the same protocol | frames in the output buffer, each for its first receiver |
//!
//! One iteration is one batch of 50 messages. Every run checks once that the whole batch was read, before anything is
//! timed.
#![forbid(unsafe_code)]

mod amqp;
mod mqtt;
mod stomp;

use bytes::BytesMut;
use crossdock_core::{Address, Delivery, Message, Offset, Origin, Timestamp, subscription};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use std::sync::Arc;
use std::time::Duration;

/// The broker's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each benchmark runs at least.
const TIME: Duration = Duration::from_millis(100);

/// Messages of one read.
const BATCH: usize = 50;
/// Bytes of a body.
const BODIES: [usize; 2] = [128, 1024];
/// The time at which everything happens.
const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Bytes of the output buffer: enough for a batch of the largest frames.
const OUTPUT_BYTES: usize = 128 << 10;

fn main() {
    divan::Divan::default().min_time(TIME).config_with_args().main();
}

fn body(bytes: usize) -> Vec<u8> {
    vec![b'x'; bytes]
}

fn origin() -> Arc<Origin> {
    let (user, client, listener) = ("guest".into(), "bench".into(), "bench".into());
    Arc::new(Origin { user, client, listener, ..Origin::default() })
}

fn topic() -> Address {
    Address::new("amq.topic".into(), "plant/7/line/3/temperature".into())
}

/// Times reading. `read` empties the buffer and returns the number of messages.
fn reading(bencher: Bencher, frame: &[u8], read: impl Fn(&mut BytesMut) -> usize + Sync) {
    let batch = frame.repeat(BATCH);
    let mut once = BytesMut::from(&batch[..]);
    assert_eq!((read(&mut once), once.len()), (BATCH, 0), "a batch is read as a whole");
    bencher
        .counter(ItemsCount::new(BATCH))
        .counter(BytesCount::new(batch.len()))
        .with_inputs(|| BytesMut::from(&batch[..]))
        .bench_refs(read);
}

/// Times writing. `write` appends the frame of one delivery.
fn writing(bencher: Bencher, message: Message, write: impl Fn(&Delivery, &mut BytesMut)) {
    let delivery = Delivery {
        consumer: subscription::ConsumerId(1),
        offset: Offset(1_000_000),
        message,
        attempts: 0,
        redelivered: false,
        retained: false,
        tags: Default::default(),
    };
    let mut out = BytesMut::with_capacity(OUTPUT_BYTES);
    write(&delivery, &mut out);
    assert!(out.len() > delivery.message.body().len(), "a frame is more than its body");
    let bytes = out.len() * BATCH;
    assert!(bytes <= OUTPUT_BYTES, "the buffer does not grow while it is timed");
    bencher.counter(ItemsCount::new(BATCH)).counter(BytesCount::new(bytes)).bench_local(|| {
        out.clear();
        for _ in 0..BATCH {
            write(&delivery, &mut out);
        }
        out.len()
    });
}
