//! A route's module is exchanged while thousands of messages a second pass: each is handled once, by one of them.

use super::{Folder, Look, Setup, root};
use crate::broker::{Broker, crossdock};
use crate::wire::amqp::{Amqp, Properties};
use crate::wire::eventually;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Messages in a burst, and between two bursts: 5,000 a second.
const BURST: usize = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// Publishes numbers, with confirms, until it is told to stop; how many.
fn publisher(broker: &Broker, stop: &Arc<AtomicBool>) -> JoinHandle<usize> {
    let mut client = Amqp::connect(broker.amqp);
    client.confirm_select();
    let stop = stop.clone();
    std::thread::spawn(move || {
        let mut sent = 0;
        while !stop.load(Ordering::Acquire) {
            let began = Instant::now();
            for _ in 0..BURST {
                // The modules see an order that neither knows, and answer in their own way.
                client.publish("", "in", &Properties::persistent(), format!("n {sent}").as_bytes());
                sent += 1;
            }
            client.wait_confirms();
            std::thread::sleep(PAUSE.saturating_sub(began.elapsed()));
        }
        sent
    })
}

fn module(name: &str) -> String {
    root().join("transforms/tests").join(name).display().to_string()
}

fn ctl(broker: &Broker, words: &[&str]) -> String {
    let mut command = crossdock(&[&["ctl"], words].concat());
    command.args(["--data-dir", &broker.data_dir().to_string_lossy()]);
    let output = command.output().expect("the binary is there");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A module of a route as `ctl show route` has it.
fn shown(broker: &Broker) -> serde_json::Value {
    let all: serde_json::Value =
        serde_json::from_str(&ctl(broker, &["show", "route", "r", "--json"])).expect("JSON");
    all["modules"][0].clone()
}

/// Broker with the route `r` from `in` to `out`, by a step of these members; the folder's file `m.wasm` is the module.
fn start(folder: &Folder, step: &str) -> Broker {
    fs::copy(module("reporter.wasm"), folder.path().join("m.wasm")).expect("it is copied");
    let mut setup = Setup::new();
    setup.queue("in").queue("out");
    let steps = format!("steps = [{{ wasm = \"m.wasm\", grants = [\"log\", \"metrics\"]{step} }}]");
    let limits = "limits = { deadline = \"1s\" }";
    let lines = [r#"from = ["queue:in"]"#, &steps, r#"to = ["queue:out"]"#, limits];
    setup.route("r", &lines);
    let file = folder.write("routes.toml", &setup.text);
    Broker::with(&["--config", &file.to_string_lossy()])
}

/// All that was published came out, once each; the bodies.
fn all_once(broker: &Broker, sent: usize) -> Vec<String> {
    let mut look = Look::into(broker);
    let mut bodies = Vec::new();
    eventually("all come out", || {
        bodies.extend(look.bodies("out"));
        (bodies.len() >= sent).then_some(())
    });
    std::thread::sleep(Duration::from_millis(200));
    bodies.extend(look.bodies("out"));
    assert_eq!(bodies.len(), sent, "none is lost or doubled");
    assert!(look.bodies("dead-letters").is_empty(), "none has failed");
    bodies
}

/// The old module answers with the attempt, the new one leaves the body as it is: `n 7`.
fn old(bodies: &[String]) -> usize {
    bodies.iter().filter(|body| *body == "0").count()
}

/// In the place of a file another one, at once, as an editor or a package does it.
fn replace(file: &Path, with: &str) {
    let beside = file.with_extension("new");
    fs::copy(with, &beside).expect("it is copied");
    fs::rename(beside, file).expect("it is renamed");
}

#[test]
fn a_module_is_rehearsed_and_promoted_under_load() {
    let folder = Folder::new();
    let step = format!(", shadow = \"{}\"", module("misbehave.wasm"));
    let broker = start(&folder, &step);
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = publisher(&broker, &stop);
    let seen = eventually("messages are compared", || {
        let seen = shown(&broker)["rehearsal"].clone();
        (seen["compared"].as_u64() > Some(500)).then_some(seen)
    });
    assert_eq!(seen["different"], seen["compared"], "{seen}");
    let last = &seen["last_difference"];
    assert_eq!(
        (last["address"].as_str(), last["was"].as_str()),
        (Some("queue:in"), Some("1 bytes: 0"))
    );
    assert!(last["would_be"].as_str().is_some_and(|body| body.contains(": n ")), "{last}");
    let said = ctl(&broker, &["route", "promote", "r", "--yes"]);
    assert!(said.contains("works in the place of version"), "{said}");
    std::thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Release);
    let sent = publisher.join().expect("it publishes");
    let bodies = all_once(&broker, sent);
    let by_old = old(&bodies);
    assert!(by_old > 500 && by_old < sent, "both have worked: {by_old} of {sent}");
    let mut by_new: Vec<&String> = bodies.iter().filter(|body| *body != "0").collect();
    by_new.sort_unstable();
    by_new.dedup();
    assert_eq!(by_old + by_new.len(), sent, "the new one has handled each once");
}

#[test]
fn a_file_is_replaced_under_load_and_gives_way_when_it_breaks_off() {
    let folder = Folder::new();
    let broker = start(&folder, "");
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = publisher(&broker, &stop);
    eventually("messages pass", || (shown(&broker)["calls"].as_u64() > Some(500)).then_some(()));
    let first = shown(&broker)["version"].clone();
    replace(&folder.path().join("m.wasm"), &module("misbehave.wasm"));
    ctl(&broker, &["reload"]);
    // A message that only the old one can do, among the others, before 1,000 have passed.
    let mut breaker = Amqp::connect(broker.amqp);
    breaker.confirm_select();
    breaker.publish("", "in", &Properties::persistent(), b"panic");
    breaker.wait_confirms();
    let now = eventually("the old one works again", || {
        let now = shown(&broker);
        now["rolled_back"].is_object().then_some(now)
    });
    assert_eq!(now["version"], first);
    assert!(broker.log().contains("the one before works again"));
    std::thread::sleep(Duration::from_millis(200));
    stop.store(true, Ordering::Release);
    let sent = publisher.join().expect("it publishes") + 1;
    let bodies = all_once(&broker, sent);
    assert!(!bodies.iter().any(|body| body == "panic"), "it has the old one's answer");
}
