//! Queue arguments written as headers, and the names of durable subscriptions' queues (docs/SEMANTICS.md §7).

use super::headers::{integer, truth};
use crate::codec::{Header, Headers};
use crossdock_core::{Error, Name, QueueSpec, Value};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Text,
    Number,
    Truth,
}

fn form(name: &[u8]) -> Option<Form> {
    Some(match name {
        b"x-dead-letter-exchange"
        | b"x-dead-letter-routing-key"
        | b"x-overflow"
        | b"x-queue-type" => Form::Text,
        b"x-message-ttl"
        | b"x-expires"
        | b"x-max-length"
        | b"x-max-length-bytes"
        | b"x-max-priority"
        | b"x-delivery-limit" => Form::Number,
        b"x-single-active-consumer" => Form::Truth,
        _ => return None,
    })
}

/// True when SEND and SUBSCRIBE to `/queue/` read the header as an argument of the queue.
pub(super) fn is_argument(name: &str) -> bool {
    form(name.as_bytes()).is_some()
}

/// True when a header of that name is an argument of the queue; by its octets on the wire.
pub(super) fn names_arguments(header: Header<'_>) -> bool {
    header.raw_name.starts_with(b"x-") && form(header.raw_name).is_some()
}

/// The queue arguments among the headers, typed; of repeated ones the first.
pub(crate) fn arguments(headers: &Headers) -> Result<Vec<(Name, Value)>, Error> {
    let mut found: Vec<(Name, Value)> = Vec::new();
    for header in headers.iter().filter(|header| names_arguments(*header)) {
        let name = header.name();
        if found.iter().any(|(known, _)| **known == *name) {
            continue;
        }
        let value = match form(header.raw_name) {
            Some(Form::Number) => Value::I64(integer(header)?),
            Some(Form::Truth) => Value::Bool(truth(header)),
            _ => Value::text(&*header.value()),
        };
        found.push((Name::from(&*name), value));
    }
    Ok(found)
}

/// The queue of a subscription that outlives its connection.
pub(crate) fn durable_subscription(
    name: Name,
    client: &Name,
    arguments: Vec<(Name, Value)>,
) -> Result<QueueSpec, Error> {
    let spec = QueueSpec::durable(name).with_arguments(arguments)?;
    Ok(QueueSpec { kept_for: Some(client.clone()), ..spec })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Version;
    use bytes::Bytes;
    use crossdock_core::Overflow;

    fn headers(block: &'static str) -> Headers {
        Headers::parse(Bytes::from_static(block.as_bytes()), Version::V12.rules()).unwrap()
    }

    #[test]
    fn arguments_are_typed() {
        let block = headers(
            "x-message-ttl:500\nx-message-ttl:6\nx-overflow:reject-publish\nx-trace:1\n\
             x-single-active-consumer:true\n",
        );
        let want = [
            (Name::from("x-message-ttl"), Value::I64(500)),
            ("x-overflow".into(), Value::text("reject-publish")),
            ("x-single-active-consumer".into(), Value::Bool(true)),
        ];
        assert_eq!(arguments(&block).unwrap(), want);
        assert!(arguments(&headers("x-expires:soon\n")).is_err());
    }

    #[test]
    fn subscriptions_have_the_limits_that_they_ask_for() {
        let client = Name::from("c");
        let spec = durable_subscription("c.s".into(), &client, Vec::new()).unwrap();
        assert_eq!((spec.limits.messages, spec.limits.bytes), (None, None));
        assert_eq!((spec.limits.overflow, spec.durable), (Overflow::DropHead, true));
        assert_eq!(spec.kept_for, Some(client.clone()));
        let own = vec![("x-max-length".into(), Value::I64(5))];
        let spec = durable_subscription("c.s".into(), &client, own).unwrap();
        assert_eq!(spec.limits.messages, Some(5));
    }
}
