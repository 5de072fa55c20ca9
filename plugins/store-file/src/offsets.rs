//! Where the entries of a segment are: four bytes for an entry while the segment grows, one or two from when it is
//! full. A packed table has the whole offset of each [`BLOCK`]th entry, and of the others how far behind the one
//! before them they are.

use crate::layout::ALIGN;

/// Entries that one whole offset stands for: a look-up adds up fewer numbers than this.
const BLOCK: usize = 128;

/// The offsets of a segment's entries; 0 for a damaged one.
pub enum Offsets {
    Whole(Vec<u32>),
    Packed { blocks: Box<[u32]>, steps: Steps },
}

/// Distances between neighbours, in units of [`ALIGN`] bytes.
pub enum Steps {
    Small(Box<[u8]>),
    Large(Box<[u16]>),
}

impl Default for Offsets {
    fn default() -> Self {
        Offsets::Whole(Vec::new())
    }
}

impl Offsets {
    pub fn len(&self) -> usize {
        match self {
            Offsets::Whole(all) => all.len(),
            Offsets::Packed { steps, .. } => steps.len(),
        }
    }

    /// Adds entries. A packed table is made whole for that: nobody adds to a segment that is full.
    pub fn extend(&mut self, more: &[u32]) {
        if let Offsets::Packed { .. } = self {
            *self = Offsets::Whole(self.from(0).collect());
        }
        if let Offsets::Whole(all) = self {
            all.extend_from_slice(more);
        }
    }

    /// The offset of an entry; 0: it is damaged; none: there are fewer.
    pub fn get(&self, nth: usize) -> Option<u32> {
        match self {
            Offsets::Whole(all) => all.get(nth).copied(),
            Offsets::Packed { blocks, steps } => {
                let first = nth - nth % BLOCK;
                let behind = (first + 1..=nth).map(|at| steps.get(at)).sum::<Option<u32>>()?;
                let block = blocks.get(nth / BLOCK).copied();
                block.filter(|_| nth < steps.len()).map(|offset| offset + behind)
            }
        }
    }

    /// The offsets from that entry on.
    pub fn from(&self, nth: usize) -> impl Iterator<Item = u32> {
        let mut before = None;
        (nth..self.len()).map_while(move |at| {
            let step = |before: u32| match self {
                Offsets::Packed { steps, .. } if at % BLOCK > 0 => Some(before + steps.get(at)?),
                _ => None,
            };
            before = before.and_then(step).or_else(|| self.get(at));
            before
        })
    }

    /// No entries will be added: takes less memory from now on. A table with damaged entries stays as it is, and so
    /// does one with entries so large that there are few of them.
    pub fn pack(&mut self) {
        if let Offsets::Whole(all) = self {
            all.shrink_to_fit();
            if let Some(steps) = Steps::between(all) {
                let blocks = all.iter().copied().step_by(BLOCK).collect();
                *self = Offsets::Packed { blocks, steps };
            }
        }
    }
}

impl Steps {
    /// The distances of these offsets; none if they are not all behind each other, or one is too large.
    fn between(all: &[u32]) -> Option<Self> {
        let unit = u32::try_from(ALIGN).ok()?;
        let step = |(before, offset): (&u32, &u32)| {
            let distance = offset.checked_sub(*before)?;
            (*before > 0 && distance % unit == 0).then_some(distance / unit)
        };
        let pairs = all.iter().zip(all.get(1..)?);
        // The first one has nothing before it.
        let steps =
            std::iter::once(Some(0)).chain(pairs.map(step)).collect::<Option<Vec<u32>>>()?;
        let small: Option<Box<[u8]>> = steps.iter().map(|step| u8::try_from(*step).ok()).collect();
        match small {
            Some(small) => Some(Steps::Small(small)),
            None => {
                let large = steps.iter().map(|step| u16::try_from(*step).ok());
                Some(Steps::Large(large.collect::<Option<_>>()?))
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Steps::Small(all) => all.len(),
            Steps::Large(all) => all.len(),
        }
    }

    /// How many bytes an entry is behind the one before it.
    fn get(&self, nth: usize) -> Option<u32> {
        let units = match self {
            Steps::Small(all) => all.get(nth).copied().map(u32::from)?,
            Steps::Large(all) => all.get(nth).copied().map(u32::from)?,
        };
        units.checked_mul(u32::try_from(ALIGN).ok()?)
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
    fn a_packed_table_says_what_the_whole_one_said() {
        for sizes in [&[13u32][..], &[5, 255, 7], &[6, 300, 9], &[1, 70_000, 4]] {
            for count in [0, 1, 2, 127, 128, 129, 1_000] {
                let all = offsets(sizes, count);
                let mut packed = Offsets::default();
                packed.extend(&all);
                packed.pack();
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

    #[test]
    fn only_sound_tables_are_packed() {
        let is_packed = |all: &[u32]| {
            let mut offsets = Offsets::default();
            offsets.extend(all);
            offsets.pack();
            assert_eq!(offsets.from(0).collect::<Vec<_>>(), all);
            matches!(offsets, Offsets::Packed { .. })
        };
        assert!(is_packed(&[64, 72, 80]) && is_packed(&[64, 64 + 8 * 65_535]));
        assert!(!is_packed(&[64, 0, 80]) && !is_packed(&[0, 64]), "a damaged entry");
        assert!(!is_packed(&[64, 64 + 8 * 65_536]), "a large entry");
    }
}
