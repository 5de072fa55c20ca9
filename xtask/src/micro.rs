//! `cargo xtask bench --micro`: the micro-benchmarks of benches/micro. What they print is for eyes: a clock on a shared
//! machine proves nothing, and the gate counts instructions.

use crate::cargo;
use anyhow::{Context, Result};
use std::process::ExitCode;

/// Runs those whose path holds one of `filters`, or all.
pub fn micro(filters: &[&str]) -> Result<ExitCode> {
    let mut bench = cargo(&["bench", "--package", "crossdock-micro", "--"]);
    let status = bench.args(filters).status().context("cargo cannot be run")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
