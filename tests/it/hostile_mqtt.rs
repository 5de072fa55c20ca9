//! Malformed MQTT dialogues, one by one, and what the specifications (MQTT 5 §1.5, §2, §3, §4.13; 3.1.1 §4.8) answer to
//! each: 0x81 to what is no packet, 0x82 to what must not come, a code of its own where there is one; 3.1.1 only
//! closes. What they cost others is measured in floods/malformed.rs.

use crate::broker::Broker;
use crate::wire::mqtt::{Connect, Mqtt, packet};
use crate::wire::{PATIENCE, Socket};
use std::net::{Shutdown, SocketAddr};
use std::time::{Duration, Instant};

/// Where in a dialogue the malformed bytes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In the place of CONNECT.
    First,
    /// Behind CONNACK, in MQTT 5.
    Five,
    /// Behind CONNACK, in MQTT 3.1.1.
    Old,
}

/// What has to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// CONNACK with that code, and the end.
    Connack(u8),
    /// DISCONNECT with that code, and the end.
    Disconnect(u8),
    /// The end, without a word.
    Closed,
}

/// A malformed dialogue.
pub struct Case {
    pub name: String,
    stage: Stage,
    bytes: Vec<u8>,
    answer: Answer,
}

/// The name of a case, its packet in hexadecimal digits, and the code that answers it.
type Row = (&'static str, &'static str, u8);

/// Longest time until an answer; a login that does not go on ends after ten seconds.
const ANSWER_TIME: Duration = Duration::from_secs(13);
/// Everything that is published here goes to topics of that level, and nothing of it may arrive.
const WATCHED: &str = "h/#";

/// All cases.
pub fn cases() -> Vec<Case> {
    let five = [LENGTHS, PUBLISHES, PROPERTIES, ACKS, SUBSCRIBES, ENDS].concat();
    let five = five.into_iter().map(|(name, hex, code)| Case {
        name: name.to_owned(),
        stage: Stage::Five,
        bytes: bytes(hex),
        answer: Answer::Disconnect(code),
    });
    let old = OLD.iter().map(|(name, hex)| Case {
        name: (*name).to_owned(),
        stage: Stage::Old,
        bytes: bytes(hex),
        answer: Answer::Closed,
    });
    five.chain(old).chain(connects()).chain(shortened()).collect()
}

/// The bytes of hexadecimal digits; blanks say nothing. `*N` repeats the byte before it N times in all.
fn bytes(hex: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in hex.split(' ').filter(|word| !word.is_empty()) {
        if let Some(count) = word.strip_prefix('*') {
            let last = *bytes.last().expect("a byte to repeat");
            bytes.resize(bytes.len() + count.parse::<usize>().expect("a count") - 1, last);
            continue;
        }
        let digits = (0..word.len()).step_by(2);
        bytes.extend(digits.map(|at| u8::from_str_radix(&word[at..at + 2], 16).expect("digits")));
    }
    bytes
}

const LENGTHS: &[Row] = &[
    ("a remaining length of five bytes", "30 80808080 01", 0x81),
    ("a remaining length of all ones", "30 FFFFFFFFFF", 0x81),
    ("a remaining length that is not minimal", "C0 8000", 0x81),
    ("a packet of 256 MiB", "30 FFFFFF7F", 0x95),
    ("packet type 0", "00 00", 0x81),
    ("packet type 0 with a body", "00 02 0001", 0x81),
    ("a second CONNECT", "10 0D 0004 4D515454 05 02 0000 00 0000", 0x82),
    ("CONNACK", "20 03 00 00 00", 0x82),
    ("SUBACK", "90 04 0001 00 00", 0x82),
    ("UNSUBACK", "B0 04 0001 00 00", 0x82),
    ("PINGRESP", "D0 00", 0x82),
    ("PINGREQ with flags", "C1 00", 0x81),
    ("PINGREQ with a body", "C0 01 00", 0x81),
    ("AUTH without a method", "F0 00", 0x82),
    ("AUTH with flags", "F1 00", 0x81),
    ("AUTH with a method that nobody chose", "F0 06 18 04 15 0001 61", 0x82),
];

const PUBLISHES: &[Row] = &[
    ("PUBLISH with QoS 3", "36 08 0003 682F78 0001 00", 0x81),
    ("PUBLISH with QoS 3 and DUP", "3E 08 0003 682F78 0001 00", 0x81),
    ("DUP with QoS 0", "38 06 0003 682F78 00", 0x81),
    ("PUBLISH of nothing", "30 00", 0x81),
    ("a topic that ends early", "30 04 0009 682F", 0x81),
    ("a topic of 64 KiB in five bytes", "30 05 FFFF 682F78", 0x81),
    ("no packet identifier", "32 05 0003 682F78", 0x81),
    ("half a packet identifier", "32 06 0003 682F78 00", 0x81),
    ("packet identifier 0 with QoS 1", "32 08 0003 682F78 0000 00", 0x82),
    ("packet identifier 0 with QoS 2", "34 08 0003 682F78 0000 00", 0x82),
    ("no topic and no alias", "30 03 0000 00", 0x82),
    ("`#` in a topic", "30 06 0003 682F23 00", 0x81),
    ("`+` in a topic", "30 06 0003 682F2B 00", 0x81),
    ("U+0000 in a topic", "30 06 0003 682F00 00", 0x81),
    ("a surrogate in a topic", "30 08 0005 682F EDA080 00", 0x81),
    ("an overlong slash in a topic", "30 06 0003 68 C0AF 00", 0x81),
    ("a code point beyond U+10FFFF in a topic", "30 09 0006 682F F4908080 00", 0x81),
    ("a lone continuation byte in a topic", "30 06 0003 682F80 00", 0x81),
    ("a character that ends early in a topic", "30 07 0004 682F E282 00", 0x81),
];

const PROPERTIES: &[Row] = &[
    ("no property length", "30 05 0003 682F78", 0x81),
    ("properties longer than the packet", "30 06 0003 682F78 05", 0x81),
    ("a property length of five bytes", "30 0A 0003 682F78 80808080 01", 0x81),
    ("a property length that is not minimal", "30 07 0003 682F78 80 00", 0x81),
    ("a property that does not exist", "30 08 0003 682F78 02 7E00", 0x81),
    ("property 0", "30 08 0003 682F78 02 0000", 0x81),
    ("an identifier of two bytes that is not minimal", "30 09 0003 682F78 03 8100 01", 0x81),
    ("a payload format without a value", "30 07 0003 682F78 01 01", 0x81),
    ("payload format 2", "30 08 0003 682F78 02 0102", 0x82),
    ("two payload formats", "30 0A 0003 682F78 04 0101 0101", 0x82),
    ("an expiry of three bytes", "30 0A 0003 682F78 04 02 000000", 0x81),
    ("two expiries", "30 10 0003 682F78 0A 02 00000009 02 00000009", 0x82),
    ("a content type that ends early", "30 09 0003 682F78 03 03 0009", 0x81),
    ("U+0000 in a content type", "30 0A 0003 682F78 04 03 0001 00", 0x81),
    ("two content types", "30 0E 0003 682F78 08 03 0001 61 03 0001 61", 0x82),
    ("a wildcard in a response topic", "30 0A 0003 682F78 04 08 0001 23", 0x82),
    ("two response topics", "30 0E 0003 682F78 08 08 0001 61 08 0001 61", 0x82),
    ("correlation data that end early", "30 09 0003 682F78 03 09 0001", 0x81),
    ("two correlations", "30 0E 0003 682F78 08 09 0001 61 09 0001 61", 0x82),
    ("a subscription identifier", "30 08 0003 682F78 02 0B01", 0x82),
    ("alias 0", "30 09 0003 682F78 03 23 0000", 0x94),
    ("an alias beyond the maximum", "30 09 0003 682F78 03 23 FFFF", 0x94),
    ("an alias that was never set", "30 06 0000 03 23 0001", 0x82),
    ("two aliases", "30 0C 0003 682F78 06 23 0001 23 0001", 0x82),
    ("a session expiry in PUBLISH", "30 0B 0003 682F78 05 11 00000001", 0x81),
    ("a reason string in PUBLISH", "30 0A 0003 682F78 04 1F 0001 61", 0x81),
    ("a user property without a value", "30 0A 0003 682F78 04 26 0001 61", 0x81),
    ("a user property that is not UTF-8", "30 0D 0003 682F78 07 26 0001 FF 0001 61", 0x81),
    ("U+0000 in a user property", "30 0D 0003 682F78 07 26 0001 61 0001 00", 0x81),
];

const ACKS: &[Row] = &[
    ("PUBACK of nothing", "40 00", 0x81),
    ("PUBACK of one byte", "40 01 00", 0x81),
    ("PUBACK with flags", "42 02 0001", 0x81),
    ("PUBACK for 0", "40 02 0000", 0x82),
    ("PUBACK with a code of PUBREL", "40 03 0001 92", 0x82),
    ("PUBACK with a code of nobody", "40 03 0001 01", 0x82),
    ("PUBACK with an expiry", "40 09 0001 00 05 02 00000001", 0x81),
    ("PUBACK with two reason strings", "40 0C 0001 00 08 1F 0001 61 1F 0001 61", 0x82),
    ("PUBACK with properties that end early", "40 05 0001 00 09 1F", 0x81),
    ("PUBACK with bytes behind it", "40 05 0001 00 00 00", 0x81),
    ("PUBREC with flags", "51 02 0001", 0x81),
    ("PUBREC for 0", "50 02 0000", 0x82),
    ("PUBREC with a code of nobody", "50 03 0001 FF", 0x82),
    ("PUBREL without its flags", "60 02 0001", 0x81),
    ("PUBREL with flags of PUBLISH", "66 02 0001", 0x81),
    ("PUBREL for 0", "62 02 0000", 0x82),
    ("PUBREL with a code of PUBACK", "62 03 0001 10", 0x82),
    ("PUBREL of one byte", "62 01 01", 0x81),
    ("PUBCOMP with flags", "72 02 0001", 0x81),
    ("PUBCOMP for 0", "70 02 0000", 0x82),
    ("PUBCOMP with a code of PUBREC", "70 03 0001 87", 0x82),
    ("PUBCOMP with a user property that ends early", "70 07 0001 00 03 26 0001", 0x81),
];

const SUBSCRIBES: &[Row] = &[
    ("SUBSCRIBE without its flags", "80 07 0001 00 0001 61 00", 0x81),
    ("SUBSCRIBE with flags of PUBLISH", "8A 07 0001 00 0001 61 00", 0x81),
    ("SUBSCRIBE of nothing", "82 00", 0x81),
    ("SUBSCRIBE for 0", "82 07 0000 00 0001 61 00", 0x82),
    ("SUBSCRIBE without a filter", "82 03 0001 00", 0x82),
    ("an empty filter", "82 06 0001 00 0000 00", 0x81),
    ("a filter without options", "82 06 0001 00 0001 61", 0x81),
    ("a filter that ends early", "82 06 0001 00 0009 61", 0x81),
    ("`#` that is not the last level", "82 09 0001 00 0003 232F61 00", 0x81),
    ("`#` that is not a whole level", "82 08 0001 00 0002 6123 00", 0x81),
    ("`+` that is not a whole level", "82 08 0001 00 0002 612B 00", 0x81),
    ("U+0000 in a filter", "82 07 0001 00 0001 00 00", 0x81),
    ("a filter that is not UTF-8", "82 07 0001 00 0001 FF 00", 0x81),
    ("a second filter that is wrong", "82 0B 0001 00 0001 61 00 0001 00 00", 0x81),
    // §3.8.3.1
    ("a granted QoS of 3", "82 07 0001 00 0001 61 03", 0x82),
    ("retain handling 3", "82 07 0001 00 0001 61 30", 0x82),
    ("a reserved bit of the options", "82 07 0001 00 0001 61 40", 0x81),
    ("the other reserved bit", "82 07 0001 00 0001 61 80", 0x81),
    ("a share of nothing", "82 0D 0001 00 0007 2473686172652F 00", 0x81),
    ("a share without a filter", "82 0F 0001 00 0009 2473686172652F672F 00", 0x81),
    ("a share without a name", "82 0F 0001 00 0009 2473686172652F2F61 00", 0x81),
    ("a share with a wildcard in its name", "82 10 0001 00 000A 2473686172652F2B2F61 00", 0x81),
    ("no local on a share", "82 10 0001 00 000A 2473686172652F672F61 04", 0x82),
    ("subscription identifier 0", "82 09 0001 02 0B00 0001 61 00", 0x82),
    ("two subscription identifiers", "82 0B 0001 04 0B01 0B02 0001 61 00", 0x82),
    ("a subscription identifier of five bytes", "82 0D 0001 06 0B 8080808001 0001 61 00", 0x81),
    ("SUBSCRIBE with a payload format", "82 09 0001 02 0101 0001 61 00", 0x81),
    ("SUBSCRIBE with properties that end early", "82 04 0001 09 0B", 0x81),
    ("UNSUBSCRIBE without its flags", "A0 06 0001 00 0001 61", 0x81),
    ("UNSUBSCRIBE for 0", "A2 06 0000 00 0001 61", 0x82),
    ("UNSUBSCRIBE without a filter", "A2 03 0001 00", 0x82),
    ("UNSUBSCRIBE of an empty filter", "A2 05 0001 00 0000", 0x81),
    ("UNSUBSCRIBE of a filter that ends early", "A2 06 0001 00 0009 61", 0x81),
    ("UNSUBSCRIBE with a subscription identifier", "A2 08 0001 02 0B01 0001 61", 0x81),
    ("UNSUBSCRIBE with a wrong filter", "A2 07 0001 00 0002 2361", 0x81),
];

const ENDS: &[Row] = &[
    ("DISCONNECT with flags", "E1 00", 0x81),
    ("DISCONNECT with a code of servers", "E0 01 8B", 0x82),
    ("DISCONNECT with a code of nobody", "E0 01 05", 0x82),
    ("DISCONNECT with properties that end early", "E0 02 00 05", 0x81),
    ("an expiry for a session that had none", "E0 07 00 05 11 00000009", 0x82),
    ("DISCONNECT with two expiries", "E0 0C 00 0A 11 00000000 11 00000000", 0x82),
    ("DISCONNECT with a server reference", "E0 06 00 04 1C 0001 61", 0x82),
    ("DISCONNECT with a topic alias", "E0 05 00 03 23 0001", 0x81),
    ("DISCONNECT with a reason that is not UTF-8", "E0 06 00 04 1F 0001 FF", 0x81),
    ("DISCONNECT with bytes behind it", "E0 03 00 00 00", 0x81),
];

/// MQTT 3.1.1: each is closed [MQTT-4.8.0-1].
const OLD: &[(&str, &str)] = &[
    ("3.1.1: a remaining length of five bytes", "30 80808080 01"),
    ("3.1.1: a packet of 256 MiB", "30 FFFFFF7F"),
    ("3.1.1: packet type 0", "00 00"),
    ("3.1.1: packet type 15", "F0 00"),
    ("3.1.1: a second CONNECT", "10 0C 0004 4D515454 04 02 0000 0000"),
    ("3.1.1: CONNACK", "20 02 0000"),
    ("3.1.1: SUBACK", "90 03 0001 00"),
    ("3.1.1: UNSUBACK", "B0 02 0001"),
    ("3.1.1: PINGRESP", "D0 00"),
    ("3.1.1: PINGREQ with flags", "C2 00"),
    ("3.1.1: QoS 3", "36 07 0003 682F78 0001"),
    ("3.1.1: DUP with QoS 0", "38 05 0003 682F78"),
    ("3.1.1: an empty topic", "30 02 0000"),
    ("3.1.1: a wildcard in a topic", "30 05 0003 682F23"),
    ("3.1.1: U+0000 in a topic", "30 05 0003 682F00"),
    ("3.1.1: a topic that is not UTF-8", "30 05 0003 682FFF"),
    ("3.1.1: a topic that ends early", "30 04 0009 682F"),
    ("3.1.1: packet identifier 0", "32 07 0003 682F78 0000"),
    ("3.1.1: no packet identifier", "32 05 0003 682F78"),
    ("3.1.1: PUBACK of one byte", "40 01 00"),
    ("3.1.1: PUBACK with bytes behind it", "40 03 0001 00"),
    ("3.1.1: PUBREL without its flags", "60 02 0001"),
    ("3.1.1: SUBSCRIBE without its flags", "80 06 0001 0001 61 00"),
    ("3.1.1: SUBSCRIBE without a filter", "82 02 0001"),
    ("3.1.1: a granted QoS of 3", "82 06 0001 0001 61 03"),
    ("3.1.1: reserved bits of a granted QoS", "82 06 0001 0001 61 04"),
    ("3.1.1: `#` that is not the last level", "82 08 0001 0003 232F61 00"),
    ("3.1.1: UNSUBSCRIBE without a filter", "A2 02 0001"),
    ("3.1.1: DISCONNECT with flags", "E1 00"),
    ("3.1.1: DISCONNECT with a code", "E0 01 00"),
];

/// What stands behind the protocol's name and level in a wrong CONNECT of MQTT 5: flags, keep-alive, properties,
/// payload.
const CONNECTS: &[Row] = &[
    ("the reserved flag", "03 0000 00 0001 68", 0x81),
    ("a will of QoS 3", "1E 0000 00 0001 68 00 0003 682F77 0000", 0x81),
    ("a QoS of no will", "0A 0000 00 0001 68", 0x81),
    ("the retain flag of no will", "22 0000 00 0001 68", 0x81),
    ("a will that is missing", "06 0000 00 0001 68", 0x81),
    ("a will without a topic", "06 0000 00 0001 68 00 0000 0000", 0x81),
    ("a wildcard in a will's topic", "06 0000 00 0001 68 00 0003 682F23 0000", 0x81),
    ("a will without a payload", "06 0000 00 0001 68 00 0003 682F77", 0x81),
    ("a will of payload format 2", "06 0000 00 0001 68 02 0102 0003 682F77 0000", 0x82),
    (
        "two delays of a will",
        "06 0000 00 0001 68 0A 18 00000000 18 00000000 0003 682F77 0000",
        0x82,
    ),
    ("a will with a topic alias", "06 0000 00 0001 68 03 23 0001 0003 682F77 0000", 0x81),
    ("a user name that is missing", "82 0000 00 0001 68", 0x81),
    ("a user name that is not UTF-8", "82 0000 00 0001 68 0001 FF", 0x81),
    ("a password that is missing", "C2 0000 00 0001 68 0001 61", 0x81),
    ("a password that ends early", "C2 0000 00 0001 68 0001 61 0009 61", 0x81),
    ("bytes behind the end", "02 0000 00 0001 68 00", 0x81),
    ("a client identifier that ends early", "02 0000 00 0009 68", 0x81),
    ("a client identifier that is not UTF-8", "02 0000 00 0001 FF", 0x81),
    ("U+0000 in a client identifier", "02 0000 00 0001 00", 0x81),
    ("properties longer than the packet", "02 0000 7F 0001 68", 0x81),
    ("a property of CONNACK", "02 0000 03 13 0009 0001 68", 0x81),
    ("a property of PUBLISH", "02 0000 02 0101 0001 68", 0x81),
    ("two session expiries", "02 0000 0A 11 00000000 11 00000000 0001 68", 0x82),
    ("a Receive Maximum of 0", "02 0000 03 21 0000 0001 68", 0x82),
    ("two Receive Maximums", "02 0000 06 21 0001 21 0001 0001 68", 0x82),
    ("a Maximum Packet Size of 0", "02 0000 05 27 00000000 0001 68", 0x82),
    ("two Maximum Packet Sizes", "02 0000 0A 27 00000FFF 27 00000FFF 0001 68", 0x82),
    ("two Topic Alias Maximums", "02 0000 06 22 0001 22 0001 0001 68", 0x82),
    ("Request Response Information 2", "02 0000 02 1902 0001 68", 0x82),
    ("Request Problem Information 2", "02 0000 02 1702 0001 68", 0x82),
    ("two Request Problem Informations", "02 0000 04 1701 1701 0001 68", 0x82),
    ("two authentication methods", "02 0000 08 15 0001 61 15 0001 61 0001 68", 0x82),
    ("authentication data without a method", "02 0000 04 16 0001 61 0001 68", 0x82),
    ("an authentication method that nobody knows", "02 0000 04 15 0001 61 0001 68", 0x8C),
];

/// What cannot be a CONNECT, or is one of a version that is not spoken.
const FIRST: &[(&str, &str, Answer)] = &[
    ("PUBLISH first", "30 05 0003 682F78", Answer::Closed),
    ("SUBSCRIBE first", "82 06 0001 0001 61 00", Answer::Closed),
    ("PINGREQ first", "C0 00", Answer::Closed),
    ("DISCONNECT first", "E0 00", Answer::Closed),
    ("AUTH first", "F0 00", Answer::Closed),
    ("CONNACK first", "20 02 0000", Answer::Closed),
    ("nothing but zeros", "00 *64", Answer::Closed),
    ("nothing but ones", "FF *64", Answer::Closed),
    ("CONNECT of nothing", "10 00", Answer::Closed),
    ("CONNECT of 256 MiB", "10 FFFFFF7F 0004 4D515454 05", Answer::Closed),
    ("CONNECT with a length of five bytes", "10 80808080 01", Answer::Closed),
    ("CONNECT with flags", "11 0D 0004 4D515454 05 02 0000 00 0000", Answer::Closed),
    ("a name of nobody", "10 0D 0004 4D515458 05 02 0000 00 0000", Answer::Closed),
    ("an empty name", "10 09 0000 05 02 0000 00 0000", Answer::Closed),
    ("level 6", "10 0D 0004 4D515454 06 02 0000 00 0000", Answer::Connack(0x84)),
    ("level 0", "10 0C 0004 4D515454 00 02 0000 0000", Answer::Connack(1)),
    ("the name of 3.1 with level 4", "10 0E 0006 4D5149736470 04 02 0000 0000", Answer::Connack(1)),
    ("3.1.1: the reserved flag", "10 0D 0004 4D515454 04 03 0000 0001 68", Answer::Closed),
    (
        "3.1.1: a will of QoS 3",
        "10 14 0004 4D515454 04 1E 0000 0001 68 0003 682F77 0000",
        Answer::Closed,
    ),
    (
        "3.1.1: a password of nobody",
        "10 10 0004 4D515454 04 42 0000 0001 68 0001 61",
        Answer::Closed,
    ),
    ("3.1.1: bytes behind the end", "10 0E 0004 4D515454 04 02 0000 0001 68 00", Answer::Closed),
    ("3.1.1: no client identifier", "10 0A 0004 4D515454 04 02 0000", Answer::Closed),
];

fn connects() -> Vec<Case> {
    let head = bytes("0004 4D515454 05");
    let five = CONNECTS.iter().map(|(name, hex, code)| {
        let bytes = packet(0x10, &[&head[..], &bytes(hex)].concat());
        (format!("CONNECT: {name}"), bytes, Answer::Connack(*code))
    });
    let first = FIRST.iter().map(|(name, hex, answer)| ((*name).to_owned(), bytes(hex), *answer));
    let case = |(name, bytes, answer)| Case { name, stage: Stage::First, bytes, answer };
    five.chain(first).map(case).collect()
}

/// A CONNECT with everything in it, cut short at each place behind its level, with a length that fits.
fn shortened() -> Vec<Case> {
    let whole = [
        bytes("0004 4D515454 05 C6 0000 05 11 00000000 0001 68"),
        bytes("05 18 00000009 0003 682F77 0001 77 0001 75 0001 70"),
    ]
    .concat();
    let cuts = (8..whole.len()).map(|at| Case {
        name: format!("CONNECT of {at} of {} bytes", whole.len()),
        stage: Stage::First,
        bytes: packet(0x10, &whole[..at]),
        answer: Answer::Connack(0x81),
    });
    cuts.collect()
}

/// The next whole packet; none at the end of the stream, or when none comes in time.
fn next(socket: &mut Socket, until: Instant) -> Option<Vec<u8>> {
    socket.fill(2, until).then_some(())?;
    // Answers of the broker are short.
    let length = usize::from(socket.buffered()[1]);
    assert!(length < 0x80, "an answer of 128 bytes or more");
    socket.fill(2 + length, until).then(|| socket.take(2 + length))
}

/// Plays a case up to its answer; what is wrong with that, if anything.
pub fn play(address: SocketAddr, case: &Case) -> Result<(), String> {
    let mut socket = match case.stage {
        Stage::First => Socket::connect(address),
        Stage::Five => Mqtt::connect(address, &Connect::v5("")).socket,
        Stage::Old => Mqtt::connect(address, &Connect::v311("h-old")).socket,
    };
    let _ = socket.try_send(&case.bytes);
    let found = match next(&mut socket, Instant::now() + ANSWER_TIME) {
        Some(answer) => match answer[..] {
            [0x20, _, _, code, ..] => Some(Answer::Connack(code)),
            [0xE0, _, code, ..] => Some(Answer::Disconnect(code)),
            _ => return Err(format!("{:?} {}: {answer:X?}", case.stage, case.name)),
        },
        None => socket.is_closed_within(Duration::from_millis(1)).then_some(Answer::Closed),
    };
    if found != Some(case.answer) {
        let Case { stage, name, answer, .. } = case;
        return Err(format!("{stage:?} {name}: {found:X?} instead of {answer:X?}"));
    }
    let _ = socket.writer().shutdown(Shutdown::Write);
    match next(&mut socket, Instant::now() + PATIENCE) {
        Some(more) => Err(format!("{:?} {}: {more:X?} behind the answer", case.stage, case.name)),
        None if socket.is_closed_within(PATIENCE) => Ok(()),
        None => Err(format!("{:?} {}: the connection does not end", case.stage, case.name)),
    }
}

#[test]
fn each_malformed_dialogue_is_answered_as_the_specification_says() {
    let broker = Broker::start();
    let mut good = Mqtt::connect(broker.mqtt, &Connect::v5("good"));
    good.subscribe("good", 1);
    let mut watcher = Mqtt::connect(broker.mqtt, &Connect::v5("watcher"));
    watcher.subscribe(WATCHED, 1);
    let cases = cases();
    assert!(cases.len() >= 120, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        wrong.extend(play(broker.mqtt, case).err());
        good.publish("good", b"ping", 1);
        assert_eq!(good.receive().body, b"ping", "after {}", case.name);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    // Nothing of it took effect: neither a publish nor a will.
    good.publish("h/end", b"end", 1);
    assert_eq!(watcher.receive().body, b"end");
}
