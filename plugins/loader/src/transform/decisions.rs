//! What a plugin decides, copied while it calls. Whoever waits for the call sees what it has decided so far.

use bytes::Bytes;
use crossdock_core::Value;
use crossdock_core::step::{Answer, Decision, Output, Patch};
use crossdock_core::transform::FailureKind;
use crossdock_plugin::abi::{self, Decisions, View};
use parking_lot::Mutex;
use std::ffi::c_void;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Outputs of one message, and the bytes in them, at most: as for modules.
const OUTPUTS_MAX: usize = 1_024;
const BYTES_MAX: usize = 16 << 20;
/// Headers that one output sets or removes.
const HEADERS_MAX: usize = 1_024;
/// Bytes of a reason that are kept.
const WHY_MAX: usize = 1_024;

/// Decisions on the messages of one call.
pub struct Taken {
    /// Messages of the call.
    count: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answers: Vec<Answer>,
    last: Option<Instant>,
    /// How the contract was broken.
    wrong: Option<String>,
    /// Nobody waits for decisions any more.
    is_closed: bool,
}

impl Taken {
    /// Of that many messages.
    pub fn of(count: usize) -> Arc<Self> {
        Arc::new(Self { count, state: Mutex::default() })
    }

    pub fn count(&self) -> usize {
        self.count
    }

    /// When the last decision came.
    pub fn last(&self) -> Option<Instant> {
        self.state.lock().last
    }

    /// What leads here while this is there.
    pub fn decisions(&self) -> Decisions {
        Decisions { context: (&raw const *self).cast_mut().cast(), decide: Some(decide) }
    }

    /// What was decided, and how the contract was broken if it was. No more is taken.
    pub fn close(&self) -> (Vec<Answer>, Option<String>) {
        let mut state = self.state.lock();
        state.is_closed = true;
        (std::mem::take(&mut state.answers), state.wrong.take())
    }
}

unsafe extern "C" fn decide(context: *mut c_void, decision: *const abi::Decision) -> i32 {
    // SAFETY: the context is of `Taken::decisions`, and the plugin uses it during its call only.
    let Some(taken) = (unsafe { context.cast_const().cast::<Taken>().as_ref() }) else { return 1 };
    let is_over = |state: &State| state.is_closed || state.wrong.is_some();
    if is_over(&taken.state.lock()) {
        return 1;
    }
    // SAFETY: a decision of the plugin, or null, with views that are valid during this call.
    let answer = unsafe { abi::read(decision).map(|it| answer(&it)) };
    let mut state = taken.state.lock();
    if is_over(&state) {
        return 1;
    }
    state.last = Some(Instant::now());
    match answer {
        Some(Ok(_)) if state.answers.len() >= taken.count => {
            state.wrong = Some(format!("decided more often than on {} messages", taken.count));
        }
        Some(Ok(answer)) => state.answers.push(answer),
        Some(Err(wrong)) => state.wrong = Some(wrong),
        None => state.wrong = Some("decided with a null pointer".to_owned()),
    }
    i32::from(state.wrong.is_some())
}

/// What is decided. An error breaks the contract; what is too much, or means nothing, is the message's failure.
///
/// # Safety
/// It is of the plugin, and its call goes on.
unsafe fn answer(it: &abi::Decision) -> Result<Answer, String> {
    // SAFETY: the caller's promise.
    let why = unsafe { bounded(it.why) };
    let decision = match it.kind {
        abi::KEEP => Decision::Keep,
        abi::DROP => Decision::Drop(why),
        abi::REJECT => Decision::Reject(why),
        abi::RETRY_AFTER => Decision::RetryAfter(Duration::from_millis(it.after_ms)),
        abi::FAIL => return Ok(Answer::Failed(FailureKind::Guest, why)),
        abi::REPLACE | abi::EMIT => {
            if it.outputs.is_null() && it.outputs_count > 0 {
                return Err("decided with outputs that are nowhere".to_owned());
            }
            // SAFETY: the same.
            let outputs = match unsafe { outputs(it) } {
                Ok(outputs) => outputs,
                Err(why) => return Ok(Answer::Failed(FailureKind::Guest, why)),
            };
            match (it.kind, outputs.len()) {
                (abi::EMIT, _) => Decision::Emit(outputs),
                (_, 1) => Decision::Replace(outputs.into_iter().next().unwrap_or_default().patch),
                (_, count) => return Err(format!("replaced a message by {count} outputs")),
            }
        }
        unknown => return Err(format!("decided what there is not: {unknown}")),
    };
    Ok(Answer::Decided(decision))
}

/// # Safety
/// As of [`answer`].
unsafe fn bounded(why: View) -> String {
    // SAFETY: the caller's promise.
    let bytes = unsafe { why.bytes() };
    let text = String::from_utf8_lossy(bytes.get(..WHY_MAX).unwrap_or(bytes));
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// # Safety
/// As of [`answer`].
unsafe fn outputs(it: &abi::Decision) -> Result<Vec<Output>, String> {
    let count = it.outputs_count;
    if count > OUTPUTS_MAX {
        return Err(format!(
            "the plugin returned {count} outputs; at most {OUTPUTS_MAX} are allowed"
        ));
    }
    // SAFETY: the caller's promise.
    let all = unsafe { abi::read_all(it.outputs, count) };
    let bodies = all.iter().filter(|it| it.flags & abi::HAS_BODY != 0);
    let bytes = bodies.fold(0_usize, |sum, it| sum.saturating_add(it.body.len));
    if bytes > BYTES_MAX {
        return Err(format!("the plugin returned {bytes} bytes; at most {BYTES_MAX} are allowed"));
    }
    // SAFETY: the same.
    all.iter().map(|it| unsafe { output(it) }).collect()
}

/// # Safety
/// As of [`answer`].
unsafe fn output(it: &abi::Output) -> Result<Output, String> {
    if it.set_count.saturating_add(it.remove_count) > HEADERS_MAX {
        return Err(format!("the plugin set or removed more than {HEADERS_MAX} headers at once"));
    }
    let has = |flag: u32| it.flags & flag != 0;
    // SAFETY: the caller's promise.
    unsafe {
        let body = has(abi::HAS_BODY).then(|| Bytes::copy_from_slice(it.body.bytes()));
        let content_type =
            has(abi::HAS_CONTENT_TYPE).then(|| text("content type", it.content_type));
        let address = has(abi::HAS_ADDRESS).then(|| text("address", it.address));
        let removed = if it.remove.is_null() { 0 } else { it.remove_count };
        let remove = (0..removed).map(|at| text("name", it.remove.add(at).read_unaligned()));
        let set = abi::read_all(it.set, it.set_count);
        let set = set.iter().map(|one| Ok((text("name", one.name)?, value(&one.value)?)));
        let patch = Patch {
            remove: remove.collect::<Result<_, String>>()?,
            set: set.collect::<Result<_, String>>()?,
            content_type: content_type.transpose()?,
            body,
        };
        Ok(Output { address: address.transpose()?, patch })
    }
}

/// # Safety
/// As of [`answer`].
unsafe fn text(what: &str, view: View) -> Result<String, String> {
    // SAFETY: the caller's promise.
    let text = std::str::from_utf8(unsafe { view.bytes() });
    text.map(str::to_owned).map_err(|_| format!("the plugin returned a {what} that is not UTF-8"))
}

/// # Safety
/// As of [`answer`].
unsafe fn value(value: &abi::Value) -> Result<Value, String> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { value.text.bytes() };
    let text = std::str::from_utf8(bytes).ok();
    let wrong = |what: &str| {
        let shown = String::from_utf8_lossy(bytes.get(..64).unwrap_or(bytes)).into_owned();
        format!("the plugin set a header to {what} '{shown}', which is none")
    };
    match (value.kind, text) {
        (abi::VALUE_NONE, _) => Ok(Value::Null),
        (abi::VALUE_BOOL, Some("true")) => Ok(Value::Bool(true)),
        (abi::VALUE_BOOL, Some("false")) => Ok(Value::Bool(false)),
        (abi::VALUE_BOOL, _) => Err(wrong("a truth value")),
        (abi::VALUE_INTEGER, text) => {
            let whole = text.and_then(|it| it.parse().ok().map(Value::I64));
            let whole = whole.or_else(|| text?.parse().ok().map(Value::U64));
            whole.ok_or_else(|| wrong("a whole number"))
        }
        (abi::VALUE_NUMBER, text) => {
            let number = text.and_then(|it| it.parse().ok());
            number.map(Value::F64).ok_or_else(|| wrong("a number"))
        }
        (abi::VALUE_TEXT, Some(text)) => Ok(Value::text(text)),
        (abi::VALUE_TEXT, None) => Err(wrong("a text")),
        (abi::VALUE_BYTES, _) => Ok(Value::Bytes(Bytes::copy_from_slice(bytes))),
        (unknown, _) => Err(format!("the plugin set a header to what there is not: {unknown}")),
    }
}
