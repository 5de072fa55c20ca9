//! `LIKE` patterns: `%` is any text, `_` one character. Cut at the `%` into segments that are looked for one after
//! the other, leftmost first, so that time is text × longest segment with a `_`, and linear without one.

use memchr::memmem::Finder;

/// Longest segment between two `%` that holds a `_`, in characters.
const MASK_MAX: usize = 64;

/// A compiled pattern: `segments[0] % segments[1] % ...`; never empty.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Debug, Clone)]
enum Segment {
    Literal(Box<Finder<'static>>),
    /// `None` is `_`.
    Mask(Vec<Option<char>>),
}

impl Pattern {
    /// Compiles the pattern; a character after `escape` stands for itself.
    pub(super) fn new(text: &str, escape: Option<char>) -> Result<Self, &'static str> {
        let mut parts: Vec<Vec<Option<char>>> = Vec::new();
        let mut part = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                c if Some(c) == escape => {
                    let next = chars.next().ok_or("the pattern ends in its escape character")?;
                    part.push(Some(next));
                }
                '%' => parts.push(std::mem::take(&mut part)),
                '_' => part.push(None),
                c => part.push(Some(c)),
            }
        }
        parts.push(part);
        let last = parts.len() - 1;
        let long = |(at, part): (usize, &Vec<Option<char>>)| {
            at > 0 && at < last && part.len() > MASK_MAX && part.contains(&None)
        };
        if parts.iter().enumerate().any(long) {
            return Err("more than 64 characters with a _ between two %");
        }
        Ok(Self { segments: parts.into_iter().map(Segment::new).collect() })
    }

    /// Whether the whole text is like this.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (first, rest) = match self.segments.split_first() {
            Some(split) => split,
            None => return text.is_empty(),
        };
        let Some((last, middle)) = rest.split_last() else {
            return first.after_prefix(text) == Some("");
        };
        let Some(mut text) = first.after_prefix(text) else { return false };
        match last.before_suffix(text) {
            Some(before) => text = before,
            None => return false,
        }
        for segment in middle {
            match segment.after_first(text) {
                Some(after) => text = after,
                None => return false,
            }
        }
        true
    }
}

impl Segment {
    fn new(part: Vec<Option<char>>) -> Self {
        match part.iter().copied().collect::<Option<String>>() {
            Some(literal) => Segment::Literal(Box::new(Finder::new(&literal).into_owned())),
            None => Segment::Mask(part),
        }
    }

    /// What follows the segment when the text begins with it.
    fn after_prefix<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Segment::Literal(finder) => {
                let needle = finder.needle();
                text.as_bytes().starts_with(needle).then(|| text.get(needle.len()..)).flatten()
            }
            Segment::Mask(mask) => {
                let mut chars = text.chars();
                let fits =
                    mask.iter().all(|m| chars.next().is_some_and(|c| m.is_none_or(|m| m == c)));
                fits.then_some(chars.as_str())
            }
        }
    }

    /// What precedes the segment when the text ends with it.
    fn before_suffix<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Segment::Literal(finder) => {
                let needle = finder.needle();
                let length = text.len().checked_sub(needle.len())?;
                text.as_bytes().ends_with(needle).then(|| text.get(..length)).flatten()
            }
            Segment::Mask(mask) => {
                let mut chars = text.chars();
                let fits = mask
                    .iter()
                    .rev()
                    .all(|m| chars.next_back().is_some_and(|c| m.is_none_or(|m| m == c)));
                fits.then_some(chars.as_str())
            }
        }
    }

    /// What follows its leftmost place in the text.
    fn after_first<'t>(&self, text: &'t str) -> Option<&'t str> {
        match self {
            Segment::Literal(finder) => {
                let at = finder.find(text.as_bytes())?;
                text.get(at + finder.needle().len()..)
            }
            Segment::Mask(_) => {
                let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
                starts.filter_map(|at| text.get(at..)).find_map(|rest| self.after_prefix(rest))
            }
        }
    }
}
