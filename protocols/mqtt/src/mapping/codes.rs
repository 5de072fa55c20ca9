//! The core's outcomes and errors as reason codes. docs/SEMANTICS.md §2, "Publisher outcome".

use crate::codec::Reason;
use crossdock_core::{ConfirmOutcome, Error, ErrorKind};

/// The code of PUBACK and PUBREC.
pub fn publish_reason(confirmed: &ConfirmOutcome) -> Reason {
    match confirmed {
        ConfirmOutcome::Stored => Reason::SUCCESS,
        ConfirmOutcome::Unroutable(_) => Reason::NO_MATCHING_SUBSCRIBERS,
        ConfirmOutcome::Refused(error) => match error.kind() {
            ErrorKind::Refused | ErrorKind::Locked => Reason::NOT_AUTHORIZED,
            ErrorKind::Full | ErrorKind::LimitReached | ErrorKind::TooLarge => {
                Reason::QUOTA_EXCEEDED
            }
            ErrorKind::Invalid => Reason::PAYLOAD_FORMAT_INVALID,
            ErrorKind::Mismatch | ErrorKind::InUse => Reason::IMPLEMENTATION,
            ErrorKind::Unroutable => Reason::NO_MATCHING_SUBSCRIBERS,
            // 0x88 and 0x89 may not stand in a PUBACK.
            ErrorKind::NotFound
            | ErrorKind::Unavailable
            | ErrorKind::Closed
            | ErrorKind::Internal => Reason::UNSPECIFIED,
        },
    }
}

/// The code of a filter that was refused, in SUBACK.
pub fn suback_reason(error: &Error) -> Reason {
    match error.kind() {
        ErrorKind::Refused | ErrorKind::Locked => Reason::NOT_AUTHORIZED,
        ErrorKind::NotFound | ErrorKind::Invalid | ErrorKind::Mismatch => {
            Reason::TOPIC_FILTER_INVALID
        }
        ErrorKind::Full | ErrorKind::LimitReached | ErrorKind::TooLarge | ErrorKind::InUse => {
            Reason::QUOTA_EXCEEDED
        }
        ErrorKind::Unavailable
        | ErrorKind::Closed
        | ErrorKind::Unroutable
        | ErrorKind::Internal => Reason::UNSPECIFIED,
    }
}

/// The code of a filter whose subscription could not be ended, in UNSUBACK (MQTT 5 §3.11.3: it has no quota).
pub fn unsuback_reason(error: &Error) -> Reason {
    match suback_reason(error) {
        Reason::QUOTA_EXCEEDED => Reason::IMPLEMENTATION,
        other => other,
    }
}

/// The code of a CONNACK when a session could not be had.
pub fn connack_reason(error: &Error) -> Reason {
    match error.kind() {
        ErrorKind::Refused | ErrorKind::Locked => Reason::NOT_AUTHORIZED,
        ErrorKind::Invalid => Reason::CLIENT_ID_NOT_VALID,
        ErrorKind::Full | ErrorKind::LimitReached | ErrorKind::TooLarge => Reason::QUOTA_EXCEEDED,
        ErrorKind::Unavailable | ErrorKind::Closed => Reason::SERVER_UNAVAILABLE,
        ErrorKind::NotFound
        | ErrorKind::Mismatch
        | ErrorKind::InUse
        | ErrorKind::Unroutable
        | ErrorKind::Internal => Reason::UNSPECIFIED,
    }
}
