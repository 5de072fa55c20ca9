//! Filters of topics in patterns: words between `/`, `+` is one word, `#` at the end is any number of them. A name that
//! stands for a word is one word, literally: one with a `/` in it matches nothing.

use super::Who;
use super::template::Template;
use crate::exchange::filter::{self, Word as Asked};
use crate::message::Key;
use std::borrow::Cow;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Is(Template),
    One,
}

/// A filter as it is written in a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Topics {
    words: Vec<Word>,
    /// It ends with `#`.
    has_more: bool,
    /// On the topic tree a wildcard in front never meets a topic that begins with `$` (docs/SEMANTICS.md §1).
    hides_dollar: bool,
}

/// A word with the names in it.
enum Meant<'a> {
    Is(Cow<'a, str>),
    One,
}

impl Topics {
    /// Reads a filter. `hides_dollar`: it is one of the topic tree.
    pub fn parse(text: &str, hides_dollar: bool) -> Result<Self, String> {
        let (mut words, mut has_more) = (Vec::new(), false);
        let mut rest = text.split('/').peekable();
        while let Some(word) = rest.next() {
            match word {
                "#" if rest.peek().is_none() => has_more = true,
                "+" => words.push(Word::One),
                "*" => {
                    return Err(
                        "'+' stands for one word and '#' for all that follow; a word that is \
                                '*' is neither"
                            .into(),
                    );
                }
                word if word.contains('#') => {
                    return Err("'#' has to be the last word, and all of it".into());
                }
                word if word.contains('+') => return Err("'+' has to be a whole word".into()),
                word => words.push(Word::Is(Template::parse(word)?)),
            }
        }
        Ok(Self { words, has_more, hides_dollar })
    }

    /// It matches every key.
    pub fn is_everything(&self) -> bool {
        self.words.is_empty() && self.has_more
    }

    /// The words for that session; none when a name in them cannot be (a part of) a word.
    fn meant<'a>(&'a self, who: &Who<'a>) -> Option<Vec<Meant<'a>>> {
        let meant = |word: &'a Word| match word {
            Word::One => Some(Meant::One),
            Word::Is(text) => text.text(who).filter(|text| !text.contains('/')).map(Meant::Is),
        };
        self.words.iter().map(meant).collect()
    }

    /// It begins with a wildcard, and that does not meet this first word.
    fn hides(&self, first: &[u8]) -> bool {
        let is_wild = !matches!(self.words.first(), Some(Word::Is(_)));
        self.hides_dollar && is_wild && first.first() == Some(&b'$')
    }

    /// Whether a key matches.
    pub fn matches(&self, key: &Key, who: &Who<'_>) -> bool {
        if self.hides(key.first_word()) {
            return false;
        }
        let mut words = key.words();
        for word in &self.words {
            let Some(there) = words.next() else { return false };
            let is_it = match word {
                Word::One => true,
                Word::Is(text) => text.text(who).is_some_and(|text| text.as_bytes() == there),
            };
            if !is_it {
                return false;
            }
        }
        self.has_more || words.next().is_none()
    }

    /// Whether every key that the other filter matches matches this one, too. It may say no where only words of their
    /// number tell that it does: then there is more to check, and nothing is missed.
    pub fn covers(&self, asked: &Key, who: &Who<'_>) -> bool {
        let mut rest = filter::words(asked);
        if let Some(Asked::Is(first)) = filter::words(asked).next()
            && self.hides(first)
        {
            return false;
        }
        let Some(words) = self.meant(who) else { return false };
        for word in words {
            let is_within = match (word, rest.next()) {
                (_, None | Some(Asked::Many)) => false,
                (Meant::One, Some(_)) => true,
                (Meant::Is(text), Some(Asked::Is(there))) => text.as_bytes() == there,
                (Meant::Is(_), Some(Asked::One)) => false,
            };
            if !is_within {
                return false;
            }
        }
        self.has_more || rest.next().is_none()
    }

    /// Whether some key matches both filters. At most words × words steps.
    pub fn meets(&self, asked: &Key, who: &Who<'_>) -> bool {
        let Some(words) = self.meant(who) else { return false };
        let asked: Vec<Asked<'_>> = filter::words(asked).collect();
        if !self.first_words_meet(words.first(), asked.first()) {
            return false;
        }
        // `row[j]`: what is asked for from its word j on meets this filter's words behind the current one. At the end
        // of this filter: all of it, or only `#`.
        let only_many = |from: usize| asked.iter().skip(from).all(|word| *word == Asked::Many);
        let mut row: Vec<bool> = (0..=asked.len()).map(|j| self.has_more || only_many(j)).collect();
        for word in words.iter().rev() {
            let mut next = vec![false; asked.len() + 1];
            for (j, there) in asked.iter().enumerate().rev() {
                let at = |row: &[bool], j: usize| row.get(j).copied().unwrap_or(false);
                let meets = match (there, word) {
                    (Asked::Many, _) => at(&next, j + 1) || at(&row, j),
                    (Asked::One, _) | (_, Meant::One) => at(&row, j + 1),
                    (Asked::Is(there), Meant::Is(text)) => {
                        text.as_bytes() == *there && at(&row, j + 1)
                    }
                };
                if let Some(place) = next.get_mut(j) {
                    *place = meets;
                }
            }
            row = next;
        }
        row.first().copied().unwrap_or(false)
    }

    /// On the topic tree no wildcard in front, on either side, meets a word that begins with `$`.
    fn first_words_meet(&self, first: Option<&Meant<'_>>, asked: Option<&Asked<'_>>) -> bool {
        let begins = |text: &[u8]| self.hides_dollar && text.first() == Some(&b'$');
        match (first, asked) {
            (Some(Meant::Is(text)), Some(Asked::One | Asked::Many)) => !begins(text.as_bytes()),
            (None | Some(Meant::One), Some(Asked::Is(text))) => !begins(text),
            _ => true,
        }
    }
}
