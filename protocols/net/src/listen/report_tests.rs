//! What is logged of what happens, and how often.

use super::*;
use std::sync::Arc;
use tokio::time::advance;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber, span};

/// Keeps level and fields of what is logged, below INFO nothing.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// A report, what it logs, and what keeps that to this thread.
fn report() -> (Report, Arc<Log>, tracing::subscriber::DefaultGuard) {
    let log = Arc::new(Log::default());
    let guard = tracing::subscriber::set_default(log.clone());
    (Report::new("door".into()), log, guard)
}

fn refuse(report: &Report, why: Refusal, times: usize) {
    for _ in 0..times {
        report.refused(why, "192.0.2.7:5".parse().ok(), &"so it is");
    }
}

fn lines(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.0.lock())
}

#[tokio::test(start_paused = true)]
async fn a_minute_is_summed_up_if_anything_happened_in_it() {
    let (report, log, _guard) = report();
    for _ in 0..5000 {
        report.accepted();
    }
    refuse(&report, Refusal::Slow, 2);
    refuse(&report, Refusal::Gone, 4000);
    assert_eq!(lines(&log), [""; 0], "in the ordinary way");
    report.minute(7);
    let want = "INFO message=connections of the last minute listener=door accepted=5000 \
                refused=\"too slow: 2, gone before the login: 4000\" open=7";
    assert_eq!(lines(&log), [want]);
    report.minute(7);
    assert_eq!(lines(&log), [""; 0]);
    report.accepted();
    report.minute(8);
    assert!(lines(&log)[0].contains("accepted=1 refused=\"\" open=8"));
}

#[tokio::test(start_paused = true)]
async fn what_many_peers_do_at_once_is_one_line_a_minute() {
    let (report, log, _guard) = report();
    let kinds = [
        Refusal::Full,
        Refusal::AddressFull,
        Refusal::TooFast,
        Refusal::AllTooFast,
        Refusal::NoDescriptors,
        Refusal::TlsOnPlain,
        Refusal::PlainOnTls,
        Refusal::Http,
    ];
    for why in kinds {
        refuse(&report, why, 1000);
    }
    let first = lines(&log);
    assert_eq!(first.len(), kinds.len());
    assert!(first.iter().all(|line| line.starts_with("WARN") && line.ends_with("count=1")));
    let texts: std::collections::BTreeSet<_> =
        first.iter().map(|line| line.split_once(" listener").unwrap().0).collect();
    assert_eq!(texts.len(), kinds.len(), "each has its own words");
    advance(SELDOM).await;
    refuse(&report, Refusal::Full, 3);
    let [line] = &lines(&log)[..] else { panic!("one line") };
    assert!(line.ends_with("peer=192.0.2.7:5 count=1000"), "{line}");
}

#[tokio::test(start_paused = true)]
async fn peers_that_misbehave_get_a_hundred_lines_and_a_sum() {
    let (report, log, _guard) = report();
    for why in [Refusal::Proxy, Refusal::Handshake, Refusal::WebSocket, Refusal::Unknown] {
        refuse(&report, why, 50);
    }
    let first = lines(&log);
    assert_eq!(first.len(), 100);
    assert!(first.iter().all(|line| line.contains("peer=192.0.2.7:5 detail=so it is")));
    report.minute(0);
    let [sum, summary] = &lines(&log)[..] else { panic!("two lines") };
    assert!(sum.starts_with("WARN") && sum.ends_with("count=100"), "{sum}");
    assert!(summary.contains("refused=\"PROXY header: 50, TLS handshake: 50, "), "{summary}");
    refuse(&report, Refusal::Unknown, 1);
    assert_eq!(lines(&log).len(), 1, "a new minute");
}
