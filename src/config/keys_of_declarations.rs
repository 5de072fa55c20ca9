//! The keys of what is declared: queues, exchanges and bindings.

use super::keys::{Form, Key, key, required};

pub const QUEUE: &[Key] = &[
    required("name", Form::Text, "Its name; no other queue here has it."),
    key("durable", Form::Bool, "It survives a restart. Not set: true."),
    key("auto_delete", Form::Bool, "It is deleted when its last consumer leaves. Not set: false."),
    key(
        "arguments",
        Form::Arguments,
        "Arguments of the declaration, as AMQP clients write them (`x-queue-type`, `x-message-ttl`, \
         `x-max-length`, `x-dead-letter-exchange`, …): all 24 are in the table of \
         docs/protocols/amqp091.md (Arguments of queues). Others would have no effect, and are a mistake.",
    ),
];

pub const EXCHANGE: &[Key] = &[
    required("name", Form::Text, "Its name; no other exchange here has it."),
    required(
        "type",
        Form::Text,
        "Its type: `direct`, `fanout`, `topic`, `headers`, `x-random`, `x-local-random`, `x-modulus-hash`, \
         `x-consistent-hash`, `x-delayed-message`, `x-recent-history`, or one that a plugin brings.",
    ),
    key("durable", Form::Bool, "It survives a restart. Not set: true."),
    key("auto_delete", Form::Bool, "It is deleted with its last binding. Not set: false."),
    key(
        "internal",
        Form::Bool,
        "Clients cannot publish to it, only other exchanges do. Not set: false.",
    ),
    key(
        "arguments",
        Form::Arguments,
        "Arguments of the declaration: `alternate-exchange`; of `x-consistent-hash` also `hash-header` or \
         `hash-property`; of `x-delayed-message` also `x-delayed-type`, which has to be there, and what \
         that type takes (docs/protocols/amqp091.md). Others are a mistake, unless a plugin brings the type: \
         it says which it takes.",
    ),
];

pub const BINDING: &[Key] = &[
    required("source", Form::Text, "The exchange that messages come from."),
    key(
        "key",
        Form::Text,
        "The key, or for a topic exchange the pattern, in topic form for every kind of exchange: `/` \
         where AMQP clients write `.` (and the other way round), `+` for one word, \
         `#` for any number of words. Not set: empty.",
    ),
    required("to", Form::Target, "Where messages go."),
    key(
        "arguments",
        Form::Arguments,
        "Arguments of the binding: what a headers exchange compares.",
    ),
];
