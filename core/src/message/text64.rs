//! Base64, both alphabets: the standard one with padding for values, the URL one without for aliases.

/// Which characters, and whether padded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    Standard,
    Url,
}

impl Alphabet {
    fn characters(self) -> &'static [u8; 64] {
        match self {
            Alphabet::Standard => {
                b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
            }
            Alphabet::Url => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        }
    }
}

pub(super) fn encode(bytes: &[u8], alphabet: Alphabet) -> String {
    let characters = alphabet.characters();
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, b| word << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..=chunk.len() {
            let index = (word >> (18 - 6 * i) & 63) as usize;
            out.extend(characters.get(index).copied().map(char::from));
        }
        if alphabet == Alphabet::Standard {
            (chunk.len()..3).for_each(|_| out.push('='));
        }
    }
    out
}

/// None for anything that [`encode`] does not write.
pub(super) fn decode(text: &str, alphabet: Alphabet) -> Option<Vec<u8>> {
    let characters = alphabet.characters();
    let text = match alphabet {
        Alphabet::Standard if text.len().is_multiple_of(4) => text.trim_end_matches('='),
        Alphabet::Standard => return None,
        Alphabet::Url => text,
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        if chunk.len() == 1 {
            return None;
        }
        let mut word = 0u32;
        for c in chunk {
            word = word << 6 | u32::try_from(characters.iter().position(|x| x == c)?).ok()?;
        }
        word <<= 6 * (4 - chunk.len());
        let [_, a, b, c] = word.to_be_bytes();
        out.extend([a, b, c].into_iter().take(chunk.len() - 1));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts() {
        for (bytes, standard) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"\xff\xef\xfe", "/+/+"),
        ] {
            assert_eq!(encode(bytes, Alphabet::Standard), standard);
            assert_eq!(decode(standard, Alphabet::Standard).unwrap(), bytes);
            let url = encode(bytes, Alphabet::Url);
            assert_eq!(decode(&url, Alphabet::Url).unwrap(), bytes);
            assert!(!url.contains(['=', '/', '+']));
        }
        assert_eq!(decode("Zg", Alphabet::Standard), None);
        assert_eq!(decode("A", Alphabet::Url), None);
        assert_eq!(decode("A*", Alphabet::Url), None);
    }
}
