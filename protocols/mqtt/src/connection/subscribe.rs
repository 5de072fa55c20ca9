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
    Bind, BindTarget, BindingTag, ByConsumer, Consumer, ConsumerId, ConsumerSource, Credit, Error,
    ErrorKind, Key, Life, Memo, Name, OnDetach, QueueSpec, Replay, Session,
};
use rustc_hash::FxHashSet;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A filter that a memo can hold beside its options (a memo's value has at most 4 KiB).
const NOTED_FILTER_MAX: usize = 4000;

/// After so many subscriptions that were resumed, others have their turn.
const TAKEN_UP_AT_ONCE: usize = 64;

/// A subscription that consumes a queue.
#[derive(Debug, Clone)]
pub(super) struct QueueSubscription {
    filter: Bytes,
    /// None while the queue could not be consumed from: it is tried again.
    pub consumer: Option<ConsumerId>,
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

/// The subscriptions of a session. Those to queues are found by their consumer, with every delivery, and by their
/// filter, which the client chooses: hence ordered maps, whose cost no choice of names changes.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    filters: FxHashSet<Key>,
    /// Those that consume a queue.
    active: ByConsumer<QueueSubscription>,
    /// The filters of `active`.
    by_filter: BTreeMap<Bytes, ConsumerId>,
    /// Those whose queue cannot be consumed from at the moment, by filter.
    waiting: BTreeMap<Bytes, QueueSubscription>,
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
        Self { filters, ..Self::default() }
    }

    /// A subscription from a memo of an earlier connection: it waits to be resumed.
    pub(super) fn noted(&mut self, session: &mut Session, noted: Memo) {
        match noted.value.as_ref().and_then(read_note) {
            Some(subscription) => {
                self.waiting.insert(subscription.filter.clone(), subscription);
            }
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
        for (nth, (filter, subscription)) in
            std::mem::take(&mut self.waiting).into_iter().enumerate()
        {
            if nth % TAKEN_UP_AT_ONCE == TAKEN_UP_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let resumed = (subscription.clone(), Missing::IsOver);
            match consume(session, opened, options, resumed).await {
                Ok(taken_up) => self.put(taken_up),
                Err(error) => {
                    tracing::debug!(%error, "a subscription to a queue could not be resumed");
                    match subscription.is_over(&error) {
                        true => session.memo(forgotten(&filter)),
                        false => drop(self.waiting.insert(filter, subscription)),
                    }
                }
            }
        }
    }

    /// True while a subscription waits to be resumed.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The subscription that a consumer belongs to.
    pub(super) fn of(&self, consumer: ConsumerId) -> Option<&QueueSubscription> {
        self.active.get(&consumer)
    }

    /// Consumers of queues.
    pub(super) fn consumers(&self) -> impl Iterator<Item = ConsumerId> {
        self.active.keys().copied()
    }

    /// The broker ended a consumer. Returns its subscription.
    pub(super) fn detached(&mut self, consumer: ConsumerId) -> Option<QueueSubscription> {
        let subscription = self.active.remove(&consumer)?;
        self.by_filter.remove(&subscription.filter);
        Some(subscription)
    }

    fn get(&self, filter: &Bytes) -> Option<&QueueSubscription> {
        let active = self.by_filter.get(filter).and_then(|consumer| self.active.get(consumer));
        active.or_else(|| self.waiting.get(filter))
    }

    /// In the place of one with that filter.
    fn put(&mut self, subscription: QueueSubscription) {
        self.take(&subscription.filter);
        let filter = subscription.filter.clone();
        match subscription.consumer {
            Some(consumer) => {
                self.by_filter.insert(filter, consumer);
                self.active.insert(consumer, subscription);
            }
            None => {
                self.waiting.insert(filter, subscription);
            }
        }
    }

    fn take(&mut self, filter: &Bytes) -> Option<QueueSubscription> {
        let active = self.by_filter.remove(filter);
        let active = active.and_then(|consumer| self.active.remove(&consumer));
        let waiting = self.waiting.remove(filter);
        active.or(waiting)
    }

    fn len(&self) -> usize {
        self.filters.len() + self.active.len() + self.waiting.len()
    }
}

impl Connection {
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
        publish::within_limits(filter.bytes(), self.session.broker().live())
            .map_err(|why| Error::new(ErrorKind::Invalid, why.detail().to_owned()))?;
        match known || self.subscriptions.len() < self.options.subscriptions_max {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::LimitReached, "too many subscriptions")),
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

    /// `$share/g/f` and `$q/<queue>`.
    async fn subscribe_queue(
        &mut self,
        asked: &Subscription,
        id: Option<u32>,
    ) -> Result<u8, Error> {
        let old = self.subscriptions.get(asked.filter.bytes());
        let old = old.map(|old| (old.consumer, old.qos));
        self.check_new(&asked.filter, old.is_some())?;
        if self.opened.persistent && asked.filter.bytes().len() > NOTED_FILTER_MAX {
            return Err(Error::new(ErrorKind::Invalid, "the topic filter is too long"));
        }
        let subscription = QueueSubscription {
            filter: Bytes::copy_from_slice(asked.filter.bytes()),
            consumer: None,
            qos: asked.qos,
            id,
            retain_as_published: asked.retain_as_published,
        };
        match old {
            // The same consumer with other options [MQTT-3.8.4-3].
            Some((Some(consumer), qos)) if qos == subscription.qos => {
                let consumer = Some(consumer);
                self.subscriptions.put(QueueSubscription { consumer, ..subscription });
            }
            old => {
                let (asked_filter, was_there) = (asked.filter.clone(), old.is_some());
                if was_there {
                    self.end_consumer(asked.filter.bytes()).await;
                }
                let asked = (subscription, Missing::IsDeclared);
                let begun = consume(&mut self.session, &self.opened, &self.options, asked);
                let begun = self.line.while_waiting(begun).await;
                if begun.is_err() {
                    self.not_begun(&asked_filter, was_there).await;
                }
                self.subscriptions.put(begun?);
            }
        }
        if self.opened.persistent
            && let Some(subscription) = self.subscriptions.get(asked.filter.bytes())
        {
            self.session.memo(note(subscription));
            self.line.while_waiting(self.session.sync()).await?;
        }
        Ok(asked.qos)
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
                    mapping::unsuback_reason(&error)
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
        if self.subscriptions.get(filter.bytes()).is_none() {
            return Ok(false);
        }
        self.end_consumer(filter.bytes()).await;
        self.subscriptions.take(filter.bytes());
        self.leave_group(filter).await?;
        if self.opened.persistent {
            self.session.memo(forgotten(filter.bytes()));
            self.line.while_waiting(self.session.sync()).await?;
        }
        Ok(true)
    }

    /// A subscription was refused. One that was there before is resumed; otherwise the session is in no group.
    async fn not_begun(&mut self, filter: &Text, was_there: bool) {
        match was_there {
            true => self.retry_later(),
            false => {
                if let Err(error) = self.leave_group(filter).await {
                    tracing::debug!(%error, "the end of a membership is not stored");
                }
            }
        }
    }

    /// The queue of `$share/g/f` ends with the last session that is subscribed (MQTT 5 §4.8.2).
    async fn leave_group(&mut self, filter: &Text) -> Result<(), Error> {
        match shared(filter) {
            Ok(Some(shared)) => {
                let queue = share_name(&shared);
                self.line.while_waiting(self.session.leave_group(&queue)).await
            }
            _ => Ok(()),
        }
    }

    /// What was sent and not acknowledged goes back to the queue.
    async fn end_consumer(&mut self, filter: &Bytes) {
        let Some(mut subscription) = self.subscriptions.take(filter) else { return };
        let consumer = subscription.consumer.take();
        self.subscriptions.put(subscription);
        let Some(consumer) = consumer else { return };
        self.outbound.forget(consumer);
        self.fit_pool();
        self.line.while_waiting(self.session.detach(consumer, OnDetach::Return)).await;
    }

    /// Tries again to resume the subscriptions that wait.
    pub(super) async fn take_up(&mut self) {
        let taken = self.subscriptions.take_up(&mut self.session, &self.opened, &self.options);
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

/// What happens when the queue of `$q/<queue>` does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    /// The client asks for it now: it is declared, where the client may do that.
    IsDeclared,
    /// It was deleted while the client was away: the subscription is over.
    IsOver,
}

/// Declares what the filter needs and attaches a consumer.
async fn consume(
    session: &mut Session,
    opened: &Opened,
    options: &Options,
    (mut subscription, missing): (QueueSubscription, Missing),
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
        source: ConsumerSource::Queue(queue.clone()),
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
        // MQTT 5 §3.3.2.3.3.
        only_unexpired: true,
        has_time: false,
        tag: opened.incoming.origin.client.clone(),
    };
    let attached = match session.attach(opened.lane, consumer.clone()).await {
        Err(error) if error.kind() == ErrorKind::NotFound && missing == Missing::IsDeclared => {
            session.declare_queue(QueueSpec::durable(queue)).await?;
            session.attach(opened.lane, consumer).await?
        }
        attached => attached?,
    };
    subscription.consumer = Some(attached);
    Ok(subscription)
}

/// How often the queue of a group is declared that ends at this moment with its last member.
const DECLARE_TRIES: usize = 100;

/// The queue of a group, bound to its filter. It is kept while one session is subscribed, connected or not (MQTT 5
/// §4.8.2), or, where that is configured, for some time without a consumer.
async fn declare_share(
    session: &mut Session,
    options: &Options,
    shared: &Shared,
) -> Result<Name, Error> {
    let name = share_name(shared);
    let group: Name = format!("${name}").into();
    let spec = match options.share_expires_ms {
        None => QueueSpec::group(name.clone(), group),
        expires_ms => {
            QueueSpec { expires_ms, kept_for: Some(group), ..QueueSpec::durable(name.clone()) }
        }
    };
    for _ in 0..DECLARE_TRIES {
        match session.declare_queue(spec.clone()).await {
            Ok(_) => (),
            // The queue exists with other settings, other limits for instance: the operator's choice holds.
            Err(error) if error.kind() == ErrorKind::Mismatch => {
                keeps(&session.queue_spec(&name)?)?;
            }
            Err(error) => return Err(error),
        }
        match session.join_group(&name).await {
            Err(error) if error.kind() == ErrorKind::NotFound => tokio::task::yield_now().await,
            joined => {
                joined?;
                break;
            }
        }
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

impl QueueSubscription {
    /// Its filter, where it is one of a group's members.
    pub(super) fn shared_filter(&self) -> Option<String> {
        let is_shared = self.filter.starts_with(b"$share/");
        is_shared.then(|| String::from_utf8_lossy(&self.filter).into_owned())
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
        qos: qos.min(2),
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

    fn to_queue(n: u32, consumer: Option<u32>) -> QueueSubscription {
        let filter = format!("$q/{n}").into();
        let consumer = consumer.map(ConsumerId);
        QueueSubscription { filter, consumer, qos: 1, id: None, retain_as_published: false }
    }

    #[test]
    fn subscriptions_to_queues_are_found_by_consumer_and_by_filter() {
        let mut all = Subscriptions::default();
        all.put(to_queue(1, Some(5)));
        all.put(to_queue(2, None));
        assert_eq!((all.len(), all.is_waiting()), (2, true));
        assert_eq!(all.of(ConsumerId(5)).map(|s| &s.filter[..]), Some(&b"$q/1"[..]));
        // Another consumer in the place of the first, and one for the filter that waits.
        all.put(to_queue(1, Some(6)));
        all.put(to_queue(2, Some(7)));
        assert!(all.of(ConsumerId(5)).is_none() && !all.is_waiting());
        all.detached(ConsumerId(6));
        assert!(all.get(&Bytes::from_static(b"$q/1")).is_none());
        assert_eq!(
            all.take(&Bytes::from_static(b"$q/2")).and_then(|s| s.consumer),
            Some(ConsumerId(7))
        );
        assert_eq!((all.len(), all.consumers().count()), (0, 0));
    }

    #[test]
    fn a_delivery_finds_its_subscription_at_once() {
        let mut all = Subscriptions::default();
        (0..20_000).for_each(|n| all.put(to_queue(n, Some(n))));
        let started = std::time::Instant::now();
        (0..20_000).for_each(|n| assert!(all.of(ConsumerId(n)).is_some()));
        (0..20_000).for_each(|n| all.put(to_queue(n, Some(n + 20_000))));
        assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
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
