//! Messages as plugins see them: handles, and the functions that say what is in them.

use crate::exchange::{passed_value, text_of};
use crossdock_core::step::StepMessage;
use crossdock_core::{Value, carry};
use crossdock_plugin::abi::{self, Head, MessageHandle, Messages, View};
use std::ffi::c_void;
use std::sync::{Arc, OnceLock};

/// Properties that a name stands for where no header has it.
const PROPERTIES: [&str; 12] = [
    "content_type",
    "content_encoding",
    "message_id",
    "correlation_id",
    "reply_to",
    "timestamp",
    "user_id",
    "app_id",
    "type",
    "subject",
    "group_id",
    "priority",
];

/// A message during a call. What is asked for as text is made when it is first asked for.
pub struct Handle {
    message: Arc<dyn StepMessage>,
    address: OnceLock<String>,
    headers: OnceLock<Vec<(u32, Vec<u8>)>>,
    properties: OnceLock<Vec<(u32, Vec<u8>)>>,
}

impl Handle {
    pub fn new(message: Arc<dyn StepMessage>) -> Self {
        let (address, headers, properties) = Default::default();
        Self { message, address, headers, properties }
    }

    /// As it is handed over.
    pub fn pointer(&self) -> MessageHandle {
        (&raw const *self).cast()
    }

    /// Values of the headers, in their order.
    fn values(&self) -> &[(u32, Vec<u8>)] {
        let all = || self.message.headers().iter().map(|(_, value)| rendered(value)).collect();
        self.headers.get_or_init(all)
    }

    fn header(&self, name: &[u8]) -> abi::Value {
        let headers = self.message.headers();
        if let Some(place) = headers.iter().position(|(known, _)| known.as_bytes() == name) {
            return self.values().get(place).map_or(NOTHING, passed);
        }
        let properties = self.properties.get_or_init(|| {
            let value = |name: &&str| match self.message.property(name) {
                Some(value) => rendered(&value),
                None => (abi::VALUE_NONE, Vec::new()),
            };
            PROPERTIES.iter().map(value).collect()
        });
        let place = PROPERTIES.iter().position(|known| known.as_bytes() == name);
        place.and_then(|place| properties.get(place)).map_or(NOTHING, passed)
    }
}

const NOTHING: abi::Value = abi::Value { kind: abi::VALUE_NONE, reserved: 0, text: View::of(&[]) };

fn passed((kind, text): &(u32, Vec<u8>)) -> abi::Value {
    passed_value(*kind, text)
}

/// What has no text of its own has the one that it has in headers of other protocols.
fn rendered(value: &Value) -> (u32, Vec<u8>) {
    match (value, text_of(value)) {
        (Value::Null, _) => (abi::VALUE_NONE, Vec::new()),
        (_, (abi::VALUE_NONE, _)) => {
            (abi::VALUE_TEXT, carry::to_text(value).0.into_owned().into_bytes())
        }
        (_, rendered) => rendered,
    }
}

/// What plugins ask messages with.
pub static ASK: Messages = Messages {
    head: Head::of::<Messages>(),
    address: Some(address),
    body: Some(body),
    attempt: Some(attempt),
    header: Some(header),
    header_at: Some(header_at),
    origin: Some(origin),
};

/// # Safety
/// It is one of [`Handle::pointer`], or null, and its call goes on.
unsafe fn held<'a>(message: *const c_void) -> Option<&'a Handle> {
    // SAFETY: the caller's promise.
    unsafe { message.cast::<Handle>().as_ref() }
}

/// # Safety
/// It is null, or can be written.
unsafe fn put<T>(to: *mut T, value: T) {
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { to.write(value) }
    }
}

unsafe extern "C" fn address(message: MessageHandle, to: *mut View) {
    // SAFETY: the plugin keeps to the contract.
    unsafe {
        let Some(handle) = held(message) else { return };
        let text = handle.address.get_or_init(|| handle.message.address());
        put(to, View::of(text.as_bytes()));
    }
}

unsafe extern "C" fn body(message: MessageHandle, to: *mut View) {
    // SAFETY: the plugin keeps to the contract.
    unsafe {
        let Some(handle) = held(message) else { return };
        put(to, View::of(handle.message.body()));
    }
}

unsafe extern "C" fn attempt(message: MessageHandle) -> u32 {
    // SAFETY: the plugin keeps to the contract.
    unsafe { held(message) }.map_or(0, |handle| handle.message.attempt())
}

unsafe extern "C" fn header(message: MessageHandle, name: View, to: *mut abi::Value) {
    // SAFETY: the plugin keeps to the contract.
    unsafe {
        let Some(handle) = held(message) else { return };
        put(to, handle.header(name.bytes()));
    }
}

unsafe extern "C" fn header_at(
    message: MessageHandle,
    place: usize,
    name: *mut View,
    value: *mut abi::Value,
) -> i32 {
    // SAFETY: the plugin keeps to the contract.
    unsafe {
        let Some(handle) = held(message) else { return 0 };
        let Some((known, _)) = handle.message.headers().get(place) else { return 0 };
        put(name, View::of(known.as_bytes()));
        put(value, handle.values().get(place).map_or(NOTHING, passed));
    }
    1
}

unsafe extern "C" fn origin(message: MessageHandle, what: u32, to: *mut View) {
    // SAFETY: the plugin keeps to the contract.
    unsafe {
        let Some(handle) = held(message) else { return };
        let origin = handle.message.origin();
        let text = match what {
            abi::ORIGIN_USER => &*origin.user,
            abi::ORIGIN_CLIENT => &*origin.client,
            abi::ORIGIN_LISTENER => &*origin.listener,
            _ => return,
        };
        put(to, View::of(text.as_bytes()));
    }
}
