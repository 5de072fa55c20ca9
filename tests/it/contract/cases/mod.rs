//! The table, in the order of the page.

mod dollar;
mod fields;
mod names;
mod outcomes;
mod pairs;
mod publish;
mod replies;
mod retained;
mod rules;
mod subscriptions;
mod texts;

use super::case::Case;

pub fn all() -> Vec<Case> {
    [
        rules::CASES,
        names::CASES,
        dollar::CASES,
        publish::CASES,
        outcomes::CASES,
        fields::CASES,
        texts::CASES,
        replies::CASES,
        retained::CASES,
        subscriptions::CASES,
        &pairs::cases(),
    ]
    .concat()
}
