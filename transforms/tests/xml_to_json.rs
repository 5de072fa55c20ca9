//! The xml-to-json module, as it is shipped, in a route.

mod common;

use common::{apply, bodies, compile, fault, formats, message, message_with, route};
use crossdock_core::Value;
use crossdock_core::transform::{ContentRoute, Cost, FailureKind, Verdict};
use serde_json::{Value as Json, json};

/// The committed module, or a fresh build named by the environment.
fn module() -> String {
    let fresh = std::env::var("CROSSDOCK_XML_TO_JSON");
    fresh.unwrap_or_else(|_| "../examples/xml-to-json.wasm".into())
}

fn with(options: Json) -> ContentRoute {
    route(json!({
        "steps": [{ "wasm": module(), "with": options }],
        "limits": { "deadline": "2s" },
    }))
}

#[test]
fn the_stock_example() {
    let route = route(json!({
        "steps": [
            { "wasm": module(), "with": { "attributes": "plain", "rename": { "id": "item_id" }, "numbers": ["stock"] } },
            { "set": { "priority": "CASE WHEN json('$.stock') < 100 THEN 7 ELSE 4 END" } },
        ],
        "to": ["queue:inventory", "topic:inventory/{json('$.item_id')}"],
    }));
    assert_eq!(route.transform.cost(), Cost::Queued);
    let input = message_with(r#"<item id="I101" stock="50"/>"#, |fields| {
        fields.properties.content_type = Some("application/xml".into());
        fields.headers.push(("batch".into(), Value::I32(3)));
    });
    let (verdict, out) = apply(&route, &input).unwrap();
    assert_eq!((verdict, out.len()), (Verdict::Emit, 2));
    let json: Json = serde_json::from_slice(out[0].body()).unwrap();
    assert_eq!(json, json!({ "item_id": "I101", "stock": 50 }));
    assert_eq!(out[0].body().as_ref(), br#"{"item_id":"I101","stock":50}"#);
    assert_eq!(out[0].address().to_string(), "queue:inventory");
    assert_eq!(out[1].address().to_string(), "exchange:topics/inventory/I101");
    for message in &out {
        let fields = message.fields(&formats());
        assert_eq!(fields.properties.content_type.as_deref(), Some("application/json"));
        assert_eq!(fields.header("batch"), Some(&Value::I32(3)));
        assert_eq!(message.meta().priority, Some(7));
        assert!(message.meta().durable);
    }
}

#[test]
fn bad_documents_are_the_messages_fault() {
    let route = with(json!({}));
    for (body, reason) in [
        ("<item id=", "a value without quotes (at byte 9)"),
        ("<a><b></a>", "expected `</b>`"),
        ("not xml", "text outside the root element"),
        ("", "there is no element"),
        (
            "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
            "a document type is not allowed",
        ),
        (&"<a>".repeat(200), "nested deeper than 100"),
    ] {
        let (kind, text) = fault(&route, body);
        assert_eq!(kind, FailureKind::Guest, "{body}");
        assert!(text.contains(reason), "{body}: {text}");
    }
    let binary = apply(&route, &message(vec![b'<', 0xff], &[])).unwrap_err();
    assert!(binary.text.contains("not UTF-8 from byte 1"), "{}", binary.text);
    assert_eq!(&*binary.module, module());
    assert_eq!(bodies(&route, "<a>fine</a>"), [r#"{"a":"fine"}"#], "and the next one is served");
}

#[test]
fn documents_in_other_encodings() {
    let route = with(json!({}));
    let utf16: Vec<u8> =
        "\u{feff}<a>\u{e9}</a>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>".to_vec();
    for (body, content_type) in [
        (utf16, None),
        (latin, None),
        (b"<a>\xe9</a>".to_vec(), Some("text/xml; charset=windows-1252")),
        ("\u{feff}\n<a>\u{e9}</a>".into(), Some("text/xml; charset=us-ascii")),
    ] {
        let input = message_with(body, |fields| {
            fields.properties.content_type = content_type.map(Into::into);
        });
        let (_, out) = apply(&route, &input).unwrap();
        assert_eq!(out[0].body().as_ref(), "{\"a\":\"\u{e9}\"}".as_bytes(), "{content_type:?}");
    }
}

#[test]
fn namespaces_and_mixed_content() {
    let xml = "<x:a xmlns:x='urn:1'><x:b>1</x:b><x:b>2</x:b>t</x:a>";
    let kept = r##"{"x:a":{"xmlns:x":"urn:1","x:b":["1","2"],"#text":"t"}}"##;
    assert_eq!(bodies(&with(json!({})), xml), [kept]);
    let stripped = r##"{"a":{"b":["1","2"],"#text":"t"}}"##;
    assert_eq!(bodies(&with(json!({ "namespaces": "strip" })), xml), [stripped]);
}

#[test]
fn a_large_document() {
    let row = r#"<row id="1" name="a &amp; b"><v>0.5</v><v>1.5</v></row>"#;
    let xml = format!("<rows>{}</rows>", row.repeat(64 * 1024 / row.len()));
    let route = with(json!({ "numbers": ["v"], "root": "drop" }));
    let json: Json = serde_json::from_str(&bodies(&route, &xml)[0]).unwrap();
    let rows = json["row"].as_array().unwrap();
    assert_eq!(rows.len(), 64 * 1024 / row.len());
    assert_eq!(rows[7], json!({ "id": "1", "name": "a & b", "v": [0.5, 1.5] }));
}

#[test]
fn options_are_checked_when_the_route_is_compiled() {
    let found =
        compile(json!({ "steps": [{ "wasm": module(), "with": { "atributes": "plain" } }] }));
    let mistakes = found.map(|route| route.name).unwrap_err();
    assert_eq!(mistakes.len(), 1);
    assert!(mistakes[0].starts_with("steps[0].with: unknown field `atributes`"), "{mistakes:?}");
}
