//! Compiled modules on disk, so that a restart does not compile again. A file is named by the module's hash and by
//! everything that the compiled form depends on, and begins with its own hash.
//!
//! Loading compiled code means running it unchecked, so a file is loaded only if it lies in the cache folder itself, is
//! no link, and neither it nor the folder can be written by anybody else; otherwise the module is compiled again.

use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use wasmtime::component::Component;
use wasmtime::{Engine, Result};

const MAGIC: &[u8; 8] = b"XDKWASM1";
const HEAD: usize = MAGIC.len() + 32;
/// Largest file that is loaded.
const FILE_MAX: u64 = 512 << 20;

/// The cache folder.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Makes the folder if it is not there, for its owner only.
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

    /// The module, compiled now or before. Trouble with the folder costs time only.
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

    /// The code in the file, if it can be trusted and is whole.
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

    /// Whole or not at all: written beside, flushed, and moved into place.
    fn store(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        let written = self.write(&beside, code).and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            // The rest of a failed write; if it cannot be removed either, the error at hand is the one to report.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    fn write(&self, path: &Path, code: &[u8]) -> io::Result<()> {
        // What a process of the same id left behind when it was killed in the middle.
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

/// Written only by the folder's owner.
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

/// Unlike the standard one it is the same in every process.
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
