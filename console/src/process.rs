//! This process, as the kernel tells about it.

use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What the kernel says; 0 where it says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Bytes of memory that are resident.
    pub resident: u64,
    pub open_files: u64,
    pub max_files: u64,
    /// Of the open files, how many are sockets.
    pub sockets: u64,
}

impl Usage {
    /// Now. Reads a few small files of the kernel, and looks at each open file.
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let mut usage = Usage {
            resident: number_behind(&status, "VmRSS:").saturating_mul(1024),
            max_files: number_behind(&limits, "Max open files"),
            ..Usage::default()
        };
        for file in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
            usage.open_files += 1;
            let target = fs::read_link(file.path()).unwrap_or_default();
            usage.sockets += u64::from(target.to_string_lossy().starts_with("socket:"));
        }
        usage
    }
}

/// The first number behind that word at the beginning of a line.
fn number_behind(text: &str, word: &str) -> u64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(word));
    let first = rest.and_then(|rest| rest.split_whitespace().next());
    first.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// When the process began.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    at: Instant,
    time: SystemTime,
}

impl Started {
    /// Now.
    pub fn now() -> Self {
        Self { at: Instant::now(), time: SystemTime::now() }
    }

    /// Seconds since then.
    pub fn uptime(&self) -> f64 {
        self.at.elapsed().as_secs_f64()
    }

    /// Seconds from 1970 to then.
    pub fn unix_seconds(&self) -> f64 {
        self.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let limits = "Limit  Soft  Hard\nMax open files            1024       524288    files\n";
        assert_eq!(number_behind(limits, "Max open files"), 1024);
        assert_eq!(number_behind("VmRSS:\t  77 kB", "VmRSS:"), 77);
        assert_eq!(number_behind("", "VmRSS:"), 0);
        let usage = Usage::now();
        assert!(usage.resident > 1 << 20 && usage.open_files > 2);
        assert!(usage.max_files >= usage.open_files);
    }
}
