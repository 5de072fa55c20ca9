//! What only this broker counts.

use super::text::{Kind, Labels, Page};
use crate::control::{ListenerLook, PluginLook};
use crate::process::Started;
use crossdock_core::fate::ConversionTotals;
use crossdock_core::store::Loss;
use crossdock_core::transform::{ModuleLook, Number, RehearsalLook};
use crossdock_core::{CameBy, LeftBy, Name, NodeLook, RouteStatus, VhostTotals};
use std::collections::BTreeMap;

/// Limits, refusals, memory.
pub fn node(page: &mut Page, node: &NodeLook, started: Started) {
    let help = "When the process began, in seconds since 1970.";
    page.single("process_start_time_seconds", Kind::Gauge, help, started.unix_seconds());
    page.family(
        "crossdock_memory_bytes",
        Kind::Gauge,
        "Memory of messages that can leave it, and of what is kept until it is taken away.",
    );
    page.sample(&[("of", "waiting")], node.memory.waiting);
    page.sample(&[("of", "kept")], node.memory.kept);
    let help = "Memory of messages over which they leave it for the disk, in bytes.";
    page.single(
        "crossdock_memory_resident_mark_bytes",
        Kind::Gauge,
        help,
        node.memory.resident_mark,
    );
    let help = "Connections whose publishes are held back.";
    page.single("crossdock_publishers_held", Kind::Gauge, help, node.publishers_held);
    let help = "The disk has so little room that nothing is declared.";
    page.single("crossdock_disk_exhausted", Kind::Gauge, help, u8::from(node.disk.exhausted));
    let help = "The store has failed: nothing is acknowledged any more.";
    page.single("crossdock_store_failed", Kind::Gauge, help, u8::from(node.store_failed));
    let help = "What users asked for without a right to it.";
    page.single("crossdock_rights_refused_total", Kind::Counter, help, node.rights_refused);
    page.family(
        "crossdock_limit_refused_total",
        Kind::Counter,
        "Requests that met a limit, by the key of the configuration that sets it.",
    );
    for (key, count) in &node.limits_met {
        page.sample(&[("limit", key)], count);
    }
    let help = "Connections that were closed before their clients logged in, by reason.";
    page.family("crossdock_connections_refused_total", Kind::Counter, help);
    for (why, count) in &node.connections_refused {
        page.sample(&[("reason", why)], count);
    }
    let help = "Clients that were lost before their login was complete, by reason.";
    page.family("crossdock_logins_unfinished_total", Kind::Counter, help);
    for one in &node.logins_unfinished {
        let why = one.why.as_str();
        let labels = [("listener", &*one.listener), ("protocol", &*one.protocol), ("reason", why)];
        page.sample(&labels, one.count);
    }
    deliveries(page, node);
    page.family("crossdock_received_bytes_total", Kind::Counter, "Bytes from clients.");
    for (protocol, totals) in &node.protocols {
        page.sample(&[("protocol", protocol)], totals.bytes_received);
    }
    page.family("crossdock_sent_bytes_total", Kind::Counter, "Bytes to clients.");
    for (protocol, totals) in &node.protocols {
        page.sample(&[("protocol", protocol)], totals.bytes_sent);
    }
    let answers = "Publishes that were refused, and whose publisher was told so.";
    page.family("crossdock_publishes_refused_total", Kind::Counter, answers);
    for (protocol, totals) in &node.protocols {
        page.sample(&[("protocol", protocol)], totals.lanes.refused);
    }
    let dropped = "Publishes that were refused, and whose publisher gets no answer.";
    page.family("crossdock_publishes_dropped_total", Kind::Counter, dropped);
    for (protocol, totals) in &node.protocols {
        page.sample(&[("protocol", protocol)], totals.lanes.dropped);
    }
}

/// Deliveries that were not what they should be.
fn deliveries(page: &mut Page, node: &NodeLook) {
    let help = "Deliveries of level 0 that were dropped: their subscribers read too slowly.";
    page.family("crossdock_inbox_dropped_total", Kind::Counter, help);
    for (protocol, totals) in &node.protocols {
        page.sample(&[("protocol", protocol)], totals.deliveries.direct_dropped);
    }
    let help = "Deliveries whose headers were larger than the reader's frames, and sent whole.";
    page.family("crossdock_oversized_headers_total", Kind::Counter, help);
    for (protocol, totals) in &node.protocols {
        page.sample(&[("protocol", protocol)], totals.deliveries.oversized);
    }
}

/// What the store knows to be lost, and nobody has accepted.
pub fn losses(page: &mut Page, all: &[Loss]) {
    let help = "Losses from the store that no operator has accepted; what an unfinished write explains as \
                well is not certain.";
    page.family("crossdock_store_losses", Kind::Gauge, help);
    let certain = all.iter().filter(|loss| !loss.lost.may_be_nothing).count();
    page.sample(&[("certain", "yes")], certain);
    page.sample(&[("certain", "no")], all.len() - certain);
}

/// When the certificates of listeners end. Of several in one file that is the first one's end.
pub fn certificates(page: &mut Page, listeners: &[ListenerLook]) {
    let help = "When the first certificate in a file of a listener expires, in seconds since 1970.";
    page.family("crossdock_certificate_expires_timestamp_seconds", Kind::Gauge, help);
    for listener in listeners {
        let mut files: BTreeMap<&str, i64> = BTreeMap::new();
        for one in &listener.certificates {
            let first = files.entry(&one.file).or_insert(one.until_s);
            *first = (*first).min(one.until_s);
        }
        for (file, until) in files {
            page.sample(&[("listener", &listener.name), ("file", file)], until);
        }
    }
}

/// How messages came to queues, how they left, and how many are there: came = left + waiting.
pub fn balance(page: &mut Page, totals: &[(Name, VhostTotals)]) {
    let help = "Messages that came to the queues of a virtual host, by how.";
    page.family("crossdock_messages_came_total", Kind::Counter, help);
    for (vhost, totals) in totals {
        for by in CameBy::ALL {
            page.sample(&[("vhost", vhost), ("by", by.as_str())], totals.records.came(by));
        }
    }
    let help = "Messages that left the queues of a virtual host, by how.";
    page.family("crossdock_messages_left_total", Kind::Counter, help);
    for (vhost, totals) in totals {
        for by in LeftBy::ALL {
            page.sample(&[("vhost", vhost), ("by", by.as_str())], totals.records.left(by));
        }
    }
    page.family("crossdock_messages_waiting", Kind::Gauge, "Messages in a virtual host's queues.");
    for (vhost, totals) in totals {
        page.sample(&[("vhost", vhost)], totals.depth.waiting);
    }
    let help = "Messages published in a virtual host, by what became of them.";
    page.family("crossdock_messages_published_total", Kind::Counter, help);
    for (vhost, VhostTotals { exchanges, .. }) in totals {
        let fates = [
            ("routed", exchanges.routed),
            ("unroutable", exchanges.unroutable),
            ("refused", exchanges.refused),
        ];
        for (fate, count) in fates {
            page.sample(&[("vhost", vhost), ("fate", fate)], count);
        }
    }
    let help = "Publishes that full queues refused.";
    page.family("crossdock_messages_turned_away_total", Kind::Counter, help);
    for (vhost, totals) in totals {
        page.sample(&[("vhost", vhost)], totals.deliveries.turned_away);
    }
    let help = "Messages that went back from a consumer to their place.";
    page.family("crossdock_messages_requeued_total", Kind::Counter, help);
    for (vhost, totals) in totals {
        page.sample(&[("vhost", vhost)], totals.deliveries.requeued);
    }
}

/// Content routes.
pub fn routes(page: &mut Page, routes: &[RouteStatus]) {
    type Row = (&'static str, &'static str, fn(&RouteStatus) -> u64);
    let families: [Row; 8] = [
        ("taken", "Messages that a route took.", |route| route.taken),
        ("emitted", "Results of a route that somebody got.", |route| route.emitted),
        ("no_subscriber", "Results of a route to which nobody is bound.", |route| {
            route.no_subscriber
        }),
        ("passed", "Messages that went on as if the route had not matched.", |route| route.passed),
        ("dropped", "Messages that a route dropped because it says so.", |route| route.dropped),
        ("rejected", "Messages that a route refused.", |route| route.rejected),
        ("retried", "Attempts after the first.", |route| route.retried),
        ("dead_lettered", "Messages that failed for good.", |route| route.dead_lettered),
    ];
    for (name, help, value) in families {
        page.family(&format!("crossdock_route_{name}_total"), Kind::Counter, help);
        for route in routes {
            page.sample(&[("route", &route.name)], value(route));
        }
    }
    page.family("crossdock_route_failed_total", Kind::Counter, "Failed attempts, by kind.");
    for route in routes {
        for (kind, count) in &route.failed {
            page.sample(&[("route", &route.name), ("kind", kind.as_str())], count);
        }
    }
    let help = "Messages that wait for another attempt of a route after one that failed.";
    page.family("crossdock_route_between_attempts", Kind::Gauge, help);
    for route in routes {
        page.sample(&[("route", &route.name)], route.waits.between_attempts);
    }
    page.family("crossdock_route_waiting", Kind::Gauge, "Messages that wait for a route.");
    for route in routes {
        page.sample(&[("route", &route.name)], route.waiting);
    }
}

/// Modules of content routes.
pub fn modules(page: &mut Page, routes: &[RouteStatus]) {
    let all = || {
        routes.iter().flat_map(|route| {
            let numbered = route.modules.iter().enumerate();
            numbered.map(move |(step, module)| (module_labels(route, step, module), module))
        })
    };
    type Row = (&'static str, Kind, &'static str, fn(&ModuleLook) -> u64);
    let families: [Row; 3] = [
        ("calls_total", Kind::Counter, "Messages that a module was called with.", |m| m.calls),
        ("instances_total", Kind::Counter, "Instances made of a module.", |m| m.instances),
        ("paused", Kind::Gauge, "1: a module is paused for a source, after failures.", |m| {
            u64::from(!m.paused.is_empty())
        }),
    ];
    for (name, kind, help, value) in families {
        page.family(&format!("crossdock_module_{name}"), kind, help);
        for (labels, module) in all() {
            page.sample_of(&labels, value(module));
        }
    }
    page.family("crossdock_module_failures_total", Kind::Counter, "Calls that failed, by kind.");
    for (labels, module) in all() {
        for (kind, count) in &module.failed {
            page.sample_with(&labels, &format!(",kind=\"{}\"", kind.as_str()), *count);
        }
    }
    page.family("crossdock_module_call_seconds", Kind::Histogram, "How long calls took.");
    for (labels, module) in all() {
        durations(page, &labels, module);
    }
    page.family("crossdock_module_count_total", Kind::Counter, "What modules count themselves.");
    for (labels, module) in all() {
        for (name, number) in &module.numbers {
            if let Number::Counter(sum) = number {
                page.sample_with(&labels, &format!(",name=\"{name}\""), sum);
            }
        }
    }
    page.family("crossdock_module_gauge", Kind::Gauge, "What modules set themselves.");
    for (labels, module) in all() {
        for (name, number) in &module.numbers {
            if let Number::Gauge(value) = number {
                page.sample_with(&labels, &format!(",name=\"{name}\""), value);
            }
        }
    }
}

/// New modules beside those that work.
pub fn rehearsals(page: &mut Page, routes: &[RouteStatus]) {
    type Row = (&'static str, &'static str, fn(&RehearsalLook) -> u64);
    let families: [Row; 4] = [
        ("compared", "Messages that a rehearsed module answered, too.", |it| it.compared),
        ("different", "Of these, those that it answered in another way.", |it| it.different),
        ("failed", "Of these, those that only the rehearsed module failed for.", |it| it.failed),
        ("skipped", "Messages that a rehearsed module was not called with.", |it| it.skipped),
    ];
    for (name, help, value) in families {
        page.family(&format!("crossdock_module_rehearsal_{name}_total"), Kind::Counter, help);
        for route in routes {
            for (step, module) in route.modules.iter().enumerate() {
                if let Some(rehearsal) = &module.rehearsal {
                    page.sample_of(&module_labels(route, step, module), value(rehearsal));
                }
            }
        }
    }
}

/// A module may stand in several steps of a route.
fn module_labels(route: &RouteStatus, step: usize, module: &ModuleLook) -> Labels {
    let number = (step + 1).to_string();
    Labels::new(&[("route", &route.name), ("number", &number), ("module", &module.name)])
}

/// The buckets of a histogram hold all calls up to their end, those of a look only their own.
fn durations(page: &mut Page, labels: &Labels, module: &ModuleLook) {
    let mut sum = 0;
    let last = module.latency.len().saturating_sub(1);
    for (at, count) in module.latency.iter().enumerate() {
        sum += count;
        let end = match at == last {
            true => "+Inf".to_owned(),
            false => ((1_u64 << at) as f64 / 1e6).to_string(),
        };
        page.part_with("_bucket", labels, &format!(",le=\"{end}\""), sum);
    }
    page.part_with("_sum", labels, "", module.micros as f64 / 1e6);
    page.part_with("_count", labels, "", sum);
}

/// What native plugins did, and whether they are in use. Without plugins there is nothing.
pub fn plugins(page: &mut Page, plugins: &[PluginLook]) {
    if plugins.is_empty() {
        return;
    }
    page.family("crossdock_plugin_calls_total", Kind::Counter, "Calls of a native plugin.");
    for one in plugins {
        page.sample(&[("plugin", &one.name)], one.calls);
    }
    let help = "Calls of a native plugin that it answered with no.";
    page.family("crossdock_plugin_refused_total", Kind::Counter, help);
    for one in plugins {
        page.sample(&[("plugin", &one.name)], one.refused);
    }
    let help = "1: the plugin broke, and is out of use until the next start.";
    page.family("crossdock_plugin_out_of_use", Kind::Gauge, help);
    for one in plugins {
        page.sample(&[("plugin", &one.name)], u64::from(one.out_of_use.is_some()));
    }
}

/// What was written for readers of another protocol or version, and what it lost there.
pub fn conversions(page: &mut Page, conversions: &[ConversionTotals]) {
    let help = "Messages that were written for readers of another protocol or version, each once.";
    page.family("crossdock_converted_total", Kind::Counter, help);
    for ConversionTotals { from, to, converted, .. } in conversions {
        page.sample(&[("from", from), ("to", to)], converted);
    }
    let help =
        "Of these, messages that lost a field, because it could neither be mapped nor carried.";
    page.family("crossdock_conversion_loss_total", Kind::Counter, help);
    for ConversionTotals { from, to, lost, .. } in conversions {
        for (field, count) in lost {
            page.sample(&[("from", from), ("to", to), ("field", field.as_str())], count);
        }
    }
}
