//! Methods that a client may send (AMQP 0-9-1 §1.4 and RabbitMQ's extensions: confirm, basic.nack, exchange.bind).
//! Reading only; methods of the server are in [`reply`](super::reply). A method of the server, of a class that is not
//! served or of no class at all is a [`Refusal`] with the code that the specification gives it.

use super::refusal::{MethodId, Refusal, ReplyCode};
use super::table::{self, Pairs};
use super::wire::{Malformed, Reader};
use bytes::Bytes;
use crossdock_core::{Name, Secret};

/// A decoded method.
#[derive(Debug, Clone, PartialEq)]
pub enum Method {
    ConnectionStartOk(StartOk),
    ConnectionTuneOk(Tune),
    ConnectionOpen {
        vhost: Name,
    },
    ConnectionClose,
    ConnectionCloseOk,
    /// A secret in the place of the one at login (RabbitMQ extension).
    ConnectionUpdateSecret {
        new_secret: Secret,
    },
    ChannelOpen,
    ChannelFlow {
        active: bool,
    },
    ChannelClose,
    ChannelCloseOk,
    ExchangeDeclare(ExchangeDeclare),
    ExchangeDelete {
        exchange: Name,
        if_unused: bool,
        no_wait: bool,
    },
    ExchangeBind(Binding),
    ExchangeUnbind(Binding),
    QueueDeclare(QueueDeclare),
    QueueBind(Binding),
    QueueUnbind(Binding),
    QueuePurge {
        queue: Name,
        no_wait: bool,
    },
    QueueDelete {
        queue: Name,
        if_unused: bool,
        if_empty: bool,
        no_wait: bool,
    },
    BasicQos {
        prefetch_size: u32,
        prefetch_count: u16,
        global: bool,
    },
    BasicConsume(Consume),
    BasicCancel {
        consumer_tag: Bytes,
        no_wait: bool,
    },
    /// The answer to the broker's basic.cancel.
    BasicCancelOk,
    BasicPublish(Publish),
    BasicGet {
        queue: Name,
        no_ack: bool,
    },
    BasicAck {
        delivery_tag: u64,
        multiple: bool,
    },
    BasicReject {
        delivery_tag: u64,
        requeue: bool,
    },
    BasicNack {
        delivery_tag: u64,
        multiple: bool,
        requeue: bool,
    },
    BasicRecover {
        requeue: bool,
    },
    BasicRecoverAsync {
        requeue: bool,
    },
    TxSelect,
    TxCommit,
    TxRollback,
    ConfirmSelect {
        no_wait: bool,
    },
}

/// connection.start-ok.
#[derive(Debug, Clone, PartialEq)]
pub struct StartOk {
    pub client_properties: Pairs,
    pub mechanism: Name,
    pub response: Secret,
}

/// connection.tune and tune-ok: 0 is "no limit", for the heartbeat "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tune {
    pub channel_max: u16,
    pub frame_max: u32,
    /// Seconds.
    pub heartbeat: u16,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ExchangeDeclare {
    pub exchange: Name,
    pub kind: Name,
    pub passive: bool,
    pub durable: bool,
    pub auto_delete: bool,
    pub internal: bool,
    pub no_wait: bool,
    pub arguments: Pairs,
}

#[derive(Debug, Clone, PartialEq)]
pub struct QueueDeclare {
    pub queue: Name,
    pub passive: bool,
    pub durable: bool,
    pub exclusive: bool,
    pub auto_delete: bool,
    pub no_wait: bool,
    pub arguments: Pairs,
}

/// A bind or unbind; queue.unbind has no `no-wait` and always answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// The queue or the exchange that the binding leads to.
    pub destination: Name,
    pub source: Name,
    pub routing_key: Bytes,
    pub no_wait: bool,
    pub arguments: Pairs,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Consume {
    pub queue: Name,
    pub consumer_tag: Bytes,
    pub no_local: bool,
    pub no_ack: bool,
    pub exclusive: bool,
    pub no_wait: bool,
    pub arguments: Pairs,
}

/// basic.publish: slices of the frame, because the names of one publish are mostly those of the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub exchange: Bytes,
    pub routing_key: Bytes,
    pub mandatory: bool,
    pub immediate: bool,
}

/// The bit `n` of a bit octet (§4.2.5.2).
const fn bit(bits: u8, n: u8) -> bool {
    bits & (1 << n) != 0
}

/// The class and method of a payload, without its arguments.
pub fn id(payload: &[u8]) -> Result<MethodId, Refusal> {
    let mut reader = Reader::new(payload);
    Ok((reader.u16()?, reader.u16()?))
}

/// Reads a method frame's payload. All of it must be used up.
pub fn decode(payload: &Bytes) -> Result<Method, Refusal> {
    let mut reader = Reader::new(payload);
    let id = (reader.u16()?, reader.u16()?);
    let mut arguments = Arguments { reader, payload };
    let method = match id.0 {
        60 => arguments.basic(id),
        10 => arguments.connection(id),
        20 => arguments.channel(id),
        40 => arguments.exchange(id),
        50 => arguments.queue(id),
        85 => arguments.confirm(id),
        90 => arguments.tx(id),
        _ => return Err(unknown(id)),
    };
    match arguments.reader.is_empty() {
        true => method,
        // A method that clients do not send was not read to its end.
        false => method.and_then(|_| Err(Malformed.into())),
    }
}

/// Classes access, file, stream and dtx are in the specification or its predecessors, but not here.
fn unknown(id: MethodId) -> Refusal {
    let (class, method) = id;
    let code = match class {
        30 | 70 | 80 | 100 | 110 => ReplyCode::NotImplemented,
        _ => ReplyCode::CommandInvalid,
    };
    Refusal::new(code, format!("method {method} of class {class} is not served"))
}

struct Arguments<'a> {
    reader: Reader<'a>,
    payload: &'a Bytes,
}

type Decoded = Result<Method, Refusal>;

impl Arguments<'_> {
    fn bits(&mut self) -> Result<u8, Malformed> {
        self.reader.u8()
    }

    fn name(&mut self) -> Result<Name, Malformed> {
        self.reader.name()
    }

    fn short(&mut self) -> Result<Bytes, Malformed> {
        self.reader.short().map(|s| self.payload.slice_ref(s))
    }

    fn table(&mut self) -> Result<Pairs, Malformed> {
        table::decode(self.reader.long()?)
    }

    /// The ticket of class access, which is out of use.
    fn ticket(&mut self) -> Result<(), Malformed> {
        self.reader.u16().map(|_| ())
    }

    /// Reply code, text and the method that failed: for logs of the peer, nothing depends on them.
    fn close(&mut self) -> Result<(), Malformed> {
        self.reader.u16()?;
        self.reader.short()?;
        self.reader.u32().map(|_| ())
    }

    fn connection(&mut self, id: MethodId) -> Decoded {
        Ok(match id.1 {
            11 => {
                let client_properties = self.table()?;
                let mechanism = self.name()?;
                let response = Secret(self.payload.slice_ref(self.reader.long()?));
                self.reader.short()?;
                Method::ConnectionStartOk(StartOk { client_properties, mechanism, response })
            }
            31 => Method::ConnectionTuneOk(Tune {
                channel_max: self.reader.u16()?,
                frame_max: self.reader.u32()?,
                heartbeat: self.reader.u16()?,
            }),
            40 => {
                let vhost = self.name()?;
                // Two fields of former versions.
                self.reader.short()?;
                self.bits()?;
                Method::ConnectionOpen { vhost }
            }
            50 => {
                self.close()?;
                Method::ConnectionClose
            }
            51 => Method::ConnectionCloseOk,
            70 => {
                let new_secret = Secret(self.payload.slice_ref(self.reader.long()?));
                // Why the client renews it.
                self.reader.short()?;
                Method::ConnectionUpdateSecret { new_secret }
            }
            _ => return Err(unknown(id)),
        })
    }

    fn channel(&mut self, id: MethodId) -> Decoded {
        Ok(match id.1 {
            10 => {
                self.reader.short()?;
                Method::ChannelOpen
            }
            20 => Method::ChannelFlow { active: bit(self.bits()?, 0) },
            40 => {
                self.close()?;
                Method::ChannelClose
            }
            41 => Method::ChannelCloseOk,
            _ => return Err(unknown(id)),
        })
    }

    fn exchange(&mut self, id: MethodId) -> Decoded {
        self.ticket_of(id, &[10, 20, 30, 40])?;
        Ok(match id.1 {
            10 => {
                let (exchange, kind, bits) = (self.name()?, self.name()?, self.bits()?);
                Method::ExchangeDeclare(ExchangeDeclare {
                    exchange,
                    kind,
                    passive: bit(bits, 0),
                    durable: bit(bits, 1),
                    auto_delete: bit(bits, 2),
                    internal: bit(bits, 3),
                    no_wait: bit(bits, 4),
                    arguments: self.table()?,
                })
            }
            20 => {
                let (exchange, bits) = (self.name()?, self.bits()?);
                let (if_unused, no_wait) = (bit(bits, 0), bit(bits, 1));
                Method::ExchangeDelete { exchange, if_unused, no_wait }
            }
            30 => Method::ExchangeBind(self.binding(true)?),
            40 => Method::ExchangeUnbind(self.binding(true)?),
            _ => return Err(unknown(id)),
        })
    }

    /// Skips the ticket, if the method is of a known class.
    fn ticket_of(&mut self, id: MethodId, known: &[u16]) -> Result<(), Refusal> {
        match known.contains(&id.1) {
            true => Ok(self.ticket()?),
            false => Err(unknown(id)),
        }
    }

    fn binding(&mut self, no_wait: bool) -> Result<Binding, Malformed> {
        Ok(Binding {
            destination: self.name()?,
            source: self.name()?,
            routing_key: self.short()?,
            no_wait: no_wait && bit(self.bits()?, 0),
            arguments: self.table()?,
        })
    }

    fn queue(&mut self, id: MethodId) -> Decoded {
        self.ticket_of(id, &[10, 20, 30, 40, 50])?;
        Ok(match id.1 {
            10 => {
                let (queue, bits) = (self.name()?, self.bits()?);
                Method::QueueDeclare(QueueDeclare {
                    queue,
                    passive: bit(bits, 0),
                    durable: bit(bits, 1),
                    exclusive: bit(bits, 2),
                    auto_delete: bit(bits, 3),
                    no_wait: bit(bits, 4),
                    arguments: self.table()?,
                })
            }
            20 => Method::QueueBind(self.binding(true)?),
            30 => {
                let (queue, bits) = (self.name()?, self.bits()?);
                Method::QueuePurge { queue, no_wait: bit(bits, 0) }
            }
            40 => {
                let (queue, bits) = (self.name()?, self.bits()?);
                let (if_unused, if_empty, no_wait) = (bit(bits, 0), bit(bits, 1), bit(bits, 2));
                Method::QueueDelete { queue, if_unused, if_empty, no_wait }
            }
            50 => Method::QueueUnbind(self.binding(false)?),
            _ => return Err(unknown(id)),
        })
    }

    fn basic(&mut self, id: MethodId) -> Decoded {
        Ok(match id.1 {
            40 => {
                self.ticket()?;
                let (exchange, routing_key, bits) = (self.short()?, self.short()?, self.bits()?);
                let (mandatory, immediate) = (bit(bits, 0), bit(bits, 1));
                Method::BasicPublish(Publish { exchange, routing_key, mandatory, immediate })
            }
            80 => {
                let (delivery_tag, bits) = (self.reader.u64()?, self.bits()?);
                Method::BasicAck { delivery_tag, multiple: bit(bits, 0) }
            }
            90 => {
                let (delivery_tag, bits) = (self.reader.u64()?, self.bits()?);
                Method::BasicReject { delivery_tag, requeue: bit(bits, 0) }
            }
            120 => {
                let (delivery_tag, bits) = (self.reader.u64()?, self.bits()?);
                let (multiple, requeue) = (bit(bits, 0), bit(bits, 1));
                Method::BasicNack { delivery_tag, multiple, requeue }
            }
            10 => Method::BasicQos {
                prefetch_size: self.reader.u32()?,
                prefetch_count: self.reader.u16()?,
                global: bit(self.bits()?, 0),
            },
            20 => Method::BasicConsume(self.consume()?),
            30 => {
                let (consumer_tag, bits) = (self.short()?, self.bits()?);
                Method::BasicCancel { consumer_tag, no_wait: bit(bits, 0) }
            }
            31 => {
                self.reader.short()?;
                Method::BasicCancelOk
            }
            70 => {
                self.ticket()?;
                Method::BasicGet { queue: self.name()?, no_ack: bit(self.bits()?, 0) }
            }
            100 => Method::BasicRecoverAsync { requeue: bit(self.bits()?, 0) },
            110 => Method::BasicRecover { requeue: bit(self.bits()?, 0) },
            _ => return Err(unknown(id)),
        })
    }

    fn consume(&mut self) -> Result<Consume, Malformed> {
        self.ticket()?;
        let (queue, consumer_tag, bits) = (self.name()?, self.short()?, self.bits()?);
        Ok(Consume {
            queue,
            consumer_tag,
            no_local: bit(bits, 0),
            no_ack: bit(bits, 1),
            exclusive: bit(bits, 2),
            no_wait: bit(bits, 3),
            arguments: self.table()?,
        })
    }

    fn tx(&mut self, id: MethodId) -> Decoded {
        Ok(match id.1 {
            10 => Method::TxSelect,
            20 => Method::TxCommit,
            30 => Method::TxRollback,
            _ => return Err(unknown(id)),
        })
    }

    fn confirm(&mut self, id: MethodId) -> Decoded {
        Ok(match id.1 {
            10 => Method::ConfirmSelect { no_wait: bit(self.bits()?, 0) },
            _ => return Err(unknown(id)),
        })
    }
}
