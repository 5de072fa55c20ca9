//! What can be set for connections.

use crossdock_core::Name;
use crossdock_core::message::carry::Carry;
use std::time::Duration;

/// Settings of AMQP connections.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which fields without a property of their own travel as `mq.…` headers.
    pub carry: Carry,
    /// Listeners where a publish that is not allowed, and whose publisher waits for no answer, ends the channel;
    /// elsewhere it is dropped.
    pub strict_listeners: Vec<Name>,
    /// Listeners that name this product to clients, not the one whose dialect it speaks.
    pub own_name_listeners: Vec<Name>,
    /// Time for the whole login, from the accepted socket to connection.open-ok.
    pub login_time: Duration,
    /// Octets of one frame before the login, at most.
    pub login_frame_max: usize,
    /// Channels of one connection, at most.
    pub channel_max: u16,
    /// Octets of one frame after the login, at most.
    pub frame_max: u32,
    /// The interval that is proposed, in seconds; clients may choose another.
    pub heartbeat: u16,
    /// Consumers of one channel, at most.
    pub consumers_max: usize,
    /// A peer that takes nothing of the waiting output for this long is given up.
    pub write_time: Duration,
    /// Time for the peer to answer connection.close, and for the session to be closed after the client's.
    pub close_time: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            carry: Carry::Full,
            strict_listeners: Vec::new(),
            own_name_listeners: Vec::new(),
            login_time: Duration::from_secs(10),
            login_frame_max: 8192,
            channel_max: 2047,
            frame_max: 131_072,
            heartbeat: 60,
            consumers_max: 10_000,
            write_time: Duration::from_secs(15),
            close_time: Duration::from_secs(5),
        }
    }
}
