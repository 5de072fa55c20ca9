//! A step that turns CSV (RFC 4180) into JSON: the first line has the names, each further one becomes an object.
//!
//! ```toml
//! steps = [{ plugin = "csv-to-json", with = { separator = ";", numbers = ["stock"], rows = "messages" } }]
//! ```
//!
//! | setting | meaning | not set |
//! |---|---|---|
//! | `separator` | between fields: one ASCII character, neither a quote nor a line end | `,` |
//! | `numbers` | columns of numbers: an empty value becomes `null`, and another that is no number fails the message | none |
//! | `rows` | `array`: all rows in one message; `messages`: one for each, its number in `row` | `array` |
//!
//! A message that is no such table fails, with the line where it is none: the route's `on_error` says what becomes of
//! it.

mod table;

use crossdock_plugin::{Decision, Message, Output, Patch, Start, Step, Transform};
use serde::Deserialize;
use serde_json::{Map, Number, Value};
use table::Rows;

/// The transform.
pub struct CsvToJson;

impl Start for CsvToJson {
    fn start(with: &str) -> Result<Self, String> {
        match with {
            "{}" => Ok(CsvToJson),
            _ => Err("takes no settings here: they are in 'with' of each step".to_owned()),
        }
    }
}

impl Transform for CsvToJson {
    type Step = Converter;

    fn make_step(&self, with: &str) -> Result<Converter, String> {
        let settings: Settings = serde_json::from_str(with).map_err(|why| why.to_string())?;
        let separator = match settings.separator.as_bytes() {
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => *byte,
            _ => {
                return Err(format!(
                    "separator is '{}', and not one ASCII character",
                    settings.separator
                ));
            }
        };
        Ok(Converter { separator, numbers: settings.numbers, rows: settings.rows })
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    separator: String,
    numbers: Vec<String>,
    rows: RowsAre,
}

impl Default for Settings {
    fn default() -> Self {
        Self { separator: ",".to_owned(), numbers: Vec::new(), rows: RowsAre::Array }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RowsAre {
    Array,
    Messages,
}

/// One step.
pub struct Converter {
    separator: u8,
    numbers: Vec<String>,
    rows: RowsAre,
}

impl Step for Converter {
    fn handle(&self, message: &Message<'_>) -> Result<Decision, String> {
        let rows = self.convert(message.body())?;
        let json = |value: &Value| {
            Patch::default().content_type("application/json").body(value.to_string())
        };
        Ok(match self.rows {
            RowsAre::Array => Decision::Replace(json(&Value::Array(rows))),
            RowsAre::Messages => {
                let one = |(row, number): (&Value, i64)| Output::new(json(row).set("row", number));
                Decision::Emit(rows.iter().zip(1..).map(one).collect())
            }
        })
    }
}

impl Converter {
    fn convert(&self, body: &[u8]) -> Result<Vec<Value>, String> {
        let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
        let mut rows = Rows::of(text.strip_prefix('\u{feff}').unwrap_or(text), self.separator);
        let (_, names) = rows.next().ok_or("the body is empty, and has no line with names")??;
        let twice = names
            .iter()
            .enumerate()
            .find(|(at, name)| names.iter().take(*at).any(|it| it == *name));
        if let Some((_, name)) = twice {
            return Err(format!("line 1: two columns are named '{name}'"));
        }
        rows.map(|row| {
            let (line, fields) = row?;
            self.object(&names, fields).map_err(|why| format!("line {line}: {why}"))
        })
        .collect()
    }

    fn object(&self, names: &[String], fields: Vec<String>) -> Result<Value, String> {
        if fields.len() != names.len() {
            return Err(format!("{} fields, and {} names", fields.len(), names.len()));
        }
        let mut object = Map::new();
        for (name, field) in names.iter().zip(fields) {
            let value = match self.numbers.contains(name) {
                true => number(&field).map_err(|why| format!("{name}: {why}"))?,
                false => Value::String(field),
            };
            object.insert(name.clone(), value);
        }
        Ok(Value::Object(object))
    }
}

/// A number as it is written, without blanks around it.
fn number(field: &str) -> Result<Value, String> {
    let trimmed = field.trim();
    if trimmed.is_empty() {
        return Ok(Value::Null);
    }
    let whole = trimmed.parse::<i64>().ok().map(Number::from);
    let number = whole.or_else(|| trimmed.parse::<f64>().ok().and_then(Number::from_f64));
    number.map(Value::Number).ok_or_else(|| format!("'{field}' is no number"))
}

crossdock_plugin::export!(transform: CsvToJson);

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(with: &str, body: &str) -> Result<String, String> {
        let rows = CsvToJson.make_step(with)?.convert(body.as_bytes())?;
        Ok(Value::Array(rows).to_string())
    }

    #[test]
    fn tables_become_objects_in_the_order_of_the_columns() {
        for (with, body, json) in [
            ("{}", "b,a\n1,2\n", r#"[{"b":"1","a":"2"}]"#),
            ("{}", "\u{feff}a\r\n\"x\"\"y\r\n,\"\r\n", r#"[{"a":"x\"y\r\n,"}]"#),
            ("{}", "a,b\n,\n", r#"[{"a":"","b":""}]"#),
            ("{}", "a\n", "[]"),
            ("{}", "a\nno end", r#"[{"a":"no end"}]"#),
            (
                r#"{"separator":";","numbers":["n"]}"#,
                "n;t\n 7 ;1,5\n;x\n-2.5;",
                r#"[{"n":7,"t":"1,5"},{"n":null,"t":"x"},{"n":-2.5,"t":""}]"#,
            ),
        ] {
            assert_eq!(convert(with, body).as_deref(), Ok(json), "{body}");
        }
    }

    #[test]
    fn what_is_no_table_is_named_with_its_line() {
        for (with, body, why) in [
            ("{}", "", "the body is empty, and has no line with names"),
            ("{}", "a,b\n1,2\n3\n", "line 3: 1 fields, and 2 names"),
            ("{}", "a\n\"x\ny\n", "line 2: a quote is not closed"),
            ("{}", "a\n\"x\"y\n", "line 2: 'y' behind a quote"),
            ("{}", "a\nx\"y\n", "line 2: a quote inside of a field that does not begin with one"),
            ("{}", "a,a\n", "line 1: two columns are named 'a'"),
            (r#"{"numbers":["a"]}"#, "a\nNaN\n", "line 2: a: 'NaN' is no number"),
            (r#"{"separator":"::"}"#, "a", "separator is '::', and not one ASCII character"),
            (
                r#"{"seperator":";"}"#,
                "a",
                "unknown field `seperator`, expected one of `separator`, `numbers`, `rows` \
                 at line 1 column 12",
            ),
        ] {
            assert_eq!(convert(with, body), Err(why.to_owned()), "{body}");
        }
        let step = CsvToJson.make_step("{}").expect("made");
        assert_eq!(step.convert(b"a\n\xff"), Err("the body is not UTF-8".to_owned()));
    }
}
