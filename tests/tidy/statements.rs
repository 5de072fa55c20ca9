//! The pages that go through the statements of MQTT's specifications, against appendix B of each and against the
//! repository: each statement has one row, and the functions, transcripts and tests that its row names exist.

use super::{Source, assert_none, is_word, root, sources};
use std::fs;
use std::ops::RangeInclusive;

/// A section, and the numbers of its statements.
type Section = (&'static str, RangeInclusive<usize>);

/// Of MQTT 3.1.1. The appendix prints two with a slip: 3.1.2.7 and 3-8.3-4.
#[rustfmt::skip]
const OF_3_1_1: &[Section] = &[
    ("1.5.3", 1..=3), ("2.2.2", 1..=2), ("2.3.1", 1..=7), ("3.1.0", 1..=2), ("3.1.2", 1..=24),
    ("3.1.3", 1..=11), ("3.1.4", 1..=5), ("3.2.0", 1..=1), ("3.2.2", 1..=6), ("3.3.1", 1..=12),
    ("3.3.2", 1..=3), ("3.3.4", 1..=1), ("3.3.5", 1..=2), ("3.6.1", 1..=1), ("3.8.1", 1..=1),
    ("3.8.3", 1..=4), ("3.8.4", 1..=6), ("3.9.3", 1..=2), ("3.10.1", 1..=1), ("3.10.3", 1..=2),
    ("3.10.4", 1..=6), ("3.12.4", 1..=1), ("3.14.1", 1..=1), ("3.14.4", 1..=3), ("4.1.0", 1..=2),
    ("4.3.1", 1..=1), ("4.3.2", 1..=2), ("4.3.3", 1..=2), ("4.4.0", 1..=1), ("4.5.0", 1..=2),
    ("4.6.0", 1..=6), ("4.7.1", 1..=3), ("4.7.2", 1..=1), ("4.7.3", 1..=4), ("4.8.0", 1..=2),
    ("6.0.0", 1..=4), ("7.0.0", 1..=2), ("7.1.1", 1..=1), ("7.1.2", 1..=1),
];

/// Of MQTT 5.0. There is no 2.2.1-1, and section 4.2 prints its own as 4.2-1.
#[rustfmt::skip]
const OF_5: &[Section] = &[
    ("1.5.4", 1..=3), ("1.5.5", 1..=1), ("1.5.7", 1..=1), ("2.1.3", 1..=1), ("2.2.1", 2..=6),
    ("2.2.2", 1..=1), ("3.1.0", 1..=2), ("3.1.2", 1..=30), ("3.1.3", 1..=12), ("3.1.4", 1..=6),
    ("3.2.0", 1..=2), ("3.2.2", 1..=22), ("3.3.1", 1..=13), ("3.3.2", 1..=20), ("3.3.4", 1..=10),
    ("3.4.2", 1..=3), ("3.5.2", 1..=3), ("3.6.1", 1..=1), ("3.6.2", 1..=3), ("3.7.2", 1..=3),
    ("3.8.1", 1..=1), ("3.8.3", 1..=5), ("3.8.4", 1..=8), ("3.9.2", 1..=2), ("3.9.3", 1..=2),
    ("3.10.1", 1..=1), ("3.10.3", 1..=2), ("3.10.4", 1..=6), ("3.11.2", 1..=2), ("3.11.3", 1..=2),
    ("3.12.4", 1..=1), ("3.14.0", 1..=1), ("3.14.1", 1..=1), ("3.14.2", 1..=4), ("3.14.4", 1..=3),
    ("3.15.1", 1..=1), ("3.15.2", 1..=3), ("4.1.0", 1..=2), ("4.2.0", 1..=1), ("4.3.1", 1..=1),
    ("4.3.2", 1..=5), ("4.3.3", 1..=13), ("4.4.0", 1..=2), ("4.5.0", 1..=2), ("4.6.0", 1..=6),
    ("4.7.0", 1..=1), ("4.7.1", 1..=2), ("4.7.2", 1..=1), ("4.7.3", 1..=4), ("4.8.2", 1..=6),
    ("4.9.0", 1..=3), ("4.12.0", 1..=7), ("4.12.1", 1..=2), ("4.13.1", 1..=1), ("4.13.2", 1..=1),
    ("6.0.0", 1..=4),
];

/// A page, the sections of its appendix, and how many statements these have.
const PAGES: [(&str, &[Section], usize); 2] =
    [("mqtt-conformance-3.1.1.md", OF_3_1_1, 141), ("mqtt-conformance-5.md", OF_5, 251)];

/// Where the files are that a row names.
const FOLDERS: [&str; 3] = ["protocols/mqtt/src/", "protocols/mqtt/tests/", ""];

/// What stands in a row instead of names.
const CLIENT: &str = "client";
const NOT_APPLICABLE: &str = "not applicable";
const OPEN: &str = "open";
const NOTHING: &str = "–";

#[test]
fn each_statement_of_mqtt_has_a_row_whose_names_exist() {
    let sources = sources();
    let (mut found, mut named) = (Vec::new(), 0);
    for (name, sections, count) in PAGES {
        let page = root().join("docs/protocols").join(name);
        let page = fs::read_to_string(page).expect("a text file");
        let wanted = ids(sections);
        assert_eq!(wanted.len(), count, "the statements of {name}");
        if !page.contains(&format!("The {count} normative statements")) {
            found.push(format!("{name}: it does not say how many statements there are: {count}"));
        }
        let rows: Vec<Vec<&str>> = page.lines().filter_map(cells).collect();
        let ids: Vec<&str> = rows.iter().filter_map(|row| row.first().copied()).collect();
        found.extend(differences(&ids, &wanted).map(|what| format!("{name}: {what}")));
        for row in &rows {
            match row[..] {
                [id, _, kept_by, proved_by] => {
                    let (wrong, names) = judge(kept_by, proved_by, &sources);
                    named += names;
                    found.extend(wrong.into_iter().map(|what| format!("{name}: {id}: {what}")));
                }
                _ => found.push(format!("{name}: not four cells: {}", row.join(" | "))),
            }
        }
    }
    assert!(named > 600, "the names were not found: {named}");
    assert_none("a statement of MQTT without its row, or a name that is nobody's", &found);
}

/// The identifiers of an appendix, in its order.
fn ids(sections: &[Section]) -> Vec<String> {
    let of = |(section, numbers): &Section| {
        let section = (*section).to_owned();
        numbers.clone().map(move |number| format!("MQTT-{section}-{number}"))
    };
    sections.iter().flat_map(of).collect()
}

/// The cells of a row about a statement.
fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
    row.starts_with("MQTT-").then(|| row.split(" | ").collect())
}

/// Where the rows of a page and the statements part; none when they are the same in the same order.
fn differences(rows: &[&str], wanted: &[String]) -> impl Iterator<Item = String> {
    let count = |id: &str| rows.iter().filter(|row| **row == id).count();
    let mut found: Vec<String> = Vec::new();
    for id in wanted.iter().filter(|id| count(id) != 1) {
        found.push(format!("{id} has {} rows", count(id)));
    }
    for row in rows.iter().filter(|row| !wanted.iter().any(|id| id == *row)) {
        found.push(format!("{row} is no statement"));
    }
    if found.is_empty()
        && let Some((row, id)) = rows.iter().zip(wanted).find(|(row, id)| *row != id)
    {
        found.push(format!("{row} stands where {id} belongs"));
    }
    found.into_iter()
}

/// What is wrong about the last two cells of a row, and how many names they have.
fn judge(kept_by: &str, proved_by: &str, sources: &[Source]) -> (Vec<String>, usize) {
    let (mut found, mut named) = (Vec::new(), 0);
    for name in names(kept_by) {
        named += 1;
        found.extend(nobodys(name, sources, |source, function| {
            !source.is_test() && line_of(source.proper(), function).is_some()
        }));
    }
    for name in names(proved_by) {
        named += 1;
        found.extend(match name.contains(".txt") {
            true => no_transcript(name),
            false => nobodys(name, sources, |source, function| is_test(&source.code, function)),
        });
    }
    let (is_kept, is_proved) = (names(kept_by).count() > 0, names(proved_by).count() > 0);
    let stands = |cell: &str, word: &str| cell == word || cell.starts_with(&format!("{word}; "));
    let excused = stands(kept_by, CLIENT) || kept_by == NOT_APPLICABLE;
    if !is_kept && !excused && kept_by != OPEN {
        found.push(format!("nothing keeps it: {kept_by}"));
    }
    if !is_proved && proved_by != OPEN && !(excused && !is_kept && proved_by == NOTHING) {
        found.push(format!("nothing proves it: {proved_by}"));
    }
    (found, named)
}

/// What stands between backticks.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Complains about `<file> <function>` when there is no such file, or no such function in it.
fn nobodys(name: &str, sources: &[Source], has: impl Fn(&Source, &str) -> bool) -> Option<String> {
    let Some((file, function)) = name.split_once(' ') else {
        return Some(format!("no function is named: {name}"));
    };
    let is_it = |source: &&Source| FOLDERS.iter().any(|f| source.path == format!("{f}{file}"));
    match sources.iter().find(is_it) {
        None => Some(format!("no such file: {name}")),
        Some(source) if !has(source, function) => Some(format!("no such function: {name}")),
        Some(_) => None,
    }
}

/// Complains about `<file>.txt <title>` when there is no such transcript, or no title in it that begins so. Without a
/// title, what stands in front of the first one is meant.
fn no_transcript(name: &str) -> Option<String> {
    let (file, title) = name.split_once(' ').unwrap_or((name, ""));
    let path = root().join("protocols/mqtt/tests").join(file);
    let Ok(text) = fs::read_to_string(path) else {
        return Some(format!("no such transcript: {name}"));
    };
    let has = match title {
        "" => !text.starts_with('#'),
        title => text.lines().any(|line| line.starts_with(&format!("# {title}"))),
    };
    (!has).then(|| format!("no such part of a transcript: {name}"))
}

/// The line, from 0 on, at which that function begins.
fn line_of(code: &str, function: &str) -> Option<usize> {
    let begins = |line: &str| {
        let mut places = line.match_indices("fn ").map(|(at, word)| &line[at + word.len()..]);
        places
            .any(|rest| rest.strip_prefix(function).is_some_and(|rest| !rest.starts_with(is_word)))
    };
    code.lines().position(begins)
}

/// Whether that function is a test: its attributes stand above it.
fn is_test(code: &str, function: &str) -> bool {
    let Some(at) = line_of(code, function) else { return false };
    let above: Vec<&str> = code.lines().take(at).collect();
    let attributes = above.iter().rev().map(|line| line.trim());
    attributes
        .take_while(|line| line.is_empty() || line.starts_with("#["))
        .any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
}

#[test]
fn a_row_is_read_as_it_is_written() {
    let row = "| MQTT-1-1 | a, b | `a.rs f`, `b.rs g` (not yet) | open |";
    assert_eq!(cells(row), Some(vec!["MQTT-1-1", "a, b", "`a.rs f`, `b.rs g` (not yet)", "open"]));
    assert_eq!(
        names("client; `a.rs f`, `t.txt A title, so`").collect::<Vec<_>>(),
        ["a.rs f", "t.txt A title, so"]
    );
    assert!(cells("| | demands | kept by | proved by |").is_none());
    assert_eq!(ids(&[("1.2", 2..=3)]), ["MQTT-1.2-2", "MQTT-1.2-3"]);
    let wanted = ids(&[("1", 1..=3)]);
    let differ = |rows: &[&str]| differences(rows, &wanted).collect::<Vec<_>>();
    assert!(differ(&["MQTT-1-1", "MQTT-1-2", "MQTT-1-3"]).is_empty());
    assert_eq!(differ(&["MQTT-1-1", "MQTT-1-1", "MQTT-1-3"]).len(), 2, "one twice, one nowhere");
    assert_eq!(differ(&["MQTT-1-1", "MQTT-1-2", "MQTT-1-3", "MQTT-1-4"]).len(), 1);
    assert_eq!(differ(&["MQTT-1-2", "MQTT-1-1", "MQTT-1-3"]).len(), 1, "another order");
    let code = "fn plain() {}\n#[test]\n\nasync fn tried<T>() {}\nfn tried_again() {}\n";
    assert!(is_test(code, "tried") && !is_test(code, "plain") && !is_test(code, "tried_again"));
    assert!(line_of(code, "tri").is_none());
    let wrong = |kept_by: &str, proved_by: &str| judge(kept_by, proved_by, &[]).0.len();
    assert_eq!(wrong("client", "–") + wrong("not applicable", "–") + wrong("open", "open"), 0);
    assert_eq!((wrong("client", ""), wrong("later", "open"), wrong("`a.rs f`", "–")), (1, 1, 2));
}
