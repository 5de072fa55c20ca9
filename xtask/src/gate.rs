//! `cargo xtask bench --gate`: instructions for one message, counted by callgrind, against the budgets in
//! benches/gate/budgets.txt. A clock cannot tell 5 % on a shared machine; a count can.

use crate::{cargo, command, root, target};
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Messages of the two runs whose difference is counted: what starting costs drops out.
const FEW: u64 = 1_000;
const MANY: u64 = 4_000;
/// More than this above its budget is a regression, in percent.
const TOLERANCE: f64 = 5.0;

fn budgets() -> PathBuf {
    root().join("benches/gate/budgets.txt")
}

/// Compares, or with `record` writes down what is.
pub fn gate(record: bool) -> Result<()> {
    let build = cargo(&["build", "--release", "--package", "crossdock-gate"]).status();
    ensure!(build.context("cargo cannot be run")?.success(), "the gate does not build");
    let binary = target().join("release").join("crossdock-gate");
    let list = command(&binary, &["--list"]).output().context("the gate cannot be run")?;
    let names = String::from_utf8(list.stdout)?;
    let known = std::fs::read_to_string(budgets()).unwrap_or_default();
    let (mut table, mut over) = (String::new(), Vec::new());
    println!("{:<16} {:>10} {:>10} {:>8}", "scenario", "budget", "now", "change");
    for name in names.lines() {
        let few = instructions(&binary, name, FEW)?;
        let many = instructions(&binary, name, MANY)?;
        let now = many.saturating_sub(few) as f64 / (MANY - FEW) as f64;
        writeln!(table, "{name} {now:.0}")?;
        let budget = known.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        let budget: f64 = budget.unwrap_or(0.0);
        let change = (now / budget - 1.0) * 100.0;
        println!("{name:<16} {budget:>10.0} {now:>10.0} {change:>+7.1}%");
        if !record && (budget == 0.0 || change > TOLERANCE) {
            over.push(name);
        }
    }
    if record {
        return std::fs::write(budgets(), table).context("the budgets cannot be written");
    }
    if !over.is_empty() {
        bail!("over budget by more than {TOLERANCE} %: {}", over.join(", "));
    }
    Ok(())
}

/// All instructions of one run.
fn instructions(binary: &Path, scenario: &str, count: u64) -> Result<u64> {
    let program = binary.to_str().context("the path of the gate is not UTF-8")?;
    let count = count.to_string();
    let options = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let arguments = [&options[..], &[program, scenario, &count]].concat();
    let output = command("valgrind", &arguments).output().context("valgrind cannot be run")?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{scenario} failed:\n{words}");
    let collected = words.lines().find_map(|line| line.split_once("Collected :"));
    let (_, number) = collected.context("callgrind said no number")?;
    number.trim().parse().context("callgrind's number is none")
}
