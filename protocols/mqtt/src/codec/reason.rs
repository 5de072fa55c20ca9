//! Reason codes (MQTT 5 §2.4) and the one error of the codec.

use std::fmt;

/// A reason code. Below 0x80 it is a success.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(pub u8);

impl Reason {
    pub const SUCCESS: Reason = Reason(0x00);
    pub const NO_MATCHING_SUBSCRIBERS: Reason = Reason(0x10);
    pub const NO_SUBSCRIPTION_EXISTED: Reason = Reason(0x11);
    pub const CONTINUE: Reason = Reason(0x18);
    pub const REAUTHENTICATE: Reason = Reason(0x19);
    pub const UNSPECIFIED: Reason = Reason(0x80);
    pub const MALFORMED: Reason = Reason(0x81);
    pub const PROTOCOL_ERROR: Reason = Reason(0x82);
    pub const IMPLEMENTATION: Reason = Reason(0x83);
    pub const UNSUPPORTED_VERSION: Reason = Reason(0x84);
    pub const CLIENT_ID_NOT_VALID: Reason = Reason(0x85);
    pub const BAD_CREDENTIALS: Reason = Reason(0x86);
    pub const NOT_AUTHORIZED: Reason = Reason(0x87);
    pub const SERVER_UNAVAILABLE: Reason = Reason(0x88);
    pub const SHUTTING_DOWN: Reason = Reason(0x8B);
    pub const BAD_AUTH_METHOD: Reason = Reason(0x8C);
    pub const KEEP_ALIVE_TIMEOUT: Reason = Reason(0x8D);
    pub const TAKEN_OVER: Reason = Reason(0x8E);
    pub const TOPIC_FILTER_INVALID: Reason = Reason(0x8F);
    pub const TOPIC_NAME_INVALID: Reason = Reason(0x90);
    pub const PACKET_ID_NOT_FOUND: Reason = Reason(0x92);
    pub const RECEIVE_MAXIMUM_EXCEEDED: Reason = Reason(0x93);
    pub const TOPIC_ALIAS_INVALID: Reason = Reason(0x94);
    pub const PACKET_TOO_LARGE: Reason = Reason(0x95);
    pub const QUOTA_EXCEEDED: Reason = Reason(0x97);
    pub const ADMINISTRATIVE: Reason = Reason(0x98);
    pub const PAYLOAD_FORMAT_INVALID: Reason = Reason(0x99);
    pub const USE_ANOTHER_SERVER: Reason = Reason(0x9C);
    pub const SERVER_MOVED: Reason = Reason(0x9D);

    /// True from 0x80 on.
    pub fn is_failure(self) -> bool {
        self.0 >= 0x80
    }

    /// The return code of a 3.1.1 CONNACK that comes nearest (MQTT 3.1.1 §3.2.2.3).
    pub fn return_code(self) -> u8 {
        match self {
            Reason::SUCCESS => 0,
            Reason::UNSUPPORTED_VERSION => 1,
            Reason::CLIENT_ID_NOT_VALID => 2,
            Reason::BAD_CREDENTIALS => 4,
            Reason::NOT_AUTHORIZED | Reason::TOPIC_NAME_INVALID => 5,
            _ => 3,
        }
    }
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:02X}", self.0)
    }
}

/// Why a packet of the client ends the connection: bytes that are no packet, or a packet that must not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Fault {
    pub reason: Reason,
    pub what: &'static str,
}

impl Fault {
    /// A fault with a code of its own.
    pub fn new(reason: Reason, what: &'static str) -> Self {
        Self { reason, what }
    }

    /// The bytes are not a packet (0x81).
    pub fn malformed(what: &'static str) -> Self {
        Self::new(Reason::MALFORMED, what)
    }

    /// A packet that must not be sent like this, or not now (0x82).
    pub fn protocol(what: &'static str) -> Self {
        Self::new(Reason::PROTOCOL_ERROR, what)
    }
}
