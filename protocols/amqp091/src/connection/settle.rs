//! What clients settle: acks, nacks, rejects, recover (AMQP 0-9-1 §1.8.3.13 and on; RabbitMQ "basic.nack"), and the two
//! ways of knowing that something is safe: confirms and transactions (§1.9).

use super::Connection;
use super::channel::{Mode, Slot};
use super::unsettled::Tag;
use crate::codec::{Refusal, Reply, ReplyCode};
use crate::mapping::errors;
use crossdock_core::{ConsumerId, LaneId, Offset, Outcome, Session};

/// How a client is done with deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Accept,
    Requeue,
    Reject,
}

impl How {
    /// docs/SEMANTICS.md §2, "Consumer outcome".
    fn outcome(self) -> Outcome {
        match self {
            How::Accept => Outcome::Accepted,
            How::Requeue => Outcome::Failed,
            How::Reject => Outcome::Rejected { reason: None },
        }
    }
}

/// Settlements of one consumer and kind that follow each other, handed over as one.
#[derive(Debug, Default)]
pub struct Settles {
    of: Option<(LaneId, ConsumerId, How)>,
    offsets: Vec<Offset>,
}

impl Settles {
    fn add(&mut self, session: &mut Session, lane: LaneId, tag: Tag, how: How) {
        let of = Some((lane, tag.consumer, how));
        if self.of != of {
            self.flush(session);
            self.of = of;
        }
        self.offsets.push(tag.offset);
    }

    /// Hands over what was gathered.
    pub fn flush(&mut self, session: &mut Session) {
        if let Some((lane, consumer, how)) = self.of.take() {
            session.settle(lane, consumer, &self.offsets, how.outcome());
            self.offsets.clear();
        }
    }
}

impl Connection {
    pub(super) fn ack(&mut self, channel: u16, tag: u64, multiple: bool) -> Result<(), Refusal> {
        self.settle(channel, tag, multiple, How::Accept)
    }

    pub(super) fn nack(
        &mut self,
        channel: u16,
        tag: u64,
        multiple: bool,
        requeue: bool,
    ) -> Result<(), Refusal> {
        let how = if requeue { How::Requeue } else { How::Reject };
        self.settle(channel, tag, multiple, how)
    }

    fn settle(&mut self, channel: u16, tag: u64, multiple: bool, how: How) -> Result<(), Refusal> {
        let Self { channels, session, settles, .. } = self;
        let Some(Slot::Open(state)) = channels.get_mut(&channel) else { return Ok(()) };
        let (lane, in_tx) = (state.lane, state.mode == Mode::Tx);
        let settled_in_tx = &mut state.settled_in_tx;
        let mut each = |tag: Tag| {
            if in_tx {
                settled_in_tx.push(tag);
            }
            settles.add(session, lane, tag, how);
        };
        let known = match (multiple, tag) {
            // Tag 0 with `multiple` is everything (§1.8.3.13).
            (true, 0) => {
                state.unsettled.take_all(each);
                true
            }
            (true, _) => state.unsettled.take_through(tag, each),
            (false, _) => state.unsettled.take(tag).map(&mut each).is_some(),
        };
        match known {
            true => Ok(()),
            false => {
                let text = format!("unknown delivery tag {tag}");
                Err(Refusal::new(ReplyCode::PreconditionFailed, text))
            }
        }
    }

    pub(super) fn recover(
        &mut self,
        channel: u16,
        requeue: bool,
        answer: bool,
    ) -> Result<(), Refusal> {
        if !requeue {
            return Err(Refusal::new(ReplyCode::NotImplemented, "recover without requeue"));
        }
        // Not part of a transaction: what is unsettled is redelivered at once, rolled-back acknowledgements included.
        self.settles.flush(&mut self.session);
        let mut all = Vec::new();
        self.channel(channel)?.unsettled.take_all(|tag| all.push(tag));
        for some in all.chunk_by(|a, b| a.consumer == b.consumer) {
            let offsets: Vec<Offset> = some.iter().map(|tag| tag.offset).collect();
            if let Some(first) = some.first() {
                self.session.settle_at_once(first.consumer, &offsets, &How::Requeue.outcome());
            }
        }
        if answer {
            Reply::BasicRecoverOk.put(self.line.output.tail(), channel);
        }
        Ok(())
    }

    pub(super) fn confirm_select(&mut self, channel: u16, no_wait: bool) -> Result<(), Refusal> {
        let state = self.channel(channel)?;
        if state.mode == Mode::Tx {
            let text = "a transactional channel cannot have confirms";
            return Err(Refusal::new(ReplyCode::PreconditionFailed, text));
        }
        state.mode = Mode::Confirm;
        if !no_wait {
            Reply::ConfirmSelectOk.put(self.line.output.tail(), channel);
        }
        Ok(())
    }

    pub(super) fn tx_select(&mut self, channel: u16) -> Result<(), Refusal> {
        let state = self.channel(channel)?;
        match state.mode {
            Mode::Confirm => {
                let text = "a channel with confirms cannot be transactional";
                return Err(Refusal::new(ReplyCode::PreconditionFailed, text));
            }
            Mode::Tx => {}
            Mode::Plain => {
                state.mode = Mode::Tx;
                let lane = state.lane;
                // What came before is not part of the transaction.
                self.settles.flush(&mut self.session);
                self.session.flush();
                self.session.begin(lane);
            }
        }
        Reply::TxSelectOk.put(self.line.output.tail(), channel);
        Ok(())
    }

    /// The lane of a transactional channel.
    fn tx_lane(&mut self, channel: u16) -> Result<LaneId, Refusal> {
        let state = self.channel(channel)?;
        match state.mode {
            Mode::Tx => Ok(state.lane),
            _ => Err(Refusal::new(ReplyCode::PreconditionFailed, "channel is not transactional")),
        }
    }

    pub(super) async fn tx_commit(&mut self, channel: u16) -> Result<(), Refusal> {
        let lane = self.tx_lane(channel)?;
        if !self.session.may_commit(lane) {
            self.held_commit = Some(channel);
            return Ok(());
        }
        self.line
            .while_waiting(self.session.commit(lane))
            .await
            .map_err(|error| errors::refusal(&error))?;
        self.session.begin(lane);
        self.channel(channel)?.settled_in_tx.clear();
        // Returned messages are sent before the answer to the commit.
        self.encode_ready().await?;
        Reply::TxCommitOk.put(self.line.output.tail(), channel);
        Ok(())
    }

    pub(super) fn tx_rollback(&mut self, channel: u16) -> Result<(), Refusal> {
        let lane = self.tx_lane(channel)?;
        self.session.rollback(lane);
        self.session.begin(lane);
        let state = self.channel(channel)?;
        // §1.9.2.6: what was acknowledged is not, and waits for its acknowledgement again.
        let tags = std::mem::take(&mut state.settled_in_tx);
        state.unsettled.put_back(tags);
        Reply::TxRollbackOk.put(self.line.output.tail(), channel);
        Ok(())
    }
}
