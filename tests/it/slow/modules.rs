//! Modules that trap, loop, grow and flood, on live messages: each is stopped soon after its deadline, its message is
//! in the dead-letter queue with what happened, and a client of another queue does not notice.

use super::TRIES;
use crate::broker::{Broker, Folder, root};
use crate::floods::victim::Victim;
use crate::wire::amqp::{Amqp, Delivery, Properties};
use crate::wire::eventually;
use std::time::{Duration, Instant};

/// The route's limits.deadline.
const DEADLINE: Duration = Duration::from_millis(50);
/// How much longer a message may take from its publish to the dead-letter queue.
const MORE: Duration = Duration::from_millis(100);
/// The slowest of 99 % of the victim's confirms may be that many times as long as alone, or that much longer.
const P99_TIMES: f64 = 1.5;
const P99_MORE: Duration = Duration::from_millis(3);
/// Alternating runs, beside and alone; the median counts.
const RUNS: usize = 5;
/// Rounds of all orders in one run.
const ROUNDS: usize = 5;

/// What the module is told to do, and the kinds of failure that it may come to.
const ORDERS: [(&str, &[&str]); 7] = [
    ("loop", &["timeout"]),
    ("sleep", &["timeout"]),
    ("eat", &["memory", "timeout"]),
    ("flood 20", &["memory", "trap", "timeout"]),
    ("panic", &["trap"]),
    ("deep", &["trap"]),
    ("error no", &["guest"]),
];

fn start(folder: &Folder) -> (Broker, String) {
    let module = root().join("transforms/tests/misbehave.wasm").display().to_string();
    let text = format!(
        "[[queue]]\nname = \"in\"\n[[queue]]\nname = \"out\"\n[[queue]]\nname = \"dead-letters\"\n\
         [[route]]\nname = \"hostile\"\nfrom = [\"queue:in\"]\nto = [\"queue:out\"]\n\
         steps = [{{ wasm = \"{module}\" }}]\nlimits = {{ deadline = \"{}ms\" }}\n",
        DEADLINE.as_millis()
    );
    let file = folder.write("hostile.toml", &text);
    (Broker::with(&["--config", &file.to_string_lossy()]), module)
}

/// Takes the next message of the queue; how long it took since then.
fn next(client: &mut Amqp, queue: &str, since: Instant) -> (Delivery, Duration) {
    loop {
        if let Some(delivery) = client.get(queue) {
            return (delivery, since.elapsed());
        }
        assert!(since.elapsed() < Duration::from_secs(20), "nothing comes into {queue}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// One order, and a good message behind it: failures in a row would pause the module for their source. The time until
/// the order's message was in the dead-letter queue.
fn carry_out(client: &mut Amqp, module: &str, (order, kinds): (&str, &[&str])) -> Duration {
    let began = Instant::now();
    client.publish("", "in", &Properties::persistent(), order.as_bytes());
    client.wait_confirms();
    let (letter, took) = next(client, "dead-letters", began);
    assert_eq!(letter.body, order.as_bytes());
    let header = |name: &str| letter.properties.header(name).unwrap_or_default();
    assert!(kinds.contains(&&*header("mq.error.kind")), "{order}: {}", header("mq.error.kind"));
    assert_eq!(header("mq.error.module"), module, "{order}");
    client.publish("", "in", &Properties::persistent(), b"calls");
    client.wait_confirms();
    let (good, _) = next(client, "out", Instant::now());
    assert!(good.body.iter().all(u8::is_ascii_digit), "the module works for what is good");
    took
}

fn compare(broker: &Broker, module: &str) -> Result<(), String> {
    let (mut beside, mut alone, mut slowest) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut client = Amqp::connect(broker.amqp);
        client.confirm_select();
        let (victim, began) = (Victim::start(broker.amqp, false), Instant::now());
        for _ in 0..ROUNDS {
            for order in ORDERS {
                slowest.push((carry_out(&mut client, module, order), order.0));
            }
        }
        let time = began.elapsed();
        beside.push(victim.stop().p99);
        let victim = Victim::start(broker.amqp, false);
        std::thread::sleep(time);
        alone.push(victim.stop().p99);
    }
    for of in [&mut beside, &mut alone] {
        of.sort_unstable();
    }
    slowest.sort_unstable();
    let median = |of: &[Duration]| of.get(of.len() / 2).copied().unwrap_or_default();
    let (with, without) = (median(&beside), median(&alone));
    let last = slowest.last().copied().unwrap_or_default();
    println!(
        "{} hostile messages: the slowest was dead-lettered after {:?} ({}); a victim's p99 beside them {with:?}, alone \
         {without:?}",
        slowest.len(),
        last.0,
        last.1
    );
    let most = without.mul_f64(P99_TIMES).max(without + P99_MORE);
    match (with <= most, last.0 <= DEADLINE + MORE) {
        (true, true) => Ok(()),
        _ => Err(format!("p99 {with:?}, alone {without:?}, slowest {last:?}")),
    }
}

#[test]
fn hostile_modules_are_stopped_and_disturb_nobody() {
    let folder = Folder::new();
    let (broker, module) = start(&folder);
    let mut client = Amqp::connect(broker.amqp);
    client.confirm_select();
    client.publish("", "in", &Properties::persistent(), b"calls");
    client.wait_confirms();
    eventually("the module is compiled", || client.get("out"));
    let tries: Vec<String> = (0..TRIES).map_while(|_| compare(&broker, &module).err()).collect();
    assert!(tries.len() < TRIES, "{}", tries.join(" | "));
}
