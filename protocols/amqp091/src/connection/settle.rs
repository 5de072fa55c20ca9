//! What clients settle: acks, nacks, rejects, recover (AMQP 0-9-1 §1.8.3.13 and on; RabbitMQ "basic.nack"), and the two
//! ways of knowing that something is safe: confirms and transactions (§1.9).

use super::Connection;
use super::channel::{COUNTED_EVERY, Mode, Slot};
use super::unsettled::Tag;
use crate::codec::{Refusal, Reply, ReplyCode};
use crate::mapping::errors;
use crossdock_core::{ConsumerId, LaneId, Offset, Outcome, Session};

/// How a client is done with deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Accept,
    /// basic.nack with requeue: it counts only against a limit that was asked for.
    GiveBack,
    /// basic.reject with requeue: it counts.
    Requeue,
    Reject,
}

impl How {
    pub fn nack(requeue: bool) -> Self {
        if requeue { How::GiveBack } else { How::Reject }
    }

    pub fn reject(requeue: bool) -> Self {
        if requeue { How::Requeue } else { How::Reject }
    }

    /// docs/SEMANTICS.md §2, "Consumer outcome".
    fn outcome(self) -> Outcome {
        match self {
            How::Accept => Outcome::Accepted,
            How::GiveBack => Outcome::GivenBack,
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

/// What a tag that is not unsettled is answered with.
fn unknown(tag: u64) -> Refusal {
    Refusal::new(ReplyCode::PreconditionFailed, format!("unknown delivery tag {tag}"))
}

impl Connection {
    /// One delivery.
    pub(super) fn settle_one(&mut self, channel: u16, tag: u64, how: How) -> Result<(), Refusal> {
        let Self { channels, session, settles, .. } = self;
        let Some(Slot::Open(state)) = channels.get_mut(&channel) else { return Ok(()) };
        let tag = state.unsettled.take(tag).ok_or_else(|| unknown(tag))?;
        if state.mode == Mode::Tx {
            state.settled_in_tx.push(tag);
        }
        if tag.tag % COUNTED_EVERY == 0 {
            state.count();
        }
        settles.add(session, state.lane, tag, how);
        Ok(())
    }

    /// All up to `tag`; with tag 0 all there are (§1.8.3.13). True when there are more than one slice: then the rest is
    /// for [`Connection::settle_rest`].
    pub(super) fn settle_through(
        &mut self,
        channel: u16,
        tag: u64,
        how: How,
    ) -> Result<bool, Refusal> {
        match tag == 0 || self.channel(channel)?.unsettled.waits(tag) {
            true => Ok(self.settle_slice(channel, tag, how)),
            false => Err(unknown(tag)),
        }
    }

    /// True when there are more.
    fn settle_slice(&mut self, channel: u16, tag: u64, how: How) -> bool {
        let Self { channels, session, settles, .. } = self;
        let Some(Slot::Open(state)) = channels.get_mut(&channel) else { return false };
        let (lane, in_tx) = (state.lane, state.mode == Mode::Tx);
        let settled_in_tx = &mut state.settled_in_tx;
        state.unsettled.take_some(if tag == 0 { u64::MAX } else { tag }, |tag| {
            if in_tx {
                settled_in_tx.push(tag);
            }
            settles.add(session, lane, tag, how);
        })
    }

    /// Goes on slice by slice. Frames behind this one wait.
    pub(super) async fn settle_rest(&mut self, channel: u16, tag: u64, how: How) {
        loop {
            self.settles.flush(&mut self.session);
            self.session.flush();
            self.line.pause().await;
            if !self.settle_slice(channel, tag, how) {
                break;
            }
        }
        if let Some(Slot::Open(state)) = self.channels.get_mut(&channel) {
            state.count();
        }
    }

    pub(super) async fn recover(
        &mut self,
        channel: u16,
        requeue: bool,
        answer: bool,
    ) -> Result<(), Refusal> {
        if !requeue {
            return Err(Refusal::new(ReplyCode::NotImplemented, "requeue=false"));
        }
        // Not part of a transaction: what is unsettled is redelivered at once, rolled-back acknowledgements included.
        self.settles.flush(&mut self.session);
        loop {
            let mut slice = Vec::new();
            let more = self.channel(channel)?.unsettled.take_some(u64::MAX, |tag| slice.push(tag));
            for some in slice.chunk_by(|a, b| a.consumer == b.consumer) {
                let offsets: Vec<Offset> = some.iter().map(|tag| tag.offset).collect();
                if let Some(first) = some.first() {
                    let outcome = How::GiveBack.outcome();
                    self.session.settle_at_once(first.consumer, &offsets, &outcome);
                }
            }
            if !more {
                break;
            }
            self.session.flush();
            self.line.pause().await;
        }
        self.channel(channel)?.count();
        if answer {
            Reply::BasicRecoverOk.put(self.line.output.tail(), channel);
        }
        Ok(())
    }

    pub(super) fn confirm_select(&mut self, channel: u16, no_wait: bool) -> Result<(), Refusal> {
        let state = self.channel(channel)?;
        if state.mode == Mode::Tx {
            let text = "cannot switch from tx to confirm mode";
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
                let text = "cannot switch from confirm to tx mode";
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

    pub(super) async fn tx_rollback(&mut self, channel: u16) -> Result<(), Refusal> {
        let lane = self.tx_lane(channel)?;
        self.session.rollback(lane);
        self.session.begin(lane);
        // §1.9.2.6: what was acknowledged is not, and waits for its acknowledgement again.
        let mut tags = std::mem::take(&mut self.channel(channel)?.settled_in_tx);
        // Mostly they ascend: then this only looks.
        tags.sort_by_key(|tag| tag.tag);
        let mut homeless = Vec::new();
        while self.channel(channel)?.unsettled.put_back_some(&mut tags, &mut homeless) {
            self.line.pause().await;
        }
        let state = self.channel(channel)?;
        state.unsettled.merge(homeless);
        state.count();
        Reply::TxRollbackOk.put(self.line.output.tail(), channel);
        Ok(())
    }
}
