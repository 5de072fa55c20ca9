//! Addresses of a listener, and its end.

use super::stage::{Stage, rest, take};
use crossdock_net::{AdmissionLimits, ListenerSpec, bind};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

#[tokio::test]
async fn ipv4_and_ipv6_share_a_port_and_every_address_is_served() {
    // A port that is free in both families; another process may take it in between.
    let mut stage = loop {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let both = [format!("0.0.0.0:{free}"), format!("[::]:{free}"), "127.0.0.2:0".into()];
        let spec = ListenerSpec::tcp("probe".into(), Vec::new(), AdmissionLimits::connections(1));
        if bind(spec, &both).await.is_ok() {
            let both: Vec<&str> = both.iter().map(String::as_str).collect();
            break Stage::with(&["mqtt"], &both, |_| ()).await;
        }
    };
    let (port, third) = (stage.addresses[0].port(), stage.addresses[2]);
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}"), third.to_string()] {
        let mut peer = TcpStream::connect(&address).await.expect("listens");
        peer.write_all(b"hi").await.unwrap();
        assert_eq!(take(&mut peer, 2).await, b"hi");
        let seen = stage.seen().await;
        assert!(seen.loopback && !seen.secure && seen.certificate.is_none(), "{seen:?}");
        assert_eq!(seen.peer, peer.local_addr().unwrap().to_string());
    }
}

/// The system looks after a peer that says nothing: the timer of its socket is that of keep-alive, number 2 in
/// `tcp(5)`'s table.
#[tokio::test]
async fn every_connection_is_kept_alive_by_the_system() {
    let mut stage = Stage::new(|_| ()).await;
    let mut peer = stage.connect().await;
    peer.write_all(b"hi").await.unwrap();
    assert_eq!(take(&mut peer, 2).await, b"hi");
    stage.seen().await;
    let port = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let (near, far) = (port(peer.peer_addr().unwrap()), port(peer.local_addr().unwrap()));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a Linux kernel");
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row[1].ends_with(&near) && row[2].ends_with(&far));
    let row = row.expect("the broker's side of the connection");
    assert!(row[5].starts_with("02:"), "{row:?}");
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let spec = ListenerSpec::tcp("test".into(), Vec::new(), AdmissionLimits::connections(1));
    let refused = bind(spec, &["127.0.0.1:0".into(), taken.clone()]).await.err().unwrap();
    assert_eq!(refused.address, taken);
    assert!(refused.to_string().starts_with(&format!("cannot bind {taken}: ")), "{refused}");
}

#[tokio::test]
async fn the_drain_ends_connections_that_have_said_nothing() {
    let stage = Stage::new(|_| ()).await;
    let mut silent = stage.connect().await;
    let mut talking = stage.connect().await;
    talking.write_all(b"m").await.unwrap();
    assert_eq!(take(&mut talking, 1).await, b"m");
    stage.stop.send_replace(true);
    assert_eq!(rest(&mut silent).await.0, b"");
    assert_eq!(rest(&mut talking).await.0, b"");
    timeout(Duration::from_secs(5), stage.served).await.expect("ends").unwrap();
}
