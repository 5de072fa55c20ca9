//! Methods that the server sends, and how each is written. Writing only.

use super::frame::put_method;
use super::method::Tune;
use super::refusal::MethodId;
use super::table::{Pairs, put_table};
use super::wire::{put_long, put_short};
use bytes::{BufMut, BytesMut};

/// A method of the server.
#[derive(Debug, Clone, Copy)]
pub enum Reply<'a> {
    ConnectionStart {
        properties: &'a Pairs,
        mechanisms: &'a str,
    },
    ConnectionTune(Tune),
    ConnectionOpenOk,
    ConnectionClose {
        code: u16,
        text: &'a str,
        cause: MethodId,
    },
    ConnectionCloseOk,
    ConnectionBlocked {
        reason: &'a str,
    },
    ConnectionUnblocked,
    ConnectionUpdateSecretOk,
    ChannelOpenOk,
    ChannelFlowOk {
        active: bool,
    },
    ChannelClose {
        code: u16,
        text: &'a str,
        cause: MethodId,
    },
    ChannelCloseOk,
    ExchangeDeclareOk,
    ExchangeDeleteOk,
    ExchangeBindOk,
    ExchangeUnbindOk,
    QueueDeclareOk {
        queue: &'a str,
        messages: u64,
        consumers: u32,
    },
    QueueBindOk,
    QueueUnbindOk,
    QueuePurgeOk {
        messages: u64,
    },
    QueueDeleteOk {
        messages: u64,
    },
    BasicQosOk,
    BasicConsumeOk {
        consumer_tag: &'a [u8],
    },
    BasicCancelOk {
        consumer_tag: &'a [u8],
    },
    /// The server ends a consumer (RabbitMQ extension); no answer is wanted.
    BasicCancel {
        consumer_tag: &'a [u8],
    },
    BasicReturn {
        code: u16,
        text: &'a str,
        exchange: &'a [u8],
        routing_key: &'a [u8],
    },
    BasicDeliver {
        consumer_tag: &'a [u8],
        sent: Sent<'a>,
    },
    BasicGetOk {
        sent: Sent<'a>,
        messages: u64,
    },
    BasicGetEmpty,
    BasicAck {
        delivery_tag: u64,
        multiple: bool,
    },
    BasicNack {
        delivery_tag: u64,
        multiple: bool,
    },
    BasicRecoverOk,
    TxSelectOk,
    TxCommitOk,
    TxRollbackOk,
    ConfirmSelectOk,
}

/// The fields that basic.deliver and basic.get-ok have in common.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    pub delivery_tag: u64,
    pub redelivered: bool,
    pub exchange: &'a [u8],
    pub routing_key: &'a [u8],
}

impl Reply<'_> {
    /// Class and method.
    pub fn id(&self) -> MethodId {
        match self {
            Reply::ConnectionStart { .. } => (10, 10),
            Reply::ConnectionTune(_) => (10, 30),
            Reply::ConnectionOpenOk => (10, 41),
            Reply::ConnectionClose { .. } => (10, 50),
            Reply::ConnectionCloseOk => (10, 51),
            Reply::ConnectionBlocked { .. } => (10, 60),
            Reply::ConnectionUnblocked => (10, 61),
            Reply::ConnectionUpdateSecretOk => (10, 71),
            Reply::ChannelOpenOk => (20, 11),
            Reply::ChannelFlowOk { .. } => (20, 21),
            Reply::ChannelClose { .. } => (20, 40),
            Reply::ChannelCloseOk => (20, 41),
            Reply::ExchangeDeclareOk => (40, 11),
            Reply::ExchangeDeleteOk => (40, 21),
            Reply::ExchangeBindOk => (40, 31),
            Reply::ExchangeUnbindOk => (40, 51),
            Reply::QueueDeclareOk { .. } => (50, 11),
            Reply::QueueBindOk => (50, 21),
            Reply::QueuePurgeOk { .. } => (50, 31),
            Reply::QueueDeleteOk { .. } => (50, 41),
            Reply::QueueUnbindOk => (50, 51),
            Reply::BasicQosOk => (60, 11),
            Reply::BasicConsumeOk { .. } => (60, 21),
            Reply::BasicCancel { .. } => (60, 30),
            Reply::BasicCancelOk { .. } => (60, 31),
            Reply::BasicReturn { .. } => (60, 50),
            Reply::BasicDeliver { .. } => (60, 60),
            Reply::BasicGetOk { .. } => (60, 71),
            Reply::BasicGetEmpty => (60, 72),
            Reply::BasicAck { .. } => (60, 80),
            Reply::BasicRecoverOk => (60, 111),
            Reply::BasicNack { .. } => (60, 120),
            Reply::ConfirmSelectOk => (85, 11),
            Reply::TxSelectOk => (90, 11),
            Reply::TxCommitOk => (90, 21),
            Reply::TxRollbackOk => (90, 31),
        }
    }

    /// Appends the whole frame.
    pub fn put(&self, out: &mut BytesMut, channel: u16) {
        let (class, method) = self.id();
        put_method(out, channel, |out| {
            out.put_u16(class);
            out.put_u16(method);
            self.put_arguments(out);
        });
    }

    /// The arguments: what concerns messages first, because it is written most.
    #[inline]
    fn put_arguments(&self, out: &mut BytesMut) {
        match *self {
            Reply::BasicDeliver { consumer_tag, sent } => {
                put_short(out, consumer_tag);
                sent.put(out);
            }
            Reply::BasicAck { delivery_tag, multiple }
            | Reply::BasicNack { delivery_tag, multiple } => {
                out.put_u64(delivery_tag);
                out.put_u8(u8::from(multiple));
            }
            Reply::BasicGetOk { sent, messages } => {
                sent.put(out);
                put_count(out, messages);
            }
            Reply::BasicReturn { code, text, exchange, routing_key } => {
                out.put_u16(code);
                put_short(out, text.as_bytes());
                put_short(out, exchange);
                put_short(out, routing_key);
            }
            Reply::BasicGetEmpty => put_short(out, b""),
            Reply::BasicConsumeOk { consumer_tag } | Reply::BasicCancelOk { consumer_tag } => {
                put_short(out, consumer_tag);
            }
            Reply::BasicCancel { consumer_tag } => {
                put_short(out, consumer_tag);
                // no-wait
                out.put_u8(1);
            }
            Reply::QueueDeclareOk { queue, messages, consumers } => {
                put_short(out, queue.as_bytes());
                put_count(out, messages);
                out.put_u32(consumers);
            }
            Reply::QueuePurgeOk { messages } | Reply::QueueDeleteOk { messages } => {
                put_count(out, messages);
            }
            _ => self.put_control_arguments(out),
        }
    }

    /// Of classes connection and channel. All other methods have none.
    fn put_control_arguments(&self, out: &mut BytesMut) {
        match *self {
            Reply::ChannelFlowOk { active } => out.put_u8(u8::from(active)),
            Reply::ChannelOpenOk => put_long(out, b""),
            Reply::ConnectionClose { code, text, cause }
            | Reply::ChannelClose { code, text, cause } => {
                out.put_u16(code);
                put_short(out, text.as_bytes());
                out.put_u16(cause.0);
                out.put_u16(cause.1);
            }
            Reply::ConnectionStart { properties, mechanisms } => {
                out.put_slice(&[0, 9]);
                put_table(out, properties);
                put_long(out, mechanisms.as_bytes());
                put_long(out, b"en_US");
            }
            Reply::ConnectionTune(tune) => {
                out.put_u16(tune.channel_max);
                out.put_u32(tune.frame_max);
                out.put_u16(tune.heartbeat);
            }
            Reply::ConnectionOpenOk => put_short(out, b""),
            Reply::ConnectionBlocked { reason } => put_short(out, reason.as_bytes()),
            _ => {}
        }
    }
}

impl Sent<'_> {
    fn put(&self, out: &mut BytesMut) {
        out.put_u64(self.delivery_tag);
        out.put_u8(u8::from(self.redelivered));
        put_short(out, self.exchange);
        put_short(out, self.routing_key);
    }
}

/// A count of messages has 32 bits on the wire.
fn put_count(out: &mut BytesMut, count: u64) {
    out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
}
