//! Write a transform in Rust: implement [`Transform`], name the type in [`transform!`], build for `wasm32-wasip2`.
//!
//! ```ignore
//! use crossdock_transform_sdk::{Decision, Message, Transform, transform};
//!
//! struct Upper;
//!
//! impl Transform for Upper {
//!     fn new(_config: &str) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//!     fn handle(&mut self, message: &Message) -> Result<Decision, String> {
//!         Ok(Decision::Replace(Patch::body(message.body().to_ascii_uppercase())))
//!     }
//! }
//!
//! transform!(Upper);
//! ```
//!
//! On the machine it is written on, `cargo test` runs the same code with messages that the test makes:
//!
//! ```
//! # use crossdock_transform_sdk::{Decision, Message, Patch, Transform};
//! # struct Upper;
//! # impl Transform for Upper {
//! #     fn new(_config: &str) -> Result<Self, String> {
//! #         Ok(Self)
//! #     }
//! #     fn handle(&mut self, message: &Message) -> Result<Decision, String> {
//! #         Ok(Decision::Replace(Patch::body(message.body().to_ascii_uppercase())))
//! #     }
//! # }
//! let mut upper = Upper::new("{}").unwrap();
//! let decision = upper.handle(&Message::of("stock").content_type_is("text/plain"));
//! let Ok(Decision::Replace(patch)) = decision else { panic!("{decision:?}") };
//! assert_eq!(patch.body.unwrap(), b"STOCK");
//! ```

/// Generated from transforms/wit.
#[allow(missing_docs)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "transform-with-all",
        pub_export_macro: true,
        export_macro_name: "export_world",
        default_bindings_module: "crossdock_transform_sdk::bindings",
    });
}

#[cfg(target_family = "wasm")]
mod heap;
pub mod kv;
pub mod log;
pub mod metrics;
#[cfg(not(target_family = "wasm"))]
mod sample;

#[cfg(target_family = "wasm")]
pub use bindings::crossdock::transform::types::Message;
pub use bindings::crossdock::transform::types::{Decision, Origin, Output, Patch, Value};
#[cfg(not(target_family = "wasm"))]
pub use sample::Message;

/// Most bytes read from the broker at once.
const CHUNK: u32 = 1 << 20;

/// A transform. One value serves many messages, one after the other.
pub trait Transform: Sized + 'static {
    /// Made once, from the step's `with` as JSON. An error keeps the route from starting.
    fn new(config: &str) -> Result<Self, String>;

    /// Decides about one message. An error says what is wrong with it.
    fn handle(&mut self, message: &Message) -> Result<Decision, String>;
}

impl Message {
    /// The whole body.
    pub fn body(&self) -> Vec<u8> {
        let total = self.len();
        let mut body = self.read(0, CHUNK);
        while (body.len() as u64) < total {
            let more = self.read(body.len() as u64, CHUNK);
            if more.is_empty() {
                break;
            }
            body.extend_from_slice(&more);
        }
        body
    }

    /// The whole body as UTF-8 text.
    pub fn text(&self) -> Result<String, String> {
        String::from_utf8(self.body()).map_err(|e| {
            format!("the body is not UTF-8 from byte {} on", e.utf8_error().valid_up_to())
        })
    }
}

impl Patch {
    /// Changes nothing.
    pub fn none() -> Self {
        Self { set: Vec::new(), remove: Vec::new(), content_type: None, body: None }
    }

    /// Replaces the body.
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some(body.into()), ..Self::none() }
    }

    /// Says what the body is.
    pub fn content_type(mut self, content_type: &str) -> Self {
        self.content_type = Some(content_type.to_string());
        self
    }

    /// Sets a header or a property.
    pub fn set(mut self, name: &str, value: Value) -> Self {
        self.set.push((name.to_string(), value));
        self
    }

    /// Removes a header or a property.
    pub fn remove(mut self, name: &str) -> Self {
        self.remove.push(name.to_string());
        self
    }
}

impl Output {
    /// Goes where the route sends.
    pub fn new(patch: Patch) -> Self {
        Self { address: None, delay_ms: None, patch }
    }

    /// Goes to this address instead.
    pub fn to(mut self, address: &str) -> Self {
        self.address = Some(address.to_string());
        self
    }
}

/// Exports a type that implements [`Transform`] as this module's transform. Not built for a broker: exports nothing.
#[cfg(not(target_family = "wasm"))]
#[macro_export]
macro_rules! transform {
    ($transform:ty) => {};
}

/// Exports a type that implements [`Transform`] as this module's transform.
#[cfg(target_family = "wasm")]
#[macro_export]
macro_rules! transform {
    ($transform:ty) => {
        struct CrossdockExport;

        ::std::thread_local! {
            static CROSSDOCK_TRANSFORM: ::std::cell::RefCell<::std::option::Option<$transform>> =
                const { ::std::cell::RefCell::new(::std::option::Option::None) };
        }

        impl $crate::bindings::Guest for CrossdockExport {
            fn init(config: ::std::string::String) -> ::std::result::Result<(), ::std::string::String> {
                let made = <$transform as $crate::Transform>::new(&config)?;
                CROSSDOCK_TRANSFORM.with(|cell| cell.replace(::std::option::Option::Some(made)));
                ::std::result::Result::Ok(())
            }

            fn handle(
                message: &$crate::Message,
            ) -> ::std::result::Result<$crate::Decision, ::std::string::String> {
                CROSSDOCK_TRANSFORM.with(|cell| match cell.borrow_mut().as_mut() {
                    ::std::option::Option::Some(made) => {
                        $crate::Transform::handle(made, message)
                    }
                    ::std::option::Option::None => {
                        ::std::result::Result::Err(::std::string::String::from("not initialised"))
                    }
                })
            }
        }

        $crate::bindings::export_world!(CrossdockExport with_types_in $crate::bindings);
    };
}
