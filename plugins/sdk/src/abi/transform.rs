//! The part of the contract that is about transforms.

use super::{Argument, Free, Growing, Head, Sink, Value, View};
use std::ffi::c_void;

pub const ORIGIN_USER: u32 = 1;
pub const ORIGIN_CLIENT: u32 = 2;
pub const ORIGIN_LISTENER: u32 = 3;

/// A message of the host's, as a plugin has it.
pub type MessageHandle = *const c_void;

/// What the host says of a message.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Messages {
    pub head: Head,
    pub address: Option<unsafe extern "C" fn(MessageHandle, *mut View)>,
    pub body: Option<unsafe extern "C" fn(MessageHandle, *mut View)>,
    pub attempt: Option<unsafe extern "C" fn(MessageHandle) -> u32>,
    pub header: Option<unsafe extern "C" fn(MessageHandle, View, *mut Value)>,
    pub header_at: Option<unsafe extern "C" fn(MessageHandle, usize, *mut View, *mut Value) -> i32>,
    pub origin: Option<unsafe extern "C" fn(MessageHandle, u32, *mut View)>,
}

/// Messages of one call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Batch {
    pub head: Head,
    pub ask: *const Messages,
    pub messages: *const MessageHandle,
    pub count: usize,
}

pub const KEEP: u32 = 1;
pub const DROP: u32 = 2;
pub const REPLACE: u32 = 3;
pub const EMIT: u32 = 4;
pub const REJECT: u32 = 5;
pub const RETRY_AFTER: u32 = 6;
pub const FAIL: u32 = 7;

pub const HAS_ADDRESS: u32 = 1;
pub const HAS_BODY: u32 = 2;
pub const HAS_CONTENT_TYPE: u32 = 4;

/// A message that is made of another one.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Output {
    pub head: Head,
    pub flags: u32,
    pub address: View,
    pub body: View,
    pub content_type: View,
    pub remove: *const View,
    pub remove_count: usize,
    pub set: *const Argument,
    pub set_count: usize,
}

/// What becomes of a message.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Decision {
    pub head: Head,
    pub kind: u32,
    pub after_ms: u64,
    pub why: View,
    pub outputs: *const Output,
    pub outputs_count: usize,
}

/// Takes decisions.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Decisions {
    pub context: *mut c_void,
    pub decide: Option<unsafe extern "C" fn(*mut c_void, *const Decision) -> i32>,
}

pub type MakeStep = unsafe extern "C" fn(*mut c_void, View, *mut *mut c_void, *const Sink) -> i32;
pub type Handle =
    unsafe extern "C" fn(*mut c_void, *const Batch, *const Decisions, *const Sink) -> i32;

/// A transform.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Transform {
    pub head: Head,
    pub make_step: Option<MakeStep>,
    pub handle: Option<Handle>,
    pub free_step: Option<Free>,
}

// SAFETY: integers, pointers that may be null, views and optional functions, behind a head.
unsafe impl Growing for Messages {}
// SAFETY: the same.
unsafe impl Growing for Batch {}
// SAFETY: the same.
unsafe impl Growing for Output {}
// SAFETY: the same.
unsafe impl Growing for Decision {}
// SAFETY: the same.
unsafe impl Growing for Transform {}
