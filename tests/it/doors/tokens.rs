//! Tokens in the place of passwords: whose are taken, what they allow, and that a connection ends with its token.

use super::house::{House, NOTHING};
use crate::broker::{Folder, crossdock};
use crate::wire::amqp::{Amqp, Out, Properties};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::stomp::Stomp;
use crate::wire::{PATIENCE, Socket};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const SECRET: &str = "a secret of these tests, of more than thirty-two bytes";

/// RFC 2104, for a key that is no longer than a block.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, of_key)| *byte ^= of_key);
        block
    };
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

/// A token of that user for so long, with these scopes.
fn token(user: &str, seconds: i64, scopes: &str) -> String {
    signed(SECRET, user, seconds, scopes)
}

fn signed(secret: &str, user: &str, seconds: i64, scopes: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let expires = now as i64 + seconds;
    let claims = format!("{{\"sub\":\"{user}\",\"exp\":{expires},\"scope\":\"{scopes}\"}}");
    let encode = |text: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(text);
    let head = encode(b"{\"alg\":\"HS256\",\"typ\":\"JWT\"}");
    let text = format!("{head}.{}", encode(claims.as_bytes()));
    let signature = encode(&hmac(secret.as_bytes(), text.as_bytes()));
    format!("{text}.{signature}")
}

/// A broker that takes these tokens. `more`: further lines of `[auth]`.
fn house(more: &str) -> House {
    let folder = Folder::new();
    let file = folder.write("token.secret", &format!("{SECRET}\n"));
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("ours");
    let keys = "token_secret_files = [\"token.secret\"]\ntoken_leeway_seconds = 0\n";
    House::open_in(folder, &format!("[auth]\n{keys}{more}"))
}

#[test]
fn a_token_lets_its_user_in_with_the_rights_of_its_scopes() {
    let house = house("");
    let broker = &house.broker;
    let mut guest = Amqp::connect(broker.amqp);
    guest.queue("orders", false);
    let scopes = "openid read:%2F/orders write:*/amq.default write:*/amq.topic/plant.*";
    let token = token("ann", 600, scopes);
    // As RabbitMQ's clients do it: the user's name is anything.
    let mut amqp = Amqp::connect_as(broker.amqp, "whoever", &token);
    amqp.confirm_select();
    amqp.publish("", "orders", &Properties::default(), b"by amqp");
    amqp.confirmed().expect("allowed");
    amqp.publish("amq.topic", "plant.7.temp", &Properties::default(), b"");
    amqp.confirmed().expect("allowed");
    amqp.publish("amq.topic", "office.7", &Properties::default(), b"");
    let refused = amqp.confirmed().expect_err("no scope");
    let why = "write to topic:office/7 is not allowed for user 'ann'";
    assert_eq!(refused, format!("403 ACCESS_REFUSED - {why}"));
    amqp.consume("orders", true);
    assert_eq!(amqp.receive().body, b"by amqp");
    let mut stomp = Stomp::connect_as(broker.stomp, "", &token);
    let headers = [("destination", "/topic/office.7")];
    let refused = stomp.try_request("SEND", &headers, b"");
    assert_eq!(refused, Err(format!("access_refused {why}")));
    for level in [5, 4] {
        let options = Connect { level, ..Connect::v5("device") };
        let mut mqtt = Mqtt::connect_as(broker.mqtt, &options, "device", &token);
        mqtt.try_publish("plant/7/temp", b"21", false).expect("allowed");
        if level == 5 {
            assert_eq!(mqtt.try_publish("office/7", b"", false), Err(format!("0x87 {why}")));
        }
    }
}

#[test]
fn wrong_tokens_are_refused_like_wrong_passwords() {
    let house = house("");
    let enter =
        |token: &str| Amqp::log_in(Socket::connect(house.broker.amqp), ("ann", token)).map(drop);
    let all = "read:*/* write:*/* configure:*/*";
    enter(&token("ann", 600, all)).expect("a right one");
    let refused = [
        ("expired", token("ann", -5, all)),
        ("of another key", signed(&SECRET.to_uppercase(), "ann", 600, all)),
        ("changed", token("ann", 600, all).replace('.', ".e")),
        ("of guest", token("guest", 600, all)),
    ];
    for (what, token) in &refused {
        let why = enter(token).expect_err(what);
        assert!(!why.contains("expired") && !why.contains("token"), "{what}: {why}");
    }
    assert!(enter(&token("ann", 600, "read:*/*/*.x")).is_err(), "a scope that cannot be kept");
    let log = house.broker.log();
    assert!(log.contains("its token does not do: it has expired"), "{log}");
    assert!(!log.contains(&refused[0].1), "a token stands in the log");
}

/// Without scopes for a virtual host nobody gets into it.
#[test]
fn a_token_without_scopes_may_enter_nowhere() {
    let house = house("");
    let enter = |scopes: &str| {
        let login = ("ann", &*token("ann", 600, scopes));
        Amqp::log_in(Socket::connect(house.broker.amqp), login).map(drop)
    };
    let why = enter("openid read:other/*").expect_err("no scope here");
    assert!(why.contains("user 'ann' may not enter virtual host '/'"), "{why}");
    enter("openid read:%2F/none").expect("it may enter, and do nothing");
}

#[test]
fn rights_may_be_those_of_the_account() {
    let user = "[[user]]\nname = \"ann\"\nwrite = [\"topic:ann/#\"]\n";
    let house = house(&format!("token_rights = \"account\"\n{user}"));
    let mut amqp = Amqp::connect_as(house.broker.amqp, "", &token("ann", 600, "write:*/*"));
    amqp.confirm_select();
    amqp.publish("amq.topic", "ann.x", &Properties::default(), b"");
    amqp.confirmed().expect("of the account");
    amqp.publish("amq.topic", "bob.x", &Properties::default(), b"");
    assert!(amqp.confirmed().is_err(), "a scope is no right");
    let bob = token("bob", 600, "write:*/*");
    let login = ("", &*bob);
    assert!(Amqp::log_in(Socket::connect(house.broker.amqp), login).is_err(), "no such account");
}

/// A client of AMQP that renews its token in time stays, with the rights of the new one; another user's, an old one and
/// what is no token are refused, and end the connection.
#[test]
fn a_token_is_renewed_before_it_ends() {
    let house = house("");
    let broker = &house.broker;
    let connect = |scopes: &str| {
        Amqp::connect_as(broker.amqp, "", &token("ann", 6, &format!("{scopes} configure:*/*")))
    };
    let renewal = |secret: &str| Out::method(10, 70).long(secret.as_bytes()).short("it ends soon");
    let began = Instant::now();
    let mut client = connect("read:*/*");
    client.queue("q", false);
    client
        .ask_connection(renewal(&token("ann", 600, "read:*/* write:*/*")), (10, 71))
        .expect("renewed");
    for (secret, why) in [
        (token("bob", 600, "read:*/*"), "it is of user 'bob'"),
        (token("ann", -5, "read:*/*"), "was refused"),
        (token("ann", 600, ""), "was refused"),
        ("no token".to_owned(), "was refused"),
    ] {
        let mut other = connect("read:*/*");
        let refused = other.ask_connection(renewal(&secret), (10, 71)).expect_err("refused");
        assert!(refused.starts_with("530 NOT_ALLOWED - New secret was refused"), "{refused}");
        assert!(refused.contains(why), "{refused}");
    }
    std::thread::sleep(Duration::from_secs(8).saturating_sub(began.elapsed()));
    client.confirm_select();
    client.publish("", "q", &Properties::default(), b"after the first token's end");
    client.wait_confirms();
    assert_eq!(client.get("q").expect("there").body, b"after the first token's end");
}

/// When a token of two seconds has expired, each connection ends in its protocol's own word, and none before.
#[test]
fn a_connection_ends_with_its_token() {
    let house = house("");
    let broker = &house.broker;
    // As long as four logins may take while other tests have the processors.
    let lives = Duration::from_secs(8);
    let began = Instant::now();
    let short = token("ann", lives.as_secs() as i64, "read:*/* write:*/*");
    let mut amqp = Amqp::connect_as(broker.amqp, "", &short);
    let mut stomp = Stomp::connect_as(broker.stomp, "", &short);
    let mut mqtt = [5, 4].map(|level| {
        let client = format!("ann-{level}");
        let options = Connect { level, ..Connect::v5(&client) };
        Mqtt::connect_as(broker.mqtt, &options, "ann", &short)
    });
    let mut long = Amqp::connect_as(broker.amqp, "", &token("ann", 600, "read:*/*"));
    let expired = "the login of user 'ann' has expired";
    let ends = amqp.ends();
    let took = began.elapsed();
    // A token's end is a whole second.
    assert!(took + Duration::from_secs(1) > lives && took < lives + PATIENCE, "{took:?}");
    assert!(ends.starts_with(&format!("320 CONNECTION_FORCED - {expired}")), "{ends}");
    let ends = stomp.ends();
    assert!(ends.starts_with(&format!("access_refused {expired}")), "{ends}");
    let ends = mqtt[0].ends();
    assert!(ends.starts_with(&format!("0x87 {expired}")), "{ends}");
    assert_eq!(mqtt[1].ends(), "closed");
    long.confirm_select();
}

/// Keys are changed while the broker runs: new logins are by the new ones.
#[test]
fn keys_are_read_again_on_sighup() {
    let house = house("");
    let other = "another secret, which is as long as it has to be";
    let enter = |secret: &str| {
        let login = ("", &*signed(secret, "ann", 600, "read:*/*"));
        Amqp::log_in(Socket::connect(house.broker.amqp), login)
    };
    let mut before = enter(SECRET).expect("a right one");
    assert!(enter(other).is_err());
    fs::write(house.path().join("token.secret"), other).expect("writable");
    house.read_again();
    assert!(enter(SECRET).is_err() && enter(other).is_ok());
    before.confirm_select();
    house.reload(NOTHING);
    assert!(enter(other).is_err(), "no tokens are taken any more");
}

/// A secret comes from a file that nobody else may read or from the environment, and every mistake has its key.
#[test]
fn keys_that_cannot_be_used_are_mistakes() {
    let folder = Folder::new();
    let open = folder.write("open.secret", SECRET);
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).expect("ours");
    let short = folder.write("short.secret", "short");
    fs::set_permissions(short, fs::Permissions::from_mode(0o600)).expect("ours");
    let config = folder.write(
        "hub.toml",
        "[auth]\ntoken_secret_files = [\"open.secret\", \"short.secret\"]\n\
         token_public_key_files = [\"nowhere.pem\"]\ntoken_secret_env = \"NO_SUCH_SECRET\"\n\
         token_user_claim = \"\"\n",
    );
    let said = |config: &std::path::Path| {
        let mut command = crossdock(&["check-config", &config.to_string_lossy()]);
        command.env_remove("NO_SUCH_SECRET");
        let output = command.output().expect("the binary is there");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text) = said(&config);
    assert_eq!(code, Some(2), "{text}");
    for wanted in [
        "auth.token_secret_files[0]: ",
        "chmod 600",
        "auth.token_secret_files[1]: ",
        "auth.token_public_key_files[0]: ",
        "auth.token_secret_env: there is no variable NO_SUCH_SECRET",
        "auth.token_user_claim: must not be empty",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    assert!(!text.contains(SECRET), "{text}");
    let idle = folder.write("idle.toml", "[auth]\ntoken_issuer = \"x\"\n");
    let (code, text) = said(&idle);
    assert!(code == Some(2) && text.contains("auth.token_issuer: has an effect with"), "{text}");
}
