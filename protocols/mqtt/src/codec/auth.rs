//! AUTH (MQTT 5 §3.15), from clients and to them.

use super::id;
use super::properties::{Place, Property, read};
use super::reason::{Fault, Reason};
use super::wire::{Reader, Text};
use super::write::{Block, put_auth};
use bytes::{Bytes, BytesMut};

/// What CONNECT and AUTH say of enhanced authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authentication {
    pub method: Text,
    pub data: Option<Bytes>,
}

/// A decoded AUTH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// [`Reason::CONTINUE`] or [`Reason::REAUTHENTICATE`].
    pub reason: Reason,
    pub authentication: Authentication,
}

pub(super) fn decode(body: Bytes) -> Result<Auth, Fault> {
    let mut reader = Reader::new(body);
    // §3.15.2.1: nothing at all is a success, which only servers say.
    let reason = if reader.is_empty() { Reason::SUCCESS } else { Reason(reader.u8()?) };
    if reason != Reason::CONTINUE && reason != Reason::REAUTHENTICATE {
        return Err(Fault::protocol("a reason code that a client does not send"));
    }
    let (mut method, mut data) = (None, None);
    if !reader.is_empty() {
        let block = reader.block()?;
        read(&block, Place::Auth, |property, _| {
            match property {
                Property::AuthMethod(name) => method = Some(name),
                Property::AuthData(bytes) => data = Some(bytes),
                _ => (),
            }
            Ok(())
        })?;
    }
    reader.end()?;
    // §3.15.2.2.2
    let method = method.ok_or(Fault::protocol("AUTH without a method"))?;
    Ok(Auth { reason, authentication: Authentication { method, data } })
}

/// Writes an AUTH.
pub fn write(out: &mut BytesMut, reason: Reason, method: &Text, data: &Bytes) {
    let mut block = Block::new();
    block.bytes(id::AUTH_METHOD, method.bytes());
    block.bytes(id::AUTH_DATA, data);
    put_auth(out, reason, &block);
}
