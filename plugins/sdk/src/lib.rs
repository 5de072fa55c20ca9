//! The SDK for native plugins in Rust. A plugin implements one of the traits here and names its type in [`export!`];
//! there is no unsafe code in it. docs/guide/plugins.md makes one of each kind.
//!
//! The contract is include/crossdock_plugin.h, and [`abi`] is the same in Rust. Every function that the broker calls
//! catches panics here: they are reported, and the broker calls the plugin never again.
//!
//! This crate depends on nothing, so that a plugin is built by any toolchain.
#![allow(unsafe_code)]

#[cfg(panic = "abort")]
compile_error!(
    "a plugin has to be built with panic = \"unwind\": otherwise its panics end the broker"
);

pub mod abi;
mod authenticator;
mod exchange;
#[doc(hidden)]
pub mod glue;
mod protocol;
mod transform;
pub mod trial;
mod values;

pub use authenticator::{
    Answer, Authenticator, CertificateNames, Credentials, Login, Rights, Secret, User,
};
pub use exchange::{Binding, Exchange, ExchangeKind, ExchangeSpec, Routing, Table};
pub use glue::{Level, log};
pub use protocol::{Connection, Happened, Protocol, Settled, Wishes};
pub use transform::{Decision, Message, Output, Patch, Setting, Step, Transform};
pub use values::{Argument, Value, argument};

/// How a plugin begins.
pub trait Start: Sized + Send + Sync + 'static {
    /// Called once. `with`: the table of that name in the plugin's section of the configuration, as JSON. An error
    /// keeps the broker from starting, and says why.
    fn start(with: &str) -> Result<Self, String>;
}

/// Makes a library that the broker loads: `export!(exchange: MyKind);`, `export!(protocol: MyProtocol);`,
/// `export!(authenticator: MyUsers);` or `export!(transform: MyTransform);`. Its name and version are the package's.
#[macro_export]
macro_rules! export {
    (exchange: $kind:ty) => {
        $crate::export!(@ $kind, KIND_EXCHANGE, exchange_kind, ExchangeKind);
    };
    (protocol: $kind:ty) => {
        $crate::export!(@ $kind, KIND_PROTOCOL, protocol, Protocol);
    };
    (authenticator: $kind:ty) => {
        $crate::export!(@ $kind, KIND_AUTHENTICATOR, authenticator, Authenticator);
    };
    (transform: $kind:ty) => {
        $crate::export!(@ $kind, KIND_TRANSFORM, transform, Transform);
    };
    (@ $kind:ty, $bit:ident, $field:ident, $table:ident) => {
        #[unsafe(no_mangle)]
        pub static CROSSDOCK_PLUGIN_ABI: $crate::abi::PluginAbi =
            $crate::glue::mark($crate::abi::$bit);

        /// # Safety
        /// Called by the broker only.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn crossdock_plugin_entry_v1(
            host: *const $crate::abi::Host,
            out: *mut $crate::abi::Plugin,
        ) -> i32 {
            static TABLE: $crate::abi::$table = $crate::glue::$field::<$kind>();
            let plugin = $crate::abi::Plugin {
                $field: &raw const TABLE,
                ..$crate::glue::plugin::<$kind>(
                    env!("CARGO_PKG_NAME"),
                    env!("CARGO_PKG_VERSION"),
                )
            };
            // SAFETY: the broker's promise.
            unsafe { $crate::glue::enter(host, out, plugin) }
        }
    };
}
