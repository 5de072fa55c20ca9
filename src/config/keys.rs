//! Every key that a configuration may hold: its name, the form of its value, what holds where it is not set, and
//! what it means. The checks (schema.rs), the built-in values (layers.rs) and docs/CONFIGURATION.md
//! (reference.rs) all read this table; a test compares it with the types that values are read into (meant.rs).

use super::keys_of_declarations::{BINDING, EXCHANGE, QUEUE};
use super::keys_of_doors::{AUTH, LISTENER, USER, VIRTUAL_HOST};
use super::keys_of_plugins::PLUGIN;
use super::keys_of_protocols::{AMQP, MQTT, STOMP};

/// The form of a value.
pub enum Form {
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    Bool,
    /// A whole number.
    Count {
        min: i64,
        max: i64,
    },
    /// Bytes.
    Size {
        min: u64,
        max: u64,
    },
    /// Bytes or a percentage.
    Share,
    /// A time, as `200ms`. Routes check it themselves.
    Duration,
    /// The same, between two numbers of milliseconds.
    Span {
        min_ms: u64,
        max_ms: u64,
    },
    /// `host:port`, a list of them, or `off`.
    Binds,
    /// `queue:NAME`, `topic:a/b`, `exchange:NAME/KEY`.
    Address,
    /// `queue:NAME` or `exchange:NAME`.
    Target,
    /// A list of texts.
    Texts,
    /// A table of declaration arguments: the names are the clients' own.
    Arguments,
    /// A list of steps of a content route.
    Steps,
    /// A table with these keys.
    Table(&'static [Key]),
    /// A table whose names are the user's, each with these keys.
    Named(&'static [Key]),
    /// `[[name]]`: a list of tables with these keys.
    Tables(&'static [Key]),
    /// `[[route]]`: like `Tables`, but the keys inside are checked by the transforms crate, which knows their meaning.
    Routes(&'static [Key]),
}

/// One key.
pub struct Key {
    pub name: &'static str,
    pub form: Form,
    /// The table makes no sense without it.
    pub required: bool,
    /// What holds where it is not set, as TOML; none: nothing, or what `meaning` says.
    pub default: Option<&'static str>,
    /// For docs/CONFIGURATION.md.
    pub meaning: &'static str,
}

impl Key {
    /// The keys of the table or tables that it names.
    pub fn inner(&self) -> Option<&'static [Key]> {
        match self.form {
            Form::Table(keys) | Form::Named(keys) | Form::Tables(keys) | Form::Routes(keys) => {
                Some(keys)
            }
            _ => None,
        }
    }
}

pub const fn key(name: &'static str, form: Form, meaning: &'static str) -> Key {
    Key { name, form, required: false, default: None, meaning }
}

pub const fn preset(
    name: &'static str,
    form: Form,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, form, required: false, default: Some(default), meaning }
}

pub const fn required(name: &'static str, form: Form, meaning: &'static str) -> Key {
    Key { name, form, required: true, default: None, meaning }
}

const MIB: u64 = 1 << 20;

const LIMITS: &[Key] = &[
    preset(
        "message_bytes",
        Form::Size { min: 1, max: 512 * MIB },
        "\"16MiB\"",
        "Body of one message at most. A larger one is refused with the protocol's own error, whose text \
         names this key. An MQTT packet has at most 256 MiB. The memory of a message on its way \
         through is up to twice its body: `memory.high` has to leave room for it.",
    ),
    preset(
        "topic_bytes",
        Form::Count { min: 1, max: 65_535 },
        "65535",
        "Length of one topic at most, in bytes.",
    ),
    preset(
        "topic_separators",
        Form::Count { min: 0, max: 65_535 },
        "200",
        "Separators (`/`) in one topic at most.",
    ),
    preset(
        "session_share_bytes",
        Form::Size { min: 4096, max: u64::MAX },
        "\"1MiB\"",
        "Publishes of one connection that are not stored yet, or are held back by an alarm. At \
         this many bytes the connection is not read until some are stored.",
    ),
    preset(
        "inbox_bytes",
        Form::Size { min: 4096, max: u64::MAX },
        "\"8MiB\"",
        "At-most-once deliveries (MQTT QoS 0, answers of AMQP's direct reply-to) that wait for one \
         connection. Beyond it they are dropped and counted.",
    ),
    key(
        "connections_per_user",
        Form::Count { min: 1, max: 10_000_000 },
        "Connections that one user may have at once, over all protocols. A further one is refused \
         with the protocol's own error; an MQTT client that takes its own session over needs none. \
         Not set: any number.",
    ),
    key(
        "connections_per_vhost",
        Form::Count { min: 1, max: 10_000_000 },
        "Connections that there may be in a virtual host at once. Not set: any number.",
    ),
    preset(
        "subscription_bytes",
        Form::Size { min: 4096, max: u64::MAX },
        "\"1GiB\"",
        "Messages that wait for one MQTT session, one `$share` group or one durable STOMP \
         subscription. Beyond it the oldest are dropped and counted. All of them together hold at most \
         a quarter of the disk, and half of what is free above the disk alarm plus what they hold.",
    ),
    preset(
        "consumer_timeout",
        Form::Span { min_ms: 0, max_ms: 4_233_600_000 },
        "\"30m\"",
        "How long a consumer of a quorum queue may have a message without settling it, where the queue \
         has no `x-consumer-timeout`; then the message goes back and the consumer is ended. Other \
         queues have such a time only by that argument. `0s`: any time.",
    ),
    preset(
        "login_time",
        Form::Span { min_ms: 100, max_ms: 3_600_000 },
        "\"10s\"",
        "Time for a whole login, from the accepted connection on: TLS (half of it at most), \
         WebSocket, and the protocol's own. A client that is slower is disconnected.",
    ),
    preset(
        "write_time",
        Form::Span { min_ms: 100, max_ms: 3_600_000 },
        "\"15s\"",
        "A client that takes nothing of what waits for it for this long is disconnected.",
    ),
    key("amqp", Form::Table(AMQP), "What one connection of AMQP may do."),
    key("mqtt", Form::Table(MQTT), "What one connection of MQTT may do."),
    key("stomp", Form::Table(STOMP), "What one connection of STOMP may do."),
];

/// How many objects there may be; `Limit` in core/src/broker/vhost/limits.rs names them.
const OBJECTS: &[Key] = &[
    preset(
        "queues",
        Form::Count { min: 1, max: 1_000_000_000 },
        "200000",
        "Queues of a virtual host, those of MQTT sessions and of temporary subscriptions included.",
    ),
    preset(
        "exchanges",
        Form::Count { min: 1, max: 1_000_000_000 },
        "100000",
        "Exchanges of a virtual host.",
    ),
    preset(
        "bindings",
        Form::Count { min: 1, max: 1_000_000_000 },
        "2000000",
        "Bindings of a virtual host; each subscription to a topic is one.",
    ),
    preset(
        "sessions",
        Form::Count { min: 1, max: 1_000_000_000 },
        "1000000",
        "MQTT sessions of a virtual host, connected or not.",
    ),
    preset(
        "memos",
        Form::Count { min: 1, max: 1_000_000_000 },
        "200000",
        "Notes that one session that outlives its connection keeps for QoS 2: deliveries and \
         publishes whose handshake is not complete.",
    ),
    preset(
        "parked",
        Form::Count { min: 1, max: 1_000_000_000 },
        "1000000",
        "Delayed messages and wills of a virtual host.",
    ),
    preset(
        "retained_values",
        Form::Count { min: 1, max: 1_000_000_000 },
        "5000000",
        "Retained values of a virtual host.",
    ),
    preset(
        "retained_bytes",
        Form::Size { min: 1, max: u64::MAX },
        "\"1GiB\"",
        "Memory that the retained values of a virtual host take.",
    ),
    preset(
        "consumers",
        Form::Count { min: 1, max: 1_000_000_000 },
        "50000",
        "Consumers of one connection.",
    ),
    preset(
        "transaction_items",
        Form::Count { min: 1, max: 1_000_000_000 },
        "100000",
        "Publishes and acknowledgements in the open transactions of one connection. One commit of \
         several may lead to 100,000 records of queues at most.",
    ),
    preset(
        "transaction_bytes",
        Form::Size { min: 1, max: u64::MAX },
        "\"64MiB\"",
        "Memory that the open transactions of one connection take.",
    ),
    preset(
        "header_fields",
        Form::Count { min: 1, max: 1_000_000_000 },
        "1000",
        "Headers (AMQP), user properties (MQTT 5) of one message. For STOMP: \
         `limits.stomp.headers_per_frame`.",
    ),
    preset(
        "header_bytes",
        Form::Size { min: 1, max: u64::MAX },
        "\"256KiB\"",
        "Bytes of the headers of one message.",
    ),
    preset(
        "exchanges_visited",
        Form::Count { min: 1, max: 1_000_000_000 },
        "1000",
        "Exchanges that one publish goes through, from binding to binding.",
    ),
];

const METRICS: &[Key] = &[
    preset(
        "open",
        Form::Bool,
        "false",
        "Everybody may read metrics, from everywhere. Otherwise, from this machine everybody may, \
         and from others users may who are tagged `monitoring` or `administrator`, by name and \
         password.",
    ),
    key(
        "hosts",
        Form::Texts,
        "Names under which this machine may be asked for metrics from itself without a password, \
         beside `localhost` and addresses: for a proxy on it. Others are refused, so that no page in \
         a browser reads metrics by a name that leads here.",
    ),
];

const LOG: &[Key] = &[
    key(
        "file",
        Form::Text,
        "The file that the log of `crossdock serve` is appended to. Relative to the working directory. \
         SIGUSR1 has it opened again, after it was renamed. Not set: the log goes to the standard \
         error, as that of every other command.",
    ),
    preset(
        "format",
        Form::Word(&["text", "json"]),
        "\"text\"",
        "One line for each event, for people or for programs: docs/OPERATING.md has the fields of JSON.",
    ),
    preset(
        "level",
        Form::Word(&["error", "warn", "info", "debug", "trace"]),
        "\"info\"",
        "The least important level that is written. docs/OPERATING.md says what is logged at \
         which level.",
    ),
];

const MEMORY: &[Key] = &[
    preset(
        "high",
        Form::Share,
        "\"60%\"",
        "Bytes of messages in memory over which publishers are held back. A percentage is of \
         what the process may use: the limit of its control group or the machine's memory, \
         whichever is less.",
    ),
    preset(
        "resident",
        Form::Size { min: MIB, max: u64::MAX },
        "\"128MiB\"",
        "Bytes of messages in memory over which messages that wait leave memory: stored ones can be read \
         back from the journal, the others are written to `store.spill_bytes` of files first. Two thirds \
         of `memory.high` if that is less. Nobody is held back for that.",
    ),
];

const STORE: &[Key] = &[
    preset(
        "spill_bytes",
        Form::Size { min: 0, max: u64::MAX },
        "\"8GiB\"",
        "Bytes on the disk that transient messages may take when they leave memory. They are gone after \
         a restart. Beyond that, and on a full disk, they stay in memory.",
    ),
    preset(
        "segment_bytes",
        Form::Size { min: MIB, max: u64::MAX },
        "\"64MiB\"",
        "Size of one file of the journal.",
    ),
    key(
        "disk_free_alarm",
        Form::Size { min: 0, max: u64::MAX },
        "Free bytes of the disk under which publishers are held back. Not set: 1 GiB, or 5 % of \
         the disk if that is more.",
    ),
    preset(
        "disk_free_hard",
        Form::Size { min: 0, max: u64::MAX },
        "\"256MiB\"",
        "Free bytes of the disk under which nothing new is declared either.",
    ),
];

const VHOST: &[Key] = &[
    preset(
        "dead_letter",
        Form::Address,
        "\"queue:dead-letters\"",
        "Where content routes send what failed for good, unless the route names another address. Also \
         dead letters that their queues lead in a circle, and delayed publishes that are refused when \
         their time has come. A queue that is named here is declared, durable and without limits, as soon \
         as a route needs it (docs/guide/routes.md). Without such a route nobody declares it but a \
         `[[queue]]` or a client: what nobody takes there is dropped, counted and shown as lost by \
         `crossdock status`.",
    ),
    preset(
        "dollar_topics",
        Form::Texts,
        "[]",
        "Filters of topics that begin with `$` and are ordinary topics nevertheless, as `$aws/#`: `+` \
         is one word, `#` at the end any number of words. The broker's own (`$SYS`, `$share`, `$q`, \
         `$queue`, `$reply`, `$delayed`, `$route-state`) cannot be among them.",
    ),
    preset(
        "sys_interval",
        Form::Span { min_ms: 0, max_ms: 86_400_000 },
        "\"10s\"",
        "How often the broker's figures are published under `$SYS/broker/`, as Mosquitto does; \"0s\": \
         never.",
    ),
];

const ON_ERROR: &[Key] = &[
    preset(
        "retry",
        Form::Count { min: 0, max: 65_535 },
        "0",
        "Further attempts after the first; only for routes with a `wasm` or `plugin` step.",
    ),
    preset(
        "backoff",
        Form::Duration,
        "\"200ms\"",
        "Wait before the first further attempt; doubled for each one after it. Only for routes \
         with a `wasm` or `plugin` step.",
    ),
    preset(
        "then",
        Form::Word(&["dead-letter", "pass", "drop", "reject"]),
        "\"dead-letter\"",
        "After the last attempt. `pass`: the original goes on as if the route had not taken it. \
         `reject`: the publisher gets a negative answer; only for routes without a `wasm` or \
         `plugin` step.",
    ),
    key(
        "dead_letter",
        Form::Address,
        "Where `dead-letter` sends to. Not set: `vhost.dead_letter`.",
    ),
];

const ROUTE_LIMITS: &[Key] = &[
    preset(
        "memory",
        Form::Size { min: 1 << 16, max: u64::MAX },
        "\"16MiB\"",
        "Memory of one instance of a module, at most 1 GiB.",
    ),
    preset(
        "deadline",
        Form::Duration,
        "\"50ms\"",
        "Time of a module for one message, from 1 ms to 60 s.",
    ),
];

const ROUTE: &[Key] = &[
    required(
        "name",
        Form::Text,
        "Unique; also the name of the route's own queue, `route/NAME`. 1 to 64 letters, digits, \
         `-`, `_` and `.`.",
    ),
    required(
        "from",
        Form::Texts,
        "What it watches: `topic:PATTERN`, `queue:NAME`, `exchange:NAME/PATTERN`.",
    ),
    key(
        "when",
        Form::Text,
        "Which messages it takes, as a predicate (docs/transforms/predicates.md). Not set: all.",
    ),
    key(
        "steps",
        Form::Steps,
        "What happens to a message, in order; each is `{ set = {…} }`, `{ remove = […] }`, `{ \
         wasm = \"module\", with = {…} }` or `{ plugin = \"name\", with = {…} }` (docs/transforms).",
    ),
    key(
        "to",
        Form::Texts,
        "Where results go: `queue:NAME`, `topic:a/b`, `exchange:NAME/KEY`; parts in braces are \
         computed from the message. Required, but with `mode = \"filter\"` not allowed.",
    ),
    preset(
        "mode",
        Form::Word(&["divert", "tap", "filter"]),
        "\"divert\"",
        "What becomes of the original. `divert`: it goes nowhere else. `tap`: it goes on, the \
         route works on a copy. `filter`: the result goes on in its place.",
    ),
    preset(
        "priority",
        Form::Count { min: i32::MIN as i64, max: i32::MAX as i64 },
        "0",
        "Of several filters that watch one address the one with the highest comes first; equals \
         in the order of the file. Only for `mode = \"filter\"`.",
    ),
    preset(
        "required",
        Form::Bool,
        "false",
        "Whether a result that reaches nobody is a failure; otherwise it is delivered to nobody.",
    ),
    preset(
        "order",
        Form::Word(&["relaxed", "strict"]),
        "\"relaxed\"",
        "A message that has to be tried again gives up its place (`relaxed`), or those of the \
         same source wait behind it (`strict`). Only for routes with a `wasm` or `plugin` step.",
    ),
    preset(
        "concurrency",
        Form::Count { min: 1, max: 64 },
        "1",
        "Messages that it works on at the same time. Only for routes with a `wasm` or `plugin` step.",
    ),
    key("on_error", Form::Table(ON_ERROR), "What happens when a step fails."),
    preset(
        "isolation",
        Form::Word(&["shared", "per-message"]),
        "\"shared\"",
        "`per-message`: each message gets an instance of the module of its own, which takes \
         about ten times as long for small messages.",
    ),
    key("limits", Form::Table(ROUTE_LIMITS), "What each module of the route may use."),
];

/// The listeners that are there where nothing is configured.
const LISTENERS: &str = "{ amqp = { bind = \"127.0.0.1:5672\", protocols = [\"amqp\"] }, \
     metrics = { bind = \"127.0.0.1:15692\", protocols = [\"metrics\"] }, \
     mqtt = { bind = \"127.0.0.1:1883\", protocols = [\"mqtt\"] }, \
     stomp = { bind = \"127.0.0.1:61613\", protocols = [\"stomp\"] }, \
     ws-mqtt = { bind = \"127.0.0.1:15675\", protocols = [\"mqtt\"], transport = \"ws\" }, \
     ws-stomp = { bind = \"127.0.0.1:15674\", protocols = [\"stomp\"], transport = \"ws\" } }";

/// The whole.
pub const ROOT: &[Key] = &[
    preset(
        "data_dir",
        Form::Text,
        "\"data\"",
        "Folder of the store and of the cache of compiled modules. Relative to the working \
         directory.",
    ),
    preset("listeners", Form::Named(LISTENER), LISTENERS, "One table for each port."),
    key("memory", Form::Table(MEMORY), "How much memory messages may take."),
    key("store", Form::Table(STORE), "The store on disk."),
    key("vhost", Form::Table(VHOST), "The virtual host `/`, which is always there."),
    key(
        "virtual_host",
        Form::Tables(VIRTUAL_HOST),
        "Further virtual hosts, with queues, exchanges and sessions of their own. Each is made at the \
         first start that names it, and stays with all that is in it when it is not named any more. \
         Content routes, and the queues of this file, are in `/`.",
    ),
    key("log", Form::Table(LOG), "The log."),
    key("metrics", Form::Table(METRICS), "Who may read metrics."),
    key(
        "limits",
        Form::Table(LIMITS),
        "What one message and one connection may take. A change counts for new connections where it \
         is about connections.",
    ),
    key(
        "objects",
        Form::Table(OBJECTS),
        "How many objects there may be, and what they may take. What goes beyond is refused with the \
         protocol's own error; what is there stays. All together they take at most half of \
         `memory.high` (16 MiB if that is more): messages that are kept half of that, queues, \
         exchanges, bindings and sessions seven eighths, so that there is always room for whoever \
         comes to take something away.",
    ),
    key(
        "queue",
        Form::Tables(QUEUE),
        "Queues that are declared at every start and at SIGHUP. One that is there already with other \
         settings is a mistake, and nothing is changed. One that is taken out of the file stays.",
    ),
    key("auth", Form::Table(AUTH), "How clients log in."),
    key(
        "user",
        Form::Tables(USER),
        "Users, and what each may do. `crossdock user` and clients cannot change them.",
    ),
    key(
        "exchange",
        Form::Tables(EXCHANGE),
        "Exchanges that are declared at every start and at SIGHUP.",
    ),
    key("binding", Form::Tables(BINDING), "Bindings that are made at every start and at SIGHUP."),
    key(
        "plugin",
        Form::Tables(PLUGIN),
        "Native plugins: shared libraries that are loaded at the start and run in the broker, with all its \
         rights (docs/guide/plugins.md). Without such a section none is loaded.",
    ),
    key(
        "route",
        Form::Routes(ROUTE),
        "Content routes: they look into messages, reshape them and send them on (docs/transforms).",
    ),
];
