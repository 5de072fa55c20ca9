//! Everything comes and goes, for a while: nothing of it stays in memory, and nothing goes on working afterwards.
//! `CROSSDOCK_CHURN_S` says for how many seconds; the built-in ones are a short form.

use super::do_all;
use crate::broker::Broker;
use crate::wire::amqp::{Amqp, Field, Properties, publish};
use crate::wire::frames;
use crate::wire::mqtt::{self, packet};
use crate::wire::{PATIENCE, Socket};
use std::time::{Duration, Instant};

/// Without a setting.
const SECONDS: u64 = 5;
/// Rounds come at this pace and not faster: values and sessions that live for a second are as many as come in one, so
/// memory follows the pace, and a machine that has more time for the broker later would look like a leak. What cannot
/// keep the pace, a slow disk for one, runs as fast as it can; with TMPDIR in memory the disk has no part in it.
const PACE: Duration = Duration::from_millis(25);
/// Memory is a saw: the index of the journal grows with each segment and goes with it. So the median of the second of
/// these parts, when everything has grown to what it needs, is compared with that of the last.
const PARTS: u32 = 5;
/// Time between two looks at the memory.
const LOOK: Duration = Duration::from_millis(200);
/// Bytes that a run of less than [`LONG`] may grow by: it is still growing into what it needs.
const NOISE: usize = 16 << 20;
const LONG: Duration = Duration::from_secs(600);
/// How long it is watched at rest.
const REST: Duration = Duration::from_secs(5);

fn seconds() -> u64 {
    std::env::var("CROSSDOCK_CHURN_S").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS)
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text.bytes());
}

/// MQTT 5 CONNECT with a will, and a session expiry of one second.
fn connect(client: &str) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend([5, 4, 0, 0, 5, 0x11, 0, 0, 0, 1]);
    text(&mut body, client);
    body.push(0);
    text(&mut body, "churn/will");
    text(&mut body, "gone");
    packet(0x10, &body)
}

fn filter(kind: u8, id: u16, filter: &str) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    body.push(0);
    text(&mut body, filter);
    if kind == 0x82 {
        body.push(1);
    }
    packet(kind, &body)
}

/// One connection of an MQTT client: it subscribes, sets values that expire, clears others, and is lost.
fn mqtt_round(broker: &Broker, round: u64) {
    let mut socket = Socket::connect(broker.mqtt);
    let client = format!("churn-{}", round % 50);
    let mut burst = connect(&client);
    for n in 0..10u16 {
        burst.extend(filter(0x82, 100 + n, &format!("churn/{n}/+")));
    }
    for n in 0..10 {
        // Expiry of one second.
        let mut rest = Vec::new();
        text(&mut rest, &format!("churn/{n}/{}", round % 1_000));
        rest.extend([5, 0x02, 0, 0, 0, 1]);
        rest.extend(b"a value that expires");
        burst.extend(packet(0x31, &rest));
        let topic = format!("kept/{n}");
        let mut set = mqtt::publish(5, &topic, b"kept", (0, 0), &mqtt::Properties::default());
        set[0] |= 1;
        burst.extend(&set);
        let mut clear = mqtt::publish(5, &topic, b"", (0, 0), &mqtt::Properties::default());
        clear[0] |= 1;
        burst.extend(&clear);
    }
    for n in 0..10u16 {
        burst.extend(filter(0xA2, 200 + n, &format!("churn/{n}/+")));
    }
    burst.extend([0xC0, 0]);
    socket.send(&burst);
    // PINGREQ is answered when all before it is done; deliveries may come behind that.
    let until = Instant::now() + PATIENCE;
    let is_answered = |socket: &Socket| socket.buffered().windows(2).any(|two| two == [0xD0, 0]);
    while !is_answered(&socket) {
        assert!(socket.read_more(until), "an answer comes");
    }
}

fn amqp_round(client: &mut Amqp, round: u64) {
    let expires = [("x-expires".to_owned(), Field::Number(60_000))];
    let mut burst = Vec::new();
    for n in 0..20 {
        let (queue, exchange) = (format!("churn-{round}-{n}"), format!("churn-x-{round}-{n}"));
        burst.extend(frames::exchange(&exchange, "fanout"));
        burst.extend(frames::declare(&queue, if n % 2 == 0 { 2 } else { 0 }, &expires));
        burst.extend(frames::bind(&queue, &exchange, "", &[]));
        burst.extend(frames::bind(&queue, "amq.topic", &format!("churn.{n}.*"), &[]));
        burst.extend(publish(&exchange, "", &Properties::persistent(), b"churn"));
        burst.extend(frames::consume(&queue, &queue));
        burst.extend(frames::cancel(&queue));
        burst.extend(frames::delete_exchange(&exchange));
        burst.extend(frames::delete(&queue));
    }
    do_all(client, &burst);
}

fn median(values: impl Iterator<Item = usize>) -> usize {
    let mut values: Vec<usize> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().expect("it is long enough")
}

#[test]
fn everything_comes_and_goes() {
    let broker = Broker::start();
    let time = Duration::from_secs(seconds());
    let mut client = Amqp::connect(broker.amqp);
    let started = Instant::now();
    let (mut round, mut looks) = (0, Vec::new());
    while started.elapsed() < time {
        let begun = Instant::now();
        mqtt_round(&broker, round);
        // A channel that is not read for long would have its deliveries wait.
        if round % 20 == 0 {
            client = Amqp::connect(broker.amqp);
        }
        amqp_round(&mut client, round);
        round += 1;
        std::thread::sleep(PACE.saturating_sub(begun.elapsed()));
        if looks.last().is_none_or(|(last, _)| started.elapsed() > *last + LOOK) {
            looks.push((started.elapsed(), broker.resident()));
        }
    }
    let part = |nth: u32| {
        let within = time / PARTS * nth..time / PARTS * (nth + 1);
        median(looks.iter().filter(|(at, _)| within.contains(at)).map(|(_, bytes)| *bytes))
    };
    let (warm, end) = (part(1), part(PARTS - 1));
    drop(client);
    std::thread::sleep(Duration::from_secs(3));
    let before = broker.cpu_time();
    std::thread::sleep(REST);
    let rested = broker.cpu_time() - before;
    println!(
        "{round} rounds: {warm} bytes in the second fifth, {end} in the last; {rested:?} of {REST:?} at rest"
    );
    let noise = if time < LONG { NOISE } else { 0 };
    let may = warm + (warm / 20).max(noise);
    assert!(end <= may, "{round} rounds: from {warm} bytes to {end}");
    assert!(rested <= REST / 100, "{rested:?} of {REST:?} at rest");
}
