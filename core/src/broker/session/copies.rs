//! What few publishes ask for: to go to several addresses at once, where whoever is reached by more than one of them
//! gets it once; or to be published later.

use super::state::Session;
use crate::broker::door::request::Aside;
use crate::broker::turn::context::Context;
use crate::broker::turn::run::{Taken, Terms};
use crate::broker::vhost::route::Route;
use crate::broker::vhost::route_cache::Resolved;
use crate::error::Error;
use crate::message::{Address, Key, Message};
use std::sync::Arc;

impl Session {
    /// The route of a message, and of its copies.
    #[inline]
    pub(super) fn routes_of(
        &mut self,
        context: Context<'_>,
        (message, aside): (&Message, Option<&Aside>),
        is_answered: bool,
    ) -> Result<Arc<Resolved>, Error> {
        match aside {
            None => self.route(context, message, is_answered),
            Some(Aside::Due(_)) => self.route_later(context, message),
            Some(Aside::Copies(copies)) => {
                let first = self.route(context, message, is_answered)?;
                self.join_copies(context, (message, copies), &first, is_answered)
            }
        }
    }

    /// What waits is routed, and retained, when it is due. Its exchange has to be there now.
    #[cold]
    fn route_later(
        &mut self,
        context: Context<'_>,
        message: &Message,
    ) -> Result<Arc<Resolved>, Error> {
        let address = message.address();
        context.vhost.check(address)?;
        self.check_write(address)?;
        if !address.is_queue() {
            context.vhost.exchange(&address.exchange)?;
        }
        let stamp = context.vhost.generations.stamp(&address.key);
        Ok(Arc::new(Resolved { address: address.clone(), stamp, route: Route::default() }))
    }

    /// Takes a message to where its route leads, or keeps it until it is due. Who may publish it then is decided then,
    /// by the rights that its publisher has.
    #[inline]
    pub(super) fn take_or_keep(
        &mut self,
        context: Context<'_>,
        (message, aside): (&Message, Option<&Aside>),
        route: &Route,
        terms: Terms,
    ) -> Taken {
        match aside {
            Some(Aside::Due(at)) => {
                let subject = self.rights.subject.clone();
                self.turn.keep_until(context, message, (*at, subject))
            }
            _ => self.turn.publish(context, message, route, terms),
        }
    }

    /// `Invalid`: a content route watches the address of a copy, and would send the copy on as the message itself.
    #[cold]
    fn join_copies(
        &mut self,
        context: Context<'_>,
        (message, copies): (&Message, &[Address]),
        first: &Resolved,
        is_answered: bool,
    ) -> Result<Arc<Resolved>, Error> {
        let mut route = first.route.clone();
        for address in copies {
            let copy = message.with(address.clone(), message.meta().clone());
            let other = self.route(context, &copy, is_answered)?;
            if address != message.address() {
                context.vhost.check_copy(address, &other.route)?;
            }
            route.join(&other.route);
        }
        if route.delays.is_some() {
            let keys: Vec<Key> = copies.iter().map(|address| address.key.detached()).collect();
            route.wait_with(&keys);
        }
        Ok(Arc::new(Resolved { address: first.address.clone(), stamp: first.stamp, route }))
    }
}
