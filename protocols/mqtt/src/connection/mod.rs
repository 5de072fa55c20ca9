//! One connection, one task: login, loop, farewell. The loop itself is [`Line`]'s (docs/ARCHITECTURE.md, "The loop of
//! a connection"); here is what MQTT does with what it wakes up for.
//!
//! ```text
//! login (CONNECT … CONNACK) ─► running ─┬─ DISCONNECT ───────────────► session closed ─► end
//!                                       ├─ refused, drain ─► DISCONNECT, session left ─► end
//!                                       ├─ end of stream ─► answers that are due ──────► end
//!                                       └─ lost, stuck ────────────────────────────────► end
//! ```
//!
//! | file | topic |
//! |---|---|
//! | `login` | CONNECT to CONNACK |
//! | `authenticate` | AUTH, in the login and later |
//! | `receive` | packets, each to its file; DISCONNECT |
//! | `publish` | PUBLISH, and PUBACK and PUBREC for it |
//! | `subscribe` | SUBSCRIBE, UNSUBSCRIBE |
//! | `settle` | PUBACK, PUBREC, PUBREL, PUBCOMP of the client |
//! | `deliver` | deliveries → PUBLISH |
//! | `claims` | those of QoS 2 from `$share` and `$q` |
//! | `write` | packets to the client, within what it takes |
//!
//! Invariants: no await waits for the peer's socket outside the line; verbs that may wait for the store are awaited
//! with [`Line::while_waiting`]; acknowledgements of publishes are written only from the core's confirms.

mod authenticate;
mod claims;
mod deliver;
mod login;
mod publish;
mod receive;
mod settle;
mod subscribe;
mod write;

use crate::codec::{Fault, Reason, kind};
use crate::mapping::Incoming;
use crate::options::Options;
use crate::state::{Inbound, Outbound};
use authenticate::Authenticated;
use claims::Claims;
use crossdock_core::{
    Accepted, Broker, ConsumerId, Credit, Error, ErrorKind, Events, LaneId, Notice, Outcome,
    ParkId, PoolId, Session, Sniff,
};
use crossdock_net::{Dialect, Entrance, Line, Lost, Pings, Ready};
use login::{LoggedIn, LoginContext};
use rustc_hash::FxHashSet;
use settle::Batch;
use std::borrow::Cow;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use subscribe::Subscriptions;
use write::Client;

/// What the line knows of MQTT. The broker sends no heartbeats: pings are the client's.
const DIALECT: Dialect = Dialect {
    protocol: "mqtt",
    heartbeat: b"",
    pings: Some(Pings { look: receive::look, answer: &[kind::PINGRESP << 4, 0] }),
};
/// There are this many packet identifiers: more unacknowledged publishes could not be distinguished.
const WAITING_MAX: usize = 65_535;
/// For the last packet to be written, and for the client to close after it.
const FAREWELL_TIME: Duration = Duration::from_secs(2);
/// While more output than this waits for a client that cannot be written to any more, its last packets are not read.
const LAST_OUT_MAX: usize = 1 << 20;

/// Whether the first bytes of a connection are a CONNECT.
pub fn sniff(head: &[u8]) -> Sniff {
    let Some((first, rest)) = head.split_first() else { return Sniff::More };
    if *first != kind::CONNECT << 4 {
        return Sniff::No;
    }
    let length = rest.iter().take(4).position(|byte| byte & 0x80 == 0);
    let Some(length) = length else {
        return if rest.len() < 4 { Sniff::More } else { Sniff::No };
    };
    let rest = rest.get(length + 1..).unwrap_or_default();
    let (new, old): (&[u8], &[u8]) = (b"\x00\x04MQTT", b"\x00\x06MQIsdp");
    match [new, old].iter().any(|name| rest.starts_with(name)) {
        true => Sniff::Yes,
        false if [new, old].iter().any(|name| name.starts_with(rest)) => Sniff::More,
        false => Sniff::No,
    }
}

/// Why a connection ends.
#[derive(Debug)]
enum Closing {
    /// The client sent DISCONNECT.
    ByClient { reason: Reason, expiry: Option<u32> },
    /// The client gets a DISCONNECT with this code and reason string.
    Refused { reason: Reason, why: Cow<'static, str> },
    /// The socket is closed without DISCONNECT, after what waits is written.
    Quiet(Error),
    /// The client cannot be reached any more.
    Lost(Lost),
}

impl Closing {
    fn refused(reason: Reason, why: impl Into<Cow<'static, str>>) -> Self {
        Closing::Refused { reason, why: why.into() }
    }
}

impl From<Fault> for Closing {
    fn from(fault: Fault) -> Self {
        Closing::refused(fault.reason, fault.what)
    }
}

impl From<Lost> for Closing {
    fn from(lost: Lost) -> Self {
        Closing::Lost(lost)
    }
}

impl From<Error> for Closing {
    fn from(error: Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::Closed => Reason::SHUTTING_DOWN,
            _ => Reason::UNSPECIFIED,
        };
        Closing::refused(reason, error.detail().to_owned())
    }
}

/// What the session was opened with.
struct Opened {
    lane: LaneId,
    pool: PoolId,
    /// What the pool began with.
    credit: Credit,
    /// The consumer of the session's own queue.
    own: ConsumerId,
    /// The session outlives this connection, so its state is noted in memos.
    persistent: bool,
    will: Option<ParkId>,
    incoming: Incoming,
}

/// A connection that logged in.
struct Connection {
    options: Arc<Options>,
    session: Session,
    line: Line,
    client: Client,
    events: Events,
    opened: Opened,
    inbound: Inbound,
    outbound: Outbound,
    subscriptions: Subscriptions,
    aliases: publish::Aliases,
    batch: Batch,
    claims: Claims,
    /// The client logged in by enhanced authentication.
    proved: Option<Box<Authenticated>>,
    /// Bytes of one packet from the client, at most.
    packet_max: usize,
}

/// Serves one connection to its end. What is rare or large lives in boxes, so that a connection at rest is small: the
/// login's future holds what was accepted, and is gone with it.
pub fn serve(
    options: Arc<Options>,
    accepted: Accepted,
    broker: Broker,
) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
    let opening = Box::pin(open(options, accepted, broker));
    Box::pin(async move {
        match opening.await? {
            Some(connection) => connection.run().await,
            None => Ok(()),
        }
    })
}

/// The login; none when there is nothing to serve after it.
async fn open(
    options: Arc<Options>,
    accepted: Accepted,
    broker: Broker,
) -> Result<Option<Box<Connection>>, Error> {
    let (mut line, entrance) =
        Line::new(&DIALECT, accepted, options.login_time, options.write_time);
    let context = LoginContext { options: &options, broker: &broker, entrance };
    match login::log_in(&mut line, &context).await {
        Ok(mut logged_in) => {
            let method = logged_in.method.take();
            let entrance = context.entrance;
            let mut connection = Box::new(Connection::new(logged_in, line, options));
            let proved = method.map(|method| Authenticated { method, entrance, exchange: None });
            connection.proved = proved.map(Box::new);
            Ok(Some(connection))
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
async fn refuse(line: Line, entrance: &Entrance, closing: Closing) -> Result<(), Error> {
    let error = match closing {
        Closing::Lost(Lost::StoppedInLogin) => return Ok(()),
        Closing::Lost(lost) => {
            line.log_refused(entrance, &lost.to_string());
            return Err(lost.into());
        }
        Closing::Quiet(error) => error,
        Closing::Refused { why, .. } => Error::new(ErrorKind::Invalid, why),
        Closing::ByClient { .. } => return Ok(()),
    };
    line.log_refused(entrance, error.detail());
    line.farewell(FAREWELL_TIME).await;
    Err(error)
}

impl Connection {
    fn new(logged_in: LoggedIn, line: Line, options: Arc<Options>) -> Self {
        let LoggedIn { session, client, opened, inbound, outbound, subscriptions, .. } = logged_in;
        Self {
            options,
            session,
            line,
            client,
            events: Events::default(),
            opened,
            inbound,
            outbound,
            subscriptions,
            aliases: publish::Aliases::default(),
            batch: Batch::default(),
            claims: logged_in.claims,
            proved: None,
            packet_max: logged_in.packet_max,
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
        // What came with CONNECT in one read is decoded before anything is waited for.
        self.packets().await?;
        loop {
            let reads = self.inbound.waiting() < self.waiting_max();
            match self.line.next(&mut self.session, &mut self.events, reads).await {
                Ok(Ready::Bytes) => self.packets().await?,
                Ok(Ready::Events) => self.on_events().await?,
                Ok(Ready::EndOfStream) => Box::pin(self.end_of_stream()).await,
                Ok(Ready::Retry) => Box::pin(self.take_up()).await,
                Ok(Ready::Stopping) => {
                    return Err(Closing::refused(Reason::SHUTTING_DOWN, "the broker is stopping"));
                }
                Err(lost) => return Err(Box::pin(self.on_lost(lost)).await),
            }
            if self.line.is_ended() && self.inbound.waiting() == 0 {
                let error = Error::new(ErrorKind::Closed, "the client closed the connection");
                return Err(Closing::Quiet(error));
            }
        }
    }

    /// No packet of 3.1.1 says how many publishes a client may have unacknowledged: it is not read beyond that.
    fn waiting_max(&self) -> usize {
        match self.client.version.is_5() {
            true => WAITING_MAX,
            false => usize::from(self.options.receive_maximum),
        }
    }

    /// The client sends nothing more, but may read. Its publishes are still acknowledged; it gets no more deliveries
    /// that it would have to acknowledge.
    async fn end_of_stream(&mut self) {
        self.fit_pool();
        let consumers: Vec<ConsumerId> = self.subscriptions.consumers().collect();
        for consumer in consumers {
            self.session.set_credit(consumer, Credit { messages: 0, bytes: u64::MAX });
            self.line.pause().await;
        }
    }

    async fn on_lost(&mut self, lost: Lost) -> Closing {
        match lost {
            Lost::Silent => {
                Closing::refused(Reason::KEEP_ALIVE_TIMEOUT, "nothing was heard in time")
            }
            Lost::TooMuch(why) => Closing::refused(Reason::QUOTA_EXCEEDED, why.detail().to_owned()),
            Lost::Broken(_) => self.last_words(lost).await,
            lost => Closing::Lost(lost),
        }
    }

    /// The client cannot be written to any more. What it had sent before, a DISCONNECT perhaps, still counts.
    async fn last_words(&mut self, lost: Lost) -> Closing {
        let listening = async {
            while self.line.output.len() < LAST_OUT_MAX {
                match self.line.input.read().await {
                    Ok(n) if n > 0 => self.packets().await?,
                    _ => break,
                }
                while self.line.has_left_over() && self.line.output.len() < LAST_OUT_MAX {
                    self.line.pause().await;
                    self.packets().await?;
                }
            }
            Ok(())
        };
        match tokio::time::timeout(FAREWELL_TIME, listening).await {
            Ok(Err(closing)) => closing,
            _ => Closing::Lost(lost),
        }
    }

    async fn on_events(&mut self) -> Result<(), Closing> {
        let mut events = std::mem::take(&mut self.events);
        let mut refused = Ok(());
        for confirm in events.confirms.drain(..) {
            refused = refused.and(self.confirmed(confirm));
        }
        self.answers()?;
        refused?;
        self.deliver(events.deliveries.drain(..));
        self.ended(&events.notices);
        let mut notices = events.notices.drain(..);
        let noticed = notices.try_for_each(|notice| self.noticed(notice));
        drop(notices);
        self.events = events;
        self.end_turn().await?;
        noticed
    }

    /// The broker ended consumers: what they were given has none any more.
    fn ended(&mut self, notices: &[Notice]) {
        let ended: FxHashSet<ConsumerId> = notices
            .iter()
            .filter_map(|notice| match notice {
                Notice::Detached { consumer, .. } => Some(*consumer),
                _ => None,
            })
            .collect();
        if !ended.is_empty() {
            self.outbound.forget_all(|consumer| ended.contains(&consumer));
            self.fit_pool();
        }
    }

    fn noticed(&mut self, notice: Notice) -> Result<(), Closing> {
        match notice {
            Notice::TakenOver => Err(Closing::refused(
                Reason::TAKEN_OVER,
                "another connection took over this client identifier",
            )),
            Notice::Closed(error) if error.kind() == ErrorKind::Closed => {
                Err(Closing::refused(Reason::SHUTTING_DOWN, error.detail().to_owned()))
            }
            // The login has ended: it expired, or its user or password is gone.
            Notice::Closed(error) if error.kind() == ErrorKind::Refused => {
                Err(Closing::refused(Reason::NOT_AUTHORIZED, error.detail().to_owned()))
            }
            Notice::Closed(error) => {
                Err(Closing::refused(Reason::ADMINISTRATIVE, error.detail().to_owned()))
            }
            Notice::Detached { consumer, .. } if consumer == self.opened.own => {
                Err(Closing::refused(Reason::ADMINISTRATIVE, "the session's queue was deleted"))
            }
            Notice::Detached { consumer, why } => {
                tracing::debug!(?consumer, %why, "the broker ended a subscription to a queue");
                let ended = self.subscriptions.detached(consumer);
                let is_deleted = why.kind() == ErrorKind::NotFound;
                match ended.and_then(|ended| ended.shared_filter()).filter(|_| is_deleted) {
                    // MQTT has no word for the end of one subscription. Who comes back joins its group again.
                    Some(filter) => {
                        let why = format!("the queue of {filter} was deleted: subscribe again");
                        Err(Closing::refused(Reason::ADMINISTRATIVE, why))
                    }
                    None => Ok(()),
                }
            }
            // No consumer of MQTT has a time to settle: what is on its way stays with its session (MQTT 5 §4.4).
            Notice::Late(_) => Ok(()),
            // MQTT has no packet for it; publishes simply stay unacknowledged.
            Notice::Blocked(_) => Ok(()),
        }
    }

    /// What a turn gathered: settles, one flush, and the packets that wait for something stored.
    async fn end_turn(&mut self) -> Result<(), Closing> {
        self.settle_gathered();
        self.session.flush();
        loop {
            if self.batch.is_to_be_stored() || self.claims.is_begun() {
                if self.opened.persistent {
                    Box::pin(self.line.while_waiting(self.session.sync())).await?;
                }
                self.finish_handshakes();
                self.send_begun();
            }
            self.send_held();
            if !self.claims.is_begun() {
                return Ok(());
            }
        }
    }

    /// Sends DISCONNECT where it is due, ends or leaves the session, and writes what waits.
    async fn close(mut self: Box<Self>, closing: Closing) -> Result<(), Error> {
        let (mut orderly, mut result) = (false, Ok(()));
        self.settle_gathered();
        match &closing {
            Closing::ByClient { reason, expiry } => {
                self.log_closing("DISCONNECT of the client");
                orderly = self.on_disconnect(*reason, *expiry).await;
            }
            Closing::Quiet(error) => {
                self.log_closing(error.detail());
                result = Err(error.clone());
            }
            Closing::Lost(lost) => {
                self.log_closing(&lost.to_string());
                result = Err(Error::new(ErrorKind::Closed, lost.to_string()));
            }
            Closing::Refused { reason, why } => {
                self.log_closing(why);
                orderly = *reason == Reason::SHUTTING_DOWN;
                result = Err(Error::new(ErrorKind::Invalid, &**why));
                // MQTT 5 §4.11: where to go meanwhile.
                let another = self.options.elsewhere.when_stopping.as_deref().filter(|_| orderly);
                let reason = if another.is_some() { Reason::USE_ANOTHER_SERVER } else { *reason };
                self.client.to(&mut self.line.output).disconnect(reason, why, another);
            }
        }
        while let Some(delivery) = self.outbound.unhold() {
            // The client has not seen it.
            let (lane, own) = (self.opened.lane, self.opened.own);
            self.session.settle(lane, own, &[delivery.offset], Outcome::Released);
        }
        self.session.flush();
        let Self { mut session, mut line, .. } = *self;
        if let Closing::Quiet(_) = closing {
            line.write_out(&mut session, FAREWELL_TIME).await;
        }
        if orderly {
            if let Err(error) = line.while_waiting(session.close()).await {
                tracing::debug!(%error, "the store failed: the last publishes of a session may be lost");
            }
        } else if matches!(closing, Closing::Refused { .. }) {
            session.end();
        } else {
            drop(session);
        }
        if !matches!(closing, Closing::Lost(_)) {
            // A client that does not read its last packet is not waited for.
            line.farewell(FAREWELL_TIME).await;
        }
        result
    }

    fn log_closing(&self, why: &str) {
        let origin = self.session.origin();
        self.line.log_closing(&origin.user, &origin.client, why);
    }

    /// True when the connection ends in order.
    async fn on_disconnect(&mut self, reason: Reason, expiry: Option<u32>) -> bool {
        if let Some(seconds) = expiry {
            let life = login::life(login::capped(seconds, &self.options));
            let changed = self.line.while_waiting(self.session.set_life(life)).await;
            if let Err(error) = changed {
                tracing::debug!(%error, "the session keeps its expiry: the new one was refused");
            }
        }
        reason == Reason::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_is_told_by_its_first_bytes() {
        assert_eq!(sniff(b""), Sniff::More);
        assert_eq!(sniff(b"\x10"), Sniff::More);
        assert_eq!(sniff(b"\x10\x80\x80"), Sniff::More);
        assert_eq!(sniff(b"\x10\x0c\x00\x04MQ"), Sniff::More);
        assert_eq!(sniff(b"\x10\x0c\x00\x04MQTT\x05"), Sniff::Yes);
        assert_eq!(sniff(b"\x10\x80\x01\x00\x06MQIsdp\x03"), Sniff::Yes);
        assert_eq!(sniff(b"AMQP\x00\x00\x09\x01"), Sniff::No);
        assert_eq!(sniff(b"\x10\xff\xff\xff\xff"), Sniff::No);
        assert_eq!(sniff(b"\x10\x0c\x00\x05"), Sniff::No);
    }
}
