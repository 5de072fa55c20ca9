//! Frames from the client: each goes to the file of its topic, and gets its receipt.

use super::receipts::{self, ReceiptId, Sent};
use super::refusal::Refusal;
use super::{Closing, Connection, Leaving};
use crate::codec::{Command, Decoder, Fault, Frame, Headers, Rules};
use crate::mapping::titles::{BAD_COMMAND, BAD_FRAME, titled};
use crossdock_core::{Error, ErrorKind};
use crossdock_net::Input;

/// What a frame's receipt waits for.
pub(super) enum Answer {
    Done,
    /// This many confirms.
    Confirms {
        count: usize,
        soft: bool,
        expired: bool,
    },
    /// Nothing, and the receipt says that the message has expired.
    Expired,
    /// Everything that the session did so far being stored.
    Stored,
    /// The end of the connection.
    Left,
}

impl Connection<'_> {
    /// All whole frames of the input.
    pub(super) async fn frames(&mut self) -> Result<(), Closing> {
        self.now = self.session.broker().now();
        self.targets.next_turn();
        while self.leaving.is_none() && self.held_commit.is_none() && self.line.goes_on() {
            let rules = self.client.rules;
            let next = next_frame(&mut self.line.input, &mut self.decoder, rules);
            let result = match next {
                Ok(Some(frame)) => self.frame(frame).await,
                Ok(None) => break,
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = result {
                self.leaving = Some(Leaving::Refused(refusal));
            }
        }
        self.end_turn().await
    }

    pub(super) async fn frame(&mut self, frame: Frame) -> Result<(), Refusal> {
        if frame.command == Command::Commit && !self.may_commit(&frame.headers) {
            self.held_commit = Some(frame);
            return Ok(());
        }
        let receipt = ReceiptId::asked(&frame.headers);
        let answer = match self.receive(&frame, receipt.is_some()).await {
            Ok(answer) => answer,
            Err(error) => return Err(Refusal { receipt, ..error.into() }),
        };
        match (answer, receipt) {
            (Answer::Left, receipt) => self.leaving = Some(Leaving::Disconnect(receipt)),
            (_, None) => {}
            (Answer::Done, Some(receipt)) => {
                receipts::write(self.line.output.tail(), self.client.rules, &receipt, None);
            }
            (Answer::Expired, Some(receipt)) => {
                let note = Some(receipts::EXPIRED);
                receipts::write(self.line.output.tail(), self.client.rules, &receipt, note);
            }
            (Answer::Confirms { count, soft, expired }, Some(receipt)) => {
                self.receipts.with_confirms(Sent { receipt, left: count, soft, expired });
            }
            (Answer::Stored, Some(receipt)) => self.receipts.when_stored(receipt),
        }
        Ok(())
    }

    async fn receive(&mut self, frame: &Frame, receipt: bool) -> Result<Answer, Error> {
        let headers: &Headers = &frame.headers;
        match frame.command {
            Command::Send => self.send(frame, receipt).await,
            Command::Ack => self.ack(headers).await,
            Command::Nack => self.nack(headers).await,
            // Boxed: rare, and large futures.
            _ => Box::pin(self.control(frame, receipt)).await,
        }
    }

    /// Frames that are rare; the handling of most of them waits for the store.
    async fn control(&mut self, frame: &Frame, receipt: bool) -> Result<Answer, Error> {
        let headers: &Headers = &frame.headers;
        match frame.command {
            Command::Subscribe => self.subscribe(headers).await,
            Command::Unsubscribe => self.unsubscribe(headers).await,
            Command::Begin => self.begin(headers),
            Command::Commit => self.commit(headers, receipt).await,
            Command::Abort => self.abort(headers),
            Command::Disconnect => Ok(Answer::Left),
            Command::Connect | Command::Stomp => Err(titled(BAD_COMMAND, "already connected")),
            other => Err(titled(BAD_COMMAND, format!("{} is a server's frame", other.text()))),
        }
    }

    /// What every turn ends with: publishes are routed, and what was asked to be stored is waited for.
    pub(super) async fn end_turn(&mut self) -> Result<(), Closing> {
        self.session.flush();
        if self.receipts.waits_for_store() {
            Box::pin(self.line.while_waiting(self.session.sync())).await?;
            self.receipts.answer_stored(self.line.output.tail(), self.client.rules);
        }
        match self.leaving.take_if(|_| self.receipts.all_confirmed()) {
            None => Ok(()),
            Some(Leaving::Disconnect(receipt)) => Err(Closing::ByClient(receipt)),
            Some(Leaving::Refused(refusal)) => Err(refusal.into()),
        }
    }
}

/// The next frame that arrived whole. `rules`: how the peer reads the receipt id of a broken one.
pub(super) fn next_frame(
    input: &mut Input,
    decoder: &mut Decoder,
    rules: Rules,
) -> Result<Option<Frame>, Refusal> {
    let fault = match decoder.decode(input.buffer()) {
        Ok(frame) => return Ok(frame),
        Err(fault) => fault,
    };
    let receipt = decoder.receipt(input.buffer());
    let receipt = receipt.and_then(|text| ReceiptId::of_text(&text, rules));
    let error = match (limit_of(&fault, rules), &fault) {
        (Some(key), _) => Error::new(ErrorKind::TooLarge, format!("{fault} ({key})")),
        (None, Fault::UnknownCommand(_)) => titled(BAD_COMMAND, &fault),
        (None, _) => titled(BAD_FRAME, &fault),
    };
    Err(Refusal { receipt, ..error.into() })
}

/// The key of the configuration whose limit the frame exceeds. `rules`: those of CONNECT before the login.
fn limit_of(fault: &Fault, rules: Rules) -> Option<&'static str> {
    match fault {
        Fault::TooManyHeaders(_) => Some("limits.stomp.headers_per_frame"),
        Fault::HeadersTooLong(_) | Fault::BodyTooLong(_) if rules == Rules::CONNECT => {
            Some("limits.stomp.connect_bytes")
        }
        Fault::HeadersTooLong(_) => Some("limits.stomp.header_bytes"),
        Fault::BodyTooLong(_) => Some("limits.message_bytes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Version;

    #[test]
    fn a_frame_that_is_too_large_names_the_key_of_its_limit() {
        let after = Version::V12.rules();
        for (fault, rules, key) in [
            (Fault::TooManyHeaders(1), after, "limits.stomp.headers_per_frame"),
            (Fault::HeadersTooLong(1), Rules::CONNECT, "limits.stomp.connect_bytes"),
            (Fault::BodyTooLong(1), Rules::CONNECT, "limits.stomp.connect_bytes"),
            (Fault::HeadersTooLong(1), after, "limits.stomp.header_bytes"),
            (Fault::BodyTooLong(1), after, "limits.message_bytes"),
        ] {
            assert_eq!(limit_of(&fault, rules), Some(key), "{fault}");
        }
        assert_eq!(limit_of(&Fault::NoColon, after), None);
    }
}
