//! A route as it is written in the configuration file. Only its shape is checked here; its meaning is checked in
//! `compile`, where all mistakes are collected.

use crossdock_core::transform::{AfterFailure, Mode};
use serde::Deserialize;
use serde_json::{Map, Value};

/// One route.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Unique; the route's own queue is named after it.
    pub name: String,
    /// Addresses that it watches: `topic:PATTERN`, `queue:NAME`, `exchange:NAME/PATTERN`.
    pub from: Vec<String>,
    /// Condition for the messages that it takes; none: all messages.
    pub when: Option<String>,
    /// Each `{ set = {..} }`, `{ remove = [..] }` or `{ wasm = "..", with = {..} }`.
    #[serde(default)]
    pub steps: Vec<Map<String, Value>>,
    /// Where results go: `queue:NAME`, `topic:a/b`, `exchange:NAME/KEY`, with computed parts in braces.
    #[serde(default)]
    pub to: Vec<String>,
    #[serde(default)]
    pub mode: ModeSpec,
    #[serde(default)]
    pub on_error: OnErrorSpec,
    #[serde(default)]
    pub isolation: Isolation,
    #[serde(default)]
    pub limits: LimitSpec,
}

/// What happens to the original message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeSpec {
    #[default]
    Divert,
    Tap,
    Filter,
}

impl From<ModeSpec> for Mode {
    fn from(mode: ModeSpec) -> Self {
        match mode {
            ModeSpec::Divert => Mode::Divert,
            ModeSpec::Tap => Mode::Tap,
            ModeSpec::Filter => Mode::Filter,
        }
    }
}

/// What happens when a step fails.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OnErrorSpec {
    /// Attempts after the first one.
    pub retry: u16,
    /// Pause before the first retry, doubled for each further one: `200ms`.
    pub backoff: String,
    pub then: ThenSpec,
    /// Where `dead-letter` sends to; none: the vhost's dead-letter address.
    pub dead_letter: Option<String>,
}

impl Default for OnErrorSpec {
    fn default() -> Self {
        Self { retry: 0, backoff: "200ms".into(), then: ThenSpec::default(), dead_letter: None }
    }
}

/// What happens after the last attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThenSpec {
    #[default]
    DeadLetter,
    Pass,
    Drop,
    Reject,
}

impl From<ThenSpec> for AfterFailure {
    fn from(then: ThenSpec) -> Self {
        match then {
            ThenSpec::DeadLetter => AfterFailure::DeadLetter,
            ThenSpec::Pass => AfterFailure::Pass,
            ThenSpec::Drop => AfterFailure::Drop,
            ThenSpec::Reject => AfterFailure::Reject,
        }
    }
}

/// Whether instances of modules are reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// An instance serves many messages and keeps its memory between them.
    #[default]
    Shared,
    /// A new instance for each message; about ten times as slow for small messages.
    PerMessage,
}

/// Limits of each module of the route.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitSpec {
    /// Memory; `16MiB` if not given.
    pub memory: Option<String>,
    /// Time for one message; `50ms` if not given.
    pub deadline: Option<String>,
}
