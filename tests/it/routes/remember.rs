//! What a module remembers is exact: after kills, where there is no room for results, over restarts and until it is
//! forgotten.

use super::{Folder, Look, Setup, root};
use crate::broker::{Broker, crossdock};
use crate::wire::amqp::{Amqp, Properties};
use crate::wire::eventually;
use serde_json::Value as Json;
use std::time::Duration;

/// Kills, and messages that are published before each.
const KILLS: u64 = 6;
const BURST: u64 = 200;

fn ctl(broker: &Broker, words: &[&str]) -> String {
    let mut command = crossdock(&[&["ctl"], words].concat());
    command.args(["--data-dir", &broker.data_dir().to_string_lossy()]);
    let output = command.output().expect("the binary is there");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Keys that the step of `r` remembers.
fn keys(broker: &Broker) -> Option<u64> {
    let shown: Json =
        serde_json::from_str(&ctl(broker, &["show", "route", "r", "--json"])).expect("JSON");
    shown["modules"][0]["state"]["keys"].as_u64()
}

/// The route `r` from `in` to `out`, which counts its messages and answers with the count.
fn counting(setup: &mut Setup) {
    let module = root().join("transforms/tests/counter.wasm");
    let steps = format!(r#"steps = [{{ wasm = "{}", grants = ["kv"] }}]"#, module.display());
    let limits = r#"limits = { deadline = "2s" }"#;
    setup.route("r", &[r#"from = ["queue:in"]"#, &steps, r#"to = ["queue:out"]"#, limits]);
}

fn start(folder: &Folder, setup: &Setup) -> Broker {
    let file = folder.write("routes.toml", &setup.text);
    Broker::with(&["--config", &file.to_string_lossy()])
}

/// The counts that came out; those that are to come have come.
fn counts(broker: &Broker, expected: impl Fn(usize) -> bool) -> Vec<u64> {
    let (mut look, mut counts) = (Look::into(broker), Vec::new());
    eventually("all come out", || {
        counts.extend(look.bodies("out").iter().map(|body| body.parse::<u64>().expect("a count")));
        expected(counts.len()).then_some(())
    });
    std::thread::sleep(Duration::from_millis(200));
    counts.extend(look.bodies("out").iter().map(|body| body.parse::<u64>().expect("a count")));
    counts.sort_unstable();
    counts
}

#[test]
fn a_count_is_exact_after_kills() {
    let (folder, mut setup) = (Folder::new(), Setup::new());
    setup.queue("in").queue("out");
    counting(&mut setup);
    let mut broker = start(&folder, &setup);
    let mut sent = 0;
    for kill in 0..KILLS {
        let mut client = Amqp::connect(broker.amqp);
        client.confirm_select();
        for _ in 0..BURST {
            client.publish("", "in", &Properties::persistent(), b"count");
        }
        sent += BURST;
        // At another place each time: while they come, while they are worked on, when all is done.
        std::thread::sleep(Duration::from_millis(7 * kill * kill));
        broker.crash();
    }
    let mut look = Look::into(&broker);
    look.put("in", "count");
    sent += 1;
    // What a kill cut off before it was stored was never there; how many that are only the count itself says.
    let is_empty = || {
        let shown: Json =
            serde_json::from_str(&ctl(&broker, &["show", "route", "r", "--json"])).expect("JSON");
        (shown["waiting"] == 0).then_some(())
    };
    eventually("all are worked on", is_empty);
    let counts = counts(&broker, |_| true);
    let handled = counts.len() as u64;
    assert!(handled > BURST / 2 && handled <= sent, "{handled} of {sent}");
    assert_eq!(counts, (1..=handled).collect::<Vec<u64>>(), "each count once, and none is missing");
}

#[test]
fn messages_that_wait_for_room_are_counted_when_they_go() {
    let (folder, mut setup) = (Folder::new(), Setup::new());
    setup.queue("in").narrow("out");
    counting(&mut setup);
    let broker = start(&folder, &setup);
    let mut look = Look::into(&broker);
    // Of several sources: those of one wait behind each other anyway.
    for n in 0..12 {
        Look::into(&broker).put("in", &format!("count {n}"));
    }
    for n in 1..=12 {
        assert_eq!(look.one("out").body, n.to_string().as_bytes(), "in the order in which they go");
    }
}

#[test]
fn it_is_remembered_until_an_operator_has_it_forgotten() {
    let (folder, mut setup) = (Folder::new(), Setup::new());
    setup.queue("in").queue("out");
    let mut without = Setup { text: setup.text.clone() };
    without.queue("other");
    counting(&mut setup);
    let mut broker = start(&folder, &setup);
    let mut look = Look::into(&broker);
    look.put("in", "set place here");
    assert_eq!(look.one("out").body, b"set");
    assert_eq!(keys(&broker), Some(2));
    broker.stop("TERM");
    broker.start_again();
    let mut look = Look::into(&broker);
    look.put("in", "get place");
    assert_eq!(look.one("out").body, b"here", "a restart");
    // The route is taken away, and comes back.
    folder.write("routes.toml", &without.text);
    ctl(&broker, &["reload"]);
    folder.write("routes.toml", &setup.text);
    ctl(&broker, &["reload"]);
    look.put("in", "get place");
    assert_eq!(look.one("out").body, b"here", "its name is enough");
    let values = ctl(&broker, &["route", "values", "r"]);
    let words: Vec<Vec<&str>> =
        values.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words.len(), 3, "titles and two keys: {values}");
    assert_eq!(words.first(), Some(&vec!["step", "key", "bytes", "value"]), "{values}");
    assert!(words.contains(&vec!["1", "place", "4", "here"]), "{values}");
    let none = ctl(&broker, &["route", "values", "r", "--prefix", "pleace"]);
    assert_eq!(none, "");
    let behind = ctl(&broker, &["route", "values", "r", "--from", "1/place"]);
    assert!(!behind.contains("here"), "{behind}");
    assert_eq!(ctl(&broker, &["route", "forget", "r"]), "2 keys are forgotten\n");
    assert_eq!(keys(&broker), Some(0));
    look.put("in", "count");
    assert_eq!(look.one("out").body, b"1");
    broker.crash();
    let mut look = Look::into(&broker);
    look.put("in", "get place");
    // What was taken just before the kill may be there again.
    eventually("it is forgotten", || look.bodies("out").contains(&"none".to_owned()).then_some(()));
    assert_eq!(ctl(&broker, &["route", "forget", "no-such"]), "0 keys are forgotten\n");
}
