//! The state of one channel: its lane, the content that is arriving, delivery tags, consumers, prefetch. What is done
//! with it is in the other files of the connection.

use super::unsettled::{Tag, Unsettled};
use crate::codec::method::Publish;
use crate::mapping::address::{self, Known};
use bytes::{Bytes, BytesMut};
use crossdock_core::message::Charge;
use crossdock_core::{
    Address, Aside, ConsumerId, Credit, LaneId, Message, Meta, Name, PoolId, ReplyAddress,
};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;

/// After so many deliveries, and acknowledgements, of a channel its memory is counted again.
pub const COUNTED_EVERY: u64 = 1024;

/// Whether publishes are confirmed or wait for a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    #[default]
    Plain,
    Confirm,
    Tx,
}

/// A publish between its method and the end of its body (AMQP 0-9-1 §4.2.6).
// There is one for each channel, and channels are boxed: an allocation for each publish would cost more than the bytes.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Default)]
pub enum Content {
    #[default]
    None,
    /// The header is next.
    Method { address: Address, mandatory: bool },
    /// Body frames are next.
    Body(Incoming),
}

/// A publish whose body is not complete.
#[derive(Debug)]
pub struct Incoming {
    pub address: Address,
    pub mandatory: bool,
    /// Where else it goes.
    pub aside: Option<Box<Aside>>,
    pub meta: Meta,
    pub properties: Bytes,
    /// Octets that the header promised.
    pub body_size: usize,
    /// What arrived so far: it grows by arriving octets, not by the promised size.
    pub body: BytesMut,
}

/// The last publish's names: the next one's are mostly the same, and the exchange was looked up in this turn.
#[derive(Debug, Default)]
pub struct LastAddress {
    exchange: Bytes,
    routing_key: Bytes,
    address: Address,
    /// The turn in which the exchange was last looked up and existed.
    turn: u64,
}

impl LastAddress {
    /// The address, when the names are those of the last publish and that was in this turn.
    pub fn get(&self, publish: &Publish, turn: u64) -> Option<Address> {
        let same = self.turn == turn
            && is_same(&self.exchange, &publish.exchange)
            && self.routing_key == publish.routing_key;
        same.then(|| self.address.clone())
    }

    /// True when the exchange was looked up in this turn, and existed.
    pub fn knows_exchange(&self, exchange: &[u8], turn: u64) -> bool {
        self.turn == turn && is_same(&self.exchange, exchange)
    }

    /// Makes and notes the address of a publish whose exchange was looked up.
    pub fn set(&mut self, publish: &Publish, turn: u64, known: Known<'_>) -> Address {
        if self.turn == 0 || !is_same(&self.exchange, &publish.exchange) {
            // Copies: a slice would keep its whole read buffer.
            self.exchange = Bytes::copy_from_slice(&publish.exchange);
            self.routing_key = Bytes::copy_from_slice(&publish.routing_key);
            let exchange = Name::from(&*String::from_utf8_lossy(&self.exchange));
            self.address = address::published(exchange, &self.routing_key, known);
        } else if self.routing_key != publish.routing_key {
            self.routing_key = Bytes::copy_from_slice(&publish.routing_key);
            // The exchange of a reply-topic key is not the one that was named.
            let named = match self.exchange.is_empty() && !self.address.exchange.is_empty() {
                true => Name::default(),
                false => self.address.exchange.clone(),
            };
            self.address = address::published(named, &self.routing_key, known);
        }
        self.turn = turn;
        self.address.clone()
    }
}

/// Names are the same. Two empty ones are not compared: they are nowhere, and the C library's comparison with masked
/// vectors, though it reads nothing there, takes about 80 ns for that on some processors. Most publishes name the
/// default exchange.
#[inline]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// A consumer as its channel sees it.
#[derive(Debug, Clone, Copy)]
pub struct OwnConsumer {
    pub id: ConsumerId,
    /// The consumer's own credit while channel.flow is on.
    pub credit: Credit,
}

/// Credit that all settling consumers of a channel share: basic.qos with `global`.
pub struct SharedPrefetch {
    /// None until a consumer needs it.
    pub pool: Option<PoolId>,
    pub credit: Credit,
}

/// Publishes of a channel that are confirmed.
#[derive(Debug, Default)]
pub struct Confirms {
    /// Numbers given and answered so far.
    pub published: u64,
    pub confirmed: u64,
    /// Numbers of publishes that come back when nothing is bound for them, ascending.
    pub mandatory: VecDeque<u64>,
    /// Something mandatory was published since a method was last answered: what comes back of it goes before the next
    /// answer.
    pub owes_returns: bool,
    /// First and last number that are confirmed and not written yet.
    pub run: Option<(u64, u64)>,
    /// Its client wants to know why a publish is refused.
    pub tells_why: bool,
    /// What was published with these numbers, ascending, where that is so.
    sent: VecDeque<(u64, Message)>,
}

impl Confirms {
    /// That is published with the next number.
    #[cold]
    pub fn keep(&mut self, message: Message) {
        self.sent.push_back((self.published + 1, message));
    }

    /// What was published with that number, if it was kept. Confirms come in order.
    #[inline]
    pub fn take_sent(&mut self, number: u64) -> Option<Message> {
        if self.sent.is_empty() { None } else { self.find_sent(number) }
    }

    #[cold]
    fn find_sent(&mut self, number: u64) -> Option<Message> {
        while self.sent.front().is_some_and(|(first, _)| *first < number) {
            self.sent.pop_front();
        }
        self.sent.pop_front_if(|(first, _)| *first == number).map(|(_, message)| message)
    }

    /// True when the publish of that confirm number was mandatory. Confirms come in order.
    pub fn was_mandatory(&mut self, number: u64) -> bool {
        while self.mandatory.front().is_some_and(|first| *first < number) {
            self.mandatory.pop_front();
        }
        let is = self.mandatory.front() == Some(&number);
        if is {
            self.mandatory.pop_front();
        }
        is
    }
}

/// An open channel.
pub struct Channel {
    pub lane: LaneId,
    pub mode: Mode,
    pub content: Content,
    pub last_address: LastAddress,
    pub confirms: Confirms,
    /// The last delivery tag.
    pub delivery_tag: u64,
    pub unsettled: Unsettled,
    /// Settled inside the open transaction: they wait again after a rollback.
    pub settled_in_tx: Vec<Tag>,
    pub consumers: FxHashMap<Bytes, OwnConsumer>,
    /// Where answers come straight to one of these consumers.
    pub replies: Option<ReplyAddress>,
    /// Queue of the last declare, for methods that name none.
    pub last_queue: Option<Name>,
    /// Credit of later consumers.
    pub prefetch: Credit,
    pub shared_prefetch: SharedPrefetch,
    /// channel.flow: deliveries are wanted.
    pub flow: bool,
    /// What the channel takes in memory.
    kept: Charge,
}

impl Channel {
    /// Bytes that an open channel takes, about.
    pub const BYTES: usize = 1024;

    /// `kept` counts what it takes.
    pub fn new(lane: LaneId, kept: Charge) -> Self {
        kept.set(Self::BYTES);
        Self {
            lane,
            mode: Mode::Plain,
            content: Content::None,
            last_address: LastAddress::default(),
            confirms: Confirms::default(),
            delivery_tag: 0,
            unsettled: Unsettled::default(),
            settled_in_tx: Vec::new(),
            consumers: FxHashMap::default(),
            replies: None,
            last_queue: None,
            prefetch: Credit::UNLIMITED,
            shared_prefetch: SharedPrefetch { pool: None, credit: Credit::UNLIMITED },
            flow: true,
            kept,
        }
    }

    /// Counts what it takes now. Tags come and go one by one, so for them it is enough to count now and then.
    pub fn count(&mut self) {
        let body = match &self.content {
            Content::Body(incoming) => incoming.body.capacity(),
            Content::None | Content::Method { .. } => 0,
        };
        let settled = self.settled_in_tx.capacity() * size_of::<Tag>();
        let bytes = Self::BYTES + body + self.unsettled.memory() + settled;
        if bytes != self.kept.bytes() {
            self.kept.set(bytes);
        }
    }

    /// The next delivery tag.
    pub fn next_tag(&mut self) -> u64 {
        self.delivery_tag = self.delivery_tag.saturating_add(1);
        self.delivery_tag
    }
}

/// The channels of a connection.
pub type Channels = FxHashMap<u16, Slot>;

/// A channel number that is in use.
pub enum Slot {
    Open(Box<Channel>),
    /// Closed by us: all but the peer's close-ok is discarded (§1.4.3.5, channel.close).
    Closing,
}
