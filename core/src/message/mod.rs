//! What is carried. A [`Message`] is immutable and shared: what differs per receiver is in a delivery. It keeps
//! the header bytes as its sender wrote them ([`Native`]); the neutral [`Fields`] are decoded when somebody
//! first asks, and a foreign reader's frame is encoded once and shared.

mod address;
pub mod aliases;
mod budget;
pub mod carry;
pub mod cost;
pub mod fate;
mod fields;
mod filter;
mod group;
mod json;
mod key;
mod neutral;
mod text64;
mod value;
pub(crate) mod wire;

pub use address::Address;
pub use budget::{Account, Budget, Charge, Share};
pub use fields::{BodyKind, Fields, Id, Properties, ReplyTo};
pub use filter::Filter;
pub use group::{GROUP_BUCKETS, Group};
pub use key::{Key, Name, SEPARATOR};
pub use neutral::Neutral;
pub(crate) use value::{Hashing, hash_arguments};
pub use value::{Value, lookup, same_arguments};

use crate::error::Error;
use aliases::Aliases;
use bytes::{Bytes, BytesMut};
use cost::{ALLOCATION, Cost};
use fate::{Conversions, Losses};
use memchr::memmem;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Milliseconds since the Unix epoch, by the broker's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Later by `ms`, saturating (docs/SEMANTICS.md R7).
    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `self` to `later`; 0 when `later` is past.
    pub fn until(self, later: Timestamp) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

/// One protocol and version, fixed for ever in docs/STORE.md. 0 is the neutral format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FormatId(pub u16);

/// Header bytes as they came, in one format.
#[derive(Debug, Clone)]
pub struct Native {
    pub format: FormatId,
    pub bytes: Bytes,
}

/// Reads one protocol's header bytes. Pure.
pub trait Format: Send + Sync {
    /// Which format it reads.
    fn id(&self) -> FormatId;

    /// Protocol and version, as operators see them: `mqtt-5.0`.
    fn name(&self) -> &'static str;

    /// The neutral view of these header bytes. The body is there for formats that guess from it.
    fn decode(&self, native: &Bytes, body: &Bytes) -> Result<Fields, Error>;

    /// The header that lists, as texts, further keys with which a message was published. None: there is no such header.
    fn copies_header(&self) -> Option<&'static str> {
        None
    }
}

/// Every format that this process knows; an unknown id stays opaque (body only). With them, what was converted between
/// them, and short names of what is too long for some.
#[derive(Clone, Default)]
pub struct Formats {
    readers: Arc<[Arc<dyn Format>]>,
    conversions: Arc<Conversions>,
    aliases: Arc<Aliases>,
}

impl Formats {
    /// The formats of all adapters, and the neutral one.
    pub fn new(formats: Vec<Arc<dyn Format>>) -> Self {
        let neutral: Arc<dyn Format> = Arc::new(Neutral);
        let readers: Arc<[Arc<dyn Format>]> = formats.into_iter().chain([neutral]).collect();
        let highest = readers.iter().map(|reader| reader.id()).max().unwrap_or(Neutral::ID);
        let conversions = Arc::new(Conversions::up_to(highest));
        Self { readers, conversions, aliases: Arc::default() }
    }

    /// Short names of values that are too long for their places.
    pub fn aliases(&self) -> &Aliases {
        &self.aliases
    }

    /// Further keys with which a message was published, as they are at the default exchange, and the header that lists
    /// them.
    pub fn copies(&self, message: &Message) -> Option<(&'static str, Vec<Key>)> {
        let named = self.readers.iter().filter_map(|reader| reader.copies_header());
        // Most have none, and are not decoded for it.
        let written = &message.native().bytes;
        let mut named = named.filter(|name| memmem::find(written, name.as_bytes()).is_some());
        named.find_map(|name| match message.fields(self).header(name)? {
            Value::List(list) => {
                let keys = list.iter().filter_map(Value::as_str).map(Key::from).collect();
                Some((name, keys))
            }
            _ => None,
        })
    }

    /// The reader of `id`.
    pub fn get(&self, id: FormatId) -> Option<&dyn Format> {
        self.readers.iter().find(|f| f.id() == id).map(|f| &**f)
    }
}

/// Who published: one for each connection, shared by all its messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    pub user: Name,
    /// Client id, container id or empty.
    pub client: Name,
    pub listener: Name,
    /// The peer's address as text, for logs; empty in what was stored.
    pub peer: Name,
    /// A number of the connection's own, while this process runs; 0 in what was stored.
    pub connection: u64,
}

/// Why a message left a log otherwise than by being accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Rejected,
    Expired,
    /// A length limit pushed it out.
    MaxLength,
    /// Too many attempts.
    DeliveryLimit,
    /// A transform failed on it.
    Transform,
}

impl Reason {
    /// The word that dead-letter headers show.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Rejected => "rejected",
            Reason::Expired => "expired",
            Reason::MaxLength => "maxlen",
            Reason::DeliveryLimit => "delivery_limit",
            Reason::Transform => "transform",
        }
    }
}

/// One entry of a message's dead-letter history; the newest is first, a repeated (queue, reason) is counted up.
#[derive(Debug, Clone, PartialEq)]
pub struct Death {
    /// The queue it left.
    pub queue: Name,
    pub reason: Reason,
    /// How often.
    pub count: u32,
    /// When it first left so.
    pub time: Timestamp,
    /// Exchange and key it had been published with.
    pub address: Address,
    /// Further keys that it had been published with, at the same exchange and in its form.
    pub copies: Option<Arc<[Key]>>,
    /// Its time to live in milliseconds, when it had one; dead-lettering removes it.
    pub ttl_ms: Option<u64>,
    /// The consumer's words on why, if its protocol has a field for them.
    pub detail: Option<Arc<str>>,
}

/// What the broker acts on.
#[derive(Debug, Clone)]
pub struct Meta {
    /// Must survive a restart (in durable queues).
    pub durable: bool,
    /// As sent; none is not 0 and not 4.
    pub priority: Option<u8>,
    /// When the broker received it.
    pub published: Timestamp,
    /// When it expires, absolute.
    pub expires: Option<Timestamp>,
    /// The sender asked for it to become the topic's retained value.
    pub retain: bool,
    /// Delivery level 0, 1 or 2 (at most, at least, exactly once at the hop).
    pub level: u8,
    /// How many content routes sent it on to another address; bounded.
    pub hops: u8,
    /// How often it was dead-lettered without a consumer's decision in between; bounded. A content route that gave it
    /// up counts as one.
    pub moves: u8,
    /// What of it one consumer of a queue gets, while it consumes.
    pub group: Option<Group>,
    /// What content routes have to know of it; none: it met none.
    pub journey: Option<Arc<Journey>>,
    pub deaths: Option<Arc<[Death]>>,
    pub origin: Arc<Origin>,
}

/// A message's way through content routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Journey {
    /// Routes that it went through: it does not enter them again.
    pub through: Vec<Name>,
    /// While it waits in a route's queue: how it goes on from there.
    pub onward: Option<Onward>,
}

/// How a message goes on behind the route in whose queue it waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Onward {
    /// The queue that it was on its way into; none: it was met at its address.
    pub queue: Option<Name>,
    /// Routes that had their turn with it already, whether or not they took it.
    pub asked: Vec<Name>,
    /// Diverts that have their turn after this route.
    pub later: Vec<Name>,
    /// A divert has it: it does not go into its queue or to its address any more.
    pub taken: bool,
    /// [`Message::source`] when it came to the route.
    pub source: u64,
}

impl Meta {
    /// Content routes that it went through.
    pub fn through(&self) -> &[Name] {
        self.journey.as_ref().map(|journey| journey.through.as_slice()).unwrap_or_default()
    }

    /// How it goes on behind the route in whose queue it waits.
    pub fn onward(&self) -> Option<&Onward> {
        self.journey.as_ref()?.onward.as_ref()
    }

    /// A transient message of this origin, without priority or expiry.
    pub fn new(origin: Arc<Origin>, published: Timestamp) -> Self {
        Self {
            durable: false,
            priority: None,
            published,
            expires: None,
            retain: false,
            level: 0,
            hops: 0,
            moves: 0,
            group: None,
            journey: None,
            deaths: None,
            origin,
        }
    }

    /// The dead-letter history, newest first.
    pub fn deaths(&self) -> &[Death] {
        self.deaths.as_deref().unwrap_or_default()
    }

    /// The death that came first: the others were repeated, or came later.
    pub fn first_death(&self) -> Option<&Death> {
        self.deaths().iter().rev().min_by_key(|death| death.time)
    }
}

/// Small messages are copied out of the read buffer, so that one waiting message does not keep 64 KiB alive.
const COMPACT_MAX: usize = 4096;

/// An immutable message; a clone is one reference count.
#[derive(Clone)]
pub struct Message(Arc<Parts>);

struct Parts {
    meta: Meta,
    address: Address,
    body: Bytes,
    native: Native,
    /// Bytes of key, headers and body.
    size: usize,
    /// Boxed: most messages are never decoded, and wait in large numbers.
    fields: OnceLock<Box<Fields>>,
    frames: Mutex<SmallVec<[(FormatId, Bytes); 1]>>,
    charge: OnceLock<Charge>,
    /// Bytes of what was decoded and encoded of it so far.
    grown: AtomicUsize,
    /// For readers of which formats it was counted as converted: a bit for each.
    counted: AtomicU32,
}

impl Message {
    /// A message as an adapter received it. Small ones are copied out of the read buffer.
    pub fn new(address: Address, meta: Meta, native: Native, body: Bytes) -> Self {
        let total = native.bytes.len() + body.len();
        let (head, body) = match total <= COMPACT_MAX {
            true => {
                let mut copy = BytesMut::with_capacity(total);
                copy.extend_from_slice(&native.bytes);
                copy.extend_from_slice(&body);
                let mut copy = copy.freeze();
                (copy.split_to(native.bytes.len()), copy)
            }
            false => (native.bytes, body),
        };
        Self::assemble(address, meta, Native { format: native.format, bytes: head }, body)
    }

    /// A message that the broker or a transform made from neutral fields.
    pub fn from_fields(address: Address, meta: Meta, fields: &Fields, body: Bytes) -> Self {
        let native = Native { format: Neutral::ID, bytes: Neutral::encode(fields) };
        Self::assemble(address, meta, native, body)
    }

    /// The same headers and body with another address and other settings.
    pub fn with(&self, address: Address, meta: Meta) -> Self {
        Self::assemble(address, meta, self.0.native.clone(), self.0.body.clone())
    }

    /// The same message in memory of its own: the buffer that it was read from is not kept.
    pub(crate) fn detached(&self) -> Self {
        let Parts { address, meta, native, body, .. } = &*self.0;
        Self::in_own_memory(address.clone(), meta.clone(), native, body)
    }

    /// A message with one piece of memory for key, native bytes and body, whatever they were read from.
    pub(crate) fn in_own_memory(
        address: Address,
        meta: Meta,
        native: &Native,
        body: &[u8],
    ) -> Self {
        let (key, headers) = (address.key.bytes(), &native.bytes);
        let mut all = Vec::with_capacity(key.len() + headers.len() + body.len());
        [&**key, &**headers, body].iter().for_each(|part| all.extend_from_slice(part));
        let mut all = Bytes::from(all);
        let key = all.split_to(key.len());
        let native = Native { format: native.format, bytes: all.split_to(headers.len()) };
        let address = Address::new(address.exchange, Key::new(key));
        Self::assemble(address, meta, native, all)
    }

    fn assemble(address: Address, meta: Meta, native: Native, body: Bytes) -> Self {
        let size = body.len() + native.bytes.len() + address.key.bytes().len();
        Self(Arc::new(Parts {
            meta,
            address,
            body,
            native,
            size,
            fields: OnceLock::new(),
            frames: Mutex::new(SmallVec::new()),
            charge: OnceLock::new(),
            grown: AtomicUsize::new(0),
            counted: AtomicU32::new(0),
        }))
    }

    /// What the broker acts on.
    pub fn meta(&self) -> &Meta {
        &self.0.meta
    }

    /// Where it was published to.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// The payload.
    pub fn body(&self) -> &Bytes {
        &self.0.body
    }

    /// The sender's header bytes.
    pub fn native(&self) -> &Native {
        &self.0.native
    }

    /// The neutral view, decoded once. Headers that cannot be read (an unknown format) show as none.
    pub fn fields(&self, formats: &Formats) -> &Fields {
        self.0.fields.get_or_init(|| {
            let mut fields = Box::new(self.decode(formats));
            formats.aliases.restore(&mut fields);
            self.grow(fields.cost());
            fields
        })
    }

    /// The same for somebody who looks at many messages: what is decoded for that is not kept with the message.
    pub fn fields_for_once(&self, formats: &Formats) -> Cow<'_, Fields> {
        match self.0.fields.get() {
            Some(known) => Cow::Borrowed(&**known),
            None => {
                let mut fields = self.decode(formats);
                formats.aliases.restore(&mut fields);
                Cow::Owned(fields)
            }
        }
    }

    fn decode(&self, formats: &Formats) -> Fields {
        let native = &self.0.native;
        let decoded = formats.get(native.format).map(|f| f.decode(&native.bytes, &self.0.body));
        decoded.and_then(Result::ok).unwrap_or_default()
    }

    /// False once it was counted as converted for readers of that format, and for those of its own.
    pub fn is_to_be_counted(&self, to: FormatId) -> bool {
        self.0.native.format != to && self.0.counted.load(Ordering::Relaxed) & fate::bit(to) == 0
    }

    /// It was written for readers of that format. Counted once, however often that happens.
    pub fn converted(&self, to: FormatId, formats: &Formats, losses: Losses) {
        let bit = fate::bit(to);
        if self.is_to_be_counted(to) && self.0.counted.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            formats.conversions.count(self.0.native.format, to, losses);
        }
    }

    /// The shared part of an outgoing frame, encoded by the first receiver that needs `id`.
    pub fn frame(&self, id: FormatId, encode: impl FnOnce() -> Bytes) -> Bytes {
        let mut frames = self.0.frames.lock();
        if let Some((_, bytes)) = frames.iter().find(|(f, _)| *f == id) {
            return bytes.clone();
        }
        let bytes = encode();
        self.grow(bytes.len() + ALLOCATION);
        frames.push((id, bytes.clone()));
        bytes
    }

    /// Bytes that credit, limits and the memory budget count.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// Bytes of memory that it takes at least: what [`Message::size`] counts, and itself.
    pub fn weight(&self) -> usize {
        self.size() + size_of::<Parts>() + 3 * ALLOCATION
    }

    /// Bytes of memory that it takes, what was decoded and encoded of it so far included.
    pub(crate) fn footprint(&self) -> usize {
        let deaths: usize = self.0.meta.deaths().iter().map(Cost::cost).sum();
        self.weight() + self.0.grown.load(Ordering::Relaxed) + deaths
    }

    /// Something about it was decoded or encoded, and stays with it.
    fn grow(&self, bytes: usize) {
        self.0.grown.fetch_add(bytes, Ordering::Relaxed);
        if let Some(charge) = self.0.charge.get() {
            charge.grow(bytes);
        }
    }

    /// Who sent it, and where to, as a number: user, client id (or the connection, where the protocol has none) and
    /// address. While a message waits for a content route, the number is stored with it.
    pub fn source(&self) -> u64 {
        if let Some(onward) = self.0.meta.onward() {
            return onward.source;
        }
        let (origin, address) = (&self.0.meta.origin, &self.0.address);
        let connection = match origin.client.is_empty() {
            true => origin.connection.to_be_bytes(),
            false => [0; 8],
        };
        let parts: [&[u8]; 5] = [
            origin.user.as_bytes(),
            origin.client.as_bytes(),
            &connection,
            address.exchange.as_bytes(),
            address.key.bytes(),
        ];
        // FNV-1a, with a byte between the parts that no UTF-8 text has.
        let bytes = parts.iter().flat_map(|part| part.iter().copied().chain([0xff]));
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// A number that no other living message has.
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// The same message in memory.
    pub(crate) fn is(&self, other: &Message) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Charges what it takes to that budget as long as it lives, once, as something that waits.
    pub(crate) fn charge(&self, budget: &Arc<Budget>) {
        self.0.charge.get_or_init(|| budget.charge(Account::Waiting, self.footprint()));
    }

    /// Something keeps it that nobody can make leave memory (a retained value, a parked publish), or does no more.
    pub(crate) fn charge_to(&self, account: Account) {
        if let Some(charge) = self.0.charge.get() {
            charge.move_to(account);
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({}, {} bytes)", self.0.address, self.0.body.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_leave_the_read_buffer() {
        let buffer = Bytes::from(vec![7u8; 65_536]);
        let native = Native { format: Neutral::ID, bytes: buffer.slice(0..10) };
        let meta = Meta::new(Arc::default(), Timestamp(1));
        let message = Message::new(Address::queue("q"), meta, native, buffer.slice(10..50));
        assert!(buffer.is_unique() || !message.body().is_empty());
        drop(message.clone());
        assert!(buffer.is_unique(), "the buffer is not kept alive by the message");
        assert_eq!((message.native().bytes.len(), message.body().len()), (10, 40));
    }

    #[test]
    fn frames_are_encoded_once() {
        let meta = Meta::new(Arc::default(), Timestamp(1));
        let message =
            Message::from_fields(Address::queue("q"), meta, &Fields::default(), Bytes::new());
        let first = message.frame(FormatId(1), || Bytes::from_static(b"a"));
        let again = message.frame(FormatId(1), || Bytes::from_static(b"b"));
        assert_eq!((first.as_ref(), again.as_ref()), (&b"a"[..], &b"a"[..]));
    }
}
