//! The titles of ERROR frames, in the words that RabbitMQ uses for them: its clients show and compare them. An error
//! that has one begins with it, so that the log says it too.

use crossdock_core::{Error, ErrorKind};
use std::fmt::Display;

pub(crate) const BAD_COMMAND: &str = "Bad command";
pub(crate) const BAD_FRAME: &str = "Invalid frame";
pub(crate) const BAD_CONNECT: &str = "Bad CONNECT";
pub(crate) const BAD_TRANSACTION: &str = "Bad transaction";
pub(crate) const DUPLICATED_ID: &str = "Duplicated subscription identifier";
pub(crate) const INVALID_DESTINATION: &str = "Invalid destination";
pub(crate) const MISSING_DESTINATION: &str = "Missing destination";
pub(crate) const MISSING_HEADER: &str = "Missing Header";
pub(crate) const NO_SUBSCRIPTION: &str = "Subscription not found";
pub(crate) const UNKNOWN_DESTINATION: &str = "Unknown destination";
pub(crate) const VERSION_MISMATCH: &str = "Version mismatch";

const TITLES: [&str; 11] = [
    BAD_COMMAND,
    BAD_FRAME,
    BAD_CONNECT,
    BAD_TRANSACTION,
    DUPLICATED_ID,
    INVALID_DESTINATION,
    MISSING_DESTINATION,
    MISSING_HEADER,
    NO_SUBSCRIPTION,
    UNKNOWN_DESTINATION,
    VERSION_MISMATCH,
];

/// A request that makes no sense, under that title.
pub(crate) fn titled(title: &'static str, detail: impl Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("{title}: {detail}"))
}

/// The same error under that title.
pub(crate) fn titled_as(title: &'static str, error: &Error) -> Error {
    Error::new(error.kind(), format!("{title}: {}", error.detail()))
}

/// The title of an error, if it has one, and the text behind it.
pub(crate) fn split(error: &Error) -> (Option<&'static str>, &str) {
    let detail = error.detail();
    let behind = |title: &&str| detail.strip_prefix(*title)?.strip_prefix(": ");
    TITLES.iter().find_map(|title| Some((Some(*title), behind(title)?))).unwrap_or((None, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_title_is_found_again() {
        for title in TITLES {
            assert_eq!(split(&titled(title, "why: so")), (Some(title), "why: so"));
        }
        let plain = Error::new(ErrorKind::Full, "queue 'Bad command: q' is full");
        assert_eq!(split(&plain), (None, "queue 'Bad command: q' is full"));
        let full = titled_as(BAD_CONNECT, &plain);
        assert_eq!(
            (full.kind(), split(&full)),
            (ErrorKind::Full, (Some(BAD_CONNECT), plain.detail()))
        );
    }
}
