//! One connection, one task: login, loop, farewell. The loop itself is [`Line`]'s (docs/ARCHITECTURE.md, "The loop of
//! a connection"); here is what STOMP does with what it wakes up for.
//!
//! ```text
//! login ─► running ─┬─ DISCONNECT ─► waits for confirms, reads nothing ─► session closed ─► RECEIPT ─► end
//!                   ├─ refused frame ─► receipts of those before it ─► ERROR ────────────────────────► end
//!                   ├─ drain, silent, refused publish ─► ERROR ──────────────────────────────────────► end
//!                   ├─ end of stream ─► answers that are due ────────────────────────────────────────► end
//!                   └─ lost, stuck ──────────────────────────────────────────────────────────────────► end
//! ```
//!
//! | file | topic |
//! |---|---|
//! | `login` | CONNECT to CONNECTED |
//! | `receive` | frames, each to its file; receipts |
//! | `publish` | SEND: destinations resolved, temporary queues, delays |
//! | `subscribe` | SUBSCRIBE, UNSUBSCRIBE and the queues behind topics |
//! | `durable` | durable subscriptions as JMS has them |
//! | `settle` | ACK, NACK and transactions |
//! | `deliver` | events: MESSAGE, RECEIPT, what the broker has to say |
//! | `refusal` | ERROR |
//! | `receipts` `subscriptions` `message_ids` `transactions` | state, without the broker |
//!
//! Invariants: no await waits for the peer's socket outside the line; verbs that may wait for the store are awaited
//! with [`Line::while_waiting`].

mod deliver;
mod durable;
mod login;
mod message_ids;
mod publish;
mod receipts;
mod receive;
mod refusal;
mod settle;
mod subscribe;
mod subscriptions;
mod transactions;

use crate::codec::{Decoder, Frame, Limits, Rules, Version};
use crate::mapping::titles::BAD_CONNECT;
use crate::mapping::{self, format_id};
use crate::options::{Door, Options, Speech, TimeUnit};
use crossdock_core::message::Charge;
use crossdock_core::message::carry::Carry;
use crossdock_core::{
    Accepted, Broker, ConsumerId, Credit, Error, ErrorKind, Events, FormatId, Formats, LaneId,
    Message, Name, Session, Timestamp,
};
use crossdock_net::{Dialect, Entrance, Line, Lost, Ready};
use login::{LoggedIn, LoginContext};
use publish::Targets;
use receipts::{ReceiptId, Receipts};
use refusal::Refusal;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use subscriptions::Subscriptions;
use transactions::Transactions;

/// What the line knows of STOMP: a heart-beat is an end of line (STOMP 1.2 §Heart-beating).
const DIALECT: Dialect = Dialect { protocol: "stomp", heartbeat: b"\n", pings: None };
/// For the last frame to be written, and for the client to close after it.
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// Why a connection ends.
enum Closing {
    /// DISCONNECT came, and all receipts before its own are sent; its own waits for the end of the session.
    ByClient(Option<ReceiptId>),
    /// The client gets ERROR.
    Refused(Refusal),
    /// The socket is closed without ERROR, after what waits is written.
    Quiet(Error),
    /// The client cannot be reached any more.
    Lost(Lost),
}

impl From<Refusal> for Closing {
    fn from(refusal: Refusal) -> Self {
        Closing::Refused(refusal)
    }
}

impl From<Error> for Closing {
    fn from(error: Error) -> Self {
        Closing::Refused(error.into())
    }
}

impl From<Lost> for Closing {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::Silent => Error::new(ErrorKind::Closed, "no heart-beat in time").into(),
            Lost::TooMuch(why) => why.into(),
            lost => Closing::Lost(lost),
        }
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(
    options: &Options,
    accepted: Accepted,
    broker: Broker,
) -> Result<(), Error> {
    // What is rare or large lives in boxes, so that a connection at rest is small.
    match Box::pin(open(options, accepted, broker)).await? {
        Some(connection) => connection.run().await,
        None => Ok(()),
    }
}

/// The login; none when there is nothing to serve after it.
async fn open(
    options: &Options,
    accepted: Accepted,
    broker: Broker,
) -> Result<Option<Box<Connection<'_>>>, Error> {
    let (mut line, entrance) =
        Line::new(&DIALECT, accepted, options.login_time, options.write_time);
    let context = LoginContext { options, broker: &broker, entrance };
    let login_max = options.frames.login_bytes_max;
    let mut decoder = Decoder::new(Limits {
        headers: options.frames.headers_max,
        head_bytes: login_max,
        body_bytes: login_max,
    });
    match login::log_in(&mut line, &mut decoder, &context).await {
        Ok(logged_in) => {
            let connection = Connection::new(options, logged_in, (line, decoder));
            Ok(Some(Box::new(connection)))
        }
        Err(closing) => {
            if let Closing::Lost(lost) = &closing {
                context.entrance.note_lost(&broker, lost);
            }
            refuse(line, &context.entrance, closing).await.map(|()| None)
        }
    }
}

/// Ends a connection whose login failed.
async fn refuse(mut line: Line, entrance: &Entrance, closing: Closing) -> Result<(), Error> {
    let error = match closing {
        Closing::Lost(Lost::StoppedInLogin) => return Ok(()),
        Closing::Lost(lost) => {
            line.log_refused(entrance, &lost.to_string());
            return Err(lost.into());
        }
        Closing::Refused(refusal) => {
            let refusal = refusal.or_titled(BAD_CONNECT);
            refusal.put(line.output.tail(), Rules::CONNECT);
            refusal.error
        }
        Closing::Quiet(error) => error,
        Closing::ByClient(_) => return Ok(()),
    };
    line.log_refused(entrance, error.detail());
    line.farewell(FAREWELL_TIME).await;
    Err(error)
}

/// What is known of the client, and does not change.
struct Client {
    version: Version,
    rules: Rules,
    format: FormatId,
    /// What is set for its listener.
    door: Arc<Door>,
    /// What it sends is to be changed for readers at other listeners.
    has_habits: bool,
    /// The listener's options are those under which encoded messages are shared with other listeners.
    common_look: bool,
    topic_exchange: Name,
    formats: Formats,
}

impl Client {
    /// True for a message that it gets in the same octets as readers at other listeners.
    fn shares(&self, message: &Message) -> bool {
        self.common_look
            || self.door.timestamps == TimeUnit::Milliseconds && mapping::is_native(message)
    }
}

/// Nothing more is read; what was processed gets its receipts first.
enum Leaving {
    /// DISCONNECT came, with the receipt that it asked for.
    Disconnect(Option<ReceiptId>),
    /// A frame was refused.
    Refused(Refusal),
}

/// A connection that logged in.
struct Connection<'a> {
    options: &'a Options,
    client: Client,
    line: Line,
    decoder: Decoder,
    session: Session,
    lane: LaneId,
    events: Events,
    subscriptions: Subscriptions,
    receipts: Receipts,
    transactions: Transactions,
    /// A COMMIT that waits for free disk space. Frames behind it are not decoded meanwhile.
    held_commit: Option<Frame>,
    targets: Targets,
    /// The broker's time at the start of the turn.
    now: Timestamp,
    /// Nothing is read any more.
    leaving: Option<Leaving>,
    /// What the connection keeps outside of the broker.
    kept: Charge,
}

impl<'a> Connection<'a> {
    fn new(options: &'a Options, logged_in: LoggedIn, (line, decoder): (Line, Decoder)) -> Self {
        let LoggedIn { mut session, version, door } = logged_in;
        let in_ms = door.timestamps == TimeUnit::Milliseconds;
        let broker = session.broker();
        let client = Client {
            version,
            rules: version.rules(),
            format: format_id(version),
            common_look: door.carry == Carry::Full && in_ms,
            has_habits: door.speech == Speech::ActiveMq || !in_ms,
            door,
            topic_exchange: broker.settings().topic_exchange.clone(),
            formats: broker.formats().clone(),
        };
        Self {
            options,
            client,
            line,
            decoder,
            now: broker.now(),
            lane: session.lane(),
            kept: session.kept(),
            subscriptions: Subscriptions::new(session.id().0, version),
            session,
            events: Events::default(),
            receipts: Receipts::default(),
            transactions: Transactions::default(),
            held_commit: None,
            targets: Targets::default(),
            leaving: None,
        }
    }

    async fn run(mut self: Box<Self>) -> Result<(), Error> {
        let closing = match self.turns().await {
            Ok(never) => match never {},
            Err(closing) => closing,
        };
        Box::pin(self.close(closing)).await
    }

    /// The loop. It only ends with a reason.
    async fn turns(&mut self) -> Result<Infallible, Closing> {
        // Frames may have come with CONNECT in one piece.
        self.frames().await?;
        loop {
            let reads = self.reads();
            match self.line.next(&mut self.session, &mut self.events, reads).await? {
                Ready::Bytes => self.frames().await?,
                Ready::Events => {
                    self.take_events()?;
                    match self.held_commit.take() {
                        Some(commit) => self.resume(commit).await?,
                        None => self.end_turn().await?,
                    }
                }
                Ready::EndOfStream => Box::pin(self.end_of_stream()).await,
                Ready::Stopping => {
                    let error = Error::new(ErrorKind::Closed, "broker is shutting down");
                    return Err(error.into());
                }
                Ready::Retry => {}
            }
            if self.line.is_ended() && !self.owes_receipts() {
                let error = Error::new(ErrorKind::Closed, "the client closed the connection");
                return Err(Closing::Quiet(error));
            }
        }
    }

    /// True while more frames can be taken.
    fn reads(&self) -> bool {
        self.leaving.is_none() && self.held_commit.is_none() && self.receipts.has_room()
    }

    /// Tries the COMMIT again that was held back, and goes on behind it.
    async fn resume(&mut self, commit: Frame) -> Result<(), Closing> {
        if let Err(refusal) = self.frame(commit).await {
            self.leaving = Some(Leaving::Refused(refusal));
        }
        self.frames().await
    }

    /// The client sends nothing more, but may read. It gets the receipts that it asked for, and no more messages.
    async fn end_of_stream(&mut self) {
        let consumers: Vec<ConsumerId> = self.subscriptions.consumers().collect();
        for consumer in consumers {
            self.session.set_credit(consumer, Credit { messages: 0, bytes: u64::MAX });
            self.line.pause().await;
        }
    }

    fn owes_receipts(&self) -> bool {
        self.held_commit.is_some() || !self.receipts.all_confirmed()
    }

    async fn close(self: Box<Self>, closing: Closing) -> Result<(), Error> {
        let Self { mut session, mut line, client, .. } = *self;
        let (origin, rules) = (session.origin().clone(), client.rules);
        let log = |line: &Line, why: &str| line.log_closing(&origin.user, &origin.client, why);
        // What came before the end counts.
        session.flush();
        let result = match closing {
            Closing::Lost(lost) => {
                log(&line, &lost.to_string());
                return Err(lost.into());
            }
            Closing::Quiet(error) => {
                log(&line, error.detail());
                line.write_out(&mut session, FAREWELL_TIME).await;
                drop(session);
                Err(error)
            }
            Closing::Refused(refusal) => {
                log(&line, refusal.error.detail());
                refusal.put(line.output.tail(), rules);
                line.write_out(&mut session, FAREWELL_TIME).await;
                session.end();
                Err(refusal.error)
            }
            Closing::ByClient(receipt) => {
                log(&line, "DISCONNECT of the client");
                // What was delivered and is not written when the session ends would go back.
                line.write_out(&mut session, FAREWELL_TIME).await;
                let closed = line.while_waiting(session.close()).await;
                match (&closed, receipt) {
                    (Ok(()), None) => {}
                    (Ok(()), Some(receipt)) => {
                        receipts::write(line.output.tail(), rules, &receipt, None);
                    }
                    (Err(error), receipt) => {
                        let refusal = Refusal { receipt, ..error.clone().into() };
                        refusal.put(line.output.tail(), rules);
                    }
                }
                closed
            }
        };
        line.farewell(FAREWELL_TIME).await;
        result
    }
}
