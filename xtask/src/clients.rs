//! Real clients for the black-box tests: pinned Python and Node packages in folders of the repository
//! that git ignores, and Debian's packages. A client that is installed already is not changed.

use crate::{cargo, command, root};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Whether a client can be used.
pub enum Found {
    Ready,
    /// It cannot be used, for this reason.
    Missing(String),
}

/// Whether a missing client is a failure, as in CI; otherwise its tests are skipped.
pub fn required() -> bool {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    is("CI", "true") || is("CROSSDOCK_CLIENTS", "required")
}

/// The Python interpreter that has the packages.
pub fn python_binary() -> PathBuf {
    root().join(".cache/venv/bin/python")
}

/// The Python interpreter that has the frameworks of tests/frameworks, and pika for tests/differential.
pub fn frameworks_binary() -> PathBuf {
    root().join(".cache/frameworks/bin/python")
}

/// Sets up a virtual environment with examples/python/requirements.txt.
pub fn python() -> Result<Found> {
    python_packages("examples/python/requirements.txt", ".cache/venv")
}

/// The same with tests/frameworks/requirements.txt.
pub fn python_frameworks() -> Result<Found> {
    python_packages("tests/frameworks/requirements.txt", ".cache/frameworks")
}

fn python_packages(list: &str, folder: &str) -> Result<Found> {
    let list_path = root().join(list);
    if !list_path.exists() {
        return Ok(Found::Missing(format!("there is no {list}")));
    }
    if !answers("python3", "--version") {
        return Ok(Found::Missing("python3 is not installed".to_owned()));
    }
    let stamp = root().join(folder).join("installed.txt");
    let interpreter = root().join(folder).join("bin/python");
    if is_stamped(&stamp, &list_path)? && interpreter.exists() {
        return Ok(Found::Ready);
    }
    println!("\nsetting up Python packages in {folder}");
    succeed(&mut command("python3", &["-m", "venv", "--clear", folder]))?;
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", list];
    succeed(&mut command(interpreter, &install))?;
    write_stamp(&stamp, &list_path)?;
    Ok(Found::Ready)
}

/// Installs the packages of examples/node/package-lock.json.
pub fn node() -> Result<Found> {
    node_packages("examples/node")
}

/// The same with tests/frameworks/node/package-lock.json.
pub fn node_frameworks() -> Result<Found> {
    node_packages("tests/frameworks/node")
}

fn node_packages(folder: &str) -> Result<Found> {
    let path = root().join(folder);
    let list = path.join("package-lock.json");
    if !list.exists() {
        return Ok(Found::Missing(format!("there is no {folder}/package-lock.json")));
    }
    if !answers("node", "--version") || !answers("npm", "--version") {
        return Ok(Found::Missing("node and npm are not installed".to_owned()));
    }
    let stamp = path.join("node_modules/.installed");
    if is_stamped(&stamp, &list)? {
        return Ok(Found::Ready);
    }
    println!("\nsetting up Node packages in {folder}/node_modules");
    succeed(command("npm", &["ci", "--no-audit", "--no-fund"]).current_dir(&path))?;
    write_stamp(&stamp, &list)?;
    Ok(Found::Ready)
}

/// Builds tests/frameworks/go; it takes its packages from the proxy of Go modules.
pub fn go_frameworks() -> Result<Found> {
    if !answers("go", "version") {
        return Ok(Found::Missing("go is not installed".to_owned()));
    }
    let made = root().join(".cache/frameworks-go");
    let build = ["build", "-o"];
    let folder = root().join("tests/frameworks/go");
    succeed(command("go", &build).arg(made).arg(".").current_dir(folder))?;
    Ok(Found::Ready)
}

/// Builds tests/frameworks/rust, in a folder of its own: it is a workspace of its own.
pub fn rust_frameworks() -> Result<Found> {
    let build = ["build", "--locked", "--manifest-path", "tests/frameworks/rust/Cargo.toml"];
    succeed(cargo(&build).arg("--target-dir").arg(root().join(".cache/frameworks-rust")))?;
    Ok(Found::Ready)
}

/// Fetches the packages of tests/frameworks/java/pom.xml and writes down where they are.
pub fn java_frameworks() -> Result<Found> {
    if !answers("mvn", "--version") || !answers("java", "--version") {
        return Ok(Found::Missing("maven and java are not installed".to_owned()));
    }
    let list = root().join("tests/frameworks/java/pom.xml");
    let stamp = root().join(".cache/frameworks-java.xml");
    let made = root().join(".cache/frameworks-java.txt");
    if is_stamped(&stamp, &list)? && made.exists() {
        return Ok(Found::Ready);
    }
    println!("\nfetching the packages of tests/frameworks/java/pom.xml");
    let goal = "org.apache.maven.plugins:maven-dependency-plugin:3.11.0:build-classpath";
    let mut maven = command("mvn", &["--quiet", "--batch-mode", "--file"]);
    maven.arg(&list).arg(goal).arg(format!("-Dmdep.outputFile={}", made.display()));
    succeed(&mut maven)?;
    write_stamp(&stamp, &list)?;
    Ok(Found::Ready)
}

/// Installs mosquitto_pub and mosquitto_sub.
pub fn mosquitto() -> Result<Found> {
    debian("mosquitto_pub", "mosquitto-clients")
}

/// Installs valgrind, which counts instructions.
pub fn valgrind() -> Result<Found> {
    debian("valgrind", "valgrind")
}

/// Installs strace, which shows what was written and synced before an answer was sent.
pub fn strace() -> Result<Found> {
    debian("strace", "strace")
}

/// Installs prometheus, which the pages of numbers are read with, and promtool, which comes with it.
pub fn prometheus() -> Result<Found> {
    debian("prometheus", "prometheus")
}

/// Installs a program from its Debian package, if it is missing.
fn debian(program: &str, package: &str) -> Result<Found> {
    if answers(program, "--version") {
        return Ok(Found::Ready);
    }
    if !answers("apt-get", "--version") {
        let why = format!("{program} is not installed, and there is no apt-get to install it with");
        return Ok(Found::Missing(why));
    }
    println!("\ninstalling the Debian package {package}");
    let install = ["install", "-y", "-q", "--no-install-recommends", package];
    // On a machine without package lists the first attempt fails: update the lists and try again.
    if apt(&install).is_err() {
        apt(&["update", "-q"]).context("apt-get update failed")?;
        apt(&install).with_context(|| format!("{package} could not be installed"))?;
    }
    Ok(Found::Ready)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut direct = command("apt-get", arguments);
    if succeed(direct.env("DEBIAN_FRONTEND", "noninteractive")).is_ok() {
        return Ok(());
    }
    succeed(command("sudo", &["-n", "apt-get"]).args(arguments))
}

/// Whether a program can be started. Its exit code is ignored, because some return an error for `--version`.
fn answers(program: &str, argument: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(argument).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

fn succeed(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    Ok(())
}

/// Whether the installed packages come from this version of the list.
fn is_stamped(stamp: &Path, list: &Path) -> Result<bool> {
    let wanted = fs::read(list).with_context(|| list.display().to_string())?;
    Ok(fs::read(stamp).is_ok_and(|found| found == wanted))
}

fn write_stamp(stamp: &Path, list: &Path) -> Result<()> {
    fs::copy(list, stamp).with_context(|| stamp.display().to_string())?;
    Ok(())
}
