//! Reply addresses: names that lead straight to a session, for whoever was told them.

use crate::stage::*;
use crossdock_core::*;
use std::sync::Arc;

/// A message's way to a reply address, and whether somebody was there.
async fn answered(client: &mut Client, to: &Name, body: &str) -> bool {
    let number = client.put(Address::queue(to), body, at_level_1);
    client.session.flush();
    match client.confirmed(number).await {
        ConfirmOutcome::Stored => true,
        ConfirmOutcome::Unroutable(_) => false,
        ConfirmOutcome::Refused(why) => panic!("{why}"),
    }
}

#[tokio::test]
async fn answers_come_to_the_lane_that_asked_as_long_as_it_lives() {
    let stage = Stage::new().await;
    let (mut requester, mut responder) = (stage.client().await, stage.client().await);
    let lane = requester.session.lane();
    let one = requester.session.open_reply_address(lane).expect("an address");
    let first = requester.lane;
    let two = requester.session.open_reply_address(first).expect("another lane's");
    assert!(one.name != two.name && one.consumer != two.consumer);
    assert!(one.name.len() >= REPLY_NAMES.len() + 22, "128 bits that nobody guesses");
    let again = requester.session.open_reply_address(lane).expect_err("one for each lane");
    assert_eq!(again.kind(), ErrorKind::InUse);

    assert!(responder.session.is_reply_address(&one.name));
    assert!(answered(&mut responder, &one.name, "a").await);
    assert!(answered(&mut responder, &two.name, "b").await);
    let got = requester.take(2).await;
    assert_eq!(bodies(&got), ["a", "b"]);
    let ids: Vec<_> = got.iter().map(|d| (d.consumer, d.tags.reply_id())).collect();
    let expected = [one.consumer.0, two.consumer.0].map(|id| (ConsumerId::DIRECT, Some(id)));
    assert_eq!(ids, expected);
    assert!(
        got.iter().all(|d| d.message.address().key.bytes().starts_with(REPLY_NAMES.as_bytes()))
    );
    // Its own connection may answer.
    requester.publish(Address::queue(&one.name), "own");
    assert_eq!(bodies(&requester.take(1).await), ["own"]);

    // It is no queue, and in no list.
    let no_queue = responder.session.queue_status(&one.name).expect_err("no queue");
    assert_eq!(no_queue.kind(), ErrorKind::NotFound);
    assert_eq!(responder.session.counts().queues, 0);
    let source = ConsumerSource::Queue(one.name.clone());
    let taken = responder.try_consume(source, 1, false).await.expect_err("nobody else reads it");
    assert_eq!(taken.kind(), ErrorKind::NotFound);

    requester.session.drop_lane(lane);
    assert!(!responder.session.is_reply_address(&one.name));
    assert!(!answered(&mut responder, &one.name, "late").await, "a route is not remembered");
    assert!(answered(&mut responder, &two.name, "c").await, "the other lane lives");
    assert_eq!(bodies(&requester.take(1).await), ["c"]);
    requester.session.close_reply_address(first);
    assert!(!answered(&mut responder, &two.name, "late").await);
    let later = requester.session.open_reply_address(first).expect("after the first has ended");
    assert!(later.name != two.name);
    drop(requester);
    assert!(!answered(&mut responder, &later.name, "too late").await);
    assert!(!responder.session.is_reply_address(&later.name));
    assert!(stage.broker.audit().is_empty(), "{:?}", stage.broker.audit());
}

#[tokio::test]
async fn a_reply_address_leads_out_of_no_other_virtual_host_and_over_no_restart() {
    let settings = Settings { vhosts: vec!["/".into(), "other".into()], ..Settings::default() };
    let stage = Stage::with(Default::default(), settings, Vec::new()).await;
    let mut requester = stage.client().await;
    let address = requester.session.open_reply_address(requester.lane).expect("an address");
    let mut other = stage.client_in("other").await;
    assert!(!other.session.is_reply_address(&address.name));
    assert!(!answered(&mut other, &address.name, "x").await);
    requester.nothing().await;
    drop((requester, other));
    let stage = stage.crash().await;
    assert!(!answered(&mut stage.client().await, &address.name, "x").await);
}

#[tokio::test]
async fn answers_are_part_of_transactions() {
    let stage = Stage::new().await;
    let (mut requester, mut responder) = (stage.client().await, stage.client().await);
    let address = requester.session.open_reply_address(requester.lane).expect("an address");
    responder.declare(QueueSpec::durable("q")).await;
    responder.session.begin(responder.lane);
    responder.publish(Address::queue(&address.name), "rolled back");
    responder.session.rollback(responder.lane);
    responder.session.begin(responder.lane);
    responder.publish(Address::queue(&address.name), "answer");
    responder.publish(Address::queue("q"), "log");
    requester.nothing().await;
    responder.session.commit(responder.lane).await.expect("committed");
    assert_eq!(bodies(&requester.take(1).await), ["answer"]);
    assert_eq!(responder.ready("q"), 1);
}

/// Bounded, whoever answers: what does not fit is dropped and counted.
#[tokio::test]
async fn a_requester_that_does_not_read_loses_answers_and_no_memory_grows() {
    let stage = Stage::new().await;
    let (mut requester, mut responder) = (stage.client().await, stage.client().await);
    let address = requester.session.open_reply_address(requester.lane).expect("an address");
    let body = "x".repeat(60_000);
    let asked = 200;
    for _ in 0..asked {
        assert!(answered(&mut responder, &address.name, &body).await);
    }
    let mut got = 0;
    loop {
        let events = requester.events().await;
        if events.deliveries.is_empty() {
            break;
        }
        got += events.deliveries.len();
    }
    assert!((10..asked).contains(&got), "{got} of {asked}");
    let connections = stage.broker.look_at_connections(0, 10);
    let dropped: u64 = connections.iter().map(|it| it.deliveries.direct_dropped).sum();
    assert_eq!(dropped as usize, asked - got);
    assert!(answered(&mut responder, &address.name, "there is room again").await);
    requester.take(1).await;
}

/// A user who may publish to one queue.
fn poor() -> Account {
    let write = vec!["queue:own".to_owned()];
    let rights = Rights::parse(RightsText { write, ..RightsText::default() }).expect("rights");
    let vhosts = [("/".into(), Arc::new(rights))].into_iter().collect();
    Account { name: "poor".into(), vhosts, ..Account::default() }
}

/// Who holds a request may answer it, whatever its rights; nothing else comes of the name.
#[tokio::test]
async fn to_know_a_reply_address_is_the_right_to_answer() {
    let stage = Stage::with_users(vec![poor()]).await;
    let mut requester = stage.client().await;
    let address = requester.session.open_reply_address(requester.lane).expect("an address");
    let mut poor = stage.user("poor", "c").await;
    assert!(answered(&mut poor, &address.name, "a").await);
    assert_eq!(bodies(&requester.take(1).await), ["a"]);
    let number = poor.publish(Address::queue("q"), "x");
    assert!(matches!(poor.confirmed(number).await, ConfirmOutcome::Refused(_)));
    drop(requester);
    // Too late is no trespass.
    assert!(!answered(&mut poor, &address.name, "b").await);
    // A requester needs no right either, and answers to it are not looked at.
    let own = poor.session.open_reply_address(poor.lane).expect("an address");
    assert!(answered(&mut poor, &own.name, "own").await);
    assert_eq!(bodies(&poor.take(1).await), ["own"]);
}
