//! Frames → methods → the file of their topic. Channels open and close here; a refusal closes its channel or the
//! connection.

use super::channel::{Channel, Channels, Confirms, Content, Mode, Slot};
use super::settle::How;
use super::{Closing, Connection};
use crate::codec::{Frame, FrameKind, Method, MethodId, Refusal, Reply, ReplyCode, method};
use crate::mapping::errors;

fn unexpected(text: impl std::fmt::Display) -> Refusal {
    Refusal::new(ReplyCode::UnexpectedFrame, text)
}

/// What a frame asks for that may have to be waited for.
pub(super) struct Request {
    channel: u16,
    /// The method that a refusal names.
    cause: MethodId,
    work: Work,
}

enum Work {
    Method(Method),
    /// The end of the channel, or of the connection.
    Refuse(Refusal),
    /// What is left of an acknowledgement of more than one slice.
    SettleRest {
        tag: u64,
        how: How,
    },
}

/// basic.publish, as the cause of a refusal.
const PUBLISH: MethodId = (60, 40);

/// The state of an open channel.
#[inline]
pub(super) fn opened(channels: &mut Channels, channel: u16) -> Result<&mut Channel, Refusal> {
    match channels.get_mut(&channel) {
        Some(Slot::Open(state)) => Ok(state),
        _ => {
            let text = format!("channel {channel} is not open");
            Err(Refusal::new(ReplyCode::ChannelError, text))
        }
    }
}

impl Connection {
    /// One frame. What can be done at once is done; the rest is for [`Connection::perform`], before the next frame. An
    /// error ends the connection.
    pub(super) fn receive(&mut self, frame: Frame) -> Result<Option<Box<Request>>, Closing> {
        if frame.kind == FrameKind::Heartbeat {
            return Ok(None);
        }
        let channel = frame.channel;
        let cause = match frame.kind {
            FrameKind::Method => {
                method::id(&frame.payload).map_err(|refusal| Closing::Refused(refusal, (0, 0)))?
            }
            _ => (0, 0),
        };
        let mut in_content = false;
        let outcome = match self.channels.get(&channel) {
            _ if channel == 0 => {
                let work = self.receive_on_zero(&frame, cause)?;
                return Ok(work.map(|work| Box::new(Request { channel, cause, work })));
            }
            Some(Slot::Open(state)) => {
                in_content = !matches!(state.content, Content::None);
                self.receive_on(frame, in_content)
            }
            Some(Slot::Closing) => {
                self.receive_on_closing(&frame, cause);
                Ok(None)
            }
            None => self.open_channel(&frame, cause).map(|()| None),
        };
        match outcome {
            Ok(None) => Ok(None),
            Ok(Some(work)) => Ok(Some(Box::new(Request { channel, cause, work }))),
            // What is wrong with a content is wrong with the publish that it belongs to (RabbitMQ).
            Err(refusal) => {
                let cause = if in_content { PUBLISH } else { cause };
                Ok(Some(Box::new(Request { channel, cause, work: Work::Refuse(refusal) })))
            }
        }
    }

    /// What was left to do for a frame.
    pub(super) async fn perform(&mut self, request: Request) -> Result<(), Closing> {
        let Request { channel, cause, work } = request;
        self.answer_returns(channel).await?;
        let outcome = match work {
            // A late refusal of a publish has closed it meanwhile: what was sent before the client knows is discarded.
            Work::Method(Method::ChannelClose) if self.is_closing(channel) => {
                Reply::ChannelCloseOk.put(self.line.output.tail(), channel);
                Ok(())
            }
            Work::Method(_) | Work::Refuse(_) if self.is_closing(channel) => Ok(()),
            Work::Method(method) => self.request(channel, method).await,
            Work::Refuse(refusal) => Err(refusal),
            Work::SettleRest { tag, how } => {
                self.settle_rest(channel, tag, how).await;
                Ok(())
            }
        };
        outcome.or_else(|refusal| self.fail(channel, refusal, cause))
    }

    /// What was mandatory and reached nobody goes back before a later method of its channel is answered, and before the
    /// channel ends.
    async fn answer_returns(&mut self, channel: u16) -> Result<(), Closing> {
        let Some(Slot::Open(state)) = self.channels.get_mut(&channel) else { return Ok(()) };
        if !state.confirms.owes_returns || state.mode == Mode::Tx {
            return Ok(());
        }
        state.confirms.owes_returns = false;
        self.session.flush();
        // Answers come in the order of the publishes: what is durable and came before is stored first.
        if let Err(error) = self.line.while_waiting(self.session.sync()).await {
            tracing::debug!(channel, %error, "the store failed: what was mandatory does not come back");
        }
        self.encode_ready().await.map_err(|refusal| Closing::Refused(refusal, (0, 0)))
    }

    /// It was closed from this side, and the client has not said yet that it knows.
    fn is_closing(&self, channel: u16) -> bool {
        matches!(self.channels.get(&channel), Some(Slot::Closing))
    }

    /// Something that was published there may still come back.
    fn owes_returns(&self, channel: u16) -> bool {
        match self.channels.get(&channel) {
            Some(Slot::Open(state)) => state.confirms.owes_returns && state.mode != Mode::Tx,
            _ => false,
        }
    }

    fn receive_on_zero(&mut self, frame: &Frame, cause: MethodId) -> Result<Option<Work>, Closing> {
        let end = |refusal| Err(Closing::Refused(refusal, cause));
        if frame.kind != FrameKind::Method {
            return end(unexpected("channel 0 has no contents"));
        }
        match method::decode(&frame.payload) {
            Ok(Method::ConnectionClose) => Err(Closing::ByClient),
            Ok(method @ Method::ConnectionUpdateSecret { .. }) => Ok(Some(Work::Method(method))),
            // §1.4: all methods but those of class connection have a channel; the login is over.
            Ok(_) => {
                let text = format!("method {} of class {} on channel 0", cause.1, cause.0);
                end(Refusal::new(ReplyCode::ChannelError, text))
            }
            Err(refusal) => end(refusal),
        }
    }

    /// A channel that we closed: until the peer knows, what it sends is discarded (§1.4.3.5).
    fn receive_on_closing(&mut self, frame: &Frame, cause: MethodId) {
        match (frame.kind, cause) {
            (FrameKind::Method, (20, 41)) => {
                self.channels.remove(&frame.channel);
            }
            (FrameKind::Method, (20, 40)) => {
                Reply::ChannelCloseOk.put(self.line.output.tail(), frame.channel);
            }
            _ => {}
        }
    }

    fn open_channel(&mut self, frame: &Frame, cause: MethodId) -> Result<(), Refusal> {
        let channel = frame.channel;
        if frame.kind != FrameKind::Method || cause != (20, 10) {
            let text = format!("channel {channel} is not open");
            return Err(Refusal::new(ReplyCode::ChannelError, text));
        }
        method::decode(&frame.payload)?;
        if channel > self.limits.channel_max {
            let max = self.limits.channel_max;
            let text = format!("channel number {channel} is above the agreed maximum {max}");
            return Err(Refusal::new(ReplyCode::NotAllowed, text));
        }
        // The first one comes with its connection: it may be the one that takes something away.
        if !self.channels.is_empty() {
            self.session.may_keep(Channel::BYTES).map_err(|error| errors::refusal(&error))?;
        }
        let lane = self.session.lane();
        self.session.label_lane(lane, channel.into());
        self.lanes.insert(lane, channel);
        let mut state = Channel::new(lane, self.session.kept());
        state.confirms.tells_why = self.limits.client.nack_reason;
        self.channels.insert(channel, Slot::Open(Box::new(state)));
        Reply::ChannelOpenOk.put(self.line.output.tail(), channel);
        Ok(())
    }

    /// Removes a channel: its consumers end, and what it had unsettled goes back to the queues.
    fn drop_channel(&mut self, channel: u16) {
        self.settles.flush(&mut self.session);
        if let Some(Slot::Open(state)) = self.channels.remove(&channel) {
            self.lanes.remove(&state.lane);
            for consumer in state.consumers.values() {
                self.subscribers.remove(&consumer.id);
            }
            self.session.drop_lane(state.lane);
            // Confirms that are still to come are dropped: no channel is left for them.
            let Confirms { published, confirmed, .. } = state.confirms;
            let to_come = published.saturating_sub(confirmed);
            if to_come > 0 {
                *self.stale_confirms.entry(state.lane).or_default() += to_come;
            }
            self.spare_pools.extend(state.shared_prefetch.pool);
        }
    }

    /// The client closes a channel: confirms that are ready are sent first.
    async fn close_channel(&mut self, channel: u16) -> Result<(), Refusal> {
        self.session.flush();
        self.encode_ready().await?;
        // A late refusal may have closed it from this side: then the peer's close-ok is still to come.
        if let Some(Slot::Open(_)) = self.channels.get(&channel) {
            self.drop_channel(channel);
        }
        Reply::ChannelCloseOk.put(self.line.output.tail(), channel);
        Ok(())
    }

    /// Closes the channel, or returns why the connection has to be closed (§1.2: soft and hard errors).
    fn fail(&mut self, channel: u16, refusal: Refusal, cause: MethodId) -> Result<(), Closing> {
        if !refusal.code.ends_channel_only() {
            return Err(Closing::Refused(refusal, cause));
        }
        tracing::debug!(channel, %refusal, "the broker closes a channel");
        // What was published before is routed, although its confirms cannot be sent any more.
        self.session.flush();
        self.drop_channel(channel);
        self.channels.insert(channel, Slot::Closing);
        let (code, text) = (refusal.code.number(), refusal.reply_text());
        Reply::ChannelClose { code, text: &text, cause }.put(self.line.output.tail(), channel);
        Ok(())
    }

    /// A commit that was held back.
    pub(super) async fn commit(&mut self, channel: u16) -> Result<(), Closing> {
        if !matches!(self.channels.get(&channel), Some(Slot::Open(_))) {
            return Ok(());
        }
        let committed = self.tx_commit(channel).await;
        committed.or_else(|refusal| self.fail(channel, refusal, (90, 20)))
    }

    /// Ends a channel for a refusal that shows after its frame, such as a publish that was refused late.
    pub(super) fn fail_later(
        &mut self,
        channel: u16,
        refusal: Refusal,
        cause: MethodId,
    ) -> Result<(), Closing> {
        match self.channels.get(&channel) {
            Some(Slot::Open(_)) => self.fail(channel, refusal, cause),
            _ => Ok(()),
        }
    }

    /// The state of an open channel. A channel can vanish only by its own frames.
    pub(super) fn channel(&mut self, channel: u16) -> Result<&mut Channel, Refusal> {
        opened(&mut self.channels, channel)
    }

    /// `in_content`: the rest of a content is due.
    fn receive_on(&mut self, frame: Frame, in_content: bool) -> Result<Option<Work>, Refusal> {
        let channel = frame.channel;
        match frame.kind {
            FrameKind::Header => self.content_header(channel, &frame.payload)?,
            FrameKind::Body => self.content_body(channel, frame.payload)?,
            FrameKind::Heartbeat => {}
            FrameKind::Method if in_content => {
                return Err(unexpected("a method, where the rest of a content was due"));
            }
            FrameKind::Method => {
                let method = method::decode(&frame.payload)?;
                return self.method(channel, method);
            }
        }
        Ok(None)
    }

    /// Any method on an open channel.
    fn method(&mut self, channel: u16, method: Method) -> Result<Option<Work>, Refusal> {
        match method {
            Method::BasicPublish(publish) => self.publish(channel, &publish)?,
            answered @ (Method::ConfirmSelect { .. }
            | Method::TxSelect
            | Method::BasicQos { .. })
                if self.owes_returns(channel) =>
            {
                return Ok(Some(Work::Method(answered)));
            }
            Method::BasicAck { delivery_tag, multiple } => {
                return self.settle(channel, (delivery_tag, multiple), How::Accept);
            }
            Method::BasicNack { delivery_tag, multiple, requeue } => {
                return self.settle(channel, (delivery_tag, multiple), How::nack(requeue));
            }
            Method::BasicReject { delivery_tag, requeue } => {
                self.settle_one(channel, delivery_tag, How::reject(requeue))?;
            }
            Method::ConfirmSelect { no_wait } => self.confirm_select(channel, no_wait)?,
            Method::TxSelect => self.tx_select(channel)?,
            Method::BasicCancelOk => {}
            Method::BasicQos { prefetch_size, prefetch_count, global } => {
                self.qos(channel, prefetch_size, prefetch_count, global)?;
            }
            Method::ChannelOpen => {
                let text = format!("channel {channel} is open already");
                return Err(Refusal::new(ReplyCode::ChannelError, text));
            }
            waits => {
                // What was settled before a request takes effect before it.
                self.settles.flush(&mut self.session);
                return Ok(Some(Work::Method(waits)));
            }
        }
        Ok(None)
    }

    fn settle(
        &mut self,
        channel: u16,
        (tag, multiple): (u64, bool),
        how: How,
    ) -> Result<Option<Work>, Refusal> {
        if !multiple {
            return self.settle_one(channel, tag, how).map(|()| None);
        }
        let is_long = self.settle_through(channel, tag, how)?;
        Ok(is_long.then_some(Work::SettleRest { tag, how }))
    }

    /// Methods whose effect may be waited for.
    async fn request(&mut self, channel: u16, method: Method) -> Result<(), Refusal> {
        match method {
            Method::QueueDeclare(declare) => self.queue_declare(channel, declare).await,
            Method::QueueBind(binding) => self.queue_bind(channel, binding).await,
            Method::QueueUnbind(binding) => self.queue_unbind(channel, binding).await,
            Method::QueuePurge { queue, no_wait } => {
                self.queue_purge(channel, queue, no_wait).await
            }
            Method::QueueDelete { queue, if_unused, if_empty, no_wait } => {
                self.queue_delete(channel, queue, (if_unused, if_empty), no_wait).await
            }
            Method::ExchangeDeclare(declare) => self.exchange_declare(channel, declare).await,
            Method::ExchangeDelete { exchange, if_unused, no_wait } => {
                self.exchange_delete(channel, exchange, if_unused, no_wait).await
            }
            Method::ExchangeBind(binding) => self.exchange_bind(channel, binding, true).await,
            Method::ExchangeUnbind(binding) => self.exchange_bind(channel, binding, false).await,
            Method::BasicConsume(consume) => self.consume(channel, consume).await,
            Method::BasicCancel { consumer_tag, no_wait } => {
                self.cancel(channel, consumer_tag, no_wait).await
            }
            Method::BasicRecover { requeue } => self.recover(channel, requeue, true).await,
            Method::BasicRecoverAsync { requeue } => self.recover(channel, requeue, false).await,
            Method::ChannelFlow { active } => self.flow(channel, active).await,
            Method::BasicGet { queue, no_ack } => self.get(channel, queue, no_ack).await,
            Method::ChannelClose => self.close_channel(channel).await,
            Method::ConfirmSelect { no_wait } => self.confirm_select(channel, no_wait),
            Method::TxSelect => self.tx_select(channel),
            Method::BasicQos { prefetch_size, prefetch_count, global } => {
                self.qos(channel, prefetch_size, prefetch_count, global)
            }
            Method::TxCommit => self.tx_commit(channel).await,
            Method::TxRollback => self.tx_rollback(channel).await,
            Method::ConnectionUpdateSecret { new_secret } if channel == 0 => {
                self.renew_login(new_secret).await
            }
            // The arguments of such a method are not shown: they may be a secret.
            _ => {
                let text = "methods of class connection do not belong on a channel";
                Err(Refusal::new(ReplyCode::CommandInvalid, text))
            }
        }
    }
}
