//! `/metrics…` and `/health/…`.
//!
//! | file | what is in it |
//! |---|---|
//! | `text` | the text format |
//! | `sums` | what all objects come to, under the names of RabbitMQ's where the meaning is the same |
//! | `ours` | what only this broker counts |
//! | `objects` | each object by itself |

mod objects;
mod ours;
mod sums;
mod text;

use crate::behind;
use crate::control::{ListenerLook, Operations, PluginLook};
use crate::door::{Doors, Visitor};
use crate::process::Started;
use crate::serve;
use async_trait::async_trait;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use crossdock_core::{Accepted, Broker, Error, ExchangeSpec, Format, Protocol, Sniff};
use objects::{Detail, Scope};
use serde::Deserialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use text::{CONTENT_TYPE, Page};
use tokio::sync::Semaphore;

/// Pages that are made at once; others wait. Making one takes a core for some milliseconds.
const AT_ONCE: usize = 1;
/// Requests that wait for that, at most; others are answered 503.
const WAITING: usize = 16;

/// The protocol `metrics`: pages of numbers for Prometheus, and health checks.
#[derive(Clone)]
pub struct Metrics {
    doors: Arc<Doors>,
    limits: Arc<Limits>,
    started: Started,
    node: Arc<Node>,
    program: Arc<OnceLock<Arc<dyn Operations>>>,
}

/// What names this node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name: `crossdock@HOST`.
    pub name: String,
    /// The version of the program.
    pub version: &'static str,
}

struct Limits {
    making: Semaphore,
    waiting: Semaphore,
    /// Bytes of the longest page so far.
    longest: AtomicUsize,
}

impl Limits {
    /// An empty page, with room for what is likely to come: one that grows is copied each time that its room doubles.
    /// Room that is not used takes no memory.
    fn page(&self) -> Page {
        Page::with_capacity(self.longest.load(Ordering::Relaxed))
    }
}

impl Metrics {
    /// For whom these doors are open.
    pub fn new(doors: Doors, node: Node) -> Self {
        let (making, waiting) = (Semaphore::new(AT_ONCE), Semaphore::new(WAITING));
        let limits = Limits { making, waiting, longest: AtomicUsize::new(0) };
        Self {
            doors: Arc::new(doors),
            limits: Arc::new(limits),
            started: Started::now(),
            node: Arc::new(node),
            program: Arc::default(),
        }
    }

    /// Whose listeners are on the pages from now on; the first one that is given stays.
    pub fn show(&self, program: Arc<dyn Operations>) {
        // It is that one already.
        let _ = self.program.set(program);
    }
}

#[async_trait]
impl Protocol for Metrics {
    fn name(&self) -> &'static str {
        "metrics"
    }

    fn topology(&self) -> Vec<ExchangeSpec> {
        Vec::new()
    }

    fn formats(&self) -> Vec<Arc<dyn Format>> {
        Vec::new()
    }

    fn sniff(&self, head: &[u8]) -> Sniff {
        serve::sniff(head)
    }

    async fn serve(&self, accepted: Accepted, broker: Broker) -> Result<(), Error> {
        let view = View {
            broker,
            visitor: Arc::new(Visitor::of(self.name(), &accepted)),
            doors: self.doors.clone(),
            limits: self.limits.clone(),
            started: self.started,
            node: self.node.clone(),
            program: self.program.clone(),
        };
        let router = Router::new()
            .route("/metrics", get(sums))
            .route("/metrics/per-object", get(per_object))
            .route("/metrics/detailed", get(detailed))
            .route("/health/live", get(live))
            .route("/health/ready", get(ready))
            .with_state(view);
        serve::serve(accepted, router).await
    }
}

/// What the handlers of one connection look at.
#[derive(Clone)]
struct View {
    broker: Broker,
    visitor: Arc<Visitor>,
    doors: Arc<Doors>,
    limits: Arc<Limits>,
    started: Started,
    node: Arc<Node>,
    program: Arc<OnceLock<Arc<dyn Operations>>>,
}

impl View {
    /// The listeners that are bound.
    fn listeners(&self) -> Vec<ListenerLook> {
        self.program.get().map(|program| program.listeners()).unwrap_or_default()
    }

    /// The native plugins that are loaded.
    fn plugins(&self) -> Vec<PluginLook> {
        self.program.get().map(|program| program.plugins()).unwrap_or_default()
    }

    /// Makes a page behind all that serves connections, for whoever may read it.
    async fn page(
        self,
        headers: HeaderMap,
        make: impl FnOnce(&View) -> Result<Page, String> + Send + 'static,
    ) -> Response {
        if let Err(refusal) = self.doors.may_read(&self.broker, &self.visitor, &headers).await {
            return *refusal;
        }
        let limits = self.limits.clone();
        let Ok(_waits) = limits.waiting.try_acquire() else {
            let why = "too many requests wait for numbers: try again later\n";
            return (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
        };
        let Ok(_makes) = limits.making.acquire().await else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        match behind::run(move || make(&self)).await {
            Some(Ok(page)) => {
                limits.longest.fetch_max(page.len(), Ordering::Relaxed);
                ([(header::CONTENT_TYPE, CONTENT_TYPE)], page.into_text()).into_response()
            }
            Some(Err(why)) => (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response(),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

async fn sums(State(view): State<View>, headers: HeaderMap) -> Response {
    let make = |view: &View| {
        let mut page = Page::default();
        sums::identity(&mut page, &view.node, "aggregated");
        let node = view.broker.look_at_node();
        let totals = view.broker.totals();
        sums::node(&mut page, &node, view.started);
        sums::objects(&mut page, &node, &totals);
        sums::messages(&mut page, &node, &totals);
        ours::node(&mut page, &node, view.started);
        ours::losses(&mut page, &view.broker.losses());
        ours::certificates(&mut page, &view.listeners());
        ours::plugins(&mut page, &view.plugins());
        ours::balance(&mut page, &totals);
        let routes = view.broker.route_status();
        ours::routes(&mut page, &routes);
        ours::modules(&mut page, &routes);
        ours::rehearsals(&mut page, &routes);
        ours::conversions(&mut page, &view.broker.formats().conversions());
        Ok(page)
    };
    view.page(headers, make).await
}

/// `vhost`: of one virtual host only.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct WhichObjects {
    vhost: Option<String>,
    queue: Option<String>,
}

async fn per_object(
    State(view): State<View>,
    Query(which): Query<WhichObjects>,
    headers: HeaderMap,
) -> Response {
    let make = move |view: &View| {
        let scope = Scope::new(which.vhost, which.queue)?;
        let mut page = view.limits.page();
        sums::identity(&mut page, &view.node, "per-object");
        objects::write(&mut page, &view.broker, &scope, &Detail::ALL, "rabbitmq_")?;
        Ok(page)
    };
    view.page(headers, make).await
}

/// `family` and `vhost` may stand several times.
async fn detailed(
    State(view): State<View>,
    Query(pairs): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let make = move |view: &View| {
        let (mut families, mut vhosts, mut queue) = (Vec::new(), Vec::new(), None);
        for (name, value) in pairs {
            match name.as_str() {
                "family" => {
                    let family = Detail::of(&value)?;
                    // One that is named twice is shown once.
                    families.retain(|one| *one != family);
                    families.push(family);
                }
                "vhost" => vhosts.push(value),
                "queue" => queue = Some(value),
                _ => return Err(format!("'{name}' is none of family, vhost, queue")),
            }
        }
        let scope = Scope { vhosts, queue };
        let mut page = view.limits.page();
        sums::identity(&mut page, &view.node, "detailed");
        objects::write(&mut page, &view.broker, &scope, &families, "rabbitmq_detailed_")?;
        Ok(page)
    };
    view.page(headers, make).await
}

/// The process answers.
async fn live() -> Response {
    "ok\n".into_response()
}

/// The broker takes messages: its store works, and no alarm holds publishers back.
async fn ready(State(view): State<View>) -> Response {
    let node = view.broker.look_at_node();
    let troubles = [
        (node.store_failed, "the store has failed: nothing is acknowledged any more"),
        (node.memory.alarm, "publishers are held back: messages take more memory than memory.high"),
        (
            node.disk.alarm,
            "publishers are held back: the disk has less room than store.disk_free_alarm",
        ),
    ];
    let why: Vec<&str> = troubles.iter().filter(|(is, _)| *is).map(|(_, why)| *why).collect();
    match why.is_empty() {
        true => "ok\n".into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, why.join("\n") + "\n").into_response(),
    }
}
