//! Arguments and headers as JSON, and read from it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crossdock_core::{Name, Value, carry};
use serde_json::{Map, Value as Json, json};

/// Nesting that is read; deeper is refused.
const DEPTH_MAX: usize = 32;

/// A value as JSON. What JSON lacks becomes text; bytes become base64.
pub fn shown(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(flag) => json!(flag),
        Value::F32(number) => json!(number),
        Value::F64(number) => json!(number),
        Value::U64(number) => json!(number),
        Value::Timestamp(ms) => json!(ms),
        Value::Bytes(bytes) => json!(STANDARD.encode(bytes)),
        Value::List(items) => items.iter().map(shown).collect(),
        Value::Map(pairs) => all(pairs),
        other => match other.as_i64() {
            Some(number) => json!(number),
            None => json!(carry::to_text(other).0),
        },
    }
}

/// Pairs as an object. Of several with one name the last one is shown.
pub fn all(pairs: &[(Name, Value)]) -> Json {
    pairs.iter().map(|(name, value)| (name.to_string(), shown(value))).collect::<Map<_, _>>().into()
}

/// The pairs of an object.
pub fn read_all(object: &Map<String, Json>) -> Result<Vec<(Name, Value)>, String> {
    pairs(object, DEPTH_MAX)
}

fn pairs(object: &Map<String, Json>, depth: usize) -> Result<Vec<(Name, Value)>, String> {
    let each = object.iter().map(|(name, value)| Ok((name.as_str().into(), read(value, depth)?)));
    each.collect()
}

fn read(json: &Json, depth: usize) -> Result<Value, String> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(format!("lists and objects inside each other more than {DEPTH_MAX} deep"));
    };
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::String(text) => Value::text(text.as_str()),
        Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(whole), _, _) => Value::I64(whole),
            (_, Some(whole), _) => Value::U64(whole),
            (_, _, Some(real)) => Value::F64(real),
            _ => return Err(format!("{number} is no number that a header can hold")),
        },
        Json::Array(items) => {
            Value::List(items.iter().map(|item| read(item, depth)).collect::<Result<_, _>>()?)
        }
        Json::Object(inner) => Value::Map(pairs(inner, depth)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_come_back() {
        let json = json!({
            "x-max-length": 5, "x-single-active-consumer": true, "half": 0.5, "text": "a/b %",
            "many": [1, "two", {"three": null}], "large": u64::MAX,
        });
        let read = read_all(json.as_object().expect("an object")).expect("values");
        assert_eq!(read[0], ("x-max-length".into(), Value::I64(5)));
        assert_eq!(all(&read), json);
        assert_eq!(shown(&Value::Bytes("\0x".into())), json!("AHg="));
        assert_eq!(shown(&Value::I8(-3)), json!(-3));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut deep = json!(1);
        for _ in 0..40 {
            deep = json!([deep]);
        }
        let object = json!({ "deep": deep });
        assert!(read_all(object.as_object().expect("an object")).is_err());
    }
}
