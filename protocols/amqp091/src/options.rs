//! What can be set for the connections of one listener.

use crossdock_core::message::carry::Carry;
use std::time::Duration;

/// Settings of AMQP connections.
#[derive(Debug, Clone)]
pub struct Options {
    /// How much of what has no place in the properties is carried as `mq.…` headers.
    pub carry: Carry,
    /// Total time from the connection to connection.open-ok.
    pub login_time: Duration,
    /// Octets of a frame before the login.
    pub login_frame_max: usize,
    /// Channels of one connection.
    pub channel_max: u16,
    /// Octets of a frame after the login.
    pub frame_max: u32,
    /// The interval that is proposed, in seconds; clients may choose another.
    pub heartbeat: u16,
    /// Consumers of one channel.
    pub consumers_max: usize,
    /// Waiting output that does not move for so long ends the connection.
    pub write_time: Duration,
    /// Time for the peer to answer connection.close.
    pub close_time: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            carry: Carry::Full,
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
