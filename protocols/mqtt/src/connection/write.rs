//! Packets to the client: what it can take, and writing within that.

use crate::codec::{
    AckKind, Block, Connect, PublishHead, Reason, Text, Version, connack, id, pingresp,
    publish_head, suback, unsuback, write_ack, write_auth, write_disconnect,
};
use bytes::{Bytes, BytesMut};
use crossdock_net::Output;

/// Bytes of the largest packet: what a remaining length can say (MQTT 5 §1.5.5, §2.1.4). With the fixed header it could
/// have five more, but paho refuses a server that announces more than this.
pub const PACKET_BYTES_MAX: usize = 268_435_455;

/// The client as the receiver of packets.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    pub version: Version,
    /// Bytes of one packet that the client takes.
    packet_max: usize,
    /// Reason strings may stand on every packet [MQTT-3.1.2-29].
    problem_information: bool,
}

impl Client {
    /// From what CONNECT says about the client.
    pub fn new(connect: &Connect) -> Self {
        Self {
            version: connect.version,
            packet_max: connect
                .packet_size_max
                .map_or(PACKET_BYTES_MAX, |n| n as usize)
                .min(PACKET_BYTES_MAX),
            problem_information: connect.problem_information,
        }
    }

    /// True when the client takes a CONNACK with that block.
    pub fn takes_connack(&self, block: &Block) -> bool {
        let mut out = BytesMut::new();
        connack(&mut out, self.version, true, Reason::SUCCESS, block);
        out.len() <= self.packet_max
    }

    /// True when the client takes a packet of that size.
    pub fn takes(&self, head: &PublishHead<'_>) -> bool {
        head.packet_len() <= self.packet_max
    }

    /// A writer of packets to this client.
    pub fn to<'a>(&'a self, out: &'a mut Output) -> Writer<'a> {
        Writer { client: self, out }
    }
}

/// Writes packets to one client.
pub struct Writer<'a> {
    client: &'a Client,
    out: &'a mut Output,
}

impl Writer<'_> {
    /// Writes one packet, or nothing when it is larger than the client takes [MQTT-3.1.2-24].
    fn packet(&mut self, write: impl FnOnce(&mut BytesMut)) -> bool {
        let packet_max = self.client.packet_max;
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
        self.explained_at((why, None), write);
    }

    /// The same with another server's name, which goes last.
    fn explained_at(
        &mut self,
        (why, reference): (Option<&str>, Option<&str>),
        write: impl Fn(&mut BytesMut, &Block),
    ) {
        for (why, reference) in [(why, reference), (None, reference), (None, None)] {
            let mut block = Block::new();
            if let Some(reference) = reference {
                block.bytes(id::SERVER_REFERENCE, reference.as_bytes());
            }
            if let Some(why) = why {
                block.reason_string(why);
            }
            if self.packet(|out| write(out, &block)) {
                return;
            }
        }
    }

    fn wanted<'a>(&self, why: Option<&'a str>) -> Option<&'a str> {
        why.filter(|_| self.client.problem_information && self.client.version.is_5())
    }

    /// False, and nothing is written, when it is larger than the client takes.
    pub fn connack(&mut self, present: bool, reason: Reason, block: &Block) -> bool {
        let version = self.client.version;
        self.packet(|out| connack(out, version, present, reason, block))
    }

    /// CONNACK that says why there is no session.
    pub fn refusal(&mut self, reason: Reason, why: &str, reference: Option<&str>) {
        let version = self.client.version;
        self.explained_at((Some(why), reference), |out, block| {
            connack(out, version, false, reason, block);
        });
    }

    pub fn ack(&mut self, kind: AckKind, packet_id: u16, reason: Reason, why: Option<&str>) {
        let (version, why) = (self.client.version, self.wanted(why));
        self.explained(why, |out, block| {
            write_ack(out, kind, version, packet_id, (reason, block));
        });
    }

    pub fn suback(&mut self, packet_id: u16, codes: &[Reason], why: Option<&str>) {
        let (version, why) = (self.client.version, self.wanted(why));
        self.explained(why, |out, block| suback(out, version, packet_id, codes, block));
    }

    pub fn unsuback(&mut self, packet_id: u16, codes: &[Reason], why: Option<&str>) {
        let (version, why) = (self.client.version, self.wanted(why));
        self.explained(why, |out, block| unsuback(out, version, packet_id, codes, block));
    }

    /// AUTH with a method and its data.
    pub fn auth(&mut self, reason: Reason, (method, data): (&Text, &Bytes)) {
        self.packet(|out| write_auth(out, reason, method, data));
    }

    pub fn pingresp(&mut self) {
        self.packet(pingresp);
    }

    /// DISCONNECT; in 3.1.1 the server has no such packet and only closes the socket.
    pub fn disconnect(&mut self, reason: Reason, why: &str, reference: Option<&str>) {
        if self.client.version.is_5() {
            self.explained_at((Some(why), reference), |out, block| {
                write_disconnect(out, reason, block);
            });
        }
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
