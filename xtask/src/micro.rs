//! `cargo xtask bench --micro`: runs the micro-benchmarks of benches/micro. Their times are for reading, not for
//! comparing in CI: a clock on a shared machine is not exact enough. The gate counts instructions instead.

use crate::cargo;
use anyhow::{Context, Result};
use std::process::ExitCode;

/// Runs the benchmarks whose path contains one of `filters`; all, without filters.
pub fn micro(filters: &[&str]) -> Result<ExitCode> {
    let mut bench = cargo(&["bench", "--package", "crossdock-micro", "--"]);
    let status = bench.args(filters).status().context("cargo cannot be run")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
