//! Who may do what, cell by cell: what is answered, and that what was refused did not happen.
//!
//! Everything that is tried is ann's: queues and exchanges `ann-…`, topics `ann/…` and `$SYS/ann/…`, the session of her
//! MQTT client. Bob has rights of the same kind to what is his, and none to this.

use super::house::{Door, House, far_door, far_listener, owner, password};
use super::table;
use super::visitor::{Deed, SPEECHES, Speech, Visitor};
use crate::wire::amqp::{Amqp, Out};
use crate::wire::eventually;
use crate::wire::mqtt::{Connect, Mqtt};

const HEADING: &str = "What is answered";
const COLUMNS: [&str; 7] = ["what", "who", "AMQP", "MQTT 5", "MQTT 3.1.1", "STOMP", "text"];

const DEEDS: [(&str, Deed); 21] = [
    ("publish to a queue (MQTT: `$q/…`)", Deed::PublishToQueue("ann-q")),
    ("publish to a topic", Deed::PublishToTopic("ann/t")),
    ("set a retained value", Deed::Retain("ann/r")),
    ("leave a will", Deed::Will("ann/t")),
    ("publish to the topic `$q/…`", Deed::PublishToTopic("$q/ann-q")),
    ("publish to a topic below `$SYS`", Deed::PublishToTopic("$SYS/ann/t")),
    ("consume from a queue (MQTT: `$q/…`)", Deed::Consume("ann-q")),
    ("subscribe to topics", Deed::Subscribe("ann/+")),
    ("subscribe to all topics", Deed::Subscribe("#")),
    ("subscribe to the topic `$q/…`", Deed::Subscribe("$q/ann-q")),
    ("subscribe to topics below `$SYS`", Deed::Subscribe("$SYS/ann/+")),
    ("share a subscription", Deed::Share("ann/s")),
    ("look at a queue", Deed::Look("ann-q")),
    ("declare a queue", Deed::Declare("ann-new")),
    ("delete a queue", Deed::Delete("ann-old")),
    ("purge a queue", Deed::Purge("ann-old")),
    ("bind a queue to topics", Deed::Bind("ann-old", "ann/#")),
    ("bind the own queue to topics", Deed::Bind("WHO-q", "ann/#")),
    ("declare an exchange", Deed::DeclareExchange("ann-new")),
    ("delete an exchange", Deed::DeleteExchange("ann-old")),
    ("take over a session, or consume from its queue", Deed::Session("ann-client")),
];

/// Sets up what is tried, and looks at what became of it: guest, who may do everything.
struct Witness {
    amqp: Amqp,
    house: House,
    far: Door,
}

impl Witness {
    fn new() -> Self {
        let house = House::open(&[far_listener(), owner("ann"), owner("bob")].concat());
        let mut amqp = Amqp::connect(house.broker.amqp);
        for queue in ["ann-q", "ann-t", "bob-q"] {
            amqp.queue(queue, false);
        }
        amqp.bind("ann-t", "amq.topic", "ann.#");
        amqp.bind("ann-t", "amq.topic", "$SYS.#");
        let far = far_door(&house);
        let witness = Self { amqp, house, far };
        let mut ann = witness.session_of_ann();
        ann.subscribe("$share/crew/ann/s", 1);
        ann.disconnect();
        witness
    }

    /// Ann's client, whose session stays.
    fn session_of_ann(&self) -> Mqtt {
        let (session, password) = (Connect::persistent("ann-client"), password("ann"));
        Mqtt::connect_as(self.house.broker.mqtt, &session, "ann", &password)
    }

    fn near(&self, speech: Speech) -> Door {
        Door::at(match speech {
            Speech::Amqp => self.house.broker.amqp,
            Speech::Stomp => self.house.broker.stomp,
            Speech::Mqtt5 | Speech::Mqtt311 => self.house.broker.mqtt,
        })
    }

    /// Somebody tries it, on a broker where it can be done once.
    fn sees(&mut self, visitor: &Visitor<'_>, deed: Deed, body: &str) -> String {
        self.prepare(deed);
        let Some(answer) = visitor.tries(deed, body) else { return "–".to_owned() };
        let happened = self.happened(deed, body, answer.is_ok());
        match (answer, happened) {
            (Ok(()), true) => "done".to_owned(),
            (Ok(()), false) => "dropped".to_owned(),
            (Err(why), false) => format!("`{why}`"),
            (Err(why), true) => panic!("{deed:?} was refused, and happened: {why}"),
        }
    }

    fn prepare(&mut self, deed: Deed) {
        let delete = |name: &str| Out::method(50, 40).u16(0).short(name).u8(0);
        match deed {
            Deed::Declare(queue) => drop(self.amqp.ask(delete(queue), (50, 41))),
            Deed::Delete(queue) | Deed::Purge(queue) | Deed::Bind(queue @ "ann-old", _) => {
                drop(self.amqp.ask(delete(queue), (50, 41)));
                self.amqp.queue(queue, false);
                self.amqp.confirm_select();
                self.amqp.publish("", queue, &Default::default(), b"old");
                self.amqp.wait_confirms();
            }
            Deed::DeclareExchange(name) => {
                let delete = Out::method(40, 20).u16(0).short(name).u8(0);
                drop(self.amqp.ask(delete, (40, 21)));
            }
            Deed::DeleteExchange(name) => {
                let declare = Out::method(40, 10).u16(0).short(name).short("direct").u8(0);
                self.amqp.ask(declare.table(&[]), (40, 11)).expect("guest may");
            }
            Deed::Session(_) => {
                let mut ann = self.session_of_ann();
                ann.subscribe("ann/session", 1);
                ann.disconnect();
            }
            _ => {}
        }
    }

    /// Whether what was tried has happened. What is only answered happened if it was not refused.
    fn happened(&mut self, deed: Deed, body: &str, is_ok: bool) -> bool {
        match deed {
            Deed::PublishToQueue(queue) => self.came(queue, body),
            Deed::PublishToTopic("$q/ann-q") => self.came("ann-q", body),
            Deed::PublishToTopic(_) => self.came("ann-t", body),
            Deed::Will(_) if is_ok => {
                eventually("the will", || self.came("ann-t", body).then_some(true))
            }
            Deed::Will(_) => self.came("ann-t", body),
            Deed::Retain(topic) => {
                let came = self.came("ann-t", body);
                let is_kept = self.retained(topic).as_deref() == Some(body);
                assert_eq!(came, is_kept, "delivered and retained, or neither");
                is_kept
            }
            Deed::Declare(queue) => self.is_there((50, 10), queue),
            Deed::Delete(queue) => !self.is_there((50, 10), queue),
            Deed::Purge(queue) => self.amqp.ready(queue) == 0,
            Deed::Bind(queue, _) => {
                self.amqp.confirm_select();
                self.amqp.publish("amq.topic", "ann.bound", &Default::default(), b"bound");
                self.amqp.wait_confirms();
                let came = self.came(queue, "bound");
                let unbind = Out::method(50, 50).u16(0).short(queue).short("amq.topic");
                let unbind = unbind.short("ann.#").table(&[]);
                self.amqp.ask(unbind, (50, 51)).expect("guest may");
                came
            }
            Deed::DeclareExchange(name) => self.is_there((40, 10), name),
            Deed::DeleteExchange(name) => !self.is_there((40, 10), name),
            Deed::Session(_) if !is_ok => {
                let ann = self.session_of_ann();
                let is_hers = ann.session_present;
                ann.disconnect();
                !is_hers
            }
            _ => is_ok,
        }
    }

    /// Whether the queue has this body; it is empty afterwards.
    fn came(&mut self, queue: &str, body: &str) -> bool {
        let mut came = false;
        while let Some(message) = self.amqp.get(queue) {
            came |= message.body == body.as_bytes();
        }
        came
    }

    fn retained(&mut self, topic: &str) -> Option<String> {
        let mut reader = Mqtt::connect(self.house.broker.mqtt, &Connect::v5("witness"));
        reader.subscribe(topic, 1);
        reader.publish(topic, b"the end", 1);
        let first = reader.receive();
        reader.disconnect();
        first.retain.then(|| String::from_utf8(first.body).expect("UTF-8"))
    }

    fn is_there(&mut self, (class, id): (u16, u16), name: &str) -> bool {
        let look = match class {
            40 => Out::method(40, 10).u16(0).short(name).short("direct").u8(1).table(&[]),
            _ => Out::method(50, 10).u16(0).short(name).u8(1).table(&[]),
        };
        self.amqp.ask(look, (class, id + 1)).is_ok()
    }
}

/// `WHO-q` is the queue of whoever tries it.
fn own(deed: Deed, who: &str) -> Deed {
    match (deed, who) {
        (Deed::Bind("WHO-q", filter), "bob") => Deed::Bind("bob-q", filter),
        (Deed::Bind("WHO-q", filter), _) => Deed::Bind("ann-q", filter),
        _ => deed,
    }
}

#[test]
fn what_is_answered_to_whom() {
    let mut witness = Witness::new();
    let far = witness.far.clone();
    let (ann, bob) = (password("ann"), password("bob"));
    let people = [
        ("guest, from this machine", "guest", "guest"),
        ("who has the right", "ann", &*ann),
        ("another user", "bob", &*bob),
    ];
    let (mut rows, mut tries) = (Vec::new(), 0);
    for (what, deed) in DEEDS {
        let mut answers: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
        for (who, user, password) in people {
            let deed = own(deed, user);
            let seen = SPEECHES.map(|speech| {
                let near = witness.near(speech);
                let doors = if user == "guest" { vec![near] } else { vec![near, far.clone()] };
                let seen = doors.iter().map(|door| {
                    tries += 1;
                    let body = format!("{user}-{tries}");
                    let visitor = Visitor { speech, door, login: Some((user, password)) };
                    witness.sees(&visitor, deed, &body)
                });
                let mut seen: Vec<String> = seen.collect();
                seen.dedup();
                assert_eq!(
                    seen.len(),
                    1,
                    "not the same from everywhere: {who}, {speech:?}, {deed:?}"
                );
                seen.remove(0)
            });
            let cells = row(&seen);
            match answers.iter_mut().find(|(_, known)| *known == cells) {
                Some((people, _)) => people.push(who),
                None => answers.push((vec![who], cells)),
            }
        }
        for (people, cells) in answers {
            rows.push([what.to_owned(), people.join("; ")].into_iter().chain(cells).collect());
        }
    }
    table::check(HEADING, &COLUMNS, &rows);
}

/// A cell for each protocol, with the code where it was refused, and the texts that came with the codes.
fn row(seen: &[String; 4]) -> Vec<String> {
    let (mut cells, mut texts) = (Vec::new(), Vec::new());
    for answer in seen {
        let answer = answer.trim_matches('`');
        let answer = answer.replacen(" ACCESS_REFUSED - ", " ", 1);
        match answer.split_once(' ') {
            Some((code, text)) => {
                cells.push(code.to_owned());
                let text = format!("`{text}`");
                if !texts.contains(&text) {
                    texts.push(text);
                }
            }
            None => cells.push(answer),
        }
    }
    cells.push(texts.join(" or "));
    cells
}

/// Somebody else comes with the identifier of a client that is there: that client stays, and its user may come back.
#[test]
fn a_session_is_its_owners_alone() {
    let house = House::open(&[owner("ann"), owner("bob")].concat());
    let (ann, bob) = (password("ann"), password("bob"));
    for level in [5, 4] {
        let options = Connect { level, ..Connect::persistent("robot") };
        let mut robot = Mqtt::connect_as(house.broker.mqtt, &options, "ann", &ann);
        robot.subscribe("ann/t", 1);
        for clean in [true, false] {
            let options = Connect { level, clean, login: Some(("bob", &bob)), ..options };
            let socket = crate::wire::Socket::connect(house.broker.mqtt);
            let why = Mqtt::log_in(socket, &options).err().expect("it is not bob's");
            match level {
                5 => {
                    assert_eq!(why, "0x87 session 'mqtt/robot' belongs to another user than 'bob'")
                }
                _ => assert_eq!(why, "0x05"),
            }
        }
        robot.publish("ann/t", b"still there", 1);
        assert_eq!(robot.receive().body, b"still there");
        // The end of the session.
        drop(Mqtt::connect_as(house.broker.mqtt, &Connect::v311("robot"), "ann", &ann));
    }
}

/// Of a subscription that is wider than the right, what may be read is delivered, and nothing else.
#[test]
fn a_wide_subscription_gets_what_may_be_read() {
    let house = House::open(&[owner("ann"), owner("bob")].concat());
    let bob = password("bob");
    let mut guest = Mqtt::connect(house.broker.mqtt, &Connect::v5("guest"));
    for level in [5, 4] {
        let options = Connect { level, ..Connect::v5("bob") };
        let mut reader = Mqtt::connect_as(house.broker.mqtt, &options, "bob", &bob);
        reader.subscribe("#", 1);
        reader.subscribe("$share/crew/#", 1);
        for topic in ["ann/t", "t", "bob/t"] {
            guest.publish(topic, topic.as_bytes(), 1);
        }
        // By its own subscription, and as the only one of its group.
        let got = [reader.receive().topic, reader.receive().topic];
        assert_eq!(got, ["bob/t", "bob/t"]);
        assert!(reader.receive_within(crate::wire::QUIET).is_none());
        reader.disconnect();
    }
}

/// Whoever only does what it may is not warned about, however its connections end.
#[test]
fn who_does_what_it_may_is_not_warned_about() {
    let house = House::open(&owner("ann"));
    let password = password("ann");
    let connect =
        |options: &Connect<'_>| Mqtt::connect_as(house.broker.mqtt, options, "ann", &password);
    for level in [5, 4] {
        for clean in [true, false] {
            let options = Connect { level, clean, ..Connect::v5("robot") };
            let mut first = connect(&options);
            first.subscribe("ann/#", 1);
            // The same client again, before its first connection has ended.
            let mut second = connect(&options);
            assert!(first.socket.is_closed_within(crate::wire::PATIENCE));
            second.subscribe("ann/#", 1);
            second.publish("ann/t", b"t", 1);
            assert_eq!(second.receive().body, b"t");
            second.disconnect();
        }
    }
    let log = house.broker.log();
    assert!(!log.contains("a right was refused") && !log.contains("has no right to"), "{log}");
}
