//! Arguments as text: `name=value …`. A value is a number (`5`, `i64:5`, `u8:5`, `time:5` in seconds), `true`, `false`,
//! `none`, a bare word, `"text with \n \" \xff"`, `[list, …]` or `{name=value, …}`. In what is expected, text may end
//! in `*` for anything behind it, and a table has to hold at least what is written.

use bytes::Bytes;
use crossdock_core::{Name, Value};

/// Named values.
#[derive(Debug, Default, Clone)]
pub struct Arguments(Vec<(String, Value)>);

impl Arguments {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name).and_then(Value::as_i64)
    }

    pub fn set(&mut self, name: &str, value: Value) {
        self.0.push((name.to_owned(), value));
    }

    pub fn with(&self, name: &str, value: Value) -> Self {
        let mut more = self.clone();
        if more.get(name).is_none() {
            more.set(name, value);
        }
        more
    }

    pub fn all_known(&self, known: impl Fn(&str) -> bool) -> Result<(), String> {
        match self.0.iter().find(|(name, _)| !known(name)) {
            Some((name, _)) => Err(format!("no field '{name}'")),
            None => Ok(()),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &(String, Value)> {
        self.0.iter()
    }
}

/// Reads `name=value …` to the end of the line.
pub fn arguments(text: &str) -> Result<Arguments, String> {
    let mut parser = Parser(text.trim());
    let mut arguments = Arguments::default();
    while !parser.0.is_empty() {
        let (name, value) = parser.pair()?;
        arguments.set(&name, value);
        parser.space();
    }
    Ok(arguments)
}

struct Parser<'a>(&'a str);

impl Parser<'_> {
    fn space(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn eat(&mut self, c: char) -> bool {
        self.space();
        let rest = self.0.strip_prefix(c);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn word(&mut self, stop: &[char]) -> String {
        let end = self.0.find(stop).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word.to_owned()
    }

    fn pair(&mut self) -> Result<(String, Value), String> {
        self.space();
        let name = match self.0.starts_with('"') {
            true => String::from_utf8(self.quoted()?).map_err(|e| e.to_string())?,
            false => self.word(&['=', ' ']),
        };
        match self.eat('=') {
            true => Ok((name, self.value()?)),
            false => Err(format!("'{name}' has no value")),
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.0.chars().next() {
            Some('"') => {
                let bytes = self.quoted()?;
                Ok(match String::from_utf8(bytes) {
                    Ok(text) => Value::text(text),
                    Err(error) => Value::Bytes(Bytes::from(error.into_bytes())),
                })
            }
            Some('{') => {
                self.eat('{');
                let mut pairs: Vec<(Name, Value)> = Vec::new();
                while !self.eat('}') {
                    let (name, value) = self.pair()?;
                    pairs.push((name.into(), value));
                    self.eat(',');
                }
                Ok(Value::Map(pairs))
            }
            Some('[') => {
                self.eat('[');
                let mut list = Vec::new();
                while !self.eat(']') {
                    list.push(self.value()?);
                    self.eat(',');
                    self.space();
                }
                Ok(Value::List(list))
            }
            _ => scalar(&self.word(&[' ', ',', ']', '}'])),
        }
    }

    fn quoted(&mut self) -> Result<Vec<u8>, String> {
        self.eat('"');
        let mut bytes = Vec::new();
        let mut chars = self.0.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Ok(bytes);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => bytes.push(b'\n'),
                    Some('0') => bytes.push(0),
                    Some('x') => {
                        let digits: String = chars.by_ref().take(2).map(|(_, c)| c).collect();
                        bytes.push(u8::from_str_radix(&digits, 16).map_err(|e| e.to_string())?);
                    }
                    Some(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                    None => break,
                },
                c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Err("a quote is not closed".into())
    }
}

fn scalar(word: &str) -> Result<Value, String> {
    let typed = word.split_once(':').filter(|(_, rest)| rest.parse::<i64>().is_ok());
    if let Some((kind, number)) = typed {
        let n: i64 = number.parse().map_err(|_| "not a number")?;
        let wrong = |_| format!("{word} is out of range");
        return Ok(match kind {
            "i8" => Value::I8(n.try_into().map_err(wrong)?),
            "u8" => Value::U8(n.try_into().map_err(wrong)?),
            "i16" => Value::I16(n.try_into().map_err(wrong)?),
            "i64" => Value::I64(n),
            "time" => Value::Timestamp(n * 1000),
            _ => return Err(format!("no type '{kind}'")),
        });
    }
    Ok(match word {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "none" => Value::Null,
        word => match (word.parse::<i32>(), word.parse::<i64>()) {
            (Ok(n), _) => Value::I32(n),
            (_, Ok(n)) => Value::I64(n),
            _ => Value::text(word),
        },
    })
}

/// True when `got` is what was expected.
pub fn matches(want: &Value, got: &Value) -> bool {
    match (want, got) {
        (Value::Map(want), Value::Map(got)) => want.iter().all(|(name, want)| {
            let found = got.iter().find(|(n, _)| n == name).map(|(_, v)| v);
            matches(want, found.unwrap_or(&Value::Null))
        }),
        (Value::List(want), Value::List(got)) => {
            want.len() == got.len() && want.iter().zip(got).all(|(w, g)| matches(w, g))
        }
        (Value::Text(want), Value::Text(got)) => match want.strip_suffix('*') {
            Some(prefix) => got.starts_with(prefix),
            None => want == got,
        },
        // A number where text is: `body=5`.
        (want, Value::Text(got)) if want.as_i64().is_some() => show(want) == **got,
        _ => want.equals(got),
    }
}

/// A value as it would be written.
pub fn show(value: &Value) -> String {
    match value {
        Value::Map(pairs) => {
            let pairs: Vec<String> =
                pairs.iter().map(|(n, v)| format!("{n}={}", show(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::List(list) => {
            let list: Vec<String> = list.iter().map(show).collect();
            format!("[{}]", list.join(", "))
        }
        Value::Text(text) if text.len() > 100 => format!("text of {} octets", text.len()),
        Value::Text(text) => format!("\"{text}\""),
        Value::Null => "none".into(),
        Value::Bool(b) => b.to_string(),
        Value::Timestamp(ms) => format!("time:{}", ms / 1000),
        other => match other.as_i64() {
            Some(n) => n.to_string(),
            None => format!("{other:?}"),
        },
    }
}
