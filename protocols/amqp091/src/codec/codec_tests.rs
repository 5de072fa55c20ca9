//! The codec against itself, against cut and broken input, and against the `amq-protocol` crate.

use super::method::{Binding, Consume, Publish, QueueDeclare, Tune};
use super::properties::fitted;
use super::table::{DEPTH_MAX, Pairs, put_table};
use super::*;
use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame, parse_frame};
use amq_protocol::protocol::{self as oracle, AMQPClass, BasicProperties};
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};
use bytes::{BufMut, Bytes, BytesMut};
use crossdock_core::Value;
use proptest::prelude::*;

const FRAME_MAX: usize = 131_072;

fn theirs(frame: &AMQPFrame) -> Vec<u8> {
    gen_frame(frame)(WriteContext::from(Vec::new())).expect("generates").into_inner().0
}

fn method_of(class: AMQPClass) -> Result<Method, Refusal> {
    let bytes = theirs(&AMQPFrame::Method(7, class));
    let mut buffer = BytesMut::from(&bytes[..]);
    let frame = frame::decode(&mut buffer, FRAME_MAX).expect("valid").expect("whole");
    assert_eq!((frame.kind, frame.channel, buffer.len()), (FrameKind::Method, 7, 0));
    method::decode(&frame.payload)
}

fn reply(reply: Reply<'_>) -> AMQPClass {
    let mut out = BytesMut::new();
    reply.put(&mut out, 3);
    match parse_frame(&out[..]).expect("parses") {
        ([], AMQPFrame::Method(3, class)) => class,
        other => panic!("{other:?}"),
    }
}

#[test]
fn methods_of_the_oracle_are_understood() {
    use oracle::{basic, connection, queue};
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
    let declare = queue::Declare {
        queue: "q".into(),
        durable: true,
        auto_delete: true,
        arguments: arguments.clone(),
        ..Default::default()
    };
    let got = method_of(AMQPClass::Queue(queue::AMQPMethod::Declare(declare)));
    let want = QueueDeclare {
        queue: "q".into(),
        passive: false,
        durable: true,
        exclusive: false,
        auto_delete: true,
        no_wait: false,
        arguments: vec![("x-max-length".into(), Value::I32(5))],
    };
    assert_eq!(got, Ok(Method::QueueDeclare(want)));

    let bind = queue::Bind {
        queue: "q".into(),
        exchange: "x".into(),
        routing_key: "a.*".into(),
        nowait: true,
        arguments: FieldTable::default(),
    };
    let want = Binding {
        destination: "q".into(),
        source: "x".into(),
        routing_key: Bytes::from_static(b"a.*"),
        no_wait: true,
        arguments: Vec::new(),
    };
    let got = method_of(AMQPClass::Queue(queue::AMQPMethod::Bind(bind)));
    assert_eq!(got, Ok(Method::QueueBind(want)));

    let publish = basic::Publish {
        exchange: "x".into(),
        routing_key: "k".into(),
        mandatory: true,
        immediate: false,
    };
    let want = Publish {
        exchange: Bytes::from_static(b"x"),
        routing_key: Bytes::from_static(b"k"),
        mandatory: true,
        immediate: false,
    };
    let got = method_of(AMQPClass::Basic(basic::AMQPMethod::Publish(publish)));
    assert_eq!(got, Ok(Method::BasicPublish(want)));

    let consume = basic::Consume {
        queue: "q".into(),
        consumer_tag: "c".into(),
        no_ack: true,
        ..Default::default()
    };
    let want = Consume {
        queue: "q".into(),
        consumer_tag: Bytes::from_static(b"c"),
        no_local: false,
        no_ack: true,
        exclusive: false,
        no_wait: false,
        arguments: Vec::new(),
    };
    let got = method_of(AMQPClass::Basic(basic::AMQPMethod::Consume(consume)));
    assert_eq!(got, Ok(Method::BasicConsume(want)));

    let nack = basic::Nack { delivery_tag: 9, multiple: true, requeue: false };
    let got = method_of(AMQPClass::Basic(basic::AMQPMethod::Nack(nack)));
    let want = Method::BasicNack { delivery_tag: 9, multiple: true, requeue: false };
    assert_eq!(got, Ok(want));

    let tune = connection::TuneOk { channel_max: 1, frame_max: 4096, heartbeat: 3 };
    let got = method_of(AMQPClass::Connection(connection::AMQPMethod::TuneOk(tune)));
    let want = Tune { channel_max: 1, frame_max: 4096, heartbeat: 3 };
    assert_eq!(got, Ok(Method::ConnectionTuneOk(want)));
}

#[test]
fn every_method_of_a_client_is_understood() {
    use AMQPClass::{Basic, Channel, Confirm, Connection, Exchange, Queue, Tx};
    use oracle::{basic as b, channel as ch, confirm as co, connection as cn, exchange as x};
    use oracle::{queue as q, tx};
    let methods = vec![
        Connection(cn::AMQPMethod::StartOk(cn::StartOk::default())),
        Connection(cn::AMQPMethod::Open(cn::Open::default())),
        Connection(cn::AMQPMethod::Close(cn::Close::default())),
        Connection(cn::AMQPMethod::CloseOk(cn::CloseOk::default())),
        Channel(ch::AMQPMethod::Open(ch::Open::default())),
        Channel(ch::AMQPMethod::Flow(ch::Flow::default())),
        Channel(ch::AMQPMethod::Close(ch::Close::default())),
        Channel(ch::AMQPMethod::CloseOk(ch::CloseOk::default())),
        Exchange(x::AMQPMethod::Declare(x::Declare::default())),
        Exchange(x::AMQPMethod::Delete(x::Delete::default())),
        Exchange(x::AMQPMethod::Bind(x::Bind::default())),
        Exchange(x::AMQPMethod::Unbind(x::Unbind::default())),
        Queue(q::AMQPMethod::Unbind(q::Unbind::default())),
        Queue(q::AMQPMethod::Purge(q::Purge::default())),
        Queue(q::AMQPMethod::Delete(q::Delete::default())),
        Basic(b::AMQPMethod::Qos(b::Qos::default())),
        Basic(b::AMQPMethod::Cancel(b::Cancel::default())),
        Basic(b::AMQPMethod::CancelOk(b::CancelOk::default())),
        Basic(b::AMQPMethod::Get(b::Get::default())),
        Basic(b::AMQPMethod::Ack(b::Ack::default())),
        Basic(b::AMQPMethod::Reject(b::Reject::default())),
        Basic(b::AMQPMethod::Recover(b::Recover::default())),
        Basic(b::AMQPMethod::RecoverAsync(b::RecoverAsync::default())),
        Tx(tx::AMQPMethod::Select(tx::Select::default())),
        Tx(tx::AMQPMethod::Commit(tx::Commit::default())),
        Tx(tx::AMQPMethod::Rollback(tx::Rollback::default())),
        Confirm(co::AMQPMethod::Select(co::Select::default())),
    ];
    for method in methods {
        assert!(method_of(method.clone()).is_ok(), "{method:?}");
    }
}

#[test]
fn methods_that_are_not_served_have_their_code() {
    let code = |class: u16, method: u16| {
        let mut payload = BytesMut::new();
        payload.put_u16(class);
        payload.put_u16(method);
        payload.put_slice(&[0; 40]);
        method::decode(&payload.freeze()).expect_err("not served").code
    };
    assert_eq!(code(30, 10), ReplyCode::NotImplemented);
    assert_eq!(code(80, 10), ReplyCode::NotImplemented);
    assert_eq!(code(60, 60), ReplyCode::CommandInvalid);
    assert_eq!(code(50, 11), ReplyCode::CommandInvalid);
    assert_eq!(code(77, 10), ReplyCode::CommandInvalid);
}

#[test]
fn replies_are_understood_by_the_oracle() {
    use oracle::{basic as b, channel as ch, connection as cn, queue as q};
    let got = reply(Reply::QueueDeclareOk { queue: "q", messages: u64::MAX, consumers: 2 });
    let want = q::DeclareOk { queue: "q".into(), message_count: u32::MAX, consumer_count: 2 };
    assert_eq!(got, AMQPClass::Queue(q::AMQPMethod::DeclareOk(want)));

    let sent = Sent { delivery_tag: 5, redelivered: true, exchange: b"x", routing_key: b"k" };
    let got = reply(Reply::BasicDeliver { consumer_tag: b"c", sent });
    let want = b::Deliver {
        consumer_tag: "c".into(),
        delivery_tag: 5,
        redelivered: true,
        exchange: "x".into(),
        routing_key: "k".into(),
    };
    assert_eq!(got, AMQPClass::Basic(b::AMQPMethod::Deliver(want)));

    let got = reply(Reply::BasicGetOk { sent, messages: 4 });
    let want = b::GetOk {
        delivery_tag: 5,
        redelivered: true,
        exchange: "x".into(),
        routing_key: "k".into(),
        message_count: 4,
    };
    assert_eq!(got, AMQPClass::Basic(b::AMQPMethod::GetOk(want)));

    let long = "é".repeat(200);
    let got = reply(Reply::ChannelClose { code: 404, text: &long, cause: (50, 10) });
    let want = ch::Close {
        reply_code: 404,
        reply_text: "é".repeat(127).into(),
        class_id: 50,
        method_id: 10,
    };
    assert_eq!(got, AMQPClass::Channel(ch::AMQPMethod::Close(want)));

    let properties: Pairs = vec![("capabilities".into(), Value::Map(Vec::new()))];
    let got = reply(Reply::ConnectionStart { properties: &properties, mechanisms: "PLAIN" });
    let mut table = FieldTable::default();
    table.insert("capabilities".into(), AMQPValue::FieldTable(FieldTable::default()));
    let want = cn::Start {
        version_major: 0,
        version_minor: 9,
        server_properties: table,
        mechanisms: "PLAIN".into(),
        locales: "en_US".into(),
    };
    assert_eq!(got, AMQPClass::Connection(cn::AMQPMethod::Start(want)));
}

#[test]
fn every_reply_is_a_frame_of_its_own_id() {
    let sent = Sent { delivery_tag: 1, redelivered: false, exchange: b"", routing_key: b"q" };
    let properties = Pairs::new();
    let tune = Tune { channel_max: 1, frame_max: 2, heartbeat: 3 };
    let replies = [
        Reply::ConnectionStart { properties: &properties, mechanisms: "" },
        Reply::ConnectionTune(tune),
        Reply::ConnectionOpenOk,
        Reply::ConnectionClose { code: 200, text: "", cause: (0, 0) },
        Reply::ConnectionCloseOk,
        Reply::ConnectionBlocked { reason: "r" },
        Reply::ConnectionUnblocked,
        Reply::ChannelOpenOk,
        Reply::ChannelFlowOk { active: true },
        Reply::ChannelCloseOk,
        Reply::ExchangeDeclareOk,
        Reply::ExchangeDeleteOk,
        Reply::ExchangeBindOk,
        Reply::ExchangeUnbindOk,
        Reply::QueueBindOk,
        Reply::QueueUnbindOk,
        Reply::QueuePurgeOk { messages: 1 },
        Reply::QueueDeleteOk { messages: 1 },
        Reply::BasicQosOk,
        Reply::BasicConsumeOk { consumer_tag: b"c" },
        Reply::BasicCancelOk { consumer_tag: b"c" },
        Reply::BasicCancel { consumer_tag: b"c" },
        Reply::BasicReturn { code: 312, text: "t", exchange: b"x", routing_key: b"k" },
        Reply::BasicDeliver { consumer_tag: b"c", sent },
        Reply::BasicGetOk { sent, messages: 1 },
        Reply::BasicGetEmpty,
        Reply::BasicAck { delivery_tag: 1, multiple: true },
        Reply::BasicNack { delivery_tag: 1, multiple: true },
        Reply::BasicRecoverOk,
        Reply::TxSelectOk,
        Reply::TxCommitOk,
        Reply::TxRollbackOk,
        Reply::ConfirmSelectOk,
    ];
    for one in replies {
        let mut out = BytesMut::new();
        one.put(&mut out, 1);
        let parsed = parse_frame(&out[..]);
        assert!(matches!(parsed, Ok(([], AMQPFrame::Method(1, _)))), "{one:?}: {parsed:?}");
    }
}

#[test]
fn a_connection_cut_at_every_octet_asks_for_more() {
    let mut whole = BytesMut::new();
    let class = oracle::basic::AMQPMethod::Publish(oracle::basic::Publish {
        exchange: "x".into(),
        routing_key: "k".into(),
        mandatory: false,
        immediate: false,
    });
    whole.put_slice(&theirs(&AMQPFrame::Method(1, AMQPClass::Basic(class))));
    let first = whole.len();
    let header = AMQPContentHeader {
        class_id: 60,
        body_size: 2,
        properties: BasicProperties::default().with_priority(3),
    };
    whole.put_slice(&theirs(&AMQPFrame::Header(1, header)));
    whole.put_slice(&theirs(&AMQPFrame::Body(1, b"hi".to_vec())));
    for cut in 0..first {
        let mut buffer = BytesMut::from(&whole[..cut]);
        assert_eq!(frame::decode(&mut buffer, FRAME_MAX), Ok(None), "cut at {cut}");
        assert_eq!(buffer.len(), cut, "nothing is taken");
    }
    let mut buffer = whole;
    let kinds: Vec<FrameKind> =
        std::iter::from_fn(|| frame::decode(&mut buffer, FRAME_MAX).expect("valid"))
            .map(|frame| frame.kind)
            .collect();
    assert_eq!(kinds, [FrameKind::Method, FrameKind::Header, FrameKind::Body]);
}

#[test]
fn a_promised_length_is_refused_by_the_head() {
    let code = |bytes: &[u8]| {
        frame::decode(&mut BytesMut::from(bytes), 8192).map_err(|refusal| refusal.code)
    };
    assert_eq!(code(b"\x01\0\0\xff\xff\xff\xff"), Err(ReplyCode::FrameError));
    assert_eq!(code(b"\x01\0\0\x00\x00\x1f\xf9"), Err(ReplyCode::FrameError));
    assert_eq!(code(b"\x01\0\0\x00\x00\x1f\xf8"), Ok(None));
    assert_eq!(code(b"\x05\0\0\0\0\0\0"), Err(ReplyCode::FrameError));
    assert_eq!(code(b"\x08\0\0\0\0\0\x01a\xce"), Err(ReplyCode::FrameError));
    assert_eq!(code(b"\x08\0\x01\0\0\0\0\xce"), Err(ReplyCode::FrameError));
    assert_eq!(code(b"\x01\0\0\0\0\0\x01a\xcd"), Err(ReplyCode::FrameError));
    assert_eq!(code(b"GET / HTTP/1.1"), Err(ReplyCode::FrameError));
}

#[test]
fn nesting_is_limited() {
    let nested = |depth: usize, letter: u8| {
        let mut content = BytesMut::new();
        for _ in 0..depth {
            let inner = content.split();
            content.put_slice(if letter == b'F' { b"\x01kF" } else { b"A" });
            content.put_u32(u32::try_from(inner.len()).expect("small"));
            content.put_slice(&inner);
        }
        let mut table = BytesMut::new();
        if letter == b'A' {
            table.put_slice(b"\x01k");
        }
        table.put_slice(&content);
        table
    };
    for letter in [b'F', b'A'] {
        assert!(table::decode(&nested(DEPTH_MAX - 1, letter)).is_ok());
        assert!(table::decode(&nested(DEPTH_MAX + 1, letter)).is_err());
        let deep = nested(15_000, letter);
        assert!(table::decode(&deep).is_err());
        assert!(table::entries(&deep).any(|entry| entry.is_err()));
    }
}

/// Each letter that RabbitMQ reads, in a table and in an array: read, stepped over, and kept as it is in the octets
/// that readers of the same protocol get.
#[test]
fn every_letter_of_deployed_clients_is_read() {
    let letters: [(u8, &[u8], Value); 19] = [
        (b't', b"\x01", Value::Bool(true)),
        (b'b', b"\xff", Value::I8(-1)),
        (b'B', b"\xff", Value::U8(255)),
        (b's', b"\xff\xfe", Value::I16(-2)),
        (b'u', b"\xff\xfe", Value::U16(65_534)),
        (b'I', b"\xff\xff\xff\xfd", Value::I32(-3)),
        (b'i', b"\xff\xff\xff\xfd", Value::U32(4_294_967_293)),
        (b'l', b"\0\0\0\0\x9a\x7e\xc8\0", Value::I64(2_592_000_000)),
        (b'L', b"\0\0\0\0\x9a\x7e\xc8\0", Value::I64(2_592_000_000)),
        (b'L', b"\xff\xff\xff\xff\xff\xff\xff\xff", Value::I64(-1)),
        (b'f', b"\x3f\x80\0\0", Value::F32(1.0)),
        (b'd', b"\x3f\xf0\0\0\0\0\0\0", Value::F64(1.0)),
        (b'D', b"\x02\0\0\x01\0", Value::Decimal { scale: 2, value: 256 }),
        (b'S', b"\0\0\0\x02hi", Value::text("hi")),
        (b'x', b"\0\0\0\x02\xff\0", Value::Bytes(Bytes::from_static(b"\xff\0"))),
        (b'T', b"\0\0\0\0\0\0\0\x05", Value::Timestamp(5_000)),
        (b'A', b"\0\0\0\x02t\0", Value::List(vec![Value::Bool(false)])),
        (b'F', b"\0\0\0\x03\x01kV", Value::Map(vec![("k".into(), Value::Null)])),
        (b'V', b"", Value::Null),
    ];
    for (letter, octets, value) in letters {
        let one = [&[letter], octets].concat();
        let in_table = [b"\x01n", &one[..]].concat();
        let in_array = [b"\x01nA\0\0\0", &[one.len() as u8][..], &one].concat();
        for (table, value) in
            [(in_table, value.clone()), (in_array, Value::List(vec![value.clone()]))]
        {
            let shown = char::from(letter);
            assert_eq!(table::decode(&table), Ok(vec![("n".into(), value)]), "{shown}");
            let kept: Vec<_> = table::entries(&table).collect::<Result<_, _>>().expect("whole");
            assert_eq!(kept[0].value, &table[2..], "{shown}");
        }
    }
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<u8>().prop_map(Value::U8),
        any::<i16>().prop_map(Value::I16),
        any::<u16>().prop_map(Value::U16),
        any::<i32>().prop_map(Value::I32),
        any::<u32>().prop_map(Value::U32),
        any::<i64>().prop_map(Value::I64),
        any::<f32>().prop_filter("comparable", |f| !f.is_nan()).prop_map(Value::F32),
        any::<f64>().prop_filter("comparable", |f| !f.is_nan()).prop_map(Value::F64),
        (any::<u8>(), any::<i32>()).prop_map(|(scale, value)| Value::Decimal { scale, value }),
        (0..=u32::MAX).prop_map(|s| Value::Timestamp(i64::from(s) * 1000)),
        ".{0,20}".prop_map(|text| Value::text(&*text)),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(|b| Value::Bytes(b.into())),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            prop::collection::vec(("[a-z]{0,8}", inner), 0..4).prop_map(|pairs| {
                Value::Map(pairs.into_iter().map(|(n, v)| ((&*n).into(), v)).collect())
            }),
        ]
    })
}

fn pairs() -> impl Strategy<Value = Pairs> {
    prop::collection::vec(("[a-zA-Z-]{0,12}", value()), 0..6)
        .prop_map(|pairs| pairs.into_iter().map(|(n, v)| ((&*n).into(), v)).collect())
}

fn encoded(pairs: &Pairs) -> BytesMut {
    let mut out = BytesMut::new();
    put_table(&mut out, pairs);
    out
}

proptest! {
    #[test]
    fn tables_come_back(pairs in pairs()) {
        let bytes = encoded(&pairs);
        prop_assert_eq!(table::decode(&bytes[4..]), Ok(pairs.clone()));
        let walked: Result<Pairs, _> = table::entries(&bytes[4..])
            .map(|entry| entry.and_then(|e| {
                Ok((String::from_utf8_lossy(e.name).into_owned().into(), e.decode()?))
            }))
            .collect();
        prop_assert_eq!(walked, Ok(pairs));
    }

    #[test]
    fn a_cut_table_is_malformed_or_shorter(pairs in pairs(), cut in 0usize..1000) {
        let bytes = encoded(&pairs);
        let content = &bytes[4..];
        let cut = &content[..cut.min(content.len())];
        if let Ok(shorter) = table::decode(cut) {
            prop_assert!(shorter.len() <= pairs.len());
        }
        let walk = table::entries(cut).all(|entry| entry.is_ok());
        prop_assert_eq!(walk, table::decode(cut).is_ok(), "the walk checks what decoding checks");
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        let _ = table::decode(&bytes);
        let _ = table::entries(&bytes).count();
        let _ = Properties::decode(&bytes);
        let _ = method::decode(&bytes);
        let _ = ContentHeader::decode(&bytes);
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = frame::decode(&mut buffer, FRAME_MAX) {}
    }

    #[test]
    fn noise_behind_a_method_id_never_panics(
        class in prop::sample::select(vec![10u16, 20, 40, 50, 60, 85, 90]),
        method in 1u16..130,
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut payload = BytesMut::new();
        payload.put_u16(class);
        payload.put_u16(method);
        payload.put_slice(&bytes);
        let _ = method::decode(&payload.freeze());
    }

    #[test]
    fn properties_come_back_octet_by_octet(
        text in prop::collection::vec(prop::option::of(".{0,30}"), 9),
        headers in prop::option::of(pairs()),
        mode in prop::option::of(any::<u8>()),
        priority in prop::option::of(any::<u8>()),
        timestamp in prop::option::of(any::<u64>()),
    ) {
        let field = |n: usize| text[n].as_deref().map(|t| wire::cut(t.as_bytes(), 255));
        let headers = headers.map(|pairs| encoded(&pairs).split_off(4));
        let properties = Properties {
            content_type: field(0),
            content_encoding: field(1),
            headers: headers.as_deref(),
            delivery_mode: mode,
            priority,
            correlation_id: field(2),
            reply_to: field(3),
            expiration: field(4),
            message_id: field(5),
            timestamp,
            kind: field(6),
            user_id: field(7),
            app_id: field(8),
            cluster_id: None,
        };
        let bytes = properties.encode();
        prop_assert_eq!(Properties::decode(&bytes), Ok(properties));
        prop_assert_eq!(Properties::decode(&bytes).expect("valid").encode(), bytes.clone());
        let (small, _) = fitted(&bytes, 4096 - 20, |_| true);
        prop_assert!(small.len() <= 4096 - 20);
        prop_assert!(Properties::decode(&small).is_ok());
    }
}

#[test]
fn typed_headers_of_the_oracle_are_understood() {
    let mut list = FieldArray::default();
    list.push(AMQPValue::Boolean(true));
    list.push(AMQPValue::Void);
    let mut table = FieldTable::default();
    table.insert("list".into(), AMQPValue::FieldArray(list));
    table.insert("double".into(), AMQPValue::Double(1.5));
    table.insert("long".into(), AMQPValue::LongLongInt(-1));
    table.insert("short".into(), AMQPValue::ShortInt(-2));
    table.insert("text".into(), AMQPValue::LongString("é".into()));
    table.insert("time".into(), AMQPValue::Timestamp(1_700_000_000));
    table.insert("u16".into(), AMQPValue::ShortUInt(65_535));
    table.insert("u32".into(), AMQPValue::LongUInt(u32::MAX));
    table.insert("bytes".into(), AMQPValue::ByteArray(vec![0, 255].into()));
    let properties = BasicProperties::default()
        .with_headers(table)
        .with_delivery_mode(2)
        .with_correlation_id("c".into())
        .with_timestamp(5);
    let header = AMQPContentHeader { class_id: 60, body_size: 9, properties };
    let mut buffer = BytesMut::from(&theirs(&AMQPFrame::Header(1, header))[..]);
    let frame = frame::decode(&mut buffer, FRAME_MAX).expect("valid").expect("whole");
    let header = ContentHeader::decode(&frame.payload).expect("valid");
    assert_eq!(header.body_size, 9);
    let properties = Properties::decode(&header.properties).expect("valid");
    assert_eq!(properties.delivery_mode, Some(2));
    assert_eq!((properties.correlation_id, properties.timestamp), (Some(&b"c"[..]), Some(5)));
    let mut headers = table::decode(properties.headers.expect("there")).expect("valid");
    headers.sort_by(|a, b| a.0.cmp(&b.0));
    let want: Pairs = vec![
        ("bytes".into(), Value::Bytes(Bytes::from_static(&[0, 255]))),
        ("double".into(), Value::F64(1.5)),
        ("list".into(), Value::List(vec![Value::Bool(true), Value::Null])),
        ("long".into(), Value::I64(-1)),
        ("short".into(), Value::I16(-2)),
        ("text".into(), Value::text("é")),
        ("time".into(), Value::Timestamp(1_700_000_000_000)),
        ("u16".into(), Value::U16(65_535)),
        ("u32".into(), Value::U32(u32::MAX)),
    ];
    assert_eq!(headers, want);
}

#[test]
fn what_does_not_fit_a_frame_is_left_out_by_rule() {
    let headers: Pairs = vec![
        ("small".into(), Value::I8(1)),
        ("mq.type".into(), Value::text("t")),
        ("large".into(), Value::text("x".repeat(3000))),
        ("larger".into(), Value::text("y".repeat(3500))),
    ];
    let table = encoded(&headers).split_off(4);
    let all = Properties { headers: Some(&table), priority: Some(1), ..Properties::default() };
    let (ours, dropped) = fitted(&all.encode(), 4096 - 20, |name| name.starts_with(b"mq."));
    assert!(dropped == 1 && ours.len() > 4096 - 20);
    let (fits, dropped) = fitted(&ours, 4096 - 20, |_| true);
    assert_eq!(dropped, 1);
    let left = Properties::decode(&fits).expect("valid");
    let names: Vec<&[u8]> = left.entries().flatten().map(|entry| entry.name).collect();
    assert_eq!((names, left.priority), (vec![&b"small"[..], b"large"], Some(1)));
}
