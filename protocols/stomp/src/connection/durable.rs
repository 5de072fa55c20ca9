//! Durable subscriptions as JMS has them, under a name of ActiveMQ's or Artemis's header: one connection reads such a
//! subscription at a time, and with another topic it is another subscription, as if the old one had been ended before.

use super::Connection;
use crossdock_core::{Bind, BindTarget, Error, ErrorKind, Outcome};

/// Why what waited for a durable subscription is rejected.
const CHANGED: &str = "the durable subscription was changed";
/// Messages that are rejected before others have their turn.
const SLICE: u64 = 256;

/// Another connection reads it.
pub(super) fn in_use(queue: &str) -> Error {
    let detail = format!("the durable subscription '{queue}' is already in use");
    Error::new(ErrorKind::InUse, detail)
}

impl Connection<'_> {
    /// The queue of a durable subscription gets nothing any more but by that binding, which may follow. If it got
    /// something else, what waits in it is not this subscription's: it goes to the queue's dead-letter address, or is
    /// dropped.
    pub(super) async fn only_bound_by(&mut self, bind: &Bind) -> Result<(), Error> {
        let BindTarget::Queue(queue) = &bind.to else { return Ok(()) };
        let is_meant = |known: &Bind| {
            known.source == bind.source
                && known.key == bind.key
                && known.arguments == bind.arguments
        };
        let mut others = self.session.queue_bindings(queue);
        others.retain(|known| !is_meant(known));
        if others.is_empty() {
            return Ok(());
        }
        if self.session.queue_status(queue)?.consumers > 0 {
            return Err(in_use(queue));
        }
        for other in others {
            self.line.while_waiting(self.session.unbind(other)).await?;
        }
        let messages = match self.session.queue_spec(queue)?.dead_letter.is_some() {
            true => self.reject_all(queue).await?,
            false => self.line.while_waiting(self.session.purge(queue)).await?,
        };
        let origin = self.session.origin();
        tracing::warn!(
            queue = %queue, client = %origin.client, user = %origin.user, messages,
            "a durable subscription was changed to another topic: what waited for it has left"
        );
        Ok(())
    }

    /// All that waits goes to the dead-letter address.
    async fn reject_all(&mut self, queue: &str) -> Result<u64, Error> {
        let mut count = 0;
        loop {
            let got = self.line.while_waiting(self.session.get(self.lane, queue, true)).await?;
            let Some((delivery, _)) = got else { break };
            let outcome = Outcome::Rejected { reason: Some(CHANGED.into()) };
            self.session.settle(self.lane, delivery.consumer, &[delivery.offset], outcome);
            count += 1;
            if count % SLICE == 0 {
                self.session.flush();
                self.line.pause().await;
            }
        }
        self.session.flush();
        self.line.while_waiting(self.session.sync()).await?;
        Ok(count)
    }
}
