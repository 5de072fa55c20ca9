//! A protocol of lines over TCP, as one writes with `nc`. Each line of the client has one answer, in order: `OK`, or
//! `ERR` and why. Messages come in between.
//!
//! ```text
//! LOGIN user password      first; without user and password: somebody without a name
//! PUB ADDRESS text         OK when it is stored; ADDRESS is topic:a/b, queue:NAME or exchange:NAME/KEY
//! SUB ADDRESS              topic:PATTERN or queue:NAME; messages come as MSG ADDRESS text
//! GET ADDRESS              the same, as MSG NUMBER ADDRESS text, until ACK NUMBER or NACK NUMBER; one that somebody
//!                          had before, perhaps, comes as AGAIN NUMBER ADDRESS text
//! END ADDRESS              ends SUB and GET
//! ACK NUMBER, NACK NUMBER  done; or back to its place
//! QUIT                     OK, and the connection ends
//! ```
//!
//! A body with line ends in it is shown with `\n`, `\r` and `\\` instead, and PUB reads those.

use crossdock_plugin::{Connection, Happened, Protocol, Settled, Start, Wishes};
use std::collections::{HashMap, VecDeque};

/// Bytes of one line at most.
const LINE_MAX: usize = 1 << 20;
/// Bytes of a line of a client that is not in yet. While its login is judged the broker reads nothing more.
const LOGIN_MAX: usize = 16 << 10;

/// The protocol.
pub struct Lines;

impl Start for Lines {
    fn start(with: &str) -> Result<Self, String> {
        match with {
            "{}" => Ok(Lines),
            _ => Err("takes no settings: 'with' has to be empty".to_owned()),
        }
    }
}

impl Protocol for Lines {
    const NAME: &'static str = "lines";
    type Connection = Talk;

    fn open(&self, _peer: &str) -> Result<Talk, String> {
        Ok(Talk::default())
    }
}

#[derive(Default, PartialEq, Eq, Clone, Copy)]
enum Login {
    #[default]
    Awaited,
    /// It is being judged: lines behind it wait.
    Asked,
    Done,
}

/// The answer to a line.
enum Answer {
    Ready(String),
    /// Of the broker, under that token.
    Pending(u64),
    /// The last one.
    Last,
}

/// One connection.
#[derive(Default)]
pub struct Talk {
    login: Login,
    /// What came and is no whole line yet, or waits for the login.
    input: Vec<u8>,
    answers: VecDeque<Answer>,
    tokens: u64,
    /// Subscriptions by address: the token, and whether numbers are shown.
    subscriptions: HashMap<String, (u64, bool)>,
    /// Numbers that were shown and are not settled, each with the token of its subscription.
    unsettled: HashMap<u64, u64>,
    has_quit: bool,
}

impl Connection for Talk {
    fn turn(&mut self, happened: Happened<'_>, wishes: &mut Wishes) -> Result<(), String> {
        match happened {
            Happened::Bytes(bytes) => self.input.extend_from_slice(bytes),
            Happened::LoggedIn(result) => {
                self.login = if result.is_ok() { Login::Done } else { Login::Awaited };
                self.answers.push_back(Answer::Ready(said(result)));
                self.answer(wishes);
                if let Err(why) = result {
                    return Err(why.to_owned());
                }
            }
            Happened::Published(token, result) => self.judged(token, result, wishes),
            Happened::Subscribed(token, result) => {
                if result.is_err() {
                    self.forget(token);
                }
                self.judged(token, result, wishes);
            }
            Happened::Unsubscribed(token, why) => {
                if let Some(address) = self.forget(token) {
                    wishes.write(format!("ENDED {address} {why}\n").as_bytes());
                }
            }
            Happened::Delivered { subscription, delivery, address, body, redelivered } => {
                let numbered = self.subscriptions.values().any(|it| *it == (subscription, true));
                let word: &[u8] = if numbered && redelivered { b"AGAIN " } else { b"MSG " };
                let mut line = word.to_vec();
                if numbered {
                    self.unsettled.insert(delivery, subscription);
                    line.extend_from_slice(format!("{delivery} ").as_bytes());
                }
                line.extend_from_slice(address.as_bytes());
                line.push(b' ');
                escape(body, &mut line);
                line.push(b'\n');
                wishes.write(&line);
            }
            Happened::Ending(why) => wishes.write(format!("BYE {why}\n").as_bytes()),
        }
        self.lines(wishes)
    }
}

fn said(result: Result<(), &str>) -> String {
    match result {
        Ok(()) => "OK\n".to_owned(),
        Err(why) => format!("ERR {}\n", why.replace(['\n', '\r'], " ")),
    }
}

impl Talk {
    /// Acts on the whole lines that came.
    fn lines(&mut self, wishes: &mut Wishes) -> Result<(), String> {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while self.login != Login::Asked && !self.has_quit {
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
            let (line, behind) = rest.split_at(end);
            if line.len() > self.bytes_max() {
                return Err(format!("a line is longer than {} bytes", self.bytes_max()));
            }
            rest = behind.get(1..).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                self.line(line, wishes);
                self.answer(wishes);
            }
        }
        if rest.len() > self.bytes_max() && !self.has_quit {
            return Err(format!("a line is longer than {} bytes", self.bytes_max()));
        }
        self.input = rest.to_vec();
        Ok(())
    }

    /// Bytes of a line. What came with a login while it is judged is no line yet.
    fn bytes_max(&self) -> usize {
        match self.login {
            Login::Awaited => LOGIN_MAX,
            Login::Asked => usize::MAX,
            Login::Done => LINE_MAX,
        }
    }

    fn line(&mut self, line: &[u8], wishes: &mut Wishes) {
        let (word, rest) = split(line);
        let answer = match (word, self.login) {
            (b"QUIT", _) => {
                self.has_quit = true;
                Ok(Answer::Last)
            }
            (b"LOGIN", Login::Awaited) => {
                let (user, password) = split(rest);
                match std::str::from_utf8(user) {
                    Ok(user) => {
                        self.login = Login::Asked;
                        wishes.log_in(user, password);
                        return;
                    }
                    Err(_) => Err("the user's name is not UTF-8".to_owned()),
                }
            }
            (_, Login::Awaited | Login::Asked) => Err("LOGIN comes first".to_owned()),
            (b"LOGIN", Login::Done) => Err("there was a LOGIN already".to_owned()),
            (b"PUB", Login::Done) => self.publish(rest, wishes),
            (b"SUB", Login::Done) => self.subscribe(rest, false, wishes),
            (b"GET", Login::Done) => self.subscribe(rest, true, wishes),
            (b"END", Login::Done) => self.end(rest, wishes),
            (b"ACK", Login::Done) => self.settle(rest, Settled::Accepted, wishes),
            (b"NACK", Login::Done) => self.settle(rest, Settled::Returned, wishes),
            (other, Login::Done) => Err(format!("'{}' is no word", String::from_utf8_lossy(other))),
        };
        let answer = answer.unwrap_or_else(|why| Answer::Ready(said(Err(&why))));
        self.answers.push_back(answer);
    }

    fn token(&mut self) -> u64 {
        self.tokens += 1;
        self.tokens
    }

    fn publish(&mut self, rest: &[u8], wishes: &mut Wishes) -> Result<Answer, String> {
        let (address, text) = split(rest);
        let address = named(address)?;
        let token = self.token();
        wishes.publish(token, &address, &unescape(text), true);
        Ok(Answer::Pending(token))
    }

    fn end(&mut self, rest: &[u8], wishes: &mut Wishes) -> Result<Answer, String> {
        let address = named(rest)?;
        let Some((token, _)) = self.subscriptions.get(&address).copied() else {
            return Err(format!("there is no subscription to {address}"));
        };
        self.forget(token);
        wishes.unsubscribe(token);
        Ok(Answer::Ready("OK\n".to_owned()))
    }

    /// The subscription is none any more: its address.
    fn forget(&mut self, token: u64) -> Option<String> {
        self.unsettled.retain(|_, subscription| *subscription != token);
        let gone = self.subscriptions.iter().find(|(_, (known, _))| *known == token);
        let address = gone.map(|(address, _)| address.clone())?;
        self.subscriptions.remove(&address);
        Some(address)
    }

    fn settle(
        &mut self,
        number: &[u8],
        how: Settled,
        wishes: &mut Wishes,
    ) -> Result<Answer, String> {
        let text = String::from_utf8_lossy(number);
        let number = text.parse().map_err(|_| format!("'{text}' is no number"))?;
        match self.unsettled.remove(&number) {
            Some(_) => {
                wishes.settle(number, how);
                Ok(Answer::Ready("OK\n".to_owned()))
            }
            None => Err(format!("no message {number} waits for an answer")),
        }
    }

    fn subscribe(
        &mut self,
        address: &[u8],
        numbered: bool,
        wishes: &mut Wishes,
    ) -> Result<Answer, String> {
        let address = named(address)?;
        if self.subscriptions.contains_key(&address) {
            return Err(format!("there is a subscription to {address} already"));
        }
        let token = self.token();
        wishes.subscribe(token, &address, numbered);
        self.subscriptions.insert(address, (token, numbered));
        Ok(Answer::Pending(token))
    }

    /// The broker's answer has come.
    fn judged(&mut self, token: u64, result: Result<(), &str>, wishes: &mut Wishes) {
        let mut waiting = self.answers.iter_mut();
        if let Some(answer) = waiting.find(|it| matches!(it, Answer::Pending(is) if *is == token)) {
            *answer = Answer::Ready(said(result));
        }
        self.answer(wishes);
    }

    /// Answers that are ready and have none in front of them that is not.
    fn answer(&mut self, wishes: &mut Wishes) {
        while let Some(next) = self.answers.front() {
            match next {
                Answer::Pending(_) => return,
                Answer::Ready(text) => wishes.write(text.as_bytes()),
                Answer::Last => {
                    wishes.write(b"OK\n");
                    wishes.close();
                }
            }
            self.answers.pop_front();
        }
    }
}

/// An address as the broker takes it.
fn named(address: &[u8]) -> Result<String, String> {
    match std::str::from_utf8(address) {
        Ok(address) => Ok(address.to_owned()),
        Err(_) => Err("the address is not UTF-8".to_owned()),
    }
}

/// The first word of a line, and what is behind it.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    (word, rest.strip_prefix(b" ").unwrap_or(rest))
}

fn escape(body: &[u8], line: &mut Vec<u8>) {
    for byte in body {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\\' => line.extend_from_slice(b"\\\\"),
            other => line.push(*other),
        }
    }
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match (byte, byte == &b'\\') {
            (other, false) => body.push(*other),
            (_, true) => match bytes.next() {
                Some(b'n') => body.push(b'\n'),
                Some(b'r') => body.push(b'\r'),
                Some(other) => body.push(*other),
                None => body.push(b'\\'),
            },
        }
    }
    body
}

crossdock_plugin::export!(protocol: Lines);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_survive_a_line() {
        for body in [&b"plain"[..], b"two\nlines\r\n", b"back\\slash \\n", b"", b"\\"] {
            let mut line = Vec::new();
            escape(body, &mut line);
            assert!(!line.contains(&b'\n'));
            assert_eq!(unescape(&line), body);
        }
    }

    #[test]
    fn words_are_split_once() {
        assert_eq!(split(b"PUB topic:a b c"), (&b"PUB"[..], &b"topic:a b c"[..]));
        assert_eq!(split(b"QUIT"), (&b"QUIT"[..], &b""[..]));
        assert_eq!(split(b"PUB  x"), (&b"PUB"[..], &b" x"[..]));
    }
}
