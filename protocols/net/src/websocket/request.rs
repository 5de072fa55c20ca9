//! The opening request of a WebSocket (RFC 6455, section 4.2), and what is answered to it.

use crate::input::Input;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use httparse::{EMPTY_HEADER, Header, Request, Status};
use sha1::{Digest, Sha1};
use std::fmt;
use std::io;

/// The longest head of a request in bytes.
const HEAD_MAX: usize = 16 << 10;
/// Header lines that a request may have.
const HEADERS_MAX: usize = 64;
/// What is hashed behind the peer's key (1.3).
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Sub-protocols, the protocol that each is, and whether its messages are text.
const SUB_PROTOCOLS: [(&str, &str, bool); 6] = [
    ("mqtt", "mqtt", false),
    ("mqttv3.1", "mqtt", false),
    ("v10.stomp", "stomp", true),
    ("v11.stomp", "stomp", true),
    ("v12.stomp", "stomp", true),
    ("amqp", "amqp", false),
];
/// Protocols that come in binary messages only (MQTT 5 and 3.1.1 §6.0; AMQP has no text either).
const BINARY: [&str; 2] = ["mqtt", "amqp"];
/// Paths, and the protocol that each is; none: the sub-protocol tells, or the first bytes do.
const PATHS: [(&str, Option<&str>); 4] =
    [("/", None), ("/ws", None), ("/mqtt", Some("mqtt")), ("/stomp", Some("stomp"))];

/// What a listener agrees to.
pub(crate) struct Rules<'a> {
    /// Where a browser's page may come from; none or `*`: from anywhere.
    pub(crate) origins: &'a [String],
    /// The names of the listener's protocols.
    pub(crate) protocols: &'a [&'a str],
}

/// What was agreed on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// The index of the protocol; none: the first bytes tell.
    pub(crate) protocol: Option<usize>,
    /// The peer expects text.
    pub(crate) text: bool,
    /// A message of text is none of its protocol.
    pub(crate) only_binary: bool,
    sub_protocol: Option<&'static str>,
    /// The proof that its request was understood.
    accept: String,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusedRequest {
    Malformed(&'static str),
    Forbidden,
    NotFound,
    NoUpgrade,
}

impl RefusedRequest {
    fn status(self) -> &'static str {
        match self {
            Self::Malformed(_) => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::NoUpgrade => "426 Upgrade Required",
        }
    }

    /// The HTTP response.
    pub(crate) fn response(self) -> String {
        let more = match self {
            // RFC 6455, 4.4; RFC 9110, 15.5.22.
            Self::NoUpgrade => {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close"
            }
            _ => "Connection: close",
        };
        let text = format!("{self}\n");
        format!(
            "HTTP/1.1 {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{more}\r\n\r\n{text}",
            self.status(),
            text.len()
        )
    }
}

impl fmt::Display for RefusedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(why) => why,
            Self::Forbidden => "the page's origin is not one of the listener's origins",
            Self::NotFound => "the path is not /, /ws, /mqtt or /stomp",
            Self::NoUpgrade => "the request does not ask for a WebSocket of version 13",
        })
    }
}

impl Agreed {
    /// The HTTP response.
    pub(crate) fn response(&self) -> String {
        let mut response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n",
            self.accept
        );
        if let Some(name) = self.sub_protocol {
            response.push_str("Sec-WebSocket-Protocol: ");
            response.push_str(name);
            response.push_str("\r\n");
        }
        response.push_str("\r\n");
        response
    }
}

/// Reads the head of the request, its empty line included; what follows stays in the input.
pub(crate) async fn request_head(input: &mut Input) -> io::Result<Result<Vec<u8>, RefusedRequest>> {
    let mut searched = 0;
    loop {
        let bytes = input.buffer();
        let window = bytes.get(searched..).unwrap_or_default();
        if let Some(at) = memchr::memmem::find(window, b"\r\n\r\n") {
            let end = searched + at + 4;
            if end <= HEAD_MAX {
                return Ok(Ok(bytes.split_to(end).to_vec()));
            }
        }
        if bytes.len() >= HEAD_MAX {
            return Ok(Err(RefusedRequest::Malformed("the request's head is longer than 16 KiB")));
        }
        // The end may be cut.
        searched = bytes.len().saturating_sub(3);
        if input.read().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// What is answered to a request with this head.
pub(crate) fn agree(head: &[u8], rules: &Rules<'_>) -> Result<Agreed, RefusedRequest> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(RefusedRequest::Malformed("the request has more than 64 header lines"));
        }
        _ => return Err(RefusedRequest::Malformed("the request is not well-formed HTTP")),
    }
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(RefusedRequest::Malformed("the request is not a GET of HTTP/1.1"));
    }
    let path = request.path.unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    let Some((_, by_path)) = PATHS.iter().find(|(known, _)| *known == path) else {
        return Err(RefusedRequest::NotFound);
    };
    let headers = Headers(request.headers);
    headers.check_upgrade()?;
    headers.check_origin(rules.origins)?;
    let accept = accept(headers.key()?);
    let index = |name: &str| rules.protocols.iter().position(|spoken| *spoken == name);
    let is_binary =
        |index: usize| rules.protocols.get(index).is_some_and(|protocol| BINARY.contains(protocol));
    if let Some((sub_protocol, protocol, text)) = headers.sub_protocol(&index)? {
        let (sub_protocol, only_binary) = (Some(sub_protocol), is_binary(protocol));
        return Ok(Agreed { protocol: Some(protocol), text, only_binary, sub_protocol, accept });
    }
    let protocol = match by_path {
        Some(name) => Some(index(name).ok_or(RefusedRequest::NotFound)?),
        None => None,
    };
    let only_binary = match protocol {
        Some(protocol) => is_binary(protocol),
        None => (0..rules.protocols.len()).all(is_binary),
    };
    Ok(Agreed { protocol, text: false, only_binary, sub_protocol: None, accept })
}

/// 4.2.2.
fn accept(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(ACCEPT_SUFFIX).finalize())
}

struct Headers<'a>(&'a [Header<'a>]);

impl<'a> Headers<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value)
    }

    /// The value of a header that stands once; none: it is not there.
    fn one(&self, name: &str) -> Result<Option<&'a [u8]>, RefusedRequest> {
        let mut all = self.all(name);
        match (all.next(), all.next()) {
            (first, None) => Ok(first),
            _ => Err(RefusedRequest::Malformed("a header that may stand once stands twice")),
        }
    }

    /// The elements of a list, which may stand in several lines.
    fn list(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let elements = self.all(name).flat_map(|value| value.split(|byte| *byte == b','));
        elements.filter_map(|element| str::from_utf8(element).ok()).map(str::trim)
    }

    /// 4.2.1: it is a request for a WebSocket of this version, without a body.
    fn check_upgrade(&self) -> Result<(), RefusedRequest> {
        let has = |name: &str, word: &str| {
            self.list(name).any(|element| element.eq_ignore_ascii_case(word))
        };
        let version = self.one("Sec-WebSocket-Version")?;
        if !has("Upgrade", "websocket") || !has("Connection", "upgrade") || version != Some(b"13") {
            return Err(RefusedRequest::NoUpgrade);
        }
        if self.one("Host")?.is_none() {
            return Err(RefusedRequest::Malformed("the request has no Host"));
        }
        let length = self.one("Content-Length")?.is_some_and(|length| length != b"0");
        if length || self.all("Transfer-Encoding").next().is_some() {
            return Err(RefusedRequest::Malformed("the request has a body"));
        }
        Ok(())
    }

    /// 10.2: a browser says where its page comes from. Others may say anything, or nothing.
    fn check_origin(&self, origins: &[String]) -> Result<(), RefusedRequest> {
        let Some(origin) = self.one("Origin")? else { return Ok(()) };
        let is_origin =
            |known: &String| known == "*" || origin.eq_ignore_ascii_case(known.as_bytes());
        match origins.is_empty() || origins.iter().any(is_origin) {
            true => Ok(()),
            false => Err(RefusedRequest::Forbidden),
        }
    }

    /// 4.2.1, 5.: 16 bytes in base64.
    fn key(&self) -> Result<&'a [u8], RefusedRequest> {
        let key = self.one("Sec-WebSocket-Key")?.unwrap_or_default();
        match STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
            true => Ok(key),
            false => Err(RefusedRequest::Malformed("Sec-WebSocket-Key is not 16 bytes in base64")),
        }
    }

    /// The first sub-protocol of the peer's list that is spoken here; none if it has no list.
    fn sub_protocol(
        &self,
        index: &impl Fn(&str) -> Option<usize>,
    ) -> Result<Option<(&'static str, usize, bool)>, RefusedRequest> {
        let mut offered = false;
        for name in self.list("Sec-WebSocket-Protocol") {
            offered = true;
            let known = SUB_PROTOCOLS.iter().find(|(known, ..)| *known == name);
            if let Some((name, protocol, text)) = known
                && let Some(index) = index(protocol)
            {
                return Ok(Some((name, index, *text)));
            }
        }
        // A browser that is answered without one of its sub-protocols closes the connection.
        match offered {
            true => Err(RefusedRequest::Malformed("none of the sub-protocols is spoken here")),
            false => Ok(None),
        }
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
