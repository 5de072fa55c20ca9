//! Hashes of passwords: made with Argon2id, read also from what Mosquitto and RabbitMQ wrote. A hash says whether a
//! password is the right one, and nothing else: who may try how often is `verify`.
//!
//! | text | what it is | from |
//! |---|---|---|
//! | `$argon2id$v=19$m=…,t=…,p=…$salt$hash` | Argon2id, the PHC form | Crossdock, Mosquitto 2.1 |
//! | `$7$iterations$salt$hash` | PBKDF2-HMAC-SHA512, base64 | Mosquitto |
//! | `$6$salt$hash` | SHA-512 of password and salt, base64 | Mosquitto before 2.0 |
//! | base64 of 36 or 68 bytes | four bytes of salt, SHA-256 or SHA-512 of salt and password | RabbitMQ |
//!
//! All but Argon2id are *legacy*: taken, and to be replaced once the password is known. Comparisons take the same time
//! wherever the hashes differ. A parsed hash cannot cost more than the limits here.

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use crossdock_core::{Error, ErrorKind, Secret};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;
use std::sync::LazyLock;
use subtle::ConstantTimeEq;

/// Longest password, in bytes. A longer one is never right: what waits for a verification is kept in memory.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Memory of one new hash, in KiB.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes of one new hash over its memory.
const PASSES: u32 = 2;
/// Lanes of one new hash.
const LANES: u32 = 1;
/// Bytes of a new hash's salt.
const SALT_BYTES: usize = 16;

/// Most memory of a hash that is read, in KiB: 256 MiB.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
/// Most passes of a hash that is read.
const PASSES_MAX: u32 = 10;
/// Most lanes of a hash that is read.
const LANES_MAX: u32 = 16;
/// Most iterations of PBKDF2 that are read; they take about a second.
const ITERATIONS_MAX: u32 = 1_000_000;
/// Longest text that is read as a hash, in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// Longest salt that is read from Mosquitto, in bytes.
const SALT_BYTES_MAX: usize = 64;
/// Bytes of RabbitMQ's salt.
const RABBIT_SALT_BYTES: usize = 4;

/// What tells a right password from a wrong one.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: String,
    scheme: Scheme,
}

#[derive(Clone, PartialEq, Eq)]
enum Scheme {
    Argon2id {
        version: Version,
        params: Params,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    Pbkdf2 {
        iterations: u32,
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    /// Mosquitto's: SHA-512 of password, then salt.
    PasswordSalt512 {
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    /// RabbitMQ's: SHA-256 of salt, then password.
    SaltPassword256 {
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    /// RabbitMQ's: SHA-512 of salt, then password.
    SaltPassword512 {
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
}

impl PasswordHash {
    /// Reads a hash in one of the forms above. The error, [`ErrorKind::Invalid`], says what is wrong, and does not
    /// repeat the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(invalid(format!("a password hash has at most {TEXT_BYTES_MAX} bytes")));
        }
        let scheme = match text.split('$').collect::<Vec<_>>().as_slice() {
            ["", "argon2id", ..] => argon2id(text)?,
            ["", "7", iterations, salt, hash] => pbkdf2(iterations, salt, hash)?,
            ["", "6", salt, hash] => mosquitto_sha512(salt, hash)?,
            ["", kind @ ("argon2i" | "argon2d"), ..] => {
                return Err(invalid(format!("{kind} is not taken: make the hash with argon2id")));
            }
            ["", "2a" | "2b" | "2y", ..] => {
                return Err(invalid("bcrypt is not taken: make the hash with argon2id"));
            }
            ["", ..] => {
                return Err(invalid(
                    "the form of the password hash is not known: it begins with $argon2id$, $7$ or $6$",
                ));
            }
            _ => rabbitmq(text)?,
        };
        Ok(Self { text: text.to_owned(), scheme })
    }

    /// The text that [`parse`](Self::parse) reads again.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is to be replaced by a new one when its password is next known.
    pub fn is_legacy(&self) -> bool {
        !matches!(self.scheme, Scheme::Argon2id { .. })
    }
}

impl PasswordHash {
    /// Which of RabbitMQ's algorithms made it. None: it is not RabbitMQ's.
    pub(crate) fn rabbitmq_algorithm(&self) -> Option<&'static str> {
        match self.scheme {
            Scheme::SaltPassword256 { .. } => Some("sha256"),
            Scheme::SaltPassword512 { .. } => Some("sha512"),
            _ => None,
        }
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Argon2id { .. } => "argon2id",
            Scheme::Pbkdf2 { .. } => "pbkdf2-sha512",
            Scheme::PasswordSalt512 { .. } => "mosquitto sha-512",
            Scheme::SaltPassword256 { .. } => "rabbitmq sha-256",
            Scheme::SaltPassword512 { .. } => "rabbitmq sha-512",
        };
        write!(f, "PasswordHash({scheme}, ***)")
    }
}

/// A new hash, with a salt of its own. Takes some ten milliseconds and 19 MiB: not to be called on a thread that serves
/// connections. [`ErrorKind::Invalid`]: the password is empty or longer than [`PASSWORD_BYTES_MAX`];
/// [`ErrorKind::Internal`]: the system has no random bytes.
pub fn hash(password: &Secret) -> Result<PasswordHash, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|why| {
        Error::new(ErrorKind::Internal, format!("argon2 refused its parameters: {why}"))
    })?;
    hash_with(password, params)
}

/// [`hash`] at another cost: tests want many of them.
pub(crate) fn hash_with(password: &Secret, params: Params) -> Result<PasswordHash, Error> {
    check_new(password)?;
    let mut salt = [0; SALT_BYTES];
    crate::random(&mut salt)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let made = argon2.hash_password_with_salt(&password.0, &salt).map_err(|why| {
        Error::new(ErrorKind::Internal, format!("argon2 did not hash the password: {why}"))
    })?;
    PasswordHash::parse(&made.to_string())
}

/// What a new password has to be: not empty, and not longer than [`PASSWORD_BYTES_MAX`].
pub(crate) fn check_new(password: &Secret) -> Result<(), Error> {
    match password.0.len() {
        0 => Err(invalid("the password is empty")),
        1..=PASSWORD_BYTES_MAX => Ok(()),
        _ => Err(invalid(format!("the password is longer than {PASSWORD_BYTES_MAX} bytes"))),
    }
}

/// Whether it is the password that was hashed. Takes as long as the hash says, whatever the password is.
pub fn verify(hash: &PasswordHash, password: &Secret) -> bool {
    let given = &*password.0;
    if given.len() > PASSWORD_BYTES_MAX {
        return false;
    }
    let (made, hash) = match &hash.scheme {
        Scheme::Argon2id { version, params, salt, hash } => {
            let mut made = vec![0; hash.len()];
            let argon2 = Argon2::new(Algorithm::Argon2id, *version, params.clone());
            if argon2.hash_password_into(given, salt, &mut made).is_err() {
                return false;
            }
            (made, hash)
        }
        Scheme::Pbkdf2 { iterations, salt, hash } => {
            let mut made = vec![0; hash.len()];
            pbkdf2::pbkdf2_hmac::<Sha512>(given, salt, *iterations, &mut made);
            (made, hash)
        }
        Scheme::PasswordSalt512 { salt, hash } => (digest::<Sha512>(given, salt), hash),
        Scheme::SaltPassword256 { salt, hash } => (digest::<Sha256>(salt, given), hash),
        Scheme::SaltPassword512 { salt, hash } => (digest::<Sha512>(salt, given), hash),
    };
    made.ct_eq(hash).into()
}

/// A hash of new hashes' cost whose password nobody knows. Users that do not exist are verified against it, so that
/// they take as long as others.
pub fn dummy() -> &'static PasswordHash {
    /// Its hash is 32 bytes that were made up: no password is known to have it.
    static DUMMY: LazyLock<PasswordHash> = LazyLock::new(|| PasswordHash {
        text: String::new(),
        scheme: Scheme::Argon2id {
            version: Version::V0x13,
            params: Params::new(MEMORY_KIB, PASSES, LANES, None).unwrap_or_default(),
            salt: vec![0x5c; SALT_BYTES],
            hash: vec![0xa3; Params::DEFAULT_OUTPUT_LEN],
        },
    });
    &DUMMY
}

fn digest<D: Digest>(first: &[u8], second: &[u8]) -> Vec<u8> {
    D::new().chain_update(first).chain_update(second).finalize().to_vec()
}

fn argon2id(text: &str) -> Result<Scheme, Error> {
    let parsed = phc::PasswordHash::new(text)
        .map_err(|why| invalid(format!("the argon2id hash is not in the PHC form: {why}")))?;
    let params = Params::try_from(&parsed)
        .map_err(|why| invalid(format!("the parameters of the argon2id hash are wrong: {why}")))?;
    let version = match parsed.version {
        Some(version) => Version::try_from(version)
            .map_err(|_| invalid(format!("argon2 has no version {version}")))?,
        None => Version::V0x10,
    };
    if params.m_cost() > MEMORY_KIB_MAX {
        let asked = params.m_cost();
        return Err(invalid(format!(
            "the argon2id hash takes m={asked} KiB of memory for each login: the most is {MEMORY_KIB_MAX}"
        )));
    }
    if params.t_cost() > PASSES_MAX {
        let asked = params.t_cost();
        return Err(invalid(format!(
            "the argon2id hash takes t={asked} passes for each login: the most is {PASSES_MAX}"
        )));
    }
    if params.p_cost() > LANES_MAX {
        let asked = params.p_cost();
        return Err(invalid(format!(
            "the argon2id hash has p={asked} lanes: the most is {LANES_MAX}"
        )));
    }
    match (parsed.salt, parsed.hash) {
        (Some(salt), Some(hash)) => Ok(Scheme::Argon2id {
            version,
            params,
            salt: salt.to_vec(),
            hash: hash.as_bytes().to_vec(),
        }),
        (None, _) => Err(invalid("the argon2id hash has no salt")),
        (_, None) => Err(invalid("the argon2id text ends before the hash")),
    }
}

fn pbkdf2(iterations: &str, salt: &str, hash: &str) -> Result<Scheme, Error> {
    let iterations = iterations.parse::<u32>().ok().filter(|n| (1..=ITERATIONS_MAX).contains(n));
    let iterations = iterations.ok_or_else(|| {
        invalid(format!("the iterations of a $7$ hash are a number from 1 to {ITERATIONS_MAX}"))
    })?;
    let (salt, hash) = mosquitto_pair("$7$", salt, hash)?;
    Ok(Scheme::Pbkdf2 { iterations, salt, hash })
}

fn mosquitto_sha512(salt: &str, hash: &str) -> Result<Scheme, Error> {
    let (salt, hash) = mosquitto_pair("$6$", salt, hash)?;
    Ok(Scheme::PasswordSalt512 { salt, hash })
}

/// Salt and hash of Mosquitto's two forms: base64, the hash 64 bytes.
fn mosquitto_pair(form: &str, salt: &str, hash: &str) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let part = |what: &str, text: &str| {
        let bytes = BASE64_STANDARD.decode(text);
        bytes.map_err(|why| invalid(format!("the {what} of the {form} hash is not base64: {why}")))
    };
    let (salt, hash) = (part("salt", salt)?, part("hash", hash)?);
    match (salt.len(), hash.len()) {
        (1..=SALT_BYTES_MAX, 64) => Ok((salt, hash)),
        (1..=SALT_BYTES_MAX, bytes) => {
            Err(invalid(format!("the hash of a {form} hash has 64 bytes: this one has {bytes}")))
        }
        (bytes, _) => Err(invalid(format!(
            "the salt of a {form} hash has 1 to {SALT_BYTES_MAX} bytes: this one has {bytes}"
        ))),
    }
}

fn rabbitmq(text: &str) -> Result<Scheme, Error> {
    let not_known = || {
        invalid(
            "the form of the password hash is not known: it begins with $argon2id$, $7$ or $6$, or is \
             RabbitMQ's base64 of salt and hash. `crossdock hash-password` makes one of a password",
        )
    };
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| not_known())?;
    let (salt, hash) = bytes.split_at_checked(RABBIT_SALT_BYTES).ok_or_else(not_known)?;
    let (salt, hash) = (salt.to_vec(), hash.to_vec());
    match hash.len() {
        32 => Ok(Scheme::SaltPassword256 { salt, hash }),
        64 => Ok(Scheme::SaltPassword512 { salt, hash }),
        16 => Err(invalid("RabbitMQ's MD5 hashes are not taken: set the user's password again")),
        _ => Err(not_known()),
    }
}

fn invalid(why: impl Into<std::sync::Arc<str>>) -> Error {
    Error::new(ErrorKind::Invalid, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Texts that others wrote, with their passwords: argon2's own test vector, two of Mosquitto's PBKDF2 (12 and 64
    /// bytes of salt), its SHA-512, the example of RabbitMQ's documentation, and its SHA-512.
    const OTHERS: &[(&str, &str)] = &[
        (
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$\
             CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "password",
        ),
        (
            "$7$101$AQIDBAUGBwgJCgsM$VE3tJKk60jXAyZPZZfbFvMuE9BOPv/Xs8Oqglx52hrvw6fP/t4wR3qfzENJn\
             VtTBQHRiF9b2lW+7j8hHUQ10AA==",
            "mosquito",
        ),
        (
            "$7$1000$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4\
             OTo7PD0+Pw==$fJrfuJlHNDvr6lkQiU45uqiQW8WQV4RITLWjo1/ixh5r6qETAz6Mpe63Q01AEPLhxH9HGp/\
             WW/q4qURYiFrjfQ==",
            "Schlüssel",
        ),
        (
            "$6$AQIDBAUGBwgJCgsM$PkfpMwQ7OQVMVwd7npmAFNqi+pRKG7JCr/NYGiYAqwtTaJOXhw+rHHjDvtVzo9+2\
             FvseCP9Q1RrmdYNj0oEVEw==",
            "mosquito",
        ),
        ("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", "test12"),
        (
            "AQIDBAA8Dl/Uyeo3Jo3N7uh2ehG/hd+GVPf7Wz+7gdFr3MYo3HHURYNG0WkkRvnm8ITa883TLBamHoX/0d+f\
             VHSMnK4=",
            "rabbit",
        ),
    ];

    fn secret(text: &str) -> Secret {
        Secret(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[track_caller]
    fn opens(text: &str, right: &str) {
        let hash = PasswordHash::parse(text).expect("a hash");
        assert_eq!(hash.text(), text);
        assert!(verify(&hash, &secret(right)), "{hash:?} refuses its password");
        for wrong in ["", "x", &format!("{right} "), &right.to_uppercase()] {
            assert!(!verify(&hash, &secret(wrong)), "{hash:?} takes {wrong:?}");
        }
    }

    #[test]
    fn a_new_hash_opens_with_its_password_only_and_survives_its_text() {
        let made = hash(&secret("correct horse")).expect("a hash");
        assert!(made.text().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", made.text());
        assert!(!made.is_legacy());
        opens(made.text(), "correct horse");
        let again = hash(&secret("correct horse")).expect("a hash");
        assert_ne!(made.text(), again.text(), "two hashes have one salt");
    }

    #[test]
    fn hashes_of_others_open_with_their_passwords() {
        for (text, right) in OTHERS {
            opens(text, right);
            assert_eq!(
                PasswordHash::parse(text).expect("a hash").is_legacy(),
                !text.starts_with("$argon2id$")
            );
        }
    }

    #[test]
    fn what_is_no_hash_is_refused_with_the_reason() {
        let argon2 = |params: &str| {
            format!("$argon2id$v=19${params}$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA")
        };
        let zeros = |bytes| BASE64_STANDARD.encode(vec![0u8; bytes]);
        let cases = [
            (argon2("m=262145,t=2,p=1"), "m=262145 KiB"),
            (argon2("m=4294967295,t=2,p=1"), "m=4294967295 KiB"),
            (argon2("m=19456,t=11,p=1"), "t=11 passes"),
            (argon2("m=19456,t=2,p=17"), "p=17 lanes"),
            (argon2("m=4,t=2,p=1"), "parameters"),
            (argon2("m=x,t=2,p=1"), "parameters"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0".to_owned(), "before the hash"),
            (
                "$argon2id$v=18$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA".to_owned(),
                "version 18",
            ),
            ("$argon2i$v=19$m=19456,t=2,p=1$a$b".to_owned(), "argon2i is not taken"),
            ("$2b$12$abc".to_owned(), "bcrypt"),
            (format!("$7$0$AAAA${}", zeros(64)), "from 1 to 1000000"),
            (format!("$7$1000001$AAAA${}", zeros(64)), "from 1 to 1000000"),
            (format!("$7$101$AAAA${}", zeros(63)), "has 63"),
            (format!("$7$101$${}", zeros(64)), "has 0"),
            (format!("$7$101$!${}", zeros(64)), "salt of the $7$ hash is not base64"),
            (format!("$6$AAAA${}", zeros(32)), "has 32"),
            ("$5$AAAA$AAAA".to_owned(), "not known"),
            (zeros(20), "MD5"),
            (zeros(37), "not known"),
            ("hunter2".to_owned(), "not known"),
            (String::new(), "not known"),
            ("A".repeat(1025), "at most 1024"),
        ];
        for (text, why) in cases {
            let error = PasswordHash::parse(&text).expect_err(&text);
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.detail().contains(why), "{text}: {error}");
            assert!(text.is_empty() || !error.detail().contains(&text), "{error} repeats the hash");
        }
    }

    #[test]
    fn empty_and_long_passwords_are_not_hashed_and_never_right() {
        for bad in ["", &"x".repeat(PASSWORD_BYTES_MAX + 1)] {
            assert_eq!(hash(&secret(bad)).expect_err("refused").kind(), ErrorKind::Invalid);
        }
        let params = Params::new(8, 1, 1, None).expect("parameters");
        let longest = secret(&"x".repeat(PASSWORD_BYTES_MAX));
        let hash = hash_with(&longest, params).expect("a hash");
        assert!(verify(&hash, &longest));
        assert!(!verify(&hash, &secret(&"x".repeat(PASSWORD_BYTES_MAX + 1))));
    }

    #[test]
    fn the_dummy_costs_what_a_new_hash_costs_and_never_opens() {
        let Scheme::Argon2id { params, .. } = &dummy().scheme else { panic!("not argon2id") };
        assert_eq!(
            (params.m_cost(), params.t_cost(), params.p_cost()),
            (MEMORY_KIB, PASSES, LANES)
        );
        assert!(!verify(dummy(), &secret("")));
        assert!(!verify(dummy(), &secret("guest")));
    }

    #[test]
    fn nothing_secret_is_printed() {
        for (text, _) in OTHERS {
            let shown = format!("{:?}", PasswordHash::parse(text).expect("a hash"));
            assert!(shown.ends_with("***)") && shown.len() < 40, "{shown}");
        }
    }
}
