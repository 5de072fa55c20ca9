//! One connection: one task that owns both halves of the socket and the seat in the broker. It translates a turn's
//! frames into the session's verbs and a turn's events into frames; nothing waits for the peer but the select below.
//!
//! ```text
//! login ─► open ── DISCONNECT ─► leaving (reads nothing, waits for confirms) ─► left
//!   └───────┴── refused: ERROR ─► closed
//! ```
//!
//! | file | what is in it |
//! |---|---|
//! | `login` | CONNECT to CONNECTED |
//! | `publish` | SEND: destinations resolved, temporary queues, delays |
//! | `subscribe` | SUBSCRIBE, UNSUBSCRIBE and the queues behind topics |
//! | `settle` | ACK, NACK and transactions |
//! | `deliver` | events: MESSAGE, RECEIPT, what the broker has to say |
//! | `receipts` `subscriptions` `transactions` `clock` `wire` | state, without the broker |

mod clock;
mod deliver;
mod login;
mod publish;
mod receipts;
mod settle;
mod subscribe;
mod subscriptions;
mod transactions;
mod wire;

use crate::codec::{Command, Frame, Headers, Rules, Version};
use crate::mapping::{format_id, invalid};
use crate::options::{Options, TimeUnit};
use clock::{Clock, Due};
use crossdock_core::message::carry::Carry;
use crossdock_core::{
    Accepted, Broker, Drain, Error, ErrorKind, Events, FormatId, Formats, LaneId, Name, Session,
    Timestamp,
};
use crossdock_net::Input;
use login::{Door, Seat};
use publish::Targets;
use receipts::{ReceiptId, Receipts, Sent};
use std::io;
use subscriptions::Subscriptions;
use tokio::time::timeout;
use transactions::Transactions;
use wire::{Refusal, Wire};

/// Output over which no more deliveries are taken.
const OUT_HIGH: usize = 256 << 10;
/// Output over which nothing is read: receipts are answers to what was read, and their peer does not take them.
const OUT_FULL: usize = 4 << 20;

/// Serves one connection to its end.
pub(crate) async fn serve(
    options: &Options,
    accepted: Accepted,
    broker: Broker,
) -> Result<(), Error> {
    let Accepted { reader, writer, head, loopback, listener, mut drain, .. } = accepted;
    let mut wire = Wire::new(reader, writer, head);
    let door = Door { options, broker: &broker, listener, loopback };
    let opened = tokio::select! { biased;
        () = drain.started() => return Ok(()),
        opened = timeout(options.login_time, login::open(&door, &mut wire)) => opened,
    };
    let late = |_| Err(Error::new(ErrorKind::Closed, "no login in time").into());
    match opened.unwrap_or_else(late) {
        Ok(Some(seat)) => Connection::new(options, &broker, seat, wire, drain).run().await,
        Ok(None) => Ok(()),
        Err(refusal) => {
            wire.error(&refusal, Rules::CONNECT);
            wire.finish().await;
            Err(refusal.error)
        }
    }
}

/// What is known of the peer, and does not change.
struct Peer {
    version: Version,
    rules: Rules,
    format: FormatId,
    user: Name,
    client: Name,
    /// Headers of other protocols are written in the way that all listeners share.
    common_look: bool,
    topic_exchange: Name,
    formats: Formats,
}

enum Phase {
    Open,
    /// After DISCONNECT, with the receipt it asked for.
    Leaving(Option<ReceiptId>),
}

/// What a frame's receipt waits for.
enum Answer {
    Done,
    /// As many confirms.
    Confirms {
        count: usize,
        soft: bool,
    },
    /// Everything so far being stored.
    Stored,
    /// The end of the connection.
    Left,
}

/// Why the loop ends.
enum Stop {
    Refused(Refusal),
    /// The socket is gone, or of no use.
    Gone(Error),
    /// The peer closed without DISCONNECT.
    Lost,
    /// All that DISCONNECT's receipt waits for, but the end of the session, is there.
    Left(Option<ReceiptId>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Refused(error.into())
    }
}

/// What the loop woke up for.
enum Wake {
    Drain,
    Timer,
    Wrote(io::Result<usize>),
    Read(io::Result<usize>),
    Events,
}

/// A connection that logged in.
struct Connection<'a> {
    options: &'a Options,
    peer: Peer,
    wire: Wire,
    drain: Drain,
    session: Session,
    lane: LaneId,
    events: Events,
    clock: Clock,
    subscriptions: Subscriptions,
    receipts: Receipts,
    transactions: Transactions,
    /// A COMMIT that waits for room on the disk. Nothing behind it is looked at meanwhile.
    held_commit: Option<Frame>,
    targets: Targets,
    /// The broker's time at the start of the turn.
    now: Timestamp,
    phase: Phase,
}

impl<'a> Connection<'a> {
    fn new(options: &'a Options, broker: &Broker, seat: Seat, wire: Wire, drain: Drain) -> Self {
        let Seat { mut session, version, client, user, beats } = seat;
        let common_look =
            options.carry == Carry::Full && options.timestamps == TimeUnit::Milliseconds;
        let peer = Peer {
            version,
            rules: version.rules(),
            format: format_id(version),
            user,
            client,
            common_look,
            topic_exchange: broker.settings().topic_exchange.clone(),
            formats: broker.formats().clone(),
        };
        Self {
            options,
            peer,
            wire,
            drain,
            lane: session.lane(),
            subscriptions: Subscriptions::new(session.id().0, version),
            session,
            events: Events::default(),
            clock: Clock::new(beats, options.write_time),
            receipts: Receipts::default(),
            transactions: Transactions::default(),
            held_commit: None,
            targets: Targets::default(),
            now: broker.now(),
            phase: Phase::Open,
        }
    }

    async fn run(mut self) -> Result<(), Error> {
        // Frames may have come with CONNECT in one piece.
        let mut turn = self.frames().await;
        let stop = loop {
            if let Err(stop) = turn {
                break stop;
            }
            let waiting = !self.wire.output.is_empty();
            let (read, take) = (self.reads(), self.wire.output.len() < OUT_HIGH);
            self.clock.arm(waiting);
            let wake = tokio::select! { biased;
                () = self.drain.started() => Wake::Drain,
                () = self.clock.timer() => Wake::Timer,
                wrote = self.wire.output.write_some(), if waiting => Wake::Wrote(wrote),
                wake = either(
                    &mut self.session,
                    &mut self.events,
                    &mut self.wire.input,
                    read,
                    take,
                ) => wake,
            };
            turn = self.turn(wake).await;
        };
        self.end(stop).await
    }

    /// True while the peer is listened to.
    fn reads(&self) -> bool {
        matches!(self.phase, Phase::Open)
            && self.held_commit.is_none()
            && self.session.may_read()
            && self.receipts.has_room()
            && self.wire.output.len() < OUT_FULL
    }

    async fn turn(&mut self, wake: Wake) -> Result<(), Stop> {
        match wake {
            Wake::Drain => Err(Error::new(ErrorKind::Closed, "broker is shutting down").into()),
            Wake::Timer => self.timer(),
            Wake::Wrote(wrote) => {
                wrote.map_err(gone)?;
                self.clock.wrote();
                self.session.flushed(self.wire.output.written());
                Ok(())
            }
            Wake::Read(read) => match read.map_err(gone)? {
                0 => Err(Stop::Lost),
                _ => {
                    let turn = self.frames().await;
                    // While the store was waited for, nobody listened.
                    self.clock.read();
                    turn
                }
            },
            Wake::Events => {
                self.take_events()?;
                match self.held_commit.take() {
                    Some(commit) => {
                        self.frame(commit).await?;
                        self.frames().await
                    }
                    None => self.after_turn().await,
                }
            }
        }
    }

    fn timer(&mut self) -> Result<(), Stop> {
        let closed = |why| Error::new(ErrorKind::Closed, why);
        match self.clock.due(self.reads()) {
            Due::Nothing => Ok(()),
            Due::Beat => {
                // STOMP 1.2 §Heart-beating: any data counts, so a beat is only for an idle wire.
                if self.wire.output.is_empty() {
                    self.wire.output.tail().extend_from_slice(b"\n");
                }
                Ok(())
            }
            Due::Silence => Err(closed("no heart-beat in time").into()),
            Due::Stuck => Err(Stop::Gone(closed("the peer does not read"))),
        }
    }

    /// All whole frames of the input.
    async fn frames(&mut self) -> Result<(), Stop> {
        self.now = self.session.broker().now();
        self.targets.next_turn();
        while matches!(self.phase, Phase::Open) && self.held_commit.is_none() {
            let Some(frame) = self.wire.frame(self.peer.rules)? else { break };
            self.frame(frame).await?;
        }
        self.after_turn().await
    }

    async fn frame(&mut self, frame: Frame) -> Result<(), Refusal> {
        if frame.command == Command::Commit && !self.may_commit(&frame.headers) {
            self.held_commit = Some(frame);
            return Ok(());
        }
        let receipt = ReceiptId::asked(&frame.headers);
        let answer = match self.receive(&frame, receipt.is_some()).await {
            Ok(answer) => answer,
            Err(error) => return Err(Refusal { error, receipt, versions: false }),
        };
        match (answer, receipt) {
            (Answer::Left, receipt) => self.phase = Phase::Leaving(receipt),
            (_, None) => {}
            (Answer::Done, Some(receipt)) => {
                receipts::write(self.wire.output.tail(), self.peer.rules, &receipt, None);
            }
            (Answer::Confirms { count, soft }, Some(receipt)) => {
                self.receipts.with_confirms(Sent { receipt, left: count, soft });
            }
            (Answer::Stored, Some(receipt)) => self.receipts.when_stored(receipt),
        }
        Ok(())
    }

    async fn receive(&mut self, frame: &Frame, receipt: bool) -> Result<Answer, Error> {
        let headers: &Headers = &frame.headers;
        match frame.command {
            Command::Send => self.send(frame, receipt).await,
            Command::Ack => self.ack(headers),
            Command::Nack => self.nack(headers),
            Command::Subscribe => self.subscribe(headers).await,
            Command::Unsubscribe => self.unsubscribe(headers).await,
            Command::Begin => self.begin(headers),
            Command::Commit => self.commit(headers, receipt).await,
            Command::Abort => self.abort(headers),
            Command::Disconnect => Ok(Answer::Left),
            Command::Connect | Command::Stomp => Err(invalid("already connected")),
            Command::Connected | Command::Message | Command::Receipt | Command::Error => {
                Err(invalid(format!("{} is a server's frame", frame.command.text())))
            }
        }
    }

    /// What every turn ends with: publishes are routed, and what was asked to be stored is waited for.
    async fn after_turn(&mut self) -> Result<(), Stop> {
        self.session.flush();
        if self.receipts.waits_for_store() {
            self.session.sync().await?;
            self.clock.read();
            self.receipts.answer_stored(self.wire.output.tail(), self.peer.rules);
        }
        match &mut self.phase {
            Phase::Leaving(receipt) if self.receipts.all_confirmed() => {
                Err(Stop::Left(receipt.take()))
            }
            _ => Ok(()),
        }
    }

    async fn end(self, stop: Stop) -> Result<(), Error> {
        let Connection { mut session, mut wire, peer, .. } = self;
        match stop {
            Stop::Lost => Ok(()),
            Stop::Gone(error) => Err(error),
            Stop::Refused(refusal) => {
                // What came before the refused frame counts.
                session.flush();
                wire.error(&refusal, peer.rules);
                wire.finish().await;
                session.flushed(wire.output.written());
                Err(refusal.error)
            }
            Stop::Left(receipt) => {
                // What was delivered and is not written when the session ends would go back.
                wire.drain().await;
                session.flushed(wire.output.written());
                let closed = session.close().await;
                match (&closed, receipt) {
                    (Ok(()), None) => {}
                    (Ok(()), Some(receipt)) => {
                        receipts::write(wire.output.tail(), peer.rules, &receipt, None);
                    }
                    (Err(error), receipt) => {
                        let refusal = Refusal { error: error.clone(), receipt, versions: false };
                        wire.error(&refusal, peer.rules);
                    }
                }
                wire.finish().await;
                closed
            }
        }
    }
}

/// The next read or the next events: by chance where both are ready, so that neither side starves.
async fn either(
    session: &mut Session,
    events: &mut Events,
    input: &mut Input,
    read: bool,
    take: bool,
) -> Wake {
    tokio::select! {
        read = input.read(), if read => Wake::Read(read),
        () = session.events(events), if take => Wake::Events,
        else => std::future::pending().await,
    }
}

fn gone(error: io::Error) -> Stop {
    Stop::Gone(Error::new(ErrorKind::Closed, error.to_string()))
}
