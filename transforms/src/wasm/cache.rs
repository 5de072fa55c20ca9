//! Compiled modules on disk, so that a restart does not compile them again. A file's name contains the hash of the
//! module and of everything that the compiled form depends on; its content begins with a hash of the code.
//!
//! Compiled code runs unchecked, so a file is loaded only if it lies in the cache folder itself, is not a link, and
//! neither it nor the folder can be written by other users; otherwise the module is compiled again.

use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use wasmtime::component::Component;
use wasmtime::{Engine, Result};

const MAGIC: &[u8; 8] = b"XDKWASM1";
const HEAD: usize = MAGIC.len() + 32;
/// Largest file that is loaded, in bytes.
const FILE_MAX: u64 = 512 << 20;

/// The cache folder.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Creates the folder, accessible for its owner only, if it does not exist.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&folder)?;
        let folder = folder.canonicalize()?;
        let at_folder = fs::symlink_metadata(&folder)?;
        if !is_private(&at_folder, &at_folder) {
            let shown = folder.display();
            tracing::warn!(
                "{shown}: other users may write here, so the compiled modules in it are not used"
            );
        }
        Ok(Self { folder })
    }

    /// The module, loaded or compiled. Errors of the folder only cost time.
    pub(super) fn component(&self, engine: &Engine, wasm: &[u8]) -> Result<Component> {
        let path = self.folder.join(file_name(engine, wasm));
        if let Some(code) = self.load(&path) {
            match deserialize(engine, &code) {
                Ok(component) => return Ok(component),
                Err(e) => {
                    let path = path.display();
                    tracing::warn!(
                        "{path}: cannot load the compiled module; compiling it again: {e:#}"
                    );
                }
            }
        }
        let code = engine.precompile_component(wasm)?;
        if let Err(e) = self.store(&path, &code) {
            let path = path.display();
            tracing::warn!(
                "{path}: cannot store the compiled module; the next start compiles it again: {e}"
            );
        }
        deserialize(engine, &code)
    }

    /// The code in the file, if it can be trusted and is complete.
    fn load(&self, path: &Path) -> Option<Vec<u8>> {
        let folder = fs::symlink_metadata(&self.folder).ok()?;
        let at_path = fs::symlink_metadata(path).ok()?;
        if !at_path.is_file() || !is_private(&folder, &folder) || !is_private(&at_path, &folder) {
            return None;
        }
        let mut bytes = Vec::new();
        File::open(path).ok()?.take(FILE_MAX).read_to_end(&mut bytes).ok()?;
        let head = bytes.get(..HEAD)?;
        let (magic, hash) = head.split_at_checked(MAGIC.len())?;
        let code = bytes.get(HEAD..)?;
        if magic != MAGIC || hash != &Sha256::digest(code)[..] {
            return None;
        }
        bytes.drain(..HEAD);
        Some(bytes)
    }

    /// Stores the code atomically: writes a temporary file, syncs it, renames it.
    fn store(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let written = self.write(&beside, code).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            // Deletes what a failed write left. If that fails too, the first error is the one to report.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        // Deletes what a killed process with the same process id may have left.
        let _ = fs::remove_file(path);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.write_all(MAGIC)?;
        file.write_all(&Sha256::digest(code))?;
        file.write_all(code)?;
        file.sync_all()
    }
}

/// Whether only the folder's owner can write it.
#[cfg(unix)]
fn is_private(of: &fs::Metadata, folder: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    of.mode() & 0o022 == 0 && of.uid() == folder.uid()
}

#[cfg(not(unix))]
fn is_private(_of: &fs::Metadata, _folder: &fs::Metadata) -> bool {
    true
}

/// `<hash of the module>-<hash of engine version, processor and settings>.cwasm`
fn file_name(engine: &Engine, wasm: &[u8]) -> String {
    let mut engine_hash = Sha256Hasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut engine_hash);
    let engine_hash = hex(&engine_hash.0.finalize());
    format!("{}-{}.cwasm", hex(&Sha256::digest(wasm)), engine_hash.get(..16).unwrap_or_default())
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Unlike the standard hasher it gives the same result in every process.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finalize();
        digest.iter().take(8).fold(0, |n, byte| n << 8 | u64::from(*byte))
    }
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, code: &[u8]) -> Result<Component> {
    // SAFETY: `deserialize` runs `code` as machine code, so it must come from `precompile_component` of a
    // compatible engine. It does: it was either compiled by this process a moment ago, or read by `load`, which
    // takes only whole files (hash) that nobody but the folder's owner can have written (owner and mode of file
    // and folder, no links). The engine is part of the file's name, and wasmtime checks it again.
    unsafe { Component::deserialize(engine, code) }
}
