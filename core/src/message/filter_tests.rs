//! Filters: what each condition means, and what errors say.

use super::*;
use crate::message::{Death, Id, Key, Properties, Reason};
use std::sync::Arc;

fn message() -> Message {
    let mut meta = Meta::new(Arc::default(), Timestamp(1_000_000));
    meta.priority = Some(7);
    let death = |queue: &str, reason, time| Death {
        queue: queue.into(),
        reason,
        count: 1,
        time: Timestamp(time),
        address: Address::queue(queue),
        ttl_ms: None,
        detail: None,
        copies: None,
    };
    let deaths = [death("late", Reason::Expired, 20), death("early", Reason::Rejected, 10)];
    meta.deaths = Some(Arc::from(deaths));
    let fields = Fields {
        properties: Properties {
            message_id: Some(Id::U64(12)),
            kind: Some("order".into()),
            ..Properties::default()
        },
        headers: vec![
            ("tenant".into(), Value::text("acme")),
            ("tries".into(), Value::I32(5)),
            ("tries".into(), Value::I32(6)),
            ("type".into(), Value::text("mine")),
        ],
        annotations: Vec::new(),
    };
    let address = Address::new("amq.topic".into(), Key::from("a/b"));
    Message::from_fields(address, meta, &fields, Bytes::from_static(b"one \xff two"))
}

fn holds(conditions: &[&str]) -> bool {
    let filter = Filter::parse(conditions.iter().copied()).expect("a filter");
    filter.matches(&message(), &Formats::new(Vec::new()), Timestamp(1_600_000))
}

#[test]
fn each_condition_holds_for_what_it_says() {
    let yes = [
        "tenant=acme",
        "tenant~cm",
        "has:tenant",
        "tries=5",
        "tries=5.0",
        "message-id=12",
        "type=order",
        "header:type=mine",
        "priority=7",
        "durable=false",
        "key=a/b",
        "key=a.b",
        "key~a.",
        "exchange=amq.topic",
        "death.queue=early",
        "death.reason=rejected",
        "has:death.reason",
        "body~two",
        "body~one ",
        "age>9m",
        "age<11m",
        "age>599999ms",
    ];
    let no = [
        "tenant=Acme",
        "tenant~acmes",
        "has:nothing",
        "nothing=",
        "tries=6",
        "type=mine",
        "has:subject",
        "key=a",
        "exchange=",
        "death.queue=late",
        "death.reason=expired",
        "body~three",
        "age>10m",
        "age<600s",
        "age>1d",
    ];
    yes.iter().for_each(|text| assert!(holds(&[text]), "{text}"));
    no.iter().for_each(|text| assert!(!holds(&[text]), "{text}"));
}

#[test]
fn all_conditions_have_to_hold() {
    assert!(holds(&["tenant=acme", "body~two", "age>1m"]));
    assert!(!holds(&["tenant=acme", "body~three"]));
    assert!(holds(&[]));
    let all = Filter::all();
    assert!(all.is_all() && !Filter::parse(["age>1s"]).expect("valid").is_all());
    let two = Filter::parse(["a=b", "body~c"]).expect("valid");
    assert_eq!(
        (all.to_string(), two.to_string()),
        ("all messages".into(), "a=b and body~c".into())
    );
}

#[test]
fn bytes_that_are_no_text_are_found() {
    let with = |part: &'static [u8]| Filter::all().body_contains(Bytes::from_static(part));
    let formats = Formats::new(Vec::new());
    let found = |part| with(part).expect("valid").matches(&message(), &formats, Timestamp(0));
    assert!(found(b"\xff t") && !found(b"\xfe"));
    assert!(with(b"").is_err());
    assert!(Filter::all().body_contains(vec![0; TEXT_MAX + 1]).is_err());
}

#[test]
fn an_error_names_the_part_that_is_wrong() {
    let error = |text: &str| Filter::parse([text]).expect_err(text).to_string();
    for (text, part) in [
        ("tenant", "'tenant' has no operator"),
        ("", "'' has no operator"),
        ("=x", "'=x' names no field"),
        ("has:", "'has:' names no field"),
        ("header:=x", "names no field"),
        ("a~", "looks for nothing behind '~'"),
        ("body=x", "can only look for a part"),
        ("body~", "looks for nothing"),
        ("has:body", "which always is"),
        ("age>10", "has '10' for a length of time"),
        ("age>10x", "has '10x' for a length of time"),
        ("age>99999999999999999999d", "for a length of time"),
        ("age>m", "has 'm' for a length of time"),
        ("age=1s", "compares an age"),
        ("tries>5", "compares 'tries' with '>'"),
        ("death.time=5", "asks for 'death.time'"),
        (&"x=".repeat(600), "has 1200 bytes"),
    ] {
        let error = error(text);
        assert!(error.contains(part), "{text}: {error}");
    }
    let many = ["a=b"; CONDITIONS_MAX + 1];
    assert!(Filter::parse(many).is_err() && Filter::parse(many[1..].iter().copied()).is_ok());
}

#[test]
fn what_a_filter_decodes_is_not_kept() {
    let message = message();
    let before = message.footprint();
    let filter = Filter::parse(["tenant=acme"]).expect("valid");
    assert!(filter.matches(&message, &Formats::new(Vec::new()), Timestamp(0)));
    assert_eq!(message.footprint(), before);
}
