//! CONNECT to CONNECTED: version, login, virtual host, heart-beats. Nothing of a connection takes effect before.

use super::clock::Beats;
use super::wire::{Refusal, Wire};
use crate::codec::{Command, Headers, Limits, Rules, Version, Writer};
use crate::mapping::invalid;
use crate::options::Options;
use crossdock_core::{
    Broker, Credentials, Error, ErrorKind, Login, Name, Origin, Secret, Session, SessionSpec,
};
use std::time::Duration;

/// Bytes of a client id.
const CLIENT_ID_MAX: usize = 1024;
const SERVER: &str = concat!("crossdock/", env!("CARGO_PKG_VERSION"));

/// Where the peer came in.
pub(super) struct Door<'a> {
    pub options: &'a Options,
    pub broker: &'a Broker,
    pub listener: Name,
    pub loopback: bool,
}

/// Somebody who logged in.
pub(super) struct Seat {
    pub session: Session,
    pub version: Version,
    pub client: Name,
    pub user: Name,
    pub beats: Beats,
}

/// Waits for CONNECT and answers it. None: the peer left before.
pub(super) async fn open(door: &Door<'_>, wire: &mut Wire) -> Result<Option<Seat>, Refusal> {
    let frame = loop {
        if let Some(frame) = wire.frame(Rules::CONNECT)? {
            break frame;
        }
        if !matches!(wire.input.read().await, Ok(1..)) {
            return Ok(None);
        }
    };
    if !matches!(frame.command, Command::Connect | Command::Stomp) {
        return Err(invalid("the first frame has to be CONNECT or STOMP").into());
    }
    let headers = &frame.headers;
    let version = version(headers)?;
    let beats = beats(headers, door.options.heart_beat_min)?;
    let text = |name| value(headers, name, version);
    let user = door.broker.login(&credentials(&text, door.loopback)).await?;
    let client = text("client-id").unwrap_or_default();
    if client.len() > CLIENT_ID_MAX {
        return Err(Error::new(ErrorKind::TooLarge, "the client-id is too long").into());
    }
    let client = Name::from(client);
    let origin =
        Origin { user: user.clone(), client: client.clone(), listener: door.listener.clone() };
    let vhost = vhost(door.broker, text("host"));
    let session = door.broker.session(SessionSpec::anonymous(vhost, origin)).await?;
    let body_bytes = door.broker.settings().message_bytes_max;
    wire.decoder.settle(version, Limits { body_bytes, ..Limits::GUEST });
    connected(wire, version, &session, beats);
    Ok(Some(Seat { session, version, client, user, beats }))
}

/// 1.0 peers pad values, and so they are trimmed once it is known to be one.
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
        let error = invalid("supported protocol versions are 1.0, 1.1 and 1.2");
        Refusal { error, receipt: None, versions: true }
    })
}

/// STOMP 1.2 §Heart-beating: of what one can do and the other wants, the larger; 0 on either side is none.
fn beats(headers: &Headers, min: Duration) -> Result<Beats, Error> {
    let Some(text) = headers.get("heart-beat") else { return Ok(Beats::default()) };
    let bad = || invalid("heart-beat is two numbers of milliseconds");
    let (can, wants) = text.split_once(',').ok_or_else(bad)?;
    let interval = |text: &str| match text.trim().parse::<u32>() {
        Ok(0) => Ok(None),
        Ok(ms) => Ok(Some(Duration::from_millis(u64::from(ms)).max(min))),
        Err(_) => Err(bad()),
    };
    Ok(Beats { sent: interval(wants)?, expected: interval(can)? })
}

fn credentials(text: &impl Fn(&'static str) -> Option<String>, loopback: bool) -> Login {
    let user = text("login").unwrap_or_default();
    let passcode = text("passcode").unwrap_or_default();
    let credentials = match user.is_empty() && passcode.is_empty() {
        true => Credentials::Anonymous,
        false => Credentials::Password { user: user.into(), password: Secret(passcode.into()) },
    };
    Login { credentials, loopback }
}

/// Client libraries send the name of the machine they connect to; only a virtual host's name means one.
fn vhost(broker: &Broker, host: Option<String>) -> Name {
    match host.filter(|host| broker.has_vhost(host)) {
        Some(host) => Name::from(host),
        None => broker.settings().vhosts.first().cloned().unwrap_or_else(|| Name::from("/")),
    }
}

fn connected(wire: &mut Wire, version: Version, session: &Session, beats: Beats) {
    let ms = |interval: Option<Duration>| interval.map_or(0, |interval| interval.as_millis());
    let mut writer = Writer::begin(wire.output.tail(), Command::Connected, Rules::CONNECT);
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
            let beats = beats(&headers(block), MIN).ok()?;
            let ms = |d: Option<Duration>| d.map_or(0, |d| d.as_millis());
            Some((ms(beats.sent), ms(beats.expected)))
        };
        assert_eq!(of("a:b\n"), Some((0, 0)));
        assert_eq!(of("heart-beat:0,0\n"), Some((0, 0)));
        assert_eq!(of("heart-beat:10000,20000\n"), Some((20_000, 10_000)));
        assert_eq!(of("heart-beat:1,0\n"), Some((0, 500)));
        for bad in ["heart-beat:\n", "heart-beat:5\n", "heart-beat:a,b\n", "heart-beat:-1,0\n"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }

    #[test]
    fn who_says_nothing_is_anonymous() {
        let login = |block| {
            let headers = headers(block);
            let text = |name: &'static str| value(&headers, name, Version::V12);
            credentials(&text, true).credentials
        };
        assert!(matches!(login("host:x\n"), Credentials::Anonymous));
        assert!(matches!(login("login:\npasscode:\n"), Credentials::Anonymous));
        let Credentials::Password { user, password } = login("login:a\npasscode:b:c\\\n") else {
            panic!("a password was given");
        };
        assert_eq!((&*user, &*password.0), ("a", &b"b:c\\"[..]));
    }
}
