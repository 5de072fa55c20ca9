//! Topic patterns: `+` is one word, `#` zero or more, in the topic form of keys.

use crate::message::Key;

/// One word of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word<'a> {
    Is(&'a [u8]),
    One,
    Many,
}

/// The words of a pattern.
pub fn words(pattern: &Key) -> impl Iterator<Item = Word<'_>> {
    pattern.words().map(|word| match word {
        b"+" => Word::One,
        b"#" => Word::Many,
        text => Word::Is(text),
    })
}

/// True when the pattern holds no wildcard.
pub fn is_literal(pattern: &Key) -> bool {
    words(pattern).all(|word| matches!(word, Word::Is(_)))
}

/// A wildcard in front never meets a topic that begins with `$` (docs/SEMANTICS.md §1).
pub fn hidden(pattern: &Key, key: &Key) -> bool {
    key.bytes().first() == Some(&b'$') && !matches!(words(pattern).next(), Some(Word::Is(_)))
}

/// Whether the pattern matches the key. At most words × words steps, whatever the pattern.
pub fn matches(pattern: &Key, key: &Key) -> bool {
    let pattern: Vec<Word<'_>> = words(pattern).collect();
    let key: Vec<&[u8]> = key.words().collect();
    let (mut p, mut k) = (0, 0);
    // Where to go on after the last `#`: its index in the pattern, and the first key word it leaves over.
    let mut retry: Option<(usize, usize)> = None;
    while k < key.len() {
        match pattern.get(p) {
            Some(Word::Many) => {
                retry = Some((p, k));
                p += 1;
            }
            Some(Word::One) => (p, k) = (p + 1, k + 1),
            Some(Word::Is(word)) if key.get(k) == Some(word) => (p, k) = (p + 1, k + 1),
            _ => match retry {
                Some((many, rest)) => {
                    retry = Some((many, rest + 1));
                    (p, k) = (many + 1, rest + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|word| *word == Word::Many)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let yes = [("a/b", "a/b"), ("a/+", "a/b"), ("a/#", "a"), ("#", ""), ("#/b", "a/a/b")];
        let no = [("a/+", "a"), ("a", "a/b"), ("+/b", "b"), ("a/#/c", "a/b"), ("", "a")];
        for (pattern, key) in yes {
            assert!(matches(&pattern.into(), &key.into()), "{pattern} {key}");
        }
        for (pattern, key) in no {
            assert!(!matches(&pattern.into(), &key.into()), "{pattern} {key}");
        }
        assert!(matches(&"+".into(), &"".into()), "one wildcard matches an empty word");
    }

    #[test]
    fn many_wildcards_stay_cheap() {
        let pattern = Key::from(&*vec!["#"; 60].join("/x/"));
        let key = Key::from(&*vec!["y"; 200].join("/"));
        let started = std::time::Instant::now();
        assert!(!matches(&pattern, &key));
        assert!(started.elapsed().as_millis() < 100);
    }
}
