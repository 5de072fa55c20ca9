//! What a step grants its module reaches the operator: lines of the log, numbers on the page of metrics.

use super::{Look, Setup, root};
use crate::metrics;
use crate::wire::eventually;

#[test]
fn what_a_module_says_and_counts_is_seen() {
    let module = root().join("transforms/tests/reporter.wasm");
    let steps =
        format!(r#"steps = [{{ wasm = "{}", grants = ["log", "metrics"] }}]"#, module.display());
    let mut setup = Setup::new();
    setup.queue("in").queue("out");
    setup.route("reports", &[r#"from = ["queue:in"]"#, &steps, r#"to = ["queue:out"]"#]);
    let broker = setup.start();
    let mut look = Look::into(&broker);
    for body in ["count seen", "gauge depth", "log 1", "gauge seen"] {
        look.0.publish("", "in", &Default::default(), body.as_bytes());
    }
    look.0.wait_confirms();
    for _ in 0..3 {
        assert_eq!(look.one("out").body, b"0", "the first attempt");
    }
    let labels = format!(r#"route="reports",number="1",module="{}""#, module.display());
    let page = eventually("the failure is counted", || {
        let page = metrics::get(metrics::address(&broker), "/metrics").body;
        page.contains(&format!("crossdock_module_failures_total{{{labels},kind=\"guest\"}} 1"))
            .then_some(page)
    });
    for line in [
        "crossdock_module_calls_total{LABELS} 4",
        "crossdock_module_paused{LABELS} 0",
        "crossdock_module_call_seconds_bucket{LABELS,le=\"+Inf\"} 4",
        "crossdock_module_call_seconds_count{LABELS} 4",
        "crossdock_module_count_total{LABELS,name=\"seen\"} 2",
        "crossdock_module_gauge{LABELS,name=\"depth\"} -0.5",
    ] {
        let line = line.replace("LABELS", &labels);
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    let log = broker.log();
    let said = log.lines().find(|line| line.contains("a module warns")).expect("it is in the log");
    for part in ["WARN", "line 0 for queue:in", "reports"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
