//! Reply addresses: a lane gets a name that answers can be published to by the default exchange, in this virtual host,
//! by whoever knows it. They come straight to the session, now or never, as long as the lane lives.

use super::state::Session;
use crate::broker::door::names::{REPLY_NAMES, is_reply_name};
use crate::broker::door::request::{LaneId, ReplyAddress, SessionLife};
use crate::broker::shared::identifiers::Identifiers;
use crate::broker::vhost::named::Named;
use crate::broker::vhost::replies::{OwnReply, REPLY_BYTES};
use crate::error::{Error, ErrorKind};
use crate::exchange::SessionId;
use crate::message::{Account, Address, Name, Share};

impl Session {
    /// Gives the lane a reply address. What comes there is delivered with [`ConsumerId::DIRECT`] and a tag whose id is
    /// the returned consumer's. `InUse`: the lane has one. `LimitReached`.
    ///
    /// [`ConsumerId::DIRECT`]: crate::ConsumerId::DIRECT
    pub fn open_reply_address(&mut self, lane: LaneId) -> Result<ReplyAddress, Error> {
        self.check_memory(Share::Connection, REPLY_BYTES)?;
        let consumer = self.new_consumer();
        let (id, subject) = (self.broker.shared().identifiers.next(), self.rights.subject.clone());
        let name = Name::from(format!("{REPLY_NAMES}{}", Identifiers::unique_text()));
        // It is in no list of sessions: it ends with the lane.
        let session = Named::new(SessionId(id), (name.clone(), subject), SessionLife::No, None);
        session.with(|state| state.inbox = Some(self.inbox.clone()));
        let _kept = self.vhost.limits.budget.charge(Account::Kept, REPLY_BYTES);
        let (vhost, given) = (self.vhost.clone(), ReplyAddress { consumer, name: name.clone() });
        let lane = self.lane_mut(lane).ok_or_else(|| Error::new(ErrorKind::NotFound, "no lane"))?;
        if lane.reply.is_some() {
            return Err(Error::new(ErrorKind::InUse, "the lane has a reply address already"));
        }
        let reply = OwnReply { name, consumer, session, _kept };
        // No route to it is remembered yet: nobody knew the name.
        vhost.topology.write().replies.add(&reply);
        lane.reply = Some(Box::new(reply));
        Ok(given)
    }

    /// The lane's reply address leads nowhere from now on. What was on its way is dropped, unless it is in
    /// [`Session::events`] already.
    pub fn close_reply_address(&mut self, lane: LaneId) {
        let reply = self.lane_mut(lane).and_then(|lane| lane.reply.take());
        reply.into_iter().for_each(|reply| self.forget_reply(&reply));
    }

    /// The reply addresses of all lanes go.
    pub(super) fn close_reply_addresses(&mut self) {
        let replies: Vec<_> = self.lanes.iter_mut().filter_map(|(_, l)| l.reply.take()).collect();
        replies.iter().for_each(|reply| self.forget_reply(reply));
    }

    fn forget_reply(&self, reply: &OwnReply) {
        reply.session.with(|state| (state.inbox, state.ended) = (None, true));
        let address = Address::queue(&reply.name);
        self.vhost.topology.write().replies.remove(&reply.name);
        self.vhost.generations.bump_word(address.key.bytes());
        self.vhost.routes.forget(&address);
    }

    /// Somebody waits at that reply address. No right is asked: who knows the name was asked for the answer.
    pub fn is_reply_address(&self, name: &str) -> bool {
        is_reply_name(name.as_bytes()) && self.vhost.topology.read().replies.get(name).is_some()
    }
}
