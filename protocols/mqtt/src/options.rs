//! What can be set for connections.

use crossdock_core::Name;
use crossdock_core::message::carry::Carry;
use std::time::Duration;

/// Server References, for clients that are not served here.
#[derive(Debug, Clone, Default)]
pub struct Elsewhere {
    /// For those who are connected when the broker stops (0x9C).
    pub when_stopping: Option<Name>,
    /// For all who log in (0x9D): nobody is served here any more.
    pub moved_to: Option<Name>,
}

/// Settings of MQTT connections.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which fields without a place of their own in a PUBLISH travel as `mq.…` user properties.
    pub carry: Carry,
    /// Listeners where a publish that is not allowed, and whose publisher waits for no answer, ends the connection;
    /// elsewhere it is dropped.
    pub strict_listeners: Vec<Name>,
    /// Time from the accepted socket to the end of the CONNECT.
    pub login_time: Duration,
    /// Bytes of a CONNECT, at most.
    pub login_bytes_max: usize,
    /// Bytes of a client identifier, at most.
    pub client_id_bytes_max: usize,
    /// QoS 1 and 2 publishes that a client may have unacknowledged: the Receive Maximum of CONNACK. The highest one is
    /// no limit: more identifiers do not exist.
    pub receive_maximum: u16,
    /// Topic aliases that a client may set: the Topic Alias Maximum of CONNACK.
    pub topic_alias_maximum: u16,
    /// Deliveries of QoS 1 and 2 that a client may have unacknowledged, whatever Receive Maximum it allows; never more
    /// than 16,384.
    pub in_flight_max: u16,
    /// Bytes of these deliveries, at most.
    pub in_flight_bytes_max: u64,
    /// Filters of one session, at most.
    pub subscriptions_max: usize,
    /// A session outlives its connection for at most this many seconds; none: for as long as the client asks.
    pub session_expiry_max: Option<u32>,
    /// Seconds of keep-alive that a client may ask for; none: as many as it likes.
    pub keep_alive_max: Option<u16>,
    /// Milliseconds that the queue of a shared subscription is kept without a consumer, with what waits in it. None: it
    /// ends with the last session that is subscribed.
    pub share_expires_ms: Option<u64>,
    /// Where else clients find a server.
    pub elsewhere: Elsewhere,
    /// A client that takes nothing of the waiting output for this long is given up.
    pub write_time: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            carry: Carry::Standard,
            strict_listeners: Vec::new(),
            login_time: Duration::from_secs(10),
            login_bytes_max: 64 << 10,
            client_id_bytes_max: 1024,
            receive_maximum: u16::MAX,
            topic_alias_maximum: 16,
            in_flight_max: 1024,
            in_flight_bytes_max: 8 << 20,
            subscriptions_max: 10_000,
            session_expiry_max: None,
            keep_alive_max: None,
            share_expires_ms: None,
            elsewhere: Elsewhere::default(),
            write_time: Duration::from_secs(15),
        }
    }
}
