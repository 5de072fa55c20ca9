//! Pages at rest: all that lives in them is stored, waits or is with a consumer, and is not in memory. They are kept
//! as the bytes that a snapshot stores too (docs/STORE.md, operation 18), about six for a record.

use super::record::{Moment, Place, Record, RecordState};
use crate::exchange::{BindingTag, Tags};
use crate::message::Timestamp;
use crate::message::cost::ALLOCATION;
use crate::message::wire::{Put, Take};
use bytes::Bytes;
use std::ops::RangeInclusive;

const SEEN: u8 = 1;
const DURABLE: u8 = 2;
const ATTEMPTS: u8 = 4;
const TAGS: u8 = 8;
const EXPIRES: u8 = 16;
const PRIORITY: u8 = 32;
/// Its message has more or fewer bytes that length limits do not count than the one before; the first: than 0.
const UNCOUNTED: u8 = 128;
/// It is with a consumer, since a moment. Only in memory: no snapshot has it.
const IN_FLIGHT: u8 = 64;

/// A page at rest. A clone is another handle on the same bytes.
#[derive(Debug, Clone)]
pub struct Cold {
    bytes: Bytes,
    /// Living records.
    pub live: u16,
    /// How many of them expire.
    pub expiring: u16,
    /// Bytes of their messages.
    pub size: u64,
    /// Those of them that length limits count.
    pub counted: u64,
    /// All of them are durable and none is with a consumer: the bytes are what a snapshot wants.
    pub is_plain: bool,
    /// Positions of the journal entries that they are in.
    pub entries: RangeInclusive<u64>,
}

/// What follows from one record to the next is stored as a difference.
#[derive(Default)]
struct Last {
    slot: u64,
    pos: u64,
    index: u64,
    size: u64,
    uncounted: u64,
    expires: u64,
}

fn step(last: &mut u64, now: u64) -> i64 {
    let by = now.wrapping_sub(*last) as i64;
    *last = now;
    by
}

fn follow(last: &mut u64, by: i64) -> u64 {
    *last = last.wrapping_add(by as u64);
    *last
}

impl Cold {
    /// The page of these records, by slot, as if all of them waited; none when one of them has no place.
    pub fn write<'a>(records: impl Iterator<Item = (usize, &'a Record)>) -> Option<Self> {
        Self::of(records, false)
    }

    /// The same, but for the records that consumers have: it is noted who has them.
    pub fn write_with_consumers<'a>(
        records: impl Iterator<Item = (usize, &'a Record)>,
    ) -> Option<Self> {
        Self::of(records, true)
    }

    fn of<'a>(
        records: impl Iterator<Item = (usize, &'a Record)>,
        with_consumers: bool,
    ) -> Option<Self> {
        let (mut out, mut last) = (Vec::with_capacity(8 << 10), Last::default());
        let mut page = Self {
            bytes: Bytes::new(),
            live: 0,
            expiring: 0,
            size: 0,
            counted: 0,
            is_plain: true,
            entries: RangeInclusive::new(u64::MAX, 0),
        };
        for (slot, record) in records {
            let place = record.place?;
            let consumer = match record.state {
                RecordState::InFlight(consumer) if with_consumers => Some(consumer),
                _ => None,
            };
            put(&mut out, slot as u64, (record, place, consumer), &mut last);
            page.is_plain &= consumer.is_none();
            page.count(record, place);
        }
        page.bytes = Bytes::from(out.into_boxed_slice());
        Some(page)
    }

    fn count(&mut self, record: &Record, place: Place) {
        self.live += 1;
        self.size += u64::from(record.size);
        self.counted += u64::from(record.counted);
        self.expiring += u16::from(record.expires.is_some());
        self.is_plain &= record.durable;
        let (first, last) = (*self.entries.start(), *self.entries.end());
        self.entries = first.min(place.pos)..=last.max(place.pos);
    }

    /// The page of these bytes; none when they are damaged.
    pub fn read(bytes: Bytes) -> Option<Self> {
        let mut page = Self {
            bytes: bytes.clone(),
            live: 0,
            expiring: 0,
            size: 0,
            counted: 0,
            is_plain: true,
            entries: RangeInclusive::new(u64::MAX, 0),
        };
        let mut records = Records { bytes, last: Last::default() };
        while !records.bytes.is_empty() {
            let (slot, record) = records.take()?;
            if slot as u64 >= super::PAGE_RECORDS {
                return None;
            }
            if record.state != RecordState::Ready {
                return None;
            }
            page.count(&record, record.place?);
        }
        Some(page)
    }

    /// Bytes that it takes in memory.
    pub(super) fn memory(&self) -> usize {
        self.bytes.len() + size_of::<Self>() + 3 * ALLOCATION
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Its records, by slot.
    pub fn records(&self) -> impl Iterator<Item = (usize, Record)> {
        let mut records = Records { bytes: self.bytes.clone(), last: Last::default() };
        std::iter::from_fn(move || records.take())
    }
}

fn put(
    out: &mut Vec<u8>,
    slot: u64,
    (record, place, consumer): (&Record, Place, Option<u32>),
    last: &mut Last,
) {
    let tags = record.tags.as_slice();
    let given = |flag, given| if given { flag } else { 0 };
    let uncounted = u64::from(record.size.saturating_sub(record.counted));
    let is_other = uncounted != last.uncounted;
    out.u8(given(SEEN, record.seen)
        | given(DURABLE, record.durable)
        | given(ATTEMPTS, record.attempts > 0)
        | given(TAGS, !tags.is_empty())
        | given(EXPIRES, record.expires.is_some())
        | given(PRIORITY, record.priority > 0)
        | given(IN_FLIGHT, consumer.is_some())
        | given(UNCOUNTED, is_other));
    out.signed(step(&mut last.slot, slot));
    out.signed(step(&mut last.pos, place.pos));
    out.signed(step(&mut last.index, u64::from(place.index)));
    out.signed(step(&mut last.size, u64::from(record.size)));
    if is_other {
        out.signed(step(&mut last.uncounted, uncounted));
    }
    if record.attempts > 0 {
        out.varint(u64::from(record.attempts));
    }
    if !tags.is_empty() {
        put_tags(out, &record.tags);
    }
    if let Some(expires) = record.expires {
        out.signed(step(&mut last.expires, expires.0));
    }
    if record.priority > 0 {
        out.u8(record.priority);
    }
    if let Some(consumer) = consumer {
        out.varint(u64::from(consumer));
        out.varint(u64::from(record.given.0));
    }
}

struct Records {
    bytes: Bytes,
    last: Last,
}

impl Records {
    fn take(&mut self) -> Option<(usize, Record)> {
        let (input, last) = (&mut self.bytes, &mut self.last);
        let flags = input.take_u8()?;
        let slot = follow(&mut last.slot, input.take_signed()?);
        let pos = follow(&mut last.pos, input.take_signed()?);
        let index = follow(&mut last.index, input.take_signed()?);
        let has = |flag| flags & flag != 0;
        let size = follow(&mut last.size, input.take_signed()?);
        if has(UNCOUNTED) {
            follow(&mut last.uncounted, input.take_signed()?);
        }
        let counted = size.saturating_sub(last.uncounted);
        let attempts = if has(ATTEMPTS) { input.take_number()? } else { 0 };
        let tags = if has(TAGS) { take_tags(input)? } else { Tags::default() };
        let expires = match has(EXPIRES) {
            true => Some(Timestamp(follow(&mut last.expires, input.take_signed()?))),
            false => None,
        };
        let priority = if has(PRIORITY) { input.take_u8()? } else { 0 };
        let (state, given) = match has(IN_FLIGHT) {
            true => (RecordState::InFlight(input.take_number()?), Moment(input.take_number()?)),
            false => (RecordState::Ready, Moment::default()),
        };
        let record = Record {
            message: None,
            tags,
            state,
            attempts,
            seen: has(SEEN),
            place: Some(Place { pos, index: index.try_into().ok()? }),
            durable: has(DURABLE),
            priority,
            size: size.try_into().ok()?,
            counted: counted.try_into().ok()?,
            expires,
            given,
        };
        Some((usize::try_from(slot).ok()?, record))
    }
}

/// Writes the tags of a record.
pub(crate) fn put_tags(out: &mut Vec<u8>, tags: &Tags) {
    out.varint(tags.as_slice().len() as u64);
    tags.as_slice().iter().for_each(|tag| put_tag(out, *tag));
}

/// Writes the tag of a binding.
pub(crate) fn put_tag(out: &mut Vec<u8>, tag: BindingTag) {
    out.u8(tag.level);
    out.u8(tag.flags);
    out.varint(u64::from(tag.id));
}

/// Reads what [`put_tag`] wrote.
pub(crate) fn take_tag(input: &mut Bytes) -> Option<BindingTag> {
    Some(BindingTag { level: input.take_u8()?, flags: input.take_u8()?, id: input.take_number()? })
}

/// Reads what [`put_tags`] wrote.
pub(crate) fn take_tags(input: &mut Bytes) -> Option<Tags> {
    let count: usize = input.take_number()?;
    if count == 0 {
        return Some(Tags::default());
    }
    let mut tags = Vec::with_capacity(count.min(input.len() / 3));
    for _ in 0..count {
        tags.push(take_tag(input)?);
    }
    Some(Tags::new(&tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(n: u64) -> Record {
        let tag = BindingTag { level: 1, flags: 0, id: 7 };
        Record {
            message: None,
            tags: if n.is_multiple_of(3) { Tags::new(&[tag]) } else { Tags::default() },
            state: RecordState::Ready,
            attempts: (n % 4) as u16,
            seen: n.is_multiple_of(2),
            place: Some(Place { pos: 1000 - n / 10, index: (n % 10) as u32 }),
            durable: true,
            priority: (n % 5) as u8,
            size: 100 + (n * 37 % 11) as u32,
            counted: 100 + (n * 37 % 11) as u32 - (n / 50 % 3 * 20) as u32,
            expires: n.is_multiple_of(7).then_some(Timestamp(1 << 40 | n)),
            given: Moment::default(),
        }
    }

    #[test]
    fn records_come_back() {
        let all: Vec<(usize, Record)> = (0..300).map(|n| (n as usize * 3, record(n))).collect();
        let page = Cold::write(all.iter().map(|(slot, r)| (*slot, r))).expect("all have places");
        let back: Vec<(usize, Record)> = page.records().collect();
        assert_eq!(format!("{all:?}"), format!("{back:?}"));
        let read = Cold::read(page.bytes().clone()).expect("whole");
        assert_eq!(format!("{page:?}"), format!("{read:?}"));
        assert_eq!((page.live, page.expiring, page.entries), (300, 43, 971..=1000));
        for cut in 1..40 {
            let bytes = read.bytes().slice(..cut);
            let whole = Cold::read(bytes).map_or(0, |page| page.live);
            assert!(whole <= cut as u16 / 5);
        }
    }

    #[test]
    fn what_a_record_costs() {
        let plain = |n: u64| {
            let place = Some(Place { pos: n / 100, index: (n % 100) as u32 });
            Record { place, ..record(1) }
        };
        let all: Vec<Record> = (0..1024)
            .map(|n| Record { attempts: 0, priority: 0, size: 1100, counted: 1000, ..plain(n) })
            .collect();
        let page = Cold::write(all.iter().enumerate()).expect("all have places");
        let each = page.bytes().len() as f64 / 1024.0;
        assert!(each <= 6.0, "{each}");
        assert!(size_of::<Cold>() <= 80, "{}", size_of::<Cold>());
    }
}
