//! One connection, one task: login, loop, farewell. What happened goes to the dialog in turns, and what it wishes is
//! done in its order.
//!
//! ```text
//! login ─► running ─┬─ the dialog closes, or breaks ─┐
//!                   ├─ drain, closed by an operator ─┼─► last turn ─► what waits is written ─► end
//!                   ├─ end of stream ─► confirms ────┘
//!                   └─ lost ────────────────────────────────────────────────────────────────► end
//! ```

use crate::Foreign;
use crate::subscriptions::{SUBSCRIPTIONS_MAX, Subscription, Subscriptions};
use bytes::Bytes;
use crossdock_core::dialog::{Delivered, Dialog, Happened, Settled, Wish};
use crossdock_core::{
    About, Accepted, Address, Bind, BindTarget, Broker, Confirm, ConfirmOutcome, Consumer,
    ConsumerSource, Credentials, Credit, Delivery, Error, ErrorKind, Events, Fields, Identity, Key,
    LaneId, Life, Message, Meta, Name, Notice, OnDetach, Origin, Outcome, Publish, QueueSpec,
    Secret, Session, SessionSpec,
};
use crossdock_net::{Entrance, KeepAlive, Line, Lost, Ready};
use std::collections::VecDeque;
use std::time::Duration;

/// For the last bytes to be written, and for the peer to close after them.
const FAREWELL_TIME: Duration = Duration::from_secs(2);
/// What one subscription may have unsettled, or not written yet.
const CREDIT: Credit = Credit { messages: 200, bytes: 1 << 20 };
/// Turns of the dialog that follow each other before something else happens: each answers what the one before wished.
const TURNS_MAX: usize = 64;

/// Why a connection ends.
enum Closing {
    /// The dialog wishes it, or the peer has left.
    Done(&'static str),
    /// The dialog gets its last turn.
    Ended(Error),
    /// The dialog broke.
    Broken(Error),
    Lost(Lost),
}

impl From<Lost> for Closing {
    fn from(lost: Lost) -> Self {
        match lost {
            Lost::TooMuch(why) => Closing::Ended(why),
            lost => Closing::Lost(lost),
        }
    }
}

/// Serves one connection to its end.
pub async fn serve(foreign: &Foreign, accepted: Accepted, broker: Broker) -> Result<(), Error> {
    let options = &foreign.options;
    let (mut line, entrance) =
        Line::new(foreign.dialect, accepted, options.login_time, options.write_time);
    let mut dialog = match line.while_waiting(foreign.speaker.open(&entrance.peer)).await {
        Ok(dialog) => dialog,
        Err(error) => {
            line.log_refused(&entrance, error.detail());
            line.farewell(FAREWELL_TIME).await;
            return Err(error);
        }
    };
    match log_in(&mut line, &mut *dialog, (foreign, &entrance, &broker)).await {
        Ok((session, happened)) => {
            let connection = Connection::new(line, dialog, session);
            Box::new(connection).run(happened).await
        }
        Err(Closing::Lost(Lost::StoppedInLogin)) => Ok(()),
        Err(closing) => {
            let why = match closing {
                Closing::Lost(lost) => Error::from(lost),
                Closing::Ended(error) | Closing::Broken(error) => error,
                Closing::Done(why) => Error::new(ErrorKind::Closed, why),
            };
            line.log_refused(&entrance, why.detail());
            line.farewell(FAREWELL_TIME).await;
            Err(why)
        }
    }
}

/// Turns until the dialog has logged in. What it is told next.
async fn log_in(
    line: &mut Line,
    dialog: &mut dyn Dialog,
    (foreign, entrance, broker): (&Foreign, &Entrance, &Broker),
) -> Result<(Session, Vec<Happened>), Closing> {
    let mut happened = Vec::new();
    loop {
        if let Some(bytes) = read(line) {
            happened.push(Happened::Bytes(bytes));
        }
        let (wishes, said) = line.while_waiting(dialog.turn(std::mem::take(&mut happened))).await;
        let mut wishes = wishes.into_iter();
        for wish in wishes.by_ref() {
            match wish {
                Wish::Write(bytes) => line.output.push(&bytes),
                Wish::Close => return Err(Closing::Done("it ended before the login")),
                Wish::LogIn { user, password } => {
                    let _ = entrance.claimed.set((user.clone(), Name::default()));
                    let credentials = credentials(entrance, user, password);
                    let vhost = broker.settings().vhosts.first().cloned();
                    let judged = entrance.log_in(broker, credentials, vhost);
                    let judged = line.while_verified(judged).await?;
                    let opened = match judged {
                        Ok(identity) => open(broker, (foreign, entrance), identity).await,
                        Err(error) => Err(error),
                    };
                    match opened {
                        Ok(session) => {
                            nothing_more(wishes.next())?;
                            said.map_err(Closing::Broken)?;
                            return Ok((session, vec![Happened::LoggedIn(Ok(()))]));
                        }
                        Err(error) => happened.push(Happened::LoggedIn(Err(error))),
                    }
                }
                _ => {
                    let why = "the plugin wished something else before its client was logged in";
                    return Err(Closing::Broken(Error::new(ErrorKind::Invalid, why)));
                }
            }
        }
        said.map_err(Closing::Broken)?;
        if happened.is_empty() {
            line.more().await?;
        }
    }
}

/// The answer to a login comes first.
fn nothing_more(wish: Option<Wish>) -> Result<(), Closing> {
    let why = "the plugin wished something before it knew whether its client was logged in";
    wish.map_or(Ok(()), |_| Err(Closing::Broken(Error::new(ErrorKind::Invalid, why))))
}

fn credentials(entrance: &Entrance, user: Name, password: Bytes) -> Credentials {
    if password.is_empty()
        && let Some(certificate) = entrance.by_certificate(user.clone())
    {
        return certificate;
    }
    match user.is_empty() && password.is_empty() {
        true => Credentials::Anonymous,
        false => Credentials::Password { user, password: Secret(password) },
    }
}

async fn open(
    broker: &Broker,
    (foreign, entrance): (&Foreign, &Entrance),
    identity: Identity,
) -> Result<Session, Error> {
    let (listener, peer) = (entrance.listener.clone(), entrance.peer.clone());
    let origin = Origin { listener, peer, ..Origin::default() };
    let vhost = broker.settings().vhosts.first().cloned().unwrap_or_else(|| Name::from("/"));
    let about = About { secure: entrance.secure, ..About::new(foreign.dialect.protocol, "") };
    let spec = SessionSpec { about, ..SessionSpec::anonymous(vhost, origin, identity) };
    broker.session(spec).await
}

/// What was read and is not passed on yet.
fn read(line: &mut Line) -> Option<Bytes> {
    let bytes = line.input.buffer().split().freeze();
    (!bytes.is_empty()).then_some(bytes)
}

/// A connection that logged in.
struct Connection {
    line: Line,
    dialog: Box<dyn Dialog>,
    session: Session,
    lane: LaneId,
    events: Events,
    topic_exchange: Name,
    subscriptions: Subscriptions,
    /// Publishes whose confirms have not come: the broker's numbers, and the tokens.
    unconfirmed: VecDeque<(u64, u64)>,
    /// The peer sends nothing more.
    is_over: bool,
}

impl Connection {
    fn new(mut line: Line, dialog: Box<dyn Dialog>, mut session: Session) -> Self {
        line.agreed(KeepAlive::default());
        line.log_opened(&session.origin().user, &session.origin().client);
        let topic_exchange = session.broker().settings().topic_exchange.clone();
        Self {
            lane: session.lane(),
            line,
            dialog,
            session,
            events: Events::default(),
            topic_exchange,
            subscriptions: Subscriptions::default(),
            unconfirmed: VecDeque::new(),
            is_over: false,
        }
    }

    async fn run(mut self: Box<Self>, happened: Vec<Happened>) -> Result<(), Error> {
        let closing = match self.turns(happened).await {
            Ok(()) => Closing::Done("the client left"),
            Err(closing) => closing,
        };
        self.close(closing).await
    }

    /// The loop: ends when the peer has left and has its answers.
    async fn turns(&mut self, happened: Vec<Happened>) -> Result<(), Closing> {
        self.turn(happened).await?;
        loop {
            if self.is_over && self.unconfirmed.is_empty() {
                return Ok(());
            }
            let ready = self.line.next(&mut self.session, &mut self.events, !self.is_over).await?;
            let happened = match ready {
                Ready::Bytes => read(&mut self.line).map(Happened::Bytes).into_iter().collect(),
                Ready::Events => self.taken()?,
                Ready::EndOfStream => {
                    self.end_of_stream();
                    continue;
                }
                Ready::Stopping => {
                    let why = "broker is shutting down";
                    return Err(Closing::Ended(Error::new(ErrorKind::Closed, why)));
                }
                Ready::Retry => continue,
            };
            self.turn(happened).await?;
        }
    }

    /// No more messages for a peer that has closed its side.
    fn end_of_stream(&mut self) {
        self.is_over = true;
        for consumer in self.subscriptions.consumers() {
            self.session.set_credit(consumer, Credit { messages: 0, bytes: u64::MAX });
        }
    }

    /// Has the dialog act on that, and on what comes of it.
    async fn turn(&mut self, mut happened: Vec<Happened>) -> Result<(), Closing> {
        let mut turns = 0;
        while !happened.is_empty() {
            turns += 1;
            if turns > TURNS_MAX {
                let why = "the plugin wishes something in each of its turns, without end";
                return Err(Closing::Broken(Error::new(ErrorKind::Invalid, why)));
            }
            let turn = self.dialog.turn(std::mem::take(&mut happened));
            let (wishes, said) = self.line.while_waiting(turn).await;
            for wish in wishes {
                self.fulfil(wish, &mut happened).await?;
            }
            // What was delivered is written with what the dialog made of it.
            self.session.encoded(self.line.output.position());
            self.session.flush();
            said.map_err(Closing::Broken)?;
        }
        Ok(())
    }

    /// Events of the session, for the dialog.
    fn taken(&mut self) -> Result<Vec<Happened>, Closing> {
        let mut events = std::mem::take(&mut self.events);
        let mut happened = Vec::new();
        for confirm in events.confirms.drain(..) {
            happened.extend(self.confirmed(confirm));
        }
        for notice in events.notices.drain(..) {
            match notice {
                Notice::Blocked(_) => {}
                Notice::Detached { consumer, why } => {
                    if let Some(token) = self.subscriptions.token(consumer) {
                        self.subscriptions.remove(token);
                        happened.push(Happened::Unsubscribed(token, why));
                    }
                }
                Notice::Late(late) => {
                    if let Some(token) = self.subscriptions.token(late.consumer) {
                        self.subscriptions.remove(token);
                        happened.push(Happened::Unsubscribed(token, late.why()));
                    }
                }
                Notice::TakenOver => {
                    let why = "another connection took over";
                    return Err(Closing::Ended(Error::new(ErrorKind::Closed, why)));
                }
                Notice::Closed(why) => return Err(Closing::Ended(why)),
            }
        }
        for delivery in events.deliveries.drain(..) {
            happened.extend(self.delivered(&delivery));
        }
        self.events = events;
        Ok(happened)
    }

    fn confirmed(&mut self, confirm: Confirm) -> Option<Happened> {
        let (number, token) = *self.unconfirmed.front()?;
        if number != confirm.number {
            return None;
        }
        self.unconfirmed.pop_front();
        let result = match confirm.confirmed {
            ConfirmOutcome::Stored => Ok(()),
            // A topic without subscribers is no mistake.
            ConfirmOutcome::Unroutable(message)
                if message.address().exchange == self.topic_exchange =>
            {
                Ok(())
            }
            ConfirmOutcome::Unroutable(message) => {
                let why = format!("nobody takes messages to {}", message.address());
                Err(Error::new(ErrorKind::Unroutable, why))
            }
            ConfirmOutcome::Refused(why) => Err(why),
        };
        Some(Happened::Published(token, result))
    }

    fn delivered(&mut self, delivery: &Delivery) -> Option<Happened> {
        let noted = self.subscriptions.delivered(delivery.consumer, delivery.offset)?;
        let (subscription, number) = noted;
        let message = &delivery.message;
        Some(Happened::Delivered(Delivered {
            subscription,
            delivery: number,
            address: self.shown(message.address()),
            body: message.body().clone(),
            redelivered: delivery.redelivered,
        }))
    }

    /// `topic:a/b`, `queue:NAME` or `exchange:NAME/KEY`.
    fn shown(&self, address: &Address) -> String {
        match !address.is_queue() && address.exchange == self.topic_exchange {
            true => format!("topic:{}", address.key),
            false => address.to_string(),
        }
    }

    async fn fulfil(&mut self, wish: Wish, happened: &mut Vec<Happened>) -> Result<(), Closing> {
        match wish {
            Wish::Write(bytes) => self.line.output.push(&bytes),
            Wish::LogIn { .. } => {
                let why = Error::new(ErrorKind::Invalid, "the client is logged in already");
                happened.push(Happened::LoggedIn(Err(why)));
            }
            Wish::Publish { token, address, body, durable } => match self.address(&address) {
                Ok(address) => self.publish(token, address, (body, durable)),
                Err(why) => happened.push(Happened::Published(token, Err(why))),
            },
            Wish::Subscribe { token, address, settles } => {
                let result = self.subscribe(token, &address, settles).await;
                happened.push(Happened::Subscribed(token, result));
            }
            Wish::Unsubscribe { token } => self.unsubscribe(token).await,
            Wish::Settle { delivery, how } => {
                // One that is not there was settled before, or its subscription has ended.
                if let Some((consumer, offset)) = self.subscriptions.settled(delivery) {
                    let outcome = match how {
                        Settled::Accepted => Outcome::Accepted,
                        Settled::Returned => Outcome::GivenBack,
                        Settled::Rejected => Outcome::Rejected { reason: None },
                    };
                    self.session.settle(self.lane, consumer, &[offset], outcome);
                }
            }
            Wish::Close => return Err(Closing::Done("the plugin closed it")),
        }
        Ok(())
    }

    fn publish(&mut self, token: u64, address: Address, (body, durable): (Bytes, bool)) {
        let mut meta = Meta::new(self.session.origin().clone(), self.session.broker().now());
        (meta.durable, meta.level) = (durable, u8::from(durable));
        let (size, max) = (body.len(), self.session.broker().live().message_bytes_max());
        let message = Message::from_fields(address, meta, &Fields::default(), body);
        let publish = Publish::new(message, true);
        let number = match size > max {
            false => self.session.publish(self.lane, publish),
            true => {
                let why = format!(
                    "{size} bytes are more than a message may have, {max} (limits.message_bytes)"
                );
                self.session.refuse(self.lane, publish, Error::new(ErrorKind::TooLarge, why))
            }
        };
        self.unconfirmed.push_back((number, token));
    }

    /// Reads `topic:a/b`, `queue:NAME` or `exchange:NAME/KEY`.
    fn address(&self, text: &str) -> Result<Address, Error> {
        let wrong = || {
            let why = format!("'{text}' is not topic:KEY, queue:NAME or exchange:NAME/KEY");
            Error::new(ErrorKind::Invalid, why)
        };
        match text.split_once(':').ok_or_else(wrong)? {
            ("topic", key) if !key.contains(['+', '#']) => {
                Ok(Address::new(self.topic_exchange.clone(), key.into()))
            }
            ("topic", key) => {
                let why = format!("a message cannot be published to a pattern: '{key}'");
                Err(Error::new(ErrorKind::Invalid, why))
            }
            ("queue", name) if !name.is_empty() => Ok(Address::queue(name)),
            ("exchange", rest) => {
                let (name, key) = rest.split_once('/').unwrap_or((rest, ""));
                match name.is_empty() {
                    true => Err(wrong()),
                    false => Ok(Address::new(name.into(), key.into())),
                }
            }
            _ => Err(wrong()),
        }
    }

    async fn subscribe(&mut self, token: u64, text: &str, settles: bool) -> Result<(), Error> {
        if self.subscriptions.has(token) {
            let why = format!("there is a subscription {token} already");
            return Err(Error::new(ErrorKind::Invalid, why));
        }
        if self.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            let why = format!("a connection may have {SUBSCRIPTIONS_MAX} subscriptions");
            return Err(Error::new(ErrorKind::LimitReached, why));
        }
        let (queue, own_queue) = match text.split_once(':') {
            Some(("queue", name)) if !name.is_empty() => (Name::from(name), None),
            Some(("topic", pattern)) => {
                let queue = self.bound(pattern).await?;
                (queue.clone(), Some(queue))
            }
            _ => {
                let why = format!("'{text}' is not topic:PATTERN or queue:NAME");
                return Err(Error::new(ErrorKind::Invalid, why));
            }
        };
        let consumer = Consumer {
            source: ConsumerSource::Queue(queue),
            settles,
            exclusive: false,
            priority: 0,
            credit: CREDIT,
            pools: Default::default(),
            only_unexpired: false,
            has_time: true,
            tag: token.to_string().into(),
        };
        let attached = self.line.while_waiting(self.session.attach(self.lane, consumer)).await;
        match attached {
            Ok(consumer) => {
                let subscription = Subscription { token, consumer, own_queue, settles };
                self.subscriptions.add(subscription);
                Ok(())
            }
            Err(error) => {
                self.forget(own_queue).await;
                Err(error)
            }
        }
    }

    /// A queue of this connection's own, with what is published to topics of that pattern.
    async fn bound(&mut self, pattern: &str) -> Result<Name, Error> {
        let (life, auto_delete) = (Life::Exclusive, true);
        let spec = QueueSpec { life, auto_delete, ..QueueSpec::default() };
        let declared = self.line.while_waiting(self.session.declare_queue(spec)).await?;
        let queue = declared.status.name;
        let to = BindTarget::Queue(queue.clone());
        let bind = Bind::new(self.topic_exchange.clone(), Key::from(pattern), to);
        match self.line.while_waiting(self.session.bind(bind)).await {
            Ok(_) => Ok(queue),
            Err(error) => {
                self.forget(Some(queue)).await;
                Err(error)
            }
        }
    }

    async fn unsubscribe(&mut self, token: u64) {
        let Some(gone) = self.subscriptions.remove(token) else { return };
        let detached = self.session.detach(gone.consumer, OnDetach::Return);
        self.line.while_waiting(detached).await;
        self.forget(gone.own_queue).await;
    }

    async fn forget(&mut self, own_queue: Option<Name>) {
        let Some(queue) = own_queue else { return };
        let deleted = self.session.delete_queue(&queue, false, false);
        // With its last consumer it may be gone already.
        if let Err(left) = self.line.while_waiting(deleted).await
            && left.kind() != ErrorKind::NotFound
        {
            tracing::debug!(%queue, error = %left, "the queue of a subscription stays");
        }
    }

    async fn close(mut self: Box<Self>, closing: Closing) -> Result<(), Error> {
        if let Closing::Ended(why) = &closing {
            let ending = vec![Happened::Ending(why.clone())];
            let (wishes, _) = self.line.while_waiting(self.dialog.turn(ending)).await;
            let last = wishes.into_iter().filter_map(|wish| match wish {
                Wish::Write(bytes) => Some(bytes),
                _ => None,
            });
            last.for_each(|bytes| self.line.output.push(&bytes));
        }
        let Self { mut session, mut line, .. } = *self;
        let origin = session.origin().clone();
        // What came before the end counts.
        session.flush();
        let result = match closing {
            Closing::Done(why) => {
                line.log_closing(&origin.user, &origin.client, why);
                Ok(())
            }
            Closing::Ended(error) | Closing::Broken(error) => {
                line.log_closing(&origin.user, &origin.client, error.detail());
                Err(error)
            }
            Closing::Lost(lost) => {
                line.log_closing(&origin.user, &origin.client, &lost.to_string());
                return Err(lost.into());
            }
        };
        line.write_out(&mut session, FAREWELL_TIME).await;
        let closed = line.while_waiting(session.close()).await;
        line.farewell(FAREWELL_TIME).await;
        result.and(closed)
    }
}
