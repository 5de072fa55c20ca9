//! Frames out of a stream of bytes, whatever pieces it arrives in. The position where decoding stopped is remembered,
//! so that no octet of an unfinished frame is looked at twice.

use super::headers::{Spans, span_of, without_return};
use super::{Command, Fault, Frame, Headers, Rules, Version};
use bytes::{Buf, Bytes, BytesMut};

/// What a peer may send, in one frame. Lengths in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub headers: usize,
    /// All header lines together.
    pub head_bytes: usize,
    pub body_bytes: usize,
}

impl Limits {
    /// Before the login, where nothing else is set: few CONNECT need more.
    pub const BEFORE_LOGIN: Limits =
        Limits { headers: 100, head_bytes: 8 << 10, body_bytes: 8 << 10 };
    /// After it.
    pub const AFTER_LOGIN: Limits =
        Limits { headers: 100, head_bytes: 16 << 10, body_bytes: 16 << 20 };
}

/// Cuts frames out of a connection's input.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// None until CONNECT was understood.
    version: Option<Version>,
    progress: Progress,
}

/// How far the frame at the front of the input is known. Offsets count from its first octet.
#[derive(Debug)]
enum Progress {
    Command,
    Headers(Head),
    Body { head: Head, body: usize, end: BodyEnd },
}

#[derive(Debug)]
struct Head {
    command: Command,
    rules: Rules,
    /// Where the header block begins.
    block: usize,
    /// Where the line begins that is not read yet; the block's end when all are.
    line: usize,
    /// No line feed stands between `line` and here.
    scanned: usize,
    spans: Spans,
}

#[derive(Debug)]
enum BodyEnd {
    /// The body's length is known.
    Length(usize),
    /// It ends at the first NUL, and there is none before this offset.
    Nul(usize),
}

impl Decoder {
    /// A decoder for a connection before its login.
    pub fn new(limits: Limits) -> Self {
        Self { limits, version: None, progress: Progress::Command }
    }

    /// From the next frame on, these rules and limits hold.
    pub fn settle(&mut self, version: Version, limits: Limits) {
        self.version = Some(version);
        self.limits = limits;
    }

    /// The next whole frame, taken out of `input`; `None`: more bytes are needed. After a fault the input is as it
    /// was, and the connection has to end.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, Fault> {
        if matches!(self.progress, Progress::Command) {
            Self::skip_line_ends(input);
        }
        let Some(length) = self.scan(input)? else { return Ok(None) };
        let bytes = input.split_to(length).freeze();
        self.take(bytes).map(Some)
    }

    /// Bytes of the whole frame at the front, where its content-length says so.
    pub fn expected(&self) -> Option<usize> {
        match &self.progress {
            Progress::Body { body, end: BodyEnd::Length(length), .. } => Some(body + length + 1),
            _ => None,
        }
    }

    /// The receipt that the broken frame at the front of `input` asked for, if reading came that far.
    pub fn receipt(&self, input: &[u8]) -> Option<String> {
        let head = match &self.progress {
            Progress::Command => return None,
            Progress::Headers(head) | Progress::Body { head, .. } => head,
        };
        let block = input.get(head.block..head.line)?;
        let headers = Headers::parse(Bytes::copy_from_slice(block), head.rules).ok()?;
        headers.get("receipt").map(|id| id.into_owned())
    }

    /// STOMP 1.2 §Augmented BNF: a frame is followed by any number of EOLs; a lone EOL is a heart-beat. Clients that
    /// end a frame twice leave a NUL there, which other brokers skip too.
    fn skip_line_ends(input: &mut BytesMut) {
        let mut skipped = 0;
        loop {
            match input.get(skipped..) {
                Some([b'\n' | 0, ..]) => skipped += 1,
                Some([b'\r', b'\n', ..]) => skipped += 2,
                _ => break,
            }
        }
        if skipped > 0 {
            input.advance(skipped);
        }
    }

    fn rules(&self, command: Command) -> Rules {
        match self.version {
            Some(version) if !command.is_connect() => version.rules(),
            _ => Rules::CONNECT,
        }
    }

    /// The length of the frame at the front, when it is whole.
    fn scan(&mut self, input: &[u8]) -> Result<Option<usize>, Fault> {
        if let Progress::Command = self.progress {
            let Some(head) = self.command(input)? else { return Ok(None) };
            self.progress = Progress::Headers(head);
        }
        if let Progress::Headers(head) = &mut self.progress {
            let Some(body) = lines(head, &self.limits, input)? else { return Ok(None) };
            let end = body_end(head, &self.limits, input, body)?;
            let Progress::Headers(head) = std::mem::replace(&mut self.progress, Progress::Command)
            else {
                return Ok(None);
            };
            self.progress = Progress::Body { head, body, end };
        }
        let Progress::Body { body, end, .. } = &mut self.progress else { return Ok(None) };
        body_whole(*body, end, &self.limits, input)
    }

    fn command(&self, input: &[u8]) -> Result<Option<Head>, Fault> {
        let reach = input.get(..Command::LONGEST + 2).unwrap_or(input);
        let Some(end) = memchr::memchr(b'\n', reach) else {
            // Bytes that begin no command are refused at once: their line might never end.
            let starts = reach.strip_suffix(b"\r").unwrap_or(reach);
            let open =
                starts.len() <= Command::LONGEST && starts.iter().all(u8::is_ascii_uppercase);
            return if open { Ok(None) } else { Err(unknown(reach)) };
        };
        let line = reach.get(..end).unwrap_or_default();
        let command = Command::parse(without_return(line)).ok_or_else(|| unknown(line))?;
        let (rules, block) = (self.rules(command), end + 1);
        Ok(Some(Head { command, rules, block, line: block, scanned: block, spans: Spans::new() }))
    }

    /// The frame of those bytes, which [`Decoder::scan`] has measured.
    fn take(&mut self, bytes: Bytes) -> Result<Frame, Fault> {
        let Progress::Body { head, body, end } =
            std::mem::replace(&mut self.progress, Progress::Command)
        else {
            return Err(Fault::NoNul);
        };
        let length = match end {
            BodyEnd::Length(length) | BodyEnd::Nul(length) => length,
        };
        let block = bytes.slice(head.block..head.line);
        let headers = Headers::of_spans(block, head.spans, head.rules)?;
        // STOMP 1.2 §Value Encoding: all frames but SEND, MESSAGE and ERROR MUST NOT have a body. 1.0 does not say so.
        if length > 0 && !head.command.may_have_body() && self.version >= Some(Version::V11) {
            return Err(Fault::UnexpectedBody(head.command.text()));
        }
        Ok(Frame { command: head.command, headers, body: bytes.slice(body..body + length) })
    }
}

fn unknown(line: &[u8]) -> Fault {
    Fault::UnknownCommand(String::from_utf8_lossy(line).into_owned())
}

/// Reads header lines up to the blank one. The body's offset, when that was found.
fn lines(head: &mut Head, limits: &Limits, input: &[u8]) -> Result<Option<usize>, Fault> {
    let end_of_block = head.block + limits.head_bytes;
    loop {
        let rest = input.get(head.scanned..).unwrap_or_default();
        let Some(length) = memchr::memchr2(b'\n', 0, rest) else {
            head.scanned = input.len();
            return match head.scanned > end_of_block + 2 {
                true => Err(Fault::HeadersTooLong(limits.head_bytes)),
                false => Ok(None),
            };
        };
        // Whether the line is whole by now makes no difference.
        if rest.get(length) == Some(&0) {
            return Err(Fault::NulInHeaders);
        }
        let end = head.scanned + length;
        let line = without_return(input.get(head.line..end).unwrap_or_default());
        if line.is_empty() {
            return Ok(Some(end + 1));
        }
        if end >= end_of_block {
            return Err(Fault::HeadersTooLong(limits.head_bytes));
        }
        if head.spans.len() >= limits.headers {
            return Err(Fault::TooManyHeaders(limits.headers));
        }
        head.spans.push(span_of(line, head.line - head.block)?);
        head.line = end + 1;
        head.scanned = head.line;
    }
}

/// How the body's end is found: by the first content-length, else by the first NUL. Where there is no body, a
/// content-length says nothing: clients copy it from the MESSAGE that they acknowledge.
fn body_end(head: &Head, limits: &Limits, input: &[u8], body: usize) -> Result<BodyEnd, Fault> {
    if !head.command.may_have_body() {
        return Ok(BodyEnd::Nul(body));
    }
    let block = input.get(head.block..head.line).unwrap_or_default();
    for span in &head.spans {
        if block.get(span.start as usize..span.colon as usize) != Some(b"content-length") {
            continue;
        }
        let value = block.get(span.colon as usize + 1..span.end as usize).unwrap_or_default();
        let length = digits(value).ok_or(Fault::BadContentLength)?;
        return match length > limits.body_bytes {
            true => Err(Fault::BodyTooLong(limits.body_bytes)),
            false => Ok(BodyEnd::Length(length)),
        };
    }
    Ok(BodyEnd::Nul(body))
}

/// Padding is tolerated here in every version: a number has no spaces that could matter.
fn digits(value: &[u8]) -> Option<usize> {
    let value = value.trim_ascii();
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0usize, |sum, octet| {
        let digit = octet.is_ascii_digit().then(|| usize::from(octet - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// The frame's length when its final NUL is there. On the way out `end` holds the body's length.
fn body_whole(
    body: usize,
    end: &mut BodyEnd,
    limits: &Limits,
    input: &[u8],
) -> Result<Option<usize>, Fault> {
    match end {
        BodyEnd::Length(length) => match input.get(body + *length) {
            None => Ok(None),
            // STOMP 1.2 §Header content-length: the frame still needs to be terminated with a NULL octet.
            Some(0) => Ok(Some(body + *length + 1)),
            Some(_) => Err(Fault::NoNul),
        },
        BodyEnd::Nul(scanned) => {
            let rest = input.get(*scanned..).unwrap_or_default();
            let found = memchr::memchr(0, rest);
            let length = *scanned + found.unwrap_or(rest.len()) - body;
            if length > limits.body_bytes {
                return Err(Fault::BodyTooLong(limits.body_bytes));
            }
            match found {
                Some(_) => {
                    *end = BodyEnd::Length(length);
                    Ok(Some(body + length + 1))
                }
                None => {
                    *scanned = input.len();
                    Ok(None)
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
