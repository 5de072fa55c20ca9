//! What content routes cost the messages that they do not take: routes that watch other addresses, and a route whose
//! condition over headers is false. One iteration publishes a round of messages through a session and flushes it; the
//! time of a message is that divided by the round. `none` is the cost without routes: the difference is the routes'.
#![forbid(unsafe_code)]

use bytes::Bytes;
use crossdock_core::exchange::selector::{Input, Selector};
use crossdock_core::memory::MemoryStore;
use crossdock_core::transform::{ContentRoute, Cost, Mode, StepFailure, Transform, Verdict, Watch};
use crossdock_core::{
    Address, Broker, ExchangeSpec, Fields, Formats, Identity, Key, Kind, LoopbackGuest, Message,
    Meta, Origin, Publish, Session, SessionSpec, Settings, Setup, Value,
};
use divan::Bencher;
use divan::counter::ItemsCount;
use std::sync::Arc;
use std::time::Duration;

/// The broker's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long each benchmark runs at least.
const TIME: Duration = Duration::from_millis(300);
/// Messages of one flush.
const ROUND: usize = 64;

fn main() {
    divan::Divan::default().min_time(TIME).config_with_args().main();
}

/// A condition over headers, as routes of the configuration have it.
struct Condition(Option<Selector>);

impl Transform for Condition {
    fn name(&self) -> &str {
        "condition"
    }

    fn cost(&self) -> Cost {
        Cost::Inline
    }

    fn wants(&self, message: &Message, formats: &Formats) -> bool {
        match &self.0 {
            Some(selector) => selector.matches(&Input::of(message, formats)) == Some(true),
            None => true,
        }
    }

    fn apply(
        &self,
        _: &Message,
        _: u32,
        _: &Formats,
        _: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        Ok(Verdict::Pass)
    }
}

fn route(number: usize, pattern: &str, condition: Option<&str>) -> ContentRoute {
    let selector = condition.map(|text| Selector::parse(text).expect("a condition"));
    let watches = vec![Watch::Exchange("amq.topic".into(), Key::from(pattern))];
    let transform = Arc::new(Condition(selector));
    ContentRoute::new(format!("route-{number}").into(), watches, Mode::Divert, transform)
}

/// Times one round of publishes to a topic that nobody subscribed to, beside these routes.
fn publishing(bencher: Bencher, routes: Vec<ContentRoute>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();
    let mut session = runtime.block_on(open(routes));
    let lane = session.lane();
    let mut fields = Fields::default();
    fields.headers.push(("region".into(), Value::text("us")));
    fields.headers.push(("line".into(), Value::I32(7)));
    let origin = session.origin().clone();
    let address = Address::new("amq.topic".into(), Key::from("plant/7/temperature"));
    let meta = Meta::new(origin, session.broker().now());
    let body = Bytes::from(vec![b'x'; 128]);
    let message = Message::from_fields(address, meta, &fields, body);
    bencher.counter(ItemsCount::new(ROUND)).bench_local(|| {
        for _ in 0..ROUND {
            // A message of its own: its headers are decoded by whoever asks first.
            let fresh = message.with(message.address().clone(), message.meta().clone());
            session.publish(lane, Publish::new(fresh, false));
        }
        session.flush();
    });
}

async fn open(routes: Vec<ContentRoute>) -> Session {
    let setup = Setup {
        settings: Settings::default(),
        formats: Formats::new(Vec::new()),
        topology: vec![ExchangeSpec::new("amq.topic", Kind::Topic)],
        store: Arc::new(MemoryStore::default()),
        authenticator: Arc::new(LoopbackGuest),
        users: Vec::new(),
    };
    let broker = Broker::open(setup).await.expect("a broker");
    broker.start_routes(routes).await.expect("routes");
    broker
        .session(SessionSpec::anonymous("/", Origin::default(), Identity::unlimited("guest")))
        .await
        .expect("a session")
}

/// Without routes.
#[divan::bench]
fn none(bencher: Bencher) {
    publishing(bencher, Vec::new());
}

/// Routes that watch other addresses.
#[divan::bench(args = [1, 100])]
fn from_does_not_match(bencher: Bencher, routes: usize) {
    publishing(bencher, (0..routes).map(|n| route(n, &format!("other/{n}/#"), None)).collect());
}

/// A route that watches the topic and whose condition over two headers is false.
#[divan::bench]
fn when_is_false(bencher: Bencher) {
    let condition = "region = 'eu' AND line > 5";
    publishing(bencher, vec![route(0, "plant/#", Some(condition))]);
}
