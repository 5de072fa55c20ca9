//! One new connection, from the socket to its adapter: PROXY header, TLS, WebSocket, protocol. All of it happens in the
//! connection's own task and inside the time that the peer has to log in.

use super::admission::{Admission, Place};
use super::prefixed::Prefixed;
use super::report::{Refusal, Report};
use super::sniff::{Recognised, Stranger, recognise, stranger};
use super::{ListenerSpec, Transport, proxy};
use crate::input::Input;
use crate::output::Writer;
use crate::tls::{TlsHandle, Whole};
use crate::websocket::{self, Rules};
use bytes::BytesMut;
use crossdock_core::{Accepted, Broker, Drain, PeerCertificate, Protocol};
use std::borrow::Cow;
use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Within this time after it connected a load balancer has to send its header. It has it at hand.
const PROXY_TIME: Duration = Duration::from_secs(5);
/// A TLS handshake has to be done in this part of the time to log in; the wait for its first byte counts.
const HANDSHAKE_PART: u32 = 2;
/// A peer that was told why it is refused may take this long to take note.
const PART_TIME: Duration = Duration::from_secs(1);
/// At most this many bytes of such a peer are discarded.
const PART_BYTES: usize = 64 << 10;

/// What all connections of a listener have to pass.
pub(super) struct Door {
    spec: ListenerSpec,
    drain: Drain,
    broker: Broker,
    pub(super) admission: Arc<Admission>,
    pub(super) report: Report,
}

/// Whom a connection comes from.
struct Peer {
    /// The socket's other end.
    socket: SocketAddr,
    /// What a PROXY header said.
    claimed: Claim,
}

enum Claim {
    /// There was no header.
    None,
    /// The header named no client.
    Nobody,
    Client(SocketAddr),
}

impl Peer {
    fn address(&self) -> SocketAddr {
        match self.claimed {
            Claim::Client(address) => address,
            Claim::None | Claim::Nobody => self.socket,
        }
    }

    /// Behind a load balancer only a client that is known to be on this machine, by one that is, too.
    fn is_loopback(&self) -> bool {
        is_loopback(self.socket)
            && match self.claimed {
                Claim::None => true,
                Claim::Nobody => false,
                Claim::Client(address) => is_loopback(address),
            }
    }
}

fn is_loopback(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

/// Why a connection did not get to its adapter.
struct Refused {
    why: Refusal,
    detail: Cow<'static, str>,
}

fn refused(why: Refusal, detail: impl Into<Cow<'static, str>>) -> Refused {
    Refused { why, detail: detail.into() }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        refused(Refusal::Gone, error.to_string())
    }
}

/// A connection and the adapter that it is for.
type Arrived = (Arc<dyn Protocol>, Accepted);

/// Both directions of a connection, and what is known of them.
struct Wire {
    input: Input,
    writer: Writer,
    secure: bool,
    certificate: Option<PeerCertificate>,
}

impl Door {
    pub(super) fn new(spec: ListenerSpec, drain: Drain, broker: Broker) -> Self {
        let admission = Admission::new(spec.limits.clone());
        let report = Report::new(spec.name.clone());
        // What has not happened is shown as 0, so that its first time is seen to be one.
        for word in Refusal::words() {
            broker.expect_refused_connections(word);
        }
        let of_messages = spec.protocols.iter().filter(|protocol| !protocol.formats().is_empty());
        for protocol in of_messages {
            broker.expect_protocol(protocol.name());
            broker.expect_unfinished_logins((&spec.name, protocol.name()));
        }
        Self { spec, drain, broker, admission, report }
    }

    /// A connection ended before its adapter had it.
    pub(super) fn refused(&self, why: Refusal, peer: Option<SocketAddr>, detail: &dyn Display) {
        let peer_text = peer.map(|peer| peer.to_string()).unwrap_or_default();
        self.broker.note_refused_connection(why.word(), &peer_text);
        self.report.refused(why, peer, detail);
    }

    /// A place for a connection that was accepted; none: it is to be closed at once.
    pub(super) fn admit(&self, peer: SocketAddr) -> Option<Place> {
        self.report.accepted();
        let Some(mut place) = self.admission.place() else {
            self.refused(Refusal::Full, Some(peer), &"too many connections");
            return None;
        };
        // The client behind a load balancer is not known yet.
        if !self.spec.proxy
            && !is_loopback(peer)
            && let Err(why) = place.of_address(peer.ip())
        {
            self.refused(why, Some(peer), &"too many connections of one address");
            return None;
        }
        Some(place)
    }

    /// Serves a connection to its end.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        socket: SocketAddr,
        mut place: Place,
    ) {
        let broker = self.broker.clone();
        let mut peer = Peer { socket, claimed: Claim::None };
        // In a box, so that it takes no memory while the connection is served.
        let message_bytes = broker.live().message_bytes_max();
        let arriving = self.arrive_in_time(stream, &mut peer, &mut place, message_bytes);
        match Box::pin(arriving).await {
            // How the connection ends, its adapter logs with the client's name.
            Ok((protocol, accepted)) => drop(protocol.serve(accepted, broker).await),
            Err(Refused { why, detail }) => {
                self.refused(why, Some(peer.address()), &detail);
            }
        }
    }

    /// Gets a connection to its adapter, unless that takes too long or the drain starts.
    async fn arrive_in_time(
        &self,
        stream: TcpStream,
        peer: &mut Peer,
        place: &mut Place,
        message_bytes: usize,
    ) -> Result<Arrived, Refused> {
        let since = Instant::now();
        let until = since + self.admission.login_time();
        let mut drain = self.drain.clone();
        tokio::select! { biased;
            () = drain.started() => Err(refused(Refusal::Gone, "the broker began to stop")),
            arrived = timeout_at(until, self.arrive(stream, peer, place, (since, message_bytes))) => {
                arrived.unwrap_or_else(|_| Err(refused(Refusal::Slow, "the login took too long")))
            }
        }
    }

    async fn arrive(
        &self,
        stream: TcpStream,
        peer: &mut Peer,
        place: &mut Place,
        (since, message_bytes): (Instant, usize),
    ) -> Result<Arrived, Refused> {
        stream.set_nodelay(true)?;
        let mut socket = Prefixed::new(stream);
        if self.spec.proxy {
            let header = timeout_at(since + PROXY_TIME, proxy_header(&mut socket));
            peer.claimed = header.await.unwrap_or_else(|_| {
                Err(refused(Refusal::Proxy, "the header did not come within 5 seconds"))
            })?;
            // The load balancer's own look whether somebody is there is not counted.
            if !is_loopback(peer.socket) || !is_loopback(peer.address()) {
                let counted = place.of_address(peer.address().ip());
                counted.map_err(|why| refused(why, "too many connections of one address"))?;
            }
        }
        let mut wire = match &self.spec.tls {
            Some(handle) => self.secure(socket, handle).await?,
            None => Wire::plain(socket),
        };
        let mut wanted = None;
        if !self.spec.speaks_first() {
            self.look(&mut wire).await?;
        }
        if let Transport::WebSocket { origins } = &self.spec.transport {
            (wire, wanted) = self.upgrade(wire, origins, message_bytes).await?;
        }
        let protocol = match wanted {
            Some(index) => index,
            None if self.spec.protocols.len() == 1 => 0,
            None => self.recognise(&mut wire.input).await?,
        };
        let protocol = self
            .spec
            .protocols
            .get(protocol)
            .ok_or_else(|| refused(Refusal::Unknown, "the listener has no protocol"))?;
        Ok((protocol.clone(), self.accepted(wire, peer, since)))
    }

    fn accepted(&self, wire: Wire, peer: &Peer, since: Instant) -> Accepted {
        let (reader, head) = wire.input.into_parts();
        Accepted {
            reader,
            writer: wire.writer,
            head,
            peer: peer.address().to_string(),
            loopback: peer.is_loopback(),
            secure: wire.secure,
            certificate: wire.certificate,
            since,
            listener: self.spec.name.clone(),
            drain: self.drain.clone(),
        }
    }

    /// The TLS handshake, if the peer speaks TLS.
    async fn secure(&self, mut socket: Prefixed, handle: &TlsHandle) -> Result<Wire, Refused> {
        let time = self.admission.login_time() / HANDSHAKE_PART;
        let deadline = Instant::now() + time;
        let late = || {
            let seconds = time.as_secs_f64();
            refused(Refusal::Slow, format!("the TLS handshake took more than {seconds} seconds"))
        };
        let speaks = loop {
            match (socket.head.is_empty(), stranger(&socket.head)) {
                (true, _) | (_, Stranger::More) => {
                    timeout_at(deadline, socket.more()).await.map_err(|_| late())??;
                }
                (_, speaks) => break speaks,
            }
        };
        if speaks != Stranger::Tls {
            if speaks == Stranger::Http {
                let answer = bad_request("This port requires TLS: use https or wss.\n");
                let (mut reader, mut writer) = socket.stream.split();
                part(&mut reader, &mut writer, answer.as_bytes()).await;
            }
            return Err(refused(Refusal::PlainOnTls, "the first bytes are not TLS"));
        }
        let shaken = timeout_at(deadline, handle.accept(socket)).await.map_err(|_| late())?;
        let (stream, certificate) = shaken.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => refused(Refusal::Handshake, error.to_string()),
            _ => error.into(),
        })?;
        let (reader, writer) = tokio::io::split(stream);
        let input = Input::new(Box::new(reader), BytesMut::new());
        Ok(Wire { input, writer: Box::new(Whole::new(writer)), secure: true, certificate })
    }

    /// Reads the first bytes, and sends away who came to the wrong port.
    async fn look(&self, wire: &mut Wire) -> Result<(), Refused> {
        let is_websocket = self.spec.transport != Transport::Tcp;
        let speaks = loop {
            match (wire.input.is_empty(), stranger(wire.input.buffer())) {
                (true, _) | (_, Stranger::More) => more(&mut wire.input).await?,
                (_, speaks) => break speaks,
            }
        };
        match speaks {
            Stranger::Tls if !wire.secure => {
                Err(refused(Refusal::TlsOnPlain, "the first bytes are TLS"))
            }
            Stranger::Http if !is_websocket && !self.spec.speaks_http() => {
                let names: Vec<&str> = self.spec.protocols.iter().map(|p| p.name()).collect();
                let text = format!("This port speaks {}, not HTTP.\n", names.join(", "));
                part(wire.input.reader(), &mut wire.writer, bad_request(&text).as_bytes()).await;
                Err(refused(Refusal::Http, "the first bytes are an HTTP request"))
            }
            _ => Ok(()),
        }
    }

    /// Agrees on a WebSocket, and perhaps on the protocol in it: its index.
    async fn upgrade(
        &self,
        wire: Wire,
        origins: &[String],
        message_bytes: usize,
    ) -> Result<(Wire, Option<usize>), Refused> {
        let names: Vec<&'static str> = self.spec.protocols.iter().map(|p| p.name()).collect();
        let rules = Rules { origins, protocols: &names };
        let Wire { mut input, mut writer, secure, certificate } = wire;
        let head = websocket::request_head(&mut input).await?;
        let asked = head.and_then(|head| websocket::agree(&head, &rules));
        let agreed = match asked {
            Ok(agreed) => agreed,
            Err(refusal) => {
                part(input.reader(), &mut writer, refusal.response().as_bytes()).await;
                return Err(refused(Refusal::WebSocket, refusal.to_string()));
            }
        };
        writer.write_all(agreed.response().as_bytes()).await?;
        let (reader, head) = input.into_parts();
        let form = (agreed.text, agreed.only_binary, message_bytes);
        let (reader, writer) = websocket::open(reader, head, writer, form);
        let input = Input::new(reader, BytesMut::new());
        Ok((Wire { input, writer, secure, certificate }, agreed.protocol))
    }

    /// Finds out by the first bytes which of several protocols the peer speaks.
    async fn recognise(&self, input: &mut Input) -> Result<usize, Refused> {
        if input.is_empty() {
            more(input).await?;
        }
        loop {
            match recognise(input.buffer(), &self.spec.protocols) {
                Recognised::At(index) => return Ok(index),
                Recognised::More => more(input).await?,
                Recognised::None => {
                    let detail = "the first bytes are of no protocol of this listener";
                    return Err(refused(Refusal::Unknown, detail));
                }
            }
        }
    }
}

impl Wire {
    fn plain(socket: Prefixed) -> Self {
        let (reader, writer) = socket.stream.into_split();
        let input = Input::new(Box::new(reader), socket.head);
        Self { input, writer: Box::new(writer), secure: false, certificate: None }
    }
}

async fn more(input: &mut Input) -> Result<(), Refused> {
    match input.read().await? {
        0 => Err(refused(Refusal::Gone, "the peer closed the connection before it said anything")),
        _ => Ok(()),
    }
}

/// Reads the header of a load balancer, which has to be the first thing that comes.
async fn proxy_header(socket: &mut Prefixed) -> Result<Claim, Refused> {
    loop {
        socket.more().await?;
        match proxy::header(&socket.head) {
            proxy::Header::More => {}
            proxy::Header::Bad(why) => return Err(refused(Refusal::Proxy, why)),
            proxy::Header::Whole { length, source } => {
                drop(socket.head.split_to(length));
                return Ok(source.map_or(Claim::Nobody, Claim::Client));
            }
        }
    }
}

/// The answer to a web browser.
fn bad_request(text: &str) -> String {
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    )
}

/// Sends the last bytes to a peer and waits, within limits, until it has closed: a socket that is closed with bytes of
/// the peer unread would take them back.
async fn part(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    bytes: &[u8],
) {
    let parting = async {
        writer.write_all(bytes).await?;
        writer.shutdown().await?;
        let mut discarded = [0; 512];
        let mut left = PART_BYTES;
        while left > 0 {
            match reader.read(&mut discarded).await? {
                0 => break,
                n => left = left.saturating_sub(n),
            }
        }
        Ok::<(), io::Error>(())
    };
    // However it ends, the connection is closed next.
    let _ = timeout(PART_TIME, parting).await;
}
