//! Libraries that tests load, built from their sources as anybody builds one.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};

pub fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn room() -> PathBuf {
    let room = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    std::fs::create_dir_all(&room).expect("a folder");
    room
}

pub fn run(command: &mut Command) -> String {
    let done = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// The library of a sample, built with other flags than this test.
pub fn sample(name: &str) -> PathBuf {
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
pub fn in_c(name: &str, definitions: &[&str]) -> PathBuf {
    compiled("plugin.c", name, definitions)
}

/// The library of a source in C of tests/c, with those definitions.
pub fn compiled(source: &str, name: &str, definitions: &[&str]) -> PathBuf {
    compiled_with(&["cc", "-std=c99", "-O3"], source, name, definitions)
}

/// A library in C++, with those definitions.
pub fn in_cpp(name: &str, definitions: &[&str]) -> PathBuf {
    let flags = ["c++", "-std=c++17", "-O1", "-fvisibility=hidden"];
    compiled_with(&flags, "transform.cpp", name, definitions)
}

/// The library of a source in tests/c; first of the flags is the compiler.
pub fn compiled_with(flags: &[&str], source: &str, name: &str, definitions: &[&str]) -> PathBuf {
    let path = room().join(format!("{name}.so"));
    // Tests of one process build the same at the same time, and load it while another builds.
    static BUILT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut built = BUILT.lock().expect("no build has failed");
    if !built.insert(path.clone()) {
        return path;
    }
    let (compiler, flags) = flags.split_first().expect("a compiler");
    let mut command = Command::new(compiler);
    let strict = ["-Wall", "-Wextra", "-Werror", "-Wno-unused", "-shared", "-fPIC"];
    command.args(flags).args(strict).arg("-I").arg(here().join("../sdk/include"));
    command.args(definitions.iter().map(|it| format!("-D{it}")));
    // Whoever has loaded the one that was there keeps it.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    run(command.arg("-o").arg(&new).arg(here().join("tests/c").join(source)));
    std::fs::rename(&new, &path).expect("renamed");
    path
}
