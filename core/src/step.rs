//! The seam to steps of content routes that somebody does outside of the process's own code, as a plugin does: messages
//! go in, and one decision comes out for each. Such a step publishes nothing and keeps nothing; what its decisions mean
//! is the route's to say.

use crate::error::Error;
use crate::message::{Name, Origin, Value};
use crate::transform::FailureKind;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Makes steps: one for each place in the routes that names it.
pub trait StepMaker: Send + Sync {
    /// A step with those settings, as JSON. `Invalid`: it takes them not; `Unavailable`: nobody can be asked.
    fn make(&self, with: &str) -> Result<Arc<dyn ForeignStep>, Error>;
}

/// A step that is done elsewhere.
pub trait ForeignStep: Send + Sync {
    /// Who does it, as dead letters name it.
    fn name(&self) -> Arc<str>;

    fn version(&self) -> Arc<str>;

    /// Why it decides on nothing any more, if that is so.
    fn out_of_use(&self) -> Option<Arc<str>>;

    /// Decides on the messages, one after the other: one answer for each, in their order. Blocks, and several threads
    /// call it at once.
    fn decide(&self, messages: &[Arc<dyn StepMessage>]) -> Vec<Answer>;
}

/// A message as a step sees it.
pub trait StepMessage: Send + Sync {
    /// Where it was published: `queue:NAME`, `topic:a/b` or `exchange:NAME/KEY`.
    fn address(&self) -> String;

    fn origin(&self) -> &Origin;

    /// 0 the first time that its route asks for it, and one more after each failure or retry.
    fn attempt(&self) -> u32;

    fn body(&self) -> &Bytes;

    /// All headers in their order, repeated ones included.
    fn headers(&self) -> &[(Name, Value)];

    /// The property of that name: `content_type`, `priority`, `message_id`.
    fn property(&self, name: &str) -> Option<Value>;
}

/// What a step says of one message.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    Decided(Decision),
    /// It could not decide on this message, and why.
    Failed(FailureKind, String),
    /// It has not looked at the message, which is to be offered again after that time.
    NotAsked(Duration),
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// The route does not concern it.
    Keep,
    /// Nothing goes on, on purpose; why is for the log.
    Drop(String),
    /// It goes on with these changes.
    Replace(Patch),
    /// These go on instead of it.
    Emit(Vec<Output>),
    /// It is refused, with this reason.
    Reject(String),
    /// It is to be offered again after that time.
    RetryAfter(Duration),
}

/// Changes to a message. What is not named stays as it was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch {
    /// Headers and properties to remove; happens before `set`.
    pub remove: Vec<String>,
    /// Headers and properties to set; NULL removes.
    pub set: Vec<(String, Value)>,
    pub content_type: Option<String>,
    pub body: Option<Bytes>,
}

/// A message that is made of another one.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    /// Where it goes; none: where the route sends to.
    pub address: Option<String>,
    pub patch: Patch,
}

/// Who makes steps, by name. None: somebody of that name is there, and makes no steps.
#[derive(Clone, Default)]
pub struct StepMakers(pub BTreeMap<String, Option<Arc<dyn StepMaker>>>);

impl StepMakers {
    /// Whoever has that name; or why there is nobody.
    pub fn find(&self, name: &str) -> Result<&Arc<dyn StepMaker>, String> {
        match self.0.get(name) {
            Some(Some(maker)) => Ok(maker),
            Some(None) => Err(format!("the plugin '{name}' brings no transform")),
            None => Err(format!(
                "no plugin '{name}' is loaded: a [[plugin]] section of that name loads one, when the broker \
                 starts"
            )),
        }
    }
}
