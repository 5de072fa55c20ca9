//! What becomes of each message.
//!
//! `handle` answers with one of these: `Decision::Replace` (the message with a patch), `Decision::Emit` (any number
//! of messages instead of it, each with an address of its own if it wants: `Output::new(patch).to("queue:urgent")`;
//! the step has to name such an address in its `destinations`), `Decision::Keep`, `Drop`, `Reject`, `RetryAfterMs`.
//!
//! What more a module can do, the route's step has to grant; `use crossdock_transform_sdk::{kv, log, metrics};` has it:
//!
//! - `grants = ["log"]`: `log::write(log::Level::Warn, "no price")`, a line in the broker's log
//! - `grants = ["metrics"]`: `metrics::count("items", 3)?`, a counter on the broker's page of metrics
//! - `grants = ["kv"]`: `kv::get("last")` and `kv::set("last", b"7")?`, what it remembers from message to message

use crossdock_transform_sdk::{Decision, Message, Patch, Transform, Value, transform};
use serde_json::{Map, Value as Json};

/// The options of the route's `with`.
pub struct Reshape {
    add: Map<String, Json>,
}

impl Transform for Reshape {
    fn new(config: &str) -> Result<Self, String> {
        let mut options: Map<String, Json> =
            serde_json::from_str(config).map_err(|error| error.to_string())?;
        let add = match options.remove("add") {
            None => Map::new(),
            Some(Json::Object(add)) => add,
            Some(_) => return Err("add: must be a table".to_owned()),
        };
        match options.keys().next() {
            Some(unknown) => Err(format!("there is no option {unknown}; the only one is add")),
            None => Ok(Self { add }),
        }
    }

    fn handle(&mut self, message: &Message) -> Result<Decision, String> {
        let body = self.reshape(&message.text()?)?;
        let patch = Patch::body(body).content_type("application/json");
        Ok(Decision::Replace(patch.set("reshaped-by", Value::Text("NAME".to_owned()))))
    }
}

impl Reshape {
    /// A JSON object with its keys in upper case, and what the route's `with` adds. An error is the message's fault: it
    /// is not tried again, and goes where the route's `on_error` says.
    fn reshape(&self, body: &str) -> Result<String, String> {
        let document: Map<String, Json> =
            serde_json::from_str(body).map_err(|error| format!("no JSON object: {error}"))?;
        let mut shaped: Map<String, Json> =
            document.into_iter().map(|(key, value)| (key.to_uppercase(), value)).collect();
        shaped.extend(self.add.clone());
        serde_json::to_string(&shaped).map_err(|error| error.to_string())
    }
}

transform!(Reshape);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_upper_case_and_options_are_added() {
        let mut reshape = Reshape::new(r#"{"add": {"source": "erp"}}"#).unwrap();
        let decision = reshape.handle(&Message::of(r#"{"id": 7}"#));
        let Ok(Decision::Replace(patch)) = decision else { panic!("{decision:?}") };
        let body: Json = serde_json::from_slice(&patch.body.unwrap()).unwrap();
        assert_eq!(body, serde_json::json!({"ID": 7, "source": "erp"}));
        assert_eq!(patch.content_type.as_deref(), Some("application/json"));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        let mut reshape = Reshape::new("{}").unwrap();
        for body in ["[1]", "<item/>", "null"] {
            assert!(reshape.handle(&Message::of(body)).is_err(), "{body}");
        }
    }

    #[test]
    fn unknown_options_are_refused() {
        let refused = Reshape::new(r#"{"ad": {}}"#).err();
        assert_eq!(refused.as_deref(), Some("there is no option ad; the only one is add"));
    }
}
