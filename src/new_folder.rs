//! A new folder that somebody begins with, from templates. Nothing that exists is overwritten.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file of a folder, and its text.
pub type File = (&'static str, String);

/// What a name has to be.
pub struct Names {
    /// What has it: `a module`.
    pub of: &'static str,
    /// Bytes of a name, at most: it becomes the name of a folder, a package and more.
    pub max: usize,
}

impl Names {
    /// Makes the folder of that name, in `into` or here.
    pub fn make(
        &self,
        name: &str,
        into: Option<&Path>,
        files: impl IntoIterator<Item = File>,
    ) -> Result<PathBuf, String> {
        let is_good = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        let Self { of, max } = self;
        if name.len() > *max
            || !name.starts_with(|first: char| first.is_ascii_lowercase())
            || !name.bytes().all(is_good)
        {
            return Err(format!(
                "'{name}' cannot be {of}'s name: 1 to {max} lower-case letters, digits and -, a letter \
                 first"
            ));
        }
        let folder = into.unwrap_or(Path::new(".")).join(name);
        let failed = |what: &Path, error| format!("{}: {error}", what.display());
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        }
        fs::create_dir(&folder).map_err(|error| failed(&folder, error))?;
        for (path, text) in files {
            let file = folder.join(path);
            write(&file, &text).map_err(|error| failed(&file, error))?;
        }
        Ok(folder)
    }
}

/// The names in a template: its own, and that of its library.
pub fn named(text: &str, name: &str) -> String {
    text.replace("NAME", name).replace("MODULE", &name.replace('-', "_"))
}

/// Makes a file that is not there yet.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    OpenOptions::new().write(true).create_new(true).open(file)?.write_all(text.as_bytes())
}
