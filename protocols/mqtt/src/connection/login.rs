//! From the first byte to CONNACK. Nothing of a connection takes effect before its login is complete; packets that
//! came behind CONNECT wait in the input.

use super::authenticate::{self, Proved};
use super::claims::Claims;
use super::subscribe::Subscriptions;
use super::write::{Client, PACKET_BYTES_MAX};
use super::{Closing, Opened};
use crate::codec::{
    AckKind, BadConnect, Block, Connect, Fault, Reason, Text, Version, connack, cut,
    decode_connect, id, kind,
};
use crate::mapping::{self, Incoming};
use crate::options::Options;
use crate::state::{IN_FLIGHT_MAX, Inbound, Outbound, memo};
use crossdock_core::{
    About, Broker, Consumer, ConsumerSource, Credentials, Credit, Error, ErrorKind, Identity, Name,
    Origin, ParkUntil, QueueSpec, Secret, Session, SessionLife, SessionSpec,
};
use crossdock_net::{Entrance, KeepAlive, Line};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Bytes for a topic and properties beside the largest body.
const HEADER_BYTES: usize = 128 << 10;

/// Where a client logs in.
pub(super) struct LoginContext<'a> {
    pub options: &'a Options,
    pub broker: &'a Broker,
    pub entrance: Entrance,
}

/// A client that has logged in.
pub(super) struct LoggedIn {
    pub session: Session,
    pub client: Client,
    pub opened: Opened,
    pub inbound: Inbound,
    pub outbound: Outbound,
    pub subscriptions: Subscriptions,
    pub claims: Claims,
    /// Bytes of one packet from the client, at most.
    pub packet_max: usize,
    /// Of enhanced authentication.
    pub method: Option<Text>,
}

/// A refused login: the code and the reason string of its CONNACK.
pub(super) struct Refusal {
    reason: Reason,
    why: String,
    /// The login was right, and another connection has taken the session over before it was complete; whether the
    /// session was there before.
    lost: Option<bool>,
}

impl Refusal {
    pub(super) fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into(), lost: None }
    }

    /// Of a session that was opened.
    fn of_session(error: &Error, session: &Session) -> Self {
        let lost = (error.kind() == ErrorKind::Closed).then(|| session.resumed());
        Self { lost, ..Self::new(mapping::connack_reason(error), error.detail()) }
    }
}

/// The whole login, up to a CONNACK in the output.
pub(super) async fn log_in(
    line: &mut Line,
    context: &LoginContext<'_>,
) -> Result<LoggedIn, Closing> {
    let connect = first(line, context.options).await?;
    let client = Client::new(&connect);
    let user = connect.user.as_ref().map_or("", |user| user.as_str());
    // There is one login: nothing is lost if names were noted.
    let _ = context.entrance.claimed.set((user.into(), connect.client_id.as_str().into()));
    let entered = match client_id(&connect, context.options) {
        Ok(named) => match prove(line, &client, &connect, context).await? {
            Ok(_) if context.options.elsewhere.moved_to.is_some() => {
                Err(Refusal::new(Reason::SERVER_MOVED, "the server has moved"))
            }
            Ok(Proved { identity, last }) => {
                let mut terms = Terms::of(&connect, named.1.as_deref(), context);
                if let Some((method, data)) = last {
                    terms.block.bytes(id::AUTH_METHOD, method.bytes());
                    terms.block.bytes(id::AUTH_DATA, &data);
                }
                if !client.takes_connack(&terms.block) {
                    // MQTT 5 §3.1.2.11.4, and before anything takes effect.
                    let why = "CONNACK is larger than the client's maximum packet size";
                    return Err(Closing::Quiet(Error::new(ErrorKind::Refused, why)));
                }
                let entered = enter(&connect, context, named.0, identity).await;
                entered.map(|entered| (entered, terms))
            }
            Err(refusal) => Err(refusal),
        },
        Err(refusal) => Err(refusal),
    };
    match entered {
        Ok((entered, terms)) => Ok(entered.acknowledged(line, &connect, client, terms)),
        Err(Refusal { why, lost: Some(was_there), .. }) => {
            // As if the other connection had come a moment later.
            let mut writer = client.to(&mut line.output);
            writer.connack(was_there && !connect.clean, Reason::SUCCESS, &Block::new());
            writer.disconnect(Reason::TAKEN_OVER, &why, None);
            Err(Closing::Quiet(Error::new(ErrorKind::Closed, why)))
        }
        Err(Refusal { reason, why, .. }) => {
            let moved_to = context.options.elsewhere.moved_to.as_deref();
            let moved_to = moved_to.filter(|_| reason == Reason::SERVER_MOVED);
            client.to(&mut line.output).refusal(reason, &why, moved_to);
            Err(Closing::Quiet(Error::new(ErrorKind::Refused, why)))
        }
    }
}

/// Who the client is, by what CONNECT says or by what follows.
async fn prove(
    line: &mut Line,
    client: &Client,
    connect: &Connect,
    context: &LoginContext<'_>,
) -> Result<Result<Proved, Refusal>, Closing> {
    // The login time is for the client to say who it is. What follows depends on the broker.
    let Some(asked) = &connect.authentication else {
        line.agreed(KeepAlive::default());
        let checked = line.while_verified(check_login(connect, context)).await?;
        return Ok(checked.map(|identity| Proved { identity, last: None }));
    };
    let proved = Box::pin(authenticate::log_in(line, client, asked, context)).await?;
    line.agreed(KeepAlive::default());
    Ok(proved)
}

/// Reads the first packet.
async fn first(line: &mut Line, options: &Options) -> Result<Connect, Closing> {
    loop {
        let buffer = line.input.buffer();
        let found = match buffer.first() {
            Some(first) if first >> 4 != kind::CONNECT => {
                Err(Fault::protocol("the first packet is not CONNECT").into())
            }
            _ => match cut(buffer, options.login_bytes_max, false) {
                Ok(None) => {
                    line.more().await?;
                    continue;
                }
                Ok(Some(frame)) => decode_connect(frame),
                Err(fault) => Err(fault.into()),
            },
        };
        return found.map_err(|bad| refuse(line, &bad));
    }
}

/// Answers a CONNECT that cannot be accepted, if the protocol has an answer.
fn refuse(line: &mut Line, bad: &BadConnect) -> Closing {
    let BadConnect { version, fault } = bad;
    // 3.1.1 §3.1.4: only an unsupported version is answered; what is malformed is closed.
    if let Some(version) = version
        && (version.is_5() || fault.reason == Reason::UNSUPPORTED_VERSION)
    {
        let mut block = Block::new();
        block.reason_string(fault.what);
        connack(line.output.tail(), *version, false, fault.reason, &block);
    }
    Closing::Quiet(Error::new(ErrorKind::Invalid, fault.what))
}

/// A session that was opened.
struct Entered {
    session: Session,
    opened: Opened,
    inbound: Inbound,
    outbound: Outbound,
    /// PUBRELs that go out at once.
    releases: Vec<u16>,
    subscriptions: Subscriptions,
    claims: Claims,
}

/// What CONNACK tells a client that is let in.
struct Terms {
    block: Block,
    /// Bytes of one packet from the client, at most.
    packet_max: usize,
    /// Seconds; 0 is off.
    keep_alive: u16,
}

/// The identifier of a client, and the one that was made up for it, if it left that to the server.
type ClientId = (Name, Option<String>);

async fn enter(
    connect: &Connect,
    context: &LoginContext<'_>,
    client: Name,
    identity: Identity,
) -> Result<Entered, Refusal> {
    let LoginContext { options, broker, entrance } = context;
    let (listener, peer) = (entrance.listener.clone(), entrance.peer.clone());
    let origin = Origin { client: client.clone(), listener, peer, ..Origin::default() };
    let life = life(capped(connect.session_expiry, options));
    let spec = session_spec(connect, context, (origin, identity), life);
    // The will's address is checked before anything takes effect.
    let exchange = &broker.settings().topic_exchange;
    let will = match &connect.will {
        None => None,
        Some(will) => {
            let address = mapping::target(will.topic.bytes(), exchange);
            broker.may_publish(&spec, &address).map_err(|error| {
                let why = format!("the will's topic: {}", error.detail());
                Refusal::new(Reason::NOT_AUTHORIZED, why)
            })?;
            Some((will, address))
        }
    };
    let refused = |error: Error| Refusal::new(mapping::connack_reason(&error), error.detail());
    let mut session = broker.session(spec).await.map_err(refused)?;
    if options.strict_listeners.contains(&entrance.listener) {
        session.tell_denied();
    }
    let incoming = Incoming { version: connect.version, origin: session.origin().clone() };
    let opened = open(&mut session, connect, options, incoming).await;
    let mut opened = opened.map_err(|error| Refusal::of_session(&error, &session))?;
    opened.persistent = life != SessionLife::No;
    let (mut inbound, mut outbound) = (Inbound::default(), Outbound::default());
    let mut subscriptions = Subscriptions::resumed(session.own_bindings());
    for noted in session.memos() {
        match memo::read(&noted.key) {
            Some(memo::Key::Inbound(packet_id)) => inbound.restore(packet_id),
            Some(memo::Key::Outbound(offset)) => outbound.restore(offset),
            Some(memo::Key::Subscription) => subscriptions.noted(&mut session, noted),
            None => {
                tracing::debug!(%client, "a stored memo is skipped: its kind is not known")
            }
        }
    }
    let mut releases = outbound.release_lost(|offset| session.has_own(offset));
    let (claims, mut received) = Claims::of(&mut session, &mut outbound).await;
    releases.append(&mut received);
    if outbound.orphans() > 0 {
        let messages = opened.credit.messages.saturating_sub(outbound.orphans());
        session.set_pool(opened.pool, Credit { messages, ..opened.credit });
    }
    subscriptions.take_up(&mut session, &opened, options).await;
    if let Some((will, address)) = will {
        session.check_headers(will.properties.len(), || will.users).map_err(refused)?;
        let message = mapping::will(will, address, &opened.incoming, broker.now());
        let due = ParkUntil::Disconnected { delay_ms: u64::from(will.delay) * 1000 };
        let parked = session.park(due, message).await;
        opened.will = Some(parked.map_err(|error| Refusal::of_session(&error, &session))?);
    }
    Ok(Entered { session, opened, inbound, outbound, releases, subscriptions, claims })
}

/// What can be judged without waiting for anybody.
fn client_id(connect: &Connect, options: &Options) -> Result<ClientId, Refusal> {
    if !connect.version.is_5() && capped_keep_alive(connect.keep_alive, options).is_some() {
        // 3.1.1 has no way to ask for another keep-alive. Mosquitto answers with the same code.
        let (asked, max) = (connect.keep_alive, options.keep_alive_max.unwrap_or_default());
        let why =
            format!("a keep-alive of {asked} s is beyond {max} s (limits.mqtt.keep_alive_max)");
        return Err(Refusal::new(Reason::CLIENT_ID_NOT_VALID, why));
    }
    let (id, max) = (connect.client_id.as_str(), options.client_id_bytes_max);
    if id.len() > max {
        let bytes = id.len();
        let why = format!(
            "{bytes} bytes are too many for a client identifier: {max} may be (limits.mqtt.client_id_bytes)"
        );
        return Err(Refusal::new(Reason::CLIENT_ID_NOT_VALID, why));
    }
    if !id.is_empty() {
        return Ok((id.into(), None));
    }
    // 3.1 §3.1: at least one character. 3.1.1 [MQTT-3.1.3-8]
    let why = match connect.version {
        Version::V31 => Some("MQTT 3.1 has no empty client identifiers"),
        Version::V311 if !connect.clean => Some("an empty client identifier needs a clean session"),
        Version::V311 | Version::V5 => None,
    };
    if let Some(why) = why {
        return Err(Refusal::new(Reason::CLIENT_ID_NOT_VALID, why));
    }
    // Nobody may guess it: the keys of `RandomState` come from the system's randomness.
    let (high, low) = (RandomState::new().hash_one(0u8), RandomState::new().hash_one(1u8));
    let made_up = format!("auto-{high:016x}{low:016x}");
    Ok((made_up.as_str().into(), Some(made_up)))
}

async fn check_login(connect: &Connect, context: &LoginContext<'_>) -> Result<Identity, Refusal> {
    // An empty user name names nobody: it is as if it had been left out, and so is an empty password behind it.
    let user = connect.user.as_ref().filter(|user| !user.is_empty());
    let password = connect.password.as_ref().filter(|p| user.is_some() || !p.is_empty());
    let named = user.map(|user| Name::from(user.as_str()));
    let certificate = context.entrance.by_certificate(named.unwrap_or_default());
    let credentials = match (user, password) {
        (_, None) if certificate.is_some() => certificate.unwrap_or(Credentials::Anonymous),
        (Some(user), password) => Credentials::Password {
            user: user.as_str().into(),
            password: Secret(password.cloned().unwrap_or_default()),
        },
        // MQTT 5 §3.1.2.9: a password alone is a credential of another kind: here a token.
        (None, Some(token)) => {
            Credentials::Token { user: Name::default(), token: Secret(token.clone()) }
        }
        (None, None) => Credentials::Anonymous,
    };
    let anonymous = matches!(credentials, Credentials::Anonymous);
    let vhost = vhost(context.broker);
    context.entrance.log_in(context.broker, credentials, Some(vhost)).await.map_err(|error| {
        let reason = match error.kind() {
            ErrorKind::Refused if anonymous => Reason::NOT_AUTHORIZED,
            ErrorKind::Refused => Reason::BAD_CREDENTIALS,
            _ => Reason::SERVER_UNAVAILABLE,
        };
        Refusal::new(reason, error.detail())
    })
}

/// Where all clients are.
pub(super) fn vhost(broker: &Broker) -> Name {
    broker.settings().vhosts.first().cloned().unwrap_or_default()
}

/// What the client asks for, up to the operator's limit.
pub(super) fn capped(seconds: u32, options: &Options) -> u32 {
    options.session_expiry_max.map_or(seconds, |max| seconds.min(max))
}

/// The operator's keep-alive, where the client asks for a longer one, or for none.
fn capped_keep_alive(seconds: u16, options: &Options) -> Option<u16> {
    options.keep_alive_max.filter(|max| seconds == 0 || seconds > *max)
}

/// MQTT 5 §3.1.2.11.2: 0 ends with the connection, the maximum never ends.
pub(super) fn life(seconds: u32) -> SessionLife {
    match seconds {
        0 => SessionLife::No,
        u32::MAX => SessionLife::Forever,
        seconds => SessionLife::For(u64::from(seconds) * 1000),
    }
}

fn session_spec(
    connect: &Connect,
    context: &LoginContext<'_>,
    (origin, identity): (Origin, Identity),
    life: SessionLife,
) -> SessionSpec {
    let name = Name::from(format!("{}{}", crate::SESSION_QUEUES, origin.client));
    let queue = QueueSpec {
        name: name.clone(),
        durable: life != SessionLife::No,
        kept_for: Some(origin.client.clone()),
        ..QueueSpec::default()
    };
    SessionSpec {
        vhost: vhost(context.broker),
        name: Some(name),
        clean: connect.clean,
        life,
        origin,
        identity,
        about: About {
            secure: context.entrance.secure,
            ..About::new("mqtt", connect.version.number())
        },
        queue: Some(queue),
    }
}

/// The lane, the credit and the consumer of the session's own queue.
async fn open(
    session: &mut Session,
    connect: &Connect,
    options: &Options,
    incoming: Incoming,
) -> Result<Opened, Error> {
    let lane = session.lane();
    let credit = Credit {
        messages: connect.receive_maximum.min(options.in_flight_max).min(IN_FLIGHT_MAX).into(),
        bytes: options.in_flight_bytes_max,
    };
    let pool = session.pool(credit);
    let consumer = Consumer {
        source: ConsumerSource::Own,
        settles: true,
        exclusive: false,
        priority: 0,
        credit: Credit::UNLIMITED,
        pools: [pool].into_iter().collect(),
        // MQTT 5 §3.3.2.3.3.
        only_unexpired: true,
        has_time: false,
        tag: incoming.origin.client.clone(),
    };
    let own = session.attach(lane, consumer).await?;
    Ok(Opened { lane, pool, credit, own, persistent: false, will: None, incoming })
}

impl Terms {
    fn of(connect: &Connect, assigned: Option<&str>, context: &LoginContext<'_>) -> Self {
        let LoginContext { options, broker, .. } = context;
        let bytes_max = broker.live().message_bytes_max();
        let packet_max = bytes_max.saturating_add(HEADER_BYTES).min(PACKET_BYTES_MAX);
        let mut block = Block::new();
        if capped(connect.session_expiry, options) != connect.session_expiry {
            block.u32(id::SESSION_EXPIRY, capped(connect.session_expiry, options));
        }
        // MQTT 5 §3.2.2.3.3: the highest one need not be said.
        if options.receive_maximum < u16::MAX {
            block.u16(id::RECEIVE_MAXIMUM, options.receive_maximum);
        }
        block.u32(id::MAXIMUM_PACKET_SIZE, u32::try_from(packet_max).unwrap_or(u32::MAX));
        if let Some(assigned) = assigned {
            block.bytes(id::ASSIGNED_CLIENT_ID, assigned.as_bytes());
        }
        block.u16(id::TOPIC_ALIAS_MAXIMUM, options.topic_alias_maximum);
        let capped_keep_alive = capped_keep_alive(connect.keep_alive, options);
        if let Some(seconds) = capped_keep_alive {
            // MQTT 5 [MQTT-3.2.2-21]: the client uses this one instead of its own.
            block.u16(id::SERVER_KEEP_ALIVE, seconds);
        }
        let keep_alive = capped_keep_alive.unwrap_or(connect.keep_alive);
        Self { block, packet_max, keep_alive }
    }
}

impl Entered {
    /// Writes CONNACK, and the PUBRELs that the session owes the client.
    fn acknowledged(
        self,
        line: &mut Line,
        connect: &Connect,
        client: Client,
        terms: Terms,
    ) -> LoggedIn {
        let Terms { block, packet_max, keep_alive: seconds } = terms;
        // [MQTT-3.2.2-2], [MQTT-3.2.2-3]: session present only if the session really existed.
        let present = !connect.clean && self.session.resumed();
        let mut writer = client.to(&mut line.output);
        writer.connack(present, Reason::SUCCESS, &block);
        for packet_id in self.releases {
            writer.ack(AckKind::PubRel, packet_id, Reason::SUCCESS, None);
        }
        line.agreed(keep_alive(seconds));
        if self.subscriptions.is_waiting() {
            line.retry_later();
        }
        let Self { session, opened, inbound, outbound, subscriptions, claims, .. } = self;
        line.log_opened(&session.origin().user, &session.origin().client);
        let method = connect.authentication.as_ref().map(|asked| asked.method.clone());
        LoggedIn {
            session,
            client,
            opened,
            inbound,
            outbound,
            subscriptions,
            claims,
            packet_max,
            method,
        }
    }
}

/// `seconds` is the client's keep-alive; 0 is off. MQTT 5 [MQTT-3.1.2-22]: a client that sends nothing for one and a
/// half times as long is silent.
fn keep_alive(seconds: u16) -> KeepAlive {
    let silence = (seconds > 0).then(|| Duration::from_millis(u64::from(seconds) * 1500));
    KeepAlive { silence, ..KeepAlive::default() }
}
