//! Codec: what is valid is read as it was meant, what is not is refused with its code, and nothing panics.

use super::*;
use crate::client;
use proptest::prelude::*;

fn decode_line(line: &str, version: Version) -> Result<Packet, Fault> {
    decode_bytes(&client::write(line, version.is_5()), version)
}

fn decode_bytes(bytes: &[u8], version: Version) -> Result<Packet, Fault> {
    let mut buffer = BytesMut::from(bytes);
    let frame = cut(&mut buffer, 1 << 20, version.is_5())?.expect("a whole packet");
    assert!(buffer.is_empty(), "one packet");
    decode(frame, version)
}

fn connect_bytes(bytes: &[u8]) -> Result<Connect, BadConnect> {
    let mut buffer = BytesMut::from(bytes);
    let frame = cut(&mut buffer, 1 << 20, false).expect("a frame").expect("a whole packet");
    decode_connect(frame)
}

fn hex(text: &str) -> Vec<u8> {
    client::write(&format!("HEX {text}"), true)
}

fn refused(result: Result<Packet, Fault>) -> u8 {
    result.expect_err("refused").reason.0
}

#[test]
fn connect_of_both_versions() {
    let line =
        "CONNECT id=dev clean keep=60 will=t/w:bye will-qos=2 will-retain username=u password=p";
    let old = connect_bytes(&client::write(line, false)).expect("valid");
    assert_eq!((old.version, old.clean, old.keep_alive), (Version::V311, true, 60));
    assert_eq!((old.client_id.as_str(), old.session_expiry), ("dev", 0));
    let will = old.will.expect("a will");
    assert_eq!((will.topic.as_str(), &will.payload[..]), ("t/w", &b"bye"[..]));
    assert_eq!((will.qos, will.retain, will.delay), (2, true, 0));
    assert_eq!(old.user.expect("a user").as_str(), "u");
    assert_eq!(old.password.as_deref(), Some(&b"p"[..]));

    let line = format!(
        "{line} expiry=100 receive-max=7 packet-max=1000 problem=0 will-delay=5 will.user=k:v"
    );
    let new = connect_bytes(&client::write(&line, true)).expect("valid");
    assert_eq!((new.session_expiry, new.receive_maximum), (100, 7));
    assert_eq!((new.packet_size_max, new.problem_information), (Some(1000), false));
    let will = new.will.expect("a will");
    assert_eq!((will.delay, will.users), (5, 1));
    assert_eq!(&will.properties[..], b"\x26\x00\x01k\x00\x01v", "without the delay");
    // 3.1.1 without clean session lives for ever.
    let kept = connect_bytes(&client::write("CONNECT id=a", false)).expect("valid");
    assert_eq!(kept.session_expiry, u32::MAX);
}

#[test]
fn connects_that_are_refused() {
    use Reason as R;
    #[rustfmt::skip]
    let cases: &[(&str, &[u8], Option<Version>, Reason)] = &[
        ("name", b"\x10\x0c\x00\x04MQTX\x04\x02\x00\x00\x00\x00", None, R::MALFORMED),
        ("level 4 of MQIsdp", b"\x10\x0e\x00\x06MQIsdp\x04\x02\x00\x00\x00\x00", Some(Version::V311), R::UNSUPPORTED_VERSION),
        ("a bridge of 3.1", b"\x10\x0e\x00\x06MQIsdp\x83\x02\x00\x00\x00\x00", Some(Version::V311), R::UNSUPPORTED_VERSION),
        ("a bridge of 3.1.1", b"\x10\x0c\x00\x04MQTT\x84\x02\x00\x00\x00\x00", Some(Version::V311), R::UNSUPPORTED_VERSION),
        ("a bridge of 5", b"\x10\x0c\x00\x04MQTT\x85\x02\x00\x00\x00\x00\x00", Some(Version::V5), R::UNSUPPORTED_VERSION),
        ("level 6", b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00", Some(Version::V5), R::UNSUPPORTED_VERSION),
        ("level 3 of MQTT", b"\x10\x0c\x00\x04MQTT\x03\x02\x00\x00\x00\x00", Some(Version::V311), R::UNSUPPORTED_VERSION),
        ("reserved flag", b"\x10\x0c\x00\x04MQTT\x04\x03\x00\x00\x00\x00", Some(Version::V311), R::MALFORMED),
        ("fixed flags", b"\x11\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00", None, R::MALFORMED),
        ("will qos 3", b"\x10\x0c\x00\x04MQTT\x04\x1e\x00\x00\x00\x00", Some(Version::V311), R::MALFORMED),
        ("will qos without will", b"\x10\x0c\x00\x04MQTT\x04\x0a\x00\x00\x00\x00", Some(Version::V311), R::MALFORMED),
        ("will retain without will", b"\x10\x0c\x00\x04MQTT\x04\x22\x00\x00\x00\x00", Some(Version::V311), R::MALFORMED),
        ("password alone", b"\x10\x0f\x00\x04MQTT\x04\x42\x00\x00\x00\x00\x00\x01p", Some(Version::V311), R::MALFORMED),
        ("trailing bytes", b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x00\x00", Some(Version::V311), R::MALFORMED),
        ("no client id", b"\x10\x0a\x00\x04MQTT\x04\x02\x00\x00", Some(Version::V311), R::MALFORMED),
        ("NUL in id", b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01\x00", Some(Version::V311), R::MALFORMED),
        ("id is not UTF-8", b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01\xff", Some(Version::V311), R::MALFORMED),
        ("surrogate in id", b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x00\x00\x03\xed\xa0\x80", Some(Version::V311), R::MALFORMED),
        ("wildcard in will topic", b"\x10\x10\x00\x04MQTT\x04\x06\x00\x00\x00\x00\x00\x01#\x00\x00", Some(Version::V311), R::MALFORMED),
        ("v5 receive maximum 0", b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x00\x00\x00", Some(Version::V5), R::PROTOCOL_ERROR),
        ("v5 packet size 0", b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x05\x27\x00\x00\x00\x00\x00\x00", Some(Version::V5), R::PROTOCOL_ERROR),
        ("v5 unknown property", b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x00\x02\x7e\x00\x00\x00", Some(Version::V5), R::MALFORMED),
        ("v5 property of another packet", b"\x10\x10\x00\x04MQTT\x05\x02\x00\x00\x03\x23\x00\x01\x00\x00", Some(Version::V5), R::MALFORMED),
        ("v5 property twice", b"\x10\x13\x00\x04MQTT\x05\x02\x00\x00\x06\x21\x00\x01\x21\x00\x01\x00\x00", Some(Version::V5), R::PROTOCOL_ERROR),
        ("v5 auth data alone", b"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x04\x16\x00\x01x\x00\x00", Some(Version::V5), R::PROTOCOL_ERROR),
        ("v5 properties too long", b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x7f\x00\x00", Some(Version::V5), R::MALFORMED),
        ("v5 five-byte property length", b"\x10\x11\x00\x04MQTT\x05\x02\x00\x00\xff\xff\xff\xff\x01\x00\x00", Some(Version::V5), R::MALFORMED),
        ("v5 problem information 2", b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x00\x02\x17\x02\x00\x00", Some(Version::V5), R::PROTOCOL_ERROR),
        ("PUBLISH first", b"\x30\x03\x00\x01a", None, R::PROTOCOL_ERROR),
    ];
    for (name, bytes, version, reason) in cases {
        let mut bytes = bytes.to_vec();
        // The literals are written for reading; their length byte follows from them.
        bytes[1] = (bytes.len() - 2) as u8;
        let refusal = connect_bytes(&bytes).expect_err(name);
        assert_eq!((refusal.version, refusal.fault.reason), (*version, *reason), "{name}");
    }
}

#[test]
fn what_other_codecs_let_through() {
    use Version::{V5, V311};
    let cases: &[(&str, &str, Version, u8)] = &[
        ("NUL in topic", "30 04 0002 6100", V311, 0x81),
        ("topic is not UTF-8", "30 03 0001 ff", V311, 0x81),
        ("wildcard # in topic", "30 03 0001 23", V311, 0x81),
        ("wildcard + in topic", "30 06 0003 612f2b 00", V5, 0x81),
        ("empty topic", "30 02 0000", V311, 0x81),
        ("empty topic without alias", "30 03 0000 00", V5, 0x82),
        ("DUP with QoS 0", "38 03 0001 61", V311, 0x81),
        ("QoS 3", "36 05 0001 61 0001", V311, 0x81),
        ("PUBLISH id 0", "32 05 0001 61 0000", V311, 0x82),
        ("PUBLISH id missing", "32 03 0001 61", V311, 0x81),
        ("no property length", "30 03 0001 61", V5, 0x81),
        ("property twice", "30 0a 0001 61 06 230001 230002", V5, 0x82),
        ("payload format 2", "30 06 0001 61 02 0102", V5, 0x82),
        ("subscription id from a client", "30 06 0001 61 02 0b01", V5, 0x82),
        ("response topic with a wildcard", "30 08 0001 61 04 08 0001 23", V5, 0x82),
        ("filter a/#/b", "82 0a 0001 0005 612f232f62 00", V311, 0x81),
        ("filter a+", "82 07 0001 0002 612b 00", V311, 0x81),
        ("filter a#", "82 08 0001 00 0002 6123 00", V5, 0x81),
        ("empty filter", "82 05 0001 0000 00", V311, 0x81),
        ("share without filter", "82 0d 0001 00 0008 2473686172652f67 00", V5, 0x81),
        ("share with wildcard name", "82 0f 0001 00 000a 2473686172652f2b2f61 00", V5, 0x81),
        ("SUBSCRIBE id 0", "82 06 0000 0001 61 00", V311, 0x82),
        ("SUBSCRIBE flags", "80 06 0001 0001 61 00", V311, 0x81),
        ("SUBSCRIBE without filters", "82 02 0001", V311, 0x82),
        ("SUBSCRIBE reserved bits of 3.1.1", "82 06 0001 0001 61 04", V311, 0x81),
        ("SUBSCRIBE reserved bits of 5", "82 07 0001 00 0001 61 40", V5, 0x81),
        ("SUBSCRIBE QoS 3", "82 06 0001 0001 61 03", V311, 0x82),
        ("retain handling 3", "82 07 0001 00 0001 61 30", V5, 0x82),
        ("subscription id 0", "82 09 0001 02 0b00 0001 61 00", V5, 0x82),
        ("no local on a share", "82 0f 0001 00 000a 2473686172652f672f61 04", V5, 0x82),
        ("SUBSCRIBE option missing", "82 05 0001 0001 61", V311, 0x81),
        ("UNSUBSCRIBE flags", "a0 05 0001 0001 61", V311, 0x81),
        ("UNSUBSCRIBE without filters", "a2 02 0001", V311, 0x82),
        ("PUBREL flags", "60 02 0001", V311, 0x81),
        ("PUBACK flags", "42 02 0001", V311, 0x81),
        ("AUTH flags", "f1 00", V5, 0x81),
        ("PUBREC id 0", "50 02 0000", V5, 0x82),
        ("PUBREL id 0", "62 02 0000", V5, 0x82),
        ("PUBCOMP id 0", "70 02 0000", V5, 0x82),
        ("UNSUBSCRIBE id 0", "a2 06 0000 00 0001 61", V5, 0x82),
        ("UNSUBSCRIBE of an empty filter", "a2 05 1234 00 0000", V5, 0x81),
        ("UNSUBSCRIBE a#", "a2 07 1234 00 0002 6123", V5, 0x81),
        ("PUBACK with a property that it has not", "40 05 0001 00 01 01", V5, 0x81),
        ("SUBSCRIBE with a property that it has not", "82 09 1234 02 0101 0001 70 00", V5, 0x81),
        ("PUBACK id 0", "40 02 0000", V311, 0x82),
        ("PUBACK of 3.1.1 with a code", "40 03 0001 00", V311, 0x81),
        ("PUBACK code of another packet", "40 03 0001 92", V5, 0x82),
        ("PUBREL code of another packet", "62 03 0001 10", V5, 0x82),
        ("PINGREQ with a body", "c0 01 00", V311, 0x81),
        ("DISCONNECT of 3.1.1 with a code", "e0 01 00", V311, 0x81),
        ("DISCONNECT with a server's code", "e0 01 8b", V5, 0x82),
        ("server reference from a client", "e0 06 00 04 1c 0001 61", V5, 0x82),
        ("CONNACK from a client", "20 02 0000", V311, 0x82),
        ("PINGRESP from a client", "d0 00", V311, 0x82),
        ("SUBACK from a client", "90 03 0001 00", V311, 0x82),
        ("second CONNECT", "10 0c 00044d515454 04 02 0000 0000", V311, 0x82),
        ("AUTH without a method", "f0 00", V5, 0x82),
        ("AUTH in 3.1.1", "f0 00", V311, 0x81),
        ("type 0", "00 00", V5, 0x81),
        ("user property cut short", "30 09 0001 61 05 26 0001 61 00", V5, 0x81),
        ("expiry cut short", "30 06 0001 61 02 0200", V5, 0x81),
        ("padded property length", "30 05 0001 61 80 00", V5, 0x81),
    ];
    for (name, bytes, version, reason) in cases {
        let mut bytes = hex(bytes);
        // The literals are written for reading; their length byte follows from them.
        bytes[1] = (bytes.len() - 2) as u8;
        let got = refused(decode_bytes(&bytes, *version));
        assert_eq!(got, *reason, "{name}: {got:#04x}");
    }
}

/// MQTT 5 table 2-4: each property and the packets that may have it. `server:` only when the server sends it.
#[rustfmt::skip]
const PROPERTIES: [(u8, &str, &str); 27] = [
    (0x01, "01", "PUBLISH WILL"),
    (0x02, "00000001", "PUBLISH WILL"),
    (0x03, "000161", "PUBLISH WILL"),
    (0x08, "000161", "PUBLISH WILL"),
    (0x09, "000161", "PUBLISH WILL"),
    (0x0B, "01", "server:PUBLISH SUBSCRIBE"),
    (0x11, "00000001", "CONNECT server:CONNACK DISCONNECT"),
    (0x12, "000161", "server:CONNACK"),
    (0x13, "0001", "server:CONNACK"),
    (0x15, "000161", "CONNECT server:CONNACK AUTH"),
    (0x16, "000161", "CONNECT server:CONNACK AUTH"),
    (0x17, "01", "CONNECT"),
    (0x18, "00000001", "WILL"),
    (0x19, "01", "CONNECT"),
    (0x1A, "000161", "server:CONNACK"),
    (0x1C, "000161", "server:CONNACK server:DISCONNECT"),
    (0x1F, "000161", "server:CONNACK PUBACK PUBREC PUBREL PUBCOMP server:SUBACK server:UNSUBACK DISCONNECT AUTH"),
    (0x21, "0001", "CONNECT server:CONNACK"),
    (0x22, "0001", "CONNECT server:CONNACK"),
    (0x23, "0001", "PUBLISH"),
    (0x24, "01", "server:CONNACK"),
    (0x25, "01", "server:CONNACK"),
    (0x26, "0001610001 62", "CONNECT server:CONNACK PUBLISH WILL PUBACK PUBREC PUBREL PUBCOMP SUBSCRIBE server:SUBACK \
        UNSUBSCRIBE server:UNSUBACK DISCONNECT AUTH"),
    (0x27, "00000001", "CONNECT server:CONNACK"),
    (0x28, "01", "server:CONNACK"),
    (0x29, "01", "server:CONNACK"),
    (0x2A, "01", "server:CONNACK"),
];

/// Each packet of a client that has properties: what stands in front of the block, and behind it.
const PLACES: [(&str, u8, &str, &str); 10] = [
    ("CONNECT", 0x10, "00044d515454 05 02 0000", "0000"),
    ("WILL", 0x10, "00044d515454 05 06 0000 00 0000", "000177 0000"),
    ("PUBLISH", 0x30, "000161", "78"),
    ("PUBACK", 0x40, "0001 00", ""),
    ("PUBREC", 0x50, "0001 00", ""),
    ("PUBREL", 0x62, "0001 00", ""),
    ("PUBCOMP", 0x70, "0001 00", ""),
    ("SUBSCRIBE", 0x82, "0001", "000161 00"),
    ("UNSUBSCRIBE", 0xA2, "0001", "000161"),
    ("DISCONNECT", 0xE0, "00", ""),
];

#[test]
fn every_property_in_every_packet() {
    let judge = |(place, first, before, behind): (&str, u8, &str, &str), property: &[u8]| {
        let block = [&[property.len() as u8], property].concat();
        let body = [hex(before), block, hex(behind)].concat();
        let bytes = client::packet(first, &body);
        match place {
            "CONNECT" | "WILL" => connect_bytes(&bytes).map(drop).map_err(|bad| bad.fault),
            _ => decode_bytes(&bytes, Version::V5).map(drop),
        }
        .map_err(|fault| fault.reason.0)
    };
    for place in PLACES {
        let name = place.0;
        assert_eq!(judge(place, &[]), Ok(()), "{name} without properties");
        for (id, value, places) in PROPERTIES {
            let property = [vec![id], hex(value)].concat();
            let mut packets = places.split_whitespace();
            let found = packets.find(|packet| packet.trim_start_matches("server:") == name);
            let want = match found {
                Some(packet) if packet.starts_with("server:") => Err(0x82),
                // Authentication data without a method.
                Some(_) if id == 0x16 => Err(0x82),
                Some(_) => Ok(()),
                // §2.2.2.2
                None => Err(0x81),
            };
            let got = judge(place, &property);
            assert_eq!(got, want, "property {id:#04x} in {name}");
            if want == Ok(()) {
                let twice = [&property[..], &property].concat();
                let want = if id == 0x26 { Ok(()) } else { Err(0x82) };
                assert_eq!(judge(place, &twice), want, "property {id:#04x} twice in {name}");
                let cut = &property[..property.len() - 1];
                assert_eq!(judge(place, cut), Err(0x81), "property {id:#04x} cut short in {name}");
            }
        }
        for id in [0x00, 0x04, 0x0A, 0x2B, 0x7F] {
            assert_eq!(judge(place, &[id, 0]), Err(0x81), "unknown property {id:#04x} in {name}");
        }
        // Identifiers are variable byte integers: this is not 0x26.
        assert_eq!(judge(place, &[0xA6, 0x02, 0, 0, 0, 0]), Err(0x81), "identifier 294 in {name}");
    }
}

#[test]
fn every_reason_code_in_every_packet_of_a_client() {
    let acks = [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99];
    let ends = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
    for code in 0..=u8::MAX {
        for (first, codes) in
            [(0x40, &acks[..]), (0x50, &acks), (0x62, &[0, 0x92]), (0x70, &[0, 0x92])]
        {
            let got = decode_bytes(&client::packet(first, &[0, 1, code]), Version::V5);
            let want = if codes.contains(&code) { Ok(()) } else { Err(0x82) };
            assert_eq!(got.map(drop).map_err(|f| f.reason.0), want, "{first:#04x} {code:#04x}");
        }
        let got = decode_bytes(&client::packet(0xE0, &[code]), Version::V5);
        let want = if ends.contains(&code) { Ok(()) } else { Err(0x82) };
        assert_eq!(got.map(drop).map_err(|f| f.reason.0), want, "DISCONNECT {code:#04x}");
    }
}

#[test]
fn mqtt_3_1_is_read() {
    let connect = |text: &str| connect_bytes(&client::packet(0x10, &hex(text)));
    let plain = connect("00064d5149736470 03 02 003c 000161").expect("valid");
    assert_eq!((plain.version, plain.clean, plain.keep_alive), (Version::V31, true, 60));
    assert_eq!((plain.client_id.as_str(), plain.session_expiry), ("a", 0));
    let kept = connect("00064d5149736470 03 00 0000 000161").expect("valid");
    assert_eq!(kept.session_expiry, u32::MAX);
    // A bit that is not used, and settings of a will without a will, mean nothing.
    let odd = connect("00064d5149736470 03 2b 0000 000161").expect("valid");
    assert!(odd.clean && odd.will.is_none());
    // §3.1: the names that the flags promise may be missing.
    let named = connect("00064d5149736470 03 c2 0000 000161 000175").expect("valid");
    assert_eq!(
        (named.user.map(|u| u.as_str().to_owned()).as_deref(), named.password),
        (Some("u"), None)
    );
    let unnamed = connect("00064d5149736470 03 c2 0000 000161").expect("valid");
    assert_eq!((unnamed.user, unnamed.password), (None, None));
    assert!(connect("00064d5149736470 03 42 0000 000161 000170").is_err(), "a password alone");
    // Packets that are sent again have DUP, and bits without a use may be anything.
    for bytes in
        ["8a 06 0001 0001 61 fd", "aa 05 0001 0001 61", "6a 02 0001", "42 02 0001", "c4 00"]
    {
        let bytes = hex(bytes);
        let read = decode_bytes(&bytes, Version::V31);
        assert!(read.is_ok(), "{bytes:x?}: {read:?}");
        assert!(decode_bytes(&bytes, Version::V311).is_err(), "{bytes:x?} in 3.1.1");
    }
    let Ok(Packet::Subscribe(subscribe)) =
        decode_bytes(&hex("82 06 0001 0001 61 fd"), Version::V31)
    else {
        panic!("a subscribe")
    };
    assert_eq!(subscribe.filters[0].qos, 1);
    let mut out = BytesMut::new();
    connack(&mut out, Version::V31, true, Reason::BAD_CREDENTIALS, &Block::new());
    suback(&mut out, Version::V31, 1, &[Reason(1), Reason::NOT_AUTHORIZED], &Block::new());
    write_ack(&mut out, AckKind::PubAck, Version::V31, 7, (Reason::SUCCESS, &Block::new()));
    assert_eq!(&out[..], b"\x20\x02\x01\x04\x90\x04\x00\x01\x01\x80\x40\x02\x00\x07");
}

#[test]
fn frames_are_cut_by_their_length() {
    let cut_hex = |bytes: &str, limit, minimal| {
        cut(&mut BytesMut::from(&hex(bytes)[..]), limit, minimal).map_err(|f| f.reason.0)
    };
    assert_eq!(cut_hex("30 ff ff ff ff", 10, true), Err(0x81), "five bytes of length");
    assert_eq!(cut_hex("30 ff ff ff 7f", 1 << 20, true), Err(0x95), "before it has come");
    assert_eq!(cut_hex("30 ff ff", 1 << 20, true), Ok(None));
    assert_eq!(cut_hex("c0 80 00", 100, true), Err(0x81), "padded");
    assert_eq!(cut_hex("c0 80 00", 100, false).map(|f| f.is_some()), Ok(true));
    assert_eq!(cut_hex("30 03 0001", 5, true), Ok(None), "just at the limit");
    assert_eq!(cut_hex("30 04 0001", 5, true), Err(0x95));
}

#[test]
fn publish_keeps_what_is_the_senders() {
    let line = "PUBLISH t/a qos=1 id=9 retain user=a:1 message-expiry=30 format=1 alias=3 \
                content-type=x/y user=a:2 \"hello\"";
    let Ok(Packet::Publish(publish)) = decode_line(line, Version::V5) else { panic!("a publish") };
    assert_eq!((publish.topic.as_str(), publish.packet_id, publish.qos), ("t/a", 9, 1));
    assert_eq!((publish.expiry, publish.alias, publish.users), (Some(30), Some(3), 2));
    assert!(publish.retain && !publish.dup);
    assert_eq!(&publish.payload[..], b"hello");
    let mut want = Vec::new();
    want.extend(b"\x26\x00\x01a\x00\x011\x01\x01\x03\x00\x03x/y\x26\x00\x01a\x00\x012");
    assert_eq!(&publish.properties[..], &want[..], "order and duplicates, without the hop's own");
    // Nothing to leave out: the block is a slice of the frame.
    let Ok(Packet::Publish(plain)) = decode_line("PUBLISH t user=a:b \"x\"", Version::V5) else {
        panic!("a publish")
    };
    assert_eq!(&plain.properties[..], b"\x26\x00\x01a\x00\x01b");
}

#[test]
fn subscribe_options() {
    let line = "SUBSCRIBE 5 a/+ $share/g/b/# sub=200 qos=2 rap rh=1";
    let Ok(Packet::Subscribe(subscribe)) = decode_line(line, Version::V5) else { panic!() };
    assert_eq!((subscribe.packet_id, subscribe.id, subscribe.filters.len()), (5, Some(200), 2));
    let first = &subscribe.filters[0];
    assert_eq!((first.filter.as_str(), first.qos), ("a/+", 2));
    assert_eq!(first.handling, Handling::SendIfNew);
    assert!(first.retain_as_published && !first.no_local);
    let parts = shared(&subscribe.filters[1].filter).expect("valid").expect("shared");
    assert_eq!((&parts.group[..], &parts.filter[..]), (&b"g"[..], &b"b/#"[..]));
}

#[test]
fn every_cut_asks_for_more_and_nothing_panics() {
    let lines = [
        "PUBLISH t/a qos=2 id=9 user=a:1 message-expiry=30 response-topic=r correlation=c \"hello\"",
        "SUBSCRIBE 5 a/+ b sub=200 qos=2",
        "UNSUBSCRIBE 5 a/+ b user=k:v",
        "PUBACK 5 10 reason=because user=k:v",
        "DISCONNECT 04 expiry=5 reason=bye",
        "CONNECT id=dev clean keep=60 will=t/w:bye username=u password=p expiry=9 will-delay=5",
    ];
    for line in lines {
        let whole = client::write(line, true);
        for at in 0..whole.len() {
            let mut buffer = BytesMut::from(&whole[..at]);
            assert_eq!(cut(&mut buffer, 1 << 20, true), Ok(None), "{line} cut at {at}");
            assert_eq!(buffer.len(), at);
        }
        // The same with a frame that claims to be whole.
        for at in 2..whole.len() {
            let mut lying = whole[..at].to_vec();
            lying[1] = (at - 2) as u8;
            let mut buffer = BytesMut::from(&lying[..]);
            let frame = cut(&mut buffer, 1 << 20, true).expect("cut").expect("whole");
            let _ = decode(frame.clone(), Version::V5);
            let _ = decode(frame.clone(), Version::V311);
            let _ = decode_connect(frame);
        }
    }
}

mod written {
    use super::*;
    use mqttbytes::{v4, v5};

    fn read5(bytes: &BytesMut) -> v5::Packet {
        v5::read(&mut bytes.clone(), 1 << 20).expect("another codec reads it")
    }

    fn read4(bytes: &BytesMut) -> v4::Packet {
        v4::read(&mut bytes.clone(), 1 << 20).expect("another codec reads it")
    }

    #[test]
    fn connack_and_acks() {
        let mut block = Block::new();
        block.u16(id::RECEIVE_MAXIMUM, 64);
        block.bytes(id::ASSIGNED_CLIENT_ID, b"x");
        block.reason_string(&"é".repeat(400));
        let mut out = BytesMut::new();
        connack(&mut out, Version::V5, true, Reason::SUCCESS, &block);
        let v5::Packet::ConnAck(ack) = read5(&out) else { panic!() };
        let properties = ack.properties.expect("properties");
        assert!(ack.session_present);
        assert_eq!(properties.receive_max, Some(64));
        assert_eq!(properties.reason_string.map(|text| text.len()), Some(512));

        out.clear();
        connack(&mut out, Version::V311, false, Reason::BAD_CREDENTIALS, &block);
        assert_eq!(&out[..], b"\x20\x02\x00\x04");

        out.clear();
        write_ack(&mut out, AckKind::PubAck, Version::V5, 7, (Reason::SUCCESS, &Block::new()));
        assert_eq!(&out[..], b"\x40\x02\x00\x07");
        out.clear();
        let mut block = Block::new();
        block.reason_string("full");
        write_ack(&mut out, AckKind::PubAck, Version::V5, 7, (Reason::QUOTA_EXCEEDED, &block));
        let v5::Packet::PubAck(ack) = read5(&out) else { panic!() };
        assert_eq!(ack.reason, v5::PubAckReason::QuotaExceeded);
        assert_eq!(ack.properties.and_then(|p| p.reason_string).as_deref(), Some("full"));
        out.clear();
        write_ack(&mut out, AckKind::PubRel, Version::V311, 7, (Reason(0x92), &block));
        assert_eq!(read4(&out), v4::Packet::PubRel(v4::PubRel::new(7)));
    }

    #[test]
    fn suback_unsuback_disconnect() {
        let codes = [Reason(0), Reason(2), Reason::QUOTA_EXCEEDED];
        let mut out = BytesMut::new();
        suback(&mut out, Version::V5, 3, &codes, &Block::new());
        let v5::Packet::SubAck(ack) = read5(&out) else { panic!() };
        assert_eq!((ack.pkid, ack.return_codes.len()), (3, 3));
        out.clear();
        suback(&mut out, Version::V311, 3, &codes, &Block::new());
        assert_eq!(&out[..], b"\x90\x05\x00\x03\x00\x02\x80");
        out.clear();
        unsuback(&mut out, Version::V311, 3, &codes, &Block::new());
        assert_eq!(&out[..], b"\xb0\x02\x00\x03");
        out.clear();
        unsuback(&mut out, Version::V5, 3, &[Reason(0x11)], &Block::new());
        assert_eq!(&out[..], b"\xb0\x04\x00\x03\x00\x11");
        out.clear();
        write_disconnect(&mut out, Reason::SHUTTING_DOWN, &Block::new());
        assert_eq!(&out[..], b"\xe0\x02\x8b\x00");
        out.clear();
        pingresp(&mut out);
        assert_eq!(read5(&out), v5::Packet::PingResp);
    }

    proptest! {
        /// Every PUBLISH head is read back by another codec, and its length is what it says.
        #[test]
        fn publish_heads(
            topic in "[a-z/é]{1,40}", qos in 0u8..3, flags in any::<(bool, bool, bool)>(),
            expiry in proptest::option::of(any::<u32>()),
            ids in proptest::collection::vec(1u32..268_435_456, 0..4),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let (dup, retain, five) = flags;
            let version = if five { Version::V5 } else { Version::V311 };
            let head = PublishHead {
                version, dup: dup && qos > 0, qos, retain, topic: topic.as_bytes(), packet_id: 77,
                expiry, subscription_ids: &ids, properties: 0, payload: payload.len(),
            };
            let mut out = BytesMut::new();
            publish_head(&mut out, &head);
            out.extend_from_slice(&payload);
            prop_assert_eq!(out.len(), head.packet_len());
            match version {
                Version::V5 => {
                    let v5::Packet::Publish(p) = read5(&out) else { panic!() };
                    prop_assert_eq!((p.topic, p.qos as u8, p.retain), (topic, qos, retain));
                    prop_assert_eq!(&p.payload[..], &payload[..]);
                    let properties = p.properties;
                    let got = properties.as_ref().and_then(|p| p.message_expiry_interval);
                    prop_assert_eq!(got, expiry);
                    let got = properties.map_or(Vec::new(), |p| p.subscription_identifiers);
                    prop_assert_eq!(got, ids.iter().map(|id| *id as usize).collect::<Vec<_>>());
                }
                Version::V31 | Version::V311 => {
                    let v4::Packet::Publish(p) = read4(&out) else { panic!() };
                    prop_assert_eq!((p.topic, p.qos as u8, p.retain), (topic, qos, retain));
                    prop_assert_eq!(&p.payload[..], &payload[..]);
                    prop_assert_eq!(p.pkid, if qos > 0 { 77 } else { 0 });
                }
            }
        }

        /// What another codec writes is read as it was meant.
        #[test]
        fn publishes_of_another_codec(
            topic in "[a-z/é]{1,40}", qos in 0u8..3, retain in any::<bool>(),
            expiry in proptest::option::of(any::<u32>()),
            users in proptest::collection::vec(("[a-z]{0,9}", "[a-z]{0,9}"), 0..4),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut theirs = v5::Publish::new(&*topic, mqttbytes::qos(qos).unwrap(), payload.clone());
            theirs.retain = retain;
            theirs.pkid = if qos > 0 { 5 } else { 0 };
            theirs.properties = Some(v5::PublishProperties {
                payload_format_indicator: None, message_expiry_interval: expiry, topic_alias: None,
                response_topic: None, correlation_data: None, user_properties: users.clone(),
                subscription_identifiers: Vec::new(), content_type: Some("a/b".into()),
            });
            let mut bytes = BytesMut::new();
            theirs.write(&mut bytes).expect("written");
            let Ok(Packet::Publish(ours)) = decode_bytes(&bytes, Version::V5) else { panic!() };
            prop_assert_eq!((ours.topic.as_str(), ours.qos, ours.retain), (&*topic, qos, retain));
            prop_assert_eq!((ours.expiry, ours.packet_id), (expiry, theirs.pkid));
            prop_assert_eq!(&ours.payload[..], &payload[..]);
            let mut got = Vec::new();
            read_properties(&ours.properties, Place::Publish, |property, _| {
                if let Property::User(k, v) = property {
                    got.push((k.as_str().to_owned(), v.as_str().to_owned()));
                }
                Ok(())
            }).expect("valid");
            prop_assert_eq!(got, users);
        }

        /// The same for the other packets of a client, in both versions.
        #[test]
        fn packets_of_another_codec(
            filters in proptest::collection::vec("(\\+|[a-z]{1,5})(/[a-z]{0,5}){0,3}(/#)?", 1..5),
            qos in 0u8..3, pkid in 1u16.., id in "[a-z0-9]{1,20}", keep in any::<u16>(),
        ) {
            let level = mqttbytes::qos(qos).unwrap();
            let of4 = filters.iter().map(|f| v4::SubscribeFilter::new(f.clone(), level));
            let mut theirs = v4::Subscribe::new_many(of4);
            theirs.pkid = pkid;
            let mut bytes = BytesMut::new();
            theirs.write(&mut bytes).expect("written");
            let Ok(Packet::Subscribe(ours)) = decode_bytes(&bytes, Version::V311) else { panic!() };
            prop_assert_eq!(ours.packet_id, pkid);
            let got: Vec<_> = ours.filters.iter().map(|f| f.filter.as_str().to_owned()).collect();
            prop_assert_eq!(&got, &filters);
            prop_assert!(ours.filters.iter().all(|f| f.qos == qos));

            let mut connect = v5::Connect::new(id.clone());
            connect.keep_alive = keep;
            connect.set_login("u", "p");
            bytes.clear();
            connect.write(&mut bytes).expect("written");
            let ours = connect_bytes(&bytes).expect("valid");
            prop_assert_eq!((ours.client_id.as_str(), ours.keep_alive), (&*id, keep));
            prop_assert_eq!(ours.version, Version::V5);
        }

        /// Any bytes at all: an answer, never a panic, and never more consumed than is there.
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..120), five in any::<bool>()) {
            let version = if five { Version::V5 } else { Version::V311 };
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = cut(&mut buffer, 1000, five) {
                let _ = decode_connect(frame.clone());
                let _ = decode(frame, version);
            }
        }

        /// Valid packets with one byte changed.
        #[test]
        fn damaged_packets(which in 0usize..5, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let lines = [
                "PUBLISH t/a qos=2 id=9 user=a:1 message-expiry=30 response-topic=r \"hello\"",
                "SUBSCRIBE 5 a/+ b sub=200 qos=2",
                "PUBREC 5 10 reason=because user=k:v",
                "DISCONNECT 04 expiry=5 reason=bye",
                "CONNECT id=dev clean will=t/w:bye username=u password=p expiry=9 will-delay=5",
            ];
            let mut bytes = client::write(lines[which], true);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some(frame)) = cut(&mut buffer, 1000, true) {
                let _ = decode_connect(frame.clone());
                let _ = decode(frame, Version::V5);
            }
        }
    }
}
