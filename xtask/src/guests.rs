//! `cargo xtask guests`: builds the WASM modules of transforms/guests. The built files are committed, each with the
//! hash of its sources, so that nobody needs the WASM target to run the broker.

use crate::{cargo, command, root, target};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

const TARGET: &str = "wasm32-wasip2";
/// Folders that every guest is built from, in addition to its own.
const SHARED: [&str; 2] = ["transforms/wit", "transforms/sdk"];

/// A module and its committed file.
struct Guest {
    name: &'static str,
    kept: &'static str,
}

const XML_TO_JSON: Guest = Guest { name: "xml-to-json", kept: "examples/xml-to-json.wasm" };
const MISBEHAVE: Guest = Guest { name: "misbehave", kept: "transforms/tests/misbehave.wasm" };
const REPORTER: Guest = Guest { name: "reporter", kept: "transforms/tests/reporter.wasm" };
const COUNTER: Guest = Guest { name: "counter", kept: "transforms/tests/counter.wasm" };
const GUESTS: [&Guest; 4] = [&XML_TO_JSON, &MISBEHAVE, &REPORTER, &COUNTER];

impl Guest {
    fn folder(&self) -> String {
        format!("transforms/guests/{}", self.name)
    }

    fn hash_file(&self) -> PathBuf {
        root().join(format!("{}.sha256", self.kept))
    }

    /// SHA-256 over `path\0content` of every source file in the order of the paths, as
    /// transforms/guests/README.md says.
    fn sources_hash(&self) -> Result<String> {
        let mut files = Vec::new();
        for folder in SHARED {
            collect(&root().join(folder), &mut files)?;
        }
        collect(&root().join(self.folder()), &mut files)?;
        let mut named = Vec::new();
        for file in files {
            let path = file.strip_prefix(root())?.to_string_lossy().replace('\\', "/");
            named.push((path, file));
        }
        named.sort();
        let mut hash = Sha256::new();
        for (path, file) in named {
            hash.update(path.as_bytes());
            hash.update([0u8]);
            hash.update(fs::read(&file).with_context(|| path.clone())?);
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Builds the module. Returns the path of the built file.
    fn build(&self) -> Result<PathBuf> {
        println!("building {}", self.folder());
        let output = target().join("guests");
        let mut build = cargo(&["build", "--release", "--locked", "--target", TARGET]);
        build.arg("--target-dir").arg(&output).current_dir(root().join(self.folder()));
        build.env("CARGO_ENCODED_RUSTFLAGS", remapped());
        if !build.status().context("cargo cannot be run")?.success() {
            bail!("{} could not be built", self.folder());
        }
        let file = format!("{}.wasm", self.name.replace('-', "_"));
        let built = output.join(TARGET).join("release").join(file);
        match built.exists() {
            true => Ok(built),
            false => bail!("the build left no {}", built.display()),
        }
    }
}

/// Compiler flags that remove the paths of this machine from the module.
fn remapped() -> String {
    let home = std::env::var("CARGO_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cargo")));
    let cargo = home.map(|home| format!("--remap-path-prefix={home}=cargo"));
    let own = format!("--remap-path-prefix={}=crossdock", root().display());
    let flags: Vec<String> = cargo.into_iter().chain([own]).collect();
    flags.join("\x1f")
}

/// Builds all guests; replaces the committed modules and their hashes.
pub fn refresh() -> Result<()> {
    add_target()?;
    for guest in GUESTS {
        let built = guest.build()?;
        fs::copy(&built, root().join(guest.kept)).with_context(|| guest.kept.to_owned())?;
        fs::write(guest.hash_file(), format!("{}\n", guest.sources_hash()?))?;
        println!("{} is built and replaced", guest.kept);
    }
    Ok(())
}

/// Runs the tests of the committed module with a fresh build. The bytes may differ (another compiler), the behaviour
/// may not.
pub fn check() -> Result<()> {
    fresh()?;
    add_target()?;
    let built = XML_TO_JSON.build()?;
    MISBEHAVE.build()?;
    let mut tests = cargo(&["test", "--package", "crossdock-transforms"]);
    let status = tests.env("CROSSDOCK_XML_TO_JSON", &built).status();
    match status.context("cargo cannot be run")?.success() {
        true => Ok(()),
        false => {
            bail!("a fresh build of {} fails the tests of the committed module", XML_TO_JSON.name)
        }
    }
}

/// Fails if a committed module was not built from the present sources.
pub fn fresh() -> Result<()> {
    for guest in GUESTS {
        let kept = fs::read_to_string(guest.hash_file());
        let kept = kept.with_context(|| guest.hash_file().display().to_string())?;
        if kept.trim() != guest.sources_hash()? {
            bail!("{} is older than its sources: run `cargo xtask guests`", guest.kept);
        }
        if !root().join(guest.kept).exists() {
            bail!("{} is missing: run `cargo xtask guests`", guest.kept);
        }
    }
    Ok(())
}

fn add_target() -> Result<()> {
    let list = command("rustup", &["target", "list", "--installed"]).output();
    let list = list.context("rustup is needed to build modules")?;
    if String::from_utf8_lossy(&list.stdout).lines().any(|line| line.trim() == TARGET) {
        return Ok(());
    }
    println!("installing the target {TARGET} with rustup");
    let added = command("rustup", &["target", "add", TARGET]).status();
    match added.context("rustup is needed to build modules")?.success() {
        true => Ok(()),
        false => bail!("cannot install the target {TARGET}; only building modules needs it"),
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match (path.is_dir(), &*name) {
            (true, "target") | (false, "Cargo.lock") => {}
            (true, _) => collect(&path, files)?,
            (false, _) => files.push(path),
        }
    }
    Ok(())
}
