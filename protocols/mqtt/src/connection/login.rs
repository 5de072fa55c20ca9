//! From the first byte to CONNACK. Nothing of a connection takes effect before its login is complete; packets that
//! came behind CONNECT wait in the input.

use super::peer::Peer;
use super::subscribe::Subscriptions;
use super::{Clock, Connection, Seat, Turn, receive};
use crate::codec::{
    AckKind, Block, Connect, Fault, Reason, Refusal, Version, connack, cut, decode_connect, id,
    kind,
};
use crate::mapping::{self, Incoming};
use crate::options::Options;
use crate::state::{IN_FLIGHT_MAX, Inbound, Outbound, memo};
use crossdock_core::{
    Broker, Consumer, Credentials, Credit, Due, Error, ErrorKind, Events, Keep, Login, Name,
    Origin, ParkId, QueueSpec, Secret, Session, SessionSpec, Source,
};
use crossdock_net::{Input, Output};
use std::hash::{BuildHasher, RandomState};

/// Room for a topic and properties beside the largest body.
const HEADER_ROOM: usize = 128 << 10;

/// Why there is no CONNECT.
pub(super) enum NoConnect {
    Gone(String),
    Refused(Refusal),
}

/// Reads the first packet. The caller limits the time, in all and not for each byte.
pub(super) async fn first(input: &mut Input, options: &Options) -> Result<Connect, NoConnect> {
    let refused = |fault: Fault| NoConnect::Refused(fault.into());
    loop {
        let buffer = input.buffer();
        if buffer.first().is_some_and(|first| first >> 4 != kind::CONNECT) {
            return Err(refused(Fault::protocol("the first packet is not CONNECT")));
        }
        if let Some(frame) = cut(buffer, options.login_bytes_max, false).map_err(refused)? {
            return decode_connect(frame).map_err(NoConnect::Refused);
        }
        match input.read().await {
            Ok(0) => return Err(NoConnect::Gone("closed before CONNECT".into())),
            Ok(_) => (),
            Err(error) => return Err(NoConnect::Gone(error.to_string())),
        }
    }
}

/// Answers a CONNECT that was none, where the protocol has an answer to it.
pub(super) async fn refuse(out: &mut Output, refusal: &Refusal) {
    let Refusal { version: Some(version), fault } = refusal else { return };
    // 3.1.1 §3.1.4: only an unsupported version is answered; what is malformed is closed.
    if version.is_5() || fault.reason == Reason::UNSUPPORTED_VERSION {
        let mut block = Block::new();
        block.reason_string(fault.what);
        connack(out.tail(), *version, false, fault.reason, &block);
        let _ = tokio::time::timeout(super::LINGER, out.finish()).await;
    }
}

/// Who asks to come in, and where.
pub(super) struct Visitor<'a> {
    pub options: &'a Options,
    pub broker: &'a Broker,
    pub loopback: bool,
    pub listener: Name,
}

/// A refused login: the code and the words.
struct No {
    reason: Reason,
    why: String,
}

impl No {
    fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into() }
    }
}

/// Opens the session and says CONNACK, or refuses and closes.
pub(super) async fn open(
    connect: Connect,
    visitor: Visitor<'_>,
    input: Input,
    out: Output,
) -> Result<Box<Connection<'_>>, Error> {
    let mut peer = Peer::new(out, connect.version);
    peer.limit(connect.packet_size_max, connect.problem_information);
    match enter(&connect, &visitor).await {
        Ok(entered) => Ok(Box::new(entered.connection(&connect, &visitor, input, peer))),
        Err(No { reason, why }) => {
            let mut block = Block::new();
            block.reason_string(&why);
            peer.connack(false, reason, &block);
            let _ = tokio::time::timeout(super::LINGER, peer.out.finish()).await;
            Err(Error::new(ErrorKind::Refused, why))
        }
    }
}

/// A session that was opened.
struct Entered {
    session: Session,
    seat: Seat,
    inbound: Inbound,
    outbound: Outbound,
    /// PUBRELs that go out at once.
    releases: Vec<u16>,
    subscriptions: Subscriptions,
    assigned: Option<String>,
}

async fn enter(connect: &Connect, visitor: &Visitor<'_>) -> Result<Entered, No> {
    let Visitor { options, broker, .. } = visitor;
    if connect.enhanced_authentication {
        return Err(No::new(Reason::BAD_AUTH_METHOD, "no authentication method is supported"));
    }
    let (client, assigned) = client_id(connect, options)?;
    let user = login(connect, visitor).await?;
    let origin = Origin { user, client: client.clone(), listener: visitor.listener.clone() };
    // The will's address is checked before anything takes effect.
    let exchange = &broker.settings().topic_exchange;
    let will = match &connect.will {
        None => None,
        Some(will) => {
            let address = mapping::target(will.topic.bytes(), exchange).ok_or_else(|| {
                No::new(Reason::NOT_AUTHORIZED, "nobody may publish to the will's topic")
            })?;
            Some((will, address))
        }
    };
    let keep = keep(capped(connect.session_expiry, options));
    let refused = |error: Error| No::new(mapping::connack_reason(&error), error.detail());
    let spec = session_spec(connect, visitor, (&client, origin), keep);
    let mut session = broker.session(spec).await.map_err(refused)?;
    let incoming = Incoming { version: connect.version, origin: session.origin().clone() };
    let persistent = keep != Keep::No;
    let mut seat = take_seat(&mut session, connect, visitor, incoming).await.map_err(refused)?;
    seat.persistent = persistent;
    let (mut inbound, mut outbound) = (Inbound::default(), Outbound::default());
    let mut subscriptions = Subscriptions::resumed(session.own_bindings());
    for noted in session.memos() {
        match memo::read(&noted.key) {
            Some(memo::Key::Inbound(packet_id)) => inbound.restore(packet_id),
            Some(memo::Key::Outbound(offset)) => outbound.restore(offset),
            Some(memo::Key::Subscription) => subscriptions.noted(&mut session, noted),
            None => tracing::debug!("a note of the session is not understood"),
        }
    }
    let releases = outbound.release_lost(|offset| session.has_own(offset));
    if !releases.is_empty() {
        let messages = seat.credit.messages.saturating_sub(outbound.orphans());
        session.set_pool(seat.pool, Credit { messages, ..seat.credit });
    }
    subscriptions.take_up(&mut session, &seat, options).await;
    if let Some((will, address)) = will {
        let message = mapping::will(will, address, &seat.incoming, broker.now());
        let due = Due::Gone { delay_ms: u64::from(will.delay) * 1000 };
        let parked: ParkId = session.park(due, message).await.map_err(refused)?;
        seat.will = Some(parked);
    }
    Ok(Entered { session, seat, inbound, outbound, releases, subscriptions, assigned })
}

/// The identifier, and the one that was made up when the client left it to the server.
fn client_id(connect: &Connect, options: &Options) -> Result<(Name, Option<String>), No> {
    let id = connect.client_id.as_str();
    if id.len() > options.client_id_bytes_max {
        return Err(No::new(Reason::CLIENT_ID_NOT_VALID, "the client identifier is too long"));
    }
    if !id.is_empty() {
        return Ok((id.into(), None));
    }
    if connect.version == Version::V311 && !connect.clean {
        // 3.1.1 [MQTT-3.1.3-8]
        let why = "an empty client identifier needs a clean session";
        return Err(No::new(Reason::CLIENT_ID_NOT_VALID, why));
    }
    // Nobody may guess it: the keys of `RandomState` come from the system's randomness.
    let (high, low) = (RandomState::new().hash_one(0u8), RandomState::new().hash_one(1u8));
    let made_up = format!("auto-{high:016x}{low:016x}");
    Ok((made_up.as_str().into(), Some(made_up)))
}

async fn login(connect: &Connect, visitor: &Visitor<'_>) -> Result<Name, No> {
    let credentials = match (&connect.user, &connect.password) {
        (Some(user), password) => Credentials::Password {
            user: user.as_str().into(),
            password: Secret(password.clone().unwrap_or_default()),
        },
        // A password alone is a token of a scheme that there is none of.
        (None, Some(_)) => return Err(No::new(Reason::BAD_CREDENTIALS, "no user name")),
        (None, None) => Credentials::Anonymous,
    };
    let anonymous = matches!(credentials, Credentials::Anonymous);
    let login = Login { credentials, loopback: visitor.loopback };
    visitor.broker.login(&login).await.map_err(|error| {
        let reason = match error.kind() {
            ErrorKind::Refused if anonymous => Reason::NOT_AUTHORIZED,
            ErrorKind::Refused => Reason::BAD_CREDENTIALS,
            _ => Reason::SERVER_UNAVAILABLE,
        };
        No::new(reason, error.detail())
    })
}

/// What the client asks for, up to the operator's limit.
pub(super) fn capped(seconds: u32, options: &Options) -> u32 {
    options.session_expiry_max.map_or(seconds, |max| seconds.min(max))
}

/// MQTT 5 §3.1.2.11.2: 0 ends with the connection, the maximum never ends.
pub(super) fn keep(seconds: u32) -> Keep {
    match seconds {
        0 => Keep::No,
        u32::MAX => Keep::Forever,
        seconds => Keep::For(u64::from(seconds) * 1000),
    }
}

fn session_spec(
    connect: &Connect,
    visitor: &Visitor<'_>,
    (client, origin): (&Name, Origin),
    keep: Keep,
) -> SessionSpec {
    let name = Name::from(format!("mqtt/{client}"));
    let queue = QueueSpec {
        name: name.clone(),
        durable: keep != Keep::No,
        limits: visitor.options.queue_limits,
        ..QueueSpec::default()
    };
    SessionSpec {
        vhost: visitor.broker.settings().vhosts.first().cloned().unwrap_or_default(),
        name: Some(name),
        clean: connect.clean,
        keep,
        origin,
        queue: Some(queue),
    }
}

async fn take_seat(
    session: &mut Session,
    connect: &Connect,
    visitor: &Visitor<'_>,
    incoming: Incoming,
) -> Result<Seat, Error> {
    let options = visitor.options;
    let lane = session.lane();
    let credit = Credit {
        messages: connect.receive_maximum.min(options.in_flight_max).min(IN_FLIGHT_MAX).into(),
        bytes: options.in_flight_bytes_max,
    };
    let pool = session.pool(credit);
    let consumer = Consumer {
        source: Source::Own,
        settles: true,
        exclusive: false,
        priority: 0,
        credit: Credit::UNLIMITED,
        pools: [pool].into_iter().collect(),
        skip_own: false,
        tag: incoming.origin.client.clone(),
    };
    let own = session.attach(lane, consumer).await?;
    Ok(Seat { lane, pool, credit, own, persistent: false, will: None, incoming })
}

impl Entered {
    fn connection<'a>(
        self,
        connect: &Connect,
        visitor: &Visitor<'a>,
        input: Input,
        mut peer: Peer,
    ) -> Connection<'a> {
        let options = visitor.options;
        let packet_max = visitor.broker.settings().message_bytes_max.saturating_add(HEADER_ROOM);
        // [MQTT-3.2.2-2], [MQTT-3.2.2-3]: only what is really there is said to be.
        let present = !connect.clean && self.session.resumed();
        let mut block = Block::new();
        if capped(connect.session_expiry, options) != connect.session_expiry {
            block.u32(id::SESSION_EXPIRY, capped(connect.session_expiry, options));
        }
        block.u16(id::RECEIVE_MAXIMUM, options.receive_maximum);
        block.u32(id::MAXIMUM_PACKET_SIZE, u32::try_from(packet_max).unwrap_or(u32::MAX));
        if let Some(assigned) = &self.assigned {
            block.bytes(id::ASSIGNED_CLIENT_ID, assigned.as_bytes());
        }
        block.u16(id::TOPIC_ALIAS_MAXIMUM, options.topic_alias_maximum);
        peer.connack(present, Reason::SUCCESS, &block);
        for packet_id in self.releases {
            peer.ack(AckKind::PubRel, packet_id, Reason::SUCCESS, None);
        }
        let mut clock = Clock::new(connect.keep_alive, options.write_time);
        if self.subscriptions.is_waiting() {
            clock.retry();
        }
        Connection {
            options,
            session: self.session,
            input,
            peer,
            clock,
            events: Events::default(),
            events_first: true,
            seat: self.seat,
            inbound: self.inbound,
            outbound: self.outbound,
            subscriptions: self.subscriptions,
            aliases: receive::Aliases::default(),
            turn: Turn::default(),
            packet_max,
        }
    }
}
