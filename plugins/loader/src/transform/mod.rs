//! A transform of a plugin, behind the core's seam: a step hands several messages over in one call, and takes a
//! decision for each.
//!
//! | what becomes of a call | the messages |
//! |---|---|
//! | it returns | each has its decision |
//! | it refuses | the first without a decision is at fault; those behind it are handed over again |
//! | it panics, hangs, or breaks the contract | the first without a decision has failed; those behind it wait |

mod decisions;
mod messages;

use crate::library::check_head;
use crate::plugin::{NoAnswer, Object, Plugin, Pointer};
use crossdock_core::Error;
use crossdock_core::step::{Answer, ForeignStep, StepMaker, StepMessage};
use crossdock_core::transform::FailureKind;
use crossdock_plugin::abi::{self, Batch, Head, View};
use decisions::Taken;
use messages::{ASK, Handle};
use std::sync::Arc;
use std::time::Duration;

/// Messages are offered again after this time when all threads of the plugin were busy ...
const BUSY_WAIT: Duration = Duration::from_millis(20);
/// ... and when it is out of use, which lasts until the next start.
const GONE_WAIT: Duration = Duration::from_secs(1);

/// The functions of a transform: all are there.
pub struct Transform {
    plugin: Arc<Plugin>,
    make_step: abi::MakeStep,
    handle: abi::Handle,
    free_step: abi::Free,
}

impl Transform {
    /// The transform that a plugin points to; what is wrong with it otherwise.
    pub fn read(plugin: &Arc<Plugin>, from: *const abi::Transform) -> Result<Self, String> {
        // SAFETY: the plugin's entry put it there, and it stays, by the contract.
        let it = unsafe { abi::read(from) }.ok_or("has no transform")?;
        check_head("CrossdockTransform", it.head, size_of::<abi::Transform>())?;
        let missing = |name: &str| format!("its transform has no function '{name}'");
        Ok(Self {
            plugin: plugin.clone(),
            make_step: it.make_step.ok_or_else(|| missing("make_step"))?,
            handle: it.handle.ok_or_else(|| missing("handle"))?,
            free_step: it.free_step.ok_or_else(|| missing("free_step"))?,
        })
    }
}

impl StepMaker for Transform {
    fn make(&self, with: &str) -> Result<Arc<dyn ForeignStep>, Error> {
        let (make_step, state, with) = (self.make_step, self.plugin.state(), with.to_owned());
        let made = self.plugin.call("make_step", move |error| {
            let (state, mut step) = (state, std::ptr::null_mut());
            // SAFETY: the plugin's function; the text stays during the call.
            let status =
                unsafe { make_step(state.0, View::of(with.as_bytes()), &raw mut step, error) };
            (status, Pointer(step))
        });
        let object = Object::new(&self.plugin, made?, Some(self.free_step), None);
        Ok(Arc::new(Step { plugin: self.plugin.clone(), handle: self.handle, object }))
    }
}

/// One step of one route.
struct Step {
    plugin: Arc<Plugin>,
    handle: abi::Handle,
    object: Arc<Object>,
}

impl ForeignStep for Step {
    fn name(&self) -> Arc<str> {
        self.plugin.spec.name.as_str().into()
    }

    fn version(&self) -> Arc<str> {
        self.plugin.title.get().map_or("", |(_, version)| version).into()
    }

    fn out_of_use(&self) -> Option<Arc<str>> {
        let why = self.plugin.out_of_use()?;
        Some(format!("the plugin '{}' is out of use: {why}", self.plugin.spec.name).into())
    }

    fn decide(&self, messages: &[Arc<dyn StepMessage>]) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(messages.len());
        while let Some(rest) = messages.get(answers.len()..)
            && !rest.is_empty()
        {
            let (decided, end) = self.call(rest);
            answers.extend(decided);
            let wait = match end {
                End::Answered => continue,
                End::AtFault(kind, why) => {
                    answers.push(Answer::Failed(kind, why));
                    continue;
                }
                End::Broke(kind, why) => {
                    answers.push(Answer::Failed(kind, why));
                    GONE_WAIT
                }
                End::NotAsked(wait) => wait,
            };
            answers.resize(messages.len(), Answer::NotAsked(wait));
        }
        answers
    }
}

/// How a call ended.
enum End {
    /// All messages are decided on.
    Answered,
    /// The first one without a decision is at fault.
    AtFault(FailureKind, String),
    /// At the first one without a decision the plugin broke.
    Broke(FailureKind, String),
    /// The plugin was not asked.
    NotAsked(Duration),
}

impl Step {
    /// One call: what it decided on, fewer than there are messages unless it answered.
    fn call(&self, messages: &[Arc<dyn StepMessage>]) -> (Vec<Answer>, End) {
        let (handle, object) = (self.handle, self.object.clone());
        let taken = Taken::of(messages.len());
        let (theirs, last) = (taken.clone(), taken.clone());
        let messages = messages.to_vec();
        let called = self.plugin.call_while(
            "handle",
            move |error| {
                let held: Vec<Handle> = messages.into_iter().map(Handle::new).collect();
                let handles: Vec<abi::MessageHandle> = held.iter().map(Handle::pointer).collect();
                let batch = Batch {
                    head: Head::of::<Batch>(),
                    ask: &raw const ASK,
                    messages: handles.as_ptr(),
                    count: handles.len(),
                };
                let decisions = theirs.decisions();
                // SAFETY: the plugin's function and object; all that is passed stays during the call.
                let status = unsafe {
                    handle(object.pointer(), &raw const batch, &raw const decisions, error)
                };
                (status, ())
            },
            move || last.last(),
        );
        let (answers, wrong) = taken.close();
        let (done, count) = (answers.len(), taken.count());
        let failed = answers.iter().filter(|answer| matches!(answer, Answer::Failed(..))).count();
        self.plugin.note_refused(failed as u64);
        let end = match called {
            // A call that hangs decides on nothing any more; one that has decided on all before it hung, or behind
            // which nothing is left to do, has done its work.
            Err(NoAnswer::Broke { .. } | NoAnswer::Gone(_)) if done == count => End::Answered,
            Err(NoAnswer::Broke { hangs, error }) => {
                let kind = if hangs { FailureKind::Timeout } else { FailureKind::Trap };
                End::Broke(kind, error.detail().to_owned())
            }
            Err(NoAnswer::Busy(_)) => End::NotAsked(BUSY_WAIT),
            Err(NoAnswer::Gone(_)) => End::NotAsked(GONE_WAIT),
            Ok(((), refused)) => match (wrong, refused) {
                (Some(wrong), _) => self.broke(&wrong, done == count),
                (None, Some(why)) if done < count => End::AtFault(FailureKind::Guest, why),
                (None, Some(_)) => self.broke("refuses, and has decided on all messages", true),
                (None, None) if done < count => {
                    self.broke(&format!("decided on {done} of {count} messages"), false)
                }
                (None, None) => End::Answered,
            },
        };
        (answers, end)
    }

    /// It has not kept to the contract. `has_answered`: no message is without a decision.
    fn broke(&self, why: &str, has_answered: bool) -> End {
        let error = self.plugin.end(format!("its call 'handle' {why}"));
        match has_answered {
            true => End::Answered,
            false => End::Broke(FailureKind::Trap, error.detail().to_owned()),
        }
    }
}
