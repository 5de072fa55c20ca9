//! The client as the receiver of packets: its version, what it can take, and the output to it.

use crate::codec::{
    AckKind, Block, PublishHead, Reason, Version, connack, pingresp, publish_head, suback,
    unsuback, write_ack, write_disconnect,
};
use bytes::{Bytes, BytesMut};
use crossdock_net::Output;

/// The sending side of a connection.
pub struct Peer {
    pub out: Output,
    pub version: Version,
    /// Bytes of one packet that the client takes.
    packet_max: usize,
    /// Reason strings may stand on every packet [MQTT-3.1.2-29].
    problem_information: bool,
}

impl Peer {
    pub fn new(out: Output, version: Version) -> Self {
        Self { out, version, packet_max: usize::MAX, problem_information: true }
    }

    /// What CONNECT said about it.
    pub fn limit(&mut self, packet_max: Option<u32>, problem_information: bool) {
        self.packet_max = packet_max.map_or(usize::MAX, |n| n as usize);
        self.problem_information = problem_information;
    }

    /// Writes one packet, or nothing when it is larger than the client takes [MQTT-3.1.2-24].
    fn packet(&mut self, write: impl FnOnce(&mut BytesMut)) -> bool {
        let packet_max = self.packet_max;
        let tail = self.out.tail();
        let start = tail.len();
        write(tail);
        if tail.len() - start <= packet_max {
            return true;
        }
        tail.truncate(start);
        false
    }

    /// Writes a packet with a reason string, or without it when that is too large or not wanted.
    fn explained(&mut self, why: Option<&str>, write: impl Fn(&mut BytesMut, &Block)) {
        if let Some(why) = why {
            let mut block = Block::new();
            block.reason_string(why);
            if self.packet(|out| write(out, &block)) {
                return;
            }
        }
        self.packet(|out| write(out, &Block::new()));
    }

    fn wanted<'a>(&self, why: Option<&'a str>) -> Option<&'a str> {
        why.filter(|_| self.problem_information && self.version.is_5())
    }

    pub fn connack(&mut self, present: bool, reason: Reason, block: &Block) {
        let version = self.version;
        self.packet(|out| connack(out, version, present, reason, block));
    }

    pub fn ack(&mut self, kind: AckKind, packet_id: u16, reason: Reason, why: Option<&str>) {
        let (version, why) = (self.version, self.wanted(why));
        self.explained(why, |out, block| {
            write_ack(out, kind, version, packet_id, (reason, block));
        });
    }

    pub fn suback(&mut self, packet_id: u16, codes: &[Reason], why: Option<&str>) {
        let (version, why) = (self.version, self.wanted(why));
        self.explained(why, |out, block| suback(out, version, packet_id, codes, block));
    }

    pub fn unsuback(&mut self, packet_id: u16, codes: &[Reason], why: Option<&str>) {
        let (version, why) = (self.version, self.wanted(why));
        self.explained(why, |out, block| unsuback(out, version, packet_id, codes, block));
    }

    pub fn pingresp(&mut self) {
        self.packet(pingresp);
    }

    /// DISCONNECT; 3.1.1 has no word for it, the closed socket says it.
    pub fn disconnect(&mut self, reason: Reason, why: &str) {
        if self.version.is_5() {
            self.explained(Some(why), |out, block| write_disconnect(out, reason, block));
        }
    }

    /// True when the client takes a packet of that size.
    pub fn takes(&self, head: &PublishHead<'_>) -> bool {
        head.packet_len() <= self.packet_max
    }

    /// PUBLISH. Properties and payload are shared with other receivers and not copied when they are large.
    pub fn publish(&mut self, head: &PublishHead<'_>, properties: &Bytes, payload: &Bytes) {
        publish_head(self.out.tail(), head);
        if !properties.is_empty() {
            self.out.push(properties);
        }
        self.out.push(payload);
    }
}
