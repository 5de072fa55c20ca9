//! What operators see of routes, exchanges, full queues, connections and certificates.

use super::*;
use crossdock_core::store::{Losses, Lost};

/// A route that fails with everything, and is tried again after a long time where the body says so.
struct Failing;

impl Transform for Failing {
    fn name(&self) -> &str {
        "failing"
    }
    fn cost(&self) -> Cost {
        Cost::Queued
    }
    fn wants(&self, _: &crossdock_core::Message, _: &Formats) -> bool {
        true
    }
    fn apply(
        &self,
        input: &crossdock_core::Message,
        _: u32,
        _: &Formats,
        _: &mut Vec<crossdock_core::Message>,
    ) -> Result<Verdict, StepFailure> {
        let kind = match input.body().as_ref() {
            b"again" => FailureKind::Timeout,
            _ => FailureKind::Guest,
        };
        let (module, version) = ("failing".into(), "1".into());
        Err(StepFailure { module, version, kind, text: "no such part".into() })
    }
}

#[tokio::test]
async fn routes_that_fail_are_in_the_status() {
    let watches = vec![Watch::Exchange("amq.topic".into(), "in".into())];
    let mut route = ContentRoute::new("parts".into(), watches, Mode::Divert, Arc::new(Failing));
    (route.on_error.retry, route.on_error.backoff) = (1, std::time::Duration::from_secs(3600));
    let stage = Stage::with(MemoryStore::default(), Settings::default(), vec![route]).await;
    let publish = |body: &'static str| json!({ "address": "topic:in", "body": body });
    let status_with = async |what: &str, of: &dyn Fn(&Json) -> bool| {
        for _ in 0..300 {
            let status = stage.look("/control/status?seconds=0").await;
            if of(&status) {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("it never happened: {what}");
    };
    stage.done("publish", publish("again")).await;
    let is_tried = |status: &Json| status["routes"]["between_attempts"] == json!(1);
    let status = status_with("it waits between attempts", &is_tried).await;
    assert_eq!(status["well"], json!(true), "it may come right by itself: {status}");
    let warning = status["warnings"][0].as_str().expect("one");
    let begin = "route 'parts' tries 1 messages again, 1 messages wait in queue 'route/parts'; \
                 the last attempt failed ";
    assert!(warning.starts_with(begin) && warning.ends_with(": timeout no such part"), "{warning}");
    let route = stage.look("/control/show/route?name=parts").await;
    assert_eq!(route["last_attempt"]["text"], json!("no such part"));
    assert!(route.get("last_failure").is_none(), "none was final: {route}");

    stage.done("publish", publish("never")).await;
    let is_dead = |status: &Json| status["dead_letters"]["waiting"] == json!(1);
    let status = status_with("it is dead-lettered", &is_dead).await;
    assert_eq!(status["dead_letters"]["largest"][0]["queue"], json!("dead-letters"));
    assert_eq!(status["routes"]["dead_lettered"], json!(1));
    let trouble = status["troubles"][0].as_str().expect("one");
    let begin =
        "route 'parts' sent 1 messages to its dead-letter address, queue:dead-letters, since";
    let end = ": guest no such part; this is shown for 10 min more; to see them: crossdock ctl peek \
               dead-letters, to have the route try them again: crossdock ctl move dead-letters --to-origin";
    assert!(trouble.starts_with(begin) && trouble.ends_with(end), "{trouble}");
    assert_eq!(status["well"], json!(false));
}

#[tokio::test]
async fn the_default_exchange_is_among_the_others() {
    let stage = Stage::new().await;
    stage.done("declare-queue", json!({ "name": "there" })).await;
    stage.done("publish", json!({ "address": "queue:there" })).await;
    // It reaches nobody.
    let _ = stage.post("publish", &json!({ "address": "queue:their" }).to_string()).await;
    for limit in [1, 2, 500] {
        let all = all(&stage, "/control/list/exchanges", limit).await;
        let names: Vec<&Json> = all.iter().map(|one| &one["name"]).collect();
        assert_eq!(names, [&json!(""), &json!("amq.topic")], "by pages of {limit}");
    }
    for name in ["", "(default)"] {
        let shown = stage.look(&format!("/control/show/exchange?name={name}")).await;
        let counts = ["routed", "unroutable"].map(|field| shown[field].as_u64());
        assert_eq!(counts, [Some(1), Some(1)], "{shown}");
        assert_eq!(shown["last_unroutable"]["key"], json!("their"));
    }
    assert_eq!(stage.get("/control/show/exchange?name=none").await.0, 404);
}

#[tokio::test]
async fn a_queue_shows_what_it_refused() {
    let stage = Stage::new().await;
    let arguments = json!({ "x-max-length": 1, "x-overflow": "reject-publish" });
    stage.done("declare-queue", json!({ "name": "small", "arguments": arguments })).await;
    let publish = json!({ "address": "queue:small" });
    stage.done("publish", publish.clone()).await;
    assert_eq!(stage.look("/control/show/queue?name=small").await["refused_full"], json!(0));
    stage.refused("publish", publish).await;
    assert_eq!(stage.look("/control/show/queue?name=small").await["refused_full"], json!(1));
}

#[tokio::test]
async fn the_messages_of_the_status_are_those_of_the_list() {
    let stage = Stage::new().await;
    for (name, count) in [("a", 3), ("b", 0), ("c", 2)] {
        stage.done("declare-queue", json!({ "name": name, "transient": name == "c" })).await;
        for _ in 0..count {
            stage.done("publish", json!({ "address": format!("queue:{name}") })).await;
        }
    }
    // One is with a consumer.
    let spec = SessionSpec::anonymous("/", Origin::default(), Identity::unlimited("guest"));
    let mut session = stage.broker.session(spec).await.expect("opens");
    let lane = session.lane();
    let got = session.get(lane, "a", true).await.expect("a look");
    assert_eq!(got.expect("one is there").1, 2);
    let items = all(&stage, "/control/list/queues", 2).await;
    let sum = |field: &str| items.iter().map(|one| one[field].as_u64().expect(field)).sum::<u64>();
    let status = &stage.look("/control/status?seconds=0").await["queues"];
    assert_eq!(status["count"], json!(items.len()));
    for field in ["messages", "ready", "unacked", "being_stored", "bytes"] {
        assert_eq!(status[field], json!(sum(field)), "{field}: {status} {items:?}");
    }
    assert_eq!((sum("messages"), sum("ready"), sum("unacked")), (5, 4, 1));
    let vhost = stage.look("/control/show/vhost?name=/").await;
    assert_eq!(vhost["messages"], json!(5));
}

#[tokio::test]
async fn the_status_names_who_loses_messages_and_who_publishes_to_nobody() {
    let stage = Stage::new().await;
    for name in ["small", "other"] {
        let arguments = json!({ "x-max-length": 1 });
        stage.done("declare-queue", json!({ "name": name, "arguments": arguments })).await;
    }
    for name in ["small", "small", "small", "other", "other"] {
        stage.done("publish", json!({ "address": format!("queue:{name}") })).await;
    }
    for retain in [false, true] {
        let order = json!({ "address": "topic:nobody/here", "body": "x", "retain": retain });
        let _ = stage.post("publish", &order.to_string()).await;
    }
    let status = stage.look("/control/status?seconds=0").await;
    assert_eq!(status["lost"]["dropped_max_length"], json!(3), "{status}");
    let expected = json!({ "count": 2, "largest": [
        { "vhost": "/", "queue": "small", "lost": 2, "more": 0 },
        { "vhost": "/", "queue": "other", "lost": 1, "more": 0 } ] });
    assert_eq!(status["lost_by_queue"], expected);
    let last = &status["unroutable_last"][0];
    assert_eq!((&last["exchange"], &last["key"]), (&json!("amq.topic"), &json!("nobody/here")));
}

#[tokio::test]
async fn connections_have_the_names_that_clients_give_them() {
    let stage = Stage::new().await;
    let mut sessions = Vec::new();
    for (client, given) in [("device-7", None), ("", Some("billing")), ("", None)] {
        let origin = Origin { client: client.into(), ..Origin::default() };
        let details = given.map(|name| ("connection_name".into(), Value::text(name)));
        let details = details.into_iter().collect();
        let about = About { details, ..About::new("some", "1") };
        let spec = SessionSpec::anonymous("/", origin, Identity::unlimited("guest"));
        let opened = stage.broker.session(SessionSpec { about, ..spec }).await;
        sessions.push(opened.expect("opens"));
    }
    let page = stage.look("/control/list/connections").await;
    assert_eq!(names(&page), ["device-7", "billing", ""]);
}

fn certificate(file: &str, until_s: i64, standing: Standing) -> CertificateLook {
    CertificateLook { file: file.to_owned(), number: 1, from_s: 0, until_s, standing }
}

#[tokio::test]
async fn certificates_are_troubles_and_warnings() {
    let stage = Stage::new().await;
    let (soon, ended) = ("it ends".to_owned(), "it has ended".to_owned());
    *stage.program.1.lock() = vec![
        certificate("good.pem", 9, Standing::Good),
        certificate("soon.pem", 7, Standing::Warning(soon)),
    ];
    let status = stage.look("/control/status?seconds=0").await;
    assert_eq!(status["well"], json!(true), "what is only near is no trouble: {status}");
    assert_eq!(status["warnings"], json!(["it ends"]));
    let listener = &stage.look("/control/show/listener?name=amqp").await;
    assert_eq!(listener["certificate_expires_ms"], json!(7_000));
    assert_eq!(listener["certificates"][1]["wrong"], json!("it ends"));
    *stage.program.1.lock() = vec![certificate("old.pem", 7, Standing::Trouble(ended))];
    let status = stage.look("/control/status?seconds=0").await;
    assert_eq!(status["troubles"], json!(["it has ended"]));
    assert_eq!(status["well"], json!(false));
}

#[tokio::test]
async fn what_is_lost_is_shown_until_somebody_accepts_it() {
    let store = MemoryStore::default();
    let stage = Stage::on(store.clone(), Settings::default()).await;
    let status = stage.look("/control/status?seconds=0").await;
    assert_eq!((&status["well"], &status["warnings"]), (&json!(true), &json!([])));
    let lost = |what: &str, may_be_nothing: bool| Lost {
        place: "journal-1.log".to_owned(),
        what: what.to_owned(),
        records: (!may_be_nothing).then_some(3),
        bytes: Some(70),
        may_be_nothing,
    };
    store.note(lost("the last record was cut off", true)).await;
    let status = stage.look("/control/status?seconds=0").await;
    assert_eq!(status["well"], json!(true), "a crash explains it as well");
    let warning = status["warnings"][0].as_str().expect("one");
    let end = " ago, in journal-1.log: the last record was cut off (70 bytes); when you have seen to all \
               up to here: crossdock ctl accept losses 1";
    assert!(warning.starts_with("perhaps lost, found ") && warning.ends_with(end), "{warning}");
    store.note(lost("entries 5 to 7 are damaged", false)).await;
    let status = stage.look("/control/status?seconds=0").await;
    assert_eq!(status["well"], json!(false));
    let trouble = status["troubles"][0].as_str().expect("one");
    assert!(trouble.contains("entries 5 to 7 are damaged (3 records, 70 bytes)"), "{trouble}");
    let audit = stage.look("/control/audit").await;
    assert_eq!((&audit["balanced"], &audit["losses"]["certain"]), (&json!(true), &json!(1)));
    let listed = stage.look("/control/list/losses?after=1").await;
    assert_eq!(listed["items"][0]["number"], json!(2));
    assert_eq!(stage.done("accept-losses", json!({ "upto": 2 })).await, json!({ "accepted": 2 }));
    let status = stage.look("/control/status?seconds=0").await;
    assert_eq!((&status["well"], &status["warnings"]), (&json!(true), &json!([])));
    let (code, why) = stage.refused("accept-losses", json!({ "upto": 2 })).await;
    assert_eq!(code, 404, "{why}");
}
