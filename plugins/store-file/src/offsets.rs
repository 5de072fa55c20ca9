//! Where the entries of a segment are. Those of a whole [`BLOCK`] are packed: the offset of the first, and one byte for
//! each other, or two, that say how far it is behind the one before it. The last ones take four bytes each until their
//! block is whole, so that the table of a segment that grows does not take more than that of a full one.

use crate::layout::ALIGN;

/// Entries that one whole offset stands for: a look-up adds up fewer numbers than this.
const BLOCK: usize = 128;

/// The offsets of a segment's entries; 0 for a damaged one.
#[derive(Default)]
pub struct Offsets {
    blocks: Vec<Block>,
    /// Of the entries behind the last whole block.
    rest: Vec<u32>,
}

/// [`BLOCK`] entries.
enum Block {
    /// The first one's offset, and the distances between neighbours in units of [`ALIGN`] bytes.
    Small(u32, Box<[u8]>),
    /// The same.
    Large(u32, Box<[u16]>),
    /// One of them is damaged, or larger than a distance can say.
    Whole(Box<[u32]>),
}

impl Offsets {
    pub fn len(&self) -> usize {
        self.blocks.len() * BLOCK + self.rest.len()
    }

    /// Adds entries.
    pub fn extend(&mut self, more: &[u32]) {
        for offset in more {
            self.rest.push(*offset);
            if self.rest.len() == BLOCK {
                self.blocks.push(Block::of(&self.rest));
                self.rest.clear();
            }
        }
    }

    /// The offset of an entry; 0: it is damaged; none: there are fewer.
    pub fn get(&self, nth: usize) -> Option<u32> {
        match self.blocks.get(nth / BLOCK) {
            Some(block) => block.get(nth % BLOCK),
            None => self.rest.get(nth - self.blocks.len() * BLOCK).copied(),
        }
    }

    /// The offsets from that entry on.
    pub fn from(&self, nth: usize) -> impl Iterator<Item = u32> {
        let mut before = None;
        (nth..self.len()).map_while(move |at| {
            let step = |before| self.blocks.get(at / BLOCK)?.behind(at % BLOCK, before);
            before = before.and_then(step).or_else(|| self.get(at));
            before
        })
    }

    /// No entries will be added: takes no more memory than it needs from now on.
    pub fn shrink(&mut self) {
        self.blocks.shrink_to_fit();
        self.rest.shrink_to_fit();
    }
}

impl Block {
    fn of(all: &[u32]) -> Self {
        Self::packed(all).unwrap_or_else(|| Block::Whole(all.into()))
    }

    /// None if they are not all behind each other, or one is too large.
    fn packed(all: &[u32]) -> Option<Self> {
        let unit = u32::try_from(ALIGN).ok()?;
        let step = |(before, offset): (&u32, &u32)| {
            let distance = offset.checked_sub(*before)?;
            (*before > 0 && distance % unit == 0).then_some(distance / unit)
        };
        let (first, others) = all.split_first()?;
        let steps = all.iter().zip(others).map(step).collect::<Option<Vec<u32>>>()?;
        let small: Option<Box<[u8]>> = steps.iter().map(|step| u8::try_from(*step).ok()).collect();
        if let Some(small) = small {
            return Some(Block::Small(*first, small));
        }
        let large = steps.iter().map(|step| u16::try_from(*step).ok());
        Some(Block::Large(*first, large.collect::<Option<_>>()?))
    }

    /// The offset of its nth entry.
    fn get(&self, nth: usize) -> Option<u32> {
        let (first, units) = match self {
            Block::Whole(all) => return all.get(nth).copied(),
            Block::Small(first, steps) => {
                (first, steps.get(..nth)?.iter().map(|step| u32::from(*step)).sum::<u32>())
            }
            Block::Large(first, steps) => {
                (first, steps.get(..nth)?.iter().map(|step| u32::from(*step)).sum::<u32>())
            }
        };
        first.checked_add(units.checked_mul(u32::try_from(ALIGN).ok()?)?)
    }

    /// The offset of its nth entry, where that of the one before it is known and not 0; none for the first of them.
    fn behind(&self, nth: usize, before: u32) -> Option<u32> {
        let step = nth.checked_sub(1)?;
        let units = match self {
            Block::Whole(_) => return None,
            Block::Small(_, steps) => u32::from(*steps.get(step)?),
            Block::Large(_, steps) => u32::from(*steps.get(step)?),
        };
        before.checked_add(units.checked_mul(u32::try_from(ALIGN).ok()?)?)
    }
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
        for sizes in [&[13u32][..], &[5, 255, 7], &[6, 300, 9], &[1, 70_000, 4]] {
            for count in [0, 1, 2, 127, 128, 129, 1_000] {
                let all = offsets(sizes, count);
                let mut packed = Offsets::default();
                // In pieces, as they are written.
                for some in all.chunks(7) {
                    packed.extend(some);
                }
                packed.shrink();
                assert_eq!(packed.len(), count);
                for nth in 0..count + 3 {
                    assert_eq!(packed.get(nth), all.get(nth).copied(), "{sizes:?} {count} {nth}");
                    let rest: Vec<u32> = packed.from(nth).collect();
                    assert_eq!(rest, all.get(nth..).unwrap_or_default());
                }
                packed.extend(&[u32::MAX]);
                assert_eq!((packed.len(), packed.get(count)), (count + 1, Some(u32::MAX)));
            }
        }
    }

    /// The kinds of the blocks that these offsets are packed into.
    fn kinds(all: &[u32]) -> String {
        let mut offsets = Offsets::default();
        offsets.extend(all);
        assert_eq!(offsets.from(0).collect::<Vec<_>>(), all);
        let kind = |block: &Block| match block {
            Block::Small(..) => 's',
            Block::Large(..) => 'l',
            Block::Whole(..) => 'w',
        };
        offsets.blocks.iter().map(kind).collect()
    }

    #[test]
    fn a_block_is_as_small_as_its_entries_allow() {
        let sound = offsets(&[13], 4 * BLOCK);
        assert_eq!(kinds(&sound), "ssss");
        for (at, then) in [(0, "wsss"), (127, "wsss"), (128, "swss"), (200, "swss")] {
            let mut damaged = sound.clone();
            damaged[at] = 0;
            assert_eq!(kinds(&damaged), then, "a damaged entry at {at}");
        }
        let with_one = |size| {
            let sizes: Vec<u32> = (0..3 * BLOCK).map(|n| if n == 150 { size } else { 3 }).collect();
            kinds(&offsets(&sizes, 3 * BLOCK))
        };
        assert_eq!([with_one(255), with_one(256)], ["sss", "sls"]);
        assert_eq!([with_one(65_535), with_one(65_536)], ["sls", "sws"]);
    }
}
