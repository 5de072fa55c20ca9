//! What the headers of a SEND ask of the broker, in one pass and without a copy.

use super::destination::Cast;
use super::headers::{integer, truth};
use super::queue::names_arguments;
use super::titles::{MISSING_DESTINATION, titled};
use crate::codec::{Header, Headers};
use crossdock_core::{Error, ErrorKind, Group, Meta, Origin, Timestamp};
use std::sync::Arc;

/// No message that is sent today expired before 2001 (milliseconds since 1970): an `expires` below that is a number of
/// seconds, or something else of the application.
const EXPIRES_MIN: u64 = 978_307_200_000;

/// True for a value of `expires` that is no time to expire at, and not "never" either.
pub(super) fn is_applications(expires: Header<'_>) -> bool {
    integer::<u64>(expires).is_ok_and(|at| (1..EXPIRES_MIN).contains(&at))
}

/// A SEND's headers as far as the broker acts on them.
#[derive(Debug)]
pub(crate) struct SendRequest<'a> {
    pub destination: Header<'a>,
    pub cast: Option<Cast>,
    pub transaction: Option<Header<'a>>,
    pub reply_to: Option<Header<'a>>,
    /// Some headers are arguments of the queue, if it is one that is declared.
    pub arguments: bool,
    /// A refusal is reported on the RECEIPT instead of ending the connection.
    pub soft: bool,
    durable: bool,
    retain: bool,
    priority: Option<u8>,
    expires: Option<Timestamp>,
    group: Option<Group>,
    /// Routed then, not now.
    pub due: Option<Timestamp>,
}

/// First occurrences, before they are understood.
#[derive(Default)]
struct Raw<'a> {
    destination: Option<Header<'a>>,
    cast: Option<Header<'a>>,
    transaction: Option<Header<'a>>,
    reply_to: Option<Header<'a>>,
    soft: Option<Header<'a>>,
    persistent: Option<Header<'a>>,
    retain: Option<Header<'a>>,
    priority: Option<Header<'a>>,
    expires: Option<Header<'a>>,
    expiration: Option<Header<'a>>,
    delay: Option<Header<'a>>,
    time: Option<Header<'a>>,
    /// The name of its group, and its number there.
    group: (Option<Header<'a>>, Option<Header<'a>>),
    arguments: bool,
}

impl<'a> SendRequest<'a> {
    /// Reads and checks them. `user` is who logged in.
    pub(crate) fn read(headers: &'a Headers, now: Timestamp, user: &str) -> Result<Self, Error> {
        let mut raw = Raw::default();
        for header in headers.iter() {
            raw.take(header, user)?;
        }
        let is_true = |header: Option<Header<'_>>| header.is_some_and(truth);
        let cast = raw.cast.map(|header| Cast::parse(&header.value())).transpose()?;
        Ok(SendRequest {
            destination: raw.destination.ok_or_else(without_destination)?,
            cast,
            transaction: raw.transaction,
            reply_to: raw.reply_to,
            arguments: raw.arguments,
            soft: is_true(raw.soft),
            durable: is_true(raw.persistent),
            retain: is_true(raw.retain),
            priority: raw.priority.map(integer).transpose()?,
            expires: raw.expires_at(now)?,
            group: raw.group.0.and_then(|name| group(name, raw.group.1)),
            due: raw.due(now)?,
        })
    }

    /// True for a message whose time is over before it is there.
    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= self.due.unwrap_or(now))
    }

    /// What the broker acts on, of a message published now.
    pub(crate) fn meta(&self, origin: &Arc<Origin>, now: Timestamp) -> Meta {
        let mut meta = Meta::new(origin.clone(), now);
        meta.durable = self.durable;
        meta.level = u8::from(self.durable);
        meta.priority = self.priority;
        meta.expires = self.expires;
        meta.group = self.group;
        meta.retain = self.retain;
        meta
    }
}

/// The message group of JMS; a number that is none is the application's. An empty name is no group.
#[cold]
fn group(name: Header<'_>, sequence: Option<Header<'_>>) -> Option<Group> {
    let name = name.value();
    let sequence = sequence.and_then(|header| integer::<i64>(header).ok());
    (!name.is_empty()).then(|| Group::of(name.as_bytes(), sequence))
}

#[cold]
fn without_destination() -> Error {
    titled(MISSING_DESTINATION, "SEND needs the header 'destination'")
}

impl<'a> Raw<'a> {
    fn take(&mut self, header: Header<'a>, user: &str) -> Result<(), Error> {
        let slot = match header.raw_name {
            b"destination" => &mut self.destination,
            b"destination-type" => &mut self.cast,
            b"transaction" => &mut self.transaction,
            b"reply-to" => &mut self.reply_to,
            b"mq-soft-errors" => &mut self.soft,
            b"persistent" => &mut self.persistent,
            b"retain" => &mut self.retain,
            b"priority" => &mut self.priority,
            b"expires" => &mut self.expires,
            b"expiration" => &mut self.expiration,
            b"AMQ_SCHEDULED_DELAY" => &mut self.delay,
            b"AMQ_SCHEDULED_TIME" => &mut self.time,
            b"JMSXGroupID" => &mut self.group.0,
            b"JMSXGroupSeq" => &mut self.group.1,
            b"AMQ_SCHEDULED_PERIOD" | b"AMQ_SCHEDULED_REPEAT" | b"AMQ_SCHEDULED_CRON" => {
                let detail = "repeated delivery is not supported";
                return Err(Error::new(ErrorKind::Unavailable, detail));
            }
            // docs/SEMANTICS.md §3: the user id is validated, and never filled in by the broker.
            // JMSXUserID is the application's: JMS clients set it to whom they speak for.
            b"user-id" => {
                return match header.value() == user {
                    true => Ok(()),
                    false => {
                        let detail = "the user-id is not the user that logged in";
                        Err(Error::new(ErrorKind::Mismatch, detail))
                    }
                };
            }
            _ => {
                self.arguments |= names_arguments(header);
                return Ok(());
            }
        };
        // STOMP 1.2 §Repeated Header Entries: only the first counts.
        slot.get_or_insert(header);
        Ok(())
    }

    /// `expires` is absolute and 0 is never; `expiration` is relative; of both the earlier counts.
    fn expires_at(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let absolute = self.expires.map(integer::<u64>).transpose()?;
        let absolute = absolute.filter(|at| *at >= EXPIRES_MIN);
        let relative = self.expiration.map(integer::<u64>).transpose()?;
        let relative = relative.map(|ms| now.plus(ms));
        let absolute = absolute.map(Timestamp);
        Ok(match (absolute, relative) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        })
    }

    /// A time and a delay: the later counts; what is past is due at once, which is no delay.
    fn due(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let time = self.time.map(integer::<u64>).transpose()?.map(Timestamp);
        let delay = self.delay.map(integer::<u64>).transpose()?.map(|ms| now.plus(ms));
        Ok(time.max(delay).filter(|due| *due > now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Version;
    use bytes::Bytes;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn meta(block: &'static str) -> Result<Meta, Error> {
        let block = format!("destination:/queue/q\n{block}");
        let headers = Headers::parse(Bytes::from(block), Version::V12.rules()).unwrap();
        let request = SendRequest::read(&headers, NOW, "guest")?;
        Ok(request.meta(&Arc::default(), NOW))
    }

    #[test]
    fn durability_and_level() {
        let of = |block| meta(block).map(|m| (m.durable, m.level, m.retain)).unwrap();
        assert_eq!(of(""), (false, 0, false));
        assert_eq!(of("persistent:true\nretain:true\n"), (true, 1, true));
        assert_eq!(of("persistent:false\npersistent:true\n"), (false, 0, false));
    }

    #[test]
    fn priority_as_sent() {
        assert_eq!(meta("").unwrap().priority, None);
        assert_eq!(meta("priority:0\n").unwrap().priority, Some(0));
        assert_eq!(meta("priority:255\n").unwrap().priority, Some(255));
        assert_eq!(
            meta("priority:256\n").map(|m| m.priority).unwrap_err().kind(),
            ErrorKind::Invalid
        );
    }

    #[test]
    fn groups() {
        let of = |block| meta(block).unwrap().group;
        assert_eq!(of("JMSXGroupSeq:1\n"), None);
        assert_eq!(of("JMSXGroupID:\n"), None);
        assert_eq!(of("JMSXGroupID:g\nJMSXGroupSeq:x\n"), Some(Group::of(b"g", None)));
        assert_eq!(of("JMSXGroupID:g\nJMSXGroupSeq:-1\n"), Some(Group::of(b"g", Some(-1))));
    }

    #[test]
    fn the_earlier_expiry_counts() {
        let of = |block| meta(block).unwrap().expires.map(|at| at.0);
        assert_eq!(of("expires:0\n"), None);
        assert_eq!(of("expires:0\nexpiration:5\n"), Some(1_000_005));
        assert_eq!(of("expires:978307200001\n"), Some(978_307_200_001));
        assert_eq!(of("expires:978307200001\nexpiration:978308200001\n"), Some(978_307_200_001));
        assert_eq!(of("expires:978307200001\nexpiration:5\n"), Some(1_000_005));
        // What was over before 2001 is no time to expire at.
        assert_eq!(of("expires:3600\n"), None);
        assert_eq!(of("expires:978307199999\nexpiration:5\n"), Some(1_000_005));
        assert_eq!(of("expiration:18446744073709551615\n"), Some(u64::MAX));
        assert_eq!(of("expiration:0\n"), Some(1_000_000));
    }

    #[test]
    fn what_is_refused() {
        let kind = |block| meta(block).map(|m| m.level).unwrap_err().kind();
        assert_eq!(kind("user-id:root\n"), ErrorKind::Mismatch);
        assert_eq!(kind("JMSXUserID:guest\nuser-id:root\n"), ErrorKind::Mismatch);
        assert_eq!(kind("AMQ_SCHEDULED_CRON:* * * * *\n"), ErrorKind::Unavailable);
        assert_eq!(kind("expires:soon\n"), ErrorKind::Invalid);
        assert!(meta("user-id:guest\nJMSXUserID:root\n").is_ok());
    }

    #[test]
    fn delays() {
        let due = |block: &str| {
            let block = format!("destination:/queue/q\n{block}");
            let headers = Headers::parse(Bytes::from(block), Version::V12.rules()).unwrap();
            SendRequest::read(&headers, NOW, "guest").unwrap().due.map(|at| at.0)
        };
        assert_eq!(due("AMQ_SCHEDULED_DELAY:500\n"), Some(1_000_500));
        assert_eq!(due("AMQ_SCHEDULED_DELAY:0\n"), None);
        assert_eq!(due("AMQ_SCHEDULED_TIME:1\n"), None);
        assert_eq!(due("AMQ_SCHEDULED_TIME:2000000\nAMQ_SCHEDULED_DELAY:5\n"), Some(2_000_000));
    }
}
