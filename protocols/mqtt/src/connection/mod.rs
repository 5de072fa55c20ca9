//! One connection, one task: the loop that reads packets, takes the broker's events, and writes.
//!
//! ```text
//! serve ── login (CONNECT … CONNACK) ── run (turns) ── leave (DISCONNECT, session ends, output is written out)
//! ```
//!
//! Invariants: no await waits for the peer's socket but the reads and writes of the loop; deliveries are taken only
//! while little output waits; acknowledgements of publishes are written only from the core's confirms.

mod clock;
mod deliver;
mod login;
mod peer;
mod receive;
mod subscribe;

use crate::codec::{Fault, Reason, kind};
use crate::mapping::Incoming;
use crate::options::Options;
use crate::state::{Inbound, Outbound};
use clock::{Clock, Expired};
use crossdock_core::{
    Accepted, Address, Broker, ConsumerId, Credit, Drain, Error, ErrorKind, Events, LaneId, Notice,
    Offset, Outcome, ParkId, PoolId, Session, Sniff,
};
use crossdock_net::{Input, Output};
use peer::Peer;
use std::borrow::Cow;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;
use subscribe::Subscriptions;
use tokio::time::Instant;

/// Waiting output over which no further events are taken.
const OUT_HIGH: usize = 256 << 10;
/// Waiting output over which nothing is read: answers to packets would add to it.
const OUT_MAX: usize = 1 << 20;
/// More unacknowledged publishes than there are packet identifiers cannot be told apart.
const WAITING_MAX: usize = 65_535;
/// After the last word to a client, for it to be written.
const LINGER: Duration = Duration::from_secs(2);

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

/// How a connection ends.
#[derive(Debug)]
enum End {
    /// The client said DISCONNECT.
    Disconnect { reason: Reason, expiry: Option<u32> },
    /// The stream ended or failed.
    Gone(String),
    /// The broker ends it, with the code and the words for the client.
    Refuse { reason: Reason, why: Cow<'static, str> },
}

impl End {
    fn refuse(reason: Reason, why: impl Into<Cow<'static, str>>) -> Self {
        End::Refuse { reason, why: why.into() }
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        End::refuse(fault.reason, fault.what)
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        let reason = match error.kind() {
            ErrorKind::Closed => Reason::SHUTTING_DOWN,
            _ => Reason::UNSPECIFIED,
        };
        End::refuse(reason, error.detail().to_owned())
    }
}

/// What the session was opened with.
struct Seat {
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

/// What a read turn leaves to be done at its end, all at once.
#[derive(Default)]
struct Turn {
    /// Accepted records of `settling`.
    settled: Vec<Offset>,
    settling: Option<ConsumerId>,
    /// PUBCOMPs that may be sent once the release is stored.
    releases: Vec<u16>,
    /// PUBRELs that may be sent once the PUBREC is stored.
    received: Vec<u16>,
}

struct Connection<'a> {
    options: &'a Options,
    session: Session,
    input: Input,
    peer: Peer,
    clock: Clock,
    events: Events,
    /// Whose turn is first when both sides are ready.
    events_first: bool,
    seat: Seat,
    inbound: Inbound,
    outbound: Outbound,
    subscriptions: Subscriptions,
    aliases: receive::Aliases,
    turn: Turn,
    /// Bytes of one packet from the client.
    packet_max: usize,
}

/// Serves one connection to its end.
pub async fn serve(options: &Options, accepted: Accepted, broker: Broker) -> Result<(), Error> {
    let Accepted { reader, writer, head, loopback, listener, mut drain, .. } = accepted;
    let (mut input, mut out) = (Input::new(reader, head), Output::new(writer));
    let first = tokio::select! { biased;
        () = drain.started() => return Ok(()),
        first = tokio::time::timeout(options.login_time, login::first(&mut input, options)) => first,
    };
    let connect = match first {
        Err(_) => return Err(Error::new(ErrorKind::Closed, "no CONNECT in time")),
        Ok(Err(login::NoConnect::Gone(why))) => return Err(Error::new(ErrorKind::Closed, why)),
        Ok(Err(login::NoConnect::Refused(refusal))) => {
            Box::pin(login::refuse(&mut out, &refusal)).await;
            return Err(Error::new(ErrorKind::Invalid, refusal.fault.what));
        }
        Ok(Ok(connect)) => connect,
    };
    let visitor = login::Visitor { options, broker: &broker, loopback, listener };
    // What is rare or large lives in boxes, so that a connection at rest is small.
    let connection = Box::pin(login::open(connect, visitor, input, out)).await?;
    connection.serve(&mut drain).await
}

impl Connection<'_> {
    async fn serve(mut self: Box<Self>, drain: &mut Drain) -> Result<(), Error> {
        let end = self.run(drain).await;
        let result = match &end {
            End::Disconnect { .. } => Ok(()),
            End::Gone(why) => Err(Error::new(ErrorKind::Closed, &**why)),
            End::Refuse { why, .. } => Err(Error::new(ErrorKind::Invalid, &**why)),
        };
        Box::pin(self.leave(end)).await;
        result
    }

    async fn run(&mut self, drain: &mut Drain) -> End {
        let mut stopping = pin!(drain.started());
        // What came with CONNECT in one read is decoded before anything is waited for.
        if let Err(end) = self.packets().await {
            return end;
        }
        loop {
            if let Err(end) = self.step(stopping.as_mut()).await {
                return end;
            }
        }
    }

    /// True while packets may be read.
    fn is_reading(&self) -> bool {
        self.session.may_read()
            && self.peer.out.len() < OUT_MAX
            && self.inbound.waiting() < WAITING_MAX
    }

    async fn step(&mut self, stopping: Pin<&mut impl Future<Output = ()>>) -> Result<(), End> {
        let wants = Wants {
            bytes: self.is_reading(),
            events: self.peer.out.len() < OUT_HIGH,
            events_first: self.events_first,
        };
        self.clock.waiting(!self.peer.out.is_empty());
        tokio::select! { biased;
            () = stopping => Err(End::refuse(Reason::SHUTTING_DOWN, "the broker is stopping")),
            () = self.clock.tick() => {
                if !wants.bytes {
                    // The client may be talking, it is only not listened to.
                    self.clock.heard();
                }
                self.on_deadline().await
            }
            written = self.peer.out.write_some(), if !self.peer.out.is_empty() => {
                match written {
                    Ok(_) => {
                        self.clock.moved();
                        self.session.flushed(self.peer.out.written());
                        Ok(())
                    }
                    Err(error) => Err(Box::pin(self.last_words(error.to_string())).await),
                }
            }
            ready = turn(&mut self.session, &mut self.input, &mut self.events, wants) => match ready {
                Ready::Events => {
                    self.events_first = false;
                    self.on_events().await
                }
                Ready::Bytes(read) => {
                    self.events_first = true;
                    self.on_bytes(read).await
                }
            },
        }
    }

    async fn on_bytes(&mut self, read: std::io::Result<usize>) -> Result<(), End> {
        match read {
            Ok(0) => Err(End::Gone("the client closed the connection".into())),
            Ok(_) => {
                self.clock.heard();
                self.packets().await
            }
            Err(error) => Err(End::Gone(error.to_string())),
        }
    }

    /// The client cannot be written to any more. What it had said before, a DISCONNECT perhaps, still counts.
    async fn last_words(&mut self, why: String) -> End {
        let listening = async {
            while self.peer.out.len() < OUT_MAX {
                match self.input.read().await {
                    Ok(n) if n > 0 => self.packets().await?,
                    _ => break,
                }
            }
            Ok(())
        };
        match tokio::time::timeout(LINGER, listening).await {
            Ok(Err(end)) => end,
            _ => End::Gone(why),
        }
    }

    async fn on_deadline(&mut self) -> Result<(), End> {
        match self.clock.expired() {
            None => Ok(()),
            Some(Expired::Retry) => {
                Box::pin(self.take_up()).await;
                Ok(())
            }
            Some(Expired::Write) => Err(End::Gone("the client does not read".into())),
            Some(Expired::KeepAlive) => Box::pin(self.on_silence()).await,
        }
    }

    /// The time is over, unless there is something that lies unread: it was said before.
    async fn on_silence(&mut self) -> Result<(), End> {
        tokio::select! { biased;
            read = self.input.read() => self.on_bytes(read).await,
            () = std::future::ready(()) => {
                Err(End::refuse(Reason::KEEP_ALIVE_TIMEOUT, "nothing was heard in time"))
            }
        }
    }

    async fn on_events(&mut self) -> Result<(), End> {
        let mut events = std::mem::take(&mut self.events);
        for confirm in events.confirms.drain(..) {
            self.confirmed(confirm);
        }
        self.answers()?;
        self.deliver(events.deliveries.drain(..));
        let mut notices = events.notices.drain(..);
        let noticed = notices.try_for_each(|notice| self.noticed(notice));
        drop(notices);
        self.events = events;
        self.end_turn().await?;
        noticed
    }

    fn noticed(&mut self, notice: Notice) -> Result<(), End> {
        match notice {
            Notice::TakenOver => Err(End::refuse(
                Reason::TAKEN_OVER,
                "another connection took over this client identifier",
            )),
            Notice::Closed(error) if error.kind() == ErrorKind::Closed => {
                Err(End::refuse(Reason::SHUTTING_DOWN, error.detail().to_owned()))
            }
            Notice::Closed(error) => {
                Err(End::refuse(Reason::ADMINISTRATIVE, error.detail().to_owned()))
            }
            Notice::Detached { consumer, .. } if consumer == self.seat.own => {
                Err(End::refuse(Reason::ADMINISTRATIVE, "the session's queue was deleted"))
            }
            Notice::Detached { consumer, why } => {
                tracing::debug!(%why, "a subscription to a queue ended");
                self.outbound.forget(consumer);
                self.fit_pool();
                self.subscriptions.detached(consumer);
                Ok(())
            }
            // There is no word for it; the unread socket says it.
            Notice::Blocked(_) => Ok(()),
        }
    }

    /// What a turn gathered: settles, one flush, and the packets that wait for something stored.
    async fn end_turn(&mut self) -> Result<(), End> {
        self.settle_gathered();
        self.session.flush();
        let Turn { releases, received, .. } = &self.turn;
        if !releases.is_empty() || !received.is_empty() {
            if self.seat.persistent {
                let since = Instant::now();
                self.session.sync().await?;
                self.clock.away(since);
            }
            self.finish_handshakes();
        }
        self.send_held();
        Ok(())
    }

    fn settle_gathered(&mut self) {
        if let Some(consumer) = self.turn.settling.take() {
            let lane = self.seat.lane;
            self.session.settle(lane, consumer, &self.turn.settled, Outcome::Accepted);
            self.turn.settled.clear();
        }
    }

    /// Says goodbye, gives the session up, and writes what waits.
    async fn leave(mut self: Box<Self>, end: End) {
        let mut orderly = false;
        self.settle_gathered();
        match &end {
            End::Disconnect { reason, expiry } => {
                orderly = self.on_disconnect(*reason, *expiry).await;
            }
            End::Gone(_) => (),
            End::Refuse { reason, why } => {
                orderly = *reason == Reason::SHUTTING_DOWN;
                self.peer.disconnect(*reason, why);
            }
        }
        while let Some(delivery) = self.outbound.unhold() {
            // The client has not seen it.
            let (lane, own) = (self.seat.lane, self.seat.own);
            self.session.settle(lane, own, &[delivery.offset], Outcome::Released);
        }
        self.session.flush();
        let Self { session, mut peer, mut input, .. } = *self;
        if orderly {
            if let Err(error) = session.close().await {
                tracing::debug!(%error, "the session did not close in order");
            }
        } else {
            drop(session);
        }
        if !matches!(end, End::Gone(_)) {
            // A client that does not read its last packet is not waited for.
            let _ = tokio::time::timeout(LINGER, farewell(&mut peer, &mut input)).await;
        }
    }

    /// True when the connection ends in order.
    async fn on_disconnect(&mut self, reason: Reason, expiry: Option<u32>) -> bool {
        if let Some(seconds) = expiry {
            let keep = login::keep(login::capped(seconds, self.options));
            if let Err(error) = self.session.set_keep(keep).await {
                tracing::debug!(%error, "the session expiry was not changed");
            }
        }
        reason == Reason::SUCCESS
    }
}

/// Writes what waits, then reads until the client closes: a socket closed with unread input may be reset, and the
/// client would not see why.
async fn farewell(peer: &mut Peer, input: &mut Input) -> std::io::Result<()> {
    peer.out.finish().await?;
    while input.read().await? > 0 {
        input.buffer().clear();
    }
    Ok(())
}

/// What this turn may take.
#[derive(Clone, Copy)]
struct Wants {
    bytes: bool,
    events: bool,
    events_first: bool,
}

enum Ready {
    Events,
    Bytes(std::io::Result<usize>),
}

/// The next thing that is ready, from alternating sides. Cancel-safe, because both sides are.
async fn turn(
    session: &mut Session,
    input: &mut Input,
    events: &mut Events,
    wants: Wants,
) -> Ready {
    match wants {
        Wants { bytes: false, events: false, .. } => std::future::pending().await,
        Wants { events_first: true, .. } => tokio::select! { biased;
            () = session.events(events), if wants.events => Ready::Events,
            read = input.read(), if wants.bytes => Ready::Bytes(read),
        },
        Wants { events_first: false, .. } => tokio::select! { biased;
            read = input.read(), if wants.bytes => Ready::Bytes(read),
            () = session.events(events), if wants.events => Ready::Events,
        },
    }
}

/// The address of a topic that a client publishes to, kept from one publish to the next.
type Resolved = Option<Address>;

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
