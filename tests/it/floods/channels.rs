//! Floods of small AMQP methods that each lead to much: one of them is about all of a channel's deliveries or
//! consumers.

use super::{beside_victims, do_all, many};
use crate::broker::Broker;
use crate::wire::amqp::{Amqp, Out, Properties, publish};
use crate::wire::frames;

/// A client with so many unsettled deliveries.
fn unsettled(broker: &Broker, count: usize) -> Amqp {
    let mut client = Amqp::connect(broker.amqp);
    client.queue("q", false);
    let burst = publish("", "q", &Properties::default(), b"").repeat(1_000);
    (0..count / 1_000).for_each(|_| client.socket.send(&burst));
    client.queue("barrier", false);
    client.consume("q", false);
    for n in 1..=count {
        assert_eq!(client.receive().tag, n as u64);
    }
    client
}

#[test]
fn acknowledged_and_rolled_back() {
    let broker = Broker::start();
    let mut client = unsettled(&broker, many(500_000, 50_000));
    client.select_transactions();
    // basic.ack of all there are, and tx.rollback.
    let mut round = Out::method(60, 80).u64(0).u8(1).frame(1);
    round.extend(Out::method(90, 30).frame(1));
    let burst = round.repeat(5);
    beside_victims(&broker, "acknowledgements that are rolled back", || {
        client.socket.send(&burst);
        (0..5).for_each(|_| drop(client.expect(90, 31)));
    });
    // All of them are still unsettled, in their order.
    client.socket.send(&Out::method(60, 80).u64(1).u8(0).frame(1));
    client.commit();
    client.expect(90, 21);
}

#[test]
fn recovered_again_and_again() {
    let broker = Broker::start();
    let count = many(500_000, 50_000);
    let mut client = unsettled(&broker, count);
    beside_victims(&broker, "recovers", || {
        client.socket.send(&Out::method(60, 110).u8(1).frame(1));
        client.expect(60, 111);
        (0..count).for_each(|_| drop(client.receive()));
    });
}

#[test]
fn the_flow_of_many_consumers() {
    let broker = Broker::start();
    let mut client = Amqp::connect(broker.amqp);
    client.queue("q", false);
    let consumers = (0..many(9_000, 2_000)).flat_map(|n| frames::consume("q", &n.to_string()));
    do_all(&mut client, &consumers.collect::<Vec<u8>>());
    let toggles = (0..100u8).flat_map(|n| Out::method(20, 20).u8(n % 2).frame(1));
    let burst: Vec<u8> = toggles.collect();
    beside_victims(&broker, "channel.flow", || {
        client.socket.send(&burst);
        (0..100).for_each(|_| drop(client.expect(20, 21)));
    });
}
