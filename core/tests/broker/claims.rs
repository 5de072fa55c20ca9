//! What is a named session's whatever becomes of its connection: deliveries that it has claimed, and memberships.

use crate::stage::*;
use bytes::Bytes;
use crossdock_core::*;

fn rejected() -> Outcome {
    Outcome::Rejected { reason: None }
}

/// A session gets everything from a queue, and claims it.
async fn claimed(
    stage: &Stage,
    name: &str,
    life: SessionLife,
    count: usize,
) -> (Client, Vec<Claim>) {
    let mut client = stage.named(name, false, life).await;
    client.consume("jobs", 100, true).await;
    let got = client.take(count).await;
    let note = |delivery: &Delivery| Bytes::copy_from_slice(delivery.message.body());
    let claims =
        got.iter().map(|d| client.session.claim(d.consumer, d.offset, note(d)).expect("its own"));
    let claims = claims.collect();
    client.session.sync().await.expect("stored");
    (client, claims)
}

async fn jobs(stage: &Stage, bodies: &[&str]) -> Client {
    let mut client = stage.client().await;
    let dead = ("x-dead-letter-routing-key", Value::text("dead"));
    client.declare(queue("jobs", &[("x-dead-letter-exchange", Value::text("")), dead])).await;
    client.declare(QueueSpec::durable("dead")).await;
    for body in bodies {
        client.durable(Address::queue("jobs"), body).await;
    }
    client
}

async fn found(client: &mut Client) -> Vec<(String, Option<String>)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let claims = client.session.claims().await.into_iter();
    claims.map(|c| (text(&c.note), c.message.map(|m| text(m.body())))).collect()
}

#[tokio::test]
async fn what_a_session_has_claimed_stays_with_it() {
    let stage = Stage::new().await;
    let mut other = jobs(&stage, &["a", "b", "c", "d"]).await;
    let (mut s, claims) = claimed(&stage, "s", SessionLife::Forever, 3).await;
    assert!(s.session.memos().is_empty(), "they are no memos of the adapter's");
    s.session.settle_claim(claims[0], &Outcome::Accepted);
    // The last one is not claimed: it goes back.
    drop(s);
    other.consume("jobs", 100, true).await;
    assert_eq!(bodies(&other.take(1).await), ["d"]);
    other.nothing().await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    let text = |body: &str| Some(body.to_owned());
    let want = [("a".into(), None), ("b".into(), text("b")), ("c".into(), text("c"))];
    assert_eq!(found(&mut s).await, want);
    // Another connection takes the session over while a consumer has what is claimed.
    let mut taken = stage.named("s", false, SessionLife::Forever).await;
    assert_eq!(found(&mut taken).await, want);
    s.session.settle_claim(claims[1], &Outcome::Accepted);
    drop(s);
    assert_eq!(found(&mut taken).await, want, "the old connection says nothing any more");
    taken.session.end_claim(claims[0]);
    taken.session.settle_claim(claims[1], &rejected());
    taken.session.settle_claim(claims[1], &rejected());
    taken.session.sync().await.expect("stored");
    assert_eq!(other.ready("dead"), 1);
    assert_eq!(stage.broker.audit(), []);
    other.nothing().await;
}

#[tokio::test]
async fn claims_are_kept_over_a_restart() {
    let stage = Stage::new().await;
    drop(jobs(&stage, &["a", "b", "c", "d"]).await);
    let (mut s, claims) = claimed(&stage, "s", SessionLife::Forever, 3).await;
    s.session.settle_claim(claims[2], &Outcome::Accepted);
    s.session.end_claim(claims[2]);
    s.session.sync().await.expect("stored");
    let stage = stage.crash().await;
    let mut other = stage.client().await;
    other.consume("jobs", 100, true).await;
    let got = other.take(1).await;
    assert_eq!(bodies(&got), ["d"]);
    other.settle(&got, Outcome::Accepted);
    other.nothing().await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    let text = |body: &str| Some(body.to_owned());
    // Their messages are not in memory.
    assert_eq!(found(&mut s).await, [("a".into(), text("a")), ("b".into(), text("b"))]);
    s.session.settle_claim(claims[0], &rejected());
    s.session.settle_claim(claims[1], &Outcome::Accepted);
    s.session.sync().await.expect("stored");
    assert_eq!(found(&mut s).await, [("a".into(), None), ("b".into(), None)]);
    until("the dead letter is there", || other.ready("dead") == 1).await;
    assert_eq!(stage.broker.audit(), []);
    let stage = stage.crash().await;
    let other = stage.client().await;
    assert_eq!((other.ready("jobs"), other.ready("dead")), (0, 1));
}

#[tokio::test]
async fn the_end_of_a_session_rejects_what_it_had_claimed() {
    for life in [SessionLife::No, SessionLife::Forever] {
        let stage = Stage::new().await;
        let mut other = jobs(&stage, &["a", "b"]).await;
        let (s, _) = claimed(&stage, "s", life, 2).await;
        match life {
            SessionLife::No => drop(s),
            _ => drop(stage.named("s", true, life).await),
        }
        until("they are dead letters", || other.ready("dead") == 2).await;
        other.consume("jobs", 100, true).await;
        other.nothing().await;
        assert_eq!(stage.broker.audit(), []);
    }
}

#[tokio::test]
async fn a_claim_outlives_its_consumer_and_its_queue() {
    let stage = Stage::new().await;
    let mut other = jobs(&stage, &["a"]).await;
    let mut s = stage.named("s", false, SessionLife::Forever).await;
    let consumer = s.consume("jobs", 1, true).await;
    let got = s.take(1).await;
    let claim = s.session.claim(consumer, got[0].offset, Bytes::new()).expect("its own");
    s.session.detach(consumer, OnDetach::Return).await;
    other.consume("jobs", 100, true).await;
    other.nothing().await;
    assert!(s.session.claims().await[0].message.is_some());
    other.session.delete_queue("jobs", false, false).await.expect("deleted");
    assert!(s.session.claims().await[0].message.is_none());
    s.session.settle_claim(claim, &Outcome::Accepted);
    s.session.end_claim(claim);
    s.session.sync().await.expect("stored");
    assert!(s.session.claims().await.is_empty());
    assert_eq!(stage.broker.audit(), []);
}

#[tokio::test]
async fn the_queue_of_a_group_ends_with_its_last_member() {
    let stage = Stage::new().await;
    let mut other = stage.client().await;
    let spec = QueueSpec::group("group", "$group".into());
    let mut lasts = stage.named("lasts", false, SessionLife::Forever).await;
    let mut passes = stage.named("passes", false, SessionLife::No).await;
    for member in [&mut lasts, &mut passes] {
        member.declare(spec.clone()).await;
        member.session.join_group("group").await.expect("a member");
        member.session.join_group("group").await.expect("as before");
    }
    other.durable(Address::queue("group"), "kept").await;
    drop(passes);
    drop(lasts);
    assert_eq!(other.ready("group"), 1);
    let stage = stage.crash().await;
    let mut other = stage.client().await;
    assert_eq!(other.ready("group"), 1, "a member is away, and so was the broker");
    let mut lasts = stage.named("lasts", false, SessionLife::Forever).await;
    assert!(lasts.session.memos().is_empty());
    other.consume("group", 1, true).await;
    lasts.session.leave_group("group").await.expect("stored");
    let mut events = Events::default();
    other.session.events(&mut events).await;
    assert!(events.notices.iter().any(|notice| matches!(notice, Notice::Detached { .. })));
    assert!(other.session.queue_status("group").is_err());
    let joined = lasts.session.join_group("group").await;
    assert_eq!(joined.map_err(|e| e.kind()), Err(ErrorKind::NotFound));
    // One that nobody joined does not outlive a restart.
    lasts.declare(spec).await;
    let stage = stage.crash().await;
    let other = stage.client().await;
    assert!(other.session.queue_status("group").is_err());
    assert_eq!(stage.broker.audit(), []);
}

#[tokio::test]
async fn a_group_that_ends_while_another_session_joins_is_whole_or_gone() {
    let stage = Stage::new().await;
    for round in 0..200 {
        let (mut a, mut b) = (
            stage.named("a", true, SessionLife::Forever).await,
            stage.named("b", true, SessionLife::Forever).await,
        );
        let spec = QueueSpec::group("group", "$group".into());
        a.declare(spec.clone()).await;
        a.session.join_group("group").await.expect("a member");
        let joining = async {
            loop {
                b.declare(spec.clone()).await;
                match b.session.join_group("group").await {
                    Ok(()) => break,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
                }
                tokio::task::yield_now().await;
            }
        };
        let (left, ()) = tokio::join!(a.session.leave_group("group"), joining);
        left.expect("stored");
        assert!(b.session.queue_status("group").is_ok(), "{round}");
        b.session.leave_group("group").await.expect("stored");
        assert!(b.session.queue_status("group").is_err(), "{round}");
    }
}
