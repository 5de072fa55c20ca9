//! New modules: rehearsed beside the one that works, promoted, and rolled back when they fail.

mod common;

use common::{apply, bodies, compile_on, here, message, route, scratch};
use crossdock_core::transform::{ContentRoute, FailureKind, ModuleLook, RehearsalLook, Verdict};
use crossdock_transforms::Host;
use serde_json::{Value as Json, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

const MISBEHAVE: &str = "tests/misbehave.wasm";
const REPORTER: &str = "tests/reporter.wasm";

fn look(route: &ContentRoute) -> ModuleLook {
    route.transform.modules().remove(0)
}

/// What the rehearsal has seen, once it has seen that many messages.
fn rehearsal(route: &ContentRoute, messages: u64) -> RehearsalLook {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = look(route).rehearsal.expect("there is a rehearsal");
        if seen.compared + seen.skipped >= messages {
            return seen;
        }
        assert!(Instant::now() < until, "{seen:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A route of its own: what a host knows of a route's modules goes by its name.
fn rehearsing(name: &str) -> ContentRoute {
    let step = json!({
        "wasm": MISBEHAVE,
        "shadow": REPORTER,
        "grants": ["log", "metrics"],
        "destinations": ["queue:q"],
    });
    route(json!({ "name": name, "steps": [step], "limits": { "deadline": "2s" } }))
}

#[test]
fn answers_are_compared_and_thrown_away() {
    let route = rehearsing("compared");
    // The one that works answers with its count of calls, the other with the attempt.
    assert_eq!(bodies(&route, "calls"), ["1"]);
    let seen = rehearsal(&route, 1);
    assert_eq!((seen.compared, seen.different, seen.failed, seen.skipped), (1, 1, 0, 0));
    let last = seen.last.unwrap();
    assert_eq!(
        (&*last.address, &*last.was, &*last.would_be),
        ("exchange:topics/a/b", "1 bytes: 1", "1 bytes: 0")
    );
    assert_eq!(bodies(&route, "attempt"), ["0"], "both say the same");
    let seen = rehearsal(&route, 2);
    assert_eq!((seen.compared, seen.different), (2, 1));
    let (verdict, _) = apply(&route, &message("drop it", &[])).unwrap();
    assert_eq!(verdict, Verdict::Drop("it".into()), "the one that works decides");
    let last = rehearsal(&route, 3).last.unwrap();
    assert_eq!((&*last.was, &*last.would_be), ("drop: it", "a result"));
    // "count No" is an error of the new one, and nothing special for the other.
    assert_eq!(bodies(&route, "count No"), ["count No"]);
    let seen = rehearsal(&route, 4);
    assert_eq!((seen.different, seen.failed), (3, 1));
    assert!(seen.last.unwrap().would_be.starts_with("guest: a number's name"));
    assert_eq!(look(&route).numbers, [], "the numbers are the new one's own");
}

#[test]
fn nobody_waits_for_a_rehearsal() {
    let route = rehearsing("waits");
    let began = Instant::now();
    for n in 0..500 {
        // Hundreds of lines for the log each.
        assert_eq!(bodies(&route, &format!("log {n}")).len(), 1);
    }
    let took = began.elapsed();
    let seen = rehearsal(&route, 500);
    assert_eq!(seen.compared + seen.skipped, 500, "each is compared or counted");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_rehearsed_module_is_promoted() {
    let route = rehearsing("promoted");
    let refused = route.transform.promote(false).unwrap_err();
    assert_eq!(refused, format!("{REPORTER} was not called with any message yet"));
    bodies(&route, "attempt");
    bodies(&route, "calls");
    rehearsal(&route, 2);
    let refused = route.transform.promote(false).unwrap_err();
    assert_eq!(refused, format!("{REPORTER} answered 1 of 2 messages in another way"));
    let old = look(&route).version;
    let said = route.transform.promote(true).unwrap();
    assert!(said[0].ends_with(&format!("works in the place of version {old}")), "{said:?}");
    assert_eq!(bodies(&route, "calls"), ["0"], "the new one answers");
    let now = look(&route);
    assert_eq!((now.before, now.rehearsal), (Some(old), None));
    assert!(route.transform.promote(true).is_err(), "there is no other one");
    for _ in 0..1_000 {
        bodies(&route, "calls");
    }
    assert!(look(&route).before.is_some(), "its probation takes a minute at least");
}

#[test]
fn a_new_module_that_breaks_off_gives_way_to_the_one_before() {
    // The other way round: what works reports, what is rehearsed does as it is told.
    let step = json!({
        "wasm": REPORTER,
        "shadow": MISBEHAVE,
        "grants": ["log", "metrics"],
    });
    let limits = json!({ "deadline": "200ms" });
    let route = route(json!({ "name": "gives-way", "steps": [step], "limits": limits }));
    let old = look(&route).version;
    route.transform.promote(true).unwrap();
    assert_eq!(bodies(&route, "calls"), ["1"]);
    let kind = apply(&route, &message("error no", &[])).unwrap_err().kind;
    assert_eq!(kind, FailureKind::Guest, "an error is an answer");
    assert_eq!(look(&route).rolled_back, None);
    // The message that the new one breaks off on has the answer of the one before.
    assert_eq!(bodies(&route, "loop"), ["0"]);
    let now = look(&route);
    assert_eq!((now.version, now.before), (old, None));
    let failed = now.rolled_back.unwrap();
    assert_eq!((&*failed.name, failed.is_configured), (MISBEHAVE, false));
    let why = failed.why;
    assert!(why.contains("timeout: it took longer than limits.deadline allows"), "{why}");
    assert_eq!(bodies(&route, "panic"), ["0"]);
}

#[test]
fn naming_the_promoted_module_does_not_end_its_probation() {
    let host = Host::new(None).unwrap();
    let compiled = |step: Json| {
        let members = json!({ "steps": [step], "limits": { "deadline": "2s" } });
        compile_on(&host, members).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    };
    let grants = json!(["log", "metrics"]);
    let first = compiled(json!({ "wasm": REPORTER, "shadow": MISBEHAVE, "grants": grants }));
    let old = look(&first).version;
    first.transform.promote(true).unwrap();
    let named = compiled(json!({ "wasm": MISBEHAVE, "grants": grants }));
    drop(first);
    assert_eq!(look(&named).before, Some(old.clone()));
    assert_eq!(bodies(&named, "panic"), ["0"], "the answer of the one before");
    let now = look(&named);
    assert_eq!(now.version, old);
    assert!(
        now.rolled_back
            .is_some_and(|failed| failed.is_configured && failed.why.contains("asked to panic"))
    );
}

/// A host of its own, with a route whose module is that file.
fn with_file(host: &Host, file: &Path) -> Result<ContentRoute, Vec<String>> {
    let step = json!({ "wasm": file.to_str().unwrap(), "grants": ["log", "metrics"] });
    compile_on(host, json!({ "steps": [step], "limits": { "deadline": "2s" } }))
}

#[test]
fn another_file_of_the_same_name_is_on_probation() {
    let folder = scratch("swap");
    let (file, host) = (folder.join("module.wasm"), Host::new(None).unwrap());
    fs::copy(here().join(REPORTER), &file).unwrap();
    let first = with_file(&host, &file).unwrap();
    let same = with_file(&host, &file).unwrap();
    assert_eq!(look(&same).before, None, "the same content is nothing new");
    fs::copy(here().join(MISBEHAVE), &file).unwrap();
    let second = with_file(&host, &file).unwrap();
    assert_eq!(look(&second).before, Some(look(&first).version));
    assert_eq!(bodies(&second, "calls"), ["1"]);
    assert_eq!(bodies(&second, "panic"), ["0"], "the answer of the first file");
    assert_eq!(look(&second).version, look(&first).version);
    // What neither can do is the message's failure.
    drop((first, same, second));
    let alone = with_file(&host, &file).unwrap();
    assert_eq!(look(&alone).before, None, "nothing works there any more");
    assert_eq!(apply(&alone, &message("panic", &[])).unwrap_err().kind, FailureKind::Trap);
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_module_that_cannot_be_rehearsed_is_named() {
    let found = common::compile(json!({
        "steps": [{ "wasm": MISBEHAVE, "shadow": "no/such.wasm" }, { "remove": ["a"], "shadow": "x" }],
    }));
    let found = found.map(|route| route.name).unwrap_err();
    assert!(found[0].starts_with("steps[0].shadow: "), "{found:?}");
    assert_eq!(found[1], "steps[1].shadow: can only be set for a wasm step");
    let later = common::compile_when(
        common::host(),
        json!({ "steps": [{ "wasm": MISBEHAVE, "shadow": "no/such.wasm" }] }),
        crossdock_transforms::Modules::Later,
    );
    let route = later.unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let seen = loop {
        let seen = route.transform.modules().pop().and_then(|look| look.rehearsal);
        if let Some(seen) = seen.filter(|seen| seen.why_not.is_some()) {
            break seen;
        }
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(seen.why_not.unwrap().contains("no/such.wasm"), "it is said, and the route works");
    assert_eq!(bodies(&route, "calls"), ["1"]);
    assert!(route.transform.promote(true).unwrap_err().contains("is not ready"));
}
