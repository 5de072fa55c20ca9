//! The part of AMQP 0-9-1 that the gate needs.

use crate::house::{self, House};
use crate::pipe::Pipe;
use anyhow::Result;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
    out.push(0xce);
    out
}

fn method(channel: u16, class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
    let mut payload = class.to_be_bytes().to_vec();
    payload.extend_from_slice(&method.to_be_bytes());
    payload.extend_from_slice(arguments);
    frame(METHOD, channel, &payload)
}

fn short(text: &str) -> Vec<u8> {
    let mut out = vec![text.len() as u8];
    out.extend_from_slice(text.as_bytes());
    out
}

/// Sends one method and waits for the answer with this id.
async fn ask(
    pipe: &mut Pipe,
    (class, number, answer): (u16, u16, u16),
    arguments: &[u8],
) -> Result<()> {
    pipe.write(&method(1, class, number, arguments)).await?;
    let mut wanted = class.to_be_bytes().to_vec();
    wanted.extend_from_slice(&answer.to_be_bytes());
    pipe.expect(&wanted).await?;
    pipe.expect(&[0xce]).await
}

/// The handshake and channel 1.
pub async fn connect(house: &House) -> Result<Pipe> {
    let mut pipe = house.connect(house::amqp());
    pipe.write(b"AMQP\0\0\x09\x01").await?;
    pipe.expect(b"en_US\xce").await?;
    let login = b"\0guest\0guest";
    let mut arguments = vec![0, 0, 0, 0];
    arguments.extend(short("PLAIN"));
    arguments.extend_from_slice(&(login.len() as u32).to_be_bytes());
    arguments.extend_from_slice(login);
    arguments.extend(short("en_US"));
    pipe.write(&method(0, 10, 11, &arguments)).await?;
    pipe.expect(&[0, 10, 0, 30]).await?;
    pipe.expect(&[0xce]).await?;
    // channel-max 0, frame-max 131,072, no heartbeat.
    pipe.write(&method(0, 10, 31, &[0, 0, 0, 2, 0, 0, 0, 0])).await?;
    let mut open = short("/");
    open.extend_from_slice(&[0, 0]);
    pipe.write(&method(0, 10, 40, &open)).await?;
    pipe.expect(&[0, 10, 0, 41]).await?;
    pipe.expect(&[0xce]).await?;
    ask(&mut pipe, (20, 10, 11), &[0]).await?;
    Ok(pipe)
}

/// confirm.select.
pub async fn confirm(pipe: &mut Pipe) -> Result<()> {
    ask(pipe, (85, 10, 11), &[0]).await
}

/// queue.declare.
pub async fn declare(pipe: &mut Pipe, queue: &str, durable: bool) -> Result<()> {
    let mut arguments = vec![0, 0];
    arguments.extend(short(queue));
    arguments.push(u8::from(durable) << 1);
    arguments.extend_from_slice(&[0; 4]);
    ask(pipe, (50, 10, 11), &arguments).await
}

/// A field table of long strings.
fn table(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut entries = Vec::new();
    for (name, value) in fields {
        entries.extend(short(name));
        entries.push(b'S');
        entries.extend_from_slice(&(value.len() as u32).to_be_bytes());
        entries.extend_from_slice(value.as_bytes());
    }
    let mut out = (entries.len() as u32).to_be_bytes().to_vec();
    out.extend(entries);
    out
}

/// queue.bind.
pub async fn bind(pipe: &mut Pipe, queue: &str, exchange: &str, key: &str) -> Result<()> {
    bind_with(pipe, [queue, exchange, key], &[]).await
}

/// queue.bind to a headers exchange.
pub async fn bind_headers(
    pipe: &mut Pipe,
    queue: &str,
    exchange: &str,
    wanted: &[(&str, &str)],
) -> Result<()> {
    bind_with(pipe, [queue, exchange, ""], wanted).await
}

async fn bind_with(pipe: &mut Pipe, names: [&str; 3], fields: &[(&str, &str)]) -> Result<()> {
    let mut arguments = vec![0, 0];
    names.iter().for_each(|text| arguments.extend(short(text)));
    arguments.push(0);
    arguments.extend(table(fields));
    ask(pipe, (50, 20, 21), &arguments).await
}

/// basic.consume, to be acknowledged.
pub async fn consume(pipe: &mut Pipe, queue: &str) -> Result<()> {
    let mut arguments = vec![0, 0];
    arguments.extend(short(queue));
    arguments.extend(short("c"));
    arguments.push(0);
    arguments.extend_from_slice(&[0; 4]);
    ask(pipe, (60, 20, 21), &arguments).await
}

/// basic.publish with its header and body.
pub fn publish(exchange: &str, key: &str, durable: bool, body: &[u8]) -> Vec<u8> {
    // delivery-mode
    content(exchange, key, &[0x10, 0, if durable { 2 } else { 1 }], body)
}

/// The same for a transient message with headers.
pub fn publish_with_headers(
    exchange: &str,
    key: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Vec<u8> {
    // headers and delivery-mode
    let mut properties = vec![0x30, 0];
    properties.extend(table(headers));
    properties.push(1);
    content(exchange, key, &properties, body)
}

fn content(exchange: &str, key: &str, properties: &[u8], body: &[u8]) -> Vec<u8> {
    let mut arguments = vec![0, 0];
    arguments.extend(short(exchange));
    arguments.extend(short(key));
    arguments.push(0);
    let mut out = method(1, 60, 40, &arguments);
    let mut header = vec![0, 60, 0, 0];
    header.extend_from_slice(&(body.len() as u64).to_be_bytes());
    header.extend_from_slice(properties);
    out.extend(frame(HEADER, 1, &header));
    out.extend(frame(BODY, 1, body));
    out
}

/// One basic.ack for all deliveries up to this tag.
pub fn ack(_: u64, to: u64) -> Vec<u8> {
    let mut arguments = to.to_be_bytes().to_vec();
    arguments.push(1);
    method(1, 60, 80, &arguments)
}
