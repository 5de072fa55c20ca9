//! The one error type of the core: a kind to branch on, a detail to read. It is not a protocol's reply code;
//! each adapter keeps one table from [`ErrorKind`] to its own codes in its mapping.rs.

use std::fmt;
use std::sync::Arc;

/// What went wrong, in terms every adapter can translate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// A named thing does not exist.
    NotFound,
    /// It exists, with other settings than the request's.
    Mismatch,
    /// The user may not do this.
    Refused,
    /// It belongs exclusively to another connection, or another process.
    Locked,
    /// It is in use (consumers, messages, bindings), and the request said "only if unused".
    InUse,
    /// A length or size limit says no.
    Full,
    /// There are as many as there may be: see [`ObjectLimits`](crate::ObjectLimits).
    LimitReached,
    /// One item is larger than the limit for one item.
    TooLarge,
    /// The request makes no sense (bad argument, wrong state).
    Invalid,
    /// Not possible now; later it may be.
    Unavailable,
    /// The session, connection or broker is closing.
    Closed,
    /// A message has nowhere to go, because of what a content route made of it.
    Unroutable,
    /// A fault of ours.
    Internal,
}

/// An error of the core. Cheap to clone: a confirm can carry it to many lanes.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    detail: Arc<str>,
}

impl Error {
    /// An error of `kind`; `detail` is lowercase prose without a full stop.
    pub fn new(kind: ErrorKind, detail: impl Into<Arc<str>>) -> Self {
        Self { kind, detail: detail.into() }
    }

    /// What to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to show a person.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.detail)
    }
}

impl std::error::Error for Error {}
