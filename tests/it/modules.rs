//! `crossdock transform`: modules are made from templates, tried and measured without a broker.

use crate::broker::{Folder, crossdock, root};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn transform(words: &[&str]) -> Output {
    crossdock(&["transform"]).args(words).output().expect("the binary is there")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The exit code, and what was said.
fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn fixture(name: &str) -> String {
    root().join("transforms/tests").join(name).display().to_string()
}

#[test]
fn a_module_is_tried_with_its_grants_limits_and_samples() {
    let folder = Folder::new();
    let sample = |name: &str, body: &str| folder.write(name, body).display().to_string();
    let (reporter, misbehave) = (fixture("reporter.wasm"), fixture("misbehave.wasm"));
    let refused = said(&transform(&["check", &reporter, "--grant", "log"]));
    assert_eq!(refused.0, Some(2), "{}", refused.1);
    assert!(refused.1.contains("imports crossdock:transform/metrics@1.0.0"), "{}", refused.1);
    assert!(refused.1.contains("add --grant metrics"), "{}", refused.1);

    let count = sample("count", "count seen");
    let words = ["check", &reporter, "--grant", "log", "--grant", "metrics", "--sample", &count];
    let (code, shown) = said(&transform(&words));
    assert_eq!(code, Some(0), "{shown}");
    for part in ["to queue:out", "its counter seen is 2"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    let (split, looped) = (sample("split", "split topic:a/b=one two"), sample("loop", "loop"));
    let words = ["check", &misbehave, "--destination", "topic:a/+", "--sample", &split];
    let (code, shown) = said(&transform(&words));
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("to exchange:amq.topic/a/b\n    one\n  to queue:out\n    two"),
        "{shown}"
    );
    let words =
        ["check", &misbehave, "--deadline", "20ms", "--sample", &split, "--sample", &looped];
    let (code, shown) = said(&transform(&words));
    assert_eq!(code, Some(1), "{shown}");
    for part in ["fails: guest: address of an output: topic:a/b", "fails: timeout: it took longer"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    for (words, reason) in [
        (["--with", "{"].as_slice(), "--with {: EOF"),
        (&["--with", "{\"refuse\": 1}"], "--with: the configuration says refuse"),
        (&["--memory", "1KiB"], "--memory: must be from 64KiB"),
        (&["--grant", "files"], "--grant: 'files' is none of"),
        (&["--destination", "nowhere"], "--destination: 'nowhere' is not queue:NAME"),
        (&["--address", "nowhere"], "--address: 'nowhere' is not queue:NAME"),
        (&["--sample", "/no/such"], "--sample /no/such: "),
        (&["--header", "h"], "--header h: is not NAME=TEXT"),
    ] {
        let (code, shown) = said(&transform(&[["check", &misbehave].as_slice(), words].concat()));
        assert_eq!(code, Some(2), "{words:?}: {shown}");
        assert!(shown.contains(reason), "{reason}: {shown}");
    }
}

#[test]
fn what_a_tried_module_says_is_shown() {
    let folder = Folder::new();
    let sample = |name: &str, body: &str| folder.write(name, body).display().to_string();
    let (reporter, misbehave) = (fixture("reporter.wasm"), fixture("misbehave.wasm"));
    let (log, gauge) = (sample("log", "log 2"), sample("gauge", "gauge depth"));
    let words = ["check", &reporter, "--grant", "log", "--grant", "metrics"];
    let samples = ["--sample", &log, "--sample", &gauge];
    let (code, shown) = said(&transform(&[words.as_slice(), &samples].concat()));
    assert_eq!(code, Some(0), "{shown}");
    for part in ["  log, warn: line 1 for queue:in\n", "its gauge depth is -0.5"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (print, panic) = (sample("print", "print a word"), sample("panic", "panic"));
    let panics = ["--sample", &panic].repeat(7);
    let words = ["check", &misbehave, "--sample", &print];
    let (code, shown) = said(&transform(&[words.as_slice(), &panics].concat()));
    assert_eq!(code, Some(1), "{shown}");
    for part in ["  stdout: a word\n", "  stderr: a word\n"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let failures = shown.lines().filter(|line| {
        line.starts_with("  fails: trap: ")
            && line.contains("it printed: ")
            && line.contains("asked to panic")
    });
    assert_eq!(failures.count(), 7, "it is not paused for another sample: {shown}");
}

#[test]
fn only_what_a_module_answers_is_measured() {
    let folder = Folder::new();
    let sample = |name: &str, body: &str| folder.write(name, body).display().to_string();
    let (keep, panic) = (sample("keep", "keep"), sample("panic", "panic"));
    let module = fixture("misbehave.wasm");
    let words = ["bench", &module, "--seconds", "1", "--sample", &keep, "--sample", &panic];
    let (code, shown) = said(&transform(&words));
    assert_eq!(code, Some(1), "{shown}");
    for part in [
        "it failed for 5 of 10 messages, which are not in the figures; it was stopped",
        "asked to panic",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (code, shown) = said(&transform(&[words.as_slice(), &["--keep-going"]].concat()));
    assert_eq!(code, Some(1), "{shown}");
    let failed = shown.split("it failed for ").nth(1).and_then(|rest| rest.split(' ').next());
    let failed: u64 = failed.and_then(|text| text.parse().ok()).expect("a number of failures");
    assert!(failed > 5 && shown.contains("messages a second"), "{shown}");
    let (code, shown) = said(&transform(&["bench", &module, "--sample", &panic]));
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("no message was answered"), "{shown}");
}

#[test]
fn a_module_is_measured() {
    let folder = Folder::new();
    let sample = folder.write("item.xml", "<item id=\"I101\" stock=\"50\"/>").display().to_string();
    let module = root().join("examples/xml-to-json.wasm").display().to_string();
    let (code, shown) =
        said(&transform(&["bench", &module, "--seconds", "1", "--sample", &sample]));
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("messages a second"), "{shown}");
    let (code, shown) = said(&transform(&["bench", &module]));
    assert_eq!(code, Some(2), "{shown}");
}

/// Runs a command in a folder; what it printed, if it failed.
fn run(folder: &Path, program: &str, words: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(words).current_dir(folder);
    // Built once for all runs, beside what the other tests build.
    command.env("CARGO_TARGET_DIR", root().join("target/templates"));
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(format!("{program} {words:?}: {}", text(&output.stdout) + &text(&output.stderr)))
        }
    }
}

/// Makes a module of the template; its folder.
fn new(folder: &Folder, language: &str, name: &str) -> PathBuf {
    let into = folder.path().display().to_string();
    let words = ["new", "--lang", language, name, "--into", &into];
    let (code, shown) = said(&transform(&words));
    assert_eq!(code, Some(0), "{shown}");
    let (code, shown) = said(&transform(&words));
    assert_eq!(code, Some(2), "nothing is overwritten: {shown}");
    folder.path().join(name)
}

/// The module does with its sample what its README says, by a route as the README has it.
fn works(made: &Path, name: &str, limits: &[&str]) {
    let module = made.join(format!("{name}.wasm")).display().to_string();
    let sample = made.join("sample.json").display().to_string();
    let with = r#"{"add": {"source": "erp"}}"#;
    let words = ["check", &module, "--sample", &sample, "--with", with];
    let (code, shown) = said(&transform(&[words.as_slice(), limits].concat()));
    assert_eq!(code, Some(0), "{shown}");
    let shown = shown.replace(": ", ":").replace(", ", ",");
    assert!(shown.contains(r#"{"ID":7,"source":"erp"}"#), "{shown}");
    assert!(shown.contains(&format!("reshaped-by:{name}")), "{shown}");
    let words = ["check", &module, "--sample", &sample, "--with", r#"{"ad": 1}"#];
    let (code, shown) = said(&transform(&[words.as_slice(), limits].concat()));
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("--with: there is no option ad; the only one is add"), "{shown}");
    let (code, shown) =
        said(&crossdock(&["check-config"]).arg(readme_route(made)).output().expect("it runs"));
    assert_eq!(code, Some(0), "{shown}");
}

/// The configuration in the module's README, in a file beside the module.
fn readme_route(made: &Path) -> PathBuf {
    let readme = std::fs::read_to_string(made.join("README.md")).expect("a README");
    let route = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let file = made.join("route.toml");
    std::fs::write(&file, route.expect("a route")).expect("writable");
    file
}

#[test]
fn a_new_module_in_rust_works() {
    let folder = Folder::new();
    let made = new(&folder, "rust", "new-rust");
    let cannot = said(&transform(&["new", "--lang", "rust", "No_Name"]));
    assert_eq!(cannot.0, Some(2), "{}", cannot.1);
    let installed = Command::new("rustc")
        .args(["--print", "target-libdir", "--target", "wasm32-wasip2"])
        .output();
    let is_there = installed.is_ok_and(|out| Path::new(text(&out.stdout).trim()).is_dir());
    if !is_there {
        println!("left out: building it, because the target wasm32-wasip2 is not installed");
        return;
    }
    run(&made, "cargo", &["test", "--quiet"]).expect("its tests pass");
    let build = ["build", "--quiet", "--release", "--target", "wasm32-wasip2"];
    run(&made, "cargo", &build).expect("it is built");
    let built = root().join("target/templates/wasm32-wasip2/release/new_rust.wasm");
    std::fs::copy(built, made.join("new-rust.wasm")).expect("it was built");
    works(&made, "new-rust", &[]);
}

/// The limits that a module with a language's interpreter needs.
const LARGE: [&str; 4] = ["--memory", "64MiB", "--deadline", "1s"];

/// Takes two minutes and two toolchains: a step of `cargo xtask test --full`.
#[test]
#[ignore = "installs componentize-js"]
fn a_new_module_in_javascript_works() {
    let folder = Folder::new();
    let made = new(&folder, "javascript", "new-javascript");
    run(&made, "npm", &["install", "--no-audit", "--no-fund"]).expect("npm installs");
    run(&made, "npm", &["test"]).expect("its tests pass");
    run(&made, "npm", &["run", "build"]).expect("it is built");
    works(&made, "new-javascript", &LARGE);
}

#[test]
#[ignore = "installs componentize-py"]
fn a_new_module_in_python_works() {
    let folder = Folder::new();
    let made = new(&folder, "python", "new-python");
    run(&made, "python3", &["-m", "unittest"]).expect("its tests pass");
    run(&made, "python3", &["-m", "venv", "tools"]).expect("python3-venv is there");
    let readme = std::fs::read_to_string(made.join("README.md")).expect("a README");
    let pinned = readme.split_whitespace().find(|word| word.starts_with("componentize-py=="));
    run(&made, "tools/bin/pip", &["install", "--quiet", pinned.expect("the README names it")])
        .expect("pip installs");
    let tools = format!("PATH={}/tools/bin:$PATH sh build.sh", made.display());
    run(&made, "sh", &["-c", &tools]).expect("it is built");
    works(&made, "new-python", &LARGE);
}
