//! CONNECT to CONNECTED: version, login, virtual host, heart-beats. Nothing of a connection takes effect before.

use super::Closing;
use super::receive::next_frame;
use super::refusal::Refusal;
use crate::codec::{Command, Decoder, Headers, Limits, Rules, Version, Writer};
use crate::mapping::invalid;
use crate::mapping::titles::{BAD_COMMAND, VERSION_MISMATCH, titled};
use crate::options::{Door, Options};
use crossdock_core::{
    About, Broker, Credentials, Error, ErrorKind, Name, Origin, Secret, Session, SessionSpec,
};
use crossdock_net::{Entrance, KeepAlive, Line};
use std::sync::Arc;
use std::time::Duration;

const SERVER: &str = concat!("crossdock/", env!("CARGO_PKG_VERSION"));

/// Where a client logs in.
pub(super) struct LoginContext<'a> {
    pub options: &'a Options,
    pub broker: &'a Broker,
    pub entrance: Entrance,
}

/// A client that has logged in.
pub(super) struct LoggedIn {
    pub session: Session,
    pub version: Version,
    pub door: Arc<Door>,
}

/// Heart-beat intervals as agreed in CONNECTED; none: no beats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct HeartBeats {
    /// The longest time between two heart-beats of the broker.
    sent: Option<Duration>,
    /// The longest time between two heart-beats of the client.
    expected: Option<Duration>,
}

impl HeartBeats {
    /// The broker's come in half the time, so that a late wake-up is in time. The client's may take twice as long.
    fn keep_alive(self) -> KeepAlive {
        KeepAlive {
            silence: self.expected.map(|interval| interval.saturating_mul(2)),
            beat: self.sent.map(|interval| interval / 2),
        }
    }
}

/// Waits for CONNECT and answers it.
pub(super) async fn log_in(
    line: &mut Line,
    decoder: &mut Decoder,
    context: &LoginContext<'_>,
) -> Result<LoggedIn, Closing> {
    let LoginContext { options, broker, entrance } = context;
    let frame = loop {
        match next_frame(&mut line.input, decoder, Rules::CONNECT)? {
            Some(frame) => break frame,
            None => line.more().await?,
        }
    };
    if !matches!(frame.command, Command::Connect | Command::Stomp) {
        return Err(titled(BAD_COMMAND, "the first frame has to be CONNECT or STOMP").into());
    }
    let headers = &frame.headers;
    let version = version(headers)?;
    let beats = beats(headers, version, options.heart_beat_min)?;
    let text = |name| value(headers, name, version);
    let (claimed, client) = (text("login"), text("client-id").unwrap_or_default());
    // There is one login: nothing is lost if names were noted.
    let _ = entrance.claimed.set((claimed.unwrap_or_default().into(), (&*client).into()));
    let credentials = credentials(&text, |user| entrance.by_certificate(user));
    let door = options.door(&entrance.listener);
    let vhost = vhost(broker, text("host"), &door)?;
    let judged = entrance.log_in(broker, credentials, Some(vhost.clone()));
    let identity = line.while_verified(judged).await??;
    let max = options.client_id_bytes_max;
    if client.len() > max {
        let bytes = client.len();
        let why = format!(
            "a client-id of {bytes} bytes is longer than {max} (limits.stomp.client_id_bytes)"
        );
        return Err(Error::new(ErrorKind::TooLarge, why).into());
    }
    let (listener, peer) = (entrance.listener.clone(), entrance.peer.clone());
    let origin = Origin { client: client.into(), listener, peer, ..Origin::default() };
    let about = About { secure: entrance.secure, ..About::new("stomp", version.text()) };
    let spec = SessionSpec { about, ..SessionSpec::anonymous(vhost, origin, identity) };
    let mut session = broker.session(spec).await?;
    if options.strict_listeners.contains(&entrance.listener) {
        session.tell_denied();
    }
    let body_bytes = broker.live().message_bytes_max();
    let frames = options.frames;
    let (headers, head_bytes) = (frames.headers_max, frames.header_bytes_max);
    decoder.settle(version, Limits { headers, head_bytes, body_bytes });
    connected(line, version, &session, beats);
    line.agreed(beats.keep_alive());
    line.log_opened(&session.origin().user, &session.origin().client);
    Ok(LoggedIn { session, version, door })
}

/// Clients of 1.0 pad values with spaces, which are removed once the version is known.
fn value(headers: &Headers, name: &str, version: Version) -> Option<String> {
    let value = headers.get(name)?;
    Some(match version {
        Version::V10 => value.trim().to_owned(),
        Version::V11 | Version::V12 => value.into_owned(),
    })
}

/// STOMP 1.2 §Protocol Negotiation: the highest version in common; without the header it is 1.0.
fn version(headers: &Headers) -> Result<Version, Refusal> {
    let Some(accepted) = headers.get("accept-version") else { return Ok(Version::V10) };
    let wanted = |version: &Version| accepted.split(',').any(|text| text.trim() == version.text());
    Version::ALL.into_iter().rev().find(wanted).ok_or_else(|| {
        let error = titled(VERSION_MISMATCH, "supported protocol versions are 1.0, 1.1 and 1.2");
        Refusal { versions: true, ..error.into() }
    })
}

/// STOMP 1.2 §Heart-beating: of what one can do and the other wants, the larger; 0 on either side is none. STOMP 1.0
/// has none: a client that speaks it sends no beats, whatever its header says.
fn beats(headers: &Headers, version: Version, min: Duration) -> Result<HeartBeats, Error> {
    let text = headers.get("heart-beat").filter(|_| version > Version::V10);
    let Some(text) = text else { return Ok(HeartBeats::default()) };
    let bad = || invalid("heart-beat is two numbers of milliseconds");
    let (can, wants) = text.split_once(',').ok_or_else(bad)?;
    let interval = |text: &str| match text.trim().parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(ms) => Ok(Some(Duration::from_millis(u64::from(ms)).max(min))),
        Err(_) => Err(bad()),
    };
    Ok(HeartBeats { sent: interval(wants)?, expected: interval(can)? })
}

/// `certificate`: what the client's certificate says, if it showed one.
fn credentials(
    text: &impl Fn(&'static str) -> Option<String>,
    certificate: impl FnOnce(Name) -> Option<Credentials>,
) -> Credentials {
    let user = text("login").unwrap_or_default();
    let passcode = text("passcode").unwrap_or_default();
    if passcode.is_empty()
        && let Some(certificate) = certificate((&*user).into())
    {
        return certificate;
    }
    match user.is_empty() && passcode.is_empty() {
        true => Credentials::Anonymous,
        false => Credentials::Password { user: user.into(), password: Secret(passcode.into()) },
    }
}

/// Client libraries send the name of the machine they connect to; only a virtual host's name means one. A listener can
/// be set to refuse others.
fn vhost(broker: &Broker, host: Option<String>, door: &Door) -> Result<Name, Error> {
    Ok(match host {
        Some(host) if broker.has_vhost(&host) => Name::from(host),
        Some(host) if door.strict_host => {
            let detail =
                format!("'{host}' is no virtual host, which the header 'host' has to name");
            return Err(Error::new(ErrorKind::NotFound, detail));
        }
        _ => broker.settings().vhosts.first().cloned().unwrap_or_else(|| Name::from("/")),
    })
}

fn connected(line: &mut Line, version: Version, session: &Session, beats: HeartBeats) {
    let ms = |interval: Option<Duration>| interval.map_or(0, |interval| interval.as_millis());
    let mut writer = Writer::begin(line.output.tail(), Command::Connected, Rules::CONNECT);
    writer.line(b"version", version.text().as_bytes());
    writer.line(b"server", SERVER.as_bytes());
    writer.number("session", session.id().0);
    let beats = format!("{},{}", ms(beats.sent), ms(beats.expected));
    writer.line(b"heart-beat", beats.as_bytes());
    writer.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    const MIN: Duration = Duration::from_millis(500);

    fn headers(block: &'static str) -> Headers {
        Headers::parse(Bytes::from_static(block.as_bytes()), Rules::CONNECT).unwrap()
    }

    #[test]
    fn the_highest_common_version() {
        let of = |block| version(&headers(block)).map_err(|refusal| refusal.versions);
        assert_eq!(of("login:x\n"), Ok(Version::V10));
        assert_eq!(of("accept-version:1.0,1.1,2.0\n"), Ok(Version::V11));
        assert_eq!(of("accept-version: 1.2 , 1.1\n"), Ok(Version::V12));
        assert_eq!(of("accept-version:2.0\n"), Err(true));
        assert_eq!(of("accept-version:\n"), Err(true));
    }

    #[test]
    fn heart_beats_are_agreed_on() {
        let of = |block| {
            let beats = beats(&headers(block), Version::V11, MIN).ok()?;
            let ms = |d: Option<Duration>| d.map_or(0, |d| d.as_millis());
            Some((ms(beats.sent), ms(beats.expected)))
        };
        assert_eq!(of("a:b\n"), Some((0, 0)));
        assert_eq!(of("heart-beat:0,0\n"), Some((0, 0)));
        assert_eq!(of("heart-beat:10000,20000\n"), Some((20_000, 10_000)));
        assert_eq!(of("heart-beat:1,0\n"), Some((0, 500)));
        for bad in ["heart-beat:\n", "heart-beat:5\n", "heart-beat:a,b\n", "heart-beat:-1,0\n"] {
            assert_eq!(of(bad), None, "{bad}");
            assert_eq!(beats(&headers(bad), Version::V10, MIN).unwrap(), HeartBeats::default());
        }
        let agreed = beats(&headers("heart-beat:1000,1000\n"), Version::V10, MIN).unwrap();
        assert_eq!(agreed, HeartBeats::default());
    }

    #[test]
    fn who_says_nothing_is_anonymous() {
        let login = |block| {
            let headers = headers(block);
            let text = |name: &'static str| value(&headers, name, Version::V12);
            credentials(&text, |_| None)
        };
        assert!(matches!(login("host:x\n"), Credentials::Anonymous));
        assert!(matches!(login("login:\npasscode:\n"), Credentials::Anonymous));
        let Credentials::Password { user, password } = login("login:a\npasscode:b:c\\\n") else {
            panic!("a password was given");
        };
        assert_eq!((&*user, &*password.0), ("a", &b"b:c\\"[..]));
    }
}
