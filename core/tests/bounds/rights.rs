//! Rights cost nothing for each message, however many there are.

use crate::measure::timed;
use crate::stage::{Client, Stage, topic};
use crossdock_core::*;
use std::sync::Arc;
use std::time::Duration;

/// Messages of one measurement, and tries of which the best counts.
const MESSAGES: usize = 4_000;
const TRIES: usize = 8;
/// What many patterns may add; the rest is noise of the machine.
const SLOWER_MAX: f64 = 1.3;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A user with that many patterns, of which the last ones are those that are needed.
fn account(name: &str, patterns: usize) -> Account {
    let own = |last: &str| {
        let others = (0..patterns).map(|n| format!("topic:other/{n}/{{client_id}}/#"));
        others.chain([last.to_owned(), "queue:own*".to_owned()]).collect::<Vec<_>>()
    };
    let (write, read) = (own("topic:in/#"), own("topic:in/+"));
    let text = RightsText { write, read, ..RightsText::default() };
    let vhosts = [("/".into(), Arc::new(Rights::parse(text).expect("rights")))];
    Account { name: name.into(), vhosts: vhosts.into_iter().collect(), ..Account::default() }
}

/// What `measured` takes with few patterns and with many; what others do to the machine meanwhile is tried away.
fn costs_the_same(what: &str, measured: impl Fn(usize) -> Duration) {
    let mut tried = Vec::new();
    for _ in 0..TRIES {
        let (few, many) = (measured(1), measured(1_000));
        let slower = many.as_secs_f64() / few.as_secs_f64().max(1e-6);
        if slower <= SLOWER_MAX {
            return;
        }
        tried.push(format!("{few:?} and {many:?}"));
    }
    panic!("{what} takes longer with many patterns: {}", tried.join("; "));
}

fn publish(client: &mut Client, change: impl Fn(&mut Meta)) {
    for _ in 0..MESSAGES {
        client.put(topic("in/here"), "body", &change);
        client.session.flush();
    }
}

#[test]
fn a_publish_takes_as_long_with_a_thousand_patterns() {
    costs_the_same("a publish", |patterns| {
        runtime().block_on(async {
            let stage = Stage::with_users(vec![account("u", patterns)]).await;
            let mut client = stage.user("u", "me").await;
            publish(&mut client, |_| {});
            timed(|| publish(&mut client, |_| {}))
        })
    });
}

#[test]
fn a_retained_value_is_set_as_fast_with_a_thousand_patterns() {
    costs_the_same("a retained value", |patterns| {
        runtime().block_on(async {
            let stage = Stage::with_users(vec![account("u", patterns)]).await;
            let mut client = stage.user("u", "me").await;
            // A retained publish resolves its route each time; whether it may be sent there is asked once.
            publish(&mut client, |meta| meta.retain = true);
            timed(|| publish(&mut client, |meta| meta.retain = true))
        })
    });
}

#[test]
fn a_subscription_that_is_allowed_in_part_is_as_fast_with_a_thousand_patterns() {
    costs_the_same("a delivery", |patterns| {
        runtime().block_on(async {
            let stage = Stage::with_users(vec![account("u", patterns)]).await;
            let mut reader = stage.user_named("u", "me").await.expect("it opens");
            reader.subscribe("#", 0).await;
            let mut guest = stage.client().await;
            publish(&mut guest, |_| {});
            let mut events = Events::default();
            reader.session.events(&mut events).await;
            assert_eq!(events.deliveries.len(), MESSAGES);
            let before = crate::measure::cpu_time();
            publish(&mut guest, |_| {});
            reader.session.events(&mut events).await;
            assert_eq!(events.deliveries.len(), MESSAGES);
            crate::measure::cpu_time().saturating_sub(before)
        })
    });
}
