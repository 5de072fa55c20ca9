//! The ledger reports every fault of a broker, and reports nothing that is allowed.

use super::*;

const ORDERED: Arrival = Arrival { place: 0, ordered: true, flagged: Some(false) };
const AGAIN: Arrival = Arrival { place: 0, ordered: true, flagged: Some(true) };

struct Case {
    ledger: Ledger,
    sent: Vec<(Key, Vec<u8>)>,
}

/// Three messages, confirmed.
fn case() -> Case {
    let findings = Arc::new(Findings::new(1));
    let (mut ledger, mut dice) = (Ledger::new("case", findings, 5, (1, 1)), Dice::new(3));
    ledger.begin(1);
    let sent: Vec<(Key, Vec<u8>)> = (0..3).map(|_| ledger.send(0, 0, &mut dice)).collect();
    sent.iter().for_each(|(key, _)| ledger.confirm(*key));
    Case { ledger, sent }
}

impl Case {
    fn deliver(&mut self, number: usize, arrival: Arrival) -> Option<Key> {
        let body = self.sent[number].1.clone();
        self.ledger.deliver(arrival, &body)
    }

    fn key(&self, number: usize) -> Key {
        self.sent[number].0
    }

    #[track_caller]
    fn found(&self, text: &str) {
        let texts = self.ledger.findings.texts();
        assert!(self.ledger.findings.count() == 1 && texts.contains(text), "{text:?} in {texts:?}");
    }

    #[track_caller]
    fn clean(&self) {
        assert_eq!(self.ledger.findings.texts(), "");
    }
}

#[test]
fn an_orderly_run_is_clean() {
    let mut case = case();
    for number in 0..3 {
        case.deliver(number, ORDERED);
        case.ledger.settle(0, case.key(number), false);
    }
    case.clean();
    assert_eq!(case.ledger.owed(0), 0);
    case.ledger.write_off("drained");
    case.clean();
}

#[test]
fn what_is_owed_and_does_not_come_is_lost() {
    let mut case = case();
    case.deliver(0, ORDERED);
    case.ledger.settle(0, case.key(0), false);
    case.deliver(1, ORDERED);
    assert_eq!(case.ledger.debts(0), [case.key(1), case.key(2)]);
    case.ledger.write_off("drained");
    assert_eq!(case.ledger.findings.count(), 2);
    let texts = case.ledger.findings.texts();
    assert!(texts.contains("message 1: lost at place 0 (delivered, never settled)"), "{texts}");
    assert!(texts.contains("publisher 5, message 2: lost at place 0 (never delivered)"), "{texts}");
}

#[test]
fn another_order_is_found() {
    let mut case = case();
    case.deliver(1, ORDERED);
    case.deliver(0, ORDERED);
    case.found("reordered");
}

#[test]
fn other_bytes_and_other_senders_are_found() {
    let mut case = case();
    let mut body = case.sent[0].1.clone();
    *body.last_mut().expect("a body") ^= 1;
    assert_eq!(case.ledger.deliver(ORDERED, &body), None);
    case.found("corrupt");

    let case = self::case();
    let (_, body) = case.sent[2].clone();
    let mut other = Ledger::new("other", Arc::new(Findings::new(1)), 9, (1, 1));
    assert_eq!(other.deliver(ORDERED, &body), None);
    assert!(other.findings.texts().contains("phantom"));
}

#[test]
fn a_second_delivery_says_so_or_is_found() {
    let mut case = case();
    case.deliver(0, ORDERED);
    case.deliver(0, AGAIN);
    case.clean();
    case.deliver(0, ORDERED);
    case.found("not flagged");
}

#[test]
fn what_was_settled_comes_again_only_flagged_and_only_after_a_crash() {
    let mut case = case();
    case.deliver(0, ORDERED);
    case.ledger.settle(0, case.key(0), false);
    case.ledger.begin(2);
    case.deliver(0, AGAIN);
    case.clean();
    assert_eq!(case.ledger.owed(0), 3, "it is owed again");
    case.ledger.settle(0, case.key(0), false);
    case.deliver(0, AGAIN);
    case.found("settled, and delivered again by the same process");
}

#[test]
fn what_was_settled_for_sure_never_comes_again() {
    let mut case = case();
    case.deliver(0, ORDERED);
    case.ledger.settle(0, case.key(0), true);
    case.ledger.begin(2);
    case.deliver(0, AGAIN);
    case.found("its end was stored");
}

#[test]
fn what_was_refused_never_comes() {
    let mut case = case();
    let (key, body) = case.ledger.send(0, 0, &mut Dice::new(4));
    case.ledger.refuse(key);
    case.ledger.deliver(ORDERED, &body);
    case.found("refused or rolled back");
}

#[test]
fn once_is_once() {
    let mut case = case();
    case.ledger.once = true;
    case.deliver(0, ORDERED);
    case.deliver(0, AGAIN);
    case.found("exactly once");
}

#[test]
fn an_unconfirmed_message_may_come_and_is_owed_from_then_on() {
    let mut case = case();
    let (key, body) = case.ledger.send(0, 0, &mut Dice::new(4));
    assert_eq!(case.ledger.owed(0), 3);
    case.ledger.deliver(ORDERED, &body);
    case.clean();
    assert_eq!(case.ledger.debts(0).last(), Some(&key));
}
