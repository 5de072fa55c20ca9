//! Which files are loaded: those that nobody but root and the user of this process can have changed.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Others than the owner may write.
const OTHERS_WRITE: u32 = 0o022;
/// In a folder with this bit only the owner of a file can replace it.
const STICKY: u32 = 0o1000;

/// Checks a file and returns its real path. Errors say what is wrong with it.
pub fn check(path: &Path) -> Result<PathBuf, String> {
    if !path.is_absolute() {
        return Err("is not an absolute path".to_owned());
    }
    let real = fs::canonicalize(path).map_err(|error| format!("cannot be found: {error}"))?;
    let own =
        own_user().map_err(|error| format!("the user of this process is not known: {error}"))?;
    let file = fs::metadata(&real).map_err(|error| format!("cannot be looked at: {error}"))?;
    if !file.is_file() {
        return Err("is not a file".to_owned());
    }
    let shown = |path: &Path| path.display().to_string();
    owned(&shown(&real), (file.uid(), file.mode()), own)?;
    for folder in real.ancestors().skip(1) {
        let about = fs::metadata(folder)
            .map_err(|error| format!("{} cannot be looked at: {error}", shown(folder)))?;
        let mode = if about.mode() & STICKY != 0 { 0 } else { about.mode() };
        owned(&shown(folder), (about.uid(), mode), own)?;
    }
    Ok(real)
}

/// Whether a file has that SHA-256.
pub fn check_hash(path: &Path, wanted: &str) -> Result<(), String> {
    let is = hash(path).map_err(|error| format!("cannot be read: {error}"))?;
    match wanted.eq_ignore_ascii_case(&is) {
        true => Ok(()),
        false => Err(format!("its SHA-256 is {is}, and the configuration wants {wanted}")),
    }
}

/// Whether a library is there to its end. One that is cut off, as in the middle of a copy, would end the process when
/// it is opened. What is no ELF file at all the dynamic linker refuses.
pub fn check_whole(path: &Path) -> Result<(), String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    let mut file = File::open(path).map_err(cannot)?;
    let bytes = file.metadata().map_err(cannot)?.len();
    let mut head = Vec::new();
    file.by_ref().take(ELF_HEAD).read_to_end(&mut head).map_err(cannot)?;
    if !head.starts_with(ELF_64_LITTLE) {
        return Ok(());
    }
    let wanted = wanted_bytes(&mut file, &head).map_err(cannot)?;
    match wanted {
        Some(wanted) if wanted <= bytes => Ok(()),
        Some(wanted) => Err(format!(
            "is cut off: it has {bytes} bytes, and its header speaks of {wanted}. Is it being copied?"
        )),
        None => Err(format!("is cut off: it has {bytes} bytes, which is less than its header")),
    }
}

/// Octets of the header of a 64-bit ELF file, and how one begins whose numbers have their lowest octet first.
const ELF_HEAD: u64 = 64;
const ELF_64_LITTLE: &[u8] = b"\x7fELF\x02\x01";

/// Bytes up to the end of the last segment that the program header table names; none: that table is not there.
fn wanted_bytes(file: &mut File, head: &[u8]) -> io::Result<Option<u64>> {
    let short = |of: &[u8], at: usize| {
        let bytes = of.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u16::from_le_bytes)
    };
    let long = |of: &[u8], at: usize| {
        let bytes = of.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_le_bytes)
    };
    // e_phoff, e_phentsize, e_phnum.
    let (Some(table), Some(size), Some(count)) = (long(head, 32), short(head, 54), short(head, 56))
    else {
        return Ok(None);
    };
    let mut entries = Vec::new();
    let length = u64::from(size) * u64::from(count);
    file.seek(SeekFrom::Start(table))?;
    file.take(length).read_to_end(&mut entries)?;
    if (entries.len() as u64) < length {
        return Ok(None);
    }
    // p_offset, p_filesz.
    let ends = entries
        .chunks(usize::from(size).max(1))
        .map(|entry| long(entry, 8).unwrap_or(0).saturating_add(long(entry, 32).unwrap_or(0)));
    Ok(ends.max().max(Some(table.saturating_add(length))))
}

fn owned(what: &str, (user, mode): (u32, u32), own: u32) -> Result<(), String> {
    if user != 0 && user != own {
        return Err(format!(
            "{what} belongs to user {user}: it has to be root's or that of the user of this process, {own}"
        ));
    }
    if mode & OTHERS_WRITE != 0 {
        return Err(format!(
            "{what} has mode {:03o}: others than its owner can change it (chmod go-w)",
            mode & 0o777
        ));
    }
    Ok(())
}

/// The user of this process.
fn own_user() -> io::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}

/// The SHA-256 of a file, in hexadecimal.
fn hash(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hash.update(buffer.get(..count).unwrap_or_default()),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
    }

    #[test]
    fn only_files_are_taken_that_nobody_else_can_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).expect("made");
        let path = inner.join("plugin.so");
        fs::write(&path, "a plugin").expect("written");
        mode(&path, 0o644);
        mode(&inner, 0o755);
        let real = fs::canonicalize(&path).expect("there");
        assert_eq!(check(&path), Ok(real.clone()));
        let link = folder.path().join("link.so");
        symlink(&path, &link).expect("made");
        assert_eq!(check(&link), Ok(real.clone()));
        let sha256 = hash(&path).expect("read");
        assert!(check_hash(&real, &sha256.to_uppercase()).is_ok());
        let other = check_hash(&real, &"0".repeat(64)).expect_err("another");
        assert!(other.contains(&format!("its SHA-256 is {sha256}")), "{other}");
        let wrong = |path: &Path, why: &str| {
            let error = check(path).expect_err(why);
            assert!(error.contains(why), "{error}: {why}");
        };
        wrong(Path::new("plugin.so"), "is not an absolute path");
        wrong(&inner.join("gone.so"), "cannot be found");
        wrong(&inner, "is not a file");
        for bits in [0o664, 0o646] {
            mode(&path, bits);
            wrong(&path, &format!("has mode {bits:03o}"));
            wrong(&link, "others than its owner");
        }
        mode(&path, 0o644);
        mode(&inner, 0o777);
        wrong(&path, "has mode 777");
        mode(&inner, 0o1777);
        assert!(check(&path).is_ok(), "nobody else replaces a file there");
        assert!(owned("f", (7, 0o644), 8).expect_err("another's").contains("belongs to user 7"));
        assert!(owned("f", (0, 0o644), 8).is_ok() && owned("f", (8, 0o644), 8).is_ok());
    }
}
