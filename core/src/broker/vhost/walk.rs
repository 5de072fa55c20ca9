//! From an address to its targets: bindings are followed from exchange to exchange.

use super::route::Found;
use super::topology::{Exchange, Topology};
use crate::broker::door::names::is_reply_name;
use crate::exchange::delayed::{Delay, delay_of};
use crate::exchange::seen::Seen;
use crate::exchange::{Answer, FieldsOf, Hit, Kind, Target, Unknown};
use crate::message::{Address, Key};

/// One publish on its way through exchanges.
struct Walk<'a> {
    topology: &'a Topology,
    answers: &'a [Answer],
    /// Each exchange is visited once.
    seen: Seen,
    next: Vec<&'a Exchange>,
}

impl Topology {
    /// Where an address leads, and whether that depends on the address alone. None: there is no such exchange.
    /// `visits_max`: how many exchanges it may go through; `answers`: of the plugins that were asked.
    pub(super) fn find(
        &self,
        address: &Address,
        fields: FieldsOf<'_>,
        (visits_max, answers): (usize, &[Answer]),
    ) -> Option<(Found, bool)> {
        let mut found = Found::default();
        if address.is_queue() {
            let name = std::str::from_utf8(address.key.bytes()).unwrap_or_default();
            found.exchange = self.counts_of("").cloned();
            found.queues.extend(self.queue(name).map(|q| q.id));
            if found.queues.is_empty() && is_reply_name(name.as_bytes()) {
                found.reply = self.replies.get(name).cloned().map(Box::new);
            }
            return Some((found, true));
        }
        let first = self.exchange_named(&address.exchange)?;
        found.exchange = Some(first.counts.clone());
        let mut walk = Walk { topology: self, answers, seen: Seen::default(), next: vec![first] };
        walk.seen.insert(first);
        let cacheable = walk.run((&address.key, fields), visits_max, &mut found);
        Some((found, cacheable))
    }
}

impl<'a> Walk<'a> {
    /// True when only the key was looked at.
    fn run(
        &mut self,
        (key, fields): (&Key, FieldsOf<'_>),
        visits_max: usize,
        found: &mut Found,
    ) -> bool {
        let mut cacheable = true;
        let mut hits: Vec<Hit> = Vec::new();
        while let Some(exchange) = self.next.pop() {
            // What is refused when it is published to the topic tree does not come in by another exchange.
            if self.topology.is_reserved(exchange, key) {
                found.is_denied = true;
                continue;
            }
            if exchange.spec.kind == Kind::Delayed {
                cacheable = false;
                match delay_of(fields()) {
                    Ok(None) => {}
                    Ok(Some(ms)) => {
                        let (exchange, copies) = (exchange.spec.name.clone(), Box::default());
                        found.delays.push(Delay { exchange, ms, copies });
                        continue;
                    }
                    Err(why) => {
                        found.unknown.push(Unknown::Failed(why));
                        continue;
                    }
                }
            }
            hits.clear();
            match exchange.matcher.route_by((key, fields), self.answers, &mut hits) {
                Ok(is_current) => cacheable &= is_current && !exchange.matcher.reads_fields(),
                Err(unknown) => {
                    found.unknown.push(*unknown);
                    continue;
                }
            }
            found.histories.extend(exchange.matcher.history().cloned());
            found.steps += exchange.matcher.steps() + hits.len();
            let nothing = hits.is_empty();
            for hit in hits.drain(..) {
                match hit.target {
                    Target::Log(id) => found.queues.push(id),
                    Target::Session(id) => found.sessions.push((id, hit.tag, hit.skip_own)),
                    Target::Exchange(name) => self.enter(&name),
                }
                if self.seen.len() > visits_max {
                    found.is_too_far = true;
                    return false;
                }
            }
            if nothing && let Some(alternate) = exchange.spec.alternate() {
                self.enter(alternate);
            }
            if self.seen.len() > visits_max {
                found.is_too_far = true;
                return false;
            }
        }
        // Each one that is dropped is counted.
        cacheable && !found.is_denied
    }

    fn enter(&mut self, name: &str) {
        if let Some(exchange) = self.topology.exchange_named(name)
            && self.seen.insert(exchange)
        {
            self.next.push(exchange);
        }
    }
}
