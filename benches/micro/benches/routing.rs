//! Finding the bindings that match a message: each kind of exchange, small and large, and single patterns with single
//! topics. One iteration routes all keys once; the time of a message is that divided by the number of keys.
#![forbid(unsafe_code)]

use crossdock_core::exchange::{Binding, BindingTag, Hit, Kind, Matcher, Target, filter};
use crossdock_core::{Fields, Key, LogId, Name, Value};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use std::sync::Arc;
use std::time::Duration;

/// The broker's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each benchmark runs at least.
const TIME: Duration = Duration::from_millis(100);

/// Number of keys used in turn: more than a branch predictor can learn.
const ROUND: usize = 64;
/// All of them match one topic: without wildcards, with +, with # at the end, with # at the start.
const PATTERNS: [&str; 4] =
    ["plant/7/line/3/temperature", "plant/+/line/+/temperature", "plant/#", "#/temperature"];

fn main() {
    divan::Divan::default().min_time(TIME).config_with_args().main();
}

/// A matcher with these bindings, one queue each.
fn bound(kind: Kind, bindings: impl Iterator<Item = Binding>) -> Box<dyn Matcher> {
    let mut matcher = kind.matcher(kind == Kind::Topic);
    bindings.for_each(|binding| matcher.bind(Arc::new(binding)));
    matcher
}

fn binding(queue: usize, key: &str) -> Binding {
    Binding::new("bench", key.into(), Target::Log(LogId(queue as u64)))
}

/// Times one round of all keys. `hits`: number of bindings that the keys match together.
fn routing(bencher: Bencher, matcher: &dyn Matcher, keys: &[Key], hits: usize) {
    let read = Fields { headers: headers(7), ..Fields::default() };
    let fields = || &read;
    let mut out: Vec<Hit> = Vec::new();
    let mut round = || {
        out.clear();
        for key in keys {
            matcher.route(key, &fields, &mut out);
        }
        out.len()
    };
    assert_eq!(round(), hits, "the benchmark routes as it was meant to");
    bencher.counter(ItemsCount::new(keys.len())).bench_local(round);
}

fn keys(of: impl Fn(usize) -> String) -> Vec<Key> {
    (0..ROUND).map(|n| Key::from(&*of(n))).collect()
}

/// Every key is bound once.
#[divan::bench(args = [100, 10_000])]
fn direct(bencher: Bencher, bindings: usize) {
    let name = |n: usize| format!("order/{}", n * 31 % bindings);
    let matcher = bound(Kind::Direct, (0..bindings).map(|n| binding(n, &name(n))));
    routing(bencher, &*matcher, &keys(name), ROUND);
}

#[divan::bench(args = [10, 100])]
fn fanout(bencher: Bencher, bindings: usize) {
    let matcher = bound(Kind::Fanout, (0..bindings).map(|n| binding(n, "")));
    routing(bencher, &*matcher, &keys(|n| n.to_string()), ROUND * bindings);
}

/// Literal and single-word patterns in turn, and one that matches all: two hits for each key.
#[divan::bench(args = [100, 10_000])]
fn topic(bencher: Bencher, bindings: usize) {
    let pattern = |n: usize| match n % 2 {
        0 => format!("plant/{n}/line/{}/temperature", n % 7),
        _ => format!("plant/{n}/+/{}/temperature", n % 7),
    };
    let all = std::iter::once(binding(bindings, "plant/#"));
    let matcher = bound(Kind::Topic, (1..bindings).map(|n| binding(n, &pattern(n))).chain(all));
    let key = |n: usize| {
        let plant = 1 + n * 31 % (bindings - 1);
        format!("plant/{plant}/line/{}/temperature", plant % 7)
    };
    routing(bencher, &*matcher, &keys(key), ROUND * 2);
}

fn headers(tenant: usize) -> Vec<(Name, Value)> {
    vec![
        ("tenant".into(), Value::text(&*format!("tenant-{tenant}"))),
        ("format".into(), Value::text("json")),
        ("priority".into(), Value::I32(5)),
    ]
}

/// Two arguments that both have to match; one binding matches.
#[divan::bench(args = [10, 100])]
fn headers_all(bencher: Bencher, bindings: usize) {
    let of = |n: usize| {
        let mut arguments = headers(n);
        arguments.truncate(2);
        Binding { arguments, ..binding(n, "") }
    };
    let matcher = bound(Kind::Headers, (0..bindings).map(of));
    routing(bencher, &*matcher, &keys(|n| n.to_string()), ROUND);
}

/// The topic tree of typical subscribers: patterns with tags and all kinds of wildcards. Each key matches its own
/// device's pattern, one with `+`, and the one with `#`.
#[divan::bench(args = [100, 10_000])]
fn subscriptions(bencher: Bencher, sessions: usize) {
    let of = |n: usize, pattern: &str| {
        let tag = BindingTag { level: 1, flags: 0, id: n as u32 };
        Binding { tag, ..binding(n, pattern) }
    };
    let own = (0..sessions).map(|n| of(n, &format!("site/{}/device/{n}/#", n % 10)));
    let wide = (0..10).map(|n| of(sessions + n, &format!("site/{n}/device/+/state")));
    let all = std::iter::once(of(sessions + 10, "#"));
    let matcher = bound(Kind::Topic, own.chain(wide).chain(all));
    let key = |n: usize| {
        let device = n * 31 % sessions;
        format!("site/{}/device/{device}/state", device % 10)
    };
    routing(bencher, &*matcher, &keys(key), ROUND * 3);
}

/// One pattern against one topic, without a tree.
#[divan::bench(args = PATTERNS)]
fn pattern(bencher: Bencher, pattern: &str) {
    let (pattern, topic) = (Key::from(pattern), Key::from("plant/7/line/3/temperature"));
    assert!(filter::matches(&pattern, &topic));
    bencher.bench_local(|| filter::matches(black_box(&pattern), black_box(&topic)));
}
