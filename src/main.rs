//! The program: command line, logging, exit codes. 0: ended as asked. 2: it could not start, and said
//! why, one line for each mistake. 3: the store failed while it ran.
#![forbid(unsafe_code)]

mod config;
mod declare;
mod inspect;
mod machine;
mod plan;
mod serve;
mod wiring;

use clap::{Args, Parser, Subcommand};
use config::{Config, Loaded, LogFormat, Mistake, Request};
use serve::End;
use std::fs::DirBuilder;
use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// It could not start.
const EXIT_MISTAKES: u8 = 2;
/// The store failed.
const EXIT_STORE: u8 = 3;

/// Blocking work that is still under way at the end has so long.
const SHUTDOWN_TIME: Duration = Duration::from_millis(50);

/// Multi-protocol message broker and integration hub.
#[derive(Debug, Parser)]
#[command(version, about)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Serve(Serve),
    /// Look into a store. Nothing in it is changed, and a broker may be running on it.
    Store {
        #[command(subcommand)]
        command: StoreCommand,
    },
    /// Check a configuration file, its routes and their modules, without starting anything.
    CheckConfig {
        /// The configuration file.
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Check every byte; a line for each finding, then a summary. Exit code 1 when something is damaged.
    Verify {
        /// The data directory.
        dir: PathBuf,
    },
    /// Print the messages of a queue, one line of JSON each.
    Dump {
        /// The data directory.
        dir: PathBuf,
        /// The queue.
        #[arg(long)]
        queue: String,
        /// Its virtual host.
        #[arg(long, default_value = "/")]
        vhost: String,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the store is.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Set one key, over the file and the environment: --set listeners.mqtt.bind=127.0.0.1:1884
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Start although entries of the journal are damaged: what they held is lost. Needed once.
    #[arg(long)]
    accept_damage: bool,
}

fn main() -> ExitCode {
    let started = Instant::now();
    let outcome = match CommandLine::parse().command {
        Command::Serve(options) => run(&options, started),
        Command::CheckConfig { file } => check(&file).map(|()| ExitCode::SUCCESS),
        Command::Store { command: StoreCommand::Verify { dir } } => return inspect::verify(&dir),
        Command::Store { command: StoreCommand::Dump { dir, queue, vhost } } => {
            return inspect::dump(&dir, &vhost, &queue);
        }
    };
    outcome.unwrap_or_else(|mistakes| {
        for mistake in mistakes {
            eprintln!("{mistake}");
        }
        ExitCode::from(EXIT_MISTAKES)
    })
}

fn run(options: &Serve, started: Instant) -> Result<ExitCode, Vec<Mistake>> {
    let loaded = config::load(&Request {
        file: options.config.as_deref(),
        data_dir: options.data_dir.as_deref(),
        set: &options.set,
        environment: environment(),
    })?;
    start_log(&loaded.config);
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let data_dir = &loaded.config.data_dir;
    let cache_dir = data_dir.join("modules");
    if !loaded.config.routes.is_empty() {
        make_folder(&cache_dir, &loaded)?;
    }
    let mut plan = plan::plan(&loaded, Some(cache_dir))?;
    plan.settings.accept_damage = options.accept_damage;
    make_folder(data_dir, &loaded)?;
    let segment_bytes = loaded.config.store.segment_bytes.0;
    let store = wiring::store(data_dir.join("store"), segment_bytes).map_err(|error| {
        vec![loaded.mistake("data_dir", format!("the store cannot be opened: {error}"))]
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| vec![loaded.mistake("", format!("threads cannot be started: {error}"))])?;
    let end = runtime.block_on(serve::serve(plan, store, &loaded, started));
    runtime.shutdown_timeout(SHUTDOWN_TIME);
    Ok(match end? {
        End::Asked => ExitCode::SUCCESS,
        End::StoreFailed => ExitCode::from(EXIT_STORE),
    })
}

/// As `serve` would read the file, up to the point where something would be opened.
fn check(file: &Path) -> Result<(), Vec<Mistake>> {
    let environment = environment();
    let loaded = config::load(&Request { file: Some(file), environment, ..Request::default() })?;
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    plan::plan(&loaded, None)?;
    println!("{}: ok", file.display());
    Ok(())
}

/// What is not text cannot name a key or be its value.
fn environment() -> Vec<(String, String)> {
    let variables = std::env::vars_os();
    variables.filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))).collect()
}

/// The owner alone may look into it.
fn make_folder(folder: &Path, loaded: &Loaded) -> Result<(), Vec<Mistake>> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        let reason = format!("folder {} cannot be made: {error}", folder.display());
        vec![loaded.mistake("data_dir", reason)]
    })
}

/// The log goes to the standard error: one event, one line.
fn start_log(config: &Config) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&config.log.level))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match config.log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
