//! From the first octet to connection.open-ok (AMQP 0-9-1 §2.2.4): protocol header, start, tune, open. Nothing of the
//! connection has an effect before the login; the whole takes place under the line's deadline for logins. And
//! connection.update-secret, by which a login that ends goes on (RabbitMQ extension).

use super::{Closing, Connection};
use crate::Options;
use crate::codec::frame::{self, PROTOCOL_HEADER, SIZE_MIN};
use crate::codec::method::{StartOk, Tune};
use crate::codec::table::{self, Pairs};
use crate::codec::{FrameKind, Method, MethodId, Refusal, Reply, ReplyCode, method};
use crate::mapping::errors;
use bytes::{Buf, Bytes};
use crossdock_core::message::lookup;
use crossdock_core::{
    About, Broker, Credentials, Error, ErrorKind, Identity, Name, Origin, Secret, Session,
    SessionSpec, Value,
};
use crossdock_net::{Entrance, KeepAlive, Line};
use std::time::Duration;

/// Where a client logs in.
pub struct LoginContext<'a> {
    pub options: &'a Options,
    pub broker: &'a Broker,
    pub entrance: Entrance,
}

/// A client that has logged in.
pub struct LoggedIn {
    pub session: Session,
    pub vhost: Name,
    pub tune: Tune,
    pub client: Capabilities,
}

/// Extensions of the protocol that the client understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    pub consumer_cancel_notify: bool,
    pub connection_blocked: bool,
    pub authentication_failure_close: bool,
    /// Our own: why a publish was refused is said by a basic.return before its basic.nack, which has no text.
    pub nack_reason: bool,
}

impl Capabilities {
    fn of(properties: &Pairs) -> Self {
        let has = |name: &str| match lookup(properties, "capabilities") {
            Some(Value::Map(pairs)) => lookup(pairs, name) == Some(&Value::Bool(true)),
            _ => false,
        };
        Self {
            consumer_cancel_notify: has("consumer_cancel_notify"),
            connection_blocked: has("connection.blocked"),
            authentication_failure_close: has("authentication_failure_close"),
            nack_reason: has("crossdock.nack_reason"),
        }
    }
}

/// Puts a method into the output; the next wait for the client writes it.
fn send(line: &mut Line, reply: Reply<'_>) {
    reply.put(line.output.tail(), 0);
}

async fn receive(line: &mut Line, frame_max: usize) -> Result<(Method, MethodId), Closing> {
    loop {
        let decoded = frame::decode(line.input.buffer(), frame_max);
        match decoded.map_err(|refusal| Closing::Refused(refusal, (0, 0)))? {
            Some(frame) if frame.kind == FrameKind::Heartbeat => {}
            Some(frame) if frame.channel != 0 || frame.kind != FrameKind::Method => {
                let text = "only methods on channel 0 are expected before connection.open";
                let refusal = Refusal::new(ReplyCode::UnexpectedFrame, text);
                return Err(Closing::Refused(refusal, (0, 0)));
            }
            Some(frame) => {
                let id = method::id(&frame.payload).unwrap_or_default();
                let method = method::decode(&frame.payload);
                return match method.map_err(|refusal| Closing::Refused(refusal, id))? {
                    Method::ConnectionClose => Err(Closing::ByClient),
                    method => Ok((method, id)),
                };
            }
            None => line.more().await?,
        }
    }
}

/// The whole login.
pub async fn log_in(line: &mut Line, context: &LoginContext<'_>) -> Result<LoggedIn, Closing> {
    let LoginContext { options, broker, entrance } = context;
    protocol_header(line).await?;
    let announces_itself = options.own_name_listeners.contains(&entrance.listener);
    let properties = server_properties(announces_itself);
    let mechanisms = match entrance.certificate {
        Some(_) => "PLAIN AMQPLAIN EXTERNAL",
        None => "PLAIN AMQPLAIN",
    };
    send(line, Reply::ConnectionStart { properties: &properties, mechanisms });
    let (method, id) = receive(line, options.login_frame_max).await?;
    let Method::ConnectionStartOk(start_ok) = method else { return Err(unexpected(id)) };
    let client = Capabilities::of(&start_ok.client_properties);
    let identity = line.while_verified(check_login(&start_ok, context, client, id)).await??;
    let tune = tune(line, options).await?;
    let (method, id) = receive(line, options.login_frame_max).await?;
    let Method::ConnectionOpen { vhost } = method else { return Err(unexpected(id)) };
    if !broker.has_vhost(&vhost) {
        let refusal = Refusal::new(ReplyCode::NotAllowed, format!("vhost '{vhost}' not found"));
        return Err(Closing::Refused(refusal, id));
    }
    let (listener, peer) = (entrance.listener.clone(), entrance.peer.clone());
    let origin = Origin { listener, peer, ..Origin::default() };
    let about = About { secure: entrance.secure, ..About::new("amqp", "0-9-1") };
    let about = about.saying(start_ok.client_properties);
    let spec = SessionSpec { about, ..SessionSpec::anonymous(vhost.clone(), origin, identity) };
    let session = broker.session(spec).await;
    let mut session = session.map_err(|error| {
        let refusal = match error.kind() {
            // As RabbitMQ answers when a user or a virtual host has as many connections as it may, and when a user may
            // not enter the virtual host: the login itself was right.
            ErrorKind::LimitReached | ErrorKind::Refused => {
                Refusal::new(ReplyCode::NotAllowed, error.detail())
            }
            _ => errors::refusal(&error),
        };
        Closing::Refused(refusal, id)
    })?;
    if options.strict_listeners.contains(&entrance.listener) {
        session.tell_denied();
    }
    line.agreed(keep_alive(tune.heartbeat));
    line.log_opened(&session.origin().user, &session.origin().client);
    send(line, Reply::ConnectionOpenOk);
    Ok(LoggedIn { session, vhost, tune, client })
}

impl Connection {
    /// A password does not end, so that a new one says nothing, as with RabbitMQ. A token is judged as the first one
    /// was.
    pub(super) async fn renew_login(&mut self, secret: Secret) -> Result<(), Refusal> {
        if let Some(entrance) = &self.limits.renewal {
            let user = self.session.origin().user.clone();
            let credentials = Credentials::Password { user, password: secret };
            let broker = self.session.broker().clone();
            let login = self
                .line
                .while_waiting(entrance.log_in(&broker, credentials, Some(self.vhost.clone())))
                .await;
            let renewed = login.and_then(|identity| self.session.renew_login(&identity));
            renewed.map_err(|error| {
                let text = format!("New secret was refused: {}", error.detail());
                Refusal::new(ReplyCode::NotAllowed, text)
            })?;
        }
        Reply::ConnectionUpdateSecretOk.put(self.line.output.tail(), 0);
        Ok(())
    }
}

/// §4.2.7: `interval` in seconds; 0 is none. Twice that is silence, and beats come in half of it, so that delays on
/// neither side end a connection.
fn keep_alive(interval: u16) -> KeepAlive {
    let interval = (interval > 0).then(|| Duration::from_secs(u64::from(interval)));
    let (silence, beat) = (interval.map(|interval| interval * 2), interval.map(|i| i / 2));
    KeepAlive { silence, beat }
}

async fn protocol_header(line: &mut Line) -> Result<(), Closing> {
    while line.input.buffer().len() < PROTOCOL_HEADER.len() {
        if !PROTOCOL_HEADER.starts_with(line.input.buffer()) {
            break;
        }
        line.more().await?;
    }
    if line.input.buffer().starts_with(&PROTOCOL_HEADER) {
        line.input.buffer().advance(PROTOCOL_HEADER.len());
        return Ok(());
    }
    // §4.2.2: the answer to a wrong header is the right one, and the end.
    line.output.push(&Bytes::from_static(&PROTOCOL_HEADER));
    let error = Error::new(ErrorKind::Invalid, "the protocol header is of another version");
    Err(Closing::Quiet(error))
}

/// What other products are asked for by clients: some, as kombu and amqplib, behave by the product's name, and what is
/// served here is what they expect of that one.
const COMPATIBLE: (&str, &str) = ("RabbitMQ", "4.1.0");
const INFORMATION: &str =
    "Crossdock. Product and version say whose dialect is spoken: listeners.NAME.announce";

/// §1.4.2.1.1. `own_name`: as ourselves, and not as what clients take us for.
fn server_properties(own_name: bool) -> Pairs {
    let yes = |name: &str| (Name::from(name), Value::Bool(true));
    let capabilities = vec![
        yes("publisher_confirms"),
        yes("exchange_exchange_bindings"),
        yes("basic.nack"),
        yes("consumer_cancel_notify"),
        yes("connection.blocked"),
        yes("consumer_priorities"),
        yes("authentication_failure_close"),
        yes("per_consumer_qos"),
        yes("direct_reply_to"),
    ];
    let own = ("Crossdock", env!("CARGO_PKG_VERSION"));
    let (product, version) = if own_name { own } else { COMPATIBLE };
    vec![
        ("capabilities".into(), Value::Map(capabilities)),
        ("product".into(), Value::text(product)),
        ("version".into(), Value::text(version)),
        ("platform".into(), Value::text(format!("{} {} (Rust)", own.0, own.1))),
        ("crossdock".into(), Value::text(own.1)),
        ("information".into(), Value::text(INFORMATION)),
    ]
}

fn unexpected(id: MethodId) -> Closing {
    let text = format!("method {} of class {} does not come here in a login", id.1, id.0);
    Closing::Refused(Refusal::new(ReplyCode::CommandInvalid, text), id)
}

/// Who it is; `id` is of the method that the credentials came with.
async fn check_login(
    start_ok: &StartOk,
    context: &LoginContext<'_>,
    client: Capabilities,
    id: MethodId,
) -> Result<Identity, Closing> {
    let refused = |refusal| Closing::Refused(refusal, id);
    let credentials = credentials(start_ok, &context.entrance).map_err(refused)?;
    if let Credentials::Password { user, .. } = &credentials {
        // There is one login: nothing is lost if a name was noted.
        let _ = context.entrance.claimed.set((user.clone(), Name::default()));
    }
    match context.entrance.log_in(context.broker, credentials, None).await {
        Ok(identity) => Ok(identity),
        // That nobody can say who it is now does not mean that its password is wrong.
        Err(error) if client.authentication_failure_close && error.kind() != ErrorKind::Refused => {
            Err(refused(errors::refusal(&error)))
        }
        // RabbitMQ "authentication_failure_close": others take a closed socket for the refusal.
        Err(error) if client.authentication_failure_close => {
            let text = format!("{} (mechanism {})", error.detail(), start_ok.mechanism);
            Err(refused(Refusal::new(ReplyCode::AccessRefused, text)))
        }
        Err(error) => Err(Closing::Quiet(error)),
    }
}

fn credentials(start_ok: &StartOk, entrance: &Entrance) -> Result<Credentials, Refusal> {
    let mechanism = &*start_ok.mechanism;
    let found = match mechanism {
        "PLAIN" => plain(&start_ok.response.0),
        "AMQPLAIN" => amqplain(&start_ok.response.0),
        // RFC 4422, appendix A: the response is the name to act as, or empty.
        "EXTERNAL" if entrance.certificate.is_some() => {
            let user = std::str::from_utf8(&start_ok.response.0).ok();
            user.and_then(|user| entrance.by_certificate(user.into()))
        }
        _ => {
            let text = format!("mechanism '{mechanism}' is not one of those offered");
            return Err(Refusal::new(ReplyCode::CommandInvalid, text));
        }
    };
    found.ok_or_else(|| {
        let text = format!("the response is not of mechanism {mechanism}");
        Refusal::new(ReplyCode::SyntaxError, text)
    })
}

/// RFC 4616: `[authzid] NUL authcid NUL passwd`.
fn plain(response: &[u8]) -> Option<Credentials> {
    let mut parts = response.splitn(3, |b| *b == 0);
    let (_, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    password_of(user, password)
}

/// A table without its length, with LOGIN and PASSWORD.
fn amqplain(response: &[u8]) -> Option<Credentials> {
    let pairs = table::decode(response).ok()?;
    let octets = |name: &str| match lookup(&pairs, name)? {
        Value::Text(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        Value::Bytes(bytes) => Some(bytes.clone()),
        _ => None,
    };
    password_of(&octets("LOGIN")?, &octets("PASSWORD")?)
}

fn password_of(user: &[u8], password: &[u8]) -> Option<Credentials> {
    let user = Name::from(std::str::from_utf8(user).ok()?);
    Some(Credentials::Password { user, password: Secret(Bytes::copy_from_slice(password)) })
}

/// Proposes and checks (§1.4.2.5, §1.4.2.6): a client may go below the limits, not above.
async fn tune(line: &mut Line, options: &Options) -> Result<Tune, Closing> {
    let ours = Tune {
        channel_max: options.channel_max,
        frame_max: options.frame_max,
        heartbeat: options.heartbeat,
    };
    send(line, Reply::ConnectionTune(ours));
    let (method, id) = receive(line, options.login_frame_max).await?;
    let Method::ConnectionTuneOk(theirs) = method else { return Err(unexpected(id)) };
    let refused = |text: String| Closing::Refused(Refusal::new(ReplyCode::NotAllowed, text), id);
    let frame_max = match theirs.frame_max {
        0 => ours.frame_max,
        n if n > ours.frame_max => {
            return Err(refused(format!("frame-max {n} is above the limit {}", ours.frame_max)));
        }
        n if usize::try_from(n).is_ok_and(|n| n < SIZE_MIN) => {
            return Err(refused(format!("frame-max {n} is below the minimum {SIZE_MIN}")));
        }
        n => n,
    };
    let channel_max = match theirs.channel_max {
        0 => ours.channel_max,
        n if n > ours.channel_max => {
            return Err(refused(format!(
                "channel-max {n} is above the limit {}",
                ours.channel_max
            )));
        }
        n => n,
    };
    Ok(Tune { channel_max, frame_max, heartbeat: theirs.heartbeat })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;

    fn user_and_password(credentials: Option<Credentials>) -> Option<(String, Vec<u8>)> {
        match credentials? {
            Credentials::Password { user, password } => {
                Some((user.to_string(), password.0.to_vec()))
            }
            _ => None,
        }
    }

    #[test]
    fn both_mechanisms_are_read() {
        let want = Some(("me".to_owned(), b"pa\0ss".to_vec()));
        assert_eq!(user_and_password(plain(b"\0me\0pa\0ss")), want);
        assert_eq!(user_and_password(plain(b"other\0me\0pa\0ss")), want);
        assert_eq!(user_and_password(plain(b"me")), None);
        assert_eq!(user_and_password(plain(b"\0\xff\0x")), None);
        let mut response = BytesMut::new();
        table::put_pair(&mut response, "LOGIN", &Value::text("me"));
        table::put_pair(&mut response, "PASSWORD", &Value::text("pa\0ss"));
        assert_eq!(user_and_password(amqplain(&response)), want);
        assert_eq!(user_and_password(amqplain(b"\x05LOGIN")), None);
    }

    #[test]
    fn capabilities_are_those_that_are_true() {
        let capabilities = vec![
            ("consumer_cancel_notify".into(), Value::Bool(true)),
            ("connection.blocked".into(), Value::Bool(false)),
        ];
        let capabilities =
            Capabilities::of(&vec![("capabilities".into(), Value::Map(capabilities))]);
        assert!(capabilities.consumer_cancel_notify && !capabilities.connection_blocked);
        assert_eq!(Capabilities::of(&Vec::new()), Capabilities::default());
    }
}
