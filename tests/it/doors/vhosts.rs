//! Several virtual hosts: each has queues of its own, is there after a restart, and is for users who may enter it.

use super::house::{House, hash_line, password};
use crate::wire::amqp::{Amqp, Properties};
use crate::wire::stomp::Stomp;
use crate::wire::{Socket, eventually};

fn amqp(house: &House, vhost: &str, user: &str) -> Result<Amqp, String> {
    let password = if user == "guest" { "guest".to_owned() } else { password(user) };
    Amqp::log_in_to(vhost, Socket::connect(house.broker.amqp), (user, &password))
}

fn file(vhosts: &str) -> String {
    let all = "configure = [\"*\"]\nwrite = [\"*\"]\nread = [\"*\"]\n";
    let hash = hash_line("ann");
    format!("{vhosts}[[user]]\nname = \"ann\"\n{hash}\nvhosts = [\"orders\"]\n{all}")
}

const ORDERS: &str = "[[virtual_host]]\nname = \"orders\"\n";

#[test]
fn each_has_its_own_queues_and_is_durable() {
    let mut house = House::open(&file(ORDERS));
    let mut ann = amqp(&house, "orders", "ann").expect("hers");
    ann.queue("q", true);
    ann.confirm_select();
    ann.publish("", "q", &Properties::persistent(), b"in orders");
    ann.wait_confirms();
    let mut guest = amqp(&house, "/", "guest").expect("guest may enter all");
    assert_eq!(guest.queue("q", true), 0, "another queue");
    // STOMP names it by its host.
    let host = [("accept-version", "1.2"), ("host", "orders"), ("login", "ann")];
    let secret = password("ann");
    let headers = [&host[..], &[("passcode", &*secret)]].concat();
    let mut stomp = Stomp::connect_with(house.broker.stomp, &headers);
    stomp.subscribe("1", "/amq/queue/q", "client", &[]);
    assert_eq!(stomp.receive().body, b"in orders");
    drop(stomp);

    let refused = amqp(&house, "/", "ann").map(drop);
    let why = "user 'ann' may not enter virtual host '/'";
    assert_eq!(refused, Err(format!("530 NOT_ALLOWED - {why}")));
    let refused = amqp(&house, "other", "ann").map(drop);
    assert_eq!(refused, Err("530 NOT_ALLOWED - vhost 'other' not found".to_owned()));

    house.broker.crash();
    let mut guest = amqp(&house, "orders", "guest").expect("it is there");
    assert_eq!(guest.queue("q", true), 1, "with its message");
    // One that is not named any more stays, with all that is in it.
    drop(guest);
    house.write("");
    house.broker.crash();
    let mut guest = amqp(&house, "orders", "guest").expect("it is there");
    assert_eq!(guest.get("q").expect("the message").body, b"in orders");
}

#[test]
fn one_is_made_by_sighup() {
    let house = House::open("");
    assert!(amqp(&house, "orders", "guest").is_err());
    house.reload(ORDERS);
    let mut guest = eventually("orders is made", || amqp(&house, "orders", "guest").ok());
    guest.queue("q", true);
    let log = house.reload(&[ORDERS, ORDERS].concat());
    assert!(log.contains("another virtual host is named 'orders' too"), "{log}");
}

#[test]
fn wrong_names_are_mistakes() {
    let folder = crate::broker::Folder::new();
    let text =
        [ORDERS, ORDERS, "[[virtual_host]]\nname = \"/\"\n", "[[virtual_host]]\nname = \"\"\n"];
    let user = "[[user]]\nname = \"ann\"\nvhosts = [\"orders\", \"else\"]\n";
    let config = folder.write("hub.toml", &[&text.concat(), user].concat());
    let mut command = crate::broker::crossdock(&["check-config", &config.to_string_lossy()]);
    let output = command.output().expect("the binary is there");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    for wanted in [
        "virtual_host[1].name: another virtual host is named 'orders' too",
        "virtual_host[2].name: '/' is always there",
        "virtual_host[3].name: must not be empty",
        "user[0].vhosts[1]: there is no virtual host 'else'",
    ] {
        assert!(said.contains(wanted), "{wanted}\n{said}");
    }
}
