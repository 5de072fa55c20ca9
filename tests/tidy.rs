//! The law: what docs/STYLE.md and docs/ARCHITECTURE.md promise and no compiler checks. Every law is one
//! test, and says what it found and where. Limits may be tightened; the tables of exceptions only shrink.

#[path = "tidy/graph.rs"]
mod graph;
#[path = "tidy/statements.rs"]
mod statements;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file, without its tests.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function that is no test.
const FUNCTION_LINES_MAX: usize = 70;
/// Characters of a line of code that is no test. The formatter aims at 100; strings may stand out a little.
const CODE_CHARS_MAX: usize = 110;
/// Characters of a line of comment, tables apart: their rows cannot be broken.
const COMMENT_CHARS_MAX: usize = 120;

/// Fields of a struct that is no test.
const FIELDS_MAX: usize = 15;
/// Parameters of a function that is no test, `self` included.
const PARAMETERS_MAX: usize = 5;

/// Longer files: path, lines, why. A pure table or a table-driven match may be longer.
const LONG_FILES: &[(&str, usize, &str)] = &[];

/// Longer functions: path, name, lines, why.
const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] = &[];

/// Structs with more fields: path, name, fields, why.
const WIDE_STRUCTS: &[(&str, &str, usize, &str)] = &[];

/// Functions with more parameters: path, name, parameters, why.
const WIDE_FUNCTIONS: &[(&str, &str, usize, &str)] = &[];

/// Methods that a room of the broker gives to the type of another room: file, type, why. Nobody below may call them.
const FOREIGN_IMPLS: &[(&str, &str, &str)] = &[
    ("core/src/broker/count.rs", "Broker", "`Broker::audit`: called from outside of the core only"),
    (
        "core/src/broker/look.rs",
        "Broker",
        "`Broker::look_at_…`: called from outside of the core only",
    ),
    ("core/src/broker/open.rs", "Broker", "`Broker::open`: called from outside of the core only"),
    ("core/src/broker/session/opening.rs", "Broker", "`Broker::session`: for adapters only"),
];

/// Names say what a thing is; these say nothing.
const EMPTY_WORDS: [&str; 8] =
    ["manager", "handler", "helper", "util", "processor", "info", "data", "base"];

/// Wire protocols. The core knows none.
const PROTOCOLS: [&str; 8] = ["amqp", "mqtt", "stomp", "kafka", "redis", "sqs", "sns", "jms"];

/// The folders of the core that compute and do nothing else.
const PURE: [&str; 5] = ["message", "exchange", "log", "subscription", "rights"];

/// What the core is built on.
const CORE_IMPORTS: [&str; 11] = [
    "async-trait",
    "bytes",
    "foldhash",
    "memchr",
    "parking_lot",
    "regex",
    "rustc-hash",
    "smallvec",
    "thiserror",
    "tokio",
    "tracing",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A source file, read once.
struct Source {
    /// From the root, with `/`.
    path: String,
    text: String,
    /// The text without comments and without what strings hold; the lines stay where they are.
    code: String,
}

impl Source {
    fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    fn stem(&self) -> &str {
        self.name().trim_end_matches(".rs")
    }

    fn folder(&self) -> &str {
        self.path.rsplit_once('/').map_or("", |(folder, _)| folder)
    }

    /// Whether all of it is tests.
    fn is_test(&self) -> bool {
        let mut folders = self.path.split('/').rev().skip(1);
        let stem = self.stem();
        stem == "tests" || stem.ends_with("_tests") || folders.any(|folder| folder == "tests")
    }

    /// The code without the tests at its end.
    fn proper(&self) -> &str {
        let at = self.code.find("#[cfg(test)]\nmod tests {").unwrap_or(self.code.len());
        self.code.get(..at).unwrap_or_default()
    }
}

/// Every Rust file that is ours.
fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    for folder in [
        "core",
        "protocols",
        "plugins",
        "transforms",
        "console",
        "src",
        "tests",
        "xtask",
        "benches",
    ] {
        collect(&root().join(folder), &["rs"], &mut paths);
    }
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a text file");
        Source { path: shown(&path), code: code_of(&text), text }
    };
    paths.into_iter().map(read).collect()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn collect(folder: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.map_while(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let extension = path.extension().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !matches!(name.as_str(), "target" | "node_modules" | ".git" | ".cache" | "data") {
                collect(&path, extensions, found);
            }
        } else if extensions.contains(&extension.as_str()) {
            found.push(path);
        }
    }
}

/// Blanks out comments and the insides of strings and characters.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skipped = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => 1 + string_end(&rest[1..]),
            'r' if begins_literal(&code) => raw_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let (blank, left) = rest.split_at(skipped);
        code.extend(blank.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = left;
    }
    code
}

/// Whether an `r` that follows is not the end of a word: `br"..."` is a literal, `for` is none.
fn begins_literal(before: &str) -> bool {
    let mut back = before.chars().rev();
    match back.next() {
        Some('b') => !back.next().is_some_and(is_word),
        last => !last.is_some_and(is_word),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of a block comment; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0usize, 0);
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        match rest {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Length up to and with the closing quote.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (escaped, c) {
            (true, _) => escaped = false,
            (false, '\\') => escaped = true,
            (false, '"') => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `r"..."` or `r#"..."#`; 0 when it is none.
fn raw_string(text: &str) -> usize {
    let marks = text[1..].bytes().take_while(|b| *b == b'#').count();
    let Some(inner) = text[1 + marks..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(marks));
    let length = inner.find(&end).map_or(inner.len(), |at| at + end.len());
    2 + marks + length
}

/// Length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, escaped))) => {
            let from = at + escaped.len_utf8();
            text[from..].find('\'').map_or(0, |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// The words of a text, as a compiler would see them.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !is_word(c)).filter(|word| !word.is_empty())
}

/// Fails with everything that was found.
fn assert_none(law: &str, found: &[String]) {
    assert!(found.is_empty(), "{law}:\n{}", found.join("\n"));
}

/// Lines of code that hold one of these.
fn lines_with(source: &Source, code: &str, banned: impl Fn(&str) -> bool) -> Vec<String> {
    let lines = code.lines().enumerate().filter(|(_, line)| banned(line));
    let text: Vec<&str> = source.text.lines().collect();
    lines.map(|(at, _)| format!("{}:{}: {}", source.path, at + 1, text[at].trim())).collect()
}

#[test]
fn crates_import_what_they_may() {
    let mut found = Vec::new();
    let mut manifests = Vec::new();
    for folder in ["core", "console", "protocols", "plugins", "transforms", "xtask", "benches"] {
        collect(&root().join(folder), &["toml"], &mut manifests);
    }
    manifests.retain(|path| path.ends_with("Cargo.toml"));
    for path in &manifests {
        let shown = shown(path);
        let text = fs::read_to_string(path).expect("a manifest");
        for import in imports(&text) {
            let ours = import.strip_prefix("crossdock-");
            let may = match (shown.split('/').collect::<Vec<_>>().as_slice(), ours) {
                (["core", ..], None) => CORE_IMPORTS.contains(&import.as_str()),
                (["protocols", ..], None) => !import.starts_with("wasmtime"),
                (["protocols", "net", ..], Some(name)) => name == "core",
                (["protocols", ..], Some(name)) => matches!(name, "core" | "net"),
                (["plugins", "sdk", ..], _) => false,
                (["plugins", "samples", ..], Some(name)) => name == "plugin",
                (["plugins", "loader", ..], Some("plugin")) => true,
                (["plugins" | "console", ..], Some(name)) => name == "core",
                (["transforms", "guests" | "sdk", ..], Some(name)) => name != "core",
                (["transforms", ..], Some(name)) => name == "core",
                // They drive all adapters in one process, and nothing is built on them.
                (["benches", "gate" | "micro", ..], Some(_)) => true,
                (_, Some(_)) => false,
                (_, None) => true,
            };
            if !may {
                found.push(format!("{shown}: {import}"));
            }
        }
    }
    assert!(manifests.len() >= 7, "the manifests were not found");
    assert_none("a crate imports what it may not (docs/ARCHITECTURE.md)", &found);
}

/// The names under `[dependencies]`.
fn imports(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        match line.strip_prefix('[') {
            Some(section) => {
                inside = section.starts_with("dependencies]");
                names.extend(
                    section
                        .strip_prefix("dependencies.")
                        .map(|n| n.trim_end_matches(']').to_owned()),
                );
            }
            None if inside && !line.is_empty() && !line.starts_with('#') => {
                let end = line.find(['.', '=', ' ']).unwrap_or(line.len());
                names.push(line[..end].to_owned());
            }
            None => {}
        }
    }
    names
}

#[test]
fn every_crate_has_the_workspaces_lints() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace");
    let members = workspace.lines().find_map(|line| line.strip_prefix("members = "));
    let mut found = Vec::new();
    for member in members.expect("one line of members").split('"').skip(1).step_by(2) {
        let manifest = fs::read_to_string(root().join(member).join("Cargo.toml")).expect(member);
        if !manifest.contains("[lints]\nworkspace = true") {
            found.push(member.to_owned());
        }
    }
    assert_none("a crate goes without the workspace's lints", &found);
}

#[test]
fn the_core_names_no_protocol() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("core/src/")) {
        let names = |line: &str| {
            words(&line.to_lowercase()).any(|word| {
                let short =
                    |name: &str| name.len() == 3 && word.split('_').any(|part| part == name);
                PROTOCOLS.iter().any(|name| (name.len() > 3 && word.contains(name)) || short(name))
            })
        };
        found.extend(lines_with(source, &source.code, names));
        found.extend(
            PROTOCOLS
                .iter()
                .filter(|n| n.len() > 3 && source.path.contains(**n))
                .map(|n| format!("{}: named after {n}", source.path)),
        );
    }
    assert_none("the core names a protocol outside a comment", &found);
}

/// Whether a file is of the half of the core that computes and does nothing else.
fn is_pure(source: &Source) -> bool {
    let inside = source.path.strip_prefix("core/src/").unwrap_or_default();
    let room = inside.split('/').next().unwrap_or_default();
    PURE.contains(&room.trim_end_matches(".rs"))
}

#[test]
fn the_pure_half_computes_and_does_nothing_else() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| is_pure(source) && !source.is_test()) {
        let impure = |line: &str| {
            let calls = ["SystemTime::now", "Instant::now", "tokio::", "std::fs", "std::net"];
            calls.iter().any(|call| line.contains(call))
                || words(line).any(|word| matches!(word, "await" | "spawn" | "async" | "rand"))
        };
        found.extend(lines_with(source, source.proper(), impure));
    }
    assert_none("the pure half of the core waits, spawns, or asks the world", &found);
}

#[test]
fn the_pure_half_does_not_name_the_shell() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| is_pure(source)) {
        let names = |line: &str| words(line).any(|word| word == "broker");
        found.extend(lines_with(source, &source.code, names));
    }
    assert_none("the pure half of the core names `broker`, which is built on it", &found);
}

#[test]
fn the_core_has_one_clock_and_no_files() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|s| s.path.starts_with("core/src/") && !s.is_test()) {
        let clock = source.path == "core/src/broker/shared/clock.rs";
        let asks = |line: &str| {
            let world = ["std::fs", "std::net", "tokio::net", "tokio::fs", "serde_json"];
            (line.contains("SystemTime::now") && !clock) || world.iter().any(|w| line.contains(w))
        };
        found.extend(lines_with(source, source.proper(), asks));
    }
    assert_none(
        "the core opens a file or a socket, or reads a clock outside broker/shared/clock.rs",
        &found,
    );
}

/// The modules of the core without their tests.
fn core_modules() -> graph::Crate {
    let is_core = |source: &Source| source.path.starts_with("core/src/") && !source.is_test();
    let read = |source: Source| {
        let inside = source.path.trim_start_matches("core/src/").trim_end_matches(".rs");
        let mut path: Vec<&str> = inside.split('/').collect();
        if matches!(path.last(), Some(&"mod" | &"lib")) {
            path.pop();
        }
        graph::Module::read(&source.path, &path, source.proper())
    };
    graph::Crate::new(sources().into_iter().filter(is_core).map(read).collect())
}

/// The room of a module: the folder, or the file, in core/src/broker. The pure half and the seams are rooms, too. None
/// for the maps: the roots of the core and of the broker, which show what lives elsewhere.
fn room(path: &[String]) -> Option<String> {
    match path {
        [] => None,
        [broker] if broker == "broker" => None,
        [broker, room, ..] if broker == "broker" => Some(format!("broker/{room}")),
        [room, ..] => Some(room.clone()),
    }
}

/// Which room imports which, with the first place where it does.
fn room_imports(core: &graph::Crate) -> BTreeMap<(String, String), String> {
    let mut edges = BTreeMap::new();
    for import in core.imports() {
        if let (Some(from), Some(to)) = (room(&import.from), room(&import.to))
            && from != to
        {
            edges.entry((from, to)).or_insert(import.at);
        }
    }
    edges
}

#[test]
fn the_rooms_of_the_core_import_each_other_in_no_circle() {
    let edges = room_imports(&core_modules());
    let rooms = edges.keys().filter(|(from, _)| from.starts_with("broker/")).count();
    assert!(rooms > 20, "the rooms were not read: {edges:?}");
    let found: Vec<String> = graph::circle(&edges).into_iter().collect();
    assert_none("rooms of the core import each other in a circle", &found);
}

#[test]
fn a_room_gives_no_methods_to_another_rooms_types() {
    let mut found = Vec::new();
    for (import, name) in core_modules().foreign_impls() {
        let file = import.at.split(':').next().unwrap_or_default();
        let may = FOREIGN_IMPLS.iter().any(|(path, of, _)| *path == file && *of == name);
        if room(&import.from) != room(&import.to) && !may {
            found.push(format!("{}: impl {name}", import.at));
        }
    }
    assert_none("a room gives methods to another room's type: an import that nobody sees", &found);
}

#[test]
fn the_brokers_map_has_no_code() {
    let all = sources();
    let map = all.iter().find(|source| source.path == "core/src/broker/mod.rs");
    let map = map.expect("the map of the broker");
    let items = ["fn", "struct", "enum", "impl", "trait", "const", "static", "type"];
    let is_item = |line: &str| words(line).any(|word| items.contains(&word));
    let found = lines_with(map, &map.code, is_item);
    assert_none("core/src/broker/mod.rs has code, and is no room", &found);
}

#[test]
fn only_the_committer_appends() {
    // The seam and its double, the committer, and the start that hands the writer over to it.
    let name = ["store.rs", "memory.rs", "broker/journal/committer.rs", "broker/open.rs"];
    let append = ["memory.rs", "broker/journal/committer.rs"];
    let mut found = Vec::new();
    for source in sources() {
        if source.path.starts_with("plugins/") || source.is_test() {
            continue;
        }
        let inside = source.path.strip_prefix("core/src/").unwrap_or_default();
        let writes = |line: &str| {
            let names = words(line).any(|word| word == "JournalWriter");
            (names && !name.contains(&inside))
                || (line.contains("writer.append(") && !append.contains(&inside))
        };
        found.extend(lines_with(&source, source.proper(), writes));
    }
    assert_none("somebody else than the committer writes to the store", &found);
}

#[test]
fn every_file_says_what_it_is() {
    let silent = |source: &Source| !source.text.trim_start().starts_with("//!");
    let found: Vec<String> = sources().into_iter().filter(silent).map(|s| s.path).collect();
    assert_none("a file does not begin with `//!`", &found);
}

#[test]
fn files_are_short() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let lines = source.proper().lines().count();
        let known = LONG_FILES.iter().find(|(path, ..)| *path == source.path);
        match known {
            None if lines > FILE_LINES_MAX => found.push(format!("{}: {lines}", source.path)),
            Some((_, limit, _)) if lines != *limit => {
                found.push(format!("{}: {lines}, its exception says {limit}", source.path));
            }
            _ => {}
        }
    }
    assert_none("a file has too many lines, or its exception is out of date", &found);
}

#[test]
fn functions_are_short() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (name, line, lines) in functions(source.proper()) {
            let known = LONG_FUNCTIONS.iter().find(|(p, n, ..)| *p == source.path && *n == name);
            let at = format!("{}:{line}: {name}: {lines}", source.path);
            match known {
                None if lines > FUNCTION_LINES_MAX => found.push(at),
                Some((_, _, limit, _)) if lines != *limit => {
                    found.push(format!("{at}, its exception says {limit}"));
                }
                _ => {}
            }
        }
    }
    assert_none("a function has too many lines, or its exception is out of date", &found);
}

#[test]
fn functions_have_few_parameters() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (name, line, count) in parameters(source.proper()) {
            let known = WIDE_FUNCTIONS.iter().find(|(p, n, ..)| *p == source.path && *n == name);
            let limit = known.map_or(PARAMETERS_MAX, |(_, _, limit, _)| *limit);
            if count > limit || known.is_some() && count < limit {
                found.push(format!("{}:{line}: {name}: {count}", source.path));
            }
        }
    }
    assert_none("a function has too many parameters, or its exception is out of date", &found);
}

#[test]
fn structs_have_few_fields() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for (name, line, count) in fields(source.proper()) {
            let known = WIDE_STRUCTS.iter().find(|(p, n, ..)| *p == source.path && *n == name);
            let limit = known.map_or(FIELDS_MAX, |(_, _, limit, _)| *limit);
            if count > limit || known.is_some() && count < limit {
                found.push(format!("{}:{line}: {name}: {count}", source.path));
            }
        }
    }
    assert_none("a struct has too many fields, or its exception is out of date", &found);
}

/// Name, line and number of parameters of every function, those of traits included.
fn parameters(code: &str) -> Vec<(String, usize, usize)> {
    lists(code, "fn", '(')
}

/// Name, line and number of fields of every struct with named fields.
fn fields(code: &str) -> Vec<(String, usize, usize)> {
    lists(code, "struct", '{')
}

/// Every item of that kind: its name, its line, and how long the list is that `open` begins.
fn lists(code: &str, kind: &str, open: char) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find(kind).map(|at| from + at) {
        from = at + kind.len();
        let is_whole = !code[..at].ends_with(is_word) && code[from..].starts_with(' ');
        let name: String = code[from..].trim_start().chars().take_while(|c| is_word(*c)).collect();
        if !is_whole || name.is_empty() {
            continue;
        }
        let head = from + code[from..].find(&name).unwrap_or(0) + name.len();
        if let Some(count) = list_length(&code[head..], open) {
            found.push((name, code[..at].matches('\n').count() + 1, count));
        }
    }
    found
}

/// How many things stand in the list that follows a name and its generics. None when the item has no such list.
fn list_length(code: &str, open: char) -> Option<usize> {
    let (mut angles, mut depth, mut count, mut any) = (0usize, 0usize, 0, false);
    let mut before = ' ';
    for c in code.chars() {
        match c {
            '<' => angles += 1,
            // The point of an arrow closes nothing.
            '>' if !matches!(before, '-' | '=') => angles = angles.saturating_sub(1),
            ';' if depth == 0 => return None,
            '(' | '[' | '{' if depth > 0 => depth += 1,
            // Bounds may have brackets of their own: `F: Fn(u8)`.
            c if c == open && angles == 0 => depth = 1,
            '{' if angles == 0 => return None,
            ')' | ']' | '}' if depth == 1 => return Some(count + usize::from(any)),
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            ',' if depth == 1 && angles == 0 => (count, any) = (count + 1, false),
            _ => {}
        }
        any |= depth > 0 && !c.is_whitespace() && c != ',' && !(depth == 1 && c == open);
        before = c;
    }
    None
}

/// Name, first line and number of lines of every function that has a body.
fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = code[from..].find("fn ").map(|at| from + at) {
        from = at + 3;
        let before = code[..at].chars().next_back();
        let name: String = code[from..].chars().take_while(|c| is_word(*c)).collect();
        if before.is_some_and(is_word) || name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&code[from..]) {
            let line = code[..at].matches('\n').count() + 1;
            found.push((name, line, code[at..from + end].matches('\n').count() + 1));
        }
    }
    found
}

/// Where the body ends that follows a signature; none when there is no body.
fn body_end(code: &str) -> Option<usize> {
    let (mut round, mut curly) = (0usize, 0usize);
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' => round += 1,
            ')' | ']' => round = round.saturating_sub(1),
            '{' => curly += 1,
            '}' => {
                curly = curly.saturating_sub(1);
                if curly == 0 {
                    return Some(at);
                }
            }
            ';' if round == 0 && curly == 0 => return None,
            _ => {}
        }
    }
    None
}

#[test]
fn lines_are_short() {
    let mut found = Vec::new();
    for source in sources() {
        for (at, line) in source.text.lines().enumerate() {
            let text = line.trim_start();
            let limit = match text.starts_with("//") {
                true if text.starts_with("//! |") => continue,
                true => COMMENT_CHARS_MAX,
                false if source.is_test() => continue,
                false => CODE_CHARS_MAX,
            };
            let chars = line.chars().count();
            if chars > limit {
                found.push(format!("{}:{}: {chars}", source.path, at + 1));
            }
        }
    }
    assert_none("a line is too long", &found);
}

#[test]
fn names_say_something() {
    let empty = |name: &str| {
        let name = name.to_lowercase();
        let name = name.trim_end_matches('s');
        EMPTY_WORDS.iter().any(|word| name.ends_with(word.trim_end_matches('s')))
    };
    let mut found = Vec::new();
    for source in sources() {
        if empty(source.stem()) {
            found.push(source.path.clone());
        }
        let mut words = words(&source.code);
        while let Some(word) = words.next() {
            if matches!(word, "struct" | "enum" | "trait" | "type" | "union") {
                let name = words.next().unwrap_or_default();
                if name.starts_with(char::is_uppercase) && empty(name) {
                    found.push(format!("{}: {name}", source.path));
                }
            }
        }
    }
    assert_none("a name says nothing", &found);
}

#[test]
fn nothing_is_unfinished_or_unbounded() {
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let mut found = Vec::new();
    for source in sources() {
        let unfinished = |line: &str| {
            let macros = ["todo!", "unimplemented!", "dbg!"];
            macros.iter().any(|name| line.contains(name))
                || words(line).any(|word| word == "unbounded_channel")
        };
        found.extend(lines_with(&source, &source.code, unfinished));
        let noted = |line: &str| notes.iter().any(|note| line.contains(note));
        found.extend(lines_with(&source, &source.text, noted));
    }
    assert_none("something is unfinished, or has no bound", &found);
}

#[test]
fn unsafe_code_is_where_it_may_be() {
    let mut found = Vec::new();
    for source in sources() {
        let may = ["plugins/", "transforms/"].iter().any(|folder| source.path.starts_with(folder));
        if !may {
            let is_unsafe = |line: &str| words(line).any(|word| word == "unsafe");
            found.extend(lines_with(&source, &source.code, is_unsafe));
        }
    }
    assert_none("unsafe code outside plugins/ and transforms/", &found);
}

#[test]
fn adapters_refuse_to_panic() {
    let mut found = Vec::new();
    let adapter = |source: &&Source| {
        let parts: Vec<&str> = source.path.split('/').collect();
        matches!(parts.as_slice(), ["protocols", name, "src", "lib.rs"] if *name != "net")
    };
    for source in sources().iter().filter(adapter) {
        for needed in ["forbid(unsafe_code)", "unwrap_used", "expect_used", "indexing_slicing"] {
            if !source.code.contains(needed) {
                found.push(format!("{}: no {needed}", source.path));
            }
        }
    }
    assert_none("an adapter lets peers make it panic", &found);
}

#[test]
fn every_file_is_part_of_something() {
    let all = sources();
    let mut found = Vec::new();
    for source in &all {
        let own = matches!(source.name(), "lib.rs" | "main.rs" | "build.rs");
        let binary =
            ["/src/bin", "/examples", "/fuzz_targets"].iter().any(|f| source.folder().ends_with(f));
        let test = source.folder() == "tests" || source.folder().ends_with("/tests");
        let bench = source.folder().ends_with("benches");
        if own || binary || test || bench {
            continue;
        }
        // A module is declared by a file beside it, or by the file that its folder is named after.
        let (module, folder) = match source.name() {
            "mod.rs" => {
                let (around, name) =
                    source.folder().rsplit_once('/').unwrap_or(("", source.folder()));
                (name, around)
            }
            _ => (source.stem(), source.folder()),
        };
        let declares = |other: &&Source| {
            let beside = other.folder() == folder || other.path == format!("{folder}.rs");
            let path = format!("#[path = \"{}\"]", source.name());
            let named = other.code.contains(&format!("mod {module};"));
            beside && other.path != source.path && (named || other.text.contains(&path))
        };
        if !all.iter().any(|other| declares(&other)) {
            found.push(source.path.clone());
        }
    }
    assert_none("a file belongs to no crate", &found);
}

#[test]
fn source_files_named_in_the_docs_exist() {
    let mut paths = Vec::new();
    collect(&root().join("docs"), &["md"], &mut paths);
    let (mut found, mut named) = (Vec::new(), 0);
    for path in paths.iter().filter(|path| !path.components().any(|part| part.as_os_str() == "adr"))
    {
        let text = fs::read_to_string(path).expect("a text file");
        for (at, line) in text.lines().enumerate() {
            // The first column of the table of moved files is about what was.
            let line = line
                .strip_prefix("| broker/")
                .map_or(line, |row| row.split_once('|').map_or("", |(_, new)| new));
            let is_path = |c: char| is_word(c) || matches!(c, '/' | '.' | '-');
            for name in line.split(|c| !is_path(c)).map(|name| name.trim_start_matches("../")) {
                let inside =
                    ["broker/", "log/", "message/"].iter().any(|room| name.starts_with(room));
                let whole = name.starts_with("core/src/") || name.starts_with("tests/");
                if !name.ends_with(".rs") || !(inside || whole) {
                    continue;
                }
                named += 1;
                let is_there = match inside {
                    true => root().join("core/src").join(name).exists(),
                    false => root().join(name).exists(),
                };
                if !is_there {
                    found.push(format!("{}:{}: {name}", shown(path), at + 1));
                }
            }
        }
    }
    assert!(named > 40, "the names were not found: {named}");
    assert_none("a page names a file that is not there", &found);
}

#[test]
fn every_warning_and_error_is_explained_to_operators() {
    let page = fs::read_to_string(root().join("docs/OPERATING.md")).expect("the operators' page");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows: Vec<(&str, &str)> = rows
        .filter(|(_, rest)| rest.starts_with("ERROR |") || rest.starts_with("WARN |"))
        .collect();
    let mut found = Vec::new();
    let mut lines = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for level in ["warn", "error"] {
            for (at, _) in source.text.match_indices(&format!("tracing::{level}!(")) {
                match first_text(&source.text[at..]) {
                    Some(text) => lines.push((text, level.to_uppercase(), source.path.clone())),
                    None => found.push(format!("{}: a {level}! without a text", source.path)),
                }
            }
        }
    }
    for (text, level, path) in &lines {
        if !rows.iter().any(|(row, rest)| row == text && rest.starts_with(level.as_str())) {
            found.push(format!("{path}: no row says what this {level} means: {text}"));
        }
    }
    for (row, _) in &rows {
        if !lines.iter().any(|(text, ..)| text == row) {
            found.push(format!("docs/OPERATING.md: nothing logs: {row}"));
        }
    }
    assert!(lines.len() > 20, "the log lines were not found");
    assert_none("docs/OPERATING.md and what is logged differ", &found);
}

/// What the first string of a macro's arguments holds.
fn first_text(call: &str) -> Option<String> {
    let begin = call.find('"')? + 1;
    let inside = call.get(begin..)?;
    let inside = inside.get(..string_end(inside).checked_sub(1)?)?;
    // A backslash at the end of a line takes the line's end and the next one's indentation away.
    let mut lines = inside.split("\\\n");
    let first = lines.next()?.to_owned();
    Some(lines.fold(first, |text, line| text + line.trim_start()))
}

#[test]
fn no_page_says_a_thing_twice() {
    let mut found = Vec::new();
    let mut pages = Vec::new();
    collect(&root().join("docs"), &["md"], &mut pages);
    for page in pages {
        let text = fs::read_to_string(&page).expect("a text file");
        let (mut code, mut seen) = (false, BTreeMap::new());
        for (line, at) in text.lines().zip(1..) {
            code ^= line.trim_start().starts_with("```");
            let telling =
                line.starts_with('#') || line.starts_with("**") || line.chars().count() > 60;
            if code || !telling || line.starts_with('|') {
                continue;
            }
            let first = *seen.entry(line).or_insert(at);
            if first != at {
                found.push(format!("{}:{at}: stands in line {first} too: {line}", shown(&page)));
            }
        }
    }
    assert_none("a heading or a long line of a page stands in it once", &found);
}

#[test]
fn nobodys_machine_is_mentioned() {
    let mut paths = Vec::new();
    collect(root(), &["rs", "toml", "md", "py", "mjs", "json", "sh", "txt", "wit"], &mut paths);
    let machines = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut found = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap_or_default();
        for (at, line) in text.lines().enumerate() {
            if machines.iter().any(|machine| line.contains(machine)) {
                found.push(format!("{}:{}: {}", shown(&path), at + 1, line.trim()));
            }
        }
    }
    assert_none("a path of somebody's machine", &found);
}

#[test]
fn the_reader_of_code_reads_code() {
    let text = "let a = \"todo!\"; // todo!\nlet b = 'x'; /* /* unsafe */ */ let c: &'a str = br#\"\"fn\"#;";
    let code = code_of(text);
    assert_eq!(code.lines().count(), 2);
    assert!(!code.contains("todo!") && !code.contains("unsafe") && !code.contains("fn"), "{code}");
    assert!(code.contains("let c: &'a str ="), "{code}");
    let code = "fn one() -> [u8; 2] {\n  x\n}\ntrait T { fn two(&self); }\nfn three() {}\n";
    let names: Vec<(String, usize)> = functions(code).into_iter().map(|(n, _, l)| (n, l)).collect();
    assert_eq!(names, [("one".to_owned(), 3), ("three".to_owned(), 1)]);
    let code = "fn f<F: Fn(u8, u8) -> u8>(&self, a: (u8, u8), b: Vec<(u8, u8)>,) -> u8 { g(1, 2) }\n\
                trait T { fn none(); }\nstruct S<A> where A: Fn(u8) { a: A, pub b: [u8; 2] }\nstruct U(u8);";
    let count = |list: Vec<(String, usize, usize)>| list.into_iter().map(|(n, _, c)| (n, c));
    let expected = [("f".to_owned(), 3), ("none".to_owned(), 0)];
    assert_eq!(count(parameters(code)).collect::<Vec<_>>(), expected);
    assert_eq!(count(fields(code)).collect::<Vec<_>>(), [("S".to_owned(), 2)]);
    let manifest = "[dependencies]\na.workspace = true\nb = \"1\"\n[dev-dependencies]\nc = \"1\"\n";
    assert_eq!(imports(manifest), ["a", "b"]);
}
