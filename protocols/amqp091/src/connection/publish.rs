//! basic.publish and the content behind it (AMQP 0-9-1 §1.8.3.7, §4.2.6). The fast path: for a publish like the one
//! before nothing is looked up and no name is made.

use super::Connection;
use super::channel::{Channel, Content, Incoming, Mode};
use super::receive::opened;
use crate::codec::{ContentHeader, Refusal, ReplyCode, method};
use crate::mapping::address::Known;
use crate::mapping::inbound::Special;
use crate::mapping::{FORMAT, address, errors, inbound};
use bytes::{Bytes, BytesMut};
use crossdock_core::{Aside, Message, Native, Publish, Session};

impl Connection {
    /// The method: the address is found here; the message is published when its content is complete.
    pub(super) fn publish(
        &mut self,
        channel: u16,
        publish: &method::Publish,
    ) -> Result<(), Refusal> {
        if publish.immediate {
            return Err(Refusal::new(ReplyCode::NotImplemented, "immediate=true"));
        }
        let (turn, mandatory) = (self.turn, publish.mandatory);
        let state = opened(&mut self.channels, channel)?;
        let address = match state.last_address.get(publish, turn) {
            Some(address) => address,
            None => {
                if !state.last_address.knows_exchange(&publish.exchange, turn) {
                    self.check_exchange(&publish.exchange)?;
                }
                let known = known(&self.session);
                opened(&mut self.channels, channel)?.last_address.set(publish, turn, known)
            }
        };
        opened(&mut self.channels, channel)?.content = Content::Method { address, mandatory };
        Ok(())
    }

    /// Refuses an exchange that does not exist or takes no publishes of clients.
    fn check_exchange(&self, name: &[u8]) -> Result<(), Refusal> {
        if name.is_empty() {
            return Ok(());
        }
        let name = String::from_utf8_lossy(name);
        let subject = errors::Subject::Exchange(&name);
        let found = self.session.exchange(&name);
        let spec = found.map_err(|error| errors::about(&error, subject, &self.vhost))?;
        match spec.internal {
            false => Ok(()),
            true => {
                let vhost = &self.vhost;
                let text =
                    format!("cannot publish to internal exchange '{name}' in vhost '{vhost}'");
                Err(Refusal::new(ReplyCode::AccessRefused, text))
            }
        }
    }

    pub(super) fn content_header(&mut self, channel: u16, payload: &Bytes) -> Result<(), Refusal> {
        let Self { channels, session, now, .. } = self;
        let state = opened(channels, channel)?;
        let Content::Method { address, mandatory } = std::mem::take(&mut state.content) else {
            return Err(Refusal::new(
                ReplyCode::UnexpectedFrame,
                "a content header without a method",
            ));
        };
        let header = ContentHeader::decode(payload)?;
        let max = session.broker().live().message_bytes_max();
        // Refused by what was promised: nothing is gathered for a message that will not be taken.
        let body_size = usize::try_from(header.body_size).unwrap_or(usize::MAX);
        if body_size > max {
            let text = format!(
                "message size {body_size} is larger than the maximum size {max} (limits.message_bytes)"
            );
            return Err(Refusal::new(ReplyCode::PreconditionFailed, text));
        }
        let count = || inbound::count_headers(&header.properties);
        if let Err(why) = session.check_headers(header.properties.len(), count) {
            return Err(Refusal::new(ReplyCode::PreconditionFailed, why.detail()));
        }
        let (meta, special) = inbound::meta(&header.properties, session.origin(), *now)?;
        let mut incoming = Incoming {
            address,
            mandatory,
            aside: None,
            meta,
            properties: header.properties,
            body_size,
            body: BytesMut::new(),
        };
        if let Some(special) = special {
            incoming.copy_to(&special, known(session));
            if special.asks_channel {
                incoming.reply_to_channel(state)?;
            }
        }
        match body_size {
            0 => complete(session, state, incoming, Bytes::new()),
            _ => state.content = Content::Body(incoming),
        }
        Ok(())
    }

    pub(super) fn content_body(&mut self, channel: u16, payload: Bytes) -> Result<(), Refusal> {
        let Self { channels, session, .. } = self;
        let state = opened(channels, channel)?;
        let Content::Body(incoming) = &mut state.content else {
            return Err(Refusal::new(ReplyCode::UnexpectedFrame, "a body frame without a header"));
        };
        let arrived = incoming.body.len() + payload.len();
        if arrived > incoming.body_size {
            let text = format!("a body of {} octets got {arrived}", incoming.body_size);
            return Err(Refusal::new(ReplyCode::FrameError, text));
        }
        if arrived < incoming.body_size {
            incoming.gather(&payload);
            state.count();
            // The body is there already: what is checked is that there is room for all of it.
            return match session.may_keep(1) {
                Ok(()) => Ok(()),
                Err(why) => Err(Refusal::new(ReplyCode::PreconditionFailed, why.detail())),
            };
        }
        let Content::Body(mut incoming) = std::mem::take(&mut state.content) else {
            return Ok(());
        };
        // A body of one frame stays where it was read.
        let body = match incoming.body.is_empty() {
            true => payload,
            false => {
                incoming.gather(&payload);
                state.count();
                std::mem::take(&mut incoming.body).freeze()
            }
        };
        complete(session, state, incoming, body);
        Ok(())
    }
}

impl Incoming {
    /// Adds what a frame brought. The room doubles as it is filled, up to what was announced: a client that announces
    /// much and sends little takes little, and a whole body has no room left over.
    fn gather(&mut self, payload: &[u8]) {
        let arrived = self.body.len() + payload.len();
        if arrived > self.body.capacity() {
            let room = (2 * arrived).min(self.body_size);
            let mut larger = BytesMut::with_capacity(room);
            larger.extend_from_slice(&self.body);
            self.body = larger;
        }
        self.body.extend_from_slice(payload);
    }

    /// RabbitMQ "Sender-selected Distribution": the keys of CC and BCC, in the same exchange. Readers do not see BCC.
    #[cold]
    fn copy_to(&mut self, special: &Special, known: Known<'_>) {
        if special.keys.is_empty() && !special.has_hidden {
            return;
        }
        let exchange = &self.address.exchange;
        let published = |key: &Bytes| address::published(exchange.clone(), key, known);
        self.aside = Some(Box::new(Aside::Copies(special.keys.iter().map(published).collect())));
        if special.has_hidden {
            self.properties = inbound::without_hidden(&self.properties);
        }
    }
}

/// What keys may stand for.
fn known(session: &Session) -> Known<'_> {
    let broker = session.broker();
    (&broker.settings().topic_exchange, broker.formats().aliases())
}

/// The content is all there.
fn complete(session: &mut Session, state: &mut Channel, incoming: Incoming, body: Bytes) {
    let Incoming { address, mandatory, aside, meta, properties, .. } = incoming;
    let native = Native { format: FORMAT, bytes: properties };
    let message = Message::new(address, meta, native, body);
    let confirm = state.mode == Mode::Confirm;
    if confirm && state.confirms.tells_why {
        state.confirms.keep(message.clone());
    }
    let publish = Publish { mandatory, aside, ..Publish::new(message, confirm) };
    let number = session.publish(state.lane, publish);
    state.confirms.owes_returns |= mandatory;
    if confirm {
        state.confirms.published = number;
        if mandatory {
            state.confirms.mandatory.push_back(number);
        }
    }
}
