//! Several messages on their way through the steps of one route at once: a step that a plugin does gets all of them in
//! one call. What becomes of each is what would become of it alone. Not for routes that remember something: there each
//! message sees what those before it have changed.

use crate::draft::Draft;
use crate::native::Native;
use crate::route::{Route, gathered, through};
use crate::step::{Outcome, Step, Turn};
use crossdock_core::transform::{self, Applied, StepFailure, Verdict};
use crossdock_core::{Formats, Message};

/// One message.
struct Way {
    turn: Turn,
    drafts: Vec<Draft>,
    split: bool,
    /// What ended it before the last step.
    end: Option<Result<Verdict, StepFailure>>,
}

/// One result for each message, in their order.
pub(crate) fn apply(route: &Route, inputs: &[(Message, u32)], formats: &Formats) -> Vec<Applied> {
    let mut ways: Vec<Way> = inputs.iter().map(|it| Way::new(route, it, formats)).collect();
    for step in &route.steps {
        match step {
            Step::Native(native) => together(native, &mut ways),
            step => ways.iter_mut().filter(|way| way.end.is_none()).for_each(|way| {
                let drafts = std::mem::take(&mut way.drafts);
                let went = through(step, drafts, (way.turn, None), &mut way.split);
                way.went(went);
            }),
        }
    }
    ways.into_iter().map(|way| way.applied(route)).collect()
}

/// All drafts of all messages that go on, in one call.
fn together(native: &Native, ways: &mut [Way]) {
    let mut counts = Vec::with_capacity(ways.len());
    let mut all = Vec::new();
    for way in ways.iter_mut() {
        // One that has ended has none.
        let drafts = std::mem::take(&mut way.drafts);
        counts.push(drafts.len());
        all.extend(drafts.into_iter().map(|draft| (draft, way.turn)));
    }
    if all.is_empty() {
        return;
    }
    let mut results = native.run_all(all).into_iter();
    for (way, count) in ways.iter_mut().zip(counts) {
        let own: Vec<Result<Outcome, StepFailure>> = results.by_ref().take(count).collect();
        if way.end.is_none() {
            let went = gathered(own, &mut way.split);
            way.went(went);
        }
    }
}

impl Way {
    fn new(route: &Route, (input, attempt): &(Message, u32), formats: &Formats) -> Self {
        let turn = Turn { source: transform::source(input), attempt: *attempt };
        let rest = route.rest(turn);
        let drafts = if rest.is_some() { Vec::new() } else { vec![Draft::of(input, formats)] };
        Self { turn, drafts, split: false, end: rest.map(|time| Ok(Verdict::Wait(time))) }
    }

    fn went(&mut self, went: Result<Result<Vec<Draft>, Verdict>, StepFailure>) {
        match went {
            Ok(Ok(drafts)) => self.drafts = drafts,
            Ok(Err(verdict)) => self.end = Some(Ok(verdict)),
            Err(failure) => self.end = Some(Err(failure)),
        }
    }

    fn applied(self, route: &Route) -> Applied {
        let mut out = Vec::new();
        match self.end {
            Some(end) => end.map(|verdict| (verdict, out)),
            None => route.send_all(&self.drafts, &mut out).map(|verdict| (verdict, out)),
        }
    }
}
