//! The functions of the contract around a transform.

use super::{free, give, guard, nothing, object};
use crate::abi::{self, Argument, Batch, Decisions, Head, Sink, View};
use crate::transform::{Decision, Message, Output, Patch, Setting, Step, Transform};
use crate::values;
use std::ffi::c_void;
use std::ptr::null;

/// The table of a transform.
pub const fn transform<T: Transform>() -> abi::Transform {
    abi::Transform {
        head: Head::of::<abi::Transform>(),
        make_step: Some(make_step::<T>),
        handle: Some(handle::<T::Step>),
        free_step: Some(free::<T::Step>),
    }
}

unsafe extern "C" fn make_step<T: Transform>(
    state: *mut c_void,
    with: View,
    step: *mut *mut c_void,
    error: *const Sink,
) -> i32 {
    guard(error, || {
        // SAFETY: as the contract says of `make_step`.
        let (transform, with) = unsafe { (object::<T>(state)?, values::text(with)) };
        // SAFETY: the same.
        unsafe { give(transform.make_step(with)?, step) }
    })
}

unsafe extern "C" fn handle<S: Step>(
    step: *mut c_void,
    batch: *const Batch,
    decisions: *const Decisions,
    error: *const Sink,
) -> i32 {
    guard(error, || {
        // SAFETY: as the contract says of `handle`.
        let (step, batch, decisions) = unsafe {
            let batch = abi::read(batch).ok_or_else(nothing)?;
            (object::<S>(step)?, batch, decisions.as_ref().ok_or_else(nothing)?)
        };
        // SAFETY: the same.
        let ask = unsafe { abi::read(batch.ask) }.ok_or_else(nothing)?;
        for place in 0..batch.count {
            // SAFETY: the same: there are that many handles, and they are used during this call.
            let message = unsafe { Message::of(ask, batch.messages.add(place).read_unaligned()) };
            decide(decisions, step.handle(&message));
        }
        Ok(())
    })
}

fn decide(to: &Decisions, decided: Result<Decision, String>) {
    let mut passed = Passed::default();
    let (kind, why, after_ms) = match &decided {
        Ok(Decision::Keep) => (abi::KEEP, "", 0),
        Ok(Decision::Drop(why)) => (abi::DROP, &**why, 0),
        Ok(Decision::Reject(why)) => (abi::REJECT, &**why, 0),
        Ok(Decision::RetryAfter(time)) => {
            (abi::RETRY_AFTER, "", u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
        }
        Ok(Decision::Replace(patch)) => {
            passed.add(None, patch);
            (abi::REPLACE, "", 0)
        }
        Ok(Decision::Emit(outputs)) => {
            outputs.iter().for_each(|Output { address, patch }| passed.add(Some(address), patch));
            (abi::EMIT, "", 0)
        }
        Err(why) => (abi::FAIL, &**why, 0),
    };
    let decision = abi::Decision {
        head: Head::of::<abi::Decision>(),
        kind,
        after_ms,
        why: View::of(why.as_bytes()),
        outputs: passed.outputs.as_ptr(),
        outputs_count: passed.outputs.len(),
    };
    if let Some(decide) = to.decide {
        // SAFETY: the broker's function during its call; all that is passed stays meanwhile. One that is too much is
        // the broker's to judge.
        unsafe { decide(to.context, &raw const decision) };
    }
}

/// Outputs as they are passed, and what they point to. Vectors in vectors stay where they are when those move.
#[derive(Default)]
struct Passed {
    outputs: Vec<abi::Output>,
    _removed: Vec<Vec<View>>,
    _set: Vec<Vec<Argument>>,
    _texts: Vec<Vec<String>>,
}

impl Passed {
    fn add(&mut self, address: Option<&Option<String>>, patch: &Patch) {
        let address = address.and_then(Option::as_deref);
        let removed: Vec<View> =
            patch.remove.iter().map(|name| View::of(name.as_bytes())).collect();
        let texts: Vec<String> = patch.set.iter().map(|(_, value)| text_of(value)).collect();
        let set = patch.set.iter().zip(&texts);
        let set: Vec<Argument> =
            set.map(|((name, value), text)| argument(name, value, text)).collect();
        let flag = |is: bool, flag: u32| if is { flag } else { 0 };
        let view = |bytes: Option<&[u8]>| bytes.map_or(View { ptr: null(), len: 0 }, View::of);
        self.outputs.push(abi::Output {
            head: Head::of::<abi::Output>(),
            flags: flag(address.is_some(), abi::HAS_ADDRESS)
                | flag(patch.body.is_some(), abi::HAS_BODY)
                | flag(patch.content_type.is_some(), abi::HAS_CONTENT_TYPE),
            address: view(address.map(str::as_bytes)),
            body: view(patch.body.as_deref()),
            content_type: view(patch.content_type.as_deref().map(str::as_bytes)),
            remove: removed.as_ptr(),
            remove_count: removed.len(),
            set: set.as_ptr(),
            set_count: set.len(),
        });
        self._removed.push(removed);
        self._set.push(set);
        self._texts.push(texts);
    }
}

/// A value as text; bytes are passed as they are.
fn text_of(value: &Setting) -> String {
    match value {
        Setting::Bool(yes) => yes.to_string(),
        Setting::Integer(whole) => whole.to_string(),
        Setting::Number(number) => number.to_string(),
        Setting::Text(_) | Setting::Bytes(_) => String::new(),
    }
}

fn argument(name: &str, value: &Setting, text: &str) -> Argument {
    let (kind, text) = match value {
        Setting::Bool(_) => (abi::VALUE_BOOL, text.as_bytes()),
        Setting::Integer(_) => (abi::VALUE_INTEGER, text.as_bytes()),
        Setting::Number(_) => (abi::VALUE_NUMBER, text.as_bytes()),
        Setting::Text(text) => (abi::VALUE_TEXT, text.as_bytes()),
        Setting::Bytes(bytes) => (abi::VALUE_BYTES, bytes.as_slice()),
    };
    let value = abi::Value { kind, reserved: 0, text: View::of(text) };
    Argument { head: Head::of::<Argument>(), name: View::of(name.as_bytes()), value }
}
