//! The data that crosses the sandbox's border: messages as handles, values in both directions, decisions.

use super::bindings::{
    Decision as GuestDecision, Host, HostMessage, Origin, Output as GuestOutput,
    Patch as GuestPatch, Value as GuestValue, kv, log, metrics,
};
use super::instance::InstanceState;
use crate::draft::Draft;
use bytes::Bytes;
use crossdock_core::Value;
use crossdock_core::message::carry;
use crossdock_core::step::{Decision, Output, Patch};
use std::time::Duration;
use wasmtime::Result;
use wasmtime::component::Resource;

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
        Ok(self.rules.shown(self.table.get(&message)?.address()))
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

/// A module's decision in the core's words. An error is a fault of the module.
pub(super) fn decided(decision: GuestDecision) -> Result<Decision, String> {
    Ok(match decision {
        GuestDecision::Keep => Decision::Keep,
        GuestDecision::Drop(reason) => Decision::Drop(reason),
        GuestDecision::Reject(reason) => Decision::Reject(reason),
        GuestDecision::RetryAfterMs(ms) => Decision::RetryAfter(Duration::from_millis(ms)),
        GuestDecision::Replace(changes) => Decision::Replace(patch(changes)),
        GuestDecision::Emit(outputs) => {
            Decision::Emit(outputs.into_iter().map(output).collect::<Result<_, String>>()?)
        }
    })
}

fn output(output: GuestOutput) -> Result<Output, String> {
    if output.delay_ms.is_some_and(|ms| ms > 0) {
        return Err("delay-ms: outputs cannot be delayed by this broker".into());
    }
    Ok(Output { address: output.address, patch: patch(output.patch) })
}

fn patch(patch: GuestPatch) -> Patch {
    Patch {
        remove: patch.remove,
        set: patch.set.into_iter().map(|(name, value)| (name, from_guest(value))).collect(),
        content_type: patch.content_type,
        body: patch.body.map(Bytes::from),
    }
}
