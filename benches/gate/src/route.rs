//! A content route that watches the gate's topic and takes none of its messages: what routes cost the messages that
//! they do not want. Its predicate is a selector of the core on a header, as a configured route's is.

use anyhow::Result;
use crossdock_core::exchange::selector::{Input, Selector};
use crossdock_core::transform::{
    AfterFailure, ContentRoute, Cost, Mode, OnError, StepFailure, Transform, Verdict, Watch,
};
use crossdock_core::{Formats, Key, Message};
use std::sync::Arc;
use std::time::Duration;

struct Predicate(Selector);

impl Transform for Predicate {
    fn name(&self) -> &str {
        "others"
    }

    fn cost(&self) -> Cost {
        Cost::Inline
    }

    fn wants(&self, message: &Message, formats: &Formats) -> bool {
        self.0.matches(&Input::of(message, formats)) == Some(true)
    }

    fn apply(
        &self,
        _: &Message,
        _: &Formats,
        _: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        Ok(Verdict::Pass)
    }
}

/// The route.
pub fn of_others() -> Result<ContentRoute> {
    let selector = Selector::parse("region = 'eu' AND content_type LIKE '%xml%'")?;
    let on_error = OnError {
        retry: 0,
        backoff: Duration::ZERO,
        then: AfterFailure::DeadLetter,
        dead_letter: None,
    };
    Ok(ContentRoute {
        name: "others".into(),
        watches: vec![Watch::Exchange("amq.topic".into(), Key::from("gate/+"))],
        mode: Mode::Divert,
        on_error,
        transform: Arc::new(Predicate(selector)),
        queues: Vec::new(),
    })
}
