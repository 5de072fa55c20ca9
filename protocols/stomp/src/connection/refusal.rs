//! What ends a connection with an ERROR frame, and that frame.

use super::receipts::ReceiptId;
use crate::codec::{Command, Rules, Writer};
use crate::mapping::error_code;
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
    /// The frame that tells why this ends.
    pub(super) fn put(&self, out: &mut BytesMut, rules: Rules) {
        let mut writer = Writer::begin(out, Command::Error, rules);
        writer.line(b"message", error_code(self.error.kind()).as_bytes());
        if let Some(receipt) = &self.receipt {
            // STOMP 1.2 §ERROR: the receipt-id of the frame that it answers.
            writer.line(b"receipt-id", receipt.octets());
        }
        if self.versions {
            writer.line(b"version", b"1.0,1.1,1.2");
        }
        writer.line(b"content-type", b"text/plain");
        writer.body(self.error.detail().as_bytes());
    }
}
