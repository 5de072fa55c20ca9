//! The same clients over a WebSocket (RFC 6455): bytes of the client go through a listener on a real socket, in frames
//! that are cut anywhere.

use super::Client;
use crossdock_core::{Broker, Drain, Protocol};
use crossdock_mqtt::{Mqtt, Options};
use crossdock_net::{AdmissionLimits, ListenerSpec, Live, Transport, bind, serve};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, split};
use tokio::net::TcpStream;

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
/// The last frame of a message, of bytes.
const BINARY: u8 = 0x82;
/// Bytes of one frame, one after the other: packets are cut, and come together.
const CUTS: [usize; 4] = [1, 7, 125, 3_000];

/// A connection that has said nothing yet.
pub fn connect(broker: &Broker, options: Options, drain: &Drain, v5: bool) -> Client {
    let (near, far) = tokio::io::duplex(1 << 18);
    let (broker, drain) = (broker.clone(), drain.clone());
    tokio::spawn(async move {
        let protocol: Arc<dyn Protocol> = Arc::new(Mqtt { options: Live::new(options) });
        let limits = AdmissionLimits::connections(10);
        let transport = Transport::WebSocket { origins: Vec::new() };
        let tcp = ListenerSpec::tcp("mqtt".into(), vec![protocol], limits);
        let spec = ListenerSpec { transport, ..tcp };
        let listener = bind(spec, &["127.0.0.1:0".into()]).await.expect("a free port");
        let address = listener.addresses().expect("bound")[0];
        tokio::spawn(serve(listener, broker, drain));
        carry(address, far).await;
    });
    Client { socket: near, unread: Vec::new(), v5 }
}

/// Carries bytes both ways until one side ends.
async fn carry(address: SocketAddr, client: DuplexStream) {
    let mut socket = TcpStream::connect(address).await.expect("it listens");
    let request = format!(
        "GET /mqtt HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: mqtt\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.expect("it reads");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    let ((from_client, to_client), (from_broker, to_broker)) = (split(client), socket.into_split());
    tokio::select! {
        () = up(from_client, to_broker) => {}
        () = down(from_broker, to_client) => {}
    }
}

async fn up(mut client: ReadHalf<DuplexStream>, mut broker: impl AsyncWriteExt + Unpin) {
    let mut bytes = vec![0; 8_192];
    let mut cuts = CUTS.iter().cycle();
    while let Ok(count @ 1..) = client.read(&mut bytes).await {
        let mut rest = &bytes[..count];
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let cut = cuts.next().map_or(1, |cut| *cut).min(rest.len());
            let (payload, behind) = rest.split_at(cut);
            frames.push(BINARY);
            match payload.len() {
                short @ 0..126 => frames.push(0x80 | short as u8),
                long => {
                    frames.push(0x80 | 126);
                    frames.extend((long as u16).to_be_bytes());
                }
            }
            frames.extend(MASK);
            frames.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
            rest = behind;
        }
        if broker.write_all(&frames).await.is_err() {
            // What it said last is read by the other half.
            std::future::pending::<()>().await;
        }
    }
}

async fn down(mut broker: impl AsyncReadExt + Unpin, mut client: WriteHalf<DuplexStream>) {
    while let Ok(first) = broker.read_u8().await {
        let length = match broker.read_u8().await {
            Ok(126) => broker.read_u16().await.map(usize::from),
            Ok(127) => broker.read_u64().await.map(|length| length as usize),
            Ok(short) => Ok(usize::from(short)),
            Err(error) => Err(error),
        };
        let Ok(length) = length else { return };
        let mut payload = vec![0; length];
        if broker.read_exact(&mut payload).await.is_err() {
            return;
        }
        match first & 0x0F {
            0..=2 if client.write_all(&payload).await.is_ok() => {}
            _ => return,
        }
    }
}
