//! A plan on the real broker: everything that clients can see of it.

use crate::acts::{Act, Calls, FOR_EVER, Scripted, course, text};
use crate::plan::*;
use bytes::Bytes;
use crossdock_core::memory::MemoryStore;
use crossdock_core::transform::{ContentRoute, OnError, Order, Watch};
use crossdock_core::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What a publisher was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Stored,
    Unroutable,
    Refused(ErrorKind),
}

/// What was seen of a plan.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub confirms: BTreeMap<u32, Heard>,
    /// Came back although no confirm was asked for.
    pub returned: BTreeSet<u32>,
    /// Transactions in order: committed or not.
    pub commits: Vec<bool>,
    /// Queue and body, with what the dead-letter headers say, in the order of the queue.
    pub before: Vec<(String, String)>,
    /// Everything, when all that was held had room.
    pub after: Vec<(String, String)>,
    pub attempts: BTreeMap<(usize, String), Vec<u32>>,
}

struct Stage {
    plan: Arc<Plan>,
    store: MemoryStore,
    broker: Broker,
    /// Subscribes, and is connected all the time.
    subscriber: Option<Session>,
    session: Session,
    lane: LaneId,
    position: u64,
    calls: Calls,
    seen: Seen,
    numbers: BTreeMap<u64, u32>,
}

fn setup(store: MemoryStore) -> Setup {
    let topology = vec![ExchangeSpec::new(TOPICS, Kind::Topic)];
    let settings = Settings { dead_letter: Address::queue(DEAD), ..Settings::default() };
    Setup {
        settings,
        formats: Formats::new(Vec::new()),
        topology,
        store: Arc::new(store),
        authenticator: Arc::new(LoopbackGuest),
        users: Vec::new(),
    }
}

fn origin(client: &str) -> Origin {
    Origin { user: "guest".into(), client: client.into(), ..Origin::default() }
}

/// Plays it.
pub async fn play(plan: Arc<Plan>) -> Seen {
    let mut stage = Stage::open(plan).await;
    stage.declare().await;
    stage.start_routes().await;
    stage.remove_missing().await;
    for step in stage.plan.clone().steps.iter() {
        stage.step(step).await;
        stage.balances();
    }
    stage.settle().await;
    stage.read_open().await;
    stage.seen.before = stage.seen.after.clone();
    if stage.plan.restarts {
        stage.restart().await;
        stage.balances();
    }
    stage.relieve().await;
    stage.balances();
    for (key, called) in stage.calls.lock().expect("nobody panicked").iter() {
        stage.seen.attempts.insert(key.clone(), called.attempts.clone());
    }
    _ = stage.broker.close().await;
    stage.seen
}

impl Stage {
    async fn open(plan: Arc<Plan>) -> Self {
        let store = MemoryStore::default();
        let broker = Broker::open(setup(store.clone())).await.expect("it opens");
        let spec = SessionSpec::anonymous("/", origin("c"), Identity::unlimited("guest"));
        let mut session = broker.session(spec).await.expect("a session");
        let lane = session.lane();
        let (calls, seen, numbers) = (Calls::default(), Seen::default(), BTreeMap::new());
        let (position, subscriber) = (0, None);
        Self { plan, store, broker, subscriber, session, lane, position, calls, seen, numbers }
    }

    /// Every address balances.
    fn balances(&self) {
        let found = self.broker.audit();
        assert!(found.is_empty(), "{}", found[0]);
    }

    async fn start_routes(&mut self) {
        let routes = (0..self.plan.routes.len()).map(|r| self.route(r)).collect();
        self.broker.start_routes(routes).await.expect("the routes start");
    }

    /// The broker is killed; another one starts with what was stored.
    async fn restart(&mut self) {
        self.session.sync().await.expect("stored");
        self.store = self.store.crashed();
        _ = self.broker.close().await;
        self.broker = Broker::open(setup(self.store.clone())).await.expect("it opens");
        let spec = SessionSpec::anonymous("/", origin("c"), Identity::unlimited("guest"));
        self.session = self.broker.session(spec).await.expect("a session");
        self.lane = self.session.lane();
        self.position = 0;
        self.start_routes().await;
        self.settle().await;
    }

    fn route(&self, r: usize) -> ContentRoute {
        let plan = &self.plan.routes[r];
        let watches = plan.watches.iter().map(|watch| match watch {
            Watched::Queue(name) => Watch::Queue((*name).into()),
            Watched::Exchange(name, pattern) => Watch::Exchange((*name).into(), (*pattern).into()),
        });
        let name = format!("r{r}");
        let (calls, shared) = (self.calls.clone(), self.plan.clone());
        let transform = Scripted { plan: shared, route: r, name: name.clone(), calls };
        let on_error = OnError {
            retry: plan.retry,
            backoff: Duration::from_millis(1),
            then: plan.then,
            dead_letter: plan.dead.clone(),
        };
        ContentRoute {
            priority: plan.priority,
            required: plan.required,
            order: if plan.strict { Order::Strict } else { Order::Relaxed },
            concurrency: plan.concurrency,
            on_error,
            ..ContentRoute::new(
                name.into(),
                watches.collect(),
                plan.mode,
                Arc::new(transform) as Arc<dyn transform::Transform>,
            )
        }
    }

    async fn declare(&mut self) {
        for (name, kind) in EXCHANGES.iter().filter(|(name, _)| *name != TOPICS) {
            let spec = ExchangeSpec::new(*name, *kind);
            self.session.declare_exchange(spec).await.expect("declared");
        }
        for name in QUEUES.iter().chain(&[LATE, "heard"]) {
            self.session.declare_queue(QueueSpec::durable(*name)).await.expect("declared");
        }
        self.declare_full(FULL).await;
        let limit = [
            ("x-max-length".into(), Value::I32(SHORT_ROOM as i32)),
            ("x-overflow".into(), Value::text("reject-publish")),
        ];
        let short = QueueSpec::durable(SHORT).with_arguments(limit.into()).expect("valid");
        self.session.declare_queue(short).await.expect("declared");
        for (name, state) in [(DEAD, self.plan.dead), (OWN_DEAD, self.plan.own_dead)] {
            match state {
                DeadState::Full => self.declare_full(name).await,
                _ => {
                    _ = self
                        .session
                        .declare_queue(QueueSpec::durable(name))
                        .await
                        .expect("declared")
                }
            }
        }
        for b in &self.plan.clone().bindings {
            let to = match b.to {
                Leads::Session => {
                    self.subscribe(b.key).await;
                    continue;
                }
                Leads::Queue(name) => BindTarget::Queue(name.into()),
                Leads::Exchange(name) => BindTarget::Exchange(name.into()),
            };
            let mut bind = Bind::new(b.source, b.key.into(), to);
            let h = b.h.map(|h| ("h".into(), Value::I32(h.into())));
            bind.arguments.extend(h);
            self.session.bind(bind).await.expect("bound");
        }
    }

    async fn subscribe(&mut self, pattern: &str) {
        if self.subscriber.is_none() {
            let spec = SessionSpec {
                name: Some("subscriber".into()),
                queue: Some(QueueSpec::durable("subscriber")),
                life: SessionLife::Forever,
                ..SessionSpec::anonymous("/", origin("subscriber"), Identity::unlimited("guest"))
            };
            let mut subscriber = self.broker.session(spec).await.expect("a session");
            let lane = subscriber.lane();
            let consumer = Consumer {
                source: ConsumerSource::Own,
                settles: true,
                exclusive: false,
                priority: 0,
                credit: Credit::messages(10_000),
                pools: Default::default(),
                only_unexpired: false,
                has_time: false,
                tag: "".into(),
            };
            subscriber.attach(lane, consumer).await.expect("attached");
            self.subscriber = Some(subscriber);
        }
        let Some(subscriber) = &mut self.subscriber else { return };
        let mut bind = Bind::new(TOPICS, pattern.into(), BindTarget::Own);
        bind.tag.level = 1;
        subscriber.bind(bind).await.expect("bound");
    }

    /// What the subscriber has got.
    async fn read_session(&mut self) {
        let Some(mut subscriber) = self.subscriber.take() else { return };
        loop {
            let mut events = Events::default();
            let wait = subscriber.events(&mut events);
            if tokio::time::timeout(Duration::from_millis(5), wait).await.is_err() {
                break;
            }
            for delivery in events.deliveries {
                let body = text(&delivery.message);
                let remark = self.remark(&delivery.message, &body);
                self.seen.after.push((SESSION.to_owned(), body + &remark));
            }
        }
        self.subscriber = Some(subscriber);
    }

    /// A queue with one message in it that leaves no room for another, and much room when it is read.
    async fn declare_full(&mut self, name: &str) {
        let filler = self.message(&Put {
            id: 0,
            to: Address::queue(name),
            h: 0,
            durable: true,
            confirm: true,
            can_refuse: true,
            mandatory: false,
        });
        let body = Bytes::from("0".repeat(100_000));
        let filler = Message::from_fields(
            filler.address().clone(),
            filler.meta().clone(),
            &Fields::default(),
            body,
        );
        let limit = [
            ("x-max-length-bytes".into(), Value::I32(filler.body().len() as i32)),
            ("x-overflow".into(), Value::text("reject-publish")),
        ];
        let spec = QueueSpec::durable(name).with_arguments(limit.into()).expect("valid");
        self.session.declare_queue(spec).await.expect("declared");
        self.session.publish(self.lane, Publish::new(filler, false));
        self.session.sync().await.expect("stored");
        let status = self.session.queue_status(name).expect("it is there");
        assert_eq!(status.messages, 1, "the filler fits");
    }

    /// The start of the routes declares dead-letter queues: a client deletes them afterwards.
    async fn remove_missing(&mut self) {
        for (name, state) in [(DEAD, self.plan.dead), (OWN_DEAD, self.plan.own_dead)] {
            if state == DeadState::Missing {
                self.session.delete_queue(name, false, false).await.expect("deleted");
            }
        }
    }

    fn message(&self, put: &Put) -> Message {
        let mut meta = Meta::new(self.session.origin().clone(), self.broker.now());
        meta.durable = put.durable;
        meta.hops = self.plan.hops;
        meta.level = u8::from(put.durable);
        let h = ("h".into(), Value::I32(put.h.into()));
        let fields = Fields { headers: vec![h], ..Fields::default() };
        Message::from_fields(put.to.clone(), meta, &fields, Bytes::from(put.id.to_string()))
    }

    fn put(&mut self, put: &Put) {
        let message = self.message(put);
        let Put { confirm, can_refuse, mandatory, .. } = *put;
        let publish = Publish { message, confirm, mandatory, can_refuse, aside: None };
        let number = self.session.publish(self.lane, publish);
        if confirm {
            self.numbers.insert(number, put.id);
        }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Publish(puts) => {
                puts.iter().for_each(|put| self.put(put));
                self.session.flush();
                self.wait_for_confirms().await;
            }
            Step::Transaction(puts, commit) => {
                self.session.begin(self.lane);
                puts.iter().for_each(|put| self.put(put));
                match commit {
                    true => {
                        let done = self.session.commit(self.lane).await.is_ok();
                        self.seen.commits.push(done);
                    }
                    false => self.session.rollback(self.lane),
                }
                self.take_events().await;
            }
            Step::Will(put) => self.will(put).await,
            Step::Delayed(put) => {
                let message = self.message(put);
                let due = ParkUntil::At(self.broker.now());
                self.session.park(due, message).await.expect("parked");
                self.settle().await;
            }
            Step::DeleteQueue(name) => {
                self.settle().await;
                _ = self.session.delete_queue(name, false, false).await;
            }
            Step::DeleteExchange(name) => {
                self.settle().await;
                _ = self.session.delete_exchange(name, false).await;
            }
        }
    }

    async fn will(&mut self, put: &Put) {
        let spec = SessionSpec {
            name: Some("leaving".into()),
            queue: Some(QueueSpec::durable("leaving")),
            ..SessionSpec::anonymous("/", origin("leaving"), Identity::unlimited("guest"))
        };
        let mut leaving = self.broker.session(spec).await.expect("a session");
        let due = ParkUntil::Disconnected { delay_ms: 0 };
        leaving.park(due, self.message(put)).await.expect("parked");
        drop(leaving);
        self.settle().await;
    }

    async fn take_events(&mut self) {
        let mut events = Events::default();
        let wait = self.session.events(&mut events);
        _ = tokio::time::timeout(Duration::from_millis(5), wait).await;
        self.position += 1;
        self.session.encoded(self.position);
        self.session.flushed(self.position);
        self.session.flush();
        for confirm in events.confirms {
            match self.numbers.remove(&confirm.number) {
                Some(id) => {
                    let heard = match confirm.confirmed {
                        ConfirmOutcome::Stored => Heard::Stored,
                        ConfirmOutcome::Unroutable(_) => Heard::Unroutable,
                        ConfirmOutcome::Refused(why) => Heard::Refused(why.kind()),
                    };
                    self.seen.confirms.insert(id, heard);
                }
                None => {
                    if let ConfirmOutcome::Unroutable(message) = confirm.confirmed {
                        self.seen.returned.insert(crate::acts::id_of(&text(&message)));
                    }
                }
            }
        }
    }

    async fn wait_for_confirms(&mut self) {
        for _ in 0..1000 {
            self.take_events().await;
            if self.numbers.is_empty() {
                return;
            }
        }
        panic!("no confirm for {:?}, seed {}", self.numbers, self.plan.seed);
    }

    /// Until nothing changes any more. Time stands still and jumps to the next timer when nothing else is to do.
    async fn settle(&mut self) {
        let mut before = Vec::new();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            let mut now: Vec<u64> = Vec::new();
            for name in self.all_queues() {
                let status = self.session.queue_status(name);
                now.push(status.map_or(u64::MAX, |status| status.messages));
            }
            if now == before {
                return;
            }
            before = now;
        }
        panic!("it never came to rest, seed {}", self.plan.seed);
    }

    fn all_queues(&self) -> Vec<&'static str> {
        let own = [LATE, "heard", SHORT, FULL, DEAD, OWN_DEAD, "late-taker"];
        QUEUES.into_iter().chain(own).collect()
    }

    /// Reads all queues but those that are full: whoever waits for room goes on waiting.
    async fn read_open(&mut self) {
        let (dead, own) = (self.plan.dead, self.plan.own_dead);
        for name in self.all_queues() {
            let is_full = name == FULL
                || name == DEAD && dead == DeadState::Full
                || name == OWN_DEAD && own == DeadState::Full;
            if !is_full {
                self.read(name).await;
            }
        }
        self.read_session().await;
    }

    async fn read(&mut self, name: &str) -> usize {
        let mut count = 0;
        while let Ok(Some((delivery, _))) = self.session.get(self.lane, name, true).await {
            let (lane, at) = (self.lane, [delivery.offset]);
            self.session.settle(lane, delivery.consumer, &at, Outcome::Accepted);
            self.session.flush();
            count += 1;
            let body = text(&delivery.message);
            if !body.starts_with('0') {
                let remark = self.remark(&delivery.message, &body);
                self.seen.after.push((name.to_owned(), body + &remark));
            }
        }
        count
    }

    /// What the dead-letter headers say. The kind is not fixed for refusals and for endless wishes to be called again.
    fn remark(&self, message: &Message, body: &str) -> String {
        let fields = message.fields(self.broker.formats());
        let header = |name: &str| fields.header(name).and_then(Value::as_str);
        let (Some(route), Some(kind)) = (header("mq.error.route"), header("mq.error.kind")) else {
            return String::new();
        };
        let index: Option<usize> = route.trim_start_matches('r').parse().ok();
        let is_open = index.filter(|r| *r < self.plan.routes.len()).is_none_or(|r| {
            let course = course(&self.plan, r, body);
            course.again == FOR_EVER || course.fails == 0 && course.act == Act::Reject
        });
        let is_open = is_open && kind != "hops";
        format!(" !{route}:{}", if is_open { "?" } else { kind })
    }

    /// Every queue gets room, and every dead-letter address a taker.
    async fn relieve(&mut self) {
        for name in [DEAD, OWN_DEAD, "late-taker"] {
            if self.session.queue_status(name).is_err() {
                self.session.declare_queue(QueueSpec::durable(name)).await.expect("declared");
            }
        }
        let spec = ExchangeSpec::new("dead.x", Kind::Fanout);
        self.session.declare_exchange(spec).await.expect("declared");
        for (source, key) in [("dead.x", ""), (DEAD_TOPICS, "un/heard")] {
            let to = BindTarget::Queue("late-taker".into());
            self.session.bind(Bind::new(source, key.into(), to)).await.expect("bound");
        }
        for _ in 0..20 {
            let mut count = 0;
            for name in self.all_queues() {
                count += self.read(name).await;
            }
            self.read_session().await;
            self.settle().await;
            if count == 0 {
                return;
            }
        }
        panic!("the queues never became empty, seed {}", self.plan.seed);
    }
}
