//! What commands print: to standard output what was asked for, to standard error why not. What cannot be written is not
//! taken as written: the process ends with a code that says so. It does what it was told to do first, because half of
//! a change is worse than a lost line.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

/// Exit code: standard output could not be written; EX_IOERR of sysexits.
const EXIT_UNWRITTEN: u8 = 74;
/// Exit code: whoever read standard output has closed it; what a shell shows of a tool that SIGPIPE ended.
const EXIT_CLOSED: u8 = 141;

/// Why standard output could not be written; nothing is written to it after that.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Prints a line.
macro_rules! say {
    ($($text:tt)*) => { crate::output::put(&format!("{}\n", format_args!($($text)*))) };
}

/// Prints a line to standard error.
macro_rules! complain {
    ($($text:tt)*) => { crate::output::to_stderr(format_args!($($text)*)) };
}

pub(crate) use {complain, say};

/// Writes that to standard output.
pub fn put(text: &str) {
    if has_failed() {
        return;
    }
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        fail(error);
    }
}

/// Standard output cannot be written.
pub fn fail(error: io::Error) {
    // The first reason is the one that counts.
    let _ = FAILED.set(error);
}

/// Whether something that was to be printed is lost: there is no point in finding out more.
pub fn has_failed() -> bool {
    FAILED.get().is_some()
}

/// Writes a line to standard error. A failure is ignored: there is no third place to write it to.
pub fn to_stderr(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The exit code of a command that would end with that one, if all that it printed was written.
pub fn end(code: ExitCode) -> ExitCode {
    match FAILED.get() {
        None => code,
        Some(error) => ExitCode::from(judged(error, |why| to_stderr(why))),
    }
}

fn judged(error: &io::Error, tell: impl FnOnce(&str)) -> u8 {
    if error.kind() == ErrorKind::BrokenPipe {
        return EXIT_CLOSED;
    }
    tell(&format!(
        "standard output cannot be written: {error}: what was printed is incomplete; what the command was \
         to change is changed all the same"
    ));
    EXIT_UNWRITTEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_ends_quietly_and_a_full_disk_with_the_reason() {
        let mut said = Vec::new();
        let code = judged(&ErrorKind::BrokenPipe.into(), |why| said.push(why.to_owned()));
        assert_eq!((code, said.len()), (EXIT_CLOSED, 0));
        let code = judged(&ErrorKind::StorageFull.into(), |why| said.push(why.to_owned()));
        assert_eq!(code, EXIT_UNWRITTEN);
        assert!(said[0].contains("standard output") && said[0].contains("incomplete"), "{said:?}");
    }
}
