//! What changes something. Each act goes on when whoever asked for it goes away meanwhile, and is a line of the log,
//! done or refused.

use super::answer::{Refusal, answer};
use super::operations::{BackupOrder, UserChange};
use super::values;
use super::view::View;
use async_trait::async_trait;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use crossdock_core::{
    AUDIT, Bind, BindTarget, Error, ExchangeSpec, Key, Kind, Name, QueueSpec, check_sayable,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json, json};
use std::time::Duration;

/// Bytes of a request's body, at most.
pub const BODY_MAX: usize = 1 << 20;
/// Time for it to come.
const BODY_TIME: Duration = Duration::from_secs(30);

/// An act, as it is asked for.
#[async_trait]
pub trait Act: DeserializeOwned + Send + 'static {
    /// What it does, for the log.
    const WHAT: &'static str;
    /// The core has a line of its own for it when it is done.
    const CORE_LOGS_IT: bool = false;

    /// It may take long, and goes on when whoever asked for it goes away: its begin is logged, too.
    const IS_LONG: bool = false;
    /// It is about something in a virtual host.
    const IN_VHOST: bool = false;

    /// The virtual host, if one is named, and the object.
    fn object(&self) -> (Option<&str>, String);

    /// Does it.
    async fn run(self, view: &View) -> Result<Json, Refusal>;
}

/// Does what is asked for.
pub async fn act<A: Act>(State(view): State<View>, body: Body) -> Response {
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    let order: A = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => return Refusal::bad(format!("the request: {error}")).into_response(),
    };
    // Whoever asked may go away; what was begun is ended all the same.
    let done = tokio::spawn(async move { logged(order, &view).await });
    match done.await {
        Ok(result) => answer(result),
        Err(error) => Refusal::fault(error.to_string()).into_response(),
    }
}

/// The whole body of a request, if it is short enough and comes in time.
async fn read(body: Body) -> Result<Bytes, Refusal> {
    if body.size_hint().lower() > BODY_MAX as u64 {
        let reason = format!("a request has at most {BODY_MAX} bytes");
        return Err(Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, reason });
    }
    match tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, BODY_MAX)).await {
        Ok(read) => read.map_err(|error| Refusal::bad(format!("the request: {error}"))),
        Err(_) => {
            let reason = "the request did not come in time".to_owned();
            Err(Refusal { status: StatusCode::REQUEST_TIMEOUT, reason })
        }
    }
}

async fn logged<A: Act>(order: A, view: &View) -> Result<Json, Refusal> {
    let (vhost, object) = order.object();
    let vhost = match vhost {
        Some(named) => named.into(),
        None if A::IN_VHOST => view.vhost(None).unwrap_or_default(),
        None => Name::default(),
    };
    let (by, from, act) = (&*view.actor.user, &*view.actor.from, A::WHAT);
    if A::IS_LONG {
        tracing::info!(
            target: AUDIT, by, from, act, object, vhost = &*vhost,
            "an administrative act begins"
        );
    }
    let result = order.run(view).await;
    match &result {
        Ok(_) if A::CORE_LOGS_IT => {}
        Ok(result) => {
            tracing::info!(
                target: AUDIT, by, from, act, object, vhost = &*vhost, %result,
                "an administrative act"
            );
        }
        Err(refusal) => {
            let why = &refusal.reason;
            tracing::info!(
                target: AUDIT, by, from, act, object, vhost = &*vhost, why,
                "an administrative act was refused"
            );
        }
    }
    result
}

/// Arguments of a declaration.
fn arguments(object: &Map<String, Json>) -> Result<Vec<(Name, crossdock_core::Value)>, Refusal> {
    values::read_all(object).map_err(|why| Refusal::bad(format!("arguments: {why}")))
}

/// The name of something new: clients of every protocol are to find it. Which names are the broker's, the core checks.
fn new_name<'a>(what: &str, name: &'a str) -> Result<&'a str, Refusal> {
    check_sayable(what, name)?;
    Ok(name)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclareQueue {
    vhost: Option<String>,
    name: String,
    #[serde(default)]
    transient: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    arguments: Map<String, Json>,
}

#[async_trait]
impl Act for DeclareQueue {
    const WHAT: &'static str = "queue declared";
    const IN_VHOST: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        (self.vhost.as_deref(), self.name.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let vhost = view.vhost(self.vhost.as_deref())?;
        let spec = QueueSpec {
            durable: !self.transient,
            auto_delete: self.auto_delete,
            ..QueueSpec::durable(new_name("queue", &self.name)?)
        };
        let spec = spec.with_arguments(arguments(&self.arguments)?).map_err(Error::from)?;
        let mut session = view.session(&vhost)?;
        let declared = session.declare_queue(spec).await?;
        session.close().await?;
        Ok(json!({ "created": declared.created }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclareExchange {
    vhost: Option<String>,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    transient: bool,
    #[serde(default)]
    auto_delete: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    arguments: Map<String, Json>,
}

#[async_trait]
impl Act for DeclareExchange {
    const WHAT: &'static str = "exchange declared";
    const IN_VHOST: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        (self.vhost.as_deref(), self.name.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let vhost = view.vhost(self.vhost.as_deref())?;
        let spec = ExchangeSpec {
            durable: !self.transient,
            auto_delete: self.auto_delete,
            internal: self.internal,
            arguments: arguments(&self.arguments)?,
            ..ExchangeSpec::new(new_name("exchange", &self.name)?, Kind::parse(&self.kind)?)
        };
        let mut session = view.session(&vhost)?;
        let created = session.exchange(&self.name).is_err();
        session.declare_exchange(spec).await?;
        session.close().await?;
        Ok(json!({ "created": created }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteQueue {
    vhost: Option<String>,
    name: String,
    #[serde(default)]
    if_unused: bool,
    #[serde(default)]
    if_empty: bool,
}

#[async_trait]
impl Act for DeleteQueue {
    const WHAT: &'static str = "queue deleted";
    const IN_VHOST: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        (self.vhost.as_deref(), self.name.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let vhost = view.vhost(self.vhost.as_deref())?;
        let mut session = view.session(&vhost)?;
        let messages = session.delete_queue(&self.name, self.if_unused, self.if_empty).await?;
        session.close().await?;
        Ok(json!({ "messages": messages }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteSession {
    vhost: Option<String>,
    name: String,
}

#[async_trait]
impl Act for DeleteSession {
    const WHAT: &'static str = "session ended";
    const IN_VHOST: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        (self.vhost.as_deref(), self.name.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let vhost = view.vhost(self.vhost.as_deref())?;
        let mut session = view.session(&vhost)?;
        let ended = session.end_session(&self.name, "an operator ended the session").await?;
        session.close().await?;
        Ok(json!({ "messages": ended.messages, "was_connected": ended.was_connected }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteExchange {
    vhost: Option<String>,
    name: String,
    #[serde(default)]
    if_unused: bool,
}

#[async_trait]
impl Act for DeleteExchange {
    const WHAT: &'static str = "exchange deleted";
    const IN_VHOST: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        (self.vhost.as_deref(), self.name.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let vhost = view.vhost(self.vhost.as_deref())?;
        let mut session = view.session(&vhost)?;
        session.delete_exchange(&self.name, self.if_unused).await?;
        session.close().await?;
        Ok(json!({}))
    }
}

/// A binding that is to be made (true) or removed (false). `key` is written as the broker shows it: words between
/// slashes, `+` and `#`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound<const MADE: bool> {
    vhost: Option<String>,
    source: String,
    #[serde(default)]
    key: String,
    /// One of the two: where it leads.
    queue: Option<String>,
    exchange: Option<String>,
    #[serde(default)]
    arguments: Map<String, Json>,
}

#[async_trait]
impl<const MADE: bool> Act for Bound<MADE> {
    const WHAT: &'static str = if MADE { "binding made" } else { "binding removed" };
    const IN_VHOST: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        let to = self.queue.as_deref().or(self.exchange.as_deref()).unwrap_or_default();
        (self.vhost.as_deref(), format!("{} {} {to}", self.source, self.key))
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let vhost = view.vhost(self.vhost.as_deref())?;
        let to = match (&self.queue, &self.exchange) {
            (Some(queue), None) => BindTarget::Queue(queue.as_str().into()),
            (None, Some(exchange)) => BindTarget::Exchange(exchange.as_str().into()),
            _ => return Err(Refusal::bad("a binding leads to one queue, or to one exchange")),
        };
        if self.source.is_empty() {
            let why = "the default exchange has a binding to each queue, and takes no others";
            return Err(Refusal::bad(why));
        }
        let mut bind = Bind::new(self.source.as_str(), Key::from(self.key.as_str()), to);
        bind.arguments = arguments(&self.arguments)?;
        let mut session = view.session(&vhost)?;
        let changed = match MADE {
            true => session.bind(bind).await?,
            false => session.unbind(bind).await?,
        };
        session.close().await?;
        match (MADE, changed) {
            (false, false) => Err(Refusal::missing("there is no such binding")),
            _ => Ok(json!({ "changed": changed })),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Purge {
    vhost: Option<String>,
    name: String,
}

#[async_trait]
impl Act for Purge {
    const WHAT: &'static str = "queue purged";
    const IN_VHOST: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        (self.vhost.as_deref(), self.name.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let vhost = view.vhost(self.vhost.as_deref())?;
        let mut session = view.session(&vhost)?;
        let messages = session.purge(&self.name).await?;
        session.close().await?;
        Ok(json!({ "messages": messages }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloseConnection {
    number: u64,
    /// The client reads it, where its protocol has words for that.
    reason: Option<String>,
}

/// Bytes of a reason, at most: what the shortest of the protocols' words has room for, with some in front.
const REASON_MAX: usize = 200;

#[async_trait]
impl Act for CloseConnection {
    const WHAT: &'static str = "connection closed";
    const CORE_LOGS_IT: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        (None, self.number.to_string())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let reason = self.reason.as_deref().unwrap_or("an operator closed the connection");
        if reason.len() > REASON_MAX {
            return Err(Refusal::bad(format!("a reason has at most {REASON_MAX} bytes")));
        }
        match view.broker.close_connection(&view.actor, self.number, reason) {
            true => Ok(json!({})),
            false => Err(Refusal::missing(format!("there is no connection {}", self.number))),
        }
    }
}

#[async_trait]
impl Act for UserChange {
    const WHAT: &'static str = "user changed";
    const CORE_LOGS_IT: bool = true;

    fn object(&self) -> (Option<&str>, String) {
        (None, self.name().to_owned())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let changed = view.common.operations.change_user(&view.actor, self).await;
        changed.map(|text| json!({ "text": text })).map_err(Refusal::conflict)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainRoute {
    name: String,
    to: Option<String>,
}

#[async_trait]
impl Act for DrainRoute {
    const WHAT: &'static str = "route drained";

    fn object(&self) -> (Option<&str>, String) {
        (None, self.name.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let drained = view.common.operations.drain_route(&self.name, self.to.as_deref()).await;
        let (moved, dead_lettered, left) = drained.map_err(Refusal::conflict)?;
        Ok(json!({ "moved": moved, "dead_lettered": dead_lettered, "left": left }))
    }
}

/// What the modules of a route remember is forgotten.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForgetRouteState {
    name: String,
}

#[async_trait]
impl Act for ForgetRouteState {
    const WHAT: &'static str = "state of a route forgotten";

    fn object(&self) -> (Option<&str>, String) {
        (None, self.name.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let keys = view.broker.forget_route_state(&self.name).await?;
        Ok(json!({ "keys": keys }))
    }
}

/// Modules of a route that were rehearsed take the places of those that work.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromoteRoute {
    name: String,
    /// Even if nothing was compared, or something differed.
    #[serde(default)]
    anyway: bool,
}

#[async_trait]
impl Act for PromoteRoute {
    const WHAT: &'static str = "modules of a route promoted";

    fn object(&self) -> (Option<&str>, String) {
        (None, self.name.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let promoted = view.broker.promote_route(&self.name, self.anyway)?;
        Ok(json!({ "promoted": promoted }))
    }
}

#[async_trait]
impl Act for BackupOrder {
    const WHAT: &'static str = "store backed up";

    fn object(&self) -> (Option<&str>, String) {
        (None, self.folder.display().to_string())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        if !self.folder.is_absolute() {
            return Err(Refusal::bad("the folder has to be named by its whole path"));
        }
        let made = view.common.operations.backup(self).await.map_err(Refusal::conflict)?;
        let removed: Vec<String> =
            made.removed.iter().map(|one| one.display().to_string()).collect();
        Ok(json!({
            "folder": made.folder.display().to_string(),
            "copied_bytes": made.copied_bytes,
            "reused_bytes": made.reused_bytes,
            "removed": removed,
            "troubles": made.troubles,
        }))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogLevel {
    level: String,
}

#[async_trait]
impl Act for LogLevel {
    const WHAT: &'static str = "log level set";

    fn object(&self) -> (Option<&str>, String) {
        (None, self.level.clone())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        view.common.operations.set_log_level(&self.level).await.map_err(Refusal::bad)?;
        Ok(json!({}))
    }
}

/// An act without anything that has to be said about it.
macro_rules! plain {
    ($name:ident, $what:literal, $does:ident) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {}

        #[async_trait]
        impl Act for $name {
            const WHAT: &'static str = $what;

            fn object(&self) -> (Option<&str>, String) {
                (None, String::new())
            }

            async fn run(self, view: &View) -> Result<Json, Refusal> {
                view.common.operations.$does().await.map_err(Refusal::conflict)?;
                Ok(json!({}))
            }
        }
    };
}

plain!(DrainAll, "broker drained", drain);
plain!(Shutdown, "broker stopped", shutdown);

/// Changes of the configuration that are named in an answer; the log has all of them.
const CHANGES_NAMED_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {}

#[async_trait]
impl Act for Reload {
    const WHAT: &'static str = "configuration read again";

    fn object(&self) -> (Option<&str>, String) {
        (None, String::new())
    }

    async fn run(self, view: &View) -> Result<Json, Refusal> {
        let changes = view.common.operations.reload().await;
        let changes = changes.map_err(|mistakes| Refusal::conflict(mistakes.join("\n")))?;
        let named: Vec<&String> = changes.iter().take(CHANGES_NAMED_MAX).collect();
        Ok(json!({ "changes": changes.len(), "what": named }))
    }
}
