//! DISCONNECT from a client (MQTT 5 §3.14).

use super::Version;
use super::properties::{Place, Property, read};
use super::reason::{Fault, Reason};
use super::wire::{Reader, Text};
use bytes::Bytes;

/// A decoded DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    pub reason: Reason,
    /// Seconds; replaces the session expiry of CONNECT.
    pub session_expiry: Option<u32>,
    pub text: Option<Text>,
}

pub(super) fn decode(body: Bytes, version: Version) -> Result<Disconnect, Fault> {
    let mut reader = Reader::new(body);
    let mut out = Disconnect { reason: Reason::SUCCESS, session_expiry: None, text: None };
    if version.is_5() && !reader.is_empty() {
        out.reason = Reason(reader.u8()?);
        // MQTT 5 table 3-13, the rows that a client may send.
        if !matches!(out.reason.0, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99) {
            return Err(Fault::protocol("a reason code that a client does not send"));
        }
        if !reader.is_empty() {
            let block = reader.block()?;
            read(&block, Place::Disconnect, |property, _| {
                match property {
                    Property::SessionExpiry(seconds) => out.session_expiry = Some(seconds),
                    Property::ReasonString(text) => out.text = Some(text),
                    _ => (),
                }
                Ok(())
            })?;
        }
    }
    reader.end()?;
    Ok(out)
}
