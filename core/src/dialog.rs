//! The seam to protocols that somebody outside of the core speaks, as a plugin does: bytes and events of one connection
//! go in, wishes come out. Such a speaker has no socket, no session and no clock; an adapter gives it those.

use crate::error::Error;
use crate::message::Name;
use async_trait::async_trait;
use bytes::Bytes;

/// A protocol that is spoken elsewhere.
#[async_trait]
pub trait Speaker: Send + Sync {
    /// Short lower-case name, as in the configuration.
    fn name(&self) -> &'static str;

    /// A connection from there. `Invalid`: it is not taken; `Unavailable`: the speaker cannot be asked.
    async fn open(&self, peer: &str) -> Result<Box<dyn Dialog>, Error>;
}

/// What is said on one connection. Dropped when the connection has ended.
#[async_trait]
pub trait Dialog: Send {
    /// What happened since the last turn, in its order, and what is wished because of it. An error ends the connection,
    /// and what was wished before is done.
    async fn turn(&mut self, happened: Vec<Happened>) -> (Vec<Wish>, Result<(), Error>);
}

/// What happens on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// The peer sent that, in pieces of any size.
    Bytes(Bytes),
    /// The login is judged.
    LoggedIn(Result<(), Error>),
    /// What became of the publish with that token.
    Published(u64, Result<(), Error>),
    /// The subscription with that token is there, or cannot be.
    Subscribed(u64, Result<(), Error>),
    /// The broker ended a subscription.
    Unsubscribed(u64, Error),
    Delivered(Delivered),
    /// The broker ends the connection: the last turn.
    Ending(Error),
}

/// A message for a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// The token of the subscription.
    pub subscription: u64,
    /// What settles it, where the subscription settles.
    pub delivery: u64,
    /// Where it was published: `topic:a/b`, `queue:NAME`, `exchange:NAME/KEY`.
    pub address: String,
    pub body: Bytes,
    /// It was delivered before, perhaps.
    pub redelivered: bool,
}

/// What is to be done on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// That is sent to the peer.
    Write(Bytes),
    /// Judges a login; nothing but bytes is wished before. An empty user and password: somebody without a name.
    LogIn {
        user: Name,
        password: Bytes,
    },
    /// A message to `topic:a/b`, `queue:NAME` or `exchange:NAME/KEY`. `durable`: stored before it is confirmed, where
    /// its queues are durable.
    Publish {
        token: u64,
        address: String,
        body: Bytes,
        durable: bool,
    },
    /// Messages of `topic:PATTERN`, with `+` and `#`, from now on, or of `queue:NAME`. `settles`: each is settled by a
    /// wish; otherwise it is when it was written.
    Subscribe {
        token: u64,
        address: String,
        settles: bool,
    },
    Unsubscribe {
        token: u64,
    },
    /// Of a delivery.
    Settle {
        delivery: u64,
        how: Settled,
    },
    /// What was written before is sent, then the connection ends.
    Close,
}

/// How a delivery was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Accepted,
    /// Back to its place, for anybody, with one more attempt.
    Returned,
    /// Away: dead-lettered, or dropped.
    Rejected,
}
