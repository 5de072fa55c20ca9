//! A folder for one test, removed with it.

use crossdock_core::store::{JournalId, JournalWriter, Lease, Store};
use crossdock_store_file::{FileStore, OpenError, Options};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Segment size: one or two dozen small entries fill a segment.
const SEGMENT_BYTES: u64 = 8 << 10;

/// Its path.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NTH: AtomicU32 = AtomicU32::new(0);
        let nth = NTH.fetch_add(1, Ordering::Relaxed);
        let name = format!("crossdock-store-{}-{nth}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    /// Opens the store that is in it.
    pub fn open(&self) -> Result<Arc<dyn Store>, OpenError> {
        let dir = self.0.clone();
        let options = Options { dir, segment_bytes: SEGMENT_BYTES, ..Options::default() };
        Ok(Arc::new(FileStore::open(options)?))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If it cannot be removed, it stays in the system's folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The writer under a new lease, and the lease.
pub async fn writer(store: &dyn Store) -> (Box<dyn JournalWriter>, Lease) {
    let lease = store.coord().acquire("node").await.expect("available").expect("nobody else");
    let writer = store.open(JournalId::Meta, &lease).await.expect("the lease is new");
    (writer, lease)
}
