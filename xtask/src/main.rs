//! Development tasks: `cargo xtask run`, `test`, `bench`, `crash`, `package`, `guests`. Written in Rust instead of
//! shell scripts. Nothing here is part of the broker.
#![forbid(unsafe_code)]

mod bench;
mod clients;
mod crash;
mod gate;
mod guests;
mod installed;
mod micro;
mod package;
mod report;
mod run;
mod test;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask run [-- ARGS]     build the broker and run it with examples/hub.toml
cargo xtask test [--full]     everything that CI runs; --full: many more seeds, freshly built modules
cargo xtask bench [OPTIONS]   the broker and its peers under load; --help lists the options
cargo xtask bench --gate      instructions for a message, against benches/gate/budgets.txt; --record sets them
cargo xtask bench --micro     codecs, routing, queues and the journal, step by step; further words filter
cargo xtask crash [--rounds N] [--seed S]  kill the broker under load, N times, and look for lost messages
cargo xtask package           a .deb, an archive and a Dockerfile with what it needs, in target/package
cargo xtask package --check   looks into them; --try installs, upgrades and removes them in a root of its own
cargo xtask guests [--check]  build the WASM modules; --check tests a fresh build and changes nothing";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["run"] => run::run(&[]),
        ["run", "--", rest @ ..] => run::run(rest),
        ["test"] => test::test(false),
        ["test", "--full"] => test::test(true),
        ["bench", "--help"] => {
            println!("{}", bench::USAGE);
            return ExitCode::SUCCESS;
        }
        ["bench", "--gate"] => gate::gate(false).map(|()| ExitCode::SUCCESS),
        ["bench", "--gate", "--record"] => gate::gate(true).map(|()| ExitCode::SUCCESS),
        ["bench", "--micro", filters @ ..] => micro::micro(filters),
        ["bench", rest @ ..] => bench::bench(rest),
        ["crash", rest @ ..] => match crash::Options::read(rest) {
            Some(options) => crash::crash(&options),
            None => return usage(),
        },
        ["package"] => package::package(),
        ["package", "--check"] => installed::check().map(|()| ExitCode::SUCCESS),
        ["package", "--try"] => installed::try_out().map(|()| ExitCode::SUCCESS),
        ["guests"] => guests::refresh().map(|()| ExitCode::SUCCESS),
        ["guests", "--check"] => guests::check().map(|()| ExitCode::SUCCESS),
        _ => return usage(),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// The repository's root.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The folder that cargo builds into.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The release build of the broker.
fn binary() -> PathBuf {
    target().join("release").join("crossdock")
}

/// A command with the repository's root as its working directory.
fn command(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// A cargo command, with the cargo that runs this program.
fn cargo(arguments: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}
