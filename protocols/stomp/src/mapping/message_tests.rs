//! The columns of docs/SEMANTICS.md §3 for STOMP readers.

use super::*;
use crate::mapping::{StompFormat, format_id};
use crossdock_core::fate::Recorded;
use crossdock_core::{
    Address, Death, Fields, Format, Id, Meta, Name, Native, Origin, Properties, Reason, Timestamp,
    Value,
};
use std::sync::Arc;

fn formats() -> Formats {
    let format = |version| -> Arc<dyn Format> { Arc::new(StompFormat { version }) };
    Formats::new(Version::ALL.into_iter().map(format).collect())
}

fn shown_to(message: &Message, version: Version, door: &Door) -> String {
    let formats = formats();
    let look = Look { version, topic_exchange: "amq.topic", formats: &formats, door };
    String::from_utf8(tail(message, look).to_vec()).unwrap()
}

fn shown(message: &Message) -> String {
    shown_to(message, Version::V12, &Door::default())
}

fn meta() -> Meta {
    Meta::new(Arc::default(), Timestamp(1))
}

fn stomp(version: Version, block: &'static str, meta: Meta) -> Message {
    let native = Native { format: format_id(version), bytes: Bytes::from_static(block.as_bytes()) };
    Message::new(Address::queue("q"), meta, native, Bytes::from_static(b"hi"))
}

fn foreign_message(address: Address, meta: Meta, fields: &Fields) -> Message {
    Message::from_fields(address, meta, fields, Bytes::from_static(b"hi"))
}

#[test]
fn the_same_version_reads_what_was_sent() {
    let message = stomp(
        Version::V12,
        "receipt:r1\na:x\\cy\ndestination:/queue/q\ntransaction:t\ncontent-length:2\na:2\n\
         persistent:true\nsubscription:forged\nmq.death:forged\nmq.custom:kept\n",
        meta(),
    );
    assert_eq!(
        shown(&message),
        "destination:/queue/q\na:x\\cy\na:2\npersistent:true\nmq.h.subscription:forged\n\
         mq.custom:kept\ncontent-length:2\n\nhi\0\n"
    );
}

#[test]
fn other_versions_read_the_same_headers_escaped_their_way() {
    let block = "destination:/queue/q\na:x\\cy\nb:1\\n2\nc:\\r\n";
    let message = stomp(Version::V12, block, meta());
    let of = |version| shown_to(&message, version, &Door::default());
    let end = "content-length:2\n\nhi\0\n";
    assert_eq!(of(Version::V10), format!("destination:/queue/q\na:x:y\n{end}"));
    assert_eq!(of(Version::V11), format!("destination:/queue/q\na:x\\cy\nb:1\\n2\n{end}"));
}

#[test]
fn destinations_name_where_the_message_is() {
    let first = |message: &Message| shown(message).lines().next().unwrap().to_owned();
    let composite = stomp(Version::V12, "destination:/queue/p,/queue/q\n", meta());
    assert_eq!(first(&composite), "destination:/queue/q");
    let mut moved = meta();
    moved.hops = 1;
    let elsewhere = stomp(Version::V12, "destination:/topic/t\n", moved.clone());
    assert_eq!(first(&elsewhere), "destination:/queue/q");
    let here = stomp(Version::V12, "destination:/amq/queue/q\n", moved);
    assert_eq!(first(&here), "destination:/amq/queue/q");
}

#[test]
fn dead_letters_say_so_and_do_not_expire_again() {
    let mut meta = meta();
    meta.deaths = Some(Arc::from([Death {
        queue: "q".into(),
        reason: Reason::Expired,
        count: 2,
        time: Timestamp(1),
        address: Address::queue("q"),
        ttl_ms: Some(5),
        detail: None,
        copies: None,
    }]));
    let block =
        "destination:/queue/q\nexpires:1700000000007\nexpiration:5\nx-first-death-queue:forged\n";
    let message = stomp(Version::V12, block, meta);
    assert_eq!(
        shown(&message),
        "destination:/queue/q\nmq.death:q;expired;2\nx-first-death-queue:q\n\
         x-first-death-reason:expired\nx-first-death-exchange:\n\
         dlqDeliveryFailureCause:expired\ncontent-length:2\n\nhi\0\n"
    );
}

#[test]
fn every_field_of_another_protocol_has_its_header() {
    let properties = Properties {
        message_id: Some(Id::Text("m1".into())),
        correlation_id: Some(Id::Binary(Bytes::from_static(b"\0\xff"))),
        reply_to: Some(ReplyTo::Queue("answers".into())),
        content_type: Some("text/plain".into()),
        content_encoding: Some("gzip".into()),
        created_at: Some(1_700_000_000_123),
        user_id: Some("guest".into()),
        app_id: Some("app".into()),
        kind: Some("order".into()),
        subject: Some("s".into()),
        group_id: Some("g".into()),
        group_seq: Some(7),
        ..Properties::default()
    };
    let headers = vec![
        ("a".into(), Value::text("x:y")),
        ("n".into(), Value::I32(5)),
        ("receipt".into(), Value::text("kept")),
        ("timestamp".into(), Value::text("kept")),
    ];
    let fields = Fields { properties, headers, ..Fields::default() };
    let origin = Origin { client: "c1".into(), ..Origin::default() };
    let mut meta = Meta::new(Arc::new(origin), Timestamp(1));
    (meta.durable, meta.retain, meta.priority) = (true, true, Some(200));
    meta.expires = Some(Timestamp(99));
    let address = Address::new("amq.topic".into(), "sensors/city1".into());
    let message = foreign_message(address, meta, &fields);
    let text = shown(&message);
    let lines: Vec<&str> = text.lines().collect();
    for line in [
        "destination:/topic/sensors.city1",
        "content-type:text/plain",
        "content-encoding:gzip",
        "user-id:guest",
        "app-id:app",
        "type:order",
        "JMSXGroupID:g",
        "JMSXGroupSeq:7",
        "amqp-message-id:m1",
        "correlation-id:mq.b64.AP8",
        "reply-to:/amq/queue/answers",
        "timestamp:1700000000123",
        "persistent:true",
        "priority:9",
        "mq.priority:200",
        "expires:99",
        "retain:true",
        "a:x\\cy",
        "n:5",
        "mq.h.receipt:kept",
        "mq.h.timestamp:kept",
        "mq.types:n=i32",
        "mq.subject:s",
        "mq.origin-client-id:c1",
        "content-length:2",
    ] {
        assert!(lines.contains(&line), "{line} is missing in\n{text}");
    }
    let seconds = Door { timestamps: TimeUnit::Seconds, ..Door::default() };
    assert!(shown_to(&message, Version::V12, &seconds).contains("\ntimestamp:1700000000\n"));
}

#[test]
fn what_goes_out_comes_in_again() {
    let text = |n: &str, v: &str| (Name::from(n), Value::text(v));
    let headers = vec![
        text("receipt", "r"),
        text("message-id", "m"),
        text("priority", "p"),
        ("b".into(), Value::Bool(true)),
        text("plain", "x:y\nz"),
    ];
    let fields = Fields { headers: headers.clone(), ..Fields::default() };
    let message = foreign_message(Address::queue("q"), meta(), &fields);
    let shown = shown(&message);
    let (block, _) = shown.split_once("\n\n").unwrap();
    let bytes = Bytes::from(format!("{block}\n"));
    let decoded = formats().get(format_id(Version::V12)).unwrap().decode(&bytes, &Bytes::new());
    let mut back = decoded.unwrap().headers;
    back.sort_by(|a, b| a.0.cmp(&b.0));
    let mut want = headers;
    want.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(back, want);
}

#[test]
fn replies_can_be_sent_to() {
    assert_eq!(render_reply_to(&ReplyTo::Topic("a/b".into())), "/topic/a.b");
    assert_eq!(render_reply_to(&ReplyTo::Topic("a.b/c".into())), "/topic/a.b/c");
    assert_eq!(render_reply_to(&ReplyTo::Queue("a/b".into())), "/amq/queue/a/b");
    assert_eq!(render_reply_to(&ReplyTo::Opaque("who knows".into())), "who knows");
}

#[test]
fn large_bodies_are_not_in_the_tail() {
    let body = Bytes::from(vec![b'x'; 5000]);
    let native = Native {
        format: format_id(Version::V12),
        bytes: Bytes::from_static(b"destination:/queue/q\n"),
    };
    let message = Message::new(Address::queue("q"), meta(), native, body);
    assert!(!holds_body(&message));
    assert_eq!(shown(&message), "destination:/queue/q\ncontent-length:5000\n\n");
}

/// From which format, to which, how many messages, and how many of them lost which field.
type Counted = (&'static str, &'static str, u64, Vec<(Field, u64)>);

/// What was counted: converted, and the fields that were lost.
fn counted(formats: &Formats) -> Vec<Counted> {
    let totals = formats.conversions().into_iter();
    totals.map(|total| (total.from, total.to, total.converted, total.lost)).collect()
}

#[test]
fn what_a_version_cannot_say_is_counted_once() {
    let formats = formats();
    let door = Door::default();
    let read = |message: &Message, version| {
        tail(
            message,
            Look { version, topic_exchange: "amq.topic", formats: &formats, door: &door },
        );
    };
    let message = stomp(Version::V12, "destination:/queue/q\na:\\n\nb:\\n\ntype:\\n\n", meta());
    for version in [Version::V12, Version::V10, Version::V10] {
        read(&message, version);
    }
    let lost = vec![(Field::Type, 1), (Field::Header, 1)];
    assert_eq!(counted(&formats), [("stomp-1.2", "stomp-1.0", 1, lost)]);
}

#[test]
fn what_is_said_of_a_field_is_what_is_written() {
    let fields = Fields {
        properties: Properties {
            content_type: Some("text/plain".into()),
            app_id: Some("a\nb".into()),
            subject: Some("s".into()),
            group_seq: Some(3),
            ..Properties::default()
        },
        headers: vec![
            ("priority".into(), Value::text("x")),
            ("n".into(), Value::I32(-5)),
            ("bad".into(), Value::text("a\nb")),
            ("mq.own".into(), Value::text("x")),
        ],
        annotations: vec![("x-opt".into(), Value::Null)],
    };
    let mut meta = meta();
    meta.priority = Some(20);
    let message = foreign_message(Address::queue("q"), meta, &fields);
    let (formats, door) = (formats(), Door::default());
    let look =
        Look { version: Version::V10, topic_exchange: "amq.topic", formats: &formats, door: &door };
    let (mut out, mut fates) = (BytesMut::new(), Recorded::default());
    let writer = Writer::go_on(&mut out, Version::V10.rules());
    foreign(&mut Said { writer, fates: &mut fates }, &message, look);
    let text = String::from_utf8(out.to_vec()).unwrap();
    let has = |place: &str| text.lines().any(|line| line.starts_with(&format!("{place}:")));
    let mut lost = Vec::new();
    for (field, name, fate) in &fates.0 {
        match fate {
            Fate::Mapped(place) | Fate::Carried(place) => assert!(has(place), "{place} in {text}"),
            Fate::Native => panic!("{field:?}: it is foreign"),
            Fate::Lost(why) => lost.push((*field, &**name, *why)),
        }
    }
    let expected = [
        (Field::AppId, "", Why::NotWritable),
        (Field::Header, "bad", Why::NotWritable),
        (Field::Header, "mq.own", Why::Reserved),
        (Field::Annotation, "x-opt", Why::NoPlace),
    ];
    assert_eq!(lost, expected);
    // What is said of the others: content-type, JMSXGroupSeq, priority, two headers, their types and the subject.
    assert_eq!(fates.0.len(), expected.len() + 7, "{:?}", fates.0);
    assert_eq!(text.lines().count(), 1 + 7 + 1, "the destination, and priority twice: {text}");
}
