//! What only the program around the broker can do for an operator.

use async_trait::async_trait;
use crossdock_core::{Actor, Address};
use serde::Deserialize;
use std::path::PathBuf;

/// A listener of this broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerLook {
    pub name: String,
    /// Where it is bound.
    pub addresses: Vec<String>,
    /// What is spoken there.
    pub protocols: Vec<String>,
    pub tls: bool,
    /// The server's chain, and the authorities of clients.
    pub certificates: Vec<CertificateLook>,
}

/// A certificate that a listener was given, and how it stands with it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateLook {
    /// The file it is in.
    pub file: String,
    /// Its place in the file, from 1.
    pub number: usize,
    /// It is valid from then on, in seconds since 1970.
    pub from_s: i64,
    /// It is valid up to then, in seconds since 1970.
    pub until_s: i64,
    pub standing: Standing,
}

/// Whether an operator has to do something, and what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    Good,
    /// Soon.
    Warning(String),
    /// Now.
    Trouble(String),
}

/// A native plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginLook {
    pub name: String,
    pub file: String,
    /// As it calls itself.
    pub plugin: String,
    pub version: String,
    /// What it brings: `exchange:x-name`.
    pub brings: Vec<String>,
    /// Calls since the start, and how many of them it answered with no.
    pub calls: u64,
    pub refused: u64,
    /// Why it is out of use; none: it is in use.
    pub out_of_use: Option<String>,
}

/// What is to be done with a user. Users of the configuration are changed there.
#[derive(Clone, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case", deny_unknown_fields)]
pub enum UserChange {
    /// Makes one; without a password it can log in with a certificate only.
    Add {
        name: String,
        tags: Vec<String>,
        password: Option<String>,
    },
    /// `keep_previous`: the password of until now holds, too.
    SetPassword {
        name: String,
        password: String,
        keep_previous: bool,
    },
    ForgetPrevious {
        name: String,
    },
    Delete {
        name: String,
    },
    /// What it may do in a virtual host, instead of what it might until now.
    Rights {
        name: String,
        vhost: String,
        rights: Patterns,
    },
    /// It may not enter the virtual host any more.
    NoRights {
        name: String,
        vhost: String,
    },
}

impl UserChange {
    /// The user's name.
    pub fn name(&self) -> &str {
        match self {
            UserChange::Add { name, .. }
            | UserChange::SetPassword { name, .. }
            | UserChange::ForgetPrevious { name }
            | UserChange::Delete { name }
            | UserChange::Rights { name, .. }
            | UserChange::NoRights { name, .. } => name,
        }
    }
}

/// Patterns of rights, as a configuration writes them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patterns {
    pub configure: Vec<String>,
    pub write: Vec<String>,
    pub read: Vec<String>,
}

/// A backup that is to be made.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupOrder {
    /// The folder of backups, by its whole path.
    pub folder: PathBuf,
    /// How many of them are left afterwards; none: all stay.
    pub keep: Option<u32>,
}

/// What was backed up.
#[derive(Debug, Clone)]
pub struct BackupMade {
    pub folder: PathBuf,
    pub copied_bytes: u64,
    /// Shared with the backup before.
    pub reused_bytes: u64,
    pub removed: Vec<PathBuf>,
    /// The store is damaged, and so is the backup; an old one could not be removed.
    pub troubles: Vec<String>,
}

/// The program. An error says what an operator reads.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Reads `queue:NAME`, `topic:a/b` or `exchange:NAME/KEY`.
    fn address(&self, text: &str) -> Result<Address, String>;

    /// The listeners that are bound.
    fn listeners(&self) -> Vec<ListenerLook>;

    /// The native plugins that are loaded.
    fn plugins(&self) -> Vec<PluginLook>;

    /// No new connections are taken, and those that were there were told to end.
    fn is_draining(&self) -> bool;

    /// Changes a user, and says in a line what has changed.
    async fn change_user(&self, actor: &Actor, change: UserChange) -> Result<String, String>;

    /// Moves what waits for a route that is not configured any more: to `to` (`queue:NAME`, `topic:a/b`,
    /// `exchange:NAME/KEY`), or to where it was going. Returns how many were moved, dead-lettered and left.
    async fn drain_route(&self, name: &str, to: Option<&str>) -> Result<(u64, u64, u64), String>;

    /// Copies the store into a folder.
    async fn backup(&self, order: BackupOrder) -> Result<BackupMade, String>;

    /// Changes what is logged until the configuration is read again: error, warn, info, debug or trace.
    async fn set_log_level(&self, level: &str) -> Result<(), String>;

    /// Has the configuration read again; a line for each change, or every mistake in it.
    async fn reload(&self) -> Result<Vec<String>, Vec<String>>;

    /// Takes no new connections, and tells those that are there to end.
    async fn drain(&self) -> Result<(), String>;

    /// Ends the process as SIGTERM does. It has begun when this returns.
    async fn shutdown(&self) -> Result<(), String>;
}
