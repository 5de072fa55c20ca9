//! Flow control, from the outside: what a peer may do for long without reading or writing, and how a flood ends.

mod peer;

use crossdock_core::{ErrorKind, Settings, Value};
use peer::methods::{Kind, methods};
use peer::stage::{Stage, connect, expect};
use peer::{Arguments, Peer, arguments};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BODY: usize = 64 << 10;

async fn ask(peer: &mut Peer, method: &str, fields: &str, answer: &str) {
    peer.put(1, method, &arguments(fields).expect("fields")).expect("a method");
    peer.flush().await.expect("written");
    expect(peer, 1, answer, &Arguments::default()).await.expect(answer);
}

async fn connected(stage: &Stage) -> Peer {
    let mut peer = stage.peer().0;
    connect(&mut peer, &Arguments::default()).await.expect("connected");
    ask(&mut peer, "channel.open", "", "channel.open-ok").await;
    peer
}

fn publish(peer: &mut Peer, size: usize) {
    let fields = arguments("routing-key=q").expect("fields");
    peer.put(1, "basic.publish", &fields).expect("a method");
    let fields = arguments(&format!("fill={size}")).expect("fields");
    peer.put(1, "content", &fields).expect("a content");
}

/// Memory for a tenth of what goes through; one connection that publishes and consumes, one message at a time.
#[tokio::test]
async fn publishing_and_consuming_under_an_alarm_goes_on() {
    let stage = Stage::open(Settings { memory_high: 1 << 20, ..Settings::default() }).await;
    let mut peer = connected(&stage).await;
    ask(&mut peer, "queue.declare", "queue=q", "queue.declare-ok").await;
    ask(&mut peer, "basic.qos", "prefetch-count=1", "basic.qos-ok").await;
    ask(&mut peer, "basic.consume", "queue=q", "basic.consume-ok").await;
    const COUNT: u64 = 200;
    let (mut published, mut consumed) = (0, 0);
    while consumed < COUNT {
        while published < COUNT && published < consumed + 10 {
            publish(&mut peer, BODY);
            published += 1;
        }
        peer.flush().await.expect("the adapter reads");
        let got = peer.next().await.expect("a delivery");
        match got.name.as_str() {
            "basic.deliver" => {
                expect(&mut peer, 1, "content", &Arguments::default()).await.expect("a body");
                consumed += 1;
                let fields = arguments(&format!("delivery-tag={consumed}")).expect("fields");
                peer.put(1, "basic.ack", &fields).expect("a method");
            }
            "connection.blocked" | "connection.unblocked" => {}
            other => panic!("{other}"),
        }
    }
}

/// Deliveries wait for a peer that writes first and reads later.
#[tokio::test]
async fn a_peer_may_write_much_before_it_reads() {
    let stage = Stage::open(Settings::default()).await;
    let mut peer = connected(&stage).await;
    ask(&mut peer, "queue.declare", "queue=q", "queue.declare-ok").await;
    ask(&mut peer, "basic.consume", "queue=q no-ack=true", "basic.consume-ok").await;
    const COUNT: u64 = 64;
    for _ in 0..COUNT {
        publish(&mut peer, 1 << 20);
        peer.flush().await.expect("the adapter reads");
    }
    for n in 1..=COUNT {
        let fields = arguments(&format!("delivery-tag={n}")).expect("fields");
        expect(&mut peer, 1, "basic.deliver", &fields).await.expect("in order");
        expect(&mut peer, 1, "content", &arguments("fill=1048576").expect("fields"))
            .await
            .expect("whole");
    }
}

/// Thousands of messages on their way, nobody reads, and the process stops.
#[tokio::test]
async fn a_drain_ends_a_flood_in_time() {
    let stage = Stage::open(Settings::default()).await;
    let mut publisher = connected(&stage).await;
    ask(&mut publisher, "queue.declare", "queue=q", "queue.declare-ok").await;
    let (mut consumer, served) = stage.peer();
    connect(&mut consumer, &Arguments::default()).await.expect("connected");
    ask(&mut consumer, "channel.open", "", "channel.open-ok").await;
    ask(&mut consumer, "basic.consume", "queue=q no-ack=true", "basic.consume-ok").await;
    for _ in 0..200 {
        publish(&mut publisher, BODY);
    }
    publisher.flush().await.expect("the adapter reads");
    let start = Instant::now();
    stage.switch.send(true).expect("watched");
    // It reads a little, and does not say goodbye.
    let mut socket = consumer.into_socket();
    let mut some = [0; 4096];
    socket.read_exact(&mut some).await.expect("something came");
    let ended = tokio::time::timeout(Duration::from_secs(7), served).await;
    ended.expect("in time").expect("no panic").expect("orderly");
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
}

/// A login that does not go on, an octet at a time or not at all.
#[tokio::test(start_paused = true)]
async fn a_login_takes_ten_seconds_in_all() {
    let stage = Stage::open(Settings::default()).await;
    let (peer, served) = stage.peer();
    let mut socket = peer.into_socket();
    let trickle = tokio::spawn(async move {
        for octet in b"AMQP\x00\x00\x09\x01\x01\0\0\0\0" {
            let _ = socket.write_all(&[*octet]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let start = tokio::time::Instant::now();
    let ended = served.await.expect("no panic").expect_err("refused");
    assert_eq!(ended.kind(), ErrorKind::Closed);
    assert_eq!(start.elapsed().as_secs(), 10);
    trickle.abort();
}

/// A peer that never reads what it asked for.
#[tokio::test(start_paused = true)]
async fn output_that_does_not_move_ends_the_connection() {
    let stage = Stage::open(Settings::default()).await;
    let (mut peer, served) = stage.peer();
    connect(&mut peer, &Arguments::default()).await.expect("connected");
    ask(&mut peer, "channel.open", "", "channel.open-ok").await;
    ask(&mut peer, "queue.declare", "queue=q", "queue.declare-ok").await;
    for _ in 0..40 {
        publish(&mut peer, BODY);
    }
    peer.put(1, "basic.consume", &arguments("queue=q no-ack=true").expect("fields"))
        .expect("a method");
    peer.flush().await.expect("the adapter reads");
    let start = tokio::time::Instant::now();
    let ended = served.await.expect("no panic").expect_err("stuck");
    assert_eq!((ended.kind(), ended.detail()), (ErrorKind::Closed, "the peer does not read"));
    let took = start.elapsed().as_secs();
    assert!((15..=25).contains(&took), "{took} s");
}

/// A generator that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(n).expect("small")).expect("small")
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn value(&mut self, kind: Kind) -> Value {
        match kind {
            Kind::Bit => Value::Bool(self.below(3) == 0),
            Kind::Octet | Kind::Short => Value::U8(self.of(&[0, 1, 2, 60, 255])),
            Kind::Long | Kind::LongLong => Value::U32(self.of(&[0, 0, 1, 2, 3, 4096, u32::MAX])),
            Kind::ShortStr | Kind::LongStr => {
                let texts =
                    ["", "", "q", "r", "x", "amq.topic", "amq.fanout", "topic", "fanout", "a.#"];
                Value::text(self.of(&texts))
            }
            Kind::Table => {
                let ttl = ("x-message-ttl".into(), Value::I32(1));
                let dlx = ("x-dead-letter-exchange".into(), Value::text(self.of(&["", "x"])));
                let limit = ("x-max-length".into(), Value::I64(2));
                let tables = [vec![], vec![], vec![], vec![ttl], vec![dlx], vec![limit]];
                Value::Map(self.of(&tables))
            }
        }
    }
}

/// Whatever a client says, in whatever order: its connection ends with an answer or goes on, and nobody else's does.
#[tokio::test(start_paused = true)]
async fn nonsense_ends_one_connection_at_most() {
    let stage = Stage::open(Settings::default()).await;
    let mut witness = connected(&stage).await;
    for seed in 1..400u64 {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (mut peer, served) = stage.peer();
        connect(&mut peer, &Arguments::default()).await.expect("connected");
        peer.put(1, "channel.open", &Arguments::default()).expect("a method");
        peer.put(2, "channel.open", &Arguments::default()).expect("a method");
        for _ in 0..60 {
            let channel = u16::try_from(1 + random.below(2)).expect("small");
            match random.below(12) {
                0..=5 => {
                    let mandatory = arguments("mandatory=true").expect("fields");
                    let plain = arguments("routing-key=q").expect("fields");
                    let publish = random.of(&[mandatory, plain]);
                    peer.put(channel, "basic.publish", &publish).expect("a method");
                    let content =
                        random.of(&["", "fill=10 delivery-mode=2", "body=x expiration=1"]);
                    let content = arguments(content).expect("fields");
                    peer.put(channel, "content", &content).expect("a content");
                }
                6 if random.below(20) == 0 => {
                    let noise: Vec<u8> =
                        (0..20).map(|_| random.of(&[0, 1, 2, 3, 60, 0xCE, 255])).collect();
                    peer.put_frame(random.of(&[1, 2, 3]), channel, &noise);
                }
                _ => {
                    let method = &methods()[random.below(methods().len())];
                    // Mostly what keeps the connection alive.
                    let hard =
                        method.name.starts_with("connection") || method.name.ends_with("-ok");
                    if hard && random.below(30) > 0 {
                        continue;
                    }
                    let mut fields = Arguments::default();
                    for (name, kind) in &method.fields {
                        fields.set(name, random.value(*kind));
                    }
                    peer.put(channel, &method.name, &fields).expect("a method");
                }
            }
        }
        // It may be gone before everything is written.
        let _ = peer.flush().await;
        if random.below(2) == 0 {
            while peer.next().await.is_ok_and(|got| got.name != "connection.close") {
                if random.below(5) == 0 {
                    break;
                }
            }
        }
        drop(peer);
        let ended = tokio::time::timeout(Duration::from_secs(6), served).await;
        assert!(ended.expect("in time").is_ok(), "seed {seed}");
    }
    ask(&mut witness, "queue.declare", "queue=alive", "queue.declare-ok").await;
}
