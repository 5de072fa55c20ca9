//! What `status` and `ctl show route` say of modules that are paused or gave their place back.

use super::{Look, Setup, misbehave};
use crate::broker::{Broker, crossdock};
use crate::wire::eventually;
use serde_json::Value as Json;

fn ctl(broker: &Broker, words: &[&str]) -> Json {
    let mut command = crossdock(&[&["ctl"], words].concat());
    command.args(["--json", "--data-dir", &broker.data_dir().to_string_lossy()]);
    let output = command.output().expect("the binary is there");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The trouble of the status that has all of these words.
fn trouble(broker: &Broker, words: &[&str]) -> Option<String> {
    let status = ctl(broker, &["status", "--seconds", "0"]);
    let troubles = status["troubles"].as_array().cloned().unwrap_or_default();
    let mut texts = troubles.iter().filter_map(Json::as_str);
    texts.find(|text| words.iter().all(|word| text.contains(word))).map(str::to_owned)
}

#[test]
fn a_paused_module_and_why_is_named() {
    let mut setup = Setup::new();
    setup.queue("in").queue("out");
    let steps = format!("steps = [{}]", misbehave());
    setup.route("r", &[r#"from = ["queue:in"]"#, &steps, r#"to = ["queue:out"]"#]);
    let broker = setup.start();
    let mut look = Look::into(&broker);
    for _ in 0..7 {
        look.put("in", "panic");
    }
    let words = ["of route 'r' is paused for what user ", "sends to queue:in", "asked to panic"];
    let said = eventually("the pause is said", || trouble(&broker, &words));
    assert!(said.contains("messages wait in queue 'route/r'"), "{said}");
    let route = ctl(&broker, &["show", "route", "r"]);
    let module = &route["modules"][0];
    let pause = &module["pauses"][0];
    assert_eq!(pause["address"], "queue:in", "{route}");
    assert!(pause["since_ms"].as_u64() >= module["counted_since_ms"].as_u64(), "{route}");
    assert!(module["counted_since_ms"].as_u64() > route["counted_since_ms"].as_u64(), "{route}");
    let dead = eventually("a dead letter", || look.0.get("dead-letters"));
    let text = format!("{:?}", dead.properties);
    assert!(text.contains("asked to panic"), "{text}");
}

#[test]
fn a_queue_that_a_module_may_send_to_is_there() {
    let mut setup = Setup::new();
    setup.queue("in").queue("out");
    let step = misbehave().replace("\"topic:#\"", "\"queue:other\"");
    let steps = format!("steps = [{step}]");
    setup.route("r", &[r#"from = ["queue:in"]"#, &steps, r#"to = ["queue:out"]"#]);
    let broker = setup.start();
    let mut look = Look::into(&broker);
    look.put("in", "split queue:other=there");
    assert_eq!(look.one("other").body, b"there");
}
