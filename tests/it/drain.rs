//! `crossdock route drain`: what waits for a route that is gone.

use crate::broker::{Broker, Folder, crossdock, root};
use crate::wire::amqp::{Amqp, Properties};
use std::process::Output;

/// A route that gets nowhere: each attempt takes longer than it may, and the next is a minute later.
fn stuck(name: &str) -> String {
    let module = root().join("examples/xml-to-json.wasm");
    format!(
        "[[queue]]\nname = \"in\"\n[[route]]\nname = \"{name}\"\nfrom = [\"queue:in\"]\n\
         to = [\"queue:out\"]\nsteps = [{{ wasm = \"{}\" }}]\nlimits = {{ deadline = \"1ms\" }}\n\
         on_error = {{ retry = 1000, backoff = \"60s\" }}\n",
        module.display()
    )
}

const PLAIN: &str = "[[queue]]\nname = \"in\"\n";

/// An XML document that takes longer than a millisecond.
fn large() -> Vec<u8> {
    let mut text = String::from("<a>");
    for number in 0..200_000 {
        text.push_str(&format!("<b>{number}</b>"));
    }
    text.push_str("</a>");
    text.into_bytes()
}

fn drain(broker: &Broker, config: &str, words: &[&str]) -> Output {
    let file = broker.write("drain.toml", config);
    let data = broker.data_dir();
    let mut command = crossdock(&["route", "drain"]);
    command.args(words).args(["--config", &file.to_string_lossy()]);
    command.args(["--data-dir", &data.to_string_lossy()]).output().expect("the binary is there")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A stopped broker in whose store three messages wait for route `old`.
fn with_leftovers() -> Broker {
    let folder = Folder::new();
    let file = folder.write("hub.toml", &stuck("old"));
    let mut broker = Broker::with(&["--config", &file.to_string_lossy()]);
    let mut client = Amqp::connect(broker.amqp);
    client.confirm_select();
    for _ in 0..3 {
        client.publish("", "in", &Properties::persistent(), &large());
    }
    client.wait_confirms();
    broker.kill();
    let data = broker.data_dir();
    let data = data.to_string_lossy();
    let dump = ["store", "dump", &data, "--queue", "route/old"];
    let waiting = crossdock(&dump).output().expect("the binary is there").stdout;
    assert_eq!(text(&waiting).lines().count(), 3);
    broker
}

#[test]
fn what_waits_for_a_route_that_is_gone_goes_back_to_where_it_was_published() {
    let mut broker = with_leftovers();
    let refused = drain(&broker, &stuck("old"), &["old"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert!(
        text(&refused.stderr).contains("route[0].name: is to be drained and is still configured")
    );
    let bad = drain(&broker, PLAIN, &["old", "--to", "nowhere"]);
    assert_eq!(bad.status.code(), Some(2), "{}", text(&bad.stderr));
    assert!(text(&bad.stderr).contains("--to: 'nowhere' is not"), "{}", text(&bad.stderr));
    let drained = drain(&broker, PLAIN, &["old"]);
    assert_eq!(drained.status.code(), Some(0), "{}", text(&drained.stderr));
    assert_eq!(
        text(&drained.stdout),
        "route old: 3 messages moved, 0 dead-lettered; its queue is deleted\n"
    );
    let again = drain(&broker, PLAIN, &["old"]);
    assert_eq!(again.status.code(), Some(2), "the queue is gone: {}", text(&again.stdout));
    broker.restart_with(&[]);
    assert_eq!(Amqp::connect(broker.amqp).ready("in"), 3);
}

#[test]
fn what_waits_for_a_route_that_is_gone_can_be_sent_elsewhere() {
    let mut broker = with_leftovers();
    let config = format!("{PLAIN}[[queue]]\nname = \"elsewhere\"\n");
    let drained = drain(&broker, &config, &["old", "--to", "queue:elsewhere"]);
    assert_eq!(drained.status.code(), Some(0), "{}", text(&drained.stderr));
    broker.restart_with(&[]);
    let mut client = Amqp::connect(broker.amqp);
    assert_eq!((client.ready("in"), client.ready("elsewhere")), (0, 3));
}
