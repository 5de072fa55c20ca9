//! Plugins that other compilers built, and other flags, are loaded and do what they should: no type of a language
//! crosses the border. The tests that take minutes are ignored; `cargo xtask test --full` runs them.

use super::*;
use crate::built::compiled_with;
use crossdock_core::dialog::{Happened, Wish};
use crossdock_core::step::{Answer, Decision, StepMessage};
use crossdock_core::{Name, Origin};
use crossdock_loader::load;
use std::path::Path;
use std::sync::Arc;

/// Names what a child process looks at.
const LOOKS_AT: &str = "CROSSDOCK_LOADER_TEST_LOOKS_AT";

/// Has a child process look at a library, or at a folder with the samples: nothing of one build meets another there.
fn works(test: &str, what: &Path, shown: &str) {
    let own = std::env::current_exe().expect("a path");
    let mut child = Command::new(own);
    child.args(["--exact", test, "--nocapture", "--include-ignored"]);
    run(child.env(CHILD, test).env(LOOKS_AT, what));
    println!("works: {shown}");
}

/// True in a child process, where that has been looked at.
fn has_looked(test: &str) -> bool {
    if std::env::var(CHILD).as_deref() != Ok(test) {
        return false;
    }
    let what = PathBuf::from(std::env::var_os(LOOKS_AT).expect("something to look at"));
    match what.is_dir() {
        true => look_at_samples(&what),
        false => look_at_library(&what),
    }
    true
}

struct Sent(bytes::Bytes);

impl StepMessage for Sent {
    fn address(&self) -> String {
        "queue:q".to_owned()
    }

    fn origin(&self) -> &Origin {
        static NOBODY: std::sync::OnceLock<Origin> = std::sync::OnceLock::new();
        NOBODY.get_or_init(Origin::default)
    }

    fn attempt(&self) -> u32 {
        0
    }

    fn body(&self) -> &bytes::Bytes {
        &self.0
    }

    fn headers(&self) -> &[(Name, Value)] {
        &[]
    }

    fn property(&self, _: &str) -> Option<Value> {
        None
    }
}

/// The body that a transform makes of one.
fn transformed(path: PathBuf, with: &str, body: &str) -> String {
    let loaded = load(&spec(path)).expect("loads");
    let step = loaded.steps().expect("a transform").make(with).expect("made");
    let answers = step.decide(&[Arc::new(Sent(body.to_owned().into()))]);
    assert_eq!(loaded.look().out_of_use, None);
    match answers.as_slice() {
        [Answer::Decided(Decision::Replace(patch))] => {
            String::from_utf8_lossy(patch.body.as_deref().unwrap_or_default()).into_owned()
        }
        other => panic!("{other:?}"),
    }
}

fn routes_to_first(kind: &str) {
    let mut matcher = exchange(kind, &[]).matcher(false);
    for (key, log) in [("2", 1), ("1", 2)] {
        assert_eq!(check(&*matcher, &binding(key, log)), Ok(()));
        matcher.bind(Arc::new(binding(key, log)));
    }
    assert_eq!(route(&*matcher, "any", "").map(|hits| hits.len()), Ok(1));
    assert!(check(&*matcher, &binding("", 3)).is_err(), "a refusal has its text");
}

fn look_at_library(path: &Path) {
    let name = path.file_name().expect("a library").to_string_lossy();
    match name.contains("-cpp-") {
        true => assert_eq!(transformed(path.to_owned(), "{}", "abc"), "cba"),
        false => {
            let _loaded = load(&spec(path.to_owned())).expect("loads");
            routes_to_first("x-first");
        }
    }
}

/// One of each kind, and one that panics.
fn look_at_samples(folder: &Path) {
    let library = |name: &str| folder.join(format!("lib{name}.so"));
    let _hash = load(&spec(library("consistent_hash"))).expect("loads");
    routes_to_first("x-sample-hash");
    let json = transformed(library("csv_to_json"), "{\"numbers\":[\"a\"]}", "a,b\n1,x\n");
    assert_eq!(json, "[{\"a\":1,\"b\":\"x\"}]");
    let lines = load(&spec(library("line_protocol"))).expect("loads");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let speaker = lines.speaker().expect("it speaks");
        let mut dialog = speaker.open("peer").await.expect("opened");
        let (wishes, result) = dialog.turn(vec![Happened::Bytes("QUIT\n".into())]).await;
        assert_eq!((wishes, result), (vec![Wish::Write("OK\n".into()), Wish::Close], Ok(())));
    });
    let shapes = load(&spec(library("misshape"))).expect("loads");
    let step = shapes.steps().expect("a transform").make("{}").expect("made");
    let panic: Arc<dyn StepMessage> = Arc::new(Sent("panic".into()));
    let answers = step.decide(&[panic]);
    assert!(
        matches!(answers.as_slice(), [Answer::Failed(_, why)] if why.contains("misshaping")),
        "a panic does not cross the border: {answers:?}"
    );
}

/// Builds with each set of flags, where there is such a compiler.
fn compilers(test: &str, sets: &[&[&str]]) {
    for (at, flags) in sets.iter().enumerate() {
        let compiler = flags.first().expect("a compiler");
        if Command::new(compiler).arg("--version").output().is_err() {
            println!("skipped, because there is no such compiler: {}", flags.join(" "));
            continue;
        }
        let kind = if flags.iter().any(|flag| flag.starts_with("-std=c++")) { "cpp" } else { "c" };
        let source = if kind == "cpp" { "transform.cpp" } else { "plugin.c" };
        let name = format!("{}-{kind}-{at}", test.rsplit(':').next().expect("a name"));
        works(test, &compiled_with(flags, source, &name, &[]), &flags.join(" "));
    }
}

#[test]
fn libraries_of_other_flags() {
    let test = "toolchains::libraries_of_other_flags";
    if has_looked(test) {
        return;
    }
    compilers(
        test,
        &[
            &["gcc", "-std=c99", "-O0", "-g"],
            &["gcc", "-std=c17", "-O3", "-flto", "-fvisibility=hidden"],
            &["g++", "-std=c++20", "-O3", "-flto", "-fvisibility=hidden"],
            &["clang", "-std=c11", "-O2"],
            &["clang++", "-std=c++17", "-O2"],
        ],
    );
}

#[test]
#[ignore = "takes a minute: cargo xtask test --full runs it"]
fn libraries_of_all_compilers_and_levels() {
    let test = "toolchains::libraries_of_all_compilers_and_levels";
    if has_looked(test) {
        return;
    }
    let mut sets: Vec<Vec<&str>> = Vec::new();
    for (compiler, standard) in [
        ("gcc", "-std=c99"),
        ("g++", "-std=c++17"),
        ("clang", "-std=c99"),
        ("clang++", "-std=c++20"),
    ] {
        for level in ["-O0", "-O1", "-O2", "-O3", "-Os"] {
            for more in [["-g", "-fno-omit-frame-pointer"], ["-fno-plt", "-Wl,-z,now"]] {
                sets.push([[compiler, standard, level].as_slice(), &more].concat());
            }
        }
    }
    let sets: Vec<&[&str]> = sets.iter().map(Vec::as_slice).collect();
    compilers(test, &sets);
}

/// Builds the samples; the folder that they are in, or what is wrong.
fn samples(
    toolchain: Option<&str>,
    profile: &str,
    settings: &[(&str, &str)],
) -> Result<PathBuf, String> {
    let words: String = settings.iter().flat_map(|(name, value)| [*name, *value]).collect();
    let clean = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let shown: String = words.chars().map(clean).collect();
    let target = room().join(format!("built-{}-{profile}{shown}", toolchain.unwrap_or("own")));
    let mut build = match toolchain {
        // The variables of the cargo that runs this test name its own toolchain.
        Some(toolchain) => {
            let mut build = Command::new("rustup");
            build.args(["run", toolchain, "cargo"]);
            build.env_remove("CARGO").env_remove("RUSTC").env_remove("RUSTUP_TOOLCHAIN");
            build
        }
        None => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
    };
    build.args(["build", "--locked", "--profile", profile, "--manifest-path"]);
    build.arg(here().join("../samples/Cargo.toml")).arg("--target-dir").arg(&target);
    // Other samples have dependencies that want a newer Rust than the SDK does.
    for name in ["consistent-hash", "csv-to-json", "line-protocol", "misshape"] {
        build.args(["--package", name]);
    }
    let done = build.envs(settings.iter().copied()).output();
    let done = done.map_err(|error| format!("{build:?}: {error}"))?;
    match done.status.success() {
        true => Ok(target.join(if profile == "dev" { "debug" } else { profile })),
        false => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
    }
}

#[test]
fn samples_without_optimisation() {
    let test = "toolchains::samples_without_optimisation";
    if has_looked(test) {
        return;
    }
    let folder = samples(None, "dev", &[]).expect("built");
    works(test, &folder, "the profile dev");
}

/// It would end the broker when it panics: such a library cannot be built by mistake.
#[test]
fn a_plugin_whose_panics_abort_is_not_built() {
    let why = samples(None, "dev", &[("RUSTFLAGS", "-Cpanic=abort")]).expect_err("refused");
    assert!(why.contains("a plugin has to be built with panic = \"unwind\""), "{why}");
}

#[test]
#[ignore = "takes minutes: cargo xtask test --full runs it"]
fn samples_of_other_flags() {
    let test = "toolchains::samples_of_other_flags";
    if has_looked(test) {
        return;
    }
    let (lto, units) = ("CARGO_PROFILE_RELEASE_LTO", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS");
    let (level, strip) = ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "CARGO_PROFILE_RELEASE_STRIP");
    let sets: [&[(&str, &str)]; 3] = [
        &[(lto, "fat"), (units, "1"), (level, "3"), (strip, "symbols")],
        &[(level, "z"), ("RUSTFLAGS", "-Cprefer-dynamic=no -Ctarget-cpu=native")],
        &[("RUSTFLAGS", "-Clink-arg=-Wl,-z,now -Cforce-unwind-tables=yes -Cdebuginfo=2")],
    ];
    for set in sets {
        works(test, &samples(None, "release", set).expect("built"), &format!("{set:?}"));
    }
}

/// The oldest Rust that the SDK is for, and all that are there.
#[test]
#[ignore = "takes minutes: cargo xtask test --full runs it"]
fn samples_of_other_toolchains() {
    let test = "toolchains::samples_of_other_toolchains";
    if has_looked(test) {
        return;
    }
    let Ok(listed) = Command::new("rustup").args(["toolchain", "list", "--quiet"]).output() else {
        return println!("skipped, because there is no rustup");
    };
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let mut toolchains: Vec<&str> = listed.lines().map(str::trim).collect();
    let manifest = std::fs::read_to_string(here().join("../sdk/Cargo.toml")).expect("readable");
    let oldest = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let oldest = oldest.expect("the SDK names it").trim_matches('"');
    if !toolchains.iter().any(|it| it.starts_with(&format!("{oldest}."))) {
        let mut install = Command::new("rustup");
        install.args(["toolchain", "install", oldest, "--profile", "minimal", "--no-self-update"]);
        match install.output() {
            Ok(done) if done.status.success() => toolchains.push(oldest),
            Ok(done) => {
                let why = String::from_utf8_lossy(&done.stderr).into_owned();
                println!("skipped, because it cannot be installed: Rust {oldest}: {why}");
            }
            Err(why) => println!("skipped, because it cannot be installed: Rust {oldest}: {why}"),
        }
    }
    for toolchain in toolchains {
        let built = samples(Some(toolchain), "release", &[]);
        let folder = built.unwrap_or_else(|why| panic!("{toolchain}: {why}"));
        works(test, &folder, toolchain);
    }
}
