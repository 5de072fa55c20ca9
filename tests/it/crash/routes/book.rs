//! What was published, what the publishers were told, and what was found: compared with the outcomes that are right.

use super::model::{Copies, Outcome, Place, Shape, Told, outcomes};
use super::plan::{ENTRIES, FULL, LATE, Plan, WORDS};
use crate::crash::findings::Findings;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What a publisher knows of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The broker was killed before it answered.
    Nothing,
    Confirmed,
    /// Nobody got it.
    Unroutable,
    No,
}

struct Entry {
    shape: Shape,
    heard: Heard,
    transaction: Option<u32>,
    found: Copies,
    life: u64,
    is_reported: bool,
}

/// How many messages of each kind a run had: a long run has all.
#[derive(Debug, Default)]
pub struct Kinds {
    pub through_a_queue: usize,
    pub dead_lettered: usize,
    /// Copies in the queue that is soon full.
    pub had_room: usize,
    pub refused: usize,
    pub unroutable: usize,
    /// Copies of one message in several places.
    pub several: usize,
    /// It mattered whether a queue had been deleted, and it had.
    pub met_a_deletion: usize,
    /// Without an answer before a kill, and there, or not there.
    pub unknown_and_there: usize,
    pub unknown_and_gone: usize,
}

impl Kinds {
    pub fn lacks_nothing(&self) -> bool {
        let all = [
            self.through_a_queue,
            self.dead_lettered,
            self.had_room,
            self.refused,
            self.unroutable,
            self.several,
            self.met_a_deletion,
            self.unknown_and_there,
            self.unknown_and_gone,
        ];
        !all.contains(&0)
    }
}

pub struct Book {
    pub plan: Plan,
    findings: Arc<Findings>,
    right: BTreeMap<Shape, Arc<Vec<Outcome>>>,
    /// Routes (bits) that may have to wait for room.
    held: u8,
    /// By number.
    entries: Vec<Entry>,
    /// Messages of which something has to come.
    owed: BTreeSet<u32>,
    transactions: u32,
}

fn fits(found: &Copies, outcome: &Outcome) -> bool {
    found.iter().all(|(place, count)| outcome.copies.get(place).is_some_and(|most| count <= most))
}

/// What was in a queue that a client deletes may be gone.
fn is_whole(found: &Copies, outcome: &Outcome) -> bool {
    let has = |(place, count): (&Place, _)| place.queue == LATE || found.get(place) == Some(count);
    fits(found, outcome) && outcome.copies.iter().all(has)
}

impl Book {
    pub fn new(plan: Plan, findings: Arc<Findings>) -> Self {
        let mut book = Self {
            plan,
            findings,
            right: BTreeMap::new(),
            held: 0,
            entries: Vec::new(),
            owed: BTreeSet::new(),
            transactions: 0,
        };
        book.fill();
        book
    }

    /// The outcomes of all shapes.
    fn fill(&mut self) {
        let words = |entry| WORDS.into_iter().map(move |word| (entry, word));
        let shapes = (0..ENTRIES.len()).flat_map(words);
        let flags = |(entry, word)| (0..8).map(move |bits| (entry, word, bits));
        for (entry, word, bits) in shapes.flat_map(flags) {
            let (h, p, mandatory) = (bits & 1 == 1, bits & 2 == 2, bits & 4 == 4);
            let shape = Shape { entry, h, p, word, mandatory };
            let (all, held) = outcomes(&self.plan, &shape);
            self.held |= held;
            self.right.insert(shape, Arc::new(all));
        }
    }

    /// A number for a message about to be published.
    pub fn open(&mut self, shape: Shape, transaction: Option<u32>) -> u32 {
        let life = self.findings.life.load(std::sync::atomic::Ordering::Relaxed);
        let (heard, found) = (Heard::Nothing, Copies::new());
        self.entries.push(Entry { shape, heard, transaction, found, life, is_reported: false });
        self.findings.sent.one();
        self.entries.len() as u32 - 1
    }

    pub fn transaction(&mut self) -> u32 {
        self.transactions += 1;
        self.transactions
    }

    /// The outcomes that are right after what the publisher heard.
    fn candidates<'a>(entry: &'a Entry, all: &'a [Outcome]) -> impl Iterator<Item = &'a Outcome> {
        let in_transaction = entry.transaction.is_some();
        all.iter().filter(move |outcome| match (entry.heard, outcome.told) {
            // One queue refused it, and others have it: right only where no route was asked.
            (Heard::No, _) => {
                let is_in_full = entry.found.keys().any(|place| place.queue == FULL);
                !in_transaction && outcome.is_plain && outcome.needs_room && !is_in_full
            }
            (Heard::Nothing, _) => true,
            (Heard::Unroutable, told) => {
                matches!(told, Told::Unreached | Told::Vague | Told::NotFound)
            }
            (Heard::Confirmed, Told::Refused | Told::NotFound) => false,
            (Heard::Confirmed, Told::Unreached) => !entry.shape.mandatory,
            (Heard::Confirmed, Told::Stored | Told::Vague) => true,
        })
    }

    fn outcomes_of(&self, id: u32) -> Arc<Vec<Outcome>> {
        let shape = &self.entries[id as usize].shape;
        self.right.get(shape).cloned().unwrap_or_default()
    }

    /// The answer to one publish.
    pub fn heard(&mut self, id: u32, heard: Heard) {
        let all = self.outcomes_of(id);
        self.entries[id as usize].heard = heard;
        let entry = &self.entries[id as usize];
        let is_right = match heard {
            Heard::No => Self::may_refuse(&all),
            _ => Self::candidates(entry, &all).next().is_some(),
        };
        if !is_right {
            self.report(id, "the answer is wrong");
        }
        self.note(id);
    }

    fn may_refuse(all: &[Outcome]) -> bool {
        all.iter().any(|o| o.needs_room || matches!(o.told, Told::Refused | Told::NotFound))
    }

    /// The answer to a transaction. `is_wish`: the client wanted it rolled back.
    pub fn ended(&mut self, ids: &[u32], committed: bool, is_wish: bool) {
        self.findings.transactions.one();
        let may_refuse = ids.iter().any(|id| Self::may_refuse(&self.outcomes_of(*id)));
        if let (false, false, false, Some(first)) = (committed, is_wish, may_refuse, ids.first()) {
            self.report(*first, "its transaction was refused for no reason");
        }
        for id in ids {
            if committed {
                self.heard(*id, Heard::Confirmed);
            } else {
                self.entries[*id as usize].heard = Heard::No;
                self.note(*id);
            }
        }
    }

    /// Counts an answer; what is confirmed is owed.
    fn note(&mut self, id: u32) {
        match self.entries[id as usize].heard {
            Heard::No => self.findings.refused.one(),
            Heard::Nothing => return,
            _ => self.findings.confirmed.one(),
        }
        self.weigh(id);
        if self.entries[id as usize].heard == Heard::No
            && !self.entries[id as usize].found.is_empty()
        {
            self.report(id, "it was refused, and is there");
        }
    }

    /// Decides anew whether something of a message has to come.
    fn weigh(&mut self, id: u32) {
        let all = self.outcomes_of(id);
        let entry = &self.entries[id as usize];
        let may_be_partial = entry.transaction.is_none()
            && all.iter().any(|outcome| outcome.is_plain && outcome.needs_room);
        let is_unknown =
            entry.heard == Heard::Nothing && (entry.found.is_empty() || may_be_partial);
        let is_paid = entry.heard == Heard::No
            || is_unknown
            || Self::candidates(entry, &all).any(|outcome| is_whole(&entry.found, outcome));
        match is_paid {
            true => self.owed.remove(&id),
            false => self.owed.insert(id),
        };
    }

    /// A copy was taken from a queue.
    pub fn found(&mut self, id: u32, place: Place) {
        self.findings.delivered.one();
        let Some(entry) = self.entries.get_mut(id as usize) else {
            return self.findings.report(&format!("{id} is in {}: never published", place.queue));
        };
        *entry.found.entry(place).or_default() += 1;
        let all = self.outcomes_of(id);
        let entry = &self.entries[id as usize];
        if !Self::candidates(entry, &all).any(|outcome| fits(&entry.found, outcome)) {
            self.report(id, "more than the rules allow");
        }
        self.weigh(id);
        let entry = &self.entries[id as usize];
        if let (Heard::Nothing, Some(transaction)) = (entry.heard, entry.transaction) {
            self.found_committed(transaction);
        }
    }

    /// One of its messages was found, so the transaction was committed although nobody was told.
    fn found_committed(&mut self, transaction: u32) {
        let ids: Vec<u32> = (0..self.entries.len() as u32).collect();
        self.findings.found_committed.one();
        for id in ids {
            let entry = &mut self.entries[id as usize];
            if entry.transaction == Some(transaction) && entry.heard == Heard::Nothing {
                entry.heard = Heard::Confirmed;
                self.weigh(id);
            }
        }
    }

    /// Messages of which something has to come. `is_full`: [`FULL`] is not emptied, so what may
    /// have to wait for room need not come.
    pub fn owed(&self, is_full: bool) -> Vec<u32> {
        let may_wait = |id: &u32| {
            is_full
                && self.outcomes_of(*id).iter().any(|outcome| {
                    outcome.queued & self.held != 0
                        || outcome.copies.keys().any(|place| place.queue == FULL)
                })
        };
        self.owed.iter().copied().filter(|id| !may_wait(id)).collect()
    }

    /// What is owed did not come.
    pub fn write_off(&mut self, is_full: bool) {
        for id in self.owed(is_full) {
            self.report(id, "not all of it is there");
            self.owed.remove(&id);
        }
    }

    /// Adds what this run had.
    pub fn count(&self, kinds: &mut Kinds) {
        for (id, entry) in self.entries.iter().enumerate() {
            let all = self.outcomes_of(id as u32);
            let is_there = !entry.found.is_empty();
            let has = |is: fn(&Place) -> bool| entry.found.keys().any(is);
            let gone = all.last().filter(|_| all.len() > 1);
            let unknown = entry.heard == Heard::Nothing;
            let add = |sum: &mut usize, is: bool| *sum += usize::from(is);
            add(&mut kinds.through_a_queue, is_there && all.iter().any(|o| o.queued != 0));
            add(&mut kinds.dead_lettered, has(|place| place.dead.is_some()));
            add(&mut kinds.had_room, has(|place| place.queue == FULL));
            add(&mut kinds.refused, entry.heard == Heard::No);
            add(&mut kinds.unroutable, entry.heard == Heard::Unroutable);
            add(&mut kinds.several, entry.found.len() > 1);
            let met = is_there && gone.is_some_and(|o| o.copies == entry.found);
            add(&mut kinds.met_a_deletion, met);
            add(&mut kinds.unknown_and_there, unknown && is_there);
            add(&mut kinds.unknown_and_gone, unknown && !is_there);
        }
    }

    fn report(&mut self, id: u32, what: &str) {
        let all = self.outcomes_of(id);
        let entry = &mut self.entries[id as usize];
        if std::mem::replace(&mut entry.is_reported, true) {
            return;
        }
        let show = |copies: &Copies| {
            let one = |(place, count): (&Place, &u32)| {
                let Place { queue, marks, dead } = place;
                let dead = dead.map(|route| format!(" dead by r{route}")).unwrap_or_default();
                format!("{count} in {queue} by {marks:#b}{dead}")
            };
            format!("[{}]", copies.iter().map(one).collect::<Vec<_>>().join(", "))
        };
        let wanted: Vec<String> =
            all.iter().map(|o| format!("{:?} {}", o.told, show(&o.copies))).collect();
        let Shape { entry: to, h, p, word, mandatory } = &entry.shape;
        self.findings.report(&format!(
            "message {id} ({word}, h {h}, p {p}, mandatory {mandatory}, to {}, transaction {:?}, published in life {}): \
             {what}; heard {:?}, wanted one of {}, found {}",
            ENTRIES[*to],
            entry.transaction,
            entry.life,
            entry.heard,
            wanted.join(" or "),
            show(&entry.found),
        ));
    }
}
