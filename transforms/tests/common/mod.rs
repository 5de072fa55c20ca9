//! Shared by the tests of routes: a host, routes from JSON, messages, and running them.

// Every test binary compiles this file and uses a part of it.
#![allow(dead_code)]

use bytes::Bytes;
use crossdock_core::step::StepMakers;
use crossdock_core::transform::{ContentRoute, FailureKind, StepFailure, Verdict};
use crossdock_core::{Address, Fields, Formats, Key, Message, Meta, Origin, Timestamp, Value};
use crossdock_transforms::{Host, Modules, RouteSpec, Surroundings};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// The folder of this crate.
pub fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder that only this test binary uses.
pub fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("crossdock-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// One host for all tests of a binary, so that a module is compiled once.
pub fn host() -> &'static Host {
    static HOST: OnceLock<Host> = OnceLock::new();
    HOST.get_or_init(|| Host::new(Some(scratch("shared"))).unwrap())
}

/// Compiles on the shared host. `wasm` steps name files below this crate.
pub fn compile(members: Json) -> Result<ContentRoute, Vec<String>> {
    compile_on(host(), members)
}

pub fn compile_on(host: &Host, members: Json) -> Result<ContentRoute, Vec<String>> {
    compile_when(host, members, Modules::Now)
}

pub fn compile_when(
    host: &Host,
    members: Json,
    modules: Modules,
) -> Result<ContentRoute, Vec<String>> {
    compile_with(host, members, (modules, &StepMakers::default()))
}

pub fn compile_with(
    host: &Host,
    members: Json,
    (modules, plugins): (Modules, &StepMakers),
) -> Result<ContentRoute, Vec<String>> {
    let mut spec = json!({ "name": "r", "from": ["queue:in"], "to": ["queue:out"] });
    spec.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let spec: RouteSpec = serde_json::from_value(spec).unwrap();
    let topic_exchange = "topics".into();
    let dollar_topics = ["$aws/#".into()];
    let surroundings = Surroundings {
        base_dir: here(),
        topic_exchange: &topic_exchange,
        dollar_topics: &dollar_topics,
        modules,
        plugins,
    };
    let route = host.compile(&spec, surroundings);
    route.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

pub fn route(members: Json) -> ContentRoute {
    compile(members).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

/// The message as if another client had sent it.
pub fn sent_by(client: &str, message: &Message) -> Message {
    let mut meta = message.meta().clone();
    meta.origin = Arc::new(Origin { client: client.into(), ..(*meta.origin).clone() });
    message.with(message.address().clone(), meta)
}

/// A message on topic `a/b` with these headers.
pub fn message(body: impl Into<Bytes>, headers: &[(&str, Value)]) -> Message {
    message_with(body, |fields| {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), value.clone()));
        fields.headers = headers.collect();
    })
}

pub fn message_with(body: impl Into<Bytes>, change: impl FnOnce(&mut Fields)) -> Message {
    let mut fields = Fields::default();
    change(&mut fields);
    let (user, client, listener) = ("ann".into(), "c1".into(), "l1".into());
    let origin = Origin { user, client, listener, ..Origin::default() };
    let mut meta = Meta::new(Arc::new(origin), Timestamp(1_000));
    meta.durable = true;
    meta.level = 1;
    meta.expires = Some(Timestamp(9_000));
    let address = Address::new("topics".into(), Key::from("a/b"));
    Message::from_fields(address, meta, &fields, body.into())
}

pub fn formats() -> Formats {
    Formats::new(Vec::new())
}

/// Runs the message through the route.
pub fn apply(
    route: &ContentRoute,
    message: &Message,
) -> Result<(Verdict, Vec<Message>), StepFailure> {
    attempt(route, message, 0)
}

/// Runs the message through the route once more.
pub fn attempt(
    route: &ContentRoute,
    message: &Message,
    attempt: u32,
) -> Result<(Verdict, Vec<Message>), StepFailure> {
    let mut out = Vec::new();
    let verdict = route.transform.apply(message, attempt, &formats(), &mut out)?;
    Ok((verdict, out))
}

/// The bodies of the results.
pub fn bodies(route: &ContentRoute, body: &str) -> Vec<String> {
    let (verdict, out) = apply(route, &message(body.to_string(), &[])).unwrap();
    assert_eq!(verdict, Verdict::Emit, "{body}");
    out.iter().map(|m| String::from_utf8_lossy(m.body()).into_owned()).collect()
}

/// The fault with which the route fails for the message.
pub fn fault(route: &ContentRoute, body: &str) -> (FailureKind, String) {
    let fault = apply(route, &message(body.to_string(), &[])).expect_err(body);
    assert!(fault.text.len() <= 1024, "{} bytes", fault.text.len());
    (fault.kind, fault.text.to_string())
}
