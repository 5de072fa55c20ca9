//! Tells by the first bytes of a connection what the peer speaks: one of the listener's protocols, or something that
//! shows that it came to the wrong port.

use crossdock_core::{Protocol, Sniff};
use std::sync::Arc;

/// More bytes than this are needed to recognise no protocol.
const SNIFF_BYTES: usize = 64;
/// How requests of web browsers and their like begin. They are at home where a protocol of the listener is HTTP.
const REQUESTS: [&[u8]; 5] = [b"GET ", b"POST ", b"HEAD ", b"OPTIONS ", b"PRI "];
/// The record of a handshake, in any version of TLS (RFC 8446, 5.1).
const CLIENT_HELLO: &[u8] = &[0x16, 0x03];

/// What the first bytes are that do not belong on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    /// None of these.
    No,
    /// It may be one of these: more bytes tell.
    More,
    Tls,
    Http,
}

/// What is at the other end of a connection that began so; at least one byte.
pub(super) fn stranger(head: &[u8]) -> Stranger {
    let mut answer = Stranger::No;
    for (start, is) in REQUESTS
        .map(|start| (start, Stranger::Http))
        .into_iter()
        .chain([(CLIENT_HELLO, Stranger::Tls)])
    {
        if head.starts_with(start) {
            return is;
        }
        if start.starts_with(head) {
            answer = Stranger::More;
        }
    }
    answer
}

/// Which of the protocols begins so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recognised {
    /// The protocol with this index.
    At(usize),
    None,
    More,
}

/// Asks the protocols whether the connection is theirs. A listener's only protocol is not asked.
pub(super) fn recognise(head: &[u8], protocols: &[Arc<dyn Protocol>]) -> Recognised {
    if protocols.len() == 1 {
        return Recognised::At(0);
    }
    let mut more = false;
    for (index, protocol) in protocols.iter().enumerate() {
        match protocol.sniff(head) {
            Sniff::Yes => return Recognised::At(index),
            Sniff::More => more = true,
            Sniff::No => {}
        }
    }
    match more && head.len() <= SNIFF_BYTES {
        true => Recognised::More,
        false => Recognised::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_as_soon_as_their_bytes_tell() {
        for (bytes, is) in [
            (&b"\x16\x03\x01\x02\0"[..], Stranger::Tls),
            (b"GET / HTTP/1.1\r\n", Stranger::Http),
            (b"PRI * HTTP/2.0\r\n", Stranger::Http),
            (b"OPTIONS * HTTP/1.1\r\n", Stranger::Http),
        ] {
            let told = (1..=bytes.len()).map(|cut| stranger(&bytes[..cut]));
            let first = told.clone().position(|answer| answer == is).unwrap();
            assert!(told.clone().take(first).all(|answer| answer == Stranger::More));
            assert!(told.skip(first).all(|answer| answer == is));
        }
    }

    #[test]
    fn clients_of_the_protocols_are_no_strangers() {
        for bytes in
            [&b"\x10\x0c\0\x04MQTT"[..], b"AMQP\0\0\x09\x01", b"STOMP\n", b"CONNECT\n", b"\n\nCO"]
        {
            for cut in 1..=bytes.len() {
                assert_eq!(stranger(&bytes[..cut]), Stranger::No, "{bytes:?} cut at {cut}");
            }
        }
    }
}
