//! Looking into queues: what is shown, and that nothing changes by it.

use crate::stage::*;
use crossdock_core::*;

async fn page(client: &mut Client, from: Cursor, limit: usize, filter: &[&str]) -> PeekPage {
    let filter = Filter::parse(filter.iter().copied()).expect("a filter");
    client.session.peek("q", from, limit, &filter).await.expect("a page")
}

fn texts(page: &PeekPage) -> Vec<String> {
    let text = |peeked: &Peeked| String::from_utf8_lossy(peeked.message.body()).into_owned();
    page.messages.iter().map(text).collect()
}

/// All pages, as bodies.
async fn pages(client: &mut Client, limit: usize, filter: &[&str]) -> Vec<String> {
    let (mut all, mut at) = (Vec::new(), Some(Cursor::START));
    while let Some(from) = at {
        let page = page(client, from, limit, filter).await;
        assert!(page.messages.len() <= limit);
        all.append(&mut texts(&page));
        at = page.next;
    }
    all
}

#[tokio::test]
async fn looking_changes_nothing() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(queue("q", &[("x-delivery-limit", Value::I32(5))])).await;
    for n in 0..6 {
        c.durable(Address::queue("q"), &n.to_string()).await;
    }
    let mut other = stage.client().await;
    other.consume("q", 2, true).await;
    let held = other.take(2).await;
    let before = stage.broker.look_at_queue("/", "q").expect("there");
    for _ in 0..3 {
        let page = page(&mut c, Cursor::START, 500, &[]).await;
        assert_eq!(texts(&page), ["0", "1", "2", "3", "4", "5"]);
        let has = |state| page.messages.iter().filter(|p| p.state == state).count();
        assert_eq!((has(MessageState::Unacknowledged), has(MessageState::Ready)), (2, 4));
        assert!(page.messages.iter().all(|p| !p.redelivered && p.attempts == 0));
        assert!(page.next.is_none() && page.looked_at == 6 && page.unreadable == 0);
    }
    let after = stage.broker.look_at_queue("/", "q").expect("there");
    assert_eq!(format!("{before:?}"), format!("{after:?}"));
    // What failed shows it, and stands at its old place.
    other.settle(&held[1..], Outcome::Failed);
    let failed = page(&mut c, Cursor::START, 500, &[]).await;
    let shown: Vec<(bool, u16)> =
        failed.messages.iter().map(|p| (p.redelivered, p.attempts)).collect();
    assert_eq!(shown[..3], [(false, 0), (true, 1), (false, 0)]);
    let again = other.take(1).await;
    assert_eq!((bodies(&again), again[0].attempts), (vec!["1".to_owned()], 1));
    other.settle(&held[..1], Outcome::Accepted);
    let next = other.take(1).await;
    assert_eq!((bodies(&next), next[0].redelivered), (vec!["2".to_owned()], false));
    assert!(stage.broker.audit().is_empty());
}

#[tokio::test]
async fn pages_together_are_the_queue() {
    for arguments in [&[][..], &[("x-max-priority", Value::I32(5))]] {
        let stage = Stage::new().await;
        let mut c = stage.client().await;
        c.declare(queue("q", arguments)).await;
        for n in 0..40 {
            let message = c.put(Address::queue("q"), &n.to_string(), |meta| {
                meta.durable = n % 2 == 0;
                meta.priority = Some((n % 4) as u8);
            });
            c.session.flush();
            c.confirmed(message).await;
        }
        let mut expected: Vec<u32> = (0..40).collect();
        if !arguments.is_empty() {
            expected.sort_by_key(|n| std::cmp::Reverse(n % 4));
        }
        let expected: Vec<String> = expected.iter().map(u32::to_string).collect();
        for limit in [1, 7, 40, 500] {
            assert_eq!(pages(&mut c, limit, &[]).await, expected);
        }
        assert_eq!(pages(&mut c, 3, &["priority=3"]).await.len(), 10);
        assert_eq!(pages(&mut c, 3, &["durable=true", "body~8"]).await.len(), 4);
        assert!(pages(&mut c, 3, &["body~nothing"]).await.is_empty());
        c.consume("q", 100, true).await;
        assert_eq!(bodies(&c.take(40).await), expected, "the order is that of delivery");
    }
}

#[tokio::test]
async fn a_page_has_its_limits() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let large = "x".repeat(3 << 20);
    for body in ["a", &large, &large, &"y".repeat(5 << 20), "b"] {
        c.publish(Address::queue("q"), body);
    }
    let mut lengths = Vec::new();
    let mut at = Some(Cursor::START);
    while let Some(from) = at {
        let page = page(&mut c, from, 500, &[]).await;
        lengths.push(page.messages.iter().map(|p| p.message.body().len()).collect::<Vec<_>>());
        at = page.next;
    }
    assert_eq!(lengths, [vec![1, 3 << 20], vec![3 << 20], vec![5 << 20], vec![1]]);
    for limit in [0, 501] {
        let refused = c.session.peek("q", Cursor::START, limit, &Filter::all()).await;
        assert_eq!(refused.expect_err("too much").kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn what_left_memory_is_read_and_does_not_stay() {
    let settings = Settings { memory_resident: 20_000, ..Settings::default() };
    let stage = Stage::with(Default::default(), settings, Vec::new()).await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let body = "x".repeat(500);
    for n in 0..300 {
        c.put(Address::queue("q"), &format!("{n} {body}"), at_level_1);
    }
    c.session.sync().await.expect("stored");
    until("messages leave memory", || stage.broker.memory_used() < 120_000).await;
    let before = stage.broker.memory_used();
    for _ in 0..5 {
        let found = pages(&mut c, 50, &["body~7 x"]).await;
        assert_eq!(found.len(), 30);
    }
    until("what was read is gone", || stage.broker.memory_used() <= before + 20_000).await;
    let stage = stage.crash().await;
    let mut c = stage.client().await;
    let found = page(&mut c, Cursor::START, 500, &[]).await;
    assert_eq!((found.messages.len(), found.unreadable), (300, 0));
    assert!(found.messages.iter().all(|peeked| peeked.redelivered), "may have been delivered");
}

#[tokio::test]
async fn what_is_expired_is_not_shown() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    c.declare(QueueSpec::durable("q")).await;
    let now = c.session.broker().now();
    c.put(Address::queue("q"), "stays", |_| {});
    c.put(Address::queue("q"), "goes", |meta| meta.expires = Some(now.plus(50)));
    c.session.flush();
    assert_eq!(pages(&mut c, 10, &[]).await, ["stays", "goes"]);
    until("it expires", || c.session.broker().now() > now.plus(50)).await;
    assert_eq!(pages(&mut c, 10, &[]).await, ["stays"]);
    assert_eq!(c.ready("q"), 2, "looking expires nothing");
}

#[tokio::test]
async fn who_may_not_read_does_not_look() {
    let stage = Stage::new().await;
    let mut c = stage.client().await;
    let mut look = async |queue: &str| {
        let page = c.session.peek(queue, Cursor::START, 1, &Filter::all()).await;
        page.expect_err("refused").kind()
    };
    assert_eq!(look("missing").await, ErrorKind::NotFound);
    assert_eq!(look("route/x").await, ErrorKind::Refused);
    let mut owner = stage.client().await;
    let mine = QueueSpec { life: Life::Exclusive, ..QueueSpec::durable("mine") };
    owner.declare(mine).await;
    assert_eq!(look("mine").await, ErrorKind::Locked);
}
