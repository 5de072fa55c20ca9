//! Who may look. From this machine everybody may, if the request names this machine by an address or as `localhost`: a
//! page in a browser that made a name of its own lead here reads nothing. From elsewhere, users may who are tagged
//! `monitoring` or `administrator`, or everybody where that is configured.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossdock_core::{Accepted, Broker, Credentials, ErrorKind, Login, Name, RefusedLogin, Secret};
use std::net::IpAddr;

/// Tags of users who may read all numbers.
const READERS: [&str; 2] = ["administrator", "monitoring"];

/// Who may look.
#[derive(Debug, Clone, Default)]
pub struct Doors {
    /// Everybody, from everywhere.
    pub open: bool,
    /// Names under which this machine is asked from itself, beside `localhost` and addresses.
    pub hosts: Vec<String>,
}

/// Where a request came in.
#[derive(Debug)]
pub struct Visitor {
    protocol: &'static str,
    listener: Name,
    peer: Name,
    loopback: bool,
}

impl Visitor {
    /// Whoever opened that connection.
    pub fn of(protocol: &'static str, accepted: &Accepted) -> Self {
        Self {
            protocol,
            listener: accepted.listener.clone(),
            peer: accepted.peer.as_str().into(),
            loopback: accepted.loopback,
        }
    }
}

impl Doors {
    /// Whether this request may read numbers; else the answer to it.
    pub async fn may_read(
        &self,
        broker: &Broker,
        visitor: &Visitor,
        headers: &HeaderMap,
    ) -> Result<(), Box<Response>> {
        if self.open {
            return Ok(());
        }
        if !visitor.loopback {
            return log_in(broker, visitor, headers).await.map_err(Box::new);
        }
        match headers.get(header::HOST).map(|host| host.to_str().unwrap_or("?")) {
            Some(host) if !self.is_ours(host) => {
                let why = format!(
                    "this machine was asked for as '{host}'. Only localhost, an address, and the names in \
                     metrics.hosts are answered without a password: a page in a browser may have \
                     made the name lead here.\n"
                );
                Err(Box::new((StatusCode::FORBIDDEN, why).into_response()))
            }
            _ => Ok(()),
        }
    }

    /// Whether a `Host` header, with or without a port, names this machine.
    fn is_ours(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost")
            || address.parse::<IpAddr>().is_ok()
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

/// User and password of an `Authorization` header.
fn basic(headers: &HeaderMap) -> Option<(Name, Secret)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.into(), Secret(password.to_owned().into())))
}

fn refusal(status: StatusCode, why: &str) -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"Crossdock\", charset=\"UTF-8\"")];
    (status, challenge, format!("{why}\n")).into_response()
}

async fn log_in(broker: &Broker, visitor: &Visitor, headers: &HeaderMap) -> Result<(), Response> {
    let Some((user, password)) = basic(headers) else {
        let why = "numbers are for users who are tagged monitoring or administrator: name and \
             password are missing";
        return Err(refusal(StatusCode::UNAUTHORIZED, why));
    };
    let credentials = Credentials::Password { user: user.clone(), password };
    let login = Login::new(credentials, visitor.loopback, visitor.peer.clone());
    match broker.login(&login).await {
        // Its own tags, and not those of an account that has the same name.
        Ok(identity) => match identity.tags.iter().any(|tag| READERS.contains(&&**tag)) {
            true => Ok(()),
            false => {
                let why = "numbers are for users who are tagged monitoring or administrator";
                Err(refusal(StatusCode::UNAUTHORIZED, why))
            }
        },
        Err(error) if error.kind() == ErrorKind::Refused => {
            let Visitor { protocol, listener, peer, .. } = visitor;
            let why = login.why.get().map_or(error.detail(), String::as_str);
            broker.note_refused_login(&RefusedLogin {
                protocol,
                listener,
                peer,
                user: &user,
                client: &Name::default(),
                why,
            });
            Err(refusal(StatusCode::UNAUTHORIZED, "wrong name or password"))
        }
        Err(error) => {
            Err((StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", error.detail())).into_response())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_are_known() {
        let doors = Doors { open: false, hosts: vec!["Broker.example".into()] };
        for host in ["localhost", "LOCALHOST:15692", "127.0.0.1", "127.0.0.1:1", "[::1]:15692"] {
            assert!(doors.is_ours(host), "{host}");
        }
        assert!(doors.is_ours("broker.example:15692"));
        for host in ["evil.example", "localhost.evil.example:15692", "127.0.0.1.evil.example", ""] {
            assert!(!doors.is_ours(host), "{host}");
        }
    }

    #[test]
    fn basic_credentials_are_read() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header's value"));
            basic(&headers).map(|(user, password)| {
                (user.to_string(), String::from_utf8_lossy(&password.0).into_owned())
            })
        };
        let both = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read("Basic dTpwOnE="), both("u", "p:q"));
        assert_eq!(read("basic dTo="), both("u", ""));
        for bad in ["Bearer dTpw", "Basic", "Basic %%%", "Basic dXA=", "Basic //8="] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
