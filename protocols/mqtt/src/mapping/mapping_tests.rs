//! Mapping: one check for each MQTT cell of the tables of docs/SEMANTICS.md §1, §3 and §5.

use super::*;
use crate::client;
use crate::codec::{Packet, Publish, Reason, Version, cut, decode};
use bytes::{Bytes, BytesMut};
use crossdock_core::fate;
use crossdock_core::message::carry::Carry;
use crossdock_core::{
    Address, BodyKind, ConfirmOutcome, Death, Error, ErrorKind, Fields, Format, Formats, Id, Key,
    Message, Meta, Name, Origin, Properties, Reason as Why, ReplyTo, Timestamp, Value,
};
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_000_000);

fn publish(line: &str, version: Version) -> Publish {
    let mut bytes = BytesMut::from(&client::write(line, version.is_5())[..]);
    let frame = cut(&mut bytes, 1 << 20, true).expect("a frame").expect("whole");
    match decode(frame, version) {
        Ok(Packet::Publish(publish)) => publish,
        other => panic!("{other:?}"),
    }
}

fn incoming(line: &str, version: Version) -> Message {
    let publish = publish(line, version);
    let address = target(publish.topic.bytes(), &"amq.topic".into());
    let origin = Arc::new(Origin { client: "dev".into(), ..Origin::default() });
    message(publish, address, &Incoming { version, origin }, NOW)
}

fn formats() -> Formats {
    Formats::new(vec![Arc::new(Bare), Arc::new(PropertyBlock)])
}

/// What an MQTT 5 client sees of the message: topic and properties.
fn shown(message: &Message, carry: Carry) -> String {
    let formats = formats();
    let renderer = Renderer { version: Version::V5, formats: &formats, carry };
    let rendered = renderer.render(message).expect("a topic");
    let mut body = Vec::new();
    client::text(&mut body, &rendered.topic);
    client::varint(&mut body, rendered.properties.len());
    body.extend(&rendered.properties);
    client::read(&client::packet(0x30, &body), true)
}

fn foreign(fields: &Fields, meta: Meta, body: &'static [u8]) -> Message {
    let address = Address::new("amq.topic".into(), "t".into());
    Message::from_fields(address, meta, fields, Bytes::from_static(body))
}

fn meta() -> Meta {
    Meta::new(Arc::default(), NOW)
}

#[test]
fn addresses() {
    let exchange = Name::from("amq.topic");
    let to = |topic: &'static str| target(&Bytes::from_static(topic.as_bytes()), &exchange);
    assert_eq!(to("a/b.c"), Address::new(exchange.clone(), "a/b.c".into()));
    assert_eq!(to("/"), Address::new(exchange.clone(), "/".into()));
    assert_eq!(to("$q/orders/eu"), Address::queue("orders/eu"));
    assert_eq!(to("$reply/q/a%2Fb%20c"), Address::queue("a/b c"));
    // The core says no to these.
    for reserved in [
        "$SYS/x",
        "$share/g/f",
        "$delayed/5/t",
        "$q/",
        "$reply/q/",
        "$reply/q/%zz",
        "$reply/x",
        "$",
    ] {
        assert_eq!(to(reserved), Address::new(exchange.clone(), reserved.into()), "{reserved}");
    }
    assert!(!to("$reply/q/%ff").is_queue(), "a queue's name is text");
}

#[test]
fn what_the_broker_acts_on() {
    let m = incoming(
        "PUBLISH t qos=2 id=1 retain message-expiry=30 user=mq.priority:7 \"x\"",
        Version::V5,
    );
    let meta = m.meta();
    assert_eq!((meta.durable, meta.level, meta.retain), (true, 2, true));
    assert_eq!((meta.priority, meta.expires), (Some(7), Some(Timestamp(1_030_000))));
    let m = incoming("PUBLISH t \"x\"", Version::V311);
    assert_eq!((m.meta().durable, m.meta().level, m.meta().priority), (false, 0, None));
    let m = incoming("PUBLISH $q/orders qos=1 id=1 retain \"x\"", Version::V5);
    assert!(!m.meta().retain, "a queue has no retained value");
}

#[test]
fn expiry_is_rounded_up_and_never_zero() {
    assert_eq!(remaining_seconds(None, NOW), None);
    let left = |ms| remaining_seconds(Some(NOW.plus(ms)), NOW);
    assert_eq!((left(1), left(500), left(1000), left(1001)), (Some(1), Some(1), Some(1), Some(2)));
    let days = 40 * 24 * 60 * 60;
    assert_eq!(left(days * 1000), Some(days as u32));
    assert_eq!(remaining_seconds(Some(Timestamp(0)), NOW), Some(1));
    assert_eq!(left(u64::MAX), Some(u32::MAX));
}

#[test]
fn the_same_version_gets_what_was_sent() {
    let line = "PUBLISH t/a format=1 content-type=x response-topic=r correlation=c \
                user=mq.priority:3 user=k:1 user=k:2 \"hello\"";
    let m = incoming(line, Version::V5);
    let same = "PUBLISH t/a format=1 content-type=x response-topic=r correlation=c \
                user=mq.priority:3 user=k:1 user=k:2 \"\"";
    assert_eq!(shown(&m, Carry::Full), same);
    assert_eq!(
        shown(&incoming("PUBLISH t \"\"", Version::V311), Carry::Standard),
        "PUBLISH t \"\""
    );
    let bare = Renderer { version: Version::V311, formats: &formats(), carry: Carry::Full };
    assert!(bare.render(&m).expect("a topic").properties.is_empty());
}

#[test]
fn fields_of_a_publish() {
    let line = "PUBLISH t format=1 content-type=text/plain response-topic=r/1 correlation=c1 \
                user=a:1 user=a:2 user=mq.message-id:m7 user=mq.content-encoding:gzip \
                user=mq.timestamp:1700000000123 user=n:5 user=mq.types:n=i32 user=mq.user-id:root \"x\"";
    let m = incoming(line, Version::V5);
    let formats = formats();
    let fields = m.fields(&formats);
    let p = &fields.properties;
    assert_eq!(p.body_kind, BodyKind::Text);
    assert_eq!(p.content_type.as_deref(), Some("text/plain"));
    assert_eq!(p.reply_to, Some(ReplyTo::Topic("r/1".into())));
    assert_eq!(p.correlation_id, Some(Id::Text("c1".into())));
    assert_eq!(p.message_id, Some(Id::Text("m7".into())));
    assert_eq!(p.content_encoding.as_deref(), Some("gzip"));
    assert_eq!((p.created_at, p.user_id.as_deref()), (Some(1_700_000_000_123), None));
    let want: Vec<(Name, Value)> = vec![
        ("a".into(), Value::text("1")),
        ("a".into(), Value::text("2")),
        ("n".into(), Value::I32(5)),
    ];
    assert_eq!(fields.headers, want);
}

#[test]
fn correlations() {
    let id = |line: &str| {
        incoming(line, Version::V5).fields(&formats()).properties.correlation_id.clone()
    };
    assert_eq!(
        id("PUBLISH t correlation=mq.b64.AAEC \"\""),
        Some(Id::Binary(vec![0, 1, 2].into()))
    );
    let mut block = b"\x09\x00\x02\xff\x00".to_vec();
    let fields = PropertyBlock.decode(&block.clone().into(), &Bytes::new()).expect("valid");
    assert_eq!(fields.properties.correlation_id, Some(Id::Binary(vec![0xff, 0].into())));
    block.pop();
    assert!(PropertyBlock.decode(&block.into(), &Bytes::new()).is_err());

    let with = |id: Id| {
        let properties = Properties { correlation_id: Some(id), ..Properties::default() };
        shown(&foreign(&Fields { properties, ..Fields::default() }, meta(), b""), Carry::Standard)
    };
    assert_eq!(with(Id::U64(7)), "PUBLISH t correlation=7 \"\"");
    assert_eq!(with(Id::Text("c".into())), "PUBLISH t correlation=c \"\"");
    assert_eq!(with(Id::Binary(vec![b'b', b'i'].into())), "PUBLISH t correlation=bi \"\"");
    let uuid = with(Id::Uuid([0x11; 16]));
    assert_eq!(uuid, "PUBLISH t correlation=urn:uuid:11111111-1111-1111-1111-111111111111 \"\"");
    let long = with(Id::Text("x".repeat(70_000).into()));
    assert_eq!(long, "PUBLISH t \"\"", "lost, not framed wrongly");
}

#[test]
fn replies() {
    let shown_reply = |reply: ReplyTo| {
        let properties = Properties {
            reply_to: Some(reply),
            message_id: Some(Id::Text("m".into())),
            ..Properties::default()
        };
        shown(&foreign(&Fields { properties, ..Fields::default() }, meta(), b""), Carry::Off)
    };
    // A request without a correlation shows its message id as one.
    assert_eq!(
        shown_reply(ReplyTo::Queue("a/b+c%".into())),
        "PUBLISH t response-topic=$reply/q/a%2Fb%2Bc%25 correlation=m \"\""
    );
    assert_eq!(
        shown_reply(ReplyTo::Topic("r/x".into())),
        "PUBLISH t response-topic=r/x correlation=m \"\""
    );
    let back = |topic: &str| {
        let line = format!("PUBLISH t response-topic={topic} \"\"");
        incoming(&line, Version::V5).fields(&formats()).properties.reply_to.clone()
    };
    assert_eq!(back("$reply/q/a%2Fb%2Bc%25"), Some(ReplyTo::Queue("a/b+c%".into())));
    assert_eq!(back("$q/x"), Some(ReplyTo::Queue("x".into())));
    assert_eq!(back("r/x"), Some(ReplyTo::Topic(Key::from("r/x"))));
}

#[test]
fn foreign_fields() {
    let mut m = meta();
    m.priority = Some(9);
    let fields = Fields {
        properties: Properties {
            content_type: Some("text/plain".into()),
            content_encoding: Some("gzip".into()),
            message_id: Some(Id::U64(5)),
            created_at: Some(1500),
            kind: Some("order".into()),
            subject: Some("s".into()),
            body_kind: BodyKind::Text,
            ..Properties::default()
        },
        headers: vec![
            ("n".into(), Value::I32(-5)),
            ("t".into(), Value::text("x")),
            ("bad".into(), Value::text("a\0b")),
        ],
        annotations: Vec::new(),
    };
    let message = foreign(&fields, m, b"text");
    assert_eq!(
        shown(&message, Carry::Standard),
        "PUBLISH t format=1 content-type=text/plain user=n:-5 user=t:x user=mq.types:n=i32 \
         user=mq.content-encoding:gzip user=mq.type:order user=mq.message-id:5 \
         user=mq.timestamp:1500 user=mq.priority:9 \"\""
    );
    let formats = formats();
    let renderer = Renderer { version: Version::V5, formats: &formats, carry: Carry::Full };
    let smaller = renderer.smaller(&message);
    assert_eq!(smaller.len(), 2);
    assert!(smaller[0].len() > smaller[1].len(), "first the carried, then the headers");
    // Bytes that only claim to be text are not promised as such.
    let mut fields = fields;
    fields.headers.clear();
    let binary = shown(&foreign(&fields, meta(), b"\xff"), Carry::Off);
    assert_eq!(binary, "PUBLISH t content-type=text/plain \"\"");
}

#[test]
fn topics_that_are_no_topic_names() {
    let topic = |address: Address| {
        let message = Message::from_fields(address, meta(), &Fields::default(), Bytes::new());
        let formats = formats();
        let renderer = Renderer { version: Version::V311, formats: &formats, carry: Carry::Off };
        renderer.render(&message).map(|r| String::from_utf8(r.topic.to_vec()).expect("UTF-8"))
    };
    let on = |key: &'static [u8]| topic(Address::new("amq.topic".into(), Key::new(key)));
    assert_eq!(on(b"a/b.c*").as_deref(), Some("a/b.c*"));
    // `a.*.#` published with dots is `a/+/#` here; its literal star is shown as %2A.
    assert_eq!(on(b"a/+/#").as_deref(), Some("a/%2A/%23"));
    assert_eq!(on(b"a\xffb\0").as_deref(), Some("a%FFb%00"));
    assert_eq!(on(b"").as_deref(), Some("/"));
    assert_eq!(topic(Address::queue("orders/eu")).as_deref(), Some("$q/orders/eu"));
    assert_eq!(topic(Address::queue("a+b")).as_deref(), Some("$q/a%2Bb"));
    let long = Address::new("amq.topic".into(), Key::new(vec![b'x'; 70_000]));
    assert_eq!(topic(long), None);
}

#[test]
fn a_death_is_shown_with_what_was_sent() {
    let m = incoming("PUBLISH t user=k:v \"\"", Version::V5);
    let mut meta = m.meta().clone();
    meta.deaths = Some(Arc::from([Death {
        queue: "q".into(),
        reason: Why::Rejected,
        count: 2,
        time: NOW,
        address: m.address().clone(),
        ttl_ms: None,
        detail: None,
        copies: None,
    }]));
    let dead = m.with(m.address().clone(), meta);
    let want = "PUBLISH t user=k:v user=mq.death:q;rejected;2 \"\"";
    assert_eq!(shown(&dead, Carry::Standard), want);
    assert_eq!(shown(&dead, Carry::Off), "PUBLISH t user=k:v \"\"");
}

#[test]
fn reason_codes() {
    let refused = |kind| publish_reason(&ConfirmOutcome::Refused(Error::new(kind, "no")));
    assert_eq!(publish_reason(&ConfirmOutcome::Stored), Reason::SUCCESS);
    let back = foreign(&Fields::default(), meta(), b"");
    assert_eq!(publish_reason(&ConfirmOutcome::Unroutable(back)), Reason(0x10));
    assert_eq!(refused(ErrorKind::Full), Reason(0x97));
    assert_eq!(refused(ErrorKind::Refused), Reason(0x87));
    assert_eq!(refused(ErrorKind::Invalid), Reason(0x99));
    assert_eq!(refused(ErrorKind::Unavailable), Reason(0x80));
    assert_eq!(suback_reason(&Error::new(ErrorKind::NotFound, "no")), Reason(0x8F));
    assert_eq!(suback_reason(&Error::new(ErrorKind::Full, "no")), Reason(0x97));
    // MQTT 5, table 3-9 has no other failures.
    for kind in [
        ErrorKind::NotFound,
        ErrorKind::Mismatch,
        ErrorKind::Refused,
        ErrorKind::Locked,
        ErrorKind::InUse,
        ErrorKind::Full,
        ErrorKind::LimitReached,
        ErrorKind::TooLarge,
        ErrorKind::Invalid,
        ErrorKind::Unavailable,
        ErrorKind::Closed,
        ErrorKind::Unroutable,
        ErrorKind::Internal,
    ] {
        let code = unsuback_reason(&Error::new(kind, "no")).0;
        assert!([0x80, 0x83, 0x87, 0x8F, 0x91].contains(&code), "{kind:?}: {code:#x}");
    }
    assert_eq!(connack_reason(&Error::new(ErrorKind::Refused, "no")), Reason(0x87));
    assert_eq!(connack_reason(&Error::new(ErrorKind::Unavailable, "no")), Reason(0x88));
}

/// To which format, how many messages, and how many of them lost which field.
type Counted = (&'static str, u64, Vec<(&'static str, u64)>);

/// What was counted: converted, and the fields that were lost.
fn counted(formats: &Formats) -> Vec<Counted> {
    let names = |lost: Vec<(fate::Field, u64)>| {
        lost.into_iter().map(|(field, count)| (field.as_str(), count)).collect()
    };
    let totals = formats.conversions().into_iter();
    totals.map(|total| (total.to, total.converted, names(total.lost))).collect()
}

#[test]
fn losses_are_counted_once_for_each_message_and_version() {
    let fields = Fields {
        properties: Properties {
            content_type: Some("text/plain".into()),
            group_id: Some("g".into()),
            user_id: Some("u".into()),
            ..Properties::default()
        },
        headers: vec![
            ("n".into(), Value::I32(-5)),
            ("bad".into(), Value::text("a\0b")),
            ("worse".into(), Value::text("\0")),
        ],
        annotations: Vec::new(),
    };
    let formats = formats();
    let read = |message: &Message, version| {
        let renderer = Renderer { version, formats: &formats, carry: Carry::Standard };
        renderer.render(message).expect("a topic");
        renderer.smaller(message);
    };
    let message = foreign(&fields, meta(), b"");
    (0..3).for_each(|_| read(&message, Version::V5));
    let to_5 = ("mqtt-5.0", 1, vec![("group-id", 1), ("header", 1)]);
    assert_eq!(counted(&formats), std::slice::from_ref(&to_5));
    (0..3).for_each(|_| read(&message, Version::V311));
    let lost = ["content-type", "user-id", "group-id", "header"].map(|field| (field, 1));
    assert_eq!(counted(&formats), [("mqtt-3.1.1", 1, lost.to_vec()), to_5]);
}

#[test]
fn the_same_version_loses_nothing_and_counts_nothing() {
    let formats = formats();
    let line = "PUBLISH t content-type=x user=k:1 user=k:2 \"hello\"";
    for version in [Version::V5, Version::V311] {
        let message =
            incoming(if version == Version::V5 { line } else { "PUBLISH t \"x\"" }, version);
        let renderer = Renderer { version, formats: &formats, carry: Carry::Standard };
        renderer.render(&message).expect("a topic");
    }
    assert!(counted(&formats).is_empty());
    let message = incoming(line, Version::V5);
    let renderer = Renderer { version: Version::V311, formats: &formats, carry: Carry::Standard };
    renderer.render(&message).expect("a topic");
    let lost = vec![("content-type", 1), ("header", 1)];
    assert_eq!(counted(&formats), [("mqtt-3.1.1", 1, lost)]);
}

#[test]
fn what_is_said_of_a_field_is_what_is_written() {
    let mut fields = Fields {
        properties: Properties {
            content_type: Some("text/plain".into()),
            subject: Some("s".into()),
            kind: Some("\0".into()),
            reply_to: Some(ReplyTo::Topic("r".into())),
            ..Properties::default()
        },
        headers: vec![("n".into(), Value::I32(-5)), ("bad".into(), Value::text("\0"))],
        annotations: vec![("x-opt".into(), Value::Null)],
    };
    let mut said = fate::Recorded::default();
    outbound::block(&foreign(&fields, meta(), b""), &fields, Carry::Full, &mut said);
    let place = |text: &str| fate::Fate::Mapped(Name::from(text));
    let expected = [
        (fate::Field::ContentType, "", place("content type")),
        (fate::Field::ReplyTo, "", place("response topic")),
        (fate::Field::Type, "", fate::Fate::Lost(fate::Why::NotWritable)),
        (fate::Field::Subject, "", fate::Fate::Carried("mq.subject".into())),
        (fate::Field::Header, "n", place("n")),
        (fate::Field::Header, "bad", fate::Fate::Lost(fate::Why::NotWritable)),
        (fate::Field::HeaderType, "", fate::Fate::Carried("mq.types".into())),
        (fate::Field::Annotation, "x-opt", fate::Fate::Lost(fate::Why::NoPlace)),
    ];
    assert_eq!(said.0, expected.map(|(field, name, fate)| (field, Name::from(name), fate)));
    // With nothing carried, the types of headers are lost, too.
    fields.headers.pop();
    let mut losses = fate::Losses::default();
    outbound::block(&foreign(&fields, meta(), b""), &fields, Carry::Off, &mut losses);
    let lost: Vec<&str> = losses.fields().map(fate::Field::as_str).collect();
    assert_eq!(lost, ["type", "subject", "header-type", "annotation"]);
}
