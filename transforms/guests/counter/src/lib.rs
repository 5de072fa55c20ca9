//! A transform that remembers what the body says: the fixture of the tests of what modules remember. Whatever the
//! order, it counts in the key `all`, and answers with what it is asked for, or else with that count.

use crossdock_transform_sdk::{Decision, Message, Output, Patch, Transform, kv, transform};

struct Counter;

/// One more under that key; the new count.
fn add(key: &str) -> Result<u64, String> {
    let before = kv::get(key).and_then(|value| value.try_into().ok());
    let count = before.map_or(0, u64::from_le_bytes) + 1;
    kv::set(key, &count.to_le_bytes())?;
    Ok(count)
}

impl Transform for Counter {
    fn new(config: &str) -> Result<Self, String> {
        if config.contains("early") {
            kv::delete("all");
        }
        Ok(Self)
    }

    fn handle(&mut self, message: &Message) -> Result<Decision, String> {
        let text = message.text()?;
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let all = add("all")?;
        let answer = |text: String| Ok(Decision::Replace(Patch::body(text)));
        match word {
            "set" => {
                let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
                kv::set(key, value.as_bytes())?;
                answer("set".to_owned())
            }
            // A value of that many bytes.
            "large" => {
                kv::set("large", &vec![b'x'; rest.parse().unwrap_or(0)])?;
                answer("set".to_owned())
            }
            "get" => answer(kv::get(rest).map_or("none".to_owned(), |value| {
                String::from_utf8_lossy(&value).into_owned()
            })),
            "delete" => {
                kv::delete(rest);
                answer("deleted".to_owned())
            }
            "keys" => answer(kv::keys(rest, 3).join(",")),
            "error" => Err("asked to fail".to_owned()),
            "panic" => panic!("asked to panic"),
            "reject" => Ok(Decision::Reject("asked to".to_owned())),
            "drop" => Ok(Decision::Drop("asked to".to_owned())),
            "keep" => Ok(Decision::Keep),
            // As long as it was not tried so often.
            "retry" if message.attempt() < rest.parse().unwrap_or(0) => {
                Ok(Decision::RetryAfterMs(1))
            }
            "twice" => Ok(Decision::Emit(vec![
                Output::new(Patch::body("a")),
                Output::new(Patch::body("b")),
            ])),
            _ => answer(all.to_string()),
        }
    }
}

transform!(Counter);
