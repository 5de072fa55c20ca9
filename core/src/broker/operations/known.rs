//! What operations that follow each other have in common: they share it, and nothing is allocated for it again.

use crate::message::wire::Take;
use crate::message::{Name, Origin};
use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use std::sync::Arc;

/// Names that are remembered.
const NAMES: usize = 4;

/// The newest names and the newest origin that were read.
#[derive(Default)]
pub struct Known {
    origin: Arc<Origin>,
    names: SmallVec<[Name; NAMES]>,
    /// Which name makes room for the next one.
    oldest: usize,
}

/// The bytes of a text in front of the input, and the input behind it.
fn split_text<'i>(input: &mut &'i [u8]) -> Option<&'i [u8]> {
    let len: usize = input.take_number()?;
    let (text, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(text)
}

fn name(text: &[u8]) -> Option<Name> {
    std::str::from_utf8(text).ok().map(Name::from)
}

impl Known {
    /// Reads a name that others probably have, too: of a virtual host or of an exchange.
    pub fn take_name(&mut self, input: &mut Bytes) -> Option<Name> {
        let mut rest: &[u8] = input;
        let text = split_text(&mut rest)?;
        let name = match self.names.iter().find(|known| known.as_bytes() == text) {
            Some(known) => known.clone(),
            None => self.remember(name(text)?),
        };
        let read = input.len() - rest.len();
        input.advance(read);
        Some(name)
    }

    fn remember(&mut self, name: Name) -> Name {
        match self.names.get_mut(self.oldest) {
            Some(place) => *place = name.clone(),
            None => self.names.push(name.clone()),
        }
        self.oldest = (self.oldest + 1) % NAMES;
        name
    }

    /// Reads an origin. Neighbours mostly come from one connection.
    pub fn take_origin(&mut self, input: &mut Bytes) -> Option<Arc<Origin>> {
        let mut rest: &[u8] = input;
        let texts = (split_text(&mut rest)?, split_text(&mut rest)?, split_text(&mut rest)?);
        let (user, client, listener) = texts;
        let known = &self.origin;
        let same = [(&known.user, user), (&known.client, client), (&known.listener, listener)];
        if !same.iter().all(|(known, is)| known.as_bytes() == *is) {
            let (user, client, listener) = (name(user)?, name(client)?, name(listener)?);
            self.origin = Arc::new(Origin { user, client, listener, ..Origin::default() });
        }
        let read = input.len() - rest.len();
        input.advance(read);
        Some(self.origin.clone())
    }
}
