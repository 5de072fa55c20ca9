//! Plugins are built, in Rust and in C, loaded and called: good ones, and every kind of bad one.

mod good;
mod hostile;
mod judging;
mod layout;
mod speaking;

use crossdock_core::exchange::{Binding, Hit, Matcher, Target};
use crossdock_core::{Error, ExchangeSpec, Fields, Kind, LogId, Value};
use crossdock_loader::Spec;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// Says which test a child process runs.
const CHILD: &str = "CROSSDOCK_LOADER_TEST";

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn room() -> PathBuf {
    let room = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    std::fs::create_dir_all(&room).expect("a folder");
    room
}

fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The library of a sample, built with other flags than this test.
fn sample(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let target = room().join("target");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let manifest = here().join("../samples/Cargo.toml");
        let mut build = Command::new(cargo);
        build.args(["build", "--release", "--locked", "--manifest-path"]).arg(manifest);
        build.arg("--target-dir").arg(&target);
        build.env("RUSTFLAGS", "-Cforce-frame-pointers=yes -Coverflow-checks=yes");
        run(&mut build);
        target.join("release")
    });
    built.join(format!("lib{}.so", name.replace('-', "_")))
}

/// A library in C, with those definitions.
fn in_c(name: &str, definitions: &[&str]) -> PathBuf {
    compiled("plugin.c", name, definitions)
}

/// The library of a source in tests/c, with those definitions.
fn compiled(source: &str, name: &str, definitions: &[&str]) -> PathBuf {
    let path = room().join(format!("{name}.so"));
    let mut cc = Command::new("cc");
    cc.args([
        "-std=c99",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unused",
        "-shared",
        "-fPIC",
        "-O3",
        "-I",
    ]);
    cc.arg(here().join("../sdk/include")).args(definitions.iter().map(|it| format!("-D{it}")));
    cc.arg("-o").arg(&path).arg(here().join("tests/c").join(source));
    run(&mut cc);
    path
}

fn spec(path: PathBuf) -> Spec {
    Spec {
        name: "tested".to_owned(),
        path,
        sha256: None,
        with: "{}".to_owned(),
        call_time: Duration::from_millis(300),
        threads: 2,
    }
}

/// Kinds are known in the whole process, and a broken plugin stays so: such a test runs in a process of its own. True
/// in that process; false in the one that started it, where all is done.
fn in_child(test: &str) -> bool {
    if std::env::var(CHILD).as_deref() == Ok(test) {
        return true;
    }
    let own = std::env::current_exe().expect("a path");
    run(Command::new(own).args(["--exact", test, "--nocapture"]).env(CHILD, test));
    false
}

/// An exchange with arguments that are texts.
fn exchange(kind: &str, arguments: &[(&str, &str)]) -> ExchangeSpec {
    let kind = Kind::parse(kind).expect("a plugin brings it");
    let arguments = arguments.iter().map(|(name, text)| ((*name).into(), Value::text(*text)));
    ExchangeSpec { arguments: arguments.collect(), ..ExchangeSpec::new("x", kind) }
}

fn binding(key: &str, log: u64) -> Binding {
    Binding::new("x", key.into(), Target::Log(LogId(log)))
}

/// Where a message with that key and header `h` goes.
fn route(matcher: &dyn Matcher, key: &str, header: &str) -> Result<Vec<u64>, Error> {
    let headers = vec![("h".into(), Value::text(header))];
    let fields = Fields { headers, ..Fields::default() };
    let mut hits: Vec<Hit> = Vec::new();
    matcher.try_route(&key.into(), &|| &fields, &mut hits)?;
    let target = |hit: &Hit| match hit.target {
        Target::Log(LogId(log)) => log,
        _ => panic!("no queue"),
    };
    Ok(hits.iter().map(target).collect())
}
