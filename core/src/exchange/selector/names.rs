//! What a name in a selector stands for. This table is the only place of the core that knows the selector
//! standard's own header names (JMS 2.0 §3.8.1.1, §3.5.9).

use crate::message::Name;

/// Where a name's value is found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Slot {
    Header(Name),
    /// The header of that name, or else the property.
    HeaderOr(Name, Property),
    Property(Property),
    Body,
}

/// What a message has besides headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Property {
    Address,
    AppId,
    ContentEncoding,
    ContentType,
    CorrelationId,
    DeliveryMode,
    /// 0 when it does not expire.
    Expiration,
    GroupId,
    GroupSeq,
    Kind,
    MessageId,
    Priority,
    /// 4 when the sender said none.
    PriorityOrDefault,
    ReplyTo,
    Subject,
    /// The sender's time, or else the broker's.
    Timestamp,
    UserId,
}

/// Names that are never a header.
const FIXED: [(&str, Property); 14] = [
    ("address", Property::Address),
    ("content_type", Property::ContentType),
    ("JMSCorrelationID", Property::CorrelationId),
    ("JMSDeliveryMode", Property::DeliveryMode),
    ("JMSDestination", Property::Address),
    ("JMSExpiration", Property::Expiration),
    ("JMSMessageID", Property::MessageId),
    ("JMSPriority", Property::PriorityOrDefault),
    ("JMSReplyTo", Property::ReplyTo),
    ("JMSTimestamp", Property::Timestamp),
    ("JMSType", Property::Kind),
    ("JMSXGroupID", Property::GroupId),
    ("JMSXGroupSeq", Property::GroupSeq),
    ("JMSXUserID", Property::UserId),
];

/// Properties by their own names, where no header has that name.
const ALIASES: [(&str, Property); 12] = [
    ("app_id", Property::AppId),
    ("content_encoding", Property::ContentEncoding),
    ("correlation_id", Property::CorrelationId),
    ("expiration", Property::Expiration),
    ("group_id", Property::GroupId),
    ("message_id", Property::MessageId),
    ("priority", Property::Priority),
    ("reply_to", Property::ReplyTo),
    ("subject", Property::Subject),
    ("timestamp", Property::Timestamp),
    ("type", Property::Kind),
    ("user_id", Property::UserId),
];

impl Slot {
    /// The meaning of a bare name.
    pub(super) fn named(name: &str) -> Slot {
        let within = |table: &[(&str, Property)]| {
            table.iter().find(|(known, _)| *known == name).map(|(_, property)| *property)
        };
        match (name, within(&FIXED), within(&ALIASES)) {
            ("body", _, _) => Slot::Body,
            (_, Some(property), _) => Slot::Property(property),
            (_, None, Some(property)) => Slot::HeaderOr(name.into(), property),
            (_, None, None) => Slot::Header(name.into()),
        }
    }
}
