//! The matchers of all kinds of exchange, without a broker: each verb costs what it is about.

use crate::measure::{grows_linearly, timed};
use crossdock_core::exchange::{Binding, Hit, Matcher, Target};
use crossdock_core::message::same_arguments;
use crossdock_core::{Fields, Key, Kind, LogId, Name, Value};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

const KINDS: [Kind; 4] = [Kind::Direct, Kind::Fanout, Kind::Topic, Kind::Headers];

/// Where the n-th binding differs from the others.
#[derive(Clone, Copy, Debug)]
enum Differ {
    Key,
    Target,
    Arguments,
}

fn binding(differ: Differ, n: usize) -> Arc<Binding> {
    let (mut key, mut target) = (Key::from("a/b"), Target::Log(LogId(1)));
    let mut arguments = Vec::new();
    match differ {
        Differ::Key => key = Key::from(&*format!("a/b/{n}")),
        Differ::Target => target = Target::Log(LogId(n as u64)),
        Differ::Arguments => arguments.push(("n".into(), Value::U64(n as u64))),
    }
    Arc::new(Binding { arguments, ..Binding::new("x", key, target) })
}

fn hits(matcher: &dyn Matcher, key: &Key, fields: &Fields) -> usize {
    let mut out: Vec<Hit> = Vec::new();
    matcher.route(key, &|| fields, &mut out);
    out.len()
}

/// All are bound, bound again, and unbound in an order. None is left.
fn come_and_go(kind: Kind, differ: Differ, n: usize, backwards: bool) -> Duration {
    let all: Vec<_> = (0..n).map(|n| binding(differ, n)).collect();
    let mut matcher = kind.matcher(false);
    timed(|| {
        all.iter().for_each(|binding| matcher.bind(binding.clone()));
        all.iter().for_each(|binding| matcher.bind(binding.clone()));
        assert_eq!(matcher.len(), n);
        match backwards {
            true => all.iter().rev().for_each(|binding| assert!(matcher.unbind(binding))),
            false => all.iter().for_each(|binding| assert!(matcher.unbind(binding))),
        }
        assert_eq!((matcher.len(), matcher.bytes()), (0, 0));
    })
}

#[test]
fn bindings_come_and_go_at_a_constant_cost() {
    for kind in KINDS {
        for differ in [Differ::Key, Differ::Target, Differ::Arguments] {
            for backwards in [false, true] {
                let what = format!("{kind:?} bindings that differ by {differ:?}");
                grows_linearly(&what, 1_000, |n| come_and_go(kind, differ, n, backwards));
            }
        }
    }
}

#[test]
fn patterns_that_all_match_are_met_once_each() {
    // {a,+}^n: every node of the tree is reached.
    grows_linearly("a publish that meets all patterns of a full tree", 512, |n| {
        let depth = n.ilog2() as usize;
        let mut matcher = Kind::Topic.matcher(true);
        for i in 0..n {
            let word = |bit: usize| if i >> bit & 1 == 0 { "a" } else { "+" };
            let words: Vec<&str> = (0..depth).map(word).collect();
            let target = Target::Log(LogId(i as u64));
            matcher.bind(Arc::new(Binding::new("t", Key::from(&*words.join("/")), target)));
        }
        let key = Key::from(&*vec!["a"; depth].join("/"));
        timed(|| (0..40).for_each(|_| assert_eq!(hits(&*matcher, &key, &Fields::default()), n)))
    });
}

#[test]
fn many_wildcards_of_many_words_are_each_entered_once() {
    // n patterns that begin with `#`: their nodes stay in the set, word after word.
    grows_linearly("a publish among patterns with # in front", 500, |n| {
        let mut matcher = Kind::Topic.matcher(true);
        for i in 0..n {
            let key = Key::from(&*format!("#/w/#/{i}/#"));
            matcher.bind(Arc::new(Binding::new("t", key, Target::Log(LogId(i as u64)))));
        }
        let key = Key::from(&*(0..40).map(|i| format!("w/{i}")).collect::<Vec<_>>().join("/"));
        timed(|| (0..10).for_each(|_| assert_eq!(hits(&*matcher, &key, &Fields::default()), 40)))
    });
}

fn headers(n: usize) -> Vec<(Name, Value)> {
    (0..n).map(|n| (format!("header-{n}").into(), Value::U64(n as u64))).collect()
}

#[test]
fn headers_of_a_message_are_looked_at_once() {
    grows_linearly("a message with n headers and a binding that asks for all", 4_000, |n| {
        let mut matcher = Kind::Headers.matcher(false);
        let mut binding = Binding::new("h", Key::default(), Target::Log(LogId(1)));
        binding.arguments = headers(n);
        matcher.bind(Arc::new(binding));
        let fields = Fields { headers: headers(n), ..Fields::default() };
        timed(|| (0..10).for_each(|_| assert_eq!(hits(&*matcher, &Key::default(), &fields), 1)))
    });
}

#[test]
fn arguments_are_compared_in_any_order_at_the_cost_of_their_number() {
    grows_linearly("arguments in another order", 4_000, |n| {
        let (a, mut b) = (headers(n), headers(n));
        b.rotate_left(n / 2);
        timed(|| (0..10).for_each(|_| assert!(black_box(same_arguments(&a, &b)))))
    });
    grows_linearly("a binding with n arguments", 2_000, |n| {
        let mut matcher = Kind::Headers.matcher(false);
        let with = |arguments, target| {
            let binding = Binding::new("h", Key::default(), Target::Log(LogId(target)));
            Arc::new(Binding { arguments, ..binding })
        };
        for target in 0..20 {
            matcher.bind(with(headers(n), target));
        }
        let mut other = headers(n);
        other.reverse();
        let other = with(other, 7);
        timed(|| {
            for _ in 0..10 {
                assert!(matcher.unbind(&other));
                matcher.bind(other.clone());
            }
        })
    });
}
