//! Packets from the client: each goes to the file of its topic. What may wait for the store does so here.

use super::{Closing, Connection};
use crate::codec::{Disconnect, Packet, Reason, cut, decode, kind, total_length};
use crossdock_net::Seen;

/// What a packet is whose turn has not come: only pings are answered before it.
pub(super) fn look(bytes: &[u8]) -> Seen {
    let Some(length) = total_length(bytes) else {
        return if bytes.len() > 4 { Seen::Last } else { Seen::Unfinished };
    };
    match bytes.first().map_or(0, |first| first >> 4) {
        kind::PINGREQ if length == 2 => Seen::Ping(length),
        kind::PUBLISH..=kind::PUBCOMP | kind::SUBSCRIBE | kind::UNSUBSCRIBE => Seen::Other(length),
        _ => Seen::Last,
    }
}

impl Connection {
    /// Handles every whole packet of the input: one turn.
    pub(super) async fn packets(&mut self) -> Result<(), Closing> {
        let handled = self.handle_all().await;
        // What came before a bad packet keeps its effect.
        let ended = self.end_turn().await;
        handled.and(ended)
    }

    async fn handle_all(&mut self) -> Result<(), Closing> {
        let version = self.client.version;
        while self.line.goes_on() {
            let frame = cut(self.line.input.buffer(), self.packet_max, version.is_5())?;
            let Some(frame) = frame else { break };
            self.handle(decode(frame, version)?).await?;
        }
        Ok(())
    }

    async fn handle(&mut self, packet: Packet) -> Result<(), Closing> {
        match packet {
            Packet::Publish(publish) => self.publish(publish),
            Packet::Ack(ack) => self.acknowledged(ack),
            Packet::PingReq => {
                if !self.line.is_answered() {
                    self.client.to(&mut self.line.output).pingresp();
                }
                Ok(())
            }
            // Boxed: rare, and large futures.
            rare => Box::pin(self.control(rare)).await,
        }
    }

    /// Packets whose handling waits for the store.
    async fn control(&mut self, packet: Packet) -> Result<(), Closing> {
        // It flushes: a PUBCOMP's settle must not be stored later than the end of its memo.
        self.settle_gathered();
        match packet {
            Packet::Subscribe(subscribe) => self.subscribe(subscribe).await,
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(unsubscribe).await,
            Packet::Disconnect(disconnect) => self.disconnect(disconnect).await,
            Packet::Auth(auth) => self.authenticate(auth),
            Packet::Publish(_) | Packet::Ack(_) | Packet::PingReq => Ok(()),
        }
    }

    async fn disconnect(&mut self, disconnect: Disconnect) -> Result<(), Closing> {
        let Disconnect { reason, session_expiry: expiry, text } = disconnect;
        if let Some(text) = text {
            tracing::debug!(?reason, text = text.as_str(), "the client says why it disconnects");
        }
        // MQTT 5 §3.14.2.2.2: a session that was to end with the connection cannot be kept now.
        if expiry.is_some_and(|seconds| seconds > 0) && !self.opened.persistent {
            let why = "a session that ends with its connection gets an expiry";
            return Err(Closing::refused(Reason::PROTOCOL_ERROR, why));
        }
        if reason == Reason::SUCCESS {
            // Before anything else is waited for: whoever takes the session over must not find it [MQTT-3.14.4-3].
            self.withdraw_will().await;
        }
        Err(Closing::ByClient { reason, expiry })
    }

    async fn withdraw_will(&mut self) {
        if let Some(will) = self.opened.will.take()
            && let Err(error) = self.line.while_waiting(self.session.unpark(will)).await
        {
            tracing::debug!(%error, "a will may be published after a restart: its end is not stored");
        }
    }
}
