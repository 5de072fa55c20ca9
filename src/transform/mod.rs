//! `crossdock transform`: WebAssembly modules, without a broker. Makes a new one, tries one, and measures one.

mod heard;
mod new;
mod samples;
mod trial;

use crate::output::{complain, say};
use clap::{Args, Subcommand, value_parser};
use std::path::PathBuf;
use std::process::ExitCode;

pub use new::Language;

/// Exit code: the module failed for a sample.
const EXIT_FAILED: u8 = 1;
/// Exit code: the module is refused, or a sample cannot be read.
const EXIT_REFUSED: u8 = 2;

#[derive(Debug, Subcommand)]
pub enum TransformCommand {
    /// Try a module: whether it loads, accepts its configuration, and what it makes of samples. Exit code 1: it failed
    /// for a sample, 2: it is refused.
    Check(CheckOrder),
    /// Measure a module: one thread, its deadline on, the samples in turn. Exit codes as for check.
    Bench(BenchOrder),
    /// Make a folder with a new module: source, tests, how to build it, and the contract. Nothing that exists is
    /// overwritten.
    New {
        /// The language that it is written in.
        #[arg(long, value_enum)]
        lang: Language,
        /// Its name: lower-case letters, digits and -, a letter first.
        name: String,
        /// Where to make the folder of that name; not given: here.
        #[arg(long, value_name = "DIR")]
        into: Option<PathBuf>,
    },
}

/// A module, what its step would say, and messages.
#[derive(Debug, Args)]
pub struct CheckOrder {
    /// The module's file.
    module: PathBuf,
    /// The step's `with`, as JSON.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    with: String,
    /// What the step grants: log, metrics, kv; may be given several times.
    #[arg(long = "grant", value_name = "NAME")]
    grants: Vec<String>,
    /// An address that its outputs may go to, beside `queue:out`, which stands for the route's own; may be given
    /// several times.
    #[arg(long = "destination", value_name = "ADDRESS")]
    destinations: Vec<String>,
    /// Its memory, as the route's limits.memory.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Its time for one message, as the route's limits.deadline.
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// A file with the body of a message; may be given several times.
    #[arg(long = "sample", value_name = "FILE")]
    samples: Vec<PathBuf>,
    /// Where the samples were published.
    #[arg(long, value_name = "ADDRESS", default_value = "queue:in")]
    address: String,
    /// The samples' content type.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A header of the samples; may be given several times.
    #[arg(long = "header", value_name = "NAME=TEXT")]
    headers: Vec<String>,
}

#[derive(Debug, Args)]
pub struct BenchOrder {
    #[command(flatten)]
    check: CheckOrder,
    /// How long it runs, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    #[arg(value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Go on when it fails, whatever the number of failures; otherwise it stops at the fifth.
    #[arg(long)]
    keep_going: bool,
}

/// Carries out the command.
pub fn run(command: TransformCommand) -> ExitCode {
    let outcome = match command {
        TransformCommand::Check(order) => trial::check(&order),
        TransformCommand::Bench(order) => trial::bench(&order),
        TransformCommand::New { lang, name, into } => new::new(lang, &name, into.as_deref()),
    };
    match outcome {
        Ok(lines) => {
            for line in lines.said {
                say!("{line}");
            }
            if lines.has_failed { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS }
        }
        Err(mistakes) => {
            for mistake in mistakes {
                complain!("{mistake}");
            }
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

/// What a command prints.
struct Said {
    said: Vec<String>,
    /// The module failed for a sample.
    has_failed: bool,
}
