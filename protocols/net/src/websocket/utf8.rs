//! Whether text that comes in pieces is UTF-8. Pieces may end within a character.

/// The state between two pieces.
#[derive(Debug, Default)]
pub(super) struct Utf8 {
    /// The bytes of an unfinished character.
    partial: [u8; 4],
    /// How many there are.
    have: usize,
}

impl Utf8 {
    /// Takes the next piece; false when it cannot be text.
    pub(super) fn accept(&mut self, piece: &[u8]) -> bool {
        let mut rest = piece;
        while self.have > 0 {
            let Some((byte, behind)) = rest.split_first() else { return true };
            rest = behind;
            let Some(place) = self.partial.get_mut(self.have) else { return false };
            *place = *byte;
            self.have += 1;
            match str::from_utf8(self.partial.get(..self.have).unwrap_or_default()) {
                Ok(_) => self.have = 0,
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return false,
            }
        }
        match str::from_utf8(rest) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                let unfinished = rest.get(error.valid_up_to()..).unwrap_or_default();
                for (place, byte) in self.partial.iter_mut().zip(unfinished) {
                    *place = *byte;
                }
                self.have = unfinished.len();
                true
            }
        }
    }

    /// Bytes of a character that is not finished.
    pub(super) fn unfinished(&self) -> usize {
        self.have
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_may_be_cut_anywhere() {
        let text = "aé€😀z".as_bytes();
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let mut utf8 = Utf8::default();
                assert!(utf8.accept(&text[..first]) && utf8.accept(&text[first..second]));
                let whole =
                    str::from_utf8(&text[..second]).map_or_else(|e| e.valid_up_to(), str::len);
                assert_eq!(utf8.unfinished(), second - whole);
                assert!(utf8.accept(&text[second..]));
                assert_eq!(utf8.unfinished(), 0);
            }
        }
    }

    #[test]
    fn what_is_no_text_is_refused_at_once() {
        for bytes in
            [&b"\xff"[..], b"a\xc0\x80", b"\xed\xa0\x80", b"\xe2\x82a", b"\xf5\x80\x80\x80"]
        {
            for cut in 0..bytes.len() {
                let mut utf8 = Utf8::default();
                assert!(!(utf8.accept(&bytes[..cut]) && utf8.accept(&bytes[cut..])), "{bytes:x?}");
            }
        }
    }
}
