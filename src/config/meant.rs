//! The configuration as meant: every value typed and present. Nothing here knows where a value was written.

use super::meant_protocols::{Amqp, Mqtt, Stomp, StompDoor};
use super::units::{Share, Size, Span};
use crossdock_core::{Name, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::PathBuf;

/// All of it.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listeners: BTreeMap<String, Listener>,
    pub memory: Memory,
    pub store: Store,
    pub vhost: Vhost,
    #[serde(default, rename = "virtual_host")]
    pub virtual_hosts: Vec<VirtualHost>,
    pub log: Log,
    pub metrics: Metrics,
    pub limits: Limits,
    pub objects: Objects,
    #[serde(flatten)]
    pub declared: Declared,
    pub auth: Auth,
    #[serde(default, rename = "user")]
    pub users: Vec<User>,
    #[serde(default, rename = "plugin")]
    pub plugins: Vec<Plugin>,
}

/// What is to be there from the start.
#[derive(Debug, Clone, Deserialize)]
pub struct Declared {
    #[serde(default, rename = "queue")]
    pub queues: Vec<Queue>,
    #[serde(default, rename = "exchange")]
    pub exchanges: Vec<Exchange>,
    #[serde(default, rename = "binding")]
    pub bindings: Vec<Binding>,
}

impl Config {
    /// The variables of the environment that secrets are taken from.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let users = self.users.iter();
        let of_users = users.flat_map(|user| [&user.password_hash_env, &user.secrets_env]);
        of_users.chain([&self.auth.tokens.token_secret_env]).filter_map(|name| name.as_deref())
    }
}

/// Who may read numbers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    pub open: bool,
    #[serde(default)]
    pub hosts: Vec<String>,
}

/// A port, or several that are one. The check against the table of keys finds what neither part knows.
#[derive(Debug, Clone, Deserialize)]
pub struct Listener {
    #[serde(flatten)]
    pub door: Door,
    #[serde(flatten)]
    pub tls: Tls,
    #[serde(flatten)]
    pub stomp: StompDoor,
}

/// Most of what is said of a listener is said of its door.
impl Deref for Listener {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

/// Who comes in at a listener, and what is spoken there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Door {
    #[serde(default)]
    pub bind: Binds,
    pub protocols: Option<Vec<String>>,
    pub connections_max: Option<usize>,
    pub connections_per_address: Option<usize>,
    pub connects_per_second: Option<u32>,
    pub connects_per_second_total: Option<u32>,
    #[serde(default)]
    pub denied_publish: DeniedPublish,
    #[serde(default)]
    pub announce: Announce,
    #[serde(default)]
    pub transport: Transport,
    pub origins: Option<Vec<String>>,
    #[serde(default)]
    pub proxy: bool,
}

/// How what passes at a listener is encrypted.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    pub tls_certificate: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub tls_client_ca: Option<PathBuf>,
    pub tls_client_certificate: Option<ClientCertificate>,
    pub tls_min_version: Option<String>,
}

/// Where a listener listens: `host:port`, several of them, or `off`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Binds {
    One(String),
    Several(Vec<String>),
}

impl Default for Binds {
    fn default() -> Self {
        Binds::One(String::new())
    }
}

impl Binds {
    /// The addresses; none when it is off.
    pub fn addresses(&self) -> &[String] {
        match self {
            Binds::One(word) if word == "off" => &[],
            Binds::One(address) => std::slice::from_ref(address),
            Binds::Several(addresses) => addresses,
        }
    }
}

/// As what AMQP clients see the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Announce {
    /// As that whose dialect it speaks.
    #[default]
    RabbitMq,
    Crossdock,
}

/// What becomes of a publish that is not allowed and cannot be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeniedPublish {
    #[default]
    Drop,
    Close,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    #[default]
    Tcp,
    Ws,
}

/// Whether a client has to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificate {
    Optional,
    Required,
}

/// What in a certificate names the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateUser {
    CommonName,
    Subject,
    AlternativeName,
}

/// How clients log in. The check against the table of keys finds what neither part knows.
#[derive(Debug, Clone, Deserialize)]
pub struct Auth {
    #[serde(flatten)]
    pub logins: Logins,
    #[serde(flatten)]
    pub tokens: Tokens,
}

impl Auth {
    /// Whether users may come who stand neither in the configuration nor in the store.
    pub fn lets_others_in(&self) -> bool {
        self.tokens.has_keys() || self.logins.order.iter().any(|name| name != Logins::OWN)
    }
}

/// Who decides, and how often somebody may try.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logins {
    pub order: Vec<String>,
    pub certificate_user: CertificateUser,
    pub stored_users: bool,
    pub failures_before_delay: u32,
    pub failure_delay_max: Span,
}

impl Logins {
    /// The name in `order` of the broker's own users. No plugin that decides logins has it.
    pub const OWN: &str = "own";
}

/// Tokens in the place of passwords.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    #[serde(default)]
    pub token_secret_files: Vec<PathBuf>,
    pub token_secret_env: Option<String>,
    #[serde(default)]
    pub token_public_key_files: Vec<PathBuf>,
    #[serde(default)]
    pub token_key_set_files: Vec<PathBuf>,
    pub token_issuer: Option<String>,
    pub token_audience: Option<String>,
    pub token_user_claim: String,
    pub token_scope_claim: String,
    pub token_scope_prefix: String,
    pub token_leeway_seconds: u32,
    pub token_rights: TokenRights,
}

impl Tokens {
    /// Tokens are taken.
    pub fn has_keys(&self) -> bool {
        self.token_secret_env.is_some()
            || ![&self.token_secret_files, &self.token_public_key_files, &self.token_key_set_files]
                .into_iter()
                .all(Vec::is_empty)
    }
}

/// Where the rights of a token's user are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenRights {
    Scopes,
    Account,
}

/// A virtual host beside the default one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtualHost {
    #[serde(default)]
    pub name: String,
}

/// A user of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    #[serde(default)]
    pub name: String,
    pub password_hash: Option<String>,
    pub password_hash_file: Option<PathBuf>,
    pub password_hash_env: Option<String>,
    pub previous_password_hash: Option<String>,
    pub scram_256: Option<String>,
    pub scram_512: Option<String>,
    pub secrets_file: Option<PathBuf>,
    pub secrets_env: Option<String>,
    #[serde(default)]
    pub tags: Vec<String>,
    pub vhosts: Option<Vec<String>>,
    #[serde(default)]
    pub configure: Vec<String>,
    #[serde(default)]
    pub write: Vec<String>,
    #[serde(default)]
    pub read: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    pub high: Share,
    pub resident: Size,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    pub spill_bytes: Size,
    pub segment_bytes: Size,
    pub disk_free_alarm: Option<Size>,
    pub disk_free_hard: Size,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vhost {
    pub dead_letter: String,
    pub dollar_topics: Vec<String>,
    pub sys_interval: Span,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub file: Option<PathBuf>,
    pub format: LogFormat,
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub message_bytes: Size,
    pub topic_bytes: usize,
    pub topic_separators: usize,
    pub session_share_bytes: Size,
    pub inbox_bytes: Size,
    pub connections_per_user: Option<usize>,
    pub connections_per_vhost: Option<usize>,
    pub subscription_bytes: Size,
    pub consumer_timeout: Span,
    pub login_time: Span,
    pub write_time: Span,
    pub amqp: Amqp,
    pub mqtt: Mqtt,
    pub stomp: Stomp,
}

/// How many objects there may be.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objects {
    pub queues: usize,
    pub exchanges: usize,
    pub bindings: usize,
    pub sessions: usize,
    pub memos: usize,
    pub parked: usize,
    pub retained_values: usize,
    pub retained_bytes: Size,
    pub consumers: usize,
    pub transaction_items: usize,
    pub transaction_bytes: Size,
    pub header_fields: usize,
    pub header_bytes: Size,
    pub exchanges_visited: usize,
}

/// A queue to be there from the start. Here and below, what is required is empty where it is missing, which is noted
/// before.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    #[serde(default)]
    pub name: String,
    #[serde(default = "yes")]
    pub durable: bool,
    #[serde(default)]
    pub auto_delete: bool,
    #[serde(default)]
    pub arguments: BTreeMap<String, Argument>,
}

/// An exchange to be there from the start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    #[serde(default)]
    pub name: String,
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default = "yes")]
    pub durable: bool,
    #[serde(default)]
    pub auto_delete: bool,
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub arguments: BTreeMap<String, Argument>,
}

/// A binding to be there from the start.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    #[serde(default)]
    pub source: String,
    /// In the canonical form: words separated by `/`, wildcards `+` and `#`.
    #[serde(default)]
    pub key: String,
    /// `queue:NAME` or `exchange:NAME`.
    #[serde(default)]
    pub to: String,
    #[serde(default)]
    pub arguments: BTreeMap<String, Argument>,
}

/// A native plugin.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub path: PathBuf,
    pub sha256: Option<String>,
    #[serde(default)]
    pub with: BTreeMap<String, Argument>,
    #[serde(default)]
    pub limits: PluginLimits,
}

/// What a native plugin may take.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginLimits {
    pub call_time: Option<Span>,
    pub threads: Option<usize>,
}

fn yes() -> bool {
    true
}

/// The value of a declaration's argument, or of a plugin's setting.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Argument {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Argument>),
    Table(BTreeMap<String, Argument>),
}

impl Argument {
    fn value(&self) -> Value {
        match self {
            Argument::Bool(bool) => Value::Bool(*bool),
            Argument::Integer(number) => Value::I64(*number),
            Argument::Float(number) => Value::F64(*number),
            Argument::Text(text) => Value::text(text.as_str()),
            Argument::List(list) => Value::List(list.iter().map(Argument::value).collect()),
            Argument::Table(table) => Value::Map(values(table)),
        }
    }
}

/// Arguments as the broker takes them.
pub fn values(arguments: &BTreeMap<String, Argument>) -> Vec<(Name, Value)> {
    arguments.iter().map(|(name, value)| (name.as_str().into(), value.value())).collect()
}
