//! One connection, one task: login, loop, farewell. The loop itself is [`Line`]'s (docs/ARCHITECTURE.md, "The loop of
//! a connection"); here is what AMQP does with what it wakes up for.
//!
//! ```text
//! login ─► running ─┬─ client's close ──────────────► session closed ─► close-ok ─► end
//!                   ├─ refusal, drain, operator ─► close ─► wait for close-ok ─► end
//!                   ├─ end of stream ─► answers that are due ───────────────────► end
//!                   └─ lost, silent, stuck ─────────────────────────────────────► end
//! ```
//!
//! | file | topic |
//! |---|---|
//! | `login` | from the protocol header to connection.open-ok |
//! | `receive` | frames → methods and contents; channels; refusals |
//! | `publish` | basic.publish and its content |
//! | `topology` | exchanges, queues, bindings |
//! | `subscribe` | consumers, prefetch, get |
//! | `direct_reply` | answers that come straight to a channel |
//! | `settle` | ack, nack, reject, recover, transactions |
//! | `deliver` | deliveries, confirms, returns, notices → frames |
//! | `channel` `unsettled` `random` | state |
//!
//! Invariants: no await waits for the peer's socket outside the line; verbs that may wait for the store are awaited
//! with [`Line::while_waiting`]; the session is gone before the farewell begins.

mod channel;
mod deliver;
mod direct_reply;
mod login;
mod publish;
mod random;
mod receive;
mod settle;
mod subscribe;
mod topology;
mod unsettled;

use crate::Options;
use crate::codec::frame;
use crate::codec::{FrameKind, Method, MethodId, Refusal, Reply, ReplyCode, method};
use bytes::BytesMut;
use channel::{Channels, Confirms, Mode, Slot};
use crossdock_core::message::carry::Carry;
use crossdock_core::{
    Accepted, Broker, ByConsumer, ConsumerId, Error, ErrorKind, Events, LaneId, Name, PoolId,
    Session, Timestamp,
};
use crossdock_net::{Dialect, Entrance, Line, Lost, Ready};
use deliver::Subscriber;
use login::{Capabilities, LoggedIn, LoginContext};
use rustc_hash::FxHashMap;
use settle::Settles;
use std::convert::Infallible;
use std::io;
use subscribe::NO_CREDIT;
use tokio::time::{Instant, timeout, timeout_at};

/// What the line knows of AMQP.
const DIALECT: Dialect = Dialect { protocol: "amqp", heartbeat: frame::HEARTBEAT, pings: None };

/// Why a connection ends.
#[derive(Debug)]
enum Closing {
    /// connection.close came.
    ByClient,
    /// The peer gets connection.close.
    Refused(Refusal, MethodId),
    /// The socket is closed without connection.close, after what waits is written.
    Quiet(Error),
    /// The peer cannot be reached any more.
    Lost(Lost),
}

impl From<Lost> for Closing {
    fn from(lost: Lost) -> Self {
        Closing::Lost(lost)
    }
}

/// Serves one connection to its end.
pub async fn serve(accepted: Accepted, broker: Broker, options: &Options) -> Result<(), Error> {
    // What is rare or large lives in boxes, so that a connection at rest is small.
    match Box::pin(open(accepted, broker, options)).await? {
        Some(connection) => connection.run(options).await,
        None => Ok(()),
    }
}

/// The login; none when there is nothing to serve after it.
async fn open(
    accepted: Accepted,
    broker: Broker,
    options: &Options,
) -> Result<Option<Box<Connection>>, Error> {
    let (mut line, entrance) =
        Line::new(&DIALECT, accepted, options.login_time, options.write_time);
    let context = LoginContext { options, broker: &broker, entrance };
    match login::log_in(&mut line, &context).await {
        Ok(logged_in) => {
            let mut connection = Box::new(Connection::new(logged_in, line, options));
            if connection.session.login_expires() {
                connection.limits.renewal = Some(Box::new(context.entrance));
            }
            Ok(Some(connection))
        }
        Err(closing) => {
            if let Closing::Lost(lost) = &closing {
                context.entrance.note_lost(&broker, lost);
            }
            refuse(line, &context.entrance, (closing, options)).await.map(|()| None)
        }
    }
}

/// Ends a connection whose login failed.
async fn refuse(
    mut line: Line,
    entrance: &Entrance,
    (closing, options): (Closing, &Options),
) -> Result<(), Error> {
    match closing {
        Closing::Lost(Lost::StoppedInLogin) => Ok(()),
        Closing::Lost(lost) => {
            line.log_refused(entrance, &lost.to_string());
            Err(lost.into())
        }
        Closing::Quiet(error) => {
            line.log_refused(entrance, error.detail());
            line.farewell(options.close_time).await;
            Err(error)
        }
        Closing::ByClient => {
            Reply::ConnectionCloseOk.put(line.output.tail(), 0);
            line.farewell(options.close_time).await;
            Ok(())
        }
        Closing::Refused(refusal, cause) => {
            line.log_refused(entrance, &refusal.to_string());
            match refusal.code {
                // Whoever breaks the framing before its login is told why, and is not waited for.
                ReplyCode::FrameError | ReplyCode::SyntaxError | ReplyCode::UnexpectedFrame => {
                    put_close(&mut line, &refusal, cause);
                    line.farewell(options.close_time).await;
                }
                _ => tell_close(line, (&refusal, cause), options, options.login_frame_max).await,
            }
            Err(Error::new(ErrorKind::Invalid, refusal.to_string()))
        }
    }
}

fn put_close(line: &mut Line, refusal: &Refusal, cause: MethodId) {
    let (code, text) = (refusal.code.number(), refusal.reply_text());
    Reply::ConnectionClose { code, text: &text, cause }.put(line.output.tail(), 0);
}

/// Writes connection.close and what waits before it, and discards what comes until the peer's close-ok, for a limited
/// time (§1.4.2.10).
async fn tell_close(
    mut line: Line,
    (refusal, cause): (&Refusal, MethodId),
    options: &Options,
    frame_max: usize,
) {
    put_close(&mut line, refusal, cause);
    let Line { input, output, .. } = &mut line;
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
            while let Some(method) = next_method(input.buffer(), frame_max) {
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
    line.farewell_until(deadline).await;
}

/// The next method on channel 0 of input that is otherwise discarded.
fn next_method(buffer: &mut BytesMut, frame_max: usize) -> Option<Method> {
    loop {
        match frame::decode(buffer, frame_max) {
            Ok(Some(frame)) if frame.channel == 0 && frame.kind == FrameKind::Method => {
                if let Ok(method) = method::decode(&frame.payload) {
                    return Some(method);
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return None,
            // Where the next frame begins is not known any more: everything is discarded.
            Err(_) => {
                buffer.clear();
                return None;
            }
        }
    }
}

/// A connection after its login.
struct Connection {
    session: Session,
    line: Line,
    vhost: Name,
    limits: Limits,
    channels: Channels,
    lanes: FxHashMap<LaneId, u16>,
    /// Confirms to come for channels that are gone, by their former lane.
    stale_confirms: FxHashMap<LaneId, u64>,
    subscribers: ByConsumer<Subscriber>,
    /// Pools of closed channels, for channels to come.
    spare_pools: Vec<PoolId>,
    settles: Settles,
    /// The channel whose tx.commit waits for free disk space. Frames behind it are not decoded meanwhile.
    held_commit: Option<u16>,
    events: Events,
    /// Counts reads; from 1 on.
    turn: u64,
    now: Timestamp,
}

/// What the connection was tuned and set to.
#[derive(Debug)]
struct Limits {
    client: Capabilities,
    channel_max: u16,
    frame_max: usize,
    consumers_max: usize,
    carry: Carry,
    /// That a content header was larger than `frame_max` was said in the log.
    told_oversized: bool,
    /// Where its login came in, if that ends: the next secret is judged as the first one was.
    renewal: Option<Box<Entrance>>,
}

impl Connection {
    fn new(logged_in: LoggedIn, line: Line, options: &Options) -> Self {
        let LoggedIn { session, vhost, tune, client } = logged_in;
        let limits = Limits {
            client,
            channel_max: tune.channel_max,
            frame_max: usize::try_from(tune.frame_max).unwrap_or(usize::MAX),
            consumers_max: options.consumers_max,
            carry: options.carry,
            told_oversized: false,
            renewal: None,
        };
        let now = session.broker().now();
        Self {
            session,
            line,
            vhost,
            limits,
            channels: Channels::default(),
            lanes: FxHashMap::default(),
            stale_confirms: FxHashMap::default(),
            subscribers: ByConsumer::default(),
            spare_pools: Vec::new(),
            settles: Settles::default(),
            held_commit: None,
            events: Events::default(),
            turn: 1,
            now,
        }
    }

    async fn run(mut self: Box<Self>, options: &Options) -> Result<(), Error> {
        let closing = match self.turns(options).await {
            Ok(never) => match never {},
            Err(closing) => closing,
        };
        Box::pin(self.close(closing, options)).await
    }

    /// The loop. It only ends with a reason.
    async fn turns(&mut self, options: &Options) -> Result<Infallible, Closing> {
        // Frames that the client sent along with connection.open are here already.
        self.receive_all().await?;
        loop {
            let reads = self.held_commit.is_none();
            let ready = match self.line.next(&mut self.session, &mut self.events, reads).await {
                // What is kept takes all the memory that it may.
                Err(Lost::TooMuch(why)) => {
                    let refusal = Refusal::new(ReplyCode::ResourceError, why.detail());
                    return Err(Closing::Refused(refusal, (0, 0)));
                }
                ready => ready?,
            };
            match ready {
                Ready::Bytes => self.receive_all().await?,
                Ready::Events => {
                    self.encode_events()?;
                    match self.held_commit.take() {
                        Some(channel) => self.resume(channel).await?,
                        None => self.session.flush(),
                    }
                }
                Ready::EndOfStream => Box::pin(self.end_of_stream(options)).await?,
                Ready::Stopping => {
                    let text = "broker is shutting down";
                    let refusal = Refusal::new(ReplyCode::ConnectionForced, text);
                    return Err(Closing::Refused(refusal, (0, 0)));
                }
                Ready::Retry => {}
            }
            if self.line.is_ended() && !self.owes_answers() {
                let error = Error::new(ErrorKind::Closed, "the peer closed the connection");
                return Err(Closing::Quiet(error));
            }
        }
    }

    /// The client sends nothing more, but may read. It gets the answers to what it asked for, and no deliveries.
    async fn end_of_stream(&mut self, options: &Options) -> Result<(), Closing> {
        let consumers: Vec<ConsumerId> = self.subscribers.keys().copied().collect();
        for consumer in consumers {
            self.session.set_credit(consumer, NO_CREDIT);
            self.line.pause().await;
        }
        self.end_replies();
        // What is mandatory and has no route comes back when what was published before it is stored. On channels with
        // confirms the confirms tell when that is.
        let without_confirms =
            |slot: &Slot| matches!(slot, Slot::Open(channel) if channel.mode == Mode::Plain);
        if self.channels.values().any(without_confirms) {
            let synced = timeout(options.close_time, self.session.sync());
            if let Err(error) = self.line.while_waiting(synced).await.unwrap_or(Ok(())) {
                tracing::debug!(%error, "the store failed: a half-closed client gets no returns");
            }
        }
        self.encode_ready().await.map_err(|refusal| Closing::Refused(refusal, (0, 0)))
    }

    /// True while answers that the client asked for are not ready.
    fn owes_answers(&self) -> bool {
        let waits = |slot: &Slot| match slot {
            Slot::Open(channel) => {
                let Confirms { confirmed, published, .. } = channel.confirms;
                channel.mode == Mode::Confirm && confirmed < published
            }
            Slot::Closing => false,
        };
        self.held_commit.is_some() || self.channels.values().any(waits)
    }

    /// Everything that can be decoded, as one batch.
    async fn receive_all(&mut self) -> Result<(), Closing> {
        self.turn += 1;
        self.now = self.session.broker().now();
        while self.held_commit.is_none() && self.line.goes_on() {
            let decoded = frame::decode(self.line.input.buffer(), self.limits.frame_max);
            match decoded.map_err(|refusal| Closing::Refused(refusal, (0, 0)))? {
                Some(frame) => {
                    if let Some(request) = self.receive(frame)? {
                        // Boxed: a large future, and not for each frame.
                        Box::pin(self.perform(*request)).await?;
                    }
                }
                None => break,
            }
        }
        self.settles.flush(&mut self.session);
        self.session.flush();
        Ok(())
    }

    /// Tries the commit again that was held back, and goes on behind it.
    async fn resume(&mut self, channel: u16) -> Result<(), Closing> {
        self.commit(channel).await?;
        self.receive_all().await
    }

    async fn close(mut self: Box<Self>, closing: Closing, options: &Options) -> Result<(), Error> {
        self.settles.flush(&mut self.session);
        self.session.flush();
        let Self { mut session, mut line, limits, .. } = *self;
        let (origin, time) = (session.origin().clone(), options.close_time);
        let log = |line: &Line, why: &str| line.log_closing(&origin.user, &origin.client, why);
        match closing {
            Closing::ByClient => {
                log(&line, "connection.close of the client");
                // What was published before the close is stored, then the close is answered.
                let closed = line.while_waiting(timeout(time, session.close())).await;
                Reply::ConnectionCloseOk.put(line.output.tail(), 0);
                line.farewell(time).await;
                closed.unwrap_or(Ok(()))
            }
            Closing::Refused(refusal, cause) => {
                log(&line, &refusal.to_string());
                session.end();
                tell_close(line, (&refusal, cause), options, limits.frame_max).await;
                match refusal.code {
                    ReplyCode::ConnectionForced => Ok(()),
                    _ => Err(Error::new(ErrorKind::Invalid, refusal.to_string())),
                }
            }
            Closing::Quiet(error) => {
                log(&line, error.detail());
                line.write_out(&mut session, time).await;
                drop(session);
                line.farewell(time).await;
                Err(error)
            }
            Closing::Lost(lost) => {
                log(&line, &lost.to_string());
                if line.is_ended() {
                    // The answers that were ready in time.
                    line.write_out(&mut session, time).await;
                }
                Err(lost.into())
            }
        }
    }
}
