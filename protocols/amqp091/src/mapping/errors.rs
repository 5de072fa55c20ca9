//! The core's errors as reply codes. The texts name what the error is about, because that is all a client shows.

use crate::codec::{Refusal, ReplyCode};
use crossdock_core::{BadDeclare, Error, ErrorKind};

/// What a request was about, for the text.
#[derive(Debug, Clone, Copy)]
pub enum Subject<'a> {
    Queue(&'a str),
    Exchange(&'a str),
}

impl Subject<'_> {
    fn kind(&self) -> &'static str {
        match self {
            Subject::Queue(_) => "queue",
            Subject::Exchange(_) => "exchange",
        }
    }

    fn name(&self) -> &str {
        match self {
            Subject::Queue(name) | Subject::Exchange(name) => name,
        }
    }
}

/// The code for an error of any request.
pub fn code(kind: ErrorKind) -> ReplyCode {
    match kind {
        ErrorKind::NotFound => ReplyCode::NotFound,
        ErrorKind::Refused => ReplyCode::AccessRefused,
        ErrorKind::Locked => ReplyCode::ResourceLocked,
        ErrorKind::Mismatch
        | ErrorKind::InUse
        | ErrorKind::Full
        | ErrorKind::LimitReached
        | ErrorKind::TooLarge
        | ErrorKind::Invalid
        | ErrorKind::Unroutable => ReplyCode::PreconditionFailed,
        ErrorKind::Unavailable => ReplyCode::ResourceError,
        ErrorKind::Closed => ReplyCode::ConnectionForced,
        ErrorKind::Internal => ReplyCode::InternalError,
    }
}

/// The refusal of a queue's declaration whose arguments cannot be.
pub fn declaration(bad: &BadDeclare, vhost: &str) -> Refusal {
    let code = match bad.is_not_served() {
        true => ReplyCode::NotImplemented,
        false => ReplyCode::PreconditionFailed,
    };
    Refusal::new(code, bad.in_vhost(vhost))
}

/// The refusal of a request that named neither a queue nor an exchange.
pub fn refusal(error: &Error) -> Refusal {
    Refusal::new(code(error.kind()), error.detail())
}

/// The refusal of a request about a queue or an exchange.
pub fn about(error: &Error, subject: Subject<'_>, vhost: &str) -> Refusal {
    let (kind, name) = (subject.kind(), subject.name());
    let text = match error.kind() {
        ErrorKind::NotFound => format!("no {kind} '{name}' in vhost '{vhost}'"),
        ErrorKind::Locked => format!(
            "cannot obtain exclusive access to locked {kind} '{name}' in vhost '{vhost}'. It could be \
             originally declared on another connection or the exclusive property value does not match that \
             of the original declaration."
        ),
        _ => error.detail().to_owned(),
    };
    Refusal::new(code(error.kind()), text)
}
