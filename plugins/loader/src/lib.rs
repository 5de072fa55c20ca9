//! Loads native plugins: shared libraries with the contract of plugins/sdk/include/crossdock_plugin.h.
//!
//! What is loaded runs in this process with all its rights, so only files are loaded that nobody but root or this user
//! can change ([`file`]). Nothing of a plugin is called on a thread of the broker: calls run on a few threads of the
//! plugin's own, and whoever waits for one gives up after a time ([`pool`]). A plugin that panics, hangs or breaks the
//! contract is out of use from then on ([`plugin`]). Libraries are never unloaded.
#![allow(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod authenticator;
mod exchange;
mod file;
mod library;
mod plugin;
mod pool;
mod protocol;
mod sinks;
mod transform;

pub use library::{LoadError, Loaded, check_file, exit_if_stuck, load};
pub use plugin::{Look, Spec};
