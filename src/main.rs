//! The program: command line, logging, exit codes. 0: a signal ended it. 2: it could not start; standard error says
//! why, one line for each mistake. 3: the store failed while it ran.
#![forbid(unsafe_code)]

mod accounts;
mod backup;
mod certificates;
mod changes;
mod circles;
mod config;
mod ctl;
mod declare;
mod diff;
mod drain;
mod figures;
mod fit;
mod inspect;
mod listeners;
mod log;
mod log_file;
mod log_line;
mod login_order;
mod machine;
mod new_folder;
mod notify;
mod operations;
mod output;
mod pages;
mod panics;
mod places;
mod plan;
mod plugin_new;
mod plugins;
mod reload;
mod routes;
mod secrets;
mod serve;
mod show;
mod stomp_door;
mod tokens;
mod transform;
mod user_changes;
mod users;
mod vhosts;
mod wiring;

use crate::output::{complain, say};
use accounts::command::{SessionCommand, UserCommand};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use config::{Loaded, Mistake, Request};
use crossdock_core::RouteDrained;
use crossdock_core::store::Store;
use ctl::command::{CtlOrder, StatusOrder};
use drain::Order;
use log::Log;
use log_file::LogFile;
use plan::Plan;
use plugin_new::PluginCommand;
use routes::Purpose;
use serve::{Start, Stopped};
use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use transform::TransformCommand;

#[global_allocator]
static ALLOCATOR: crossdock_allocator::Allocator = crossdock_allocator::Allocator;

/// Exit code: the broker could not start.
const EXIT_MISTAKES: u8 = 2;
/// Exit code: messages of a route that was to be drained stay.
const EXIT_LEFT: u8 = 1;
/// Exit code: two configurations are not the same.
const EXIT_CHANGES: u8 = 1;
/// Exit code: the store failed while the broker ran.
const EXIT_STORE: u8 = 3;

/// At the end, blocking work that is still running gets this long to finish.
const SHUTDOWN_TIME: Duration = Duration::from_millis(50);

/// Time after which worker threads that have nothing to do give back what they had for it.
const WAKE_EVERY: Duration = Duration::from_secs(1);

/// What `crossdock --version` prints.
const VERSION: &str = match cfg!(feature = "planted-fault") {
    false => env!("CARGO_PKG_VERSION"),
    true => concat!(env!("CARGO_PKG_VERSION"), " with a planted fault: for tests only"),
};

/// Multi-protocol message broker and integration hub.
#[derive(Debug, Parser)]
#[command(version = VERSION, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Serve(Serve),
    /// One screen of a broker that runs: is all well? Exit code 1: no.
    Status(StatusOrder),
    /// Look into a broker that runs, and mend it, over the socket in its data directory. For the user that it runs as,
    /// and root.
    Ctl(CtlOrder),
    /// Inspect a store, back it up and restore it. Nothing in it is changed, and a broker may be running on it; only
    /// to restore, none may.
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Look after content routes. No broker may be running.
    Route {
        #[command(subcommand)]
        command: RouteCommand,
    },
    /// Make, try and measure WebAssembly modules for content routes. Needs no broker.
    Transform {
        #[command(subcommand)]
        command: TransformCommand,
    },
    /// Make native plugins. Needs no broker.
    Plugin {
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Look after users and their rights in a stopped store. Those of the configuration file are changed there.
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Look after the owners of sessions in a stopped store.
    Session {
        #[command(subcommand)]
        command: SessionCommand,
    },
    /// Check a configuration file, its routes and their modules, without starting anything.
    CheckConfig {
        /// The configuration file.
        file: PathBuf,
        /// Show the routes, too: what each does, and which meet at one address in what order.
        #[arg(long)]
        routes: bool,
    },
    /// Say what a reload would change: one line for each change, with when it counts. Exit code 0: nothing, 1:
    /// something, 2: it would be refused.
    Diff {
        /// The new configuration file.
        file: PathBuf,
        /// The old one, and what overrides both.
        #[command(flatten)]
        sources: Sources,
    },
    /// Read a password, one line of standard input, and print the lines of a [[user]] that it is verified by.
    HashPassword,
    /// Certificates.
    Tls {
        #[command(subcommand)]
        command: TlsCommand,
    },
    /// Print every configuration key with its built-in value and what it means, as Markdown.
    ConfigKeys,
    /// Print what completes the words of this command line in a shell.
    Completions { shell: Shell },
    /// Print the page crossdock(1) for man.
    Man {
        /// Write it there instead, with a page for each command.
        folder: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Check every byte that has a checksum; print a line for each finding, then counts. Exit code 1: damage.
    Verify {
        /// The data directory, a store or a backup. Not given: the data directory of the configuration.
        dir: Option<PathBuf>,
        #[command(flatten)]
        sources: Sources,
    },
    /// Copy the store into a folder of backups, checked after it was written. A broker may be running on it. Exit code
    /// 1: the store is damaged, and so is the backup.
    Backup(backup::BackupOrder),
    /// Make a backup the store of the data directory. No broker may be running on it.
    Restore(backup::RestoreOrder),
    /// Print the messages of a durable queue, one JSON object per line.
    Dump {
        /// The data directory, a store or a backup. Not given: the data directory of the configuration.
        dir: Option<PathBuf>,
        /// The queue's name.
        #[arg(long)]
        queue: String,
        /// Its virtual host.
        #[arg(long, default_value = "/")]
        vhost: String,
        #[command(flatten)]
        sources: Sources,
    },
}

#[derive(Debug, Subcommand)]
enum TlsCommand {
    /// Make an authority of your own, a certificate for this machine and one for a client, to try TLS with. Nothing
    /// that exists is overwritten.
    SelfSigned {
        /// The folder to write them to.
        dir: PathBuf,
        /// A name or address by which clients reach this machine; may be given several times.
        #[arg(long = "name", value_name = "NAME")]
        names: Vec<String>,
        /// The common name in the client's certificate: the name of its user.
        #[arg(long, value_name = "USER", default_value = "client")]
        client: String,
    },
}

#[derive(Debug, Subcommand)]
enum RouteCommand {
    /// Move what waits for a route that is not configured any more to where it was published, and delete the queue
    /// that it waits in. The configured routes and queues take part as when the broker runs.
    Drain {
        /// The name that the route had.
        route: String,
        /// Move everything there instead: queue:NAME, topic:a/b or exchange:NAME/KEY.
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
        #[command(flatten)]
        sources: Sources,
    },
}

/// Where the configuration comes from, besides the environment.
#[derive(Debug, Clone, Args)]
struct Sources {
    /// The configuration file. Not given: what CROSSDOCK_CONFIG names, or /etc/crossdock/crossdock.toml if it is there.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Set one configuration key; overrides the file and the environment: --set listeners.mqtt.bind=127.0.0.1:1884
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    sources: Sources,
    /// Start although journal entries are damaged; what they held is lost. Needed once.
    #[arg(long)]
    accept_damage: bool,
}

fn main() -> ExitCode {
    let started = Instant::now();
    let code = match CommandLine::try_parse() {
        Ok(line) => command(line.command, started),
        Err(instead) => explain(&instead),
    };
    output::end(code)
}

/// Prints help or the version, or what is wrong with the command line.
fn explain(instead: &clap::Error) -> ExitCode {
    if let Err(error) = instead.print().and_then(|()| std::io::stdout().flush())
        && !instead.use_stderr()
    {
        output::fail(error);
    }
    u8::try_from(instead.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn command(command: Command, started: Instant) -> ExitCode {
    let outcome = match command {
        Command::Serve(options) => run(&options, started),
        Command::Status(order) => return ctl::status(&order),
        Command::Ctl(order) => return ctl::run(order),
        Command::CheckConfig { file, routes } => check(&file, routes).map(|()| ExitCode::SUCCESS),
        Command::Route { command: RouteCommand::Drain { route, to, sources } } => {
            drain(&route, to.as_deref(), &sources)
        }
        Command::Transform { command } => return transform::run(command),
        Command::Plugin { command } => return plugin_new::run(command),
        Command::User { command } => accounts::user(command),
        Command::Session { command } => accounts::session(command),
        Command::Diff { file, sources } => diff(&file, &sources),
        Command::HashPassword => return secrets::hash_password(),
        Command::Tls { command: TlsCommand::SelfSigned { dir, names, client } } => {
            return secrets::self_signed(&dir, &names, &client);
        }
        Command::ConfigKeys => {
            output::put(&config::reference());
            return ExitCode::SUCCESS;
        }
        Command::Completions { shell } => return pages::completions(shell),
        Command::Man { folder } => return pages::man(folder.as_deref()),
        Command::Store { command: StoreCommand::Backup(order) } => backup::backup(&order),
        Command::Store { command: StoreCommand::Restore(order) } => backup::restore(&order),
        Command::Store { command: StoreCommand::Verify { dir, sources } } => {
            looked_into(dir, sources).map(|dir| inspect::verify(&dir))
        }
        Command::Store { command: StoreCommand::Dump { dir, queue, vhost, sources } } => {
            looked_into(dir, sources).map(|dir| inspect::dump(&dir, &vhost, &queue))
        }
    };
    outcome.unwrap_or_else(|mistakes| {
        for mistake in mistakes {
            complain!("{mistake}");
        }
        crossdock_loader::exit_if_stuck(EXIT_MISTAKES);
        ExitCode::from(EXIT_MISTAKES)
    })
}

fn run(options: &Serve, started: Instant) -> Result<ExitCode, Vec<Mistake>> {
    let sources = options.sources.clone().with_file();
    let (loaded, log) = load_for(&sources, log::to_its_place)?;
    let file = log.file.clone();
    let ended = run_logged(options, (sources, loaded, log), started);
    // Without a file the log goes where the mistakes are printed.
    if let (Err(mistakes), Some(_)) = (&ended, file) {
        for mistake in mistakes {
            tracing::error!(%mistake, "the broker does not start");
        }
    }
    ended
}

fn run_logged(
    options: &Serve,
    (sources, loaded, log): (Sources, Loaded, Log),
    started: Instant,
) -> Result<ExitCode, Vec<Mistake>> {
    let runtime = runtime(&loaded, log.file.clone())?;
    let mut plan = plan(&loaded)?;
    say_file(&sources);
    plan.settings.accept_damage = options.accept_damage;
    if let Some(path) = meant_data_dir(&loaded) {
        tracing::info!(
            path = %path.display(),
            "data_dir is relative: it is this folder, by the working directory"
        );
    }
    let store = open_store(&loaded)?;
    let again = Arc::new(move || config::load(&request(&sources)));
    let start = Start { loaded, again, set_level: log.set_level };
    let end = runtime.block_on(serve::serve(plan, store, start, started));
    runtime.shutdown_timeout(SHUTDOWN_TIME);
    Ok(match end? {
        Stopped::Asked => ExitCode::SUCCESS,
        Stopped::StoreFailed => ExitCode::from(EXIT_STORE),
    })
}

fn drain(route: &str, to: Option<&str>, sources: &Sources) -> Result<ExitCode, Vec<Mistake>> {
    let (loaded, _) = load(&sources.clone().with_file())?;
    let runtime = runtime(&loaded, None)?;
    let plan = plan(&loaded)?;
    let order = Order::read(route, to, &plan, &loaded)?;
    let store = loaded.config.data_dir.join("store");
    if !store.is_dir() {
        let reason = format!("there is no store in {}", loaded.config.data_dir.display());
        return Err(vec![loaded.mistake("data_dir", reason)]);
    }
    let store = open_store(&loaded)?;
    let drained = runtime.block_on(drain::drain(plan, store, &loaded, order));
    runtime.shutdown_timeout(SHUTDOWN_TIME);
    let RouteDrained { moved, dead_lettered, left } = drained?;
    let queue = match left {
        0 => "its queue is deleted".to_owned(),
        left => format!("{left} stay: there is no room where they go, nor for dead letters"),
    };
    say!("route {route}: {moved} messages moved, {dead_lettered} dead-lettered; {queue}");
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_LEFT) })
}

/// Prints what a reload would change.
fn diff(file: &Path, sources: &Sources) -> Result<ExitCode, Vec<Mistake>> {
    let sources = sources.clone().with_file();
    let old = request(&sources);
    if old.file.is_none() {
        complain!("compared with the built-in values: name the other file with --config");
    }
    let new = Request { file: Some(file), ..request(&sources) };
    let changes = diff::diff(&old, &new)?;
    for change in &changes {
        say!("{change}");
    }
    Ok(if changes.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_CHANGES) })
}

impl Sources {
    /// Reads the configuration to find something by it: nothing is logged, and what is wrong with it does not matter.
    fn load(&self) -> Result<Loaded, String> {
        config::load(&request(self)).map_err(|mistakes| {
            let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    /// With the file that is read where none is given. It stays the same as long as the process lives.
    fn with_file(mut self) -> Self {
        // A file whose presence cannot be checked is chosen: reading it then reports the error.
        let is_there = |file: &Path| file.try_exists().unwrap_or(true);
        self.config = config::choose_file(self.config.as_deref(), &environment(), is_there);
        self
    }
}

/// The folder that is looked into: the one that is named, or else the configuration's data directory.
fn looked_into(dir: Option<PathBuf>, sources: Sources) -> Result<PathBuf, Vec<Mistake>> {
    match dir {
        Some(dir) => Ok(dir),
        None => config::load(&request(&sources.with_file())).map(|it| it.config.data_dir),
    }
}

/// Reads the configuration, and logs to standard error from then on.
fn load(sources: &Sources) -> Result<(Loaded, Log), Vec<Mistake>> {
    load_for(sources, |loaded| log::to_standard_error(&loaded.config))
}

/// Reads the configuration, and logs from then on.
fn load_for(
    sources: &Sources,
    start_log: impl FnOnce(&mut Loaded) -> Log,
) -> Result<(Loaded, Log), Vec<Mistake>> {
    let mut loaded = config::load(&request(sources))?;
    let log = start_log(&mut loaded);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok((loaded, log))
}

/// Says which file counts. A start with mistakes says nothing but them, and they name it.
fn say_file(sources: &Sources) {
    match &sources.config {
        Some(file) => {
            tracing::info!(file = %file.display(), "the configuration is read from a file")
        }
        None => tracing::info!("there is no configuration file: the built-in values hold"),
    }
}

/// Where the configuration is read from.
fn request(sources: &Sources) -> Request<'_> {
    Request {
        file: sources.config.as_deref(),
        data_dir: sources.data_dir.as_deref(),
        set: &sources.set,
        environment: environment(),
    }
}

/// Checks the configuration and compiles its modules.
fn plan(loaded: &Loaded) -> Result<Plan, Vec<Mistake>> {
    let cache_dir = plan::cache_dir(loaded);
    // With mistakes nothing is made.
    if loaded.mistakes.is_empty() && !loaded.routes.is_empty() {
        make_folder(&cache_dir, loaded)?;
    }
    plan::plan(loaded, Purpose::Start(cache_dir))
}

fn open_store(loaded: &Loaded) -> Result<Arc<dyn Store>, Vec<Mistake>> {
    let data_dir = &loaded.config.data_dir;
    make_data_dir(loaded)?;
    let settings = &loaded.config.store;
    let sizes = (settings.segment_bytes.0, settings.spill_bytes.0);
    wiring::store(data_dir.join("store"), sizes).map_err(|error| {
        vec![loaded.mistake("data_dir", format!("the store cannot be opened: {error}"))]
    })
}

/// The worker threads. Signals that do not stop the broker are harmless from here on, while modules are compiled too.
fn runtime(loaded: &Loaded, log: Option<Arc<LogFile>>) -> Result<Runtime, Vec<Mistake>> {
    let failed = |what: &str, error: std::io::Error| {
        vec![loaded.mistake("", format!("cannot {what}: {error}"))]
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().on_thread_park(crossdock_allocator::before_sleep);
    let runtime = builder.build().map_err(|error| failed("start the worker threads", error))?;
    let inside = runtime.enter();
    tokio::spawn(wake_idle_threads());
    let outlived = serve::outlive_idle_signals(log);
    drop(inside);
    outlived.map_err(|error| failed("install signal handlers", error))?;
    Ok(runtime)
}

/// Wakes worker threads that have slept since they had much to do: each gives back the memory that is free by then.
async fn wake_idle_threads() {
    loop {
        tokio::time::sleep(WAKE_EVERY).await;
        // Each of these is for one thread; a thread that takes several leaves another one for the next time.
        for _ in 0..2 * crossdock_allocator::idle_threads() {
            tokio::spawn(tokio::task::yield_now());
        }
    }
}

/// Reads and checks the file as `serve` would, without opening the store or a port.
fn check(file: &Path, routes: bool) -> Result<(), Vec<Mistake>> {
    let environment = environment();
    let mut loaded =
        config::load(&Request { file: Some(file), environment, ..Request::default() })?;
    log::check_place(&mut loaded);
    for warning in &loaded.warnings {
        complain!("warning: {warning}");
    }
    let plan = plan::plan(&loaded, Purpose::Check)?;
    for (key, reason) in certificates::warnings(&plan.ports) {
        complain!("warning: {}", loaded.mistake(key, reason));
    }
    if let Some(names) = listeners::in_the_clear(&plan.ports, loaded.config.metrics.open) {
        complain!(
            "warning: {}: listeners without TLS can be reached from other machines ({names}): passwords and \
             messages cross the network as they are",
            file.display()
        );
    }
    if let Some(path) = meant_data_dir(&loaded) {
        let meant =
            format!("is relative: started in this working directory it is {}", path.display());
        complain!("note: {}", loaded.mistake("data_dir", meant));
    }
    say!("{}: ok", file.display());
    if routes {
        output::put(&format!("\n{}", plan.show_routes(&loaded)));
    }
    Ok(())
}

/// The whole path of a data directory that is configured as a relative one.
fn meant_data_dir(loaded: &Loaded) -> Option<PathBuf> {
    let data_dir = &loaded.config.data_dir;
    if data_dir.is_absolute() { None } else { std::path::absolute(data_dir).ok() }
}

/// The environment. Variables that are not UTF-8 are left out: they cannot be a key or its value.
fn environment() -> Vec<(String, String)> {
    let variables = std::env::vars_os();
    variables.filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))).collect()
}

fn make_data_dir(loaded: &Loaded) -> Result<(), Vec<Mistake>> {
    make_folder(&loaded.config.data_dir, loaded)
}

/// Creates a folder that only its owner can open; an existing one keeps its mode.
fn make_folder(folder: &Path, loaded: &Loaded) -> Result<(), Vec<Mistake>> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        let cure = wiring::cure(&error);
        let reason = format!("cannot create the folder {}: {error}{cure}", folder.display());
        vec![loaded.mistake("data_dir", reason)]
    })
}
