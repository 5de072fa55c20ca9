//! What becomes of the fields of a message when it is written for readers of another protocol. A mapping says it for
//! each field, in the line that writes the field or leaves it out, to whoever listens: [`Losses`] keeps what is lost,
//! to be counted, and costs nothing where nothing is; [`Recorded`] keeps everything. So what is counted and what is
//! explained cannot part from what is written.
//!
//! Fields are what the sender said of its message. What the broker adds (deaths, where a message came from) is none.

use super::{Fields, Formats, Message, Name};
use crate::message::FormatId;
use std::sync::atomic::{AtomicU64, Ordering};

/// A field of docs/SEMANTICS.md §3. All application headers are one; [`Fates::note`] has their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    ContentType,
    ContentEncoding,
    MessageId,
    CorrelationId,
    ReplyTo,
    Timestamp,
    UserId,
    AppId,
    Type,
    Subject,
    GroupId,
    GroupSeq,
    DedupId,
    PayloadFormat,
    Priority,
    Expiry,
    Header,
    /// That the value of a header is a number, say, and not the text that is shown.
    HeaderType,
    Annotation,
}

impl Field {
    /// All of them, in the order of their numbers.
    pub const ALL: [Field; 19] = [
        Field::ContentType,
        Field::ContentEncoding,
        Field::MessageId,
        Field::CorrelationId,
        Field::ReplyTo,
        Field::Timestamp,
        Field::UserId,
        Field::AppId,
        Field::Type,
        Field::Subject,
        Field::GroupId,
        Field::GroupSeq,
        Field::DedupId,
        Field::PayloadFormat,
        Field::Priority,
        Field::Expiry,
        Field::Header,
        Field::HeaderType,
        Field::Annotation,
    ];

    /// Its name, with dashes.
    pub fn as_str(self) -> &'static str {
        match self {
            Field::ContentType => "content-type",
            Field::ContentEncoding => "content-encoding",
            Field::MessageId => "message-id",
            Field::CorrelationId => "correlation-id",
            Field::ReplyTo => "reply-to",
            Field::Timestamp => "timestamp",
            Field::UserId => "user-id",
            Field::AppId => "app-id",
            Field::Type => "type",
            Field::Subject => "subject",
            Field::GroupId => "group-id",
            Field::GroupSeq => "group-seq",
            Field::DedupId => "dedup-id",
            Field::PayloadFormat => "payload-format",
            Field::Priority => "priority",
            Field::Expiry => "expiry",
            Field::Header => "header",
            Field::HeaderType => "header-type",
            Field::Annotation => "annotation",
        }
    }
}

/// Why a field is lost (docs/SEMANTICS.md R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The reader's protocol has no place for anything of the kind.
    NoPlace,
    /// It has no place for this field, and the reader's options, or the defaults of its protocol, do not let it be
    /// carried (R6).
    NotCarried,
    /// The place cannot hold that many bytes.
    TooLong,
    /// The place cannot hold these characters.
    NotWritable,
    /// Another value stands in its place.
    PlaceTaken,
    /// The name belongs to the broker (R4).
    Reserved,
}

/// What became of a field. Where it has a place of its own, that is named; else what it is carried as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate<T> {
    /// As its sender wrote it.
    Native,
    Mapped(T),
    Carried(T),
    Lost(Why),
}

/// Listens to a mapping. Of two words about the same field the later one holds.
pub trait Fates {
    /// That became of a field. `name`: of a header or an annotation; empty for all others.
    fn note(&mut self, field: Field, name: &str, fate: Fate<&str>);
}

/// Fields that are lost, each once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses(u32);

impl Losses {
    /// The fields.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.0 & (1 << *field as u32) != 0)
    }
}

impl Fates for Losses {
    #[inline]
    fn note(&mut self, field: Field, _name: &str, fate: Fate<&str>) {
        if let Fate::Lost(_) = fate {
            self.0 |= 1 << field as u32;
        }
    }
}

/// Each field and what became of it, in the order of the mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded(pub Vec<(Field, Name, Fate<Name>)>);

impl Fates for Recorded {
    fn note(&mut self, field: Field, name: &str, fate: Fate<&str>) {
        let fate = match fate {
            Fate::Native => Fate::Native,
            Fate::Mapped(place) => Fate::Mapped(place.into()),
            Fate::Carried(place) => Fate::Carried(place.into()),
            Fate::Lost(why) => Fate::Lost(why),
        };
        let known = |(f, n, _): &&mut (Field, Name, _)| *f == field && **n == *name;
        match self.0.iter_mut().find(known) {
            Some((.., last)) if field != Field::Header => *last = fate,
            _ => self.0.push((field, name.into(), fate)),
        }
    }
}

/// Everything that a message says of itself is lost on readers whose protocol has no place for anything.
pub fn all_lost(message: &Message, fields: &Fields, fates: &mut impl Fates) {
    let (p, meta) = (&fields.properties, message.meta());
    let is_text = p.body_kind == super::BodyKind::Text && p.content_type.is_none();
    for (field, is_there) in [
        (Field::ContentType, p.content_type.is_some()),
        (Field::ContentEncoding, p.content_encoding.is_some()),
        (Field::MessageId, p.message_id.is_some()),
        (Field::CorrelationId, p.correlation_id.is_some()),
        (Field::ReplyTo, p.reply_to.is_some()),
        (Field::Timestamp, p.created_at.is_some()),
        (Field::UserId, p.user_id.is_some()),
        (Field::AppId, p.app_id.is_some()),
        (Field::Type, p.kind.is_some()),
        (Field::Subject, p.subject.is_some()),
        (Field::GroupId, p.group_id.is_some()),
        (Field::GroupSeq, p.group_seq.is_some()),
        (Field::DedupId, p.dedup_id.is_some()),
        (Field::PayloadFormat, is_text),
        (Field::Priority, meta.priority.is_some()),
        (Field::Expiry, meta.expires.is_some()),
    ] {
        if is_there {
            fates.note(field, "", Fate::Lost(Why::NoPlace));
        }
    }
    for (name, _) in &fields.headers {
        fates.note(Field::Header, name, Fate::Lost(Why::NoPlace));
    }
    annotations_lost(fields, fates);
}

/// The reader's protocol has no place for annotations.
pub fn annotations_lost(fields: &Fields, fates: &mut impl Fates) {
    for (name, _) in &fields.annotations {
        fates.note(Field::Annotation, name, Fate::Lost(Why::NoPlace));
    }
}

/// Formats with numbers below this are counted. They are fixed one by one in docs/STORE.md.
const COUNTED: u16 = u32::BITS as u16;

/// The bit of a format among those that a message was counted for.
pub(super) fn bit(format: FormatId) -> u32 {
    if format.0 < COUNTED { 1 << format.0 } else { 0 }
}

/// Conversions since the start, by the formats of sender and reader.
#[derive(Debug, Default)]
pub(super) struct Conversions {
    /// How many formats each side has.
    width: usize,
    /// A row for each sender's format.
    cells: Box<[Cell]>,
}

#[derive(Debug, Default)]
struct Cell {
    converted: AtomicU64,
    lost: [AtomicU64; Field::ALL.len()],
}

/// Conversions between two formats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversionTotals {
    /// Names of the sender's format and the reader's.
    pub from: &'static str,
    pub to: &'static str,
    /// Messages that were converted, however many readers got them.
    pub converted: u64,
    /// How many of them lost a field, for each field that one lost.
    pub lost: Vec<(Field, u64)>,
}

impl Conversions {
    /// Between formats of which the highest has that number.
    pub fn up_to(highest: FormatId) -> Self {
        let width = usize::from(highest.0.min(COUNTED - 1)) + 1;
        Self { width, cells: (0..width * width).map(|_| Cell::default()).collect() }
    }

    fn cell(&self, from: FormatId, to: FormatId) -> Option<&Cell> {
        let (from, to) = (usize::from(from.0), usize::from(to.0));
        let is_known = from < self.width && to < self.width;
        self.cells.get(from * self.width + to).filter(|_| is_known)
    }

    /// A message was converted. Many count here: one addition for each message and field that it lost.
    pub fn count(&self, from: FormatId, to: FormatId, losses: Losses) {
        let Some(cell) = self.cell(from, to) else { return };
        cell.converted.fetch_add(1, Ordering::Relaxed);
        if losses == Losses::default() {
            return;
        }
        for field in losses.fields() {
            let (from, to, field_name) = (from.0, to.0, field.as_str());
            tracing::trace!(
                from,
                to,
                field = field_name,
                "a field was left out: it has no place there"
            );
            if let Some(count) = cell.lost.get(field as usize) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Formats {
    /// What was converted since the start, of all pairs of formats of which something was.
    pub fn conversions(&self) -> Vec<ConversionTotals> {
        let mut all = Vec::new();
        for from in self.readers.iter() {
            for to in self.readers.iter() {
                let Some(cell) = self.conversions.cell(from.id(), to.id()) else { continue };
                let converted = cell.converted.load(Ordering::Relaxed);
                if converted == 0 {
                    continue;
                }
                let counts = cell.lost.iter().map(|count| count.load(Ordering::Relaxed));
                let lost = Field::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0);
                let (from, to, lost) = (from.name(), to.name(), lost.collect());
                all.push(ConversionTotals { from, to, converted, lost });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_numbers_of_their_places() {
        for (number, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, number);
        }
        let mut losses = Losses::default();
        losses.note(Field::Annotation, "a", Fate::Lost(Why::NoPlace));
        losses.note(Field::ContentType, "", Fate::Lost(Why::TooLong));
        losses.note(Field::Subject, "", Fate::Carried("mq.subject"));
        assert!(losses.fields().eq([Field::ContentType, Field::Annotation]));
    }

    #[test]
    fn the_later_word_holds() {
        let mut all = Recorded::default();
        all.note(Field::Subject, "", Fate::Carried("mq.subject"));
        all.note(Field::Header, "k", Fate::Mapped("k"));
        all.note(Field::Header, "k", Fate::Lost(Why::TooLong));
        all.note(Field::Subject, "", Fate::Lost(Why::NotWritable));
        let expected = [
            (Field::Subject, "".into(), Fate::Lost(Why::NotWritable)),
            (Field::Header, "k".into(), Fate::Mapped("k".into())),
            (Field::Header, "k".into(), Fate::Lost(Why::TooLong)),
        ];
        assert_eq!(all.0, expected, "a header may stand several times");
    }

    #[test]
    fn conversions_are_counted_by_formats_and_fields() {
        let all = Conversions::up_to(FormatId(3));
        let mut losses = Losses::default();
        all.count(FormatId(1), FormatId(3), losses);
        losses.note(Field::Header, "k", Fate::Lost(Why::NoPlace));
        all.count(FormatId(1), FormatId(3), losses);
        // Of formats that nobody knows nothing is counted, and no other pair's number moves.
        all.count(FormatId(0), FormatId(4), losses);
        all.count(FormatId(9), FormatId(0), losses);
        let read = |cell: &Cell| {
            let lost = cell.lost[Field::Header as usize].load(Ordering::Relaxed);
            (cell.converted.load(Ordering::Relaxed), lost)
        };
        let sums: Vec<_> = all.cells.iter().map(read).filter(|sum| *sum != (0, 0)).collect();
        assert_eq!(sums, [(2, 1)]);
        assert_eq!(all.cell(FormatId(1), FormatId(3)).map(read), Some((2, 1)));
    }
}
