//! `cargo xtask test`: what CI runs, in the order from cheap to dear. Every step runs, whatever became of
//! the one before, as far as it makes sense.

use crate::bench::Kind;
use crate::clients::{self, Found};
use crate::report::Report;
use crate::{binary, cargo, command, gate, guests, installed, target};
use anyhow::Result;
use std::process::ExitCode;

/// The RabbitMQ whose answers tests/differential knows.
const RABBITMQ_VERSION: &str = "3.10";

/// `full` runs the simulations with many more seeds, and tests a fresh build of the WASM modules.
pub fn test(full: bool) -> Result<ExitCode> {
    let mut report = Report::default();
    report.step("format", &mut cargo(&["fmt", "--all", "--check"]));
    report.done("modules are as new as their sources", guests::fresh);
    let all = ["--workspace", "--all-targets", "--features", "crossdock/black-box"];
    let mut clippy = cargo(&["clippy"]);
    report.step("lints", clippy.args(all).args(["--", "-D", "warnings"]));
    unit_tests(&mut report, full);
    // With the feature that the black-box tests are under, so that they do not build the program once more; it changes
    // nothing in it.
    let build = ["build", "--release", "--bin", "crossdock", "--features", "black-box"];
    if report.step("release build", &mut cargo(&build)) {
        black_box(&mut report, full);
        frameworks(&mut report, full);
        if full {
            planted_fault(&mut report);
            // They install their compilers, and take a minute each.
            let mut templates = black_box_tests(&["--ignored", "a_new_module_in_"]);
            report.step("modules in JavaScript and Python from their templates", &mut templates);
        }
        packages(&mut report, full);
        instructions(&mut report);
    }
    Ok(report.finish())
}

/// All but the black-box binary, which wants the release build. One command: two would choose other features of the
/// dependencies, and build the largest of them twice.
fn unit_tests(report: &mut Report, full: bool) {
    let mut crates = cargo(&["test", "--workspace", "--no-fail-fast"]);
    if full {
        crates.env("SIM_SEEDS", "100000").env("CRASH_SEEDS", "5000").env("ROUTE_SEEDS", "100000");
        report.done("a fresh build of the modules", guests::check);
    }
    report.step("tests of the crates, and the law", &mut crates);
    let samples = ["test", "--locked", "--manifest-path", "plugins/samples/Cargo.toml"];
    let mut samples = cargo(&samples);
    samples.arg("--target-dir").arg(target().join("plugins"));
    report.step("tests of the sample plugins", &mut samples);
    if full {
        let built = ["test", "--package", "crossdock-loader", "--test", "loading", "--"];
        let mut built = cargo(&built);
        built.args(["--ignored", "--nocapture", "toolchains::"]);
        report.step("plugins that other toolchains and flags have built", &mut built);
        let stories =
            ["test", "--release", "--package", "crossdock-store-file", "--lib", "sim_tests"];
        let mut stories = cargo(&stories);
        stories.env("STORE_SEEDS", "100000").args(["--", "--nocapture"]);
        report.step("a hundred thousand stories of the store", &mut stories);
    }
}

/// A program that counts one settlement too few is found out by its own audit. It is built into a folder of its own, so
/// that nobody takes it for the program.
fn planted_fault(report: &mut Report) {
    let folder = target().join("planted-fault");
    let build = ["build", "--bin", "crossdock", "--features", "planted-fault", "--target-dir"];
    if report.step("build with a planted fault", cargo(&build).arg(&folder)) {
        let mut tests = black_box_tests(&["--ignored", "planted_fault::"]);
        tests.env("CROSSDOCK_BIN", folder.join("debug").join("crossdock"));
        report.step("the audit finds the planted fault", &mut tests);
    }
}

/// AMQP by frameworks with their own idioms, and in full beside RabbitMQ, answer by answer.
fn frameworks(report: &mut Report, full: bool) {
    if !found(report, "Python frameworks", clients::python_frameworks()) {
        return;
    }
    found(report, "Node frameworks", clients::node_frameworks());
    if full {
        found(report, "Go client", clients::go_frameworks());
        found(report, "Java frameworks", clients::java_frameworks());
        found(report, "Rust clients", clients::rust_frameworks());
    }
    let python = clients::frameworks_binary();
    let mut programs = command(&python, &["tests/frameworks/run.py"]);
    programs.arg(binary());
    if !full {
        programs.arg("--short");
    }
    report.step("frameworks", &mut programs);
    if full {
        let name = "AMQP beside RabbitMQ";
        match rabbitmq_differs() {
            Some(why) => report.skip(name, &why),
            None => {
                let mut dialogues = command(&python, &["tests/differential/run.py"]);
                report.step(name, dialogues.arg(binary()));
                let mut shovel = command(&python, &["tests/differential/shovel.py"]);
                report.step("RabbitMQ's Shovel and federation", shovel.arg(binary()));
            }
        }
    }
}

/// Why the RabbitMQ of this machine cannot be compared with; none: it can.
fn rabbitmq_differs() -> Option<String> {
    let rabbitmq = Kind::RabbitMq;
    if let Some(missing) = rabbitmq.missing() {
        return Some(format!("not installed: {} (apt-get install)", missing.join(", ")));
    }
    let version = rabbitmq.version(&binary());
    let known = format!("{RABBITMQ_VERSION}.");
    (!version.starts_with(&known)).then(|| {
        format!("tests/differential is written for RabbitMQ {RABBITMQ_VERSION}, {version} is there")
    })
}

/// The packages: what is in them; in full, their life from install to purge.
fn packages(report: &mut Report, full: bool) {
    report.done("what is in the packages", installed::check);
    if full {
        match installed::missing() {
            Some(why) => report.skip("packages installed, upgraded and removed", &why),
            None => _ = report.done("packages installed, upgraded and removed", installed::try_out),
        }
    }
}

/// The gate: no message costs more instructions than its budget.
fn instructions(report: &mut Report) {
    if found(report, "valgrind", clients::valgrind()) {
        report.done("instructions within budget", || gate::gate(false));
    }
}

/// Whether what was looked for can be used; a report where it cannot.
fn found(report: &mut Report, name: &str, found: Result<Found>) -> bool {
    let required = clients::required();
    match found {
        Ok(Found::Ready) => report.done(name, || Ok(())),
        Ok(Found::Missing(why)) if !required => {
            report.skip(name, &why);
            false
        }
        Ok(Found::Missing(why)) => report.done(name, || anyhow::bail!("{why}")),
        Err(error) if required => report.done(name, || Err(error)),
        Err(error) => {
            report.skip(name, &format!("{error:#}"));
            false
        }
    }
}

/// The black-box tests, with further arguments for their binary.
fn black_box_tests(arguments: &[&str]) -> std::process::Command {
    let which = ["--package", "crossdock", "--features", "black-box", "--test", "it"];
    let mut tests = cargo(&["test", "--release"]);
    tests.args(which).arg("--").args(arguments);
    tests.env("CROSSDOCK_BIN", binary());
    tests
}

fn black_box(report: &mut Report, full: bool) {
    let mut tests = black_box_tests(&["--skip", "floods::", "--skip", "slow::"]);
    if found(report, "Python clients", clients::python()) {
        tests.env("CROSSDOCK_PYTHON", clients::python_binary());
    }
    if found(report, "Node clients", clients::node()) {
        tests.env("CROSSDOCK_NODE", "node");
    }
    found(report, "mosquitto clients", clients::mosquitto());
    found(report, "strace", clients::strace());
    found(report, "prometheus", clients::prometheus());
    report.step("black box", &mut tests);
    // They measure time: one after the other, and nothing beside them.
    let mut floods = black_box_tests(&["floods::", "slow::", "--test-threads=1", "--nocapture"]);
    if full {
        floods.env("CROSSDOCK_FLOODS", "full").env("CROSSDOCK_CHURN_S", "1800");
    }
    report.step("floods beside a victim", &mut floods);
    let version = command(binary(), &["--version"]).output();
    if let Ok(version) = version {
        print!("\ntested: {}", String::from_utf8_lossy(&version.stdout));
    }
}
