//! What RabbitMQ's overview board asks Prometheus for, asked of Debian's `prometheus` while it reads a broker: each
//! expression has to give a value, and the sums are what was sent.

use super::{address, get};
use crate::broker::{Broker, Folder};
use crate::wire::amqp::{Amqp, Properties};
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::stomp::Stomp;
use crate::wire::{PATIENCE, eventually};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// What the board multiplies each number by: it chooses the cluster and brings the node's name.
const IDENTITY: &str = "* on(instance, job) group_left(rabbitmq_cluster, rabbitmq_node) \
    rabbitmq_identity_info{rabbitmq_cluster=~\"crossdock@.+\", namespace=\"\", rabbitmq_endpoint=\"aggregated\"}";
/// Names that the board reads.
const NAMES: usize = 40;

/// Numbers that it shows as they are: in all, and by node.
const GAUGES: [&str; 9] = [
    "rabbitmq_queue_messages_ready",
    "rabbitmq_queue_messages_unacked",
    "rabbitmq_connections",
    "rabbitmq_channels",
    "rabbitmq_queues",
    "rabbitmq_global_publishers",
    "rabbitmq_global_consumers",
    "rabbitmq_disk_space_available_bytes",
    "rabbitmq_build_info",
];

/// Numbers of which it shows how fast they grow.
const RATES: [&str; 19] = [
    "rabbitmq_global_messages_received_total",
    "rabbitmq_global_messages_routed_total",
    "rabbitmq_global_messages_confirmed_total",
    "rabbitmq_global_messages_unroutable_dropped_total",
    "rabbitmq_global_messages_unroutable_returned_total",
    "rabbitmq_global_messages_delivered_total",
    "rabbitmq_global_messages_delivered_consume_manual_ack_total",
    "rabbitmq_global_messages_delivered_consume_auto_ack_total",
    "rabbitmq_global_messages_delivered_get_manual_ack_total",
    "rabbitmq_global_messages_delivered_get_auto_ack_total",
    "rabbitmq_global_messages_get_empty_total",
    "rabbitmq_global_messages_redelivered_total",
    "rabbitmq_global_messages_acknowledged_total",
    "rabbitmq_queues_declared_total",
    "rabbitmq_queues_created_total",
    "rabbitmq_queues_deleted_total",
    "rabbitmq_channels_opened_total",
    "rabbitmq_channels_closed_total",
    "rabbitmq_connections_opened_total",
];

/// Numbers of which it shows what is left of the first beside the second.
const MARGINS: [(&str, &str); 4] = [
    ("rabbitmq_resident_memory_limit_bytes", "rabbitmq_process_resident_memory_bytes"),
    ("rabbitmq_disk_space_available_bytes", "rabbitmq_disk_space_available_limit_bytes"),
    ("rabbitmq_process_max_fds", "rabbitmq_process_open_fds"),
    ("rabbitmq_process_max_tcp_sockets", "rabbitmq_process_open_tcp_sockets"),
];

/// Bounds of the classes of message sizes, as it spells them.
const SIZES: [&str; 9] =
    ["100.0", "1000.0", "10000.0", "100000.0", "1e+06", "1e+07", "5e+07", "1e+08", "+Inf"];

fn increase(series: &str) -> String {
    format!("sum(increase(rabbitmq_message_size_bytes_{series}[60s]) {IDENTITY})")
}

/// All that the board asks for.
fn expressions() -> Vec<String> {
    let mut all = Vec::new();
    for name in GAUGES {
        all.push(format!("sum({name} {IDENTITY})"));
        all.push(format!("sum({name} {IDENTITY}) by(rabbitmq_node)"));
    }
    for name in RATES {
        all.push(format!("sum(irate({name}[60s]) {IDENTITY})"));
        all.push(format!("sum(rate({name}[60s]) {IDENTITY}) by(rabbitmq_node)"));
    }
    let closed = "rabbitmq_connections_closed_total";
    all.push(format!("sum(rate({closed}[60s]) {IDENTITY}) by(rabbitmq_node)"));
    all.extend(MARGINS.map(|(most, used)| format!("({most} {IDENTITY}) - ({used} {IDENTITY})")));
    let rate = |name: &str| format!("rate(rabbitmq_global_messages_{name}[60s]) {IDENTITY}");
    let pairs = [
        ("received_confirm_total", "-", "confirmed_total"),
        ("delivered_consume_auto_ack_total", "+", "delivered_consume_manual_ack_total"),
    ];
    all.extend(pairs.map(|(one, sign, other)| {
        format!("sum(({}) {sign} ({})) by(rabbitmq_node)", rate(one), rate(other))
    }));
    all.push(format!("count({})", IDENTITY.rsplit(") ").next().expect("a last part")));
    let uptime = "rabbitmq_erlang_uptime_seconds * on(instance, job) \
        group_left(rabbitmq_version, erlang_version) rabbitmq_build_info";
    all.push(format!("{uptime} {IDENTITY}"));
    all.push(format!("{} / {}", increase("sum"), increase("count")));
    let class = |bound: &str| increase(&format!("bucket{{le=\"{bound}\"}}"));
    all.push(format!("{} / {}", class(SIZES[0]), class("+Inf")));
    for pair in SIZES.windows(2) {
        let (below, above) = (class(pair[0]), class(pair[1]));
        all.push(format!("({above} - {below}) / {}", class("+Inf")));
    }
    all
}

/// The names of families in an expression.
fn names(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let labels = ["rabbitmq_cluster", "rabbitmq_node", "rabbitmq_endpoint", "rabbitmq_version"];
    let families = words.filter(move |w| w.starts_with("rabbitmq_") && !labels.contains(w));
    families.map(|word| match word.strip_prefix("rabbitmq_message_size_bytes_") {
        Some(_) => "rabbitmq_message_size_bytes",
        None => word,
    })
}

/// Debian's prometheus, reading one broker each second; killed when dropped.
struct Prometheus {
    child: Child,
    at: SocketAddr,
    _folder: Folder,
}

impl Prometheus {
    fn reading(target: SocketAddr) -> Self {
        let folder = Folder::new();
        let config = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\n\
             scrape_configs:\n- job_name: crossdock\n  static_configs: [{{targets: ['{target}']}}]\n"
        );
        let config = folder.write("prometheus.yml", &config);
        // It cannot be told to choose a port and say which.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let at = free.expect("a free port");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()));
        command.arg(format!("--web.listen-address={at}"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("it is installed");
        let this = Self { child, at, _folder: folder };
        eventually("prometheus listens", || TcpStream::connect(at).ok());
        this
    }

    /// The first value of an expression; none: it gives none, or no number.
    fn value(&self, expression: &str) -> Option<f64> {
        let query: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut stream = TcpStream::connect(self.at).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let host = self.at;
        let request = format!("GET /api/v1/query?query={query} HTTP/1.0\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, value) = answer.split_once("\"value\":[")?;
        value.split('"').nth(1)?.parse().ok().filter(|value: &f64| value.is_finite())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether prometheus can be used here. In CI, or with CROSSDOCK_CLIENTS=required, it must be usable.
fn is_there() -> bool {
    let answers = |program: &str| {
        let mut command = Command::new(program);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    if answers("prometheus") && answers("promtool") {
        return true;
    }
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let required = is("CI", "true") || is("CROSSDOCK_CLIENTS", "required");
    assert!(!required, "prometheus is not installed");
    println!("skipped: prometheus is not installed");
    false
}

/// Clients of each protocol that publish and read.
struct Traffic {
    amqp: Amqp,
    mqtt: Mqtt,
    stomp: Stomp,
    sent: u32,
}

impl Traffic {
    fn begin(broker: &Broker) -> Self {
        let mut amqp = Amqp::connect(broker.amqp);
        amqp.queue("board", true);
        amqp.confirm_select();
        let mut mqtt = Mqtt::connect(broker.mqtt, &Connect::v5("board"));
        mqtt.subscribe("board/#", 1);
        Self { amqp, mqtt, stomp: Stomp::connect(broker.stomp), sent: 0 }
    }

    /// Five publishes, of which one goes to nobody.
    fn go_on(&mut self) {
        self.amqp.publish("", "board", &Properties::persistent(), &[0; 2_000]);
        self.amqp.publish("", "nobody", &Properties::persistent(), b"x");
        self.amqp.wait_confirms();
        while self.amqp.get("board").is_some() {}
        for level in [0, 1] {
            self.mqtt.publish("board/a", b"x", level);
        }
        (0..2).for_each(|_| drop(self.mqtt.receive()));
        self.stomp.request("SEND", &[("destination", "/queue/other")], b"x");
        self.sent += 5;
    }
}

#[test]
fn each_expression_of_the_overview_board_has_a_value() {
    if !is_there() {
        return;
    }
    let broker = Broker::start();
    let prometheus = Prometheus::reading(address(&broker));
    let mut traffic = Traffic::begin(&broker);
    let until = Instant::now() + PATIENCE;
    loop {
        traffic.go_on();
        let lacks = |expression: &String| prometheus.value(expression).is_none();
        let missing: Vec<String> = expressions().into_iter().filter(lacks).collect();
        if missing.is_empty() {
            break;
        }
        assert!(Instant::now() < until, "without a value: {missing:#?}");
    }
    let sums = ["rabbitmq_global_messages_received_total", "rabbitmq_message_size_bytes_count"];
    for sum in sums {
        let expression = format!("sum({sum} {IDENTITY})");
        eventually("the sum is what was sent", || {
            (prometheus.value(&expression)? == f64::from(traffic.sent)).then_some(())
        });
    }
}

#[test]
fn the_names_that_the_board_reads_are_there_before_anybody_came() {
    let broker = Broker::start();
    let page = get(address(&broker), "/metrics").body;
    let expressions = expressions();
    let names: BTreeSet<&str> = expressions.iter().flat_map(|one| names(one)).collect();
    assert_eq!(names.len(), NAMES, "{names:?}");
    for name in names {
        let has_sample = |line: &str| {
            let rest = line.strip_prefix(name).unwrap_or_default();
            rest.starts_with(['{', ' ']) || rest.starts_with("_bucket{")
        };
        assert!(page.contains(&format!("# TYPE {name} ")), "{name} in\n{page}");
        assert!(page.lines().any(has_sample), "a sample of {name} in\n{page}");
    }
}

#[test]
fn promtool_finds_no_mistake() {
    if !is_there() {
        return;
    }
    let broker = Broker::start();
    Traffic::begin(&broker).go_on();
    for path in ["/metrics", "/metrics/per-object", "/metrics/detailed?family=queue_balance"] {
        let page = get(address(&broker), path).body;
        let mut command = Command::new("promtool");
        command.args(["check", "metrics"]).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it is installed");
        let mut input = child.stdin.take().expect("it is piped");
        input.write_all(page.as_bytes()).expect("it reads");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{path}: {said}\n{page}");
    }
}
