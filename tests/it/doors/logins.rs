//! Who is let in, from where, and what the others are told: guest and nobody in particular from this machine, users
//! from everywhere.

use super::house::{Door, House, far_door, far_listener, owner, password};
use super::table;
use super::visitor::{LoginAs, SPEECHES, Speech, Visitor};
use crate::wire::mqtt::{Connect, Mqtt};

const HEADING: &str = "Who is let in";
const COLUMNS: [&str; 6] = ["who", "from", "AMQP", "MQTT 5", "MQTT 3.1.1", "STOMP"];

/// What is answered to a login, for the table.
fn answer(visitor: &Visitor<'_>) -> String {
    match visitor.enter() {
        Ok(()) => "let in".to_owned(),
        Err(why) => format!("`{why}`"),
    }
}

fn row(who: (&str, LoginAs<'_>), from: (&str, &Door)) -> Vec<String> {
    let (door, login) = (from.1, who.1);
    let cells = SPEECHES.map(|speech| match (speech, login) {
        (Speech::Amqp, None) => "–".to_owned(),
        _ => answer(&Visitor { speech, door, login }),
    });
    [who.0.to_owned(), from.0.to_owned()].into_iter().chain(cells).collect()
}

#[test]
fn who_is_let_in_from_where() {
    let house = House::open(&[far_listener(), owner("ann"), owner("bob")].concat());
    let (amqp, far) = (Door::at(house.broker.amqp), far_door(&house));
    // On this machine each protocol has a listener of its own.
    let near = |speech: Speech| match speech {
        Speech::Amqp => amqp.clone(),
        Speech::Stomp => Door::at(house.broker.stomp),
        Speech::Mqtt5 | Speech::Mqtt311 => Door::at(house.broker.mqtt),
    };
    let (right, other) = (password("ann"), password("bob"));
    let people: [(&str, LoginAs<'_>); 6] = [
        ("nobody in particular", None),
        ("`guest` with the password `guest`", Some(("guest", "guest"))),
        ("`guest` with another password", Some(("guest", &other))),
        ("a user with the right password", Some(("ann", &right))),
        ("a user with another password", Some(("ann", &other))),
        ("a name that no user has", Some(("nobody", &right))),
    ];
    let mut rows = Vec::new();
    for (who, login) in people {
        let mut here = row((who, login), ("this machine", &amqp));
        for (at, speech) in SPEECHES.into_iter().enumerate().filter(|(at, _)| *at > 0) {
            here[at + 2] = answer(&Visitor { speech, door: &near(speech), login });
        }
        rows.push(here);
        rows.push(row((who, login), ("elsewhere", &far)));
    }
    table::check(HEADING, &COLUMNS, &rows);
}

/// Passwords that are missing or empty, and names in other letters, are other passwords and names.
#[test]
fn what_is_nearly_right_is_wrong() {
    let house = House::open(&owner("ann"));
    let right = password("ann");
    let doors = [
        (Speech::Amqp, house.broker.amqp),
        (Speech::Mqtt5, house.broker.mqtt),
        (Speech::Stomp, house.broker.stomp),
    ];
    let trailing = format!("{right} ");
    let zero = format!("{right}\0");
    let logins =
        [("ann", ""), ("Ann", &*right), ("", &*right), ("ann", &*trailing), ("ann", &*zero)];
    for (speech, address) in doors {
        for login in logins {
            let visitor = Visitor { speech, door: &Door::at(address), login: Some(login) };
            assert!(visitor.enter().is_err(), "{speech:?} let {login:?} in");
        }
    }
}

/// Whoever guesses has to wait, and nobody else has to: neither the user from another address, nor another user.
#[test]
fn guesses_have_to_wait() {
    let house = House::open(&[far_listener(), owner("ann"), owner("bob")].concat());
    let (near, far) = (Door::at(house.broker.amqp), far_door(&house));
    let (ann, bob) = (password("ann"), password("bob"));
    let enter = |door: &Door, user: &str, password: &str| {
        Visitor { speech: Speech::Amqp, door, login: Some((user, password)) }.enter()
    };
    for _ in 0..5 {
        assert!(enter(&near, "ann", "a guess").is_err());
    }
    // The right password is refused now, and in the same words.
    let why = enter(&near, "ann", &ann).expect_err("ann has to wait");
    assert_eq!(Err(why), enter(&near, "nobody", "a guess"));
    assert_eq!(enter(&far, "ann", &ann), Ok(()), "from another address");
    assert_eq!(enter(&near, "bob", &bob), Ok(()), "another user");
    crate::wire::eventually("the wait is over", || enter(&near, "ann", &ann).ok());
}

/// The clients of the other tests log in so, too.
#[test]
fn every_client_can_be_a_user() {
    let house = House::open(&owner("ann"));
    let (broker, password) = (&house.broker, password("ann"));
    let mut amqp = crate::wire::amqp::Amqp::connect_as(broker.amqp, "ann", &password);
    amqp.queue("ann-q", false);
    let mut stomp = crate::wire::stomp::Stomp::connect_as(broker.stomp, "ann", &password);
    stomp.send("/amq/queue/ann-q", &[], b"from STOMP");
    assert_eq!(amqp.get("ann-q").expect("a message").body, b"from STOMP");
    for level in [5, 4] {
        let options = Connect { level, ..Connect::v5("ann") };
        let mut mqtt = Mqtt::connect_as(broker.mqtt, &options, "ann", &password);
        mqtt.publish("$q/ann-q", b"from MQTT", 1);
        assert_eq!(amqp.get("ann-q").expect("a message").body, b"from MQTT");
        mqtt.disconnect();
    }
}
