//! The protocol `NAME`: lines of text. The broker has the socket, TLS, the session and the rights; here are the bytes.
//!
//! | the client writes | the answer; n counts its lines |
//! |---|---|
//! | `LOGIN user password` | `OK n`, or `ERR n why`; nothing else is answered before |
//! | `PUB address text` | `OK n` when it is stored. An address is `topic:a/b`, `queue:q` or `exchange:x/key` |
//! | `SUB address` | `OK n`, and then `MSG address text` for each message; `topic:a/#` or `queue:q` |
//! | `QUIT` | the connection ends |

use crossdock_plugin::{Connection, Happened, Protocol, Start, Wishes};

/// Bytes of a line.
const LINE_MAX: usize = 64 << 10;

pub struct Lines;

impl Start for Lines {
    /// `with`: the table of that name in the plugin's section, as JSON.
    fn start(with: &str) -> Result<Self, String> {
        match with {
            "{}" => Ok(Lines),
            _ => Err("takes no settings: 'with' has to be empty".to_owned()),
        }
    }
}

impl Protocol for Lines {
    const NAME: &'static str = "NAME";
    type Connection = Client;

    fn open(&self, _peer: &str) -> Result<Client, String> {
        Ok(Client { input: Vec::new(), lines: 0, login: Login::Missing })
    }
}

/// One connection.
pub struct Client {
    /// What was read and is not dealt with.
    input: Vec<u8>,
    /// How many lines were.
    lines: u64,
    login: Login,
}

#[derive(PartialEq)]
enum Login {
    Missing,
    /// The broker judges the line of that number. Until it has, what comes behind waits.
    Judged(u64),
    Done,
}

impl Connection for Client {
    fn turn(&mut self, happened: Happened<'_>, wishes: &mut Wishes) -> Result<(), String> {
        match happened {
            Happened::Bytes(bytes) => {
                self.input.extend_from_slice(bytes);
                self.read(wishes)
            }
            Happened::LoggedIn(result) => {
                let Login::Judged(line) = self.login else { return Ok(()) };
                self.login = if result.is_ok() { Login::Done } else { Login::Missing };
                answer(line, result, wishes);
                self.read(wishes)
            }
            Happened::Published(line, result) | Happened::Subscribed(line, result) => {
                answer(line, result, wishes);
                Ok(())
            }
            Happened::Unsubscribed(line, why) => {
                answer(line, Err(why), wishes);
                Ok(())
            }
            Happened::Delivered { address, body, .. } => {
                let text = String::from_utf8_lossy(body).replace(['\r', '\n'], " ");
                wishes.write(format!("MSG {address} {text}\n").as_bytes());
                Ok(())
            }
            Happened::Ending(why) => {
                wishes.write(format!("BYE {why}\n").as_bytes());
                Ok(())
            }
        }
    }
}

impl Client {
    /// Deals with the lines that are whole.
    fn read(&mut self, wishes: &mut Wishes) -> Result<(), String> {
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while !matches!(self.login, Login::Judged(_)) {
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
            let (line, behind) = rest.split_at(end);
            if line.len() > LINE_MAX {
                return Err(format!("a line is longer than {LINE_MAX} bytes"));
            }
            let line = std::str::from_utf8(line).map_err(|_| "a line is not UTF-8".to_owned())?;
            rest = behind.get(1..).unwrap_or_default();
            self.lines += 1;
            self.line(line.trim_end_matches('\r'), wishes);
        }
        // While a login is judged the broker reads nothing more: what came with it waits here.
        if rest.len() > LINE_MAX && !matches!(self.login, Login::Judged(_)) {
            return Err(format!("a line is longer than {LINE_MAX} bytes"));
        }
        self.input = rest.to_vec();
        Ok(())
    }

    fn line(&mut self, line: &str, wishes: &mut Wishes) {
        let number = self.lines;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, second) = rest.split_once(' ').unwrap_or((rest, ""));
        match (word, &self.login) {
            ("QUIT", _) => wishes.close(),
            ("LOGIN", Login::Missing) => {
                self.login = Login::Judged(number);
                wishes.log_in(first, second.as_bytes());
            }
            (_, Login::Missing) => answer(number, Err("LOGIN user password comes first"), wishes),
            ("PUB", _) => wishes.publish(number, first, second.as_bytes(), true),
            ("SUB", _) => wishes.subscribe(number, rest, false),
            _ => answer(number, Err("the words are LOGIN, PUB, SUB and QUIT"), wishes),
        }
    }
}

fn answer(line: u64, result: Result<(), &str>, wishes: &mut Wishes) {
    let text = match result {
        Ok(()) => format!("OK {line}\n"),
        Err(why) => format!("ERR {line} {why}\n"),
    };
    wishes.write(text.as_bytes());
}

crossdock_plugin::export!(protocol: Lines);

#[cfg(test)]
mod tests {
    use super::*;
    use crossdock_plugin::trial::{Wish, turn};

    fn write(text: &str) -> Wish {
        Wish::Write(text.as_bytes().to_vec())
    }

    #[test]
    fn what_comes_behind_a_login_waits_for_it() {
        let mut client = Lines::start("{}").and_then(|it| it.open("peer")).expect("opened");
        let mut said = |happened| {
            let (wishes, result) = turn(&mut client, happened);
            result.map(|()| wishes)
        };
        assert_eq!(
            said(Happened::Bytes(b"PUB a b\nLOG")),
            Ok(vec![write("ERR 1 LOGIN user password comes first\n")])
        );
        let login = Wish::LogIn { user: "ann".to_owned(), password: b"my secret".to_vec() };
        assert_eq!(said(Happened::Bytes(b"IN ann my secret\nPUB topic:a 1 2\n")), Ok(vec![login]));
        let publish = Wish::Publish {
            token: 3,
            address: "topic:a".to_owned(),
            body: b"1 2".to_vec(),
            durable: true,
        };
        assert_eq!(said(Happened::LoggedIn(Ok(()))), Ok(vec![write("OK 2\n"), publish]));
        assert_eq!(said(Happened::Published(3, Err("no"))), Ok(vec![write("ERR 3 no\n")]));
        let subscribe =
            Wish::Subscribe { token: 4, address: "topic:a/#".to_owned(), settles: false };
        assert_eq!(said(Happened::Bytes(b"SUB topic:a/#\r\n")), Ok(vec![subscribe]));
        let (address, body) = ("topic:a/b", &b"two\nlines"[..]);
        let message =
            Happened::Delivered { subscription: 4, delivery: 0, address, body, redelivered: false };
        assert_eq!(said(message), Ok(vec![write("MSG topic:a/b two lines\n")]));
        assert_eq!(said(Happened::Bytes(b"QUIT\n")), Ok(vec![Wish::Close]));
        let long = [vec![b'x'; LINE_MAX + 1], b"\n".to_vec()].concat();
        assert!(said(Happened::Bytes(&long)).is_err());
        assert!(said(Happened::Bytes(&[b'x'; LINE_MAX + 1])).is_err());
    }
}
