//! Steps that plugins do, in a broker that runs: they decide as modules do, and whatever breaks in them, every message
//! that was confirmed is a result, a dead letter, or waits.

use crate::broker::{Broker, Folder, crossdock};
use crate::plugins::{said, start, with_plugin};
use crate::wire::amqp::{Amqp, Properties};
use crate::wire::eventually;
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::stomp::Stomp;

/// A route from the queue `in` to the queue `out` with a step of the fixture, whose calls may take that time.
fn misshaping(call_time: &str, more: &str) -> String {
    let limits = format!("limits = {{ call_time = \"{call_time}\" }}\n[[queue]]\nname = \"bad\"");
    let queues = "[[queue]]\nname = \"in\"\n[[queue]]\nname = \"granted\"\n";
    let steps = "steps = [{ plugin = \"misshape\", destinations = [\"queue:granted\"] }]\n";
    let route = "[[route]]\nname = \"shape\"\nfrom = [\"queue:in\"]\nto = [\"queue:out\"]\n";
    format!("{}{queues}{route}{steps}{more}", with_plugin("misshape", &limits))
}

/// Publishes to a queue, and waits until all are stored.
fn publish(broker: &Broker, queue: &str, bodies: &[&str]) {
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    for body in bodies {
        amqp.publish("", queue, &Properties::persistent(), body.as_bytes());
    }
    amqp.wait_confirms();
}

/// The bodies that are ready in a queue, in their order, when there are that many.
fn taken(broker: &Broker, queue: &str, count: u32) -> Vec<String> {
    let mut amqp = Amqp::connect(broker.amqp);
    eventually(&format!("{count} messages in {queue}"), || {
        (amqp.ready(queue) == count).then_some(())
    });
    // What is counted is there a moment before it can be got.
    let next = |_| eventually("a message", || amqp.get(queue));
    let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    (0..count).map(next).map(|it| text(&it.body)).collect()
}

#[test]
fn a_table_from_amqp_is_json_for_mqtt_and_stomp() {
    let folder = Folder::new();
    let route = "[[queue]]\nname = \"dead-letters\"\n[[route]]\nname = \"tables\"\nfrom = [\"topic:tables/#\"]\n\
        when = \"content_type = 'text/csv'\"\n\
        steps = [\n  { plugin = \"csv-to-json\", with = { numbers = [\"stock\"], rows = \"messages\" } },\n\
        \x20 { set = { priority = \"CASE WHEN json('$.stock') > 5 THEN 7 ELSE 1 END\" } },\n]\n\
        to = [\"topic:items/{json('$.id')}\", \"queue:items\"]\n";
    let broker = start(&folder, &with_plugin("csv-to-json", route));
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("reader"));
    mqtt.subscribe("items/+", 1);
    let mut stomp = Stomp::connect(broker.stomp);
    stomp.request("SUBSCRIBE", &[("id", "1"), ("destination", "/topic/items.I2")], b"");
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    let csv = Some("text/csv".to_owned());
    let properties = Properties { content_type: csv, ..Properties::persistent() };
    let table = b"id,stock,name\r\nI1,50,\"a \"\"b\"\"\"\r\nI2,,caf\xc3\xa9\r\n";
    amqp.publish("amq.topic", "tables.a", &properties, table);
    amqp.wait_confirms();
    let wanted = [
        ("items/I1", r#"{"id":"I1","stock":50,"name":"a \"b\""}"#, "1"),
        ("items/I2", "{\"id\":\"I2\",\"stock\":null,\"name\":\"café\"}", "2"),
    ];
    for (topic, json, row) in wanted {
        let message = mqtt.receive();
        assert_eq!((&*message.topic, &*String::from_utf8_lossy(&message.body)), (topic, json));
        assert_eq!(message.properties.content_type.as_deref(), Some("application/json"));
        let user = &message.properties.user;
        assert!(user.contains(&("row".to_owned(), row.to_owned())), "{user:?}");
    }
    let frame = stomp.receive();
    assert_eq!(String::from_utf8_lossy(&frame.body), wanted[1].1);
    assert_eq!((frame.header("row"), frame.header("priority")), (Some("2"), Some("1")));
    assert_eq!(taken(&broker, "items", 2).len(), 2);

    // What is no table is a dead letter, and those behind it go on.
    amqp.publish("amq.topic", "tables.b", &properties, b"id\nx\ny,z\n");
    amqp.publish("amq.topic", "tables.b", &properties, b"id\nI3\n");
    amqp.wait_confirms();
    assert_eq!(mqtt.receive().topic, "items/I3");
    let dead = eventually("a dead letter", || amqp.get("dead-letters"));
    let header = |name: &str| dead.properties.header(&format!("mq.error.{name}"));
    assert_eq!(header("kind").as_deref(), Some("guest"));
    assert_eq!(header("module").as_deref(), Some("csv-to-json"));
    assert_eq!(header("version").as_deref(), Some("0.1.0"));
    assert_eq!(header("text").as_deref(), Some("line 3: 2 fields, and 1 names"));
    assert_eq!(dead.body, b"id\nx\ny,z\n");
    let (shown, _) = said(&broker, &["ctl", "show", "route", "tables"]);
    assert!(shown.contains("csv-to-json"), "{shown}");
    let (status, _) = said(&broker, &["status", "--seconds", "0"]);
    assert!(status.contains("guest line 3") && !status.contains("out of use"), "{status}");
}

#[test]
fn a_step_of_a_plugin_decides_as_a_module_does() {
    let folder = Folder::new();
    let on_error = "on_error = { dead_letter = \"queue:bad\" }\n";
    let broker = start(&folder, &misshaping("20s", on_error));
    let bodies =
        ["a", "keep", "drop", "none", "again", "to queue:granted", "to queue:in", "user", "many 3"];
    publish(&broker, "in", &bodies);
    let last = "z";
    publish(&broker, "in", &[last]);
    let many = "many 3";
    let mut out = taken(&broker, "out", 7);
    out.sort();
    assert_eq!(out, ["A", "AGAIN", "Z", many, many, many, "to queue:granted"]);
    assert_eq!(taken(&broker, "granted", 1), ["to queue:granted"]);
    assert_eq!(taken(&broker, "in", 1), ["keep"], "as if the route had not taken it");
    let mut amqp = Amqp::connect(broker.amqp);
    for (body, why) in [
        (
            "to queue:in",
            "queue:in is none of the route's own, nor one of the step's `destinations`",
        ),
        ("user", "user_id cannot be changed"),
    ] {
        let dead = eventually("a dead letter", || amqp.get("bad"));
        let text = dead.properties.header("mq.error.text").unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&dead.body), body);
        assert!(text.contains(why), "{text}");
        assert_eq!(dead.properties.header("mq.error.module").as_deref(), Some("misshape"));
    }
    publish(&broker, "in", &["reject"]);
    let rejected = eventually("a dead letter", || amqp.get("bad"));
    let text = rejected.properties.header("mq.error.text").unwrap_or_default();
    assert!(text.contains("rejected"), "{text}");
}

/// What the step breaks at is a dead letter, at once; what is behind it waits for the next start, in its order.
fn breaks(how: &str, kind: &str, why: &str) {
    let folder = Folder::new();
    let on_error = "on_error = { retry = 5, dead_letter = \"queue:bad\" }\n";
    let call_time = if how == "hang" { "500ms" } else { "20s" };
    let mut broker = start(&folder, &misshaping(call_time, on_error));
    publish(&broker, "in", &["before"]);
    assert_eq!(taken(&broker, "out", 1), ["BEFORE"]);
    let behind: Vec<String> = (0..200).map(|n| format!("behind {n}")).collect();
    let all: Vec<&str> = [how].into_iter().chain(behind.iter().map(String::as_str)).collect();
    publish(&broker, "in", &all);
    let mut amqp = Amqp::connect(broker.amqp);
    let dead = eventually("a dead letter", || amqp.get("bad"));
    let header = |name: &str| dead.properties.header(&format!("mq.error.{name}"));
    assert_eq!(String::from_utf8_lossy(&dead.body), how);
    assert_eq!(header("kind").as_deref(), Some(kind));
    assert_eq!(header("module").as_deref(), Some("misshape"));
    assert!(header("text").is_some_and(|text| text.contains(why)), "{:?}", header("text"));
    // All others are there: they were not looked at, or were done before.
    let (status, code) = said(&broker, &["status", "--seconds", "0"]);
    assert_eq!(code, Some(1), "{status}");
    assert!(status.contains("plugin 'misshape' (transform) is out of use"), "{status}");
    assert!(status.contains("shape") && status.contains(why), "{status}");
    let log = broker.log();
    assert_eq!(log.matches("a plugin is out of use").count(), 1, "{log}");
    assert!(log.contains("a content route is down"), "{log}");
    // Everything else goes on, and what is published meanwhile is stored.
    amqp.queue("other", true);
    publish(&broker, "other", &["x"]);
    publish(&broker, "in", &["meanwhile"]);

    broker.crash();
    let upper: Vec<String> = behind.iter().map(|body| body.to_uppercase()).collect();
    let out = taken(&broker, "out", 201);
    assert_eq!(out[..200], upper, "each once, in their order");
    assert_eq!(out[200], "MEANWHILE");
    assert_eq!(taken(&broker, "bad", 0), [] as [&str; 0]);
    let (status, code) = said(&broker, &["status", "--seconds", "0"]);
    assert_eq!(code, Some(0), "{status}");
}

#[test]
fn a_step_that_panics_loses_nothing() {
    breaks("panic", "trap", "its call 'handle' panicked: misshaping (misshape/src/lib.rs:");
}

#[test]
fn a_step_that_hangs_loses_nothing() {
    breaks("hang", "timeout", "its call 'handle' did not return within 500 ms");
}

#[test]
fn every_mistake_about_a_step_of_a_plugin_is_named_with_its_key() {
    let plugin = with_plugin("csv-to-json", "");
    let route = |steps: &str, more: &str| {
        format!(
            "{plugin}[[route]]\nname = \"r\"\nfrom = [\"queue:a\"]\nto = [\"queue:b\"]\n\
             steps = [{{ {steps} }}]\n{more}"
        )
    };
    let csv = "plugin = \"csv-to-json\"";
    let cases = [
        (route(csv, "order = \"strict\"\nconcurrency = 4\n"), "FILE: ok"),
        (
            route("plugin = \"gone\"", ""),
            "FILE:9:12 route[0].steps[0].plugin: no plugin 'gone' is loaded: a [[plugin]] section",
        ),
        (route("plugin = 5", ""), "route[0].steps[0].plugin: must be the name of a plugin"),
        (
            route(&format!("{csv}, with = {{ separator = \"ab\" }}"), ""),
            "route[0].steps[0].with: separator is 'ab', and not one ASCII character",
        ),
        (route(&format!("{csv}, with = 5"), ""), "route[0].steps[0].with: must be a table"),
        (
            route(&format!("{csv}, grants = [\"log\"]"), ""),
            "route[0].steps[0].grants: can only be set for a wasm step",
        ),
        (
            route(&format!("{csv}, shadow = \"x\""), ""),
            "route[0].steps[0].shadow: can only be set for a wasm step",
        ),
        (
            route(&format!("{csv}, destinations = [\"here\"]"), ""),
            "route[0].steps[0].destinations[0]: 'here' is not queue:NAME",
        ),
        (
            route(csv, "limits = { deadline = \"1s\" }\n"),
            "route[0].limits: apply to wasm steps, and this route has none",
        ),
        (
            route(csv, "on_error = { then = \"reject\" }\n"),
            "route[0].on_error.then: the publisher of a route with a wasm or plugin step is answered",
        ),
        (
            with_plugin(
                "misshape",
                &route("plugin = \"misshape\", with = { make = \"panic\" }", "")
                    .replace(&plugin, ""),
            ),
            "route[0].steps[0].plugin: the plugin 'misshape' (",
        ),
        (
            with_plugin(
                "misshape",
                &route("plugin = \"misshape\", with = { make = \"refuse\" }", "")
                    .replace(&plugin, ""),
            ),
            "route[0].steps[0].with: refused in make_step",
        ),
        (
            with_plugin(
                "line-protocol",
                &route("plugin = \"line-protocol\"", "").replace(&plugin, ""),
            ),
            "route[0].steps[0].plugin: the plugin 'line-protocol' brings no transform",
        ),
    ];
    let folder = Folder::new();
    for (text, wanted) in cases {
        let file = folder.write("hub.toml", &text);
        let output = crossdock(&["check-config", &file.to_string_lossy()]).output();
        let output = output.expect("the binary is there");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).replace(&*file.to_string_lossy(), "FILE");
        assert!(said.contains(wanted), "{text}\n{said}\n{wanted}");
        let code = if wanted == "FILE: ok" { 0 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{said}");
    }
}
