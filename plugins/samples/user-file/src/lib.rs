//! Users in a file of their own, which is read again when it has changed: no reload of the broker, and whoever keeps
//! the file need not see the broker's configuration.
//!
//! ```toml
//! [[user]]
//! name = "sensors"
//! password_hash = "$argon2id$…"     # as `crossdock hash-password` prints it
//! write = ["topic:plant/#"]         # and configure, read, tags, vhosts: as in a [[user]] of the configuration
//! ```
//!
//! `with = { file = "/etc/crossdock/more-users.toml", login_seconds = 3600 }`: the rights of a login hold until it
//! ends, so `login_seconds` is how long somebody may go on who was taken out of the file. Not set: until the connection
//! ends.
//!
//! A file that cannot be read, or has a mistake, keeps the broker from starting; later the users stay as they were, and
//! the log has a warning. Names that are not in the file are somebody else's ([`Answer::NotMine`]), after as much work
//! as a wrong password takes: nobody learns from the time who is in it.

mod file;

use crossdock_plugin::{
    Answer, Authenticator, Credentials, Level, Login, Rights, Secret, Start, User, log,
};
use file::{Entry, Stamp, Users};
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// `with` of the plugin's section.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    file: PathBuf,
    login_seconds: Option<u32>,
}

/// The users of a file.
pub struct UserFile {
    file: PathBuf,
    login_time: Option<Duration>,
    known: Mutex<Known>,
}

/// What was read last.
struct Known {
    users: Arc<Users>,
    /// Of the file that was looked into last, whether it had a mistake or not.
    stamp: Option<Stamp>,
}

impl Start for UserFile {
    fn start(with: &str) -> Result<Self, String> {
        let settings: Settings = serde_json::from_str(with).map_err(|error| error.to_string())?;
        let Settings { file, login_seconds } = settings;
        if !file.is_absolute() {
            return Err(format!("file: {} is not an absolute path", file.display()));
        }
        if login_seconds == Some(0) {
            return Err("login_seconds: nobody would be let in by 0".to_owned());
        }
        let stamp = Some(file::stamp(&file)?);
        let users = Arc::new(file::read(&file)?);
        let known = Mutex::new(Known { users, stamp });
        let login_time = login_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        Ok(UserFile { file, login_time, known })
    }
}

impl UserFile {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change of it is one assignment.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The users as the file has them now, or as it had them when it last had no mistake.
    fn users(&self) -> Arc<Users> {
        let mut known = self.known();
        let found = file::stamp(&self.file);
        let stamp = found.as_ref().ok().copied();
        if known.stamp == stamp {
            return known.users.clone();
        }
        // Said once for each change, not for each login.
        known.stamp = stamp;
        match found.and_then(|_| file::read(&self.file)) {
            Ok(users) => {
                log(Level::Info, &format!("{}: {} users", self.file.display(), users.len()));
                known.users = Arc::new(users);
            }
            Err(why) => log(Level::Warn, &format!("the users stay as they were: {why}")),
        }
        known.users.clone()
    }

    fn judge(&self, name: &str, password: Secret<'_>) -> Result<Answer, String> {
        let users = self.users();
        let Some(entry) = users.get(name) else {
            file::verify_nobody(password.bytes());
            return Ok(Answer::NotMine);
        };
        match entry.verify(password.bytes()) {
            true => Ok(Answer::User(self.user(name, entry))),
            false => Err("the user has another password".to_owned()),
        }
    }

    fn user(&self, name: &str, entry: &Entry) -> User {
        let rights = entry.vhosts.iter().map(|vhost| Rights {
            virtual_host: vhost.clone(),
            configure: entry.configure.clone(),
            write: entry.write.clone(),
            read: entry.read.clone(),
        });
        User {
            name: name.to_owned(),
            tags: entry.tags.clone(),
            expires: self.login_time.and_then(|time| SystemTime::now().checked_add(time)),
            rights: rights.collect(),
        }
    }
}

impl Authenticator for UserFile {
    fn login(&self, login: &Login<'_>) -> Result<Answer, String> {
        match &login.credentials {
            Credentials::Password { user, password } => self.judge(user, *password),
            _ => Ok(Answer::NotMine),
        }
    }
}

crossdock_plugin::export!(authenticator: UserFile);

#[cfg(test)]
#[path = "user_file_tests.rs"]
mod tests;
