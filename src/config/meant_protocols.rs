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
