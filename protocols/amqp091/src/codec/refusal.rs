//! What ends a channel or a connection: a reply code and a text. AMQP 0-9-1 §1.2 says which code ends what.

use super::wire::Malformed;
use std::fmt::Display;

/// Reply codes (AMQP 0-9-1 §1.2, constants).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ReplyCode {
    Success = 200,
    NoRoute = 312,
    ConnectionForced = 320,
    InvalidPath = 402,
    AccessRefused = 403,
    NotFound = 404,
    ResourceLocked = 405,
    PreconditionFailed = 406,
    FrameError = 501,
    SyntaxError = 502,
    CommandInvalid = 503,
    ChannelError = 504,
    UnexpectedFrame = 505,
    ResourceError = 506,
    NotAllowed = 530,
    NotImplemented = 540,
    InternalError = 541,
}

impl ReplyCode {
    pub fn number(self) -> u16 {
        self as u16
    }

    /// The constant's name: clients show it, and some search the text for it.
    pub fn word(self) -> &'static str {
        match self {
            ReplyCode::Success => "SUCCESS",
            ReplyCode::NoRoute => "NO_ROUTE",
            ReplyCode::ConnectionForced => "CONNECTION_FORCED",
            ReplyCode::InvalidPath => "INVALID_PATH",
            ReplyCode::AccessRefused => "ACCESS_REFUSED",
            ReplyCode::NotFound => "NOT_FOUND",
            ReplyCode::ResourceLocked => "RESOURCE_LOCKED",
            ReplyCode::PreconditionFailed => "PRECONDITION_FAILED",
            ReplyCode::FrameError => "FRAME_ERROR",
            ReplyCode::SyntaxError => "SYNTAX_ERROR",
            ReplyCode::CommandInvalid => "COMMAND_INVALID",
            ReplyCode::ChannelError => "CHANNEL_ERROR",
            ReplyCode::UnexpectedFrame => "UNEXPECTED_FRAME",
            ReplyCode::ResourceError => "RESOURCE_ERROR",
            ReplyCode::NotAllowed => "NOT_ALLOWED",
            ReplyCode::NotImplemented => "NOT_IMPLEMENTED",
            ReplyCode::InternalError => "INTERNAL_ERROR",
        }
    }

    /// "Soft" codes end the channel; all others end the connection.
    pub fn ends_channel_only(self) -> bool {
        matches!(
            self,
            ReplyCode::AccessRefused
                | ReplyCode::NotFound
                | ReplyCode::ResourceLocked
                | ReplyCode::PreconditionFailed
        )
    }
}

/// The class and method that a close names as its cause; zero when it was none.
pub type MethodId = (u16, u16);

/// Why a channel or the connection has to be closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", code.word())]
pub struct Refusal {
    pub code: ReplyCode,
    pub text: String,
}

impl Refusal {
    pub fn new(code: ReplyCode, text: impl Display) -> Self {
        Self { code, text: text.to_string() }
    }

    /// The text as it goes into a close: the constant's name in front.
    pub fn reply_text(&self) -> String {
        format!("{} - {}", self.code.word(), self.text)
    }
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Refusal::new(ReplyCode::SyntaxError, "the arguments of a method could not be read")
    }
}
