//! Mistakes in the configuration: each is reported with file, line, column and key, the exit code is 2, nothing is
//! bound and nothing but the mistakes is printed.

use crate::broker::{Folder, LISTENERS, crossdock, root};
use std::net::{TcpListener, TcpStream};

/// A port that nobody listens on now.
fn free_port() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

/// Starts with this file, which must fail. Returns standard error, with the file's name replaced by `FILE`.
fn refused(text: &str) -> String {
    let folder = Folder::new();
    let port = free_port();
    let text = text.replace("PORT", &port.to_string());
    let file = folder.write("hub.toml", &text);
    let (file, data) = (file.to_string_lossy(), folder.path().join("data"));
    let data = data.to_string_lossy();
    let mut command = crossdock(&["serve", "--config", &file, "--data-dir", &data]);
    for listener in &LISTENERS[1..] {
        command.args(["--set", &format!("listeners.{listener}.bind=127.0.0.1:0")]);
    }
    let output = command.output().expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr).replace(&*file, "FILE");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "it must not say that it is ready");
    assert!(TcpStream::connect(port).is_err(), "nothing is bound");
    said
}

/// The first lines of a file that binds one known port.
const HEAD: &str = "[listeners.amqp]\nbind = \"PORT\"\n";

#[test]
fn every_mistake_is_named_with_its_place() {
    let cases = [
        ("[memroy]\n", "FILE:3:2 memroy: unknown key; did you mean 'memory'?"),
        ("[memory]\nhihg = 5\n", "FILE:4:1 memory.hihg: unknown key; did you mean 'high'?"),
        ("[memory]\nhigh = true\n", "FILE:4:8 memory.high: expected a size or a percentage"),
        ("[memory]\nhigh = \"x\"\n", "FILE:4:8 memory.high: 'x' is not a size"),
        ("[limits\n", "FILE:"),
        ("[vhost]\ndead_letter = \"nowhere\"\n", "FILE:4:15 vhost.dead_letter: 'nowhere' is not"),
        ("[[queue]]\nname = \"\"\n", "FILE:4:1 queue[0].name: must not be empty"),
        (
            "[objects]\nqueues = 1\n[[queue]]\nname = \"a\"\n[[queue]]\nname = \"b\"\n",
            "FILE:4:1 objects.queues: allows 1 queues, and 2 are to be declared",
        ),
        (
            "[[queue]]\nname = \"q\"\narguments = { x-max-length = \"many\" }\n",
            "FILE:5:15 queue[0].arguments.x-max-length: expected integer, got longstr",
        ),
        ("[[exchange]]\nname = \"e\"\ntype = \"x\"\n", "FILE:5:1 exchange[0].type: 'x' is none of"),
        (
            "[[binding]]\nsource = \"e\"\nto = \"q\"\n",
            "FILE:5:6 binding[0].to: 'q' is not queue:NAME",
        ),
        (
            "[listeners.web]\nbind = \"127.0.0.1:0\"\nprotocols = [\"http\"]\n",
            "FILE:5:14 listeners.web.protocols[0]: 'http' is none of",
        ),
        (
            "[listeners.web]\nbind = \"0.0.0.0:0\"\nprotocols = [\"mqtt\"]\n",
            "FILE:4:1 listeners.web.bind: '0.0.0.0:0' can be reached from elsewhere",
        ),
    ];
    for (text, expected) in cases {
        let said = refused(&format!("{HEAD}{text}"));
        assert!(said.lines().any(|line| line.starts_with(expected)), "{text}\n{said}");
    }
}

#[test]
fn mistakes_of_routes_are_named_with_their_place() {
    let route = "[[route]]\nname = \"r\"\nfrom = [\"queue:a\"]\nto = [\"queue:b\"]\n";
    let cases = [
        ("stpes = []\n", "FILE:7:1 route[0].stpes: unknown key; did you mean 'steps'?"),
        ("when = \"body LIKE\"\n", "FILE:7:1 route[0].when: "),
        ("steps = [ { wasm = \"missing\", with = 5 } ]\n", "FILE:7:31 route[0].steps[0].with: "),
        ("mode = \"sideways\"\n", "FILE:7:1 route[0].mode: "),
    ];
    for (text, expected) in cases {
        let said = refused(&format!("{HEAD}{route}{text}"));
        assert!(said.lines().any(|line| line.starts_with(expected)), "{text}\n{said}");
    }
    let said = refused(&format!("{HEAD}{route}{route}"));
    assert!(said.contains("route[1].name: another route is named 'r' too"), "{said}");
}

#[test]
fn every_kind_of_mistake_is_shown_in_one_run() {
    let text = "[memroy]\n[limits]\ntopic_bytes = \"x\"\n\
         [listeners.web]\nbind = \"127.0.0.1:0\"\nprotocols = [\"http\", 5, \"mqtt\"]\n\
         [[route]]\nname = \"r\"\nfrom = [\"queue:a\", 5, \"nowhere\"]\nto = [\"queue:b\"]\n\
         mode = \"sideways\"\nwhen = \"body LIKE\"\non_error = { retry = \"often\", backoff = \"soon\" }\n\
         [[route]]\nfrom = [\"topic:a\"]\nmode = \"fliter\"\n\
         [[queue]]\nname = \"q\"\ndurable = 1\narguments = { x-max-length = \"many\" }\n\
         [[queue]]\nname = \"q\"\n[[exchange]]\nname = 5\ntype = \"x\"\n\
         [[binding]]\nto = \"q\"\n[vhost]\ndead_letter = \"nowhere\"\n";
    let said = refused(&format!("{HEAD}{text}"));
    let places = said.lines().filter_map(|line| line.split(": ").next());
    let places: Vec<&str> = places.collect();
    let expected = [
        "FILE:3:2 memroy",
        "FILE:5:15 limits.topic_bytes",
        "FILE:8:14 listeners.web.protocols[0]",
        "FILE:8:22 listeners.web.protocols[1]",
        "FILE:11:20 route[0].from[1]",
        "FILE:11:23 route[0].from[2]",
        "FILE:13:1 route[0].mode",
        "FILE:14:1 route[0].when",
        "FILE:15:14 route[0].on_error.retry",
        "FILE:15:31 route[0].on_error.backoff",
        "FILE:16:1 route[1].name",
        "FILE:18:1 route[1].mode",
        "FILE:21:11 queue[0].durable",
        "FILE:22:15 queue[0].arguments.x-max-length",
        "FILE:24:1 queue[1].name",
        "FILE:26:8 exchange[0].name",
        "FILE:27:1 exchange[0].type",
        "FILE:28:1 binding[0].source",
        "FILE:29:6 binding[0].to",
        "FILE:31:15 vhost.dead_letter",
    ];
    assert_eq!(places, expected, "{said}");
}

#[test]
fn what_is_checked_is_what_is_served() {
    let exchange = "[[exchange]]\nname = \"e\"\ntype = \"direct\"\n";
    let bad = [
        "[[binding]]\nsource = \"nowhere\"\nto = \"exchange:amq.topic\"\n",
        "[[binding]]\nsource = \"amq.topic\"\nto = \"queue:nowhere\"\n",
        "[limits]\ntopic_separators = 1\n[[queue]]\nname = \"q\"\n\
         [[binding]]\nsource = \"amq.topic\"\nkey = \"a/b/c\"\nto = \"queue:q\"\n",
        "[[queue]]\nname = \"q\"\n[[queue]]\nname = \"q\"\n",
        "[[queue]]\nname = \"route/r\"\n",
        "[[queue]]\nname = \"amq.q\"\n",
        "[[exchange]]\nname = \"amq.topic\"\ntype = \"direct\"\n",
        "[[route]]\nname = \"r\"\nfrom = [\"exchange:x/#\"]\nto = [\"exchange:y/k\"]\n",
        "[[route]]\nname = \"r\"\nfrom = [\"topic:$x\"]\nto = [\"queue:q\"]\n",
        "[[route]]\nname = \"a\"\nfrom = [\"queue:a\"]\nto = [\"queue:b\"]\n\
         [[route]]\nname = \"b\"\nfrom = [\"queue:b\"]\nto = [\"queue:a\"]\n",
        "[vhost]\ndollar_topics = [\"$SYS/#\"]\n",
        "[vhost]\ndead_letter = \"exchange:x/k\"\n",
    ];
    for text in bad {
        let folder = Folder::new();
        let file = folder.write("hub.toml", &format!("{exchange}{text}"));
        let file = file.to_string_lossy();
        let data = folder.path().join("data");
        let checked = crossdock(&["check-config", &file]).output().expect("the binary is there");
        let served =
            crossdock(&["serve", "--config", &file, "--data-dir", &data.to_string_lossy()])
                .output()
                .expect("the binary is there");
        let (checked_says, served_says) =
            (String::from_utf8_lossy(&checked.stderr), String::from_utf8_lossy(&served.stderr));
        assert_eq!((checked.status.code(), served.status.code()), (Some(2), Some(2)), "{text}");
        assert_eq!(checked_says, served_says, "{text}");
        assert!(checked_says.starts_with(&*file), "{text}\n{checked_says}");
        assert!(!data.join("store").exists(), "nothing is opened: {text}");
    }
}

#[test]
fn a_queue_stored_with_other_settings_is_a_mistake() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let data = data.to_string_lossy();
    let declare = |text: &str| {
        let file = folder.write("hub.toml", text);
        let file = file.to_string_lossy();
        let mut command = crossdock(&["serve", "--config", &file, "--data-dir", &data]);
        for listener in LISTENERS {
            command.args(["--set", &format!("listeners.{listener}.bind=off")]);
        }
        command
    };
    let mut first = declare("[[queue]]\nname = \"q\"\narguments = { x-max-length = 5 }\n")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("the binary is there");
    let mut line = String::new();
    let output = first.stdout.take().expect("it is piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("a line");
    first.kill().expect("it runs");
    first.wait().expect("it is our child");
    assert!(line.starts_with("crossdock ready in "), "{line}");
    let output = declare("[[queue]]\nname = \"q\"\narguments = { x-max-length = 6 }\n")
        .output()
        .expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("queue[0]: already exists with other settings"), "{said}");
}

#[test]
fn a_file_can_be_checked_without_a_start() {
    let folder = Folder::new();
    let good = folder.write("good.toml", "[[queue]]\nname = \"q\"\n");
    let output = crossdock(&["check-config", &good.to_string_lossy()]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).ends_with("good.toml: ok\n"));
    let bad = folder.write("bad.toml", "quueue = 1\n[log]\nlevel = 5\n");
    let output = crossdock(&["check-config", &bad.to_string_lossy()]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.lines().count(), 2, "all mistakes at once: {said}");
    let route = "[[route]]\nname = \"r\"\nfrom = [\"queue:a\"]\nto = [\"queue:b\"]\nmode = \"tpa\"\n\
        when = \"body LIKE\"\nsteps = [ { wasm = \"missing\" }, { st = {} } ]\n";
    let bad = folder.write("route.toml", route);
    let output = crossdock(&["check-config", &bad.to_string_lossy()]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    for key in ["mode", "when", "steps[0].wasm", "steps[1].st"] {
        assert!(
            said.contains(&format!(" route[0].{key}: ")),
            "all mistakes at once: {key}: {said}"
        );
    }
    let missing = crossdock(&["check-config", "/nonexistent.toml"]).output().expect("it runs");
    assert_eq!(missing.status.code(), Some(2));
    let said = String::from_utf8_lossy(&missing.stderr);
    assert!(said.starts_with("/nonexistent.toml: cannot be read: "), "{said}");
}

#[test]
fn the_example_is_well_formed() {
    let file = root().join("examples/hub.toml");
    let output = crossdock(&["check-config", &file.to_string_lossy()]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[test]
fn the_routes_of_a_file_are_shown() {
    let file = root().join("examples/hub.toml");
    let output = crossdock(&["check-config", &file.to_string_lossy(), "--routes"]).output();
    let said = output.expect("it runs").stdout;
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split("  ").collect()).collect();
    let row = lines.iter().find(|words| words.first() == Some(&"supplier-stock")).expect(&said);
    let words: Vec<&str> = row.iter().map(|word| word.trim()).filter(|w| !w.is_empty()).collect();
    assert_eq!(
        words,
        [
            "supplier-stock",
            "divert",
            "-",
            "queued",
            "1",
            "relaxed",
            "topic:suppliers/+/stock",
            "queue:inventory",
            "3 retries, after 200ms; then"
        ],
        "{said}"
    );
    assert!(said.contains("hub.toml: ok\n") && said.contains("dead-letter to queue:dead-letters"));
}

#[test]
fn configured_queues_and_exchanges_exist_from_the_start() {
    use crate::broker::Broker;
    use crate::wire::amqp::{Amqp, Properties};
    let folder = Folder::new();
    let file = folder.write(
        "hub.toml",
        "[[queue]]\nname = \"orders\"\n\
         [[exchange]]\nname = \"shop\"\ntype = \"topic\"\n\
         [[binding]]\nsource = \"shop\"\nkey = \"order/+\"\nto = \"queue:orders\"\n",
    );
    let broker = Broker::with(&["--config", &file.to_string_lossy()]);
    let mut client = Amqp::connect(broker.amqp);
    client.confirm_select();
    client.publish("shop", "order.new", &Properties::default(), b"1");
    client.publish("shop", "refund.new", &Properties::default(), b"2");
    client.wait_confirms();
    let delivery = client.get("orders").expect("it was routed");
    assert_eq!((delivery.key.as_str(), delivery.body.as_slice()), ("order.new", &b"1"[..]));
    assert_eq!(client.get("orders"), None);
}
