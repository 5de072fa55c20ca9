//! STOMP bytes ⇄ frames, for all three versions. Pure: no socket, no clock, no broker types.
//!
//! A frame is one slice of the read buffer: header block and body are views of it, and an escape is undone only
//! where a backslash stands. There are limits for before and after the login ([`Limits`]), and every length is compared
//! with them before anything is kept.
//!
//! ```text
//! COMMAND EOL *(name ":" value EOL) EOL  body  NUL *EOL
//! ```

mod decode;
mod encode;
mod headers;

pub use decode::{Decoder, Limits};
pub use encode::{FRAME_END, Writer, decimal};
pub use headers::{Header, Headers};

use bytes::Bytes;

/// Protocol version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    V10,
    V11,
    V12,
}

impl Version {
    /// All versions that this broker speaks, oldest first.
    pub const ALL: [Version; 3] = [Version::V10, Version::V11, Version::V12];

    /// As in `accept-version` and `version`.
    pub fn text(self) -> &'static str {
        match self {
            Version::V10 => "1.0",
            Version::V11 => "1.1",
            Version::V12 => "1.2",
        }
    }

    /// How headers are written and read in this version.
    pub fn rules(self) -> Rules {
        match self {
            // STOMP 1.0 has no escapes, and its own examples pad the values, so they are trimmed.
            Version::V10 => Rules { escapes: Escapes::None, bare_cr: true, trim: true },
            // STOMP 1.1 §Value Encoding: \n \c \\ only; a carriage return is an octet like any other, but at a line's
            // end, where clients and brokers of 1.1 write and read it as a part of that.
            Version::V11 => Rules { escapes: Escapes::Three, bare_cr: true, trim: false },
            // STOMP 1.2 §Value Encoding and §Augmented BNF: \r as well, and EOL = [CR] LF.
            Version::V12 => Rules { escapes: Escapes::Four, bare_cr: false, trim: false },
        }
    }
}

/// What a header block may look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Which escapes exist.
    pub escapes: Escapes,
    /// A carriage return that is not before a line feed is an octet of the header.
    pub bare_cr: bool,
    /// Spaces around a value are padding.
    pub trim: bool,
}

impl Rules {
    /// CONNECT, STOMP and CONNECTED: read before a version is known, and never escaped in any version
    /// (STOMP 1.2 §Value Encoding), so that a passcode may hold a colon or a backslash.
    pub const CONNECT: Rules = Rules { escapes: Escapes::None, bare_cr: true, trim: false };
}

/// The escapes of header names and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escapes {
    None,
    /// `\n` `\c` `\\`
    Three,
    /// `\n` `\c` `\\` `\r`
    Four,
}

/// The first line of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    Connect,
    Stomp,
    Send,
    Subscribe,
    Unsubscribe,
    Ack,
    Nack,
    Begin,
    Commit,
    Abort,
    Disconnect,
    Connected,
    Message,
    Receipt,
    Error,
}

impl Command {
    /// The longest client command, in octets.
    pub const LONGEST: usize = 11;

    /// As on the wire.
    pub fn text(self) -> &'static str {
        match self {
            Command::Connect => "CONNECT",
            Command::Stomp => "STOMP",
            Command::Send => "SEND",
            Command::Subscribe => "SUBSCRIBE",
            Command::Unsubscribe => "UNSUBSCRIBE",
            Command::Ack => "ACK",
            Command::Nack => "NACK",
            Command::Begin => "BEGIN",
            Command::Commit => "COMMIT",
            Command::Abort => "ABORT",
            Command::Disconnect => "DISCONNECT",
            Command::Connected => "CONNECTED",
            Command::Message => "MESSAGE",
            Command::Receipt => "RECEIPT",
            Command::Error => "ERROR",
        }
    }

    /// The command of that line; commands are case sensitive (STOMP 1.2 §STOMP Frames).
    pub fn parse(line: &[u8]) -> Option<Command> {
        Some(match line {
            b"SEND" => Command::Send,
            b"ACK" => Command::Ack,
            b"NACK" => Command::Nack,
            b"CONNECT" => Command::Connect,
            b"STOMP" => Command::Stomp,
            b"SUBSCRIBE" => Command::Subscribe,
            b"UNSUBSCRIBE" => Command::Unsubscribe,
            b"BEGIN" => Command::Begin,
            b"COMMIT" => Command::Commit,
            b"ABORT" => Command::Abort,
            b"DISCONNECT" => Command::Disconnect,
            b"CONNECTED" => Command::Connected,
            b"MESSAGE" => Command::Message,
            b"RECEIPT" => Command::Receipt,
            b"ERROR" => Command::Error,
            _ => return None,
        })
    }

    /// STOMP 1.2 §Value Encoding: only these may have a body.
    pub fn may_have_body(self) -> bool {
        matches!(self, Command::Send | Command::Message | Command::Error)
    }

    /// The frames that open a session, which are never escaped.
    pub fn is_connect(self) -> bool {
        matches!(self, Command::Connect | Command::Stomp | Command::Connected)
    }
}

/// One frame.
#[derive(Debug, Clone)]
pub struct Frame {
    pub command: Command,
    pub headers: Headers,
    /// The octets between the blank line and the final NUL.
    pub body: Bytes,
}

/// Why a peer's bytes are no frame. Each of these ends the connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("unknown command {0:?}")]
    UnknownCommand(String),
    #[error("a header line has no colon")]
    NoColon,
    #[error("a header has no name")]
    NoName,
    #[error("undefined escape sequence in a header")]
    BadEscape,
    #[error("a carriage return inside a header must be escaped")]
    BareCarriageReturn,
    #[error("a NUL before the blank line that ends the headers")]
    NulInHeaders,
    #[error("the headers are not UTF-8")]
    NotUtf8,
    #[error("more than {0} headers")]
    TooManyHeaders(usize),
    #[error("the headers are longer than {0} bytes")]
    HeadersTooLong(usize),
    #[error("the body is longer than {0} bytes")]
    BodyTooLong(usize),
    #[error("content-length is not a number")]
    BadContentLength,
    #[error("the body is not followed by a NUL where content-length says it ends")]
    NoNul,
    #[error("a {0} frame must not have a body")]
    UnexpectedBody(&'static str),
}
