//! Frames into bytes. A header that a version cannot write is refused, never changed.

use super::{Command, Escapes, Rules};
use bytes::{BufMut, Bytes, BytesMut};

/// The end of every frame of the broker: the NUL, and the EOL that clients that read by lines wait for.
pub const FRAME_END: &[u8] = b"\0\n";

/// Writes one frame: command, headers, then the blank line with or without a body.
#[derive(Debug)]
pub struct Writer<'a> {
    out: &'a mut BytesMut,
    escapes: Escapes,
}

impl<'a> Writer<'a> {
    /// Begins a frame.
    pub fn begin(out: &'a mut BytesMut, command: Command, rules: Rules) -> Self {
        out.put_slice(command.text().as_bytes());
        out.put_u8(b'\n');
        Self::go_on(out, rules)
    }

    /// Continues a frame that was begun elsewhere with more header lines.
    pub fn go_on(out: &'a mut BytesMut, rules: Rules) -> Self {
        Self { out, escapes: rules.escapes }
    }

    /// One header. False, and nothing written, when this version cannot write it.
    #[must_use]
    pub fn header(&mut self, name: &str, value: &str) -> bool {
        let start = self.out.len();
        let done = !name.is_empty() && escape(self.out, name.as_bytes(), self.escapes, true) && {
            self.out.put_u8(b':');
            escape(self.out, value.as_bytes(), self.escapes, false)
        };
        match done {
            true => self.out.put_u8(b'\n'),
            false => self.out.truncate(start),
        }
        done
    }

    /// A header line whose name and value need no escape, or hold this version's already.
    pub fn line(&mut self, name: &[u8], value: &[u8]) {
        self.out.put_slice(name);
        self.out.put_u8(b':');
        self.out.put_slice(value);
        self.out.put_u8(b'\n');
    }

    /// A header whose value is a number.
    pub fn number(&mut self, name: &str, value: u64) {
        self.out.put_slice(name.as_bytes());
        self.out.put_u8(b':');
        decimal(self.out, value);
        self.out.put_u8(b'\n');
    }

    /// The end of a frame without a body.
    pub fn end(self) {
        self.out.put_u8(b'\n');
        self.out.put_slice(FRAME_END);
    }

    /// content-length, the blank line, a copy of the body, and the end.
    pub fn body(mut self, body: &[u8]) {
        self.number("content-length", body.len() as u64);
        self.out.put_u8(b'\n');
        self.out.put_slice(body);
        self.out.put_slice(FRAME_END);
    }

    /// content-length and the blank line; body and [`FRAME_END`] follow as buffers of their own.
    pub fn shared_body(mut self, body: &Bytes) {
        self.number("content-length", body.len() as u64);
        self.out.put_u8(b'\n');
    }
}

/// A number's decimal digits.
pub fn decimal(out: &mut BytesMut, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    out.put_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// False when an octet cannot be written in this version. Before STOMP 1.2 there is no `\r`, in 1.0 no escape at
/// all, though its values may hold a colon. A NUL would end the frame in most clients, although the grammar allows it.
fn escape(out: &mut BytesMut, text: &[u8], escapes: Escapes, is_name: bool) -> bool {
    if memchr::memchr3(b'\n', b'\r', 0, text).is_none()
        && (escapes == Escapes::None && !is_name || memchr::memchr2(b':', b'\\', text).is_none())
    {
        out.put_slice(text);
        return true;
    }
    for octet in text {
        let code = match (octet, escapes) {
            (0, _) => return false,
            (b'\n', Escapes::Three | Escapes::Four) => b'n',
            (b':', Escapes::Three | Escapes::Four) => b'c',
            (b'\\', Escapes::Three | Escapes::Four) => b'\\',
            (b'\r', Escapes::Four) => b'r',
            (b'\n' | b'\r', _) => return false,
            (b':', Escapes::None) if is_name => return false,
            (other, _) => {
                out.put_u8(*other);
                continue;
            }
        };
        out.put_slice(&[b'\\', code]);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::*;

    fn written(version: Version, name: &str, value: &str) -> Option<String> {
        let mut out = BytesMut::new();
        let done = Writer::go_on(&mut out, version.rules()).header(name, value);
        assert!(done || out.is_empty());
        done.then(|| String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn escapes_follow_the_version() {
        let all = |name, value| Version::ALL.map(|version| written(version, name, value));
        let same = |text: &str| [Some(text.into()), Some(text.into()), Some(text.into())];
        assert_eq!(all("a", "b"), same("a:b\n"));
        assert_eq!(all("a", ""), same("a:\n"));
        let colon = [Some("a:b:c\n".into()), Some("a:b\\cc\n".into()), Some("a:b\\cc\n".into())];
        assert_eq!(all("a", "b:c"), colon);
        let slash = [Some("a:\\\n".into()), Some("a:\\\\\n".into()), Some("a:\\\\\n".into())];
        assert_eq!(all("a", "\\"), slash);
        assert_eq!(all("a", "\n"), [None, Some("a:\\n\n".into()), Some("a:\\n\n".into())]);
        assert_eq!(all("a", "\r"), [None, None, Some("a:\\r\n".into())]);
        assert_eq!(all("a:b", ""), [None, Some("a\\cb:\n".into()), Some("a\\cb:\n".into())]);
        assert_eq!(all("a", "x\0"), [None, None, None]);
        assert_eq!(all("", "x"), [None, None, None]);
    }

    #[test]
    fn numbers() {
        for value in [0, 7, 10, 65_535, u64::MAX] {
            let mut out = BytesMut::new();
            decimal(&mut out, value);
            assert_eq!(&out[..], value.to_string().as_bytes());
        }
    }

    #[test]
    fn frames() {
        let mut out = BytesMut::new();
        let mut writer = Writer::begin(&mut out, Command::Receipt, Version::V12.rules());
        assert!(writer.header("receipt-id", "a:1"));
        writer.end();
        Writer::begin(&mut out, Command::Error, Version::V12.rules()).body(b"no\0");
        let text = "RECEIPT\nreceipt-id:a\\c1\n\n\0\nERROR\ncontent-length:3\n\nno\0\0\n";
        assert_eq!(std::str::from_utf8(&out).unwrap(), text);
    }
}
