//! `crossdock user` and `crossdock session`: users, rights and owners of sessions in a stopped store.

use crate::broker::{Broker, Folder, crossdock};
use crate::wire::Socket;
use crate::wire::amqp::{Amqp, Properties};
use crate::wire::mqtt::{Connect, Mqtt};
use std::io::Write;
use std::process::{Output, Stdio};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command on the broker's store; `input` is its standard input.
fn run(broker: &Broker, words: &[&str], input: &str) -> Output {
    let mut command = crossdock(words);
    command.args(["--data-dir", &broker.data_dir().to_string_lossy()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary is there");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that refuses before it reads has closed it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

/// What it prints, if it succeeds.
#[track_caller]
fn said(broker: &Broker, words: &[&str], input: &str) -> String {
    let output = run(broker, words, input);
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Why it fails.
#[track_caller]
fn refusal(broker: &Broker, words: &[&str], input: &str) -> String {
    let output = run(broker, words, input);
    assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

fn enters(broker: &Broker, user: &str, password: &str) -> bool {
    Amqp::log_in(Socket::connect(broker.amqp), (user, password)).is_ok()
}

#[test]
fn a_user_is_made_changed_and_deleted_while_the_broker_is_stopped() {
    let mut broker = Broker::start();
    let running = refusal(&broker, &["user", "add", "ann"], "first\n");
    assert!(running.contains("a broker is running"), "{running}");
    broker.kill();
    said(&broker, &["user", "add", "ann", "--tag", "administrator"], "first\n");
    let rights = ["user", "rights", "ann", "--write", "queue:ann-*", "--configure", "queue:ann-*"];
    said(&broker, &rights, "");
    let list = said(&broker, &["user", "list"], "");
    assert_eq!(
        list,
        "ann (store): password, SCRAM-SHA-256, SCRAM-SHA-512\n  tags: administrator\n  in /: \
         configure queue:ann-* write queue:ann-*\n"
    );
    broker.crash();
    assert!(enters(&broker, "ann", "first") && !enters(&broker, "ann", "other"));
    let mut ann = Amqp::connect_as(broker.amqp, "ann", "first");
    ann.queue("ann-q", true);
    ann.confirm_select();
    ann.publish("", "ann-q", &Properties::persistent(), b"hers");
    ann.wait_confirms();
    ann.publish("", "other", &Properties::persistent(), b"");
    assert!(ann.confirmed().is_err());

    broker.kill();
    said(&broker, &["user", "set-password", "ann", "--keep-previous"], "second\n");
    let list = said(&broker, &["user", "list"], "");
    assert!(list.contains("password, previous password, SCRAM-SHA-256"), "{list}");
    broker.crash();
    assert!(enters(&broker, "ann", "first") && enters(&broker, "ann", "second"));
    broker.kill();
    said(&broker, &["user", "forget-previous", "ann"], "");
    let none = refusal(&broker, &["user", "forget-previous", "ann"], "");
    assert!(none.contains("has no previous password"), "{none}");
    broker.crash();
    assert!(!enters(&broker, "ann", "first") && enters(&broker, "ann", "second"));
    broker.kill();
    said(&broker, &["user", "delete", "ann"], "");
    broker.crash();
    assert!(!enters(&broker, "ann", "second"));
    // What she sent is still there: nothing but users was changed.
    let mut guest = Amqp::connect(broker.amqp);
    assert_eq!(guest.get("ann-q").expect("the message").body, b"hers");
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let mut broker = Broker::start();
    broker.kill();
    said(&broker, &["user", "add", "ann"], "first\n");
    let before = said(&broker, &["user", "list"], "");
    let file = broker.write("hub.toml", "[[user]]\nname = \"bob\"\n");
    let config = file.to_string_lossy().into_owned();
    for (words, input, why) in [
        (&["user", "add", "ann"][..], "x\n", "there is a user 'ann' already"),
        (&["user", "add", "guest"], "x\n", "guest is the broker's own"),
        (&["user", "add", "carl"], "\n", "empty"),
        (&["user", "add", ""], "x\n", "the name of the user is empty"),
        (&["user", "delete", "carl"], "", "there is no user 'carl'"),
        (&["user", "rights", "carl", "--read", "*"], "", "there is no user 'carl'"),
        (&["user", "rights", "ann", "--read", "orders"], "", "--read: 'orders': "),
        (&["user", "rights", "ann", "--read", "queue:route/x"], "", "can never match"),
        (&["user", "set-password", "bob", "--config", &config], "x\n", "is of the configuration"),
        (&["user", "delete", "bob", "--config", &config], "", "is of the configuration"),
        (&["user", "rights", "bob", "--none", "--config", &config], "", "is of the configuration"),
        (&["user", "rights", "ann"], "", "--none"),
        (&["user", "add", "bob", "--config", &config], "x\n", "there is a user 'bob' already"),
        (&["session", "chown", "mqtt/x", "ann"], "", "there is no session 'mqtt/x'"),
        (&["session", "chown", "--from", "guest", "carl"], "", "there is no user 'carl'"),
        (&["session", "chown", "mqtt/x"], "", "it takes SESSION USER"),
        (&["user", "import"], "", "say what to import"),
    ] {
        let said = refusal(&broker, words, input);
        assert!(said.contains(why), "{words:?}: {said}");
    }
    let nowhere = Folder::new();
    let mut command = crossdock(&["user", "list", "--data-dir"]);
    let output = command.arg(nowhere.path().join("none")).output().expect("the binary is there");
    assert!(text(&output.stderr).contains("there is no store"), "{}", text(&output.stderr));
    assert_eq!(said(&broker, &["user", "list"], ""), before);
}

/// No password is an argument, and none stands in a file or in what is printed.
#[test]
fn a_password_is_kept_nowhere() {
    let mut broker = Broker::start();
    broker.kill();
    let output = run(&broker, &["user", "add", "ann"], "a-secret-password\n");
    assert!(output.status.success());
    let printed =
        text(&output.stdout) + &text(&output.stderr) + &said(&broker, &["user", "list"], "");
    assert!(!printed.contains("a-secret-password") && !printed.contains("$argon2id"), "{printed}");
    for entry in std::fs::read_dir(broker.data_dir().join("store")).expect("readable") {
        let bytes = std::fs::read(entry.expect("readable").path()).unwrap_or_default();
        assert!(!bytes.windows(17).any(|window| window == b"a-secret-password"));
    }
}

#[test]
fn sessions_of_guest_are_given_to_a_user() {
    let mut broker = Broker::start();
    for client in ["one", "two"] {
        let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::persistent(client));
        mqtt.subscribe("a/b", 1);
        mqtt.disconnect();
    }
    let mut guest = Amqp::connect(broker.amqp);
    guest.confirm_select();
    guest.publish("amq.topic", "a.b", &Properties::persistent(), b"waits");
    guest.wait_confirms();
    broker.kill();
    said(&broker, &["user", "add", "ann"], "first\n");
    said(&broker, &["user", "rights", "ann", "--read", "topic:a/#"], "");
    let list = said(&broker, &["session", "list"], "");
    assert_eq!(list, "/ mqtt/one guest\n/ mqtt/two guest\n");
    said(&broker, &["session", "chown", "mqtt/one", "ann"], "");
    let list = said(&broker, &["session", "list"], "");
    assert_eq!(list, "/ mqtt/one ann\n/ mqtt/two guest\n");
    said(&broker, &["session", "chown", "--from", "guest", "ann"], "");
    broker.crash();
    for client in ["one", "two"] {
        let options = Connect { login: Some(("ann", "first")), ..Connect::persistent(client) };
        let mut mqtt = Mqtt::connect(broker.mqtt, &options);
        assert!(mqtt.session_present);
        assert_eq!(mqtt.receive().body, b"waits");
    }
    assert!(Mqtt::log_in(Socket::connect(broker.mqtt), &Connect::persistent("one")).is_err());
}

/// A password_file of Mosquitto, with hashes to be put in.
const PASSWORDS: &str = "ann:ANN\nbob:BOB\n";

fn mosquitto_hash(password: &str, salt: &[u8]) -> String {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha512};
    let hash = Sha512::new().chain_update(password).chain_update(salt).finalize();
    format!("$6${}${}", BASE64_STANDARD.encode(salt), BASE64_STANDARD.encode(hash))
}

#[test]
fn users_of_mosquitto_come_with_their_passwords_and_rules() {
    let mut broker = Broker::start();
    broker.kill();
    let lines = PASSWORDS
        .replace("ANN", &mosquitto_hash("first", b"salt of ann"))
        .replace("BOB", &mosquitto_hash("second", b"salt of bob"));
    let passwords = broker.write("passwd", &lines);
    let rules = "topic read public/#\nuser ann\ntopic readwrite plant/#\n\
                 user bob\ntopic read plant/+/temp\ntopic deny secret/#\n\
                 pattern write up/%u/%c\n";
    let acl = broker.write("acl", rules);
    let (passwords, acl) = (passwords.to_string_lossy(), acl.to_string_lossy());
    let import = ["user", "import", "--mosquitto-passwords", &*passwords, "--mosquitto-acl", &*acl];
    let trial = said(&broker, &[&import[..], &["--dry-run"]].concat(), "");
    assert!(trial.contains("2 users would be imported"), "{trial}");
    assert_eq!(said(&broker, &["user", "list"], ""), "", "nothing was changed");
    let output = run(&broker, &import, "");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let notes = text(&output.stderr);
    assert!(notes.contains("line 1 (public/#): clients without a user"), "{notes}");
    assert!(notes.contains("line 6: `deny secret/#` for user 'bob'"), "{notes}");
    let list = said(&broker, &["user", "list"], "");
    assert_eq!(
        list,
        "ann (store): password\n  in /: write topic:plant/# topic:up/{username}/{client_id} read \
         topic:plant/#\nbob (store): password\n  in /: write topic:up/{username}/{client_id} read \
         topic:plant/+/temp\n"
    );
    broker.crash();
    let connect = |client, login| {
        let options = Connect { login: Some(login), ..Connect::v5(client) };
        Mqtt::log_in(Socket::connect(broker.mqtt), &options)
    };
    let mut ann = connect("dev", ("ann", "first")).expect("her password");
    ann.try_publish("plant/7/temp", b"21", false).expect("allowed");
    ann.try_publish("up/ann/dev", b"", false).expect("allowed");
    assert!(ann.try_publish("up/bob/dev", b"", false).is_err());
    let mut bob = connect("dev2", ("bob", "second")).expect("his password");
    bob.asks_for("plant/7/temp").expect("allowed");
    assert!(bob.asks_for("public/x").is_err());
    assert!(connect("dev3", ("bob", "first")).is_err());
}

/// Where there is no store, a trial of an import makes none.
#[test]
fn a_trial_of_an_import_leaves_nothing_behind() {
    let folder = Folder::new();
    let passwords = folder.write("passwd", &format!("ann:{}\n", mosquitto_hash("first", b"salt")));
    let (data, temporary) = (folder.path().join("data"), folder.path().join("tmp"));
    std::fs::create_dir(&temporary).expect("ours");
    let mut command = crossdock(&["user", "import", "--dry-run", "--mosquitto-passwords"]);
    command.arg(passwords).arg("--data-dir").arg(&data).env("TMPDIR", &temporary);
    let output = command.output().expect("the binary is there");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("1 users would be imported"));
    assert!(!data.exists(), "no data directory is made");
    assert_eq!(std::fs::read_dir(&temporary).expect("ours").count(), 0, "and nothing stays");
}

#[test]
fn an_import_with_a_mistake_changes_nothing() {
    let mut broker = Broker::start();
    broker.kill();
    let hash = mosquitto_hash("first", b"salt");
    let passwords = broker.write("passwd", &format!("ann:{hash}\n"));
    let rules = "user ann\ntopic read plant/#\ntopic deny plant/secret\nuser zoe\ntopic x\n\
                 user ann\ntopic read a/{x}\n";
    let acl = broker.write("acl", rules);
    let (passwords, acl) = (passwords.to_string_lossy(), acl.to_string_lossy());
    let import = ["user", "import", "--mosquitto-passwords", &*passwords, "--mosquitto-acl", &*acl];
    let said_of = refusal(&broker, &import, "");
    for wanted in [
        "line 3: `deny plant/secret` takes something away that line 2 allows user 'ann'",
        "line 5: there is no user 'zoe'",
        "line 7: 'a/{x}': a topic with braces",
    ] {
        assert!(said_of.contains(wanted), "{wanted}\n{said_of}");
    }
    let bad = broker.write("bad", "ann:plain-text\n");
    let bad = bad.to_string_lossy();
    let said_of = refusal(&broker, &["user", "import", "--mosquitto-passwords", &bad], "");
    assert!(said_of.contains("line 1: the password is not hashed"), "{said_of}");
    assert!(!said_of.contains("plain-text"), "{said_of}");
    let missing = refusal(&broker, &["user", "import", "--mosquitto-acl", "/nowhere/acl"], "");
    assert!(missing.contains("/nowhere/acl: cannot be read"), "{missing}");
    assert_eq!(said(&broker, &["user", "list"], ""), "");
}

#[test]
fn users_of_rabbitmq_come_with_their_hashes_and_expressions() {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};
    let mut broker = Broker::start();
    broker.kill();
    let salt = [1, 2, 3, 4];
    let hash = Sha256::new().chain_update(salt).chain_update("first").finalize();
    let hash = BASE64_STANDARD.encode([&salt[..], &hash[..]].concat());
    let file = format!(
        "{{\"rabbit_version\":\"3.13.0\",\"users\":[\
         {{\"name\":\"guest\",\"password_hash\":\"{hash}\",\"tags\":[\"administrator\"]}},\
         {{\"name\":\"ann\",\"password_hash\":\"{hash}\",\"hashing_algorithm\":\"rabbit_password_hashing_sha256\",\
         \"tags\":[\"monitoring\"],\"limits\":{{\"max-connections\":5}}}}],\
         \"permissions\":[{{\"user\":\"ann\",\"vhost\":\"/\",\"configure\":\"^ann-\",\"write\":\"^(ann-|amq\\\\.default)\",\
         \"read\":\"^ann-\"}},{{\"user\":\"guest\",\"vhost\":\"/\",\"configure\":\".*\",\"write\":\".*\",\
         \"read\":\".*\"}}],\"topic_permissions\":[]}}"
    );
    let path = broker.write("definitions.json", &file);
    let path = path.to_string_lossy();
    let output = run(&broker, &["user", "import", "--rabbitmq-definitions", &path], "");
    let notes = text(&output.stderr);
    assert!(output.status.success(), "{notes}");
    assert!(notes.contains("max-connections = 5 of user 'ann'"), "{notes}");
    assert!(notes.contains("user guest: it is the broker's own here"), "{notes}");
    broker.crash();
    let mut ann = Amqp::connect_as(broker.amqp, "ann", "first");
    ann.queue("ann-q", false);
    ann.confirm_select();
    ann.publish("", "ann-q", &Properties::default(), b"hers");
    ann.confirmed().expect("allowed");
    assert_eq!(ann.get("ann-q").expect("it is hers").body, b"hers");
    ann.publish("amq.topic", "x", &Properties::default(), b"");
    assert!(ann.confirmed().is_err());
    broker.kill();
    let wrong = file.replace("^ann-", "(ann-");
    let path = broker.write("wrong.json", &wrong.replace("\"ann\"", "\"bob\""));
    let words = ["user", "import", "--rabbitmq-definitions", &path.to_string_lossy()];
    let said_of = refusal(&broker, &words, "");
    assert!(said_of.contains("user 'bob' in virtual host '/'"), "{said_of}");
    assert!(!said(&broker, &["user", "list"], "").contains("bob"));
}

/// Every secret of a user may come from a file or the environment, and none from the command line.
#[test]
fn secrets_come_from_files_and_the_environment() {
    let folder = Folder::new();
    let mut command = crossdock(&["hash-password"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary is there");
    let mut input = child.stdin.take().expect("it is piped");
    writeln!(input, "first").expect("it reads");
    drop(input);
    let lines = text(&child.wait_with_output().expect("it ends").stdout);
    let hash = lines.split('"').nth(1).expect("a hash").to_owned();
    let file = folder.write("ann.secrets", &lines);
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    let users = "[[user]]\nname = \"ann\"\nsecrets_file = \"ann.secrets\"\n\
                 [[user]]\nname = \"bob\"\nsecrets_env = \"CROSSDOCK_TEST_BOB\"\n\
                 [[user]]\nname = \"carl\"\npassword_hash_env = \"CARL_HASH\"\n";
    let config = folder.write("hub.toml", users).to_string_lossy().into_owned();
    let check = |bob: Option<&str>, carl: &str, more: &[&str]| {
        let mut command = crossdock(&["user", "list", "--config", &config, "--data-dir"]);
        command.arg(folder.path().join("data")).args(more).env("CARL_HASH", carl);
        std::fs::create_dir_all(folder.path().join("data/store")).expect("ours");
        bob.map(|bob| command.env("CROSSDOCK_TEST_BOB", bob));
        let output = command.output().expect("the binary is there");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    mode(0o644);
    let (code, _, said) = check(None, "no hash", &[]);
    assert_eq!(code, Some(2), "{said}");
    for wanted in [
        "user[0].secrets_file: ",
        "chmod 600",
        "user[1].secrets_env: there is no variable CROSSDOCK_TEST_BOB",
        "user[2].password_hash_env: ",
    ] {
        assert!(said.contains(wanted), "{wanted}\n{said}");
    }
    assert!(!said.contains("no hash"), "{said}");
    mode(0o600);
    let (code, listed, said) = check(Some(&lines), &hash, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("CROSSDOCK_TEST_BOB"), "it is not ignored: {said}");
    let all = "(configuration): password, SCRAM-SHA-256, SCRAM-SHA-512\n";
    assert_eq!(
        listed,
        format!(
            "ann {all}  in /: nothing\nbob {all}  in /: nothing\ncarl \
                                (configuration): password\n  in /: nothing\n"
        )
    );
    for key in ["user.0.password_hash", "user.password_hash"] {
        let (code, _, said) = check(Some(&lines), &hash, &["--set", &format!("{key}={hash}")]);
        assert_eq!(code, Some(2), "{said}");
    }
}
