//! Processes by id: a process with all its descendants, their memory, and ending them.

use anyhow::{Context, Result};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A process and all its descendants.
pub fn tree(root: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().map_while(Result::ok);
    let parent = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, parent(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
    };
    let parents: HashMap<u32, u32> = entries.filter_map(parent).collect();
    let mut members = vec![root];
    let mut at = 0;
    while let Some(parent) = members.get(at).copied() {
        members.extend(parents.iter().filter(|(_, p)| **p == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    members
}

/// The parent's id is the fourth field; the second field, in parentheses, may contain anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Resident memory of a process and all its descendants.
pub fn resident_mib(root: u32) -> f64 {
    let resident = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()
    };
    tree(root).iter().filter_map(resident).sum::<f64>() / 1024.0
}

/// Sends a signal to one process.
pub fn signal(name: &str, pid: u32) -> Result<()> {
    let status = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    status.context("kill cannot be run")?;
    Ok(())
}

/// Waits until all of them have ended. Returns those that have not.
pub fn wait_for(pids: &[u32], time: Duration) -> Vec<u32> {
    let started = Instant::now();
    loop {
        let left: Vec<u32> = pids.iter().copied().filter(|pid| runs(*pid)).collect();
        if left.is_empty() || started.elapsed() > time {
            return left;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Whether it exists and is not a zombie.
fn runs(pid: u32) -> bool {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(Path::new(&path)).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_below_its_parent_and_ends() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(tree(std::process::id()).contains(&child.id()));
        assert!(resident_mib(child.id()) > 0.0);
        assert_eq!(wait_for(&[child.id()], Duration::ZERO), [child.id()]);
        signal("TERM", child.id()).unwrap();
        assert!(wait_for(&[child.id()], Duration::from_secs(10)).is_empty());
        child.wait().unwrap();
    }

    #[test]
    fn a_name_may_look_like_the_rest() {
        assert_eq!(parent("7 (a) S 1 (b)) S 42 7"), Some(42));
    }
}
