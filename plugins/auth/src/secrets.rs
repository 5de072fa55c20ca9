//! All that is kept of one password, and the lines of a configuration file that say it.

use crate::password::{self, PasswordHash};
use crate::scram::{Mechanism, ScramKeys};
use bytes::Bytes;
use crossdock_core::{Error, ErrorKind, Secret};
use std::io::{BufRead, Read};

/// What is kept of one password: made together, because the plain password is known only then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    pub password: PasswordHash,
    pub scram256: ScramKeys,
    pub scram512: ScramKeys,
}

impl Secrets {
    /// Hashes a password in every form. Takes some tens of milliseconds and 19 MiB: not to be called on a thread that
    /// serves connections. The errors are those of [`password::hash`].
    pub fn make(password: &Secret) -> Result<Self, Error> {
        Ok(Self {
            password: password::hash(password)?,
            scram256: ScramKeys::make(Mechanism::Sha256, password)?,
            scram512: ScramKeys::make(Mechanism::Sha512, password)?,
        })
    }

    /// What a user of the broker is stored with: the hash, then both keys.
    pub fn verifiers(&self) -> Vec<Secret> {
        let texts = [self.password.text().to_owned(), self.scram256.text(), self.scram512.text()];
        texts.into_iter().map(|text| Secret(text.into())).collect()
    }

    /// The lines of a `[[user]]` in the configuration file that say all this, each with its line's end.
    pub fn toml_lines(&self) -> String {
        // None of the three texts has a character that TOML escapes: base64, digits, `$`, `=`, `,` and `:`.
        format!(
            "password_hash = \"{}\"\nscram_256 = \"{}\"\nscram_512 = \"{}\"\n",
            self.password.text(),
            self.scram256.text(),
            self.scram512.text()
        )
    }
}

/// Reads one line, without its end, as a password, and returns [`Secrets::toml_lines`] of it.
/// [`ErrorKind::Invalid`]: the line is empty or too long; [`ErrorKind::Unavailable`]: it cannot be read.
pub fn generate(from: impl Read) -> Result<String, Error> {
    Ok(Secrets::make(&read_password(from)?)?.toml_lines())
}

/// Reads one line, without its end, as a password.
pub fn read_password(from: impl Read) -> Result<Secret, Error> {
    // One byte more than a password may have, and the line's end: what is longer is noticed, and not read to its end.
    let most = password::PASSWORD_BYTES_MAX as u64 + 3;
    let mut line = Vec::new();
    std::io::BufReader::new(from.take(most)).read_until(b'\n', &mut line).map_err(|why| {
        Error::new(ErrorKind::Unavailable, format!("the password cannot be read: {why}"))
    })?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    }
    let password = Secret(Bytes::from(line));
    password::check_new(&password)?;
    Ok(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_toml_whose_values_open_with_the_password() {
        let lines = generate(&b"s3cret \"quoted\"\r\nsecond line\n"[..]).expect("lines");
        let values: Vec<(&str, &str)> =
            lines.lines().map(|line| line.split_once(" = ").expect("key and value")).collect();
        let keys: Vec<&str> = values.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, ["password_hash", "scram_256", "scram_512"]);
        let text = |at: usize| {
            let text = values[at].1;
            text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).expect("quoted")
        };
        assert!(!text(0).contains(['"', '\\']));
        let hash = PasswordHash::parse(text(0)).expect("a hash");
        assert!(password::verify(&hash, &Secret(Bytes::from_static(b"s3cret \"quoted\""))));
        let of = |at: usize| ScramKeys::parse(text(at)).expect("keys").mechanism();
        assert_eq!((of(1), of(2)), (Mechanism::Sha256, Mechanism::Sha512));
        assert!(!lines.contains("s3cret"));
    }

    #[test]
    fn one_line_is_read_with_or_without_its_end() {
        let read = |text: &[u8]| read_password(text).map(|secret| secret.0);
        for text in ["a b", "a b\n", "a b\r\n", "a b\nc"] {
            assert_eq!(read(text.as_bytes()).expect("a password"), "a b");
        }
        let most = "x".repeat(password::PASSWORD_BYTES_MAX);
        assert_eq!(read(format!("{most}\r\n").as_bytes()).expect("a password"), most);
        for bad in ["", "\n", "\r\n", &format!("{most}x\n"), &"x".repeat(9_000)] {
            assert_eq!(read(bad.as_bytes()).expect_err("refused").kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn secrets_print_no_password_and_no_hash() {
        let secrets = Secrets::make(&Secret(Bytes::from_static(b"hunter2"))).expect("secrets");
        let shown = format!("{secrets:?}");
        let salt = secrets.password.text().split('$').nth(4).expect("a salt");
        assert!(!shown.contains("hunter2") && !shown.contains(salt), "{shown}");
    }
}
