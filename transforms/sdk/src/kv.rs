//! What the step remembers from message to message. The step has to grant `kv` to a module that uses it. A message that
//! fails, is rejected or retried changes nothing.

/// The key's value, if there is one.
pub fn get(key: &str) -> Option<Vec<u8>> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::crossdock::transform::kv::get(key);
    #[cfg(not(target_family = "wasm"))]
    here::get(key)
}

/// The key has that value from now on. An error: the key has none or more than 256 bytes, the value has more than
/// 64 KiB, or the step would remember more than its `kv_max`.
pub fn set(key: &str, value: &[u8]) -> Result<(), String> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::crossdock::transform::kv::set(key, value);
    #[cfg(not(target_family = "wasm"))]
    here::set(key, value)
}

/// The key has no value from now on.
pub fn delete(key: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::crossdock::transform::kv::delete(key);
    #[cfg(not(target_family = "wasm"))]
    here::delete(key);
}

/// Keys that begin so, in the order of their bytes: at most `limit`, and at most 1,024.
pub fn keys(prefix: &str, limit: u32) -> Vec<String> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::crossdock::transform::kv::keys(prefix, limit);
    #[cfg(not(target_family = "wasm"))]
    here::keys(prefix, limit)
}

/// In tests of this machine: what the thread remembers, within the built-in limits. A call that fails is not undone.
#[cfg(not(target_family = "wasm"))]
mod here {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    const BYTES_MAX: usize = 1 << 20;

    thread_local! {
        static VALUES: RefCell<BTreeMap<String, Vec<u8>>> = const { RefCell::new(BTreeMap::new()) };
    }

    pub fn get(key: &str) -> Option<Vec<u8>> {
        VALUES.with_borrow(|values| values.get(key).cloned())
    }

    pub fn set(key: &str, value: &[u8]) -> Result<(), String> {
        if key.is_empty() || key.len() > 256 {
            return Err(format!("a key has 1 to 256 bytes, and not {}", key.len()));
        }
        if value.len() > 64 << 10 {
            return Err(format!("a value has at most 65536 bytes, and not {}", value.len()));
        }
        VALUES.with_borrow_mut(|values| {
            let others = values.iter().filter(|(other, _)| *other != key);
            let others: usize = others.map(|(key, value)| key.len() + value.len() + 128).sum();
            let bytes = others + key.len() + value.len() + 128;
            if bytes > BYTES_MAX {
                return Err(format!("the step would remember {bytes} bytes; its kv_max is {BYTES_MAX}"));
            }
            values.insert(key.to_owned(), value.to_vec());
            Ok(())
        })
    }

    pub fn delete(key: &str) {
        VALUES.with_borrow_mut(|values| values.remove(key));
    }

    pub fn keys(prefix: &str, limit: u32) -> Vec<String> {
        VALUES.with_borrow(|values| {
            let from = values.range(prefix.to_owned()..).map(|(key, _)| key);
            from.take_while(|key| key.starts_with(prefix))
                .take(limit.min(1_024) as usize)
                .cloned()
                .collect()
        })
    }
}
