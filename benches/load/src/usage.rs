//! Resource usage from /proc: CPU time and resident memory of the broker and all its descendants, and this program's
//! own CPU time by thread.

use std::collections::HashMap;
use std::fs;

/// The kernel reports times to programs in hundredths of a second, on every architecture that matters here.
const TICKS_PER_SECOND: f64 = 100.0;

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    /// CPU time, its own and that of children that have ended.
    ticks: u64,
}

/// CPU seconds of a process and all its descendants, including those that have ended.
pub fn cpu_seconds(root: u32) -> f64 {
    let all = processes();
    let ticks = tree(&all, root).iter().map(|pid| all[pid].ticks).sum::<u64>();
    ticks as f64 / TICKS_PER_SECOND
}

/// Resident bytes of a process and all its descendants.
pub fn resident_bytes(root: u32) -> u64 {
    let all = processes();
    let resident = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        parse_resident(&status)
    };
    tree(&all, root).iter().filter_map(resident).sum()
}

/// CPU seconds of this program's threads whose names have this prefix.
pub fn own_cpu_seconds(threads: &str) -> f64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().map_while(Result::ok);
    let seconds = |folder: std::path::PathBuf| {
        let name = fs::read_to_string(folder.join("comm")).ok()?;
        if !name.starts_with(threads) {
            return None;
        }
        // In nanoseconds, if the kernel provides them.
        let exact = fs::read_to_string(folder.join("schedstat")).ok();
        let exact = exact.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        match exact {
            Some(nanos) if nanos > 0 => Some(nanos as f64 / 1e9),
            _ => {
                let stat = fs::read_to_string(folder.join("stat")).ok()?;
                Some(parse_stat(&stat)?.ticks as f64 / TICKS_PER_SECOND)
            }
        }
    };
    tasks.filter_map(|task| seconds(task.path())).sum()
}

fn processes() -> HashMap<u32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().map_while(Result::ok);
    let read = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        Some((pid, parse_stat(&stat)?))
    };
    entries.filter_map(read).collect()
}

fn tree(all: &HashMap<u32, Process>, root: u32) -> Vec<u32> {
    let mut members: Vec<u32> = all.contains_key(&root).then_some(root).into_iter().collect();
    let mut at = 0;
    while let Some(parent) = members.get(at).copied() {
        let children = all.iter().filter(|(pid, p)| p.parent == parent && **pid != parent);
        members.extend(children.map(|(pid, _)| *pid));
        at += 1;
    }
    members
}

/// proc(5): the name, in parentheses, may contain anything; behind it come state (3), parent (4), and so on up to
/// utime (14), stime (15), cutime (16) and cstime (17).
fn parse_stat(text: &str) -> Option<Process> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)? + number(16)? + number(17)?;
    Some(Process { parent: u32::try_from(number(4)?).ok()?, ticks })
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_the_rest() {
        let text = "42 (a) b 7 (c)) S 41 42 42 0 -1 4194304 100 200 0 0 11 5 3 1 20 0 1 0 99 1 2 3";
        assert_eq!(parse_stat(text), Some(Process { parent: 41, ticks: 20 }));
        assert_eq!(parse_stat("42 (short) S 1"), None);
    }

    #[test]
    fn a_tree_has_its_own_and_no_others() {
        let process = |parent| Process { parent, ticks: 1 };
        let all = HashMap::from([
            (1, process(0)),
            (10, process(1)),
            (11, process(10)),
            (12, process(11)),
            (20, process(1)),
        ]);
        let mut found = tree(&all, 10);
        found.sort_unstable();
        assert_eq!(found, [10, 11, 12]);
        assert!(tree(&all, 99).is_empty());
    }

    #[test]
    fn resident_memory_is_in_kib() {
        assert_eq!(parse_resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(parse_resident("Name:\tkthread\n"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let me = std::process::id();
        let before = cpu_seconds(me);
        let mut sum = 0u64;
        while cpu_seconds(me) < before + 0.03 {
            sum = (0..1_000_000u64).fold(sum, |sum, x| std::hint::black_box(sum ^ x));
        }
        assert!(resident_bytes(me) > 100_000);
        assert!(own_cpu_seconds("") > 0.0);
    }
}
