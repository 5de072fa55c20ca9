//! One connection, one task: handshake, loop, farewell (docs/ARCHITECTURE.md, "an adapter's whole loop").
//!
//! ```text
//! handshake ─► running ─┬─ client's close ──────────────► session closed ─► close-ok ─► end
//!                       ├─ fault, drain, operator ─► close ─► wait for close-ok ─► end
//!                       └─ lost, silent, stuck ──────────────────────────────────► end
//! ```
//!
//! | file | topic |
//! |---|---|
//! | `handshake` | from the protocol header to connection.open-ok |
//! | `receive` | frames → methods and contents; channels; faults |
//! | `publish` | basic.publish and its content |
//! | `topology` | exchanges, queues, bindings |
//! | `consume` | consumers, prefetch, get |
//! | `settle` | ack, nack, reject, recover, transactions |
//! | `deliver` | deliveries, confirms, returns, notices → frames |
//! | `channel` `unsettled` `clock` `random` | state |
//!
//! Invariants: no await waits for the peer's socket outside the loop's select (and the handshake, which has a
//! deadline); the session is gone before the farewell begins.

mod channel;
mod clock;
mod consume;
mod deliver;
mod handshake;
mod publish;
mod random;
mod receive;
mod settle;
mod topology;
mod unsettled;

use crate::Options;
use crate::codec::frame::{self, put_heartbeat};
use crate::codec::method::Tune;
use crate::codec::{Fault, FrameKind, Method, MethodId, Reply, ReplyCode, method};
use channel::Slot;
use clock::{Clock, Due};
use crossdock_core::message::carry::Carry;
use crossdock_core::{
    Accepted, Broker, ConsumerId, Drain, Error, ErrorKind, Events, LaneId, Name, Origin, PoolId,
    Session, SessionSpec, Timestamp,
};
use crossdock_net::{Input, Output};
use deliver::Subscriber;
use handshake::{Agreed, Capabilities, Failed, Wires};
use rustc_hash::FxHashMap;
use settle::Settles;
use std::io;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// While more output than this waits, no deliveries are taken.
const OUT_HIGH: usize = 256 << 10;
/// While more output than this waits, nothing is read: a peer that asks and never reads the answers.
const OUT_MAX: usize = 4 << 20;

/// Why the loop ended.
#[derive(Debug)]
enum End {
    /// connection.close came.
    ClosedByClient,
    /// The peer is to be told.
    Fault(Fault, MethodId),
    /// Nobody is there to be told.
    Lost(Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        End::Lost(Error::new(ErrorKind::Closed, error.to_string()))
    }
}

/// Serves one connection to its end.
pub async fn serve(accepted: Accepted, broker: Broker, options: &Options) -> Result<(), Error> {
    let Accepted { reader, writer, head, loopback, listener, mut drain, .. } = accepted;
    let mut wires = Wires { input: Input::new(reader, head), output: Output::new(writer) };
    let login = async {
        let login = handshake::handshake(&mut wires, &broker, options, loopback);
        timeout(options.login_time, login).await
    };
    let agreed = tokio::select! { biased;
        () = drain.started() => return Ok(()),
        agreed = login => match agreed {
            Err(_) => return Err(Error::new(ErrorKind::Closed, "the login took too long")),
            Ok(Ok(agreed)) => agreed,
            Ok(Err(failed)) => return refuse(wires, failed, options).await,
        },
    };
    let origin = Origin { user: agreed.user.clone(), client: Name::default(), listener };
    let spec = SessionSpec::anonymous(agreed.vhost.clone(), origin);
    let session = match broker.session(spec).await {
        Ok(session) => session,
        Err(error) => {
            let failed = Failed::Fault(crate::mapping::errors::fault(&error), (10, 40));
            return refuse(wires, failed, options).await;
        }
    };
    Connection::new(session, &agreed, wires.output, options)
        .run(wires.input, drain, agreed.tune, options)
        .await
}

/// Ends a connection that did not come to be.
async fn refuse(mut wires: Wires, failed: Failed, options: &Options) -> Result<(), Error> {
    match failed {
        Failed::Quiet(error) => {
            finish(wires.output, options.close_time).await;
            Err(error)
        }
        Failed::ClosedByClient => {
            Reply::ConnectionCloseOk.put(wires.output.tail(), 0);
            finish(wires.output, options.close_time).await;
            Ok(())
        }
        Failed::Fault(fault, cause) => {
            put_close(&mut wires.output, &fault, cause);
            farewell(wires.input, wires.output, options, options.login_frame_max).await;
            Err(Error::new(ErrorKind::Invalid, fault.to_string()))
        }
    }
}

fn put_close(output: &mut Output, fault: &Fault, cause: MethodId) {
    let (code, text) = (fault.code.number(), fault.reply_text());
    Reply::ConnectionClose { code, text: &text, cause }.put(output.tail(), 0);
}

async fn finish(mut output: Output, limit: Duration) {
    // The peer may be gone; there is nobody left to tell.
    let _ = timeout(limit, output.finish()).await;
}

/// Sends what waits and discards what comes until the peer's close-ok, for a limited time (§1.4.2.10).
async fn farewell(mut input: Input, mut output: Output, options: &Options, frame_max: usize) {
    let exchange = async {
        loop {
            let read = tokio::select! { biased;
                written = output.write_some(), if !output.is_empty() => {
                    written?;
                    continue;
                }
                read = input.read() => read?,
            };
            if read == 0 {
                return Ok::<(), io::Error>(());
            }
            while let Some(method) = next_method(&mut input, frame_max) {
                match method {
                    Method::ConnectionCloseOk => return Ok(()),
                    Method::ConnectionClose => {
                        Reply::ConnectionCloseOk.put(output.tail(), 0);
                    }
                    _ => {}
                }
            }
        }
    };
    // However it ends, the socket is closed next, in what is left of the time.
    let deadline = Instant::now() + options.close_time;
    let _ = timeout_at(deadline, exchange).await;
    let _ = timeout_at(deadline, output.finish()).await;
}

/// The next method on channel 0 of input that is otherwise discarded.
fn next_method(input: &mut Input, frame_max: usize) -> Option<Method> {
    loop {
        match frame::decode(input.buffer(), frame_max) {
            Ok(Some(frame)) if frame.channel == 0 && frame.kind == FrameKind::Method => {
                if let Ok(method) = method::decode(&frame.payload) {
                    return Some(method);
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return None,
            // Frames cannot be told apart any more: everything is discarded.
            Err(_) => {
                input.buffer().clear();
                return None;
            }
        }
    }
}

/// A connection after its handshake.
struct Connection {
    session: Session,
    output: Output,
    vhost: Name,
    client: Capabilities,
    limits: Limits,
    channels: FxHashMap<u16, Slot>,
    lanes: FxHashMap<LaneId, u16>,
    /// Confirms to come for channels that are gone, by their former lane.
    stale_confirms: FxHashMap<LaneId, u64>,
    subscribers: FxHashMap<ConsumerId, Subscriber>,
    /// Pools of closed channels, for channels to come.
    spare_pools: Vec<PoolId>,
    settles: Settles,
    /// The channel whose tx.commit waits for room on the disk. Nothing behind it is looked at meanwhile.
    held_commit: Option<u16>,
    events: Events,
    /// Counts reads; from 1 on.
    turn: u64,
    now: Timestamp,
}

/// What the connection was tuned and set to.
#[derive(Debug, Clone, Copy)]
struct Limits {
    channel_max: u16,
    frame_max: usize,
    consumers_max: usize,
    carry: Carry,
}

/// What the loop woke up for.
enum Wake {
    Events,
    Read(io::Result<usize>),
}

impl Connection {
    fn new(session: Session, agreed: &Agreed, output: Output, options: &Options) -> Self {
        let limits = Limits {
            channel_max: agreed.tune.channel_max,
            frame_max: usize::try_from(agreed.tune.frame_max).unwrap_or(usize::MAX),
            consumers_max: options.consumers_max,
            carry: options.carry,
        };
        let now = session.broker().now();
        Self {
            session,
            output,
            vhost: agreed.vhost.clone(),
            client: agreed.client,
            limits,
            channels: FxHashMap::default(),
            lanes: FxHashMap::default(),
            stale_confirms: FxHashMap::default(),
            subscribers: FxHashMap::default(),
            spare_pools: Vec::new(),
            settles: Settles::default(),
            held_commit: None,
            events: Events::default(),
            turn: 1,
            now,
        }
    }

    async fn run(
        mut self,
        mut input: Input,
        drain: Drain,
        tune: Tune,
        options: &Options,
    ) -> Result<(), Error> {
        let clock = Clock::new(tune.heartbeat, options.write_time, Instant::now());
        let end = match self.turns(&mut input, drain, clock).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.settles.flush(&mut self.session);
        self.session.flush();
        let Self { session, mut output, limits, .. } = self;
        match end {
            End::ClosedByClient => {
                // What was published before the close is stored, then the close is answered.
                let closed = timeout(options.close_time, session.close()).await;
                Reply::ConnectionCloseOk.put(output.tail(), 0);
                finish(output, options.close_time).await;
                closed.unwrap_or(Ok(()))
            }
            End::Fault(fault, cause) => {
                drop(session);
                put_close(&mut output, &fault, cause);
                farewell(input, output, options, limits.frame_max).await;
                match fault.code {
                    ReplyCode::ConnectionForced => Ok(()),
                    _ => Err(Error::new(ErrorKind::Invalid, fault.to_string())),
                }
            }
            End::Lost(error) => Err(error),
        }
    }

    /// The loop. It only ends with a reason.
    async fn turns(
        &mut self,
        input: &mut Input,
        mut drain: Drain,
        mut clock: Clock,
    ) -> Result<std::convert::Infallible, End> {
        let mut look = std::pin::pin!(sleep_until(clock.next_look(Instant::now())));
        let mut events_first = false;
        // Frames that the client sent along with connection.open are here already.
        self.receive_all(input).await?;
        loop {
            let waiting = self.output.len();
            clock.output(waiting > 0, Instant::now());
            let may_read =
                waiting < OUT_MAX && self.held_commit.is_none() && self.session.may_read();
            tokio::select! { biased;
                () = drain.started() => {
                    let fault = Fault::new(ReplyCode::ConnectionForced, "broker is shutting down");
                    return Err(End::Fault(fault, (0, 0)));
                }
                () = &mut look => {
                    let now = Instant::now();
                    if !may_read {
                        clock.read(now);
                    }
                    self.on_deadline(clock.look(now))?;
                    look.as_mut().reset(clock.next_look(now));
                }
                written = self.output.write_some(), if waiting > 0 => {
                    written?;
                    clock.wrote(Instant::now());
                    self.session.flushed(self.output.written());
                }
                wake = wake(
                    &mut self.session, &mut self.events, input,
                    Ready { events: waiting < OUT_HIGH, read: may_read, events_first },
                ) => match wake {
                    Wake::Events => {
                        events_first = false;
                        self.encode_events()?;
                        match self.held_commit {
                            Some(channel) => self.resume(channel, input).await?,
                            None => self.session.flush(),
                        }
                    }
                    Wake::Read(read) => {
                        events_first = true;
                        if read? == 0 {
                            let error = Error::new(ErrorKind::Closed, "the peer closed the socket");
                            return Err(End::Lost(error));
                        }
                        clock.read(Instant::now());
                        self.receive_all(input).await?;
                    }
                },
            }
        }
    }

    fn on_deadline(&mut self, due: Due) -> Result<(), End> {
        let lost = |text: &'static str| Err(End::Lost(Error::new(ErrorKind::Closed, text)));
        match due {
            Due::Nothing => Ok(()),
            Due::Heartbeat => {
                put_heartbeat(self.output.tail());
                Ok(())
            }
            Due::PeerSilent => lost("no heartbeat for two intervals"),
            Due::OutputStuck => lost("the peer does not read"),
        }
    }

    /// Everything that can be decoded, as one batch.
    async fn receive_all(&mut self, input: &mut Input) -> Result<(), End> {
        self.turn += 1;
        self.now = self.session.broker().now();
        while self.held_commit.is_none() {
            let decoded = frame::decode(input.buffer(), self.limits.frame_max);
            match decoded.map_err(|fault| End::Fault(fault, (0, 0)))? {
                Some(frame) => self.receive(frame).await?,
                None => break,
            }
        }
        self.settles.flush(&mut self.session);
        self.session.flush();
        Ok(())
    }

    /// Tries the commit again that was held back, and goes on behind it.
    async fn resume(&mut self, channel: u16, input: &mut Input) -> Result<(), End> {
        self.held_commit = None;
        self.commit(channel).await?;
        self.receive_all(input).await
    }
}

/// Which sides may be taken, and which is asked first.
struct Ready {
    events: bool,
    read: bool,
    events_first: bool,
}

/// Waits for either side. The one that was taken last is asked last, so that neither starves.
async fn wake(session: &mut Session, events: &mut Events, input: &mut Input, ready: Ready) -> Wake {
    match ready.events_first {
        true => tokio::select! { biased;
            () = session.events(events), if ready.events => Wake::Events,
            read = input.read(), if ready.read => Wake::Read(read),
            else => std::future::pending().await,
        },
        false => tokio::select! { biased;
            read = input.read(), if ready.read => Wake::Read(read),
            () = session.events(events), if ready.events => Wake::Events,
            else => std::future::pending().await,
        },
    }
}
