//! What the requests of one connection look at, and who asks.

use super::answer::Refusal;
use super::operations::Operations;
use crate::metrics::Node;
use crate::process::Started;
use crossdock_core::{Actor, Broker, Identity, Name, Origin, Session, SessionSpec};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Requests that look at many objects at once; others wait.
const AT_ONCE: usize = 2;
/// Requests that wait for that, at most; others are answered 503.
const WAITING: usize = 32;

/// What all connections share.
pub struct Common {
    pub operations: Arc<dyn Operations>,
    pub node: Node,
    pub started: Started,
    looking: Semaphore,
    waiting: Semaphore,
}

impl Common {
    /// For a program that does this.
    pub fn new(operations: Arc<dyn Operations>, node: Node) -> Self {
        let (looking, waiting) = (Semaphore::new(AT_ONCE), Semaphore::new(WAITING));
        Self { operations, node, started: Started::now(), looking, waiting }
    }
}

/// What a request looks at.
#[derive(Clone)]
pub struct View {
    pub broker: Broker,
    pub common: Arc<Common>,
    pub actor: Actor,
}

impl View {
    /// Looks at the broker, off the threads that serve connections.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let busy = || Refusal::later("too many requests wait for an answer: try again later");
        let _waits = self.common.waiting.try_acquire().map_err(|_| busy())?;
        let _looks = self.common.looking.acquire().await.map_err(|_| busy())?;
        let view = self.clone();
        match tokio::task::spawn_blocking(move || look(&view)).await {
            Ok(found) => found,
            Err(error) => Err(Refusal::fault(error.to_string())),
        }
    }

    /// That virtual host, or the default one.
    pub fn vhost(&self, asked: Option<&str>) -> Result<Name, Refusal> {
        match asked {
            Some(name) if self.broker.has_vhost(name) => Ok(name.into()),
            Some(name) => Err(Refusal::missing(format!("there is no virtual host '{name}'"))),
            None => {
                let first = self.broker.vhosts().into_iter().next();
                first.ok_or_else(|| Refusal::missing("there is no virtual host"))
            }
        }
    }

    /// A session with all rights in a virtual host, for one act.
    pub fn session(&self, vhost: &Name) -> Result<Session, Refusal> {
        let (user, peer) = (self.actor.user.clone(), self.actor.from.clone());
        let origin = Origin { user: user.clone(), peer, ..Origin::default() };
        let spec = SessionSpec::anonymous(vhost.clone(), origin, Identity::unlimited(user));
        Ok(self.broker.operator_session(&spec)?)
    }
}
