//! `cargo xtask test`: what CI runs, in the order from cheap to dear. Every step runs, whatever became of
//! the one before, as far as it makes sense.

use crate::clients::{self, Found};
use crate::report::Report;
use crate::{binary, cargo, command, guests};
use anyhow::Result;
use std::process::ExitCode;

/// `full` adds the tests that are marked as long.
pub fn test(full: bool) -> Result<ExitCode> {
    let mut report = Report::default();
    report.step("format", &mut cargo(&["fmt", "--all", "--check"]));
    report.done("modules are as new as their sources", guests::fresh);
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    report.step("lints", &mut cargo(&clippy));
    unit_tests(&mut report, full);
    if report.step("release build", &mut cargo(&["build", "--release", "--bin", "crossdock"])) {
        black_box(&mut report, full);
    }
    Ok(report.finish())
}

/// All but the black-box binary, which wants the release build.
fn unit_tests(report: &mut Report, full: bool) {
    let mut crates = vec!["test", "--workspace", "--exclude", "crossdock", "--no-fail-fast"];
    let mut program = vec!["test", "--package", "crossdock", "--bins", "--test", "tidy"];
    if full {
        crates.extend(["--", "--include-ignored"]);
        program.extend(["--", "--include-ignored"]);
    }
    report.step("tests of the crates", &mut cargo(&crates));
    report.step("tests of the program, and the law", &mut cargo(&program));
}

fn black_box(report: &mut Report, full: bool) {
    let required = clients::required();
    let mut arguments = vec!["test", "--release", "--package", "crossdock", "--test", "it", "--"];
    if full {
        arguments.push("--include-ignored");
    }
    let mut tests = cargo(&arguments);
    tests.env("CROSSDOCK_BIN", binary());
    let mut found = |name: &str, found: Result<Found>| match found {
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
    };
    if found("Python clients", clients::python()) {
        tests.env("CROSSDOCK_PYTHON", clients::python_binary());
    }
    if found("Node clients", clients::node()) {
        tests.env("CROSSDOCK_NODE", "node");
    }
    found("mosquitto clients", clients::mosquitto());
    report.step("black box", &mut tests);
    let version = command(binary(), &["--version"]).output();
    if let Ok(version) = version {
        print!("\ntested: {}", String::from_utf8_lossy(&version.stdout));
    }
}
