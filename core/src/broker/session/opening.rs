//! Opening a session: new ones, and named ones that are resumed or taken over from another connection; and a login that
//! is renewed while the session goes on.

use super::consume::resume;
use super::state::Session;
use crate::auth::Identity;
use crate::broker::accounts::subject::Subject;
use crate::broker::door::events::Notice;
use crate::broker::door::request::{ParkId, SessionSpec};
use crate::broker::shared::timers::TimerEvent;
use crate::broker::shared::{Broker, Shared};
use crate::broker::turn::context::Context;
use crate::broker::turn::figures::{Figure, publish_figures};
use crate::broker::turn::parked::route_parked;
use crate::broker::turn::removal::{self, keep_claims};
use crate::broker::turn::run::Turn;
use crate::broker::vhost::connection::Connection;
use crate::broker::vhost::generations::Generations;
use crate::broker::vhost::host::Vhost;
use crate::broker::vhost::inbox::Inbox;
use crate::broker::vhost::limits::Limit;
use crate::broker::vhost::named::Named;
use crate::error::{Error, ErrorKind};
use crate::exchange::SessionId;
use crate::message::cost::Cost;
use crate::message::{Account, Name, Origin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Who makes wills due routes them itself, within a few milliseconds. If it is gone before that, a timer does it after
/// this many milliseconds.
const WILLS_BY_TIMER_MS: u64 = 1_000;
/// What a connection takes in memory: its session, its buffers and its task, about.
const CONNECTION_BYTES: usize = 8 << 10;

impl Broker {
    /// Opens a session for a connection. `LimitReached`: there are as many named sessions as there may be, or as many
    /// connections of the user or in the virtual host. However much is kept, a connection is taken: it may be the one
    /// that takes something away.
    pub async fn session(&self, spec: SessionSpec) -> Result<Session, Error> {
        let (mut session, opened) = open(self, &spec, Whose::Client)?;
        let name = spec.name.as_ref();
        let budget = &self.shared().pressure.memory.budget;
        session.status.charge = Some(budget.charge(Account::Kept, CONNECTION_BYTES));
        if let Some(before) = opened.taken_from {
            // What the connection before has begun to change is submitted before this one goes on from there.
            while before.open.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        if let Some(name) = name {
            route_wills(self.shared(), (&session.vhost.name, name), &opened.wills).await;
        }
        if opened.must_sync {
            session.sync().await?;
        }
        Ok(session)
    }

    /// Opens a session for one act of an operator: it takes nobody's place among the connections, is in no list of
    /// them, and is checked and limited as a client's otherwise. Publishes are held back as a client's, until
    /// [`Session::close`]: ask [`Broker::look_at_node`] before.
    pub fn operator_session(&self, spec: &SessionSpec) -> Result<Session, Error> {
        let (mut session, _) = open(self, spec, Whose::Operator)?;
        session.status.is_operators = true;
        Ok(session)
    }

    /// Publishes what the broker says of itself, at topics that begin with `$SYS/`: each is retained, and not stored.
    /// `NotFound`: there is no such virtual host.
    pub fn publish_figures(&self, vhost: &str, figures: Vec<Figure>) -> Result<(), Error> {
        let shared = self.shared();
        let vhost = shared
            .vhost(vhost)
            .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("vhost '{vhost}' not found")))?;
        let open_turn = shared.open_turns.enter();
        let context = Context { shared, vhost: &vhost, now: shared.now() };
        publish_figures(context, figures);
        shared.open_turns.leave(open_turn);
        Ok(())
    }

    /// Opens a session of the program itself: it is nobody's connection, and never held back.
    pub fn own_session(&self, spec: &SessionSpec) -> Result<Session, Error> {
        open_internal(self, spec)
    }
}

/// Whose a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// A connection's, which is counted.
    Client,
    Operator,
    Broker,
}

/// What opening a session led to.
struct Opened {
    id: SessionId,
    named: Option<Arc<Named>>,
    resumed: bool,
    /// Something about it is on its way to the store.
    must_sync: bool,
    /// The connection that had the session until now.
    taken_from: Option<Arc<Inbox>>,
    /// Wills of the client that are due now.
    wills: Vec<ParkId>,
}

/// Opens a session of the broker itself, which is never held back.
pub fn open_internal(broker: &Broker, spec: &SessionSpec) -> Result<Session, Error> {
    let (mut session, _) = open(broker, spec, Whose::Broker)?;
    session.status.internal = true;
    Ok(session)
}

/// Opens a session; what has to be stored for it is submitted, not waited for.
fn open(broker: &Broker, spec: &SessionSpec, whose: Whose) -> Result<(Session, Opened), Error> {
    let shared = broker.shared();
    let vhost = shared.vhost(&spec.vhost).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, format!("vhost '{}' not found", spec.vhost))
    })?;
    if shared.committer.has_failed() {
        return Err(Error::new(ErrorKind::Unavailable, "the store has failed"));
    }
    let connection = shared.identifiers.next();
    let user = spec.identity.user.clone();
    let origin = Arc::new(Origin { connection, user, ..spec.origin.clone() });
    let subject = shared.users.subject(&spec.identity, &origin, &vhost.name);
    if !subject.may_enter() {
        let (user, vhost) = (&origin.user, &vhost.name);
        let detail = format!("user '{user}' may not enter virtual host '{vhost}'");
        subject.note_refusal(&"enter", &format_args!("vhost:{vhost}"));
        return Err(Error::new(ErrorKind::Refused, detail));
    }
    let who = (&vhost.name, spec.name.as_ref());
    let seen = Connection::new(origin, who, spec.about.clone(), shared.now());
    let inbox = Inbox::new(Arc::new(seen), shared.settings.inbox_bytes_max());
    if whose == Whose::Client && spec.name.is_none() {
        take_seat(shared, &vhost, &inbox, None)?;
    }
    let opened = match &spec.name {
        Some(name) => {
            let open_turn = shared.open_turns.enter();
            let opened = open_named(shared, &vhost, (name, spec), (&inbox, &subject));
            shared.open_turns.leave(open_turn);
            opened?
        }
        None => Opened {
            id: shared.identifiers.next_anonymous(),
            named: None,
            resumed: false,
            must_sync: false,
            taken_from: None,
            wills: Vec::new(),
        },
    };
    if let Some(at) = spec.identity.expires {
        shared.users.add_ending(&inbox);
        shared.timers.set(at, TimerEvent::LoginExpires(connection));
    }
    let mut session = Session::new(broker.clone(), vhost, opened.id, (inbox, subject));
    (session.named, session.status.resumed) = (opened.named.clone(), opened.resumed);
    if whose == Whose::Client {
        let inbox = Arc::downgrade(&session.inbox);
        shared.users.connections.enter(&session.inbox.connection, inbox);
    }
    shared.users.connected(&session.inbox, &spec.identity)?;
    Ok((session, opened))
}

impl Session {
    /// The login of this session ends at a time, as that of a token does.
    pub fn login_expires(&self) -> bool {
        self.shared().users.is_ending(self.inbox.origin.connection)
    }

    /// The session goes on under a new login of the same user: with its rights, until that ends. `Refused`: it is
    /// another user's, may not enter the virtual host, or gets its rights elsewhere; the login before holds.
    pub fn renew_login(&mut self, identity: &Identity) -> Result<(), Error> {
        self.rights.subject.renew(identity)?;
        let (shared, connection) = (self.shared(), self.inbox.origin.connection);
        match identity.expires {
            Some(at) => {
                shared.users.add_ending(&self.inbox);
                shared.timers.set(at, TimerEvent::LoginExpires(connection));
            }
            None => {
                shared.users.take_ending(connection);
                shared.timers.cancel(&TimerEvent::LoginExpires(connection));
            }
        }
        Ok(())
    }
}

/// Opens a named session, or takes it over from the connection that has it. `LimitReached` when it would be new and
/// there are as many as there may be.
fn open_named(
    shared: &Arc<Shared>,
    vhost: &Arc<Vhost>,
    (name, spec): (&Name, &SessionSpec),
    (inbox, subject): (&Arc<Inbox>, &Arc<Subject>),
) -> Result<Opened, Error> {
    let mut turn = Turn::default();
    // One at a time: two connections that open one name at once must not both find it free.
    let one = vhost.opening.lock();
    let (old, there) = {
        let topology = vhost.topology.read();
        (topology.session(name).cloned(), topology.sessions_count())
    };
    if let Some(old) = &old {
        check_session_owner(old, subject)?;
    }
    let was_there = old.is_some();
    if !was_there {
        let who = (&vhost.name, &spec.origin);
        // One that ends with its connection is taken like that, however much is kept.
        let bytes = if spec.life.lasts() { size_of::<Named>() + name.cost() } else { 0 };
        vhost.limits.check(Limit::Sessions, (there, 1), bytes, who)?;
    }
    take_seat(shared, vhost, inbox, old.as_deref())?;
    let mut taken_from = None;
    let resumed = match old {
        Some(old) => {
            taken_from = old.with(|state| state.inbox.take());
            if let Some(inbox) = &taken_from {
                inbox.notice(Notice::TakenOver);
                resume(&old, inbox, &mut turn.after, shared.now());
                keep_claims(vhost, &old, &mut turn.after);
            }
            // One that was to end with its connection has ended with it.
            let ended = spec.clean || old.with(|state| state.ended || !state.life.lasts());
            if ended {
                turn.unit().ops.append(&mut removal::end_session(shared, vhost, &old));
            }
            (!ended).then_some(old)
        }
        None => None,
    };
    let survivor = resumed.as_ref().map(|named| named.id);
    let wills = wills(shared, (&vhost.name, name), (survivor, taken_from.is_some()), &mut turn);
    let named = match &resumed {
        Some(named) => named.clone(),
        None => add_named(shared, vhost, (name, subject), spec),
    };
    shared.timers.cancel(&TimerEvent::SessionExpires(vhost.name.clone(), named.id));
    let lasts = connect(&named, spec, (inbox, subject), &vhost.generations);
    let is_stored = lasts && named.store(&vhost.name, |ops| shared.committer.submit_ops(ops));
    // What is left to do is about what the old connection had: others may open sessions meanwhile.
    drop(one);
    let context = Context { shared, vhost, now: shared.now() };
    turn.run(context);
    // Where an old session was, its end may still be on its way to the store.
    let must_sync = is_stored || turn.is_durable() || was_there;
    turn.finish(context, None);
    let (id, resumed) = (named.id, resumed.is_some());
    Ok(Opened { id, named: Some(named), resumed, must_sync, taken_from, wills })
}

/// The connection has a place among those of its user from now on: that of the connection which it takes the session
/// from, or a new one. `LimitReached` when there is none.
fn take_seat(
    shared: &Shared,
    vhost: &Vhost,
    inbox: &Inbox,
    old: Option<&Named>,
) -> Result<(), Error> {
    let before = old.and_then(|old| old.with(|state| state.inbox.clone()));
    let seat = match before.and_then(|before| before.seat.lock().take()) {
        Some(seat) => seat,
        None => shared.users.seats.take(&vhost.limits, (&vhost.name, &inbox.origin))?,
    };
    *inbox.seat.lock() = Some(seat);
    Ok(())
}

/// The session is this connection's from now on. True when it is in the store, or has to be.
fn connect(
    named: &Named,
    spec: &SessionSpec,
    (inbox, subject): (&Arc<Inbox>, &Arc<Subject>),
    generations: &Generations,
) -> bool {
    let (lasts, is_other) = named.with(|state| {
        let is_other = state.set_owner(subject);
        state.inbox = Some(inbox.clone());
        state.life = spec.life;
        state.gone_since = None;
        if state.queue_spec.is_none() {
            state.queue_spec = spec.queue.clone();
        }
        (state.stored || state.life.lasts(), is_other)
    });
    if is_other {
        // Routes that lead to it were found with other rights.
        generations.bump();
    }
    lasts
}

/// `Refused` when the session is another user's: nobody takes it over by its name.
pub(super) fn check_session_owner(old: &Named, subject: &Subject) -> Result<(), Error> {
    let is_theirs = old.with(|state| state.owner.user == subject.user);
    if is_theirs {
        return Ok(());
    }
    let (name, user) = (&old.name, &subject.user);
    subject.note_refusal(&"open", &format_args!("session:{name}"));
    let detail = format!("session '{name}' belongs to another user than '{user}'");
    Err(Error::new(ErrorKind::Refused, detail))
}

fn add_named(
    shared: &Shared,
    vhost: &Vhost,
    (name, owner): (&Name, &Arc<Subject>),
    spec: &SessionSpec,
) -> Arc<Named> {
    let id = SessionId(shared.identifiers.next());
    let named = Named::new(id, (name.clone(), owner.clone()), spec.life, spec.queue.clone());
    vhost.topology.write().add_session(named.clone());
    named
}

/// Withdraws the wills of a client that is back, but for those that are due nevertheless, which are returned: see
/// `Parked::back`.
fn wills(
    shared: &Shared,
    whose: (&Name, &Name),
    how: (Option<SessionId>, bool),
    turn: &mut Turn,
) -> Vec<ParkId> {
    let mut parked = shared.parked.lock();
    let now = shared.now();
    let (forgotten, due) = parked.back(whose, now, how);
    for (id, is_stored) in forgotten {
        shared.timers.cancel(&TimerEvent::Parked(id));
        if is_stored {
            turn.unit().ops.unpark(id);
        }
    }
    for id in &due {
        shared.timers.set(now.plus(WILLS_BY_TIMER_MS), TimerEvent::Parked(*id));
    }
    due
}

/// What is due of a client that is back comes before anything that it publishes now: its "offline" never overwrites its
/// "online".
async fn route_wills(shared: &Arc<Shared>, (vhost, name): (&Name, &Name), due: &[ParkId]) {
    for id in due {
        let open_turn = shared.open_turns.enter();
        route_parked(shared, *id, shared.now());
        shared.open_turns.leave(open_turn);
        tokio::task::consume_budget().await;
    }
    // Those that a timer had begun with.
    while shared.parked.lock().is_routing(vhost, name) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
