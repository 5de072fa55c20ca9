//! The output: lines for people, or one line of `name=value` pairs for programs.

use crate::idle::Idle;
use crate::run::Outcome;

/// Names and values, in order. Figures that were not measured are left out.
pub type Pairs = Vec<(&'static str, f64)>;

/// A scenario's figures.
pub fn pairs(outcome: &Outcome) -> Pairs {
    let deliveries = outcome.deliveries as f64;
    let micros = |share| outcome.latency.percentile(share).map(|nanos| nanos as f64 / 1e3);
    // The CPU time of a thread that has ended is not known.
    let each = |cpu: f64| (deliveries > 0.0 && cpu > 0.0).then(|| cpu * 1e6 / deliveries);
    let account = &outcome.account;
    let per_cpu = outcome.broker_cpu.filter(|cpu| *cpu > 0.0).map(|cpu| deliveries / cpu);
    let figures = [
        ("rate", Some(deliveries / outcome.seconds)),
        ("per_cpu", per_cpu),
        ("cpu_us", outcome.broker_cpu.and_then(each)),
        ("broker_cores", outcome.broker_cpu.map(|cpu| cpu / outcome.seconds)),
        ("p50_us", micros(0.5)),
        ("p99_us", micros(0.99)),
        ("p999_us", micros(0.999)),
        ("sent", Some(account.sent as f64)),
        ("received", Some(account.received as f64)),
        ("lost", Some(account.lost as f64)),
        ("duplicated", Some(account.duplicated as f64)),
        ("disordered", Some(account.disordered as f64)),
        ("foreign", Some(account.foreign as f64)),
        ("refused", Some(outcome.refused as f64)),
        ("unconfirmed", Some(outcome.unconfirmed as f64)),
        ("rss_mib", outcome.resident_bytes.map(mib)),
        ("send_us", each(outcome.send_cpu)),
        ("read_us", each(outcome.read_cpu)),
    ];
    figures.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// The figures of idle connections.
pub fn idle_pairs(idle: &Idle) -> Pairs {
    let figures = [
        ("rate", Some(idle.connects_per_second)),
        ("per_cpu", idle.connects_per_cpu),
        ("kib_each", idle.bytes_each.map(|bytes| bytes / 1024.0)),
        ("rss_mib", idle.resident_bytes.map(mib)),
    ];
    figures.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// `scenario=NAME rate=1 ...`
pub fn line(scenario: &str, pairs: &Pairs) -> String {
    let mut line = format!("scenario={scenario}");
    for (name, value) in pairs {
        line.push_str(&format!(" {name}={value:.3}"));
    }
    line
}

/// The figures as text for people.
pub fn text(scenario: &str, about: &str, pairs: &Pairs) -> String {
    let mut text = format!("{scenario}: {about}\n");
    let find = |wanted| pairs.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
    let mut row = |names: &[(&'static str, &str)]| {
        let shown = names.iter().filter_map(|(name, unit)| Some(show(find(*name)?, unit)));
        let shown: Vec<String> = shown.collect();
        if !shown.is_empty() {
            text.push_str(&format!("  {}\n", shown.join(", ")));
        }
    };
    row(&[
        ("rate", "a second"),
        ("per_cpu", "a broker CPU second"),
        ("cpu_us", "us of the broker's CPU each"),
        ("broker_cores", "cores used by the broker"),
    ]);
    row(&[("p50_us", "us p50"), ("p99_us", "us p99"), ("p999_us", "us p99.9")]);
    row(&[
        ("sent", "sent"),
        ("received", "received"),
        ("lost", "lost"),
        ("duplicated", "duplicated"),
        ("disordered", "out of order"),
        ("foreign", "foreign"),
        ("refused", "refused"),
        ("unconfirmed", "unconfirmed"),
    ]);
    row(&[
        ("rss_mib", "MiB resident"),
        ("kib_each", "KiB each"),
        ("send_us", "us of the generator's CPU to send one"),
        ("read_us", "us of the generator's CPU to read one"),
    ]);
    text
}

fn show(value: f64, unit: &str) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        _ if value.fract() == 0.0 => 0,
        10.0.. => 1,
        _ => 3,
    };
    format!("{value:.decimals$} {unit}")
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;

    #[test]
    fn figures_are_of_the_measured_time_only() {
        let mut latency = Histogram::default();
        latency.record(50_000);
        let outcome = Outcome {
            deliveries: 1000,
            seconds: 2.0,
            broker_cpu: Some(0.5),
            send_cpu: 0.001,
            latency,
            ..Outcome::default()
        };
        let line = line("x", &pairs(&outcome));
        assert!(line.starts_with(
            "scenario=x rate=500.000 per_cpu=2000.000 cpu_us=500.000 broker_cores=0.250 p50_us=50."
        ));
        assert!(line.contains(" send_us=1.000") && !line.contains("read_us"), "{line}");
        assert!(!line.contains("rss_mib"), "nobody looked");
    }

    #[test]
    fn a_broker_that_used_nothing_measurable_has_no_figure_for_it() {
        let outcome = Outcome { seconds: 1.0, broker_cpu: Some(0.0), ..Outcome::default() };
        let pairs = pairs(&outcome);
        assert!(!pairs.iter().any(|(name, _)| matches!(*name, "per_cpu" | "send_us" | "p50_us")));
    }
}
