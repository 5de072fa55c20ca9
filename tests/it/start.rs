//! Starting and stopping: the ready line, exit codes, one process for one data directory.

use crate::broker::{Broker, Folder, LISTENERS, crossdock};
use crate::wire::amqp::{self, Amqp};
use crate::wire::mqtt::{self, Connect, Mqtt};
use crate::wire::stomp::{self, Stomp};
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Longest stop, including the drain.
const STOP_TIME: Duration = Duration::from_secs(5);

#[test]
fn the_ready_line_names_the_addresses() {
    let broker = Broker::start();
    let words: Vec<&str> = broker.ready.split(' ').collect();
    let [_, _, amqp, metrics, mqtt, stomp, ws_mqtt, ws_stomp, "in", millis, "ms"] =
        words.as_slice()
    else {
        panic!("{}", broker.ready);
    };
    assert_eq!(*amqp, format!("amqp={}", broker.amqp));
    assert!(metrics.starts_with("metrics=127.0.0.1:"));
    assert_eq!(*mqtt, format!("mqtt={}", broker.mqtt));
    assert_eq!(*stomp, format!("stomp={}", broker.stomp));
    assert!(ws_mqtt.starts_with("ws-mqtt=127.0.0.1:"));
    assert!(ws_stomp.starts_with("ws-stomp=127.0.0.1:"));
    assert!(millis.parse::<u32>().is_ok());
    for address in [broker.amqp, broker.mqtt, broker.stomp] {
        assert!(TcpStream::connect(address).is_ok());
    }
}

#[test]
fn listeners_that_are_off_are_left_out() {
    let broker = Broker::with(&["--set", "listeners.stomp.bind=off"]);
    assert!(!broker.ready.contains(" stomp="), "{}", broker.ready);
    assert!(broker.ready.contains("mqtt="), "{}", broker.ready);
}

#[test]
fn protocols_can_share_a_port() {
    let broker = Broker::with(&["--set", "listeners.amqp.protocols=amqp,mqtt,stomp"]);
    Amqp::connect(broker.amqp).queue("here", true);
    Mqtt::connect(broker.amqp, &Connect::v5("here")).disconnect();
    Stomp::connect(broker.amqp).send("/queue/here", &[], b"x");
    assert_eq!(Amqp::connect(broker.amqp).ready("here"), 1);
}

#[test]
fn signals_stop_it_cleanly() {
    for signal in ["TERM", "INT"] {
        let mut broker = Broker::start();
        let _idle = (
            Amqp::connect(broker.amqp),
            Mqtt::connect(broker.mqtt, &Connect::v311("idle")),
            Stomp::connect(broker.stomp),
            TcpStream::connect(broker.amqp),
        );
        let (code, took) = broker.stop(signal);
        assert_eq!(code, Some(0), "{}", broker.log());
        assert!(took < STOP_TIME, "{took:?}");
    }
}

#[test]
fn signals_that_ask_for_something_else_change_nothing() {
    let mut broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    client.queue("after", true);
    client.confirm_select();
    for signal in ["HUP", "USR1", "USR2"] {
        broker.signal(signal);
        let said = match signal {
            "HUP" => "the configuration was read again".to_owned(),
            _ => format!("SIG{signal} came and changes nothing"),
        };
        let patience = Instant::now();
        while !broker.log().contains(&said) {
            assert!(patience.elapsed() < Duration::from_secs(10), "{}", broker.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        client.publish("", "after", &amqp::Properties::persistent(), signal.as_bytes());
        client.wait_confirms();
    }
    assert_eq!(client.ready("after"), 3);
    let (code, _) = broker.stop("TERM");
    assert_eq!(code, Some(0), "{}", broker.log());
}

#[test]
fn the_command_line_is_checked() {
    for wrong in [&["serve", "--no-such-option"][..], &["sevre"], &[]] {
        let output = crossdock(wrong).output().expect("the binary is there");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty());
    }
    let version = crossdock(&["--version"]).output().expect("the binary is there");
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("crossdock "));
}

#[test]
fn a_data_directory_belongs_to_one_process() {
    let broker = Broker::start();
    let data = broker.data_dir();
    let data = data.to_string_lossy();
    let mut second = crossdock(&["serve", "--data-dir", &data]);
    for listener in LISTENERS {
        second.args(["--set", &format!("listeners.{listener}.bind=127.0.0.1:0")]);
    }
    let output = second.output().expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--data-dir: the store cannot be opened: "), "{said}");
    assert!(output.stdout.is_empty(), "it must not say that it is ready");
    // The first process is not affected.
    Amqp::connect(broker.amqp).queue("q", true);
}

#[test]
fn a_port_in_use_is_named_and_nothing_else_is_bound() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    let free = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.local_addr().expect("it is bound")
    };
    let folder = Folder::new();
    let data = folder.path().join("data");
    let output = crossdock(&["serve", "--data-dir", &data.to_string_lossy()])
        .args(["--set", &format!("listeners.amqp.bind={free}")])
        .args(["--set", &format!("listeners.mqtt.bind={address}")])
        .args(["--set", "listeners.stomp.bind=off"])
        .args(["--set", "listeners.ws-mqtt.bind=off"])
        .args(["--set", "listeners.ws-stomp.bind=off"])
        .output()
        .expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("listeners.mqtt.bind") && said.contains(&address.to_string()), "{said}");
    assert!(TcpStream::connect(free).is_err());
}

/// A start with this configuration that must fail. Returns what it said.
fn refused(folder: &Folder, text: &str, options: &[&str]) -> String {
    let output = start(folder, text, options).output().expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty(), "it must not say that it is ready");
    said
}

/// `serve` with this configuration, the data in the folder, and no ports but those in `options`.
fn start(folder: &Folder, text: &str, options: &[&str]) -> std::process::Command {
    let file = folder.write("hub.toml", text);
    let data = folder.path().join("data");
    let mut command = crossdock(&["serve", "--config", &file.to_string_lossy()]);
    command.args(["--data-dir", &data.to_string_lossy()]);
    for listener in LISTENERS {
        command.args(["--set", &format!("listeners.{listener}.bind=off")]);
    }
    command.args(options);
    command
}

/// Starts with this configuration, which must go well, and kills it when it is ready.
fn once_ready(folder: &Folder, text: &str) {
    let mut command = start(folder, text, &[]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary is there");
    let mut line = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut line).expect("a line");
    child.kill().expect("it runs");
    child.wait().expect("it is our child");
    assert!(line.starts_with("crossdock ready in "), "{line}");
}

/// The names of the stored queues, from what `store dump` says about a queue that does not exist.
fn stored_queues(folder: &Folder) -> String {
    let data = folder.path().join("data");
    let output = crossdock(&["store", "dump", &data.to_string_lossy(), "--queue", "?"]).output();
    let said = output.expect("the binary is there").stderr;
    String::from_utf8_lossy(&said).trim().to_owned()
}

const NEW_AND_OLD: &str = "[[exchange]]\nname = \"shop\"\ntype = \"topic\"\n\
     [[queue]]\nname = \"new\"\narguments = { x-max-length = 7 }\n\
     [[queue]]\nname = \"old\"\narguments = { x-max-length = 6 }\n\
     [[binding]]\nsource = \"shop\"\nto = \"queue:new\"\n";

#[test]
fn a_start_that_finds_another_queue_in_the_store_declares_nothing() {
    let folder = Folder::new();
    once_ready(&folder, "[[queue]]\nname = \"old\"\narguments = { x-max-length = 5 }\n");
    let said = refused(&folder, NEW_AND_OLD, &[]);
    let reason = "hub.toml:7:1 queue[1]: already exists with other settings: x-max-length: \
         received '6' but current is '5'";
    assert!(said.contains(reason), "{said}");
    let there = stored_queues(&folder);
    assert!(there.ends_with("there are: old"), "{there}");
    // With other settings than those of the start that failed.
    let mended = NEW_AND_OLD.replace("= 6", "= 5").replace("= 7", "= 8").replace("topic", "fanout");
    once_ready(&folder, &mended);
    let there = stored_queues(&folder);
    assert!(there.ends_with("there are: new, old"), "{there}");
}

#[test]
fn a_start_that_finds_its_port_in_use_declares_nothing() {
    let folder = Folder::new();
    once_ready(&folder, "[[queue]]\nname = \"old\"\narguments = { x-max-length = 5 }\n");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound");
    let port = format!("listeners.mqtt.bind={address}");
    let said = refused(&folder, NEW_AND_OLD, &["--set", &port]);
    assert!(said.contains("listeners.mqtt.bind: cannot bind"), "{said}");
    assert!(said.contains("queue[1]: already exists"), "all mistakes at once: {said}");
    let said = refused(&folder, &NEW_AND_OLD.replace("= 6", "= 5"), &["--set", &port]);
    assert!(!said.contains("queue["), "{said}");
    let there = stored_queues(&folder);
    assert!(there.ends_with("there are: old"), "{there}");
    let mended = NEW_AND_OLD.replace("= 6", "= 5").replace("= 7", "= 8");
    once_ready(&folder, &mended);
    let there = stored_queues(&folder);
    assert!(there.ends_with("there are: new, old"), "{there}");
}

#[test]
fn a_route_sends_to_a_queue_with_the_configured_settings() {
    let folder = Folder::new();
    let text = "[[queue]]\nname = \"out\"\narguments = { x-max-length = 5 }\n\
         [[route]]\nname = \"r\"\nfrom = [\"queue:in\"]\nto = [\"queue:out\"]\n";
    once_ready(&folder, text);
    once_ready(&folder, text);
}

#[test]
fn a_stop_does_not_wait_for_busy_publishers() {
    let mut broker = Broker::start();
    Amqp::connect(broker.amqp).queue("firehose", true);
    let addresses = (broker.amqp, broker.mqtt, broker.stomp);
    let body = [7; 1024];
    let mut threads = Vec::new();
    let mut pump = |mut socket: crate::wire::Socket, bytes: Vec<u8>| {
        threads.push(std::thread::spawn(move || while socket.try_send(&bytes).is_ok() {}));
    };
    let plain = amqp::Properties::default();
    pump(Amqp::connect(addresses.0).socket, amqp::publish("", "firehose", &plain, &body));
    let publish = mqtt::publish(4, "firehose", &body, (0, 0), &mqtt::Properties::default());
    pump(Mqtt::connect(addresses.1, &Connect::v311("pump")).socket, publish);
    let send = stomp::frame("SEND", &[("destination", "/queue/firehose")], &body);
    pump(Stomp::connect(addresses.2).socket, send);

    // One consumer of each kind that reads, and one that does not.
    let mut readers = (
        Amqp::connect(broker.amqp),
        Mqtt::connect(broker.mqtt, &Connect::v311("reader")),
        Stomp::connect(broker.stomp),
    );
    let mut stalled = (Amqp::connect(broker.amqp), Stomp::connect(broker.stomp));
    readers.0.consume("firehose", true);
    readers.1.subscribe("firehose", 0);
    readers.2.subscribe("1", "/queue/firehose", "auto", &[]);
    stalled.0.consume("firehose", true);
    stalled.1.subscribe("1", "/queue/firehose", "auto", &[]);
    for _ in 0..100 {
        readers.0.receive();
        readers.1.receive();
        readers.2.receive();
    }
    let (mut amqp, mut mqtt, mut stomp) = readers;
    threads.push(std::thread::spawn(move || {
        assert!(amqp.socket.is_closed_within(Duration::from_secs(30)));
    }));
    threads.push(std::thread::spawn(move || {
        assert!(mqtt.socket.is_closed_within(Duration::from_secs(30)));
    }));
    threads.push(std::thread::spawn(move || {
        assert!(stomp.socket.is_closed_within(Duration::from_secs(30)));
    }));
    std::thread::sleep(Duration::from_millis(300));
    let (code, took) = broker.stop("TERM");
    assert_eq!(code, Some(0), "{}", broker.log());
    assert!(took < STOP_TIME, "{took:?}");
    for thread in threads {
        thread.join().expect("every connection ends");
    }
}

#[test]
fn a_store_that_was_removed_is_not_made_again_without_a_word() {
    let said = "the store is new and empty: there was none in this folder";
    let mut broker = Broker::start();
    let log = broker.log();
    let line = log.lines().find(|line| line.contains(said)).unwrap_or_default();
    let store = broker.data_dir().join("store");
    assert!(line.contains(" INFO ") && line.contains(&*store.to_string_lossy()), "{log}");
    let before = log.len();
    broker.restart_with(&[]);
    assert!(!broker.log()[before..].contains(said), "it is there: {}", broker.log());
    let before = broker.log().len();
    broker.kill();
    std::fs::remove_dir_all(&store).expect("ours");
    broker.restart_with(&[]);
    assert!(broker.log()[before..].contains(said), "{}", broker.log());
}

#[test]
fn a_relative_data_directory_is_told_by_its_whole_path() {
    let folder = Folder::new();
    let file = folder.write("hub.toml", "data_dir = \"here\"\n");
    let here = folder.path().join("here").to_string_lossy().into_owned();
    let mut check = crossdock(&["check-config", &file.to_string_lossy()]);
    let output = check.current_dir(folder.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.starts_with("note: ") && said.contains("hub.toml:1:"), "{said}");
    assert!(said.contains("data_dir: is relative") && said.contains(&here), "{said}");
    // One that is absolute needs no word.
    let set = format!("data_dir = \"{here}\"\n");
    let file = folder.write("absolute.toml", &set);
    let output = crossdock(&["check-config", &file.to_string_lossy()]).output().expect("it runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");

    let mut serve = crossdock(&["serve", "--data-dir", "here"]);
    for listener in LISTENERS {
        serve.args(["--set", &format!("listeners.{listener}.bind=127.0.0.1:0")]);
    }
    let child = serve.current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().expect("the binary is there");
    let mut ready = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut ready).expect("readable");
    child.kill().expect("ours");
    let output = child.wait_with_output().expect("it ends");
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = log.lines().find(|line| line.contains("data_dir is relative")).unwrap_or_default();
    assert!(line.contains(&here), "{log}");
}
