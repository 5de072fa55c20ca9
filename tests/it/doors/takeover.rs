//! What clients of MQTT do at the same moment: many connections with one identifier, the same publish again.

use crate::broker::Broker;
use crate::wire::mqtt::{Connect, Mqtt, Properties, packet, publish};
use crate::wire::{QUIET, Socket};

/// Connections at once, and how often each comes.
const AT_ONCE: usize = 8;
const TIMES: usize = 25;

#[test]
fn none_of_them_is_refused() {
    let broker = Broker::start();
    for level in [5, 4] {
        for clean in [false, true] {
            let options = Connect { level, clean, will: Some("gone"), ..Connect::v5("one") };
            let (address, options) = (broker.mqtt, &options);
            std::thread::scope(|scope| {
                for _ in 0..AT_ONCE {
                    scope.spawn(move || {
                        for _ in 0..TIMES {
                            let answer = Mqtt::log_in(Socket::connect(address), options);
                            let why = answer.map(drop);
                            assert_eq!(why, Ok(()), "MQTT {level}, clean {clean}");
                        }
                    });
                }
            });
            let mut last = Mqtt::connect(address, options);
            last.subscribe("t", 1);
            last.publish("t", b"it has the session", 1);
            assert_eq!(last.receive().body, b"it has the session");
        }
    }
}

/// A client that sends a QoS 2 publish again before it is acknowledged gets an acknowledgement for each, and its
/// readers get the message once.
#[test]
fn a_qos_2_publish_that_comes_again_at_once_is_acknowledged_again() {
    let broker = Broker::start();
    for level in [5, 4] {
        let options = Connect { level, clean: false, ..Connect::v5("twice") };
        let mut reader = Mqtt::connect(broker.mqtt, &Connect::v5("reader"));
        reader.subscribe("t", 1);
        let mut client = Mqtt::connect(broker.mqtt, &options);
        let first = publish(level, "t", b"once", (2, 7), &Properties::default());
        let again = [&[first[0] | 8], &first[1..]].concat();
        client.socket.send(&[first, again.clone(), again].concat());
        for _ in 0..3 {
            client.any(0x50, 7);
        }
        client.socket.send(&packet(0x62, &[0, 7]));
        client.any(0x70, 7);
        assert_eq!(reader.receive().body, b"once");
        assert!(reader.receive_within(QUIET).is_none());
    }
}
