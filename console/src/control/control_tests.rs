//! The control API over one connection, with a broker and a program that notes what it is asked for.

use super::acts::BODY_MAX;
use super::*;
use async_trait::async_trait;
use crossdock_core::memory::MemoryStore;
use crossdock_core::store::Space;
use crossdock_core::transform::{
    ContentRoute, Cost, FailureKind, Mode, StepFailure, Transform, Verdict, Watch,
};
use crossdock_core::{
    About, Address, Drain, ExchangeSpec, Formats, Identity, Kind, LoopbackGuest, Origin, QueueSpec,
    SessionSpec, Settings, Setup, Value,
};
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[path = "seen_tests.rs"]
mod seen_tests;

/// A program that notes what it is asked for.
#[derive(Default)]
struct Noted(Mutex<Vec<String>>, Mutex<Vec<CertificateLook>>);

impl Noted {
    fn note(&self, text: impl Into<String>) {
        self.0.lock().push(text.into());
    }
}

#[async_trait]
impl Operations for Noted {
    fn address(&self, text: &str) -> Result<Address, String> {
        match text.split_once(':') {
            Some(("queue", name)) => Ok(Address::queue(name)),
            Some(("topic", key)) => Ok(Address::new("amq.topic".into(), key.into())),
            _ => Err(format!("'{text}' is no address")),
        }
    }

    fn listeners(&self) -> Vec<ListenerLook> {
        let (name, tls) = ("amqp".to_owned(), false);
        let (addresses, protocols) = (vec!["127.0.0.1:5672".to_owned()], vec!["amqp".to_owned()]);
        vec![ListenerLook { name, addresses, protocols, tls, certificates: self.1.lock().clone() }]
    }

    fn plugins(&self) -> Vec<PluginLook> {
        let notes = self.0.lock();
        let out_of_use =
            notes.iter().any(|done| done == "broken").then(|| "it panicked".to_owned());
        vec![PluginLook {
            name: "hash".to_owned(),
            file: "/lib/hash.so".to_owned(),
            plugin: "consistent-hash".to_owned(),
            version: "1.0.0".to_owned(),
            brings: vec!["exchange:x-hash".to_owned()],
            calls: 7,
            refused: 1,
            out_of_use,
        }]
    }

    fn is_draining(&self) -> bool {
        self.0.lock().iter().any(|done| done == "drain")
    }

    async fn change_user(&self, actor: &Actor, change: UserChange) -> Result<String, String> {
        match change {
            UserChange::Delete { .. } => Err("no".to_owned()),
            change => {
                self.note(format!("{} changes {}", actor.user, change.name()));
                Ok("changed".to_owned())
            }
        }
    }

    async fn drain_route(&self, name: &str, _: Option<&str>) -> Result<(u64, u64, u64), String> {
        self.note(name);
        Ok((1, 2, 3))
    }

    async fn backup(&self, order: BackupOrder) -> Result<BackupMade, String> {
        Err(format!("{} is full", order.folder.display()))
    }

    async fn set_log_level(&self, level: &str) -> Result<(), String> {
        self.note(level);
        Ok(())
    }

    async fn reload(&self) -> Result<Vec<String>, Vec<String>> {
        Err(vec!["one".to_owned(), "two".to_owned()])
    }

    async fn drain(&self) -> Result<(), String> {
        self.note("drain");
        Ok(())
    }

    async fn shutdown(&self) -> Result<(), String> {
        self.note("shutdown");
        Ok(())
    }
}

struct Stage {
    broker: Broker,
    program: Arc<Noted>,
    control: Control,
}

impl Stage {
    async fn new() -> Self {
        Self::on(MemoryStore::default(), Settings::default()).await
    }

    async fn on(store: MemoryStore, settings: Settings) -> Self {
        Self::with(store, settings, Vec::new()).await
    }

    async fn with(store: MemoryStore, settings: Settings, routes: Vec<ContentRoute>) -> Self {
        let setup = Setup {
            settings,
            formats: Formats::new(Vec::new()),
            topology: vec![ExchangeSpec::new("amq.topic", Kind::Topic)],
            store: Arc::new(store),
            authenticator: Arc::new(LoopbackGuest),
            users: Vec::new(),
        };
        let broker = Broker::open(setup).await.expect("opens");
        broker.start_routes(routes).await.expect("they start");
        let program = Arc::new(Noted::default());
        let node = Node { name: "crossdock@here".into(), version: "1" };
        let control = Control::new(broker.clone(), program.clone(), node);
        Self { broker, program, control }
    }

    /// Status and body of the answer to these bytes.
    async fn send(&self, request: &[u8]) -> (u16, String) {
        let (mut ours, theirs) = tokio::io::duplex(1 << 16);
        let (reader, writer) = tokio::io::split(theirs);
        let (_switch, drain) = Drain::channel();
        let accepted = Accepted {
            reader: Box::new(reader),
            writer: Box::new(writer),
            head: Default::default(),
            peer: "uid:0".into(),
            loopback: true,
            secure: false,
            certificate: None,
            since: tokio::time::Instant::now(),
            listener: "control socket".into(),
            drain,
        };
        let serving = tokio::spawn(self.control.clone().serve(accepted));
        // It may have been answered before all of it is sent.
        let _ = ours.write_all(request).await;
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).await.expect("an answer");
        serving.await.expect("no panic");
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        (status.expect("a status"), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, Json) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let (status, body) = self.send(request.as_bytes()).await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    async fn look(&self, path: &str) -> Json {
        let (status, json) = self.get(path).await;
        assert_eq!(status, 200, "{path}: {json}");
        json
    }

    async fn post(&self, act: &str, order: &str) -> (u16, Json) {
        let head = format!("POST /control/{act} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let request = format!("{head}Content-Length: {}\r\n\r\n{order}", order.len());
        let (status, body) = self.send(request.as_bytes()).await;
        (status, serde_json::from_str(&body).expect("JSON"))
    }

    async fn done(&self, act: &str, order: Json) -> Json {
        let (status, json) = self.post(act, &order.to_string()).await;
        assert_eq!(status, 200, "{act} {order}: {json}");
        json
    }

    /// Status and reason.
    async fn refused(&self, act: &str, order: Json) -> (u16, String) {
        let (status, json) = self.post(act, &order.to_string()).await;
        let reason = json.get("reason").and_then(Json::as_str).unwrap_or_default();
        (status, reason.to_owned())
    }
}

fn names(page: &Json) -> Vec<&str> {
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| item["name"].as_str().expect("a name")).collect()
}

/// Every item of a list, by pages of `limit`.
async fn all(stage: &Stage, path: &str, limit: usize) -> Vec<Json> {
    let mut items = Vec::new();
    let mut after = String::new();
    loop {
        let page = stage.look(&format!("{path}?limit={limit}{after}")).await;
        let found = page["items"].as_array().expect("items");
        assert!(found.len() <= limit);
        items.extend(found.iter().cloned());
        let Some(next) = page.get("next").and_then(Json::as_str) else { return items };
        let next = next.replace('+', "%2B").replace(':', "%3A").replace('/', "%2F");
        after = format!("&after={next}");
    }
}

#[tokio::test]
async fn a_queue_is_made_filled_looked_at_purged_and_deleted() {
    let stage = Stage::new().await;
    let name = "a/b %? c";
    let order = json!({ "name": name, "arguments": { "x-max-length": 9 } });
    assert_eq!(stage.done("declare-queue", order.clone()).await["created"], json!(true));
    assert_eq!(stage.done("declare-queue", order).await["created"], json!(false));
    let (status, why) = stage.refused("declare-queue", json!({ "name": name })).await;
    assert_eq!(status, 409);
    assert!(why.contains("inequivalent arg 'x-max-length'"), "{why}");
    let order = json!({ "source": "amq.topic", "key": "a/#", "queue": name });
    assert_eq!(stage.done("bind", order.clone()).await["changed"], json!(true));
    for body in [json!({ "body": "x" }), json!({ "body_base64": "AP8=" }), json!({})] {
        let mut order = json!({ "address": "topic:a/b", "headers": { "n": 1 } });
        order.as_object_mut().expect("an object").extend(body.as_object().expect("one").clone());
        assert_eq!(stage.done("publish", order).await["routed"], json!(true));
    }
    let queue = stage.look("/control/show/queue?name=a%2Fb%20%25%3F%20c").await;
    assert_eq!((&queue["messages"], &queue["came"]["published"]), (&json!(3), &json!(3)));
    assert_eq!(queue["arguments"], json!({ "x-max-length": 9 }));
    assert_eq!(stage.done("unbind", order.clone()).await["changed"], json!(true));
    assert_eq!(stage.refused("unbind", order).await.0, 404);
    let nowhere = json!({ "address": "topic:a/b", "body": "x" });
    assert_eq!(stage.refused("publish", nowhere).await.0, 409);
    let full = json!({ "name": name, "if_empty": true });
    assert_eq!(stage.refused("delete-queue", full).await.0, 409);
    assert_eq!(stage.done("purge", json!({ "name": name })).await["messages"], json!(3));
    assert_eq!(stage.done("delete-queue", json!({ "name": name })).await["messages"], json!(0));
    assert_eq!(stage.get("/control/show/queue?name=a%2Fb%20%25%3F%20c").await.0, 404);
    assert_eq!(stage.look("/control/audit").await["balanced"], json!(true));
}

#[tokio::test]
async fn lists_have_pages_that_miss_nothing() {
    let stage = Stage::new().await;
    for n in 0..7 {
        stage.done("declare-queue", json!({ "name": format!("q{n}") })).await;
    }
    for n in 0..5 {
        let order = json!({ "source": "amq.topic", "key": format!("k/{n}"), "queue": "q3" });
        stage.done("bind", order).await;
    }
    stage.done("bind", json!({ "source": "amq.topic", "key": "k", "queue": "q5" })).await;
    let page = stage.look("/control/list/queues?limit=3").await;
    assert_eq!((names(&page), &page["next"]), (vec!["q0", "q1", "q2"], &json!("q2")));
    for limit in [1, 2, 3, 500] {
        assert_eq!(all(&stage, "/control/list/queues", limit).await.len(), 7);
        assert_eq!(all(&stage, "/control/list/bindings", limit).await.len(), 6, "{limit}");
        let vhosts = all(&stage, "/control/list/vhosts", limit).await;
        assert_eq!((vhosts.len(), &vhosts[0]["queues"]), (1, &json!(7)));
    }
    for (path, status) in [
        ("/control/list/queues?limit=501", 400),
        ("/control/list/queues?limit=0", 400),
        ("/control/list/queues?color=red", 400),
        ("/control/list/queues?vhost=none", 404),
        ("/control/list/bindings?after=x", 400),
        ("/control/list/connections?after=x", 400),
        ("/control/list/things", 404),
        ("/control/show/thing?name=x", 404),
        ("/control/show/queue", 400),
        ("/control/show/connection?name=1", 404),
        ("/control/nothing", 404),
        ("/control/purge", 400),
    ] {
        let (found, json) = stage.get(path).await;
        assert_eq!(found, status, "{path}: {json}");
        assert!(json["reason"].is_string(), "{path}: {json}");
    }
}

#[tokio::test]
async fn channels_and_consumers_are_listed_over_connections() {
    let stage = Stage::new().await;
    stage.done("declare-queue", json!({ "name": "q" })).await;
    let mut sessions = Vec::new();
    for lanes in [3, 0, 1] {
        let spec = crossdock_core::SessionSpec::anonymous(
            "/",
            crossdock_core::Origin::default(),
            crossdock_core::Identity::unlimited("guest"),
        );
        let mut session = stage.broker.session(spec).await.expect("opens");
        for _ in 0..lanes {
            session.lane();
        }
        sessions.push(session);
    }
    for limit in [1, 2, 500] {
        assert_eq!(all(&stage, "/control/list/channels", limit).await.len(), 4, "{limit}");
        assert_eq!(all(&stage, "/control/list/connections", limit).await.len(), 3, "{limit}");
        assert_eq!(all(&stage, "/control/list/consumers", limit).await.len(), 0, "{limit}");
    }
    let connections = all(&stage, "/control/list/connections", 9).await;
    let number = &connections[0]["number"];
    let one = stage.look(&format!("/control/show/connection?name={number}")).await;
    assert_eq!(one["channel_list"].as_array().map(Vec::len), Some(3));
    let order = json!({ "number": number, "reason": "enough" });
    stage.done("close-connection", order.clone()).await;
    let mut events = crossdock_core::Events::default();
    sessions[0].events(&mut events).await;
    let told = format!("{:?}", events.notices);
    assert!(told.contains("enough"), "{told}");
    sessions.remove(0).close().await.expect("closed");
    assert_eq!(stage.refused("close-connection", order).await.0, 404);
}

#[tokio::test]
async fn what_is_no_order_is_refused_and_changes_nothing() {
    let stage = Stage::new().await;
    for (act, order) in [
        ("purge", "{"),
        ("purge", "[]"),
        ("purge", "{\"name\": 7}"),
        ("purge", "{\"name\": \"q\", \"nmae\": \"q\"}"),
        ("declare-queue", "{\"name\": \"\"}"),
        ("declare-queue", "{\"name\": \"q\", \"arguments\": {\"x-expires\": -1}}"),
        ("declare-exchange", "{\"name\": \"x\", \"type\": \"none\"}"),
        ("bind", "{\"source\": \"amq.topic\"}"),
        ("bind", "{\"source\": \"amq.topic\", \"queue\": \"a\", \"exchange\": \"b\"}"),
        ("publish", "{\"address\": \"nowhere\"}"),
        ("publish", "{\"address\": \"queue:q\", \"body\": \"a\", \"body_base64\": \"a\"}"),
        ("publish", "{\"address\": \"queue:q\", \"body_base64\": \"%\"}"),
        ("backup", "{\"folder\": \"relative\"}"),
        ("change-user", "{\"change\": \"promote\", \"name\": \"u\"}"),
        ("drain", ""),
        ("shutdown", "{\"now\": true}"),
    ] {
        let (status, json) = stage.post(act, order).await;
        assert_eq!(status, 400, "{act} {order}: {json}");
        assert!(json["reason"].is_string(), "{act} {order}: {json}");
    }
    for (act, order) in [
        ("purge", json!({ "name": "none" })),
        ("purge", json!({ "name": "q", "vhost": "none" })),
        ("delete-exchange", json!({ "name": "none" })),
        ("bind", json!({ "source": "amq.topic", "queue": "none" })),
    ] {
        assert_eq!(stage.refused(act, order).await.0, 404, "{act}");
    }
    assert_eq!(stage.refused("delete-exchange", json!({ "name": "amq.topic" })).await.0, 403);
    let (status, _) = stage.post("purge", &" ".repeat(BODY_MAX + 1)).await;
    assert_eq!(status, 413);
    assert!(stage.program.0.lock().is_empty());
    assert!(names(&stage.look("/control/list/queues").await).is_empty());
}

#[tokio::test]
async fn the_program_does_what_only_it_can() {
    let stage = Stage::new().await;
    stage.done("log-level", json!({ "level": "debug" })).await;
    let order = json!({ "change": "add", "name": "ann", "tags": [], "password": "p" });
    assert_eq!(stage.done("change-user", order).await["text"], json!("changed"));
    let order = json!({ "change": "delete", "name": "ann" });
    assert_eq!(stage.refused("change-user", order).await, (409, "no".to_owned()));
    let drained = stage.done("drain-route", json!({ "name": "r" })).await;
    assert_eq!(drained, json!({ "moved": 1, "dead_lettered": 2, "left": 3 }));
    assert_eq!(stage.refused("reload", json!({})).await, (409, "one\ntwo".to_owned()));
    let full = stage.refused("backup", json!({ "folder": "/b" })).await;
    assert_eq!(full, (409, "/b is full".to_owned()));
    assert_eq!(stage.look("/control/health").await["well"], json!(true));
    stage.done("drain", json!({})).await;
    let health = stage.look("/control/health").await;
    assert_eq!(health["well"], json!(false));
    assert!(health["troubles"][0].as_str().expect("why").contains("drained"));
    stage.done("shutdown", json!({})).await;
    let noted = stage.program.0.lock().join(", ");
    assert_eq!(noted, "debug, uid:0 changes ann, r, drain, shutdown");
}

#[tokio::test]
async fn a_status_says_what_is_wrong_and_what_grows() {
    let stage = Stage::new().await;
    let status = stage.look("/control/status?seconds=0").await;
    assert_eq!((&status["well"], &status["node"]), (&json!(true), &json!("crossdock@here")));
    stage.done("declare-queue", json!({ "name": "unread" })).await;
    let publishing = async {
        loop {
            stage.done("publish", json!({ "address": "queue:unread", "body": "x" })).await;
        }
    };
    let status = tokio::select! {
        status = stage.look("/control/status") => status,
        () = publishing => unreachable!("it goes on"),
    };
    assert_eq!(status["growing_unread"]["count"], json!(1));
    assert_eq!(status["growing_unread"]["largest"][0]["queue"], json!("unread"));
    stage.broker.forget_a_settle("/", "unread");
    let status = stage.look("/control/status?seconds=0").await;
    assert_eq!(status["well"], json!(false), "{status}");
    let trouble = status["troubles"][0].as_str().expect("one");
    assert!(trouble.contains("queue 'unread' in vhost '/'"), "{trouble}");
    let audit = stage.look("/control/audit").await;
    assert_eq!((&audit["balanced"], &audit["count"]), (&json!(false), &json!(1)));
    assert_eq!(audit["items"][0]["address"], json!("queue:unread"));
    assert_eq!(stage.get("/control/status?seconds=11").await.0, 400);
}

#[tokio::test]
async fn alarms_are_told_and_nothing_is_published_under_them() {
    let settings = Settings { disk_free_alarm: Some(1_000), ..Settings::default() };
    let settings = Settings { disk_free_hard: 500, ..settings };
    let store = MemoryStore::default();
    store.set_space(Some(Space { total: 5_000, free: 900 }));
    let stage = Stage::on(store.clone(), settings).await;
    let mut alarms = Json::Null;
    for _ in 0..500 {
        alarms = stage.look("/control/alarms").await;
        if alarms["items"][0]["alarm"] == json!("disk") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(alarms["items"][0]["alarm"], json!("disk"), "{alarms}");
    assert_eq!(stage.look("/control/health").await["well"], json!(false));
    // There is room to declare, and none to publish.
    stage.done("declare-queue", json!({ "name": "q" })).await;
    let (status, why) = stage.refused("publish", json!({ "address": "queue:q" })).await;
    assert_eq!(status, 503, "{why}");
    stage.done("purge", json!({ "name": "q" })).await;
    let text = alarms["items"][0]["text"].as_str().expect("words");
    let marks = "began below 1000 B (store.disk_free_alarm), and ends above 1.1 KiB";
    assert!(
        text.contains(marks) && alarms["items"].as_array().map(Vec::len) == Some(1),
        "{alarms}"
    );
    store.set_space(Some(Space { total: 5_000, free: 400 }));
    for _ in 0..500 {
        alarms = stage.look("/control/alarms").await;
        if alarms["items"][1]["alarm"] == json!("disk-hard") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let text = alarms["items"][1]["text"].as_str().expect("words");
    assert!(text.ends_with("400 B free, less than 500 B (store.disk_free_hard)"), "{alarms}");
    let (status, why) = stage.refused("declare-queue", json!({ "name": "r" })).await;
    assert_eq!(status, 409, "{why}");
    assert!(why.contains("less free than store.disk_free_hard"), "{why}");
}

#[test]
fn a_refusal_is_as_long_as_it_says() {
    let text = std::str::from_utf8(NOT_THEIRS).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{}", body.len());
    let json: Json = serde_json::from_str(body).expect("JSON");
    assert!(json["reason"].as_str().expect("why").contains("root"));
}

#[tokio::test]
async fn a_queue_of_the_core_is_shown_as_it_is() {
    let stage = Stage::new().await;
    let view = View {
        broker: stage.broker.clone(),
        common: stage.control.common.clone(),
        actor: Actor { user: "uid:0".into(), from: "test".into() },
    };
    let mut session = view.session(&"/".into()).expect("opens");
    let spec = QueueSpec { kept_for: Some("me".into()), ..QueueSpec::durable("q") };
    session.declare_queue(spec).await.expect("declared");
    let shown = stage.look("/control/show/queue?name=q").await;
    assert_eq!((&shown["kept_for"], &shown["durable"]), (&json!("me"), &json!(true)));
    assert!(shown.get("dead_letter_exchange").is_none(), "absent, and not null");
}

#[tokio::test]
async fn messages_are_looked_at_and_moved() {
    let stage = Stage::new().await;
    for name in ["from", "to"] {
        stage.done("declare-queue", json!({ "name": name })).await;
    }
    for n in 0..5 {
        let headers = json!({ "n": n, "kind": if n % 2 == 0 { "even" } else { "odd" } });
        let order = json!({ "address": "queue:from", "body": format!("m{n}"), "headers": headers });
        stage.done("publish", order).await;
    }
    let first = stage.look("/control/peek?queue=from&limit=2").await;
    let bodies = |page: &Json| {
        let items = page["items"].as_array().expect("items").clone();
        items.iter().map(|one| one["body"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(bodies(&first), ["m0", "m1"]);
    let next = first["next"].as_str().expect("there are more");
    let rest = stage.look(&format!("/control/peek?queue=from&from={next}")).await;
    assert_eq!(bodies(&rest), ["m2", "m3", "m4"]);
    assert!(rest.get("next").is_none());
    let odd = stage.look("/control/peek?queue=from&where=kind%3Dodd").await;
    assert_eq!(bodies(&odd), ["m1", "m3"]);
    assert_eq!(odd["items"][0]["headers"]["n"], json!(1));
    assert_eq!(odd["items"][0]["state"], json!("ready"));
    for (path, status) in [
        ("/control/peek?queue=none", 404),
        ("/control/peek?queue=from&limit=501", 400),
        ("/control/peek?queue=from&from=x", 400),
        ("/control/peek?queue=from&where=x", 400),
        ("/control/peek?queue=from&color=red", 400),
    ] {
        assert_eq!(stage.get(path).await.0, status, "{path}");
    }

    let dry = json!({ "from": "from", "to": "to", "dry_run": true });
    assert_eq!(stage.done("move", dry).await["moved"], json!(5));
    let all = json!({ "from": "from", "to": "to" });
    let (status, why) = stage.refused("move", all).await;
    assert_eq!(status, 400);
    assert!(why.contains("every message is meant"), "{why}");
    let both = json!({ "from": "from", "to": "to", "to_origin": true, "all": true });
    assert_eq!(stage.refused("move", both).await.0, 400);
    let odd = json!({ "from": "from", "to": "to", "where": ["kind=odd"] });
    let report = stage.done("move", odd).await;
    assert_eq!(
        (&report["matched"], &report["moved"], &report["left"]),
        (&json!(2), &json!(2), &json!(0))
    );
    assert_eq!(report["to"], json!({ "queue:to": 2 }));
    assert_eq!(bodies(&stage.look("/control/peek?queue=to").await), ["m1", "m3"]);
    let rest = json!({ "from": "from", "to": "to", "all": true, "limit": 2 });
    assert_eq!(stage.done("move", rest).await["moved"], json!(2));
    assert_eq!(bodies(&stage.look("/control/peek?queue=from").await), ["m4"]);
    assert_eq!(stage.look("/control/audit").await["balanced"], json!(true));
}

#[tokio::test]
async fn moves_are_listed_stopped_and_limited_in_number() {
    let stage = Arc::new(Stage::new().await);
    stage.done("declare-queue", json!({ "name": "to" })).await;
    for number in 0..=moves::MOVES_MAX {
        let name = format!("from-{number}");
        stage.done("declare-queue", json!({ "name": name })).await;
        for body in 0..3 {
            let order = json!({ "address": format!("queue:{name}"), "body": body.to_string() });
            stage.done("publish", order).await;
        }
    }
    let order = |number: usize| json!({ "from": format!("from-{number}"), "to": "to", "all": true, "per_second": 1 });
    let begun: Vec<_> = (0..moves::MOVES_MAX)
        .map(|number| {
            let (stage, order) = (stage.clone(), order(number));
            tokio::spawn(async move { stage.done("move", order).await })
        })
        .collect();
    let list = loop {
        let list = stage.look("/control/list/moves").await;
        let items = list["items"].as_array().expect("items").clone();
        if items.len() == moves::MOVES_MAX && items.iter().all(|one| one["moved"] != json!(0)) {
            break items;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    let (status, why) = stage.refused("move", order(moves::MOVES_MAX)).await;
    assert!(status == 503 && why.contains("stop move"), "{status} {why}");
    let shown = stage.look("/control/status?seconds=0").await;
    assert_eq!(shown["moves"].as_array().map(Vec::len), Some(moves::MOVES_MAX));
    let mut moved = 0;
    for one in &list {
        let stopped = stage.done("stop-move", json!({ "id": one["id"] })).await;
        moved += stopped["moved"].as_u64().expect("a number");
    }
    for one in begun {
        let report = one.await.expect("no panic");
        assert_eq!(report["stopped"], json!("an operator stopped it"), "{report}");
        assert!(report["next"].is_string(), "{report}");
    }
    let (status, why) = stage.refused("stop-move", json!({ "id": list[0]["id"] })).await;
    assert!(status == 404 && why.contains("no move"), "{status} {why}");
    assert_eq!(stage.look("/control/list/moves").await["items"], json!([]));
    let there = stage.look("/control/show/queue?name=to").await["messages"].as_u64();
    assert_eq!(there, Some(moved), "what the answers say was moved is there, and no more");
    let queues = all(&stage, "/control/list/queues", 500).await;
    let sum: u64 = queues.iter().filter_map(|one| one["messages"].as_u64()).sum();
    assert_eq!(sum, 3 * (moves::MOVES_MAX as u64 + 1), "nothing is lost or doubled");
    assert_eq!(stage.look("/control/audit").await["balanced"], json!(true));
    // There is room again.
    let last = json!({ "from": "from-0", "to": "to", "all": true });
    assert!(stage.done("move", last).await.get("stopped").is_none());
}

#[tokio::test]
async fn plugins_are_listed_and_one_that_broke_is_a_trouble() {
    let stage = Stage::new().await;
    let list = stage.look("/control/list/plugins").await;
    assert_eq!(list["items"][0]["brings"], json!(["exchange:x-hash"]));
    assert_eq!(list["items"][0]["in_use"], json!(true));
    assert_eq!(stage.look("/control/show/plugin?name=hash").await["calls"], json!(7));
    let status = stage.look("/control/status?seconds=0").await;
    assert_eq!(status["well"], json!(true), "{status}");
    stage.program.note("broken");
    let status = stage.look("/control/status?seconds=0").await;
    assert_eq!(status["well"], json!(false));
    let why = "plugin 'hash' (exchange:x-hash) is out of use until the next start: it panicked";
    assert_eq!(status["troubles"], json!([why]));
}
