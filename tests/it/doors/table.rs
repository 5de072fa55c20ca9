//! A table of docs/guide/security-table.md, which the tests check row by row.

use crate::broker::root;
use std::fs;

const FILE: &str = "docs/guide/security-table.md";

/// Checks that the table under this heading is this one.
#[track_caller]
pub fn check(heading: &str, columns: &[&str], rows: &[Vec<String>]) {
    let text = fs::read_to_string(root().join(FILE)).unwrap_or_default();
    let found = table(&text, heading);
    let line = |cells: &[String]| format!("| {} |", cells.join(" | "));
    let columns: Vec<String> = columns.iter().map(|&column| column.to_owned()).collect();
    let mut expected = vec![line(&columns), format!("|{}", "---|".repeat(columns.len()))];
    expected.extend(rows.iter().map(|row| line(row)));
    let differs = found.iter().zip(&expected).any(|(a, b)| a != b) || found.len() != expected.len();
    assert!(
        !differs,
        "the table '{heading}' of {FILE} is not what the broker does. In the file:\n{}\nFound:\n{}",
        found.join("\n"),
        expected.join("\n")
    );
}

/// The lines of the first table under a heading.
fn table(text: &str, heading: &str) -> Vec<String> {
    let heading = format!("## {heading}");
    let under = text.lines().skip_while(|line| *line != heading);
    let from = under.skip_while(|line| !line.starts_with('|'));
    from.take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}
