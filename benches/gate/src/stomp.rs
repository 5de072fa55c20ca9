//! The part of STOMP 1.2 that the gate needs.

use crate::house::{self, House};
use crate::pipe::Pipe;
use anyhow::Result;

/// CONNECT, and CONNECTED.
pub async fn connect(house: &House) -> Result<Pipe> {
    let mut pipe = house.connect(house::stomp());
    pipe.write(b"CONNECT\naccept-version:1.2\nhost:/\n\n\0").await?;
    pipe.expect(b"\0").await?;
    Ok(pipe)
}

/// SUBSCRIBE with its receipt.
pub async fn subscribe(pipe: &mut Pipe, destination: &str) -> Result<()> {
    let frame = format!("SUBSCRIBE\nid:0\ndestination:{destination}\nreceipt:r\n\n\0");
    pipe.write(frame.as_bytes()).await?;
    pipe.expect(b"receipt-id:r").await?;
    pipe.expect(b"\0").await
}

/// SEND.
pub fn send(destination: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("SEND\ndestination:{destination}\ncontent-length:{length}\n\n");
    [head.as_bytes(), body, b"\0"].concat()
}
