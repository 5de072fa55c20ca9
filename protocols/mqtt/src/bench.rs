//! What the micro-benchmarks see of this crate: PUBLISH in both directions, and its mapping to messages. Not an API: it
//! is compiled with the feature `bench` only.

pub use crate::codec::{
    Block, Fault, Frame, Packet, Publish, PublishHead, Version, cut, decode, id, publish_head,
};
pub use crate::mapping::{Incoming, Rendered, Renderer, message, target};
