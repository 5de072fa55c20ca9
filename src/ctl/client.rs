//! One request over the control socket: HTTP/1.1, a connection for each.

use super::{EXIT_NOT_RUNNING, EXIT_REFUSED, EXIT_USAGE};
use crossdock_net::connect_local;
use serde_json::Value as Json;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Bytes of an answer, at most: a page of a list is far smaller.
const ANSWER_MAX: usize = 64 << 20;
/// Bytes of an answer that are read at once.
const BUFFER: usize = 64 << 10;

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
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    /// How long a request and its answer may take together; none: as long as it takes.
    time: Option<Duration>,
    /// An answer may take longer, as long as the broker answers something else within that time.
    waits_for_work: bool,
}

/// When a request and its answer have to be through; none: never.
struct Deadline(Option<Instant>);

impl Deadline {
    fn after(time: Option<Duration>) -> Self {
        Self(time.map(|time| Instant::now() + time))
    }

    /// What is left of the time; `TimedOut` when nothing is.
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.0.map(|at| at.saturating_duration_since(Instant::now()));
        match left {
            Some(Duration::ZERO) => Err(ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

impl Client {
    /// For that socket. 0 seconds: as long as it takes.
    pub fn new(socket: PathBuf, seconds: u64) -> Self {
        let time = (seconds > 0).then(|| Duration::from_secs(seconds));
        Self { socket, time, waits_for_work: false }
    }

    /// The same, for an answer that is there when some work is done, however long that takes. A broker that hangs is
    /// given up nevertheless.
    pub fn waiting_for_work(&self) -> Self {
        Self { waits_for_work: true, ..self.clone() }
    }

    /// The same, for an answer that the broker is asked to take that much longer for.
    pub fn longer_by(&self, seconds: u64) -> Self {
        let time = self.time.map(|time| time + Duration::from_secs(seconds));
        Self { time, ..self.clone() }
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
        let until = Deadline::after(self.time);
        let mut stream =
            connect_local(&self.socket, self.time).map_err(|error| self.not_there(&error))?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        // Whoever refuses early has stopped to read; the answer says why.
        let sent = send(&mut stream, request.as_bytes(), &until);
        let mut answer = Vec::new();
        let read = self.read(&mut stream, &mut answer, until);
        if let Some((status, body)) = parted(&answer) {
            return judged(status, body);
        }
        match sent.and(read) {
            Err(error) if is_timeout(&error) => Err(self.too_late(method)),
            Err(error) => Err(Failure::not_running(format!("{place}: {error}"))),
            Ok(()) => Err(Failure::not_running(format!(
                "{place}: the answer was cut off: the broker ended, perhaps"
            ))),
        }
    }

    /// Reads until the broker closes the connection.
    fn read(
        &self,
        stream: &mut UnixStream,
        answer: &mut Vec<u8>,
        mut until: Deadline,
    ) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        while answer.len() < ANSWER_MAX {
            let read = until.left().and_then(|left| {
                stream.set_read_timeout(left)?;
                stream.read(&mut buffer)
            });
            match read {
                Ok(0) => return Ok(()),
                Ok(count) => answer.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_timeout(&error) && self.waits_for_work && self.is_alive() => {
                    until = Deadline::after(self.time);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether the broker answers something that needs no work.
    fn is_alive(&self) -> bool {
        let client = Self { waits_for_work: false, ..self.clone() };
        let answer = client.get("/control/health", &[]);
        // To be too busy is an answer, too.
        answer.is_ok() || answer.is_err_and(|failure| failure.exit == EXIT_REFUSED)
    }

    fn too_late(&self, method: &str) -> Failure {
        let (place, seconds) = (self.socket.display(), self.time.unwrap_or_default().as_secs());
        let act = match method {
            "POST" => "; whether it did what it was asked for is not known",
            _ => "",
        };
        Failure::not_running(format!(
            "{place}: the broker did not answer within {seconds} s: it hangs or is very busy{act}; look at \
             its log, or wait longer with --timeout"
        ))
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
            ErrorKind::TimedOut => self.too_late(""),
            _ => Failure::not_running(format!("{place}: {error}")),
        }
    }
}

/// Sends all of it in time.
fn send(stream: &mut UnixStream, mut bytes: &[u8], until: &Deadline) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.set_write_timeout(until.left()?)?;
        match stream.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
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
