//! What a module remembers while it handles one message: its reads and changes of the step's state.

use super::grants::MemoryGrant;
use bytes::Bytes;
use crossdock_core::state::{State, StateKey, StateLayer};
use std::sync::Arc;

/// Largest key and largest value, in bytes.
const KEY_MAX: usize = 256;
const VALUE_MAX: usize = 64 << 10;
/// Keys that one request lists at most.
const LISTED_MAX: u32 = 1_024;

/// The state of one step during one call.
pub(super) struct CallMemory {
    pub layer: Arc<StateLayer>,
    pub grant: MemoryGrant,
}

impl CallMemory {
    fn key(&self, key: &str) -> StateKey {
        (self.grant.step, key.into())
    }

    pub(super) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.layer.get(&self.key(key)).map(Vec::from)
    }

    /// An error: nothing is changed.
    pub(super) fn set(&self, key: &str, value: Vec<u8>) -> Result<(), String> {
        if key.is_empty() || key.len() > KEY_MAX {
            return Err(format!("a key has 1 to {KEY_MAX} bytes, and not {}", key.len()));
        }
        if value.len() > VALUE_MAX {
            return Err(format!("a value has at most {VALUE_MAX} bytes, and not {}", value.len()));
        }
        let (value, of) = (Bytes::from(value), self.key(key));
        let now = self.layer.size(self.grant.step);
        let then = now.replaced(key, self.layer.get(&of).as_ref(), Some(&value));
        let bytes_max = self.grant.bytes_max;
        if then.bytes > bytes_max && then.bytes > now.bytes {
            return Err(format!(
                "the step would remember {} bytes; its kv_max is {bytes_max} (each key counts with its \
                 bytes, its value's and 128 more)",
                then.bytes
            ));
        }
        self.layer.set(of, Some(value));
        Ok(())
    }

    pub(super) fn delete(&self, key: &str) {
        self.layer.set(self.key(key), None);
    }

    pub(super) fn keys(&self, prefix: &str, limit: u32) -> Vec<String> {
        let limit = usize::try_from(limit.min(LISTED_MAX)).unwrap_or_default();
        let keys = self.layer.keys(self.grant.step, prefix, limit);
        keys.iter().map(ToString::to_string).collect()
    }
}
