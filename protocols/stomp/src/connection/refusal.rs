//! What ends a connection with an ERROR frame, and that frame.

use super::receipts::ReceiptId;
use crate::codec::{Command, Rules, Writer};
use crate::mapping::error_code;
use crate::mapping::titles::{split, titled_as};
use bytes::BytesMut;
use crossdock_core::Error;

/// What ends a connection with an ERROR frame.
#[derive(Debug)]
pub(super) struct Refusal {
    pub error: Error,
    pub receipt: Option<ReceiptId>,
    /// The supported versions are listed in the frame.
    pub versions: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, receipt: None, versions: false }
    }
}

impl Refusal {
    /// The same with that title, where it has none.
    pub(super) fn or_titled(mut self, title: &'static str) -> Self {
        if split(&self.error).0.is_none() {
            self.error = titled_as(title, &self.error);
        }
        self
    }

    /// The frame that tells why this ends. Its title is what clients of other brokers look for; where there is none
    /// for the case it is the code, as RabbitMQ shows the codes of AMQP.
    pub(super) fn put(&self, out: &mut BytesMut, rules: Rules) {
        let code = error_code(self.error.kind());
        let (title, detail) = split(&self.error);
        let mut writer = Writer::begin(out, Command::Error, rules);
        writer.line(b"message", title.unwrap_or(code).as_bytes());
        writer.line(b"crossdock-code", code.as_bytes());
        if let Some(receipt) = &self.receipt {
            // STOMP 1.2 §ERROR: the receipt-id of the frame that it answers.
            writer.line(b"receipt-id", receipt.octets());
        }
        if self.versions {
            writer.line(b"version", b"1.0,1.1,1.2");
        }
        writer.line(b"content-type", b"text/plain");
        writer.body(detail.as_bytes());
    }
}
