//! Operations written and read back.

use super::*;
use crate::auth::Secret;
use crate::exchange::{BindingTag, Kind, Target};
use crate::log::{Moment, Place, Record, RecordState};
use crate::message::{Address, Death, Journey, Meta, Onward, Reason};
use crate::message::{Fields, Origin, Value};
use crate::rights::{NameRegexes, TopicRegexes};
use std::sync::Arc;

fn message() -> Message {
    let origin =
        Origin { user: "u".into(), client: "c".into(), listener: "l".into(), ..Origin::default() };
    let mut meta = Meta::new(Arc::new(origin), Timestamp(5));
    meta.durable = true;
    meta.level = 2;
    meta.priority = Some(0);
    meta.expires = Some(Timestamp(99));
    meta.moves = 3;
    let onward = Onward {
        queue: Some("q".into()),
        asked: vec!["r".into(), "s".into()],
        later: vec!["t".into()],
        taken: true,
        source: 77,
    };
    meta.journey = Some(Arc::new(Journey { through: vec!["r".into()], onward: Some(onward) }));
    meta.deaths = Some(
        [Death {
            queue: "q".into(),
            reason: Reason::MaxLength,
            count: 3,
            time: Timestamp(4),
            address: Address::queue("q"),
            ttl_ms: Some(7),
            detail: Some("why".into()),
            copies: Some([Key::from("k/2"), Key::default()].into()),
        }]
        .into(),
    );
    Message::from_fields(
        Address::new("x".into(), "a/b".into()),
        meta,
        &Fields::default(),
        "body".into(),
    )
}

fn spec() -> QueueSpec {
    QueueSpec::durable("q")
        .with_arguments(vec![
            ("x-max-length".into(), Value::I32(5)),
            ("x-dead-letter-exchange".into(), Value::text("dlx")),
        ])
        .map(|spec| QueueSpec { kept_for: Some("client".into()), ..spec })
        .expect("valid")
}

fn account() -> Account {
    let verifiers = vec![Secret("$argon2id$hash".into()), Secret("SCRAM-hash".into())];
    Account { name: "u".into(), tags: vec!["t".into()], verifiers, ..Account::default() }
}

fn rights() -> RightsText {
    RightsText {
        configure: vec!["queue:a".into()],
        write: vec!["topic:b/#".into(), "*".into()],
        read: Vec::new(),
        regexes: Some(NameRegexes { configure: "a".into(), write: "b".into(), read: "".into() }),
        topics: vec![TopicRegexes { exchange: "x".into(), write: "w".into(), read: "r".into() }],
    }
}

#[test]
fn a_session_of_an_old_store_has_no_owner() {
    let mut ops = Ops::default();
    ops.bytes.end().u8(13);
    ops.bytes.end().text("/");
    ops.bytes.end().varint(4);
    ops.bytes.end().text("s");
    ops.bytes.end().u8(2);
    ops.bytes.end().u8(0);
    let back: Vec<Op> = read(ops.into_bytes()).map(|op| op.expect("whole")).collect();
    assert!(matches!(&back[..], [Op::Session { owner: None, life: SessionLife::Forever, .. }]));
}

fn tally() -> Tally {
    let mut tally = Tally::default();
    tally.add_came(CameBy::Publish, 1 << 40);
    tally.add_left(LeftBy::TransientLost, 3);
    tally
}

fn all() -> Ops {
    let mut ops = Ops::default();
    let tags = Tags::new(&[BindingTag { level: 1, flags: 2, id: 300 }]);
    let (queue, session) = (LogId(3), SessionId(4));
    let record = Record {
        message: None,
        tags: tags.clone(),
        state: RecordState::Ready,
        attempts: 4,
        seen: true,
        place: Some(Place { pos: 2, index: 3 }),
        durable: true,
        priority: 1,
        size: 100,
        counted: 100,
        expires: None,
        given: Moment::default(),
    };
    let placed = [(queue, Offset(9), &tags)].into_iter();
    let by = CameBy::of(&message());
    assert_eq!(ops.record((&message(), Timestamp(5), by), placed.clone()), 0);
    assert_eq!(ops.spilled(&message()), 1);
    let counts = Arc::default();
    let offsets = [Offset(5), Offset(3), Offset(1 << 40)];
    ops.settle((queue, &counts), LeftBy::Consumed, &offsets);
    ops.attempts(queue, Offset(3), 2);
    ops.retain("/", &"t".into(), Some(&message()));
    ops.retain("/", &"t".into(), None);
    ops.memo(session, b"k", Some(&Bytes::from_static(b"v")));
    ops.queue("/", queue, &spec());
    ops.queue_gone(queue);
    ops.exchange("/", &ExchangeSpec::new("x", Kind::Headers));
    ops.exchange_gone("/", "x");
    ops.binding("/", &Binding::new("x", "k".into(), Target::Session(session)), true);
    ops.binding("/", &Binding::new("x", "k".into(), Target::Exchange("y".into())), false);
    ops.session("/", (session, "s", ("u", "c")), SessionLife::For(8), Some(queue));
    ops.session_gone(session);
    ops.park(
        ParkId(1),
        "/",
        Parking {
            due: ParkUntil::Disconnected { delay_ms: 5 },
            session: Some(session),
            copies: &[],
        },
        &message(),
    );
    ops.unpark(ParkId(1));
    ops.ids(77);
    let page = Cold::write([(3, &record)].into_iter()).expect("it has a place");
    ops.page_head(queue, 5, page.bytes().len());
    ops.bytes.end().extend_from_slice(page.bytes());
    assert_eq!(ops.rewritten(&message(), [(queue, Offset(9))].into_iter()), 2);
    ops.parts(7, 3);
    ops.used(queue);
    ops.next(queue, Offset(10));
    ops.user(&account());
    ops.user_gone("u");
    ops.rights("u", "/", Some(&rights()));
    ops.rights("u", "/", None);
    ops.vhost("v");
    ops.settle((queue, &counts), LeftBy::Purged, &offsets);
    ops.counts(queue, 900, &tally());
    ops.transient_counts(queue, &tally());
    assert_eq!(ops.record((&message(), Timestamp(5), CameBy::Move), placed), 3);
    let copies = &["a".into(), "b".into()];
    let parking = Parking { due: ParkUntil::At(Timestamp(6)), session: None, copies };
    ops.park(ParkId(2), "/", parking, &message());
    ops
}

#[test]
fn operations_come_back() {
    let ops = all();
    let bytes = ops.into_bytes();
    let back: Vec<Op> = read(bytes.clone()).map(|op| op.expect("whole")).collect();
    assert_eq!(back.len(), 33);
    let Op::Record { message: m, arrived: None, placed, by } = &back[0] else {
        panic!("{:?}", back[0])
    };
    assert_eq!((m.body(), m.address()), (message().body(), message().address()));
    assert_eq!((m.meta().deaths(), m.meta().level), (message().meta().deaths(), 2));
    assert_eq!(m.meta().origin, message().meta().origin);
    assert_eq!((m.meta().expires, m.meta().priority), (Some(Timestamp(99)), Some(0)));
    assert_eq!(placed[0].2.as_slice()[0].id, 300);
    assert_eq!(*by, CameBy::of(&message()));
    let came = matches!(&back[31], Op::Record { by: CameBy::Move, arrived: None, .. });
    assert!(came, "{:?}", back[31]);
    for (at, how) in [(2, LeftBy::Consumed), (28, LeftBy::Purged)] {
        let Op::Settle { offsets, by, .. } = &back[at] else { panic!("{:?}", back[at]) };
        assert_eq!((offsets.as_slice(), *by), ([5, 3, 1 << 40].map(Offset).as_slice(), how));
    }
    let Op::Counts { upto, tally: t, .. } = &back[29] else { panic!("{:?}", back[29]) };
    assert_eq!((upto.0, t), (900, &tally()));
    let Op::TransientCounts { tally: t, .. } = &back[30] else { panic!("{:?}", back[30]) };
    assert_eq!(*t, tally());
    let Op::Queue { spec: s, .. } = &back[7] else { panic!("{:?}", back[7]) };
    assert_eq!(*s, spec());
    let Op::Session { owner, queue, .. } = &back[13] else { panic!("{:?}", back[13]) };
    assert_eq!((owner, queue), (&Some(("u".into(), "c".into())), &Some(LogId(3))));
    let Op::User(user) = &back[23] else { panic!("{:?}", back[23]) };
    assert_eq!(*user, account());
    assert!(!format!("{user:?}").contains("hash"), "what verifies a password is not shown");
    let Op::Rights { rights: r, .. } = &back[25] else { panic!("{:?}", back[25]) };
    assert_eq!(*r, rights());
    let Op::Park { due, .. } = &back[15] else { panic!("{:?}", back[15]) };
    assert_eq!(*due, ParkUntil::Disconnected { delay_ms: 5 });
    let Op::Park { due, copies, .. } = &back[32] else { panic!("{:?}", back[32]) };
    assert_eq!((*due, &**copies), (ParkUntil::At(Timestamp(6)), &["a".into(), "b".into()][..]));
}

#[test]
fn a_cut_is_noticed_at_every_byte() {
    let whole = all().into_bytes();
    let ends: Vec<usize> = {
        let mut ends = vec![0];
        let (mut rest, mut known) = (whole.clone(), Known::default());
        while !rest.is_empty() {
            take_op(&mut rest, &mut known).expect("whole");
            ends.push(whole.len() - rest.len());
        }
        ends
    };
    for cut in 0..whole.len() {
        let broken = read(whole.slice(..cut)).any(|op| op.is_none());
        assert_eq!(broken, !ends.contains(&cut), "cut at {cut}");
    }
}
