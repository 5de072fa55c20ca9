//! SUBSCRIBE and UNSUBSCRIBE. What is subscribed to is always a queue: a named one, or one that is bound to the topic
//! or the exchange (docs/SEMANTICS.md §7).

use super::Connection;
use super::durable::in_use;
use super::publish::{temporary_topic, within};
use super::receive::Answer;
use super::subscriptions::{Subscribed, Subscriptions};
use crate::codec::{Headers, Version};
use crate::mapping::destination::{self, Destination, Usage};
use crate::mapping::titles::{
    DUPLICATED_ID, INVALID_DESTINATION, MISSING_HEADER, NO_SUBSCRIPTION, titled, titled_as,
};
use crate::mapping::{self, AckMode, Plan, SubscribeRequest, forgotten_queue, required};
use crate::options::Speech;
use crossdock_core::{
    Bind, BindTarget, Consumer, ConsumerId, ConsumerSource, Error, ErrorKind, Key, Life, Name,
    OnDetach, QueueIdentity, QueueSpec,
};
use smallvec::SmallVec;

/// The queue that a subscription reads.
struct Feed {
    queue: Name,
    /// It was declared for this subscription, and is deleted if that fails.
    made: bool,
    /// UNSUBSCRIBE with `durable:true` deletes it.
    kept: bool,
    /// No other consumer has reason to read it.
    alone: bool,
    /// It is a durable subscription of JMS: one connection at a time.
    is_sole: bool,
}

impl Feed {
    fn of(queue: Name) -> Self {
        Self { queue, made: false, kept: false, alone: false, is_sole: false }
    }
}

impl Connection<'_> {
    pub(super) async fn subscribe(&mut self, headers: &Headers) -> Result<Answer, Error> {
        let request = SubscribeRequest::read(headers, self.options)?;
        let text = &request.destination;
        let destination =
            destination::parse(text, Usage::Subscribe, request.cast, &self.client.door)?;
        if let Destination::TempQueue(name) = &destination {
            self.temporary_queue(name).await?;
            self.watched_by_peer(name).await;
        }
        let id = self.new_id(&request)?;
        let is_virtual = match &destination {
            Destination::Queue(name) => destination::virtual_topic(name).is_some(),
            _ => false,
        };
        let feed = self.feed(destination, &request, headers).await?;
        let consumer = Consumer {
            source: ConsumerSource::Queue(feed.queue.clone()),
            settles: request.mode != AckMode::Auto,
            exclusive: request.exclusive || feed.is_sole,
            priority: request.priority,
            credit: request.credit,
            pools: SmallVec::new(),
            only_unexpired: false,
            has_time: true,
            tag: Name::from(&*id),
        };
        let attached = match request.in_turn && !request.exclusive && !feed.is_sole {
            true => {
                let attached = self.session.attach_in_turn(self.lane, consumer);
                self.line.while_waiting(attached).await
            }
            false => self.line.while_waiting(self.session.attach(self.lane, consumer)).await,
        };
        let consumer = match attached {
            Ok(consumer) => consumer,
            Err(error) if feed.is_sole && error.kind() == ErrorKind::InUse => {
                return Err(in_use(&feed.queue));
            }
            Err(error) => return Err(self.unmade(&feed, error).await),
        };
        let kept = feed.kept.then_some(feed.queue);
        let named = request.id.is_some();
        let drops_own = request.no_local && feed.alone;
        self.subscribed(consumer, (&id, named, request.mode), kept, drops_own);
        if request.is_jms {
            self.subscriptions.show_as_jms(consumer);
        }
        if is_virtual {
            self.subscriptions.show(consumer, &request.destination);
        }
        if self.client.version == Version::V10 && named {
            self.subscriptions.note_destination(consumer, &request.destination);
        }
        self.count_kept();
        Ok(Answer::Done)
    }

    /// Notes a subscription that has its consumer: its id, whether the peer gave it, and how it is settled.
    pub(super) fn subscribed(
        &mut self,
        consumer: ConsumerId,
        (id, named, mode): (&str, bool, AckMode),
        kept: Option<Name>,
        drops_own: bool,
    ) {
        // A consumer that is gone already gets nothing that would need a message-id.
        let gone = QueueIdentity { queue: 0, start: 0, is_durable: false };
        let queue = self.session.queue_identity(consumer).unwrap_or(gone);
        let is_jms = self.client.door.speech == Speech::ActiveMq;
        let subscribed = Subscribed { id, named, mode, kept, drops_own, queue, is_jms };
        self.subscriptions.add(consumer, subscribed);
    }

    /// STOMP 1.2 §SUBSCRIBE id Header: required, and unique in the connection. In 1.0 the destination stands for it.
    fn new_id(&self, request: &SubscribeRequest<'_>) -> Result<String, Error> {
        let id = match (&request.id, self.client.version) {
            (Some(id), _) => id.to_string(),
            (None, Version::V10) => request.destination.to_string(),
            (None, _) => return Err(titled(MISSING_HEADER, "the header 'id' is missing")),
        };
        if self.subscriptions.consumer(&id).is_some() {
            let detail = format!("the subscription id '{id}' is in use");
            return Err(titled(DUPLICATED_ID, detail));
        }
        if self.subscriptions.len() >= self.options.subscriptions_max {
            let max = self.options.subscriptions_max;
            let detail = format!("there may be {max} subscriptions of one connection");
            return Err(Error::new(ErrorKind::LimitReached, detail));
        }
        self.session.may_keep(Subscriptions::cost(&id))?;
        Ok(id)
    }

    async fn feed(
        &mut self,
        destination: Destination,
        request: &SubscribeRequest<'_>,
        headers: &Headers,
    ) -> Result<Feed, Error> {
        match destination {
            Destination::Queue(name) => self.queue_feed(&name, request, headers).await,
            Destination::Existing(name) | Destination::Reply(name) => Ok(Feed::of(name.into())),
            Destination::TempQueue(name) => Ok(Feed::of(self.temporary_queue(&name).await?)),
            Destination::Topic(key) => {
                let exchange = self.client.topic_exchange.clone();
                self.bound(exchange, key, request, headers).await
            }
            Destination::TempTopic(name) => {
                let exchange = self.client.topic_exchange.clone();
                let key = temporary_topic(self.session.id(), &name);
                self.bound(exchange, key, request, headers).await
            }
            Destination::Exchange { exchange, key } => {
                self.session.exchange(&exchange)?;
                self.bound(exchange.into(), key, request, headers).await
            }
            Destination::Delayed { .. } => {
                Err(titled(INVALID_DESTINATION, "a delay cannot be subscribed to"))
            }
        }
    }

    async fn queue_feed(
        &mut self,
        name: &str,
        request: &SubscribeRequest<'_>,
        headers: &Headers,
    ) -> Result<Feed, Error> {
        let spec = QueueSpec {
            name: name.into(),
            durable: request.durable != Some(false),
            auto_delete: request.auto_delete == Some(true),
            ..QueueSpec::default()
        };
        let queue = self.queue(spec, mapping::arguments(headers)?).await?;
        if let Some(topic) = destination::virtual_topic(name) {
            let key = destination::topic_key(topic, Usage::Subscribe)?;
            let exchange = self.client.topic_exchange.clone();
            let bind = Bind::new(exchange, key, BindTarget::Queue(queue.clone()));
            self.line.while_waiting(self.session.bind(bind)).await?;
        }
        Ok(Feed::of(queue))
    }

    /// A queue bound to the exchange: this subscription's own, or one that outlives it.
    async fn bound(
        &mut self,
        exchange: Name,
        key: Key,
        request: &SubscribeRequest<'_>,
        headers: &Headers,
    ) -> Result<Feed, Error> {
        within(&key, self.session.broker().live())?;
        let arguments = mapping::arguments(headers)?;
        let plan = request.plan(headers, &self.session.origin().client)?;
        let is_sole = matches!(plan, Plan::Durable(_));
        let (spec, kept) = match plan {
            Plan::Transient => {
                let (life, auto_delete) = (Life::Exclusive, true);
                let spec = QueueSpec { life, auto_delete, ..QueueSpec::default() };
                (spec.with_arguments(arguments)?, false)
            }
            Plan::Durable(name) => {
                let client = &self.session.origin().client;
                (mapping::durable_subscription(name, client, arguments)?, true)
            }
            Plan::Named { name, durable: true, auto_delete: false } => {
                let client = &self.session.origin().client;
                (mapping::durable_subscription(name, client, arguments)?, true)
            }
            Plan::Named { name, durable, auto_delete } => {
                let spec = QueueSpec { name, durable, auto_delete, ..QueueSpec::default() };
                (spec.with_arguments(arguments)?, true)
            }
        };
        let declared = self.line.while_waiting(self.session.declare_queue(spec)).await?;
        let alone = headers.find("x-queue-name").is_none();
        let (queue, made) = (declared.status.name, declared.created);
        let feed = Feed { queue, made, kept, alone, is_sole };
        let mut bind = Bind::new(exchange, key, BindTarget::Queue(feed.queue.clone()));
        if is_sole && !made {
            Box::pin(self.only_bound_by(&bind)).await?;
        }
        bind.replay = mapping::replay(headers);
        match self.line.while_waiting(self.session.bind(bind)).await {
            Ok(_) => Ok(feed),
            Err(error) => Err(self.unmade(&feed, error).await),
        }
    }

    /// Deletes the queue of a subscription that failed. Returns the failure, for the peer.
    async fn unmade(&mut self, feed: &Feed, error: Error) -> Error {
        if feed.made
            && let Err(left) =
                self.line.while_waiting(self.session.delete_queue(&feed.queue, true, false)).await
        {
            tracing::debug!(queue = %feed.queue, error = %left, "the queue of a failed subscription stays");
        }
        error
    }

    pub(super) async fn unsubscribe(&mut self, headers: &Headers) -> Result<Answer, Error> {
        let (id, consumer) = match (headers.get("id"), self.client.version) {
            // STOMP 1.0 §UNSUBSCRIBE: the destination, or the id, if one was given with SUBSCRIBE.
            (None, Version::V10) => {
                let destination = required(headers, "destination")?;
                let consumer = self.subscriptions.at(&destination);
                (destination, consumer)
            }
            (Some(id), _) => {
                let consumer = self.subscriptions.consumer(&id);
                (id, consumer)
            }
            // STOMP 1.2 §UNSUBSCRIBE: the id is required.
            (None, _) => (required(headers, "id")?, None),
        };
        let ended = consumer.and_then(|consumer| self.subscriptions.end(consumer));
        self.count_kept();
        let kept = ended.as_ref().and_then(|(kept, _)| kept.as_ref());
        let forgotten = forgotten_queue(headers, &self.session.origin().client, kept)?;
        if ended.is_none() && forgotten.is_none() {
            let detail = format!("there is no subscription '{id}'");
            return Err(titled_as(NO_SUBSCRIPTION, &Error::new(ErrorKind::NotFound, detail)));
        }
        if let (Some(consumer), Some((_, holds))) = (consumer, ended) {
            // What the peer has may still be acknowledged; what was not written goes back.
            let unsettled = if holds { OnDetach::Stay } else { OnDetach::Return };
            self.line.while_waiting(self.session.detach(consumer, unsettled)).await;
        }
        if let Some(queue) = forgotten {
            match self.line.while_waiting(self.session.delete_queue(&queue, false, false)).await {
                // An auto-delete queue went with its consumer.
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(Answer::Done)
    }
}
