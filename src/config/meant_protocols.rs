//! What is meant about single protocols.

use super::units::{Size, Span};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amqp {
    pub frame_max: u32,
    pub frame_max_before_login: usize,
    pub channel_max: u16,
    pub heartbeat: u16,
    pub consumers_per_channel: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mqtt {
    pub connect_bytes: Size,
    pub client_id_bytes: usize,
    pub receive_maximum: u16,
    pub topic_alias_maximum: u16,
    pub in_flight_messages: u16,
    pub in_flight_bytes: Size,
    pub subscriptions_per_session: usize,
    pub session_expiry_max: Option<Span>,
    pub keep_alive_max: Option<u16>,
    pub share_expires: Option<Span>,
    pub another_server: Option<String>,
    pub moved_to: Option<String>,
}

/// How STOMP is spoken at one listener.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StompDoor {
    pub stomp_dialect: Option<StompDialect>,
    pub stomp_nack_default: Option<StompNack>,
    pub stomp_timestamp: Option<StompTime>,
    pub stomp_carry: Option<StompCarry>,
    pub stomp_anycast_prefixes: Option<Vec<String>>,
    pub stomp_multicast_prefixes: Option<Vec<String>>,
    pub stomp_strict_host: Option<bool>,
}

/// Whose habits clients have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StompDialect {
    Auto,
    ActiveMq,
}

/// What a NACK without more does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StompNack {
    Requeue,
    DeadLetter,
}

/// The unit of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StompTime {
    Ms,
    S,
}

/// Which fields are shown that have no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StompCarry {
    Full,
    Standard,
    Off,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stomp {
    pub connect_bytes: Size,
    pub headers_per_frame: usize,
    pub header_bytes: Size,
    pub client_id_bytes: usize,
    pub heart_beat_min: Span,
    pub prefetch: Option<u32>,
    pub subscriptions_per_connection: usize,
}
