//! Protocols of plugins: good ones, and those that break the contract.

use super::*;
use crossdock_core::ErrorKind;
use crossdock_core::dialog::{Delivered, Happened, Speaker, Wish};
use crossdock_loader::load;
use std::sync::Arc;

fn speaker(name: &str) -> (crossdock_loader::Loaded, Arc<dyn Speaker>) {
    let loaded = load(&hasty(sample(name))).expect("loads");
    let speaker = loaded.speaker().expect("it speaks").clone();
    (loaded, speaker)
}

fn bytes(text: &'static str) -> Vec<Happened> {
    vec![Happened::Bytes(text.as_bytes().into())]
}

fn write(text: &'static str) -> Wish {
    Wish::Write(text.as_bytes().into())
}

#[tokio::test]
async fn a_protocol_says_what_it_wishes() {
    let (loaded, speaker) = speaker("line-protocol");
    assert_eq!(speaker.name(), "lines");
    assert_eq!(loaded.look().brings, ["protocol:lines"]);
    let mut dialog = speaker.open("127.0.0.1:5").await.expect("opened");
    let mut said = async |happened| {
        let (wishes, result) = dialog.turn(happened).await;
        result.expect("goes on");
        wishes
    };
    assert_eq!(said(bytes("LOG")).await, []);
    let login = Wish::LogIn { user: "me".into(), password: "my secret".as_bytes().into() };
    assert_eq!(said(bytes("IN me my secret\nPUB topic:a/b hel")).await, [login]);
    assert_eq!(said(vec![Happened::LoggedIn(Ok(()))]).await, [write("OK\n")]);
    let (token, durable) = (1, true);
    let publish =
        Wish::Publish { token, address: "topic:a/b".into(), body: "hello".into(), durable };
    assert_eq!(said(bytes("lo\n")).await, [publish]);
    let subscribe = Wish::Subscribe { token: 2, address: "queue:q".into(), settles: true };
    assert_eq!(said(bytes("GET queue:q\nWHAT\n")).await, [subscribe]);
    // Answers come in the order of the lines.
    assert_eq!(said(vec![Happened::Subscribed(2, Ok(()))]).await, []);
    let refused = crossdock_core::Error::new(ErrorKind::Full, "no room");
    let answers = [write("ERR no room\n"), write("OK\n"), write("ERR 'WHAT' is no word\n")];
    assert_eq!(said(vec![Happened::Published(1, Err(refused))]).await, answers);
    let delivered = Happened::Delivered(Delivered {
        subscription: 2,
        delivery: 7,
        address: "queue:q".into(),
        body: "two\nlines".into(),
        redelivered: false,
    });
    assert_eq!(said(vec![delivered]).await, [write("MSG 7 queue:q two\\nlines\n")]);
    let settle = Wish::Settle { delivery: 7, how: crossdock_core::dialog::Settled::Returned };
    assert_eq!(said(bytes("NACK 7\n")).await, [settle, write("OK\n")]);
    assert_eq!(said(bytes("QUIT\nPUB x y\n")).await, [write("OK\n"), Wish::Close]);
}

#[tokio::test]
async fn a_refusal_ends_one_connection_only() {
    let (loaded, speaker) = speaker("misspeak");
    for (text, why) in [("refuse", "refused"), ("flood", "wishes more in one turn than 10000")] {
        let mut dialog = speaker.open("peer").await.expect("opened");
        let (wishes, result) = dialog.turn(bytes(text)).await;
        let error = result.expect_err(text);
        assert!(error.kind() == ErrorKind::Invalid && error.detail().contains(why), "{error}");
        assert_eq!(wishes.first(), Some(&write("heard\n")), "what was wished before is done");
    }
    let mut dialog = speaker.open("peer").await.expect("opened");
    let (wishes, _) = dialog.turn(bytes("echo")).await;
    assert_eq!(wishes, [write("heard\n"), write("echo")]);
    assert_eq!(loaded.look().out_of_use, None);
}

#[tokio::test]
async fn a_protocol_that_breaks_is_out_of_use() {
    for (text, why) in [
        ("panic", "its call 'turn' panicked: misspeaking (misspeak/src/lib.rs:"),
        ("hang", "its call 'turn' did not return within 300 ms"),
    ] {
        let (loaded, speaker) = speaker("misspeak");
        let mut other = speaker.open("other").await.expect("opened");
        let mut dialog = speaker.open("peer").await.expect("opened");
        let (wishes, result) = dialog.turn(bytes(text)).await;
        assert_eq!(wishes, []);
        let error = result.expect_err(text);
        assert!(
            error.detail().contains(why) && error.detail().contains("libmisspeak.so"),
            "{error}"
        );
        assert!(loaded.look().out_of_use.is_some());
        assert!(other.turn(bytes("echo")).await.1.is_err() && speaker.open("new").await.is_err());
    }
}
