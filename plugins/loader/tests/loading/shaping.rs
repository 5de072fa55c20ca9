//! Transforms of plugins: good ones, and those that break the contract at one message of several.

use super::*;
use bytes::Bytes;
use crossdock_core::step::{Answer, Decision, ForeignStep, Output, Patch, StepMaker, StepMessage};
use crossdock_core::transform::FailureKind;
use crossdock_core::{Error, ErrorKind, Name, Origin};
use crossdock_loader::{Loaded, load};
use std::sync::Arc;
use std::time::Instant;

/// A message whose body is what matters.
#[derive(Default)]
struct Sent {
    body: Bytes,
    headers: Vec<(Name, Value)>,
    origin: Origin,
    attempt: u32,
}

impl StepMessage for Sent {
    fn address(&self) -> String {
        "topic:a/b".to_owned()
    }

    fn origin(&self) -> &Origin {
        &self.origin
    }

    fn attempt(&self) -> u32 {
        self.attempt
    }

    fn body(&self) -> &Bytes {
        &self.body
    }

    fn headers(&self) -> &[(Name, Value)] {
        &self.headers
    }

    fn property(&self, name: &str) -> Option<Value> {
        match name {
            "content_type" => Some(Value::text("text/plain")),
            "priority" => Some(Value::U8(9)),
            "timestamp" => Some(Value::Timestamp(-5)),
            "message_id" => Some(Value::Uuid([0x11; 16])),
            _ => None,
        }
    }
}

fn sent(body: &str) -> Arc<dyn StepMessage> {
    Arc::new(Sent { body: body.to_owned().into(), ..Sent::default() })
}

fn all(bodies: &[&str]) -> Vec<Arc<dyn StepMessage>> {
    bodies.iter().map(|body| sent(body)).collect()
}

/// On a machine that has much else to do a call takes its time.
const PATIENCE: Duration = Duration::from_secs(20);

fn loaded(path: PathBuf, call_time: Duration) -> (Loaded, Arc<dyn StepMaker>) {
    let loaded = load(&Spec { call_time, ..spec(path) }).expect("loads");
    let maker = loaded.steps().expect("it has a transform").clone();
    (loaded, maker)
}

fn misshape(call_time: Duration) -> (Loaded, Arc<dyn ForeignStep>) {
    let (loaded, maker) = loaded(sample("misshape"), call_time);
    (loaded, maker.make("{}").expect("made"))
}

fn replaced(body: &str) -> Answer {
    let patch = Patch { body: Some(body.to_owned().into()), ..Patch::default() };
    Answer::Decided(Decision::Replace(patch))
}

fn failed(why: &str) -> Answer {
    Answer::Failed(FailureKind::Guest, why.to_owned())
}

#[test]
fn a_transform_decides_on_each_message_in_order() {
    let (loaded, step) = misshape(PATIENCE);
    assert_eq!(loaded.look().brings, ["transform"]);
    assert_eq!((&*step.name(), &*step.version()), ("tested", "0.1.0"));
    let bodies = ["a", "keep", "drop", "reject", "refuse", "again", "none", "b"];
    let wanted = [
        replaced("A"),
        Answer::Decided(Decision::Keep),
        Answer::Decided(Decision::Drop("dropped".to_owned())),
        Answer::Decided(Decision::Reject("rejected".to_owned())),
        failed("refused"),
        Answer::Decided(Decision::RetryAfter(Duration::from_millis(1))),
        Answer::Decided(Decision::Emit(Vec::new())),
        replaced("B"),
    ];
    assert_eq!(step.decide(&all(&bodies)), wanted);
    assert_eq!(loaded.look().calls, 4, "with entry, start and make_step");
    let later = Arc::new(Sent { body: "again".into(), attempt: 1, ..Sent::default() });
    assert_eq!(step.decide(&[later]), [replaced("AGAIN")]);
    assert_eq!(step.decide(&[]), []);
    assert_eq!(loaded.look().out_of_use, None);
}

#[test]
fn a_transform_sees_all_of_a_message_and_sets_all_kinds_of_values() {
    let (_loaded, step) = misshape(PATIENCE);
    let headers = [
        ("h", Value::text("first")),
        ("h", Value::I32(-2)),
        ("t", Value::Bool(true)),
        ("n", Value::Null),
        ("b", Value::Bytes(Bytes::from_static(&[0, 255]))),
        ("l", Value::List(vec![Value::I8(1)])),
    ];
    let headers = headers.map(|(name, value)| (Name::from(name), value)).to_vec();
    let (user, client, listener) = ("ann".into(), "c1".into(), "l1".into());
    let origin = Origin { user, client, listener, ..Origin::default() };
    let message = Sent { body: "shown".into(), headers, origin, attempt: 3 };
    let answers = step.decide(&[Arc::new(message)]);
    let [Answer::Decided(Decision::Replace(patch))] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    let body = String::from_utf8_lossy(patch.body.as_deref().expect("a body"));
    let wanted = "topic:a/b from ann/c1/l1, attempt 3\n\
        h=Text(\"first\") h=Integer(\"-2\") t=Bool(true) n=None b=Bytes([0, 255]) l=Text(\"[1]\")\n\
        content_type=Text(\"text/plain\") priority=Integer(\"9\") \
        message_id=Text(\"11111111-1111-1111-1111-111111111111\") timestamp=Integer(\"-5\") \
        subject=None h=Text(\"first\") nothing=None";
    assert_eq!(body, wanted);
    let set = [
        ("yes", Value::Bool(true)),
        ("whole", Value::I64(i64::MIN)),
        ("number", Value::F64(2.5)),
        ("text", Value::text("é")),
        ("bytes", Value::Bytes(Bytes::from_static(&[0, 255]))),
        ("priority", Value::I64(7)),
    ];
    assert_eq!(patch.set, set.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!(patch.remove, ["h", "subject"]);
    assert_eq!(patch.content_type.as_deref(), Some("text/x-shown"));
}

#[test]
fn outputs_have_addresses_and_limits() {
    let (loaded, step) = misshape(PATIENCE);
    let copy = |address: Option<&str>| Output {
        address: address.map(str::to_owned),
        patch: Patch {
            set: vec![("copy".to_owned(), Value::Bool(address.is_some()))],
            ..Patch::default()
        },
    };
    let bodies = ["to queue:x", "many 1024", "many 1025", "large 16777216", "large 16777217", "z"];
    let answers = step.decide(&all(&bodies));
    let emitted = Decision::Emit(vec![copy(None), copy(Some("queue:x"))]);
    assert_eq!(answers[0], Answer::Decided(emitted));
    let many = Decision::Emit(vec![Output::default(); 1_024]);
    assert_eq!(answers[1], Answer::Decided(many));
    assert_eq!(answers[2], failed("the plugin returned 1025 outputs; at most 1024 are allowed"));
    assert!(matches!(&answers[3], Answer::Decided(Decision::Replace(_))));
    let large = "the plugin returned 16777217 bytes; at most 16777216 are allowed";
    assert_eq!((&answers[4], &answers[5]), (&failed(large), &replaced("Z")));
    assert_eq!(loaded.look().out_of_use, None, "that is the message's failure");
}

/// The answers around a message at which the plugin breaks.
fn broken(test: &str, path: PathBuf, how: &str, kind: FailureKind, why: &str) {
    if !in_child(test) {
        return;
    }
    let call_time = if how == "hang" { Duration::from_millis(300) } else { PATIENCE };
    let (loaded, maker) = loaded(path, call_time);
    let (step, other) = (maker.make("{}").expect("made"), maker.make("{}").expect("made"));
    let started = Instant::now();
    let answers = step.decide(&all(&["a", how, "b", "c"]));
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    assert!(matches!(&answers[0], Answer::Decided(Decision::Replace(_))), "{answers:?}");
    let Answer::Failed(failure, text) = &answers[1] else { panic!("{answers:?}") };
    assert_eq!(*failure, kind, "{text}");
    assert!(text.contains(why) && text.contains("the plugin 'tested' ("), "{text}");
    let later = Answer::NotAsked(Duration::from_secs(1));
    assert_eq!(answers[2..], [later.clone(), later.clone()]);
    // Nothing of it is called any more.
    let calls = loaded.look().calls;
    for step in [&step, &other] {
        assert_eq!(step.decide(&all(&["a"])), std::slice::from_ref(&later));
        let said = step.out_of_use().expect("out of use");
        assert!(said.contains(why) && said.starts_with("the plugin 'tested' is out"), "{said}");
    }
    let refused = maker.make("{}").map(|_| ()).expect_err("out of use");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(loaded.look().calls, calls);
}

#[test]
fn a_panic_is_the_failure_of_its_message() {
    let test = "shaping::a_panic_is_the_failure_of_its_message";
    let why = "its call 'handle' panicked: misshaping (misshape/src/lib.rs:";
    broken(test, sample("misshape"), "panic", FailureKind::Trap, why);
}

#[test]
fn a_hang_is_the_failure_of_its_message() {
    let test = "shaping::a_hang_is_the_failure_of_its_message";
    let why = "its call 'handle' did not return within 300 ms";
    broken(test, sample("misshape"), "hang", FailureKind::Timeout, why);
}

macro_rules! broken {
    ($($name:ident: $definition:literal $why:literal;)*) => {$(
        #[test]
        fn $name() {
            let test = concat!("shaping::", stringify!($name));
            let path = in_cpp(stringify!($name), &[$definition]);
            broken(test, path, "x", FailureKind::Trap, $why);
        }
    )*};
}

broken! {
    too_few_decisions: "TOO_FEW" "its call 'handle' decided on 1 of 4 messages";
    a_status_that_is_no_answer: "STATUS" "its call 'handle' failed with status 77";
    a_decision_that_is_null: "NULL_DECISION" "its call 'handle' decided with a null pointer";
    a_decision_of_no_kind: "KIND_UNKNOWN" "its call 'handle' decided what there is not: 99";
    two_messages_for_one: "TWO" "its call 'handle' replaced a message by 2 outputs";
    outputs_that_are_nowhere: "NOWHERE" "its call 'handle' decided with outputs that are nowhere";
}

/// All messages have their decisions, and the plugin is out of use nevertheless.
fn broken_behind_all(test: &str, definition: &str, why: &str) {
    let path = in_cpp(test.rsplit(':').next().expect("a name"), &[definition]);
    if !in_child(test) {
        return;
    }
    let (loaded, maker) = loaded(path, PATIENCE);
    let step = maker.make("{}").expect("made");
    let answers = step.decide(&all(&["ab", "cd"]));
    assert!(answers.iter().all(|it| matches!(it, Answer::Decided(_))), "{answers:?}");
    let out_of_use = loaded.look().out_of_use.expect("out of use");
    assert!(out_of_use.contains(why), "{out_of_use}");
}

#[test]
fn too_many_decisions() {
    let why = "decided more often than on 2 messages";
    broken_behind_all("shaping::too_many_decisions", "TOO_MANY", why);
}

#[test]
fn a_refusal_behind_all_decisions() {
    let why = "refuses, and has decided on all messages";
    broken_behind_all("shaping::a_refusal_behind_all_decisions", "LATE_REFUSAL", why);
}

#[test]
fn a_transform_in_cpp_throws_and_goes_on() {
    let (loaded, maker) = loaded(in_cpp("reverse", &[]), PATIENCE);
    let look = loaded.look();
    assert_eq!((&*look.plugin, &*look.version), ("reverse", "2.0.0"));
    let wrong = maker.make("{\"wrong\":1}").map(|_| ()).expect_err("refused");
    assert_eq!((wrong.kind(), wrong.detail()), (ErrorKind::Invalid, "takes nothing wrong"));
    let step = maker.make("{\"a\":1}").expect("made");
    let reversed = |body: &str| {
        Answer::Decided(Decision::Replace(Patch {
            body: Some(body.to_owned().into()),
            set: vec![("mark".to_owned(), Value::text("{\"a\":1}"))],
            ..Patch::default()
        }))
    };
    // What is behind a refusal is handed over once more.
    let answers = step.decide(&all(&["ab", "throw", "throw", "cd", ""]));
    let thrown = failed("thrown in C++");
    assert_eq!(answers, [reversed("ba"), thrown.clone(), thrown, reversed("dc"), reversed("")]);
    assert_eq!(loaded.look().out_of_use, None);
}

#[test]
fn what_means_nothing_is_the_failure_of_its_message() {
    for (definition, why) in [
        ("NOT_UTF8", "the plugin returned a address that is not UTF-8"),
        ("NO_NUMBER", "the plugin set a header to a whole number '12x', which is none"),
        ("NO_VALUE", "the plugin set a header to what there is not: 99"),
    ] {
        let (loaded, maker) = loaded(in_cpp(definition, &[definition]), PATIENCE);
        let answers = maker.make("{}").expect("made").decide(&all(&["a", "b"]));
        assert_eq!(answers, [failed(why), failed(why)]);
        assert_eq!(loaded.look().out_of_use, None);
    }
}

#[test]
fn what_is_no_transform_is_refused_with_its_reason() {
    let refused = |path: PathBuf| load(&spec(path)).map(|_| ()).expect_err("refused").reason;
    let why = refused(in_cpp("no-transform", &["NO_TRANSFORM"]));
    assert!(why.contains("says that it brings a transform, and has none"), "{why}");
    let why = refused(in_cpp("no-handle", &["NO_HANDLE"]));
    assert!(why.contains("its transform has no function 'handle'"), "{why}");
    let (_loaded, maker) = loaded(sample("misshape"), PATIENCE);
    let refused = |with: &str| -> Error { maker.make(with).map(|_| ()).expect_err("refused") };
    let why = refused("{\"make\":\"refuse\"}");
    assert_eq!((why.kind(), why.detail()), (ErrorKind::Invalid, "refused in make_step"));
}

#[test]
fn the_time_of_a_call_begins_again_with_each_message() {
    let (loaded, step) = misshape(Duration::from_millis(600));
    // Twelve times 100 ms, in a call that has 600 ms.
    let answers = step.decide(&all(&["slow"; 12]));
    assert_eq!(answers, vec![replaced("SLOW"); 12]);
    assert_eq!(loaded.look().out_of_use, None);
}

#[test]
fn messages_of_one_call_share_its_cost() {
    let (loaded, step) = misshape(PATIENCE);
    let messages: Vec<_> = (0..64).map(|n| sent(&format!("message {n}"))).collect();
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(step.decide(&messages).len(), 64);
    }
    println!("{} ns for a message of 64", started.elapsed().as_nanos() / 6_400);
    assert_eq!(loaded.look().calls, 103, "with entry, start and make_step");
}
