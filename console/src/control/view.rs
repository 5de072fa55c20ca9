//! What the requests of one connection look at, and who asks.

use super::answer::Refusal;
use super::moves::Moves;
use super::operations::Operations;
use crate::behind;
use crate::metrics::Node;
use crate::process::Started;
use crossdock_core::{Actor, Broker, Identity, Name, Origin, Session, SessionSpec};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Requests that look at many objects at once; others wait.
const AT_ONCE: usize = 2;
/// Requests that wait for that, at most; others are answered 503.
const WAITING: usize = 32;

/// Looks into queues at once; each reads up to 64 MiB of the store, and holds a page of 4 MiB, and its text.
const PEEKS_AT_ONCE: usize = 4;
/// Those that wait for that, at most; others are answered 503. Fewer than the socket has connections: who looks at
/// anything else still finds one.
const PEEKS_WAITING: usize = 8;

/// A turn, as long as it lasts.
pub type Turn<'a> = [SemaphorePermit<'a>; 2];

/// A limited number do something at once, and a limited number wait for it.
struct Turnstile {
    inside: Semaphore,
    all: Semaphore,
}

impl Turnstile {
    fn new(inside: usize, waiting: usize) -> Self {
        Self { inside: Semaphore::new(inside), all: Semaphore::new(inside + waiting) }
    }

    /// Waits for a turn, which lasts as long as what is returned. None: too many wait.
    async fn turn(&self) -> Option<Turn<'_>> {
        let one = self.all.try_acquire().ok()?;
        Some([one, self.inside.acquire().await.ok()?])
    }
}

/// What all connections share.
pub struct Common {
    pub operations: Arc<dyn Operations>,
    pub node: Node,
    pub started: Started,
    pub moves: Moves,
    looks: Turnstile,
    peeks: Turnstile,
}

impl Common {
    /// For a program that does this.
    pub fn new(operations: Arc<dyn Operations>, node: Node) -> Self {
        let looks = Turnstile::new(AT_ONCE, WAITING);
        let peeks = Turnstile::new(PEEKS_AT_ONCE, PEEKS_WAITING);
        let (started, moves) = (Started::now(), Moves::default());
        Self { operations, node, started, moves, looks, peeks }
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
    /// Looks at the broker, behind all that serves connections.
    pub async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&View) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let busy = || Refusal::later("too many requests wait for an answer: try again later");
        let _turn = self.common.looks.turn().await.ok_or_else(busy)?;
        let view = self.clone();
        let found = behind::run(move || look(&view)).await;
        found.unwrap_or_else(|| Err(Refusal::fault("the work for the answer could not be done")))
    }

    /// Waits for a turn to look into a queue, which lasts as long as what is returned.
    pub async fn peek_turn(&self) -> Result<Turn<'_>, Refusal> {
        let turn = self.common.peeks.turn().await;
        turn.ok_or_else(|| {
            Refusal::later(format!(
                "{PEEKS_AT_ONCE} look into queues, and {PEEKS_WAITING} more wait for that: try again later"
            ))
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn whoever_comes_when_enough_wait_is_turned_away() {
        let turnstile = Arc::new(Turnstile::new(2, 1));
        let first = turnstile.turn().await.expect("there is room");
        let _second = turnstile.turn().await.expect("there is room");
        let waits = turnstile.clone();
        let third = tokio::spawn(async move { waits.turn().await.is_some() });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!third.is_finished() && turnstile.turn().await.is_none());
        drop(first);
        assert!(third.await.expect("no panic"), "it waited for the first one");
        assert!(turnstile.turn().await.is_some(), "and has left");
    }
}
