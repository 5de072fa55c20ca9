//! A compiled route: predicate, steps, destinations, and the verdict on a message.

use crate::batch;
use crate::destination::{AddressRules, Destination};
use crate::draft::Draft;
use crate::expression::Expression;
use crate::step::{Outcome, Step, Turn, fault};
use crossdock_core::state::{NoState, State, StateLayer};
use crossdock_core::transform::{
    self, Applied, Cost, Mode, ModuleLook, Readiness, Results, StepFailure, Transform, Verdict,
};
use crossdock_core::{Formats, Message};
use std::sync::Arc;
use std::time::Duration;

/// Largest number of results of one message.
const OUTPUTS_MAX: usize = 1_024;
/// Largest number of bytes in the bodies of all results of one message.
const OUTPUT_BYTES_MAX: usize = 16 << 20;

/// A compiled route.
pub(crate) struct Route {
    pub name: String,
    pub when: Option<Expression>,
    pub steps: Vec<Step>,
    pub to: Vec<Destination>,
    pub rules: Arc<AddressRules>,
    pub mode: Mode,
}

impl Transform for Route {
    fn name(&self) -> &str {
        &self.name
    }

    fn cost(&self) -> Cost {
        match self.steps.iter().any(Step::is_queued) {
            true => Cost::Queued,
            false => Cost::Inline,
        }
    }

    fn wants(&self, message: &Message, formats: &Formats) -> bool {
        self.when.as_ref().is_none_or(|when| when.selects(message, formats))
    }

    fn readiness(&self) -> Readiness {
        let mut readiness = Readiness::Ready;
        for step in &self.steps {
            match step.readiness() {
                Readiness::Ready => {}
                Readiness::Starting => readiness = Readiness::Starting,
                down @ Readiness::Down(_) => return down,
            }
        }
        readiness
    }

    fn modules(&self) -> Vec<ModuleLook> {
        self.steps.iter().filter_map(Step::module).collect()
    }

    fn promote(&self, anyway: bool) -> Result<Vec<String>, String> {
        let promoted = self.steps.iter().filter_map(|step| step.promote(anyway));
        let said = promoted.collect::<Result<Vec<String>, String>>()?;
        match said.is_empty() {
            false => Ok(said),
            true => {
                Err("it has no module that is rehearsed: `shadow` beside `wasm` names one".into())
            }
        }
    }

    fn remembers(&self) -> bool {
        self.steps.iter().any(Step::remembers)
    }

    fn apply(
        &self,
        input: &Message,
        attempt: u32,
        formats: &Formats,
        out: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        if !self.remembers() {
            return self.run((input, attempt), formats, None, out);
        }
        // Nobody asks for what it remembers.
        let (nothing, mut results): (Arc<dyn State>, _) = (Arc::new(NoState), Results::default());
        let verdict = self.apply_with_state((input, attempt), formats, &nothing, &mut results);
        out.append(&mut results.messages);
        verdict
    }

    fn apply_all(&self, inputs: &[(Message, u32)], formats: &Formats) -> Vec<Applied> {
        if self.steps.iter().any(|step| matches!(step, Step::Native(_))) {
            return batch::apply(self, inputs, formats);
        }
        let one = |(input, attempt): &(Message, u32)| {
            let mut out = Vec::new();
            self.apply(input, *attempt, formats, &mut out).map(|verdict| (verdict, out))
        };
        inputs.iter().map(one).collect()
    }

    fn apply_with_state(
        &self,
        call: (&Message, u32),
        formats: &Formats,
        state: &Arc<dyn State>,
        out: &mut Results,
    ) -> Result<Verdict, StepFailure> {
        let memory = Arc::new(StateLayer::over(state.clone()));
        let verdict = self.run(call, formats, Some(&memory), &mut out.messages)?;
        if matches!(verdict, Verdict::Pass | Verdict::Emit | Verdict::Drop(_)) {
            out.changes.append(&mut memory.changes());
        }
        Ok(verdict)
    }
}

impl Route {
    fn run(
        &self,
        (input, attempt): (&Message, u32),
        formats: &Formats,
        memory: Option<&Arc<StateLayer>>,
        out: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        // Only modules ask who sent it.
        let source = if self.cost() == Cost::Queued { transform::source(input) } else { 0 };
        let turn = Turn { source, attempt };
        // No step works for nothing because a later one has to wait.
        if let Some(time) = self.rest(turn) {
            return Ok(Verdict::Wait(time));
        }
        let mut drafts = vec![Draft::of(input, formats)];
        let mut split = false;
        for step in &self.steps {
            match through(step, drafts, (turn, memory), &mut split)? {
                Ok(made) => drafts = made,
                Err(verdict) => return Ok(verdict),
            }
        }
        self.send_all(&drafts, out)
    }

    /// The time that a message has to wait before the steps look at it.
    pub(crate) fn rest(&self, turn: Turn) -> Option<Duration> {
        self.steps.iter().filter_map(|step| step.rest(turn.source)).max()
    }

    /// Sends what the steps made.
    pub(crate) fn send_all(
        &self,
        drafts: &[Draft],
        out: &mut Vec<Message>,
    ) -> Result<Verdict, StepFailure> {
        let before = out.len();
        for draft in drafts {
            if let Err(failed) = self.send(draft, out) {
                out.truncate(before);
                return Err(failed);
            }
        }
        Ok(Verdict::Emit)
    }

    fn send(&self, draft: &Draft, out: &mut Vec<Message>) -> Result<(), StepFailure> {
        if let Some(target) = draft.target() {
            out.push(draft.message(target.clone()));
            return Ok(());
        }
        if self.mode == Mode::Filter {
            out.push(draft.message(draft.address().clone()));
            return Ok(());
        }
        let mut first: Option<Message> = None;
        for destination in &self.to {
            let address =
                destination.resolve(draft, &self.rules).map_err(|reason| fault("to", &reason))?;
            // Header bytes are encoded once and shared by all destinations.
            let message = match &first {
                Some(first) => first.with(address, first.meta().clone()),
                None => first.insert(draft.message(address)).clone(),
            };
            out.push(message);
        }
        Ok(())
    }
}

/// Runs all drafts through one step. Until a step has split the message, a decision to keep, drop, reject or retry
/// applies to the message; after that keep and drop apply to one part, reject and retry still to the whole message.
/// When every part is dropped, the message is, for the first part's reason.
pub(crate) fn through(
    step: &Step,
    drafts: Vec<Draft>,
    (turn, memory): (Turn, Option<&Arc<StateLayer>>),
    split: &mut bool,
) -> Result<Result<Vec<Draft>, Verdict>, StepFailure> {
    gathered(drafts.into_iter().map(|draft| step.run(draft, turn, memory)), split)
}

/// What the results of one step mean for the message, each of one of its drafts.
pub(crate) fn gathered(
    results: impl IntoIterator<Item = Result<Outcome, StepFailure>>,
    split: &mut bool,
) -> Result<Result<Vec<Draft>, Verdict>, StepFailure> {
    let was_split = *split;
    let mut made = Made::default();
    let mut dropped = None;
    for result in results {
        let result = result?;
        let verdict = result.verdict();
        match result {
            Outcome::One(draft) => made.add([draft]),
            Outcome::Many(parts) => {
                *split = true;
                made.add(parts);
            }
            Outcome::Pass(draft) if was_split => made.add([draft]),
            Outcome::Drop(reason) if was_split => dropped = dropped.or(Some(reason)),
            _ => {
                if let Some(verdict) = verdict {
                    return Ok(Err(verdict));
                }
            }
        }
        if made.drafts.len() > OUTPUTS_MAX {
            return Err(fault("route", &format!("more than {OUTPUTS_MAX} results")));
        }
        // A single result may be as large as its message was; several together are limited.
        if *split && made.bytes > OUTPUT_BYTES_MAX {
            return Err(fault("route", &format!("results of more than {OUTPUT_BYTES_MAX} bytes")));
        }
    }
    match dropped {
        Some(reason) if made.drafts.is_empty() => Ok(Err(Verdict::Drop(reason))),
        _ => Ok(Ok(made.drafts)),
    }
}

/// The results of a step so far.
#[derive(Default)]
struct Made {
    drafts: Vec<Draft>,
    bytes: usize,
}

impl Made {
    fn add(&mut self, drafts: impl IntoIterator<Item = Draft>) {
        for draft in drafts {
            self.bytes = self.bytes.saturating_add(draft.body().len());
            self.drafts.push(draft);
        }
    }
}
