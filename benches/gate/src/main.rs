//! Fixed work for `cargo xtask bench --gate`: the broker in this process on the memory store, one thread, clients
//! with preformatted frames on pipes in memory. What it does depends on its arguments alone, so that the number of
//! instructions for one message can be compared between two builds without trusting a clock.
//!
//! `crossdock-gate SCENARIO COUNT`; `crossdock-gate --list` names the scenarios.
#![forbid(unsafe_code)]

mod amqp;
mod house;
mod mqtt;
mod pipe;
mod route;
mod stomp;

use anyhow::{Context, Result, bail};
use crossdock_allocator::Allocator;
use house::House;
use pipe::{MARK, Pipe};

/// The program's: that of the C library takes up to 2 % more or fewer instructions from run to run, by what blocks it
/// finds free.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Messages that are written before the deliveries of the last batch are waited for.
const BATCH: usize = 50;
/// Body bytes of every message.
const BODY: usize = 128;

/// The scenarios, in the order of the table.
const SCENARIOS: [&str; 15] = [
    "amqp-transient",
    "amqp-durable",
    "amqp-fanout-10",
    "amqp-topic-100",
    "amqp-headers-10",
    "mqtt-qos0",
    "mqtt-qos1",
    "mqtt-qos2",
    "stomp-queue",
    "stomp-topic",
    "mqtt-to-amqp",
    "route-miss",
    "amqp-transient-rights",
    "mqtt-qos0-rights",
    "stomp-queue-rights",
];
/// What the names of scenarios end with in which the clients have many rights to some names, instead of all rights.
const RIGHTS: &str = "-rights";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--list"] => {
            SCENARIOS.iter().for_each(|name| println!("{name}"));
            Ok(())
        }
        [scenario, count] => {
            let count = count.parse().context("COUNT is not a number")?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(run(scenario, count))
        }
        _ => bail!("usage: crossdock-gate SCENARIO COUNT | --list"),
    }
}

/// A body that ends with the mark that deliveries are counted by.
fn body() -> Vec<u8> {
    let mut body = vec![b'x'; BODY - MARK.len()];
    body.extend_from_slice(MARK);
    body
}

/// Who publishes, what one message is on the wire, who receives, and what receivers answer.
struct Scene {
    publisher: Pipe,
    message: Vec<u8>,
    receivers: Vec<Receiver>,
}

struct Receiver {
    pipe: Pipe,
    /// The answer to the deliveries from the first number up to the second.
    answer: fn(u64, u64) -> Vec<u8>,
}

fn silent(_: u64, _: u64) -> Vec<u8> {
    Vec::new()
}

async fn run(scenario: &str, count: usize) -> Result<()> {
    let routes = if scenario == "route-miss" { vec![route::of_others()?] } else { Vec::new() };
    let house = House::open(routes, scenario.ends_with(RIGHTS)).await?;
    if scenario == "mqtt-qos2" {
        return mqtt_qos2(&house, count).await;
    }
    let scene = match scenario.trim_end_matches(RIGHTS) {
        "amqp-transient" => amqp_queue(&house, false).await?,
        "amqp-durable" => amqp_queue(&house, true).await?,
        "amqp-fanout-10" => amqp_exchange(&house, "amq.fanout", 10, 1).await?,
        "amqp-topic-100" => amqp_exchange(&house, "amq.topic", 1, 100).await?,
        "amqp-headers-10" => amqp_headers(&house, 10).await?,
        "mqtt-qos0" => mqtt(&house, 0).await?,
        "mqtt-qos1" => mqtt(&house, 1).await?,
        "stomp-queue" => stomp(&house, "/queue/gate").await?,
        "stomp-topic" => stomp(&house, "/topic/gate.topic").await?,
        "mqtt-to-amqp" => {
            let message = mqtt::publish("gate/topic", 0, 0, &body());
            let reader = amqp_exchange(&house, "amq.topic", 1, 1).await?;
            Scene { publisher: mqtt::connect(&house, "p").await?, message, ..reader }
        }
        "route-miss" => amqp_exchange(&house, "amq.topic", 1, 1).await?,
        other => bail!("unknown scenario {other}; --list prints the scenarios"),
    };
    drive(scene, count, scenario == "mqtt-qos1").await
}

async fn amqp_queue(house: &House, durable: bool) -> Result<Scene> {
    let mut publisher = amqp::connect(house).await?;
    if durable {
        amqp::confirm(&mut publisher).await?;
    }
    let mut pipe = amqp::connect(house).await?;
    amqp::declare(&mut pipe, "gate", durable).await?;
    amqp::consume(&mut pipe, "gate").await?;
    let message = amqp::publish("", "gate", durable, &body());
    Ok(Scene { publisher, message, receivers: vec![Receiver { pipe, answer: amqp::ack }] })
}

/// `readers` queues, each bound `bindings` times to keys of which one is published to.
async fn amqp_exchange(
    house: &House,
    exchange: &str,
    readers: usize,
    bindings: usize,
) -> Result<Scene> {
    let publisher = amqp::connect(house).await?;
    let mut receivers = Vec::new();
    for reader in 0..readers {
        let queue = format!("gate-{reader}");
        let mut pipe = amqp::connect(house).await?;
        amqp::declare(&mut pipe, &queue, false).await?;
        for binding in 1..bindings {
            let key = format!("gate.{binding}.*");
            amqp::bind(&mut pipe, &queue, exchange, &key).await?;
        }
        amqp::bind(&mut pipe, &queue, exchange, "gate.topic").await?;
        amqp::consume(&mut pipe, &queue).await?;
        receivers.push(Receiver { pipe, answer: amqp::ack });
    }
    let message = amqp::publish(exchange, "gate.topic", false, &body());
    Ok(Scene { publisher, message, receivers })
}

/// One queue, bound `bindings` times by headers; the message meets the last binding only.
async fn amqp_headers(house: &House, bindings: usize) -> Result<Scene> {
    let publisher = amqp::connect(house).await?;
    let mut pipe = amqp::connect(house).await?;
    amqp::declare(&mut pipe, "gate", false).await?;
    for binding in 1..=bindings {
        let region = format!("region-{binding}");
        let wanted = [("x-match", "all"), ("region", region.as_str()), ("kind", "order")];
        amqp::bind_headers(&mut pipe, "gate", "amq.headers", &wanted).await?;
    }
    amqp::consume(&mut pipe, "gate").await?;
    let region = format!("region-{bindings}");
    let headers = [("region", region.as_str()), ("kind", "order")];
    let message = amqp::publish_with_headers("amq.headers", "gate", &headers, &body());
    Ok(Scene { publisher, message, receivers: vec![Receiver { pipe, answer: amqp::ack }] })
}

async fn stomp(house: &House, destination: &str) -> Result<Scene> {
    let publisher = stomp::connect(house).await?;
    let mut pipe = stomp::connect(house).await?;
    stomp::subscribe(&mut pipe, destination).await?;
    let message = stomp::send(destination, &body());
    Ok(Scene { publisher, message, receivers: vec![Receiver { pipe, answer: silent }] })
}

async fn mqtt(house: &House, qos: u8) -> Result<Scene> {
    let publisher = mqtt::connect(house, "p").await?;
    let mut pipe = mqtt::connect(house, "s").await?;
    mqtt::subscribe(&mut pipe, "gate/topic", qos).await?;
    let message = mqtt::publish("gate/topic", qos, 1, &body());
    let answer = if qos == 0 { silent } else { mqtt::pubacks };
    Ok(Scene { publisher, message, receivers: vec![Receiver { pipe, answer }] })
}

/// QoS 2 from end to end: the whole handshake of a batch on both sides, before the next batch.
async fn mqtt_qos2(house: &House, count: usize) -> Result<()> {
    let mut publisher = mqtt::connect(house, "p").await?;
    let mut subscriber = mqtt::connect(house, "s").await?;
    mqtt::subscribe(&mut subscriber, "gate/topic", 2).await?;
    let message = mqtt::publish("gate/topic", 2, 1, &body());
    let mut batch = message.repeat(BATCH);
    for done in (0..count).step_by(BATCH) {
        let (from, to) = (done as u64, (done + BATCH) as u64);
        mqtt::number(&mut batch, message.len(), done);
        publisher.write(&batch).await?;
        publisher.answers(BATCH * mqtt::ANSWER_BYTES).await?;
        publisher.write(&mqtt::pubrels(from, to)).await?;
        publisher.answers(BATCH * mqtt::ANSWER_BYTES).await?;
        subscriber.marks(BATCH).await?;
        subscriber.write(&mqtt::pubrecs(from, to)).await?;
        subscriber.answers(BATCH * mqtt::ANSWER_BYTES).await?;
        subscriber.write(&mqtt::pubcomps(from, to)).await?;
    }
    Ok(())
}

/// Publishes in batches; each batch is received, and answered, before the next.
async fn drive(scene: Scene, count: usize, ids: bool) -> Result<()> {
    let Scene { publisher, message, mut receivers } = scene;
    let mut batch = message.repeat(BATCH);
    let mut publisher = publisher.drained();
    let mut done = 0;
    while done < count {
        if ids {
            mqtt::number(&mut batch, message.len(), done);
        }
        publisher.write(&batch).await?;
        for receiver in &mut receivers {
            receiver.pipe.marks(BATCH).await?;
            let answer = (receiver.answer)(done as u64, (done + BATCH) as u64);
            if !answer.is_empty() {
                receiver.pipe.write(&answer).await?;
            }
        }
        done += BATCH;
    }
    Ok(())
}
