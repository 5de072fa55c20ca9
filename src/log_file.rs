//! Where the log goes: standard error, or a file that SIGUSR1 has opened again, for whoever renames it away. A line
//! that cannot be written ends nothing and stops nobody: it goes to standard error instead, and the file says later how
//! many lines it lacks.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tracing_subscriber::fmt::MakeWriter;

/// Who may read the log: its owner writes it, and the group of that, often one of administrators, reads it.
const MODE: u32 = 0o640;

/// A line that says how many lines are not in the file.
type LostLine = fn(u64) -> String;

/// A file of the log.
pub struct LogFile {
    path: PathBuf,
    lost_line: LostLine,
    now: Mutex<Now>,
}

struct Now {
    file: File,
    /// Lines that could not be written since the last one that could.
    lost: u64,
}

impl LogFile {
    /// Opens the file, or makes it.
    pub fn open(path: &Path, lost_line: LostLine) -> io::Result<Self> {
        let now = Mutex::new(Now { file: open(path)?, lost: 0 });
        Ok(Self { path: path.to_owned(), lost_line, now })
    }

    /// Opens the file that has the path now. After an error the log goes on in the old one.
    pub fn reopen(&self) -> io::Result<()> {
        let file = open(&self.path)?;
        self.now().file = file;
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a line; returns whether it is in the file.
    fn line(&self, line: &[u8]) -> bool {
        let mut now = self.now();
        if now.lost > 0 && append(&now.file, (self.lost_line)(now.lost).as_bytes()).is_ok() {
            now.lost = 0;
        }
        let is_written = now.lost == 0 && append(&now.file, line).is_ok();
        now.lost += u64::from(!is_written);
        is_written
    }
}

/// Why no file can be opened there, whoever tries.
pub fn check_place(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => return Err("it is a folder".to_owned()),
        Ok(there) if there.file_type().is_fifo() => {
            return Err("it is a pipe, not a file".to_owned());
        }
        _ => {}
    }
    // A name without a folder is in the working directory.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.map(|folder| (folder, std::fs::metadata(folder))) {
        Some((folder, Ok(there))) if !there.is_dir() => {
            Err(format!("{} is no folder", folder.display()))
        }
        Some((folder, Err(error))) => {
            Err(format!("{}: {error}; its folder has to be there", folder.display()))
        }
        _ => Ok(()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    // To open a pipe waits for whoever reads it.
    if std::fs::metadata(path).is_ok_and(|there| there.file_type().is_fifo()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe, not a file"));
    }
    OpenOptions::new().append(true).create(true).mode(MODE).open(path)
}

/// Appends a line as a whole or not at all.
fn append(mut file: &File, line: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while let Some(rest) = line.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(count) if count > 0 => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            failed => {
                if done > 0 {
                    let length = file.metadata()?.len();
                    file.set_len(length.saturating_sub(done as u64))?;
                }
                return Err(failed.err().unwrap_or_else(|| io::ErrorKind::WriteZero.into()));
            }
        }
    }
    Ok(())
}

/// Takes the lines of the log.
pub struct Output(pub Option<Arc<LogFile>>);

impl<'a> MakeWriter<'a> for Output {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self.0.as_deref())
    }
}

/// Takes one line, with one call. It says always that it was written: what complains about a failure in this process
/// does so on standard error, and panics when that fails as well.
pub struct Line<'a>(Option<&'a LogFile>);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.0.is_some_and(|file| file.line(line)) {
            let _ = io::stderr().write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn lost_line(lines: u64) -> String {
        format!("{lines} lost\n")
    }

    #[test]
    fn it_is_opened_again_where_it_was_renamed_away() {
        let name = format!("crossdock-log-{}", std::process::id());
        let (path, old) =
            (std::env::temp_dir().join(&name), std::env::temp_dir().join(name + ".1"));
        let log = LogFile::open(&path, lost_line).expect("it can be made");
        assert!(log.line(b"one\n"));
        fs::rename(&path, &old).expect("renamed");
        assert!(log.line(b"two\n"));
        log.reopen().expect("it can be made");
        assert!(log.line(b"three\n"));
        assert_eq!(fs::read_to_string(&old).expect("readable"), "one\ntwo\n");
        assert_eq!(fs::read_to_string(&path).expect("readable"), "three\n");
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode & !0o640, 0, "{mode:o}");
        let _ = (fs::remove_file(path), fs::remove_file(old));
    }

    #[test]
    fn a_full_disk_costs_lines_and_says_how_many() {
        let path = std::env::temp_dir().join(format!("crossdock-full-{}", std::process::id()));
        let log = LogFile::open(&path, lost_line).expect("it can be made");
        let writable = log.now().file.try_clone().expect("cloned");
        assert!(log.line(b"one\n"));
        log.now().file = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
        assert!(!log.line(b"two\n") && !log.line(b"three\n"));
        log.now().file = writable;
        assert!(log.line(b"four\n"));
        let text = fs::read_to_string(&path).expect("readable");
        let _ = fs::remove_file(&path);
        assert_eq!(text, "one\n2 lost\nfour\n");
    }
}
