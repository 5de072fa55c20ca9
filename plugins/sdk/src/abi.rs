//! The contract of include/crossdock_plugin.h in Rust: the same structs, field by field. What each means is said there.
//! A test of the loader has the C compiler compare the two.

mod authenticator;
mod transform;

pub use authenticator::*;
pub use transform::*;

use std::ffi::c_void;

/// What `CROSSDOCK_PLUGIN_ABI` begins with.
pub const MAGIC: [u8; 8] = *b"XDOCKPLG";
/// Plugins of another major version are refused.
pub const MAJOR: u32 = 1;
/// Grows with each addition at the end of a struct.
pub const MINOR: u32 = 1;

/// The library has an exchange kind.
pub const KIND_EXCHANGE: u32 = 1;
/// The library has a protocol.
pub const KIND_PROTOCOL: u32 = 2;
/// The library has an authenticator.
pub const KIND_AUTHENTICATOR: u32 = 4;
/// The library has a transform.
pub const KIND_TRANSFORM: u32 = 8;

/// Done.
pub const OK: i32 = 0;
/// An answer: no.
pub const REFUSED: i32 = 1;
/// The plugin is broken.
pub const FAILED: i32 = 2;
/// It panicked, and so is broken.
pub const PANICKED: i32 = -1;

/// What every struct begins with that may grow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub struct_size: u32,
    pub abi_major: u32,
    pub abi_minor: u32,
}

impl Head {
    /// Of a struct as this version knows it.
    pub const fn of<T>() -> Self {
        // No struct of the contract is as large as that.
        Self { struct_size: size_of::<T>() as u32, abi_major: MAJOR, abi_minor: MINOR }
    }
}

/// Bytes that are there during a call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct View {
    pub ptr: *const u8,
    pub len: usize,
}

impl View {
    /// Of those bytes.
    pub const fn of(bytes: &[u8]) -> Self {
        Self { ptr: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes.
    ///
    /// # Safety
    /// It is null, or there are as many bytes there for as long as `'a`.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        match self.ptr.is_null() || self.len > isize::MAX as usize {
            true => &[],
            // SAFETY: the caller's promise.
            false => unsafe { std::slice::from_raw_parts(self.ptr, self.len) },
        }
    }
}

/// Takes bytes, an item for each call.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Sink {
    pub context: *mut c_void,
    pub put: Option<unsafe extern "C" fn(*mut c_void, View) -> i32>,
}

/// It is not there, or has no text.
pub const VALUE_NONE: u32 = 0;
pub const VALUE_BOOL: u32 = 1;
pub const VALUE_INTEGER: u32 = 2;
pub const VALUE_NUMBER: u32 = 3;
pub const VALUE_TEXT: u32 = 4;
pub const VALUE_BYTES: u32 = 5;

/// A value as text, and what it was before.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Value {
    pub kind: u32,
    pub reserved: u32,
    pub text: View,
}

/// The static that is read before anything is called.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct PluginAbi {
    pub magic: [u8; 8],
    pub head: Head,
    pub kinds: u32,
}

pub const LOG_ERROR: u32 = 1;
pub const LOG_WARN: u32 = 2;
pub const LOG_INFO: u32 = 3;
pub const LOG_DEBUG: u32 = 4;

/// What the host does for a plugin.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Host {
    pub head: Head,
    pub context: *mut c_void,
    pub log: Option<unsafe extern "C" fn(*mut c_void, u32, View)>,
}

// SAFETY: its function may be called from any thread, by the contract.
unsafe impl Sync for Host {}
// SAFETY: the same.
unsafe impl Send for Host {}

/// An argument of a declaration.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    pub head: Head,
    pub name: View,
    pub value: Value,
}

/// An exchange that is declared.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ExchangeSpec {
    pub head: Head,
    pub name: View,
    pub arguments: *const Argument,
    pub arguments_count: usize,
}

/// A binding of an exchange.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Binding {
    pub head: Head,
    pub target: View,
    pub key: View,
    pub arguments: *const Argument,
    pub arguments_count: usize,
}

/// A message that is to be routed.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Routing {
    pub head: Head,
    pub key: View,
    pub values: *const Value,
    pub values_count: usize,
}

/// Takes the places of chosen bindings.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    pub context: *mut c_void,
    pub choose: Option<unsafe extern "C" fn(*mut c_void, u32)>,
}

pub type Declare = unsafe extern "C" fn(
    *mut c_void,
    *const ExchangeSpec,
    *mut *mut c_void,
    *const Sink,
    *const Sink,
) -> i32;
pub type Check = unsafe extern "C" fn(*mut c_void, *const Binding, *const Sink) -> i32;
pub type Compile =
    unsafe extern "C" fn(*mut c_void, *const Binding, usize, *mut *mut c_void, *const Sink) -> i32;
pub type Route =
    unsafe extern "C" fn(*mut c_void, *const Routing, *const Choice, *const Sink) -> i32;
/// Frees an object.
pub type Free = unsafe extern "C" fn(*mut c_void);

/// An exchange kind.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct ExchangeKind {
    pub head: Head,
    pub name: View,
    pub declare: Option<Declare>,
    pub forget: Option<Free>,
    pub check: Option<Check>,
    pub compile: Option<Compile>,
    pub free_table: Option<Free>,
    pub route: Option<Route>,
}

// SAFETY: its functions may be called from any thread, by the contract, and its name is a constant.
unsafe impl Sync for ExchangeKind {}

pub const BYTES: u32 = 1;
pub const LOGGED_IN: u32 = 2;
pub const PUBLISHED: u32 = 3;
pub const SUBSCRIBED: u32 = 4;
pub const UNSUBSCRIBED: u32 = 5;
pub const DELIVERED: u32 = 6;
pub const ENDING: u32 = 7;
pub const REDELIVERED: u32 = 1;

/// What happened on a connection.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Happened {
    pub head: Head,
    pub kind: u32,
    pub status: i32,
    pub flags: u32,
    pub token: u64,
    pub delivery: u64,
    pub address: View,
    pub bytes: View,
}

pub const WRITE: u32 = 1;
pub const LOG_IN: u32 = 2;
pub const PUBLISH: u32 = 3;
pub const SUBSCRIBE: u32 = 4;
pub const UNSUBSCRIBE: u32 = 5;
pub const SETTLE: u32 = 6;
pub const CLOSE: u32 = 7;
pub const DURABLE: u32 = 1;
pub const SETTLES: u32 = 1;
pub const ACCEPTED: u32 = 0;
pub const RETURNED: u32 = 1;
pub const REJECTED: u32 = 2;

/// What a plugin wishes on a connection.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub head: Head,
    pub kind: u32,
    pub flags: u32,
    pub token: u64,
    pub address: View,
    pub bytes: View,
}

/// Takes wishes.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    pub context: *mut c_void,
    pub wish: Option<unsafe extern "C" fn(*mut c_void, *const Wish) -> i32>,
}

pub type Open = unsafe extern "C" fn(*mut c_void, View, *mut *mut c_void, *const Sink) -> i32;
pub type Turn =
    unsafe extern "C" fn(*mut c_void, *const Happened, usize, *const Wishes, *const Sink) -> i32;

/// A protocol.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    pub head: Head,
    pub name: View,
    pub open: Option<Open>,
    pub turn: Option<Turn>,
    pub close: Option<Free>,
}

// SAFETY: its functions may be called from any thread, by the contract, and its name is a constant.
unsafe impl Sync for Protocol {}

pub type Start = unsafe extern "C" fn(View, *mut *mut c_void, *const Sink) -> i32;

/// What the entry fills.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    pub head: Head,
    pub name: View,
    pub version: View,
    pub start: Option<Start>,
    pub exchange_kind: *const ExchangeKind,
    pub protocol: *const Protocol,
    pub authenticator: *const Authenticator,
    pub transform: *const Transform,
}

/// The one function that is exported.
pub type Entry = unsafe extern "C" fn(*const Host, *mut Plugin) -> i32;

/// A struct that begins with a [`Head`], and of which all zeros are a value.
///
/// # Safety
/// Both have to be true.
pub unsafe trait Growing: Copy {}

// SAFETY: integers, pointers that may be null, views and optional functions, behind a head.
unsafe impl Growing for Host {}
// SAFETY: the same.
unsafe impl Growing for Argument {}
// SAFETY: the same.
unsafe impl Growing for ExchangeSpec {}
// SAFETY: the same.
unsafe impl Growing for Binding {}
// SAFETY: the same.
unsafe impl Growing for Routing {}
// SAFETY: the same.
unsafe impl Growing for ExchangeKind {}
// SAFETY: the same.
unsafe impl Growing for Plugin {}
// SAFETY: the same.
unsafe impl Growing for Happened {}
// SAFETY: the same.
unsafe impl Growing for Wish {}
// SAFETY: the same.
unsafe impl Growing for Protocol {}

/// A copy of a struct of the other side, as far as both know it; what it does not have is zero. None: there is none.
///
/// # Safety
/// It is null, or there is a head, and as many bytes as the head says.
pub unsafe fn read<T: Growing>(from: *const T) -> Option<T> {
    if from.is_null() {
        return None;
    }
    // SAFETY: there is a head, by the caller's promise; it may lie anywhere.
    let head = unsafe { from.cast::<Head>().read_unaligned() };
    let size = (head.struct_size as usize).min(size_of::<T>());
    let mut copy = std::mem::MaybeUninit::<T>::zeroed();
    // SAFETY: both have that many bytes.
    unsafe {
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), size);
    }
    // SAFETY: zeros and what was copied there are a value, by `Growing`.
    Some(unsafe { copy.assume_init() })
}

/// Copies of an array of structs of the other side.
///
/// # Safety
/// There are as many elements, each of the size that the first one's head says.
pub unsafe fn read_all<T: Growing>(from: *const T, count: usize) -> Vec<T> {
    if from.is_null() || count == 0 {
        return Vec::new();
    }
    // SAFETY: there is a first element, by the caller's promise.
    let stride = unsafe { from.cast::<Head>().read_unaligned() }.struct_size as usize;
    let each = (0..count).filter_map(|at| {
        // SAFETY: there are `count` of them, by the caller's promise.
        unsafe { read(from.cast::<u8>().add(at * stride).cast::<T>()) }
    });
    each.collect()
}
