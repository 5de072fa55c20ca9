//! A protocol: what is said on a connection. The broker has the socket, the deadlines and the session.

use crate::Start;
use crate::abi::{self, Head, View};
use crate::values::text;

/// A protocol of a plugin.
pub trait Protocol: Start {
    /// As listeners name it: lower-case letters, digits and `-`.
    const NAME: &'static str;
    type Connection: Connection;

    /// A connection from that address. An error closes it.
    fn open(&self, peer: &str) -> Result<Self::Connection, String>;
}

/// One connection.
pub trait Connection: Send + 'static {
    /// Something happened. An error ends the connection; what was wished before is done.
    ///
    /// Nothing but [`Wishes::write`] and [`Wishes::close`] may be wished before the client has logged in, and nothing
    /// after [`Wishes::log_in`] until [`Happened::LoggedIn`].
    fn turn(&mut self, happened: Happened<'_>, wishes: &mut Wishes) -> Result<(), String>;
}

/// What happens on a connection. Tokens are those that the plugin chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened<'a> {
    /// The peer sent that, in pieces of any size.
    Bytes(&'a [u8]),
    /// The login is judged; or why not.
    LoggedIn(Result<(), &'a str>),
    /// What became of a publish: it is stored, or why not.
    Published(u64, Result<(), &'a str>),
    /// A subscription is there, or why not.
    Subscribed(u64, Result<(), &'a str>),
    /// The broker ended a subscription, and why.
    Unsubscribed(u64, &'a str),
    /// A message.
    Delivered {
        /// The token of the subscription.
        subscription: u64,
        /// What settles it; 0: nothing has to.
        delivery: u64,
        /// Where it was published: `topic:a/b`, `queue:NAME`, `exchange:NAME/KEY`.
        address: &'a str,
        body: &'a [u8],
        /// It was delivered before, perhaps.
        redelivered: bool,
    },
    /// The broker ends the connection, and why. The last turn: only what is written counts.
    Ending(&'a str),
}

impl Happened<'_> {
    /// None: a newer broker tells something that this SDK does not know.
    ///
    /// # Safety
    /// It is what the broker passed, and used during that call.
    pub(crate) unsafe fn of(it: &abi::Happened) -> Option<Self> {
        // SAFETY: the caller's promise.
        let (address, bytes, why) = unsafe { (text(it.address), it.bytes.bytes(), text(it.bytes)) };
        let result = if it.status == abi::OK { Ok(()) } else { Err(why) };
        Some(match it.kind {
            abi::BYTES => Happened::Bytes(bytes),
            abi::LOGGED_IN => Happened::LoggedIn(result),
            abi::PUBLISHED => Happened::Published(it.token, result),
            abi::SUBSCRIBED => Happened::Subscribed(it.token, result),
            abi::UNSUBSCRIBED => Happened::Unsubscribed(it.token, why),
            abi::DELIVERED => Happened::Delivered {
                subscription: it.token,
                delivery: it.delivery,
                address,
                body: bytes,
                redelivered: it.flags & abi::REDELIVERED != 0,
            },
            abi::ENDING => Happened::Ending(why),
            _ => return None,
        })
    }
}

/// How a delivery is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Accepted,
    /// Back to its place, for anybody, with one more attempt.
    Returned,
    /// Away: dead-lettered, or dropped.
    Rejected,
}

/// What is to be done on a connection, in this order, when the turn is over.
#[derive(Debug)]
pub struct Wishes(abi::Wishes);

impl Wishes {
    pub(crate) fn new(wishes: abi::Wishes) -> Self {
        Self(wishes)
    }

    fn wish(&mut self, (kind, flags, token): (u32, u32, u64), address: &[u8], bytes: &[u8]) {
        let (address, bytes) = (View::of(address), View::of(bytes));
        let wish = abi::Wish { head: Head::of::<abi::Wish>(), kind, flags, token, address, bytes };
        if let Some(take) = self.0.wish {
            // SAFETY: the broker's function during its call; what is passed stays meanwhile. One that is too much is
            // the broker's to judge.
            unsafe { take(self.0.context, &raw const wish) };
        }
    }

    /// Sends bytes to the peer.
    pub fn write(&mut self, bytes: &[u8]) {
        self.wish((abi::WRITE, 0, 0), &[], bytes);
    }

    /// Judges a login. Both empty: somebody without a name.
    pub fn log_in(&mut self, user: &str, password: &[u8]) {
        self.wish((abi::LOG_IN, 0, 0), user.as_bytes(), password);
    }

    /// Publishes to `topic:a/b`, `queue:NAME` or `exchange:NAME/KEY`. `durable`: stored before it is confirmed, where
    /// its queues are durable.
    pub fn publish(&mut self, token: u64, address: &str, body: &[u8], durable: bool) {
        let flags = if durable { abi::DURABLE } else { 0 };
        self.wish((abi::PUBLISH, flags, token), address.as_bytes(), body);
    }

    /// Subscribes to `topic:PATTERN`, with `+` and `#`, or to `queue:NAME`. `settles`: each delivery is to be settled.
    pub fn subscribe(&mut self, token: u64, address: &str, settles: bool) {
        let flags = if settles { abi::SETTLES } else { 0 };
        self.wish((abi::SUBSCRIBE, flags, token), address.as_bytes(), &[]);
    }

    /// Ends a subscription. What is not settled goes back.
    pub fn unsubscribe(&mut self, token: u64) {
        self.wish((abi::UNSUBSCRIBE, 0, token), &[], &[]);
    }

    /// Settles a delivery.
    pub fn settle(&mut self, delivery: u64, how: Settled) {
        let flags = match how {
            Settled::Accepted => abi::ACCEPTED,
            Settled::Returned => abi::RETURNED,
            Settled::Rejected => abi::REJECTED,
        };
        self.wish((abi::SETTLE, flags, delivery), &[], &[]);
    }

    /// Ends the connection when what was written before is sent.
    pub fn close(&mut self) {
        self.wish((abi::CLOSE, 0, 0), &[], &[]);
    }
}
