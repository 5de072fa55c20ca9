//! The users of a configuration, as the broker takes them.

use crate::config::{Loaded, Mistake, User};
use crossdock_auth::{PasswordHash, ScramKeys};
use crossdock_core::{Account, GUEST, Name, Rights, RightsText, Secret};
use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// Bytes of a file with a password's hash, at most.
const HASH_FILE_BYTES: u64 = 4_096;

/// All of them, with the rights that they have in the virtual hosts that they name, or in `default`.
pub fn users(loaded: &Loaded, default: &Name, mistakes: &mut Vec<Mistake>) -> Vec<Account> {
    let mut names = BTreeSet::new();
    let mut accounts = Vec::new();
    for (index, user) in loaded.config.users.iter().enumerate() {
        let key = |field: &str| format!("user[{index}].{field}");
        match () {
            () if user.name.is_empty() => {
                mistakes.push(loaded.mistake(key("name"), "must not be empty"));
            }
            () if user.name == GUEST => {
                let reason = "guest is the broker's own, and may do everything from this machine";
                mistakes.push(loaded.mistake(key("name"), reason));
            }
            () if !names.insert(user.name.as_str()) => {
                let reason = format!("another user is named '{}' too", user.name);
                mistakes.push(loaded.mistake(key("name"), reason));
            }
            () => {}
        }
        let verifiers = verifiers(loaded, (index, user), mistakes);
        let rights = Arc::new(rights(loaded, (index, user), mistakes));
        let vhosts = vhosts(loaded, (index, user), default, mistakes);
        accounts.push(Account {
            name: user.name.as_str().into(),
            tags: user.tags.iter().map(|tag| tag.as_str().into()).collect(),
            verifiers,
            vhosts: vhosts.into_iter().map(|vhost| (vhost, rights.clone())).collect(),
        });
    }
    accounts
}

/// The virtual hosts that a user may enter.
fn vhosts(
    loaded: &Loaded,
    (index, user): (usize, &User),
    default: &Name,
    mistakes: &mut Vec<Mistake>,
) -> Vec<Name> {
    let Some(names) = &user.vhosts else { return vec![default.clone()] };
    let is_there = |name: &str| {
        name == &**default || loaded.config.virtual_hosts.iter().any(|vhost| vhost.name == name)
    };
    if names.is_empty() {
        let reason = "names no virtual host: the user could do nothing";
        mistakes.push(loaded.mistake(format!("user[{index}].vhosts"), reason));
    }
    for (at, name) in names.iter().enumerate().filter(|(_, name)| !is_there(name)) {
        let key = format!("user[{index}].vhosts[{at}]");
        let reason = format!("there is no virtual host '{name}': add a [[virtual_host]]");
        mistakes.push(loaded.mistake(key, reason));
    }
    names.iter().map(|name| name.as_str().into()).collect()
}

/// What the user's passwords are verified by.
fn verifiers(
    loaded: &Loaded,
    (index, user): (usize, &User),
    mistakes: &mut Vec<Mistake>,
) -> Vec<Secret> {
    let mut wrong = |field: &str, reason: String| {
        mistakes.push(loaded.mistake(format!("user[{index}].{field}"), reason));
    };
    let mut texts = texts(loaded, user, &mut wrong);
    texts.sort_by_key(|text| text.kind);
    for (one, next) in texts.iter().zip(texts.iter().skip(1)) {
        if one.kind == next.kind {
            let reason = format!("says again what {} says: one of the two is enough", one.field);
            wrong(next.field, reason);
        }
    }
    let mut verifiers = Vec::new();
    for Text { kind, field, text } in &texts {
        let read = match kind {
            Kind::Hash | Kind::Previous => PasswordHash::parse(text.trim())
                .map(|hash| hash.text().to_owned())
                .map_err(|error| {
                    format!(
                        "{}: it has to be what `crossdock hash-password` prints, never the password itself",
                        error.detail()
                    )
                }),
            Kind::Scram256 | Kind::Scram512 => {
                let keys = ScramKeys::parse(text.trim());
                keys.map(|keys| keys.text()).map_err(|error| error.detail().to_owned())
            }
        };
        match read {
            Ok(text) => verifiers.push(Secret(text.into())),
            Err(reason) => wrong(field, reason),
        }
    }
    verifiers
}

/// What a text is that a password is verified by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Hash,
    Previous,
    Scram256,
    Scram512,
}

/// The keys of these texts, in the configuration and in files with all lines of `crossdock hash-password`.
const KINDS: [(&str, Kind); 4] = [
    ("password_hash", Kind::Hash),
    ("previous_password_hash", Kind::Previous),
    ("scram_256", Kind::Scram256),
    ("scram_512", Kind::Scram512),
];

/// A text, and the key of the configuration that it came by.
struct Text {
    kind: Kind,
    field: &'static str,
    text: String,
}

/// All texts of a user, wherever they stand.
fn texts(loaded: &Loaded, user: &User, wrong: &mut impl FnMut(&str, String)) -> Vec<Text> {
    let plain =
        [&user.password_hash, &user.previous_password_hash, &user.scram_256, &user.scram_512];
    let written = KINDS
        .into_iter()
        .zip(plain)
        .filter_map(|((field, kind), text)| text.clone().map(|text| Text { kind, field, text }));
    let mut all: Vec<Text> = written.collect();
    let in_file = |file: &Path| {
        let file = loaded.base_dir.join(file);
        read_secret(&file).map_err(|reason| format!("{}: {reason}", file.display()))
    };
    let elsewhere = [
        ("password_hash_file", false, user.password_hash_file.as_deref().map(in_file)),
        ("password_hash_env", false, user.password_hash_env.as_deref().map(variable)),
        ("secrets_file", true, user.secrets_file.as_deref().map(in_file)),
        ("secrets_env", true, user.secrets_env.as_deref().map(variable)),
    ];
    for (field, has_lines, found) in elsewhere {
        match found {
            None => {}
            Some(Err(reason)) => wrong(field, reason),
            Some(Ok(text)) if has_lines => match lines(&text) {
                Ok(found) => {
                    all.extend(found.map(|(kind, text)| Text { kind, field, text }));
                }
                Err(reason) => wrong(field, reason),
            },
            Some(Ok(text)) => all.push(Text { kind: Kind::Hash, field, text }),
        }
    }
    all
}

/// Reads lines as `crossdock hash-password` prints them. The error does not repeat what may be a password.
fn lines(text: &str) -> Result<impl Iterator<Item = (Kind, String)>, String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let unquoted = |value: &str| {
            let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
            (!value.contains(['"', '\\'])).then(|| value.to_owned())
        };
        let read = line.split_once('=').and_then(|(name, value)| {
            let (_, kind) = KINDS.into_iter().find(|(known, _)| *known == name.trim())?;
            Some((kind, unquoted(value)?))
        });
        found.push(read.ok_or_else(|| {
            format!("line {number} is none of those that `crossdock hash-password` prints")
        })?);
    }
    match found.is_empty() {
        true => Err("there is no line in it that `crossdock hash-password` prints".to_owned()),
        false => Ok(found.into_iter()),
    }
}

/// A variable of the environment that holds a secret.
pub fn variable(name: &str) -> Result<String, String> {
    match std::env::var(name) {
        Ok(text) if text.trim().is_empty() => Err(format!("the variable {name} is empty")),
        Ok(text) => Ok(text),
        Err(std::env::VarError::NotPresent) => {
            Err(format!("there is no variable {name} in the environment of this process"))
        }
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("the variable {name} is not UTF-8")),
    }
}

/// The text of a file that nobody else may read.
fn read_secret(file: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot be read: {error}");
    let about: Metadata = std::fs::metadata(file).map_err(failed)?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err("others may read it: chmod 600".to_owned());
    }
    if about.len() > HASH_FILE_BYTES {
        return Err(format!("has more than {HASH_FILE_BYTES} bytes"));
    }
    std::fs::read_to_string(file).map_err(failed)
}

fn rights(loaded: &Loaded, (index, user): (usize, &User), mistakes: &mut Vec<Mistake>) -> Rights {
    let lists = [("configure", &user.configure), ("write", &user.write), ("read", &user.read)];
    for (field, patterns) in lists {
        for (at, pattern) in patterns.iter().enumerate() {
            let key = format!("user[{index}].{field}[{at}]");
            match crossdock_core::Pattern::parse(pattern) {
                Err(reason) => mistakes.push(loaded.mistake(key, format!("'{pattern}': {reason}"))),
                Ok(pattern) if !pattern.can_match() => tracing::warn!(
                    %key, %pattern,
                    "a right can never match anything: nobody has it"
                ),
                Ok(_) => {}
            }
        }
    }
    let text = RightsText {
        configure: user.configure.clone(),
        write: user.write.clone(),
        read: user.read.clone(),
        ..RightsText::default()
    };
    // What is wrong with a pattern was said.
    Rights::parse(text).unwrap_or_default()
}
