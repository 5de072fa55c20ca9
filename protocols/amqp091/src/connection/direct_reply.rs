//! Direct reply-to (RabbitMQ "Direct Reply-to"): a pseudo-queue that a channel consumes without acknowledgements, and
//! whose name in reply-to becomes an address of this channel's own, at which anybody who sees it can answer.

use super::Connection;
use super::channel::{Channel, Incoming, OwnConsumer, Slot};
use super::deliver::Subscriber;
use crate::codec::method::Consume;
use crate::codec::{Refusal, Reply, ReplyCode};
use crate::mapping::errors;
use crate::mapping::inbound::{self, PSEUDO_QUEUE};
use bytes::Bytes;
use crossdock_core::{ConsumerId, Credit, Delivery, Name, REPLY_NAMES};

fn failed(text: &str) -> Refusal {
    Refusal::new(ReplyCode::PreconditionFailed, text)
}

/// Whose delivery it is: a queue's consumer, or the one that gets the answers of its channel.
pub(super) fn receiver(delivery: &Delivery) -> ConsumerId {
    match delivery.consumer {
        ConsumerId::DIRECT => delivery.tags.reply_id().map_or(ConsumerId::DIRECT, ConsumerId),
        consumer => consumer,
    }
}

impl Connection {
    /// basic.consume of the pseudo-queue. It needs no right, as with RabbitMQ: it reads nothing but answers.
    pub(super) fn consume_replies(
        &mut self,
        channel: u16,
        consume: &Consume,
        tag: Bytes,
    ) -> Result<(), Refusal> {
        if !consume.no_ack {
            return Err(failed("reply consumer cannot acknowledge"));
        }
        let state = self.channel(channel)?;
        if state.replies.is_some() {
            return Err(failed("reply consumer already set"));
        }
        let lane = state.lane;
        let replies = self.session.open_reply_address(lane);
        let replies = replies.map_err(|error| errors::refusal(&error))?;
        let id = replies.consumer;
        let state = self.channel(channel)?;
        state.replies = Some(replies);
        state.consumers.insert(tag.clone(), OwnConsumer { id, credit: Credit::UNLIMITED });
        if !consume.no_wait {
            Reply::BasicConsumeOk { consumer_tag: &tag }.put(self.line.output.tail(), channel);
        }
        self.subscribers.insert(id, Subscriber { channel, tag, settles: false });
        Ok(())
    }

    /// True when that was the consumer of the channel's answers, which has ended.
    pub(super) fn cancel_replies(&mut self, channel: u16, consumer: ConsumerId) -> bool {
        let Some(Slot::Open(state)) = self.channels.get_mut(&channel) else { return false };
        let ended = state.replies.take_if(|replies| replies.consumer == consumer);
        if ended.is_some() {
            self.session.close_reply_address(state.lane);
            self.subscribers.remove(&consumer);
        }
        ended.is_some()
    }

    /// The client reads nothing more: its channels get no answers any more.
    pub(super) fn end_replies(&mut self) {
        let consumers: Vec<(u16, ConsumerId)> = self
            .channels
            .iter()
            .filter_map(|(channel, slot)| match slot {
                Slot::Open(state) => Some((*channel, state.replies.as_ref()?.consumer)),
                Slot::Closing => None,
            })
            .collect();
        for (channel, consumer) in consumers {
            self.cancel_replies(channel, consumer);
        }
    }

    /// queue.declare of the pseudo-queue or of somebody's reply address, passive or not: it says whether somebody
    /// waits there. None: it is about a queue.
    pub(super) fn declare_replies(&self, name: &Name) -> Option<Result<(), Refusal>> {
        let is_there = match &**name {
            PSEUDO_QUEUE => true,
            name if name.starts_with(REPLY_NAMES) => self.session.is_reply_address(name),
            _ => return None,
        };
        Some(match is_there {
            true => Ok(()),
            false => {
                let vhost = &self.vhost;
                let text = format!("no queue '{name}' in vhost '{vhost}'");
                Err(Refusal::new(ReplyCode::NotFound, text))
            }
        })
    }
}

impl Incoming {
    /// The answer is wanted at the channel's own address: its name takes the pseudo-queue's place for all readers.
    #[cold]
    pub(super) fn reply_to_channel(&mut self, channel: &Channel) -> Result<(), Refusal> {
        let Some(replies) = &channel.replies else {
            return Err(failed("fast reply consumer does not exist"));
        };
        self.properties = inbound::with_reply_to(&self.properties, &replies.name);
        Ok(())
    }
}
