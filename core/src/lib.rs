//! The protocol-neutral house: exchanges route, logs keep, subscriptions deliver; protocols only translate.
//!
//! | folder | what is in it |
//! |---|---|
//! | [`message`] | what is carried: immutable messages, neutral fields, keys and addresses |
//! | [`exchange`] | routing, pure: kinds of exchange, patterns, selectors, retained values |
//! | [`log`] | keeping, pure: records in pages, and what a queue is declared with |
//! | [`rights`] | what users may do, pure: patterns over names, asked with an action and an object |
//! | [`subscription`] | delivering, pure: ready records, credit, settling, expiry |
//! | [`broker`] | the asynchronous shell, in rooms: sessions, turns, virtual hosts, the journal, background tasks |
//! | `protocol` `dialog` `transform` `step` `store` `auth` | the seams to adapters, content routes, stores and logins |
//! | [`rope`] | bytes in pieces, of which large ones are not copied |
//! | [`state`] | what steps of content routes remember |
//! | [`wait`] | waiting for what is not the broker's own |
//!
//! Absent on purpose: the name of any wire protocol, a codec, a socket, a file, JSON.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod auth;
#[cfg(all(feature = "bench", not(test)))]
#[doc(hidden)]
pub mod bench;
pub mod broker;
pub mod dialog;
pub mod error;
pub mod exchange;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod log;
#[cfg(any(test, feature = "test-store"))]
pub mod memory;
pub mod message;
#[cfg(feature = "planted-fault")]
mod planted_fault;
pub mod protocol;
pub mod readable;
pub mod rights;
pub mod rope;
pub mod state;
pub mod step;
pub mod store;
pub mod subscription;
pub mod transform;
pub mod wait;

pub use auth::{
    Access, Account, Authenticator, CertificateNames, Credentials, DelayedLogin, Directory,
    ForeignAuthenticator, GUEST, Identity, Judgement, Login, LoginExchange, LoginStep,
    LoopbackGuest, Secret,
};
pub use broker::{
    AUDIT, About, AccountSource, Actor, Aside, Bind, BindTarget, BindingLook, BindingPlace, Broker,
    BusiestLately, ChannelLook, Claim, Claimed, ClientLimits, Confirm, ConfirmOutcome,
    ConnectionLook, Consumer, ConsumerLook, ConsumerSource, Declared, DeliveredTotals, Destination,
    DiskLook, DropReason, Events, ExchangeLook, ExchangeTotals, Imbalance, LaneId, LaneTotals,
    LastFailure, Late, LiveSettings, Memo, MemoryLook, MessageState, MoveOrder, MoveProgress,
    MoveReport, MoveTo, NAME_BYTES_MAX, NodeLook, Notice, ObjectCounts, ObjectLimits, ObjectsLook,
    OnDetach, PEEK_BYTES_MAX, PEEK_MESSAGES_MAX, Page, ParkId, ParkUntil, PeekPage, Peeked, PoolId,
    ProtocolTotals, Publish, QueueIdentity, QueueLook, QueueStatus, REPLY_NAMES, RESERVED_NAMES,
    RefusedLately, RefusedLogin, Replay, ReplyAddress, RouteDrained, RouteStatus, RouteWaits,
    Session, SessionEnded, SessionLife, SessionLook, SessionOwner, SessionSpec, Settings, Setup,
    SizeTotals, TopicRules, Unfinished, UnfinishedLogin, Unroutable, VhostTotals, check_new,
    check_sayable,
};
pub use error::{Error, ErrorKind};
pub use exchange::{BindingTag, ExchangeSpec, ForeignKind, Kind, LogId, SessionId, Tags, filter};
pub use log::{BadDeclare, Life, Limits, Offset, Overflow, QueueKind, QueueSpec};
pub use message::{
    Address, BodyKind, Death, Fields, Filter, Format, FormatId, Formats, Group, Id, Journey, Key,
    Message, Meta, Name, Native, Neutral, Origin, Properties, Reason, ReplyTo, Timestamp, Value,
    carry, fate,
};
pub use protocol::{Accepted, Drain, PeerCertificate, Protocol, San, Sniff};
pub use rights::{Action, Coverage, NameRegexes, Pattern, Rights, RightsText, TopicRegexes};
pub use rope::Rope;
pub use subscription::{
    ByConsumer, CameBy, ConsumerId, Credit, Cursor, Delivery, DeliveryTotals, Depth, LeftAs,
    LeftBy, Outcome, QueueTotals, Side, Tally,
};
