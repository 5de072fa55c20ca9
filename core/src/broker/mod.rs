//! The asynchronous shell around the pure half: sessions and their inboxes, virtual hosts, the committer, timers,
//! the memory budget.
//!
//! | room | what is in it |
//! |---|---|
//! | `accounts` | users, what they may do, and the question whether somebody may |
//! | `door` | what adapters ask, and what the broker answers |
//! | `session` | the verbs of a session: publish, settle, consume, declare |
//! | `turn` | one flush's way: route, append, dispatch, dead-letter, one unit for the journal |
//! | `vhost` | what a virtual host is made of, each part behind its own lock |
//! | `journal` `operations` | what is stored and when; its bytes |
//! | `restart` | what is kept of the journal, and how a broker comes back from it |
//! | `tasks` | what runs in the background |
//! | `shared` `settings` | what all of them share; limits and marks |
//! | `count` | sums of what was counted; the audit: which addresses do not balance |
//! | `look` | what there is, as whoever looks from outside sees it, a page at a time |
//! | `open` | puts the rooms together |
//!
//! Lock order: **vhost → log → inbox**; no lock is held over an await.

mod accounts;
mod count;
mod door;
mod journal;
mod look;
mod open;
pub(crate) mod operations;
mod restart;
mod session;
mod settings;
mod shared;
mod tasks;
mod turn;
mod vhost;

pub use crate::subscription::{ConsumerId, Credit, Delivery, Outcome};
pub use accounts::directory::AccountSource;
pub use accounts::refusals::AUDIT;
pub use count::{Imbalance, VhostTotals};
pub use door::browse::{
    MessageState, MoveOrder, MoveReport, MoveTo, PEEK_BYTES_MAX, PEEK_MESSAGES_MAX, PeekPage,
    Peeked,
};
pub use door::events::{
    Confirm, ConfirmOutcome, Declared, Events, Late, Notice, ObjectCounts, QueueIdentity,
    QueueStatus, SessionEnded,
};
pub use door::names::{NAME_BYTES_MAX, REPLY_NAMES, RESERVED_NAMES, check_new, check_sayable};
pub use door::progress::MoveProgress;
pub use door::request::{
    About, Aside, Bind, BindTarget, Claim, Consumer, ConsumerSource, LaneId, Memo, OnDetach,
    ParkId, ParkUntil, PoolId, Publish, Replay, ReplyAddress, SessionLife, SessionSpec,
};
pub use look::{
    BindingLook, BindingPlace, ChannelLook, ConnectionLook, ConsumerLook, Destination, DiskLook,
    ExchangeLook, MemoryLook, NodeLook, ObjectsLook, Page, QueueLook, SessionLook,
};
pub use restart::dump::{Stored, dump};
pub use session::claims::Claimed;
pub use session::state::Session;
pub use settings::{ClientLimits, LiveSettings, ObjectLimits, Settings, Setup, TopicRules};
pub use shared::connections::ProtocolTotals;
pub use shared::{
    Actor, Broker, BusiestLately, RefusedLately, RefusedLogin, SessionOwner, Unfinished,
    UnfinishedLogin,
};
pub use tasks::routes::RouteDrained;
pub use vhost::connection::{DeliveredTotals, LaneTotals};
pub use vhost::drops::DropReason;
pub use vhost::exchange_counts::ExchangeTotals;
pub use vhost::route_counters::{LastFailure, RouteStatus, RouteWaits};
pub use vhost::sizes::SizeTotals;
pub use vhost::unroutable::Unroutable;
