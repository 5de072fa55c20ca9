//! The place of a module in a step: filled at once, or by the loader while the broker already serves. Another module
//! can take the place of the first: one that was rehearsed, or a new file of the same name. It is on probation then,
//! with the one before at hand.

use super::module::Module;
use super::rehearsal::{Answer, Rehearsal};
use crate::draft::Draft;
use crate::step::{Outcome, Turn};
use arc_swap::ArcSwapOption;
use crossdock_core::state::{State, StateLayer};
use crossdock_core::transform::{FailureKind, ModuleLook, Readiness, RolledBack, StepFailure};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A message waits this long for a module that is being compiled.
const STARTING_WAIT: Duration = Duration::from_millis(100);
/// ... and this long for one that cannot be loaded.
const DOWN_WAIT: Duration = Duration::from_secs(1);
/// A new module is on probation for that many messages, and for that time: on a busy route the messages pass in no
/// time, on a quiet one the time without messages.
const PROBATION_MESSAGES: u32 = 1_000;
const PROBATION_TIME: Duration = Duration::from_secs(60);

/// A module that is there, is still being compiled, or cannot be loaded.
#[derive(Default)]
pub(crate) struct Slot {
    content: ArcSwapOption<Content>,
    rehearsal: ArcSwapOption<Rehearsal>,
}

/// What is in the place.
enum Content {
    Works(Arc<Module>),
    New(Probation),
    /// Why it cannot be loaded.
    Down(Arc<str>),
    /// This one works, because a newer one failed, since then.
    Again(Arc<Module>, RolledBack, Instant),
}

/// A new module, and the one that is called instead when the new one fails.
struct Probation {
    new: Arc<Module>,
    before: Arc<Module>,
    since: Instant,
    /// Messages that it has answered.
    answered: Arc<AtomicU32>,
    /// The configuration names it: otherwise an operator promoted it.
    is_configured: bool,
}

/// Whether a probation is over.
fn is_over(answered: u32, time: Duration) -> bool {
    answered >= PROBATION_MESSAGES && time >= PROBATION_TIME
}

impl Slot {
    /// Fills it.
    pub(super) fn fill(&self, content: Result<Arc<Module>, Arc<str>>) {
        let content = match content {
            Ok(module) => Content::Works(module),
            Err(why) => Content::Down(why),
        };
        self.content.store(Some(Arc::new(content)));
    }

    /// Fills it with a module that takes the place of another one.
    pub(super) fn fill_instead(&self, new: Arc<Module>, before: Arc<Module>, is_configured: bool) {
        let (since, answered) = (Instant::now(), Arc::default());
        let probation = Probation { new, before, since, answered, is_configured };
        self.content.store(Some(Arc::new(Content::New(probation))));
    }

    /// Fills it with a module of the same content as one that is on probation in another place: the probation goes on.
    /// False if there is none.
    pub(super) fn fill_further(&self, new: &Arc<Module>, other: &Slot) -> bool {
        let content = other.content.load();
        let Some(Content::New(running)) = content.as_deref() else { return false };
        if running.new.version() != new.version() {
            return false;
        }
        let (before, answered) = (running.before.clone(), running.answered.clone());
        let (new, since, is_configured) = (new.clone(), running.since, true);
        let probation = Probation { new, before, since, answered, is_configured };
        self.content.store(Some(Arc::new(Content::New(probation))));
        true
    }

    /// From now on the module of that name is rehearsed beside the one that works.
    pub(crate) fn rehearse(&self, name: Arc<str>, slot: Arc<Slot>) {
        self.rehearsal.store(Some(Arc::new(Rehearsal::start(name, slot))));
    }

    /// The module, or how long a message has to wait before it asks again.
    pub(crate) fn current(&self) -> Result<Arc<Module>, Duration> {
        match self.content.load().as_deref() {
            None => Err(STARTING_WAIT),
            Some(Content::Down(_)) => Err(DOWN_WAIT),
            Some(Content::Works(module) | Content::Again(module, ..)) => Ok(module.clone()),
            Some(Content::New(probation)) => Ok(probation.new.clone()),
        }
    }

    /// Why it cannot be loaded.
    pub(super) fn why_down(&self) -> Option<Arc<str>> {
        match self.content.load().as_deref() {
            Some(Content::Down(why)) => Some(why.clone()),
            _ => None,
        }
    }

    pub(crate) fn readiness(&self) -> Readiness {
        match self.content.load().as_deref() {
            None => Readiness::Starting,
            Some(Content::Down(why)) => Readiness::Down(why.clone()),
            Some(_) => Readiness::Ready,
        }
    }

    /// The module's counters, how it came here, and what is rehearsed beside it.
    pub(crate) fn look(&self) -> Option<ModuleLook> {
        let content = self.content.load();
        let (module, before, rolled_back) = match content.as_deref()? {
            Content::Down(_) => return None,
            Content::Works(module) => (module, None, None),
            Content::New(probation) => {
                (&probation.new, Some(probation.before.version().clone()), None)
            }
            Content::Again(module, failed, since) => {
                let since = since.elapsed();
                (module, None, Some(RolledBack { since, ..failed.clone() }))
            }
        };
        let rehearsal = self.rehearsal.load();
        let rehearsal = rehearsal.as_ref().map(|rehearsal| rehearsal.look());
        Some(ModuleLook { before, rolled_back, rehearsal, ..module.look() })
    }

    /// Calls the module with the draft. Blocks at most until its deadline, or both deadlines when a new module fails.
    /// `memory`: what the step remembers, if it does.
    pub(crate) fn run(
        &self,
        draft: Draft,
        turn: Turn,
        memory: Option<&Arc<StateLayer>>,
    ) -> Result<Outcome, StepFailure> {
        let content = self.content.load_full();
        let module = match content.as_deref() {
            None => return Ok(Outcome::Wait(STARTING_WAIT)),
            Some(Content::Down(_)) => return Ok(Outcome::Wait(DOWN_WAIT)),
            Some(Content::New(_)) => return self.on_probation(&content, draft, (turn, memory)),
            Some(Content::Works(module) | Content::Again(module, ..)) => module,
        };
        let rehearsal = self.rehearsal.load_full();
        let Some(rehearsal) = rehearsal else { return call(module, draft, (turn, memory)).0 };
        let copy = draft.clone();
        let (result, layer) = call(module, draft, (turn, memory));
        if let Some(answer) = Answer::of(&result) {
            rehearsal.offer(copy, turn, (answer, layer));
        }
        result
    }

    /// A new module that breaks off on a message which the one before can do gives its place back at once, and the
    /// message has the answer of the one before. `content`: what is in the place, if nobody has changed it meanwhile.
    fn on_probation(
        &self,
        content: &Option<Arc<Content>>,
        draft: Draft,
        (turn, memory): (Turn, Option<&Arc<StateLayer>>),
    ) -> Result<Outcome, StepFailure> {
        let Some(Content::New(probation)) = content.as_deref() else {
            return Ok(Outcome::Wait(STARTING_WAIT));
        };
        let copy = draft.clone();
        let result = call(&probation.new, draft, (turn, memory)).0;
        let failure = match &result {
            Err(failure) if failure.kind != FailureKind::Guest => failure,
            Ok(_) | Err(_) => {
                let answered = probation.answered.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                if is_over(answered, probation.since.elapsed()) {
                    self.replace(content, Content::Works(probation.new.clone()));
                }
                return result;
            }
        };
        let instead = call(&probation.before, copy, (turn, memory)).0;
        match &instead {
            Ok(Outcome::Wait(_)) => return result,
            Err(failed) if failed.kind != FailureKind::Guest => return result,
            Ok(_) | Err(_) => {}
        }
        self.roll_back(content, probation, failure);
        instead
    }

    /// The module before works again.
    fn roll_back(
        &self,
        content: &Option<Arc<Content>>,
        probation: &Probation,
        StepFailure { module, version, kind, text }: &StepFailure,
    ) {
        let (before, is_configured) = (&probation.before, probation.is_configured);
        let failed = RolledBack {
            name: module.clone(),
            version: version.clone(),
            since: Duration::ZERO,
            why: format!("{}: {text}", kind.as_str()).into(),
            is_configured,
        };
        self.replace(content, Content::Again(before.clone(), failed, Instant::now()));
        let next_start = if is_configured { probation.new.name() } else { before.name() };
        tracing::warn!(
            module = &**module,
            version = &**version,
            before = &**before.version(),
            kind = kind.as_str(),
            reason = &**text,
            next_start = &**next_start,
            "a new module failed for a message that the one before can do: the one before works again, until \
             the next start"
        );
    }

    /// Nothing, if somebody else has changed it.
    fn replace(&self, seen: &Option<Arc<Content>>, content: Content) {
        self.content.compare_and_swap(seen, Some(Arc::new(content)));
    }

    /// The rehearsed module takes the place; the one that was there is at hand while it is on probation. `anyway`: even
    /// if nothing was compared, or something differed. Says what has changed, or why nothing has.
    pub(crate) fn promote(&self, anyway: bool) -> Option<Result<String, String>> {
        let rehearsal = self.rehearsal.load_full()?;
        Some(self.promoted(&rehearsal, anyway))
    }

    fn promoted(&self, rehearsal: &Rehearsal, anyway: bool) -> Result<String, String> {
        let name = &rehearsal.name;
        let look = rehearsal.look();
        let Ok(new) = rehearsal.slot.current() else {
            let why = look.why_not.unwrap_or_else(|| "it is being compiled".into());
            return Err(format!("{name} is not ready: {why}"));
        };
        if !anyway && look.compared == 0 {
            return Err(format!("{name} was not called with any message yet"));
        }
        if !anyway && look.different > 0 {
            return Err(format!(
                "{name} answered {} of {} messages in another way",
                look.different, look.compared
            ));
        }
        let Ok(before) = self.current() else {
            return Err("the module of now is not ready".to_owned());
        };
        let said = format!(
            "{name}, version {}, works in the place of version {}",
            new.version(),
            before.version()
        );
        self.fill_instead(new, before, false);
        self.rehearsal.store(None);
        Ok(said)
    }
}

/// Calls a module; what it changed counts as remembered when its answer is one that ends the message well. Also returns
/// what it read and changed.
fn call(
    module: &Module,
    draft: Draft,
    (turn, memory): (Turn, Option<&Arc<StateLayer>>),
) -> (Result<Outcome, StepFailure>, Option<Arc<StateLayer>>) {
    let Some(memory) = memory else { return (module.run(draft, turn, None), None) };
    let below: Arc<dyn State> = memory.clone();
    let layer = Arc::new(StateLayer::over(below));
    let result = module.run(draft, turn, Some(layer.clone()));
    if result.as_ref().is_ok_and(Outcome::may_remember) {
        memory.take_over(layer.changes());
    }
    (result, Some(layer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probation_lasts_for_messages_and_for_a_time() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        assert!(!is_over(1_000_000, second), "a busy route");
        assert!(!is_over(999, 60 * minute), "a quiet one");
        assert!(is_over(1_000, minute));
    }
}
