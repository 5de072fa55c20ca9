//! Where the entries of a segment are. Those of a whole [`BLOCK`] are packed as their sizes allow. Of small ones only
//! the first offset is known: whoever looks for another of them reads the headers of their records, which stand within
//! [`SPARSE_BYTES`]. Of larger ones there is one byte for each besides, or two, that say how far it is behind the one
//! before it. So a segment's table takes few bytes for its size, however small its entries are. The last entries take
//! four bytes each until their block is whole.

use crate::layout::ALIGN;

/// Entries that one whole offset stands for: a look-up adds up, or reads, fewer than this.
pub const BLOCK: usize = 128;
/// Distance of the first and the last entry of a block of which only the first offset is kept, at most.
const SPARSE_BYTES: u32 = 32 << 10;

/// The offsets of a segment's entries; 0 for a damaged one.
#[derive(Default)]
pub struct Offsets {
    /// The first offset of each whole block: four bytes for [`BLOCK`] entries, however many there are.
    firsts: Vec<u32>,
    /// Where the others of a block are, by its number, where that is kept. In their order.
    steps: Vec<(usize, Steps)>,
    /// Of the entries behind the last whole block.
    rest: Vec<u32>,
}

/// How far the entries of one block are behind each other.
enum Steps {
    /// The distances between neighbours in units of [`ALIGN`] bytes.
    Small(Box<[u8; BLOCK - 1]>),
    /// The same.
    Large(Box<[u16; BLOCK - 1]>),
    /// All offsets: one of them is damaged, or farther from its neighbour than a distance can say.
    Whole(Box<[u32; BLOCK]>),
}

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At this offset; 0: it is damaged.
    At(u32),
    /// In the block of that number, whose records stand between these offsets; none: the second is where the segment's
    /// entries end.
    In(usize, u32, Option<u32>),
}

impl Offsets {
    pub fn len(&self) -> usize {
        self.firsts.len() * BLOCK + self.rest.len()
    }

    /// Adds entries.
    pub fn extend(&mut self, more: &[u32]) {
        for offset in more {
            self.rest.push(*offset);
            if self.rest.len() == BLOCK {
                let number = self.firsts.len();
                self.steps.extend(Steps::of(&self.rest).map(|steps| (number, steps)));
                self.firsts.extend(self.rest.first());
                self.rest.clear();
            }
        }
    }

    /// Where an entry is; none: there are fewer.
    pub fn get(&self, nth: usize) -> Option<Place> {
        let (number, within) = (nth / BLOCK, nth % BLOCK);
        let Some(first) = self.firsts.get(number) else {
            return self.rest.get(nth - self.firsts.len() * BLOCK).copied().map(Place::At);
        };
        let kept = self.steps.binary_search_by_key(&number, |(number, _)| *number);
        match kept.ok().and_then(|at| self.steps.get(at)) {
            Some((_, steps)) => steps.offset(*first, within).map(Place::At),
            None if within == 0 => Some(Place::At(*first)),
            None => Some(Place::In(number, *first, self.end_of(number))),
        }
    }

    /// Where the entries behind a block begin; none: there is no sound one.
    fn end_of(&self, number: usize) -> Option<u32> {
        let next = self.firsts.get(number + 1).or(self.rest.first()).copied();
        next.filter(|offset| *offset > 0)
    }

    /// No entries will be added: takes no more memory than it needs from now on.
    pub fn shrink(&mut self) {
        self.firsts.shrink_to_fit();
        self.steps.shrink_to_fit();
        self.rest.shrink_to_fit();
    }
}

impl Steps {
    /// Those of [`BLOCK`] entries at these offsets; none where they stand close together, so that whoever looks for one
    /// can read their headers.
    fn of(all: &[u32]) -> Option<Self> {
        let Some(distances) = distances(all) else {
            return Some(Steps::Whole(Box::new(all.try_into().ok()?)));
        };
        if all.last()?.checked_sub(*all.first()?)? <= SPARSE_BYTES {
            return None;
        }
        let small: Option<Vec<u8>> =
            distances.iter().map(|step| u8::try_from(*step).ok()).collect();
        if let Some(small) = small {
            return Some(Steps::Small(Box::new(small.try_into().ok()?)));
        }
        let large: Option<Vec<u16>> =
            distances.iter().map(|step| u16::try_from(*step).ok()).collect();
        match large {
            Some(large) => Some(Steps::Large(Box::new(large.try_into().ok()?))),
            None => Some(Steps::Whole(Box::new(all.try_into().ok()?))),
        }
    }

    /// The offset of the nth entry of a block that begins at `first`.
    fn offset(&self, first: u32, nth: usize) -> Option<u32> {
        let units = match self {
            Steps::Whole(all) => return all.get(nth).copied(),
            Steps::Small(steps) => {
                steps.get(..nth)?.iter().map(|step| u32::from(*step)).sum::<u32>()
            }
            Steps::Large(steps) => {
                steps.get(..nth)?.iter().map(|step| u32::from(*step)).sum::<u32>()
            }
        };
        first.checked_add(units.checked_mul(u32::try_from(ALIGN).ok()?)?)
    }
}

/// Distances between neighbours in units of [`ALIGN`] bytes; none if they are not all behind each other.
fn distances(all: &[u32]) -> Option<Vec<u32>> {
    let unit = u32::try_from(ALIGN).ok()?;
    let step = |(before, offset): (&u32, &u32)| {
        let distance = offset.checked_sub(*before)?;
        (*before > 0 && distance % unit == 0).then_some(distance / unit)
    };
    all.iter().zip(all.get(1..)?).map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets of entries of these sizes, in units of 8 bytes, again and again.
    fn offsets(sizes: &[u32], count: usize) -> Vec<u32> {
        let mut at = 64;
        let next = |size: &u32| {
            let here = at;
            at += size * 8;
            here
        };
        sizes.iter().cycle().take(count).map(next).collect()
    }

    #[test]
    fn a_packed_table_says_what_was_put_in() {
        let mixed: Vec<u32> =
            (0..1_000).map(|n| if (n / BLOCK).is_multiple_of(2) { 3 } else { 40 }).collect();
        let few = [&[13u32][..], &[5, 255, 7], &[6, 300, 9], &[1, 70_000, 4], &mixed];
        for sizes in few {
            for count in [0, 1, 2, 127, 128, 129, 1_000] {
                let all = offsets(sizes, count);
                let mut packed = Offsets::default();
                // In pieces, as they are written.
                for some in all.chunks(7) {
                    packed.extend(some);
                }
                packed.shrink();
                assert_eq!(packed.len(), count);
                for nth in 0..count {
                    match packed.get(nth).unwrap() {
                        Place::At(offset) => assert_eq!(offset, all[nth], "{sizes:?} {nth}"),
                        Place::In(number, start, end) => {
                            assert_eq!((number, start), (nth / BLOCK, all[number * BLOCK]));
                            assert_eq!(end, all.get((number + 1) * BLOCK).copied());
                            assert!(sizes[0] == 13 || sizes[0] == 3);
                        }
                    }
                }
                assert_eq!(packed.get(count), None);
                packed.extend(&[u32::MAX]);
                assert_eq!(
                    (packed.len(), packed.get(count)),
                    (count + 1, Some(Place::At(u32::MAX)))
                );
            }
        }
    }

    /// The kinds of the blocks that these offsets are packed into.
    fn kinds(all: &[u32]) -> String {
        let mut offsets = Offsets::default();
        offsets.extend(all);
        let kind = |number: usize| match offsets
            .steps
            .iter()
            .find(|(with, _)| *with == number)
            .map(|(_, steps)| steps)
        {
            None => '-',
            Some(Steps::Small(..)) => 's',
            Some(Steps::Large(..)) => 'l',
            Some(Steps::Whole(..)) => 'w',
        };
        (0..offsets.firsts.len()).map(kind).collect()
    }

    #[test]
    fn a_block_is_as_small_as_its_entries_allow() {
        assert_eq!([kinds(&offsets(&[32], 128)), kinds(&offsets(&[33], 128))], ["-", "s"]);
        // Small ones and larger ones in turn: each block is found by its number.
        let mixed: Vec<u32> = (0..4).flat_map(|n| [5 + 35 * (n % 2); BLOCK]).collect();
        assert_eq!(kinds(&offsets(&mixed, 4 * BLOCK)), "-s-s");
        let sound = offsets(&[40], 4 * BLOCK);
        assert_eq!(kinds(&sound), "ssss");
        for (at, then) in [(0, "wsss"), (127, "wsss"), (128, "swss"), (200, "swss")] {
            let mut damaged = sound.clone();
            damaged[at] = 0;
            assert_eq!(kinds(&damaged), then, "a damaged entry at {at}");
        }
        let with_one = |size| {
            let sizes: Vec<u32> =
                (0..3 * BLOCK).map(|n| if n == 150 { size } else { 40 }).collect();
            kinds(&offsets(&sizes, 3 * BLOCK))
        };
        assert_eq!([with_one(255), with_one(256)], ["sss", "sls"]);
        assert_eq!([with_one(65_535), with_one(65_536)], ["sls", "sws"]);
    }
}
