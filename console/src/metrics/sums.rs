//! What all objects come to, under the names that RabbitMQ's dashboards and alerts read, where the meaning is the same.

use super::Node;
use super::text::{Kind, Page};
use crate::process::{Started, Usage};
use crossdock_core::{
    CameBy, DeliveredTotals, LeftBy, Name, NodeLook, ProtocolTotals, VhostTotals,
};
use std::fmt::Display;

/// The version of RabbitMQ whose numbers these are like.
const LIKE_RABBITMQ: &str = "4.1.0";
/// Label of numbers that are not counted by protocol.
const ALL: &str = "all";
/// Label of queues: all are of one type.
const QUEUE_TYPE: &str = "rabbit_classic_queue";

/// Who this is. RabbitMQ's dashboards multiply each number by the first of these.
pub fn identity(page: &mut Page, node: &Node, endpoint: &str) {
    page.family("rabbitmq_identity_info", Kind::Gauge, "The node and its cluster.");
    let labels = [
        ("rabbitmq_node", node.name.as_str()),
        ("rabbitmq_cluster", node.name.as_str()),
        ("rabbitmq_cluster_permanent_id", node.name.as_str()),
        ("rabbitmq_endpoint", endpoint),
    ];
    page.sample(&labels, 1);
    page.family("rabbitmq_build_info", Kind::Gauge, "The version, and the one that it is like.");
    let labels = [
        ("rabbitmq_version", LIKE_RABBITMQ),
        ("product_name", "Crossdock"),
        ("product_version", node.version),
        ("erlang_version", "none"),
    ];
    page.sample(&labels, 1);
}

/// A family with one number for each protocol that clients have spoken since the start.
fn by_protocol<T: Display>(
    page: &mut Page,
    (name, kind, help): (&str, Kind, &str),
    node: &NodeLook,
    value: impl Fn(&ProtocolTotals) -> T,
) {
    page.family(name, kind, help);
    for (protocol, totals) in &node.protocols {
        page.sample(&[("protocol", protocol)], value(totals));
    }
}

/// Memory, disk, files and age.
pub fn node(page: &mut Page, node: &NodeLook, started: Started) {
    let usage = Usage::now();
    let mut gauge =
        |name: &str, help: &str, value: u64| page.single(name, Kind::Gauge, help, value);
    gauge("rabbitmq_process_open_fds", "Open file descriptors.", usage.open_files);
    gauge("rabbitmq_process_max_fds", "File descriptors that may be open.", usage.max_files);
    gauge("rabbitmq_process_open_tcp_sockets", "Open sockets.", usage.sockets);
    gauge("rabbitmq_process_max_tcp_sockets", "Sockets that may be open.", usage.max_files);
    let help = "Memory of the process, in bytes.";
    gauge("rabbitmq_process_resident_memory_bytes", help, usage.resident);
    let help = "Memory of messages and objects over which publishers are held back, in bytes.";
    gauge("rabbitmq_resident_memory_limit_bytes", help, node.memory.high_mark as u64);
    let help = "Free disk space of the store, in bytes.";
    gauge("rabbitmq_disk_space_available_bytes", help, node.disk.free);
    let help = "Free disk space under which publishers are held back, in bytes.";
    gauge("rabbitmq_disk_space_available_limit_bytes", help, node.disk.alarm_mark);
    let alarms = [
        (
            "rabbitmq_alarms_memory_used_watermark",
            "Memory holds publishers back.",
            node.memory.alarm,
        ),
        (
            "rabbitmq_alarms_free_disk_space_watermark",
            "The disk holds publishers back.",
            node.disk.alarm,
        ),
    ];
    for (name, help, is_on) in alarms {
        gauge(name, help, u64::from(is_on));
    }
    let help = "Seconds since the process began.";
    page.single("rabbitmq_erlang_uptime_seconds", Kind::Gauge, help, started.uptime());
    page.family("rabbitmq_auth_attempts_total", Kind::Counter, "Attempts to log in.");
    page.sample(&[], node.logins + node.logins_refused);
    let help = "Attempts to log in that were let in.";
    page.single("rabbitmq_auth_attempts_succeeded_total", Kind::Counter, help, node.logins);
    let help = "Attempts to log in that were refused.";
    page.single("rabbitmq_auth_attempts_failed_total", Kind::Counter, help, node.logins_refused);
}

/// How many objects there are, came and went.
pub fn objects(page: &mut Page, node: &NodeLook, totals: &[(Name, VhostTotals)]) {
    let sum = |value: fn(&ProtocolTotals) -> u64| -> u64 {
        node.protocols.iter().map(|(_, totals)| value(totals)).sum()
    };
    let all = all(totals);
    let mut one = |name: &str, kind, help: &str, value: u64| page.single(name, kind, help, value);
    one("rabbitmq_connections", Kind::Gauge, "Open connections.", sum(|p| p.connections));
    one("rabbitmq_channels", Kind::Gauge, "Open channels.", sum(|p| p.channels));
    one("rabbitmq_consumers", Kind::Gauge, "Consumers of queues.", all.depth.consumers);
    one("rabbitmq_queues", Kind::Gauge, "Queues, those of sessions included.", all.queues);
    let counter = Kind::Counter;
    one("rabbitmq_connections_opened_total", counter, "Opened connections.", sum(|p| p.opened));
    one("rabbitmq_connections_closed_total", counter, "Closed connections.", sum(|p| p.closed));
    one("rabbitmq_channels_opened_total", counter, "Opened channels.", sum(|p| p.lanes.lanes));
    let closed = sum(|p| p.lanes.lanes.saturating_sub(p.channels));
    one("rabbitmq_channels_closed_total", counter, "Closed channels.", closed);
    let created = all.queues + all.queues_gone;
    let help = "Queues that were made, or were there at the start.";
    one("rabbitmq_queues_created_total", counter, help, created);
    one("rabbitmq_queues_declared_total", counter, help, created);
    one("rabbitmq_queues_deleted_total", counter, "Deleted queues.", all.queues_gone);
}

fn all(totals: &[(Name, VhostTotals)]) -> VhostTotals {
    let mut all = VhostTotals::default();
    totals.iter().for_each(|(_, totals)| all.add(totals));
    all
}

/// What became of messages.
pub fn messages(page: &mut Page, node: &NodeLook, totals: &[(Name, VhostTotals)]) {
    let all = all(totals);
    let depth = all.depth;
    let mut gauge =
        |name: &str, help: &str, value: u64| page.single(name, Kind::Gauge, help, value);
    gauge("rabbitmq_queue_messages", "Messages in queues.", depth.waiting);
    gauge("rabbitmq_queue_messages_ready", "Messages that wait for consumers.", depth.ready);
    let help = "Messages that consumers have and have not settled.";
    gauge("rabbitmq_queue_messages_unacked", help, depth.in_flight);
    gauge("rabbitmq_queue_messages_bytes", "Bytes of messages in queues.", depth.waiting_bytes);
    let help = "Bytes of messages that wait for consumers.";
    gauge("rabbitmq_queue_messages_ready_bytes", help, depth.ready_bytes);
    let help = "Bytes of messages that consumers have and have not settled.";
    gauge("rabbitmq_queue_messages_unacked_bytes", help, depth.in_flight_bytes);
    let counter = Kind::Counter;
    let name = "rabbitmq_global_messages_received_total";
    by_protocol(page, (name, counter, "Published messages."), node, |p| p.lanes.received);
    let name = "rabbitmq_global_messages_received_confirm_total";
    let help = "Published messages that ask for an answer.";
    by_protocol(page, (name, counter, help), node, |p| p.lanes.asked);
    let name = "rabbitmq_global_messages_confirmed_total";
    let help = "Publishes that were answered with yes, those that went to nobody included.";
    by_protocol(page, (name, counter, help), node, |p| p.lanes.confirmed + p.lanes.returned);
    let name = "rabbitmq_global_messages_unroutable_returned_total";
    let help = "Publishes that went to nobody and asked for an answer, with mandatory or without.";
    by_protocol(page, (name, counter, help), node, |p| p.lanes.returned);
    let name = "rabbitmq_global_publishers";
    let help = "Channels that have published.";
    by_protocol(page, (name, Kind::Gauge, help), node, |p| p.publishers);
    let name = "rabbitmq_global_consumers";
    by_protocol(page, (name, Kind::Gauge, "Consumers."), node, |p| p.consumers);
    let returned: u64 = node.protocols.iter().map(|(_, p)| p.lanes.returned).sum();
    let dropped = all.exchanges.unroutable.saturating_sub(returned);
    for (name, help, value) in [
        ("routed_total", "Messages that went to somebody.", all.exchanges.routed),
        ("unroutable_dropped_total", "Messages that went to nobody, unsaid.", dropped),
    ] {
        page.family(&format!("rabbitmq_global_messages_{name}"), counter, help);
        page.sample(&[("protocol", ALL)], value);
    }
    deliveries(page, node, &all);
    sizes(page, node);
}

/// Messages on their way to consumers, by protocol where connections count them.
fn deliveries(page: &mut Page, node: &NodeLook, all: &VhostTotals) {
    type Row = (&'static str, &'static str, fn(&DeliveredTotals) -> u64);
    let rows: [Row; 6] = [
        ("delivered_total", "Messages handed to consumers.", |d| {
            d.delivered + d.delivered_unsettled + d.direct + d.got + d.got_unsettled
        }),
        ("delivered_consume_manual_ack_total", "Messages handed to consumers that settle.", |d| {
            d.delivered
        }),
        (
            "delivered_consume_auto_ack_total",
            "Messages handed to consumers that do not settle, those of QoS 0 included.",
            |d| d.delivered_unsettled + d.direct,
        ),
        ("delivered_get_manual_ack_total", "Messages that were asked for singly.", |d| d.got),
        (
            "delivered_get_auto_ack_total",
            "Messages that were asked for singly, without settling.",
            |d| d.got_unsettled,
        ),
        ("acknowledged_total", "Messages that consumers have accepted.", |d| d.acknowledged),
    ];
    for (name, help, value) in rows {
        page.family(&format!("rabbitmq_global_messages_{name}"), Kind::Counter, help);
        for (protocol, totals) in &node.protocols {
            let labels = [("protocol", &**protocol), ("queue_type", QUEUE_TYPE)];
            page.sample(&labels, value(&totals.deliveries));
        }
    }
    let rows = [
        (
            "get_empty_total",
            "Single messages that were asked for, and none was there.",
            all.deliveries.got_nothing,
        ),
        (
            "redelivered_total",
            "Messages handed out that a consumer may have seen before.",
            all.deliveries.redelivered,
        ),
    ];
    for (name, help, value) in rows {
        page.family(&format!("rabbitmq_global_messages_{name}"), Kind::Counter, help);
        page.sample(&[("protocol", ALL), ("queue_type", QUEUE_TYPE)], value);
    }
    dead_letters(page, all);
}

fn dead_letters(page: &mut Page, all: &VhostTotals) {
    let dead = |by| all.records.left(by);
    let rows = [
        ("rejected_total", "Rejected messages.", dead(LeftBy::DeadLetterRejected)),
        ("expired_total", "Expired messages.", dead(LeftBy::DeadLetterExpired)),
        ("maxlen_total", "Messages over a length limit.", dead(LeftBy::DeadLetterMaxLength)),
        (
            "delivery_limit_total",
            "Messages that were delivered too often.",
            dead(LeftBy::DeadLetterDeliveryLimit),
        ),
        ("confirmed_total", "Dead letters that were stored.", all.records.came(CameBy::DeadLetter)),
    ];
    for (name, help, value) in rows {
        let name = format!("rabbitmq_global_messages_dead_lettered_{name}");
        page.family(&name, Kind::Counter, &format!("To a dead-letter address: {help}"));
        let labels = [("queue_type", QUEUE_TYPE), ("dead_letter_strategy", "at_least_once")];
        page.sample(&labels, value);
    }
}

/// How large published messages are.
fn sizes(page: &mut Page, node: &NodeLook) {
    let help = "Bytes of the bodies of published messages.";
    page.family("rabbitmq_message_size_bytes", Kind::Histogram, help);
    for (protocol, totals) in &node.protocols {
        for (bound, count) in totals.sizes.up_to() {
            page.part("_bucket", &[("protocol", protocol), ("le", &bucket(bound))], count);
        }
        let (count, bytes) = (totals.sizes.count(), totals.sizes.bytes);
        page.part("_bucket", &[("protocol", protocol), ("le", "+Inf")], count);
        page.part("_sum", &[("protocol", protocol)], bytes);
        page.part("_count", &[("protocol", protocol)], count);
    }
}

/// A bound as Prometheus spells floats from its version 3 on, and as dashboards ask for it: `100.0`, `5e+07`.
fn bucket(bound: u32) -> String {
    match bound {
        0..1_000_000 => format!("{bound}.0"),
        _ => {
            let exponent = bound.ilog10();
            let (first, rest) = (bound / 10u32.pow(exponent), bound % 10u32.pow(exponent));
            let rest = format!("{rest:0>width$}", width = exponent as usize);
            let rest = rest.trim_end_matches('0');
            let point = if rest.is_empty() { "" } else { "." };
            format!("{first}{point}{rest}e+{exponent:02}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_spelled_as_dashboards_ask_for_them() {
        let spelled = [100, 100_000, 1_000_000, 50_000_000, 12_500_000].map(bucket);
        assert_eq!(spelled, ["100.0", "100000.0", "1e+06", "5e+07", "1.25e+07"]);
    }
}
