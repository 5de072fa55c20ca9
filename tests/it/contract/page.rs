//! Reads docs/SEMANTICS.md: the ids of its cells, and which cells of its tables have none.
//!
//! An id stands between `⟨` and `⟩`. `⟨f3.a⟩` holds today, `⟨f3.a planned⟩` does not yet, and `⟨untested: why⟩` marks
//! a cell that this table of cases cannot look at. Sections §1 to §7 are read.

/// Columns that are a built protocol's, and the last letter of their cells.
const COLUMNS: [(&str, char); 4] =
    [("AMQP 0-9-1", 'a'), ("MQTT 3.1.1", '3'), ("MQTT 5", '5'), ("STOMP", 's')];

#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    pub id: String,
    pub planned: bool,
}

#[derive(Debug, Default)]
pub struct Page {
    pub cells: Vec<Cell>,
    pub faults: Vec<String>,
}

/// What stands between the brackets.
enum Mark {
    Cell(Cell),
    Untested,
    Malformed(String),
}

impl Page {
    pub fn read(text: &str) -> Self {
        let mut page = Self::default();
        let (mut contract, mut header) = (false, None);
        for (at, line) in text.lines().enumerate() {
            if line.starts_with("## ") {
                contract = ('1'..='7').any(|n| line.starts_with(&format!("## §{n} ")));
            }
            if !contract && !line.starts_with("- R") {
                continue;
            }
            page.take(at + 1, line);
            let cells = row(line);
            match &header {
                _ if cells.is_empty() => header = None,
                None => header = Some(cells),
                Some(header) => page.check(at + 1, header, &cells),
            }
        }
        page
    }

    fn take(&mut self, number: usize, line: &str) {
        for mark in marks(line) {
            match mark {
                Mark::Untested => {}
                Mark::Malformed(text) => {
                    self.faults.push(format!("line {number}: ⟨{text}⟩ is no id"));
                }
                Mark::Cell(cell) => {
                    if self.cells.iter().any(|known| known.id == cell.id) {
                        self.faults.push(format!("line {number}: ⟨{}⟩ stands twice", cell.id));
                    }
                    self.cells.push(cell);
                }
            }
        }
    }

    /// Every cell of a built protocol's column has an id with its letter; where no column is a protocol's, every row
    /// has an id.
    fn check(&mut self, number: usize, header: &[&str], cells: &[&str]) {
        let is_rule = |cell: &&str| cell.chars().all(|c| matches!(c, '-' | ':' | ' '));
        if cells.iter().all(is_rule) {
            return;
        }
        let column = |title: &str| COLUMNS.iter().find(|(name, _)| title.ends_with(name));
        let built: Vec<(usize, char)> = header
            .iter()
            .enumerate()
            .filter_map(|(at, title)| Some((at, column(title)?.1)))
            .collect();
        if built.is_empty() && !cells.iter().any(|cell| marks(cell).next().is_some()) {
            self.faults.push(format!("line {number}: a row without an id: {}", cells.join(" | ")));
        }
        for (at, letter) in built {
            let Some(text) = cells.get(at).filter(|text| !matches!(**text, "" | "–")) else {
                continue;
            };
            let fits = |mark: &Mark| match mark {
                Mark::Cell(cell) => cell.id.ends_with(letter),
                Mark::Untested | Mark::Malformed(_) => true,
            };
            if !marks(text).any(|mark| fits(&mark)) {
                self.faults.push(format!(
                    "line {number}: a cell of column {} without an id of its own: {text}",
                    header[at]
                ));
            }
        }
    }
}

/// The cells of a table's line.
fn row(line: &str) -> Vec<&str> {
    let inner = line.strip_prefix('|').and_then(|line| line.trim_end().strip_suffix('|'));
    inner.map_or(Vec::new(), |inner| split(inner).into_iter().map(str::trim).collect())
}

/// At every `|` that is not written `\|`.
fn split(inner: &str) -> Vec<&str> {
    let (mut cells, mut start) = (Vec::new(), 0);
    for (at, _) in inner.match_indices('|') {
        if !inner[..at].ends_with('\\') {
            cells.push(&inner[start..at]);
            start = at + 1;
        }
    }
    cells.push(&inner[start..]);
    cells
}

fn marks(text: &str) -> impl Iterator<Item = Mark> {
    text.split('⟨').skip(1).map(|rest| {
        let inner = rest.split('⟩').next().unwrap_or_default();
        let (id, planned) = match inner.strip_suffix(" planned") {
            Some(id) => (id, true),
            None => (inner, false),
        };
        match inner.starts_with("untested: ") {
            true => Mark::Untested,
            false if is_id(id) => Mark::Cell(Cell { id: id.to_owned(), planned }),
            false => Mark::Malformed(inner.to_owned()),
        }
    })
}

/// A letter, a number, perhaps a letter, and perhaps the column: `f3`, `f3b.a`.
fn is_id(text: &str) -> bool {
    let (name, column) = text.split_once('.').map_or((text, None), |(n, c)| (n, Some(c)));
    let digits = name.trim_start_matches(|c: char| c.is_ascii_lowercase());
    let number = digits.trim_end_matches(|c: char| c.is_ascii_lowercase());
    name.len() == digits.len() + 1
        && digits.len() <= number.len() + 1
        && !number.is_empty()
        && number.chars().all(|c| c.is_ascii_digit())
        && column.is_none_or(|column| matches!(column, "a" | "3" | "5" | "s"))
}

#[test]
fn the_page_is_read() {
    let text = "## §1 Names\n| x | STOMP |\n|---|---|\n| a | b ⟨n1.s⟩ \\| ⟨n1b.s planned⟩ |\n\
                | a | b |\n| a | – |\n| a | c ⟨n2.a⟩ |\n| a | d ⟨untested: no way⟩ |\n\
                \n| y | z |\n|---|---|\n| a ⟨n3⟩ | b |\n| a | b |\n\
                ⟨n3⟩ ⟨nix⟩\n## §8 Other\n| x | STOMP |\n|---|---|\n| a | ⟨z1⟩ |\n";
    let page = Page::read(text);
    let ids: Vec<(&str, bool)> = page.cells.iter().map(|c| (c.id.as_str(), c.planned)).collect();
    let twice = ("n3", false);
    assert_eq!(ids, [("n1.s", false), ("n1b.s", true), ("n2.a", false), twice, twice]);
    assert_eq!(
        page.faults,
        [
            "line 5: a cell of column STOMP without an id of its own: b",
            "line 7: a cell of column STOMP without an id of its own: c ⟨n2.a⟩",
            "line 13: a row without an id: a | b",
            "line 14: ⟨n3⟩ stands twice",
            "line 14: ⟨nix⟩ is no id",
        ]
    );
}
