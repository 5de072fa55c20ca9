//! The memory and file descriptors that this process may use, and its machine's name, read from the kernel's files.

use std::fs;
use std::path::Path;

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";
/// Assumed where the kernel's files cannot be read.
const MEMORY_DEFAULT: u64 = 1 << 30;
const DESCRIPTORS_DEFAULT: usize = 1024;

/// Bytes of memory that this process may use: the machine's memory or the lowest limit of its control groups.
pub fn memory_bytes() -> u64 {
    let machine = read("/proc/meminfo").and_then(|text| total_of(&text));
    let groups = read("/proc/self/cgroup").and_then(|text| group_limit(&text));
    [machine, groups].into_iter().flatten().min().unwrap_or(MEMORY_DEFAULT)
}

/// File descriptors that this process may have open.
pub fn descriptors() -> usize {
    let limit = read("/proc/self/limits").and_then(|text| open_files_of(&text));
    limit.unwrap_or(DESCRIPTORS_DEFAULT)
}

/// The name of this node for whoever looks at several: `crossdock@` and the machine's name.
pub fn node_name() -> String {
    let host = read("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "localhost",
        name => name,
    };
    format!("crossdock@{host}")
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok()
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib = line.split_whitespace().next()?.parse::<u64>().ok()?;
    Some(kib.saturating_mul(1024))
}

/// `Max open files  1024  4096  files`: the first number is the limit in force.
fn open_files_of(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The lowest limit of the groups that the process is in, and of the groups that contain them.
fn group_limit(groups: &str) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (root, file) = match controllers {
            "" => (GROUPS.to_owned(), "memory.max"),
            v1 if v1.split(',').any(|name| name == "memory") => {
                (format!("{GROUPS}/memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        let around = Path::new(path.trim_start_matches('/')).ancestors();
        let limits = around.filter_map(|group| read(Path::new(&root).join(group).join(file)));
        limits.filter_map(|text| text.trim().parse::<u64>().ok()).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let meminfo = "MemTotal:       16303428 kB\nMemFree: 5 kB\n";
        assert_eq!(total_of(meminfo), Some(16_303_428 * 1024));
        assert_eq!(total_of(""), None);
        let limits =
            "Limit  Soft  Hard  Units\nMax open files            1024       524288    files\n";
        assert_eq!(open_files_of(limits), Some(1024));
        assert_eq!(open_files_of("Max open files unlimited unlimited files"), None);
        assert_eq!(group_limit("5:cpu:/x\n"), None);
    }

    #[test]
    fn there_is_always_an_answer() {
        assert!(memory_bytes() > 0);
        assert!(descriptors() > 0);
    }
}
