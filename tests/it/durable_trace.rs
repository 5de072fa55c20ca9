//! Reads the trace that strace wrote of a broker: its system calls in their order, and the requests and answers of its
//! clients among them.

use crate::wire::eventually;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// The system calls that are traced.
const CALLS: &str =
    "trace=fdatasync,fsync,pwrite64,pwritev,recvfrom,read,sendto,write,writev,sendmsg";

/// Whether strace can be used here. In CI, or with CROSSDOCK_CLIENTS=required, it must be usable.
pub fn is_there() -> bool {
    let mut command = Command::new("strace");
    command
        .args(["-f", "-D", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if command.status().is_ok_and(|status| status.success()) {
        return true;
    }
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    let required = is("CI", "true") || is("CROSSDOCK_CLIENTS", "required");
    assert!(!required, "strace is not installed, or may not trace");
    println!("skipped: strace is not installed, or may not trace");
    false
}

/// The command that runs the broker under strace: the broker stays our child, strace is its descendant.
pub fn strace<'a>(file: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut command =
        vec!["strace", "-D", "-f", "-tt", "-y", "-s", "2000", "-e", CALLS, "-o", file];
    command.extend(more);
    command
}

/// One system call of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub name: String,
    /// The file descriptor with its target, as in `4</data/store/journal-1.log>`.
    pub file: String,
    /// Arguments and result.
    pub text: String,
    pub result: i64,
    /// Line numbers in the trace; of two calls, the one with the lower last line ended first.
    pub begun: usize,
    pub ended: usize,
}

impl Call {
    fn is_socket(&self) -> bool {
        self.file.contains("<socket:") || self.file.contains("<TCP")
    }

    pub fn is_read(&self) -> bool {
        matches!(self.name.as_str(), "recvfrom" | "read") && self.result > 0 && self.is_socket()
    }

    pub fn is_sent(&self) -> bool {
        let sends = ["sendto", "write", "writev", "sendmsg"];
        sends.contains(&self.name.as_str()) && self.is_socket()
    }

    pub fn is_journal_write(&self) -> bool {
        self.name.starts_with("pwrite") && self.file.contains("/journal-") && self.result > 0
    }

    pub fn is_sync(&self) -> bool {
        matches!(self.name.as_str(), "fdatasync" | "fsync") && self.result == 0
    }

    pub fn is_injected(&self) -> bool {
        self.text.contains("(INJECTED)")
    }
}

/// A request of a client, and the call in which the answer begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    pub asked: usize,
    pub answered: usize,
}

/// All calls of a process that has ended, in the order of their ends.
pub fn read(file: &Path, process: u32) -> Vec<Call> {
    // strace ends a moment after the broker: its output is complete when it contains the end of the first thread.
    let first = format!("{process} ");
    let is_end = |line: &str| line.starts_with(&first) && line.contains(" +++ ");
    let text = eventually("the end of the trace", || {
        let text = std::fs::read_to_string(file).ok()?;
        text.lines().any(is_end).then_some(text)
    });
    parse(&text)
}

fn parse(text: &str) -> Vec<Call> {
    // For each thread: the line number and the text of its unfinished call.
    let mut unfinished: HashMap<&str, (usize, String)> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut words = line.splitn(3, ' ').map(str::trim);
        let thread = words.next().unwrap_or_default();
        let Some((_, rest)) = line[thread.len()..].trim_start().split_once(' ') else { continue };
        if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (at, begin.to_owned()));
            continue;
        }
        let (begun, whole) =
            match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
                Some((_, end)) => match unfinished.remove(thread) {
                    Some((begun, begin)) => (begun, begin + end),
                    None => continue,
                },
                None => (at, rest.to_owned()),
            };
        calls.extend(call(&whole, begun, at));
    }
    // A call that was interrupted by a kill had begun nevertheless.
    let end = text.lines().count();
    for (begun, begin) in unfinished.into_values() {
        calls.extend(call(&(begin + ") = ?"), begun, end));
    }
    calls
}

/// `name(file, arguments) = result ...`
fn call(whole: &str, begun: usize, ended: usize) -> Option<Call> {
    let (name, text) = whole.split_once('(')?;
    let file = text.split([',', ')']).next()?;
    // A call that did not return has a question mark as its result.
    let result = text.rsplit_once(" = ")?.1.split(' ').next()?.parse().unwrap_or(-1);
    let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let (name, file, text) = (name.to_owned(), file.to_owned(), text.to_owned());
    is_name.then_some(Call { name, file, text, result, begun, ended })
}

/// The exchanges of every connection whose first bytes contain `opening`, in the order of the connections. A client
/// that waits for each answer before its next request has one exchange for each request.
pub fn exchanges(calls: &[Call], opening: &str) -> Vec<Vec<Exchange>> {
    let mut order: Vec<&str> = Vec::new();
    let mut files: HashMap<&str, (Vec<Exchange>, Option<usize>)> = HashMap::new();
    let mut both: Vec<&Call> =
        calls.iter().filter(|call| call.is_read() || call.is_sent()).collect();
    // A client may send its next request before the call that sent the answer has returned.
    both.sort_by_key(|call| if call.is_read() { call.ended } else { call.begun });
    for call in both {
        if call.is_read() && call.text.contains(opening) && !files.contains_key(call.file.as_str())
        {
            order.push(&call.file);
            files.insert(&call.file, (Vec::new(), None));
        }
        let Some((found, asked)) = files.get_mut(call.file.as_str()) else { continue };
        if call.is_read() {
            asked.get_or_insert(call.ended);
        } else if let Some(asked) = asked.take() {
            found.push(Exchange { asked, answered: call.begun });
        }
    }
    order.into_iter().filter_map(|file| files.remove(file)).map(|(found, _)| found).collect()
}

/// Why an answer came too early: between the request and the answer there must be a write to the journal that contains
/// `mark`, and a sync of the same file that began after the write and ended before the answer began.
pub fn too_early(calls: &[Call], exchange: &Exchange, mark: &str) -> Option<String> {
    let during = |call: &&Call| call.begun > exchange.asked && call.ended < exchange.answered;
    let writes: Vec<&Call> = calls
        .iter()
        .filter(during)
        .filter(|call| call.is_journal_write() && call.text.contains(mark))
        .collect();
    let Some(write) = writes.first() else {
        return Some(format!("no write of {mark:?} to the journal"));
    };
    let syncs =
        calls.iter().filter(during).filter(|call| call.is_sync() && call.file == write.file);
    match syncs.filter(|sync| sync.begun > write.ended).count() {
        0 => Some(format!("no sync of {} after the write", write.file)),
        _ => None,
    }
}

/// The path of a file as strace prints it.
pub fn name(path: &Path) -> String {
    let text: &OsStr = path.as_ref();
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERLY: &str = "\
7  10:00:00.000001 recvfrom(9<socket:[5]>, \"hello mark-1\", 65536, 0, NULL, NULL) = 12
8  10:00:00.000002 pwrite64(4</d/store/journal-1.log>, \"mark-1\", 6, 4096) = 6
8  10:00:00.000003 fdatasync(4</d/store/journal-1.log> <unfinished ...>
7  10:00:00.000004 write(6<anon_inode:[eventfd]>, \"\\1\", 8) = 8
8  10:00:00.000005 <... fdatasync resumed>) = 0
7  10:00:00.000006 sendto(9<socket:[5]>, \"ok\", 2, MSG_NOSIGNAL, NULL, 0) = 2
";

    fn verdict(text: &str) -> Option<String> {
        let calls = parse(text);
        let all = exchanges(&calls, "hello");
        assert_eq!((all.len(), all[0].len()), (1, 1), "{calls:?}");
        too_early(&calls, &all[0][0], "mark-1")
    }

    #[test]
    fn an_answer_after_the_sync_is_in_time() {
        assert_eq!(verdict(ORDERLY), None);
    }

    #[test]
    fn a_client_may_go_on_before_the_answers_call_returns() {
        let text = "\
7  10:00:00.000001 recvfrom(9<socket:[5]>, \"hello\", 65536, 0, NULL, NULL) = 5
7  10:00:00.000002 sendto(9<socket:[5]>, \"one\", 3, MSG_NOSIGNAL, NULL, 0 <unfinished ...>
8  10:00:00.000003 recvfrom(9<socket:[5]>, \"more\", 65536, 0, NULL, NULL) = 4
7  10:00:00.000004 <... sendto resumed>) = 3
8  10:00:00.000005 sendto(9<socket:[5]>, \"two\", 3, MSG_NOSIGNAL, NULL, 0) = 3
";
        let found = exchanges(&parse(text), "hello");
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0],
            [Exchange { asked: 0, answered: 1 }, Exchange { asked: 2, answered: 4 }]
        );
    }

    #[test]
    fn an_answer_is_too_early_without_a_write_a_sync_or_its_end() {
        let lines: Vec<&str> = ORDERLY.lines().collect();
        let of = |order: &[usize]| {
            order.iter().map(|at| format!("{}\n", lines[*at])).collect::<String>()
        };
        assert!(verdict(&of(&[0, 2, 4, 5])).is_some(), "no write");
        assert!(verdict(&of(&[0, 1, 5])).is_some(), "no sync");
        assert!(verdict(&of(&[0, 1, 2, 5, 4])).is_some(), "the sync ends later");
        assert!(verdict(&of(&[0, 2, 1, 4, 5])).is_some(), "the write is not in the sync");
        assert!(verdict(&of(&[1, 2, 4, 0, 5])).is_some(), "all of it was before");
        assert!(
            verdict(&ORDERLY.replace("= 0", "= -1 EIO (Input/output error)")).is_some(),
            "a failed sync"
        );
    }
}
