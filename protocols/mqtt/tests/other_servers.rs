//! Clients are sent to another server (MQTT 5 §4.11): when this one stops, and when it has moved.

mod stage;
mod wire;

use crossdock_core::memory::MemoryStore;
use crossdock_core::{Drain, Settings};
use crossdock_mqtt::{Elsewhere, Options};
use stage::{connect, open};
use std::time::Duration;

const END: Duration = Duration::from_secs(10);

fn elsewhere(when_stopping: Option<&str>, moved_to: Option<&str>) -> Options {
    let [when_stopping, moved_to] = [when_stopping, moved_to].map(|name| name.map(Into::into));
    Options { elsewhere: Elsewhere { when_stopping, moved_to }, ..Options::default() }
}

#[tokio::test]
async fn who_is_connected_when_the_broker_stops_learns_where_to_go() {
    let (broker, _other) = open(&MemoryStore::default(), Settings::default()).await;
    let (switch, drain) = Drain::channel();
    let options = elsewhere(Some("b:1883 c:1883"), None);
    // With room for everything, for the reference, and for neither.
    let rooms =
        [("", true, true), (" packet-max=30", false, true), (" packet-max=10", false, false)];
    let mut clients = Vec::new();
    for (at, (room, why, reference)) in rooms.into_iter().enumerate() {
        let mut client = connect(&broker, options.clone(), &drain, true);
        let connack = client.ask(&format!("CONNECT id=c{at} expiry=100{room}")).await;
        // A CONNACK that is too large is not sent, and the connection closed.
        match connack.starts_with("CONNACK 00") {
            true => clients.push((client, why, reference)),
            false => assert!(!reference, "{connack}"),
        }
    }
    let mut old = connect(&broker, options, &drain, false);
    assert!(old.ask("CONNECT v4 id=old clean").await.starts_with("CONNACK 00"));
    switch.send(true).expect("watched");
    for (mut client, why, reference) in clients {
        let said = client.hear().await;
        assert!(said.starts_with("DISCONNECT 9c"), "{said}");
        assert_eq!(said.contains("reason=the broker is stopping"), why, "{said}");
        assert_eq!(said.contains("reference=b:1883 c:1883"), reference, "{said}");
        assert_eq!(client.packet(END).await, None);
    }
    assert_eq!(old.packet(END).await, None, "3.1.1 has no word for it");
}

#[tokio::test]
async fn who_logs_in_learns_that_the_server_has_moved() {
    let (broker, _other) = open(&MemoryStore::default(), Settings::default()).await;
    let (_switch, drain) = Drain::channel();
    let options = elsewhere(None, Some("b:1883"));
    let mut five = connect(&broker, options.clone(), &drain, true);
    let said = five.ask("CONNECT id=five will=t:x").await;
    assert_eq!(said, "CONNACK 9d present=0 server-reference=b:1883 reason=the server has moved");
    assert_eq!(five.packet(END).await, None);
    let mut old = connect(&broker, options.clone(), &drain, false);
    assert_eq!(old.ask("CONNECT v4 id=old clean").await, "CONNACK 03 present=0");
    assert_eq!(old.packet(END).await, None);
    // Strangers learn nothing.
    let mut stranger = connect(&broker, options, &drain, true);
    let said = stranger.ask("CONNECT id=s username=guest password=wrong").await;
    assert!(said.starts_with("CONNACK 86") && !said.contains("b:1883"), "{said}");
}
