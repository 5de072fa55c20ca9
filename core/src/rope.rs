//! Bytes that are put together piece by piece. Large pieces, which are bodies of messages, are kept as they came: a
//! body of 512 MiB is on its way to the disk without being copied.

use bytes::Bytes;
use std::ops::Range;

/// Bytes of a piece from which on it is kept instead of copied. Each one that is kept costs two more writes when the
/// whole is written to a file, which take about as long as copying this many bytes.
const KEPT_FROM: usize = 32 << 10;

/// Bytes in several pieces.
#[derive(Debug, Clone, Default)]
pub struct Rope {
    /// All that was copied, one after another.
    copied: Vec<u8>,
    /// What was kept, and how many of the copied bytes stand in front of each.
    kept: Vec<(usize, Bytes)>,
}

impl Rope {
    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.copied.len() + self.kept.iter().map(|(_, piece)| piece.len()).sum::<usize>()
    }

    /// Bytes of small pieces.
    pub fn copied_len(&self) -> usize {
        self.copied.len()
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.copied.is_empty() && self.kept.is_empty()
    }

    /// Where small pieces are written to, behind everything so far.
    pub fn end(&mut self) -> &mut Vec<u8> {
        &mut self.copied
    }

    /// Bytes of a piece that would be kept: all of a large one, none of a small one.
    pub fn kept_of(piece: &Bytes) -> usize {
        if piece.len() < KEPT_FROM { 0 } else { piece.len() }
    }

    /// Adds a piece: copied when it is small, kept when it is large.
    #[inline]
    pub fn push(&mut self, piece: &Bytes) {
        match Self::kept_of(piece) {
            0 => self.copied.extend_from_slice(piece),
            _ => self.keep(piece.clone()),
        }
    }

    /// Adds a piece without copying it, however small it is.
    #[cold]
    pub fn keep(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.kept.push((self.copied.len(), piece));
        }
    }

    /// Adds what is in another one. What that has kept stays where it is.
    pub fn extend(&mut self, other: &Rope) {
        let before = self.copied.len();
        self.copied.extend_from_slice(&other.copied);
        self.kept.extend(other.kept.iter().map(|(at, piece)| (before + at, piece.clone())));
    }

    /// Moves what is in another one behind this.
    pub fn append(&mut self, other: &mut Rope) {
        let before = self.copied.len();
        self.copied.append(&mut other.copied);
        self.kept.extend(other.kept.drain(..).map(|(at, piece)| (before + at, piece)));
    }

    /// Adds a part of another one. What lies in a kept piece stays where it is.
    pub fn extend_from(&mut self, other: &Rope, part: Range<usize>) {
        let mut at = 0;
        for piece in other.parts() {
            let begin = part.start.clamp(at, at + piece.len()) - at;
            let end = part.end.clamp(at, at + piece.len()) - at;
            at += piece.len();
            if begin == end {
                continue;
            }
            match piece {
                Part::Copied(bytes) => {
                    self.copied.extend_from_slice(bytes.get(begin..end).unwrap_or_default());
                }
                Part::Kept(bytes) => self.push(&bytes.slice(begin..end)),
            }
        }
    }

    /// The pieces in order; none is empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.parts().map(|part| match part {
            Part::Copied(bytes) => bytes,
            Part::Kept(bytes) => bytes,
        })
    }

    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let ends = self.kept.iter().map(|(at, piece)| (*at, Some(piece)));
        let mut from = 0;
        ends.chain([(self.copied.len(), None)])
            .flat_map(move |(end, kept)| {
                let copied = self.copied.get(from..end).unwrap_or_default();
                from = end;
                [Some(Part::Copied(copied)), kept.map(Part::Kept)].into_iter().flatten()
            })
            .filter(|part| part.len() > 0)
    }

    /// Everything in one piece: what was kept is copied, unless it is all there is.
    pub fn into_bytes(mut self) -> Bytes {
        if self.kept.is_empty() {
            return self.copied.into();
        }
        if self.copied.is_empty() && self.kept.len() == 1 {
            return self.kept.pop().map(|(_, piece)| piece).unwrap_or_default();
        }
        let mut whole = Vec::with_capacity(self.len());
        self.pieces().for_each(|piece| whole.extend_from_slice(piece));
        whole.into()
    }

    /// Empties it. Room for small pieces is kept.
    pub fn clear(&mut self) {
        self.copied.clear();
        self.kept.clear();
    }
}

enum Part<'a> {
    Copied(&'a [u8]),
    Kept(&'a Bytes),
}

impl Part<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Copied(bytes) => bytes.len(),
            Self::Kept(bytes) => bytes.len(),
        }
    }
}

impl From<Vec<u8>> for Rope {
    fn from(copied: Vec<u8>) -> Self {
        Self { copied, kept: Vec::new() }
    }
}

impl From<Bytes> for Rope {
    fn from(piece: Bytes) -> Self {
        let mut rope = Self::default();
        rope.push(&piece);
        rope
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_of(pieces: &[usize]) -> (Rope, Vec<u8>, Vec<Bytes>) {
        let (mut rope, mut whole, mut all) = (Rope::default(), Vec::new(), Vec::new());
        for (n, len) in pieces.iter().enumerate() {
            let piece = Bytes::from(vec![n as u8; *len]);
            rope.push(&piece);
            whole.extend_from_slice(&piece);
            all.push(piece);
        }
        (rope, whole, all)
    }

    fn copied(rope: &Rope) -> Vec<u8> {
        rope.pieces().flatten().copied().collect()
    }

    #[test]
    fn what_is_large_is_not_copied() {
        let (rope, whole, pieces) = made_of(&[3, KEPT_FROM, 0, KEPT_FROM - 1, KEPT_FROM + 1]);
        let seen: Vec<&[u8]> = rope.pieces().collect();
        assert_eq!(seen.len(), 4);
        assert_eq!((seen[1].as_ptr(), seen[3].as_ptr()), (pieces[1].as_ptr(), pieces[4].as_ptr()));
        let mut part = Rope::default();
        part.extend_from(&rope, 1..3 + KEPT_FROM);
        assert_eq!(part.pieces().nth(1).map(<[u8]>::as_ptr), Some(pieces[1].as_ptr()));
        assert_eq!(rope.into_bytes(), whole);
        let one = Bytes::from(vec![1; KEPT_FROM]);
        assert_eq!(Rope::from(one.clone()).into_bytes().as_ptr(), one.as_ptr());
    }

    #[test]
    fn it_is_the_bytes_that_were_put_in() {
        let shapes: [&[usize]; 7] = [
            &[],
            &[4],
            &[KEPT_FROM],
            &[3, KEPT_FROM, 5],
            &[KEPT_FROM, 0, KEPT_FROM + 7],
            &[1, 2, KEPT_FROM],
            &[KEPT_FROM, 6],
        ];
        for (lens, more) in shapes.iter().flat_map(|one| shapes.map(|other| (*one, other))) {
            let (rope, whole, _) = made_of(lens);
            assert_eq!((rope.len(), rope.is_empty()), (whole.len(), whole.is_empty()));
            assert_eq!(copied(&rope), whole);
            let (mut other, other_whole, _) = made_of(more);
            let both = [&whole[..], &other_whole].concat();
            let (mut extended, mut appended) = (rope.clone(), rope.clone());
            extended.extend(&other);
            appended.append(&mut other);
            assert!(copied(&extended) == both && copied(&appended) == both && other.is_empty());
            let near = |at: &usize| [at.saturating_sub(1), *at, (at + 1).min(both.len())];
            let borders: Vec<usize> =
                [0, whole.len() / 2, whole.len(), both.len()].iter().flat_map(near).collect();
            for (from, to) in borders.iter().flat_map(|a| borders.iter().map(|b| (*a, *b))) {
                let mut part = Rope::from(vec![9]);
                part.extend_from(&extended, from..to.max(from));
                assert_eq!(copied(&part), [&[9], &both[from..to.max(from)]].concat());
            }
        }
    }
}
