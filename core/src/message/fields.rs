//! The neutral view of a message's headers: what one adapter decodes from its own header bytes and another
//! encodes into its own. docs/SEMANTICS.md §3 is the table.

use super::key::{Key, Name};
use super::value::Value;
use bytes::Bytes;

/// A message id or a correlation id.
#[derive(Debug, Clone, PartialEq)]
pub enum Id {
    Text(Name),
    Binary(Bytes),
    Uuid([u8; 16]),
    U64(u64),
}

/// Where a reply goes. docs/SEMANTICS.md §5.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyTo {
    /// A queue of this vhost.
    Queue(Name),
    /// A topic, in topic form.
    Topic(Key),
    /// Nothing this broker can route; shown as it came.
    Opaque(Name),
}

/// What the body is, beyond bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BodyKind {
    #[default]
    Bytes,
    /// UTF-8 text, by the sender's word.
    Text,
}

/// The properties that have a name of their own. Priority, durability, expiry, retain and level are in
/// [`Meta`](super::Meta), because the broker acts on them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Properties {
    pub message_id: Option<Id>,
    pub correlation_id: Option<Id>,
    pub reply_to: Option<ReplyTo>,
    pub content_type: Option<Name>,
    pub content_encoding: Option<Name>,
    /// The sender's time, milliseconds since the Unix epoch.
    pub created_at: Option<i64>,
    pub user_id: Option<Name>,
    pub app_id: Option<Name>,
    /// The application's name for the kind of message ("type" on most wires).
    pub kind: Option<Name>,
    pub subject: Option<Name>,
    pub group_id: Option<Name>,
    pub group_seq: Option<u32>,
    /// Key of duplicate detection, where the sender's protocol promises exactly once.
    pub dedup_id: Option<Name>,
    pub body_kind: BodyKind,
}

/// Properties, application headers (order and duplicates kept) and annotations (broker-to-broker remarks).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Fields {
    pub properties: Properties,
    pub headers: Vec<(Name, Value)>,
    pub annotations: Vec<(Name, Value)>,
}

impl Fields {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&Value> {
        super::value::lookup(&self.headers, name)
    }
}
