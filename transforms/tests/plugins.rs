//! Steps that plugins do: what they decide means what a module's decision means, and several messages at once are what
//! each would be alone. The plugin here is none: it does what bodies say.

mod common;

use bytes::Bytes;
use common::{compile_with, formats, host, message, sent_by};
use crossdock_core::step::{
    Answer, Decision, ForeignStep, Output, Patch, StepMaker, StepMakers, StepMessage,
};
use crossdock_core::transform::{
    Applied, ContentRoute, Cost, FailureKind, Readiness, StepFailure, Verdict,
};
use crossdock_core::{Error, ErrorKind, Message, Value};
use crossdock_transforms::Modules;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use std::sync::Arc;
use std::time::Duration;

const LATER: Duration = Duration::from_millis(70);

#[derive(Default)]
struct Scripted {
    with: String,
    /// How many messages each call had.
    calls: Mutex<Vec<usize>>,
    out_of_use: Mutex<Option<Arc<str>>>,
}

impl ForeignStep for Scripted {
    fn name(&self) -> Arc<str> {
        "scripted".into()
    }

    fn version(&self) -> Arc<str> {
        "1.2".into()
    }

    fn out_of_use(&self) -> Option<Arc<str>> {
        self.out_of_use.lock().clone()
    }

    fn decide(&self, messages: &[Arc<dyn StepMessage>]) -> Vec<Answer> {
        self.calls.lock().push(messages.len());
        let mut answers: Vec<Answer> = messages.iter().map(|it| answer(&**it)).collect();
        // At that message it breaks, and looks at none behind it.
        if let Some(at) = messages.iter().position(|it| it.body().starts_with(b"break")) {
            *self.out_of_use.lock() = Some("it is broken".into());
            answers[at] = Answer::Failed(FailureKind::Trap, "it broke".into());
            answers[at + 1..].fill(Answer::NotAsked(LATER));
        }
        answers
    }
}

fn answer(message: &dyn StepMessage) -> Answer {
    let body = String::from_utf8_lossy(message.body()).into_owned();
    let words: Vec<&str> = body.split(' ').collect();
    let patch = |body: &str| Patch {
        body: Some(Bytes::from(body.to_owned())),
        set: vec![("seen".into(), Value::text(message.address()))],
        ..Patch::default()
    };
    Answer::Decided(match words.as_slice() {
        ["keep"] => Decision::Keep,
        ["drop"] => Decision::Drop("dropped".into()),
        ["reject"] => Decision::Reject("rejected".into()),
        ["again"] if message.attempt() == 0 => Decision::RetryAfter(LATER),
        ["fail"] => return Answer::Failed(FailureKind::Guest, "no".into()),
        ["user"] => {
            let set = vec![("user_id".into(), Value::text("x"))];
            Decision::Replace(Patch { set, ..Patch::default() })
        }
        ["parts", parts @ ..] => {
            let output = |part: &&str| Output { address: None, patch: patch(part) };
            Decision::Emit(parts.iter().map(output).collect())
        }
        ["to", address] => {
            let address = Some((*address).to_owned());
            Decision::Emit(vec![Output { address, patch: Patch::default() }])
        }
        _ => Decision::Replace(patch(&body.to_uppercase())),
    })
}

struct Maker(Arc<Scripted>);

impl StepMaker for Maker {
    fn make(&self, with: &str) -> Result<Arc<dyn ForeignStep>, Error> {
        match with {
            "{\"wrong\":1}" => Err(Error::new(ErrorKind::Invalid, "takes nothing wrong")),
            "{\"gone\":1}" => Err(Error::new(ErrorKind::Unavailable, "is out of use")),
            _ => {
                assert_eq!(with, self.0.with);
                Ok(self.0.clone())
            }
        }
    }
}

fn plugins(step: &Arc<Scripted>) -> StepMakers {
    let maker: Arc<dyn StepMaker> = Arc::new(Maker(step.clone()));
    StepMakers([("p".to_owned(), Some(maker)), ("other".to_owned(), None)].into())
}

fn scripted(members: Json) -> (ContentRoute, Arc<Scripted>) {
    let step = Arc::new(Scripted { with: "{\"a\":1}".into(), ..Scripted::default() });
    let route = compile_with(host(), members, (Modules::Now, &plugins(&step)));
    (route.unwrap_or_else(|mistakes| panic!("{mistakes:#?}")), step)
}

fn one_step() -> Json {
    json!({ "plugin": "p", "with": { "a": 1 }, "destinations": ["queue:granted"] })
}

fn messages(bodies: &[&str]) -> Vec<(Message, u32)> {
    bodies.iter().map(|body| (message((*body).to_owned(), &[]), 0)).collect()
}

fn texts(applied: &Applied) -> Result<(Verdict, Vec<String>), StepFailure> {
    let (verdict, out) = applied.clone()?;
    let text = |it: &Message| format!("{} {}", it.address(), String::from_utf8_lossy(it.body()));
    Ok((verdict, out.iter().map(text).collect()))
}

#[test]
fn several_messages_are_one_call_and_each_has_its_own_result() {
    let (route, step) = scripted(json!({ "steps": [one_step()] }));
    assert_eq!(route.transform.cost(), Cost::Queued);
    let bodies = [
        "a",
        "keep",
        "drop",
        "reject",
        "again",
        "fail",
        "user",
        "parts x y",
        "parts",
        "to queue:granted",
        "to queue:in",
        "b",
    ];
    let all = route.transform.apply_all(&messages(&bodies), &formats());
    assert_eq!(*step.calls.lock(), [12]);
    let emitted = |out: &[&str]| {
        Ok((Verdict::Emit, out.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()))
    };
    let none = |verdict: Verdict| Ok((verdict, Vec::new()));
    let failed = |text: &str| {
        let (module, version) = ("scripted".into(), "1.2".into());
        Err(StepFailure { module, version, kind: FailureKind::Guest, text: text.into() })
    };
    let wanted = [
        emitted(&["queue:out A"]),
        none(Verdict::Pass),
        none(Verdict::Drop("dropped".into())),
        none(Verdict::Reject("rejected".into())),
        none(Verdict::Retry(LATER)),
        failed("no"),
        failed("user_id cannot be changed"),
        emitted(&["queue:out x", "queue:out y"]),
        emitted(&[]),
        emitted(&["queue:granted to queue:granted"]),
        failed(
            "address of an output: queue:in is none of the route's own, nor one of the step's \
             `destinations`",
        ),
        emitted(&["queue:out B"]),
    ];
    for ((body, got), wanted) in bodies.iter().zip(&all).zip(wanted) {
        assert_eq!(texts(got), wanted, "{body}");
        // Alone each would be the same.
        let alone = route.transform.apply_all(&messages(&[body]), &formats());
        assert_eq!(alone.iter().map(texts).collect::<Vec<_>>(), [texts(got)], "{body}");
        let mut out = Vec::new();
        let verdict =
            route.transform.apply(&message((*body).to_owned(), &[]), 0, &formats(), &mut out);
        assert_eq!(texts(&verdict.map(|verdict| (verdict, out))), texts(got), "{body}");
    }
    let (_, out) = all[0].clone().expect("emitted");
    assert_eq!(out[0].fields(&formats()).header("seen"), Some(&Value::text("topic:a/b")));
    let again = [(message("again", &[]), 1)];
    let again = route.transform.apply_all(&again, &formats());
    assert_eq!(texts(&again[0]), emitted(&["queue:out AGAIN"]));
    let look = &route.transform.modules()[0];
    assert_eq!((&*look.name, &*look.version, look.calls), ("scripted", "1.2", 37));
    assert_eq!(look.failed[3], (FailureKind::Guest, 9));
}

#[test]
fn steps_follow_each_other_and_parts_stay_with_their_message() {
    let steps = json!([
        { "plugin": "p", "with": { "a": 1 } },
        { "set": { "n": "json('$.n')" } },
        { "plugin": "p", "with": { "a": 1 } },
    ]);
    let (route, step) = scripted(json!({ "steps": steps }));
    let bodies = ["parts a drop keep b", "drop", "parts drop drop", "parts x fail", "z"];
    let all = route.transform.apply_all(&messages(&bodies), &formats());
    // The second call has the parts of all that go on: four, two, two and one.
    assert_eq!(*step.calls.lock(), [5, 9]);
    let emitted = |out: &[&str]| {
        Ok((Verdict::Emit, out.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()))
    };
    assert_eq!(texts(&all[0]), emitted(&["queue:out A", "queue:out keep", "queue:out B"]));
    assert_eq!(texts(&all[1]), Ok((Verdict::Drop("dropped".into()), Vec::new())));
    assert_eq!(texts(&all[2]), Ok((Verdict::Drop("dropped".into()), Vec::new())));
    assert_eq!(all[3].clone().expect_err("a part failed").text, "no".into());
    assert_eq!(texts(&all[4]), emitted(&["queue:out Z"]));
}

#[test]
fn a_plugin_that_breaks_fails_one_message_and_the_others_wait() {
    let (route, step) = scripted(json!({ "steps": [one_step()] }));
    let inputs: Vec<(Message, u32)> = messages(&["a", "break", "b", "c"])
        .into_iter()
        .map(|(it, attempt)| (sent_by("somebody", &it), attempt))
        .collect();
    let all = route.transform.apply_all(&inputs, &formats());
    assert_eq!(texts(&all[0]).map(|(verdict, _)| verdict), Ok(Verdict::Emit));
    let failure = all[1].clone().expect_err("it broke");
    assert_eq!((failure.kind, &*failure.text), (FailureKind::Trap, "it broke"));
    assert_eq!(texts(&all[2]), Ok((Verdict::Wait(LATER), Vec::new())));
    assert_eq!(texts(&all[3]), Ok((Verdict::Wait(LATER), Vec::new())));
    assert_eq!(route.transform.readiness(), Readiness::Down("it is broken".into()));
    // It is not asked any more.
    let all = route.transform.apply_all(&inputs, &formats());
    let wait = Ok((Verdict::Wait(Duration::from_secs(1)), Vec::new()));
    assert!(all.iter().all(|it| texts(it) == wait), "{all:?}");
    assert_eq!(*step.calls.lock(), [4]);
}

#[test]
fn mistakes_are_named_with_their_keys() {
    let step = Arc::new(Scripted { with: "{}".into(), ..Scripted::default() });
    let plugins = plugins(&step);
    let mistakes = |members: Json| {
        compile_with(host(), members, (Modules::Later, &plugins)).map(|_| ()).expect_err("wrong")
    };
    for (step, mistake) in [
        (json!({ "plugin": "" }), "steps[0].plugin: must be the name of a plugin"),
        (
            json!({ "plugin": "gone" }),
            "steps[0].plugin: no plugin 'gone' is loaded: a [[plugin]] section of that name loads one, \
             when the broker starts",
        ),
        (json!({ "plugin": "other" }), "steps[0].plugin: the plugin 'other' brings no transform"),
        (json!({ "plugin": "p", "with": { "wrong": 1 } }), "steps[0].with: takes nothing wrong"),
        (json!({ "plugin": "p", "with": { "gone": 1 } }), "steps[0].plugin: is out of use"),
        (json!({ "plugin": "p", "with": [] }), "steps[0].with: must be a table"),
        (
            json!({ "plugin": "p", "grants": [] }),
            "steps[0].grants: can only be set for a wasm step",
        ),
        (
            json!({ "plugin": "p", "destinations": ["x"] }),
            "steps[0].destinations[0]: 'x' is not queue:NAME, topic:a/b or exchange:NAME/KEY",
        ),
        (
            json!({ "plugin": "p", "wasm": "x" }),
            "steps[0]: a step has exactly one of set, remove, wasm and plugin",
        ),
    ] {
        assert_eq!(mistakes(json!({ "steps": [step] })), [mistake]);
    }
    let members = json!({
        "steps": [{ "plugin": "p" }],
        "limits": { "deadline": "1s" },
        "isolation": "per-message",
        "on_error": { "retry": 3, "then": "reject" },
        "order": "strict",
        "concurrency": 4,
    });
    assert_eq!(
        mistakes(members),
        [
            "limits: apply to wasm steps, and this route has none",
            "isolation: applies to wasm steps, and this route has none",
            "on_error.then: the publisher of a route with a wasm or plugin step is answered before \
             the step runs",
        ]
    );
}
