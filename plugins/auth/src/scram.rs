//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677): what is kept of a password for it. It cannot be made of
//! another hash later, so it is made whenever a password is hashed. The exchange is in [`exchange`].
//!
//! Its text is that of PostgreSQL and of RFC 5803: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, base64.

pub mod exchange;
pub mod login;

use crate::keyed::{ProcessKey, keyed};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crossdock_core::{Error, ErrorKind, Secret};
use hmac::Mac;
use sha2::{Digest, Sha256, Sha512};
use std::fmt;

/// Iterations of PBKDF2 for a new password. RFC 7677 §4 asks for at least 4,096; a client spends them at each login.
pub const ITERATIONS: u32 = 8_192;
/// Fewest iterations that are read.
const ITERATIONS_MIN: u32 = 4_096;
/// Most iterations that are read: a client takes about a second for them.
const ITERATIONS_MAX: u32 = 1_000_000;
/// Bytes of a new salt.
const SALT_BYTES: usize = 16;
/// Bytes of a salt that is read.
const SALT_BYTES_READ: std::ops::RangeInclusive<usize> = 8..=64;

/// One of the two mechanisms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    Sha256,
    Sha512,
}

impl Mechanism {
    /// The mechanism that SASL calls so.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// Its name in SASL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SCRAM-SHA-256",
            Self::Sha512 => "SCRAM-SHA-512",
        }
    }

    /// Bytes of its hashes.
    fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// RFC 5802 §2.2: HMAC(key, text).
    fn hmac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => {
                keyed::<Sha256>(key).chain_update(text).finalize().into_bytes().to_vec()
            }
            Self::Sha512 => {
                keyed::<Sha512>(key).chain_update(text).finalize().into_bytes().to_vec()
            }
        }
    }

    /// RFC 5802 §2.2: H(text).
    fn hash(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha512 => Sha512::digest(text).to_vec(),
        }
    }

    /// RFC 5802 §2.2: Hi(text, salt, iterations).
    fn stretched(self, text: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut made = vec![0; self.bytes()];
        match self {
            Self::Sha256 => pbkdf2::pbkdf2_hmac::<Sha256>(text, salt, iterations, &mut made),
            Self::Sha512 => pbkdf2::pbkdf2_hmac::<Sha512>(text, salt, iterations, &mut made),
        }
        made
    }
}

/// What the server keeps of a password for one mechanism. It does not open anything by itself, but whoever has it can
/// pretend to be the server, and try passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    mechanism: Mechanism,
    iterations: u32,
    salt: Vec<u8>,
    /// H(ClientKey): what a client's proof is checked against.
    stored: Vec<u8>,
    /// What the server proves itself with.
    server: Vec<u8>,
}

impl ScramKeys {
    /// The keys of a new password, with a salt of their own. Takes some milliseconds.
    /// [`ErrorKind::Internal`]: the system has no random bytes.
    pub fn make(mechanism: Mechanism, password: &Secret) -> Result<Self, Error> {
        let mut salt = [0; SALT_BYTES];
        crate::random(&mut salt)?;
        Ok(Self::derive(mechanism, password, &salt, ITERATIONS))
    }

    /// RFC 5802 §3.
    fn derive(mechanism: Mechanism, password: &Secret, salt: &[u8], iterations: u32) -> Self {
        let salted = mechanism.stretched(&prepared(password), salt, iterations);
        let client = mechanism.hmac(&salted, b"Client Key");
        Self {
            mechanism,
            iterations,
            salt: salt.to_vec(),
            stored: mechanism.hash(&client),
            server: mechanism.hmac(&salted, b"Server Key"),
        }
    }

    /// What an unknown user is challenged with: always the same for one name, and no password opens it, because no key
    /// is known whose hash `stored` would be.
    fn decoy(mechanism: Mechanism, user: &str, key: &ProcessKey) -> Self {
        let made = |what: &[u8]| key.of(&[what, mechanism.name().as_bytes(), user.as_bytes()]);
        let long = |what: &[u8]| mechanism.hmac(&made(what), b"");
        let mut salt = made(b"scram salt").to_vec();
        salt.truncate(SALT_BYTES);
        let (stored, server) = (long(b"scram stored key"), long(b"scram server key"));
        Self { mechanism, iterations: ITERATIONS, salt, stored, server }
    }

    /// Which mechanism they are for.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The text that [`parse`](Self::parse) reads.
    pub fn text(&self) -> String {
        let [salt, stored, server] =
            [&self.salt, &self.stored, &self.server].map(|bytes| BASE64_STANDARD.encode(bytes));
        format!("{}${}:{salt}${stored}:{server}", self.mechanism.name(), self.iterations)
    }

    /// Reads what [`text`](Self::text) wrote. The error, [`ErrorKind::Invalid`], says what is wrong, and does not
    /// repeat the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let parts = || {
            let (mechanism, rest) = text.split_once('$')?;
            let (cost, keys) = rest.split_once('$')?;
            let (iterations, salt) = cost.split_once(':')?;
            let (stored, server) = keys.split_once(':')?;
            Some((mechanism, iterations, salt, stored, server))
        };
        let (mechanism, iterations, salt, stored, server) = parts().ok_or_else(|| {
            invalid("SCRAM keys have the form SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")
        })?;
        let mechanism = Mechanism::named(mechanism)
            .ok_or_else(|| invalid("the mechanism is not SCRAM-SHA-256 or SCRAM-SHA-512"))?;
        let asked = iterations.parse().ok();
        let iterations = asked.filter(|n| (ITERATIONS_MIN..=ITERATIONS_MAX).contains(n));
        let iterations = iterations.ok_or_else(|| {
            invalid(format!(
                "the iterations are a number from {ITERATIONS_MIN} to {ITERATIONS_MAX}"
            ))
        })?;
        let part = |what: &str, text: &str| {
            let bytes = BASE64_STANDARD.decode(text);
            bytes.map_err(|why| invalid(format!("the {what} is not base64: {why}")))
        };
        let (salt, stored, server) =
            (part("salt", salt)?, part("StoredKey", stored)?, part("ServerKey", server)?);
        if !SALT_BYTES_READ.contains(&salt.len()) {
            return Err(invalid("the salt has from 8 to 64 bytes"));
        }
        let bytes = mechanism.bytes();
        if stored.len() != bytes || server.len() != bytes {
            let name = mechanism.name();
            return Err(invalid(format!(
                "StoredKey and ServerKey of {name} have {bytes} bytes each"
            )));
        }
        Ok(Self { mechanism, iterations, salt, stored, server })
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramKeys({}, {}, ***)", self.mechanism.name(), self.iterations)
    }
}

/// A password as SCRAM hashes it: by SASLprep (RFC 4013). What SASLprep does not take, because it is no UTF-8 or has
/// characters that it prohibits, stays as it is: clients do the same, and such a password works as well as any.
fn prepared(password: &Secret) -> Vec<u8> {
    let text = std::str::from_utf8(&password.0).ok();
    let prepared = text.and_then(|text| stringprep::saslprep(text).ok());
    prepared.map_or_else(|| password.0.to_vec(), |text| text.as_bytes().to_vec())
}

fn invalid(why: impl Into<std::sync::Arc<str>>) -> Error {
    Error::new(ErrorKind::Invalid, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn secret(bytes: &[u8]) -> Secret {
        Secret(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn keys_survive_their_text_and_print_nothing_secret() {
        for mechanism in [Mechanism::Sha256, Mechanism::Sha512] {
            let keys = ScramKeys::make(mechanism, &secret(b"pencil")).expect("keys");
            assert_eq!(ScramKeys::parse(&keys.text()).expect("the same"), keys);
            assert_ne!(keys, ScramKeys::make(mechanism, &secret(b"pencil")).expect("keys"));
            let shown = format!("{keys:?}");
            assert_eq!(shown, format!("ScramKeys({}, 8192, ***)", mechanism.name()));
        }
    }

    #[test]
    fn what_are_no_keys_is_refused_with_the_reason() {
        let b64 = |bytes: usize| BASE64_STANDARD.encode(vec![1u8; bytes]);
        let text =
            |mechanism: &str, iterations: &str, salt: usize, stored: usize, server: usize| {
                let (salt, stored, server) = (b64(salt), b64(stored), b64(server));
                format!("{mechanism}${iterations}:{salt}${stored}:{server}")
            };
        assert!(ScramKeys::parse(&text("SCRAM-SHA-256", "4096", 16, 32, 32)).is_ok());
        for (text, why) in [
            (String::new(), "have the form"),
            ("SCRAM-SHA-256$4096:AAAA".to_owned(), "have the form"),
            (text("SCRAM-SHA-1", "4096", 16, 20, 20), "mechanism"),
            (text("SCRAM-SHA-256", "4095", 16, 32, 32), "from 4096"),
            (text("SCRAM-SHA-256", "1000001", 16, 32, 32), "to 1000000"),
            (text("SCRAM-SHA-256", "many", 16, 32, 32), "number"),
            (text("SCRAM-SHA-256", "4096", 7, 32, 32), "8 to 64"),
            (text("SCRAM-SHA-256", "4096", 65, 32, 32), "8 to 64"),
            (text("SCRAM-SHA-256", "4096", 16, 31, 32), "32 bytes each"),
            (text("SCRAM-SHA-512", "4096", 16, 64, 32), "64 bytes each"),
            (text("SCRAM-SHA-256", "4096", 16, 32, 32).replace("$AQ", "$!Q"), "StoredKey"),
        ] {
            let error = ScramKeys::parse(&text).expect_err(&text);
            assert!(error.detail().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn passwords_that_saslprep_joins_are_one_and_those_it_refuses_stay() {
        // RFC 4013 §3: a soft hyphen goes, compatibility characters are replaced, other cases stay apart.
        assert_eq!(prepared(&secret("I\u{ad}X".as_bytes())), b"IX");
        assert_eq!(prepared(&secret("\u{2168}".as_bytes())), b"IX");
        assert_eq!(prepared(&secret(b"user")), b"user");
        assert_eq!(prepared(&secret(b"USER")), b"USER");
        assert_eq!(prepared(&secret(b"a\x07b")), b"a\x07b");
        assert_eq!(prepared(&secret(b"a\xffb")), b"a\xffb");
    }

    #[test]
    fn an_unknown_user_has_always_the_same_challenge() {
        let key = ProcessKey::new(&[3; 32]);
        let decoy = |user: &str, key: &ProcessKey| ScramKeys::decoy(Mechanism::Sha512, user, key);
        assert_eq!(decoy("nobody", &key), decoy("nobody", &key));
        assert_ne!(decoy("nobody", &key).salt, decoy("no-one", &key).salt);
        assert_ne!(decoy("nobody", &key).salt, decoy("nobody", &ProcessKey::new(&[4; 32])).salt);
        let like = ScramKeys::make(Mechanism::Sha512, &secret(b"pencil")).expect("keys");
        let decoy = decoy("nobody", &key);
        assert_eq!(decoy.text().len(), like.text().len());
        assert_eq!(decoy.iterations, like.iterations);
    }
}
