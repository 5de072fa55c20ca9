//! The data that crosses the sandbox's border: messages as handles, values in both directions, decisions as drafts.

use super::bindings::{
    Decision, Host, HostMessage, Origin, Output, Patch, Value as GuestValue, kv, log, metrics,
};
use super::grants::Grants;
use super::instance::InstanceState;
use crate::destination::{self, AddressRules};
use crate::draft::Draft;
use crate::step::Outcome;
use bytes::Bytes;
use crossdock_core::Value;
use crossdock_core::message::carry;
use std::time::Duration;
use wasmtime::Result;
use wasmtime::component::Resource;

/// Largest number of bytes in the bodies that one call may return.
pub(super) const OUTPUT_MAX: usize = 16 << 20;
/// Largest number of outputs of one call.
pub(super) const OUTPUTS_MAX: usize = 1_024;
/// Longest reason that is kept, in bytes; a longer one is truncated.
const REASON_MAX: usize = 1024;

impl Host for InstanceState {}

impl log::Host for InstanceState {
    fn write(&mut self, level: log::Level, text: String) -> Result<()> {
        self.shared.voice.say(level, &text);
        Ok(())
    }
}

impl metrics::Host for InstanceState {
    fn count(&mut self, name: String, by: u64) -> Result<Result<(), String>> {
        Ok(self.shared.numbers.count(&name, by))
    }

    fn gauge(&mut self, name: String, value: f64) -> Result<Result<(), String>> {
        Ok(self.shared.numbers.gauge(&name, value))
    }
}

impl kv::Host for InstanceState {
    fn get(&mut self, key: String) -> Result<Option<Vec<u8>>> {
        Ok(self.memory()?.get(&key))
    }

    fn set(&mut self, key: String, value: Vec<u8>) -> Result<Result<(), String>> {
        Ok(self.memory()?.set(&key, value))
    }

    fn delete(&mut self, key: String) -> Result<()> {
        self.memory()?.delete(&key);
        Ok(())
    }

    fn keys(&mut self, prefix: String, limit: u32) -> Result<Vec<String>> {
        Ok(self.memory()?.keys(&prefix, limit))
    }
}

impl HostMessage for InstanceState {
    fn address(&mut self, message: Resource<Draft>) -> Result<String> {
        let address = self.table.get(&message)?.address();
        Ok(match address.exchange == self.rules.topic_exchange && !address.is_queue() {
            true => format!("topic:{}", address.key),
            false => address.to_string(),
        })
    }

    fn origin(&mut self, message: Resource<Draft>) -> Result<Origin> {
        let origin = &self.table.get(&message)?.meta().origin;
        Ok(Origin {
            user: origin.user.to_string(),
            client: origin.client.to_string(),
            listener: origin.listener.to_string(),
        })
    }

    fn attempt(&mut self, message: Resource<Draft>) -> Result<u32> {
        self.table.get(&message)?;
        Ok(self.attempt)
    }

    fn header(&mut self, message: Resource<Draft>, name: String) -> Result<Option<GuestValue>> {
        Ok(self.table.get(&message)?.header(&name).as_ref().map(to_guest))
    }

    fn headers(&mut self, message: Resource<Draft>) -> Result<Vec<(String, GuestValue)>> {
        let headers = self.table.get(&message)?.headers();
        Ok(headers.iter().map(|(name, value)| (name.to_string(), to_guest(value))).collect())
    }

    fn content_type(&mut self, message: Resource<Draft>) -> Result<Option<String>> {
        Ok(self.table.get(&message)?.content_type().map(String::from))
    }

    fn len(&mut self, message: Resource<Draft>) -> Result<u64> {
        Ok(self.table.get(&message)?.body().len() as u64)
    }

    fn read(&mut self, message: Resource<Draft>, offset: u64, len: u32) -> Result<Vec<u8>> {
        let body = self.table.get(&message)?.body();
        let from = usize::try_from(offset).map_or(body.len(), |at| at.min(body.len()));
        let to = from.saturating_add(len as usize).min(body.len());
        Ok(body.get(from..to).unwrap_or_default().to_vec())
    }

    fn drop(&mut self, message: Resource<Draft>) -> Result<()> {
        self.table.delete(message)?;
        Ok(())
    }
}

fn to_guest(value: &Value) -> GuestValue {
    match value {
        Value::Null => GuestValue::Null,
        Value::Bool(b) => GuestValue::Boolean(*b),
        Value::U8(_) | Value::U16(_) | Value::U32(_) => {
            GuestValue::Unsigned(value.as_i64().and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
        }
        Value::U64(n) => GuestValue::Unsigned(*n),
        Value::I8(_) | Value::I16(_) | Value::I32(_) | Value::I64(_) => {
            GuestValue::Integer(value.as_i64().unwrap_or(0))
        }
        Value::F32(n) => GuestValue::Float(f64::from(*n)),
        Value::F64(n) => GuestValue::Float(*n),
        Value::Timestamp(ms) => GuestValue::TimestampMs(*ms),
        Value::Bytes(bytes) => GuestValue::Bytes(bytes.to_vec()),
        Value::Text(text) | Value::Symbol(text) => GuestValue::Text(text.to_string()),
        other => GuestValue::Text(carry::to_text(other).0.into_owned()),
    }
}

fn from_guest(value: GuestValue) -> Value {
    match value {
        GuestValue::Null => Value::Null,
        GuestValue::Boolean(b) => Value::Bool(b),
        GuestValue::Integer(n) => Value::I64(n),
        GuestValue::Unsigned(n) => Value::U64(n),
        GuestValue::Float(n) => Value::F64(n),
        GuestValue::Text(text) => Value::Text(text.into()),
        GuestValue::Bytes(bytes) => Value::Bytes(Bytes::from(bytes)),
        GuestValue::TimestampMs(ms) => Value::Timestamp(ms),
    }
}

/// Carries out a module's decision. An error is a fault of the module.
pub(super) fn carry_out(
    decision: Decision,
    mut draft: Draft,
    rules: &AddressRules,
    grants: &Grants,
) -> Result<Outcome, String> {
    Ok(match decision {
        Decision::Keep => Outcome::Pass(draft),
        Decision::Drop(reason) => Outcome::Drop(bounded(&reason).into()),
        Decision::Reject(reason) => Outcome::Reject(bounded(&reason).into()),
        Decision::RetryAfterMs(ms) => Outcome::Retry(Duration::from_millis(ms)),
        Decision::Replace(changes) => {
            patch(&mut draft, changes)?;
            Outcome::One(draft)
        }
        Decision::Emit(outputs) if outputs.len() > OUTPUTS_MAX => {
            return Err(format!(
                "the module returned {} outputs; at most {OUTPUTS_MAX} are allowed",
                outputs.len()
            ));
        }
        Decision::Emit(outputs) => {
            let bytes: usize =
                outputs.iter().filter_map(|o| o.patch.body.as_ref()).map(Vec::len).sum();
            if bytes > OUTPUT_MAX {
                return Err(format!(
                    "the module returned {bytes} bytes; at most {OUTPUT_MAX} are allowed"
                ));
            }
            let drafts = outputs.into_iter().map(|output| emitted(&draft, output, rules, grants));
            Outcome::Many(drafts.collect::<Result<_, String>>()?)
        }
    })
}

fn emitted(
    source: &Draft,
    output: Output,
    rules: &AddressRules,
    grants: &Grants,
) -> Result<Draft, String> {
    if output.delay_ms.is_some_and(|ms| ms > 0) {
        return Err("delay-ms: outputs cannot be delayed by this broker".into());
    }
    let mut draft = source.clone();
    patch(&mut draft, output.patch)?;
    if let Some(text) = output.address {
        let address = destination::allowed(&text, rules)
            .map_err(|reason| format!("address of an output: {reason}"))?;
        if !grants.allow(&address) {
            return Err(format!(
                "address of an output: {text} is none of the route's own, nor one of the step's \
                 `destinations`"
            ));
        }
        draft.set_target(address);
    }
    Ok(draft)
}

fn patch(draft: &mut Draft, patch: Patch) -> Result<(), String> {
    for name in &patch.remove {
        draft.remove(name)?;
    }
    for (name, value) in patch.set {
        draft.set(&name, from_guest(value))?;
    }
    if let Some(content_type) = patch.content_type {
        draft.set("content_type", Value::Text(content_type.into()))?;
    }
    match patch.body {
        Some(body) if body.len() > OUTPUT_MAX => Err(format!(
            "the module returned {} bytes; at most {OUTPUT_MAX} are allowed",
            body.len()
        )),
        Some(body) => {
            draft.set_body(body);
            Ok(())
        }
        None => Ok(()),
    }
}

fn bounded(text: &str) -> &str {
    text.get(..text.floor_char_boundary(REASON_MAX)).unwrap_or_default()
}
