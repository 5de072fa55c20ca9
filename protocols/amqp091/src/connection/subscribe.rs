//! Consumers, prefetch and basic.get (AMQP 0-9-1 §1.8.3.1 to §1.8.3.12; RabbitMQ "Consumer prefetch").

use super::Connection;
use super::channel::OwnConsumer;
use super::deliver::{Head, Subscriber};
use super::random::random_name;
use super::unsettled::Tag;
use crate::codec::method::Consume;
use crate::codec::{Refusal, Reply, ReplyCode};
use crate::mapping::errors::{self, Subject};
use crate::mapping::inbound::PSEUDO_QUEUE;
use bytes::Bytes;
use crossdock_core::message::lookup;
use crossdock_core::{Consumer, ConsumerSource, Credit, Error, ErrorKind, Name, OnDetach, PoolId};
use smallvec::SmallVec;

/// No deliveries.
pub(super) const NO_CREDIT: Credit = Credit { messages: 0, bytes: u64::MAX };

impl Connection {
    pub(super) fn qos(
        &mut self,
        channel: u16,
        prefetch_size: u32,
        prefetch_count: u16,
        global: bool,
    ) -> Result<(), Refusal> {
        if prefetch_size != 0 {
            let text = format!("prefetch_size!=0 ({prefetch_size})");
            return Err(Refusal::new(ReplyCode::NotImplemented, text));
        }
        let credit = match prefetch_count {
            0 => Credit::UNLIMITED,
            n => Credit::messages(u32::from(n)),
        };
        let state = self.channel(channel)?;
        match global {
            // Existing consumers keep the credit they began with.
            false => state.prefetch = credit,
            true => {
                state.shared_prefetch.credit = credit;
                let (lane, pool) = (state.lane, state.shared_prefetch.pool);
                self.session.show_prefetch(lane, prefetch_count.into());
                if let Some(pool) = pool {
                    self.session.set_pool(pool, credit);
                }
            }
        }
        Reply::BasicQosOk.put(self.line.output.tail(), channel);
        Ok(())
    }

    /// channel.flow of a client: whether it wants deliveries.
    pub(super) async fn flow(&mut self, channel: u16, active: bool) -> Result<(), Refusal> {
        let state = self.channel(channel)?;
        let changes = std::mem::replace(&mut state.flow, active) != active;
        let consumers: Vec<OwnConsumer> = match changes {
            true => state.consumers.values().copied().collect(),
            false => Vec::new(),
        };
        for consumer in consumers {
            let credit = if active { consumer.credit } else { NO_CREDIT };
            self.session.set_credit(consumer.id, credit);
            self.line.pause().await;
        }
        Reply::ChannelFlowOk { active }.put(self.line.output.tail(), channel);
        Ok(())
    }

    /// The queue that a method means: an empty name is the last one declared (§1.7.2.3 and others).
    pub(super) fn queue_named(&mut self, channel: u16, name: Name) -> Result<Name, Refusal> {
        match name.is_empty() {
            false => Ok(name),
            true => self.channel(channel)?.last_queue.clone().ok_or_else(|| {
                Refusal::new(ReplyCode::NotFound, "no queue was declared on this channel")
            }),
        }
    }

    /// The pool that the channel's settling consumers share.
    fn pool(&mut self, channel: u16) -> Result<PoolId, Refusal> {
        let state = self.channel(channel)?;
        if let Some(pool) = state.shared_prefetch.pool {
            return Ok(pool);
        }
        let credit = state.shared_prefetch.credit;
        let pool = match self.spare_pools.pop() {
            Some(pool) => {
                self.session.set_pool(pool, credit);
                pool
            }
            None => self.session.pool(credit),
        };
        self.channel(channel)?.shared_prefetch.pool = Some(pool);
        Ok(pool)
    }

    pub(super) async fn consume(&mut self, channel: u16, consume: Consume) -> Result<(), Refusal> {
        let queue = self.queue_named(channel, consume.queue.clone())?;
        let tag = match consume.consumer_tag.is_empty() {
            true => Bytes::from(random_name("amq.ctag-")),
            false => Bytes::copy_from_slice(&consume.consumer_tag),
        };
        self.check_tag(channel, &tag)?;
        if &*queue == PSEUDO_QUEUE {
            return self.consume_replies(channel, &consume, tag);
        }
        let (consumer, credit) = self.consumer(channel, &consume, &queue, &tag)?;
        let lane = self.channel(channel)?.lane;
        let attached = self.line.while_waiting(self.session.attach(lane, consumer)).await;
        let id = attached.map_err(|error| consume_refusal(&error, &queue, &self.vhost))?;
        self.channel(channel)?.consumers.insert(tag.clone(), OwnConsumer { id, credit });
        let settles = !consume.no_ack;
        self.subscribers.insert(id, Subscriber { channel, tag: tag.clone(), settles });
        if !consume.no_wait {
            Reply::BasicConsumeOk { consumer_tag: &tag }.put(self.line.output.tail(), channel);
        }
        Ok(())
    }

    fn check_tag(&mut self, channel: u16, tag: &Bytes) -> Result<(), Refusal> {
        let max = self.limits.consumers_max;
        let consumers = &self.channel(channel)?.consumers;
        let text = if consumers.contains_key(tag) {
            // §1.8.3.3: two consumers of a channel with one tag are an error of the connection.
            format!("consumer tag '{}' is in use", String::from_utf8_lossy(tag))
        } else if consumers.len() >= max {
            format!("a channel has at most {max} consumers (limits.amqp.consumers_per_channel)")
        } else {
            return Ok(());
        };
        Err(Refusal::new(ReplyCode::NotAllowed, text))
    }

    /// The core's consumer, and its own credit while the flow is on.
    fn consumer(
        &mut self,
        channel: u16,
        consume: &Consume,
        queue: &Name,
        tag: &[u8],
    ) -> Result<(Consumer, Credit), Refusal> {
        let asked = lookup(&consume.arguments, "x-priority");
        let priority = match asked.map(|value| value.as_i64().ok_or(value)) {
            None => 0,
            Some(Ok(n)) => i16::try_from(n.clamp(-32_768, 32_767)).unwrap_or(0),
            Some(Err(value)) => {
                let (kind, vhost) = (value.type_name(), &self.vhost);
                let text = format!(
                    "invalid arg 'x-priority' for queue '{queue}' in vhost '{vhost}': expected integer, got \
                     {kind}"
                );
                return Err(Refusal::new(ReplyCode::PreconditionFailed, text));
            }
        };
        // Prefetch limits what is unsettled, so it does not concern consumers that do not settle.
        let (pools, credit) = match consume.no_ack {
            true => (SmallVec::new(), Credit::UNLIMITED),
            false => {
                (SmallVec::from_slice(&[self.pool(channel)?]), self.channel(channel)?.prefetch)
            }
        };
        let consumer = Consumer {
            source: ConsumerSource::Queue(queue.clone()),
            settles: !consume.no_ack,
            exclusive: consume.exclusive,
            priority,
            credit: if self.channel(channel)?.flow { credit } else { NO_CREDIT },
            pools,
            only_unexpired: false,
            has_time: true,
            tag: Name::from(&*String::from_utf8_lossy(tag)),
        };
        Ok((consumer, credit))
    }

    pub(super) async fn cancel(
        &mut self,
        channel: u16,
        consumer_tag: Bytes,
        no_wait: bool,
    ) -> Result<(), Refusal> {
        if let Some(consumer) = self.channel(channel)?.consumers.remove(&consumer_tag)
            && !self.cancel_replies(channel, consumer.id)
        {
            // What it has can still be settled; what was not taken out of the inbox goes back to the queue.
            self.line.while_waiting(self.session.detach(consumer.id, OnDetach::Stay)).await;
            self.subscribers.remove(&consumer.id);
        }
        if !no_wait {
            Reply::BasicCancelOk { consumer_tag: &consumer_tag }
                .put(self.line.output.tail(), channel);
        }
        Ok(())
    }

    pub(super) async fn get(
        &mut self,
        channel: u16,
        queue: Name,
        no_ack: bool,
    ) -> Result<(), Refusal> {
        let queue = self.queue_named(channel, queue)?;
        let lane = self.channel(channel)?.lane;
        let got = self.line.while_waiting(self.session.get(lane, &queue, !no_ack)).await;
        let got = got.map_err(|error| consume_refusal(&error, &queue, &self.vhost))?;
        let Some((delivery, messages)) = got else {
            Reply::BasicGetEmpty.put(self.line.output.tail(), channel);
            return Ok(());
        };
        let state = self.channel(channel)?;
        let tag = state.next_tag();
        if !no_ack {
            let (consumer, offset) = (delivery.consumer, delivery.offset);
            state.unsettled.push(Tag { tag, consumer, offset });
        }
        self.now = self.session.broker().now();
        self.put_delivery(channel, &delivery, Head::Got { delivery_tag: tag, messages });
        self.session.encoded(self.line.output.position());
        Ok(())
    }
}

fn consume_refusal(error: &Error, queue: &str, vhost: &str) -> Refusal {
    match error.kind() {
        ErrorKind::InUse => {
            let text = format!("queue '{queue}' in vhost '{vhost}' in exclusive use");
            Refusal::new(ReplyCode::AccessRefused, text)
        }
        _ => errors::about(error, Subject::Queue(queue), vhost),
    }
}
