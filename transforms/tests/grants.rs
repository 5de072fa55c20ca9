//! What a step grants to its module: addresses of outputs, the log, numbers of its own.

mod common;

use common::{apply, attempt, bodies, compile, fault, message, route};
use crossdock_core::transform::{FailureKind, Number};
use serde_json::{Value as Json, json};

const MISBEHAVE: &str = "tests/misbehave.wasm";
const REPORTER: &str = "tests/reporter.wasm";

fn mistakes(step: Json) -> Vec<String> {
    compile(json!({ "steps": [step] })).map(|route| route.name).unwrap_err()
}

#[test]
fn outputs_go_to_granted_addresses_and_the_routes_own() {
    let route = route(json!({
        "to": ["queue:out", "topic:own/a"],
        "steps": [{ "wasm": MISBEHAVE, "destinations": ["queue:q", "topic:a/+", "exchange:x/#"] }],
    }));
    for address in ["queue:out", "topic:own/a", "queue:q", "topic:a/b", "exchange:x/any/key"] {
        assert_eq!(bodies(&route, &format!("split {address}=body")), ["body"], "{address}");
    }
    for address in ["queue:other", "topic:own/b", "topic:a/b/c", "topic:q", "exchange:y/a"] {
        let (kind, text) = fault(&route, &format!("split {address}=body queue:q=other"));
        assert_eq!(kind, FailureKind::Guest, "{address}");
        let expected = format!(
            "address of an output: {address} is none of the route's own, nor one of the step's `destinations`"
        );
        assert_eq!(text, expected);
    }
    // A rule of the broker is no matter of grants.
    assert!(fault(&route, "split queue:route/r=x").1.contains("the broker's own"));
}

#[test]
fn a_granted_queue_is_one_of_the_routes_own() {
    let route = route(json!({
        "steps": [{ "wasm": MISBEHAVE, "destinations": ["queue:q", "topic:a/+", "queue:out"] }],
    }));
    let names: Vec<&str> = route.queues.iter().map(|name| &**name).collect();
    assert_eq!(names, ["out", "q"], "they are declared with it, each once");
}

#[test]
fn an_import_that_is_not_granted_is_refused_by_name() {
    let found = mistakes(json!({ "wasm": REPORTER, "grants": ["log"] }));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("steps[0].wasm: "), "{found:?}");
    assert!(
        found[0].ends_with(
            "imports crossdock:transform/metrics@1.0.0, which its step does not grant: \
             add grants = [\"metrics\"] to the step"
        ),
        "{found:?}"
    );
}

#[test]
fn mistakes_of_grants_are_named() {
    let found = mistakes(json!({
        "wasm": MISBEHAVE,
        "grants": ["log", "files", 7],
        "destinations": ["topic:a/b#", "nowhere", "queue:route/r"],
    }));
    let starts = [
        "steps[0].grants[2]: expected a text",
        "steps[0].grants[1]: 'files' is none of log, metrics",
        "steps[0].destinations[0]: + and # must stand alone",
        "steps[0].destinations[1]: 'nowhere' is not queue:NAME",
        "steps[0].destinations[2]: the queue 'route/r' is the broker's own",
    ];
    for start in starts {
        assert!(found.iter().any(|found| found.starts_with(start)), "{start}: {found:#?}");
    }
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    let found = mistakes(json!({ "remove": ["a"], "grants": [], "destinations": [] }));
    assert_eq!(
        found,
        [
            "steps[0].grants: can only be set for a wasm step",
            "steps[0].destinations: can only be set for a wasm or plugin step"
        ]
    );
}

#[test]
fn an_unknown_key_of_a_step_is_named_with_those_that_there_are() {
    let found = mistakes(json!({ "wasm": MISBEHAVE, "grant": ["log"], "timeout": "1s" }));
    assert_eq!(
        found,
        [
            "steps[0].grant: unknown key; did you mean 'grants'?",
            "steps[0].timeout: unknown key; beside `wasm` there can be with, grants, destinations, shadow, \
             kv_max",
        ]
    );
    let found = mistakes(json!({ "set": { "a": 1 }, "when": "a = 1" }));
    assert_eq!(found, ["steps[0].when: unknown key; a step `set` has no other keys"]);
}

#[test]
fn a_module_counts_and_knows_the_attempt() {
    let route = route(json!({
        "steps": [{ "wasm": REPORTER, "grants": ["metrics", "log"] }],
    }));
    for body in ["count seen", "gauge depth", "count seen", "log 3"] {
        assert_eq!(bodies(&route, body), ["0"], "{body}");
    }
    let (_, out) = attempt(&route, &message("log", &[]), 4).unwrap();
    assert_eq!(&out[0].body()[..], b"4");
    let (kind, text) = fault(&route, "gauge seen");
    assert_eq!((kind, text.as_str()), (FailureKind::Guest, "'seen' is a counter"));
    assert!(fault(&route, "count No").1.contains("lower-case"));
    let of_route = route.transform.modules().remove(0);
    assert_eq!(
        of_route.numbers,
        [("depth".to_owned(), Number::Gauge(-0.5)), ("seen".to_owned(), Number::Counter(4))]
    );
    assert!(apply(&route, &message("log 500", &[])).is_ok(), "too many lines are no failure");
}
