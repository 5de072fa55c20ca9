//! Packet identifiers and acknowledgement order.

use super::*;

fn next(inbound: &mut Inbound) -> Option<(u16, u8)> {
    inbound.next().map(|answer| (answer.packet_id, answer.reason.0))
}

#[test]
fn acknowledgements_leave_in_order() {
    let mut inbound = Inbound::default();
    inbound.routed(5, 1, 1);
    inbound.routed(6, 1, 2);
    inbound.routed(7, 2, 3);
    assert_eq!(next(&mut inbound), None, "nothing is decided");
    inbound.confirmed(1, Reason::SUCCESS, None);
    inbound.confirmed(2, Reason::NOT_AUTHORIZED, None);
    assert_eq!(next(&mut inbound), Some((5, 0)));
    assert_eq!(next(&mut inbound), Some((6, 0x87)));
    assert_eq!((next(&mut inbound), inbound.open(), inbound.waiting()), (None, 1, 1));
    inbound.confirmed(3, Reason::SUCCESS, None);
    assert_eq!(next(&mut inbound), Some((7, 0)));
    assert_eq!(inbound.open(), 1, "QoS 2 is open until it is released");
    assert_eq!(inbound.release(7), Release::Done);
    assert_eq!(inbound.open(), 0);
    assert_eq!(inbound.release(7), Release::Unknown);
}

#[test]
fn a_qos_2_identifier_is_routed_once() {
    let mut inbound = Inbound::default();
    assert_eq!(inbound.seen(1), Seen::New);
    inbound.routed(1, 2, 1);
    assert_eq!(inbound.seen(1), Seen::Waiting);
    inbound.confirmed(1, Reason::SUCCESS, None);
    assert_eq!(next(&mut inbound), Some((1, 0)));
    assert_eq!((inbound.seen(1), inbound.open()), (Seen::Stored, 1));
    inbound.release(1);
    assert_eq!(inbound.seen(1), Seen::New);
    // A refused one is free again.
    inbound.routed(2, 2, 2);
    inbound.confirmed(2, Reason::QUOTA_EXCEEDED, Some("full".into()));
    assert_eq!(inbound.next().and_then(|a| a.why).as_deref(), Some("full"));
    assert_eq!((inbound.seen(2), inbound.open()), (Seen::New, 0));
}

#[test]
fn a_release_that_comes_too_early_waits_for_its_answer() {
    let mut inbound = Inbound::default();
    inbound.routed(1, 2, 1);
    assert_eq!(inbound.release(1), Release::Later);
    assert_eq!((inbound.seen(1), inbound.release(1)), (Seen::TooEarly, Release::Later));
    inbound.confirmed(1, Reason::SUCCESS, None);
    assert_eq!(inbound.next().map(|answer| answer.is_released), Some(true));
    assert_eq!((inbound.release(1), inbound.open()), (Release::Done, 0));
    assert_eq!(inbound.seen(1), Seen::New);
}

#[test]
fn each_repeat_of_a_publish_that_waits_is_answered_up_to_a_bound() {
    let mut inbound = Inbound::default();
    for number in 1..=2 {
        assert_eq!(inbound.seen(1), Seen::New);
        inbound.routed(1, 2, number);
        (0..10_000).for_each(|_| assert_eq!(inbound.seen(1), Seen::Waiting));
        inbound.confirmed(number, Reason::SUCCESS, None);
        assert_eq!(inbound.next().map(|answer| answer.repeats), Some(REPEATS_MAX));
        assert_eq!(inbound.release(1), Release::Done);
    }
    inbound.routed(2, 2, 3);
    inbound.confirmed(3, Reason::SUCCESS, None);
    assert_eq!(inbound.next().map(|answer| answer.repeats), Some(0));
}

#[test]
fn restored_identifiers_count_when_they_come_again() {
    let mut inbound = Inbound::default();
    inbound.restore(9);
    assert_eq!(inbound.open(), 0);
    assert_eq!((inbound.seen(9), inbound.open()), (Seen::Stored, 1));
    assert_eq!((inbound.seen(9), inbound.open()), (Seen::Stored, 1));
    assert_eq!(inbound.release(9), Release::Done);
    assert_eq!(inbound.open(), 0);
}

#[test]
fn identifiers_of_records_are_derived_and_others_have_their_own() {
    assert_eq!(Outbound::derived(Offset(0)), 1);
    assert_eq!(Outbound::derived(Offset(32_766)), 32_767);
    assert_eq!(Outbound::derived(Offset(32_767)), 1);
    let mut outbound = Outbound::default();
    let consumer = Some(ConsumerId(1));
    let sent = Sent { consumer, offset: Offset(0), awaited: Awaited::PubAck };
    for id in 32_768..=u16::MAX {
        assert_eq!(outbound.free(), Some(id));
        outbound.insert(id, sent);
    }
    assert_eq!(outbound.free(), None);
    outbound.remove(40_000);
    assert_eq!(outbound.free(), Some(40_000));
    assert!(32_768 >= 2 * u32::from(IN_FLIGHT_MAX));
}

#[test]
fn memo_keys_are_read_back() {
    assert_eq!(memo::read(&memo::inbound(7)), Some(memo::Key::Inbound(7)));
    assert_eq!(memo::read(&memo::outbound(1 << 40)), Some(memo::Key::Outbound(1 << 40)));
    assert_eq!(memo::read(&memo::subscription(&[1; 32])), Some(memo::Key::Subscription));
    assert_eq!(memo::read(b""), None);
    assert_eq!(memo::read(b"q"), None);
    assert_eq!(memo::read(b"zz"), None);
}

#[test]
fn identifiers_of_a_consumer_that_is_gone_stay_taken() {
    let mut outbound = Outbound::default();
    let consumer = Some(ConsumerId(1));
    let sent = Sent { consumer, offset: Offset(0), awaited: Awaited::PubAck };
    outbound.insert(1, sent);
    for id in 32_768..=u16::MAX {
        outbound.insert(id, Sent { consumer: Some(ConsumerId(2)), ..sent });
    }
    outbound.forget(ConsumerId(2));
    assert_eq!(outbound.get(40_000), Some(Sent { consumer: None, ..sent }));
    assert_eq!((outbound.free(), outbound.orphans()), (None, 32_768));
    outbound.remove(1);
    assert_eq!((outbound.free(), outbound.orphans()), (None, 32_768));
    outbound.remove(40_000);
    assert_eq!((outbound.free(), outbound.orphans()), (Some(40_000), 32_767));
}

#[test]
fn confirms_are_found_at_once_however_many_wait() {
    let mut inbound = Inbound::default();
    for number in 1..=60_000 {
        inbound.routed(number as u16, 1, number);
    }
    let started = std::time::Instant::now();
    for number in 1..=60_000 {
        inbound.confirmed(number, Reason::SUCCESS, None);
    }
    assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!((1..=60_000).filter(|_| inbound.next().is_some()).count(), 60_000);
    inbound.routed(7, 1, 60_001);
    assert_eq!(next(&mut inbound), None);
    inbound.confirmed(60_001, Reason::SUCCESS, None);
    assert_eq!(next(&mut inbound), Some((7, 0)));
}
