//! Which messages an operator means: conditions on what a message says of itself, all of which have to hold. Pure, and
//! bounded: nothing here is a pattern, so the time it takes grows with the length of the message and no faster.
//!
//! | text | holds for messages |
//! |---|---|
//! | `NAME=TEXT` `NAME~PART` `has:NAME` | whose field is that, contains that, is there |
//! | `body~PART` | whose body contains these bytes |
//! | `age>10m` `age<2h` | that the broker received longer ago than that, or not as long; units ms, s, m, h, d |
//!
//! A name is one of [`PROPERTIES`] or `key`, `exchange`, `death.queue`, `death.reason` (of the first death); any other
//! is an application header's. `header:NAME` is always a header's.

use super::carry::{id_to_text, to_text};
use super::{Address, Fields, Formats, Message, Meta, Name, ReplyTo, Timestamp, Value};
use crate::error::{Error, ErrorKind};
use bytes::Bytes;
use std::borrow::Cow;
use std::fmt;

/// Conditions of one filter.
const CONDITIONS_MAX: usize = 16;
/// Bytes of one condition's text.
const TEXT_MAX: usize = 1024;
/// A field of a message as text.
type Get = fn(&Fields, &Meta) -> Option<String>;

/// Properties that can be asked for by name.
pub const PROPERTIES: [(&str, Get); 14] = [
    ("message-id", |f, _| f.properties.message_id.as_ref().and_then(|id| id_to_text(id, TEXT_MAX))),
    ("correlation-id", |f, _| {
        f.properties.correlation_id.as_ref().and_then(|id| id_to_text(id, TEXT_MAX))
    }),
    ("reply-to", |f, _| {
        f.properties.reply_to.as_ref().map(|to| match to {
            ReplyTo::Queue(name) | ReplyTo::Opaque(name) => name.to_string(),
            ReplyTo::Topic(key) => key.to_string(),
        })
    }),
    ("content-type", |f, _| f.properties.content_type.as_ref().map(Name::to_string)),
    ("content-encoding", |f, _| f.properties.content_encoding.as_ref().map(Name::to_string)),
    ("user-id", |f, _| f.properties.user_id.as_ref().map(Name::to_string)),
    ("app-id", |f, _| f.properties.app_id.as_ref().map(Name::to_string)),
    ("type", |f, _| f.properties.kind.as_ref().map(Name::to_string)),
    ("subject", |f, _| f.properties.subject.as_ref().map(Name::to_string)),
    ("group-id", |f, _| f.properties.group_id.as_ref().map(Name::to_string)),
    ("dedup-id", |f, _| f.properties.dedup_id.as_ref().map(Name::to_string)),
    ("timestamp", |f, _| f.properties.created_at.map(|ms| ms.to_string())),
    ("priority", |_, meta| meta.priority.map(|priority| priority.to_string())),
    ("durable", |_, meta| Some(meta.durable.to_string())),
];

/// What a condition looks at.
#[derive(Clone)]
enum Field {
    Header(Name),
    Property(Get),
    Key,
    Exchange,
    DeathQueue,
    DeathReason,
}

/// What it asks of that.
#[derive(Clone)]
enum Test {
    Equals(Name),
    Contains(Name),
    Exists,
}

#[derive(Clone)]
enum Condition {
    Field(Field, Test),
    BodyContains(Bytes),
    OlderThan(u64),
    YoungerThan(u64),
}

/// Conditions that a message meets all of. Without any it is every message.
#[derive(Clone, Default)]
pub struct Filter {
    /// Each with its text.
    conditions: Vec<(String, Condition)>,
}

impl Filter {
    /// Every message.
    pub fn all() -> Self {
        Self::default()
    }

    /// The messages that meet all of these conditions, in the form that the module's table shows. `Invalid` names the
    /// condition, the part of it that is wrong, and what may stand there.
    pub fn parse<'a>(conditions: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        conditions.into_iter().try_fold(Self::all(), |filter, text| {
            let condition = condition(text)?;
            filter.with(text.to_owned(), condition)
        })
    }

    /// Those of them whose body contains these bytes: 1 to 1,024, which need not be text.
    pub fn body_contains(self, part: impl Into<Bytes>) -> Result<Self, Error> {
        let part = part.into();
        if part.is_empty() || part.len() > TEXT_MAX {
            let found = part.len();
            return Err(invalid(format!(
                "a filter looks for 1 to {TEXT_MAX} bytes of a body, not for {found}"
            )));
        }
        let text = format!("body~{}", String::from_utf8_lossy(&part));
        self.with(text, Condition::BodyContains(part))
    }

    fn with(mut self, text: String, condition: Condition) -> Result<Self, Error> {
        if self.conditions.len() >= CONDITIONS_MAX {
            return Err(invalid(format!("a filter has at most {CONDITIONS_MAX} conditions")));
        }
        self.conditions.push((text, condition));
        Ok(self)
    }

    /// It has no conditions: every message is meant.
    pub fn is_all(&self) -> bool {
        self.conditions.is_empty()
    }

    /// True for a message that meets all conditions at that time. What has to be decoded for that is not kept.
    pub fn matches(&self, message: &Message, formats: &Formats, now: Timestamp) -> bool {
        let mut fields: Option<Cow<'_, Fields>> = None;
        self.conditions.iter().all(|(_, condition)| match condition {
            Condition::OlderThan(ms) => message.meta().published.until(now) > *ms,
            Condition::YoungerThan(ms) => message.meta().published.until(now) < *ms,
            Condition::BodyContains(part) => memchr::memmem::find(message.body(), part).is_some(),
            Condition::Field(field, test) => {
                let fields = fields.get_or_insert_with(|| message.fields_for_once(formats));
                test.holds(field, message, fields)
            }
        })
    }
}

impl Test {
    fn holds(&self, field: &Field, message: &Message, fields: &Fields) -> bool {
        let meta = message.meta();
        match field {
            Field::Header(name) => self.of_value(fields.header(name)),
            Field::Property(get) => self.of_text(get(fields, meta).as_deref()),
            Field::Key => self.of_key(message.address()),
            Field::Exchange => self.of_text(Some(&message.address().exchange)),
            Field::DeathQueue => self.of_text(meta.first_death().map(|death| &*death.queue)),
            Field::DeathReason => {
                self.of_text(meta.first_death().map(|death| death.reason.as_str()))
            }
        }
    }

    fn of_text(&self, text: Option<&str>) -> bool {
        match (self, text) {
            (_, None) => false,
            (Test::Exists, Some(_)) => true,
            (Test::Equals(wanted), Some(text)) => **wanted == *text,
            (Test::Contains(part), Some(text)) => {
                memchr::memmem::find(text.as_bytes(), part.as_bytes()).is_some()
            }
        }
    }

    /// Numbers are equal by value, however they are written.
    fn of_value(&self, value: Option<&Value>) -> bool {
        let number = value.and_then(Value::as_f64);
        let same_number = || match self {
            Test::Equals(wanted) => number.is_some() && wanted.parse().ok() == number,
            Test::Contains(_) | Test::Exists => false,
        };
        self.of_text(value.map(|value| to_text(value).0).as_deref()) || same_number()
    }

    /// A key is known to its users by either separator.
    fn of_key(&self, address: &Address) -> bool {
        let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        self.of_text(Some(&text(address.key.bytes())))
            || !address.is_queue() && self.of_text(Some(&text(address.key.swapped().bytes())))
    }
}

fn invalid(detail: String) -> Error {
    Error::new(ErrorKind::Invalid, detail)
}

fn condition(text: &str) -> Result<Condition, Error> {
    let wrong = |what: &str| invalid(format!("the condition '{}' {what}", shown(text)));
    if text.len() > TEXT_MAX {
        return Err(wrong(&format!("has {} bytes; {TEXT_MAX} are allowed", text.len())));
    }
    if let Some(name) = text.strip_prefix("has:") {
        return Ok(Condition::Field(field(name).map_err(|what| wrong(&what))?, Test::Exists));
    }
    let Some((name, operator, value)) = split(text) else {
        return Err(wrong(
            "has no operator: write NAME=TEXT, NAME~PART, has:NAME, body~PART, age>TIME or age<TIME",
        ));
    };
    match (name, operator) {
        ("age", '>') => Ok(Condition::OlderThan(duration(value).map_err(|what| wrong(&what))?)),
        ("age", '<') => Ok(Condition::YoungerThan(duration(value).map_err(|what| wrong(&what))?)),
        ("age", _) => Err(wrong("compares an age: write age>TIME or age<TIME")),
        ("body", '~') if value.is_empty() => Err(wrong("looks for nothing: write body~PART")),
        ("body", '~') => Ok(Condition::BodyContains(Bytes::copy_from_slice(value.as_bytes()))),
        ("body", _) => Err(wrong("can only look for a part of a body: write body~PART")),
        (_, '>' | '<') => Err(wrong(&format!(
            "compares '{name}' with '{operator}', which only an age has: write {name}=TEXT or {name}~PART"
        ))),
        (_, '=') => Ok(Condition::Field(
            field(name).map_err(|what| wrong(&what))?,
            Test::Equals(value.into()),
        )),
        (_, _) if value.is_empty() => Err(wrong("looks for nothing behind '~': write NAME~PART")),
        (..) => Ok(Condition::Field(
            field(name).map_err(|what| wrong(&what))?,
            Test::Contains(value.into()),
        )),
    }
}

/// Name, operator and value: the first operator ends the name.
fn split(text: &str) -> Option<(&str, char, &str)> {
    let at = text.find(['=', '~', '>', '<'])?;
    let (name, rest) = text.split_at_checked(at)?;
    let operator = rest.chars().next()?;
    Some((name, operator, rest.get(1..)?))
}

fn field(name: &str) -> Result<Field, String> {
    let field = match name {
        "key" => Field::Key,
        "exchange" => Field::Exchange,
        "death.queue" => Field::DeathQueue,
        "death.reason" => Field::DeathReason,
        "body" | "age" => return Err(format!("asks whether there is '{name}', which always is")),
        _ => match PROPERTIES.iter().find(|(known, _)| *known == name) {
            Some((_, get)) => Field::Property(*get),
            None => Field::Header(name.strip_prefix("header:").unwrap_or(name).into()),
        },
    };
    match field {
        Field::Header(name) if name.is_empty() => Err("names no field".to_owned()),
        field if name.starts_with("death.") && matches!(field, Field::Header(_)) => {
            Err(format!("asks for '{name}': of deaths there are death.queue and death.reason"))
        }
        field => Ok(field),
    }
}

/// Milliseconds.
fn duration(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).unwrap_or((text, ""));
    let ms = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    };
    let length = ms.and_then(|ms: u64| number.parse::<u64>().ok()?.checked_mul(ms));
    length.ok_or_else(|| {
        let text = shown(text);
        format!(
            "has '{text}' for a length of time: write a number and ms, s, m, h or d, such as 10m"
        )
    })
}

/// The beginning of what somebody wrote.
fn shown(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_all() {
            return f.write_str("all messages");
        }
        for (at, (text, _)) in self.conditions.iter().enumerate() {
            let and = if at == 0 { "" } else { " and " };
            write!(f, "{and}{text}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({self})")
    }
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
