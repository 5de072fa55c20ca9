//! Both directions of the socket, and how a connection ends: the ERROR frame, the last write, the last read.

use super::receipts::ReceiptId;
use crate::codec::{Command, Decoder, Fault, Frame, Rules, Writer};
use crate::mapping::{error_code, invalid};
use bytes::BytesMut;
use crossdock_core::{Error, ErrorKind};
use crossdock_net::{Input, Output};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// A peer has so long to take the last bytes.
const FAREWELL: Duration = Duration::from_secs(2);
/// Then its own are thrown away for so long: closing a socket with unread input could destroy the ERROR on its way.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 4 << 20;

/// What ends a connection with an ERROR frame.
#[derive(Debug)]
pub(super) struct Refusal {
    pub error: Error,
    pub receipt: Option<ReceiptId>,
    /// The versions that would do are told.
    pub versions: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, receipt: None, versions: false }
    }
}

pub(super) struct Wire {
    pub input: Input,
    pub output: Output,
    pub decoder: Decoder,
}

impl Wire {
    pub(super) fn new(
        reader: Box<dyn AsyncRead + Send + Sync + Unpin>,
        writer: Box<dyn AsyncWrite + Send + Sync + Unpin>,
        head: BytesMut,
    ) -> Self {
        let (input, output) = (Input::new(reader, head), Output::new(writer));
        Self { input, output, decoder: Decoder::new() }
    }

    /// The next frame that arrived whole. `rules`: how the peer reads the receipt id of a broken one.
    pub(super) fn frame(&mut self, rules: Rules) -> Result<Option<Frame>, Refusal> {
        let fault = match self.decoder.decode(self.input.buffer()) {
            Ok(frame) => return Ok(frame),
            Err(fault) => fault,
        };
        let receipt = self.decoder.receipt(self.input.buffer());
        let receipt = receipt.and_then(|text| ReceiptId::of_text(&text, rules));
        let error = match fault {
            Fault::TooManyHeaders(_) | Fault::HeadersTooLong(_) | Fault::BodyTooLong(_) => {
                Error::new(ErrorKind::TooLarge, fault.to_string())
            }
            _ => invalid(fault.to_string()),
        };
        Err(Refusal { error, receipt, versions: false })
    }

    /// The frame that tells why this ends.
    pub(super) fn error(&mut self, refusal: &Refusal, rules: Rules) {
        let mut writer = Writer::begin(self.output.tail(), Command::Error, rules);
        writer.line(b"message", error_code(refusal.error.kind()).as_bytes());
        if let Some(receipt) = &refusal.receipt {
            // STOMP 1.2 §ERROR: the receipt-id of the frame that it answers.
            writer.line(b"receipt-id", receipt.octets());
        }
        if refusal.versions {
            writer.line(b"version", b"1.0,1.1,1.2");
        }
        writer.line(b"content-type", b"text/plain");
        writer.body(refusal.error.detail().as_bytes());
    }

    /// Writes what waits, as far as the peer lets us.
    pub(super) async fn drain(&mut self) {
        let written =
            async { while !self.output.is_empty() && self.output.write_some().await.is_ok() {} };
        // What is left then is lost with the connection.
        let _ = timeout(FAREWELL, written).await;
    }

    /// Writes what waits and closes, as far as the peer lets us.
    pub(super) async fn finish(&mut self) {
        if !matches!(timeout(FAREWELL, self.output.finish()).await, Ok(Ok(()))) {
            return;
        }
        let drop_input = async {
            let mut dropped = 0;
            while let Ok(n @ 1..) = self.input.read().await {
                self.input.buffer().clear();
                dropped += n;
                if dropped > LINGER_BYTES {
                    break;
                }
            }
        };
        // Not waiting longer is all that its end would tell.
        let _ = timeout(LINGER, drop_input).await;
    }
}
