//! The mapping cell by cell (docs/SEMANTICS.md §1, §3, §5).

use super::address::{published, reply_topic, wire_key};
use super::outbound::{Reader, properties, returned};
use super::*;
use crate::codec::properties::largest;
use crate::codec::table::{self, Pairs, put_table};
use crate::codec::{Properties, ReplyCode};
use bytes::{Bytes, BytesMut};
use crossdock_core::fate;
use crossdock_core::message::aliases::Aliases;
use crossdock_core::message::carry::Carry;
use crossdock_core::message::lookup;
use crossdock_core::{
    Address, BodyKind, ConsumerId, Death, Delivery, Fields, Format, Formats, Id, Key, Message,
    Meta, Name, Native, Offset, Origin, Reason, ReplyTo, Timestamp, Value,
};
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_700_000_000_123);

fn content(pairs: &Pairs) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_table(&mut out, pairs);
    out[4..].to_vec()
}

fn meta() -> Meta {
    let origin = Origin {
        user: "me".into(),
        client: "client-1".into(),
        listener: "l".into(),
        ..Origin::default()
    };
    Meta::new(Arc::new(origin), Timestamp(NOW.0 - 1000))
}

fn own(properties: &Properties<'_>, meta: Meta) -> Message {
    let native = Native { format: FORMAT, bytes: properties.encode() };
    Message::new(Address::queue("q"), meta, native, Bytes::from_static(b"body"))
}

fn delivery(message: Message) -> Delivery {
    Delivery {
        consumer: ConsumerId(1),
        offset: Offset(0),
        message,
        attempts: 0,
        redelivered: false,
        retained: false,
        tags: Default::default(),
    }
}

fn encode(delivery: &Delivery) -> (Bytes, Pairs) {
    encode_for(delivery, 131_072, Carry::Full)
}

fn encode_for(delivery: &Delivery, frame_max: usize, carry: Carry) -> (Bytes, Pairs) {
    let formats = Formats::new(vec![Arc::new(Amqp091Format)]);
    let reader = Reader { formats: &formats, carry, frame_max, now: NOW };
    let bytes = properties(delivery, &reader);
    let headers = Properties::decode(&bytes).expect("valid").headers.unwrap_or_default();
    (bytes.clone(), table::decode(headers).expect("valid"))
}

fn foreign(fields: &Fields, meta: Meta) -> Message {
    Message::from_fields(Address::queue("q"), meta, fields, Bytes::from_static(b"body"))
}

fn decode(properties: &Properties<'_>) -> Fields {
    Amqp091Format.decode(&properties.encode(), &Bytes::new()).expect("valid")
}

#[test]
fn addresses_swap_everywhere_but_at_the_default_exchange() {
    let topic: Name = "amq.topic".into();
    let at = |exchange: &str, key: &str| {
        published(exchange.into(), key.as_bytes(), (&topic, &Aliases::default()))
    };
    assert_eq!(at("", "orders.eu"), Address::queue("orders.eu"));
    assert_eq!(at("amq.topic", "a.b/c"), Address::new(topic.clone(), "a/b.c".into()));
    assert_eq!(at("mine", "a.*"), Address::new("mine".into(), "a/+".into()));
    for address in [at("", "a.b"), at("x", "a.b/c"), at("x", "")] {
        let key = wire_key(&address);
        let again =
            published(address.exchange.clone(), &key.routing_key, (&topic, &Aliases::default()));
        assert_eq!((again, key.whole), (address, None));
    }
}

#[test]
fn a_reply_topic_key_is_a_topic() {
    let topic: Name = "amq.topic".into();
    let name = address::reply_queue(&Key::from("replies/me.1")).expect("short");
    assert_eq!(reply_topic(&name), Some(Key::from("replies/me.1")));
    let to = published(Name::default(), name.as_bytes(), (&topic, &Aliases::default()));
    assert_eq!(to, Address::new(topic.clone(), "replies/me.1".into()));
    let broken = "mq.reply.t.***";
    assert_eq!(
        published(Name::default(), broken.as_bytes(), (&topic, &Aliases::default())),
        Address::queue(broken)
    );
    assert_eq!(address::reply_queue(&Key::from(&*"x".repeat(300))), None);
}

#[test]
fn a_long_key_is_shown_by_its_hash() {
    let topic = format!("a/{}", "b".repeat(300));
    let message = Message::from_fields(
        Address::new("amq.topic".into(), Key::from(&*topic)),
        meta(),
        &Fields::default(),
        Bytes::new(),
    );
    let key = wire_key(message.address());
    let text = String::from_utf8(key.routing_key.to_vec()).expect("ascii");
    assert!(text.starts_with("mq.long.") && text.len() == 8 + 64, "{text}");
    let (_, headers) = encode(&delivery(message));
    let dotted = Value::text(format!("a.{}", "b".repeat(300)));
    assert_eq!(lookup(&headers, "x-routing-key"), Some(&dotted));
}

#[test]
fn what_the_broker_acts_on() {
    let origin = meta().origin;
    let read = |properties: &Properties<'_>| {
        inbound::meta(&properties.encode(), &origin, NOW).map(|it| it.0)
    };
    let plain = read(&Properties::default()).expect("valid");
    assert_eq!((plain.durable, plain.level, plain.priority, plain.expires), (false, 0, None, None));
    let full = Properties {
        delivery_mode: Some(2),
        priority: Some(255),
        expiration: Some(b"500"),
        user_id: Some(b"me"),
        ..Properties::default()
    };
    let full = read(&full).expect("valid");
    assert_eq!((full.durable, full.level, full.priority), (true, 1, Some(255)));
    assert_eq!(full.expires, Some(NOW.plus(500)));
    let headers = content(&vec![
        ("x-mqtt-qos".into(), Value::I32(2)),
        ("x-mqtt-retain".into(), Value::Bool(true)),
    ]);
    let asked = Properties { headers: Some(&headers), ..Properties::default() };
    let asked = read(&asked).expect("valid");
    assert_eq!((asked.level, asked.retain, asked.durable), (2, true, false));

    let refused = |properties: Properties<'_>| read(&properties).expect_err("refused").code;
    for text in ["", "-1", "abc", "1.5", "99999999999999999999999", "315360000001", " 5"] {
        let properties = Properties { expiration: Some(text.as_bytes()), ..Properties::default() };
        assert_eq!(refused(properties), ReplyCode::PreconditionFailed, "{text:?}");
    }
    let other = Properties { user_id: Some(b"you"), ..Properties::default() };
    assert_eq!(refused(other), ReplyCode::PreconditionFailed);
    let broken = Properties { headers: Some(b"\x01kS\0\0\0\x09x"), ..Properties::default() };
    assert_eq!(refused(broken), ReplyCode::SyntaxError);
}

#[test]
fn fields_of_a_publish_are_seen_by_others() {
    let headers = content(&vec![
        ("n".into(), Value::I64(5)),
        ("n".into(), Value::I64(6)),
        ("x-subject".into(), Value::text("s")),
        ("JMSXGroupID".into(), Value::text("g")),
        ("x-group-seq".into(), Value::I32(7)),
        ("timestamp_in_ms".into(), Value::I64(1_234)),
        ("x-mqtt-qos".into(), Value::I8(1)),
        ("x-death".into(), Value::List(Vec::new())),
        ("mq.dedup-id".into(), Value::text("d")),
        ("mq.type".into(), Value::text("not used: there is a slot")),
    ]);
    let properties = Properties {
        content_type: Some(b"text/plain"),
        content_encoding: Some(b"gzip"),
        headers: Some(&headers),
        correlation_id: Some(b"c"),
        reply_to: Some(b"replies"),
        message_id: Some(b"m"),
        timestamp: Some(1),
        kind: Some(b"k"),
        user_id: Some(b"me"),
        app_id: Some(b"a"),
        ..Properties::default()
    };
    let fields = decode(&properties);
    let p = &fields.properties;
    assert_eq!(p.content_type.as_deref(), Some("text/plain"));
    assert_eq!(p.content_encoding.as_deref(), Some("gzip"));
    assert_eq!(p.message_id, Some(Id::Text("m".into())));
    assert_eq!(p.correlation_id, Some(Id::Text("c".into())));
    assert_eq!(p.reply_to, Some(ReplyTo::Queue("replies".into())));
    assert_eq!(p.created_at, Some(1_234));
    assert_eq!((p.kind.as_deref(), p.app_id.as_deref()), (Some("k"), Some("a")));
    assert_eq!((p.user_id.as_deref(), p.subject.as_deref()), (Some("me"), Some("s")));
    assert_eq!((p.group_id.as_deref(), p.group_seq), (Some("g"), Some(7)));
    assert_eq!((p.dedup_id.as_deref(), p.body_kind), (Some("d"), BodyKind::Text));
    let n = |n| (Name::from("n"), Value::I64(n));
    assert_eq!(fields.headers, [n(5), n(6)]);
}

#[test]
fn ids_that_are_not_text() {
    let with = |correlation_id: &[u8], headers: &Pairs| {
        let headers = content(headers);
        let properties = Properties {
            correlation_id: Some(correlation_id),
            headers: Some(&headers),
            ..Properties::default()
        };
        decode(&properties).properties.correlation_id
    };
    let binary = || Bytes::from_static(&[0, 0xFF]);
    assert_eq!(with(&[0, 0xFF], &vec![]), Some(Id::Binary(binary())));
    assert_eq!(with(b"mq.b64.AP8", &vec![]), Some(Id::Binary(binary())));
    let header = vec![("x-correlation-id".into(), Value::Bytes(binary()))];
    assert_eq!(with(b"anything", &header), Some(Id::Binary(binary())));
    let uuid = with(b"urn:uuid:00112233-4455-6677-8899-aabbccddeeff", &vec![]);
    assert!(matches!(uuid, Some(Id::Uuid(_))));
}

#[test]
fn reply_to_a_topic() {
    let name = address::reply_queue(&Key::from("r/me")).expect("short");
    let slot = Properties { reply_to: Some(name.as_bytes()), ..Properties::default() };
    assert_eq!(decode(&slot).properties.reply_to, Some(ReplyTo::Topic("r/me".into())));
    let headers = content(&vec![("x-reply-to-topic".into(), Value::text("r.me"))]);
    let header = Properties { headers: Some(&headers), ..Properties::default() };
    assert_eq!(decode(&header).properties.reply_to, Some(ReplyTo::Topic("r/me".into())));
}

#[test]
fn text_is_told_by_the_content_type() {
    for (content_type, kind) in [
        ("text/plain", BodyKind::Text),
        ("application/json", BodyKind::Text),
        ("application/soap+xml", BodyKind::Text),
        ("application/x-thing; Charset=utf-8", BodyKind::Text),
        ("application/octet-stream", BodyKind::Bytes),
        ("application/jsonish", BodyKind::Bytes),
    ] {
        let properties =
            Properties { content_type: Some(content_type.as_bytes()), ..Properties::default() };
        assert_eq!(decode(&properties).properties.body_kind, kind, "{content_type}");
    }
}

#[test]
fn the_same_protocol_gets_what_was_sent() {
    let headers = content(&vec![("a".into(), Value::I8(1)), ("a".into(), Value::Null)]);
    let properties = Properties {
        headers: Some(&headers),
        expiration: Some(b"0500"),
        cluster_id: Some(b"c"),
        ..Properties::default()
    };
    let message = own(&properties, meta());
    assert_eq!(encode(&delivery(message.clone())).0, message.native().bytes);
}

fn death(queue: &str, reason: Reason, time: u64, count: u32) -> Death {
    Death {
        queue: queue.into(),
        reason,
        count,
        time: Timestamp(time),
        address: Address::new("x".into(), "a/b".into()),
        ttl_ms: Some(500),
        detail: None,
        copies: None,
    }
}

#[test]
fn the_broker_adds_deaths_attempts_and_retained() {
    let headers =
        content(&vec![("a".into(), Value::I8(1)), ("x-death".into(), Value::text("made up"))]);
    let properties = Properties {
        headers: Some(&headers),
        expiration: Some(b"500"),
        priority: Some(3),
        ..Properties::default()
    };
    let mut meta = meta();
    let deaths = [death("q2", Reason::Expired, 5_000, 2), death("q1", Reason::Rejected, 2_000, 1)];
    meta.deaths = Some(Arc::from(deaths));
    let mut delivery = delivery(own(&properties, meta));
    delivery.attempts = 3;
    delivery.retained = true;
    let (bytes, headers) = encode(&delivery);
    let got = Properties::decode(&bytes).expect("valid");
    assert_eq!((got.expiration, got.priority), (None, Some(3)));
    assert_eq!(lookup(&headers, "a"), Some(&Value::I8(1)));
    assert_eq!(lookup(&headers, "x-delivery-count"), Some(&Value::I64(3)));
    assert_eq!(lookup(&headers, "x-retained"), Some(&Value::Bool(true)));
    assert_eq!(lookup(&headers, "x-first-death-queue"), Some(&Value::text("q1")));
    assert_eq!(lookup(&headers, "x-first-death-reason"), Some(&Value::text("rejected")));
    assert_eq!(lookup(&headers, "x-first-death-exchange"), Some(&Value::text("x")));
    assert_eq!(lookup(&headers, "x-last-death-queue"), Some(&Value::text("q2")));
    let Some(Value::List(list)) = lookup(&headers, "x-death") else { panic!("{headers:?}") };
    let want: Pairs = vec![
        ("count".into(), Value::I64(2)),
        ("reason".into(), Value::text("expired")),
        ("queue".into(), Value::text("q2")),
        ("time".into(), Value::Timestamp(5_000)),
        ("exchange".into(), Value::text("x")),
        ("routing-keys".into(), Value::List(vec![Value::text("a.b")])),
        ("original-expiration".into(), Value::text("500")),
    ];
    assert_eq!((list.len(), &list[0]), (2, &Value::Map(want)));
}

#[test]
fn foreign_fields_are_shown_in_their_slots() {
    let mut fields = Fields::default();
    let p = &mut fields.properties;
    p.content_type = Some("text/plain".into());
    p.content_encoding = Some("gzip".into());
    p.message_id = Some(Id::U64(7));
    p.correlation_id = Some(Id::Binary(Bytes::from_static(&[0, 0xFF])));
    p.reply_to = Some(ReplyTo::Topic("r/me".into()));
    p.created_at = Some(1_234);
    p.user_id = Some("me".into());
    p.app_id = Some("a".into());
    p.kind = Some("k".into());
    p.subject = Some("s".into());
    p.group_id = Some("g".into());
    p.group_seq = Some(u32::MAX);
    p.dedup_id = Some("d".into());
    fields.headers = vec![
        ("n".into(), Value::U64(5)),
        ("big".into(), Value::U64(u64::MAX)),
        ("n".into(), Value::text("second")),
    ];
    let mut meta = meta();
    meta.durable = true;
    meta.priority = Some(9);
    meta.retain = true;
    meta.expires = Some(NOW.plus(1500));
    let (bytes, headers) = encode(&delivery(foreign(&fields, meta)));
    let got = Properties::decode(&bytes).expect("valid");
    assert_eq!(got.content_type, Some(&b"text/plain"[..]));
    assert_eq!(got.content_encoding, Some(&b"gzip"[..]));
    assert_eq!((got.delivery_mode, got.priority), (Some(2), Some(9)));
    assert_eq!(got.correlation_id, Some(&b"mq.b64.AP8"[..]));
    assert_eq!(got.message_id, Some(&b"7"[..]));
    assert_eq!(got.expiration, Some(&b"1500"[..]));
    assert_eq!((got.timestamp, got.kind), (Some(1), Some(&b"k"[..])));
    assert_eq!((got.user_id, got.app_id), (Some(&b"me"[..]), Some(&b"a"[..])));
    assert_eq!(got.reply_to, Some(&b"mq.reply.t.ci9tZQ"[..]));
    let want: Pairs = vec![
        ("n".into(), Value::I64(5)),
        ("big".into(), Value::text(u64::MAX.to_string())),
        (
            "mq.props".into(),
            Value::text(format!("[[\"n\",5],[\"big\",{}],[\"n\",\"second\"]]", u64::MAX)),
        ),
        ("x-correlation-id".into(), Value::Bytes(Bytes::from_static(&[0, 0xFF]))),
        ("x-reply-to-topic".into(), Value::text("r.me")),
        ("x-subject".into(), Value::text("s")),
        ("x-group-id".into(), Value::text("g")),
        ("x-group-seq".into(), Value::I64(i64::from(u32::MAX))),
        ("timestamp_in_ms".into(), Value::I64(1_234)),
        ("x-mqtt-retain".into(), Value::Bool(true)),
        ("mq.dedup-id".into(), Value::text("d")),
    ];
    assert_eq!(headers, want);
}

#[test]
fn messages_of_mqtt_origin_show_their_level_and_client() {
    struct Other;
    impl Format for Other {
        fn id(&self) -> FormatId {
            FormatId(4)
        }
        fn name(&self) -> &'static str {
            "mqtt-5.0"
        }
        fn decode(&self, _: &Bytes, _: &Bytes) -> Result<Fields, crossdock_core::Error> {
            Ok(Fields::default())
        }
    }
    let mut meta = meta();
    meta.level = 2;
    let native = Native { format: FormatId(4), bytes: Bytes::new() };
    let message = Message::new(Address::queue("q"), meta, native, Bytes::new());
    let formats = Formats::new(vec![Arc::new(Other)]);
    let reader = |carry| Reader { formats: &formats, carry, frame_max: 4096, now: NOW };
    let headers = |bytes: &Bytes| {
        let properties = Properties::decode(bytes).expect("valid");
        table::decode(properties.headers.unwrap_or_default()).expect("valid")
    };
    let standard = returned(&message, &reader(Carry::Standard));
    let want: Pairs = vec![
        ("x-mqtt-qos".into(), Value::I8(2)),
        ("x-opt-mqtt-client-id".into(), Value::text("client-1")),
    ];
    assert_eq!(headers(&standard), want);
    let full = headers(&returned(&message, &reader(Carry::Full)));
    assert_eq!(lookup(&full, "x-opt-origin-protocol"), Some(&Value::text("mqtt-5.0")));
    let received = i64::try_from(NOW.0 - 1000).expect("small");
    assert_eq!(lookup(&full, "x-opt-received-time"), Some(&Value::I64(received)));
}

#[test]
fn ids_that_do_not_fit_go_into_headers() {
    let mut fields = Fields::default();
    let long = "c".repeat(300);
    fields.properties.correlation_id = Some(Id::Text(long.as_str().into()));
    fields.properties.message_id = Some(Id::Text("a\0b".into()));
    fields.properties.content_type = Some("t".repeat(256).as_str().into());
    let (bytes, headers) = encode(&delivery(foreign(&fields, meta())));
    let got = Properties::decode(&bytes).expect("valid");
    assert_eq!((got.message_id, got.content_type), (None, None));
    assert!(got.correlation_id.is_some_and(|id| id.starts_with(b"mq.corr.") && id.len() == 51));
    assert_eq!(lookup(&headers, "x-correlation-id"), Some(&Value::text(&*long)));
    assert_eq!(lookup(&headers, "x-message-id"), Some(&Value::text("a\0b")));
}

/// What a responder copies is enough for the requester to know its answer, and to get it.
#[test]
fn long_ids_and_topics_come_back_by_their_short_names() {
    let formats = Formats::new(vec![Arc::new(Amqp091Format)]);
    let reader = Reader { formats: &formats, carry: Carry::Full, frame_max: 131_072, now: NOW };
    let (text, binary) = ("c".repeat(300), Bytes::from(vec![0xFF; 300]));
    let topic = Key::from(&*format!("{}/x", "r".repeat(200)));
    let origin = meta();
    for id in [Id::Text(text.as_str().into()), Id::Binary(binary)] {
        let mut fields = Fields::default();
        fields.properties.correlation_id = Some(id.clone());
        fields.properties.reply_to = Some(ReplyTo::Topic(topic.clone()));
        let request = properties(&delivery(foreign(&fields, origin.clone())), &reader);
        let request = Properties::decode(&request).expect("valid");
        let (copied, to) = (request.correlation_id, request.reply_to.expect("an alias"));
        let answer = own(&Properties { correlation_id: copied, ..Properties::default() }, meta());
        assert_eq!(answer.fields(&formats).properties.correlation_id, Some(id));
        let topics = Name::from("amq.topic");
        let to = published(Name::default(), to, (&topics, formats.aliases()));
        assert_eq!(to, Address::new(topics, topic.clone()));
        // Somebody who hands the request on.
        let reply_to = request.reply_to;
        let onward = own(&Properties { reply_to, ..Properties::default() }, meta());
        let want = Some(ReplyTo::Topic(topic.clone()));
        assert_eq!(onward.fields(&formats).properties.reply_to, want);
    }
}

#[test]
fn fields_survive_the_way_there_and_back() {
    let mut fields = Fields::default();
    let p = &mut fields.properties;
    p.correlation_id = Some(Id::Text("c".repeat(300).as_str().into()));
    p.message_id = Some(Id::Text("m".into()));
    p.reply_to = Some(ReplyTo::Topic("r/me.x".into()));
    p.created_at = Some(1_234);
    p.subject = Some("s".into());
    p.group_id = Some("g".into());
    p.group_seq = Some(3);
    p.dedup_id = Some("d".into());
    fields.headers = vec![("h".into(), Value::F32(1.5)), ("v".into(), Value::Null)];
    let delivery = delivery(foreign(&fields, meta()));
    let (bytes, _) = encode_for(&delivery, 131_072, Carry::Standard);
    let again = Amqp091Format.decode(&bytes, &Bytes::new()).expect("valid");
    assert_eq!(again, fields);
}

#[test]
fn a_header_that_fits_no_frame_goes_whole_and_loses_its_largest_when_it_comes_again() {
    let headers = content(&vec![
        ("keep".into(), Value::I8(1)),
        ("large".into(), Value::text("x".repeat(5000))),
    ]);
    let properties = Properties { headers: Some(&headers), ..Properties::default() };
    let mut delivery = delivery(own(&properties, meta()));
    let (bytes, headers) = encode_for(&delivery, 4096, Carry::Full);
    assert!(bytes.len() > 5000 && headers.len() == 2);
    assert_eq!(largest(&bytes), Some(("large".to_owned(), 5011)));
    delivery.redelivered = true;
    let (bytes, headers) = encode_for(&delivery, 4096, Carry::Full);
    assert!(bytes.len() <= 4096 - 20);
    assert_eq!(headers, [("keep".into(), Value::I8(1))]);
}

#[test]
fn what_the_broker_adds_gives_way_to_the_senders_headers() {
    let death = |n: u64| Death {
        queue: format!("queue-{n}").into(),
        reason: Reason::Expired,
        count: 1,
        time: Timestamp(n),
        address: Address::new("some-exchange".into(), "some/key".into()),
        ttl_ms: None,
        detail: None,
        copies: None,
    };
    let mut meta = meta();
    // The newest first.
    meta.deaths = Some((0..100).rev().map(death).collect());
    let mut fields = Fields::default();
    fields.properties.app_id = Some("a".into());
    fields.properties.dedup_id = Some("d".repeat(2000).into());
    fields.headers = vec![("own".into(), Value::text("x".repeat(1500)))];
    let delivery = delivery(foreign(&fields, meta));
    let (bytes, headers) = encode_for(&delivery, 4096, Carry::Full);
    assert!(bytes.len() <= 4096 - 20, "{}", bytes.len());
    assert!(lookup(&headers, "own").is_some() && lookup(&headers, "mq.dedup-id").is_none());
    let Some(Value::List(deaths)) = lookup(&headers, "x-death") else { panic!("{headers:?}") };
    assert!((2..100).contains(&deaths.len()), "{}", deaths.len());
    let Some(Value::Map(newest)) = deaths.first() else { panic!("{deaths:?}") };
    assert_eq!(lookup(newest, "queue"), Some(&Value::text("queue-99")));
    assert_eq!(lookup(&headers, "x-first-death-queue"), Some(&Value::text("queue-0")));
    assert_eq!(lookup(&headers, "x-last-death-queue"), Some(&Value::text("queue-99")));
}

#[test]
fn what_is_said_of_a_field_is_what_is_written() {
    let long = Name::from("x".repeat(256));
    let fields = Fields {
        properties: crossdock_core::Properties {
            content_type: Some("text/plain".into()),
            app_id: Some(long.clone()),
            reply_to: Some(ReplyTo::Queue(long.clone())),
            subject: Some("taken".into()),
            dedup_id: Some("d".into()),
            created_at: Some(1_500),
            ..crossdock_core::Properties::default()
        },
        headers: vec![
            ("k".into(), Value::I32(1)),
            ("k".into(), Value::I32(2)),
            (long.clone(), Value::Null),
            ("x-subject".into(), Value::text("the application's")),
        ],
        annotations: vec![("x-opt".into(), Value::Null)],
    };
    let mut meta = meta();
    meta.priority = Some(3);
    let message = foreign(&fields, meta);
    let mut said = fate::Recorded::default();
    let aliases = Aliases::default();
    let how = encode::How { carry: Carry::Full, now: NOW, aliases: &aliases };
    let bytes = encode::properties(&message, &fields, how, &mut said);
    let place = |text: &str| fate::Fate::Mapped(Name::from(text));
    let lost = fate::Fate::Lost(fate::Why::TooLong);
    let expected = [
        (fate::Field::Header, "k", place("k")),
        (fate::Field::Header, "k", fate::Fate::Carried("mq.props".into())),
        (fate::Field::Header, &*long, lost.clone()),
        (fate::Field::Header, "x-subject", place("x-subject")),
        (fate::Field::Annotation, "x-opt", place("x-opt")),
        (fate::Field::ReplyTo, "", lost.clone()),
        (fate::Field::Subject, "", fate::Fate::Lost(fate::Why::PlaceTaken)),
        (fate::Field::Timestamp, "", place("timestamp_in_ms")),
        (fate::Field::DedupId, "", fate::Fate::Carried("mq.dedup-id".into())),
        (fate::Field::Priority, "", place("priority")),
        (fate::Field::ContentType, "", place("content-type")),
        (fate::Field::AppId, "", lost),
    ];
    assert_eq!(said.0, expected.map(|(field, name, fate)| (field, Name::from(name), fate)));
    let written = Properties::decode(&bytes).expect("valid");
    assert_eq!((written.app_id, written.reply_to, written.priority), (None, None, Some(3)));
    let headers = table::decode(written.headers.expect("headers")).expect("valid");
    for name in ["k", "mq.props", "x-subject", "x-opt", "timestamp_in_ms", "mq.dedup-id"] {
        assert!(lookup(&headers, name).is_some(), "{name}");
    }
}

#[test]
fn losses_are_counted_once_for_each_message_also_where_frames_are_not_shared() {
    let formats = Formats::new(vec![Arc::new(Amqp091Format)]);
    let fields =
        Fields { headers: vec![("x".repeat(256).into(), Value::Null)], ..Fields::default() };
    let mut meta = meta();
    // With an expiry each receiver has a frame of its own.
    meta.expires = Some(NOW.plus(1_000));
    let delivery = delivery(foreign(&fields, meta.clone()));
    let reader = Reader { formats: &formats, carry: Carry::Full, frame_max: 131_072, now: NOW };
    (0..3).for_each(|_| drop(properties(&delivery, &reader)));
    let own = own(&Properties { content_type: Some(&b"x"[..]), ..Properties::default() }, meta);
    properties(&self::delivery(own), &reader);
    let counted = formats.conversions();
    let [total] = &counted[..] else { panic!("one pair of formats: {counted:?}") };
    assert_eq!((total.from, total.to, total.converted), ("neutral", "amqp-0.9.1", 1));
    assert_eq!(total.lost, [(fate::Field::Header, 1)]);
}
