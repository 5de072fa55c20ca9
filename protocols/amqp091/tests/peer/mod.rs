//! A client for tests, as text: `name key=value …` ⇄ frames. It has its own table of methods, written from the
//! specification, so that a mistake of the adapter's codec does not cancel out. Not a client for anything else.

// Each test binary uses a part of it.
#![allow(dead_code)]

pub mod methods;
pub mod stage;
mod text;

pub use text::{Arguments, arguments, matches, show};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crossdock_amqp091::codec::properties::Properties;
use crossdock_amqp091::codec::{table, wire};
use crossdock_core::{Name, Value};
use methods::{Kind, method_named, method_numbered};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

/// How long an expected answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// One connection to the adapter.
pub struct Peer {
    socket: DuplexStream,
    input: BytesMut,
    output: BytesMut,
    pub frame_max: usize,
}

/// What came.
#[derive(Debug)]
pub struct Got {
    pub channel: u16,
    pub name: String,
    pub arguments: Arguments,
}

impl Peer {
    pub fn new(socket: DuplexStream) -> Self {
        Self { socket, input: BytesMut::new(), output: BytesMut::new(), frame_max: 131_072 }
    }

    /// Queues raw octets.
    pub fn put_raw(&mut self, bytes: &[u8]) {
        self.output.put_slice(bytes);
    }

    /// Queues a method or, by the name `content`, a header and a body.
    pub fn put(&mut self, channel: u16, name: &str, arguments: &Arguments) -> Result<(), String> {
        match name {
            "content" => self.put_content(channel, arguments),
            "content-header" => self.put_header(channel, arguments),
            "content-body" => {
                let body = octets(arguments.get("body").unwrap_or(&Value::Null));
                self.put_body(channel, &body);
                Ok(())
            }
            "heartbeat" => {
                self.put_frame(8, 0, &[]);
                Ok(())
            }
            _ => self.put_method(channel, name, arguments),
        }
    }

    fn put_method(
        &mut self,
        channel: u16,
        name: &str,
        arguments: &Arguments,
    ) -> Result<(), String> {
        let method = method_named(name).ok_or_else(|| format!("no method '{name}'"))?;
        let mut payload = BytesMut::new();
        payload.put_u16(method.class);
        payload.put_u16(method.method);
        let mut bits: Option<(u8, u8)> = None;
        for (field, kind) in &method.fields {
            let value = arguments.get(field).cloned().unwrap_or(Value::Null);
            if *kind == Kind::Bit {
                let (octet, n) = bits.unwrap_or((0, 0));
                bits = Some((octet | (u8::from(value == Value::Bool(true)) << n), n + 1));
                continue;
            }
            if let Some((octet, _)) = bits.take() {
                payload.put_u8(octet);
            }
            put_field(&mut payload, *kind, &value)?;
        }
        if let Some((octet, _)) = bits {
            payload.put_u8(octet);
        }
        arguments.all_known(|name| method.fields.iter().any(|(field, _)| *field == name))?;
        self.put_frame(1, channel, &payload);
        Ok(())
    }

    pub fn put_frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        self.output.put_u8(kind);
        self.output.put_u16(channel);
        self.output.put_u32(u32::try_from(payload.len()).expect("small"));
        self.output.put_slice(payload);
        self.output.put_u8(0xCE);
    }

    fn put_content(&mut self, channel: u16, arguments: &Arguments) -> Result<(), String> {
        let body = match arguments.number("fill") {
            Some(size) => vec![b'x'; usize::try_from(size).expect("small")],
            None => octets(arguments.get("body").unwrap_or(&Value::Null)),
        };
        let size = i64::try_from(body.len()).expect("small");
        self.put_header(channel, &arguments.with("body-size", Value::I64(size)))?;
        for piece in body.chunks(self.frame_max - 8) {
            self.put_body(channel, piece);
        }
        Ok(())
    }

    fn put_body(&mut self, channel: u16, piece: &[u8]) {
        self.put_frame(3, channel, piece);
    }

    fn put_header(&mut self, channel: u16, arguments: &Arguments) -> Result<(), String> {
        const TEXTS: [&str; 9] = [
            "content-type",
            "content-encoding",
            "correlation-id",
            "reply-to",
            "expiration",
            "message-id",
            "type",
            "user-id",
            "app-id",
        ];
        const REST: [&str; 8] = [
            "headers",
            "delivery-mode",
            "priority",
            "timestamp",
            "body",
            "body-size",
            "fill",
            "class",
        ];
        arguments.all_known(|name| TEXTS.contains(&name) || REST.contains(&name))?;
        let texts = TEXTS.map(|name| arguments.get(name).map(octets));
        let headers = arguments.get("headers").map(|value| {
            let mut out = BytesMut::new();
            table::put_table(&mut out, pairs(value));
            out.split_off(4)
        });
        let octet = |name| arguments.number(name).and_then(|n| u8::try_from(n).ok());
        let text = |n: usize| texts[n].as_deref();
        let properties = Properties {
            content_type: text(0),
            content_encoding: text(1),
            headers: headers.as_deref(),
            delivery_mode: octet("delivery-mode"),
            priority: octet("priority"),
            correlation_id: text(2),
            reply_to: text(3),
            expiration: text(4),
            message_id: text(5),
            timestamp: arguments.number("timestamp").and_then(|n| u64::try_from(n).ok()),
            kind: text(6),
            user_id: text(7),
            app_id: text(8),
            cluster_id: None,
        };
        let mut payload = BytesMut::new();
        let class = arguments.number("class").unwrap_or(60);
        payload.put_u16(u16::try_from(class).expect("small"));
        payload.put_u16(0);
        payload.put_i64(arguments.number("body-size").unwrap_or(0));
        payload.put_slice(&properties.encode());
        self.put_frame(2, channel, &payload);
        Ok(())
    }

    /// Writes what was queued, in one go.
    pub async fn flush(&mut self) -> Result<(), String> {
        let bytes = self.output.split();
        let written = timeout(PATIENCE, self.socket.write_all(&bytes)).await;
        written.map_err(|_| "the adapter does not read".to_owned())?.map_err(|e| e.to_string())
    }

    /// Sends nothing more, and goes on reading.
    pub async fn shut_down(&mut self) -> Result<(), String> {
        self.socket.shutdown().await.map_err(|e| e.to_string())
    }

    /// The two directions of the socket, for tests that do not care for frames.
    pub fn into_socket(self) -> DuplexStream {
        self.socket
    }

    /// Reads once; false at the end of the stream.
    async fn read(&mut self, patience: Duration) -> Result<bool, String> {
        let read = timeout(patience, self.socket.read_buf(&mut self.input)).await;
        let read = read.map_err(|_| "nothing came".to_owned())?;
        Ok(read.map_err(|e| e.to_string())? > 0)
    }

    /// The next octets.
    pub async fn get_raw(&mut self, n: usize) -> Result<Bytes, String> {
        while self.input.len() < n {
            if !self.read(PATIENCE).await? {
                return Err(format!("the stream ended with {:?}", self.input));
            }
        }
        Ok(self.input.split_to(n).freeze())
    }

    /// Nothing but the end of the stream is left.
    pub async fn get_eof(&mut self) -> Result<(), String> {
        while self.input.is_empty() {
            if !self.read(PATIENCE).await? {
                return Ok(());
            }
        }
        Err(format!("{:?} instead of the end", self.input))
    }

    /// No frame comes for this time.
    pub async fn get_nothing(&mut self, patience: Duration) -> Result<(), String> {
        match self.input.is_empty() && self.read(patience).await.is_err() {
            true => Ok(()),
            false => Err(format!("something came: {:?}", self.next().await)),
        }
    }

    /// The next frame but heartbeats; a header and its body come as one `content`.
    pub async fn next(&mut self) -> Result<Got, String> {
        loop {
            let (kind, channel, payload) = self.next_frame().await?;
            match kind {
                8 => {}
                1 => return decode_method(channel, payload),
                2 => return self.content(channel, payload).await,
                kind => return Err(format!("a frame of type {kind}")),
            }
        }
    }

    async fn next_frame(&mut self) -> Result<(u8, u16, Bytes), String> {
        let mut head = self.get_raw(7).await?;
        let (kind, channel, size) = (head.get_u8(), head.get_u16(), head.get_u32());
        let size = usize::try_from(size).expect("small");
        if size + 8 > self.frame_max {
            return Err(format!("a frame of {size} octets"));
        }
        let mut payload = self.get_raw(size + 1).await?;
        match payload.split_off(size)[..] {
            [0xCE] => Ok((kind, channel, payload)),
            _ => Err("the end octet is missing".into()),
        }
    }

    async fn content(&mut self, channel: u16, mut payload: Bytes) -> Result<Got, String> {
        payload.advance(4);
        let size = usize::try_from(payload.get_u64()).expect("small");
        let mut body = Vec::new();
        while body.len() < size {
            match self.next_frame().await? {
                (3, c, piece) if c == channel => body.extend_from_slice(&piece),
                other => return Err(format!("{other:?} instead of a body")),
            }
        }
        let properties = Properties::decode(&payload).map_err(|e| e.to_string())?;
        let mut arguments = content_arguments(&properties)?;
        arguments.set("fill", Value::I64(i64::try_from(body.len()).expect("small")));
        arguments.set("body", text_or_bytes(&body));
        Ok(Got { channel, name: "content".into(), arguments })
    }
}

fn content_arguments(p: &Properties<'_>) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    for (name, value) in [
        ("content-type", p.content_type),
        ("content-encoding", p.content_encoding),
        ("correlation-id", p.correlation_id),
        ("reply-to", p.reply_to),
        ("expiration", p.expiration),
        ("message-id", p.message_id),
        ("type", p.kind),
        ("user-id", p.user_id),
        ("app-id", p.app_id),
    ] {
        arguments.set(name, value.map_or(Value::Null, text_or_bytes));
    }
    let octet = |n: Option<u8>| n.map_or(Value::Null, Value::U8);
    arguments.set("delivery-mode", octet(p.delivery_mode));
    arguments.set("priority", octet(p.priority));
    arguments.set("timestamp", p.timestamp.map_or(Value::Null, Value::U64));
    let headers = p.headers.map(table::decode).transpose().map_err(|e| e.to_string())?;
    arguments.set("headers", headers.map_or(Value::Null, Value::Map));
    Ok(arguments)
}

fn decode_method(channel: u16, mut payload: Bytes) -> Result<Got, String> {
    let id = (payload.get_u16(), payload.get_u16());
    let method = method_numbered(id).ok_or_else(|| format!("no method {id:?}"))?;
    let mut reader = wire::Reader::new(&payload);
    let mut arguments = Arguments::default();
    let mut bits: Option<(u8, u8)> = None;
    for (field, kind) in &method.fields {
        let value = match kind {
            Kind::Bit => {
                let (octet, n) = match bits {
                    Some(bits) => bits,
                    None => (reader.u8().map_err(|e| e.to_string())?, 0),
                };
                bits = Some((octet, n + 1));
                Value::Bool(octet & (1 << n) != 0)
            }
            kind => {
                bits = None;
                get_field(&mut reader, *kind).map_err(|e| format!("{field}: {e}"))?
            }
        };
        arguments.set(field, value);
    }
    match reader.is_empty() {
        true => Ok(Got { channel, name: method.name.clone(), arguments }),
        false => Err(format!("{}: {} octets too many", method.name, reader.rest().len())),
    }
}

fn get_field(reader: &mut wire::Reader<'_>, kind: Kind) -> Result<Value, wire::Malformed> {
    Ok(match kind {
        Kind::Octet => Value::U8(reader.u8()?),
        Kind::Short => Value::U16(reader.u16()?),
        Kind::Long => Value::U32(reader.u32()?),
        Kind::LongLong => Value::U64(reader.u64()?),
        Kind::ShortStr => text_or_bytes(reader.short()?),
        Kind::LongStr => text_or_bytes(reader.long()?),
        Kind::Table => Value::Map(table::decode(reader.long()?)?),
        Kind::Bit => return Err(wire::Malformed),
    })
}

fn put_field(out: &mut BytesMut, kind: Kind, value: &Value) -> Result<(), String> {
    let number = value.as_i64().unwrap_or(0);
    let wrong = |_| format!("{value:?} does not fit {kind:?}");
    match kind {
        Kind::Octet => out.put_u8(u8::try_from(number).map_err(wrong)?),
        Kind::Short => out.put_u16(u16::try_from(number).map_err(wrong)?),
        Kind::Long => out.put_u32(u32::try_from(number).map_err(wrong)?),
        Kind::LongLong => out.put_u64(u64::try_from(number).map_err(wrong)?),
        Kind::ShortStr => wire::put_short(out, &octets(value)),
        Kind::LongStr => wire::put_long(out, &octets(value)),
        Kind::Table => table::put_table(out, pairs(value)),
        Kind::Bit => {}
    }
    Ok(())
}

fn pairs(value: &Value) -> &[(Name, Value)] {
    match value {
        Value::Map(pairs) => pairs,
        _ => &[],
    }
}

/// The octets of text or bytes; numbers as they are written.
pub fn octets(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::Bytes(bytes) => bytes.to_vec(),
        other => match other.as_str() {
            Some(text) => text.as_bytes().to_vec(),
            None => show(other).into_bytes(),
        },
    }
}

fn text_or_bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::text(text),
        Err(_) => Value::Bytes(Bytes::copy_from_slice(bytes)),
    }
}
