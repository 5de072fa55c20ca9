//! What is configured of STOMP at one listener → what the adapter is given.

use crate::config::{StompCarry, StompDialect, StompDoor, StompNack, StompTime};
use crossdock_core::Name;
use crossdock_core::message::carry::Carry;
use crossdock_stomp::{Door, NackDefault, Speech, TimeUnit};

/// The adapter's settings of that listener.
pub fn of(meant: &StompDoor) -> Door {
    let speech = match meant.stomp_dialect {
        Some(StompDialect::ActiveMq) => Speech::ActiveMq,
        Some(StompDialect::Auto) | None => Speech::Auto,
    };
    let nack_default = match (meant.stomp_nack_default, speech) {
        (Some(StompNack::DeadLetter), _) | (None, Speech::ActiveMq) => NackDefault::DeadLetter,
        (Some(StompNack::Requeue), _) | (None, Speech::Auto) => NackDefault::Requeue,
    };
    let timestamps = match meant.stomp_timestamp {
        Some(StompTime::S) => TimeUnit::Seconds,
        Some(StompTime::Ms) | None => TimeUnit::Milliseconds,
    };
    let carry = match meant.stomp_carry {
        Some(StompCarry::Standard) => Carry::Standard,
        Some(StompCarry::Off) => Carry::Off,
        Some(StompCarry::Full) | None => Carry::Full,
    };
    let names = |texts: &Option<Vec<String>>| -> Vec<Name> {
        texts.iter().flatten().map(|text| text.as_str().into()).collect()
    };
    Door {
        speech,
        nack_default,
        timestamps,
        carry,
        anycast_prefixes: names(&meant.stomp_anycast_prefixes),
        multicast_prefixes: names(&meant.stomp_multicast_prefixes),
        strict_host: meant.stomp_strict_host == Some(true),
    }
}
