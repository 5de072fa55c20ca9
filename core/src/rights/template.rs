//! A text in which names of the asking session may stand. They are replaced literally: a name never becomes a wildcard,
//! whatever characters it has.

use super::Who;
use std::borrow::Cow;

const USER: &str = "{username}";
const CLIENT: &str = "{client_id}";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<str>),
    User,
    Client,
}

/// Text and names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Reads a text; what is in braces has to be a known name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        let mut plain = String::new();
        while let Some(at) = rest.find('{') {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            let (piece, name) = match () {
                () if from.starts_with(USER) => (Piece::User, USER),
                () if from.starts_with(CLIENT) => (Piece::Client, CLIENT),
                () => {
                    let known = format!("'{USER}' and '{CLIENT}'");
                    return Err(format!("what is in braces has to be one of {known}"));
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(piece);
            rest = from.get(name.len()..).unwrap_or_default();
        }
        plain.push_str(rest);
        if !plain.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(plain.into()));
        }
        Ok(Self(pieces))
    }

    /// The text without names in it; none when it has some.
    pub fn fixed(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// What it certainly begins with.
    pub fn prefix(&self) -> &str {
        match self.0.first() {
            Some(Piece::Text(text)) => text,
            _ => "",
        }
    }

    /// The text with the names in it. None when a name is empty that stands in it: an empty name would make the text
    /// a more general one.
    pub fn text<'t>(&'t self, who: &Who<'t>) -> Option<Cow<'t, str>> {
        if let Some(text) = self.fixed() {
            return Some(Cow::Borrowed(text));
        }
        let mut whole = String::new();
        for piece in &self.0 {
            let part = match piece {
                Piece::Text(text) => &**text,
                Piece::User => who.user,
                Piece::Client => who.client,
            };
            if part.is_empty() {
                return None;
            }
            whole.push_str(part);
        }
        Some(Cow::Owned(whole))
    }
}
