//! A new module beside the one that works: it is called with the same messages, its answers are compared and thrown
//! away. A thread of its own does that, so that no message waits for it; what the thread cannot keep up with is
//! skipped, and counted.

use super::slot::Slot;
use crate::draft::Draft;
use crate::step::{Outcome, Turn, bounded};
use crossdock_core::state::{StateChange, StateLayer};
use crossdock_core::transform::{Difference, RehearsalLook, StepFailure};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Instant;

/// Messages that wait for the new module.
const WAITING_MAX: usize = 64;

/// What the working module answered, as far as it is compared.
#[derive(Debug)]
pub(super) enum Answer {
    Drafts(Vec<Draft>),
    /// A decision about the message: keep, drop, reject, retry.
    Decision(String),
    Failed(StepFailure),
}

impl Answer {
    /// None: the module did not look at the message.
    pub(super) fn of(result: &Result<Outcome, StepFailure>) -> Option<Self> {
        Some(match result {
            Ok(Outcome::One(draft)) => Answer::Drafts(vec![draft.clone()]),
            Ok(Outcome::Many(drafts)) => Answer::Drafts(drafts.clone()),
            Ok(Outcome::Pass(_)) => Answer::Decision("keep".to_owned()),
            Ok(Outcome::Drop(why)) => Answer::Decision(format!("drop: {why}")),
            Ok(Outcome::Reject(why)) => Answer::Decision(format!("reject: {why}")),
            Ok(Outcome::Retry(after)) => Answer::Decision(format!("again after {after:?}")),
            Ok(Outcome::Wait(_)) => return None,
            Err(failure) => Answer::Failed(failure.clone()),
        })
    }

    /// The first thing that differs: what this one has, and what the other.
    fn difference(&self, other: &Answer) -> Option<(String, String)> {
        match (self, other) {
            (Answer::Drafts(ours), Answer::Drafts(theirs)) if ours.len() == theirs.len() => {
                ours.iter().zip(theirs).find_map(|(ours, theirs)| ours.difference(theirs))
            }
            (Answer::Decision(ours), Answer::Decision(theirs)) if ours == theirs => None,
            // The words of an error may change from version to version.
            (Answer::Failed(ours), Answer::Failed(theirs)) if ours.kind == theirs.kind => None,
            (ours, theirs) => Some((ours.words(), theirs.words())),
        }
    }

    fn words(&self) -> String {
        match self {
            Answer::Drafts(drafts) if drafts.len() == 1 => "a result".to_owned(),
            Answer::Drafts(drafts) => format!("{} results", drafts.len()),
            Answer::Decision(decision) => decision.clone(),
            Answer::Failed(failure) => format!("{}: {}", failure.kind.as_str(), failure.text),
        }
    }
}

/// A message for the new module.
struct Job {
    draft: Draft,
    turn: Turn,
    answer: Answer,
    /// What the working module read and changed of what the step remembers.
    layer: Option<Arc<StateLayer>>,
}

/// The rehearsal of one step.
pub(crate) struct Rehearsal {
    /// The new module.
    pub(super) slot: Arc<Slot>,
    /// The file of the new module, as the step names it.
    pub(super) name: Arc<str>,
    counts: Arc<Mutex<RehearsalLook>>,
    since: Instant,
    /// The thread ends when this does; none: it could not be started.
    jobs: Option<SyncSender<Job>>,
}

impl Rehearsal {
    /// Of the module that is, or will be, in the slot.
    pub(super) fn start(name: Arc<str>, slot: Arc<Slot>) -> Self {
        let (sender, jobs) = sync_channel(WAITING_MAX);
        let counts: Arc<Mutex<RehearsalLook>> = Arc::default();
        let (of_thread, its_slot) = (counts.clone(), slot.clone());
        let thread = thread::Builder::new().name("wasm-rehearsal".into());
        let started = thread.spawn(move || work(&jobs, &its_slot, &of_thread));
        if let Err(error) = &started {
            tracing::error!(
                module = &*name,
                %error,
                "a rehearsal cannot be held: there is no thread for it"
            );
        }
        let since = Instant::now();
        Self { slot, name, counts, since, jobs: started.ok().map(|_| sender) }
    }

    /// Has the new module answer, too, if there is time.
    pub(super) fn offer(
        &self,
        draft: Draft,
        turn: Turn,
        (answer, layer): (Answer, Option<Arc<StateLayer>>),
    ) {
        let Some(jobs) = &self.jobs else { return };
        match jobs.try_send(Job { draft, turn, answer, layer }) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.lock().skipped += 1;
            }
        }
    }

    /// What was compared so far.
    pub(super) fn look(&self) -> RehearsalLook {
        let module = self.slot.current();
        let look = self.counts.lock().clone();
        RehearsalLook {
            name: self.name.clone(),
            version: module.as_ref().ok().map(|module| module.version().clone()),
            why_not: self.slot.why_down(),
            age: self.since.elapsed(),
            ..look
        }
    }
}

fn work(jobs: &Receiver<Job>, slot: &Slot, counts: &Mutex<RehearsalLook>) {
    while let Ok(job) = jobs.recv() {
        let Ok(module) = slot.current() else {
            counts.lock().skipped += 1;
            continue;
        };
        let address = job.draft.address().to_string();
        // It sees the state as the working module found it; its own changes go nowhere.
        let layer = job.layer.as_ref().map(|layer| Arc::new(layer.as_found()));
        let result = module.run(job.draft, job.turn, layer.clone());
        let remembered = job
            .layer
            .zip(layer)
            .and_then(|(ours, theirs)| remembers_other(&ours.changes(), &theirs.changes()));
        count(&mut counts.lock(), &address, (&job.answer, remembered), Answer::of(&result));
    }
}

/// The first change that only one of them makes: as each of them remembers it.
fn remembers_other(ours: &[StateChange], theirs: &[StateChange]) -> Option<(String, String)> {
    let first = |of: &[StateChange], other: &[StateChange]| {
        of.iter().find(|change| !other.contains(change)).map(|((_, key), _)| key.clone())
    };
    let key = first(ours, theirs).or_else(|| first(theirs, ours))?;
    let words = |of: &[StateChange]| match of.iter().find(|((_, known), _)| *known == key) {
        Some((_, Some(value))) => format!("remembers {key}: {}", String::from_utf8_lossy(value)),
        Some((_, None)) => format!("forgets {key}"),
        None => format!("leaves {key} as it is"),
    };
    Some((words(ours), words(theirs)))
}

/// `remembered`: a difference in what they remember of the message.
fn count(
    counts: &mut RehearsalLook,
    address: &str,
    (old, remembered): (&Answer, Option<(String, String)>),
    new: Option<Answer>,
) {
    let Some(new) = new else {
        counts.skipped += 1;
        return;
    };
    counts.compared += 1;
    let Some((was, would_be)) = old.difference(&new).or(remembered) else { return };
    counts.different += 1;
    if matches!((old, &new), (Answer::Drafts(_) | Answer::Decision(_), Answer::Failed(_))) {
        counts.failed += 1;
    }
    let (was, would_be) = (bounded(&was).into(), bounded(&would_be).into());
    counts.last = Some(Difference { address: bounded(address).into(), was, would_be });
}
