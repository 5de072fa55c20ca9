//! `cargo xtask crash`: runs the crash harness of tests/it with any number of rounds, and the tests that trace the
//! broker's system calls. `cargo xtask test` runs a few rounds.

use crate::clients::{self, Found};
use crate::report::Report;
use crate::{binary, cargo};
use anyhow::Result;
use std::path::PathBuf;
use std::process::ExitCode;

const ROUNDS: u64 = 100;

pub struct Options {
    rounds: u64,
    /// None: the harness chooses a seed and prints it.
    seed: Option<u64>,
}

impl Options {
    /// None if the options are wrong.
    pub fn read(mut words: &[&str]) -> Option<Self> {
        let mut options = Self { rounds: ROUNDS, seed: None };
        while let [name, value, rest @ ..] = words {
            match *name {
                "--rounds" => options.rounds = value.parse().ok()?,
                "--seed" => options.seed = Some(value.parse().ok()?),
                _ => return None,
            }
            words = rest;
        }
        words.is_empty().then_some(options)
    }
}

pub fn crash(options: &Options) -> Result<ExitCode> {
    let mut report = Report::default();
    let asked = std::env::var_os("CROSSDOCK_BIN").map(PathBuf::from);
    // The same features as for the tests, so that nothing is built twice.
    let build = ["build", "--release", "--bin", "crossdock", "--features", "black-box"];
    if asked.is_none() && !report.step("release build", &mut cargo(&build)) {
        return Ok(report.finish());
    }
    match clients::strace() {
        Ok(Found::Ready) => {}
        Ok(Found::Missing(why)) => report.skip("strace", &why),
        Err(error) => report.skip("strace", &format!("{error:#}")),
    }
    let mut tests =
        cargo(&["test", "--release", "--package", "crossdock", "--features", "black-box"]);
    tests.args(["--test", "it", "--", "--nocapture", "crash::", "durable", "disk"]);
    tests.env("CROSSDOCK_BIN", asked.unwrap_or_else(binary));
    tests.env("CRASH_ROUNDS", options.rounds.to_string());
    if let Some(seed) = options.seed {
        tests.env("CRASH_SEED", seed.to_string());
    }
    report.step("crashes", &mut tests);
    Ok(report.finish())
}
