//! Without a broker, for tests: what the connection of a protocol wishes when something happens, and what a transform
//! decides on a message.

use crate::abi::{self, Head, MessageHandle, Messages, View};
use crate::protocol::{Connection, Happened, Settled, Wishes};
use crate::transform::{Decision, Message, Step};
use crate::values::text;
use std::ffi::c_void;

/// One of the [`Wishes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    Write(Vec<u8>),
    LogIn { user: String, password: Vec<u8> },
    Publish { token: u64, address: String, body: Vec<u8>, durable: bool },
    Subscribe { token: u64, address: String, settles: bool },
    Unsubscribe { token: u64 },
    Settle { delivery: u64, how: Settled },
    Close,
}

/// Tells a connection what happened. What it wishes, and what the turn says.
pub fn turn(
    connection: &mut impl Connection,
    happened: Happened<'_>,
) -> (Vec<Wish>, Result<(), String>) {
    let mut wished: Vec<Wish> = Vec::new();
    let context = (&raw mut wished).cast();
    let result =
        connection.turn(happened, &mut Wishes::new(abi::Wishes { context, wish: Some(take) }));
    (wished, result)
}

unsafe extern "C" fn take(context: *mut c_void, wish: *const abi::Wish) -> i32 {
    // SAFETY: `turn` made the context, and `Wishes` calls this during that turn only, with a wish that is there.
    let (Some(wished), Some(it)) =
        (unsafe { (context.cast::<Vec<Wish>>().as_mut(), abi::read(wish)) })
    else {
        return 1;
    };
    // SAFETY: the same.
    let (address, bytes) = unsafe { (text(it.address).to_owned(), it.bytes.bytes().to_vec()) };
    wished.push(match it.kind {
        abi::WRITE => Wish::Write(bytes),
        abi::LOG_IN => Wish::LogIn { user: address, password: bytes },
        abi::PUBLISH => {
            let durable = it.flags & abi::DURABLE != 0;
            Wish::Publish { token: it.token, address, body: bytes, durable }
        }
        abi::SUBSCRIBE => {
            Wish::Subscribe { token: it.token, address, settles: it.flags & abi::SETTLES != 0 }
        }
        abi::UNSUBSCRIBE => Wish::Unsubscribe { token: it.token },
        abi::SETTLE => {
            let how = match it.flags {
                abi::RETURNED => Settled::Returned,
                abi::REJECTED => Settled::Rejected,
                _ => Settled::Accepted,
            };
            Wish::Settle { delivery: it.token, how }
        }
        abi::CLOSE => Wish::Close,
        _ => return 1,
    });
    0
}

/// A message for a transform.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    /// `queue:NAME`, `topic:a/b` or `exchange:NAME/KEY`.
    pub address: &'a str,
    /// Headers and properties, all of them texts.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

/// What a step decides on that message, the first time that it is asked.
pub fn handle(step: &impl Step, given: &Given<'_>) -> Result<Decision, String> {
    let messages = Messages {
        head: Head::of::<Messages>(),
        address: Some(address),
        body: Some(body),
        attempt: Some(attempt),
        header: Some(header),
        header_at: Some(header_at),
        origin: Some(origin),
    };
    // SAFETY: the functions are those for this handle, which is there during the call.
    let message = unsafe { Message::of(messages, std::ptr::from_ref(given).cast()) };
    step.handle(&message)
}

/// # Safety
/// The handle is one of [`handle`], during its call.
unsafe fn given<'a>(message: MessageHandle) -> Given<'a> {
    // SAFETY: the caller's promise.
    unsafe { message.cast::<Given<'a>>().as_ref() }.copied().unwrap_or_default()
}

/// # Safety
/// The place is the caller's, for one value.
unsafe fn put<T>(into: *mut T, value: T) {
    if !into.is_null() {
        // SAFETY: the caller's promise.
        unsafe { into.write(value) }
    }
}

fn text_value(text: &str) -> abi::Value {
    abi::Value { kind: abi::VALUE_TEXT, reserved: 0, text: View::of(text.as_bytes()) }
}

unsafe extern "C" fn address(message: MessageHandle, into: *mut View) {
    // SAFETY: `Message` calls this with a handle of `handle` and a place of its own. So with those below.
    unsafe { put(into, View::of(given(message).address.as_bytes())) }
}

unsafe extern "C" fn body(message: MessageHandle, into: *mut View) {
    // SAFETY: see `address`.
    unsafe { put(into, View::of(given(message).body)) }
}

unsafe extern "C" fn attempt(_: MessageHandle) -> u32 {
    0
}

unsafe extern "C" fn header(message: MessageHandle, name: View, into: *mut abi::Value) {
    // SAFETY: see `address`.
    let (name, given) = unsafe { (text(name), given(message)) };
    if let Some((_, value)) = given.headers.iter().find(|(known, _)| *known == name) {
        // SAFETY: see `address`.
        unsafe { put(into, text_value(value)) }
    }
}

unsafe extern "C" fn header_at(
    message: MessageHandle,
    place: usize,
    name: *mut View,
    value: *mut abi::Value,
) -> i32 {
    // SAFETY: see `address`.
    let given = unsafe { given(message) };
    let Some((known, text)) = given.headers.get(place) else { return 0 };
    // SAFETY: see `address`.
    unsafe {
        put(name, View::of(known.as_bytes()));
        put(value, text_value(text));
    }
    1
}

unsafe extern "C" fn origin(_: MessageHandle, _: u32, _: *mut View) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Patch, Value};

    struct Says;

    impl Step for Says {
        fn handle(&self, message: &Message<'_>) -> Result<Decision, String> {
            let all: Vec<_> = message.headers().map(|(name, _)| name).collect();
            let said = format!(
                "{} {} {:?} {:?} {}{}",
                message.address(),
                all.join(","),
                message.header("b"),
                message.header("c"),
                message.user(),
                message.attempt(),
            );
            Ok(Decision::Replace(Patch::default().body([message.body(), said.as_bytes()].concat())))
        }
    }

    #[test]
    fn a_step_sees_the_message_that_was_given() {
        let headers = [("a", "1"), ("b", "2")];
        let given = Given { address: "topic:t", headers: &headers, body: b"x " };
        let b = Value::Text("2");
        let said = format!("x topic:t a,b {b:?} {:?} 0", Value::None);
        let decided = handle(&Says, &given);
        assert_eq!(decided, Ok(Decision::Replace(Patch::default().body(said))));
    }
}
