//! RECEIPT frames that are owed: of SENDs until their confirms are there, of ACKs until they are stored.

use crate::codec::{Command, Headers, Rules, Writer};
use crate::mapping::error_code;
use bytes::BytesMut;
use crossdock_core::{ConfirmOutcome, Error, ErrorKind};
use smallvec::SmallVec;
use std::collections::VecDeque;

/// SENDs whose confirms are outstanding, at most; beyond that nothing is read.
const CONFIRMS_MAX: usize = 1 << 16;

/// A receipt's id, in the octets it came in. The same connection writes it back, so that nothing is to be escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReceiptId(SmallVec<[u8; 24]>);

impl ReceiptId {
    /// What a frame asked for.
    pub(super) fn asked(headers: &Headers) -> Option<Self> {
        headers.find("receipt").map(|header| Self(header.raw_value.into()))
    }

    /// Of an id whose escapes are undone.
    pub(super) fn of_text(text: &str, rules: Rules) -> Option<Self> {
        let mut line = BytesMut::new();
        let written = Writer::go_on(&mut line, rules).header("r", text);
        let octets = line.strip_prefix(b"r:")?.strip_suffix(b"\n")?;
        written.then(|| Self(octets.into()))
    }

    /// The octets.
    pub(super) fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// A SEND that asked for a receipt.
#[derive(Debug)]
pub(super) struct Sent {
    pub receipt: ReceiptId,
    /// Confirms to come: one for each part of the destination.
    pub left: usize,
    /// A refusal does not end the connection.
    pub soft: bool,
    /// The message had expired when it came.
    pub expired: bool,
}

/// The header of a receipt that says so.
pub(super) const EXPIRED: (&str, &str) =
    ("crossdock-note", "expired on arrival, only a consumer that waits gets it");

#[derive(Debug)]
struct Waiting {
    sent: Sent,
    routed: bool,
    refused: Option<Error>,
}

/// A refusal that ends the connection.
pub(super) type Refused = (Error, ReceiptId);

/// All that is owed. Confirms come in the order of the SENDs.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    confirms: VecDeque<Waiting>,
    stored: Vec<ReceiptId>,
}

impl Receipts {
    /// The receipt of this SEND is due with its confirms.
    pub(super) fn with_confirms(&mut self, sent: Sent) {
        self.confirms.push_back(Waiting { sent, routed: false, refused: None });
    }

    /// The receipt is due when all that the session did is stored.
    pub(super) fn when_stored(&mut self, receipt: ReceiptId) {
        self.stored.push(receipt);
    }

    /// True while more SENDs may be read.
    pub(super) fn has_room(&self) -> bool {
        self.confirms.len() < CONFIRMS_MAX
    }

    /// True when no confirm is outstanding.
    pub(super) fn all_confirmed(&self) -> bool {
        self.confirms.is_empty()
    }

    /// True when a receipt waits for the store.
    pub(super) fn waits_for_store(&self) -> bool {
        !self.stored.is_empty()
    }

    /// The next confirm in order.
    pub(super) fn confirmed(
        &mut self,
        confirmed: ConfirmOutcome,
        out: &mut BytesMut,
        rules: Rules,
    ) -> Result<(), Refused> {
        let Some(waiting) = self.confirms.front_mut() else { return Ok(()) };
        match confirmed {
            ConfirmOutcome::Stored => waiting.routed = true,
            ConfirmOutcome::Unroutable(_) => {}
            // As a publish that nobody is bound to: the receipt says so.
            ConfirmOutcome::Refused(error) if error.kind() == ErrorKind::Unroutable => {}
            ConfirmOutcome::Refused(error) => waiting.refused = Some(error),
        }
        waiting.sent.left = waiting.sent.left.saturating_sub(1);
        if waiting.sent.left > 0 {
            return Ok(());
        }
        match self.confirms.pop_front() {
            Some(waiting) => waiting.answer(out, rules),
            None => Ok(()),
        }
    }

    /// Everything is stored.
    pub(super) fn answer_stored(&mut self, out: &mut BytesMut, rules: Rules) {
        for receipt in self.stored.drain(..) {
            write(out, rules, &receipt, None);
        }
    }
}

impl Waiting {
    /// docs/SEMANTICS.md §2, publisher outcome.
    fn answer(self, out: &mut BytesMut, rules: Rules) -> Result<(), Refused> {
        let receipt = self.sent.receipt;
        match self.refused {
            Some(error) if !self.sent.soft => return Err((error, receipt)),
            Some(error) => {
                write(out, rules, &receipt, Some(("mq-rejected", error_code(error.kind()))));
            }
            None if self.routed => {
                write(out, rules, &receipt, self.sent.expired.then_some(EXPIRED));
            }
            None => write(out, rules, &receipt, Some(("mq-unroutable", "true"))),
        }
        Ok(())
    }
}

/// One RECEIPT frame.
pub(super) fn write(
    out: &mut BytesMut,
    rules: Rules,
    receipt: &ReceiptId,
    remark: Option<(&str, &str)>,
) {
    let mut writer = Writer::begin(out, Command::Receipt, rules);
    writer.line(b"receipt-id", receipt.octets());
    if let Some((name, value)) = remark {
        writer.line(name.as_bytes(), value.as_bytes());
    }
    writer.end();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Version;

    fn receipts(sent: &[(&str, usize, bool)]) -> Receipts {
        let mut receipts = Receipts::default();
        for (id, left, soft) in sent {
            let receipt = ReceiptId::of_text(id, Version::V12.rules()).unwrap();
            receipts.with_confirms(Sent { receipt, left: *left, soft: *soft, expired: false });
        }
        receipts
    }

    fn answered(receipts: &mut Receipts, confirmed: ConfirmOutcome) -> Result<String, Refused> {
        let mut out = BytesMut::new();
        receipts.confirmed(confirmed, &mut out, Version::V12.rules())?;
        Ok(String::from_utf8(out.to_vec()).unwrap())
    }

    #[test]
    fn one_receipt_for_all_parts() {
        let mut receipts = receipts(&[("a:1", 2, false), ("b", 1, false)]);
        assert_eq!(answered(&mut receipts, ConfirmOutcome::Stored).unwrap(), "");
        let text = answered(&mut receipts, ConfirmOutcome::Stored).unwrap();
        assert_eq!(text, "RECEIPT\nreceipt-id:a\\c1\n\n\0\n");
        let text = answered(&mut receipts, ConfirmOutcome::Stored).unwrap();
        assert_eq!(text, "RECEIPT\nreceipt-id:b\n\n\0\n");
        assert!(receipts.all_confirmed());
    }

    #[test]
    fn refusals_end_the_connection_unless_asked_not_to() {
        let refused = || ConfirmOutcome::Refused(Error::new(ErrorKind::Full, "no room"));
        let mut receipts = receipts(&[("soft", 1, true), ("hard", 1, false)]);
        let text = answered(&mut receipts, refused()).unwrap();
        let want = "RECEIPT\nreceipt-id:soft\nmq-rejected:resource_limit_exceeded\n\n\0\n";
        assert_eq!(text, want);
        let (error, receipt) = answered(&mut receipts, refused()).unwrap_err();
        assert_eq!((error.kind(), receipt.octets()), (ErrorKind::Full, &b"hard"[..]));
    }
}
