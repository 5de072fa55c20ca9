//! Where the two vocabularies meet: destinations ⇄ addresses, SEND → `Publish`, SUBSCRIBE → `Consumer`, header
//! blocks ⇄ `Fields`, errors → ERROR frames. Pure: no socket, no session.

pub(crate) mod destination;
mod format;
mod headers;
mod message;
mod queue;
mod send;
mod subscribe;
pub(crate) mod titles;

pub(crate) use format::{StompFormat, format_id};
pub(crate) use headers::{in_our_habits, replaced, required, truth};
pub(crate) use message::{Look, holds_body, is_native, tail};
pub(crate) use queue::{arguments, durable_subscription};
pub(crate) use send::SendRequest;
pub(crate) use subscribe::{AckMode, Plan, SubscribeRequest, forgotten_queue, replay};

use crossdock_core::message::carry::Slots;
use crossdock_core::{Error, ErrorKind};

/// Fields that STOMP has a header of its own for (docs/SEMANTICS.md §3).
fn slots() -> Slots {
    Slots::MESSAGE_ID
        | Slots::CORRELATION_ID
        | Slots::TIMESTAMP
        | Slots::USER_ID
        | Slots::CONTENT_TYPE
        | Slots::CONTENT_ENCODING
        | Slots::PRIORITY
        | Slots::TYPE
        | Slots::APP_ID
        | Slots::GROUP_ID
        | Slots::GROUP_SEQ
        | Slots::REPLY_TO
}

/// The `crossdock-code` header of the ERROR frame for an error of that kind.
pub(crate) fn error_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "not_found",
        ErrorKind::Mismatch => "precondition_failed",
        ErrorKind::Refused => "access_refused",
        ErrorKind::Locked => "resource_locked",
        ErrorKind::InUse => "resource_in_use",
        ErrorKind::Full | ErrorKind::LimitReached => "resource_limit_exceeded",
        ErrorKind::TooLarge => "content_too_large",
        ErrorKind::Invalid => "bad_request",
        ErrorKind::Unavailable => "unavailable",
        ErrorKind::Closed => "connection_closed",
        ErrorKind::Unroutable => "unroutable",
        ErrorKind::Internal => "internal_error",
    }
}

/// A request that makes no sense.
pub(crate) fn invalid(detail: impl Into<std::sync::Arc<str>>) -> Error {
    Error::new(ErrorKind::Invalid, detail)
}
