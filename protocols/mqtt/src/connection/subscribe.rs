//! SUBSCRIBE and UNSUBSCRIBE. A plain filter is a binding to the session's own queue, which the core keeps with the
//! session. `$share/g/f` and `$q/<queue>` consume a queue of their own; that they exist is noted in a memo.

use super::deliver::RETAIN_AS_PUBLISHED;
use super::{Closing, Connection, Opened, publish};
use crate::codec::{Handling, Reason, Shared, Subscribe, Subscription, Text, Unsubscribe, shared};
use crate::mapping;
use crate::options::Options;
use crate::state::memo;
use bytes::{BufMut, Bytes, BytesMut};
use crossdock_core::{
    Bind, BindTarget, BindingTag, Consumer, ConsumerId, ConsumerSource, Credit, Error, ErrorKind,
    Key, Life, Memo, Name, OnDetach, QueueSpec, Replay, Session,
};
use rustc_hash::FxHashSet;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A filter that a memo can hold beside its options (a memo's value has at most 4 KiB).
const NOTED_FILTER_MAX: usize = 4000;

/// A subscription that consumes a queue.
#[derive(Debug, Clone)]
pub(super) struct QueueSubscription {
    filter: Bytes,
    /// None while the queue could not be consumed from: it is tried again.
    pub consumer: Option<ConsumerId>,
    /// 0 or 1.
    pub qos: u8,
    pub id: Option<u32>,
    pub retain_as_published: bool,
}

impl QueueSubscription {
    /// Whether an error means that the subscription can never be resumed: its queue was deleted. The queue of a group
    /// is declared again.
    fn is_over(&self, error: &Error) -> bool {
        let named = self.filter.starts_with(b"$q/");
        error.kind() == ErrorKind::Invalid || named && error.kind() == ErrorKind::NotFound
    }
}

/// The subscriptions of a session.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    filters: FxHashSet<Key>,
    queues: Vec<QueueSubscription>,
}

/// What a filter asks for.
enum Asked {
    Topic,
    Share(Shared),
    Queue(Name),
    /// A `$…` prefix that nobody may subscribe to (docs/SEMANTICS.md §1).
    Reserved,
}

fn asked(filter: &Text) -> Result<Asked, Closing> {
    if let Some(shared) = shared(filter)? {
        return Ok(Asked::Share(shared));
    }
    let text = filter.as_str();
    Ok(match text.strip_prefix("$q/") {
        Some("") => Asked::Reserved,
        Some(queue) => Asked::Queue(queue.into()),
        None if text.starts_with("$reply/") || text.starts_with("$delayed/") => Asked::Reserved,
        None => Asked::Topic,
    })
}

/// The name of a group's queue (docs/SEMANTICS.md §7).
fn share_name(shared: &Shared) -> Name {
    // Both are parts of a checked string.
    let (group, filter) =
        (String::from_utf8_lossy(&shared.group), String::from_utf8_lossy(&shared.filter));
    format!("share/{group}/{filter}").into()
}

impl Subscriptions {
    /// What the session had before this connection.
    pub(super) fn resumed(bindings: Vec<(Name, Key, BindingTag)>) -> Self {
        let filters = bindings.into_iter().map(|(_, key, _)| key).collect();
        Self { filters, queues: Vec::new() }
    }

    /// A subscription from a memo of an earlier connection: it waits to be resumed.
    pub(super) fn noted(&mut self, session: &mut Session, noted: Memo) {
        match noted.value.as_ref().and_then(read_note) {
            Some(subscription) => self.queues.push(subscription),
            None => {
                tracing::debug!("a stored subscription is dropped: its memo cannot be decoded");
                session.memo(Memo { key: noted.key, value: None });
            }
        }
    }

    /// Resumes the subscriptions that wait. The memo of one that can never be resumed is deleted; others stay, because
    /// a full disk, for instance, passes.
    pub(super) async fn take_up(
        &mut self,
        session: &mut Session,
        opened: &Opened,
        options: &Options,
    ) {
        let waiting: Vec<_> = self.queues.extract_if(.., |s| s.consumer.is_none()).collect();
        for subscription in waiting {
            match consume(session, opened, options, subscription.clone()).await {
                Ok(taken_up) => self.queues.push(taken_up),
                Err(error) => {
                    tracing::debug!(%error, "a subscription to a queue could not be resumed");
                    match subscription.is_over(&error) {
                        true => session.memo(forgotten(&subscription.filter)),
                        false => self.queues.push(subscription),
                    }
                }
            }
        }
    }

    /// True while a subscription waits to be resumed.
    pub(super) fn is_waiting(&self) -> bool {
        self.queues.iter().any(|subscription| subscription.consumer.is_none())
    }

    /// The subscription that a consumer belongs to.
    pub(super) fn of(&self, consumer: ConsumerId) -> Option<&QueueSubscription> {
        self.queues.iter().find(|subscription| subscription.consumer == Some(consumer))
    }

    /// Consumers of queues.
    pub(super) fn consumers(&self) -> impl Iterator<Item = ConsumerId> {
        self.queues.iter().filter_map(|subscription| subscription.consumer)
    }

    /// The broker ended a consumer.
    pub(super) fn detached(&mut self, consumer: ConsumerId) {
        self.queues.retain(|subscription| subscription.consumer != Some(consumer));
    }

    fn position(&self, filter: &Text) -> Option<usize> {
        self.queues.iter().position(|subscription| subscription.filter == *filter.bytes())
    }

    fn replace(&mut self, subscription: QueueSubscription) {
        match self.queues.iter_mut().find(|old| old.filter == subscription.filter) {
            Some(old) => *old = subscription,
            None => self.queues.push(subscription),
        }
    }

    fn len(&self) -> usize {
        self.filters.len() + self.queues.len()
    }
}

impl Connection<'_> {
    pub(super) async fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), Closing> {
        let Subscribe { packet_id, id, filters } = subscribe;
        let mut codes = Vec::with_capacity(filters.len());
        let mut why: Option<Arc<str>> = None;
        for subscription in filters {
            let granted = match asked(&subscription.filter)? {
                Asked::Topic => self.subscribe_topic(&subscription, id).await,
                Asked::Share(_) | Asked::Queue(_) => self.subscribe_queue(&subscription, id).await,
                Asked::Reserved => Err(Error::new(ErrorKind::Invalid, "a reserved topic filter")),
            };
            codes.push(match granted {
                Ok(qos) => Reason(qos),
                Err(error) => {
                    why = Some(Arc::from(error.detail()));
                    mapping::suback_reason(&error)
                }
            });
        }
        self.client.to(&mut self.line.output).suback(packet_id, &codes, why.as_deref());
        Ok(())
    }

    fn check_new(&self, filter: &Text, known: bool) -> Result<(), Error> {
        if !publish::within_limits(filter.bytes(), self.session.broker().settings()) {
            return Err(Error::new(ErrorKind::Invalid, "the topic filter is too long"));
        }
        match known || self.subscriptions.len() < self.options.subscriptions_max {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Full, "too many subscriptions")),
        }
    }

    async fn subscribe_topic(
        &mut self,
        asked: &Subscription,
        id: Option<u32>,
    ) -> Result<u8, Error> {
        // The key outlives the read buffer.
        let key = Key::new(Bytes::copy_from_slice(asked.filter.bytes()));
        self.check_new(&asked.filter, self.subscriptions.filters.contains(&key))?;
        let exchange = self.session.broker().settings().topic_exchange.clone();
        let mut bind = Bind::new(exchange, key.clone(), BindTarget::Own);
        bind.tag = BindingTag {
            level: asked.qos,
            flags: if asked.retain_as_published { RETAIN_AS_PUBLISHED } else { 0 },
            id: id.unwrap_or(0),
        };
        bind.skip_own = asked.no_local;
        bind.replay = match asked.handling {
            Handling::Send => Replay::Always,
            Handling::SendIfNew => Replay::IfNew,
            Handling::DoNotSend => Replay::Never,
        };
        self.line.while_waiting(self.session.bind(bind)).await?;
        self.subscriptions.filters.insert(key);
        Ok(asked.qos)
    }

    /// `$share/g/f` and `$q/<queue>`: QoS 2 is granted as QoS 1.
    async fn subscribe_queue(
        &mut self,
        asked: &Subscription,
        id: Option<u32>,
    ) -> Result<u8, Error> {
        let old = self.subscriptions.position(&asked.filter);
        self.check_new(&asked.filter, old.is_some())?;
        if self.opened.persistent && asked.filter.bytes().len() > NOTED_FILTER_MAX {
            return Err(Error::new(ErrorKind::Invalid, "the topic filter is too long"));
        }
        let subscription = QueueSubscription {
            filter: Bytes::copy_from_slice(asked.filter.bytes()),
            consumer: None,
            qos: asked.qos.min(1),
            id,
            retain_as_published: asked.retain_as_published,
        };
        if let Some(old) = old.and_then(|at| self.subscriptions.queues.get_mut(at))
            && old.qos == subscription.qos
            && old.consumer.is_some()
        {
            // The same consumer with other options [MQTT-3.8.4-3].
            *old = QueueSubscription { consumer: old.consumer, ..subscription };
        } else {
            if let Some(at) = old {
                self.end_consumer(at).await;
            }
            let begun = consume(&mut self.session, &self.opened, self.options, subscription);
            let begun = self.line.while_waiting(begun).await;
            if begun.is_err() {
                // The subscription that was there before is resumed.
                self.retry_later();
            }
            self.subscriptions.replace(begun?);
        }
        if self.opened.persistent
            && let Some(at) = self.subscriptions.position(&asked.filter)
            && let Some(subscription) = self.subscriptions.queues.get(at)
        {
            self.session.memo(note(subscription));
            self.line.while_waiting(self.session.sync()).await?;
        }
        Ok(asked.qos.min(1))
    }

    pub(super) async fn unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Result<(), Closing> {
        let Unsubscribe { packet_id, filters } = unsubscribe;
        let mut codes = Vec::with_capacity(filters.len());
        let mut why: Option<Arc<str>> = None;
        for filter in &filters {
            let existed = match asked(filter)? {
                Asked::Topic => self.unsubscribe_topic(filter).await,
                Asked::Share(_) | Asked::Queue(_) => self.unsubscribe_queue(filter).await,
                Asked::Reserved => Ok(false),
            };
            codes.push(match existed {
                Ok(true) => Reason::SUCCESS,
                Ok(false) => Reason::NO_SUBSCRIPTION_EXISTED,
                Err(error) => {
                    why = Some(Arc::from(error.detail()));
                    mapping::suback_reason(&error)
                }
            });
        }
        self.client.to(&mut self.line.output).unsuback(packet_id, &codes, why.as_deref());
        Ok(())
    }

    async fn unsubscribe_topic(&mut self, filter: &Text) -> Result<bool, Error> {
        let key = Key::new(filter.bytes().clone());
        let exchange = self.session.broker().settings().topic_exchange.clone();
        let bind = Bind::new(exchange, key.clone(), BindTarget::Own);
        let existed = self.line.while_waiting(self.session.unbind(bind)).await?;
        self.subscriptions.filters.remove(&key);
        Ok(existed)
    }

    async fn unsubscribe_queue(&mut self, filter: &Text) -> Result<bool, Error> {
        let Some(at) = self.subscriptions.position(filter) else { return Ok(false) };
        self.end_consumer(at).await;
        self.subscriptions.queues.swap_remove(at);
        if self.opened.persistent {
            self.session.memo(forgotten(filter.bytes()));
            self.line.while_waiting(self.session.sync()).await?;
        }
        Ok(true)
    }

    /// What was sent and not acknowledged goes back to the queue.
    async fn end_consumer(&mut self, at: usize) {
        let subscription = self.subscriptions.queues.get_mut(at);
        let Some(consumer) = subscription.and_then(|s| s.consumer.take()) else { return };
        self.outbound.forget(consumer);
        self.fit_pool();
        self.line.while_waiting(self.session.detach(consumer, OnDetach::Return)).await;
    }

    /// Tries again to resume the subscriptions that wait.
    pub(super) async fn take_up(&mut self) {
        let taken = self.subscriptions.take_up(&mut self.session, &self.opened, self.options);
        self.line.while_waiting(taken).await;
        self.session.flush();
        self.retry_later();
    }

    fn retry_later(&mut self) {
        if self.subscriptions.is_waiting() {
            self.line.retry_later();
        }
    }
}

/// Declares what the filter needs and attaches a consumer.
async fn consume(
    session: &mut Session,
    opened: &Opened,
    options: &Options,
    mut subscription: QueueSubscription,
) -> Result<QueueSubscription, Error> {
    let invalid = || Error::new(ErrorKind::Invalid, "not a filter of a queue");
    let filter = Text::new(subscription.filter.clone()).map_err(|_| invalid())?;
    let queue = match asked(&filter) {
        Ok(Asked::Queue(queue)) => queue,
        Ok(Asked::Share(shared)) => declare_share(session, options, &shared).await?,
        Ok(Asked::Topic | Asked::Reserved) | Err(_) => return Err(invalid()),
    };
    let settles = subscription.qos > 0;
    let consumer = Consumer {
        source: ConsumerSource::Queue(queue),
        settles,
        exclusive: false,
        priority: 0,
        // QoS 0 does not draw on the client's Receive Maximum; the socket's window bounds it.
        credit: match settles {
            true => Credit::UNLIMITED,
            false => Credit {
                messages: u32::from(options.in_flight_max),
                bytes: options.in_flight_bytes_max,
            },
        },
        pools: settles.then_some(opened.pool).into_iter().collect(),
        skip_own: false,
        tag: opened.incoming.origin.client.clone(),
    };
    subscription.consumer = Some(session.attach(opened.lane, consumer).await?);
    Ok(subscription)
}

/// The queue of a group, bound to its filter. It outlives its consumers: a member that is away may come back for what
/// waits. It is deleted when it had no consumer for a long time.
async fn declare_share(
    session: &mut Session,
    options: &Options,
    shared: &Shared,
) -> Result<Name, Error> {
    let name = share_name(shared);
    let spec = QueueSpec {
        name: name.clone(),
        durable: true,
        expires_ms: Some(options.share_expires_ms),
        limits: options.queue_limits,
        ..QueueSpec::default()
    };
    match session.declare_queue(spec).await {
        Ok(_) => (),
        // The queue exists with other settings, other limits for instance: the operator's choice holds.
        Err(error) if error.kind() == ErrorKind::Mismatch => keeps(&session.queue_spec(&name)?)?,
        Err(error) => return Err(error),
    }
    let exchange = session.broker().settings().topic_exchange.clone();
    let key = Key::new(Bytes::copy_from_slice(&shared.filter));
    session.bind(Bind::new(exchange, key, BindTarget::Queue(name.clone()))).await?;
    Ok(name)
}

/// Refuses a queue that does not keep a group's messages while no member is there.
fn keeps(spec: &QueueSpec) -> Result<(), Error> {
    match spec.durable && spec.life == Life::Permanent && !spec.auto_delete {
        true => Ok(()),
        false => {
            let why = "the queue of that name does not keep a group's messages";
            Err(Error::new(ErrorKind::Refused, why))
        }
    }
}

fn digest(filter: &Bytes) -> [u8; 32] {
    Sha256::digest(filter).into()
}

/// A subscription as a memo: `qos | retain as published | identifier | filter`.
fn note(subscription: &QueueSubscription) -> Memo {
    let mut value = BytesMut::with_capacity(6 + subscription.filter.len());
    value.put_u8(subscription.qos);
    value.put_u8(u8::from(subscription.retain_as_published));
    value.put_u32(subscription.id.unwrap_or(0));
    value.put_slice(&subscription.filter);
    let key = memo::subscription(&digest(&subscription.filter));
    Memo { key, value: Some(value.freeze()) }
}

fn forgotten(filter: &Bytes) -> Memo {
    Memo { key: memo::subscription(&digest(filter)), value: None }
}

fn read_note(value: &Bytes) -> Option<QueueSubscription> {
    let (head, _) = value.split_first_chunk::<6>()?;
    let [qos, retain_as_published, id @ ..] = *head;
    let id = u32::from_be_bytes(id);
    Some(QueueSubscription {
        filter: value.slice(6..),
        consumer: None,
        qos: qos.min(1),
        id: (id != 0).then_some(id),
        retain_as_published: retain_as_published != 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_come_back() {
        let subscription = QueueSubscription {
            filter: Bytes::from_static(b"$share/g/a/+"),
            consumer: None,
            qos: 1,
            id: Some(7),
            retain_as_published: true,
        };
        let noted = note(&subscription);
        assert!(noted.key.len() <= 64);
        let back = read_note(noted.value.as_ref().expect("a value")).expect("readable");
        assert_eq!((back.qos, back.id, back.retain_as_published), (1, Some(7), true));
        assert_eq!(back.filter, subscription.filter);
        assert!(read_note(&Bytes::from_static(b"short")).is_none());
    }

    #[test]
    fn what_filters_ask_for() {
        let asked = |text: &'static str| {
            asked(&Text::new(Bytes::from_static(text.as_bytes())).expect("text")).expect("valid")
        };
        assert!(matches!(asked("$q/orders/eu"), Asked::Queue(name) if &*name == "orders/eu"));
        assert!(
            matches!(asked("$share/g/a/#"), Asked::Share(s) if &*share_name(&s) == "share/g/a/#")
        );
        assert!(matches!(asked("$reply/q/x"), Asked::Reserved));
        assert!(matches!(asked("$delayed/5/x"), Asked::Reserved));
        assert!(matches!(asked("$SYS/#"), Asked::Topic));
        assert!(matches!(asked("#"), Asked::Topic));
    }
}
