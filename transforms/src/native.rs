//! The step that a plugin does. Several messages are handed over at once; what it decides means what a module's
//! decision means.

use crate::decision::{Places, carry_out};
use crate::destination::AddressRules;
use crate::draft::Draft;
use crate::step::{Outcome, Turn, bounded};
use crate::wasm::Counters;
use bytes::Bytes;
use crossdock_core::step::{Answer, ForeignStep, StepMessage};
use crossdock_core::transform::{FailureKind, ModuleLook, Readiness, StepFailure};
use crossdock_core::{Name, Origin, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Messages wait this long before they ask again for a plugin that is out of use.
const DOWN_WAIT: Duration = Duration::from_secs(1);

/// A step of a route that a plugin does.
pub(crate) struct Native {
    step: Arc<dyn ForeignStep>,
    name: Arc<str>,
    version: Arc<str>,
    rules: Arc<AddressRules>,
    places: Places,
    counters: Counters,
    since: Instant,
}

impl Native {
    pub(crate) fn new(
        step: Arc<dyn ForeignStep>,
        rules: Arc<AddressRules>,
        places: Places,
    ) -> Self {
        let counters = Counters::default();
        counters.instance();
        let since = Instant::now();
        Self { name: step.name(), version: step.version(), step, rules, places, counters, since }
    }

    pub(crate) fn readiness(&self) -> Readiness {
        self.step.out_of_use().map_or(Readiness::Ready, Readiness::Down)
    }

    /// The time that messages wait before it is asked.
    pub(crate) fn rest(&self) -> Option<Duration> {
        self.step.out_of_use().map(|_| DOWN_WAIT)
    }

    pub(crate) fn look(&self) -> ModuleLook {
        let (name, version) = (self.name.clone(), self.version.clone());
        let age = self.since.elapsed();
        self.counters.look(ModuleLook { name, version, age, ..ModuleLook::default() })
    }

    /// One result for each draft, in their order. Blocks.
    pub(crate) fn run_all(&self, drafts: Vec<(Draft, Turn)>) -> Vec<Result<Outcome, StepFailure>> {
        let started = Instant::now();
        let offer = |(draft, turn): (Draft, Turn)| {
            Arc::new(Offered { draft, attempt: turn.attempt, rules: self.rules.clone() })
        };
        let offered: Vec<Arc<Offered>> = drafts.into_iter().map(offer).collect();
        let messages: Vec<Arc<dyn StepMessage>> =
            offered.iter().map(|one| one.clone() as Arc<dyn StepMessage>).collect();
        let answers = self.step.decide(&messages);
        drop(messages);
        let asked = answers.iter().filter(|answer| !matches!(answer, Answer::NotAsked(_))).count();
        let each = started.elapsed().checked_div(u32::try_from(asked).unwrap_or(u32::MAX));
        let missing = std::iter::repeat(Answer::NotAsked(DOWN_WAIT));
        let answers = answers.into_iter().chain(missing);
        let results = offered.into_iter().zip(answers).map(|(offered, answer)| {
            // A call that hangs keeps what it was given.
            let draft = Arc::try_unwrap(offered).map_or_else(|it| it.draft.clone(), |it| it.draft);
            self.conclude(draft, answer, each.unwrap_or_default())
        });
        results.collect()
    }

    fn conclude(
        &self,
        draft: Draft,
        answer: Answer,
        took: Duration,
    ) -> Result<Outcome, StepFailure> {
        let decision = match answer {
            Answer::NotAsked(wait) => return Ok(Outcome::Wait(wait)),
            Answer::Failed(kind, text) => {
                self.counters.call(took);
                return Err(self.fault(kind, &text));
            }
            Answer::Decided(decision) => decision,
        };
        self.counters.call(took);
        carry_out(decision, draft, (&self.rules, &self.places))
            .map_err(|text| self.fault(FailureKind::Guest, &text))
    }

    fn fault(&self, kind: FailureKind, text: &str) -> StepFailure {
        self.counters.fault(kind);
        let (module, version) = (self.name.clone(), self.version.clone());
        StepFailure { module, version, kind, text: bounded(text).into() }
    }
}

/// A draft as a plugin sees it.
struct Offered {
    draft: Draft,
    attempt: u32,
    rules: Arc<AddressRules>,
}

impl StepMessage for Offered {
    fn address(&self) -> String {
        self.rules.shown(self.draft.address())
    }

    fn origin(&self) -> &Origin {
        &self.draft.meta().origin
    }

    fn attempt(&self) -> u32 {
        self.attempt
    }

    fn body(&self) -> &Bytes {
        self.draft.body()
    }

    fn headers(&self) -> &[(Name, Value)] {
        self.draft.headers()
    }

    fn property(&self, name: &str) -> Option<Value> {
        self.draft.property(name)
    }
}
