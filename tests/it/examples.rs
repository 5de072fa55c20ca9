//! Runs the programs of examples/, which use unmodified clients, with one broker that runs examples/hub.toml. A missing
//! client fails the test where clients are required; elsewhere its programs are skipped.

use crate::broker::{Broker, root};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest run of one program, including the start of its interpreter.
const TIME: Duration = Duration::from_secs(60);
/// Programs that run at the same time.
const AT_ONCE: usize = 4;

/// Whether a missing client is a failure: in CI, or with CROSSDOCK_CLIENTS=required.
fn required() -> bool {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    is("CI", "true") || is("CROSSDOCK_CLIENTS", "required")
}

/// Reports a missing client; fails if clients are required.
pub fn missing(what: &str) {
    assert!(!required(), "{what}");
    println!("skipped: {what}");
}

/// Whether a program can be run with these arguments.
pub fn answers(program: &OsStr, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The programs of a folder and its subfolders. `hub.*` is the code that they share; names with `_` are not run.
fn programs(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.map_while(Result::ok) {
        let path = entry.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let skipped = name.starts_with(['.', '_']) || name == "node_modules";
        if path.is_dir() && !skipped {
            programs(&path, extension, found);
        } else if path.extension() == Some(OsStr::new(extension)) && !skipped {
            let shared = path.file_stem() == Some(OsStr::new("hub"));
            found.extend((!shared).then_some(path));
        }
    }
    found.sort();
}

/// Runs one program. If it fails, the error contains its output.
fn run(broker: &Broker, interpreter: &OsStr, program: &Path) -> Result<(), String> {
    let name = program.strip_prefix(root()).unwrap_or(program).display().to_string();
    let spawned = Command::new(interpreter)
        .arg(program)
        .current_dir(program.parent().unwrap_or(root()))
        .env("CROSSDOCK_AMQP", broker.amqp.to_string())
        .env("CROSSDOCK_MQTT", broker.mqtt.to_string())
        .env("CROSSDOCK_STOMP", broker.stomp.to_string())
        .env("PATH", path())
        .env("CROSSDOCK_PYTHON", python_binary())
        .env("PYTHONPATH", root().join("examples/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| format!("{name}: {error}"))?;
    let (started, id) = (Instant::now(), child.id());
    // The pipes are read at the end: a program prints only one line, and a stack trace when it fails.
    while child.try_wait().is_ok_and(|status| status.is_none()) {
        if started.elapsed() > TIME {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("{name} (process {id}): not done after {TIME:?}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = child.wait_with_output().map_err(|error| format!("{name}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{name}: {:.1} s: {}", started.elapsed().as_secs_f64(), said.trim_end());
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{name}: {said}{}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Runs all programs, several at the same time; reports every failure.
fn run_all(interpreter: &OsStr, programs: &[PathBuf]) {
    assert!(!programs.is_empty(), "there are no programs");
    let broker = Broker::hub();
    let mut failures = Vec::new();
    for group in programs.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let broker = &broker;
            let running: Vec<_> = group
                .iter()
                .map(|program| scope.spawn(move || run(broker, interpreter, program)))
                .collect();
            for thread in running {
                let outcome = thread.join().unwrap_or_else(|_| Err("the runner failed".to_owned()));
                failures.extend(outcome.err());
            }
        });
    }
    let (all, failed) = (programs.len(), failures.len());
    assert!(failures.is_empty(), "{failed} of {all} failed:\n\n{}", failures.join("\n\n"));
}

#[test]
fn python() {
    let interpreter = python_binary();
    if !answers(&interpreter, &["-c", "import pika, paho.mqtt.client, stomp"]) {
        return missing("no Python with the packages of examples/python/requirements.txt");
    }
    let mut found = Vec::new();
    programs(&root().join("examples/python"), "py", &mut found);
    run_all(&interpreter, &found);
}

#[test]
fn node() {
    let interpreter = std::env::var_os("CROSSDOCK_NODE").unwrap_or_else(|| OsString::from("node"));
    let installed = root().join("examples/node/node_modules").exists();
    if !installed || !answers(&interpreter, &["--version"]) {
        return missing("no Node, or `npm ci` was not run in examples/node");
    }
    let mut found = Vec::new();
    programs(&root().join("examples/node"), "mjs", &mut found);
    run_all(&interpreter, &found);
}

#[test]
fn shell() {
    let mut found = Vec::new();
    programs(&root().join("examples/shell"), "sh", &mut found);
    if !on_path("mosquitto_pub") {
        return missing("mosquitto_pub and mosquitto_sub are not installed");
    }
    if !answers(&python_binary(), &["-c", "import stomp"]) {
        missing("the command-line client of stomp.py is not installed");
        found.retain(|program| program.file_stem() != Some(OsStr::new("stomp-cli")));
    }
    run_all(OsStr::new("bash"), &found);
}

/// The Python interpreter: the one named by CROSSDOCK_PYTHON, the one that xtask set up, or any.
pub fn python_binary() -> OsString {
    std::env::var_os("CROSSDOCK_PYTHON").unwrap_or_else(|| {
        let own = root().join(".cache/venv/bin/python");
        if own.exists() { own.into_os_string() } else { OsString::from("python3") }
    })
}

/// The search path for programs, with the folder of the Python interpreter first.
fn path() -> OsString {
    let interpreter = PathBuf::from(python_binary());
    let own = interpreter.parent().filter(|folder| folder.is_absolute()).map(Path::to_owned);
    let others = std::env::var_os("PATH").unwrap_or_default();
    let folders = own.into_iter().chain(std::env::split_paths(&others));
    std::env::join_paths(folders).unwrap_or(others)
}

fn on_path(program: &str) -> bool {
    std::env::split_paths(&path()).any(|folder| folder.join(program).exists())
}
