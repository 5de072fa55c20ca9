//! SEND. Its destination becomes one or several addresses, with queues that are declared when missing and temporary
//! ones of this connection; then the message is published, parked until it is due, or kept for its transaction.

use super::Connection;
use super::receive::Answer;
use super::transactions::Operation;
use crate::codec::{Frame, Headers};
use crate::mapping::destination::{self, Destination, Usage};
use crate::mapping::titles::{DUPLICATED_ID, INVALID_DESTINATION, titled, titled_as};
use crate::mapping::{self, AckMode, SendRequest, invalid};
use bytes::Bytes;
use crossdock_core::message::carry;
use crossdock_core::{
    Address, Aside, Consumer, ConsumerId, ConsumerSource, Credit, Error, ErrorKind, Key, Life,
    LiveSettings, Message, Name, Native, OnDetach, ParkUntil, Publish, QueueSpec, Session,
    SessionId, Timestamp, Value,
};
use rustc_hash::FxHashMap;
use smallvec::{SmallVec, smallvec};

/// Prefix of pseudo-queues: they do not exist, and can be sent to all the same.
const PSEUDO_QUEUE: &str = "amq.rabbitmq.reply-to";
/// Prefix of the queue name that stands for a topic (in base64url), for clients that can reply to queues only.
const REPLY_TOPIC: &str = "mq.reply.t.";

/// Where one part of a SEND goes.
#[derive(Debug, Clone)]
pub(super) struct Target {
    address: Address,
    /// Not to be published before this time.
    due: Option<Timestamp>,
}

impl Target {
    fn now(address: Address) -> Self {
        Self { address, due: None }
    }
}

/// A temporary queue of this connection.
#[derive(Debug)]
struct Temporary {
    queue: Name,
    /// It has a subscription.
    watched: bool,
    /// The subscription that a reply-to made.
    implicit: Option<ConsumerId>,
}

/// Destinations that were resolved: the last one, and the temporary queues.
#[derive(Debug, Default)]
pub(super) struct Targets {
    /// The header's octets, the address, and the turn it was looked up in: a queue can be deleted between turns.
    last: Option<(Bytes, Address, u64)>,
    turn: u64,
    temporary: FxHashMap<String, Temporary>,
    temporary_bytes: usize,
}

impl Targets {
    pub(super) fn next_turn(&mut self) {
        self.turn += 1;
    }

    /// Bytes of memory that the names of temporary queues take.
    pub(super) fn memory(&self) -> usize {
        self.temporary_bytes
    }

    fn known(&self, octets: &[u8]) -> Option<Address> {
        let (last, address, turn) = self.last.as_ref()?;
        (*turn == self.turn && *last == octets).then(|| address.clone())
    }

    fn remember(&mut self, octets: &[u8], address: &Address) {
        self.last = Some((Bytes::copy_from_slice(octets), address.clone(), self.turn));
    }
}

impl Connection<'_> {
    /// `receipt`: one was asked for.
    pub(super) async fn send(&mut self, frame: &Frame, receipt: bool) -> Result<Answer, Error> {
        let headers = &frame.headers;
        let request = SendRequest::read(headers, self.now, &self.session.origin().user)?;
        let targets = self.targets_of(&request, headers).await?;
        let bytes = self.native_block(&request, headers).await?;
        // How many there may be is a limit of the codec.
        self.session.check_headers(bytes.len(), || 0)?;
        let native = Native { format: self.client.format, bytes };
        let meta = request.meta(self.session.origin(), self.now);
        let mut count = 0;
        for Target { address, due } in targets {
            let message = Message::new(address, meta.clone(), native.clone(), frame.body.clone());
            match (request.transaction, request.due.max(due)) {
                (Some(name), due) => {
                    let aside = due.map(Aside::Due).map(Box::new);
                    let publish = Publish { aside, ..Publish::new(message, receipt) };
                    self.add(&name.value(), Operation::Publish(publish))?;
                }
                // A limit is told whether or not there is a receipt to tell it on.
                (None, Some(due)) => {
                    let parked = self.session.park(ParkUntil::At(due), message);
                    Box::pin(self.line.while_waiting(parked)).await?;
                }
                (None, None) => {
                    self.session.publish(self.lane, Publish::new(message, receipt));
                    count += 1;
                }
            }
        }
        let expired = request.has_expired(self.now);
        Ok(match count {
            0 if expired => Answer::Expired,
            0 => Answer::Done,
            count => Answer::Confirms { count, soft: request.soft, expired },
        })
    }

    async fn targets_of(
        &mut self,
        request: &SendRequest<'_>,
        headers: &Headers,
    ) -> Result<SmallVec<[Target; 1]>, Error> {
        let octets = request.destination.raw_value;
        let plain = request.cast.is_none() && !request.arguments;
        if plain && let Some(address) = self.targets.known(octets) {
            return Ok(smallvec![Target::now(address)]);
        }
        let text = request.destination.value();
        let mut targets = SmallVec::new();
        for part in destination::parts(&text)? {
            let destination =
                destination::parse(part, Usage::Send, request.cast, &self.client.door)?;
            targets.push(self.target(destination, headers).await?);
        }
        if let [Target { address, due: None }] = &*targets
            && plain
        {
            self.targets.remember(octets, address);
        }
        Ok(targets)
    }

    async fn target(
        &mut self,
        destination: Destination,
        headers: &Headers,
    ) -> Result<Target, Error> {
        Ok(Target::now(match destination {
            Destination::Queue(name) => {
                let spec = QueueSpec::durable(name);
                Address::queue(&self.queue(spec, mapping::arguments(headers)?).await?)
            }
            Destination::Existing(name) | Destination::Reply(name)
                if name.starts_with(REPLY_TOPIC) =>
            {
                self.topic(reply_topic(&name)?)?
            }
            Destination::Existing(name) => {
                if !name.starts_with(PSEUDO_QUEUE) && !is_there(&self.session, &name)? {
                    let detail = format!("there is no queue '{name}'");
                    return Err(Error::new(ErrorKind::NotFound, detail));
                }
                Address::queue(&name)
            }
            Destination::Reply(name) => Address::queue(&name),
            Destination::Topic(key) => self.topic(key)?,
            Destination::Exchange { exchange, key } => {
                if self.session.exchange(&exchange)?.internal {
                    let detail = format!("exchange '{exchange}' is internal");
                    return Err(Error::new(ErrorKind::Refused, detail));
                }
                within(&key, self.session.broker().live())?;
                Address::new(exchange.into(), key)
            }
            Destination::TempQueue(name) => Address::queue(&self.temporary_queue(&name).await?),
            Destination::TempTopic(name) => {
                self.topic(temporary_topic(self.session.id(), &name))?
            }
            Destination::Delayed { seconds, topic } => {
                let due = self.now.plus(seconds.saturating_mul(1000));
                let due = Some(due).filter(|due| *due > self.now);
                return Ok(Target { address: self.topic(topic)?, due });
            }
        }))
    }

    fn topic(&self, key: Key) -> Result<Address, Error> {
        within(&key, self.session.broker().live())?;
        Ok(Address::new(self.client.topic_exchange.clone(), key))
    }

    /// The queue as it is, or declared when missing. Arguments that were sent have to be the queue's.
    pub(super) async fn queue(
        &mut self,
        spec: QueueSpec,
        arguments: Vec<(Name, Value)>,
    ) -> Result<Name, Error> {
        let name = spec.name.clone();
        if destination::is_wild(&name) && !is_there(&self.session, &name)? {
            let detail = format!(
                "'{name}' is no queue, and wildcards of queues are not supported: name each queue, or \
                 subscribe to a topic with wildcards"
            );
            let error = Error::new(ErrorKind::Unavailable, detail);
            return Err(titled_as(INVALID_DESTINATION, &error));
        }
        if !arguments.is_empty() || !is_there(&self.session, &name)? {
            let spec = spec.with_arguments(arguments)?;
            // Boxed: rare, and a large future.
            Box::pin(self.line.while_waiting(self.session.declare_queue(spec))).await?;
        }
        Ok(name)
    }

    /// The header block as it came, unless its reply-to is a name that only this connection knows.
    async fn native_block(
        &mut self,
        request: &SendRequest<'_>,
        headers: &Headers,
    ) -> Result<Bytes, Error> {
        let block = match request.reply_to.filter(|h| h.raw_value.starts_with(b"/temp-")) {
            None => headers.block().clone(),
            Some(reply_to) => Box::pin(self.real_reply_to(&reply_to.value(), headers)).await?,
        };
        match self.client.has_habits {
            false => Ok(block),
            true => mapping::in_our_habits(block, headers.rules(), &self.client.door),
        }
    }

    async fn real_reply_to(&mut self, text: &str, headers: &Headers) -> Result<Bytes, Error> {
        let real = match destination::parse(text, Usage::Send, None, &self.client.door)? {
            Destination::TempQueue(name) => {
                let queue = self.temporary_queue(&name).await?;
                self.watch(&name, &queue).await?;
                destination::render_queue("/reply-queue/", &queue)
            }
            Destination::TempTopic(name) => {
                destination::render_topic(&temporary_topic(self.session.id(), &name))
            }
            _ => return Ok(headers.block().clone()),
        };
        mapping::replaced(headers, "reply-to", &real)
    }

    /// The real name of this connection's temporary queue, declared when first named.
    pub(super) async fn temporary_queue(&mut self, name: &str) -> Result<Name, Error> {
        if let Some(temporary) = self.targets.temporary.get(name) {
            return Ok(temporary.queue.clone());
        }
        if self.targets.temporary.len() >= self.options.subscriptions_max {
            let detail = format!(
                "there may be {} temporary queues of one connection",
                self.options.subscriptions_max
            );
            return Err(Error::new(ErrorKind::LimitReached, detail));
        }
        let bytes = size_of::<Temporary>() + 2 * name.len();
        self.session.may_keep(bytes)?;
        let spec = QueueSpec { life: Life::Exclusive, ..QueueSpec::default() };
        let declared = self.session.declare_queue(spec);
        let queue = Box::pin(self.line.while_waiting(declared)).await?.status.name;
        let temporary = Temporary { queue: queue.clone(), watched: false, implicit: None };
        self.targets.temporary.insert(name.to_owned(), temporary);
        self.targets.temporary_bytes += bytes;
        self.count_kept();
        Ok(queue)
    }

    /// Replies arrive under the queue's own name, if nothing was subscribed to it before: the habit of clients that
    /// only send a reply-to.
    async fn watch(&mut self, name: &str, queue: &Name) -> Result<(), Error> {
        if self.targets.temporary.get(name).is_none_or(|temporary| temporary.watched) {
            return Ok(());
        }
        let id = format!("/temp-queue/{name}");
        if self.subscriptions.consumer(&id).is_some() {
            let detail = format!("the id '{id}' is in use by another subscription");
            return Err(titled(DUPLICATED_ID, detail));
        }
        let consumer = Consumer {
            source: ConsumerSource::Queue(queue.clone()),
            settles: false,
            exclusive: false,
            priority: 0,
            credit: Credit::UNLIMITED,
            pools: SmallVec::new(),
            only_unexpired: false,
            has_time: false,
            tag: Name::from(&*id),
        };
        let consumer = self.line.while_waiting(self.session.attach(self.lane, consumer)).await?;
        self.subscribed(consumer, (&id, true, AckMode::Auto), None, false);
        self.count_kept();
        if let Some(temporary) = self.targets.temporary.get_mut(name) {
            (temporary.watched, temporary.implicit) = (true, Some(consumer));
        }
        Ok(())
    }

    /// The peer subscribes itself: the subscription that its reply-to made is ended.
    pub(super) async fn watched_by_peer(&mut self, name: &str) {
        let Some(temporary) = self.targets.temporary.get_mut(name) else { return };
        temporary.watched = true;
        if let Some(consumer) = temporary.implicit.take()
            && self.subscriptions.remove(consumer).is_some()
        {
            self.line.while_waiting(self.session.detach(consumer, OnDetach::Return)).await;
        }
    }
}

/// Whether the queue exists. A queue that is exclusive to another connection can be sent to all the same.
fn is_there(session: &Session, name: &str) -> Result<bool, Error> {
    // What its user may not publish to is refused with the publish, or not at all where nobody waits for an answer.
    if !session.may_look_at_queue(name) {
        return Ok(true);
    }
    match session.queue_status(name) {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            // The broker's own, as a content route's: the same.
            ErrorKind::Locked | ErrorKind::Refused => Ok(true),
            ErrorKind::NotFound => Ok(false),
            _ => Err(error),
        },
    }
}

/// The topic that a requester of another protocol wants its answer at (docs/SEMANTICS.md §5).
fn reply_topic(name: &str) -> Result<Key, Error> {
    let topic = name.strip_prefix(REPLY_TOPIC).and_then(carry::from_base64url);
    match topic.filter(|topic| topic.first() != Some(&b'$')) {
        Some(topic) => Ok(Key::new(topic)),
        None => Err(invalid(format!("'{name}' names no topic to answer to"))),
    }
}

/// The topic behind `/temp-topic/<name>`: no other session has it, and it is one word under the session's.
pub(super) fn temporary_topic(session: SessionId, name: &str) -> Key {
    let name = carry::percent_encode(name, b"/.+*#>");
    Key::from(&*format!("temp-topic/{}/{name}", session.0))
}

/// docs/SEMANTICS.md §1: longer topics are refused.
pub(super) fn within(key: &Key, live: &LiveSettings) -> Result<(), Error> {
    live.check_topic(key.bytes().len(), key.separators())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_topics_are_one_word_of_their_session() {
        let key = temporary_topic(SessionId(7), "a/b.c");
        assert_eq!(key, Key::from("temp-topic/7/a%2Fb%2Ec"));
        let text = destination::render_topic(&key);
        let door = crate::Door::default();
        let back = destination::parse(&text, Usage::Send, None, &door).unwrap();
        assert_eq!(back, Destination::Topic(key));
    }

    #[test]
    fn reply_topics_of_others() {
        let name = format!("{REPLY_TOPIC}{}", carry::base64url(b"a/b"));
        assert_eq!(reply_topic(&name).unwrap(), Key::from("a/b"));
        let dollar = format!("{REPLY_TOPIC}{}", carry::base64url(b"$SYS/x"));
        assert!(reply_topic(&dollar).is_err());
        assert!(reply_topic("mq.reply.t.!").is_err());
    }

    #[test]
    fn long_topics_are_refused() {
        let live = LiveSettings::new(crossdock_core::Settings::default());
        assert!(within(&Key::from(&*"/".repeat(200)), &live).is_ok());
        assert!(within(&Key::from(&*"/".repeat(201)), &live).is_err());
        assert!(within(&Key::from(&*"x".repeat(65_536)), &live).is_err());
    }

    #[test]
    fn the_last_destination_is_known_for_one_turn() {
        let mut targets = Targets::default();
        targets.remember(b"/queue/a", &Address::queue("a"));
        assert_eq!(targets.known(b"/queue/a"), Some(Address::queue("a")));
        assert_eq!(targets.known(b"/queue/b"), None);
        targets.next_turn();
        assert_eq!(targets.known(b"/queue/a"), None);
    }
}
