//! `crossdock ctl` and `crossdock status`, on a broker that runs.

use crate::broker::{Broker, Folder, LISTENERS, binary, crossdock};
use crate::wire::amqp::{Amqp, Out, Properties};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::{PATIENCE, Socket, eventually};
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `crossdock WORDS` on a data directory; `input` is its standard input.
fn run_on(data: &Path, words: &[&str], input: &str) -> Output {
    let mut command = crossdock(words);
    command.args(["--data-dir", &data.to_string_lossy()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary is there");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that refuses before it reads has closed it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn ctl(broker: &Broker, words: &[&str]) -> Output {
    run_on(&broker.data_dir(), &[&["ctl"], words].concat(), "")
}

/// What it prints, if it succeeds.
#[track_caller]
fn said(broker: &Broker, words: &[&str]) -> String {
    let output = ctl(broker, words);
    let error = text(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}{}", text(&output.stdout));
    text(&output.stdout)
}

/// Why it fails with that exit code.
#[track_caller]
fn refusal(broker: &Broker, words: &[&str], code: i32) -> String {
    let output = ctl(broker, words);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{words:?}: {out}{error}");
    format!("{out}{error}")
}

fn socket(broker: &Broker) -> std::path::PathBuf {
    broker.data_dir().join("ctl.sock")
}

#[test]
fn what_there_is_is_listed_and_shown() {
    let broker = Broker::start();
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.queue("orders", true);
    amqp.queue("a/b % c", true);
    amqp.confirm_select();
    for n in 0..3u8 {
        amqp.publish("", "orders", &Properties::persistent(), &[n]);
    }
    amqp.wait_confirms();
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("device-1"));
    mqtt.subscribe("plant/#", 1);

    let queues = said(&broker, &["list", "queues"]);
    let line = |name: &str| queues.lines().find(|line| line.contains(name)).unwrap_or_default();
    let orders: Vec<&str> = line("orders").split_whitespace().collect();
    assert_eq!(orders[..5], ["/", "orders", "3", "3", "0"], "{queues}");
    assert!(queues.contains("\"a/b % c\""), "{queues}");
    let shown = said(&broker, &["show", "queue", "a/b % c", "--json"]);
    assert!(shown.contains("\"name\":\"a/b % c\""), "{shown}");
    for (kind, word) in [
        ("exchanges", "amq.topic"),
        ("bindings", "plant/#"),
        ("connections", "device-1"),
        ("channels", "prefetch"),
        ("consumers", "queue"),
        ("sessions", "mqtt/device-1"),
        ("vhosts", "vhost"),
        ("listeners", "127.0.0.1:"),
    ] {
        let list = said(&broker, &["list", kind]);
        assert!(list.contains(word), "{kind}: {list}");
    }
    for kind in ["users", "routes"] {
        assert_eq!(said(&broker, &["list", kind]), "", "there are none");
    }
    let by_json = said(&broker, &["list", "connections", "--json"]);
    assert_eq!(by_json.lines().count(), 2, "an object for each: {by_json}");
    assert!(refusal(&broker, &["show", "queue", "none"], 1).contains("none"));
    assert!(refusal(&broker, &["list", "queues", "--vhost", "none"], 1).contains("'none'"));
    assert!(refusal(&broker, &["list", "things"], 2).contains("possible values"));
    assert_eq!(said(&broker, &["health"]), "ok\n");
    assert_eq!(said(&broker, &["alarms"]), "no alarms\n");
    assert!(said(&broker, &["audit"]).contains("every address balances"));
}

#[test]
fn a_status_is_one_screen_and_an_exit_code() {
    let mut broker = Broker::start();
    let status = |broker: &Broker, words: &[&str]| {
        let output = run_on(&broker.data_dir(), &[&["status"], words].concat(), "");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, screen, _) = status(&broker, &["--seconds", "0"]);
    assert_eq!(code, Some(0), "{screen}");
    assert_eq!(screen.lines().nth(1), Some("all is well"), "{screen}");
    let (_, json, _) = status(&broker, &["--json"]);
    assert!(json.starts_with("{\"well\":true,"), "{json}");
    broker.restart_with(&["--set", "store.disk_free_alarm=100TiB"]);
    eventually("the disk is looked at", || {
        let (code, screen, _) = status(&broker, &["--seconds", "0"]);
        (code == Some(1)).then_some(screen).filter(|screen| screen.contains("NOT WELL"))
    });
    assert!(refusal(&broker, &["health"], 1).contains("store.disk_free_alarm"));
    assert!(refusal(&broker, &["alarms"], 1).contains("store.disk_free_alarm"));
    // Operators look and mend under alarms; what would fill the disk further is refused.
    said(&broker, &["declare", "queue", "q"]);
    assert!(refusal(&broker, &["publish", "queue:q", "x"], 1).contains("held back"));
    broker.kill();
    let (code, _, why) = status(&broker, &[]);
    assert_eq!(code, Some(69), "{why}");
    assert!(why.contains("no broker is running there"), "{why}");
}

#[test]
fn objects_are_made_used_and_deleted() {
    let broker = Broker::start();
    let name = "a/b % \u{e4}";
    let made = ["declare", "queue", name, "--argument", "x-max-length=9"];
    assert_eq!(said(&broker, &made), "made\n");
    assert!(said(&broker, &made).contains("already"));
    assert!(refusal(&broker, &made[..3], 1).contains("inequivalent arg"));
    said(&broker, &["declare", "exchange", "x", "--type", "direct"]);
    let bind = ["bind", "x", &format!("queue:{name}"), "--key", "k"];
    assert_eq!(said(&broker, &bind), "bound\n");
    assert!(
        said(&broker, &["publish", "exchange:x/k", "hello", "--header", "n=1"]).contains("stored")
    );
    let from_input = run_on(&broker.data_dir(), &["ctl", "publish", "exchange:x/k"], "\u{e4}");
    assert!(from_input.status.success(), "{}", text(&from_input.stderr));
    let mut amqp = Amqp::connect(broker.amqp);
    let got = amqp.get(name).expect("a message");
    assert_eq!(got.body, b"hello");
    assert!(
        refusal(&broker, &["publish", "queue:none", "x"], 1).contains("nobody has the message")
    );
    assert!(refusal(&broker, &["publish", "nowhere", "x"], 1).contains("queue:NAME"));
    assert!(refusal(&broker, &["bind", "x", "nowhere"], 2).contains("queue:NAME"));
    assert_eq!(said(&broker, &["purge", name]), "1 messages dropped\n");
    let unbind = [&["unbind"], &bind[1..]].concat();
    assert_eq!(said(&broker, &unbind), "unbound\n");
    assert!(refusal(&broker, &unbind, 1).contains("no such binding"));
    assert_eq!(said(&broker, &["delete", "exchange", "x"]), "deleted\n");
    assert!(said(&broker, &["delete", "queue", name]).contains("0 messages"));
    assert!(refusal(&broker, &["delete", "queue", name], 1).contains("no queue"));
    let log = broker.log();
    for act in ["queue declared", "binding made", "message published", "queue deleted"] {
        let line = log.lines().find(|line| line.contains(act)).unwrap_or_default();
        assert!(line.contains("INFO") && line.contains("uid:"), "{act}: {line}\n{log}");
    }
}

#[test]
fn a_connection_is_closed_in_its_protocols_words() {
    let broker = Broker::start();
    let mut amqp = Amqp::connect(broker.amqp);
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("device-1"));
    let list = said(&broker, &["list", "connections", "--json"]);
    let number = |protocol: &str| {
        let line = list.lines().find(|line| line.contains(&format!("\"{protocol}\"")));
        let number = line.and_then(|line| line.strip_prefix("{\"number\":")?.split_once(','));
        number.expect("it is listed").0.to_owned()
    };
    said(&broker, &["close", "connection", &number("amqp"), "--reason", "moved elsewhere"]);
    let closed = amqp.ends();
    assert!(closed.contains("320") && closed.contains("moved elsewhere"), "{closed}");
    said(&broker, &["close", "connection", &number("mqtt"), "--reason", "moved elsewhere"]);
    let closed = mqtt.ends();
    assert!(closed.contains("0x98") && closed.contains("moved elsewhere"), "{closed}");
    eventually("both are gone", || {
        said(&broker, &["list", "connections"]).is_empty().then_some(())
    });
    assert!(refusal(&broker, &["close", "connection", "1"], 1).contains("no connection 1"));
}

#[test]
fn a_session_is_ended_and_its_queue_not_deleted_under_it() {
    let broker = Broker::start();
    let mut away = Mqtt::connect(broker.mqtt, &Connect::persistent("away"));
    away.subscribe("t/1", 1);
    away.disconnect();
    let mut here = Mqtt::connect(broker.mqtt, &Connect::v5("here"));
    here.subscribe("t/2", 1);
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    amqp.publish("amq.topic", "t.1", &Properties::persistent(), b"kept");
    amqp.wait_confirms();
    for (client, queue) in [("away", "mqtt/away"), ("here", "mqtt/here")] {
        let why = refusal(&broker, &["delete", "queue", queue], 1);
        let cure = format!("crossdock ctl delete session mqtt/{client}");
        assert!(why.contains(&cure), "{why}");
        let delete = Out::method(50, 40).u16(0).short(queue).u8(0);
        let why = amqp.ask(delete, (50, 41)).expect_err("a session has it");
        assert!(why.starts_with("403 ACCESS_REFUSED") && why.contains(&cure), "{why}");
    }
    let ended = said(&broker, &["delete", "session", "mqtt/here"]);
    assert_eq!(ended, "ended, and 0 messages with it; its client is told to end\n");
    let closed = here.ends();
    assert!(
        closed.contains("0x98") && closed.contains("an operator ended the session"),
        "{closed}"
    );
    let ended = said(&broker, &["delete", "session", "mqtt/away"]);
    assert_eq!(ended, "ended, and 1 messages with it\n");
    assert!(refusal(&broker, &["delete", "session", "mqtt/away"], 1).contains("no session"));
    assert_eq!(said(&broker, &["list", "sessions"]), "");
    let back = Mqtt::connect(broker.mqtt, &Connect::persistent("away"));
    assert!(!back.session_present, "it begins again");
    assert!(
        broker.log().lines().any(|line| {
            line.contains("an administrative act") && line.contains("session ended")
        })
    );
}

#[test]
fn operators_take_nobodys_place() {
    let broker = Broker::with(&[
        "--set",
        "limits.connections_per_user=1",
        "--set",
        "limits.connections_per_vhost=1",
    ]);
    let _only = Amqp::connect(broker.amqp);
    assert!(Amqp::log_in(Socket::connect(broker.amqp), ("guest", "guest")).is_err());
    said(&broker, &["declare", "queue", "q"]);
    said(&broker, &["publish", "queue:q", "x"]);
    assert_eq!(said(&broker, &["list", "connections", "--json"]).lines().count(), 1);
}

#[test]
fn users_are_changed_while_the_broker_runs() {
    let broker = Broker::start();
    let with = |words: &[&str], password: &str| {
        let output = run_on(&broker.data_dir(), &[&["ctl", "user"], words].concat(), password);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let enters =
        |password: &str| Amqp::log_in(Socket::connect(broker.amqp), ("ann", password)).is_ok();
    assert!(with(&["add", "ann", "--tag", "monitoring"], "first\n").contains("ann is made"));
    with(&["rights", "ann", "--write", "queue:ann-*"], "");
    let list = with(&["list"], "");
    assert!(list.contains("ann") && list.contains("monitoring"), "{list}");
    assert!(!list.contains("argon2"), "{list}");
    assert!(enters("first"));
    with(&["set-password", "ann", "--keep-previous"], "second\n");
    assert!(enters("first") && enters("second"));
    with(&["forget-previous", "ann"], "");
    assert!(!enters("first") && enters("second"));
    assert!(
        refusal(&broker, &["user", "rights", "ann", "--write", "nowhere"], 1).contains("nowhere")
    );
    assert!(refusal(&broker, &["user", "delete", "bob"], 1).contains("'bob'"));
    with(&["rights", "ann", "--none"], "");
    assert!(!enters("second"));
    with(&["delete", "ann"], "");
    assert_eq!(with(&["list"], ""), "");
    assert!(!broker.log().contains("second"), "no password is logged");
}

#[test]
fn the_program_is_told_what_signals_tell_it() {
    let folder = Folder::new();
    let file = folder.write("crossdock.toml", "[[queue]]\nname = \"one\"\n");
    let backups = folder.path().join("backups");
    let mut broker = Broker::on(folder, &["--config", &file.to_string_lossy()]);
    fs::write(&file, "[[queue]]\nname = \"one\"\n[[queue]]\nname = \"two\"\n").expect("written");
    assert!(said(&broker, &["reload"]).contains("read again"));
    assert!(said(&broker, &["list", "queues"]).contains("two"));
    fs::write(&file, "[[queue]]\nnmae = \"one\"\n").expect("written");
    assert!(refusal(&broker, &["reload"], 1).contains("nmae"));
    said(&broker, &["log-level", "debug"]);
    drop(Amqp::connect(broker.amqp));
    eventually("connections are in the log now", || broker.log().contains("DEBUG").then_some(()));
    assert!(refusal(&broker, &["log-level", "loud"], 1).contains("none of"));
    let made = said(&broker, &["backup", &backups.to_string_lossy()]);
    assert!(made.contains("copied"), "{made}");
    assert!(fs::read_dir(&backups).expect("it is there").count() > 0);
    assert!(refusal(&broker, &["route", "drain", "none"], 1).contains("none"));
    assert_eq!(said(&broker, &["route", "status"]), "");

    let mut amqp = Amqp::connect(broker.amqp);
    said(&broker, &["drain"]);
    assert!(amqp.ends().contains("320"));
    assert!(refusal(&broker, &["health"], 1).contains("drained"));
    eventually("no connections are taken", || {
        std::net::TcpStream::connect(broker.amqp).is_err().then_some(())
    });
    assert!(
        said(&broker, &["list", "queues"]).contains("two"),
        "the broker goes on without clients"
    );
    said(&broker, &["shutdown"]);
    eventually("the socket is removed", || (!socket(&broker).exists()).then_some(()));
    assert_eq!(refusal(&broker, &["health"], 69).lines().count(), 1);
    broker.kill();
}

#[test]
fn the_socket_is_its_owners_and_goes_with_the_broker() {
    let mut broker = Broker::start();
    let path = socket(&broker);
    let mode = fs::symlink_metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // A killed broker leaves it; the next one takes its place.
    broker.kill();
    assert!(path.exists());
    assert!(refusal(&broker, &["health"], 69).contains("no broker is running there"));
    broker.start_again();
    assert_eq!(said(&broker, &["health"]), "ok\n");
    broker.stop("TERM");
    assert!(!path.exists(), "a clean stop removes it");
}

#[test]
fn others_are_refused_even_where_they_can_reach_the_socket() {
    let broker = Broker::start();
    let path = socket(&broker);
    let is_root = fs::metadata("/proc/self").expect("there is /proc").uid() == 0;
    if !is_root {
        eprintln!("left out: only root can become somebody else");
        return;
    }
    // A copy that nobody can run, wherever the binary is.
    let folder = Folder::new();
    let copy = folder.path().join("crossdock");
    fs::copy(binary(), &copy).expect("copied");
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
        command.args(["ctl", "health", "--socket"]).arg(&path).env("CROSSDOCK_CONFIG", "");
        let output = command.output().expect("there is setpriv");
        (output.status.code(), text(&output.stderr))
    };
    let data = broker.data_dir();
    for open in [folder.path(), &data, data.parent().expect("a folder"), &copy] {
        fs::set_permissions(open, Permissions::from_mode(0o755)).expect("it is ours");
    }
    let (code, why) = as_nobody();
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("Permission denied") && why.contains("for root"), "{why}");
    fs::set_permissions(&path, Permissions::from_mode(0o666)).expect("it is ours");
    let (code, why) = as_nobody();
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("for the user that the broker runs as, and for root"), "{why}");
    assert_eq!(said(&broker, &["health"]), "ok\n");
}

#[test]
fn what_stands_in_the_sockets_place_is_not_touched() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    fs::create_dir_all(&data).expect("made");
    let path = data.join("ctl.sock");
    fs::write(&path, "precious").expect("written");
    let start = || {
        let output = run_on(&data, &["serve", "--set", "listeners.amqp.bind=127.0.0.1:0"], "");
        (output.status.code(), text(&output.stderr))
    };
    let (code, why) = start();
    assert_eq!(code, Some(2), "{why}");
    assert!(why.contains("ctl.sock") && why.contains("no socket"), "{why}");
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "precious");
    fs::remove_file(&path).expect("removed");
    let _other = UnixListener::bind(&path).expect("bound");
    let (code, why) = start();
    assert_eq!(code, Some(2), "{why}");
    assert!(why.contains("another process answers"), "{why}");
}

#[test]
fn a_data_directory_may_be_as_deep_as_it_likes() {
    let folder = Folder::new();
    let deep = folder.path().join("d".repeat(80)).join("e".repeat(80));
    let folders = deep.to_string_lossy().into_owned();
    let mut command = crossdock(&["serve", "--data-dir", &folders]);
    for listener in LISTENERS {
        command.args(["--set", &format!("listeners.{listener}.bind=off")]);
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
    let output = eventually("it listens", || {
        let output = run_on(&deep, &["ctl", "health"], "");
        (output.status.code() != Some(69)).then_some(output)
    });
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(run_on(&deep, &["ctl", "shutdown"], "").status.code(), Some(0));
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn what_is_no_request_harms_nobody() {
    let broker = Broker::start();
    for bytes in [
        &b"GET / HTTP/1.1\r\nbroken\r\n\r\n"[..],
        b"\x16\x03\x01\x02\0",
        b"POST /control/purge HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
    ] {
        let mut stream = UnixStream::connect(socket(&broker)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = text(&answer);
        assert!(answer.is_empty() || answer.contains(" 4"), "{answer}");
    }
    // Idle ones hold up nobody.
    let idle: Vec<UnixStream> =
        (0..20).map(|_| UnixStream::connect(socket(&broker)).expect("it listens")).collect();
    assert_eq!(said(&broker, &["health"]), "ok\n");
    drop(idle);
}

#[test]
fn names_are_refused_as_amqp_refuses_them() {
    let broker = Broker::start();
    let (longest, long) = ("n".repeat(255), "n".repeat(256));
    for kind in ["queue", "exchange"] {
        for (name, why) in [
            (&*long, "has 256 bytes: 255 are the most"),
            ("", "is empty"),
            ("amq.mine", "reserved prefix 'amq.*'"),
        ] {
            let said = refusal(&broker, &["declare", kind, name], 1);
            assert!(said.contains(why), "{kind}: {said}");
        }
        assert_eq!(said(&broker, &["declare", kind, &longest]), "made\n");
    }
    for (name, why) in
        [("mqtt/device", "comes with the session"), ("route/r", "is the broker's own")]
    {
        assert!(refusal(&broker, &["declare", "queue", name], 1).contains(why), "{name}");
    }
    // AMQP says the same, and none of the names is there.
    for name in ["amq.mine", "mqtt/device", "route/r"] {
        let mut amqp = Amqp::connect(broker.amqp);
        let declare = Out::method(50, 10).u16(0).short(name).u8(2).table(&[]);
        let why = amqp.ask(declare, (50, 11)).expect_err("it is refused");
        assert!(why.contains("403") && why.contains(name), "{why}");
    }
    let queues = said(&broker, &["list", "queues"]);
    assert_eq!(queues.lines().count(), 2, "the titles and the longest one: {queues}");
    // What is there already may be declared once more by the clients that use it.
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("device"));
    mqtt.subscribe("plant/#", 1);
    assert!(said(&broker, &["list", "queues"]).contains("mqtt/device"));
    assert!(
        refusal(
            &broker,
            &["declare", "queue", "mqtt/device", "--transient", "--argument", "x-max-length=1"],
            1
        )
        .contains("inequivalent")
    );
    for words in [
        &["bind", &long, "queue:q"][..],
        &["bind", "amq.topic", &format!("queue:{long}")],
        &["move", &longest, &long, "--yes"],
        &["purge", &long],
        &["move", &longest, "route/r", "--yes"],
        &["peek", "route/r"],
    ] {
        assert!(refusal(&broker, words, 1).len() > 10, "{words:?}");
    }
    assert!(
        refusal(&broker, &["bind", "", &format!("queue:{longest}")], 1)
            .contains("default exchange")
    );
    let why = refusal(&broker, &["publish", &format!("queue:{long}"), "x"], 1);
    assert!(why.contains("nobody has the message"), "{why}");
}

/// Runs `crossdock WORDS` on a socket; the exit code, what it says, and how long that takes.
fn timed(socket: &Path, words: &[&str]) -> (Option<i32>, String, Duration) {
    let began = Instant::now();
    let mut command = crossdock(words);
    let output = command.arg("--socket").arg(socket).output().expect("the binary is there");
    (output.status.code(), text(&output.stderr), began.elapsed())
}

#[test]
fn a_broker_that_does_not_answer_is_not_waited_for_without_end() {
    let folder = Folder::new();
    let path = folder.path().join("mute.sock");
    // It accepts, and sends a byte now and then: never an answer.
    let mute = UnixListener::bind(&path).expect("bound");
    std::thread::spawn(move || {
        for stream in mute.incoming() {
            let mut stream = stream.expect("a client");
            std::thread::spawn(move || {
                while stream.write_all(b"H").is_ok() {
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        }
    });
    for (words, is_act) in [
        (&["status", "--seconds", "0"][..], false),
        (&["ctl", "list", "queues"], false),
        (&["ctl", "purge", "q"], true),
        (&["ctl", "move", "a", "b", "--yes"], true),
        (&["ctl", "backup", "/nowhere"], true),
    ] {
        let (code, why, took) = timed(&path, &[words, &["--timeout", "1"]].concat());
        assert_eq!(code, Some(69), "{words:?}: {why}");
        assert!(why.contains("did not answer within 1 s"), "{words:?}: {why}");
        assert_eq!(why.contains("whether it did"), is_act, "{words:?}: {why}");
        assert!(took < Duration::from_secs(8), "{words:?} took {took:?}");
    }
}

#[test]
fn a_broker_that_stands_still_is_given_up_and_slow_work_is_not() {
    let broker = Broker::start();
    said(&broker, &["declare", "queue", "a"]);
    said(&broker, &["declare", "queue", "b"]);
    for body in ["1", "2", "3", "4"] {
        said(&broker, &["publish", "queue:a", body]);
    }
    // It takes longer than a second, and the broker answers others meanwhile.
    let moved = said(&broker, &["move", "a", "b", "--yes", "--per-second", "1", "--timeout", "1"]);
    assert!(moved.contains("4 went to queue:b"), "{moved}");
    broker.signal("STOP");
    let (code, why, _) =
        timed(&socket(&broker), &["ctl", "move", "b", "a", "--yes", "--timeout", "1"]);
    broker.signal("CONT");
    assert_eq!(code, Some(69), "{why}");
    assert!(why.contains("did not answer within 1 s"), "{why}");
}

#[test]
fn dead_letters_are_looked_at_and_sent_back() {
    let broker = Broker::start();
    said(&broker, &["declare", "queue", "dead"]);
    let arguments =
        ["--argument", "x-dead-letter-exchange=", "--argument", "x-dead-letter-routing-key=dead"];
    said(&broker, &[&["declare", "queue", "work"], &arguments[..]].concat());
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    for body in [b"one", b"two"] {
        amqp.publish("", "work", &Properties::persistent(), body);
    }
    amqp.wait_confirms();
    amqp.consume("work", false);
    for _ in 0..2 {
        let delivery = amqp.receive();
        amqp.reject(&delivery, false);
    }
    eventually("both are dead", || {
        let page = said(&broker, &["peek", "dead"]);
        (page.lines().count() == 3).then_some(())
    });
    let page = said(&broker, &["peek", "dead", "--where", "body~two", "--json"]);
    assert!(
        page.contains("\"body\":\"two\"") && page.contains("\"reason\":\"rejected\""),
        "{page}"
    );
    assert!(refusal(&broker, &["move", "dead", "--to-origin"], 2).contains("--yes"));
    assert!(refusal(&broker, &["move", "dead"], 2).contains("DESTINATION"));
    let dry = said(&broker, &["move", "dead", "--to-origin", "--dry-run"]);
    let would = "nothing was moved: 2 messages are meant, 2 would move, 0 would stay\n";
    assert!(dry.starts_with(would) && dry.contains("  2 would go to queue:work\n"), "{dry}");
    let moved = said(&broker, &["move", "dead", "--to-origin", "--where", "body~one"]);
    assert!(moved.starts_with("1 messages are meant: 1 were moved, 0 stay\n"), "{moved}");
    assert!(moved.contains("  1 went to queue:work\n"), "{moved}");
    assert_eq!(amqp.receive().body, b"one");
    assert_eq!(said(&broker, &["peek", "dead"]).lines().count(), 2);
    assert!(refusal(&broker, &["move", "dead", "none", "--yes"], 1).contains("none"));
    assert!(said(&broker, &["audit"]).contains("every address balances"));
}

#[test]
fn one_message_or_those_that_are_meant_are_dropped() {
    let broker = Broker::start();
    said(&broker, &["declare", "queue", "q"]);
    for body in ["one", "two", "three", "four"] {
        said(&broker, &["publish", "queue:q", body]);
    }
    assert!(refusal(&broker, &["drop", "q"], 2).contains("--yes"));
    let dry = said(&broker, &["drop", "q", "--dry-run"]);
    assert_eq!(dry, "nothing was dropped: 4 of 4 that are meant would be\n");
    let one = said(&broker, &["drop", "q", "--offset", "1"]);
    assert_eq!(one, "1 messages are meant: 1 were dropped, 0 stay\n");
    let why = refusal(&broker, &["drop", "q", "--offset", "1"], 1);
    assert!(why.contains("no ready message of offset 1 "), "{why}");
    said(&broker, &["drop", "q", "--where", "body~thr"]);
    let left = said(&broker, &["peek", "q"]);
    let is_there = |body: &str| left.lines().any(|line| line.ends_with(body));
    assert!(
        is_there("one") && is_there("four") && !is_there("two") && !is_there("three"),
        "{left}"
    );
    said(&broker, &["drop", "q", "--limit", "1"]);
    assert!(said(&broker, &["drop", "q", "--yes"]).contains("1 were dropped"));
    let shown = said(&broker, &["show", "queue", "q"]);
    assert!(shown.contains("dropped_by_operator"), "{shown}");
    assert!(said(&broker, &["audit"]).contains("every address balances"));
    let status = said(&broker, &["status", "--seconds", "0"]);
    assert!(status.contains("\nlost          none\n"), "{status}");
}

#[test]
fn a_move_is_seen_and_stopped_while_it_runs() {
    let broker = Broker::start();
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.queue("from", true);
    amqp.queue("to", true);
    amqp.confirm_select();
    for number in 0..100 {
        let body = number.to_string();
        amqp.publish("", "from", &Properties::persistent(), body.as_bytes());
    }
    amqp.wait_confirms();
    let part = said(&broker, &["move", "from", "to", "--limit", "10"]);
    let next = part.lines().last().and_then(|line| line.strip_prefix("there may be more: "));
    let next = next.unwrap_or_else(|| panic!("{part}")).split(' ').collect::<Vec<&str>>();
    let data = broker.data_dir();
    let on: Vec<String> = ["ctl", "move", "from", "to", "--yes", "--per-second", "20"]
        .iter()
        .chain(&next)
        .map(|word| (*word).to_owned())
        .collect();
    let mover = std::thread::spawn(move || {
        let words: Vec<&str> = on.iter().map(String::as_str).collect();
        run_on(&data, &words, "")
    });
    let list = eventually("some are moved", || {
        let list = said(&broker, &["list", "moves", "--json"]);
        (!list.is_empty() && !list.contains("\"moved\":0,")).then_some(list)
    });
    assert!(list.contains("\"from\":\"from\"") && list.contains("\"to\":\"to\""), "{list}");
    let id = list.strip_prefix("{\"id\":").and_then(|rest| rest.split(',').next());
    let id = id.unwrap_or_else(|| panic!("{list}"));
    let screen = said(&broker, &["status", "--seconds", "0"]);
    assert!(screen.contains(&format!("1 run; {id}: from to to, ")), "{screen}");
    let stopped = said(&broker, &["stop", "move", id]);
    assert!(stopped.starts_with("stopped: "), "{stopped}");
    let output = mover.join().expect("no panic");
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("stopped before its end: an operator stopped it\n"), "{report}");
    assert!(report.contains("there may be more: --from "), "{report}");
    assert!(refusal(&broker, &["stop", "move", id], 1).contains("no move"));
    assert_eq!(said(&broker, &["list", "moves"]), "");
    let mut there: Vec<u32> = Vec::new();
    for queue in ["to", "from"] {
        while let Some(message) = amqp.get(queue) {
            let body = String::from_utf8(message.body.to_vec()).expect("text");
            there.push(body.parse().expect("a number"));
        }
    }
    assert_eq!(there, (0..100).collect::<Vec<u32>>(), "each once, and in its order");
    assert!(said(&broker, &["audit"]).contains("every address balances"));
}

#[test]
fn nothing_is_moved_into_somebody_elses_exclusive_queue() {
    let broker = Broker::start();
    let mut amqp = Amqp::connect(broker.amqp);
    let exclusive = Out::method(50, 10).u16(0).short("theirs").u8(4).table(&[]);
    amqp.ask(exclusive, (50, 11)).expect("declared");
    said(&broker, &["declare", "queue", "from"]);
    said(&broker, &["publish", "queue:from", "x"]);
    for more in [&["--yes"][..], &["--dry-run"]] {
        let why = refusal(&broker, &[&["move", "from", "theirs"], more].concat(), 1);
        assert!(why.contains("exclusive") && why.contains("theirs"), "{why}");
    }
    assert_eq!(said(&broker, &["peek", "from"]).lines().count(), 2);
}

/// Messages that are dead at first.
const DEAD: usize = 2_000;

#[test]
fn dead_letters_are_sent_back_once_whenever_the_broker_is_killed() {
    let mut broker = Broker::start();
    said(&broker, &["declare", "queue", "dead"]);
    let to_dead =
        ["--argument", "x-dead-letter-exchange=", "--argument", "x-dead-letter-routing-key=dead"];
    said(&broker, &[&["declare", "queue", "work"], &to_dead[..]].concat());
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    for number in 0..DEAD {
        let body = format!("dead {number}");
        amqp.publish("", "work", &Properties::persistent(), body.as_bytes());
    }
    amqp.wait_confirms();
    amqp.consume("work", false);
    for _ in 0..DEAD {
        let delivery = amqp.receive();
        amqp.reject(&delivery, false);
    }
    eventually("all are dead", || (amqp.ready("dead") == DEAD as u32).then_some(()));
    // A reject has no answer; what is confirmed behind it says that it is stored, so that no kill takes it back.
    said(&broker, &["declare", "queue", "behind"]);
    amqp.publish("", "behind", &Properties::persistent(), b"x");
    amqp.wait_confirms();
    drop(amqp);
    let mut sent = Vec::new();
    for round in 0..8 {
        let data = broker.data_dir();
        let mover = std::thread::spawn(move || {
            run_on(&data, &["ctl", "move", "dead", "--to-origin", "--yes"], "")
        });
        // Others publish to the same queue meanwhile.
        let mut other = Amqp::connect(broker.amqp);
        other.confirm_select();
        for number in 0..20 * round {
            let body = format!("live {round} {number}");
            other.publish("", "work", &Properties::persistent(), body.as_bytes());
            other.wait_confirms();
            sent.push(body);
        }
        broker.crash();
        let _ = mover.join().expect("no panic");
        assert!(said(&broker, &["audit"]).contains("every address balances"));
    }
    let rest = ctl(&broker, &["move", "dead", "--to-origin", "--yes"]);
    assert!(rest.status.success(), "{}", text(&rest.stderr));
    sent.extend((0..DEAD).map(|number| format!("dead {number}")));
    let mut amqp = Amqp::connect(broker.amqp);
    assert_eq!(amqp.ready("dead"), 0);
    let mut found = Vec::new();
    while let Some(message) = amqp.get("work") {
        found.push(String::from_utf8(message.body.to_vec()).expect("text"));
    }
    let moved: Vec<&String> = found.iter().filter(|body| body.starts_with("dead ")).collect();
    let number = |body: &&String| body[5..].parse::<usize>().expect("a number");
    let order: Vec<usize> = moved.iter().map(number).collect();
    let broken = order.windows(2).position(|pair| pair[1] != pair[0] + 1);
    assert_eq!(broken, None, "in their order: {order:?}");
    sent.sort_unstable();
    found.sort_unstable();
    assert_eq!(found, sent, "each once");
}
