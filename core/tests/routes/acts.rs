//! What the routes of a plan do to a message: it follows from the seed, the route and the body alone. [`Scripted`]
//! does it in the broker; the model asks the same functions.

use crate::plan::{Plan, When, hash};
use bytes::Bytes;
use crossdock_core::transform::{Cost, FailureKind, StepFailure, Transform, Verdict};
use crossdock_core::{Address, Fields, Formats, Message, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a route does in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Pass,
    /// Outputs; none: it goes on to where the input was going.
    Emit(Vec<Option<Address>>),
    Drop,
    Reject,
}

/// What a route does to one message, attempt by attempt.
#[derive(Debug, Clone)]
pub struct Course {
    /// This many times it waits, which is no attempt.
    pub waits: u32,
    /// Then it asks this many times to be called again.
    pub again: u32,
    /// Then it fails this many times.
    pub fails: u32,
    pub kind: FailureKind,
    pub act: Act,
}

pub const FOR_EVER: u32 = u32::MAX;

/// Whether the route's predicate holds.
pub fn wants(plan: &Plan, route: usize, body: &str, h: u8) -> bool {
    let been = |other: usize| body.contains(&format!(" r{other}."));
    match plan.routes[route].when {
        When::All => true,
        When::Some(n) => id_of(body) % n == route as u32 % n,
        When::Header(wanted) => h == wanted,
        When::Been(other) => been(other),
        When::NotBeen(other) => !been(other),
    }
}

/// The number that a message was published with.
pub fn id_of(body: &str) -> u32 {
    body.split(' ').next().and_then(|id| id.parse().ok()).expect("a message of ours")
}

/// What the route does to the message with that body.
pub fn course(plan: &Plan, route: usize, body: &str) -> Course {
    let mut seed = hash(&[&plan.seed.to_le_bytes(), &[route as u8], body.as_bytes()]);
    let mut roll = |sides: u64| {
        let value = seed % sides;
        seed = hash(&[&seed.to_le_bytes()]);
        value
    };
    let r = &plan.routes[route];
    let is_filter = r.mode == crossdock_core::transform::Mode::Filter;
    let act = match roll(20) {
        0..=3 => Act::Pass,
        4 => Act::Drop,
        5 if r.rejects => Act::Reject,
        6 if r.may_be_empty => Act::Emit(Vec::new()),
        _ => {
            let count = [1, 1, 1, 1, 2, 2, 3][roll(7) as usize];
            let mut one = || match is_filter && roll(10) < 7 {
                true => None,
                false => Some(r.to[roll(r.to.len() as u64) as usize].clone()),
            };
            Act::Emit((0..count).map(|_| one()).collect())
        }
    };
    let kinds = [FailureKind::Trap, FailureKind::Timeout, FailureKind::Memory, FailureKind::Guest];
    let kind = kinds[roll(4) as usize];
    let (mut waits, mut again, mut fails) = (0, 0, 0);
    match (roll(20), r.queued) {
        (0, _) => fails = FOR_EVER,
        (1, _) => fails = 1,
        (2, true) => fails = 2,
        (3, true) => again = 1 + roll(3) as u32,
        (4, true) if roll(4) == 0 => again = FOR_EVER,
        (5 | 6, true) => waits = 1 + roll(3) as u32,
        _ => {}
    }
    Course { waits, again, fails, kind, act }
}

/// The body of a route's n-th output.
pub fn body_of_output(route: usize, body: &str, n: usize) -> String {
    format!("{body} r{route}.{n}")
}

/// Calls of the routes' steps: by route and body.
pub type Calls = Arc<Mutex<BTreeMap<(usize, String), Called>>>;

#[derive(Debug, Clone, Default)]
pub struct Called {
    /// Those that waited.
    pub waits: u32,
    /// Those that asked to be called again.
    pub again: u32,
    /// All but those that waited: their attempts.
    pub attempts: Vec<u32>,
}

/// A route's steps.
pub struct Scripted {
    pub plan: Arc<Plan>,
    pub route: usize,
    pub name: String,
    pub calls: Calls,
}

pub fn text(message: &Message) -> String {
    String::from_utf8(message.body().to_vec()).expect("a message of ours")
}

pub fn h_of(fields: &Fields) -> u8 {
    match fields.header("h") {
        Some(Value::I32(h)) => *h as u8,
        other => panic!("a message without its header: {other:?}"),
    }
}

impl Scripted {
    fn emit(&self, input: &Message, formats: &Formats, to: Vec<Option<Address>>) -> Vec<Message> {
        let fields = input.fields(formats);
        let one = |(n, to): (usize, Option<Address>)| {
            let body = Bytes::from(body_of_output(self.route, &text(input), n));
            let address = to.unwrap_or_else(|| input.address().clone());
            Message::from_fields(address, input.meta().clone(), fields, body)
        };
        to.into_iter().enumerate().map(one).collect()
    }
}

impl Transform for Scripted {
    fn name(&self) -> &str {
        &self.name
    }

    fn cost(&self) -> Cost {
        if self.plan.routes[self.route].queued { Cost::Queued } else { Cost::Inline }
    }

    fn wants(&self, message: &Message, formats: &Formats) -> bool {
        wants(&self.plan, self.route, &text(message), h_of(message.fields(formats)))
    }

    fn apply(
        &self,
        input: &Message,
        attempt: u32,
        formats: &Formats,
        out: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        let body = text(input);
        let course = course(&self.plan, self.route, &body);
        {
            let mut calls = self.calls.lock().expect("no test panics here");
            let called = calls.entry((self.route, body)).or_default();
            if called.waits < course.waits {
                called.waits += 1;
                return Ok(Verdict::Wait(Duration::from_millis(1)));
            }
            called.attempts.push(attempt);
            if called.again < course.again {
                called.again += 1;
                return Ok(Verdict::Retry(Duration::from_millis(1)));
            }
        }
        if attempt < course.fails {
            return Err(StepFailure {
                module: "scripted".into(),
                version: "1".into(),
                kind: course.kind,
                text: "as the plan says".into(),
            });
        }
        Ok(match course.act {
            Act::Pass => Verdict::Pass,
            Act::Drop => Verdict::Drop("as the plan says".into()),
            Act::Reject => Verdict::Reject("as the plan says".into()),
            Act::Emit(to) => {
                out.extend(self.emit(input, formats, to));
                Verdict::Emit
            }
        })
    }
}
