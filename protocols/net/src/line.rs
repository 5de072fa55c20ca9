//! One connection's line to its peer, and the loop that every adapter runs on it: both directions of the socket, the
//! deadlines, the drain. It knows no protocol: the bytes of a heartbeat come from the adapter.
//!
//! ```text
//! more ⟲ while_verified ─► agreed ─► next ⟲ ─┬─ the adapter ends it ──────────────► farewell
//!   (login)        while_waiting ⟲  ├─ end of stream ─► next ⟲ ─ answered ► farewell
//!                                   └─ lost
//! ```
//!
//! A turn is what the adapter does between two calls of `next`. It is bounded: by the frames of one read, by the output
//! that they lead to, and by time (`goes_on`, `pause`); whoever goes beyond lets others have their turn first.
//!
//! Invariants: nothing but `next`, `more`, `while_waiting` and the farewell waits for the peer's socket; each of them
//! writes what waits. Every wait can be cancelled. Time in which the peer is not read is not its silence.

use crate::ahead::{Ahead, Pings};
use crate::deadlines::{Deadlines, Due};
use crate::turn::Turn;
use crate::{Entrance, Input, Output};
use crossdock_core::message::Charge;
use crossdock_core::{Accepted, Error, ErrorKind, Events, Name, Session};
use std::future::{Future, pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout_at};

/// While more output than this waits, in bytes, no deliveries are taken.
const OUT_HIGH: usize = 256 << 10;
/// While more output than this waits, in bytes, nothing is read: answers to what is read would add to it.
const OUT_MAX: usize = 4 << 20;
/// After its end of stream a peer still gets the answers that are ready within this time.
const ANSWER_TIME: Duration = Duration::from_secs(5);
/// Input that the adapter cannot take at the moment is read ahead up to this many bytes, so that a heartbeat or the end
/// of the stream behind it is seen. What is more stays in the socket, and holds the peer back.
const READ_AHEAD: usize = 16 << 10;
/// The same for protocols whose pings are answered ahead of their turn: what one read brings.
const LOOK_AHEAD: usize = 64 << 10;
/// Memory of unfinished frames that one connection may take without being asked for it: a little more than one read.
const INPUT_FREE: usize = 128 << 10;
/// At most this many bytes of a peer are discarded after the last frame to it.
const DISCARD_MAX: usize = 4 << 20;

/// What the loop woke up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// More bytes are in the input.
    Bytes,
    /// The session's events were taken.
    Events,
    /// The peer sends nothing more, but may still read: it gets the answers that it asked for, for a limited time.
    EndOfStream,
    /// What [`Line::retry_later`] asked for is to be tried again.
    Retry,
    /// The process begins to stop: the adapter says goodbye to the peer.
    Stopping,
}

/// Why there is nobody left to serve.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    #[error("the peer sent nothing for longer than was agreed")]
    Silent,
    #[error("the peer does not read")]
    NotReading,
    #[error("the login took too long")]
    LoginTooLong,
    #[error("the peer closed the connection during the login")]
    ClosedInLogin,
    #[error("the broker began to stop during the login")]
    StoppedInLogin,
    #[error("the peer closed its side, and its answers were not ready in time")]
    NotAnswered,
    #[error("{}", .0.detail())]
    TooMuch(Error),
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
}

impl From<Lost> for Error {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::TooMuch(why) => why,
            lost => Error::new(ErrorKind::Closed, lost.to_string()),
        }
    }
}

/// What keeps a connection alive, as agreed in the login.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeepAlive {
    /// A peer that sends nothing for this long is given up; none: it may be silent for ever.
    pub silence: Option<Duration>,
    /// After this long without output a heartbeat is written; none: never.
    pub beat: Option<Duration>,
}

/// What a line has to know of its protocol.
#[derive(Debug)]
pub struct Dialect {
    /// The protocol's name, for logs.
    pub protocol: &'static str,
    /// The bytes of a heartbeat; none where the broker sends none.
    pub heartbeat: &'static [u8],
    /// Pings of the peer that lie behind what cannot be taken yet; none where its frames are no questions.
    pub pings: Option<Pings>,
}

/// The line to one peer.
pub struct Line {
    pub input: Input,
    pub output: Output,
    deadlines: Deadlines,
    dialect: &'static Dialect,
    /// Resolves when the process begins to stop; none when that was reported.
    stopping: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
    /// What ended the connection while the adapter waited for something else.
    lost: Option<Lost>,
    /// Bytes of output that the session knows to be written.
    credited: u64,
    /// Events are asked for before input: whichever was taken last is asked last, so that neither starves.
    events_first: bool,
    /// Input was read that the adapter was not told of yet.
    unread: bool,
    /// The peer sends nothing more.
    ended: bool,
    /// The adapter knows that.
    end_reported: bool,
    /// What was done since others had their turn.
    turn: Turn,
    /// What a large unfinished frame takes, while there is one.
    large_input: Option<Charge>,
    /// Pings that were answered ahead of their turn.
    ahead: Ahead,
    /// The peer's address.
    peer: Name,
}

/// What may be taken in this round.
#[derive(Clone, Copy)]
struct Wants {
    bytes: bool,
    events: bool,
}

/// What a round of waiting ended with.
enum Woken {
    Stopping,
    Deadline,
    Wrote(io::Result<usize>),
    Read(io::Result<usize>),
    Events,
}

impl Line {
    /// The line to a peer that has `login_time` to log in, from when it connected. Output that does not move for
    /// `write_time` ends it.
    pub fn new(
        dialect: &'static Dialect,
        accepted: Accepted,
        login_time: Duration,
        write_time: Duration,
    ) -> (Self, Entrance) {
        let Accepted { reader, writer, head, peer, mut drain, .. } = accepted;
        // What the listener took of the time, for a handshake or so, is not given twice.
        let login_time = login_time.saturating_sub(accepted.since.elapsed());
        let line = Self {
            input: Input::new(reader, head),
            output: Output::new(writer),
            deadlines: Deadlines::new(login_time, write_time),
            dialect,
            stopping: Some(Box::pin(async move { drain.started().await })),
            lost: None,
            credited: 0,
            events_first: true,
            unread: false,
            ended: false,
            end_reported: false,
            turn: Turn::new(),
            large_input: None,
            ahead: Ahead::default(),
            peer: peer.as_str().into(),
        };
        let Accepted { loopback, secure, certificate, listener, .. } = accepted;
        let (peer, claimed) = (line.peer.clone(), OnceLock::new());
        let protocol = dialect.protocol;
        (line, Entrance { protocol, listener, peer, loopback, secure, certificate, claimed })
    }

    /// Waits for more input during the login.
    pub async fn more(&mut self) -> Result<(), Lost> {
        let wants = Wants { bytes: true, events: false };
        loop {
            match self.wake(pin!(pending()), wants).await {
                Woken::Stopping => return Err(Lost::StoppedInLogin),
                Woken::Read(read) => {
                    return if read? > 0 { Ok(()) } else { Err(Lost::ClosedInLogin) };
                }
                Woken::Wrote(wrote) => self.wrote(wrote)?,
                Woken::Deadline => drop(self.on_deadline(wants)?),
                Woken::Events => {}
            }
        }
    }

    /// Waits until the broker has judged what the peer presented, as when a password is verified. The peer's time to
    /// log in stands still meanwhile. A peer that goes away and left nothing to do behind its login ends the waiting,
    /// and nobody works for it any more.
    pub async fn while_verified<F: Future>(&mut self, login: F) -> Result<F::Output, Lost> {
        let left = self.deadlines.suspend_limit();
        let mut answer = None;
        {
            let mut login = pin!(async { answer = Some(login.await) });
            loop {
                let bytes = !self.ended && self.input.len() < READ_AHEAD;
                let wants = Wants { bytes, events: true };
                match self.wake(login.as_mut(), wants).await {
                    Woken::Stopping => return Err(Lost::StoppedInLogin),
                    Woken::Events => break,
                    Woken::Wrote(wrote) => self.wrote(wrote)?,
                    Woken::Deadline => drop(self.on_deadline(wants)?),
                    Woken::Read(read) => match read? {
                        0 if self.input.is_empty() => return Err(Lost::ClosedInLogin),
                        0 => self.ended = true,
                        _ => self.unread = true,
                    },
                }
            }
        }
        self.deadlines.resume_limit(left);
        // It was set when the future was complete.
        answer.ok_or(Lost::ClosedInLogin)
    }

    /// The login is complete; this is what was agreed on.
    pub fn agreed(&mut self, keep_alive: KeepAlive) {
        self.deadlines.agreed(keep_alive.silence, keep_alive.beat);
    }

    /// Writes until there is something for the adapter to do. `reads`: it can take more input. Cancel-safe.
    pub async fn next(
        &mut self,
        session: &mut Session,
        events: &mut Events,
        reads: bool,
    ) -> Result<Ready, Lost> {
        if session.has_more() || self.turn.is_long() {
            // What was read has more effects than one turn may have, or took long: others have theirs first.
            self.give_way().await;
        }
        self.turn.forget_frames();
        loop {
            if let Some(lost) = self.lost.take() {
                return Err(lost);
            }
            if self.input.len() > INPUT_FREE || self.large_input.is_some() {
                self.count_input(session)?;
            }
            self.credit(session);
            let waiting = self.output.len();
            let takes = reads && waiting < OUT_MAX && session.may_read();
            if self.unread && takes {
                self.unread = false;
                return Ok(Ready::Bytes);
            }
            if self.unread {
                self.look_ahead();
            }
            if self.ended && !self.unread && !self.end_reported {
                self.end_reported = true;
                return Ok(Ready::EndOfStream);
            }
            let bytes = !self.ended && (takes || self.input.len() < self.ahead_max());
            let wants = Wants { bytes, events: waiting < OUT_HIGH };
            let woken = self.wake(pin!(session.events(events)), wants).await;
            match woken {
                Woken::Wrote(wrote) => self.wrote(wrote)?,
                Woken::Events => {
                    self.events_first = false;
                    return Ok(Ready::Events);
                }
                Woken::Read(read) => {
                    self.heard(read?);
                    session.heard(self.input.total());
                }
                Woken::Stopping => {
                    self.stopping = None;
                    return Ok(Ready::Stopping);
                }
                Woken::Deadline => {
                    if let Some(ready) = self.on_deadline(wants)? {
                        return Ok(ready);
                    }
                }
            }
        }
    }

    fn ahead_max(&self) -> usize {
        if self.dialect.pings.is_some() { LOOK_AHEAD } else { READ_AHEAD }
    }

    #[cold]
    fn look_ahead(&mut self) {
        if let Some(pings) = &self.dialect.pings {
            self.ahead.look(pings, &mut self.input, &mut self.output);
        }
    }

    /// Whether the ping whose turn it is was answered ahead of it.
    pub fn is_answered(&mut self) -> bool {
        self.ahead.take_answered()
    }

    /// Whether the adapter may decode one more frame in this turn. If not, it ends its turn, and is told of the bytes
    /// that it left when others had theirs, and when output has been written.
    #[inline]
    pub fn goes_on(&mut self) -> bool {
        if self.turn.has_room() && self.output.len() < OUT_MAX {
            return true;
        }
        self.unread |= !self.input.is_empty();
        false
    }

    /// True once when the adapter left bytes in the input because its turn was over: for adapters that read a peer
    /// which cannot be written to any more.
    pub fn has_left_over(&mut self) -> bool {
        self.turn.forget_frames();
        std::mem::take(&mut self.unread)
    }

    /// Between the slices of something long: others have their turn, if it is time.
    pub async fn pause(&mut self) {
        if self.turn.is_long() {
            self.give_way().await;
        }
    }

    async fn give_way(&mut self) {
        tokio::task::yield_now().await;
        self.turn.begin();
    }

    /// Counts a large unfinished frame as memory that is kept. [`Lost::TooMuch`] when there is no room for it.
    fn count_input(&mut self, session: &Session) -> Result<(), Lost> {
        let bytes = self.input.memory();
        if self.input.len() <= INPUT_FREE {
            self.large_input = None;
            return Ok(());
        }
        let counted = self.large_input.get_or_insert_with(|| session.kept());
        if let Some(more) = bytes.checked_sub(counted.bytes()).filter(|more| *more > 0) {
            session.may_keep(more).map_err(Lost::TooMuch)?;
        }
        counted.set(bytes);
        Ok(())
    }

    /// Waits for whatever comes first: the drain, a deadline, a write, or input and events in turn.
    async fn wake(
        &mut self,
        mut events: Pin<&mut impl Future<Output = ()>>,
        wants: Wants,
    ) -> Woken {
        let Self { input, output, deadlines, stopping, events_first, turn, .. } = self;
        let mut waited = false;
        let woken = poll_fn(|context| {
            if let Some(stopping) = stopping
                && stopping.as_mut().poll(context).is_ready()
            {
                return Poll::Ready(Woken::Stopping);
            }
            if deadlines.poll(context).is_ready() {
                return Poll::Ready(Woken::Deadline);
            }
            if !output.is_empty() {
                match output.poll_write_some(context) {
                    Poll::Ready(wrote) => return Poll::Ready(Woken::Wrote(wrote)),
                    Poll::Pending => deadlines.output_waits(context),
                }
            }
            if *events_first && wants.events && events.as_mut().poll(context).is_ready() {
                return Poll::Ready(Woken::Events);
            }
            if wants.bytes
                && let Poll::Ready(read) = input.poll_read(context)
            {
                return Poll::Ready(Woken::Read(read));
            }
            if !*events_first && wants.events && events.as_mut().poll(context).is_ready() {
                return Poll::Ready(Woken::Events);
            }
            waited = true;
            Poll::Pending
        })
        .await;
        if waited {
            turn.begin();
        }
        woken
    }

    fn wrote(&mut self, wrote: io::Result<usize>) -> Result<(), Lost> {
        wrote?;
        self.deadlines.wrote();
        Ok(())
    }

    /// A read brought this many bytes.
    fn heard(&mut self, bytes: usize) {
        self.events_first = true;
        if bytes == 0 {
            self.ended = true;
            self.deadlines.limit(ANSWER_TIME);
        } else {
            self.unread = true;
            self.deadlines.heard();
        }
    }

    fn on_deadline(&mut self, wants: Wants) -> Result<Option<Ready>, Lost> {
        match self.deadlines.due(wants.bytes) {
            None => Ok(None),
            Some(Due::Retry) => Ok(Some(Ready::Retry)),
            Some(Due::Beat) => {
                self.put_beat();
                Ok(None)
            }
            Some(Due::Silent) => {
                // What lies unread was sent in time. A task that has used up its budget would not see it: hence
                // `unconstrained`.
                let mut context = Context::from_waker(Waker::noop());
                let unread = pin!(unconstrained(self.input.read())).poll(&mut context);
                match unread {
                    Poll::Ready(read) => {
                        self.heard(read?);
                        Ok(None)
                    }
                    Poll::Pending => Err(Lost::Silent),
                }
            }
            Some(due) => Err(self.lost_by(due)),
        }
    }

    fn lost_by(&self, due: Due) -> Lost {
        match due {
            Due::Limit if self.ended => Lost::NotAnswered,
            Due::Limit => Lost::LoginTooLong,
            _ => Lost::NotReading,
        }
    }

    /// Waiting output keeps the connection alive as well as a heartbeat does.
    fn put_beat(&mut self) {
        if self.output.is_empty() {
            self.output.tail().extend_from_slice(self.dialect.heartbeat);
        }
    }

    /// Tells the session what was written since it was last told.
    fn credit(&mut self, session: &mut Session) {
        let written = self.output.written();
        if self.credited != written {
            self.credited = written;
            session.flushed(written);
        }
    }

    /// Awaits a verb that may wait for the store. Meanwhile output is written and heartbeats go out. The peer is not
    /// read, so this time does not count as its silence. Verbs that wait for nothing are no reason to go on for ever:
    /// others have their turn in between.
    pub async fn while_waiting<F: Future>(&mut self, verb: F) -> F::Output {
        let mut verb = pin!(verb);
        let mut waited = false;
        let done = poll_fn(|context| match verb.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => {
                waited = true;
                self.keep_writing(context);
                Poll::Pending
            }
        })
        .await;
        if waited {
            self.deadlines.heard();
            self.turn.begin();
        } else {
            self.pause().await;
        }
        done
    }

    /// Writes as much as the peer takes now, and heartbeats that are due. What ends the connection is kept for
    /// [`Line::next`] to report.
    fn keep_writing(&mut self, context: &mut Context<'_>) {
        loop {
            if self.lost.is_none() && !self.output.is_empty() {
                match self.output.poll_write_some(context) {
                    Poll::Ready(Ok(_)) => {
                        self.deadlines.wrote();
                        continue;
                    }
                    Poll::Ready(Err(error)) => self.lost = Some(error.into()),
                    Poll::Pending => self.deadlines.output_waits(context),
                }
            }
            if self.deadlines.poll(context).is_pending() {
                return;
            }
            match self.deadlines.due(false) {
                Some(Due::Beat) => self.put_beat(),
                Some(Due::Retry) => self.deadlines.retry_later(),
                Some(due @ (Due::Limit | Due::NotReading)) => {
                    let lost = self.lost_by(due);
                    self.lost.get_or_insert(lost);
                }
                Some(Due::Silent) | None => {}
            }
        }
    }

    /// Has [`Line::next`] say [`Ready::Retry`] in a second.
    pub fn retry_later(&mut self) {
        self.deadlines.retry_later();
    }

    /// True when the peer sends nothing more.
    pub fn is_ended(&self) -> bool {
        self.end_reported
    }

    /// Writes what waits, as far as the peer takes it in this time, and tells the session.
    pub async fn write_out(&mut self, session: &mut Session, time: Duration) {
        let output = &mut self.output;
        let written = async { while !output.is_empty() && output.write_some().await.is_ok() {} };
        // What is left then is lost with the connection.
        let _ = timeout_at(Instant::now() + time, written).await;
        self.credit(session);
    }

    /// The end: writes what waits, closes the sending side, and discards what the peer still sends until it closes,
    /// all in this time. A socket that is closed with unread input is reset, which can destroy what was just written.
    pub async fn farewell(mut self, time: Duration) {
        self.farewell_until(Instant::now() + time).await;
    }

    /// The same, with a deadline.
    pub async fn farewell_until(&mut self, deadline: Instant) {
        let last = async {
            self.output.finish().await?;
            let mut discarded = 0;
            while discarded < DISCARD_MAX {
                match self.input.read().await? {
                    0 => break,
                    n => discarded += n,
                }
                self.input.buffer().clear();
            }
            Ok::<(), io::Error>(())
        };
        // However it ends, the socket is closed next.
        let _ = timeout_at(deadline, last).await;
    }

    /// Notes in the log that a client has logged in.
    pub fn log_opened(&self, user: &Name, client: &Name) {
        let (protocol, peer) = (self.dialect.protocol, &self.peer);
        tracing::debug!(protocol, client = ?&**client, user = ?&**user, %peer, "connection opened");
    }

    /// Notes in the log that a client's connection ends, and why.
    pub fn log_closing(&self, user: &Name, client: &Name, why: &str) {
        let (protocol, peer) = (self.dialect.protocol, &self.peer);
        tracing::debug!(protocol, client = ?&**client, user = ?&**user, %peer, why, "connection closed");
    }

    /// Notes in the log that a login failed, and why.
    pub fn log_refused(&self, entrance: &Entrance, why: &str) {
        let (protocol, peer) = (self.dialect.protocol, &self.peer);
        let (user, client) = entrance.claimed.get().cloned().unwrap_or_default();
        tracing::debug!(protocol, client = ?&*client, user = ?&*user, %peer, why, "login failed");
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
