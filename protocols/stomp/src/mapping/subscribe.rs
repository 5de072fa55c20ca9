//! What the headers of a SUBSCRIBE ask for, in the dialects of the brokers that STOMP clients were written for
//! (docs/SEMANTICS.md §7), and which queue an UNSUBSCRIBE takes away.

use super::destination::Cast;
use super::headers::{integer, truth};
use super::{invalid, required};
use crate::codec::{Header, Headers};
use crate::options::Options;
use crossdock_core::{Credit, Error, ErrorKind, Name, Replay};
use std::borrow::Cow;

/// Names of a durable subscription, in three dialects.
const SUBSCRIPTION_NAMES: [&str; 3] =
    ["activemq.subscriptionName", "durable-subscription-name", "durable-subscriber-name"];

/// How deliveries are settled (STOMP 1.2 §SUBSCRIBE ack Header).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckMode {
    /// When written.
    Auto,
    /// ACK and NACK count for everything before, too.
    Client,
    Individual,
}

/// The queue behind a subscription to a topic or an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Plan {
    /// For this subscription alone, and deleted with it.
    Transient,
    /// A durable subscription as JMS has it, of this name: its client's alone.
    Durable(Name),
    Named {
        name: Name,
        durable: bool,
        auto_delete: bool,
    },
}

/// A SUBSCRIBE's headers.
#[derive(Debug)]
pub(crate) struct SubscribeRequest<'a> {
    pub id: Option<Cow<'a, str>>,
    pub destination: Cow<'a, str>,
    pub cast: Option<Cast>,
    pub mode: AckMode,
    pub credit: Credit,
    /// No other consumer may be there.
    pub exclusive: bool,
    /// Other consumers get nothing while it is there; of several such ones the oldest is served.
    pub in_turn: bool,
    pub priority: i16,
    pub no_local: bool,
    pub durable: Option<bool>,
    pub auto_delete: Option<bool>,
    /// It is written in ActiveMQ's words.
    pub is_jms: bool,
}

impl<'a> SubscribeRequest<'a> {
    /// Reads and checks them.
    pub(crate) fn read(headers: &'a Headers, options: &Options) -> Result<Self, Error> {
        unsupported(headers)?;
        let mode = match headers.get("ack").as_deref() {
            None | Some("auto") => AckMode::Auto,
            Some("client") => AckMode::Client,
            Some("client-individual") => AckMode::Individual,
            Some(_) => return Err(invalid("ack is auto, client or client-individual")),
        };
        let is = |names: &[&str]| first(headers, names).map(truth);
        let cast = first(headers, &["subscription-type", "destination-type"])
            .map(|header| Cast::parse(&header.value()))
            .transpose()?;
        Ok(SubscribeRequest {
            id: headers.get("id"),
            destination: required(headers, "destination")?,
            cast,
            mode,
            credit: credit(headers, mode, options)?,
            exclusive: is(&["exclusive"]) == Some(true),
            in_turn: is(&["activemq.exclusive"]) == Some(true),
            priority: priority(headers)?,
            no_local: is(&["no-local", "activemq.noLocal"]) == Some(true),
            durable: is(&["durable", "persistent"]),
            auto_delete: is(&["auto-delete"]),
            is_jms: headers.iter().any(|header| header.raw_name.starts_with(b"activemq.")),
        })
    }

    /// The queue that keeps what a topic subscription gets.
    pub(crate) fn plan(&self, headers: &Headers, client: &str) -> Result<Plan, Error> {
        if let Some(name) = subscription_name(headers, client)? {
            return Ok(Plan::Durable(name));
        }
        let durable = self.durable == Some(true);
        let name = match (headers.get("x-queue-name"), durable) {
            (Some(name), _) => Name::from(&*name),
            (None, true) => {
                let id = self.id.as_deref();
                let id = id.ok_or_else(|| invalid("a durable subscription needs an id"))?;
                queue_of(id, &self.destination)
            }
            (None, false) => return Ok(Plan::Transient),
        };
        Ok(Plan::Named { name, durable, auto_delete: self.auto_delete != Some(false) })
    }
}

/// The queue that this UNSUBSCRIBE deletes for good: one that it names, or, with `durable:true`, the one that the
/// subscription is known to have. `known` is the active subscription's.
pub(crate) fn forgotten_queue(
    headers: &Headers,
    client: &str,
    known: Option<&Name>,
) -> Result<Option<Name>, Error> {
    if let Some(name) = subscription_name(headers, client)? {
        return Ok(Some(name));
    }
    if !first(headers, &["durable", "persistent"]).is_some_and(truth) {
        return Ok(None);
    }
    Ok(match (known, headers.get("id"), headers.get("destination")) {
        (Some(name), ..) => Some(name.clone()),
        (None, Some(id), Some(destination)) => Some(queue_of(&id, &destination)),
        _ => None,
    })
}

/// docs/SEMANTICS.md §7: `stomp/<id>/<destination>`.
fn queue_of(id: &str, destination: &str) -> Name {
    let destination = destination.strip_prefix('/').unwrap_or(destination);
    Name::from(format!("stomp/{id}/{destination}"))
}

/// docs/SEMANTICS.md §7: `<client-id>.<subscription-name>`.
fn subscription_name(headers: &Headers, client: &str) -> Result<Option<Name>, Error> {
    match (first(headers, &SUBSCRIPTION_NAMES), client) {
        (None, _) => Ok(None),
        (Some(_), "") => Err(invalid("a durable subscription needs a client-id in CONNECT")),
        (Some(header), client) => Ok(Some(format!("{client}.{}", header.value()).into())),
    }
}

fn first<'a>(headers: &'a Headers, names: &[&str]) -> Option<Header<'a>> {
    names.iter().find_map(|name| headers.find(name))
}

/// docs/SEMANTICS.md §6: whether a new topic subscription begins with the retained values.
pub(crate) fn replay(headers: &Headers) -> Replay {
    match first(headers, &["retained", "activemq.retroactive"]).is_some_and(truth) {
        true => Replay::IfNew,
        false => Replay::Never,
    }
}

fn unsupported(headers: &Headers) -> Result<(), Error> {
    let not_yet = |what: &str| Err(Error::new(ErrorKind::Unavailable, what.to_owned()));
    if headers.find("selector").is_some_and(|header| !header.raw_value.is_empty()) {
        return not_yet("selectors are not supported yet");
    }
    if first(headers, &["browser", "x-browse"]).is_some_and(|header| header.raw_value != b"false") {
        return not_yet("browsing is not supported yet");
    }
    if first(headers, &["x-stream-offset", "x-stream-filter"]).is_some() {
        return not_yet("streams are not supported yet");
    }
    Ok(())
}

/// Messages in `prefetch-count` (0: no limit) and `activemq.prefetchSize`, bytes in `consumer-window-size` (-1: no
/// limit). 0 of the latter two means that nothing is sent ahead, which is one message at a time.
fn credit(headers: &Headers, mode: AckMode, options: &Options) -> Result<Credit, Error> {
    let mut credit = match mode {
        AckMode::Auto => Credit::UNLIMITED,
        AckMode::Client | AckMode::Individual => Credit::messages(options.prefetch),
    };
    if let Some(header) = headers.find("activemq.prefetchSize") {
        credit = Credit::messages(integer::<u32>(header)?.max(1));
    }
    if let Some(header) = headers.find("prefetch-count") {
        credit = match integer::<u32>(header)? {
            0 => Credit::UNLIMITED,
            messages => Credit::messages(messages),
        };
    }
    if let Some(header) = headers.find("consumer-window-size") {
        match integer::<i64>(header)? {
            0 => credit.messages = 1,
            bytes => credit.bytes = u64::try_from(bytes).unwrap_or(u64::MAX),
        }
    }
    Ok(credit)
}

fn priority(headers: &Headers) -> Result<i16, Error> {
    match first(headers, &["x-priority", "activemq.priority", "consumer-priority"]) {
        None => Ok(0),
        Some(header) => integer(header),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Version;
    use bytes::Bytes;

    fn headers(block: &str) -> Headers {
        let block = format!("destination:/topic/a.b\n{block}");
        Headers::parse(Bytes::from(block), Version::V12.rules()).unwrap()
    }

    fn credit_of(block: &str) -> Credit {
        SubscribeRequest::read(&headers(block), &Options::default()).unwrap().credit
    }

    fn plan_of(block: &str, client: &str) -> Result<Plan, Error> {
        let headers = headers(block);
        SubscribeRequest::read(&headers, &Options::default())?.plan(&headers, client)
    }

    fn named(name: &str, durable: bool, auto_delete: bool) -> Plan {
        Plan::Named { name: name.into(), durable, auto_delete }
    }

    #[test]
    fn credit_in_every_dialect() {
        assert_eq!(credit_of(""), Credit::UNLIMITED);
        assert_eq!(credit_of("ack:client\n"), Credit::UNLIMITED);
        assert_eq!(credit_of("ack:client-individual\nprefetch-count:1\n"), Credit::messages(1));
        assert_eq!(credit_of("ack:client\nprefetch-count:0\n"), Credit::UNLIMITED);
        let options = Options { prefetch: 250, ..Options::default() };
        let limited = headers("ack:client\n");
        let limited = SubscribeRequest::read(&limited, &options).unwrap().credit;
        assert_eq!(limited, Credit::messages(250));
        assert_eq!(credit_of("activemq.prefetchSize:10\n"), Credit::messages(10));
        assert_eq!(credit_of("activemq.prefetchSize:0\n"), Credit::messages(1));
        let bytes = Credit { messages: u32::MAX, bytes: 4096 };
        assert_eq!(credit_of("ack:client\nconsumer-window-size:4096\n"), bytes);
        assert_eq!(credit_of("consumer-window-size:-1\n"), Credit::UNLIMITED);
    }

    #[test]
    fn queues_of_durable_subscriptions() {
        assert_eq!(plan_of("id:1\n", "c").unwrap(), Plan::Transient);
        let both = "id:1\ndurable:true\nauto-delete:false\n";
        assert_eq!(plan_of(both, "").unwrap(), named("stomp/1/topic/a.b", true, false));
        assert_eq!(
            plan_of("id:1\npersistent:true\n", "").unwrap(),
            named("stomp/1/topic/a.b", true, true)
        );
        assert_eq!(plan_of("x-queue-name:mine\n", "").unwrap(), named("mine", false, true));
        for name in SUBSCRIPTION_NAMES {
            let block = format!("id:1\n{name}:sub\n");
            assert_eq!(plan_of(&block, "client").unwrap(), Plan::Durable("client.sub".into()));
            assert!(plan_of(&block, "").is_err());
        }
        assert!(plan_of("durable:true\n", "").is_err(), "without an id");
    }

    #[test]
    fn what_unsubscribe_forgets() {
        let of = |block: &str, known: Option<&Name>| {
            forgotten_queue(&headers(block), "client", known).unwrap().map(|name| name.to_string())
        };
        let known = Name::from("known");
        assert_eq!(of("id:1\n", Some(&known)), None);
        assert_eq!(of("id:1\ndurable:true\n", Some(&known)).as_deref(), Some("known"));
        assert_eq!(of("id:1\ndurable:true\n", None).as_deref(), Some("stomp/1/topic/a.b"));
        let named = of("id:1\nactivemq.subscriptionName:sub\n", None);
        assert_eq!(named.as_deref(), Some("client.sub"));
    }

    #[test]
    fn what_is_not_there_yet_is_refused() {
        for block in ["selector:a = 1\n", "browser:true\n", "x-stream-offset:first\n"] {
            let read = SubscribeRequest::read(&headers(block), &Options::default()).map(|r| r.mode);
            assert_eq!(read.unwrap_err().kind(), ErrorKind::Unavailable, "{block}");
        }
        for block in ["ack:sometimes\n", "prefetch-count:x\n", "x-priority:high\n"] {
            let read = SubscribeRequest::read(&headers(block), &Options::default()).map(|r| r.mode);
            assert_eq!(read.unwrap_err().kind(), ErrorKind::Invalid, "{block}");
        }
    }
}
