//! Carrying and restoring.

use super::*;
use crate::message::fate::Losses;
use crate::message::{Address, Meta, Properties, Timestamp};
use bytes::Bytes;
use std::sync::Arc;

fn message(priority: Option<u8>) -> Message {
    let mut meta = Meta::new(Arc::default(), Timestamp(1));
    meta.priority = priority;
    Message::from_fields(Address::queue("q"), meta, &Fields::default(), Bytes::new())
}

fn fields() -> Fields {
    let properties = Properties {
        message_id: Some(Id::Uuid([0xab; 16])),
        correlation_id: Some(Id::Binary(Bytes::from_static(b"\0\xff"))),
        created_at: Some(1234),
        kind: Some("order".into()),
        app_id: Some("app".into()),
        group_id: Some("g".into()),
        group_seq: Some(7),
        body_kind: BodyKind::Text,
        ..Properties::default()
    };
    Fields { properties, ..Fields::default() }
}

#[test]
fn what_is_carried_comes_back() {
    let mut out = Vec::new();
    carried(
        &message(Some(0)),
        &fields(),
        (Slots::NONE, Carry::Full),
        &mut out,
        &mut Losses::default(),
    );
    assert!(out.contains(&("mq.priority".into(), "0".into())));
    let mut back = Fields {
        headers: out.into_iter().map(|(n, v)| (n, Value::text(v))).collect(),
        ..Fields::default()
    };
    restore(&mut back, Slots::NONE);
    assert_eq!(back, fields());
}

#[test]
fn slots_and_levels_limit_what_is_carried() {
    let names = |slots, carry| {
        let mut out = Vec::new();
        carried(&message(Some(9)), &fields(), (slots, carry), &mut out, &mut Losses::default());
        out.into_iter().map(|(n, _)| n.to_string()).collect::<Vec<_>>()
    };
    assert!(names(Slots::NONE, Carry::Off).is_empty());
    let standard = names(Slots::APP_ID | Slots::PRIORITY, Carry::Standard);
    assert_eq!(standard, ["mq.type", "mq.message-id", "mq.timestamp"]);
    assert!(names(Slots::NONE, Carry::Full).contains(&"mq.correlation-id".to_string()));
}

#[test]
fn nobody_forges_what_only_the_broker_says() {
    let header = |n: &str| (Name::from(n), Value::text("x"));
    let mut fields = Fields {
        headers: vec![header("mq.user-id"), header("mq.death"), header("a"), header("mq.nonsense")],
        ..Fields::default()
    };
    restore(&mut fields, Slots::NONE);
    assert_eq!(fields, Fields { headers: vec![header("a")], ..Fields::default() });
}

#[test]
fn typed_headers_come_back_from_text() {
    let headers: Vec<(Name, Value)> = vec![
        ("b".into(), Value::Bool(true)),
        ("n,=%".into(), Value::I32(-5)),
        ("t".into(), Value::text("5")),
        ("r".into(), Value::text("first")),
        ("d".into(), Value::Decimal { scale: 2, value: -5 }),
        ("f".into(), Value::F64(0.1)),
        ("inf".into(), Value::F32(f32::INFINITY)),
        ("u".into(), Value::Uuid([1; 16])),
        ("raw".into(), Value::Bytes(Bytes::from_static(b"\0\x01\xfe"))),
        ("ts".into(), Value::Timestamp(1_700_000_000_000)),
        ("l".into(), Value::List(vec![Value::I64(1), Value::text("a\"b"), Value::Null])),
        ("m".into(), Value::Map(vec![("k".into(), Value::Bool(false))])),
    ];
    let mut out = Vec::new();
    headers_as_text(&headers, &mut out);
    let mut fields = Fields {
        headers: out.into_iter().map(|(n, v)| (n, Value::text(v))).collect(),
        ..Fields::default()
    };
    restore(&mut fields, Slots::NONE);
    assert_eq!(fields.headers, headers);
}

#[test]
fn ids() {
    assert_eq!(
        id_to_text(&Id::Binary(Bytes::from_static(b"\xff\xff")), 255).unwrap(),
        "mq.b64.__8"
    );
    assert_eq!(id_to_text(&Id::Text("x".repeat(300).into()), 255), None);
    for id in [Id::Text("a".into()), Id::Uuid([9; 16]), Id::Binary(Bytes::from_static(b"\0"))] {
        assert_eq!(id_from_text(&id_to_text(&id, 255).unwrap()), id);
    }
}

#[test]
fn percent() {
    assert_eq!(percent_encode("a/b%c\n", b"/"), "a%2Fb%25c%0A");
    assert_eq!(percent_decode("a%2fb%25").unwrap(), b"a/b%");
    assert_eq!(percent_decode("%2"), None);
    assert_eq!(percent_decode("%zz"), None);
}
