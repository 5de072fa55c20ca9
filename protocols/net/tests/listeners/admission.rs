//! How many connections a listener takes.

use super::stage::{Stage, rest, take};
use crossdock_net::{AdmissionLimits, ConnectRate};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let stage = Stage::new(|spec| spec.limits.replace(AdmissionLimits::connections(2))).await;
    let (first, second) = (stage.connect().await, stage.connect().await);
    sleep(Duration::from_millis(50)).await;
    let (answer, time) = rest(&mut stage.connect().await).await;
    assert!(answer.is_empty() && time < Duration::from_secs(1), "{time:?}");
    drop(first);
    sleep(Duration::from_millis(50)).await;
    let mut third = stage.connect().await;
    third.write_all(b"m").await.unwrap();
    assert_eq!(take(&mut third, 1).await, b"m");
    drop(second);
}

#[tokio::test]
async fn limits_of_addresses_do_not_hold_on_this_machine() {
    let stage = Stage::new(|spec| {
        spec.limits.replace(AdmissionLimits {
            per_address: Some(1),
            connect_rate: Some(ConnectRate { per_second: 1, burst: 1 }),
            ..spec.limits.limits()
        });
    })
    .await;
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut peer = stage.connect().await;
        peer.write_all(b"m").await.unwrap();
        assert_eq!(take(&mut peer, 1).await, b"m");
        open.push(peer);
    }
}
