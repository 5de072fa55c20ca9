//! Rows of a table as RFC 4180 writes it: fields between separators, quoted ones with everything in them.

use std::iter::Peekable;
use std::str::CharIndices;

/// The rows of a text, each with the line that it begins in.
pub struct Rows<'a> {
    text: &'a str,
    rest: Peekable<CharIndices<'a>>,
    separator: char,
    line: usize,
    is_broken: bool,
}

impl<'a> Rows<'a> {
    pub fn of(text: &'a str, separator: u8) -> Self {
        let rest = text.char_indices().peekable();
        Self { text, rest, separator: char::from(separator), line: 1, is_broken: false }
    }

    fn row(&mut self) -> Result<(usize, Vec<String>), String> {
        let begins = self.line;
        let mut fields = Vec::new();
        loop {
            let field = match self.rest.peek() {
                Some((_, '"')) => self.quoted(),
                _ => self.plain(),
            };
            fields.push(field.map_err(|why| format!("line {begins}: {why}"))?);
            match self.rest.next() {
                Some((_, one)) if one == self.separator => {}
                Some((_, '\r')) => {
                    self.rest.next_if(|(_, one)| *one == '\n');
                    self.line += 1;
                    return Ok((begins, fields));
                }
                Some((_, '\n')) => {
                    self.line += 1;
                    return Ok((begins, fields));
                }
                None => return Ok((begins, fields)),
                Some((_, other)) => {
                    return Err(format!("line {}: '{other}' behind a quote", self.line));
                }
            }
        }
    }

    /// Up to the separator or the end of the line.
    fn plain(&mut self) -> Result<String, String> {
        let from = self.rest.peek().map_or(self.text.len(), |(at, _)| *at);
        let separator = self.separator;
        let ends = |one: char| one == separator || matches!(one, '\r' | '\n');
        while let Some((_, one)) = self.rest.next_if(|(_, one)| !ends(*one)) {
            if one == '"' {
                return Err("a quote inside of a field that does not begin with one".to_owned());
            }
        }
        let to = self.rest.peek().map_or(self.text.len(), |(at, _)| *at);
        Ok(self.text.get(from..to).unwrap_or_default().to_owned())
    }

    /// Up to the closing quote; two quotes are one.
    fn quoted(&mut self) -> Result<String, String> {
        self.rest.next();
        let mut field = String::new();
        while let Some((_, one)) = self.rest.next() {
            match one {
                '"' if self.rest.next_if(|(_, next)| *next == '"').is_some() => field.push('"'),
                '"' => return Ok(field),
                other => {
                    self.line += usize::from(other == '\n');
                    field.push(other);
                }
            }
        }
        Err("a quote is not closed".to_owned())
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<(usize, Vec<String>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_broken || self.rest.peek().is_none() {
            return None;
        }
        let row = self.row();
        self.is_broken = row.is_err();
        Some(row)
    }
}
