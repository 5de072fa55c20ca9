//! What all rooms of the broker share: one [`Shared`], and the [`Broker`] handle on it.
//!
//! | file | what it is |
//! |---|---|
//! | `handle` | the handle that adapters and the program hold |
//! | `pressure` | memory, disk space, and publishers that are held back |
//! | `sleepers` | queues of subscribers that may be away: when to look at them, and what of theirs was dropped |
//! | `journal_position` `open_turns` | how far the journal and snapshots are; turns that are ahead of them |
//! | `loads` `timers` | what is asked of `tasks::load` and `tasks::due` |
//! | `administration` | users and rights, as operators change them |
//! | `logins` `lately` | logins that were refused; those of the last minutes |
//! | `users` | the users, their logins, and whose rights are asked for |
//! | `identifiers` `clock` | ids, generated names, time |
//! | `vhosts` | the virtual hosts |
//! | `connections` | the open connections |
//! | `background` | the tasks |

pub mod administration;
pub mod background;
pub mod busiest;
pub mod clock;
pub mod connections;
pub mod handle;
pub mod identifiers;
pub mod journal_position;
pub mod lately;
pub mod loads;
pub mod logins;
pub mod open_turns;
pub mod pressure;
pub mod sleepers;
pub mod timers;
pub mod users;
pub mod vhosts;

use super::accounts::directory::Accounts;
use super::journal::committer::{Committer, Live};
use super::journal::spilled::Spilled;
use super::settings::{LiveSettings, Setup};
use super::vhost::host::Vhost;
use super::vhost::parked::Parked;
use crate::error::{Error, ErrorKind};
use crate::message::{Budget, Formats, Message, Name, Timestamp};
use crate::store::{Pos, Store};
use background::Background;
use clock::{Correction, WallClock};
use identifiers::Identifiers;
use journal_position::JournalPosition;
use loads::Loads;
use open_turns::OpenTurns;
use parking_lot::Mutex;
use pressure::BackPressure;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use timers::Timers;
use tokio::sync::mpsc;
use users::Users;
use vhosts::Vhosts;

pub use administration::{Actor, SessionOwner};
pub use busiest::BusiestLately;
pub use connections::{Unfinished, UnfinishedLogin};
pub use handle::Broker;
pub use lately::RefusedLately;
pub use logins::RefusedLogin;

/// What all parts of the broker share.
pub struct Shared {
    pub settings: LiveSettings,
    pub formats: Formats,
    pub users: Users,
    vhosts: Vhosts,
    pub store: Arc<dyn Store>,
    pub committer: Arc<Committer>,
    pub journal: JournalPosition,
    pub open_turns: OpenTurns,
    pub loads: Loads,
    /// Parked publishes; under its lock only timers are set.
    pub parked: Mutex<Parked>,
    pub timers: Timers,
    clock: WallClock,
    pub identifiers: Identifiers,
    pub pressure: BackPressure,
    pub background: Background,
}

/// What a start begins with.
pub struct Start {
    /// Living records of each entry of the journal.
    pub live: BTreeMap<u64, Live>,
    /// Position of the last entry.
    pub tail: Pos,
    /// Counts the starts.
    pub epoch: u64,
    /// What was read is charged to it already.
    pub budget: Arc<Budget>,
}

impl Shared {
    /// Empty virtual hosts, nothing running. The receiver wakes the task that reads records back.
    pub fn new(setup: Setup, start: Start) -> (Arc<Self>, mpsc::Receiver<()>) {
        let Setup { settings, formats, topology, store, authenticator, users } = setup;
        let accounts = Accounts::default();
        accounts.configure(users);
        let budget = start.budget;
        formats.aliases().charge_to(&budget);
        let vhosts = Vhosts::new(&settings, topology, &budget);
        let (loads, load_asked) = Loads::new();
        let shared = Self {
            users: Users::new(authenticator, accounts, &settings.topic_exchange),
            vhosts,
            committer: Arc::new(Committer::new(
                (start.live, start.tail),
                Spilled::new(store.clone()),
            )),
            store,
            journal: JournalPosition::new(start.tail, settings.snapshot_bytes),
            open_turns: OpenTurns::default(),
            loads,
            parked: Mutex::new(Parked::new(&budget)),
            timers: Timers::new(&budget),
            clock: WallClock::start(),
            identifiers: Identifiers::new(start.epoch),
            pressure: BackPressure::new(budget),
            background: Background::default(),
            settings: LiveSettings::new(settings),
            formats,
        };
        (Arc::new(shared), load_asked)
    }

    /// Milliseconds since the epoch; never goes back.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets the clock follow the system's; for the task that does.
    pub fn follow_clock(&self) -> Option<Correction> {
        self.clock.follow()
    }

    /// Where the clock has jumped to last: nobody has had the time that was left out. 0: it has not.
    pub fn clock_jumped_to(&self) -> Timestamp {
        self.clock.jumped_to()
    }

    /// The virtual host of that name.
    pub fn vhost(&self, name: &str) -> Option<Arc<Vhost>> {
        self.vhosts.all().iter().find(|v| *v.name == *name).cloned()
    }

    /// The first virtual host.
    pub fn default_vhost(&self) -> Option<Arc<Vhost>> {
        self.vhosts.all().first().cloned()
    }

    /// All virtual hosts.
    pub fn all_vhosts(&self) -> Arc<[Arc<Vhost>]> {
        self.vhosts.all()
    }

    /// Adds a virtual host that is not of the configuration; none when it is there already.
    pub fn add_vhost(&self, name: &Name, submit: impl FnOnce()) -> Option<Arc<Vhost>> {
        let budget = &self.pressure.memory.budget;
        let vhost = self.vhosts.add(name, (&self.settings.at_start, budget), submit)?;
        // Limits that changed since the start, or just now.
        vhost.limits.set(&self.settings.objects());
        Some(vhost)
    }

    /// True when the configuration names that virtual host.
    pub fn is_configured(&self, vhost: &Name) -> bool {
        self.settings.at_start.vhosts.contains(vhost)
    }

    /// Counts a message against the memory budget as long as it lives.
    pub fn charge(&self, message: &Message) {
        self.pressure.memory.charge(message);
    }

    /// An error while the disk is so full that not even a declaration can be stored.
    pub fn check_disk_space(&self) -> Result<(), Error> {
        match self.pressure.disk.is_exhausted.load(Ordering::Acquire) {
            false => Ok(()),
            true => {
                let why = "the disk of the store has less free than store.disk_free_hard";
                Err(Error::new(ErrorKind::Full, why))
            }
        }
    }
}
