//! What the tests share: a broker on a memory store, and short forms of the verbs.

use bytes::Bytes;
use crossdock_core::memory::MemoryStore;
use crossdock_core::*;
use std::sync::Arc;
use std::time::Duration;

pub const TOPICS: &str = "amq.topic";

pub struct Stage {
    pub store: MemoryStore,
    pub broker: Broker,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(MemoryStore::default(), Settings::default(), Vec::new()).await
    }

    pub async fn with(
        store: MemoryStore,
        settings: Settings,
        routes: Vec<transform::ContentRoute>,
    ) -> Self {
        let stage = Self::open_with(store, settings, Vec::new()).await;
        stage.broker.start_routes(routes).await.expect("the routes start");
        stage
    }

    /// One with users.
    pub async fn with_users(users: Vec<Account>) -> Self {
        let stage = Self::open_with(MemoryStore::default(), Settings::default(), users).await;
        stage.broker.start_routes(Vec::new()).await.expect("no routes");
        stage
    }

    /// Kills the broker without a goodbye and starts another with these users.
    pub async fn crash_with_users(self, users: Vec<Account>) -> Self {
        Self::open_with(self.store.crashed(), Settings::default(), users).await
    }

    /// A stopped store, to change users in.
    pub async fn at_rest(store: MemoryStore) -> Broker {
        let setup = Self::setup(&store, Settings::default(), Vec::new());
        Broker::open_at_rest(setup).await.expect("opens")
    }

    async fn open_with(store: MemoryStore, settings: Settings, users: Vec<Account>) -> Self {
        let broker = Broker::open(Self::setup(&store, settings, users)).await.expect("opens");
        Self { store, broker }
    }

    fn setup(store: &MemoryStore, settings: Settings, users: Vec<Account>) -> Setup {
        Setup {
            settings,
            formats: Formats::new(Vec::new()),
            topology: vec![
                ExchangeSpec::new(TOPICS, Kind::Topic),
                ExchangeSpec::new("amq.fanout", Kind::Fanout),
                ExchangeSpec::new("amq.direct", Kind::Direct),
            ],
            store: Arc::new(store.clone()),
            authenticator: Arc::new(LoopbackGuest),
            users,
        }
    }

    /// Kills the broker without a goodbye and starts another on what was stored.
    pub async fn crash(self) -> Self {
        let store = self.store.crashed();
        Self::with(store, Settings::default(), Vec::new()).await
    }

    pub async fn client(&self) -> Client {
        self.client_in("/").await
    }

    pub async fn client_in(&self, vhost: &str) -> Client {
        let origin = Origin { user: "guest".into(), ..Origin::default() };
        self.open(SessionSpec::anonymous(vhost, origin, Identity::unlimited("guest"))).await
    }

    /// A named session with a queue of its own.
    pub async fn named(&self, name: &str, clean: bool, life: SessionLife) -> Client {
        let queue = QueueSpec {
            durable: life != SessionLife::No,
            kept_for: Some(name.into()),
            ..QueueSpec::durable(name)
        };
        let origin = Origin { client: name.into(), ..Origin::default() };
        let spec = SessionSpec {
            name: Some(name.into()),
            clean,
            life,
            queue: Some(queue),
            ..SessionSpec::anonymous("/", origin, Identity::unlimited("guest"))
        };
        self.open(spec).await
    }

    /// A connection of a user of the broker's accounts.
    pub async fn user(&self, user: &str, client: &str) -> Client {
        let origin = Origin { client: client.into(), ..Origin::default() };
        self.open(SessionSpec::anonymous("/", origin, Identity::of_account(user))).await
    }

    /// A named session of a user, under the name of its client.
    pub async fn user_named(&self, user: &str, client: &str) -> Result<Client, Error> {
        let queue = QueueSpec { durable: true, ..QueueSpec::durable(format!("own/{client}")) };
        let origin = Origin { client: client.into(), ..Origin::default() };
        let spec = SessionSpec {
            name: Some(client.into()),
            clean: false,
            life: SessionLife::Forever,
            queue: Some(queue),
            ..SessionSpec::anonymous("/", origin, Identity::of_account(user))
        };
        self.try_open(spec).await
    }

    pub async fn open(&self, spec: SessionSpec) -> Client {
        self.try_open(spec).await.expect("a session opens")
    }

    pub async fn try_open(&self, spec: SessionSpec) -> Result<Client, Error> {
        let mut session = self.broker.session(spec).await?;
        let lane = session.lane();
        Ok(Client { session, lane, position: 0, deliveries: Vec::new(), confirms: Vec::new() })
    }
}

pub struct Client {
    pub session: Session,
    pub lane: LaneId,
    position: u64,
    /// Seen while something else was waited for.
    deliveries: Vec<Delivery>,
    confirms: Vec<Confirm>,
}

pub fn topic(key: &str) -> Address {
    Address::new(TOPICS.into(), key.into())
}

impl Client {
    pub fn message(&self, address: Address, body: &str, change: impl FnOnce(&mut Meta)) -> Message {
        let now = self.session.broker().now();
        let mut meta = Meta::new(self.session.origin().clone(), now);
        change(&mut meta);
        let body = Bytes::copy_from_slice(body.as_bytes());
        Message::from_fields(address, meta, &Fields::default(), body)
    }

    /// Queues a publish; flush follows.
    pub fn put(&mut self, address: Address, body: &str, change: impl FnOnce(&mut Meta)) -> u64 {
        let message = self.message(address, body, change);
        self.session.publish(self.lane, Publish::new(message, true))
    }

    pub fn publish(&mut self, address: Address, body: &str) -> u64 {
        let number = self.put(address, body, |_| {});
        self.session.flush();
        number
    }

    pub async fn durable(&mut self, address: Address, body: &str) -> ConfirmOutcome {
        let number = self.put(address, body, |meta| {
            meta.durable = true;
            meta.level = 1;
        });
        self.session.flush();
        self.confirmed(number).await
    }

    pub async fn declare(&mut self, spec: QueueSpec) -> Declared {
        self.session.declare_queue(spec).await.expect("declared")
    }

    pub async fn bind(&mut self, source: &str, key: &str, queue: &str) {
        let bind = Bind::new(source, key.into(), BindTarget::Queue(queue.into()));
        self.session.bind(bind).await.expect("bound");
    }

    pub async fn subscribe(&mut self, pattern: &str, level: u8) {
        let mut bind = Bind::new(TOPICS, pattern.into(), BindTarget::Own);
        bind.tag.level = level;
        self.session.bind(bind).await.expect("bound");
    }

    pub async fn consume(&mut self, queue: &str, prefetch: u32, settles: bool) -> ConsumerId {
        self.try_consume(ConsumerSource::Queue(queue.into()), prefetch, settles)
            .await
            .expect("attached")
    }

    pub async fn try_consume(
        &mut self,
        source: ConsumerSource,
        prefetch: u32,
        settles: bool,
    ) -> Result<ConsumerId, Error> {
        let consumer = Consumer {
            source,
            settles,
            exclusive: false,
            priority: 0,
            credit: Credit::messages(prefetch),
            pools: Default::default(),
            only_unexpired: false,
            has_time: false,
            tag: "".into(),
        };
        self.session.attach(self.lane, consumer).await
    }

    /// One take of everything ready; written at once.
    pub async fn events(&mut self) -> Events {
        let mut events = Events::default();
        let wait = self.session.events(&mut events);
        if tokio::time::timeout(Duration::from_millis(200), wait).await.is_ok() {
            self.position += 1;
            self.session.encoded(self.position);
            self.session.flushed(self.position);
            self.session.flush();
        }
        events
    }

    async fn stash(&mut self) {
        let mut events = self.events().await;
        self.deliveries.append(&mut events.deliveries);
        self.confirms.append(&mut events.confirms);
    }

    /// The next `count` deliveries.
    pub async fn take(&mut self, count: usize) -> Vec<Delivery> {
        for _ in 0..count + 20 {
            if self.deliveries.len() >= count {
                return self.deliveries.drain(..count).collect();
            }
            self.stash().await;
        }
        panic!("{count} deliveries wanted, got {:?}", bodies(&self.deliveries));
    }

    pub async fn nothing(&mut self) {
        for _ in 0..2 {
            self.stash().await;
            assert!(self.deliveries.is_empty(), "{:?}", bodies(&self.deliveries));
        }
    }

    pub async fn confirmed(&mut self, number: u64) -> ConfirmOutcome {
        for _ in 0..50 {
            if let Some(at) = self.confirms.iter().position(|c| c.number == number) {
                return self.confirms.drain(..=at).next_back().expect("found").confirmed;
            }
            self.stash().await;
        }
        panic!("no confirm for {number}");
    }

    pub fn settle(&mut self, deliveries: &[Delivery], outcome: Outcome) {
        for delivery in deliveries {
            let (lane, at) = (self.lane, [delivery.offset]);
            self.session.settle(lane, delivery.consumer, &at, outcome.clone());
        }
        self.session.flush();
    }

    pub fn ready(&self, queue: &str) -> u64 {
        self.session.queue_status(queue).expect("there").messages
    }
}

pub fn bodies(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|d| String::from_utf8_lossy(d.message.body()).into_owned()).collect()
}

pub fn queue(name: &str, arguments: &[(&str, Value)]) -> QueueSpec {
    let arguments = arguments.iter().map(|(n, v)| ((*n).into(), v.clone())).collect();
    QueueSpec::durable(name).with_arguments(arguments).expect("valid")
}

/// Waits for something to come true, up to 30 s.
pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never happened: {what}");
}

/// Durable, and delivered at least once.
pub fn at_level_1(meta: &mut Meta) {
    meta.durable = true;
    meta.level = 1;
}

/// A queue that dead-letters to another.
pub fn dead_lettering(name: &str, to: &str, more: &[(&str, Value)]) -> QueueSpec {
    let dead = [
        ("x-dead-letter-exchange", Value::text("")),
        ("x-dead-letter-routing-key", Value::text(to)),
    ];
    queue(name, &[&dead[..], more].concat())
}
