//! Reply addresses: names of the default exchange that lead straight to a session's inbox, now or never, while its lane
//! lives. They are no queues: nothing is kept, nothing is bound to them, and nobody else reads them.

use super::named::Named;
use super::route::SessionHit;
use crate::exchange::{BindingTag, Tags};
use crate::message::cost::{ALLOCATION, MAP_ENTRY};
use crate::message::{Charge, Name};
use crate::subscription::ConsumerId;
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// What one takes in memory: the session that it leads to, its name, which stands there three times, and its place.
pub const REPLY_BYTES: usize =
    size_of::<Named>() + size_of::<(Name, SessionHit)>() + 5 * ALLOCATION + MAP_ENTRY;

/// The reply address of a lane.
pub struct OwnReply {
    pub name: Name,
    /// What its session calls the receiver.
    pub consumer: ConsumerId,
    /// Where it leads.
    pub session: Arc<Named>,
    /// What it takes, counted against the memory budget while it is there.
    pub _kept: Charge,
}

/// The reply addresses of a virtual host. Their names are the broker's own, so the hash needs no seed.
#[derive(Default)]
pub struct Replies(FxHashMap<Name, SessionHit>);

impl Replies {
    /// Adds one.
    pub fn add(&mut self, reply: &OwnReply) {
        let tag = BindingTag { id: reply.consumer.0, ..BindingTag::default() };
        let tags = Tags::of_reply(tag);
        // An answer of the connection that asked is an answer, too.
        let own_tags = Some(tags.clone());
        let hit = SessionHit { session: reply.session.clone(), tags, own_tags };
        self.0.insert(reply.name.clone(), hit);
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Where that name leads.
    pub fn get(&self, name: &str) -> Option<&SessionHit> {
        self.0.get(name)
    }
}
