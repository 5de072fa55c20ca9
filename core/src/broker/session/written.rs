//! Deliveries between the inbox and the socket.

use super::replay::Replaying;
use crate::log::Offset;
use crate::subscription::ConsumerId;
use std::collections::VecDeque;

/// Deliveries that were taken and are not written yet.
#[derive(Default)]
pub(super) struct Output {
    /// Taken, and not encoded yet.
    pub taken: Written,
    pub encoded: VecDeque<Written>,
    /// Retained values that wait for room.
    pub replays: VecDeque<Replaying>,
}

/// Deliveries that stand in the output before a position.
#[derive(Default)]
pub(super) struct Written {
    pub position: u64,
    pub messages: u64,
    pub bytes: u64,
    /// Bytes of level-0 deliveries, which have no consumer.
    pub direct_bytes: usize,
    /// Of consumers that do not settle: accepted when written.
    pub accepted: Vec<(ConsumerId, Vec<Offset>)>,
}
