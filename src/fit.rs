//! Whether the parts of a configuration fit together: what is used is declared or the broker's own, and addresses can
//! be reached. A configuration stands for itself: what clients may have declared does not count.

use crate::config::{Loaded, Mistake, address};
use crate::declare::{Declarations, may_be_a_queue};
use crate::places::{Place, meet};
use crossdock_core::filter::{Word, words};
use crossdock_core::message::lookup;
use crossdock_core::{Address, BindTarget, ExchangeSpec, Key, Kind, Name, Settings, TopicRules};
use std::collections::{BTreeMap, BTreeSet};

/// Queues whose names begin like this are the broker's own: what waits for routes.
const OWN_QUEUES: &str = "route/";

/// How a binding's arguments are compared.
const MATCHES: [&str; 4] = ["all", "any", "all-with-x", "any-with-x"];

/// Everything that exists where only the configuration was applied.
pub struct Topology<'a> {
    pub topic_exchange: Name,
    topics: &'a TopicRules,
    exchanges: BTreeMap<Name, Exchange>,
    /// Those with a `[[queue]]` of their own, and those that are declared because a route sends to them.
    configured: BTreeSet<String>,
    sent_to: BTreeSet<String>,
    bindings: Vec<(Name, Key, BindTarget)>,
}

struct Exchange {
    /// None: it is configured with a type that there is not.
    kind: Option<Kind>,
    alternate: Option<Name>,
}

impl<'a> Topology<'a> {
    /// Of the configuration and the exchanges that are there anyway.
    pub fn new(
        loaded: &Loaded,
        settings: &'a Settings,
        predeclared: &[ExchangeSpec],
        declarations: &Declarations,
    ) -> Self {
        let config = &loaded.config;
        let topic_exchange = settings.topic_exchange.clone();
        let mut exchanges = BTreeMap::new();
        for exchange in &config.declared.exchanges {
            let nothing = Exchange { kind: None, alternate: None };
            exchanges.insert(Name::from(exchange.name.as_str()), nothing);
        }
        let read = declarations.exchanges.iter().map(|(_, spec)| spec);
        for spec in read.chain(predeclared) {
            let alternate = spec.alternate().map(Name::from);
            exchanges.insert(spec.name.clone(), Exchange { kind: Some(spec.kind), alternate });
        }
        let mut sent_to = BTreeSet::new();
        let failures = Place::destination(&config.vhost.dead_letter, &topic_exchange);
        for (_, route) in &loaded.routes {
            let to = route.to().into_iter().map(|(_, text)| text).chain(route.dead_letter());
            let places = to.filter_map(|text| Place::destination(text, &topic_exchange));
            let queues = places.chain(failures.clone()).filter(|place| !place.is_computed);
            sent_to.extend(queues.filter(|p| p.exchange.is_none()).map(|p| p.key.to_string()));
        }
        let bindings = declarations.bindings.iter();
        let bindings = bindings.map(|(_, b)| (b.source.clone(), b.key.clone(), b.to.clone()));
        Self {
            topic_exchange,
            topics: &settings.topics,
            exchanges,
            configured: config.declared.queues.iter().map(|queue| queue.name.clone()).collect(),
            sent_to,
            bindings: bindings.collect(),
        }
    }

    /// Whether what is sent to a place comes to what a route watches, whatever the message is.
    pub fn feeds(&self, place: &Place, watch: &Place) -> bool {
        match (&place.exchange, &watch.exchange) {
            (None, None) => !place.is_computed && place.key == watch.key,
            (None, Some(_)) => false,
            (Some(to), Some(at)) => {
                to == at && place.is_matched_by(&watch.key, *to == self.topic_exchange)
            }
            (Some(to), None) => self.queues_behind(to, place).contains(&watch.key.to_string()),
        }
    }

    /// The queues that bindings of the configuration lead to, whatever the message is.
    fn queues_behind(&self, exchange: &Name, place: &Place) -> BTreeSet<String> {
        let (mut queues, mut seen, mut open) = (BTreeSet::new(), BTreeSet::new(), vec![exchange]);
        while let Some(name) = open.pop() {
            let Some(exchange) = self.exchanges.get(name).filter(|_| seen.insert(name)) else {
                continue;
            };
            let mut nothing = true;
            for (source, key, to) in &self.bindings {
                let matched = source == name
                    && match exchange.kind {
                        Some(Kind::Fanout) => true,
                        Some(Kind::Direct) => !place.is_computed && place.key == *key,
                        Some(Kind::Topic) => place.is_matched_by(key, *name == self.topic_exchange),
                        // It depends on the message, or on the others.
                        Some(_) | None => false,
                    };
                nothing &= !matched;
                match to {
                    BindTarget::Queue(queue) if matched => drop(queues.insert(queue.to_string())),
                    BindTarget::Exchange(next) if matched => open.push(next),
                    _ => {}
                }
            }
            let is_plain = |kind| matches!(kind, Kind::Direct | Kind::Fanout | Kind::Topic);
            let depends = exchange.kind.is_some_and(|kind| !is_plain(kind));
            let certain = !place.is_computed && !depends;
            open.extend(exchange.alternate.as_ref().filter(|_| nothing && certain));
        }
        queues
    }

    fn exchange(&self, name: &str) -> Result<(), String> {
        match self.exchanges.contains_key(name) {
            true => Ok(()),
            false => Err(format!(
                "there is no exchange '{name}': neither the broker nor an [[exchange]] here declares it"
            )),
        }
    }

    /// A queue that is there before the routes start.
    fn configured_queue(&self, name: &str) -> Result<(), String> {
        own_queue(name)?;
        match self.configured.contains(name) {
            true => Ok(()),
            false => Err(format!("there is no queue '{name}': no [[queue]] here declares it")),
        }
    }

    fn queue(&self, name: &str) -> Result<(), String> {
        match self.sent_to.contains(name) {
            true => own_queue(name),
            false => self.configured_queue(name),
        }
    }

    /// Whether messages can be sent there at all. A queue that a route sends to is declared.
    pub fn destination(&self, place: &Place) -> Result<(), String> {
        match &place.exchange {
            None => may_be_a_queue(&place.key.to_string()),
            Some(name) => {
                self.exchange(name)?;
                match *name == self.topic_exchange {
                    true => self.topic(place, "nothing can be sent there"),
                    false => Ok(()),
                }
            }
        }
    }

    /// Whether a message can come by there.
    fn watched(&self, place: &Place) -> Result<(), String> {
        match &place.exchange {
            None => own_queue(&place.key.to_string()),
            Some(name) => {
                self.exchange(name)?;
                match *name == self.topic_exchange {
                    true => self.topic(place, "nothing ever comes by there"),
                    false => Ok(()),
                }
            }
        }
    }

    /// Whether some topic that can be published to is matched.
    fn topic(&self, place: &Place, so: &str) -> Result<(), String> {
        let pattern = place.pattern();
        let rules = self.topics;
        if place.key.bytes().first() == Some(&b'$')
            && !rules.dollar.iter().any(|f| meet(f, &pattern))
        {
            return Err(format!(
                "topics that begin with '$' are the broker's, so {so}; vhost.dollar_topics can make some of \
                 them ordinary"
            ));
        }
        // `#` may stand for no word at all, `+` for an empty one.
        let needed = words(&pattern).filter(|word| *word != Word::Many).count();
        let separators = needed.saturating_sub(1);
        let bytes = words(&pattern).map(|word| match word {
            Word::Is(text) => text.len(),
            _ => 0,
        });
        let bytes = bytes.sum::<usize>() + separators;
        if separators > rules.separators_max || bytes > rules.bytes_max {
            return Err(format!(
                "is longer than topics may be (limits.topic_bytes, limits.topic_separators), so {so}"
            ));
        }
        Ok(())
    }
}

/// An error when the name is one of the broker's own queues.
pub fn own_queue(name: &str) -> Result<(), String> {
    match name.starts_with(OWN_QUEUES) {
        true => Err(format!(
            "queues named {OWN_QUEUES}… are the broker's own, for what waits for routes"
        )),
        false => Ok(()),
    }
}

/// Collects the mistakes with their keys.
struct Check<'a> {
    loaded: &'a Loaded,
    topology: &'a Topology<'a>,
    mistakes: &'a mut Vec<Mistake>,
}

/// Checks all names and addresses that declarations, bindings and routes use.
pub fn check(
    loaded: &Loaded,
    topology: &Topology<'_>,
    declarations: &Declarations,
    mistakes: &mut Vec<Mistake>,
) {
    let mut check = Check { loaded, topology, mistakes };
    check.declarations(declarations);
    check.bindings(declarations);
    if let Ok(address) = address(&loaded.config.vhost.dead_letter, &topology.topic_exchange) {
        check.keep("vhost.dead_letter", topology.destination(&Place::of(&address)));
    }
    check.routes();
}

impl Check<'_> {
    fn keep(&mut self, key: &str, checked: Result<(), String>) {
        if let Err(reason) = checked {
            self.mistakes.push(self.loaded.mistake(key, reason));
        }
    }

    fn declarations(&mut self, declarations: &Declarations) {
        let topology = self.topology;
        for (key, spec) in &declarations.exchanges {
            if let Some(name) = spec.alternate() {
                let key = format!("{key}.arguments.alternate-exchange");
                self.keep(&key, topology.exchange(name));
            }
        }
        for (key, spec) in &declarations.queues {
            let Some((exchange, with)) = &spec.dead_letter else { continue };
            let exchange_key = format!("{key}.arguments.x-dead-letter-exchange");
            let with_key = format!("{key}.arguments.x-dead-letter-routing-key");
            match (exchange.is_empty(), with) {
                (true, Some(name)) => self.keep(&with_key, topology.queue(&name.to_string())),
                // Under the name that the message came with.
                (true, None) => {}
                (false, with) => {
                    self.keep(&exchange_key, topology.exchange(exchange));
                    if let Some(with) =
                        with.as_ref().filter(|_| *exchange == topology.topic_exchange)
                    {
                        let place = Place::of(&Address::new(exchange.clone(), with.clone()));
                        self.keep(&with_key, topology.topic(&place, "nothing can be sent there"));
                    }
                }
            }
        }
    }

    fn bindings(&mut self, declarations: &Declarations) {
        let topology = self.topology;
        for (number, (key, bind)) in declarations.bindings.iter().enumerate() {
            let source = match bind.source.is_empty() {
                true => {
                    Err("the default exchange has no bindings: every queue is reached by its name"
                        .into())
                }
                false => topology.exchange(&bind.source),
            };
            self.keep(&format!("{key}.source"), source);
            let to = match &bind.to {
                BindTarget::Queue(name) => topology.configured_queue(name),
                BindTarget::Exchange(name) => topology.exchange(name),
                BindTarget::Own => Ok(()),
            };
            self.keep(&format!("{key}.to"), to);
            let rules = topology.topics;
            if bind.key.bytes().len() > rules.bytes_max
                || bind.key.separators() > rules.separators_max
            {
                self.keep(
                    &format!("{key}.key"),
                    Err("is longer than limits.topic_bytes and limits.topic_separators allow"
                        .into()),
                );
            }
            let wanted = lookup(&bind.arguments, "x-match");
            if wanted
                .is_some_and(|value| !value.as_str().is_some_and(|text| MATCHES.contains(&text)))
            {
                let reason = format!("is none of {}", MATCHES.join(", "));
                self.keep(&format!("{key}.arguments.x-match"), Err(reason));
            }
            let kind = topology.exchanges.get(&bind.source).and_then(|exchange| exchange.kind);
            let compares = |kind| matches!(kind, Kind::Headers | Kind::Delayed | Kind::Foreign(_));
            if !bind.arguments.is_empty() && kind.is_some_and(|kind| !compares(kind)) {
                let reason = "have no effect: only headers exchanges compare them";
                self.keep(&format!("{key}.arguments"), Err(reason.into()));
            }
            let is_same = |(_, other): &(String, crossdock_core::Bind)| {
                let arguments = other.arguments == bind.arguments;
                (&other.source, &other.key, &other.to) == (&bind.source, &bind.key, &bind.to)
                    && arguments
            };
            if declarations.bindings.iter().take(number).any(is_same) {
                self.keep(key, Err("stands twice".into()));
            }
        }
    }

    fn routes(&mut self) {
        let (loaded, topology) = (self.loaded, self.topology);
        let topics = &topology.topic_exchange;
        for (index, route) in &loaded.routes {
            for (at, text) in route.from() {
                if let Some(place) = Place::watched(text, topics) {
                    self.keep(&format!("route[{index}].from[{at}]"), topology.watched(&place));
                }
            }
            for (at, text) in route.to() {
                if let Some(place) = Place::destination(text, topics) {
                    self.keep(&format!("route[{index}].to[{at}]"), topology.destination(&place));
                }
            }
            let dead_letter = route.dead_letter();
            if let Some(place) = dead_letter.and_then(|text| Place::destination(text, topics)) {
                let key = format!("route[{index}].on_error.dead_letter");
                self.keep(&key, topology.destination(&place));
            }
        }
    }
}

#[cfg(test)]
#[path = "fit_tests.rs"]
mod tests;
