//! The law: what docs/STYLE.md and docs/ARCHITECTURE.md promise and no compiler checks. Every law is one
//! test, and says what it found and where. Limits may be tightened; the tables of exceptions only shrink.

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

/// Longer files: path, lines, why. A pure table or a table-driven match may be longer.
const LONG_FILES: &[(&str, usize, &str)] = &[];

/// Longer functions: path, name, lines, why.
const LONG_FUNCTIONS: &[(&str, &str, usize, &str)] = &[];

/// Names say what a thing is; these say nothing.
const EMPTY_WORDS: [&str; 8] =
    ["manager", "handler", "helper", "util", "processor", "info", "data", "base"];

/// Wire protocols. The core knows none.
const PROTOCOLS: [&str; 8] = ["amqp", "mqtt", "stomp", "kafka", "redis", "sqs", "sns", "jms"];

/// The folders of the core that compute and do nothing else.
const PURE: [&str; 4] = ["message", "exchange", "log", "subscription"];

/// What the core is built on.
const CORE_IMPORTS: [&str; 9] = [
    "async-trait",
    "bytes",
    "memchr",
    "parking_lot",
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
    for folder in ["core", "protocols", "plugins", "transforms", "xtask", "benches"] {
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
                (["plugins", ..], Some(name)) => name == "core",
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
            source.folder().ends_with("/src/bin") || source.folder().ends_with("/examples");
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
    let manifest = "[dependencies]\na.workspace = true\nb = \"1\"\n[dev-dependencies]\nc = \"1\"\n";
    assert_eq!(imports(manifest), ["a", "b"]);
}
