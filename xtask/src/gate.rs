//! `cargo xtask bench --gate`: instructions for one message, counted by callgrind, against the budgets in
//! benches/gate/budgets.txt. A clock cannot tell 1 % on a shared machine; a count can. Nothing here is judged by a
//! clock: times are compared only as a ratio to a peer or to an earlier commit, measured in the same run.

use crate::{cargo, command, root, target};
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Messages of the two runs whose difference is counted: what starting costs drops out.
const FEW: u64 = 1_000;
const MANY: u64 = 4_000;
/// More than this above its budget is a regression, in percent.
const TOLERANCE: f64 = 1.0;
/// A scenario above that is counted again, and its least count holds: batches are smaller when the machine is busy,
/// which only ever adds instructions.
const TRIES: usize = 4;

/// What budgets.txt says above its rows.
const HEAD: &str = "\
# Instructions for one message. Columns: scenario, the lowest count ever recorded, the budget, and the
# number of the page in docs/adr that allows a budget above the lowest count. `cargo xtask bench --gate
# --record` lowers budgets and adds scenarios; it never raises one.
";

/// One row of budgets.txt.
#[derive(Debug, Clone, PartialEq)]
struct Budget {
    scenario: String,
    lowest: u64,
    budget: u64,
    /// Number of the decision that allows `budget` to be above `lowest`: `0007` for docs/adr/0007-….md.
    decision: Option<String>,
}

fn budgets() -> PathBuf {
    root().join("benches/gate/budgets.txt")
}

/// Instructions for one message.
fn per_message(binary: &Path, scenario: &str) -> Result<u64> {
    let few = instructions(binary, scenario, FEW)?;
    let many = instructions(binary, scenario, MANY)?;
    Ok((many.saturating_sub(few) + (MANY - FEW) / 2) / (MANY - FEW))
}

/// Compares; with `record` lowers the budgets that are higher than needed, and adds scenarios that have none.
pub fn gate(record: bool) -> Result<()> {
    let build = cargo(&["build", "--release", "--package", "crossdock-gate"]).status();
    ensure!(build.context("cargo cannot be run")?.success(), "the gate does not build");
    let binary = target().join("release").join("crossdock-gate");
    let list = command(&binary, &["--list"]).output().context("the gate cannot be run")?;
    let names = String::from_utf8(list.stdout)?;
    let text = std::fs::read_to_string(budgets()).unwrap_or_default();
    let known = read(&text)?;
    allowed(&known, &decisions()?)?;
    let (mut rows, mut over) = (Vec::new(), Vec::new());
    println!("{:<16} {:>10} {:>10} {:>8}", "scenario", "budget", "now", "change");
    for name in names.lines() {
        let row = known.iter().find(|row| row.scenario == name);
        let budget = row.map_or(0, |row| row.budget);
        let over_by = |now: u64| (now as f64 / budget as f64 - 1.0) * 100.0;
        let mut now = per_message(&binary, name)?;
        for _ in 1..TRIES {
            if over_by(now) > TOLERANCE && row.is_some() {
                now = now.min(per_message(&binary, name)?);
            }
        }
        let change = over_by(now);
        println!("{name:<16} {budget:>10} {now:>10} {change:>+7.1}%");
        if change > TOLERANCE && (row.is_some() || !record) {
            over.push(name);
        }
        rows.push(recorded(row, name, now));
    }
    if !over.is_empty() {
        bail!(
            "over budget by more than {TOLERANCE} %, or without a budget: {}. A budget is raised by \
             hand, by a commit that also adds the decision in docs/adr which says why",
            over.join(", ")
        );
    }
    match record {
        true => std::fs::write(budgets(), written(&rows)).context("the budgets cannot be written"),
        false => Ok(()),
    }
}

/// The row of a scenario after a run that counted `now`: never higher than before.
fn recorded(row: Option<&Budget>, scenario: &str, now: u64) -> Budget {
    match row {
        Some(row) if now >= row.budget => row.clone(),
        Some(row) => {
            let decision = row.decision.clone().filter(|_| now > row.lowest);
            Budget { lowest: row.lowest.min(now), budget: now, decision, ..row.clone() }
        }
        None => Budget { scenario: scenario.to_owned(), lowest: now, budget: now, decision: None },
    }
}

fn read(text: &str) -> Result<Vec<Budget>> {
    let rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    rows.map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (scenario, lowest, budget, decision) = match words.as_slice() {
            [scenario, lowest, budget] => (*scenario, *lowest, *budget, None),
            [scenario, lowest, budget, decision] => {
                (*scenario, *lowest, *budget, Some((*decision).to_owned()))
            }
            _ => bail!("budgets.txt: '{line}' is not: scenario, lowest, budget[, decision]"),
        };
        let number = |word: &str| {
            word.parse().with_context(|| format!("budgets.txt: '{word}' in '{line}' is no number"))
        };
        let (lowest, budget) = (number(lowest)?, number(budget)?);
        Ok(Budget { scenario: scenario.to_owned(), lowest, budget, decision })
    })
    .collect()
}

fn written(rows: &[Budget]) -> String {
    let mut text = HEAD.to_owned();
    for Budget { scenario, lowest, budget, decision } in rows {
        let decision = decision.as_deref().unwrap_or_default();
        let line = format!("{scenario:<16} {lowest:>8} {budget:>8} {decision}");
        // Writing to a text cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// Numbers of the pages in docs/adr.
fn decisions() -> Result<Vec<String>> {
    let pages = std::fs::read_dir(root().join("docs/adr")).context("docs/adr cannot be read")?;
    let names = pages.map_while(Result::ok).map(|page| page.file_name());
    let numbers = names.filter_map(|name| Some(name.to_str()?.split_once('-')?.0.to_owned()));
    Ok(numbers.collect())
}

/// A budget above the lowest count needs a decision.
fn allowed(rows: &[Budget], decisions: &[String]) -> Result<()> {
    for row in rows.iter().filter(|row| row.budget > row.lowest) {
        let known = row.decision.as_ref().is_some_and(|number| decisions.contains(number));
        ensure!(
            known,
            "budgets.txt: the budget of {} is above its lowest count, {}, and its row names no page \
             of docs/adr",
            row.scenario,
            row.lowest
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_as_they_are_written() {
        let text = "# head\na 90 100 0007\nb 50 50\n\n";
        let rows = read(text).expect("well-formed");
        assert_eq!(rows[0].decision.as_deref(), Some("0007"));
        assert_eq!(read(&written(&rows)).expect("well-formed"), rows);
        assert!(read("a 5\n").is_err() && read("a 5 x\n").is_err());
    }

    #[test]
    fn a_budget_rises_only_by_a_decision() {
        let rows = read("a 90 100 0007\n").expect("well-formed");
        assert!(allowed(&rows, &["0007".to_owned()]).is_ok());
        assert!(allowed(&rows, &["0006".to_owned()]).is_err());
        assert!(allowed(&read("a 90 91\n").expect("well-formed"), &[]).is_err());
    }

    #[test]
    fn recording_only_lowers() {
        let [row] = read("a 90 100 0007\n").expect("well-formed").try_into().expect("one row");
        assert_eq!(recorded(Some(&row), "a", 101), row);
        let lower = recorded(Some(&row), "a", 95);
        assert_eq!((lower.lowest, lower.budget, lower.decision.is_some()), (90, 95, true));
        let lowest = recorded(Some(&row), "a", 80);
        assert_eq!((lowest.lowest, lowest.budget, lowest.decision), (80, 80, None));
        assert_eq!(recorded(None, "b", 5).budget, 5);
    }
}
