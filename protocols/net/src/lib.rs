//! Sockets: listening, telling protocols apart on a shared port, and the two buffers of a connection. It knows no
//! protocol and no message.

mod input;
mod listen;
mod output;

pub use input::Input;
pub use listen::{Listener, bind, serve};
pub use output::Output;
