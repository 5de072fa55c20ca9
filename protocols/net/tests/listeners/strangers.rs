//! Peers at the wrong port, and peers that take their time.

use super::stage::{Stage, drip, rest, take};
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03";

#[tokio::test]
async fn tls_and_http_at_a_plain_port_do_not_reach_the_adapter() {
    for names in [&["mqtt"][..], &["mqtt", "stomp"]] {
        let mut stage = Stage::with(names, &["127.0.0.1:0"], |_| ()).await;
        let mut peer = stage.connect().await;
        peer.write_all(CLIENT_HELLO).await.unwrap();
        assert_eq!(rest(&mut peer).await.0, b"");
        for method in ["GET", "POST", "HEAD", "OPTIONS", "PRI"] {
            let mut peer = stage.connect().await;
            let request = format!("{method} /index HTTP/1.1\r\nHost: a\r\n\r\n");
            peer.write_all(request.as_bytes()).await.unwrap();
            let (answer, time) = rest(&mut peer).await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
            assert!(answer.ends_with("not HTTP.\n") && answer.contains("mqtt"), "{answer}");
            // The peer still has its side open.
            assert!(time < Duration::from_secs(3), "{time:?}");
        }
        assert!(stage.is_unseen());
    }
}

#[tokio::test]
async fn a_beginning_may_come_in_pieces() {
    let mut stage = Stage::with(&["GREAT", "stomp"], &["127.0.0.1:0"], |_| ()).await;
    let mut peer = stage.connect().await;
    for byte in b"GREETINGS" {
        peer.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(take(&mut peer, 9).await, b"GREETINGS");
    assert_eq!(stage.seen().await.protocol, "GREAT");
}

#[tokio::test]
async fn first_bytes_of_no_protocol_end_a_connection_at_a_shared_port() {
    let mut stage = Stage::with(&["mqtt", "stomp"], &["127.0.0.1:0"], |_| ()).await;
    let mut peer = stage.connect().await;
    peer.write_all(b"amqp").await.unwrap();
    assert_eq!(rest(&mut peer).await.0, b"");
    assert!(stage.is_unseen());
}

#[tokio::test]
async fn a_protocol_whose_server_speaks_first_may_do_so() {
    let stage = Stage::with(&["greeter"], &["127.0.0.1:0"], |_| ()).await;
    let mut peer = stage.connect().await;
    assert_eq!(take(&mut peer, 5).await, b"hello");
}

#[tokio::test]
async fn whoever_does_not_begin_is_closed_after_ten_seconds() {
    let mut stage = Stage::with(&["mqtt", "stomp"], &["127.0.0.1:0"], |_| ()).await;
    let (mut silent, mut slow) = (stage.connect().await, stage.connect().await);
    let silence = async { rest(&mut silent).await.1 };
    // Nothing tells a GET from a protocol that begins with G before its fourth byte.
    let slow = async {
        let _ = slow.write_all(b"GE").await;
        rest(&mut slow).await.1
    };
    let (silence, slow) = tokio::join!(silence, slow);
    for time in [silence, slow] {
        assert!((9.0..10.5).contains(&time.as_secs_f64()), "{time:?}");
    }
    assert!(stage.is_unseen());
}

#[tokio::test]
async fn a_byte_each_second_is_too_slow_for_a_request() {
    let stage = Stage::new(|spec| {
        spec.transport = crossdock_net::Transport::WebSocket { origins: Vec::new() };
    })
    .await;
    let time = drip(&mut stage.connect().await, b"GET /mqtt HTTP/1.1").await;
    assert!((9.0..10.5).contains(&time.as_secs_f64()), "{time:?}");
}
