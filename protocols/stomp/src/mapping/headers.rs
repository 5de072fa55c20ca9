//! Reading values of single headers, and writing a header block with one value changed.

use super::invalid;
use super::titles::{MISSING_DESTINATION, MISSING_HEADER, titled};
use crate::codec::{Header, Headers, Rules, Writer};
use crate::options::{Door, Speech, TimeUnit};
use bytes::{Bytes, BytesMut};
use crossdock_core::Error;
use std::borrow::Cow;
use std::str::FromStr;

/// The first header of that name; it is required.
pub(crate) fn required<'a>(headers: &'a Headers, name: &str) -> Result<Cow<'a, str>, Error> {
    headers.get(name).ok_or_else(|| match name {
        "destination" => titled(MISSING_DESTINATION, "the header 'destination' is missing"),
        name => titled(MISSING_HEADER, format!("the header '{name}' is missing")),
    })
}

/// True for the word `true`, in any case.
pub(crate) fn truth(header: Header<'_>) -> bool {
    header.raw_value.trim_ascii().eq_ignore_ascii_case(b"true")
}

/// A whole number.
pub(super) fn integer<T: FromStr>(header: Header<'_>) -> Result<T, Error> {
    let number = header.value().trim().parse();
    number.map_err(|_| invalid(format!("the header '{}' is not a valid number", header.name())))
}

/// The same block with another value of the first header `name`.
pub(crate) fn replaced(headers: &Headers, name: &str, value: &str) -> Result<Bytes, Error> {
    let mut block = BytesMut::with_capacity(headers.block().len() + value.len());
    let mut writer = Writer::go_on(&mut block, headers.rules());
    let mut done = false;
    for header in headers.iter() {
        if done || header.raw_name != name.as_bytes() {
            writer.line(header.raw_name, header.raw_value);
            continue;
        }
        done = true;
        if !writer.header(name, value) {
            return Err(invalid(format!("this version cannot say the value of '{name}'")));
        }
    }
    Ok(block.freeze())
}

/// A SEND's header block as it would be without the habits that its listener allows: a timestamp in milliseconds, and
/// a body without a length and a type as text. So readers at any listener understand it.
#[cold]
pub(crate) fn in_our_habits(block: Bytes, rules: Rules, door: &Door) -> Result<Bytes, Error> {
    let fault = |fault: crate::codec::Fault| invalid(fault.to_string());
    let mut headers = Headers::parse(block, rules).map_err(fault)?;
    let seconds = match door.timestamps {
        TimeUnit::Seconds => headers.get("timestamp").and_then(|text| text.trim().parse().ok()),
        TimeUnit::Milliseconds => None,
    };
    if let Some(seconds) = seconds {
        let ms = i64::saturating_mul(seconds, 1000).to_string();
        headers = Headers::parse(replaced(&headers, "timestamp", &ms)?, rules).map_err(fault)?;
    }
    let says_type = ["content-length", "content-type", "amq-msg-type"];
    if door.speech != Speech::ActiveMq || says_type.iter().any(|name| headers.find(name).is_some())
    {
        return Ok(headers.block().clone());
    }
    let mut block = BytesMut::from(&headers.block()[..]);
    Writer::go_on(&mut block, rules).line(b"amq-msg-type", b"text");
    Ok(block.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Version;

    #[test]
    fn habits_of_a_listener_are_undone() {
        let rules = Version::V12.rules();
        let of = |block: &'static str, door: &Door| {
            let block = Bytes::from_static(block.as_bytes());
            String::from_utf8(in_our_habits(block, rules, door).unwrap().to_vec()).unwrap()
        };
        let seconds = Door { timestamps: TimeUnit::Seconds, ..Door::default() };
        assert_eq!(of("a:b\ntimestamp:17\n", &seconds), "a:b\ntimestamp:17000\n");
        assert_eq!(of("timestamp:x\n", &seconds), "timestamp:x\n");
        let activemq = Door { speech: Speech::ActiveMq, ..Door::default() };
        assert_eq!(of("timestamp:17\n", &activemq), "timestamp:17\namq-msg-type:text\n");
        for block in ["content-length:1\n", "content-type:a/b\n", "amq-msg-type:bytes\n"] {
            assert_eq!(of(block, &activemq), block);
        }
    }

    fn headers(block: &'static str) -> Headers {
        Headers::parse(Bytes::from_static(block.as_bytes()), Version::V12.rules()).unwrap()
    }

    #[test]
    fn one_value_changes_and_the_rest_stays() {
        let block = headers("a:x\\cy\nreply-to:/temp-queue/r\nreply-to:second\n");
        let new = replaced(&block, "reply-to", "/reply-queue/a:b").unwrap();
        assert_eq!(&new[..], b"a:x\\cy\nreply-to:/reply-queue/a\\cb\nreply-to:second\n");
    }

    #[test]
    fn single_values() {
        let block = headers("t:TRUE\nf:yes\nn: 12\nbad:1x\n");
        let of = |name| block.find(name).unwrap();
        assert!(truth(of("t")) && !truth(of("f")));
        assert_eq!(integer::<u64>(of("n")).unwrap(), 12);
        assert!(integer::<u8>(of("bad")).is_err());
        assert!(required(&block, "absent").is_err());
    }
}
