//! The file: its form, and what a user in it is verified by.

use argon2::password_hash::phc;
use argon2::{Argon2, Params, PasswordVerifier};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

/// Bytes of the file: some ten thousand users.
const FILE_MAX: u64 = 16 << 20;
/// What a hash may cost: memory in KiB, passes, lanes. Whoever logs in makes the broker pay it.
const COST_MAX: (u32, u32, u32) = (256 << 10, 10, 16);
/// Longer ones are never right, and are not hashed.
const PASSWORD_MAX: usize = 1_024;

/// A hash of the usual cost whose password nobody knows.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$XFxcXFxcXFxcXFxcXFxcXA$\
                      o6Ojo6Ojo6Ojo6Ojo6Ojo6Ojo6Ojo6Ojo6Ojo6Ojo6M";

/// Users by name.
pub type Users = BTreeMap<String, Entry>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    user: Vec<WrittenUser>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenUser {
    name: String,
    password_hash: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default = "root")]
    vhosts: Vec<String>,
    #[serde(default)]
    configure: Vec<String>,
    #[serde(default)]
    write: Vec<String>,
    #[serde(default)]
    read: Vec<String>,
}

fn root() -> Vec<String> {
    vec!["/".to_owned()]
}

/// A user.
pub struct Entry {
    hash: phc::PasswordHash,
    pub tags: Vec<String>,
    pub vhosts: Vec<String>,
    pub configure: Vec<String>,
    pub write: Vec<String>,
    pub read: Vec<String>,
}

impl Entry {
    /// Whether it is the user's password. Takes as long as the hash says, wherever the two differ.
    pub fn verify(&self, password: &[u8]) -> bool {
        verify(&self.hash, password)
    }
}

fn verify(hash: &phc::PasswordHash, password: &[u8]) -> bool {
    password.len() <= PASSWORD_MAX && Argon2::default().verify_password(password, hash).is_ok()
}

/// As much work as a wrong password is.
pub fn verify_nobody(password: &[u8]) {
    if let Ok(hash) = phc::PasswordHash::new(NOBODY) {
        std::hint::black_box(verify(&hash, password));
    }
}

/// What is another one when the file has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    changed: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

/// Of the file as it is now.
pub fn stamp(file: &Path) -> Result<Stamp, String> {
    let about = fs::metadata(file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(Stamp { changed: about.modified().ok(), bytes: about.len(), inode: about.ino() })
}

/// Reads the file. The error names it, and no secret of it.
pub fn read(file: &Path) -> Result<Users, String> {
    let wrong = |why: String| format!("{}: {why}", file.display());
    let failed = |error: std::io::Error| wrong(error.to_string());
    let about = fs::metadata(file).map_err(failed)?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(wrong("others may read or write it: chmod 600".to_owned()));
    }
    if about.len() > FILE_MAX {
        return Err(wrong(format!("has more than {FILE_MAX} bytes")));
    }
    let text = fs::read_to_string(file).map_err(failed)?;
    let written: Written = toml::from_str(&text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        wrong(format!("line {}: {}", before.matches('\n').count() + 1, said(error.message())))
    })?;
    let mut users = Users::new();
    for user in written.user {
        let name = user.name.clone();
        let entry = entry(user).map_err(|why| wrong(format!("user '{name}': {why}")))?;
        if users.insert(name.clone(), entry).is_some() {
            return Err(wrong(format!("user '{name}': stands twice")));
        }
    }
    Ok(users)
}

/// What is said of a value, without the value: it may be a hash at the wrong place.
fn said(message: &str) -> String {
    match message.split_once(", expected ") {
        Some((before, expected)) if before.starts_with("invalid ") => {
            format!("a value is not what it has to be: {expected}")
        }
        _ => message.to_owned(),
    }
}

fn entry(user: WrittenUser) -> Result<Entry, String> {
    let WrittenUser { name, password_hash, tags, vhosts, configure, write, read } = user;
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return Err("a name has 1 to 255 bytes, and no control characters".to_owned());
    }
    if name == "guest" {
        return Err("guest is the broker's own".to_owned());
    }
    if vhosts.is_empty() {
        return Err("vhosts names none: the user could do nothing".to_owned());
    }
    let hash = phc::PasswordHash::new(&password_hash).map_err(|_| {
        "password_hash is none that `crossdock hash-password` prints: $argon2id$…".to_owned()
    })?;
    let params = Params::try_from(&hash).map_err(|why| format!("password_hash: {why}"))?;
    let (memory, passes, lanes) = COST_MAX;
    if hash.algorithm.as_str() != "argon2id" || hash.salt.is_none() || hash.hash.is_none() {
        return Err("password_hash is no whole hash of argon2id".to_owned());
    }
    if params.m_cost() > memory || params.t_cost() > passes || params.p_cost() > lanes {
        return Err(format!("password_hash costs more than m={memory}, t={passes}, p={lanes}"));
    }
    Ok(Entry { hash, tags, vhosts, configure, write, read })
}
