//! docs/SEMANTICS.md is a promise, and this is its test: a table of cases over the real program, at least one for each
//! cell of the page. The cells of the page and the cells of the table have to be the same, and so have their marks:
//! what is `planned` there is `planned` here, with what happens today instead, and fails as soon as it works.
//!
//! | file | what it is |
//! |---|---|
//! | `page` | the cells of docs/SEMANTICS.md |
//! | `case` | a line of the table, and how it is played |
//! | `cases/` | the table, section by section |
//! | `said` | what is sent and seen, as names and texts |
//! | `peer`, `amqp`, `table`, `mqtt`, `stomp` | clients that speak in those |

mod amqp;
mod case;
mod cases;
mod mqtt;
mod page;
mod peer;
mod said;
mod stomp;
mod table;

use crate::broker::{Broker, Folder, root};
use case::{Case, Scene};
use page::Page;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Cases that are played at the same time: they wait for sockets more than they compute.
const AT_ONCE: usize = 8;

/// What only a configuration can bring about: a route whose step always fails, and which refuses then, and prefixes of
/// a listener.
const CONFIGURATION: &str = "\
[listeners.stomp]
stomp_anycast_prefixes = [\"jms.queue.\"]

[[route]]
name = \"contract-refuses\"
from = [\"topic:refuses/#\"]
steps = [{ set = { priority = \"300\" } }]
mode = \"filter\"
on_error = { then = \"reject\" }
";

/// Cells that describe one direction only.
const ONE_WAY: [&str; 2] = ["f24.3", "f24b.s"];

fn page() -> Page {
    let text = std::fs::read_to_string(root().join("docs/SEMANTICS.md"));
    Page::read(&text.expect("the page is there"))
}

fn cells_of(case: &Case) -> impl Iterator<Item = &'static str> {
    case.cells.split_whitespace()
}

#[test]
fn the_page_and_the_table_have_the_same_cells() {
    let (page, table) = (page(), cases::all());
    let mut faults = page.faults;
    for cell in &page.cells {
        let of_cell: Vec<&Case> =
            table.iter().filter(|case| cells_of(case).any(|id| id == cell.id)).collect();
        let holds = of_cell.iter().any(|case| case.planned.is_none());
        match (of_cell.is_empty(), cell.planned, holds) {
            (true, ..) => faults.push(format!("⟨{}⟩ has no case", cell.id)),
            (_, true, true) => faults.push(format!("⟨{}⟩ is planned, its case is not", cell.id)),
            (_, false, false) => faults.push(format!("⟨{}⟩ has planned cases only", cell.id)),
            _ => {}
        }
        faults.extend(missing_direction(&cell.id, &of_cell));
    }
    let find = |id: &str| page.cells.iter().find(|cell| cell.id == id);
    for case in &table {
        for id in cells_of(case).filter(|id| find(id).is_none()) {
            faults.push(format!("{}: the page has no ⟨{id}⟩", case.title()));
        }
        let planned = cells_of(case).filter_map(find).any(|cell| cell.planned);
        if case.planned.is_some() && !planned {
            faults.push(format!("{}: planned, and no cell of it is", case.title()));
        }
    }
    assert!(faults.is_empty(), "docs/SEMANTICS.md and its cases differ:\n{}", faults.join("\n"));
}

/// A cell of the field map is about senders and about readers.
fn missing_direction(id: &str, cases: &[&Case]) -> Option<String> {
    let (row, column) = id.split_once('.')?;
    if cases.is_empty() || !row.starts_with('f') || ONE_WAY.contains(&id) {
        return None;
    }
    let is = |wire: peer::Wire| column.starts_with(wire.column());
    if !cases.iter().any(|case| is(case.from)) {
        return Some(format!("⟨{id}⟩ has no case in which that protocol sends"));
    }
    let reads = cases.iter().any(|case| is(case.to));
    (!reads).then(|| format!("⟨{id}⟩ has no case in which that protocol reads"))
}

#[test]
fn what_the_page_says_holds() {
    let (page, table) = (page(), cases::all());
    let folder = Folder::new();
    let file = folder.write("contract.toml", CONFIGURATION);
    let broker = Broker::with(&["--config", &file.to_string_lossy()]);
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = table.get(number) else { return };
                    let fault = play(&broker, number, case);
                    found.lock().expect("no case panics here").extend(fault);
                }
            });
        }
    });
    let mut found = found.into_inner().expect("no case panics here");
    found.sort();
    let planned = table.iter().filter(|case| case.planned.is_some()).count();
    let sum = format!(
        "SEMANTICS.md: {} cells, {} cases, {planned} planned",
        page.cells.len(),
        table.len()
    );
    // Past the harness, which keeps what a passed test prints to itself.
    writeln!(std::io::stderr(), "{sum}").expect("standard error is open");
    let failed = found.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n");
    assert!(found.is_empty(), "{sum}; {} cases are not as they should be:\n{failed}", found.len());
}

/// Plays one case; what is wrong with it, after its place in the table.
fn play(broker: &Broker, number: usize, case: &Case) -> Option<(usize, String)> {
    let scene = Scene::new(broker, number, case);
    let unlike = catch_unwind(AssertUnwindSafe(|| case.run(&scene))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        vec![format!("a client gave up: {}", text.unwrap_or_default())]
    });
    let fault = unlike.join("; ");
    (!fault.is_empty()).then(|| (number, format!("{}: {fault}", case.title())))
}
