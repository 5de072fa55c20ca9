//! JSON paths: `$`, `.name`, `['name']`, `[n]`. Reading is a loop with a depth counter, never a recursion. The text is
//! read up to the value only, so malformed text behind it is not noticed.

use super::Unreadable;
use crossdock_core::exchange::selector::Operand;
use std::borrow::Cow;

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 128;
/// Largest number of steps in a path.
const STEPS_MAX: usize = 32;

/// A compiled path.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct JsonPath {
    steps: Vec<JsonStep>,
}

#[derive(Debug, Clone, PartialEq)]
enum JsonStep {
    Member(String),
    Item(usize),
}

impl JsonPath {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.strip_prefix('$').ok_or("a JSON path begins with $")?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) =
                step(rest).ok_or_else(|| format!("'{rest}' is not .name, ['name'] or [number]"))?;
            steps.push(step);
            rest = after;
        }
        match steps.len() > STEPS_MAX {
            true => Err(format!("more than {STEPS_MAX} steps")),
            false => Ok(Self { steps }),
        }
    }

    pub(crate) fn find<'b>(&self, body: &'b [u8]) -> Result<Operand<'b>, Unreadable> {
        let mut walk = Walk { bytes: body, at: 0 };
        for step in &self.steps {
            let found = match step {
                JsonStep::Member(name) => walk.member(name)?,
                JsonStep::Item(index) => walk.item(*index)?,
            };
            if !found {
                return Ok(Operand::Null);
            }
        }
        walk.value()
    }
}

fn step(rest: &str) -> Option<(JsonStep, &str)> {
    if let Some(rest) = rest.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        return (!name.is_empty()).then(|| (JsonStep::Member(name.to_string()), after));
    }
    let rest = rest.strip_prefix('[')?;
    if let Some(mark @ ('\'' | '"')) = rest.chars().next() {
        let rest = rest.strip_prefix(mark)?;
        let (name, after) = rest.split_once(mark)?;
        return Some((JsonStep::Member(name.to_string()), after.strip_prefix(']')?));
    }
    let (number, after) = rest.split_once(']')?;
    Some((JsonStep::Item(number.parse().ok()?), after))
}

/// A position in the body.
struct Walk<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Walk<'b> {
    /// Moves to the member's value; the first one if the name is repeated. False if there is no such member.
    fn member(&mut self, name: &str) -> Result<bool, Unreadable> {
        if !self.open(b'{')? {
            return Ok(false);
        }
        let mut first = true;
        loop {
            if !self.next_entry(b'}', &mut first)? {
                return Ok(false);
            }
            let key = self.string()?;
            let hit = match memchr::memchr(b'\\', key) {
                None => key == name.as_bytes(),
                Some(_) => unescaped(key)? == name,
            };
            self.need(b':')?;
            if hit {
                return Ok(true);
            }
            self.skip()?;
        }
    }

    fn item(&mut self, index: usize) -> Result<bool, Unreadable> {
        if !self.open(b'[')? {
            return Ok(false);
        }
        let mut first = true;
        for _ in 0..index {
            if !self.next_entry(b']', &mut first)? {
                return Ok(false);
            }
            self.skip()?;
        }
        self.next_entry(b']', &mut first)
    }

    /// True at an opening bracket of this kind; false at a value of another kind, which has no such members.
    fn open(&mut self, bracket: u8) -> Result<bool, Unreadable> {
        match self.peek() {
            Some(b) if b == bracket => {
                self.at += 1;
                Ok(true)
            }
            Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Ok(false),
            _ => Err(Unreadable),
        }
    }

    /// True before another entry, false after the last.
    fn next_entry(&mut self, close: u8, first: &mut bool) -> Result<bool, Unreadable> {
        match self.peek() {
            Some(b) if b == close => Ok(false),
            Some(b',') if !*first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if *first => {
                *first = false;
                Ok(true)
            }
            _ => Err(Unreadable),
        }
    }

    /// The value at this position: a scalar as such, an object or an array as its text.
    fn value(&mut self) -> Result<Operand<'b>, Unreadable> {
        let first = self.peek().ok_or(Unreadable)?;
        let start = self.at;
        if first == b'"' {
            let raw = self.string()?;
            return Ok(Operand::Text(match memchr::memchr(b'\\', raw) {
                None => Cow::Borrowed(std::str::from_utf8(raw).map_err(|_| Unreadable)?),
                Some(_) => Cow::Owned(unescaped(raw)?),
            }));
        }
        self.skip()?;
        let raw = self.bytes.get(start..self.at).ok_or(Unreadable)?;
        let text = std::str::from_utf8(raw).map_err(|_| Unreadable)?;
        match text {
            "null" => Ok(Operand::Null),
            "true" => Ok(Operand::Bool(true)),
            "false" => Ok(Operand::Bool(false)),
            _ if matches!(first, b'{' | b'[') => Ok(Operand::text(text)),
            _ if !is_number(text) => Err(Unreadable),
            // As a number it would lose digits; as text it keeps them, and is still compared as a number.
            _ if is_whole(text) && text.parse::<i64>().is_err() => Ok(Operand::text(text)),
            _ => Operand::number_in(text).ok_or(Unreadable),
        }
    }

    /// Skips one value.
    fn skip(&mut self) -> Result<(), Unreadable> {
        let mut depth = 0usize;
        loop {
            match self.peek().ok_or(Unreadable)? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' => {
                    self.at += 1;
                    depth += 1;
                    if depth > DEPTH_MAX {
                        return Err(Unreadable);
                    }
                    continue;
                }
                b'}' | b']' => {
                    self.at += 1;
                    depth = depth.checked_sub(1).ok_or(Unreadable)?;
                }
                b',' | b':' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                b',' | b':' => return Err(Unreadable),
                _ => {
                    let rest = self.bytes.get(self.at..).unwrap_or_default();
                    let ends = |b: &u8| {
                        matches!(b, b',' | b'}' | b']' | b'"' | b':') || b.is_ascii_whitespace()
                    };
                    self.at += rest.iter().position(ends).unwrap_or(rest.len());
                }
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }

    /// The raw bytes of the string at this position.
    fn string(&mut self) -> Result<&'b [u8], Unreadable> {
        self.need(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let hit = memchr::memchr2(b'"', b'\\', rest).ok_or(Unreadable)?;
            self.at += hit;
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let raw = self.bytes.get(start..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(raw);
                }
                _ => self.at += 2,
            }
        }
    }

    fn need(&mut self, byte: u8) -> Result<(), Unreadable> {
        match self.peek() == Some(byte) {
            true => {
                self.at += 1;
                Ok(())
            }
            false => Err(Unreadable),
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = self.bytes.get(self.at).copied()?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
    }
}

/// RFC 8259 §6: what stands for a number.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let exponent = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(digits)
}

fn is_whole(number: &str) -> bool {
    !number.contains(['.', 'e', 'E'])
}

/// The text of a string's raw bytes. The parser needs the quotes, so they are added again.
fn unescaped(raw: &[u8]) -> Result<String, Unreadable> {
    let mut quoted = Vec::with_capacity(raw.len() + 2);
    quoted.push(b'"');
    quoted.extend_from_slice(raw);
    quoted.push(b'"');
    serde_json::from_slice(&quoted).map_err(|_| Unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str, body: &str) -> String {
        let found = JsonPath::parse(path).unwrap().find(body.as_bytes()).map(|v| format!("{v:?}"));
        found.unwrap_or_else(|e| format!("{e:?}"))
    }

    #[test]
    fn finds_values() {
        let body = r#" {"a": {"b": [1, -2.5e1, {"c": "x\u00e9\n"}], "b": 9}, "n": null,
            "t": true, "o" : { } , "k\u0065y": "v", "s": "plain"} "#;
        for (path, expected) in [
            ("$.a.b[0]", "Int(1)"),
            ("$.a.b[1]", "Float(-25.0)"),
            ("$.a.b[2].c", "Text(\"xé\\n\")"),
            ("$['a'][\"b\"][0]", "Int(1)"),
            ("$.a.b[3]", "Null"),
            ("$.a.b.c", "Null"),
            ("$.a.x", "Null"),
            ("$.n", "Null"),
            ("$.t", "Bool(true)"),
            ("$.o", "Text(\"{ }\")"),
            ("$.key", "Text(\"v\")"),
            ("$.s", "Text(\"plain\")"),
            ("$.s.x", "Null"),
        ] {
            assert_eq!(find(path, body), expected, "{path}");
        }
        assert_eq!(find("$", " 5 "), "Int(5)");
        assert_eq!(find("$[1]", "[[[]],7]"), "Int(7)");
    }

    #[test]
    fn numbers_are_those_of_json() {
        for (number, expected) in [
            ("0", "Int(0)"),
            ("-0.5", "Float(-0.5)"),
            ("1E+2", "Float(100.0)"),
            ("9223372036854775807", "Int(9223372036854775807)"),
            ("9223372036854775808", "Text(\"9223372036854775808\")"),
            ("-98765432109876543210", "Text(\"-98765432109876543210\")"),
        ] {
            assert_eq!(find("$.a", &format!("{{\"a\":{number}}}")), expected);
        }
        for wrong in ["+5", "007", ".5", "5.", "-", "1e", "1e5.0", "--5", "NaN", "0x5", "1_000"] {
            assert_eq!(find("$.a", &format!("{{\"a\":{wrong}}}")), "Unreadable", "{wrong}");
        }
    }

    #[test]
    fn damaged_bodies_are_unreadable() {
        for body in [
            "",
            "<a/>",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"x\":1 \"a\":2}",
            "{\"x\":}",
            "{\"a\":tru}",
            "{\"x\":\"\\",
            "{,}",
            "{\"a\":nope}",
        ] {
            assert_eq!(find("$.a", body), "Unreadable", "{body}");
        }
        assert_eq!(find("$.b", &format!("{{\"a\":{}", "[".repeat(100_000))), "Unreadable");
        let invalid = [b"{\"a\":\"".as_slice(), &[0xff], b"\"}"].concat();
        assert_eq!(JsonPath::parse("$.a").unwrap().find(&invalid), Err(Unreadable));
    }

    #[test]
    fn cut_bodies_never_panic() {
        let body = r#"{"a": {"b": [1, -2.5e1, {"c": "x\u00e9\n"}]}}"#;
        for path in ["$.a.b[2].c", "$.a.b[1]", "$.z", "$[0]"] {
            let path = JsonPath::parse(path).unwrap();
            for end in 0..body.len() {
                let _ = path.find(&body.as_bytes()[..end]);
                let _ = path.find(&body.as_bytes()[end..]);
            }
        }
    }

    #[test]
    fn bad_paths() {
        for path in ["", "a", "$a", "$.", "$..a", "$[", "$[x]", "$['a'", "$[-1]", "$.a[]"] {
            assert!(JsonPath::parse(path).is_err(), "{path}");
        }
        assert!(JsonPath::parse(&("$".to_string() + &".a".repeat(40))).is_err());
    }
}
