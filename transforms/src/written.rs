//! Values as they are written: each reader says what it expected and what it found. `Json::Null` is a value that is not
//! written.

use serde_json::{Map, Value as Json};
use std::ops::RangeInclusive;

/// What kind of value this is, for a reason.
pub(crate) fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a table",
    }
}

fn expected<T>(wanted: &str, found: &Json) -> Result<T, String> {
    Err(format!("expected {wanted}, found {}", kind(found)))
}

pub(crate) fn text(value: &Json) -> Result<&str, String> {
    match value {
        Json::String(text) => Ok(text),
        other => expected("a text", other),
    }
}

pub(crate) fn boolean(value: &Json) -> Result<bool, String> {
    match value {
        Json::Bool(is) => Ok(*is),
        other => expected("true or false", other),
    }
}

/// A whole number within the range.
pub(crate) fn whole(value: &Json, range: RangeInclusive<i64>) -> Result<i64, String> {
    match (value, value.as_i64()) {
        (_, Some(number)) if range.contains(&number) => Ok(number),
        (Json::Number(number), _) if !number.is_f64() => {
            Err(format!("{number} is not from {} to {}", range.start(), range.end()))
        }
        (Json::Number(number), _) => Err(format!("expected a whole number, found {number}")),
        (other, _) => expected("a whole number", other),
    }
}

pub(crate) fn list(value: &Json) -> Result<&[Json], String> {
    match value {
        Json::Array(items) => Ok(items),
        other => expected("a list", other),
    }
}

pub(crate) fn table(value: &Json) -> Result<&Map<String, Json>, String> {
    match value {
        Json::Object(members) => Ok(members),
        other => expected("a table", other),
    }
}

/// One of these words, and what it stands for.
pub(crate) fn word<T: Copy>(value: &Json, words: &[(&str, T)]) -> Result<T, String> {
    let text = text(value)?;
    let names = || words.iter().map(|(word, _)| *word);
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, meaning)) => Ok(*meaning),
        None => Err(match nearest(text, names()) {
            Some(meant) => format!("unknown word '{text}'; did you mean '{meant}'?"),
            None => format!("'{text}' is none of {}", names().collect::<Vec<_>>().join(", ")),
        }),
    }
}

/// The word that was probably meant: at most a third of its letters, or two, are wrong.
pub(crate) fn nearest<'a>(text: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let letters = text.chars().count();
    // Nobody mistypes a word by a hundred letters, and the work grows with the square of them.
    if letters > 100 {
        return None;
    }
    let allowed = (letters / 3).max(2).min(letters.saturating_sub(1));
    let (wrong, word) = words.map(|word| (distance(text, word), word)).min()?;
    (wrong <= allowed).then_some(word)
}

/// Letters that have to be put in, taken out or changed.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((y, changed), above) in b.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or(usize::MAX - 1);
            next.push((changed + usize::from(x != *y)).min(above + 1).min(left + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_was_meant_is_suggested() {
        let words = [("divert", 1), ("tap", 2), ("filter", 3)];
        let read = |text: &str| word(&json!(text), &words);
        assert_eq!(read("tap"), Ok(2));
        assert_eq!(read("fitler"), Err("unknown word 'fitler'; did you mean 'filter'?".into()));
        assert_eq!(read("sideways"), Err("'sideways' is none of divert, tap, filter".into()));
        assert_eq!(read(""), Err("'' is none of divert, tap, filter".into()));
        assert!(read(&"x".repeat(1 << 20)).is_err());
        assert_eq!(word(&json!(5), &words), Err("expected a text, found a number".into()));
        assert_eq!(
            (distance("kitten", "sitting"), distance("", "ab"), distance("ab", "")),
            (3, 2, 2)
        );
    }

    #[test]
    fn numbers_have_a_range() {
        assert_eq!(whole(&json!(64), 1..=64), Ok(64));
        assert_eq!(whole(&json!(65), 1..=64), Err("65 is not from 1 to 64".into()));
        assert_eq!(
            whole(&json!(u64::MAX), 1..=64).unwrap_err(),
            "18446744073709551615 is not from 1 to 64"
        );
        for wrong in [json!(1.5), json!("1"), json!(true)] {
            assert!(whole(&wrong, 1..=64).unwrap_err().starts_with("expected a whole number"));
        }
    }
}
