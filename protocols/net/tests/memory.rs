//! What peers make the process hold before they log in. A test binary of its own, for memory is the process's.

mod stage;

use crossdock_net::Transport;
use crossdock_net::tls::{
    ClientCertificate, TlsHandle, TlsSettings, TlsVersion, load, self_signed,
};
use stage::Stage;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Peers at a time.
const PEERS: usize = 200;
/// What all of them may take, in bytes: the process holds both ends of each connection.
const GROWTH_MAX: usize = 32 << 20;

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

/// By how many bytes memory grows while so many peers have sent this and wait.
async fn growth(stage: &Stage, sent: &[u8]) -> usize {
    let before = resident();
    let mut peers: Vec<TcpStream> = Vec::new();
    for _ in 0..PEERS {
        let mut peer = stage.connect().await;
        for part in sent.chunks(3000) {
            peer.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        peers.push(peer);
    }
    sleep(Duration::from_millis(300)).await;
    resident().saturating_sub(before)
}

#[tokio::test]
async fn two_hundred_peers_that_do_not_log_in_take_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let files = self_signed(&dir.path().join("tls")).unwrap();
    let settings = TlsSettings {
        certificate: files.server,
        key: files.server_key,
        client_ca: None,
        client_certificate: ClientCertificate::Off,
        min_version: TlsVersion::V1_2,
        alpn: Vec::new(),
    };
    let handle = TlsHandle::new(load(&settings).unwrap());
    let secure = Stage::new(|spec| spec.tls = Some(handle)).await;
    let proxied = Stage::new(|spec| spec.proxy = true).await;
    let web = Stage::new(|spec| {
        spec.transport = Transport::WebSocket { origins: Vec::new() };
    })
    .await;
    // A handshake message that announces 60,000 bytes and sends all but the last, in records of 16 KiB.
    let mut hello = Vec::new();
    for (index, part) in [vec![b'x'; 60_000]].concat().chunks(16 << 10).enumerate() {
        let front: &[u8] = if index == 0 { b"\x01\0\xea\x61" } else { b"" };
        let length = (part.len() + front.len()) as u16;
        hello.extend_from_slice(b"\x16\x03\x01");
        hello.extend_from_slice(&length.to_be_bytes());
        hello.extend_from_slice(front);
        hello.extend_from_slice(part);
    }
    let header = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x12\x00"[..], &[0; 4000]].concat();
    let request = [&b"GET /mqtt HTTP/1.1\r\nX: "[..], &[b'x'; 16_000]].concat();
    let plain = Stage::with(&["GE", "stomp"], &["127.0.0.1:0"], |_| ()).await;
    for (stage, name, sent) in [
        // What takes more comes later: freed memory is used again, and would not show.
        (&plain, "first bytes", &b"G"[..]),
        (&proxied, "PROXY header", &header),
        (&web, "WebSocket request", &request),
        (&secure, "handshake", &hello),
    ] {
        let grown = growth(stage, sent).await;
        println!("{name}: {grown} bytes");
        assert!(grown <= GROWTH_MAX, "{name}: {grown} bytes");
    }
}
