//! Lines for the broker's log. The step has to grant `log` to a module that writes any.

pub use crate::bindings::crossdock::transform::log::Level;

/// Writes a line; in a test of this machine, to standard error.
pub fn write(level: Level, text: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::crossdock::transform::log::write(level, text);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("{level:?}: {text}");
}
