//! What can be set for connections.

use crossdock_core::Name;
use crossdock_core::message::carry::Carry;
use std::sync::Arc;
use std::time::Duration;

/// The unit of the `timestamp` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeUnit {
    #[default]
    Milliseconds,
    Seconds,
}

/// What NACK without a `requeue` header does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NackDefault {
    /// Back to its place, with one more attempt.
    #[default]
    Requeue,
    DeadLetter,
}

/// Whose habits clients have, where frames do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speech {
    /// Each frame tells by its headers.
    #[default]
    Auto,
    /// ActiveMQ's: a body without a content-length is text, and each MESSAGE has a timestamp, an expiry and a priority.
    ActiveMq,
}

/// What can be set for the connections of one listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Door {
    pub speech: Speech,
    pub nack_default: NackDefault,
    pub timestamps: TimeUnit,
    /// Which fields without a header of their own travel as `mq.<field>` (docs/SEMANTICS.md R6).
    pub carry: Carry,
    /// Prefixes that mark the rest of a destination as a queue, as acceptors of other brokers are set.
    pub anycast_prefixes: Vec<Name>,
    /// The same for topics.
    pub multicast_prefixes: Vec<Name>,
    /// A `host` that is no virtual host is refused; elsewhere it means the first one.
    pub strict_host: bool,
}

/// What one frame of a client may have, beside its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLimits {
    /// Bytes of the header lines of CONNECT, and of a body that it may not have, at most.
    pub login_bytes_max: usize,
    /// Headers, at most.
    pub headers_max: usize,
    /// Bytes of all header lines after the login, at most.
    pub header_bytes_max: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self { login_bytes_max: 64 << 10, headers_max: 100, header_bytes_max: 16 << 10 }
    }
}

/// Settings of STOMP connections.
#[derive(Debug, Clone)]
pub struct Options {
    /// Listeners where a publish that is not allowed, and whose publisher waits for no answer, ends the connection;
    /// elsewhere it is dropped.
    pub strict_listeners: Vec<Name>,
    /// Time for the whole login, from the accepted socket to CONNECTED.
    pub login_time: Duration,
    /// A client that takes nothing of the waiting output for this long is given up.
    pub write_time: Duration,
    pub frames: FrameLimits,
    /// Bytes of a client-id, at most.
    pub client_id_bytes_max: usize,
    /// The shortest heart-beat interval that is agreed to, either way.
    pub heart_beat_min: Duration,
    /// Messages that a subscription with `ack` client or client-individual may have unsettled, where it names no
    /// number; the maximum: any number, because a client may acknowledge as seldom as it likes.
    pub prefetch: u32,
    /// Subscriptions of one connection, at most; and temporary queues of one connection, at most.
    pub subscriptions_max: usize,
    /// Listeners that are set otherwise than the others.
    pub doors: Vec<(Name, Arc<Door>)>,
}

impl Options {
    /// What is set for connections of that listener.
    pub fn door(&self, listener: &str) -> Arc<Door> {
        let set = self.doors.iter().find(|(name, _)| **name == *listener);
        set.map(|(_, door)| door.clone()).unwrap_or_default()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            strict_listeners: Vec::new(),
            login_time: Duration::from_secs(10),
            write_time: Duration::from_secs(15),
            frames: FrameLimits::default(),
            client_id_bytes_max: 1024,
            heart_beat_min: Duration::from_millis(500),
            prefetch: u32::MAX,
            subscriptions_max: 10_000,
            doors: Vec::new(),
        }
    }
}
