//! The steps of a run: durations and outcomes. Test counts are read from the output of `cargo test`.

use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// The steps that were run so far.
#[derive(Default)]
pub struct Report {
    lines: Vec<Line>,
}

struct Line {
    name: String,
    took: Duration,
    passed: usize,
    failed: usize,
    /// Why the step was skipped.
    skipped: Option<String>,
}

impl Report {
    /// Runs a command as a step; prints its output. Returns whether it succeeded.
    pub fn step(&mut self, name: &str, command: &mut Command) -> bool {
        println!("\n== {name}: {}", shown(command));
        let started = Instant::now();
        let (ok, mut counts) = watch(command);
        if counts == (0, 0) {
            // Not a test run: the command itself counts as one test.
            counts = (usize::from(ok), 0);
        }
        if !ok && counts.1 == 0 {
            counts.1 = 1;
        }
        self.push(name, started.elapsed(), counts);
        ok
    }

    /// Runs a closure as a step. Returns whether it succeeded.
    pub fn done(&mut self, name: &str, work: impl FnOnce() -> anyhow::Result<()>) -> bool {
        println!("\n== {name}");
        let started = Instant::now();
        let outcome = work();
        if let Err(error) = &outcome {
            println!("{error:#}");
        }
        let ok = outcome.is_ok();
        self.push(name, started.elapsed(), (usize::from(ok), usize::from(!ok)));
        ok
    }

    /// Records a step that cannot be run and is not required.
    pub fn skip(&mut self, name: &str, why: &str) {
        println!("\n== {name}: skipped: {why}");
        let (name, skipped) = (name.to_owned(), Some(why.to_owned()));
        self.lines.push(Line { name, took: Duration::ZERO, passed: 0, failed: 0, skipped });
    }

    /// Prints the table of all steps and the totals. Returns the exit code.
    pub fn finish(self) -> ExitCode {
        println!();
        for line in &self.lines {
            let seconds = line.took.as_secs_f64();
            let name = &line.name;
            match &line.skipped {
                Some(why) => println!("{name:<36}       -   skipped: {why}"),
                None => println!(
                    "{name:<36} {seconds:>7.1} s {:>5} passed {:>3} failed",
                    line.passed, line.failed
                ),
            }
        }
        let passed: usize = self.lines.iter().map(|line| line.passed).sum();
        let failed: usize = self.lines.iter().map(|line| line.failed).sum();
        println!("\n{passed} passed, {failed} failed");
        match failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }

    fn push(&mut self, name: &str, took: Duration, (passed, failed): (usize, usize)) {
        let name = name.to_owned();
        self.lines.push(Line { name, took, passed, failed, skipped: None });
    }
}

/// Runs a command and prints its output. Returns whether it succeeded, and how many tests passed and failed.
fn watch(command: &mut Command) -> (bool, (usize, usize)) {
    let mut counts = (0, 0);
    let mut child = match command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => {
            println!("the command cannot be started: {error}");
            return (false, counts);
        }
    };
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("{line}");
            if let Some((passed, failed)) = result_of(&line) {
                counts = (counts.0 + passed, counts.1 + failed);
            }
        }
    }
    (child.wait().is_ok_and(|status| status.success()), counts)
}

/// `test result: ok. 5 passed; 0 failed; ...`
fn result_of(line: &str) -> Option<(usize, usize)> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut counts = rest.split("; ").map(|part| part.split(' ').next());
    let passed = counts.next()??.parse().ok()?;
    let failed = counts.next()??.parse().ok()?;
    Some((passed, failed))
}

/// The command as it is typed in a shell.
fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program()).to_string_lossy();
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    let words: Vec<String> =
        std::iter::once(name).chain(arguments).map(|word| word.into_owned()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_results_are_counted() {
        let line = "test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out";
        assert_eq!(result_of(line), Some((5, 2)));
        assert_eq!(result_of("test it ... ok"), None);
        assert_eq!(result_of("test result: ok"), None);
    }
}
