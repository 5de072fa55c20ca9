//! Publishers that wait for plugins which route. Few may wait at a time, because each takes a thread meanwhile; beyond
//! that sessions are held back, as at a full queue.

use super::content_path::ContentPath;
use super::held::HeldSessions;
use super::inbox::Inbox;
use crate::error::{Error, ErrorKind};
use crate::exchange::{Answer, FieldsOf, ForeignKind, Question};
use crate::message::Key;
use crate::wait::Thread;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Publishers that wait for one kind's plugin at once, before others are held back. More than processors ask a plugin
/// that answers at once, so that such a one never has a crowd.
const WAITING_MAX: usize = 32;

/// Publishers that wait for it at most. More than would be held back come through other exchanges: they are refused.
const REFUSED_BEYOND: usize = 256;

/// Those who wait for the plugin of one kind of exchange.
pub struct Crowd {
    kind: ForeignKind,
    waiting: AtomicUsize,
    /// From the last free place until half of them are free, so that whoever is held gets a place before new ones.
    is_full: AtomicBool,
    held: HeldSessions,
}

/// The crowds of a virtual host, one for each kind whose plugin was asked.
pub struct Crowds {
    all: Mutex<Vec<Arc<Crowd>>>,
    /// Those that are full are counted there.
    full: Arc<AtomicUsize>,
}

impl Crowds {
    /// Those who wait for that kind.
    fn of(&self, kind: ForeignKind) -> Arc<Crowd> {
        let mut all = self.all.lock();
        if let Some(known) = all.iter().find(|crowd| crowd.kind == kind) {
            return known.clone();
        }
        let (waiting, is_full) = (AtomicUsize::new(0), AtomicBool::new(false));
        let crowd = Arc::new(Crowd { kind, waiting, is_full, held: HeldSessions::default() });
        all.push(crowd.clone());
        crowd
    }

    /// Asks a plugin, on this thread.
    pub fn ask(&self, question: &Question, key: &Key, fields: FieldsOf<'_>) -> Answer {
        let crowd = self.of(question.kind());
        let waits = Waits::enter(self, &crowd);
        if waits.number > REFUSED_BEYOND {
            let kind = crowd.kind.name();
            let detail = format!(
                "{REFUSED_BEYOND} publishers wait for the plugin that routes exchanges of type '{kind}'"
            );
            return question.refused(Error::new(ErrorKind::Unavailable, detail));
        }
        match question.try_ask(key, fields) {
            Some(answer) => answer,
            None => Thread::current().block(|| question.ask(key, fields)),
        }
    }

    /// That kind's, if it is full.
    pub fn full_of(&self, kind: ForeignKind) -> Option<Arc<Crowd>> {
        Some(self.of(kind)).filter(|crowd| crowd.is_full())
    }
}

impl Crowd {
    fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Acquire)
    }
}

/// One who waits.
struct Waits<'a> {
    crowds: &'a Crowds,
    crowd: &'a Crowd,
    /// How many wait with it.
    number: usize,
}

impl<'a> Waits<'a> {
    fn enter(crowds: &'a Crowds, crowd: &'a Crowd) -> Self {
        let number = crowd.waiting.fetch_add(1, Ordering::AcqRel) + 1;
        if number >= WAITING_MAX && !crowd.is_full.swap(true, Ordering::AcqRel) {
            crowds.full.fetch_add(1, Ordering::AcqRel);
        }
        Self { crowds, crowd, number }
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let Self { crowds, crowd, .. } = self;
        let waiting = crowd.waiting.fetch_sub(1, Ordering::AcqRel) - 1;
        if waiting <= WAITING_MAX / 2 && crowd.is_full.swap(false, Ordering::AcqRel) {
            crowds.full.fetch_sub(1, Ordering::AcqRel);
            crowd.held.release();
        }
    }
}

/// What holds publishers of a virtual host back.
pub struct Holds {
    /// How many queues of content routes and how many crowds are full: nobody looks for one otherwise.
    pub full: Arc<AtomicUsize>,
    pub crowds: Crowds,
}

impl Default for Holds {
    fn default() -> Self {
        let full: Arc<AtomicUsize> = Arc::default();
        Self { crowds: Crowds { all: Mutex::default(), full: full.clone() }, full }
    }
}

/// What a session waits for before it may publish on.
pub enum Hold {
    /// Room in the queue of a content route, which this session's publishes filled.
    Route(Arc<ContentPath>),
    /// A place among those who wait for a plugin.
    Crowd(Arc<Crowd>),
}

impl Hold {
    /// It is not over.
    pub fn lasts(&self) -> bool {
        match self {
            Hold::Route(path) => path.is_full(),
            Hold::Crowd(crowd) => crowd.is_full(),
        }
    }

    /// Wakes that session when it may be over. It looks once more whether it lasts behind that.
    pub fn register(&self, inbox: &Arc<Inbox>) {
        match self {
            Hold::Route(path) => path.hold(inbox),
            Hold::Crowd(crowd) => crowd.held.hold(inbox),
        }
    }

    /// The session has left: it is not to be woken.
    pub fn forget(&self, inbox: &Arc<Inbox>) {
        match self {
            Hold::Route(path) => path.forget(inbox),
            Hold::Crowd(crowd) => crowd.held.forget(inbox),
        }
    }
}
