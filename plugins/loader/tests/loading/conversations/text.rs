//! Conversations as they are written.

/// What happens in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Send(Vec<u8>),
    Expect(Vec<u8>),
    End,
    Over,
    Gone,
    Quiet,
    Declare(String),
    Delete(String),
    Count(String, u64),
    Drain,
    InTurns,
}

impl Step {
    /// The bytes that are sent.
    pub fn sent(&self) -> &[u8] {
        match self {
            Step::Send(bytes) => bytes,
            _ => &[],
        }
    }
}

/// A step, its number, and the client that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub number: usize,
    pub who: String,
    pub step: Step,
}

/// All lines; what cannot be read otherwise.
pub fn parse(text: &str) -> Result<Vec<Line>, String> {
    let mut lines = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let step = read(line).ok_or_else(|| format!("line {number} cannot be read: {line}"))?;
        lines.push(Line { number, who: step.0, step: step.1 });
    }
    Ok(lines)
}

fn read(line: &str) -> Option<(String, Step)> {
    let (head, text) = line.split_once(' ')?;
    let (who, mark) = head.split_at(head.len().checked_sub(1)?);
    let words: Vec<&str> = text.split(' ').collect();
    let step = match (who.is_empty(), mark, words.as_slice()) {
        (true, "!", ["declare", queue]) => Step::Declare((*queue).to_owned()),
        (true, "!", ["delete", queue]) => Step::Delete((*queue).to_owned()),
        (true, "!", ["count", queue, count]) => {
            Step::Count((*queue).to_owned(), count.parse().ok()?)
        }
        (true, "!", ["drain"]) => Step::Drain,
        (true, "!", ["in", "turns"]) => Step::InTurns,
        (false, "!", ["end"]) => Step::End,
        (false, "!", ["over"]) => Step::Over,
        (false, "!", ["gone"]) => Step::Gone,
        (false, "!", ["quiet"]) => Step::Quiet,
        (false, ">", _) => Step::Send([bytes(text)?, b"\n".to_vec()].concat()),
        (false, "+", _) => Step::Send(bytes(text)?),
        (false, "<", _) => Step::Expect(bytes(text)?),
        _ => return None,
    };
    Some((who.to_owned(), step))
}

/// Text with bytes in braces.
fn bytes(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (inside, after) = behind.split_once('}')?;
        bytes.extend_from_slice(before.as_bytes());
        for pair in inside.split(' ') {
            bytes.push(u8::from_str_radix(pair, 16).ok()?);
        }
        rest = after;
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}
