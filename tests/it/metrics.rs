//! `/metrics…` and `/health/…` of the program, over sockets.

mod boards;

use crate::broker::Broker;
use crate::wire::amqp::{Amqp, Field, Properties};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::{PATIENCE, eventually};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Where the metrics of a broker are.
pub fn address(broker: &Broker) -> SocketAddr {
    let word = broker.ready.split(' ').find_map(|word| word.strip_prefix("metrics="));
    word.and_then(|address| address.parse().ok()).expect("it listens for metrics")
}

/// The status line, head and body of an answer.
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

fn ask(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

/// The same, as that user of another machine: the listener takes PROXY headers.
pub fn get_from_elsewhere(
    address: SocketAddr,
    path: &str,
    (user, password): (&str, &str),
) -> Answer {
    let login = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let head = format!(
        "PROXY TCP4 192.0.2.7 192.0.2.1 4711 15692\r\nGET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    );
    ask(address, &format!("{head}Authorization: Basic {login}\r\n\r\n"))
}

/// The value of a sample, by its name and labels as they are written.
pub fn value(page: &str, sample: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok())
}

#[test]
fn the_sums_are_what_clients_did() {
    let broker = Broker::start();
    let at = address(&broker);
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.queue("counted", true);
    amqp.confirm_select();
    for n in 0..7u8 {
        amqp.publish("", "counted", &Properties::persistent(), &[n]);
    }
    amqp.wait_confirms();
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("counter"));
    mqtt.subscribe("a/#", 1);
    let page = get(at, "/metrics");
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: text/plain; version=0.0.4"), "{}", page.head);
    let expected = [
        ("rabbitmq_connections", 2.0),
        ("rabbitmq_queue_messages_ready", 7.0),
        ("rabbitmq_queue_messages_unacked", 0.0),
        ("rabbitmq_global_messages_received_total{protocol=\"amqp\"}", 7.0),
        ("rabbitmq_global_messages_received_confirm_total{protocol=\"amqp\"}", 7.0),
        ("rabbitmq_global_messages_confirmed_total{protocol=\"amqp\"}", 7.0),
        ("rabbitmq_global_messages_routed_total{protocol=\"all\"}", 7.0),
        ("rabbitmq_global_consumers{protocol=\"mqtt\"}", 1.0),
        ("rabbitmq_message_size_bytes_bucket{protocol=\"amqp\",le=\"100.0\"}", 7.0),
        ("rabbitmq_message_size_bytes_sum{protocol=\"amqp\"}", 7.0),
        ("rabbitmq_message_size_bytes_count{protocol=\"mqtt\"}", 0.0),
        ("crossdock_messages_came_total{vhost=\"/\",by=\"published\"}", 7.0),
        ("crossdock_messages_waiting{vhost=\"/\"}", 7.0),
        ("crossdock_messages_published_total{vhost=\"/\",fate=\"routed\"}", 7.0),
    ];
    for (sample, number) in expected {
        assert_eq!(value(&page.body, sample), Some(number), "{sample} in\n{}", page.body);
    }
    assert!(value(&page.body, "rabbitmq_process_resident_memory_bytes") > Some(1e6));
    assert!(page.body.contains("rabbitmq_endpoint=\"aggregated\"} 1\n"));
}

#[test]
fn each_object_is_shown_by_itself() {
    let broker = Broker::start();
    let at = address(&broker);
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.queue("one", true);
    amqp.queue("a \"strange\" one", true);
    amqp.confirm_select();
    amqp.publish("", "one", &Properties::persistent(), b"x");
    amqp.wait_confirms();
    let page = get(at, "/metrics/per-object").body;
    let ready = "rabbitmq_queue_messages_ready{vhost=\"/\",queue=";
    assert_eq!(value(&page, &format!("{ready}\"one\"}}")), Some(1.0), "{page}");
    assert_eq!(value(&page, &format!("{ready}\"a \\\"strange\\\" one\"}}")), Some(0.0), "{page}");
    let came = "crossdock_queue_messages_came_total{vhost=\"/\",queue=\"one\",by=\"published\"}";
    assert_eq!(value(&page, came), Some(1.0), "{page}");
    let page = get(at, "/metrics/detailed?family=queue_coarse_metrics&vhost=%2F&queue=one").body;
    let ready = "rabbitmq_detailed_queue_messages_ready{vhost=\"/\",queue=\"one\"}";
    assert_eq!(value(&page, ready), Some(1.0), "{page}");
    assert!(!page.contains("strange") && !page.contains("delivered"), "{page}");
    let twice = get(at, "/metrics/detailed?family=queue_balance&family=queue_balance").body;
    assert_eq!(twice.matches("# TYPE crossdock_queue_messages_came_total").count(), 1, "{twice}");
    for (path, why) in [
        ("/metrics/detailed?family=none", "none of the families"),
        ("/metrics/detailed?color=red", "none of family, vhost, queue"),
        ("/metrics/detailed?family=exchange_metrics&vhost=x", "no virtual host 'x'"),
        ("/metrics/per-object?famly=x", "famly"),
    ] {
        let answer = get(at, path);
        assert_eq!(answer.status, 400, "{path}");
        assert!(answer.body.contains(why), "{path}: {}", answer.body);
    }
    assert_eq!(get(at, "/metric").status, 404);
}

#[test]
fn health_tells_whether_messages_are_taken() {
    let broker = Broker::start();
    let at = address(&broker);
    for path in ["/health/live", "/health/ready"] {
        let answer = get(at, path);
        assert_eq!((answer.status, &*answer.body), (200, "ok\n"), "{path}");
    }
    let low = Broker::with(&["--set", "store.disk_free_alarm=100TiB"]);
    let at = address(&low);
    assert_eq!(get(at, "/health/live").status, 200);
    let answer = eventually("the disk is looked at", || {
        Some(get(at, "/health/ready")).filter(|answer| answer.status == 503)
    });
    let limit = value(&get(at, "/metrics").body, "rabbitmq_disk_space_available_limit_bytes");
    assert_eq!(limit, Some((100u64 << 40) as f64));
    assert!(answer.body.contains("store.disk_free_alarm"), "{}", answer.body);
}

#[test]
fn a_page_in_a_browser_reads_nothing_by_a_name_of_its_own() {
    let broker = Broker::start();
    let at = address(&broker);
    let by_name = |host: &str| {
        ask(at, &format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    };
    assert_eq!(by_name("evil.example:15692").status, 403);
    assert!(by_name("evil.example").body.contains("metrics.hosts"));
    assert_eq!(by_name("127.0.0.1:15692").status, 200);
}

#[test]
fn what_is_no_request_is_closed() {
    let broker = Broker::start();
    let at = address(&broker);
    for bytes in [&b"GET / HTTP/1.1\r\nbroken\r\n\r\n"[..], b"\x16\x03\x01\x02\0", b"MQTT\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(at).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(bytes).expect("it reads");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 400"), "{text}");
    }
    let headers: String = (0..100).map(|n| format!("x-{n}: y\r\n")).collect();
    let answer = ask(at, &format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"));
    assert_eq!(answer.status, 431);
    assert_eq!(get(at, "/metrics").status, 200);
}

#[test]
fn connections_that_are_turned_away_are_counted_by_reason() {
    let broker = Broker::with(&["--set", "listeners.stomp.connections_max=1"]);
    let at = address(&broker);
    let refused = |reason: &str| {
        let sample = format!("crossdock_connections_refused_total{{reason=\"{reason}\"}}");
        value(&get(at, "/metrics").body, &sample)
    };
    assert_eq!((refused("http"), refused("listener_full")), (Some(0.0), Some(0.0)));
    ask(broker.amqp, "GET / HTTP/1.1\r\n\r\n");
    eventually("the HTTP client is counted", || (refused("http") == Some(1.0)).then_some(()));
    let _first = TcpStream::connect(broker.stomp).expect("it listens");
    let _second = TcpStream::connect(broker.stomp).expect("it listens");
    eventually("the second one is counted", || {
        (refused("listener_full") == Some(1.0)).then_some(())
    });
}

#[test]
fn deliveries_are_counted_for_the_readers_protocol() {
    let broker = Broker::start();
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.queue("read", true);
    amqp.confirm_select();
    for _ in 0..3 {
        amqp.publish("", "read", &Properties::persistent(), b"x");
    }
    amqp.wait_confirms();
    amqp.consume("read", false);
    for _ in 0..3 {
        let delivery = amqp.receive();
        amqp.ack(&delivery);
    }
    let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("reader"));
    mqtt.subscribe("a", 0);
    mqtt.publish("a", b"x", 0);
    mqtt.receive();
    let expected = [
        ("delivered_total", "amqp", 3.0),
        ("delivered_consume_manual_ack_total", "amqp", 3.0),
        ("acknowledged_total", "amqp", 3.0),
        ("delivered_total", "mqtt", 1.0),
        ("delivered_consume_auto_ack_total", "mqtt", 1.0),
        ("delivered_total", "stomp", 0.0),
    ];
    for (name, protocol, number) in expected {
        let labels = format!("{{protocol=\"{protocol}\",queue_type=\"rabbit_classic_queue\"}}");
        let sample = format!("rabbitmq_global_messages_{name}{labels}");
        eventually("the deliveries are counted", || {
            (value(&get(address(&broker), "/metrics").body, &sample) == Some(number)).then_some(())
        });
    }
}

#[test]
fn what_is_lost_between_protocols_is_counted_by_field() {
    let broker = Broker::start();
    let mut old = Mqtt::connect(broker.mqtt, &Connect::v311("old"));
    let mut new = Mqtt::connect(broker.mqtt, &Connect::v5("new"));
    old.subscribe("lossy", 1);
    new.subscribe("lossy", 1);
    let mut amqp = Amqp::connect(broker.amqp);
    amqp.confirm_select();
    let headers =
        vec![("a".to_owned(), Field::Text("1".into())), ("b".to_owned(), Field::Number(2))];
    let properties =
        Properties { content_type: Some("text/plain".into()), headers, ..Properties::persistent() };
    for _ in 0..3 {
        amqp.publish("amq.topic", "lossy", &properties, b"x");
    }
    amqp.wait_confirms();
    for reader in [&mut old, &mut new] {
        (0..3).for_each(|_| drop(reader.receive()));
    }
    let page = get(address(&broker), "/metrics").body;
    let pair = |to: &str| format!("from=\"amqp-0.9.1\",to=\"{to}\"");
    let lost = |to: &str, field: &str| {
        let labels = format!("{{{},field=\"{field}\"}}", pair(to));
        value(&page, &format!("crossdock_conversion_loss_total{labels}"))
    };
    for to in ["mqtt-3.1.1", "mqtt-5.0"] {
        let sample = format!("crossdock_converted_total{{{}}}", pair(to));
        assert_eq!(value(&page, &sample), Some(3.0), "{to} in\n{page}");
    }
    for field in ["content-type", "header"] {
        assert_eq!(lost("mqtt-3.1.1", field), Some(3.0), "{field} in\n{page}");
    }
    let any = format!("crossdock_conversion_loss_total{{{}", pair("mqtt-5.0"));
    assert!(!page.contains(&any), "nothing is lost there:\n{page}");
}

/// Messages to a subscriber that does not read.
const UNREAD: usize = 2_000;

#[test]
fn what_slow_subscribers_miss_is_counted_and_told() {
    let broker = Broker::with(&["--set", "limits.inbox_bytes=64KiB"]);
    let mut slow = Mqtt::connect(broker.mqtt, &Connect::v5("slow"));
    slow.subscribe("all", 0);
    let mut sender = Mqtt::connect(broker.mqtt, &Connect::v5("sender"));
    (0..UNREAD).for_each(|_| sender.publish("all", &[b'x'; 10_000], 1));
    let mut got = 0;
    while slow.receive_within(Duration::from_secs(1)).is_some() {
        got += 1;
    }
    let page = get(address(&broker), "/metrics").body;
    let missed = value(&page, "crossdock_inbox_dropped_total{protocol=\"mqtt\"}");
    assert_eq!(missed, Some((UNREAD - got) as f64));
    assert!(got < UNREAD, "the system has room for {UNREAD} messages");
    let line = eventually("it is told", || {
        let log = broker.log();
        let told = log.lines().find(|line| line.contains("messages of level 0 were dropped"));
        told.map(str::to_owned)
    });
    for word in ["client=\"slow\"".to_owned(), format!("dropped={}", UNREAD - got)] {
        assert!(line.contains(&word), "{word} in {line}");
    }
}
