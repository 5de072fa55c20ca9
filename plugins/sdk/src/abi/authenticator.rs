//! The contract of authenticators.

use super::{Growing, Head, Sink, View};
use std::ffi::c_void;

pub const ANONYMOUS: u32 = 1;
pub const PASSWORD: u32 = 2;
pub const TOKEN: u32 = 3;
pub const CERTIFICATE: u32 = 4;
/// In the flags of a login.
pub const LOOPBACK: u32 = 1;

/// Texts, one after the other.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Views {
    pub ptr: *const View,
    pub count: usize,
}

impl Views {
    /// Of those.
    pub const fn of(views: &[View]) -> Self {
        Self { ptr: views.as_ptr(), count: views.len() }
    }

    /// The views.
    ///
    /// # Safety
    /// It is null, or there are as many views there for as long as `'a`.
    pub unsafe fn all<'a>(self) -> &'a [View] {
        match self.ptr.is_null() || self.count > isize::MAX as usize / size_of::<View>() {
            true => &[],
            // SAFETY: the caller's promise.
            false => unsafe { std::slice::from_raw_parts(self.ptr, self.count) },
        }
    }
}

/// A login that is to be judged.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Login {
    pub head: Head,
    pub kind: u32,
    pub flags: u32,
    pub user: View,
    pub secret: View,
    pub subject: View,
    pub common_names: Views,
    pub alternative_names: Views,
    pub peer: View,
    pub client: View,
    pub virtual_host: View,
}

/// What somebody may do in a virtual host.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    pub head: Head,
    pub virtual_host: View,
    pub configure: Views,
    pub write: Views,
    pub read: Views,
}

pub const NOT_MINE: u32 = 1;
pub const ACCOUNT: u32 = 2;
pub const USER: u32 = 3;

/// Who somebody is.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    pub head: Head,
    pub kind: u32,
    pub user: View,
    pub expires_ms: u64,
    pub tags: Views,
    pub rights: *const Rights,
    pub rights_count: usize,
}

/// Takes an answer.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Answers {
    pub context: *mut c_void,
    pub answer: Option<unsafe extern "C" fn(*mut c_void, *const Answer) -> i32>,
}

pub type Judge =
    unsafe extern "C" fn(*mut c_void, *const Login, *const Answers, *const Sink) -> i32;

/// An authenticator.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Authenticator {
    pub head: Head,
    pub login: Option<Judge>,
}

// SAFETY: integers, pointers that may be null, views and optional functions, behind a head.
unsafe impl Growing for Login {}
// SAFETY: the same.
unsafe impl Growing for Rights {}
// SAFETY: the same.
unsafe impl Growing for Answer {}
// SAFETY: the same.
unsafe impl Growing for Authenticator {}
