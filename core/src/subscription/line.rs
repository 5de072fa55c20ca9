//! Consumers that have credit, in the order in which they get records: by priority, and in turn among equals. The lists
//! go through the consumers themselves, so that one is put in and taken out without looking at the others.

use super::Handle;
use super::consumers::Attached;
use super::handles::HandleMap;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A consumer's place in a line.
#[derive(Debug, Default)]
pub(super) struct Link {
    before: Option<Handle>,
    behind: Option<Handle>,
    /// It stands in a line.
    pub is_in: bool,
}

/// Consumers of one priority. The first one gets the next record.
#[derive(Debug, Default, Clone, Copy)]
struct Row {
    first: Option<Handle>,
    last: Option<Handle>,
}

/// Consumers that have credit, by priority. Priority 0, which nearly all of them have, costs no map.
#[derive(Debug, Default)]
pub(super) struct Line {
    usual: Row,
    others: BTreeMap<Reverse<i16>, Row>,
}

impl Row {
    fn push(&mut self, all: &mut HandleMap<Attached>, handle: Handle) {
        if let Some(last) = self.last.and_then(|last| all.get_mut(last)) {
            last.link.behind = Some(handle);
        }
        if let Some(consumer) = all.get_mut(handle) {
            consumer.link = Link { before: self.last, behind: None, is_in: true };
        }
        self.last = Some(handle);
        self.first = self.first.or(Some(handle));
    }

    fn remove(&mut self, all: &mut HandleMap<Attached>, handle: Handle) {
        let Some(consumer) = all.get_mut(handle) else { return };
        let Link { before, behind, .. } = std::mem::take(&mut consumer.link);
        match before.and_then(|before| all.get_mut(before)) {
            Some(consumer) => consumer.link.behind = behind,
            None => self.first = behind,
        }
        match behind.and_then(|behind| all.get_mut(behind)) {
            Some(consumer) => consumer.link.before = before,
            None => self.last = before,
        }
    }
}

impl Line {
    /// True when nobody stands in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.usual.first.is_none() && self.others.is_empty()
    }

    /// Who gets the next record.
    #[inline]
    pub fn first(&self) -> Option<Handle> {
        if self.others.is_empty() {
            return self.usual.first;
        }
        match self.others.first_key_value() {
            Some((Reverse(priority), row)) if *priority > 0 => row.first,
            other => self.usual.first.or(other.and_then(|(_, row)| row.first)),
        }
    }

    /// Puts a consumer behind all others of its priority.
    pub fn push(&mut self, all: &mut HandleMap<Attached>, handle: Handle) {
        let Some(priority) = all.get(handle).map(|consumer| consumer.priority) else { return };
        match priority {
            0 => self.usual.push(all, handle),
            _ => self.others.entry(Reverse(priority)).or_default().push(all, handle),
        }
    }

    /// Takes a consumer out that stands in it.
    pub fn remove(&mut self, all: &mut HandleMap<Attached>, handle: Handle) {
        let Some(priority) = all.get(handle).map(|consumer| consumer.priority) else { return };
        if priority == 0 {
            return self.usual.remove(all, handle);
        }
        if let Some(row) = self.others.get_mut(&Reverse(priority)) {
            row.remove(all, handle);
            if row.first.is_none() {
                self.others.remove(&Reverse(priority));
            }
        }
    }

    /// True when nobody else of the usual priority stands in it.
    #[inline]
    pub fn is_only(&self, handle: Handle) -> bool {
        self.usual.first == Some(handle) && self.usual.last == Some(handle)
    }

    /// A consumer has had its turn: it goes behind the others of its priority.
    pub fn behind_all(&mut self, all: &mut HandleMap<Attached>, handle: Handle) {
        self.remove(all, handle);
        self.push(all, handle);
    }
}
