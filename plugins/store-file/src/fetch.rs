//! Reading entries by position: many at once, in their order on the disk, each once. Entries close to each other are
//! read together, so that a page of a queue costs a few reads and not one for each entry.

use crate::catalog::{Catalog, Segment};
use crate::window::{BLOCK, Window};
use bytes::Bytes;
use crossdock_core::store::{Pos, StoreError};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Largest gap in bytes between two entries that are read together.
const GAP: u64 = 64 << 10;

/// Entries that are read together.
struct Stride {
    segment: Arc<Segment>,
    bytes: Range<u64>,
    /// Each with its offset.
    entries: Vec<(u64, u32)>,
}

/// The entries at these positions, in the order asked for.
pub fn fetch(catalog: &Catalog, at: &[Pos]) -> Result<Vec<Bytes>, StoreError> {
    let mut found: BTreeMap<u64, Bytes> = at.iter().map(|pos| (pos.0, Bytes::new())).collect();
    let wanted: Vec<u64> = found.keys().copied().collect();
    let mut window = Window::new(0);
    for stride in strides(catalog, &wanted)? {
        // If the range cannot be read, each entry is read alone, and the damaged one gives the error.
        let loaded = window.load(&*stride.segment.file, stride.bytes.clone());
        for (pos, offset) in stride.entries {
            let entry = match &loaded {
                Ok(()) => stride.segment.entry_at(&mut window, pos, offset)?,
                Err(_) => stride.segment.entry(pos)?,
            };
            found.insert(pos, entry.bytes);
        }
        window.clear();
    }
    Ok(at.iter().filter_map(|pos| found.get(&pos.0).cloned()).collect())
}

/// Groups these ascending positions into reads of at most one block; a larger entry is read alone.
fn strides(catalog: &Catalog, wanted: &[u64]) -> Result<Vec<Stride>, StoreError> {
    let mut strides: Vec<Stride> = Vec::new();
    let mut segment: Option<Arc<Segment>> = None;
    for pos in wanted.iter().copied() {
        let known = segment.take().filter(|known| (known.first..=known.last()).contains(&pos));
        let holder = match known {
            // The writer may be in the middle of a batch: entries behind the tail cannot be read yet.
            Some(known) if pos <= catalog.tail() => known,
            _ => catalog.find(pos)?,
        };
        let Some(bytes) = holder.span(pos) else {
            return holder.entry(pos).map(|_| Vec::new());
        };
        let entry = (pos, u32::try_from(bytes.start).unwrap_or(0));
        match strides.last_mut() {
            Some(last) if last.takes(&holder, &bytes) => {
                last.bytes.end = bytes.end;
                last.entries.push(entry);
            }
            _ => strides.push(Stride { segment: holder.clone(), bytes, entries: vec![entry] }),
        }
        segment = Some(holder);
    }
    Ok(strides)
}

impl Stride {
    fn takes(&self, segment: &Arc<Segment>, bytes: &Range<u64>) -> bool {
        Arc::ptr_eq(&self.segment, segment)
            && bytes.start.saturating_sub(self.bytes.end) <= GAP
            && bytes.end - self.bytes.start <= BLOCK as u64
    }
}
