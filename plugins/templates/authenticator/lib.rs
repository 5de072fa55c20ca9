//! The authenticator `NAME`: users with hashes of their passwords in the plugin's own section. What is asked here may
//! as well be a directory or a database: a login has `limits.call_time`, and `limits.threads` are judged at once.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordVerifier};
use crossdock_plugin::{Answer, Authenticator, Credentials, Login, Rights, Start, User};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// A hash of the usual cost whose password nobody knows.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$XFxcXFxcXFxcXFxcXFxcXA$\
                      o6Ojo6Ojo6Ojo6Ojo6Ojo6Ojo6Ojo6Ojo6Ojo6Ojo6M";

/// `with` of the plugin's section.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The hash of each, as `crossdock hash-password` prints it.
    users: BTreeMap<String, String>,
    /// What all of them may do in the virtual host `/`.
    #[serde(default)]
    write: Vec<String>,
    #[serde(default)]
    read: Vec<String>,
    /// How long a login lasts; not set: as long as the connection.
    login_seconds: Option<u32>,
}

pub struct Users {
    hashes: BTreeMap<String, PasswordHash>,
    nobody: PasswordHash,
    rights: Rights,
    login_time: Option<Duration>,
}

impl Start for Users {
    fn start(with: &str) -> Result<Self, String> {
        let settings: Settings = serde_json::from_str(with).map_err(|error| error.to_string())?;
        let Settings { users, write, read, login_seconds } = settings;
        let parse = |user: &str, text: &str| {
            PasswordHash::new(text).map_err(|error| format!("the hash of '{user}': {error}"))
        };
        let hashes = users.into_iter().map(|(user, text)| Ok((user.clone(), parse(&user, &text)?)));
        Ok(Users {
            hashes: hashes.collect::<Result<_, String>>()?,
            nobody: parse("nobody", NOBODY)?,
            rights: Rights { virtual_host: "/".to_owned(), write, read, ..Rights::default() },
            login_time: login_seconds.map(|seconds| Duration::from_secs(seconds.into())),
        })
    }
}

impl Authenticator for Users {
    fn login(&self, login: &Login<'_>) -> Result<Answer, String> {
        let Credentials::Password { user, password } = &login.credentials else {
            return Ok(Answer::NotMine);
        };
        // A name that is not here costs as much as one that is: nobody learns from the time who is.
        let hash = self.hashes.get(*user);
        let verified =
            Argon2::default().verify_password(password.bytes(), hash.unwrap_or(&self.nobody));
        match (hash, verified) {
            (None, _) => Ok(Answer::NotMine),
            (Some(_), Err(_)) => Err("the user has another password".to_owned()),
            (Some(_), Ok(())) => Ok(Answer::User(User {
                name: (*user).to_owned(),
                expires: self.login_time.and_then(|time| SystemTime::now().checked_add(time)),
                rights: vec![self.rights.clone()],
                ..User::default()
            })),
        }
    }
}

crossdock_plugin::export!(authenticator: Users);

#[cfg(test)]
mod tests {
    use super::*;
    use crossdock_plugin::Secret;

    /// Of `right`, at a small cost.
    const HASH: &str = "$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$\
                        rc9SVIMTq5NJGXhhEkKX2z34B0IX900+yu18TYBLKbM";

    fn login(users: &Users, user: &str, password: &str) -> Result<Answer, String> {
        let password = Secret::new(password.as_bytes());
        let (peer, client) = ("192.0.2.1:4711", "");
        let credentials = Credentials::Password { user, password };
        users.login(&Login { credentials, loopback: false, peer, client, virtual_host: None })
    }

    #[test]
    fn a_user_comes_with_its_rights() {
        let with = format!("{{\"users\":{{\"ann\":\"{HASH}\"}},\"write\":[\"topic:plant/#\"]}}");
        let users = Users::start(&with).expect("starts");
        let Ok(Answer::User(ann)) = login(&users, "ann", "right") else { panic!("refused") };
        assert_eq!((ann.name.as_str(), ann.expires), ("ann", None));
        assert_eq!(ann.rights[0].write, ["topic:plant/#"]);
        assert!(login(&users, "ann", "wrong").is_err());
        assert_eq!(login(&users, "bob", "right"), Ok(Answer::NotMine));
    }

    #[test]
    fn wrong_settings_are_named() {
        for (with, why) in [
            ("{}", "missing field `users`"),
            ("{\"users\":{},\"reed\":[]}", "unknown field `reed`"),
            ("{\"users\":{\"ann\":\"x\"}}", "the hash of 'ann'"),
        ] {
            assert!(Users::start(with).is_err_and(|error| error.contains(why)), "{with}");
        }
    }
}
