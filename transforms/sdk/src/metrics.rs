//! Numbers of the module's own among the broker's metrics. The step has to grant `metrics` to a module that has any.

/// Adds to a counter. An error: the name cannot be, or is a gauge's, or there are 64 numbers already.
pub fn count(name: &str, by: u64) -> Result<(), String> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::crossdock::transform::metrics::count(name, by);
    #[cfg(not(target_family = "wasm"))]
    here::change(name, |number| number + by as f64)
}

/// Sets a gauge. Errors as with [`count`].
pub fn gauge(name: &str, value: f64) -> Result<(), String> {
    #[cfg(target_family = "wasm")]
    return crate::bindings::crossdock::transform::metrics::gauge(name, value);
    #[cfg(not(target_family = "wasm"))]
    here::change(name, |_| value)
}

#[cfg(not(target_family = "wasm"))]
pub use here::read;

/// In tests of this machine: the numbers of the thread.
#[cfg(not(target_family = "wasm"))]
mod here {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    thread_local! {
        static NUMBERS: RefCell<BTreeMap<String, f64>> = const { RefCell::new(BTreeMap::new()) };
    }

    pub fn change(name: &str, change: impl FnOnce(f64) -> f64) -> Result<(), String> {
        NUMBERS.with_borrow_mut(|numbers| {
            let number = numbers.entry(name.to_owned()).or_default();
            *number = change(*number);
        });
        Ok(())
    }

    /// In a test: what this thread's code has counted or set under that name; 0 if nothing.
    pub fn read(name: &str) -> f64 {
        NUMBERS.with_borrow(|numbers| numbers.get(name).copied().unwrap_or_default())
    }
}
