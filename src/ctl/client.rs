//! One request over the control socket: HTTP/1.1, a connection for each.

use super::{EXIT_NOT_RUNNING, EXIT_REFUSED, EXIT_USAGE};
use crossdock_net::connect_local;
use serde_json::Value as Json;
use std::io::{self, ErrorKind, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

/// Bytes of an answer, at most: a page of a list is far smaller.
const ANSWER_MAX: u64 = 64 << 20;

/// Why a command ends otherwise than it was meant to.
#[derive(Debug)]
pub struct Failure {
    pub exit: u8,
    pub text: String,
}

impl Failure {
    /// The command line makes no sense.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { exit: EXIT_USAGE, text: text.into() }
    }

    /// The broker, or the system, says no.
    pub fn refused(text: impl Into<String>) -> Self {
        Self { exit: EXIT_REFUSED, text: text.into() }
    }

    /// The answer came, and cannot be printed: the process says so when it ends.
    pub fn unwritten() -> Self {
        Self { exit: EXIT_REFUSED, text: String::new() }
    }

    fn not_running(text: impl Into<String>) -> Self {
        Self { exit: EXIT_NOT_RUNNING, text: text.into() }
    }
}

/// A broker, by its socket.
pub struct Client {
    socket: PathBuf,
    /// How long an answer may take; none: as long as it takes.
    patience: Option<Duration>,
}

impl Client {
    /// For that socket. 0 seconds: as long as it takes.
    pub fn new(socket: PathBuf, seconds: u64) -> Self {
        let patience = (seconds > 0).then(|| Duration::from_secs(seconds));
        Self { socket, patience }
    }

    /// The same, for what may take as long as it takes.
    pub fn patient(&self) -> Self {
        Self { socket: self.socket.clone(), patience: None }
    }

    /// Looks. `query`: names and values, of which those without a value are left out.
    pub fn get(&self, path: &str, query: &[(&str, Option<&str>)]) -> Result<Json, Failure> {
        let given = query.iter().filter_map(|(name, value)| Some((name, (*value)?)));
        let parts: Vec<String> =
            given.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let path = match parts.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", parts.join("&")),
        };
        self.ask("GET", &path, "")
    }

    /// Acts.
    pub fn post(&self, path: &str, order: &Json) -> Result<Json, Failure> {
        self.ask("POST", path, &order.to_string())
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Json, Failure> {
        let place = self.socket.display();
        let mut stream = connect_local(&self.socket).map_err(|error| self.not_there(&error))?;
        let timeouts = stream
            .set_read_timeout(self.patience)
            .and_then(|()| stream.set_write_timeout(self.patience));
        timeouts.map_err(|error| Failure::refused(format!("{place}: {error}")))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // Whoever refuses early has stopped to read; the answer says why.
        let sent = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let read = (&mut stream).take(ANSWER_MAX).read_to_end(&mut answer);
        if let Some((status, body)) = parted(&answer) {
            return judged(status, body);
        }
        match sent.and(read.map(drop)) {
            Err(error) if is_timeout(&error) => Err(Failure::not_running(format!(
                "{place}: the broker did not answer in time: see --timeout"
            ))),
            Err(error) => Err(Failure::not_running(format!("{place}: {error}"))),
            Ok(()) => Err(Failure::not_running(format!(
                "{place}: the answer was cut off: the broker ended, perhaps"
            ))),
        }
    }

    fn not_there(&self, error: &io::Error) -> Failure {
        let place = self.socket.display();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::not_running(format!(
                "no broker is running there: {place}: {error}; --data-dir, --config or --socket say where \
                 one is"
            )),
            ErrorKind::PermissionDenied => Failure::refused(format!(
                "{place}: {error}: the control socket is for the user that the broker runs as, and for root: \
                 use sudo, or become that user"
            )),
            _ => Failure::not_running(format!("{place}: {error}")),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Status and body of a whole answer; none: something of it is missing.
fn parted(answer: &[u8]) -> Option<(u16, &[u8])> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let body = answer.get(end + 4..)?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    match length {
        Some(length) => Some((status, body.get(..length)?)),
        None => Some((status, body)),
    }
}

fn judged(status: u16, body: &[u8]) -> Result<Json, Failure> {
    let json: Result<Json, _> = serde_json::from_slice(body);
    match (status, json) {
        (200..=299, Ok(json)) => Ok(json),
        (_, Ok(json)) => {
            let reason = json.get("reason").and_then(Json::as_str).unwrap_or("the broker refused");
            Err(Failure::refused(reason))
        }
        (_, Err(_)) => {
            let text = String::from_utf8_lossy(body);
            Err(Failure::refused(format!("the broker answered {status}: {}", text.trim())))
        }
    }
}

/// A value in a query.
fn encoded(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_and_cut_ones_are_noticed() {
        let whole = b"HTTP/1.1 404 Not Found\r\ncontent-length: 16\r\n\r\n{\"reason\":\"no\"}\n";
        let (status, body) = parted(whole).expect("whole");
        assert_eq!(status, 404);
        let failure = judged(status, body).expect_err("refused");
        assert_eq!((failure.exit, failure.text.as_str()), (1, "no"));
        for end in 0..whole.len() {
            assert!(parted(&whole[..end]).is_none(), "{end}");
        }
    }

    #[test]
    fn any_name_fits_into_a_query() {
        assert_eq!(encoded("a/b %+&=#\u{e4}"), "a%2Fb%20%25%2B%26%3D%23%C3%A4");
    }
}
