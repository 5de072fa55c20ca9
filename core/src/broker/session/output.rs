//! What goes out to the connection: deliveries, confirms and notices are taken, and what was written is noted.

use super::state::Session;
use super::written::Written;
use crate::broker::door::events::{ConfirmOutcome, Events, Notice};
use crate::broker::vhost::connection::LaneEvent;
use crate::subscription::{ConsumerId, Outcome};

impl Session {
    /// Waits until something is ready, then moves everything ready into `events` (cleared first). Cancel-safe.
    /// May return with nothing in it: then flush and go on.
    pub async fn events(&mut self, events: &mut Events) {
        events.deliveries.clear();
        events.confirms.clear();
        events.notices.clear();
        if !self.output.replays.is_empty() {
            self.replay_on();
        }
        self.inbox.take(events);
        if events.is_empty() {
            self.inbox.woken().await;
            self.inbox.take(events);
        }
        if self.status.told_blocked && !self.broker.shared().pressure.holds_publishers() {
            self.status.told_blocked = false;
            events.notices.push(Notice::Blocked(false));
        }
        self.withhold(events);
        self.note_ended(&mut events.notices);
        self.note_taken(events);
        self.note_confirms(events);
    }

    /// What the broker ended is no consumer of this session any more.
    fn note_ended(&mut self, notices: &mut [Notice]) {
        for notice in notices {
            match notice {
                Notice::Late(late) => {
                    late.lane = self.consumers.remove(late.consumer).map(|ended| ended.lane);
                }
                Notice::Detached { consumer, .. } => _ = self.consumers.remove(*consumer),
                Notice::TakenOver | Notice::Closed(_) | Notice::Blocked(_) => {}
            }
        }
    }

    fn note_confirms(&mut self, events: &Events) {
        for confirm in &events.confirms {
            let event = match confirm.confirmed {
                ConfirmOutcome::Stored => LaneEvent::Confirmed,
                ConfirmOutcome::Unroutable(_) => LaneEvent::Returned,
                ConfirmOutcome::Refused(_) => LaneEvent::Refused,
            };
            // None: it is gone, and its confirm came late.
            if let Some(lane) = self.lane_mut(confirm.lane) {
                lane.counts.note(event);
            }
        }
    }

    /// So many bytes of its peer's have been read, since the connection began.
    pub fn heard(&self, bytes: u64) {
        self.inbox.connection.traffic.set_received(bytes);
    }

    /// A delivery had larger headers than its client takes, and was sent whole: it is counted.
    pub fn note_oversized(&self) {
        self.inbox.connection.oversized();
    }

    fn note_taken(&mut self, events: &Events) {
        let mut direct = 0;
        for delivery in &events.deliveries {
            let size = delivery.message.size();
            if delivery.consumer == ConsumerId::DIRECT {
                self.output.taken.direct_bytes += size;
                direct += 1;
                continue;
            }
            self.output.taken.messages += 1;
            self.output.taken.bytes += size as u64;
            let Some(attachment) = self.consumers.get(delivery.consumer) else { continue };
            attachment.counts.delivered(1);
            if attachment.settles {
                continue;
            }
            match self.output.taken.accepted.last_mut() {
                Some((consumer, list)) if *consumer == delivery.consumer => {
                    list.push(delivery.offset);
                }
                _ => self.output.taken.accepted.push((delivery.consumer, vec![delivery.offset])),
            }
        }
        if direct > 0 {
            self.inbox.connection.direct(direct);
        }
    }

    /// All deliveries taken by [`Session::events`] so far stand in the output before this position.
    pub fn encoded(&mut self, position: u64) {
        if self.output.taken.messages > 0 || self.output.taken.direct_bytes > 0 {
            let current = std::mem::take(&mut self.output.taken);
            self.output.encoded.push_back(Written { position, ..current });
        }
    }

    /// The output was written up to this position: what need not be settled is accepted, its credit comes back.
    pub fn flushed(&mut self, position: u64) {
        self.inbox.connection.traffic.set_sent(position);
        let mut any = false;
        while self.output.encoded.front().is_some_and(|written| written.position <= position) {
            let Some(written) = self.output.encoded.pop_front() else { break };
            any = true;
            self.inbox.direct_written(written.direct_bytes);
            for (consumer, offsets) in &written.accepted {
                self.settle_now(*consumer, offsets, &Outcome::Accepted, Vec::new());
            }
            let wake = &mut self.turn.after.woken;
            self.inbox.window.release(written.messages, written.bytes, wake);
        }
        if any {
            self.flush_ops();
        }
    }
}
