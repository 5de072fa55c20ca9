//! Sockets: listening, recognising protocols on a shared port, and the loop of a connection with its two buffers and
//! its deadlines. It knows no protocol and no message.

mod deadlines;
mod input;
mod line;
mod listen;
mod output;
mod turn;

pub use input::Input;
pub use line::{Dialect, Entrance, KeepAlive, Line, Lost, Ready};
pub use listen::{Listener, bind, serve};
pub use output::Output;
