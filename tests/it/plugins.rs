//! Native plugins in a broker that runs: what they bring works, and what breaks in them breaks nothing else. The
//! plugins are those of plugins/samples, built as anybody builds one.

use crate::broker::{Broker, Folder, crossdock, root};
use crate::metrics;
use crate::wire::amqp::{Amqp, Field, Out, Properties};
use crate::wire::eventually;
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::stomp::Stomp;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// The library of a sample.
pub fn sample(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins/target");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--release", "--locked", "--manifest-path"]);
        build.arg(root().join("plugins/samples/Cargo.toml")).arg("--target-dir").arg(&target);
        build.env("RUSTFLAGS", "-Cforce-frame-pointers=yes -Coverflow-checks=yes");
        let built = build.output().expect("cargo runs");
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(built.status.success(), "{errors}");
        target.join("release")
    });
    built.join(format!("lib{}.so", name.replace('-', "_")))
}

/// A configuration with that plugin, and more.
pub fn with_plugin(name: &str, more: &str) -> String {
    let path = sample(name);
    format!("[[plugin]]\nname = \"{name}\"\npath = \"{}\"\n{more}\n", path.display())
}

pub fn start(folder: &Folder, text: &str) -> Broker {
    let file = folder.write("plugins.toml", text);
    Broker::with(&["--config", &file.to_string_lossy()])
}

/// What `crossdock WORDS` says, and its exit code.
pub fn said(broker: &Broker, words: &[&str]) -> (String, Option<i32>) {
    let mut command = crossdock(words);
    command.args(["--data-dir", &broker.data_dir().to_string_lossy()]);
    let output = command.output().expect("the binary is there");
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8_lossy(&text).into_owned(), output.status.code())
}

fn exchange(amqp: &mut Amqp, kind: &str, arguments: &[(&str, &str)]) -> Result<(), String> {
    let arguments: Vec<_> = arguments
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Field::Text((*text).to_owned())))
        .collect();
    let declare = Out::method(40, 10).u16(0).short("x").short(kind).u8(2);
    amqp.ask(declare.table(&arguments), (40, 11)).map(|_| ())
}

fn counts(amqp: &mut Amqp, queues: &[&str]) -> Vec<u32> {
    queues.iter().map(|queue| amqp.ready(queue)).collect()
}

#[test]
fn an_exchange_kind_of_a_plugin_is_one_for_all_clients() {
    let folder = Folder::new();
    let mut broker = start(&folder, &with_plugin("consistent-hash", ""));
    let mut amqp = Amqp::connect(broker.amqp);
    let refused = exchange(&mut amqp, "x-sample-hash", &[("hash-property", "priority")]);
    let refused = refused.expect_err("no such property");
    assert!(
        refused.starts_with("406") && refused.contains("hash-property is 'priority'"),
        "{refused}"
    );
    exchange(&mut amqp, "x-sample-hash", &[]).expect("declared");
    let queues = ["a", "b", "c"];
    for queue in queues {
        amqp.queue(queue, true);
        amqp.bind(queue, "x", "2");
    }
    let bind = Out::method(50, 20).u16(0).short("a").short("x").short("heavy").u8(0).table(&[]);
    let refused = amqp.ask(bind, (50, 21)).expect_err("no weight");
    assert!(refused.starts_with("406") && refused.contains("and not 'heavy'"), "{refused}");

    amqp.confirm_select();
    let publish = |amqp: &mut Amqp| {
        for n in 0..300 {
            amqp.publish("x", &format!("order.{n}"), &Properties::persistent(), b"1");
        }
        amqp.wait_confirms();
    };
    publish(&mut amqp);
    let first = counts(&mut amqp, &queues);
    assert_eq!(first.iter().sum::<u32>(), 300, "each goes to one: {first:?}");
    assert!(first.iter().all(|count| *count > 40), "{first:?}");
    // The same keys go the same way, after a restart as well.
    broker.crash();
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    publish(&mut amqp);
    let twice: Vec<u32> = first.iter().map(|count| count * 2).collect();
    assert_eq!(counts(&mut amqp, &queues), twice);
    // Without b, what was a's and c's stays theirs.
    let unbind = Out::method(50, 50).u16(0).short("b").short("x").short("2").table(&[]);
    amqp.ask(unbind, (50, 51)).expect("unbound");
    publish(&mut amqp);
    let third = counts(&mut amqp, &queues);
    assert_eq!((third[1], third.iter().sum::<u32>()), (twice[1], 900));
    assert!(
        third[0] - twice[0] >= first[0] && third[2] - twice[2] >= first[2],
        "{first:?} {third:?}"
    );

    // What is published to topics comes in by a binding, and STOMP publishes as AMQP does.
    let bind = Out::method(40, 30).u16(0).short("x").short("amq.topic").short("plant.#").u8(0);
    amqp.ask(bind.table(&[]), (40, 31)).expect("bound");
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("sensor"));
    let mut stomp = Stomp::connect(broker.stomp);
    for n in 0..20 {
        mqtt.publish(&format!("plant/{n}"), b"1", 1);
        stomp.request("SEND", &[("destination", &format!("/exchange/x/order.{n}"))], b"1");
    }
    eventually("all are there", || {
        (counts(&mut amqp, &queues).iter().sum::<u32>() == 940).then_some(())
    });
    let (listed, _) = said(&broker, &["ctl", "list", "plugins"]);
    assert!(listed.contains("consistent-hash  exchange:x-sample-hash  0.1.0"), "{listed}");
    let (status, code) = said(&broker, &["status", "--seconds", "0"]);
    assert_eq!(code, Some(0), "{status}");
}

/// Does what the fixture does there: what others see of it, and that they go on.
fn misbehaves(how: &str, why: &str) {
    let folder = Folder::new();
    let limits = "limits = { call_time = \"500ms\" }\n[[queue]]\nname = \"dead-letters\"";
    let broker = start(&folder, &with_plugin("misbehave", limits));
    let mut amqp = Amqp::connect(broker.amqp);
    exchange(&mut amqp, "x-misbehave", &[("route", how)]).expect("declared");
    for queue in ["q", "other"] {
        amqp.queue(queue, true);
    }
    amqp.bind("q", "x", "");
    amqp.confirm_select();
    amqp.publish("x", "before", &Properties::persistent(), b"1");
    amqp.wait_confirms();

    let started = Instant::now();
    amqp.publish("x", "now", &Properties::persistent(), b"2");
    assert_eq!(amqp.any_method(), (60, 120), "the publish is refused");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    // Whoever asked for no answer finds the message among the dead letters.
    let mut silent = Amqp::connect(broker.amqp);
    silent.publish("x", "now", &Properties::persistent(), b"3");
    eventually("a dead letter", || (silent.ready("dead-letters") == 1).then_some(()));
    let dead = silent.get("dead-letters").expect("there");
    assert!(dead.properties.header("mq.error.text").is_some_and(|text| text.contains(why)));
    assert_eq!(dead.body, b"3");
    let mut stomp = Stomp::connect(broker.stomp);
    let refused = stomp.try_request("SEND", &[("destination", "/exchange/x/now")], b"4");
    assert!(refused.is_err(), "{refused:?}");
    let refused = exchange(&mut silent, "x-misbehave", &[("other", "")]);
    assert!(refused.is_err(), "{refused:?}");
    // Everything else goes on.
    let mut next = Amqp::connect(broker.amqp);
    next.confirm_select();
    next.publish("", "other", &Properties::persistent(), b"5");
    next.wait_confirms();
    assert_eq!((next.ready("q"), next.ready("other")), (1, 1));

    let (status, code) = said(&broker, &["status", "--seconds", "0"]);
    assert_eq!(code, Some(1), "{status}");
    let line = "plugin 'misbehave' (exchange:x-misbehave) is out of use until the next start";
    assert!(status.contains(line) && status.contains(why), "{status}");
    let (shown, _) = said(&broker, &["ctl", "show", "plugin", "misbehave"]);
    assert!(shown.contains(why), "{shown}");
    let page = metrics::get(metrics::address(&broker), "/metrics").body;
    let sample = "crossdock_plugin_out_of_use{plugin=\"misbehave\"}";
    assert_eq!(metrics::value(&page, sample), Some(1.0));
    let log = broker.log();
    assert_eq!(log.matches("a plugin is out of use").count(), 1, "{log}");
    assert!(log.contains("libmisbehave.so") && log.contains(why), "{log}");
}

#[test]
fn a_plugin_that_panics_is_out_of_use_and_nothing_else_is() {
    misbehaves("panic", "its call 'route' panicked: misbehaving in route (misbehave/src/lib.rs:");
}

#[test]
fn a_plugin_that_hangs_is_out_of_use_and_nothing_else_is() {
    misbehaves("hang", "its call 'route' did not return within 500 ms");
}

/// Publishers of an exchange whose plugin is slow wait for it, each for itself, more than processors and more than may
/// wait at once; nobody else notices, and nobody is refused.
#[test]
fn an_exchange_type_that_is_slow_keeps_nobody_else_waiting() {
    const PUBLISHERS: usize = 40;
    let folder = Folder::new();
    let broker = start(&folder, &with_plugin("misbehave", "limits = { threads = 8 }"));
    let mut amqp = Amqp::connect(broker.amqp);
    for (place, name) in [("route", "x"), ("compile", "y"), ("check", "z"), ("declare", "v")] {
        let arguments = [(place.to_owned(), Field::Text("slow".to_owned()))];
        let declare = Out::method(40, 10).u16(0).short(name).short("x-misbehave").u8(2);
        amqp.ask(declare.table(&arguments), (40, 11)).expect("declared");
    }
    for queue in ["q", "other"] {
        amqp.queue(queue, true);
    }
    for exchange in ["x", "y", "z", "v"] {
        amqp.bind("q", exchange, "");
    }
    let keys = [("x", "now"), ("y", "")];
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|number| {
            let mut amqp = Amqp::connect(broker.amqp);
            amqp.confirm_select();
            let (exchange, key) = keys[number % 2];
            thread::spawn(move || {
                for _ in 0..2 {
                    amqp.publish(exchange, key, &Properties::persistent(), b"slow");
                }
                amqp.wait_confirms();
            })
        })
        .collect();
    let mut slowest = Duration::ZERO;
    let mut others = 0;
    while !publishers.iter().all(thread::JoinHandle::is_finished) {
        let started = Instant::now();
        let mut next = Amqp::connect(broker.amqp);
        next.confirm_select();
        next.publish("", "other", &Properties::persistent(), b"other");
        next.wait_confirms();
        let (_, code) = said(&broker, &["ctl", "list", "queues"]);
        assert_eq!(code, Some(0));
        // Declaring takes the lock that routes are looked up under.
        next.queue(&format!("new-{others}"), true);
        slowest = slowest.max(started.elapsed());
        others += 1;
        thread::sleep(Duration::from_millis(20));
    }
    publishers.into_iter().for_each(|it| it.join().expect("all are confirmed"));
    assert!(others >= 5, "it was over in {others} rounds");
    assert!(slowest < Duration::from_millis(300), "{slowest:?}, in {others} rounds");
    assert_eq!(amqp.ready("q"), 2 * PUBLISHERS as u32);
    assert_eq!(amqp.ready("other"), others);
    let (status, code) = said(&broker, &["status", "--seconds", "0"]);
    assert_eq!(code, Some(0), "{status}");
}

#[test]
fn without_its_plugin_an_exchange_stays_and_refuses() {
    let folder = Folder::new();
    let text = with_plugin("consistent-hash", "");
    let mut broker = start(&folder, &text);
    let mut amqp = Amqp::connect(broker.amqp);
    exchange(&mut amqp, "x-sample-hash", &[]).expect("declared");
    amqp.queue("a", true);
    amqp.bind("a", "x", "1");
    broker.restart_with(&[]);
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    amqp.publish("x", "k", &Properties::persistent(), b"1");
    assert_eq!(amqp.any_method(), (60, 120));
    let log = broker.log();
    assert!(log.contains("no plugin brings the type of exchanges that are stored"), "{log}");
    let (status, code) = said(&broker, &["status", "--seconds", "0"]);
    assert_eq!(code, Some(1), "{status}");
    assert!(
        status.contains("exchange 'x' in virtual host '/' refuses what is published"),
        "{status}"
    );
    // Whoever declares it as it is, as clients do when they start, is told yes; only new bindings are refused.
    exchange(&mut amqp, "x-sample-hash", &[]).expect("it is there");
    let bind = Out::method(50, 20).u16(0).short("a").short("x").short("2").u8(0);
    let refused = amqp.ask(bind.table(&[]), (50, 21)).expect_err("nobody checks its key");
    assert!(refused.contains("406") && refused.contains("no plugin that is loaded"), "{refused}");
    let file = folder.write("again.toml", &text);
    broker.restart_with(&["--config", &file.to_string_lossy()]);
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    amqp.publish("x", "k", &Properties::persistent(), b"2");
    amqp.wait_confirms();
    assert_eq!(amqp.ready("a"), 1);
}

#[test]
fn every_mistake_about_plugins_is_named_with_its_key() {
    let good = with_plugin("consistent-hash", "");
    let declared =
        "[[queue]]\nname = \"q\"\n[[exchange]]\nname = \"x\"\ntype = \"x-sample-hash\"\n";
    let bound = "[[binding]]\nsource = \"x\"\nto = \"queue:q\"\n";
    let cases = [
        (format!("{good}{declared}{bound}key = \"3\"\n"), "FILE: ok"),
        (
            format!("{good}{declared}{bound}key = \"much\"\n"),
            "FILE:13:1 binding[0].key: the key of a binding is its weight",
        ),
        (
            format!("{good}{declared}arguments = {{ hash-property = \"size\" }}\n"),
            "FILE:10:1 exchange[0].arguments: hash-property is 'size'",
        ),
        (declared.to_owned(), "exchange[0].type: 'x-sample-hash' is none of direct"),
        ("[[plugin]]\nname = \"p\"\n".to_owned(), "FILE:1:1 plugin[0].path: is missing"),
        (
            "[[plugin]]\nname = \"p\"\npath = \"p.so\"\n".to_owned(),
            "FILE:3:1 plugin[0].path: p.so: is not an absolute path",
        ),
        (
            "[[plugin]]\nname = \"a b\"\npath = \"/p.so\"\n".to_owned(),
            "plugin[0].name: is not 1 to 64 letters",
        ),
        (
            "[[plugin]]\nname = \"p\"\npath = \"/gone/p.so\"\n".to_owned(),
            "plugin[0].path: /gone/p.so: cannot be found",
        ),
        (
            with_plugin("consistent-hash", "sha256 = \"00\""),
            "FILE:4:1 plugin[0].sha256: is not 64 hexadecimal digits",
        ),
        (
            with_plugin("consistent-hash", &format!("sha256 = \"{}\"", "0".repeat(64))),
            "plugin[0].sha256: ",
        ),
        (
            with_plugin("consistent-hash", "with = { a = 1 }"),
            "does not start: takes no settings: 'with' has to be empty",
        ),
        (
            with_plugin("misbehave", "with = { start = \"panic\" }"),
            "its call 'start' panicked: misbehaving in start (misbehave/src/lib.rs:",
        ),
        (
            with_plugin("consistent-hash", "limits = { threads = 0 }"),
            "plugin[0].limits.threads: 0 is not from 1 to 64",
        ),
    ];
    let folder = Folder::new();
    for (text, wanted) in cases {
        let file = folder.write("hub.toml", &text);
        let output = crossdock(&["check-config", &file.to_string_lossy()]).output();
        let output = output.expect("the binary is there");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).replace(&*file.to_string_lossy(), "FILE");
        assert!(said.contains(wanted), "{text}\n{said}\n{wanted}");
        let code = if wanted == "FILE: ok" { 0 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{said}");
    }
}

#[test]
fn plugins_that_change_count_from_the_next_start() {
    let folder = Folder::new();
    let broker = start(&folder, &with_plugin("consistent-hash", ""));
    folder.write("plugins.toml", &with_plugin("consistent-hash", "limits = { threads = 3 }"));
    broker.signal("HUP");
    eventually("a line of the log", || {
        let log = broker.log();
        let line = log.lines().find(|line| line.contains("plugin.consistent-hash"))?;
        line.contains("counts from the next start only").then_some(())
    });
    let mut amqp = Amqp::connect(broker.amqp);
    exchange(&mut amqp, "x-sample-hash", &[]).expect("the plugin of the start goes on");
}
