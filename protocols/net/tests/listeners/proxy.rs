//! PROXY headers in front of connections.

use super::stage::{Seen, Stage, drip, rest, take};
use crossdock_net::{AdmissionLimits, ConnectRate};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";

/// A header of version 2 for the client 2001:db8::7, port 80.
fn binary() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x28".to_vec();
    let mut addresses = [0; 40];
    addresses[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    (addresses[15], addresses[33]) = (7, 80);
    header.extend_from_slice(&addresses);
    header
}

/// What the adapter is told of a connection that begins so.
async fn told(stage: &mut Stage, header: &[u8]) -> Seen {
    let mut peer = stage.connect().await;
    peer.write_all(&[header, b"ping"].concat()).await.unwrap();
    assert_eq!(take(&mut peer, 4).await, b"ping");
    stage.seen().await
}

#[tokio::test]
async fn the_header_may_be_cut_anywhere_and_joined_with_what_follows() {
    let mut stage = Stage::new(|spec| spec.proxy = true).await;
    for (header, client) in [(LINE.to_vec(), "192.0.2.7:56324"), (binary(), "[2001:db8::7]:80")] {
        let whole = [&header[..], b"ping"].concat();
        for cut in 0..=whole.len() {
            let mut peer = stage.connect().await;
            peer.write_all(&whole[..cut]).await.unwrap();
            sleep(Duration::from_millis(2)).await;
            peer.write_all(&whole[cut..]).await.unwrap();
            assert_eq!(take(&mut peer, 4).await, b"ping", "cut at {cut}");
            let seen = stage.seen().await;
            assert_eq!((&*seen.peer, seen.loopback), (client, false));
        }
    }
}

#[tokio::test]
async fn only_a_client_that_is_known_to_be_here_counts_as_such() {
    let mut stage = Stage::new(|spec| spec.proxy = true).await;
    let here = told(&mut stage, b"PROXY TCP4 127.0.0.1 127.0.0.1 5 6\r\n").await;
    assert_eq!((&*here.peer, here.loopback), ("127.0.0.1:5", true));
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let seen = told(&mut stage, header).await;
        assert!(seen.peer.starts_with("127.0.0.1:") && !seen.loopback, "{seen:?}");
    }
}

#[tokio::test]
async fn without_a_header_nobody_is_served() {
    let mut stage = Stage::new(|spec| spec.proxy = true).await;
    for bytes in [&b"ping"[..], b"\x16\x03\x01", b"PROXY TCP4 x\r\nping", b"GET / HTTP/1.1\r\n\r\n"]
    {
        let mut peer = stage.connect().await;
        peer.write_all(bytes).await.unwrap();
        let (answer, time) = rest(&mut peer).await;
        assert!(answer.is_empty() && time < Duration::from_secs(1), "{time:?}");
    }
    let mut silent = stage.connect().await;
    let mut slow = stage.connect().await;
    let (silent, slow) = tokio::join!(rest(&mut silent), drip(&mut slow, LINE));
    for time in [silent.1, slow] {
        assert!((4.0..5.5).contains(&time.as_secs_f64()), "{time:?}");
    }
    assert!(stage.is_unseen());
}

#[tokio::test]
async fn limits_are_those_of_the_client_and_not_of_the_load_balancer() {
    let mut stage = Stage::new(|spec| {
        spec.proxy = true;
        spec.limits.replace(AdmissionLimits {
            per_address: Some(2),
            connect_rate: Some(ConnectRate { per_second: 1, burst: 3 }),
            ..spec.limits.limits()
        });
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut peer = stage.connect().await;
        peer.write_all(&[LINE, b"ping"].concat()).await.unwrap();
        assert_eq!(take(&mut peer, 4).await, b"ping");
        stage.seen().await;
        open.push(peer);
    }
    let mut third = stage.connect().await;
    third.write_all(&[LINE, b"ping"].concat()).await.unwrap();
    assert_eq!(rest(&mut third).await.0, b"", "more than two of one client");
    for n in 1..=3 {
        let other = format!("PROXY TCP4 192.0.2.8 10.0.0.1 {n} 443\r\n");
        told(&mut stage, other.as_bytes()).await;
        // Until the listener knows that it is gone.
        sleep(Duration::from_millis(50)).await;
    }
    let mut fourth = stage.connect().await;
    fourth.write_all(b"PROXY TCP4 192.0.2.8 10.0.0.1 9 443\r\nping").await.unwrap();
    assert_eq!(rest(&mut fourth).await.0, b"", "faster than one a second behind a burst of three");
    sleep(Duration::from_millis(1100)).await;
    told(&mut stage, b"PROXY TCP4 192.0.2.8 10.0.0.1 9 443\r\n").await;
    for _ in 0..5 {
        let here = told(&mut stage, b"PROXY TCP4 127.0.0.1 127.0.0.1 5 6\r\n").await;
        assert!(here.loopback);
    }
}
