//! Mistakes in a route's description: each is found, and all are reported at once.

use super::*;
use crossdock_core::Key;
use crossdock_core::transform::AfterFailure;
use serde_json::json;

fn compile(spec: Json) -> Result<ContentRoute, Vec<String>> {
    let spec: RouteSpec = serde_json::from_value(spec).map_err(|e| vec![e.to_string()])?;
    let host = Host::new(None).unwrap();
    let route = host.compile(&spec, Path::new("nowhere"), &"topics".into());
    route.map_err(|mistakes| mistakes.iter().map(Mistake::to_string).collect())
}

fn mistakes(spec: Json) -> Vec<String> {
    compile(spec).map(|route| route.name).unwrap_err()
}

/// A good route with some members replaced.
fn with(members: Json) -> Json {
    let mut spec = json!({ "name": "r", "from": ["queue:in"], "to": ["queue:out"] });
    let Json::Object(members) = members else { panic!("an object") };
    spec.as_object_mut().unwrap().extend(members);
    spec
}

#[test]
fn a_whole_route() {
    let route = compile(json!({
        "name": "supplier-stock",
        "from": ["topic:suppliers/+/stock", "queue:supplier.in", "exchange:orders/eu/#", "exchange:all"],
        "when": "content_type LIKE '%xml%' OR (content_type IS NULL AND body LIKE '<%')",
        "steps": [
            { "set": { "priority": "CASE region WHEN 'eu' THEN 7 ELSE 4 END", "kind": 3 } },
            { "remove": ["x-trace"] },
        ],
        "to": ["queue:inventory", "topic:inventory/{json('$.item_id')}", "exchange:audit"],
        "mode": "tap",
        "on_error": { "retry": 3, "backoff": "200ms", "then": "dead-letter", "dead_letter": "queue:bad" },
    }))
    .unwrap();
    assert_eq!(
        route.watches,
        [
            Watch::Exchange("topics".into(), Key::from("suppliers/+/stock")),
            Watch::Queue("supplier.in".into()),
            Watch::Exchange("orders".into(), Key::from("eu/#")),
            Watch::Exchange("all".into(), Key::from("#")),
        ]
    );
    assert_eq!(route.queues, ["inventory".into(), "bad".into()] as [Name; 2]);
    assert_eq!((route.mode, route.transform.cost()), (Mode::Tap, Cost::Inline));
    let on_error = OnError {
        retry: 3,
        backoff: Duration::from_millis(200),
        then: AfterFailure::DeadLetter,
        dead_letter: Some(Address::queue("bad")),
    };
    assert_eq!(route.on_error, on_error);
}

#[test]
fn all_mistakes_are_reported_at_once() {
    let found = mistakes(json!({
        "name": "no spaces",
        "from": ["supplier", "topic:a/b+", "stream:s", "queue:"],
        "when": "a = 1 AND\n b ?",
        "steps": [
            { "split": {} },
            { "nonsense": {} },
            { "set": { "a": "1 +", "b": [], "user_id": "'x'" } },
            { "remove": "a" },
            { "wasm": "missing", "with": 5 },
            { "wasm": "missing" },
            { "set": {}, "remove": [] },
            { "set": {}, "with": {} },
        ],
        "to": ["queue:x{", "topic:a/#", "exchange:/k", "topic:{json('x')}", "nothing"],
        "on_error": { "backoff": "soon", "then": "drop", "dead_letter": "exchange:x" },
        "limits": { "memory": "2GiB", "deadline": "0ms" },
    }));
    let expected = [
        "name: must be 1 to 64 letters, digits, '-', '_' and '.'",
        "from[0]: 'supplier' is not queue:NAME, topic:a/b or exchange:NAME/KEY",
        "from[1]: + and # must stand alone between slashes",
        "from[2]: streams are not available",
        "from[3]: the name of a queue is empty",
        "when: line 2, column 4: unexpected '?'",
        "limits.memory: must be from 64KiB to 1GiB",
        "limits.deadline: must be from 1ms to 60s",
        "steps[0].split: this built-in step does not exist yet; use a wasm module",
        "steps[1].nonsense: unknown step; the steps are set, remove and wasm",
        "steps[2].set.a: line 1, column 4: unexpected the end, expected a value",
        "steps[2].set.b: must be an expression, a number or a boolean",
        "steps[2].set.user_id: cannot be set",
        "steps[3].remove: must be a list of names",
        "steps[4].with: must be a table",
        "steps[5].wasm: nowhere/missing.wasm: No such file or directory (os error 2)",
        "steps[6]: a step has exactly one of set, remove and wasm",
        "steps[7].with: can only be set for a wasm step",
        "to[0]: { without }",
        "to[1]: 'a/#' has a wildcard, and messages cannot be sent to a wildcard",
        "to[2]: the name of an exchange is empty; a queue is queue:NAME",
        "to[3]: line 1, column 6: a JSON path begins with $",
        "to[4]: 'nothing' is not queue:NAME, topic:a/b or exchange:NAME/KEY",
        "on_error.backoff: 'soon' is not a duration: a whole number with ms, s, m or h",
        "on_error.dead_letter: exchange: needs a key: exchange:NAME/KEY",
    ];
    assert_eq!(found, expected);
}

#[test]
fn parts_that_do_not_fit_together() {
    let cases = [
        (json!({ "from": [] }), "from: is empty: name at least one address to watch"),
        (json!({ "to": [] }), "to: is empty: name at least one address to send results to"),
        (
            json!({ "mode": "filter" }),
            "to: mode filter sends the result where the original was going, so it has no 'to'",
        ),
        (
            json!({ "limits": { "memory": "1MiB" } }),
            "limits: apply to wasm steps, and this route has none",
        ),
        (
            json!({ "isolation": "per-message" }),
            "isolation: applies to wasm steps, and this route has none",
        ),
        (json!({ "when": "a + 1" }), "when: line 1, column 1: this is a value, not a condition"),
        (
            json!({ "on_error": { "then": "pass", "dead_letter": "queue:q" } }),
            "on_error.dead_letter: can only be set with then = \"dead-letter\"",
        ),
    ];
    for (members, expected) in cases {
        assert_eq!(mistakes(with(members)), [expected]);
    }
    assert!(compile(with(json!({ "mode": "filter", "to": [] }))).is_ok());
    assert!(
        compile(with(json!({ "on_error": { "then": "reject" } }))).is_ok(),
        "inline routes may reject"
    );
}

#[test]
fn unknown_keys_are_refused() {
    for members in [
        json!({ "form": [] }),
        json!({ "mode": "copy" }),
        json!({ "on_error": { "retries": 3 } }),
        json!({ "on_error": { "then": "explode" } }),
        json!({ "limits": { "mem": "1MiB" } }),
        json!({ "isolation": "none" }),
    ] {
        let error = mistakes(with(members)).remove(0);
        assert!(error.contains("unknown"), "{error}");
    }
}
