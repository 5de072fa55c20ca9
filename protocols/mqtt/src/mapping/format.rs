//! The two header formats: the property block of MQTT 5, and the nothing of MQTT 3.1.1, read into neutral fields.

use crate::codec::{Place, Property, Text, read_properties};
use bytes::Bytes;
use crossdock_core::message::carry;
use crossdock_core::message::carry::Slots;
use crossdock_core::{
    BodyKind, Error, ErrorKind, Fields, Format, FormatId, Id, Key, Name, Properties, ReplyTo, Value,
};

/// Header bytes of MQTT 3.1.1: none.
pub const FORMAT_311: FormatId = FormatId(3);
/// Header bytes of MQTT 5: the property block of the PUBLISH, without what belongs to the hop.
pub const FORMAT_5: FormatId = FormatId(4);

/// What a PUBLISH of MQTT 5 has a place of its own for.
pub(super) fn slots() -> Slots {
    Slots::CORRELATION_ID | Slots::CONTENT_TYPE | Slots::REPLY_TO | Slots::PAYLOAD_FORMAT
}

/// The format of MQTT 3.1.1.
#[derive(Debug, Clone, Copy)]
pub struct Bare;

impl Format for Bare {
    fn id(&self) -> FormatId {
        FORMAT_311
    }

    fn name(&self) -> &'static str {
        "mqtt-3.1.1"
    }

    fn decode(&self, _native: &Bytes, _body: &Bytes) -> Result<Fields, Error> {
        Ok(Fields::default())
    }
}

/// The format of MQTT 5.
#[derive(Debug, Clone, Copy)]
pub struct PropertyBlock;

impl Format for PropertyBlock {
    fn id(&self) -> FormatId {
        FORMAT_5
    }

    fn name(&self) -> &'static str {
        "mqtt-5.0"
    }

    fn decode(&self, native: &Bytes, _body: &Bytes) -> Result<Fields, Error> {
        let mut fields = Fields::default();
        read_properties(native, Place::Publish, |property, _| {
            take(property, &mut fields.properties, &mut fields.headers);
            Ok(())
        })
        .map_err(|fault| Error::new(ErrorKind::Invalid, fault.what))?;
        carry::restore(&mut fields, slots());
        Ok(fields)
    }
}

fn take(property: Property, properties: &mut Properties, headers: &mut Vec<(Name, Value)>) {
    match property {
        Property::PayloadFormat(true) => properties.body_kind = BodyKind::Text,
        Property::ContentType(text) => properties.content_type = Some(text.as_str().into()),
        Property::ResponseTopic(topic) => properties.reply_to = Some(reply_to(&topic)),
        Property::CorrelationData(bytes) => properties.correlation_id = Some(correlation(&bytes)),
        Property::User(name, value) => {
            headers.push((name.as_str().into(), Value::text(value.as_str())));
        }
        // Expiry is in the message's meta; the others do not stand in a PUBLISH or belong to the hop.
        _ => (),
    }
}

/// Text stays text, so that protocols with a text slot show it as it is; an alias is undone.
fn correlation(bytes: &Bytes) -> Id {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => carry::id_from_text(text),
        _ => Id::Binary(bytes.clone()),
    }
}

/// docs/SEMANTICS.md §5: a queue's address is recognised again, everything else is a topic.
fn reply_to(topic: &Text) -> ReplyTo {
    match super::inbound::queue_of(topic.as_str()) {
        Some(queue) => ReplyTo::Queue(queue),
        None => ReplyTo::Topic(Key::new(topic.bytes().clone())),
    }
}
