//! What adapters ask of the broker: publishes, consumers, declarations, memos.

use crate::auth::Identity;
use crate::exchange::{BindingTag, LogId};
use crate::log::{Offset, QueueSpec};
use crate::message::cost::Cost;
use crate::message::{Address, Key, Message, Name, Origin, Timestamp, Value};
use crate::subscription::{ConsumerId, Credit};
use bytes::Bytes;
use smallvec::SmallVec;

/// One ordered stream of publishes and settles of a session, with confirm numbers and a transaction of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId(pub u32);

/// Credit shared by consumers of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolId(pub u32);

/// A parked publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParkId(pub u64);

/// A message on its way in.
#[derive(Debug, Clone)]
pub struct Publish {
    pub message: Message,
    /// A [`Confirm`](super::events::Confirm) is wanted.
    pub confirm: bool,
    /// Without a route it comes back, `confirm` or not, as
    /// [`ConfirmOutcome::Unroutable`](super::events::ConfirmOutcome).
    pub mandatory: bool,
    /// The confirm can say no. Otherwise, and without one, a message that is refused goes to a dead-letter address if
    /// there is one.
    pub can_refuse: bool,
    /// What few publishes ask for: the others carry one pointer for it.
    pub aside: Option<Box<Aside>>,
}

/// What few publishes ask for.
#[derive(Debug, Clone)]
pub enum Aside {
    /// Further addresses that it goes to as it is. Whoever is reached by several of them gets it once.
    Copies(Vec<Address>),
    /// It is published then, and is kept until then, as a part of the unit that carries the publish.
    Due(Timestamp),
}

impl Publish {
    /// A publish whose confirm, if one is wanted, can say no.
    pub fn new(message: Message, confirm: bool) -> Self {
        Self { message, confirm, mandatory: false, can_refuse: true, aside: None }
    }
}

/// Opaque state of a named session, stored in the same entry as the flush that carries it. The core never reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memo {
    /// At most 64 bytes.
    pub key: Bytes,
    /// At most 4 KiB; none removes the memo.
    pub value: Option<Bytes>,
}

/// A delivery that is a session's to finish: see [`Session::claim`](crate::Session::claim).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    pub(crate) queue: LogId,
    pub(crate) offset: Offset,
}

/// What a consumer reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsumerSource {
    Queue(Name),
    /// The named session's own queue.
    Own,
}

/// A consumer that is to be attached.
#[derive(Debug, Clone)]
pub struct Consumer {
    pub source: ConsumerSource,
    /// Deliveries have to be settled. Otherwise they are accepted when they were written to the socket.
    pub settles: bool,
    /// No other consumer may consume the queue.
    pub exclusive: bool,
    /// Higher ones are served first while they have credit.
    pub priority: i16,
    /// Its own credit.
    pub credit: Credit,
    /// Credit it shares.
    pub pools: SmallVec<[PoolId; 2]>,
    /// It gets nothing that has expired, however new that is.
    pub only_unexpired: bool,
    /// What it does not settle within the queue's consumer timeout is taken back, and the consumer ended.
    pub has_time: bool,
    /// Shown to operators.
    pub tag: Name,
}

/// A name of the default exchange at which a lane gets answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyAddress {
    /// The id of the tag that its deliveries have.
    pub consumer: ConsumerId,
    pub name: Name,
}

/// Whether records in flight go back when their consumer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDetach {
    /// They stay in flight and can be settled as long as the lane lives.
    Stay,
    /// What was handed out goes back as redelivered, what was not as if it had never been on its way.
    Return,
}

/// How long a named session outlives its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionLife {
    /// It ends with the connection.
    No,
    /// Milliseconds.
    For(u64),
    Forever,
}

impl SessionLife {
    /// The session outlives its connection.
    pub fn lasts(self) -> bool {
        !matches!(self, SessionLife::No | SessionLife::For(0))
    }
}

/// What a connection speaks and says of itself: shown to operators, and not acted on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    /// Short lower-case name of the protocol; empty for the program's own.
    pub protocol: Name,
    /// Its version, as the protocol spells it.
    pub version: Name,
    /// What passes is encrypted between the peer and this process.
    pub secure: bool,
    /// What the client says: product, platform and whatever else.
    pub details: Vec<(Name, Value)>,
}

/// What is kept of a client's details: fields, and bytes of memory that they take.
const DETAILS_MAX: usize = 64;
const DETAILS_BYTES: usize = 8 << 10;

impl About {
    /// A connection of that protocol, of which nothing else is known.
    pub fn new(protocol: &str, version: &str) -> Self {
        Self { protocol: protocol.into(), version: version.into(), ..Self::default() }
    }

    /// It says this of itself. What is too much is left out, a field at a time; nothing keeps a read buffer in memory.
    pub fn saying(mut self, details: impl IntoIterator<Item = (Name, Value)>) -> Self {
        let mut bytes = 0;
        for (name, mut value) in details.into_iter().take(DETAILS_MAX) {
            let cost = name.cost() + value.cost();
            if bytes + cost > DETAILS_BYTES {
                continue;
            }
            bytes += cost;
            value.detach();
            self.details.push((name, value));
        }
        self
    }
}

/// What a connection's session is opened with.
#[derive(Debug, Clone)]
pub struct SessionSpec {
    pub vhost: Name,
    /// Named sessions are unique in their vhost: opening one again detaches the old owner.
    pub name: Option<Name>,
    /// Nothing is kept of an earlier session of that name.
    pub clean: bool,
    pub life: SessionLife,
    /// Its user is the identity's, whatever stands here.
    pub origin: Origin,
    /// Who logged in: decides what the session may do.
    pub identity: Identity,
    /// What operators see of the connection.
    pub about: About,
    /// A named session's own queue, for deliveries of level 1 and 2. Made with its first binding.
    pub queue: Option<QueueSpec>,
}

impl SessionSpec {
    /// A session without a name.
    pub fn anonymous(vhost: impl Into<Name>, origin: Origin, identity: Identity) -> Self {
        let (name, clean, life, queue) = (None, true, SessionLife::No, None);
        let about = About::default();
        Self { vhost: vhost.into(), name, clean, life, origin, identity, about, queue }
    }
}

/// Where a binding leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindTarget {
    Queue(Name),
    Exchange(Name),
    /// This session: level 0 straight to it, higher levels through its own queue.
    Own,
}

/// Retained values of the bound exchange that a new binding of a session delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replay {
    Always,
    /// Only when the binding was not there.
    IfNew,
    #[default]
    Never,
}

/// A binding to be made or removed.
#[derive(Debug, Clone)]
pub struct Bind {
    pub source: Name,
    /// In the exchange's form: topic form for every exchange but the default one.
    pub key: Key,
    pub arguments: Vec<(Name, Value)>,
    pub to: BindTarget,
    pub tag: BindingTag,
    /// The session's own publishes do not come back by this binding.
    pub skip_own: bool,
    pub replay: Replay,
}

impl Bind {
    /// A plain binding.
    pub fn new(source: impl Into<Name>, key: Key, to: BindTarget) -> Self {
        let (arguments, tag) = (Vec::new(), BindingTag::default());
        Self {
            source: source.into(),
            key,
            arguments,
            to,
            tag,
            skip_own: false,
            replay: Replay::Never,
        }
    }
}

/// When a parked publish is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParkUntil {
    At(Timestamp),
    /// `delay_ms` milliseconds after this session's connection is gone; a named session that comes back cancels it.
    /// The end of the session makes it due at once.
    Disconnected {
        delay_ms: u64,
    },
}

impl ParkUntil {
    /// It waits for a connection to be gone.
    pub fn is_gone(self) -> bool {
        matches!(self, ParkUntil::Disconnected { .. })
    }
}
