//! AMQP 0-9-1, as far as the tests need it: one connection, one channel.

use super::{PATIENCE, Socket};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The one channel.
const CHANNEL: u16 = 1;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xCE;
/// Bytes of one frame's payload at most.
const FRAME_MAX: usize = 131_072 - 8;

/// A field value: the types that tests use.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    Text(String),
    Number(i64),
    Bool(bool),
    /// A value of another type.
    Other,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties {
    pub content_type: Option<String>,
    pub headers: Vec<(String, Field)>,
    pub persistent: bool,
    pub correlation: Option<String>,
    pub reply_to: Option<String>,
}

impl Properties {
    /// Stored by durable queues.
    pub fn persistent() -> Self {
        Self { persistent: true, ..Self::default() }
    }

    /// The first header of that name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let field = self.headers.iter().find(|(n, _)| n == name).map(|(_, field)| field)?;
        Some(match field {
            Field::Text(text) => text.clone(),
            Field::Number(number) => number.to_string(),
            Field::Bool(bool) => bool.to_string(),
            Field::Other => String::new(),
        })
    }
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delivery {
    pub tag: u64,
    pub redelivered: bool,
    pub exchange: String,
    pub key: String,
    pub properties: Properties,
    pub body: Vec<u8>,
}

pub struct Amqp {
    pub socket: Socket,
    /// Deliveries that came while something else was awaited.
    deliveries: VecDeque<Delivery>,
    published: u64,
    confirmed: u64,
    /// What the broker proposed: channels, octets of a frame, seconds between heartbeats.
    pub proposed: (u16, u32, u16),
}

/// A frame: type and payload.
type Frame = (u8, Vec<u8>);

impl Amqp {
    pub fn connect(address: SocketAddr) -> Self {
        Self::with_frame_max(address, 131_072)
    }

    /// As that user.
    pub fn connect_as(address: SocketAddr, user: &str, password: &str) -> Self {
        let client = Self::log_in(Socket::connect(address), (user, password));
        client.unwrap_or_else(|why| panic!("the login of {user}: {why}"))
    }

    /// `frame_max`: octets of a frame at most, its eight octets of overhead included.
    pub fn with_frame_max(address: SocketAddr, frame_max: u32) -> Self {
        let start = Out(Vec::new()).table(&[]).short("PLAIN").long(b"\0guest\0guest");
        let opened = Self::open(Socket::connect(address), &start, frame_max);
        opened.expect("guest may log in")
    }

    /// Logs in over a socket, as a client that is told why its login is refused and when a consumer ends; or the code
    /// and the text of the refusal.
    pub fn log_in(socket: Socket, (user, password): (&str, &str)) -> Result<Self, String> {
        Self::log_in_to("/", socket, (user, password))
    }

    /// The same, to another virtual host.
    pub fn log_in_to(
        vhost: &str,
        socket: Socket,
        (user, password): (&str, &str),
    ) -> Result<Self, String> {
        let login = format!("\0{user}\0{password}");
        let start = told_client().short("PLAIN").long(login.as_bytes());
        Self::open_in(vhost, socket, (&start, 131_072))
    }

    /// The same by the certificate that was shown in the TLS handshake. `user`: whose it has to be; empty: anybody's.
    pub fn external(socket: Socket, user: &str) -> Result<Self, String> {
        Self::open(socket, &told_client().short("EXTERNAL").long(user.as_bytes()), 131_072)
    }

    /// Asks for frames of that size; or the code and the text of the refusal.
    pub fn asking_for(address: SocketAddr, frame_max: u32) -> Result<Self, String> {
        let start = told_client().short("PLAIN").long(b"\0guest\0guest");
        Self::open(Socket::connect(address), &start, frame_max)
    }

    /// `start`: client properties, mechanism and response.
    fn open(socket: Socket, start: &Out, frame_max: u32) -> Result<Self, String> {
        Self::open_in("/", socket, (start, frame_max))
    }

    fn open_in(
        vhost: &str,
        socket: Socket,
        (start, frame_max): (&Out, u32),
    ) -> Result<Self, String> {
        let mut client = Self {
            socket,
            deliveries: VecDeque::new(),
            published: 0,
            confirmed: 0,
            proposed: (0, 0, 0),
        };
        client.socket.send(b"AMQP\x00\x00\x09\x01");
        client.answer((10, 10))?;
        let start_ok = Out::method(10, 11).bytes(&start.0).short("en_US");
        client.socket.send(&start_ok.frame(0));
        let mut tune = In::new(client.answer((10, 30))?);
        client.proposed = (tune.u16(), tune.u32(), tune.u16());
        let tune_ok = Out::method(10, 31).u16(client.proposed.0).u32(frame_max).u16(0);
        client.socket.send(&tune_ok.frame(0));
        client.socket.send(&Out::method(10, 40).short(vhost).short("").u8(0).frame(0));
        client.answer((10, 41))?;
        client.socket.send(&Out::method(20, 10).short("").frame(CHANNEL));
        client.expect(20, 11);
        Ok(client)
    }

    /// Sends a method, and waits for its reply or for the refusal: its code and its text. A channel that is closed for
    /// it is opened again.
    pub fn ask(&mut self, method: Out, reply: (u16, u16)) -> Result<Vec<u8>, String> {
        self.send(method);
        self.answer(reply)
    }

    /// The same for a method of the connection itself.
    pub fn ask_connection(&mut self, method: Out, reply: (u16, u16)) -> Result<Vec<u8>, String> {
        self.socket.send(&method.frame(0));
        self.answer(reply)
    }

    /// Waits for the confirm of the last publish, or for the refusal.
    pub fn confirmed(&mut self) -> Result<(), String> {
        self.answer((60, 80)).map(|_| self.confirmed = self.published)
    }

    fn answer(&mut self, (class, id): (u16, u16)) -> Result<Vec<u8>, String> {
        loop {
            let frame = self.frame(Instant::now() + PATIENCE);
            let (kind, payload) = frame.ok_or("the connection was closed")?;
            let refusal = |payload: &[u8]| {
                let mut close = In::new(payload[4..].to_vec());
                format!("{} {}", close.u16(), close.short())
            };
            match (kind, method_of(&payload)) {
                (METHOD, found) if found == (class, id) => return Ok(payload[4..].to_vec()),
                (METHOD, (10, 50)) => return Err(refusal(&payload)),
                (METHOD, (20, 40)) => {
                    self.send(Out::method(20, 41));
                    self.send(Out::method(20, 10).short(""));
                    self.expect(20, 11);
                    (self.published, self.confirmed) = (0, 0);
                    return Err(refusal(&payload));
                }
                _ => self.sort((kind, payload)),
            }
        }
    }

    /// Declares a queue. Returns the number of ready messages in it.
    pub fn queue(&mut self, name: &str, durable: bool) -> u32 {
        let bits = if durable { 2 } else { 0 };
        self.send(Out::method(50, 10).u16(0).short(name).u8(bits).table(&[]));
        let mut reply = In::new(self.expect(50, 11));
        reply.short();
        reply.u32()
    }

    /// Number of ready messages in an existing queue.
    pub fn ready(&mut self, queue: &str) -> u32 {
        self.send(Out::method(50, 10).u16(0).short(queue).u8(1).table(&[]));
        let mut reply = In::new(self.expect(50, 11));
        reply.short();
        reply.u32()
    }

    pub fn bind(&mut self, queue: &str, exchange: &str, key: &str) {
        let bind = Out::method(50, 20).u16(0).short(queue).short(exchange).short(key).u8(0);
        self.send(bind.table(&[]));
        self.expect(50, 21);
    }

    /// Every publish from now on is confirmed.
    pub fn confirm_select(&mut self) {
        self.send(Out::method(85, 10).u8(0));
        self.expect(85, 11);
    }

    /// Publishes and acknowledgements wait for a commit from now on.
    pub fn select_transactions(&mut self) {
        self.send(Out::method(90, 10));
        self.expect(90, 11);
    }

    /// Publishes; does not wait.
    pub fn publish(&mut self, exchange: &str, key: &str, properties: &Properties, body: &[u8]) {
        self.published += 1;
        self.socket.send(&publish(exchange, key, properties, body));
    }

    /// Waits until everything that was published is confirmed.
    pub fn wait_confirms(&mut self) {
        while self.confirmed < self.published {
            let frame = self.frame(Instant::now() + PATIENCE).expect("a confirm");
            self.sort(frame);
        }
    }

    /// Adds publishes that another handle made on the connection to those that are awaited.
    pub fn count_published(&mut self, count: u64) {
        self.published += count;
    }

    /// Prefetch for each consumer that follows.
    pub fn prefetch(&mut self, count: u16) {
        self.send(Out::method(60, 10).u32(0).u16(count).u8(0));
        self.expect(60, 11);
    }

    pub fn consume(&mut self, queue: &str, no_ack: bool) {
        let bits = if no_ack { 2 } else { 0 };
        self.send(Out::method(60, 20).u16(0).short(queue).short("").u8(bits).table(&[]));
        self.expect(60, 21);
    }

    /// Gets one ready message without having to acknowledge it.
    pub fn get(&mut self, queue: &str) -> Option<Delivery> {
        self.send(Out::method(60, 70).u16(0).short(queue).u8(1));
        loop {
            let (kind, payload) = self.frame(Instant::now() + PATIENCE).expect("a reply");
            match (kind, method_of(&payload)) {
                (METHOD, (60, 72)) => return None,
                (METHOD, (60, 71)) => {
                    return Some(self.delivery(&mut In::new(payload[4..].to_vec())));
                }
                _ => self.sort((kind, payload)),
            }
        }
    }

    /// The next delivery; it is not acknowledged.
    pub fn receive(&mut self) -> Delivery {
        self.receive_within(PATIENCE).expect("a delivery")
    }

    pub fn receive_within(&mut self, time: Duration) -> Option<Delivery> {
        let until = Instant::now() + time;
        while self.deliveries.is_empty() {
            let frame = self.frame(until)?;
            self.sort(frame);
        }
        self.deliveries.pop_front()
    }

    pub fn ack(&mut self, delivery: &Delivery) {
        self.send(Out::method(60, 80).u64(delivery.tag).u8(0));
    }

    pub fn reject(&mut self, delivery: &Delivery, requeue: bool) {
        self.send(Out::method(60, 90).u64(delivery.tag).u8(u8::from(requeue)));
    }

    /// Waits for the broker to close the connection: the code and the text.
    pub fn ends(&mut self) -> String {
        let mut close = In::new(self.expect(10, 50));
        format!("{} {}", close.u16(), close.short())
    }

    /// Waits for the broker to close the channel, and opens it again. The code and the text of the refusal.
    pub fn refused(&mut self) -> (u16, String) {
        let mut close = In::new(self.expect(20, 40));
        let refusal = (close.u16(), close.short());
        self.send(Out::method(20, 41));
        self.send(Out::method(20, 10).short(""));
        self.expect(20, 11);
        (self.published, self.confirmed) = (0, 0);
        refusal
    }

    /// Commits the transaction; waits for nothing.
    pub fn commit(&mut self) {
        self.send(Out::method(90, 20));
    }

    fn send(&mut self, method: Out) {
        self.socket.send(&method.frame(CHANNEL));
    }

    /// Handles a method that is not a reply.
    fn sort(&mut self, (kind, payload): Frame) {
        assert_eq!(kind, METHOD, "a method comes first");
        let mut method = In::new(payload[4..].to_vec());
        match method_of(&payload) {
            (60, 60) => {
                method.short();
                let delivery = self.delivery(&mut method);
                self.deliveries.push_back(delivery);
            }
            // Confirms come in order, so the highest number covers all before.
            (60, 80) => self.confirmed = self.confirmed.max(method.u64()),
            (60, 120) => panic!("publish {} was refused", method.u64()),
            // connection.blocked or connection.unblocked; basic.cancel, which comes to clients that want to be told.
            (10, 60 | 61) | (60, 30) => {}
            (class, id) => panic!("method {class}.{id} {:?}", String::from_utf8_lossy(&payload)),
        }
    }

    fn delivery(&mut self, method: &mut In) -> Delivery {
        let (tag, redelivered) = (method.u64(), method.u8() == 1);
        let (exchange, key) = (method.short(), method.short());
        self.content(Delivery { tag, redelivered, exchange, key, ..Delivery::default() })
    }

    /// The header and body frames that follow a method.
    fn content(&mut self, mut delivery: Delivery) -> Delivery {
        let until = Instant::now() + PATIENCE;
        let (kind, payload) = self.frame(until).expect("a content header");
        assert_eq!(kind, HEADER);
        let mut header = In::new(payload);
        header.u32();
        let size = header.u64() as usize;
        delivery.properties = header.properties();
        while delivery.body.len() < size {
            let (kind, payload) = self.frame(until).expect("a body");
            assert_eq!(kind, BODY);
            delivery.body.extend(payload);
        }
        delivery
    }

    /// The next method, whatever it is: its class and number.
    pub fn any_method(&mut self) -> (u16, u16) {
        loop {
            let (kind, payload) = self.frame(Instant::now() + PATIENCE).expect("a method");
            if kind == METHOD {
                return method_of(&payload);
            }
        }
    }

    /// Waits for a method; deliveries that come before are kept. Returns its arguments.
    pub fn expect(&mut self, class: u16, id: u16) -> Vec<u8> {
        loop {
            let frame = self.frame(Instant::now() + PATIENCE).expect("a reply");
            if frame.0 == METHOD && method_of(&frame.1) == (class, id) {
                return frame.1[4..].to_vec();
            }
            self.sort(frame);
        }
    }

    fn frame(&mut self, until: Instant) -> Option<Frame> {
        loop {
            if !self.socket.fill(7, until) {
                return None;
            }
            let head = &self.socket.buffered()[..7];
            let (kind, size) = (head[0], [head[3], head[4], head[5], head[6]]);
            let size = u32::from_be_bytes(size) as usize;
            if !self.socket.fill(7 + size + 1, until) {
                return None;
            }
            let bytes = self.socket.take(7 + size + 1);
            assert_eq!(bytes[7 + size], FRAME_END);
            // Heartbeats are ignored.
            if kind != 8 {
                return Some((kind, bytes[7..7 + size].to_vec()));
            }
        }
    }
}

/// Client properties of a client that wants to be told.
fn told_client() -> Out {
    let told = ["authentication_failure_close", "consumer_cancel_notify"];
    let told = told.map(|name| (name.to_owned(), Field::Bool(true)));
    let capabilities = Out(Vec::new()).table(&told);
    let fields = Out(Vec::new()).short("capabilities").u8(b'F').bytes(&capabilities.0);
    Out(Vec::new()).long(&fields.0)
}

/// The frames of one publish.
pub fn publish(exchange: &str, key: &str, properties: &Properties, body: &[u8]) -> Vec<u8> {
    let method = Out::method(60, 40).u16(0).short(exchange).short(key).u8(0);
    let mut bytes = method.frame(CHANNEL);
    let header = Out(Vec::new()).u16(60).u16(0).u64(body.len() as u64).properties(properties);
    bytes.extend(frame(HEADER, CHANNEL, &header.0));
    for chunk in body.chunks(FRAME_MAX) {
        bytes.extend(frame(BODY, CHANNEL, chunk));
    }
    bytes
}

/// The frame that acknowledges one delivery.
pub fn ack(tag: u64) -> Vec<u8> {
    Out::method(60, 80).u64(tag).u8(0).frame(CHANNEL)
}

/// Any frame.
pub fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend((payload.len() as u32).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes.push(FRAME_END);
    bytes
}

fn method_of(payload: &[u8]) -> (u16, u16) {
    let short = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    (short(0), short(2))
}

/// Encodes arguments.
pub struct Out(Vec<u8>);

impl Out {
    pub fn method(class: u16, id: u16) -> Self {
        Self(Vec::new()).u16(class).u16(id)
    }

    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn short(mut self, text: &str) -> Self {
        self.0.push(text.len() as u8);
        self.0.extend(text.bytes());
        self
    }

    pub fn long(self, bytes: &[u8]) -> Self {
        self.u32(bytes.len() as u32).bytes(bytes)
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn table(self, fields: &[(String, Field)]) -> Self {
        let mut inner = Out(Vec::new());
        for (name, field) in fields {
            inner = inner.short(name);
            inner = match field {
                Field::Text(text) => inner.u8(b'S').long(text.as_bytes()),
                Field::Number(number) => inner.u8(b'l').u64(*number as u64),
                Field::Bool(bool) => inner.u8(b't').u8(u8::from(*bool)),
                Field::Other => inner.u8(b'V'),
            };
        }
        self.long(&inner.0)
    }

    pub fn properties(self, properties: &Properties) -> Self {
        let mut flags = 0x1000;
        let mut values = Out(Vec::new());
        if let Some(content_type) = &properties.content_type {
            flags |= 0x8000;
            values = values.short(content_type);
        }
        if !properties.headers.is_empty() {
            flags |= 0x2000;
            values = values.table(&properties.headers);
        }
        values = values.u8(if properties.persistent { 2 } else { 1 });
        if let Some(correlation) = &properties.correlation {
            flags |= 0x0400;
            values = values.short(correlation);
        }
        if let Some(reply_to) = &properties.reply_to {
            flags |= 0x0200;
            values = values.short(reply_to);
        }
        let mut out = self.u16(flags);
        out.0.extend(values.0);
        out
    }

    pub fn frame(self, channel: u16) -> Vec<u8> {
        frame(METHOD, channel, &self.0)
    }
}

/// Decodes arguments.
struct In {
    bytes: Vec<u8>,
    at: usize,
}

impl In {
    fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: usize) -> &[u8] {
        let from = self.at;
        self.at += count;
        &self.bytes[from..self.at]
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u16(&mut self) -> u16 {
        self.take(2).iter().fold(0, |sum, byte| (sum << 8) | u16::from(*byte))
    }

    fn u32(&mut self) -> u32 {
        self.take(4).iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
    }

    fn u64(&mut self) -> u64 {
        self.take(8).iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    fn short(&mut self) -> String {
        let count = usize::from(self.u8());
        String::from_utf8_lossy(self.take(count)).into_owned()
    }

    fn long(&mut self) -> Vec<u8> {
        let count = self.u32() as usize;
        self.take(count).to_vec()
    }

    fn table(&mut self) -> Vec<(String, Field)> {
        let mut inner = In::new(self.long());
        let mut fields = Vec::new();
        while inner.at < inner.bytes.len() {
            let name = inner.short();
            fields.push((name, inner.field()));
        }
        fields
    }

    fn field(&mut self) -> Field {
        let skipped = match self.u8() {
            b'S' => return Field::Text(String::from_utf8_lossy(&self.long()).into_owned()),
            b't' => return Field::Bool(self.u8() != 0),
            b'b' => return Field::Number(i64::from(self.u8() as i8)),
            b'B' => return Field::Number(i64::from(self.u8())),
            b's' => return Field::Number(i64::from(self.u16() as i16)),
            b'u' => return Field::Number(i64::from(self.u16())),
            b'I' => return Field::Number(i64::from(self.u32() as i32)),
            b'i' => return Field::Number(i64::from(self.u32())),
            b'l' | b'T' => return Field::Number(self.u64() as i64),
            b'x' | b'A' | b'F' => self.u32() as usize,
            b'd' => 8,
            b'D' => 5,
            b'f' => 4,
            b'V' => 0,
            other => panic!("field of type {other}"),
        };
        self.take(skipped);
        Field::Other
    }

    fn properties(&mut self) -> Properties {
        let flags = self.u16();
        let has = |bit: u16| flags & (1 << bit) != 0;
        let mut properties = Properties::default();
        if has(15) {
            properties.content_type = Some(self.short());
        }
        if has(14) {
            self.short();
        }
        if has(13) {
            properties.headers = self.table();
        }
        if has(12) {
            properties.persistent = self.u8() == 2;
        }
        if has(11) {
            self.u8();
        }
        if has(10) {
            properties.correlation = Some(self.short());
        }
        if has(9) {
            properties.reply_to = Some(self.short());
        }
        properties
    }
}
