//! What is counted against the memory budget is what the process takes: for each kind of object, the bytes that the
//! allocator hands out more are at most twice what is counted more, and a little. One test, so that nothing else
//! allocates meanwhile.

#[allow(dead_code)]
#[path = "broker/stage.rs"]
mod stage;

use cap::Cap;
use crossdock_core::memory::MemoryStore;
use crossdock_core::*;
use stage::{Client, Stage, TOPICS, queue, topic};
use std::alloc::System;

/// Objects of each kind.
const MANY: usize = 2_000;
/// Bytes that take no part: buffers that grow once, the store in memory, tables of the runtime.
const ASIDE: usize = 512 << 10;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// A stage on which nothing is written to the store that would stay in memory.
async fn empty() -> (Stage, Client) {
    let settings = Settings { session_share: 1 << 30, ..Settings::default() };
    let stage = Stage::with(MemoryStore::default(), settings, Vec::new()).await;
    let client = stage.client().await;
    (stage, client)
}

/// Bytes that are counted and that are allocated.
fn now(stage: &Stage) -> (usize, usize) {
    let counted = stage.broker.memory_used() + stage.broker.memory_kept();
    (counted, ALLOCATOR.allocated())
}

/// What came since `before` is counted, within a factor of two in both directions.
fn check(what: &str, stage: &Stage, before: (usize, usize)) {
    let after = now(stage);
    let (counted, real) = (after.0 - before.0, after.1.saturating_sub(before.1));
    println!("{what}: {} bytes each are counted, {} allocated", counted / MANY, real / MANY);
    assert!(real <= 2 * counted + ASIDE, "{what}: {real} bytes are allocated, {counted} counted");
    assert!(counted <= 3 * real + ASIDE, "{what}: {counted} bytes are counted, {real} allocated");
}

fn transient(n: usize) -> QueueSpec {
    QueueSpec { durable: false, ..queue(&format!("queue-number-{n}"), &[]) }
}

fn exchange(name: String, kind: Kind) -> ExchangeSpec {
    ExchangeSpec { durable: false, ..ExchangeSpec::new(name, kind) }
}

async fn queues_and_exchanges() {
    let (stage, mut client) = empty().await;
    let before = now(&stage);
    for n in 0..MANY {
        client.declare(transient(n)).await;
    }
    check("queues", &stage, before);
    let before = now(&stage);
    for n in 0..MANY {
        let spec = exchange(format!("exchange-number-{n}"), Kind::Fanout);
        client.session.declare_exchange(spec).await.expect("declared");
    }
    check("exchanges", &stage, before);
    let before = now(&stage);
    for n in 0..MANY {
        client.bind(&format!("exchange-number-{n}"), "", &format!("queue-number-{n}")).await;
    }
    check("bindings of many exchanges", &stage, before);
}

async fn bindings() {
    let (stage, mut client) = empty().await;
    client.declare(transient(0)).await;
    for kind in [Kind::Direct, Kind::Topic, Kind::Headers] {
        let name = format!("of-kind-{}", kind.as_str());
        client.session.declare_exchange(exchange(name.clone(), kind)).await.expect("declared");
        let before = now(&stage);
        for n in 0..MANY {
            let target = BindTarget::Queue("queue-number-0".into());
            let key = format!("plant/{n}/temperature");
            let mut bind = Bind::new(name.as_str(), Key::from(key.as_str()), target);
            bind.arguments = vec![("number".into(), Value::I64(n as i64))];
            client.session.bind(bind).await.expect("bound");
        }
        check(&format!("bindings of a {} exchange", kind.as_str()), &stage, before);
    }
}

async fn sessions() {
    let (stage, _client) = empty().await;
    let before = now(&stage);
    let mut all = Vec::with_capacity(MANY);
    for n in 0..MANY {
        let name = format!("client-{n}");
        let mut client = stage.named(&name, false, SessionLife::Forever).await;
        client.subscribe(&format!("plant/{n}/+"), 1).await;
        all.push(client);
    }
    check("connected sessions with a subscription", &stage, before);
    drop(all);
}

async fn parked_and_retained() {
    let (stage, mut client) = empty().await;
    let at = client.session.broker().now().plus(3_600_000);
    let before = now(&stage);
    for n in 0..MANY {
        let message = client.message(topic(&format!("later/{n}")), "a body of some bytes", |_| {});
        client.session.park(ParkUntil::At(at), message).await.expect("parked");
    }
    check("delayed publishes", &stage, before);
    let before = now(&stage);
    for n in 0..MANY {
        client.put(topic(&format!("kept/{n}")), "a body of some bytes", |meta| meta.retain = true);
        client.session.flush();
        if n % 100 == 0 {
            client.session.sync().await.expect("stored");
            client.events().await;
        }
    }
    client.session.sync().await.expect("stored");
    client.events().await;
    // The store in memory keeps each value, too.
    let after = now(&stage);
    let (counted, real) = (after.0 - before.0, after.1 - before.1);
    println!(
        "retained values: {} bytes each are counted, {} allocated",
        counted / MANY,
        real / MANY
    );
    assert!(real <= 3 * counted + ASIDE, "retained: {real} allocated, {counted} counted");
}

async fn consumers_and_timers() {
    let (stage, mut client) = empty().await;
    client.declare(transient(0)).await;
    let before = now(&stage);
    for _ in 0..MANY {
        client.consume("queue-number-0", 1, true).await;
    }
    check("consumers", &stage, before);
    let before = now(&stage);
    for n in 1..=MANY {
        let spec = queue(&format!("queue-number-{n}"), &[("x-expires", Value::I64(3_600_000))]);
        client.declare(QueueSpec { durable: false, ..spec }).await;
    }
    check("queues with a timer", &stage, before);
}

async fn transactions() {
    let (stage, mut client) = empty().await;
    client.declare(transient(0)).await;
    client.session.begin(client.lane);
    let before = now(&stage);
    for _ in 0..MANY {
        client.put(Address::queue("queue-number-0"), "", |_| {});
    }
    check("publishes of an open transaction", &stage, before);
}

async fn messages() {
    let (stage, mut client) = empty().await;
    client.declare(transient(0)).await;
    let before = now(&stage);
    for n in 0..MANY {
        client.put(Address::queue("queue-number-0"), "a body of some bytes", |_| {});
        if n % 100 == 0 {
            client.session.flush();
            client.events().await;
        }
    }
    client.session.flush();
    client.events().await;
    check("messages that wait", &stage, before);
    let before = now(&stage);
    let spec = exchange("reads".into(), Kind::Headers);
    client.session.declare_exchange(spec).await.expect("declared");
    client.bind("reads", "", "queue-number-0").await;
    let headers: Vec<(Name, Value)> = (0..20)
        .map(|n| {
            (format!("header-{n}").as_str().into(), Value::text(format!("value-{n}").as_str()))
        })
        .collect();
    for n in 0..MANY {
        let now = client.session.broker().now();
        let meta = Meta::new(client.session.origin().clone(), now);
        let fields = Fields { headers: headers.clone(), ..Fields::default() };
        let address = Address::new("reads".into(), "".into());
        let message = Message::from_fields(address, meta, &fields, Default::default());
        client.session.publish(client.lane, Publish::new(message, false));
        if n % 100 == 0 {
            client.session.flush();
        }
    }
    client.session.flush();
    drop(headers);
    check("messages with decoded headers", &stage, before);
}

async fn routes() {
    let (stage, mut client) = empty().await;
    client.declare(transient(0)).await;
    client.bind(TOPICS, "#", "queue-number-0").await;
    let limited = queue("few", &[("x-max-length", Value::I64(1))]);
    client.declare(QueueSpec { durable: false, ..limited }).await;
    client.bind(TOPICS, "route/#", "few").await;
    let spec = Bind::new(TOPICS, "#".into(), BindTarget::Queue("queue-number-0".into()));
    client.session.unbind(spec).await.expect("unbound");
    let before = now(&stage);
    for n in 0..MANY {
        client.put(topic(&format!("route/{n}/some/where")), "x", |_| {});
        if n % 100 == 0 {
            client.session.flush();
            client.events().await;
        }
    }
    client.session.flush();
    client.events().await;
    check("remembered routes", &stage, before);
}

#[test]
fn what_is_counted_is_what_is_taken() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        queues_and_exchanges().await;
        bindings().await;
        sessions().await;
        parked_and_retained().await;
        consumers_and_timers().await;
        transactions().await;
        messages().await;
        routes().await;
    });
}
