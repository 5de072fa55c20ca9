//! The command lines of `crossdock ctl` and `crossdock status`.

use crate::Sources;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What the exit codes mean, for help and man.
pub const EXIT_STATUS: &str = "Exit status: 0 done, and all is well; 1 refused, or all is not well; \
     2 the command line makes no sense; 69 no broker is running there, or it does not answer.";

/// Where the broker is, and how it is asked.
#[derive(Debug, Args)]
pub struct Place {
    /// The broker's socket. Not given: ctl.sock in the data directory.
    #[arg(long, global = true, value_name = "FILE")]
    pub socket: Option<PathBuf>,
    /// The data directory. Not given: that of the configuration.
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// The configuration file that names the data directory. Not given: what CROSSDOCK_CONFIG names, or
    /// /etc/crossdock/crossdock.toml if it is there.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the broker's answer: one JSON object, and for lists one for each line.
    #[arg(long, global = true)]
    pub json: bool,
    /// Seconds that a request and its answer may take; 0: as long as it takes. A move, a backup and a drained route are
    /// waited for as long as the broker answers something else within that time.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30)]
    pub timeout: u64,
}

impl Place {
    /// Where the configuration is read from.
    pub fn sources(&self) -> Sources {
        Sources { config: self.config.clone(), data_dir: self.data_dir.clone(), set: Vec::new() }
            .with_file()
    }
}

/// Reads the seconds between two looks.
fn seconds() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(0..=10)
}

/// What `crossdock status` is told.
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct StatusOrder {
    /// Seconds between the two looks that tell which queues grow.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = seconds())]
    pub seconds: u64,
    #[command(flatten)]
    pub place: Place,
}

/// What `crossdock ctl` is told.
#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUS)]
pub struct CtlOrder {
    #[command(flatten)]
    pub place: Place,
    #[command(subcommand)]
    pub verb: CtlVerb,
}

#[derive(Debug, Subcommand)]
pub enum CtlVerb {
    #[command(flatten)]
    Look(Look),
    #[command(flatten)]
    Act(Act),
}

/// What there are lists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kinds {
    Queues,
    Exchanges,
    Bindings,
    Connections,
    Channels,
    Consumers,
    Sessions,
    Vhosts,
    Users,
    Routes,
    Listeners,
    Plugins,
    Moves,
    Losses,
}

/// What is shown by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Queue,
    Exchange,
    Session,
    Connection,
    Vhost,
    User,
    Route,
    Listener,
    Plugin,
}

#[derive(Debug, Subcommand)]
pub enum Look {
    /// List what there is.
    List {
        kind: Kinds,
        /// Of this virtual host only: of queues, exchanges, bindings and sessions.
        #[arg(long)]
        vhost: Option<String>,
    },
    /// Show one object with all that is known of it.
    Show {
        kind: Kind,
        /// Its name; of a connection its number in the list.
        name: String,
        /// Its virtual host. Not given: the default one.
        #[arg(long)]
        vhost: Option<String>,
    },
    /// Look at the messages of a queue in the order of their delivery. Nothing of them changes by that.
    Peek {
        queue: String,
        /// So many of them, 1 to 500.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u64,
        /// Where to begin: what the last look named as the next one.
        #[arg(long, value_name = "PLACE")]
        from: Option<String>,
        #[command(flatten)]
        meant: Conditions,
        #[arg(long)]
        vhost: Option<String>,
    },
    /// Check that every message that came is accounted for. Exit code 1: some address does not balance, or
    /// something is known to be lost.
    Audit,
    /// The alarms that are on: what holds publishers back. Exit code 1: there are some.
    Alarms,
    /// Whether messages are taken. Exit code 1: no.
    Health,
    /// One screen of everything, as `crossdock status`.
    Status {
        /// Seconds between the two looks that tell which queues grow.
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = seconds())]
        seconds: u64,
    },
}

/// Which messages are meant.
#[derive(Debug, Args)]
pub struct Conditions {
    /// Only those: NAME=TEXT, NAME~PART, has:NAME, body~PART, age>10m, age<2h. A name is a property, key, exchange,
    /// death.queue, death.reason, or a header. Of several all have to hold.
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum Act {
    /// Make a queue or an exchange. One that is there already has to be the same.
    Declare {
        #[command(subcommand)]
        what: Declare,
    },
    /// Delete a queue with its messages, an exchange, or a session with all that it keeps.
    Delete {
        #[command(subcommand)]
        what: Delete,
    },
    /// Have what an exchange routes by a key go to a queue or to another exchange.
    Bind(BindOrder),
    /// Remove a binding: the key and all arguments have to be the same.
    Unbind(BindOrder),
    /// Drop all messages of a queue that no consumer has.
    Purge {
        queue: String,
        #[arg(long)]
        vhost: Option<String>,
    },
    /// Drop ready messages of a queue: those that are meant, or one of them.
    Drop(DropOrder),
    /// Move ready messages of a queue to another one, or back to where they were published.
    Move(MoveOrder),
    /// Take note of something, so that it is not shown any more.
    Accept {
        #[command(subcommand)]
        what: Accept,
    },
    /// Stop something that runs.
    Stop {
        #[command(subcommand)]
        what: Stop,
    },
    /// Let somebody do again at once what has to wait.
    Clear {
        #[command(subcommand)]
        what: Clear,
    },
    /// Close a connection; its client is told, in its protocol's words.
    Close {
        #[command(subcommand)]
        what: Close,
    },
    /// Publish one message, and wait until it is stored.
    Publish(PublishOrder),
    /// Look after users and their rights. Those of the configuration file are changed there.
    User {
        #[command(subcommand)]
        what: User,
    },
    /// Look after content routes.
    Route {
        #[command(subcommand)]
        what: Route,
    },
    /// Copy the store into a folder of backups, on the broker's machine and as its user.
    Backup {
        /// The folder of backups; made if it is not there.
        folder: PathBuf,
        /// Remove the oldest backups in it afterwards, so that this many are left. Not given: all stay.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        keep: Option<u32>,
    },
    /// Change what is logged, until the configuration is read again: error, warn, info, debug or trace.
    LogLevel { level: String },
    /// Have the configuration read again, as SIGHUP does: all of it, or with any mistake nothing.
    Reload,
    /// Take no new connections, and tell those that are there to end. The broker goes on without them until `shutdown`.
    Drain,
    /// End the broker, as SIGTERM does.
    Shutdown,
}

#[derive(Debug, Subcommand)]
pub enum Declare {
    /// A queue.
    Queue {
        name: String,
        /// It is gone after a restart.
        #[arg(long)]
        transient: bool,
        /// It goes with its last consumer.
        #[arg(long)]
        auto_delete: bool,
        #[command(flatten)]
        more: Arguments,
    },
    /// An exchange.
    Exchange {
        name: String,
        /// direct, fanout, topic, headers, x-random, x-local-random, x-modulus-hash,
        /// x-consistent-hash, x-delayed-message, x-recent-history, or one that a plugin brings.
        #[arg(long = "type", value_name = "TYPE", default_value = "topic")]
        kind: String,
        /// It is gone after a restart.
        #[arg(long)]
        transient: bool,
        /// It goes with its last binding.
        #[arg(long)]
        auto_delete: bool,
        /// Only other exchanges publish to it.
        #[arg(long)]
        internal: bool,
        #[command(flatten)]
        more: Arguments,
    },
}

/// Arguments and the virtual host.
#[derive(Debug, Args)]
pub struct Arguments {
    /// An argument: `x-max-length=1000`, `x-overflow=reject-publish`. Numbers, true, false and JSON are read as such,
    /// everything else as text. May be given several times.
    #[arg(long = "argument", value_name = "NAME=VALUE")]
    pub arguments: Vec<String>,
    /// The virtual host. Not given: the default one.
    #[arg(long)]
    pub vhost: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Delete {
    /// A queue.
    Queue {
        name: String,
        /// Only if it has no consumer.
        #[arg(long)]
        if_unused: bool,
        /// Only if it has no message.
        #[arg(long)]
        if_empty: bool,
        #[arg(long)]
        vhost: Option<String>,
    },
    /// An exchange.
    Exchange {
        name: String,
        /// Only if nothing is bound to it.
        #[arg(long)]
        if_unused: bool,
        #[arg(long)]
        vhost: Option<String>,
    },
    /// A session, with its bindings and what waits for it. A client that is connected is told to end, in its protocol's
    /// words, and begins a new one when it comes back.
    Session {
        /// Its name in the list of sessions: an MQTT client's is mqtt/ and its identifier.
        name: String,
        #[arg(long)]
        vhost: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct BindOrder {
    /// The exchange that routes.
    pub source: String,
    /// Where it routes to: queue:NAME or exchange:NAME.
    pub destination: String,
    /// The key, or for a topic exchange the pattern: words between slashes, + and #.
    #[arg(long, default_value = "")]
    pub key: String,
    #[command(flatten)]
    pub more: Arguments,
}

#[derive(Debug, Args)]
pub struct DropOrder {
    /// The queue that they are in.
    pub queue: String,
    #[command(flatten)]
    pub meant: Conditions,
    /// The one of that offset, as `peek` shows it, and no other.
    #[arg(long, value_name = "N")]
    pub offset: Option<u64>,
    /// So many at most, the first ones. Not given: all that are there.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Drop nothing: say what would be dropped.
    #[arg(long)]
    pub dry_run: bool,
    /// Without a condition, an offset and a limit every message is meant: yes.
    #[arg(long)]
    pub yes: bool,
    #[arg(long)]
    pub vhost: Option<String>,
}

#[derive(Debug, Args)]
pub struct MoveOrder {
    /// The queue that they are in.
    pub source: String,
    /// The queue that they go to.
    #[arg(required_unless_present = "to_origin", conflicts_with = "to_origin")]
    pub destination: Option<String>,
    /// Each to the address that it had been published to before it was dead-lettered.
    #[arg(long)]
    pub to_origin: bool,
    #[command(flatten)]
    pub meant: Conditions,
    /// So many at most. Not given: all that are there.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// So many each second at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub per_second: Option<u32>,
    /// Where in the queue to begin: what a move before named as the next place.
    #[arg(long, value_name = "PLACE")]
    pub from: Option<String>,
    /// Move nothing: say what would be moved.
    #[arg(long)]
    pub dry_run: bool,
    /// Without a condition and a limit every message is meant: yes.
    #[arg(long)]
    pub yes: bool,
    #[arg(long)]
    pub vhost: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Accept {
    /// What is known to be lost, up to this number of the list of losses: you have seen to it.
    Losses { upto: u64 },
}

#[derive(Debug, Subcommand)]
pub enum Stop {
    /// A move, by its number in the list. What it has moved stays moved, and all else stays where it is.
    Move { id: u64 },
}

#[derive(Debug, Subcommand)]
pub enum Clear {
    /// The wait of a name after logins that failed: its next try is judged at once, from every address, as if none had
    /// failed. `crossdock status` shows who has to wait.
    LoginDelay {
        /// The name that logs in.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Close {
    /// A connection, by its number in the list.
    Connection {
        number: u64,
        /// What the client is told.
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct PublishOrder {
    /// Where to: queue:NAME, topic:a/b or exchange:NAME/KEY.
    pub address: String,
    /// The body. Not given, and no file either: standard input.
    #[arg(conflicts_with = "file")]
    pub body: Option<String>,
    /// Read the body from this file.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A header. Numbers, true, false and JSON are read as such. May be given several times.
    #[arg(long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<String>,
    #[arg(long, value_name = "TYPE")]
    pub content_type: Option<String>,
    #[arg(long, value_name = "ID")]
    pub message_id: Option<String>,
    /// It need not survive a restart.
    #[arg(long)]
    pub transient: bool,
    /// It becomes the retained value of its topic; an empty one clears it.
    #[arg(long)]
    pub retain: bool,
    /// 0 to 255.
    #[arg(long)]
    pub priority: Option<u8>,
    /// Milliseconds until it expires.
    #[arg(long, value_name = "MS")]
    pub ttl: Option<u64>,
    #[arg(long)]
    pub vhost: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum User {
    /// List all users: where each was made, its tags and rights.
    List,
    /// Make a user, with the password that is read: one line of standard input. It has no rights yet.
    Add {
        name: String,
        /// A word for rights over the broker itself, as `administrator`. May be given several times.
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// Read no password: the user cannot log in by one, but with a certificate.
        #[arg(long)]
        no_password: bool,
    },
    /// Give a user the password that is read: one line of standard input.
    SetPassword {
        name: String,
        /// The password of until now holds, too, until `forget-previous`.
        #[arg(long)]
        keep_previous: bool,
    },
    /// End the time in which two passwords of a user hold: the older one is forgotten.
    ForgetPrevious { name: String },
    /// Delete a user with its rights. Its connections are closed.
    Delete { name: String },
    /// Say what a user may do in a virtual host, instead of what it might until now.
    Rights(RightsOrder),
}

#[derive(Debug, Args)]
pub struct RightsOrder {
    pub name: String,
    /// What it may declare and delete: `queue:orders-*`, `topic:plant/#`, `exchange:events`, `*`. May be given several
    /// times, as the others.
    #[arg(long, value_name = "PATTERN")]
    pub configure: Vec<String>,
    /// Where it may publish to, and bind queues to.
    #[arg(long, value_name = "PATTERN")]
    pub write: Vec<String>,
    /// What it may consume and subscribe to.
    #[arg(long, value_name = "PATTERN")]
    pub read: Vec<String>,
    /// It may not enter the virtual host at all.
    #[arg(
        long,
        conflicts_with_all = ["configure", "write", "read"],
        required_unless_present_any = ["configure", "write", "read"]
    )]
    pub none: bool,
    #[arg(long, default_value = "/")]
    pub vhost: String,
}

#[derive(Debug, Subcommand)]
pub enum Route {
    /// What each route did since the start, or one of them.
    Status { name: Option<String> },
    /// Have the modules that are rehearsed (`shadow`) work from now on. Each goes back by itself if it breaks off,
    /// within 1,000 messages or a minute, on a message that the module of until now can do.
    Promote {
        /// The route.
        route: String,
        /// Even if it was not called with any message yet, or answered some in another way.
        #[arg(long)]
        yes: bool,
    },
    /// What the modules of a route remember (`kv`), whether or not the route is configured: a page of keys and values.
    Values {
        /// The route, or the name that it had.
        route: String,
        /// Only keys that begin with it.
        #[arg(long, default_value = "")]
        prefix: String,
        /// Behind that place, which the page before ends with.
        #[arg(long, value_name = "STEP/KEY")]
        from: Option<String>,
    },
    /// Forget what the modules of a route remember (`kv`), whether or not the route is configured.
    Forget {
        /// The route, or the name that it had.
        route: String,
    },
    /// Move what waits for a route that is not configured any more to where it was published.
    Drain {
        /// The name that the route had.
        route: String,
        /// Move everything there instead: queue:NAME, topic:a/b or exchange:NAME/KEY.
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
    },
}
