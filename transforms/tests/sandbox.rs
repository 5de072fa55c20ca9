//! The sandbox: limits, isolation, verdicts, the cache, the breaker. The module does what the message's body orders
//! (transforms/guests/misbehave).

mod common;

use common::{
    apply, attempt, bodies, compile, compile_on, compile_when, fault, formats, here, message,
    message_with, route, scratch, sent_by,
};
use crossdock_core::transform::{ContentRoute, FailureKind, Readiness, Transform, Verdict};
use crossdock_core::{Id, Value};
use crossdock_transforms::{Host, Modules};
use serde_json::{Value as Json, json};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MODULE: &str = "tests/misbehave.wasm";

fn misbehave(members: Json) -> ContentRoute {
    let mut route_members = json!({ "steps": [{ "wasm": MODULE }] });
    route_members.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    route(route_members)
}

#[test]
fn a_loop_and_a_sleep_end_at_the_deadline() {
    for body in ["loop", "sleep"] {
        let route = misbehave(json!({ "limits": { "deadline": "20ms" } }));
        let started = Instant::now();
        let (kind, text) = fault(&route, body);
        assert_eq!(kind, FailureKind::Timeout, "{text}");
        assert!(started.elapsed() >= Duration::from_millis(19), "{:?}", started.elapsed());
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
        assert_eq!(bodies(&route, "calls"), ["1"], "the next message gets a new instance");
    }
}

#[test]
fn traps_cost_the_instance_and_nothing_else() {
    let route = misbehave(json!({ "limits": { "deadline": "2s" } }));
    assert_eq!(bodies(&route, "calls"), ["1"]);
    assert_eq!(bodies(&route, "calls"), ["2"], "instances are reused");
    for body in ["panic", "deep", "exit"] {
        let (kind, text) = fault(&route, body);
        assert_eq!(kind, FailureKind::Trap, "{body}: {text}");
        let is_said = text.contains("it printed: ") && text.contains("asked to panic");
        assert_eq!(is_said, body == "panic", "{body}: {text}");
        assert_eq!(bodies(&route, "calls"), ["1"], "after {body}");
    }
}

#[test]
fn memory_is_limited() {
    let route = misbehave(json!({ "limits": { "memory": "8MiB", "deadline": "2s" } }));
    let (kind, text) = fault(&route, "eat");
    assert_eq!(kind, FailureKind::Memory, "{text}");
    assert_eq!(bodies(&route, "calls"), ["1"]);
    let large = misbehave(json!({ "limits": { "memory": "64MiB", "deadline": "5s" } }));
    let (kind, text) = fault(&large, "flood 20");
    assert_eq!(kind, FailureKind::Trap, "more than the output's limit: {text}");
    let (_, out) = apply(&large, &message("flood 16", &[])).unwrap();
    assert_eq!(out.len(), 16);
}

#[test]
fn a_module_that_needs_more_memory_names_the_key() {
    let mistakes = compile(json!({
        "steps": [{ "wasm": MODULE }],
        "limits": { "memory": "64KiB" },
    }));
    let mistakes = mistakes.map(|route| route.name).unwrap_err();
    assert!(
        mistakes[0].starts_with("limits.memory: the module needs more memory to start"),
        "{mistakes:?}"
    );
}

#[test]
fn a_module_for_the_large_pool_has_to_ask() {
    // A component around a core module with a memory of 300 pages.
    let module = b"\0asm\x01\0\0\0\x05\x04\x01\0\xac\x02";
    let mut component = b"\0asm\x0d\0\x01\0\x01".to_vec();
    component.push(module.len() as u8);
    component.extend_from_slice(module);
    // ...and an instance of it.
    component.extend_from_slice(b"\x02\x04\x01\0\0\0");
    let folder = scratch("large");
    let path = folder.join("large.wasm");
    fs::write(&path, component).unwrap();
    let found = compile(json!({ "steps": [{ "wasm": path.to_str().unwrap() }] }));
    let mistakes = found.map(|route| route.name).unwrap_err();
    assert!(mistakes[0].starts_with("limits.memory: "), "{mistakes:?}");
    assert!(mistakes[0].contains("ask for more than 16MiB"), "{mistakes:?}");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_surroundings_are_empty() {
    let route = misbehave(json!({ "limits": { "deadline": "2s" } }));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let order = format!("files {}", listener.local_addr().unwrap());
    assert_eq!(bodies(&route, &order), ["false 0 0 false"], "files, variables, arguments, sockets");
    let (verdict, out) = apply(&route, &message("print a line\nand another", &[])).unwrap();
    assert_eq!((verdict, out.len()), (Verdict::Pass, 0));
}

#[test]
fn every_decision_becomes_a_verdict() {
    let route = misbehave(json!({}));
    let verdict = |body: &str| apply(&route, &message(body.to_string(), &[])).unwrap().0;
    assert_eq!(verdict("keep"), Verdict::Pass);
    assert_eq!(verdict("drop too old"), Verdict::Drop("too old".into()));
    assert_eq!(verdict("reject no"), Verdict::Reject("no".into()));
    assert_eq!(verdict("retry 250"), Verdict::Retry(Duration::from_millis(250)));
    assert_eq!(bodies(&route, "anything"), ["anything"]);
    let (kind, text) = fault(&route, "error words");
    assert_eq!((kind, &text[..10]), (FailureKind::Guest, "wordswords"));
    assert_eq!(text.len(), 1024, "cut to 1 KiB");
}

#[test]
fn outputs_have_addresses_of_their_own() {
    let route = misbehave(json!({
        "to": ["queue:out", "queue:copy"],
        "steps": [{ "wasm": MODULE, "destinations": ["topic:#", "queue:q"] }],
    }));
    let (_, out) = apply(&route, &message("split one topic:x/y=two queue:q=three", &[])).unwrap();
    let shown: Vec<String> = out
        .iter()
        .map(|m| format!("{} {}", m.address(), String::from_utf8_lossy(m.body())))
        .collect();
    assert_eq!(
        shown,
        ["queue:out one", "queue:copy one", "exchange:topics/x/y two", "queue:q three"]
    );
    let (kind, text) = fault(&route, "split nowhere=x");
    assert_eq!(kind, FailureKind::Guest);
    assert!(text.starts_with("address of an output: 'nowhere'"), "{text}");
    assert!(fault(&route, "late x").1.contains("cannot be delayed"));
    for (order, reason) in [
        (
            "split fine queue:route/r=x",
            "address of an output: the queue 'route/r' is the broker's own",
        ),
        ("split topic:$SYS/a=x", "address of an output: '$SYS/a' begins with $"),
    ] {
        let (kind, text) = fault(&route, order);
        assert_eq!(kind, FailureKind::Guest);
        assert!(text.starts_with(reason), "{text}");
    }
    assert_eq!(bodies(&route, "split topic:$aws/a=x"), ["x"]);
    let none = apply(&route, &message("flood 0", &[])).unwrap();
    assert_eq!((none.0, none.1.len()), (Verdict::Emit, 0), "emitting nothing is allowed");
}

#[test]
fn after_a_split_decisions_are_about_the_part() {
    let twice = route(json!({ "steps": [{ "wasm": MODULE }, { "wasm": MODULE }] }));
    // The second step sees each part's body as its order.
    assert_eq!(bodies(&twice, "split keep drop other"), ["keep", "other"]);
    let verdict = apply(&twice, &message("split a reject", &[])).unwrap();
    assert_eq!((verdict.0, verdict.1.len()), (Verdict::Reject("".into()), 0));
    let verdict = |body: &str| apply(&twice, &message(body.to_string(), &[])).unwrap().0;
    assert_eq!(verdict("split drop drop"), Verdict::Drop("".into()), "nothing is left");
    assert_eq!(verdict("flood 0"), Verdict::Emit, "nothing is emitted on purpose");
}

#[test]
fn values_cross_the_border_with_their_kinds() {
    let route = misbehave(json!({}));
    let input = message_with("typed", |fields| {
        fields.properties.content_encoding = Some("gzip".into());
        fields.headers = vec![("old".into(), Value::I8(1)), ("gone".into(), Value::I8(1))];
    });
    let (_, out) = apply(&route, &input).unwrap();
    let fields = out[0].fields(&formats());
    let expected = [
        ("bool", Value::Bool(true)),
        ("u64", Value::U64(u64::MAX)),
        ("f64", Value::F64(1.5)),
        ("bytes", Value::Bytes(vec![0, 255].into())),
        ("time", Value::Timestamp(7)),
    ];
    let found: Vec<(&str, Value)> = fields.headers.iter().map(|(n, v)| (&**n, v.clone())).collect();
    assert_eq!(found, expected);
    assert_eq!(out[0].meta().priority, Some(9));
    assert_eq!(fields.properties.subject.as_deref(), Some("stock"));
    assert_eq!(fields.properties.content_encoding, None);
}

#[test]
fn a_module_sees_the_message() {
    let route = misbehave(json!({}));
    let input = message_with("show message_id", |fields| {
        fields.properties.message_id = Some(Id::Text("m1".into()));
        fields.properties.content_type = Some("a/b".into());
        fields.headers = vec![
            ("h".into(), Value::I16(-3)),
            ("h".into(), Value::U8(4)),
            ("l".into(), Value::List(vec![Value::I8(1)])),
        ];
    });
    let (_, out) = apply(&route, &input).unwrap();
    assert_eq!(
        String::from_utf8_lossy(out[0].body()),
        "topic:a/b c1 Some(Value::Text(\"m1\")) [(\"h\", Value::Integer(-3)), (\"h\", Value::Unsigned(4)), \
         (\"l\", Value::Text(\"[1]\"))] Some(\"a/b\") 15"
    );
}

#[test]
fn isolation_and_recycling() {
    let fresh = misbehave(json!({ "isolation": "per-message" }));
    for _ in 0..3 {
        assert_eq!(bodies(&fresh, "calls"), ["1"]);
    }
    let shared = misbehave(json!({}));
    for expected in (1..=1_000).chain(1..=2) {
        assert_eq!(bodies(&shared, "calls"), [expected.to_string()]);
    }
}

#[test]
fn many_threads_share_a_module() {
    let route = misbehave(json!({ "limits": { "deadline": "5s" } }));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let route = &route;
            scope.spawn(move || {
                for i in 0..50 {
                    let body = format!("split {thread}-{i}");
                    assert_eq!(bodies(route, &body), [format!("{thread}-{i}")]);
                }
            });
        }
    });
}

#[test]
fn the_breaker_stops_calling_a_module_that_fails() {
    // It has its own instances, so that no other test changes the counters.
    let route =
        misbehave(json!({ "name": "breaker", "steps": [{ "wasm": "./tests/misbehave.wasm" }] }));
    for _ in 0..10 {
        assert_eq!(fault(&route, "error x").0, FailureKind::Guest);
    }
    assert_eq!(bodies(&route, "keep-going"), ["keep-going"], "refusing messages is no failure");
    for _ in 0..5 {
        assert_eq!(fault(&route, "panic").0, FailureKind::Trap);
    }
    let status = || route.transform.modules().remove(0);
    let before = status();
    assert!(!before.paused.is_empty());
    let orders = message("calls", &[]);
    let (verdict, out) = apply(&route, &orders).unwrap();
    let Verdict::Wait(rest) = verdict else { panic!("{verdict:?}") };
    assert!(rest <= Duration::from_secs(1) && out.is_empty());
    assert_eq!(status().calls, before.calls, "it was not called");
    let (verdict, _) = apply(&route, &sent_by("another", &orders)).unwrap();
    assert_eq!(verdict, Verdict::Emit, "a source's pause is its own");
    std::thread::sleep(before.paused[0].rest);
    assert_eq!(bodies(&route, "calls"), ["2"]);
    assert_eq!(status().paused, []);
}

#[test]
fn retries_of_bad_documents_pause_nobody() {
    let route = misbehave(json!({ "limits": { "memory": "8MiB", "deadline": "20ms" } }));
    let large = format!("loop {}", "x".repeat(5 << 20));
    for body in [large.as_str(), "eat"] {
        let document = message(body.to_string(), &[]);
        for n in 0..8 {
            let failure = attempt(&route, &document, n).unwrap_err();
            // Which of the two it is depends on the machine's speed.
            assert!(
                matches!(failure.kind, FailureKind::Timeout | FailureKind::Memory),
                "{failure:?}"
            );
        }
    }
    assert_eq!(bodies(&route, "fine"), ["fine"]);
}

#[test]
fn a_full_pool_makes_messages_wait() {
    // Nobody else uses instances with that much memory at this time: the pool of this host is its own.
    let host = Host::new(None).unwrap();
    let members = json!({
        "steps": [{ "wasm": MODULE }],
        "limits": { "memory": "64MiB", "deadline": "3s" },
    });
    let route = &compile_on(&host, members.clone()).unwrap();
    std::thread::scope(|scope| {
        // The call below that looks whether the pool is full may be in the way of one.
        let sleep = |client: usize| {
            let orders = sent_by(&client.to_string(), &message("sleep", &[]));
            loop {
                if let Err(failure) = apply(route, &orders) {
                    return failure.kind;
                }
            }
        };
        let sleeping: Vec<_> = (0..16).map(|n| scope.spawn(move || sleep(n))).collect();
        let started = Instant::now();
        let mut verdict = Verdict::Emit;
        while verdict != Verdict::Wait(Duration::from_millis(20)) {
            assert!(started.elapsed() < Duration::from_secs(3), "{verdict:?}");
            verdict = apply(route, &message("x", &[])).unwrap().0;
        }
        let mistakes = compile_on(&host, members.clone()).map(|route| route.name).unwrap_err();
        let expected =
            "limits.memory: all 16 instances of modules with more than 16 MiB of memory are in use";
        assert_eq!(mistakes, [expected]);
        for thread in sleeping {
            assert_eq!(thread.join().unwrap(), FailureKind::Timeout);
        }
    });
    assert_eq!(bodies(route, "x"), ["x"]);
}

#[test]
fn a_thousand_modules_share_the_pools() {
    let steps: Vec<Json> = (0..32).map(|n| json!({ "wasm": MODULE, "with": { "n": n } })).collect();
    let many = |memory: &str, routes: usize| {
        let limits = json!({ "memory": memory, "deadline": "5s" });
        let members = json!({ "steps": steps, "limits": limits });
        let routes: Vec<_> = (0..routes).map(|_| route(members.clone())).collect();
        for route in &routes {
            assert_eq!(bodies(route, "x"), ["x"]);
        }
    };
    many("16MiB", 33);
    many("64MiB", 2);
}

#[test]
fn modules_are_loaded_while_others_already_work() {
    let host = Host::new(None).unwrap();
    let folder = scratch("later");
    let broken = folder.join("broken.wasm");
    fs::write(&broken, b"not a module").unwrap();
    let later = |steps: Json| {
        compile_when(&host, json!({ "steps": steps }), Modules::Later).unwrap().transform
    };
    let good = later(json!([{ "wasm": MODULE }]));
    let missing = later(json!([{ "wasm": MODULE }, { "wasm": "no/such.wasm" }]));
    let bad = later(json!([{ "wasm": broken.to_str().unwrap() }]));
    let refused = later(json!([{ "wasm": MODULE, "with": { "refuse": true } }]));
    let small = compile_when(
        &host,
        json!({ "steps": [{ "wasm": MODULE }], "limits": { "memory": "64KiB" } }),
        Modules::Later,
    );
    let small = small.unwrap().transform;
    let verdict = |transform: &Arc<dyn Transform>| {
        let mut out = Vec::new();
        transform.apply(&message("x", &[]), 0, &formats(), &mut out)
    };
    // It takes longer to compile one than to come here.
    assert_eq!(good.readiness(), Readiness::Starting);
    assert_eq!(verdict(&good), Ok(Verdict::Wait(Duration::from_millis(100))));
    for transform in [&good, &missing, &bad, &refused, &small] {
        let started = Instant::now();
        while transform.readiness() == Readiness::Starting {
            assert!(started.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert_eq!((good.readiness(), verdict(&good)), (Readiness::Ready, Ok(Verdict::Emit)));
    for (transform, reason) in [
        (&missing, "module no/such.wasm: ".to_string()),
        (&bad, format!("module {}: ", broken.display())),
        (&refused, format!("module {MODULE}: with: the configuration says refuse")),
        (&small, format!("module {MODULE}: limits.memory: the module needs more memory to start")),
    ] {
        let Readiness::Down(found) = transform.readiness() else { panic!("{reason}") };
        assert!(found.starts_with(&reason), "{found}");
        assert_eq!(verdict(transform), Ok(Verdict::Wait(Duration::from_secs(1))));
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_configuration_reaches_init() {
    let steps = |with: Json| json!({ "steps": [{ "wasm": MODULE, "with": with }] });
    assert_eq!(
        bodies(&route(steps(json!({ "b": [1, 2.5, "x"], "a": {} }))), "config"),
        [r#"{"b":[1,2.5,"x"],"a":{}}"#]
    );
    assert_eq!(bodies(&misbehave(json!({})), "config"), ["{}"]);
    let refused = compile(steps(json!({ "refuse": true }))).map(|route| route.name).unwrap_err();
    assert_eq!(refused, ["steps[0].with: the configuration says refuse"]);
}

#[test]
fn modules_that_do_not_fit_are_refused() {
    let folder = scratch("refused");
    let wasm = fs::read(here().join(MODULE)).unwrap();
    let check = |name: &str, bytes: &[u8], reason: &str| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        let found = compile(json!({ "steps": [{ "wasm": path.to_str().unwrap() }] }));
        let mistakes = found.map(|route| route.name).unwrap_err();
        assert!(mistakes[0].starts_with("steps[0].wasm: "), "{mistakes:?}");
        assert!(mistakes[0].contains(path.to_str().unwrap()), "{mistakes:?}");
        assert!(mistakes[0].contains(reason), "{mistakes:?}");
    };
    let other =
        replaced(&wasm, b"crossdock:transform/types@1.0.0", b"crossdock:transform/types@7.0.0");
    check(
        "version.wasm",
        &other,
        "is built for crossdock:transform@7.0.0, and this broker supports 1.0.0",
    );
    let asking = replaced(&wasm, b"wasi:cli/exit@", b"evil:cli/exit@");
    check("import.wasm", &asking, "imports evil:cli/exit@");
    check("garbage.wasm", b"not a module", "");
    check("cut.wasm", &wasm[..wasm.len() / 2], "");
    check("core.wasm", b"\0asm\x01\0\0\0", "");
    check("empty-component.wasm", b"\0asm\x0d\0\x01\0", "does not export init");
    fs::remove_dir_all(folder).unwrap();
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    let mut found = 0;
    while let Some(hit) = bytes[at..].windows(from.len()).position(|window| window == from) {
        bytes[at + hit..at + hit + to.len()].copy_from_slice(to);
        at += hit + from.len();
        found += 1;
    }
    assert!(found > 0);
    bytes
}

#[test]
fn compiled_modules_are_cached() {
    let folder = scratch("cache");
    let compile = || {
        let host = Host::new(Some(folder.clone())).unwrap();
        let started = Instant::now();
        compile_on(&host, json!({ "steps": [{ "wasm": MODULE }] })).map(|_| ()).unwrap();
        started.elapsed()
    };
    let files = || {
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        files
    };
    let cold = compile();
    let [file] = files().try_into().unwrap();
    let written = fs::metadata(&file).unwrap().modified().unwrap();
    let warm = compile();
    assert!(warm < cold, "compiled {cold:?}, loaded {warm:?}");
    assert_eq!(
        fs::metadata(&file).unwrap().modified().unwrap(),
        written,
        "it was not written again"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    // A damaged file is not run, but replaced.
    let good = fs::read(&file).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&file, &bad).unwrap();
    compile();
    assert!(fs::read(&file).unwrap() != bad);
    // A file that other users can write is not run either.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        compile();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(files().len(), 1, "nothing is left over");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn modules_print_inside_a_runtime() {
    // Compiled on a worker, as a reload may do; run on a blocking thread, as the core does.
    let route = misbehave(json!({ "limits": { "deadline": "2s" } }));
    let ran = tokio::task::spawn_blocking(move || {
        apply(&route, &message("print something", &[])).map(|(verdict, _)| verdict)
    });
    assert_eq!(ran.await.unwrap(), Ok(Verdict::Pass));
}
