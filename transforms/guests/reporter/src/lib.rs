//! A transform that uses what its step grants, as the body says: the fixture of the tests of grants.

use crossdock_transform_sdk::{Decision, Message, Patch, Transform, log, metrics, transform};

struct Reporter;

impl Transform for Reporter {
    fn new(_config: &str) -> Result<Self, String> {
        Ok(Self)
    }

    fn handle(&mut self, message: &Message) -> Result<Decision, String> {
        let text = message.text()?;
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match word {
            // As many lines as the number says.
            "log" => (0..rest.parse().unwrap_or(1)).for_each(|n| {
                log::write(log::Level::Warn, &format!("line {n} for {}", message.address()));
            }),
            "count" => metrics::count(rest, 2)?,
            "gauge" => metrics::gauge(rest, -0.5)?,
            _ => {}
        }
        Ok(Decision::Replace(Patch::body(message.attempt().to_string())))
    }
}

transform!(Reporter);
