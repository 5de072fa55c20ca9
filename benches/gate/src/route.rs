//! A content route that watches the gate's topic and takes none of its messages: what routes cost the messages that
//! they do not want. Its predicate is a selector of the core on a header, as a configured route's is.

use anyhow::Result;
use crossdock_core::exchange::selector::{Input, Selector};
use crossdock_core::transform::{ContentRoute, Cost, Mode, StepFailure, Transform, Verdict, Watch};
use crossdock_core::{Formats, Key, Message};
use std::sync::Arc;

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
        _: u32,
        _: &Formats,
        _: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        Ok(Verdict::Pass)
    }
}

/// The route.
pub fn of_others() -> Result<ContentRoute> {
    let selector = Selector::parse("region = 'eu' AND content_type LIKE '%xml%'")?;
    let watches = vec![Watch::Exchange("amq.topic".into(), Key::from("gate/+"))];
    let transform = Arc::new(Predicate(selector));
    Ok(ContentRoute::new("others".into(), watches, Mode::Divert, transform))
}
