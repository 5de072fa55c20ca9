//! The users of a configuration, as the broker takes them.

use crate::config::{Loaded, Mistake, User};
use crossdock_auth::{PasswordHash, ScramKeys};
use crossdock_core::{Account, GUEST, Name, Rights, RightsText, Secret};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

/// Bytes of a file with a password's hash, at most.
const HASH_FILE_BYTES: u64 = 4_096;

/// All of them, with the rights that they have in `vhost`.
pub fn users(loaded: &Loaded, vhost: &Name, mistakes: &mut Vec<Mistake>) -> Vec<Account> {
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
        let rights = rights(loaded, (index, user), mistakes);
        accounts.push(Account {
            name: user.name.as_str().into(),
            tags: user.tags.iter().map(|tag| tag.as_str().into()).collect(),
            verifiers,
            vhosts: BTreeMap::from([(vhost.clone(), Arc::new(rights))]),
        });
    }
    accounts
}

/// What the user's passwords are verified by.
fn verifiers(
    loaded: &Loaded,
    (index, user): (usize, &User),
    mistakes: &mut Vec<Mistake>,
) -> Vec<Secret> {
    let key = |field: &str| format!("user[{index}].{field}");
    let mut verifiers = Vec::new();
    let mut hash = |field: &str, text: &str, mistakes: &mut Vec<Mistake>| match PasswordHash::parse(
        text.trim(),
    ) {
        Ok(hash) => verifiers.push(Secret(hash.text().to_owned().into())),
        Err(error) => {
            let reason = format!(
                "{}: it has to be what `crossdock hash-password` prints, never the password itself",
                error.detail()
            );
            mistakes.push(loaded.mistake(key(field), reason));
        }
    };
    if let Some(text) = &user.password_hash {
        hash("password_hash", text, mistakes);
    }
    if let Some(text) = &user.previous_password_hash {
        hash("previous_password_hash", text, mistakes);
    }
    if let Some(file) = &user.password_hash_file {
        let file = loaded.base_dir.join(file);
        match read_secret(&file) {
            Ok(text) => hash("password_hash_file", &text, mistakes),
            Err(reason) => {
                let reason = format!("{}: {reason}", file.display());
                mistakes.push(loaded.mistake(key("password_hash_file"), reason));
            }
        }
        if user.password_hash.is_some() {
            let reason = "stands beside password_hash: one of the two is enough";
            mistakes.push(loaded.mistake(key("password_hash_file"), reason));
        }
    }
    for (field, text) in [("scram_256", &user.scram_256), ("scram_512", &user.scram_512)] {
        match text.as_deref().map(ScramKeys::parse) {
            Some(Ok(keys)) => verifiers.push(Secret(keys.text().into())),
            Some(Err(error)) => {
                mistakes.push(loaded.mistake(key(field), error.detail().to_owned()));
            }
            None => {}
        }
    }
    verifiers
}

/// The text of a file that nobody else may read.
fn read_secret(file: &std::path::Path) -> Result<String, String> {
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
