//! Scans over queues in memory and at rest, and records that are held.

use super::*;
use crate::exchange::{LogId, Tags};
use crate::message::{Address, Fields, Meta};
use crate::subscription::{
    Arrival, Attached, CameBy, ConsumerId, Credit, Outcome, QueueTotals, Rules, Side,
};
use bytes::Bytes;
use std::sync::Arc;

const NOW: Timestamp = Timestamp(100);

fn message(n: u64, priority: Option<u8>, expires: Option<Timestamp>) -> Message {
    let mut meta = Meta::new(Arc::default(), Timestamp(0));
    (meta.priority, meta.expires) = (priority, expires);
    let body = Bytes::from(n.to_string());
    Message::from_fields(Address::queue("q"), meta, &Fields::default(), body)
}

fn append(sub: &mut Subscription, message: Message, durable: bool) -> Offset {
    let (tags, by) = (Tags::default(), CameBy::Publish);
    let offset = sub.append(Arrival { message, tags, durable, by }, NOW);
    if durable {
        sub.commit(offset, Place { pos: 1 + offset.0 / 10, index: (offset.0 % 10) as u32 });
    }
    offset
}

fn queue(rules: Rules, count: u64) -> Subscription {
    let mut sub = Subscription::new(LogId(1), rules);
    (0..count).for_each(|n| _ = append(&mut sub, message(n, Some((n % 3) as u8), None), true));
    sub
}

fn scan(records: usize) -> Scan {
    Scan { only_ready: false, upto: Offset(u64::MAX), now: NOW, records, bytes: u64::MAX }
}

/// The offsets of all slices, and how many slices there were.
fn all(sub: &Subscription, scan: &Scan) -> (Vec<u64>, usize) {
    let (mut found, mut slices, mut at) = (Vec::new(), 0, Some(Cursor::START));
    while let Some(from) = at {
        let slice = sub.scan(from, scan);
        assert!(slice.found.len() <= scan.records);
        found.extend(slice.found.iter().map(|scanned| scanned.offset.0));
        // What the next page begins with goes through text.
        at = slice.next.map(|next| next.to_string().parse().expect("a cursor"));
        slices += 1;
        assert!(slices < 10_000, "it ends");
    }
    (found, slices)
}

/// All that a scan must not change.
fn state(sub: &Subscription) -> (QueueTotals, (u64, u64), (u64, u64), String) {
    let (ready, in_flight) = (sub.ready(), sub.consumers.in_flight());
    (sub.totals(), ready, in_flight, format!("{:?}", (&sub.ready, sub.counts.deliveries.totals())))
}

#[test]
fn slices_together_are_the_queue_in_its_order() {
    let sub = queue(Rules::default(), 3_000);
    let before = state(&sub);
    for records in [1, 7, 500, 5_000] {
        assert_eq!(all(&sub, &scan(records)).0, (0..3_000).collect::<Vec<u64>>());
    }
    let slices = all(&sub, &scan(5_000)).1;
    assert!(slices >= 3, "a slice looks at {LOOKS} records at most: {slices}");
    assert_eq!(state(&sub), before);
}

#[test]
fn with_priorities_the_highest_comes_first_and_what_consumers_have_last() {
    let mut sub = queue(Rules { max_priority: Some(9), ..Rules::default() }, 30);
    let handle = sub.consumers.handle();
    let credit = Credit::messages(3);
    sub.consumers.attach(Attached::new(handle, ConsumerId(1), credit));
    sub.dispatch(NOW, &mut Effects::default());
    let taken = [2, 5, 8];
    let by_priority = (0..30).filter(|n| n % 3 == 2 && !taken.contains(n));
    let rest = (0..30).filter(|n| n % 3 == 1).chain((0..30).filter(|n| n % 3 == 0));
    let expected: Vec<u64> = by_priority.chain(rest).collect();
    let before = state(&sub);
    for records in [1, 4, 30, 100] {
        let with_taken: Vec<u64> = expected.iter().copied().chain(taken).collect();
        assert_eq!(all(&sub, &scan(records)).0, with_taken);
        let only_ready = Scan { only_ready: true, ..scan(records) };
        assert_eq!(all(&sub, &only_ready).0, expected);
    }
    assert_eq!(state(&sub), before);
}

#[test]
fn pages_of_a_queue_with_priorities_are_read_a_few_at_a_time() {
    let mut sub = Subscription::new(LogId(1), Rules { max_priority: Some(9), ..Rules::default() });
    for n in 0..40_000 {
        let priority = if n % 1_000 == 0 { 9 } else { 0 };
        append(&mut sub, message(n, Some(priority), None), true);
    }
    let high: Vec<u64> = (0..40).map(|n| n * 1_000).collect();
    let first = sub.scan(Cursor::START, &scan(500));
    assert!(first.found.len() <= PAGES + 1, "{}", first.found.len());
    assert_eq!(all(&sub, &scan(500)).0[..40], high);
}

#[test]
fn what_is_expired_or_not_stored_yet_is_not_seen() {
    let mut sub = Subscription::new(LogId(1), Rules::default());
    append(&mut sub, message(0, None, Some(NOW)), false);
    append(&mut sub, message(1, None, Some(NOW.plus(1))), false);
    let (tags, durable, by) = (Tags::default(), true, CameBy::Publish);
    sub.append(Arrival { message: message(2, None, None), tags, durable, by }, NOW);
    append(&mut sub, message(3, None, None), false);
    assert_eq!(all(&sub, &scan(10)).0, [1, 3]);
    let upto = Scan { upto: Offset(3), ..scan(10) };
    assert_eq!(all(&sub, &upto).0, [1]);
    // Who moves messages waits for the store: what stands behind must not overtake.
    let only_ready = Scan { only_ready: true, ..scan(10) };
    let slice = sub.scan(Cursor::START, &only_ready);
    assert_eq!(slice.found.iter().map(|s| s.offset.0).collect::<Vec<_>>(), [1]);
    let waits = slice.next.expect("there is more");
    assert_eq!(sub.scan(waits, &only_ready).next, Some(waits));
    sub.commit(Offset(2), Place { pos: 1, index: 0 });
    assert_eq!(sub.scan(waits, &only_ready).found.len(), 2);
}

#[test]
fn a_slice_ends_with_its_bytes_and_has_one_message_at_least() {
    let sub = queue(Rules::default(), 20);
    let size = sub.scan(Cursor::START, &scan(1)).found[0].size;
    let two = Scan { bytes: u64::from(size) * 5 / 2, ..scan(100) };
    assert_eq!(sub.scan(Cursor::START, &two).found.len(), 2);
    assert_eq!(all(&sub, &two).0.len(), 20);
    assert_eq!(all(&sub, &Scan { bytes: 0, ..scan(100) }).0.len(), 20);
}

#[test]
fn pages_at_rest_stay_at_rest() {
    for max_priority in [None, Some(9)] {
        let mut sub = queue(Rules { max_priority, ..Rules::default() }, 5_000);
        sub.evict(0, 0);
        assert!(!sub.log.has_hot());
        let (found, _) = all(&sub, &scan(500));
        assert_eq!(found.len(), 5_000);
        assert!(!sub.log.has_hot());
        let slice = sub.scan(Cursor::START, &scan(1));
        assert!(slice.found[0].message.is_none() && slice.found[0].place.is_some());
        assert!(matches!(sub.whereabouts(Offset(3)), Some((Some(_), None))));
        assert!(sub.whereabouts(Offset(5_000)).is_none());
    }
}

#[test]
fn what_is_held_is_given_to_nobody_and_goes_back_to_its_place() {
    for max_priority in [None, Some(9)] {
        let mut sub = queue(Rules { max_priority, ..Rules::default() }, 9);
        let before = state(&sub);
        let order = all(&sub, &scan(10)).0;
        let mover = sub.consumers.handle();
        assert!([0, 1, 4].iter().all(|n| sub.hold(mover, Offset(*n), NOW)));
        assert!(!sub.hold(mover, Offset(4), NOW), "once");
        let mut out = Effects::default();
        sub.moved(mover, (&[Offset(4)], LeftBy::Moved), &mut out);
        assert_eq!(out.removed, [(Offset(4), LeftBy::Moved)]);
        assert_eq!(out.freed.len(), 1);
        sub.let_go(mover, &[Offset(0), Offset(1), Offset(4)]);
        let rest: Vec<u64> = order.iter().copied().filter(|n| *n != 4).collect();
        assert_eq!(all(&sub, &scan(10)).0, rest);
        assert_eq!((sub.ready().0, sub.totals().missing()), (before.1.0 - 1, 0));
        assert_eq!(sub.counts.tally(Side::Durable).left(LeftBy::Moved), 1);

        let handle = sub.consumers.handle();
        sub.consumers.attach(Attached::new(handle, ConsumerId(1), Credit::UNLIMITED));
        sub.hold(mover, Offset(rest[0]), NOW);
        let mut out = Effects::default();
        sub.dispatch(NOW, &mut out);
        let given: Vec<u64> = out.deliveries.iter().map(|(_, d)| d.offset.0).collect();
        assert_eq!(given, rest[1..]);
        sub.settle(handle, &[Offset(rest[0])], &Outcome::Accepted, &mut out);
        sub.let_go(mover, &[Offset(rest[0])]);
        let mut out = Effects::default();
        sub.dispatch(NOW, &mut out);
        let (_, delivery) = &out.deliveries[0];
        assert_eq!(
            (delivery.offset.0, delivery.redelivered, delivery.attempts),
            (rest[0], false, 0)
        );
    }
}

#[test]
fn a_cursor_that_is_none_is_refused() {
    for text in ["", "x", "p.1", "p300.1", "p1", "u.", "u", "-1", "1.5"] {
        assert!(text.parse::<Cursor>().is_err(), "{text}");
    }
    let error = "x".parse::<Cursor>().expect_err("no cursor");
    assert!(error.detail().contains("write 'start'"), "{error}");
}
