//! Lists and maps of headers as JSON text, for protocols whose headers are text. Not a general JSON library: bodies
//! are never looked at here.

use super::text64::{self, Alphabet};
use super::{Name, Value};
use std::fmt::Write;

/// Nesting that is read; deeper is refused.
const DEPTH_MAX: usize = 32;

/// The value as JSON. Types that JSON lacks become strings.
pub(super) fn write(value: &Value) -> String {
    let mut out = String::new();
    put(&mut out, value);
    out
}

fn put(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::List(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                put(out, item);
            }
            out.push(']');
        }
        Value::Map(pairs) => {
            out.push('{');
            for (i, (name, item)) in pairs.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                put_text(out, name);
                out.push(':');
                put(out, item);
            }
            out.push('}');
        }
        Value::Bytes(bytes) => put_text(out, &text64::encode(bytes, Alphabet::Standard)),
        Value::F32(n) if !n.is_finite() => put_text(out, &n.to_string()),
        Value::F64(n) if !n.is_finite() => put_text(out, &n.to_string()),
        Value::Text(_) | Value::Symbol(_) | Value::Char(_) | Value::Uuid(_) => {
            put_text(out, &super::carry::to_text(value).0);
        }
        // Numbers and booleans read the same in JSON.
        other => out.push_str(&super::carry::to_text(other).0),
    }
}

fn put_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c < ' ' => {
                // Writing to a string never fails.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The value of a JSON text; none when it is not one.
pub(super) fn read(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    reader.space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, token: &str) -> bool {
        self.space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match self.rest.bytes().next()? {
            b'"' => self.text().map(Value::text),
            b'[' => self.list(depth),
            b'{' => self.map(depth),
            b't' => self.eat("true").then_some(Value::Bool(true)),
            b'f' => self.eat("false").then_some(Value::Bool(false)),
            b'n' => self.eat("null").then_some(Value::Null),
            _ => self.number(),
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        self.eat("[");
        if self.eat("]") {
            return Some(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.eat("]") {
                return Some(Value::List(items));
            }
            self.eat(",").then_some(())?;
        }
    }

    fn map(&mut self, depth: usize) -> Option<Value> {
        let mut pairs: Vec<(Name, Value)> = Vec::new();
        self.eat("{");
        if self.eat("}") {
            return Some(Value::Map(pairs));
        }
        loop {
            self.space();
            let name = self.text()?;
            self.eat(":").then_some(())?;
            pairs.push((name.into(), self.value(depth + 1)?));
            if self.eat("}") {
                return Some(Value::Map(pairs));
            }
            self.eat(",").then_some(())?;
        }
    }

    fn number(&mut self) -> Option<Value> {
        let end = self.rest.find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        let (text, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        match text.parse() {
            Ok(n) => Some(Value::I64(n)),
            Err(_) => text.parse().ok().map(Value::F64),
        }
    }

    fn text(&mut self) -> Option<String> {
        self.rest = self.rest.strip_prefix('"')?;
        let mut out = String::new();
        loop {
            let at = self.rest.find(['"', '\\'])?;
            let (plain, rest) = self.rest.split_at(at);
            out.push_str(plain);
            let mut chars = rest.chars();
            if chars.next()? == '"' {
                self.rest = chars.as_str();
                return Some(out);
            }
            let escape = chars.next()?;
            self.rest = chars.as_str();
            out.push(match escape {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => self.unicode()?,
                c @ ('"' | '\\' | '/') => c,
                _ => return None,
            });
        }
    }

    fn unicode(&mut self) -> Option<char> {
        let first = self.hex4()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first);
        }
        self.rest = self.rest.strip_prefix("\\u")?;
        let second = self.hex4()?.checked_sub(0xdc00).filter(|n| *n < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + second)
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.rest.get(..4)?;
        self.rest = self.rest.get(4..)?;
        u32::from_str_radix(digits, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_back() {
        let text = r#"{"a":[1,-2.5,"x\"\\\n\u0001",true,null,{}],"b":[]}"#;
        assert_eq!(write(&read(text).unwrap()), text);
        assert_eq!(read("\"\\ud83d\\ude00\""), Some(Value::text("😀")));
        for bad in ["", "[1", "{\"a\"}", "\"\\ud83d\"", "[1,]", "1 2", "tru", "\"\\u00g0\""] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read(&"[".repeat(100_000)), None);
    }
}
