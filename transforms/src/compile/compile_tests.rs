//! Mistakes in a route's description: each is found, and all are reported at once.

use super::*;
use crossdock_core::transform::{Cost, Readiness};
use serde_json::json;
use std::sync::LazyLock;

fn compile(spec: Json) -> Result<ContentRoute, Vec<String>> {
    compile_when(spec, Modules::Now)
}

fn compile_when(spec: Json, modules: Modules) -> Result<ContentRoute, Vec<String>> {
    let spec: RouteSpec = serde_json::from_value(spec).map_err(|e| vec![e.to_string()])?;
    static HOST: LazyLock<Host> = LazyLock::new(|| Host::new(None).unwrap());
    let topic_exchange = "topics".into();
    let dollar_topics = [Key::from("$aws/#")];
    let surroundings = Surroundings {
        base_dir: Path::new("nowhere"),
        topic_exchange: &topic_exchange,
        dollar_topics: &dollar_topics,
        modules,
        plugins: &StepMakers::default(),
    };
    let route = HOST.compile(&spec, surroundings);
    route.map_err(|mistakes| mistakes.iter().map(Mistake::to_string).collect())
}

fn mistakes(spec: Json) -> Vec<String> {
    compile(spec).map(|route| route.name).unwrap_err()
}

const QUEUED: &str = "applies to routes with a wasm or plugin step, and this route has none: \
    it runs while its message is published";
const ONCE: &str = "has no effect without a wasm or plugin step: the route runs once, while its message is published";

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
        "required": true,
        "on_error": { "then": "dead-letter", "dead_letter": "queue:bad" },
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
        retry: 0,
        backoff: Duration::from_millis(200),
        then: AfterFailure::DeadLetter,
        dead_letter: Some(Address::queue("bad")),
    };
    assert_eq!(route.on_error, on_error);
    assert_eq!((route.required, route.priority, route.concurrency), (true, 0, 1));
    assert_eq!(route.topics, Topics { constant: Vec::new(), computed: 1 });
}

#[test]
fn a_route_with_a_module() {
    let route = compile_when(
        with(json!({
            "steps": [{ "wasm": "m" }],
            "order": "strict",
            "concurrency": 64,
            "on_error": { "retry": 3, "backoff": "2s", "then": "pass" },
        })),
        Modules::Later,
    )
    .unwrap();
    assert_eq!((route.order, route.concurrency), (Order::Strict, 64));
    let on_error = OnError {
        retry: 3,
        backoff: Duration::from_secs(2),
        then: AfterFailure::Pass,
        dead_letter: None,
    };
    assert_eq!((route.on_error, route.transform.cost()), (on_error, Cost::Queued));
}

#[test]
fn filters_have_a_priority() {
    let filter = |priority: i64| {
        compile(with(json!({ "mode": "filter", "to": [], "priority": priority })))
            .map(|route| route.priority)
    };
    assert_eq!(filter(-7), Ok(-7));
    assert_eq!(filter(i64::from(i32::MAX)), Ok(i32::MAX));
    let reason = "priority: 2147483648 is not from -2147483648 to 2147483647";
    assert_eq!(filter(1 << 31), Err(vec![reason.into()]));
}

#[test]
fn topics_among_the_destinations() {
    let route = compile(with(json!({ "to": [
        "topic:a/b", "topic:a/b", "exchange:topics/c", "topic:{x}/d", "exchange:topics", "exchange:other/a",
        "queue:q", "queue:p", "queue:q", "topic:$aws/things",
    ] })))
    .unwrap();
    let topic = |key: &str| Address::new("topics".into(), Key::from(key));
    assert_eq!(route.topics.constant, [topic("a/b"), topic("c"), topic("$aws/things")]);
    assert_eq!(route.topics.computed, 2);
    assert_eq!(route.queues, ["q".into(), "p".into()] as [Name; 2]);
}

#[test]
fn what_is_the_brokers_own_is_refused() {
    let found = mistakes(with(json!({
        "from": ["queue:route/x", "queue:routes"],
        "to": ["queue:route/r", "topic:$SYS/x", "exchange:topics/$q/a", "exchange:other/$x", "topic:$awsx"],
        "on_error": { "dead_letter": "queue:route/x" },
    })));
    let hidden =
        "begins with $, and such topics are not for messages unless `dollar_topics` names them";
    let expected = [
        "from[0]: the queue 'route/x' is the broker's own".to_string(),
        "to[0]: the queue 'route/r' is the broker's own".to_string(),
        format!("to[1]: '$SYS/x' {hidden}"),
        format!("to[2]: '$q/a' {hidden}"),
        format!("to[4]: '$awsx' {hidden}"),
        "on_error.dead_letter: the queue 'route/x' is the broker's own".to_string(),
    ];
    assert_eq!(found, expected);
    let found = mistakes(with(json!({ "on_error": { "dead_letter": "queue:{x}" } })));
    let reason = "nothing is computed here, so an address has no braces";
    assert_eq!(found, [format!("on_error.dead_letter: {reason}")]);
    let found = mistakes(with(json!({ "on_error": { "dead_letter": "topic:$x" } })));
    assert_eq!(found, [format!("on_error.dead_letter: '$x' {hidden}")]);
}

#[test]
fn modules_later_are_no_mistake() {
    let route = compile_when(with(json!({ "steps": [{ "wasm": "missing" }] })), Modules::Later);
    let transform = route.unwrap().transform;
    let started = std::time::Instant::now();
    while transform.readiness() == Readiness::Starting {
        assert!(started.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
    let reason = "module missing: nowhere/missing.wasm: No such file or directory (os error 2)";
    assert_eq!(transform.readiness(), Readiness::Down(reason.into()));
    let members =
        json!({ "steps": [{ "wasm": "missing", "with": 5 }], "limits": { "memory": "1B" } });
    let found = compile_when(with(members), Modules::Later).map(|route| route.name).unwrap_err();
    assert_eq!(
        found,
        ["limits.memory: must be from 64KiB to 1GiB", "steps[0].with: must be a table"],
        "what is cheap to check is checked"
    );
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
            { "wsam": "missing" },
            { "set": {}, "remove": [] },
            { "set": {}, "with": {} },
            7,
        ],
        "mode": "tpa",
        "priority": "high",
        "required": "yes",
        "order": "stirct",
        "concurrency": 0,
        "isolation": "none",
        "to": ["queue:x{", "topic:a/#", "exchange:/k", "topic:{json('x')}", "nothing"],
        "on_error": { "retry": -1, "backoff": "soon", "then": "explode", "dead_letter": "exchange:x" },
        "limits": { "memory": "2GiB", "deadline": "0ms" },
    }));
    let expected = [
        "name: must be 1 to 64 letters, digits, '-', '_' and '.'",
        "from[0]: 'supplier' is not queue:NAME, topic:a/b or exchange:NAME/KEY",
        "from[1]: + and # must stand alone between slashes",
        "from[2]: streams are not available",
        "from[3]: the name of a queue is empty",
        "when: line 2, column 4: unexpected '?'",
        "mode: unknown word 'tpa'; did you mean 'tap'?",
        "limits.memory: must be from 64KiB to 1GiB",
        "limits.deadline: must be from 1ms to 60s",
        "isolation: 'none' is none of shared, per-message",
        "steps[0].split: this built-in step does not exist yet; use a wasm module",
        "steps[1].nonsense: unknown step; the steps are set, remove, wasm and plugin",
        "steps[2].set.a: line 1, column 4: unexpected the end, expected a value",
        "steps[2].set.b: must be an expression, a number or a boolean",
        "steps[2].set.user_id: cannot be set",
        "steps[3].remove: must be a list of names",
        "steps[4].with: must be a table",
        "steps[5].wasm: nowhere/missing.wasm: No such file or directory (os error 2)",
        "steps[6].wsam: unknown step; did you mean 'wasm'?",
        "steps[7]: a step has exactly one of set, remove, wasm and plugin",
        "steps[8].with: can only be set for a wasm or plugin step",
        "steps[9]: expected a table, found a number",
        "to[0]: { without }",
        "to[1]: 'a/#' has a wildcard, and messages cannot be sent to a wildcard",
        "to[2]: the name of an exchange is empty; a queue is queue:NAME",
        "to[3]: line 1, column 6: a JSON path begins with $",
        "to[4]: 'nothing' is not queue:NAME, topic:a/b or exchange:NAME/KEY",
        "on_error.retry: -1 is not from 0 to 65535",
        "on_error.backoff: 'soon' is not a duration: a whole number with ms, s, m or h",
        "on_error.then: 'explode' is none of dead-letter, pass, drop, reject",
        "on_error.dead_letter: exchange: needs a key: exchange:NAME/KEY",
        "priority: expected a whole number, found a text",
        "order: unknown word 'stirct'; did you mean 'strict'?",
        "concurrency: 0 is not from 1 to 64",
        "required: expected true or false, found a text",
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
        (
            json!({ "priority": 1 }),
            "priority: applies to mode filter: other routes all get the same message",
        ),
        (json!({ "order": "relaxed" }), &format!("order: {QUEUED}")),
        (json!({ "concurrency": 1 }), &format!("concurrency: {QUEUED}")),
        (json!({ "on_error": { "retry": 0 } }), &format!("on_error.retry: {ONCE}")),
        (json!({ "on_error": { "backoff": "1s" } }), &format!("on_error.backoff: {ONCE}")),
        (json!({ "on_error": 5 }), "on_error: expected a table, found a number"),
        (json!({ "limits": ["1MiB"] }), "limits: expected a table, found a list"),
        (json!({ "from": "queue:in" }), "from: expected a list, found a text"),
        (json!({ "to": [7] }), "to[0]: expected a text, found a number"),
        (json!({ "steps": {} }), "steps: expected a list, found a table"),
        (json!({ "when": true }), "when: expected a text, found true or false"),
        (json!({ "name": 7 }), "name: expected a text, found a number"),
        (
            json!({ "mode": "fitler", "priority": 1 }),
            "mode: unknown word 'fitler'; did you mean 'filter'?",
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
        json!({ "on_error": { "retries": 3 } }),
        json!({ "limits": { "mem": "1MiB" } }),
    ] {
        let error = mistakes(with(members)).remove(0);
        assert!(error.contains("unknown"), "{error}");
    }
}
