//! What modules remember: limits, what counts and what does not, several steps, rehearsals. That it outlives the broker
//! is tested on the program.

mod common;

use common::{attempt, compile, formats, message, route};
use crossdock_core::Message;
use crossdock_core::state::{NoState, State, StateLayer};
use crossdock_core::transform::{ContentRoute, FailureKind, Results, StepFailure, Verdict};
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

const COUNTER: &str = "tests/counter.wasm";

/// A route, and what its steps remember, kept as the broker does it.
struct Kept {
    route: ContentRoute,
    state: Arc<StateLayer>,
}

impl Kept {
    fn of(members: Json) -> Self {
        let (route, state) = (route(members), Arc::new(StateLayer::over(Arc::new(NoState))));
        assert!(route.transform.remembers());
        Self { route, state }
    }

    fn step(step: Json) -> Self {
        let mut members = json!({ "wasm": COUNTER, "grants": ["kv"] });
        members.as_object_mut().unwrap().extend(step.as_object().unwrap().clone());
        Self::of(json!({ "steps": [members], "limits": { "deadline": "2s" } }))
    }

    fn run(&self, body: &str) -> Result<(Verdict, Vec<Message>), StepFailure> {
        let state: Arc<dyn State> = self.state.clone();
        let mut out = Results::default();
        let call = (&message(body.to_owned(), &[]), 0);
        let verdict = self.route.transform.apply_with_state(call, &formats(), &state, &mut out)?;
        self.state.take_over(out.changes);
        Ok((verdict, out.messages))
    }

    fn bodies(&self, body: &str) -> Vec<String> {
        let (_, out) = self.run(body).unwrap_or_else(|failure| panic!("{body}: {failure:?}"));
        out.iter().map(|m| String::from_utf8_lossy(m.body()).into_owned()).collect()
    }

    fn one(&self, body: &str) -> String {
        self.bodies(body).remove(0)
    }
}

#[test]
fn messages_see_what_those_before_them_changed() {
    let kept = Kept::step(json!({}));
    assert_eq!([kept.one("count"), kept.one("count")], ["1", "2"]);
    assert_eq!(kept.one("get none"), "none");
    for (key, value) in [("b", "1"), ("a", "2"), ("a/c", "3"), ("ab", "")] {
        kept.one(&format!("set {key} {value}"));
    }
    assert_eq!((kept.one("get a/c"), kept.one("get ab")), ("3".to_owned(), String::new()));
    assert_eq!(kept.one("keys a"), "a,a/c,ab", "three at most");
    kept.one("delete a");
    assert_eq!(kept.one("keys a"), "a/c,ab,all");
    assert_eq!(kept.one("count"), "13");
}

#[test]
fn only_messages_that_end_well_change_anything() {
    let kept = Kept::step(json!({}));
    for (body, verdict) in [
        ("reject", Verdict::Reject("asked to".into())),
        ("retry 5", Verdict::Retry(Duration::from_millis(1))),
    ] {
        assert_eq!(kept.run(body).unwrap().0, verdict);
    }
    for (body, kind) in [("error", FailureKind::Guest), ("panic", FailureKind::Trap)] {
        assert_eq!(kept.run(body).unwrap_err().kind, kind);
    }
    assert_eq!(kept.one("count"), "1", "none of them counts");
    assert_eq!(kept.run("drop").unwrap().0, Verdict::Drop("asked to".into()));
    assert_eq!(kept.run("keep").unwrap().0, Verdict::Pass);
    assert_eq!(kept.one("count"), "4", "these do");
    // A later step fails: nothing of the message counts.
    let counter = json!({ "wasm": COUNTER, "grants": ["kv"] });
    let fails = Kept::of(json!({ "steps": [counter, { "set": { "priority": "'x'" } }] }));
    assert!(fails.run("count").is_err() && fails.state.changes().is_empty());
}

#[test]
fn each_step_has_a_state_of_its_own_and_parts_see_each_other() {
    let counter = json!({ "wasm": COUNTER, "grants": ["kv"] });
    let kept = Kept::of(json!({ "steps": [counter, { "remove": ["x"] }, counter] }));
    // The first step makes two of it, which the second one counts.
    assert_eq!(kept.bodies("twice"), ["1", "2"]);
    assert_eq!(kept.bodies("count"), ["3"], "the first one's second message is the other's third");
    let steps = [kept.state.size(1), kept.state.size(2)].map(|size| (size.keys, size.bytes));
    assert_eq!(steps, [(1, 128 + 3 + 8); 2]);
}

#[test]
fn what_is_too_large_is_an_error_for_the_module_and_changes_nothing() {
    let kept = Kept::step(json!({ "kv_max": "100KiB" }));
    let refused = |body: &str, words: &str| {
        let failure = kept.run(body).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Guest);
        assert!(failure.text.contains(words), "{}", failure.text);
    };
    refused(&format!("set {} 1", "k".repeat(257)), "a key has 1 to 256 bytes, and not 257");
    refused("set  1", "a key has 1 to 256 bytes, and not 0");
    refused("large 65537", "a value has at most 65536 bytes, and not 65537");
    kept.one(&format!("set {} 1", "k".repeat(256)));
    kept.one("large 65536");
    kept.one("large 65536");
    let most = 100 << 10;
    let size = kept.state.size(1);
    assert!(size.bytes < most && size.bytes > 65_536, "{size:?}");
    refused(&format!("set other {}", "x".repeat(40_000)), &format!("its kv_max is {most}"));
    assert_eq!(kept.state.size(1), size);
    kept.one("large 100");
    kept.one(&format!("set other {}", "x".repeat(40_000)));
}

#[test]
fn mistakes_of_kv_are_named() {
    let mistakes = |members: Json| compile(members).map(|route| route.name).unwrap_err();
    let found = mistakes(json!({ "steps": [{ "wasm": COUNTER }] }));
    assert!(
        found[0].ends_with(
            "imports crossdock:transform/kv@1.0.0, which its step does not grant: add grants = [\"kv\"] to the step"
        ),
        "{found:?}"
    );
    let step = json!({ "wasm": COUNTER, "grants": ["kv"], "kv_max": "1GiB" });
    let found = mistakes(json!({ "steps": [step], "concurrency": 2 }));
    assert_eq!(
        found,
        [
            "steps[0].kv_max: must be from 1KiB to 64MiB",
            "concurrency: a step that grants \"kv\" handles one message at a time: leave it out, or set it to 1",
        ]
    );
    let step = json!({ "wasm": "tests/misbehave.wasm", "kv_max": "1MiB" });
    let found = mistakes(json!({ "steps": [step] }));
    assert_eq!(found, ["steps[0].kv_max: has no effect unless the step grants \"kv\""]);
    let step = json!({ "wasm": COUNTER, "grants": ["kv"], "with": { "early": true } });
    let found = mistakes(json!({ "steps": [step] }));
    assert!(found[0].contains("kv can be used while a message is handled"), "{found:?}");
}

#[test]
fn a_rehearsed_module_sees_the_state_as_the_working_one_found_it() {
    let kept = Kept::step(json!({ "shadow": COUNTER }));
    for n in 1..=20 {
        assert_eq!(kept.one("count"), n.to_string(), "what the rehearsal writes goes nowhere");
    }
    let until = Instant::now() + Duration::from_secs(20);
    let seen = loop {
        let seen = kept.route.transform.modules().remove(0).rehearsal.unwrap();
        if seen.compared + seen.skipped >= 20 {
            break seen;
        }
        assert!(Instant::now() < until, "{seen:?}");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!((seen.different, seen.failed), (0, 0), "{seen:?}");
    assert!(seen.compared > 0);
    kept.route.transform.promote(false).unwrap();
    assert_eq!(kept.one("count"), "21", "it goes on where the one before ended");
}

#[test]
fn without_a_keeper_nothing_is_remembered() {
    let route = route(json!({ "steps": [{ "wasm": COUNTER, "grants": ["kv"] }] }));
    for _ in 0..2 {
        let (_, out) = attempt(&route, &message("count", &[]), 0).unwrap();
        assert_eq!(out[0].body().as_ref(), b"1");
    }
}
