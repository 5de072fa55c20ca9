//! How many connections each user and each virtual host has. A connection has a seat from the opening of its session
//! until that has left, however it ends; one that takes a session over takes the seat of the one that had it.

use super::limits::{Limit, Limits};
use crate::error::Error;
use crate::message::{Name, Origin};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// The open connections, counted.
#[derive(Debug, Default)]
pub struct Seats(Mutex<Taken>);

/// Names come from peers: the maps' hash has a secret. Nothing is in them but what is open.
#[derive(Debug, Default)]
struct Taken {
    users: HashMap<Name, usize>,
    vhosts: HashMap<Name, usize>,
}

/// One connection's place. It is free again when this is dropped.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    user: Name,
    vhost: Name,
}

impl Seats {
    /// A seat in that virtual host. `LimitReached`: the user, or the virtual host, has as many connections as it may.
    pub fn take(
        self: &Arc<Self>,
        limits: &Limits,
        (vhost, who): (&Name, &Origin),
    ) -> Result<Seat, Error> {
        let mut taken = self.0.lock();
        let count = |of: &HashMap<Name, usize>, name: &Name| of.get(name).copied().unwrap_or(0);
        let full = match () {
            () if count(&taken.users, &who.user) >= limits.max(Limit::ConnectionsPerUser) => {
                Some(Limit::ConnectionsPerUser)
            }
            () if count(&taken.vhosts, vhost) >= limits.max(Limit::ConnectionsPerVhost) => {
                Some(Limit::ConnectionsPerVhost)
            }
            () => None,
        };
        if let Some(limit) = full {
            drop(taken);
            return Err(limits.refuse(limit, (vhost, who)));
        }
        *taken.users.entry(who.user.clone()).or_default() += 1;
        *taken.vhosts.entry(vhost.clone()).or_default() += 1;
        drop(taken);
        Ok(Seat { seats: self.clone(), user: who.user.clone(), vhost: vhost.clone() })
    }

    /// Open connections of a user.
    pub fn of_user(&self, user: &str) -> usize {
        self.0.lock().users.get(user).copied().unwrap_or(0)
    }

    /// Open connections in a virtual host.
    pub fn in_vhost(&self, vhost: &str) -> usize {
        self.0.lock().vhosts.get(vhost).copied().unwrap_or(0)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock();
        let taken = &mut *taken;
        for (of, name) in [(&mut taken.users, &self.user), (&mut taken.vhosts, &self.vhost)] {
            let Some(count) = of.get_mut(name) else { continue };
            *count -= 1;
            if *count == 0 {
                of.remove(name);
            }
        }
    }
}
