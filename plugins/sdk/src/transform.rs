//! A transform: a step of content routes.

use crate::Start;
use crate::abi::{self, MessageHandle, Messages, View};
use crate::values::{Value, text};
use std::marker::PhantomData;
use std::time::Duration;

/// A transform of a plugin.
///
/// ```
/// use crossdock_plugin::{Decision, Message, Patch, Start, Step, Transform};
///
/// struct Length;
///
/// impl Start for Length {
///     fn start(_with: &str) -> Result<Self, String> {
///         Ok(Length)
///     }
/// }
///
/// impl Transform for Length {
///     type Step = Length;
///
///     fn make_step(&self, _with: &str) -> Result<Length, String> {
///         Ok(Length)
///     }
/// }
///
/// impl Step for Length {
///     fn handle(&self, message: &Message<'_>) -> Result<Decision, String> {
///         Ok(Decision::Replace(Patch::default().set("length", message.body().len() as i64)))
///     }
/// }
///
/// crossdock_plugin::export!(transform: Length);
/// ```
pub trait Transform: Start {
    type Step: Step;

    /// A route names the plugin in a step, whose `with` comes as JSON. An error is a mistake of the configuration.
    fn make_step(&self, with: &str) -> Result<Self::Step, String>;
}

/// One step of one route. Several threads use it at once.
pub trait Step: Send + Sync + 'static {
    /// Decides on a message. An error is the message's fault: the route's `on_error` says what becomes of it.
    fn handle(&self, message: &Message<'_>) -> Result<Decision, String>;
}

/// A message. A handle: what is not asked for is not copied.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    messages: Messages,
    handle: MessageHandle,
    call: PhantomData<&'a ()>,
}

impl<'a> Message<'a> {
    /// # Safety
    /// Both are the broker's, and used during its call.
    pub(crate) unsafe fn of(messages: Messages, handle: MessageHandle) -> Self {
        Self { messages, handle, call: PhantomData }
    }

    /// What the broker puts there, if it knows to.
    fn viewed(&self, ask: impl FnOnce(MessageHandle, *mut View)) -> View {
        let mut view = View::of(&[]);
        ask(self.handle, &raw mut view);
        view
    }

    /// Where it was published: `queue:NAME`, `topic:a/b` or `exchange:NAME/KEY`.
    pub fn address(&self) -> &'a str {
        let view = self.viewed(|handle, view| {
            if let Some(address) = self.messages.address {
                // SAFETY: the broker's function and handle, during its call.
                unsafe { address(handle, view) }
            }
        });
        // SAFETY: a view of the broker, valid during its call.
        unsafe { text(view) }
    }

    pub fn body(&self) -> &'a [u8] {
        let view = self.viewed(|handle, view| {
            if let Some(body) = self.messages.body {
                // SAFETY: the broker's function and handle, during its call.
                unsafe { body(handle, view) }
            }
        });
        // SAFETY: a view of the broker, valid during its call.
        unsafe { view.bytes() }
    }

    /// 0 the first time that its route asks for it, and one more after each failure and each
    /// [`Decision::RetryAfter`].
    pub fn attempt(&self) -> u32 {
        // SAFETY: the broker's function and handle, during its call.
        self.messages.attempt.map_or(0, |attempt| unsafe { attempt(self.handle) })
    }

    /// The first header of that name; or else the property: `content_type`, `content_encoding`, `message_id`,
    /// `correlation_id`, `reply_to`, `timestamp`, `user_id`, `app_id`, `type`, `subject`, `group_id`, `priority`.
    pub fn header(&self, name: &str) -> Value<'a> {
        let mut value = nothing();
        if let Some(header) = self.messages.header {
            // SAFETY: the broker's function and handle, during its call.
            unsafe { header(self.handle, View::of(name.as_bytes()), &raw mut value) }
        }
        // SAFETY: a view of the broker, valid during its call.
        unsafe { Value::of(&value) }
    }

    /// All headers in their order, repeated ones included; no properties.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        let this = *self;
        (0..).map_while(move |place| {
            let (mut name, mut value) = (View::of(&[]), nothing());
            let header_at = this.messages.header_at?;
            // SAFETY: the broker's function and handle, during its call.
            let there =
                unsafe { header_at(this.handle, place, &raw mut name, &raw mut value) } != 0;
            // SAFETY: views of the broker, valid during its call.
            there.then(|| unsafe { (text(name), Value::of(&value)) })
        })
    }

    /// Who published it; empty for somebody without a name.
    pub fn user(&self) -> &'a str {
        self.origin(abi::ORIGIN_USER)
    }

    /// The name that its client gave itself.
    pub fn client(&self) -> &'a str {
        self.origin(abi::ORIGIN_CLIENT)
    }

    /// The listener that it came by.
    pub fn listener(&self) -> &'a str {
        self.origin(abi::ORIGIN_LISTENER)
    }

    fn origin(&self, what: u32) -> &'a str {
        let view = self.viewed(|handle, view| {
            if let Some(origin) = self.messages.origin {
                // SAFETY: the broker's function and handle, during its call.
                unsafe { origin(handle, what, view) }
            }
        });
        // SAFETY: a view of the broker, valid during its call.
        unsafe { text(view) }
    }
}

fn nothing() -> abi::Value {
    abi::Value { kind: abi::VALUE_NONE, reserved: 0, text: View::of(&[]) }
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Not this step's business: as if the route had not taken it.
    Keep,
    /// Nothing goes on, on purpose; the reason is for the log.
    Drop(String),
    /// It goes on with these changes.
    Replace(Patch),
    /// These go on instead of it; none is allowed.
    Emit(Vec<Output>),
    /// It goes to the dead letters, with this reason.
    Reject(String),
    /// It is to be asked about again after that time.
    RetryAfter(Duration),
}

/// Changes to a message. What is not named stays as it was.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Patch {
    pub(crate) remove: Vec<String>,
    pub(crate) set: Vec<(String, Setting)>,
    pub(crate) content_type: Option<String>,
    pub(crate) body: Option<Vec<u8>>,
}

impl Patch {
    /// Sets a header, or the property of that name.
    pub fn set(mut self, name: impl Into<String>, value: impl Into<Setting>) -> Self {
        self.set.push((name.into(), value.into()));
        self
    }

    /// Removes all headers of that name, or the property. That happens before anything is set.
    pub fn remove(mut self, name: impl Into<String>) -> Self {
        self.remove.push(name.into());
        self
    }

    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }
}

/// A message that is made of the one that came: with changes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Output {
    pub(crate) address: Option<String>,
    pub(crate) patch: Patch,
}

impl Output {
    /// To where the route sends.
    pub fn new(patch: Patch) -> Self {
        Self { address: None, patch }
    }

    /// To an address that the route sends to, or that the step's `destinations` name: another one fails the message.
    pub fn to(address: impl Into<String>, patch: Patch) -> Self {
        Self { address: Some(address.into()), patch }
    }
}

/// The value that a header or property is set to.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    Bytes(Vec<u8>),
}

impl From<bool> for Setting {
    fn from(value: bool) -> Self {
        Setting::Bool(value)
    }
}

impl From<i64> for Setting {
    fn from(value: i64) -> Self {
        Setting::Integer(value)
    }
}

impl From<f64> for Setting {
    fn from(value: f64) -> Self {
        Setting::Number(value)
    }
}

impl From<&str> for Setting {
    fn from(value: &str) -> Self {
        Setting::Text(value.to_owned())
    }
}

impl From<String> for Setting {
    fn from(value: String) -> Self {
        Setting::Text(value)
    }
}

impl From<Vec<u8>> for Setting {
    fn from(value: Vec<u8>) -> Self {
        Setting::Bytes(value)
    }
}
