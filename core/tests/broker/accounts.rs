//! Users while connections of theirs are there, many users at once, and a store that only users are changed in.

use crate::stage::*;
use crossdock_core::*;
use std::sync::Arc;
use std::time::Duration;

fn actor() -> Actor {
    Actor { user: "admin".into(), from: "test".into() }
}

fn secret(text: &'static str) -> Secret {
    Secret(text.into())
}

fn account(name: &str, verifiers: &[&'static str]) -> Account {
    let all =
        RightsText { write: vec!["*".into()], read: vec!["*".into()], ..RightsText::default() };
    let rights = Arc::new(Rights::parse(all).expect("rights"));
    Account {
        name: name.into(),
        verifiers: verifiers.iter().map(|text| secret(text)).collect(),
        vhosts: [("/".into(), rights)].into_iter().collect(),
        ..Account::default()
    }
}

/// A connection that was let in by one of these.
async fn connect(stage: &Stage, user: &str, verified_by: &[&'static str]) -> Client {
    let verified_by = verified_by.iter().map(|text| secret(text)).collect();
    let identity = Identity { verified_by, ..Identity::of_account(user) };
    stage.open(SessionSpec::anonymous("/", Origin::default(), identity)).await
}

/// Why the connection is to end; none: it may stay.
async fn end(client: &mut Client) -> Option<String> {
    let notices = client.events().await.notices;
    notices.into_iter().find_map(|notice| match notice {
        Notice::Closed(why) => {
            assert_eq!(why.kind(), ErrorKind::Refused);
            Some(why.detail().to_owned())
        }
        _ => None,
    })
}

#[tokio::test]
async fn connections_end_with_their_user_and_with_what_let_them_in() {
    let stage = Stage::new().await;
    let broker = &stage.broker;
    broker
        .set_users(&actor(), vec![account("u", &["one", "scram"]), account("v", &[])])
        .await
        .expect("set");
    let mut by_one = connect(&stage, "u", &["one", "scram"]).await;
    let mut by_certificate = connect(&stage, "u", &[]).await;
    let mut other = connect(&stage, "v", &[]).await;
    // Both passwords hold for a while.
    broker
        .set_user(&actor(), &"u".into(), Vec::new(), vec![secret("two"), secret("one")])
        .await
        .expect("set");
    let mut by_both = connect(&stage, "u", &["two", "one"]).await;
    assert_eq!(end(&mut by_one).await, None);
    broker.set_user(&actor(), &"u".into(), Vec::new(), vec![secret("two")]).await.expect("set");
    assert_eq!(end(&mut by_one).await.as_deref(), Some("the password of user 'u' was changed"));
    assert_eq!((end(&mut by_both).await, end(&mut by_certificate).await), (None, None));
    broker.delete_user(&actor(), "u").await.expect("deleted");
    for client in [&mut by_both, &mut by_certificate] {
        assert_eq!(end(client).await.as_deref(), Some("user 'u' was removed"));
    }
    assert_eq!(end(&mut other).await, None);
    // Whoever logged in before that and opens a session behind it gets none.
    let identity = Identity::of_account("u");
    let late = stage.try_open(SessionSpec::anonymous("/", Origin::default(), identity)).await;
    assert_eq!(late.map(|_| ()).map_err(|error| error.kind()), Err(ErrorKind::Refused));
}

#[tokio::test]
async fn users_of_the_configuration_end_connections_too() {
    let stage = Stage::with_users(vec![account("u", &["one"]), account("v", &["one"])]).await;
    let mut u = connect(&stage, "u", &["one"]).await;
    let mut v = connect(&stage, "v", &["one"]).await;
    stage.broker.configure_users(&actor(), vec![account("v", &["two"])]);
    assert_eq!(end(&mut u).await.as_deref(), Some("user 'u' was removed"));
    assert_eq!(end(&mut v).await.as_deref(), Some("the password of user 'v' was changed"));
    // A login that was verified by what is gone by now.
    let verified_by = Arc::new([secret("one")]);
    let identity = Identity { verified_by, ..Identity::of_account("v") };
    let late = stage.try_open(SessionSpec::anonymous("/", Origin::default(), identity)).await;
    assert_eq!(late.map(|_| ()).map_err(|error| error.kind()), Err(ErrorKind::Refused));
}

#[tokio::test]
async fn many_users_are_set_together_or_not_at_all() {
    let stage = Stage::with_users(vec![account("configured", &[])]).await;
    let broker = &stage.broker;
    for wrong in ["configured", "", &"x".repeat(2_000)] {
        let set = broker.set_users(&actor(), vec![account("new", &[]), account(wrong, &[])]).await;
        assert!(set.is_err(), "{wrong}");
    }
    assert!(broker.user("new").is_none());
    let mut first = account("new", &["one"]);
    let elsewhere = first.vhosts.get("/").cloned().expect("rights");
    first.vhosts.insert("elsewhere".into(), elsewhere);
    broker.set_users(&actor(), vec![first, account("more", &[])]).await.expect("set");
    // Rights that are not among the new ones are gone.
    broker.set_users(&actor(), vec![account("new", &["two"])]).await.expect("set");
    let stage = stage.crash().await;
    assert_eq!(stage.broker.user("new").as_deref(), Some(&account("new", &["two"])));
    assert_eq!(stage.broker.user("more").as_deref(), Some(&account("more", &[])));
    assert_eq!(stage.broker.users().len(), 2);
}

/// Changing users of a stopped store lets nothing else happen: what is due waits for the next start.
#[tokio::test]
async fn in_a_store_at_rest_only_users_change() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    c.declare(queue("short", &[("x-message-ttl", Value::I64(50))])).await;
    c.durable(Address::queue("short"), "expires").await;
    let parked = c.message(Address::queue("q"), "parked", at_level_1);
    let due = ParkUntil::At(Timestamp(stage.broker.now().0 + 50));
    c.session.park(due, parked).await.expect("parked");
    let mut session = stage.named("s", false, SessionLife::For(50)).await;
    session.subscribe("a", 1).await;
    let store = stage.store.crashed();
    drop((c, session, stage));

    let broker = Stage::at_rest(store.clone()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let owners = broker.session_owners();
    assert_eq!(owners.len(), 1, "{owners:?}");
    assert_eq!((&*owners[0].session, &*owners[0].user), ("s", "guest"));
    broker.set_users(&actor(), vec![account("u", &[])]).await.expect("set");
    broker.give_session(&actor(), (&"/".into(), "s"), &"u".into()).await.expect("given");
    broker.close().await.expect("closed");

    let broker = Stage::at_rest(store.crashed()).await;
    assert_eq!(&*broker.session_owners()[0].user, "u");
    broker.close().await.expect("closed");
    let stage = Stage::with(store.crashed(), Settings::default(), Vec::new()).await;
    assert!(stage.broker.user("u").is_some());
    let c = stage.client().await;
    until("the parked publish comes", || c.ready("q") == 1).await;
}
