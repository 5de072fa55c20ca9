//! A process without file descriptors goes on: it refuses, serves those who are there, and takes others again.

use super::Good;
use crate::broker::Broker;
use crate::wire::mqtt::{Connect, Mqtt};
use crate::wire::{PATIENCE, Socket, eventually};
use std::time::Instant;

const DESCRIPTORS: usize = 256;

#[test]
fn connections_beyond_the_file_descriptors() {
    let broker = Broker::with_descriptors(Some(DESCRIPTORS), &[]);
    let mut good = Good::new(&broker);
    good.is_served("nobody");
    let mut held = Vec::new();
    let mut closed = 0;
    for n in 0..DESCRIPTORS * 2 {
        let mut socket = Socket::connect(broker.mqtt);
        let name = format!("held-{n}");
        let _ = socket.try_send(&Connect::v5(&name).packet());
        // Each is answered or closed: nobody is left waiting.
        match socket.fill(4, Instant::now() + PATIENCE) {
            true => held.push(socket),
            false => closed += 1,
        }
    }
    assert!(held.len() > DESCRIPTORS / 2 && closed > 0, "{} held, {closed} closed", held.len());
    good.is_served("too many connections");
    // Files of the store can be opened still: a durable queue works.
    good.0.queue("durable", true);
    drop(held);
    eventually("others are taken again", || {
        let client = Mqtt::log_in(Socket::connect(broker.mqtt), &Connect::v5("later"));
        client.ok()
    });
    good.is_served("nobody any more");
    let log = broker.log();
    let lines = log.lines().filter(|line| line.contains("WARN")).count();
    assert!(lines < 20, "{lines} warnings for one thing: {log}");
}
