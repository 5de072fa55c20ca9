//! Packet identifiers and acknowledgement order.

use super::*;

fn next(inbound: &mut Inbound) -> Option<(u16, u8)> {
    inbound.next().map(|answer| (answer.packet_id, answer.reason.0))
}

#[test]
fn acknowledgements_leave_in_order() {
    let mut inbound = Inbound::default();
    inbound.routed(5, 1, 1);
    inbound.decided(6, 1, Reason::NOT_AUTHORIZED, None);
    inbound.routed(7, 2, 2);
    assert_eq!(next(&mut inbound), None, "the second waits for the first");
    inbound.confirmed(1, Reason::SUCCESS, None);
    assert_eq!(next(&mut inbound), Some((5, 0)));
    assert_eq!(next(&mut inbound), Some((6, 0x87)));
    assert_eq!((next(&mut inbound), inbound.open(), inbound.waiting()), (None, 1, 1));
    inbound.confirmed(2, Reason::SUCCESS, None);
    assert_eq!(next(&mut inbound), Some((7, 0)));
    assert_eq!(inbound.open(), 1, "QoS 2 is open until it is released");
    assert!(inbound.release(7));
    assert_eq!(inbound.open(), 0);
    assert!(!inbound.release(7));
}

#[test]
fn a_qos_2_identifier_is_routed_once() {
    let mut inbound = Inbound::default();
    assert_eq!(inbound.seen(1), Seen::New);
    inbound.routed(1, 2, 1);
    assert_eq!(inbound.seen(1), Seen::Waiting);
    assert!(!inbound.release(1), "nothing was received yet");
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
fn restored_identifiers_count_when_they_come_again() {
    let mut inbound = Inbound::default();
    inbound.restore(9);
    assert_eq!(inbound.open(), 0);
    assert_eq!((inbound.seen(9), inbound.open()), (Seen::Stored, 1));
    assert_eq!((inbound.seen(9), inbound.open()), (Seen::Stored, 1));
    assert!(inbound.release(9));
    assert_eq!(inbound.open(), 0);
}

#[test]
fn identifiers_of_records_are_derived_and_others_avoid_them() {
    assert_eq!(Outbound::derived(Offset(0)), 1);
    assert_eq!(Outbound::derived(Offset(65_534)), 65_535);
    assert_eq!(Outbound::derived(Offset(65_535)), 1);
    let mut outbound = Outbound::default();
    let consumer = Some(ConsumerId(1));
    let sent = Sent { consumer, offset: Offset(0), awaited: Awaited::PubAck };
    outbound.insert(1, sent);
    assert_eq!(outbound.free(), Some(2));
    for id in 1..=u16::MAX {
        outbound.insert(id, sent);
    }
    assert_eq!(outbound.free(), None);
    outbound.remove(500);
    assert_eq!(outbound.free(), Some(500));
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
fn identifiers_that_are_owed_are_not_given_to_others() {
    let mut outbound = Outbound::default();
    outbound.owe(65_534..65_538);
    // Offsets 65,534 and 65,535 to 65,537 have 65,535, 1, 2 and 3.
    assert_eq!(outbound.free(), Some(4));
    outbound.comes(Offset(65_535));
    let mut other = Outbound::default();
    other.owe(0..2);
    assert_eq!(other.free(), Some(3));
    other.comes(Offset(1));
    let again: Vec<u16> = (0..65_534).filter_map(|_| other.free()).collect();
    assert_eq!((again.len(), again[65_533]), (65_534, 2));
    let mut all = Outbound::default();
    all.owe(5..70_000);
    assert_eq!(all.free(), None);
}

#[test]
fn identifiers_of_a_consumer_that_is_gone_stay_taken() {
    let mut outbound = Outbound::default();
    let consumer = Some(ConsumerId(1));
    let sent = Sent { consumer, offset: Offset(0), awaited: Awaited::PubAck };
    outbound.insert(1, sent);
    outbound.insert(2, Sent { consumer: Some(ConsumerId(2)), ..sent });
    outbound.forget(ConsumerId(2));
    assert_eq!(outbound.get(2), Some(Sent { consumer: None, ..sent }));
    assert_eq!((outbound.free(), outbound.orphans()), (Some(3), 1));
    outbound.remove(1);
    assert_eq!(outbound.orphans(), 1);
    outbound.remove(2);
    assert_eq!((outbound.get(2), outbound.orphans()), (None, 0));
}
