//! The PROXY protocol, versions 1 and 2: the header in which a load balancer names the client that it speaks for. The
//! sections are those of the specification by HAProxy ("The PROXY protocol", 2020/03/05).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The signature of version 2 (2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1 in bytes, its end included (2.1).
const LINE_MAX: usize = 107;
/// The fixed part of version 2 in bytes.
const FIXED: usize = 16;
/// Bytes behind the fixed part that are taken: a header of 536 bytes, and 4 KiB of extensions, which are skipped.
const REST_MAX: usize = 536 - FIXED + 4096;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Header {
    /// Not all of a header yet.
    More,
    /// A header of `length` bytes. `source` is the client; none: the connection is the load balancer's own, or it does
    /// not know for whom it is.
    Whole { length: usize, source: Option<SocketAddr> },
    /// No header, and why.
    Bad(&'static str),
}

/// Reads the header at the front of `head`.
pub(super) fn header(head: &[u8]) -> Header {
    let is_start_of = |whole: &[u8]| whole.starts_with(head.get(..whole.len()).unwrap_or(head));
    if is_start_of(SIGNATURE) {
        binary(head).unwrap_or(Header::More)
    } else if is_start_of(b"PROXY ") {
        line(head)
    } else {
        Header::Bad("the connection does not begin with a PROXY header")
    }
}

/// Version 1 (2.1).
fn line(head: &[u8]) -> Header {
    let window = head.get(..LINE_MAX).unwrap_or(head);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return match head.len() < LINE_MAX {
            true => Header::More,
            false => Header::Bad("the PROXY line is longer than 107 bytes"),
        };
    };
    let text = head.get(..end).and_then(|line| str::from_utf8(line).ok()).unwrap_or_default();
    let words: Vec<&str> = text.split(' ').collect();
    let source = match *words {
        ["PROXY", "TCP4", from, to, port, to_port] => {
            both(from.parse::<Ipv4Addr>(), to.parse::<Ipv4Addr>(), port, to_port)
        }
        ["PROXY", "TCP6", from, to, port, to_port] => {
            both(from.parse::<Ipv6Addr>(), to.parse::<Ipv6Addr>(), port, to_port)
        }
        // Whatever stands behind UNKNOWN is to be ignored.
        ["PROXY", "UNKNOWN", ..] => Some(None),
        _ => None,
    };
    match source {
        Some(source) => Header::Whole { length: end + 2, source },
        None => Header::Bad("the PROXY line is malformed"),
    }
}

/// The source of a line whose both ends are well-formed.
fn both<I: Into<std::net::IpAddr>, E>(
    from: Result<I, E>,
    to: Result<I, E>,
    port: &str,
    to_port: &str,
) -> Option<Option<SocketAddr>> {
    let (from, _, port, _) = (from.ok()?, to.ok()?, decimal(port)?, decimal(to_port)?);
    Some(Some(SocketAddr::new(from.into(), port)))
}

/// A port number, without a sign.
fn decimal(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Version 2 (2.2); none: more bytes are needed.
fn binary(head: &[u8]) -> Option<Header> {
    let (&command, &family) = (head.get(12)?, head.get(13)?);
    let length = usize::from(u16::from_be_bytes([*head.get(14)?, *head.get(15)?]));
    if length > REST_MAX {
        return Some(Header::Bad("the PROXY header is longer than 4632 bytes"));
    }
    let rest = head.get(FIXED..FIXED + length)?;
    let source = match (command, family) {
        // LOCAL: the load balancer looks whether somebody is there.
        (0x20, _) => Some(None),
        // PROXY, of an unspecified family or from a local socket: the client has no address.
        (0x21, 0x00 | 0x31) => Some(None),
        (0x21, 0x11) => source_v4(rest).map(Some),
        (0x21, 0x21) => source_v6(rest).map(Some),
        _ => None,
    };
    Some(match source {
        Some(source) => Header::Whole { length: FIXED + length, source },
        None => Header::Bad("the PROXY header is of no version, command or address family of TCP"),
    })
}

/// Source address, destination address, source port, destination port.
fn source_v4(rest: &[u8]) -> Option<SocketAddr> {
    let (address, rest) = rest.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    Some((*address, ports(rest)?).into())
}

/// The same with longer addresses.
fn source_v6(rest: &[u8]) -> Option<SocketAddr> {
    let (address, rest) = rest.split_first_chunk::<16>()?;
    let (_, rest) = rest.split_first_chunk::<16>()?;
    Some((*address, ports(rest)?).into())
}

fn ports(rest: &[u8]) -> Option<u16> {
    let (source, _) = rest.first_chunk::<4>()?.split_first_chunk::<2>()?;
    Some(u16::from_be_bytes(*source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn whole(bytes: &[u8], source: Option<&str>) {
        let source = source.map(|text| text.parse().unwrap());
        let want = Header::Whole { length: bytes.len(), source };
        assert_eq!(header(&[bytes, b"\x10\x0cMQTT"].concat()), want);
        for cut in 0..bytes.len() {
            assert_eq!(header(&bytes[..cut]), Header::More, "cut at {cut}");
        }
    }

    fn bad(bytes: &[u8]) {
        assert!(matches!(header(bytes), Header::Bad(_)), "{:?}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn lines_name_the_client() {
        whole(b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", Some("192.0.2.7:56324"));
        whole(b"PROXY TCP6 2001:db8::7 ::1 65535 443\r\n", Some("[2001:db8::7]:65535"));
        whole(b"PROXY UNKNOWN\r\n", None);
        whole(b"PROXY UNKNOWN ffff::1 what ever\r\n", None);
        let longest = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 91], b"\r\n".to_vec()].concat();
        assert_eq!(longest.len(), LINE_MAX);
        whole(&longest, None);
    }

    #[test]
    fn other_lines_are_refused() {
        bad(&[b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 92], b"\r\n".to_vec()].concat());
        bad(b"PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n");
        bad(b"PROXY TCP4 192.0.2.7 10.0.0.1 +5632 443\r\n");
        bad(b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n");
        bad(b"PROXY TCP4 2001:db8::7 ::1 1 443\r\n");
        bad(b"PROXY TCP4  192.0.2.7 10.0.0.1 1 443\r\n");
        bad(b"PROXY TCP5 192.0.2.7 10.0.0.1 1 443\r\n");
        bad(b"PROXY\r\n");
        bad(b"proxy TCP4");
        bad(b"\x10\x0c\0\x04MQTT");
    }

    #[test]
    fn binary_headers_name_the_client() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 1, 187];
        whole(&v2(0x21, 0x11, &v4), Some("192.0.2.7:56324"));
        let extended = [&v4[..], &[0x04; 4096]].concat();
        whole(&v2(0x21, 0x11, &extended), Some("192.0.2.7:56324"));
        let mut v6 = [0; 36];
        (v6[0], v6[1], v6[15], v6[33]) = (0x20, 0x01, 7, 80);
        whole(&v2(0x21, 0x21, &v6), Some("[2001::7]:80"));
        whole(&v2(0x20, 0, &[]), None);
        whole(&v2(0x20, 0x11, &v4), None);
        whole(&v2(0x21, 0x31, &[0; 216]), None);
    }

    #[test]
    fn other_binary_headers_are_refused() {
        bad(&v2(0x21, 0x11, &[0; 11]));
        bad(&v2(0x21, 0x21, &[0; 35]));
        bad(&v2(0x21, 0x12, &[0; 12]));
        bad(&v2(0x22, 0x11, &[0; 12]));
        bad(&v2(0x11, 0x11, &[0; 12]));
        bad(&v2(0x21, 0x11, &[0; REST_MAX + 1])[..FIXED]);
    }
}
