//! Answers of the control API: JSON, or why there is none.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use crossdock_core::{Error, ErrorKind};
use serde_json::{Value as Json, json};

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub reason: String,
}

impl Refusal {
    /// A request that makes no sense.
    pub fn bad(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: reason.into() }
    }

    /// There is no such thing.
    pub fn missing(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, reason: reason.into() }
    }

    /// It is not possible as things are.
    pub fn conflict(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::CONFLICT, reason: reason.into() }
    }

    /// It is not possible now.
    pub fn later(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, reason: reason.into() }
    }

    /// A fault of the broker's.
    pub fn fault(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, reason: reason.into() }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match error.kind() {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Refused => StatusCode::FORBIDDEN,
            ErrorKind::Mismatch
            | ErrorKind::Locked
            | ErrorKind::InUse
            | ErrorKind::Full
            | ErrorKind::LimitReached
            | ErrorKind::Unroutable => StatusCode::CONFLICT,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::Unavailable | ErrorKind::Closed => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, reason: error.detail().to_owned() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        written(self.status, &json!({ "reason": self.reason }))
    }
}

/// The answer to a request.
pub fn answer(result: Result<Json, Refusal>) -> Response {
    match result {
        Ok(json) => written(StatusCode::OK, &json),
        Err(refusal) => refusal.into_response(),
    }
}

fn written(status: StatusCode, json: &Json) -> Response {
    let head = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (status, head, format!("{json}\n")).into_response()
}
