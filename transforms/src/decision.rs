//! What a step's decision does to a message: the same for modules and for plugins.

use crate::destination::{self, AddressRules};
use crate::draft::Draft;
use crate::step::Outcome;
use crossdock_core::exchange::filter;
use crossdock_core::step::{Decision, Output, Patch};
use crossdock_core::transform::Watch;
use crossdock_core::{Address, Value};

/// Largest number of bytes in the bodies that one call may return.
pub(crate) const OUTPUT_MAX: usize = 16 << 20;
/// Largest number of outputs of one call.
const OUTPUTS_MAX: usize = 1_024;
/// Longest reason that is kept, in bytes; a longer one is truncated.
const REASON_MAX: usize = 1024;

/// Where outputs of a step may be sent.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The route's own addresses that are not computed.
    pub own: Vec<Address>,
    /// The step's `destinations`.
    pub granted: Vec<Watch>,
}

impl Places {
    fn allow(&self, address: &Address) -> bool {
        let is_granted = |granted: &Watch| match granted {
            Watch::Queue(name) => address.is_queue() && *address == Address::queue(name),
            Watch::Exchange(name, pattern) => {
                !address.is_queue()
                    && address.exchange == *name
                    && filter::matches(pattern, &address.key)
            }
        };
        self.own.contains(address) || self.granted.iter().any(is_granted)
    }
}

/// Carries out a decision. An error is a fault of whoever decided.
pub(crate) fn carry_out(
    decision: Decision,
    mut draft: Draft,
    (rules, places): (&AddressRules, &Places),
) -> Result<Outcome, String> {
    Ok(match decision {
        Decision::Keep => Outcome::Pass(draft),
        Decision::Drop(reason) => Outcome::Drop(bounded(&reason).into()),
        Decision::Reject(reason) => Outcome::Reject(bounded(&reason).into()),
        Decision::RetryAfter(time) => Outcome::Retry(time),
        Decision::Replace(changes) => {
            patch(&mut draft, changes)?;
            Outcome::One(draft)
        }
        Decision::Emit(outputs) if outputs.len() > OUTPUTS_MAX => {
            return Err(format!(
                "the module returned {} outputs; at most {OUTPUTS_MAX} are allowed",
                outputs.len()
            ));
        }
        Decision::Emit(outputs) => {
            let bodies = outputs.iter().filter_map(|output| output.patch.body.as_ref());
            let bytes: usize = bodies.map(|body| body.len()).sum();
            if bytes > OUTPUT_MAX {
                return Err(too_large(bytes));
            }
            let emitted = |output| emitted(&draft, output, (rules, places));
            Outcome::Many(outputs.into_iter().map(emitted).collect::<Result<_, String>>()?)
        }
    })
}

fn emitted(
    source: &Draft,
    output: Output,
    (rules, places): (&AddressRules, &Places),
) -> Result<Draft, String> {
    let mut draft = source.clone();
    patch(&mut draft, output.patch)?;
    if let Some(text) = output.address {
        let address = destination::allowed(&text, rules)
            .map_err(|reason| format!("address of an output: {reason}"))?;
        if !places.allow(&address) {
            return Err(format!(
                "address of an output: {text} is none of the route's own, nor one of the step's \
                 `destinations`"
            ));
        }
        draft.set_target(address);
    }
    Ok(draft)
}

fn patch(draft: &mut Draft, patch: Patch) -> Result<(), String> {
    for name in &patch.remove {
        draft.remove(name)?;
    }
    for (name, value) in patch.set {
        draft.set(&name, value)?;
    }
    if let Some(content_type) = patch.content_type {
        draft.set("content_type", Value::Text(content_type.into()))?;
    }
    match patch.body {
        Some(body) if body.len() > OUTPUT_MAX => Err(too_large(body.len())),
        Some(body) => {
            draft.set_body(body);
            Ok(())
        }
        None => Ok(()),
    }
}

fn too_large(bytes: usize) -> String {
    format!("the module returned {bytes} bytes; at most {OUTPUT_MAX} are allowed")
}

fn bounded(text: &str) -> &str {
    text.get(..text.floor_char_boundary(REASON_MAX)).unwrap_or_default()
}
