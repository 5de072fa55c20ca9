//! Where a login comes from, and for whom, as it is kept in tables: of fixed size, and without the name.

use crate::keyed::ProcessKey;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, as far as one peer can choose it: a whole IPv4 address, or the first 64 bits of an IPv6 one, because the
/// others are the peer's own choice (RFC 4291 §2.5.1). An IPv4 address in IPv6's form is the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    V4(Ipv4Addr),
    V6(u64),
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(high) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*high) << 64)),
        }
    }
}

/// Stands for a user's name, whatever its length. Nobody without the process's key can tell which name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UserId([u8; 32]);

impl UserId {
    pub(crate) fn of(user: &str, key: &ProcessKey) -> Self {
        Self(key.of(&[b"user", user.as_bytes()]))
    }
}

/// Who tries from where: failures are counted by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    pub(crate) user: UserId,
    pub(crate) origin: Origin,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_one_peer_can_choose_between_are_one_origin() {
        let of = |text: &str| Origin::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1").to_string(), "192.0.2.1");
        assert_eq!(of("2001:db8:1:2:ffff::9").to_string(), "2001:db8:1:2::/64");
    }
}
