//! `crossdock diff`: what a reload would change, without a broker.

use crate::changes::{Change, Outline};
use crate::config::{self, Mistake, Request};
use crate::plan;
use crate::routes::Purpose;

/// All that is different in `new`, or the mistakes for which it would not be read.
pub fn diff(old: &Request<'_>, new: &Request<'_>) -> Result<Vec<Change>, Vec<Mistake>> {
    let old = config::load(old)?;
    let (before, declared) = Outline::read(&old)?;
    let new = config::load(new)?;
    let plan = plan::plan(&new, Purpose::Check)?;
    let mistakes = plan.declarations.differences(&declared, &new);
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let after = Outline::of(&new, &plan);
    before.check_loss(&new, &after)?;
    Ok(before.changes(&after))
}
