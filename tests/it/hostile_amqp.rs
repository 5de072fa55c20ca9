//! Malformed AMQP dialogues, one by one, and what the specification (AMQP 0-9-1 §1.2, §2.3, §4.2) answers to each. What
//! they cost others is measured in floods/malformed.rs.

use crate::broker::Broker;
use crate::wire::amqp::{self, Amqp, Out};
use crate::wire::{PATIENCE, Socket};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

/// Where in a dialogue the malformed octets stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In the place of the protocol header.
    First,
    /// Behind the protocol header.
    Greeted,
    /// Behind start-ok.
    LoggedIn,
    /// With one open channel and frames of 4,096 octets.
    Open,
}

/// What has to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// connection.close with one of two codes, and the end.
    Ends(u16, u16),
    /// channel.close with that code; the connection goes on.
    Refused(u16),
    /// The end, with or without a word.
    Closed,
}

/// A malformed dialogue.
pub struct Case {
    pub name: String,
    stage: Stage,
    octets: Vec<u8>,
    answer: Answer,
}

const FRAME: Answer = Answer::Ends(501, 501);
const SYNTAX: Answer = Answer::Ends(502, 502);
const COMMAND: Answer = Answer::Ends(503, 503);
const CHANNEL: Answer = Answer::Ends(504, 504);
const UNEXPECTED: Answer = Answer::Ends(505, 505);
/// §1.2 leaves open whether a frame is wrong or what is in it.
const UNREADABLE: Answer = Answer::Ends(501, 502);
const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// Longest time until an answer; a login that does not go on ends after ten seconds.
const ANSWER_TIME: Duration = Duration::from_secs(13);

fn case(stage: Stage, name: impl Into<String>, octets: Vec<u8>, answer: Answer) -> Case {
    Case { name: name.into(), stage, octets, answer }
}

/// A field table.
fn table(inner: &[u8]) -> Vec<u8> {
    [&(inner.len() as u32).to_be_bytes(), inner].concat()
}

/// All cases.
pub fn cases() -> Vec<Case> {
    [first_octets(), logins(), frames(), methods(), foreign_methods(), tables(), contents()]
        .into_iter()
        .flatten()
        .collect()
}

fn first_octets() -> Vec<Case> {
    let headers: [(&str, &[u8]); 12] = [
        ("0-8", b"AMQP\x01\x01\x08\x00"),
        ("0-9", b"AMQP\x01\x01\x00\x09"),
        ("0-10", b"AMQP\x01\x01\x00\x0A"),
        ("1.0", b"AMQP\x00\x01\x00\x00"),
        ("1.0 with TLS", b"AMQP\x02\x01\x00\x00"),
        ("1.0 with SASL", b"AMQP\x03\x01\x00\x00"),
        ("0-9-2", b"AMQP\x00\x00\x09\x02"),
        ("lower case", b"amqp\x00\x00\x09\x01"),
        ("a frame first", b"\x01\x00\x00\x00\x00\x00\x04\x00\x0A\x00\x0B\xCE"),
        ("a heartbeat first", b"\x08\x00\x00\x00\x00\x00\x00\xCE"),
        ("nothing but zeros", &[0; 64]),
        ("nothing but ones", &[0xFF; 64]),
    ];
    headers
        .into_iter()
        .map(|(name, octets)| case(Stage::First, name, octets.to_vec(), Answer::Closed))
        .collect()
}

fn start_ok(properties: &[u8], mechanism: &str, response: &[u8]) -> Vec<u8> {
    let method = Out::method(10, 11).bytes(properties).short(mechanism).long(response);
    method.short("en_US").frame(0)
}

fn logins() -> Vec<Case> {
    let empty = table(&[]);
    let open = Out::method(10, 40).short("/").short("").u8(0);
    let tune_ok = |channels, size, beat| Out::method(10, 31).u16(channels).u32(size).u16(beat);
    let publish = amqp::publish("", "q", &amqp::Properties::default(), b"x");
    let greeted = [
        ("open before start-ok", open.frame(0), Answer::Ends(503, 504)),
        ("tune-ok before start-ok", tune_ok(0, 131_072, 0).frame(0), Answer::Ends(503, 504)),
        (
            "channel.open before start-ok",
            Out::method(20, 10).short("").frame(1),
            Answer::Ends(504, 505),
        ),
        ("a publish before start-ok", publish.clone(), Answer::Ends(504, 505)),
        ("a body before start-ok", amqp::frame(3, 1, b"x"), Answer::Ends(504, 505)),
        ("a frame over the login's limit", amqp::frame(1, 0, &[0; 70_000]), FRAME),
        ("a frame of 4 GiB", b"\x01\x00\x00\xFF\xFF\xFF\xFF".to_vec(), FRAME),
        ("start-ok that ends early", Out::method(10, 11).bytes(&empty).u8(9).frame(0), SYNTAX),
        ("properties longer than the frame", start_ok(&[0xFF; 4], "PLAIN", b""), SYNTAX),
        ("properties of no type", start_ok(&table(b"\x01a?"), "PLAIN", b"\0guest\0guest"), SYNTAX),
        ("an unknown mechanism", start_ok(&empty, "BOGUS", b""), Answer::Ends(503, 504)),
        ("PLAIN without its zeros", start_ok(&empty, "PLAIN", b"guest"), Answer::Closed),
        ("PLAIN with one zero", start_ok(&empty, "PLAIN", b"\0guest"), Answer::Closed),
        ("an empty response", start_ok(&empty, "PLAIN", b""), Answer::Closed),
        ("AMQPLAIN that is no table", start_ok(&empty, "AMQPLAIN", b"\xFFguest"), Answer::Closed),
        ("a wrong password", start_ok(&empty, "PLAIN", b"\0guest\0no"), Answer::Closed),
    ];
    let logged_in = [
        ("start-ok twice", start_ok(&empty, "PLAIN", b"\0guest\0guest"), Answer::Ends(503, 504)),
        ("frames below the least", tune_ok(0, 4095, 0).frame(0), Answer::Ends(502, 530)),
        ("frames above what was offered", tune_ok(0, 200_000, 0).frame(0), Answer::Ends(502, 530)),
        (
            "channels above what was offered",
            tune_ok(65_535, 4096, 0).frame(0),
            Answer::Ends(502, 530),
        ),
        ("tune-ok that ends early", Out::method(10, 31).u16(0).u8(0).frame(0), SYNTAX),
        (
            "a channel before tune-ok",
            Out::method(20, 10).short("").frame(1),
            Answer::Ends(504, 505),
        ),
    ];
    let greeted = greeted.into_iter().map(|(name, octets, answer)| {
        let is_refused_login = answer == Answer::Closed;
        let name = if is_refused_login { format!("login: {name}") } else { name.to_owned() };
        case(Stage::Greeted, name, octets, answer)
    });
    let logged_in = logged_in
        .into_iter()
        .map(|(name, octets, answer)| case(Stage::LoggedIn, name, octets, answer));
    greeted.chain(logged_in).collect()
}

fn frames() -> Vec<Case> {
    let declare = || Out::method(50, 10).u16(0).short("q").u8(0).table(&[]);
    let mut without_end = declare().frame(1);
    let last = without_end.len() - 1;
    without_end[last] = 0;
    let mut cases = vec![
        case(Stage::Open, "a frame without its end", without_end, FRAME),
        case(Stage::Open, "a frame over frame-max", amqp::frame(1, 1, &[0; 4096]), FRAME),
        case(Stage::Open, "a heartbeat with a body", amqp::frame(8, 0, b"x"), FRAME),
        case(Stage::Open, "a heartbeat on a channel", amqp::frame(8, 1, b""), FRAME),
        case(Stage::Open, "an empty method", amqp::frame(1, 1, b""), UNREADABLE),
        case(Stage::Open, "a method of three octets", amqp::frame(1, 1, b"\0\x32\0"), UNREADABLE),
        case(
            Stage::Open,
            "a method of three octets on 0",
            amqp::frame(1, 0, b"\0\x0A\0"),
            UNREADABLE,
        ),
        case(Stage::Open, "a header on channel 0", amqp::frame(2, 0, &[0; 14]), UNEXPECTED),
        case(Stage::Open, "a body on channel 0", amqp::frame(3, 0, b"x"), UNEXPECTED),
        case(
            Stage::Open,
            "a channel above channel-max",
            Out::method(20, 10).short("").frame(65_535),
            Answer::Ends(504, 530),
        ),
        case(
            Stage::Open,
            "a channel that is open",
            Out::method(20, 10).short("").frame(1),
            CHANNEL,
        ),
    ];
    for kind in [0, 4, 5, 6, 7, 9, 0x41, 0xFF] {
        let name = format!("a frame of type {kind}");
        cases.push(case(Stage::Open, name, amqp::frame(kind, 1, b"abc"), FRAME));
    }
    cases
}

/// Methods of a client with arguments that are right: class, number, arguments.
fn right_methods() -> Vec<(u16, u16, Vec<u8>)> {
    let none = Out::method(0, 0).table(&[]).frame(0);
    let empty = none[11..none.len() - 1].to_vec();
    let with = |parts: &[&[u8]]| parts.concat();
    vec![
        (20, 20, vec![1]),
        (20, 40, with(&[b"\0\xC8", b"\x03bye", b"\0\0\0\0"])),
        (40, 10, with(&[b"\0\0", b"\x01x", b"\x06direct", b"\0", &empty])),
        (40, 20, with(&[b"\0\0", b"\x01x", b"\0"])),
        (40, 30, with(&[b"\0\0", b"\x01x", b"\x01y", b"\0", b"\0", &empty])),
        (40, 40, with(&[b"\0\0", b"\x01x", b"\x01y", b"\0", b"\0", &empty])),
        (50, 10, with(&[b"\0\0", b"\x01q", b"\0", &empty])),
        (50, 20, with(&[b"\0\0", b"\x01q", b"\x0Aamq.direct", b"\x01k", b"\0", &empty])),
        (50, 30, with(&[b"\0\0", b"\x01q", b"\0"])),
        (50, 40, with(&[b"\0\0", b"\x01q", b"\0"])),
        (50, 50, with(&[b"\0\0", b"\x01q", b"\x0Aamq.direct", b"\x01k", &empty])),
        (60, 10, vec![0; 7]),
        (60, 20, with(&[b"\0\0", b"\x01q", b"\x01t", b"\0", &empty])),
        (60, 30, with(&[b"\x01t", b"\0"])),
        (60, 40, with(&[b"\0\0", b"\0", b"\x01q", b"\0"])),
        (60, 70, with(&[b"\0\0", b"\x01q", b"\0"])),
        (60, 80, vec![0; 9]),
        (60, 90, vec![0; 9]),
        (60, 100, vec![1]),
        (60, 110, vec![1]),
        (60, 120, vec![0; 9]),
        (85, 10, vec![0]),
    ]
}

/// Methods that end in the middle of their arguments, and methods in the wrong place.
fn methods() -> Vec<Case> {
    let mut cases = Vec::new();
    for (class, id, arguments) in right_methods() {
        let method = |part: &[u8]| Out::method(class, id).bytes(part);
        let short = &arguments[..arguments.len() - 1];
        let name = |what: &str| format!("{class}.{id} {what}");
        cases.push(case(Stage::Open, name("that ends early"), method(short).frame(1), SYNTAX));
        cases.push(case(Stage::Open, name("on channel 0"), method(&arguments).frame(0), CHANNEL));
        cases.push(case(
            Stage::Open,
            name("where no channel is"),
            method(&arguments).frame(7),
            CHANNEL,
        ));
    }
    cases
}

/// Methods that only a server sends, and methods that are not there.
fn foreign_methods() -> Vec<Case> {
    let foreign = [
        (20, 11),
        (40, 11),
        (40, 21),
        (40, 31),
        (40, 51),
        (50, 11),
        (50, 21),
        (50, 31),
        (50, 41),
        (50, 51),
        (60, 11),
        (60, 21),
        (60, 50),
        (60, 60),
        (60, 71),
        (60, 72),
        (60, 111),
        (85, 11),
        (90, 11),
        (90, 21),
        (90, 31),
    ];
    let unknown =
        [(0, 0), (10, 99), (20, 99), (50, 99), (60, 1), (90, 99), (99, 10), (65_535, 65_535)];
    // Classes of earlier versions: access, file, stream, dtx.
    let older = [(30, 10), (70, 10), (80, 10), (100, 10)];
    let one = |(class, id): (u16, u16), what: &str, answer| {
        let name = format!("{class}.{id}, {what}");
        case(Stage::Open, name, Out::method(class, id).bytes(&[0; 24]).frame(1), answer)
    };
    let foreign = foreign.map(|id| one(id, "which only a server sends", COMMAND));
    let unknown = unknown.map(|id| one(id, "which is not there", COMMAND));
    let older = older.map(|id| one(id, "of an earlier version", Answer::Ends(503, 540)));
    foreign.into_iter().chain(unknown).chain(older).collect()
}

/// Field tables in the arguments of queue.declare.
fn tables() -> Vec<Case> {
    let nested = |depth: usize| {
        let mut inner = b"\x01aV".to_vec();
        for _ in 0..depth {
            inner = [b"\x01aF".as_slice(), &table(&inner)].concat();
        }
        table(&inner)
    };
    let arrays = |depth: usize| {
        let mut inner = b"V".to_vec();
        for _ in 0..depth {
            inner = [b"A".as_slice(), &table(&inner)].concat();
        }
        table(&[b"\x01a".as_slice(), &inner].concat())
    };
    let wrong: [(&str, Vec<u8>); 18] = [
        ("longer than the frame", b"\x00\x00\xFF\xFF".to_vec()),
        ("of 4 GiB", b"\xFF\xFF\xFF\xFF\x01aV".to_vec()),
        ("without all of its length", b"\x00\x00".to_vec()),
        ("with a name that ends early", table(b"\x09abc")),
        ("with a name and no value", table(b"\x01a")),
        ("with a value of no type", table(b"\x01a?\0\0\0\0")),
        ("with a text longer than the table", table(b"\x01aS\x00\x00\x00\x09ab")),
        ("with a text of 4 GiB", table(b"\x01aS\xFF\xFF\xFF\xFFab")),
        ("with bytes longer than the table", table(b"\x01ax\x00\x00\x00\x09ab")),
        ("with a number that ends early", table(b"\x01aI\x00\x00")),
        ("with a long number that ends early", table(b"\x01al\x00\x00\x00\x00")),
        ("with a time that ends early", table(b"\x01aT\x00\x00\x00\x00")),
        ("with a decimal that ends early", table(b"\x01aD\x02\x00")),
        ("with an array longer than the table", table(b"\x01aA\x00\x00\x00\x09t\x01")),
        ("with an array of no type", table(b"\x01aA\x00\x00\x00\x01?")),
        ("with a table longer than itself", table(b"\x01aF\x00\x00\x00\x09\x01b")),
        ("with 300 tables in each other", nested(300)),
        ("with 300 arrays in each other", arrays(300)),
    ];
    let case = |(name, arguments): (&str, Vec<u8>)| {
        let declare = Out::method(50, 10).u16(0).short("q").u8(0).bytes(&arguments);
        case(Stage::Open, format!("a table {name}"), declare.frame(1), SYNTAX)
    };
    wrong.into_iter().map(case).collect()
}

/// Contents: header and body frames behind basic.publish.
fn contents() -> Vec<Case> {
    let publish = || Out::method(60, 40).u16(0).short("").short("nobody").u8(0).frame(1);
    let header = |class: u16, size: u64, rest: &[u8]| {
        let head = [&class.to_be_bytes()[..], &[0, 0], &size.to_be_bytes(), rest].concat();
        amqp::frame(2, 1, &head)
    };
    let body = |octets: &[u8]| amqp::frame(3, 1, octets);
    let behind = |parts: &[Vec<u8>]| [publish(), parts.concat()].concat();
    let with = |rest: &[u8]| behind(&[header(60, 0, rest)]);
    let headers = |inner: &[u8]| with(&[b"\x20\x00".as_slice(), &table(inner)].concat());
    let refused = Answer::Refused(406);
    [
        ("a header without a publish", header(60, 0, b"\0\0"), UNEXPECTED),
        ("a body without a publish", body(b"x"), UNEXPECTED),
        ("a body without a header", behind(&[body(b"x")]), UNEXPECTED),
        ("a second header", behind(&[header(60, 5, b"\0\0"), header(60, 5, b"\0\0")]), UNEXPECTED),
        ("a method in the place of a header", behind(&[publish()]), UNEXPECTED),
        (
            "a method in the place of a body",
            behind(&[header(60, 5, b"\0\0"), publish()]),
            UNEXPECTED,
        ),
        // §4.2.6.1 says 501, RabbitMQ 505.
        ("a header of another class", behind(&[header(50, 0, b"\0\0")]), Answer::Ends(501, 505)),
        ("a body that is too long", behind(&[header(60, 2, b"\0\0"), body(b"abc")]), FRAME),
        ("a header of nothing", behind(&[amqp::frame(2, 1, b"")]), UNREADABLE),
        (
            "a header of ten octets",
            behind(&[amqp::frame(2, 1, &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0])]),
            UNREADABLE,
        ),
        ("a body of 2^63 octets", behind(&[header(60, 1 << 63, b"\0\0")]), refused),
        ("a body of 2^64 octets less one", behind(&[header(60, u64::MAX, b"\0\0")]), refused),
        ("properties that are all missing", with(b"\xFF\xF8"), SYNTAX),
        ("flags that go on without end", with(b"\x00\x01\x00\x01\x00\x01"), SYNTAX),
        ("a content type that ends early", with(b"\x80\x00\x09text"), SYNTAX),
        ("headers that end early", with(b"\x20\x00\x00\x00\x00\x09\x01a"), SYNTAX),
        ("headers of 4 GiB", with(b"\x20\x00\xFF\xFF\xFF\xFF"), SYNTAX),
        ("a header of no type", headers(b"\x01a?"), SYNTAX),
        ("a timestamp that ends early", with(b"\x00\x40\0\0\0"), SYNTAX),
        ("delivery mode 3", with(b"\x10\x00\x03"), refused),
        ("an expiration of letters", with(b"\x01\x00\x04soon"), refused),
        ("another user's id", with(b"\x00\x10\x03ann"), refused),
        ("CC that is no array", headers(b"\x02CCS\0\0\0\x01q"), refused),
    ]
    .into_iter()
    .map(|(name, octets, answer)| case(Stage::Open, name, octets, answer))
    .collect()
}

/// The close that comes: `Ends` or `Refused` with its code; `Closed` where the socket ends without one.
fn answer(socket: &mut Socket, until: Instant) -> Option<Answer> {
    loop {
        if !socket.fill(7, until) {
            break;
        }
        let head = socket.buffered()[..7].to_vec();
        if head.starts_with(b"AMQP") {
            socket.fill(8, until);
            socket.take(8);
            continue;
        }
        let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
        if !socket.fill(7 + size + 1, until) {
            break;
        }
        let octets = socket.take(7 + size + 1);
        let code = || u16::from_be_bytes([octets[11], octets[12]]);
        match octets.get(7..11) {
            Some([0, 10, 0, 50]) => return Some(Answer::Ends(code(), code())),
            Some([0, 20, 0, 40]) => return Some(Answer::Refused(code())),
            _ => {}
        }
    }
    socket.is_closed_within(Duration::from_millis(1)).then_some(Answer::Closed)
}

/// Plays a case up to its answer; what is wrong with that, if anything.
pub fn play(address: SocketAddr, case: &Case) -> Result<(), String> {
    let mut socket = match case.stage {
        Stage::Open => Amqp::with_frame_max(address, 4096).socket,
        _ => Socket::connect(address),
    };
    if matches!(case.stage, Stage::Greeted | Stage::LoggedIn) {
        socket.send(HEADER);
    }
    if case.stage == Stage::LoggedIn {
        socket.send(&start_ok(&table(&[]), "PLAIN", b"\0guest\0guest"));
    }
    let _ = socket.try_send(&case.octets);
    let found = answer(&mut socket, Instant::now() + ANSWER_TIME);
    let is_right = match (case.answer, found) {
        (Answer::Ends(one, other), Some(Answer::Ends(code, _))) => code == one || code == other,
        (Answer::Closed, Some(Answer::Closed | Answer::Ends(..))) => true,
        (wanted, Some(found)) => wanted == found,
        (_, None) => false,
    };
    if !is_right {
        return Err(format!(
            "{:?} {}: {found:?} instead of {:?}",
            case.stage, case.name, case.answer
        ));
    }
    if let Some(Answer::Refused(_)) = found {
        // The connection goes on with another channel.
        let again = [Out::method(20, 41).frame(1), Out::method(20, 10).short("").frame(1)].concat();
        socket.send(&again);
        let until = Instant::now() + PATIENCE;
        let is_open = socket.fill(12, until) && socket.buffered()[7..11] == [0, 20, 0, 11];
        return is_open
            .then_some(())
            .ok_or(format!("{}: the connection does not go on", case.name));
    }
    let _ = socket.try_send(&Out::method(10, 51).frame(0));
    // Behind a frame that could not be read the broker looks for no close-ok: it waits five seconds for the end.
    let _ = socket.writer().shutdown(Shutdown::Write);
    let is_closed = socket.is_closed_within(ANSWER_TIME);
    is_closed.then_some(()).ok_or(format!("{}: the connection does not end", case.name))
}

#[test]
fn each_malformed_dialogue_is_answered_as_the_specification_says() {
    let broker = Broker::start();
    let mut good = Amqp::connect(broker.amqp);
    good.queue("good", false);
    good.consume("good", true);
    let cases = cases();
    assert!(cases.len() >= 100, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        wrong.extend(play(broker.amqp, case).err());
        good.publish("", "good", &amqp::Properties::default(), b"ping");
        assert_eq!(good.receive().body, b"ping", "after {}", case.name);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    // Nothing of it took effect.
    assert_eq!(
        good.ask(Out::method(50, 10).u16(0).short("q").u8(1).table(&[]), (50, 11)),
        Err("404 NOT_FOUND - no queue 'q' in vhost '/'".to_owned())
    );
}
