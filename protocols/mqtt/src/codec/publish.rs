//! PUBLISH from a client (MQTT 5 §3.3).

use super::Version;
use super::properties::{Kept, Place, Property, read};
use super::reason::Fault;
use super::topic::check_name;
use super::wire::{Reader, Text};
use bytes::Bytes;

/// A decoded PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: u8,
    pub retain: bool,
    /// Empty only when an alias stands for it.
    pub topic: Text,
    /// 0 with QoS 0.
    pub packet_id: u16,
    /// Seconds.
    pub expiry: Option<u32>,
    pub alias: Option<u16>,
    /// What a reader of the same version gets: the block as sent, without expiry and alias, which belong to this hop.
    pub properties: Bytes,
    /// User properties in the block.
    pub users: usize,
    pub payload: Bytes,
}

pub(super) fn decode(flags: u8, body: Bytes, version: Version) -> Result<Publish, Fault> {
    let (dup, qos, retain) = (flags & 8 != 0, (flags >> 1) & 3, flags & 1 != 0);
    if qos == 3 {
        return Err(Fault::malformed("QoS 3")); // [MQTT-3.3.1-4]
    }
    if dup && qos == 0 {
        return Err(Fault::malformed("DUP with QoS 0")); // [MQTT-3.3.1-2]
    }
    let mut reader = Reader::new(body);
    let topic = reader.text()?;
    let packet_id = match qos {
        0 => 0,
        _ => reader.packet_id()?,
    };
    let mut publish = Publish {
        dup,
        qos,
        retain,
        topic,
        packet_id,
        expiry: None,
        alias: None,
        properties: Bytes::new(),
        users: 0,
        payload: Bytes::new(),
    };
    if version.is_5() {
        let block = reader.block()?;
        if !block.is_empty() {
            publish.take_properties(block)?;
        }
    }
    if !publish.topic.is_empty() {
        check_name(&publish.topic)?;
    } else if publish.alias.is_none() {
        return Err(match version {
            Version::V5 => Fault::protocol("no topic and no alias"), // MQTT 5 §3.3.2.1
            Version::V31 | Version::V311 => Fault::malformed("an empty topic name"),
        });
    }
    publish.payload = reader.rest();
    Ok(publish)
}

impl Publish {
    fn take_properties(&mut self, block: Bytes) -> Result<(), Fault> {
        let mut kept = Kept::new(block.clone());
        read(&block, Place::Publish, |property, bytes| {
            match property {
                Property::MessageExpiry(seconds) => {
                    self.expiry = Some(seconds);
                    kept.leave_out();
                    return Ok(());
                }
                Property::TopicAlias(alias) => {
                    self.alias = Some(alias);
                    kept.leave_out();
                    return Ok(());
                }
                // [MQTT-3.3.2-14]
                Property::ResponseTopic(topic) => {
                    check_name(&topic).map_err(|_| Fault::protocol("an invalid response topic"))?;
                }
                Property::User(..) => self.users += 1,
                _ => (),
            }
            kept.keep(bytes);
            Ok(())
        })?;
        self.properties = kept.finish();
        Ok(())
    }
}
