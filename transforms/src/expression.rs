//! Expressions of a route: compiled with their paths into the body, evaluated on a message or a draft.

use crate::body::{Body, BodyPath};
use crate::destination::AddressRules;
use crate::draft::Draft;
use crossdock_core::exchange::selector::{BodyAccess, Input, Operand, Path, Selector};
use crossdock_core::{Formats, Message, Value};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Data shared by the expressions of one route.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub rules: Arc<AddressRules>,
    /// Number of bodies that could not be read along a path.
    pub unreadable: Arc<AtomicU64>,
}

/// A compiled expression.
#[derive(Debug, Clone)]
pub(crate) struct Expression {
    selector: Selector,
    paths: Vec<BodyPath>,
    scope: Scope,
}

impl Expression {
    /// Compiles the text; an error names line and column.
    pub(crate) fn parse(text: &str, scope: &Scope) -> Result<Self, String> {
        let selector = Selector::parse(text).map_err(|e| e.to_string())?;
        let compiled = selector.paths().iter().map(|path| {
            BodyPath::parse(path.kind, &path.text)
                .map_err(|reason| selector.error_at(path, reason).to_string())
        });
        let paths = compiled.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { selector, paths, scope: scope.clone() })
    }

    /// Like `parse`, for a condition: an expression that can never be true is an error.
    pub(crate) fn condition(text: &str, scope: &Scope) -> Result<Self, String> {
        let parsed = Self::parse(text, scope)?;
        match parsed.selector.is_condition() {
            true => Ok(parsed),
            false => Err("line 1, column 1: this is a value, not a condition".into()),
        }
    }

    /// Whether the condition is true for the message; "unknown" counts as false.
    pub(crate) fn selects(&self, message: &Message, formats: &Formats) -> bool {
        self.with(Input::of(message, formats), |selector, input| {
            selector.matches(input) == Some(true)
        })
    }

    /// Its value for the draft.
    pub(crate) fn value(&self, draft: &Draft) -> Value {
        self.with(draft.input(), |selector, input| selector.value(input).to_value())
    }

    /// Its value as text; none for NULL.
    pub(crate) fn text(&self, draft: &Draft) -> Option<String> {
        self.with(draft.input(), |selector, input| {
            selector.value(input).to_text().map(Cow::into_owned)
        })
    }

    fn with<R>(&self, input: Input<'_>, ask: impl Fn(&Selector, &Input<'_>) -> R) -> R {
        let content_type = input.fields.properties.content_type.as_deref();
        let reader = Reader { expression: self, body: Body::new(input.body, content_type) };
        // Headers of some protocols, and all values in XML, are text: a route can still compare them with numbers.
        let input = Input {
            topic_exchange: Some(&self.scope.rules.topic_exchange),
            access: Some(&reader),
            coerce: true,
            ..input
        };
        ask(&self.selector, &input)
    }
}

struct Reader<'a> {
    expression: &'a Expression,
    body: Body<'a>,
}

impl BodyAccess for Reader<'_> {
    fn path(&self, path: &Path) -> Operand<'_> {
        let Some(compiled) = self.expression.paths.get(path.index) else { return Operand::Null };
        compiled.find(&self.body).unwrap_or_else(|_| {
            self.expression.scope.unreadable.fetch_add(1, Ordering::Relaxed);
            Operand::Null
        })
    }
}
