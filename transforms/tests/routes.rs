//! Routes without modules: predicates, `set`, `remove`, destinations, and which parts of the original are kept.

mod common;

use common::{apply, fault, formats, message, message_with, route};
use crossdock_core::transform::{Cost, FailureKind, Verdict};
use crossdock_core::{Address, Key, Timestamp, Value};
use serde_json::json;

#[test]
fn predicates_look_at_headers_and_bodies() {
    let xml =
        || message("<item id='7'/>", &[("region", Value::text("eu")), ("n", Value::text("12"))]);
    let cases = [
        ("content_type LIKE '%xml%' OR (content_type IS NULL AND body LIKE '<%')", true),
        ("region = 'eu' AND n > 11", true),
        ("xml('/item/@id') = 7", true),
        ("xml('/item/@x') IS NULL", true),
        ("json('$.id') = 7", false),
        ("NOT json('$.id') = 7", false),
        ("address = 'topic:a/b'", true),
        ("address LIKE 'queue:%'", false),
    ];
    for (when, expected) in cases {
        let route = route(json!({ "when": when }));
        assert_eq!(route.transform.wants(&xml(), &formats()), expected, "{when}");
    }
    let json = message(r#"{"a":{"b":[1,{"c":true}]}}"#, &[]);
    let route = route(json!({ "when": "json('$.a.b[1].c') AND json('$.a.b[0]') = 1" }));
    assert!(route.transform.wants(&json, &formats()));
    let large = message(r#"{"id":98765432109876543210}"#, &[]);
    let large_id = common::route(json!({
        "when": "json('$.id') > 5 AND json('$.id') = '98765432109876543210'",
        "to": ["queue:{json('$.id')}"],
    }));
    assert!(large_id.transform.wants(&large, &formats()));
    let (_, out) = apply(&large_id, &large).unwrap();
    assert_eq!(out[0].address(), &Address::queue("98765432109876543210"), "digit by digit");
    let binary = message(vec![0xff, 0xfe], &[]);
    assert!(!route.transform.wants(&binary, &formats()));
}

#[test]
fn set_and_remove() {
    let route = route(json!({ "steps": [
        { "set": {
            "priority": "CASE region WHEN 'eu' THEN 7 ELSE 4 END",
            "content_type": "'text/plain'",
            "total": "json('$.n') * 2",
            "was": "old",
            "old": "'new'",
            "flag": true,
            "gone": "missing",
        } },
        { "remove": ["secret", "correlation_id"] },
    ] }));
    assert_eq!(route.transform.cost(), Cost::Inline);
    let input = message_with(r#"{"n": 21}"#, |fields| {
        fields.properties.message_id = Some(crossdock_core::Id::Text("m1".into()));
        fields.properties.correlation_id = Some(crossdock_core::Id::U64(5));
        for (name, value) in [("region", "eu"), ("old", "1"), ("secret", "x"), ("gone", "y")] {
            fields.headers.push((name.into(), Value::text(value)));
        }
    });
    let (verdict, out) = apply(&route, &input).unwrap();
    assert_eq!((verdict, out.len()), (Verdict::Emit, 1));
    let fields = out[0].fields(&formats()).clone();
    let header = |name: &str| fields.header(name).cloned();
    assert_eq!(header("total"), Some(Value::I64(42)));
    assert_eq!(
        header("was"),
        Some(Value::text("1")),
        "all expressions see the message before the step"
    );
    assert_eq!(header("old"), Some(Value::text("new")));
    assert_eq!(header("flag"), Some(Value::Bool(true)));
    assert_eq!((header("gone"), header("secret")), (None, None));
    assert_eq!(fields.properties.content_type.as_deref(), Some("text/plain"));
    assert_eq!(fields.properties.correlation_id, None);
    assert!(fields.properties.message_id.is_some());
    let meta = out[0].meta();
    assert_eq!((meta.priority, meta.durable, meta.level), (Some(7), true, 1));
    assert_eq!((meta.published, meta.expires), (Timestamp(1_000), Some(Timestamp(9_000))));
    assert_eq!((meta.hops, &*meta.origin.client), (0, "c1"), "the core counts hops");
    assert_eq!(out[0].body().as_ptr(), input.body().as_ptr(), "the body is shared, not copied");
}

#[test]
fn destinations_are_literal_and_computed() {
    let route = route(json!({ "to": [
        "queue:fixed", "queue:{region}.in", "topic:stock/{json('$.id')}/{{x}}", "exchange:audit", "exchange:e/k",
        "topic:{CASE WHEN region = '}' THEN 'b' ELSE 'o' END}",
    ] }));
    let (_, out) =
        apply(&route, &message(r#"{"id": 5}"#, &[("region", Value::text("eu"))])).unwrap();
    let to: Vec<Address> = out.iter().map(|m| m.address().clone()).collect();
    let topic = |key: &str| Address::new("topics".into(), Key::from(key));
    assert_eq!(
        to,
        [
            Address::queue("fixed"),
            Address::queue("eu.in"),
            topic("stock/5/{x}"),
            Address::new("audit".into(), Key::from("a/b")),
            Address::new("e".into(), Key::from("k")),
            topic("o"),
        ]
    );
    assert_eq!(route.queues, ["fixed".into()] as [crossdock_core::Name; 1]);
    assert_eq!(
        out[0].native().bytes.as_ptr(),
        out[5].native().bytes.as_ptr(),
        "headers are shared"
    );
}

#[test]
fn computed_destinations_can_fail() {
    let missing = route(json!({ "to": ["queue:ok", "topic:{json('$.id')}"] }));
    let null = (FailureKind::Guest, "a computed part of the address is NULL".into());
    assert_eq!(fault(&missing, "{}"), null);
    let mut out = vec![message("before", &[])];
    let failed = missing.transform.apply(&message("{}", &[]), 0, &formats(), &mut out);
    assert!(failed.is_err());
    assert_eq!(out.len(), 1, "no half of the outputs is left");
    let wild = route(json!({ "to": ["topic:{json('$.id')}"] }));
    assert!(fault(&wild, r##"{"id": "a/#"}"##).1.contains("wildcard"));
    let long = route(json!({ "to": ["queue:{json('$.id')}"] }));
    assert!(fault(&long, &format!("{{\"id\":\"{}\"}}", "x".repeat(300))).1.contains("longer"));
    let own = "the queue 'route/x' is the broker's own";
    assert_eq!(fault(&long, r#"{"id": "route/x"}"#), (FailureKind::Guest, own.into()));
    let (kind, text) = fault(&wild, r#"{"id": "$SYS/x"}"#);
    assert!(kind == FailureKind::Guest && text.starts_with("'$SYS/x' begins with $"), "{text}");
    let (_, out) = apply(&wild, &message(r#"{"id": "$aws/x"}"#, &[])).unwrap();
    assert_eq!(out[0].address().to_string(), "exchange:topics/$aws/x");
    let same_key = route(json!({ "to": ["exchange:topics"] }));
    let hidden = message("", &[]).with(Address::queue("$x"), message("", &[]).meta().clone());
    assert_eq!(apply(&same_key, &hidden).unwrap_err().kind, FailureKind::Guest);
    let priority = route(json!({ "steps": [{ "set": { "priority": "json('$.p')" } }] }));
    assert_eq!(fault(&priority, r#"{"p": 256}"#).1, "priority is not a number from 0 to 255");
}

#[test]
fn filter_keeps_the_address() {
    let route = route(json!({ "mode": "filter", "to": [], "steps": [{ "set": { "x": "1" } }] }));
    let (verdict, out) = apply(&route, &message("b", &[])).unwrap();
    assert_eq!(verdict, Verdict::Emit);
    assert_eq!(out[0].address(), &Address::new("topics".into(), Key::from("a/b")));
    assert_eq!(out[0].fields(&formats()).header("x"), Some(&Value::I64(1)));
}
