//! Queues, exchanges and bindings of the configuration, declared at every start as a client would declare them. One
//! that exists with other settings is a mistake; it is found before anything is declared.

use crate::config::{Argument, Loaded, Mistake, suggestion, values};
use crate::fit::own_queue;
use crate::wiring::SESSION_QUEUES;
use crossdock_core::exchange::{Binding, Target};
use crossdock_core::{
    Bind, BindTarget, Broker, Error, ExchangeSpec, ForeignKind, Identity, Key, Kind,
    NAME_BYTES_MAX, Name, ObjectLimits, Origin, QueueSpec, Session, SessionSpec, check_new,
};
use std::collections::{BTreeMap, BTreeSet};

/// The declarations, each with its key in the configuration.
#[derive(Debug, Default)]
pub struct Declarations {
    pub exchanges: Vec<(String, ExchangeSpec)>,
    pub queues: Vec<(String, QueueSpec)>,
    pub bindings: Vec<(String, Bind)>,
    /// Plugins are not loaded: of the exchange types that they bring only the names are known.
    without_plugins: bool,
}

impl Declarations {
    /// Reads them from the configuration; `predeclared` are the broker's own exchanges. Whether they fit together is
    /// checked in fit.rs.
    pub fn read(
        loaded: &Loaded,
        predeclared: &[ExchangeSpec],
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        Self::default().read_all(loaded, predeclared, mistakes)
    }

    /// The same where plugins are not loaded: what they bring is not checked.
    pub fn read_without_plugins(
        loaded: &Loaded,
        predeclared: &[ExchangeSpec],
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let all = Self { without_plugins: true, ..Self::default() };
        all.read_all(loaded, predeclared, mistakes)
    }

    fn read_all(
        mut self,
        loaded: &Loaded,
        predeclared: &[ExchangeSpec],
        mistakes: &mut Vec<Mistake>,
    ) -> Self {
        let all = &mut self;
        all.read_queues(loaded, mistakes);
        all.read_exchanges(loaded, predeclared, mistakes);
        all.read_bindings(loaded, mistakes);
        self
    }

    fn read_queues(&mut self, loaded: &Loaded, mistakes: &mut Vec<Mistake>) {
        let mut names = BTreeSet::new();
        for (index, queue) in loaded.config.declared.queues.iter().enumerate() {
            let key = format!("queue[{index}]");
            let name = queue.name.as_str();
            let plain = QueueSpec {
                durable: queue.durable,
                auto_delete: queue.auto_delete,
                ..QueueSpec::durable(name)
            };
            if let Err(reason) = check_name(name, &mut names).and_then(|()| may_be_a_queue(name)) {
                mistakes.push(loaded.mistake(format!("{key}.name"), reason));
            }
            check_arguments(&queue.arguments, &QueueSpec::ARGUMENTS, (&key, loaded), mistakes);
            let before = mistakes.len();
            check_queue_arguments((&plain, &queue.arguments), (&key, loaded), mistakes);
            match plain.with_arguments(values(&queue.arguments)) {
                Ok(spec) => self.queues.push((key, spec)),
                Err(error) if mistakes.len() == before => {
                    let (name, why) = error.argument();
                    mistakes.push(loaded.mistake(format!("{key}.arguments.{name}"), why));
                }
                Err(_) => {}
            }
        }
    }

    fn read_exchanges(
        &mut self,
        loaded: &Loaded,
        predeclared: &[ExchangeSpec],
        mistakes: &mut Vec<Mistake>,
    ) {
        let mut names = BTreeSet::new();
        for (index, exchange) in loaded.config.declared.exchanges.iter().enumerate() {
            let key = format!("exchange[{index}]");
            if let Err(reason) = check_name(&exchange.name, &mut names) {
                mistakes.push(loaded.mistake(format!("{key}.name"), reason));
            }
            let kind = self.kind(&exchange.kind);
            if !matches!(kind, Ok(Kind::Foreign(_))) {
                let known: &[&str] = match kind {
                    Ok(Kind::ConsistentHash) => &ExchangeSpec::ARGUMENTS_OF_HASH,
                    Ok(Kind::Delayed) => &ExchangeSpec::ARGUMENTS_OF_DELAYED,
                    Ok(Kind::RecentHistory) => &ExchangeSpec::ARGUMENTS_OF_RECENT_HISTORY,
                    _ => &ExchangeSpec::ARGUMENTS,
                };
                check_arguments(&exchange.arguments, known, (&key, loaded), mistakes);
            }
            let alternate = exchange.arguments.get("alternate-exchange");
            if alternate.is_some_and(|value| !matches!(value, Argument::Text(_))) {
                let key = format!("{key}.arguments.alternate-exchange");
                mistakes.push(loaded.mistake(key, "not a string"));
            }
            match kind {
                Ok(kind) => {
                    let spec = ExchangeSpec {
                        durable: exchange.durable,
                        auto_delete: exchange.auto_delete,
                        internal: exchange.internal,
                        arguments: values(&exchange.arguments),
                        ..ExchangeSpec::new(exchange.name.as_str(), kind)
                    };
                    if let Err(reason) = may_be_an_exchange(&spec, predeclared) {
                        mistakes.push(loaded.mistake(format!("{key}.name"), reason));
                    }
                    if let Err(error) = self.check(&spec) {
                        mistakes.push(loaded.mistake(format!("{key}.arguments"), error.detail()));
                    }
                    self.exchanges.push((key, spec));
                }
                Err(reason) => mistakes.push(loaded.mistake(format!("{key}.type"), reason)),
            }
        }
    }

    /// The kind of exchange of that name.
    fn kind(&self, name: &str) -> Result<Kind, String> {
        let stored = || Kind::stored(name).filter(|_| self.without_plugins);
        Kind::parse(name).ok().or_else(stored).ok_or_else(|| {
            let (plugins, _) = ForeignKind::names();
            let all: Vec<&str> = Kind::NAMES.into_iter().chain(plugins).collect();
            let help = "other types come with the plugins of [[plugin]]";
            format!("'{name}' is none of {}; {help}", all.join(", "))
        })
    }

    /// Whether the plugin that brings its type takes its arguments.
    fn check(&self, spec: &ExchangeSpec) -> Result<(), Error> {
        if self.without_plugins { Ok(()) } else { spec.check() }
    }

    /// Whether the plugin that brings the type of its exchange takes that binding.
    fn check_binding(&self, bind: &Bind) -> Result<(), Error> {
        let exchange = self.exchanges.iter().find(|(_, spec)| spec.name == bind.source);
        let foreign = exchange.filter(|(_, spec)| matches!(spec.kind, Kind::Foreign(_)));
        let Some((_, spec)) = foreign.filter(|_| !self.without_plugins) else { return Ok(()) };
        // Where it leads is not there yet, and no part of what makes it right.
        let to = Target::Exchange(bind.source.clone());
        let mut binding = Binding::new(bind.source.clone(), bind.key.clone(), to);
        binding.arguments.clone_from(&bind.arguments);
        spec.matcher(false).asked().map_or(Ok(()), |asked| asked.check(&binding))
    }

    fn read_bindings(&mut self, loaded: &Loaded, mistakes: &mut Vec<Mistake>) {
        for (index, binding) in loaded.config.declared.bindings.iter().enumerate() {
            let key = format!("binding[{index}]");
            match target(&binding.to) {
                Some(to) => {
                    let pattern = Key::from(binding.key.as_str());
                    let mut bind = Bind::new(binding.source.as_str(), pattern, to);
                    bind.arguments = values(&binding.arguments);
                    if let Err(error) = self.check_binding(&bind) {
                        mistakes.push(loaded.mistake(format!("{key}.key"), error.detail()));
                    }
                    self.bindings.push((key, bind));
                }
                None => {
                    let reason = "is not queue:NAME or exchange:NAME";
                    mistakes.push(loaded.mistake(format!("{key}.to"), reason));
                }
            }
        }
    }

    /// A mistake for each that is there already with other settings. Nothing is changed.
    pub async fn compare(
        &self,
        broker: &Broker,
        loaded: &Loaded,
        limits: &ObjectLimits,
    ) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        if self.is_empty() {
            return mistakes;
        }
        match broker.own_session(&own_session(broker)) {
            Ok(session) => {
                self.find_differences(&session, loaded, &mut mistakes);
                self.count((&session, limits), loaded, &mut mistakes);
                if let Err(error) = session.close().await {
                    mistakes.push(loaded.mistake("", refused(&error)));
                }
            }
            Err(error) => mistakes.push(loaded.mistake("", refused(&error))),
        }
        mistakes
    }

    fn find_differences(&self, session: &Session, loaded: &Loaded, mistakes: &mut Vec<Mistake>) {
        for (key, spec) in &self.exchanges {
            if let Ok(known) = session.exchange(&spec.name) {
                mistakes.extend(other_exchange(&known, spec).map(|why| loaded.mistake(key, why)));
            }
        }
        for (key, spec) in &self.queues {
            if let Ok(known) = session.queue_spec(&spec.name) {
                mistakes.extend(other_queue(&known, spec).map(|why| loaded.mistake(key, why)));
            }
        }
    }

    /// A mistake for each that those, which are declared already, have with other settings.
    pub fn differences(&self, declared: &Self, loaded: &Loaded) -> Vec<Mistake> {
        let mut mistakes = Vec::new();
        for (key, spec) in &self.exchanges {
            let known = declared.exchanges.iter().find(|(_, known)| known.name == spec.name);
            let why = known.and_then(|(_, known)| other_exchange(known, spec));
            mistakes.extend(why.map(|why| loaded.mistake(key, why)));
        }
        for (key, spec) in &self.queues {
            let known = declared.queues.iter().find(|(_, known)| known.name == spec.name);
            let why = known.and_then(|(_, known)| other_queue(known, spec));
            mistakes.extend(why.map(|why| loaded.mistake(key, why)));
        }
        mistakes
    }

    /// What would be more than there may be.
    fn count(
        &self,
        (session, objects): (&Session, &ObjectLimits),
        loaded: &Loaded,
        mistakes: &mut Vec<Mistake>,
    ) {
        let counts = session.counts();
        let new_queues = self.queues.iter().filter(|(_, q)| session.queue_spec(&q.name).is_err());
        let new_exchanges =
            self.exchanges.iter().filter(|(_, x)| session.exchange(&x.name).is_err());
        let mut check = |what: &str, limit: &str, max: usize, there: usize, new: usize| {
            if new > 0 && there + new > max {
                let reason = format!(
                    "allows {max} {what}: {there} are there, and {new} more are to be declared"
                );
                mistakes.push(loaded.mistake(limit, reason));
            }
        };
        check("queues", "objects.queues", objects.queues, counts.queues, new_queues.count());
        let (max, there) = (objects.exchanges, counts.exchanges);
        check("exchanges", "objects.exchanges", max, there, new_exchanges.count());
    }

    /// Declares them, up to the first that the broker refuses.
    pub async fn apply(&self, broker: &Broker, loaded: &Loaded) -> Result<(), Vec<Mistake>> {
        if self.is_empty() {
            return Ok(());
        }
        let failed = |error: Error| vec![loaded.mistake("", refused(&error))];
        let mut session = broker.own_session(&own_session(broker)).map_err(failed)?;
        self.declare(&mut session, loaded).await.map_err(|mistake| vec![mistake])?;
        session.close().await.map_err(failed)
    }

    fn is_empty(&self) -> bool {
        self.exchanges.is_empty() && self.queues.is_empty() && self.bindings.is_empty()
    }

    async fn declare(&self, session: &mut Session, loaded: &Loaded) -> Result<(), Mistake> {
        let failed = |key: &str, error: Error| loaded.mistake(key, refused(&error));
        for (key, spec) in &self.exchanges {
            let declared = session.declare_exchange(spec.clone()).await;
            declared.map_err(|error| failed(key, error))?;
        }
        for (key, spec) in &self.queues {
            let declared = session.declare_queue(spec.clone()).await;
            declared.map_err(|error| failed(key, error))?;
        }
        for (key, bind) in &self.bindings {
            session.bind(bind.clone()).await.map_err(|error| failed(key, error))?;
        }
        Ok(())
    }
}

/// A session in the default virtual host, under the name of the configuration.
fn own_session(broker: &Broker) -> SessionSpec {
    let vhost = broker.settings().vhosts.first().cloned().unwrap_or_default();
    SessionSpec::anonymous(vhost, Origin::default(), Identity::unlimited("config"))
}

const EXISTS: &str = "already exists with other settings";

/// Why an exchange cannot be declared like that where it is there already.
fn other_exchange(known: &ExchangeSpec, spec: &ExchangeSpec) -> Option<String> {
    let setting = known.differs(spec)?;
    let (there, here) = (show(known, setting), show(spec, setting));
    Some(format!("{EXISTS}: its {setting} there is {there}, and here {here}"))
}

fn other_queue(known: &QueueSpec, spec: &QueueSpec) -> Option<String> {
    let setting = known.differs(spec)?;
    Some(format!("{EXISTS}: {setting}: {}", known.contrast(spec, setting)))
}

/// A setting of an exchange as mistakes show it.
fn show(spec: &ExchangeSpec, setting: &str) -> String {
    match setting {
        "type" => format!("'{}'", spec.kind.as_str()),
        "durable" => spec.durable.to_string(),
        "auto_delete" => spec.auto_delete.to_string(),
        "internal" => spec.internal.to_string(),
        "alternate-exchange" => spec.alternate().map_or("none".into(), |name| format!("'{name}'")),
        _ => format!("a table of {}", spec.arguments.len()),
    }
}

/// An argument that has no effect is mostly a misspelt one. A client may give it; in the configuration it is a mistake.
fn check_arguments(
    arguments: &BTreeMap<String, Argument>,
    known: &[&str],
    (key, loaded): (&str, &Loaded),
    mistakes: &mut Vec<Mistake>,
) {
    for name in arguments.keys().filter(|name| !known.contains(&name.as_str())) {
        let hint = match suggestion(name, known.iter().copied()) {
            Some(meant) => format!("; did you mean '{meant}'?"),
            None => format!("; those that have one are {}", known.join(", ")),
        };
        let reason = format!("this argument has no effect{hint}");
        mistakes.push(loaded.mistake(format!("{key}.arguments.{name}"), reason));
    }
}

/// Each argument of a queue, as the broker reads it; it would say the first thing that is wrong only.
fn check_queue_arguments(
    (plain, arguments): (&QueueSpec, &BTreeMap<String, Argument>),
    (key, loaded): (&str, &Loaded),
    mistakes: &mut Vec<Mistake>,
) {
    // A key makes sense beside its exchange only, and the others for a type of queue.
    const BESIDE: [&str; 2] = ["x-dead-letter-exchange", "x-queue-type"];
    for name in QueueSpec::ARGUMENTS {
        let alone = arguments.iter().filter(|(is, _)| *is == name || BESIDE.contains(&is.as_str()));
        let alone = alone.map(|(name, value)| (name.clone(), value.clone())).collect();
        let read = plain.clone().with_arguments(values(&alone));
        if let Some((_, reason)) = read.err().map(|bad| bad.argument()).filter(|it| it.0 == name) {
            mistakes.push(loaded.mistake(format!("{key}.arguments.{name}"), reason));
        }
    }
}

fn check_name<'a>(name: &'a str, names: &mut BTreeSet<&'a str>) -> Result<(), String> {
    match () {
        () if name.is_empty() => Err("must not be empty".to_owned()),
        () if name.len() > NAME_BYTES_MAX => {
            Err(format!("a name has at most {NAME_BYTES_MAX} bytes"))
        }
        () if name.contains('\0') => Err("a name must not contain a zero character".to_owned()),
        () if !names.insert(name) => Err(format!("'{name}' stands twice")),
        () => Ok(()),
    }
}

/// An error when neither clients nor the configuration may declare a queue of that name.
pub fn may_be_a_queue(name: &str) -> Result<(), String> {
    own_queue(name)?;
    let of_sessions = [Name::from(SESSION_QUEUES)];
    check_new("queue", name, &of_sessions).map_err(|why| why.detail().to_owned())
}

fn may_be_an_exchange(spec: &ExchangeSpec, predeclared: &[ExchangeSpec]) -> Result<(), String> {
    let name = &spec.name;
    match predeclared.iter().find(|known| known.name == *name) {
        Some(known) => match known.differs(spec) {
            Some(setting) => {
                let is = show(known, setting);
                Err(format!("the broker declares '{name}' itself, with {setting} = {is}"))
            }
            None => Ok(()),
        },
        None => check_new("exchange", name, &[]).map_err(|why| why.detail().to_owned()),
    }
}

fn target(to: &str) -> Option<BindTarget> {
    match to.split_once(':')? {
        ("queue", name) => Some(BindTarget::Queue(name.into())),
        ("exchange", name) => Some(BindTarget::Exchange(name.into())),
        _ => None,
    }
}

fn refused(error: &Error) -> String {
    format!("cannot be declared: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load};
    use std::sync::atomic::{AtomicU32, Ordering};

    /// The mistakes of a configuration file, without the file's name.
    fn mistakes(text: &str) -> Vec<String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("crossdock-declare-{}-{number}.toml", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, text).expect("the temporary folder is writable");
        let loaded = load(&Request { file: Some(&file), ..Request::default() });
        std::fs::remove_file(&file).expect("it was written");
        let mut mistakes = Vec::new();
        Declarations::read(&loaded.expect("well-formed"), &[], &mut mistakes);
        let prefix = format!("{}:", file.display());
        mistakes.iter().map(|mistake| mistake.to_string().replace(&prefix, "")).collect()
    }

    #[test]
    fn a_name_that_stands_twice_is_a_mistake() {
        let found = mistakes(
            "[[queue]]\nname = \"a\"\n[[queue]]\nname = \"a\"\ndurable = false\n\
             [[exchange]]\nname = \"a\"\ntype = \"topic\"\n\
             [[exchange]]\nname = \"a\"\ntype = \"fanout\"\n",
        );
        let expected =
            ["4:1 queue[1].name: 'a' stands twice", "10:1 exchange[1].name: 'a' stands twice"];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_name_that_no_client_may_give_is_a_mistake() {
        let found = mistakes(
            "[[queue]]\nname = \"mqtt/device\"\n[[queue]]\nname = \"amq.q\"\n\
             [[queue]]\nname = \"route/r\"\n[[exchange]]\nname = \"amq.x\"\ntype = \"topic\"\n",
        );
        let begins = [
            "2:1 queue[0].name: queue name 'mqtt/device' begins with 'mqtt/': such a queue comes with",
            "4:1 queue[1].name: queue name 'amq.q' contains reserved prefix 'amq.*'",
            "6:1 queue[2].name: queues named route/",
            "8:1 exchange[0].name: exchange name 'amq.x' contains reserved prefix 'amq.*'",
        ];
        let is_all = found.len() == begins.len()
            && found.iter().zip(begins).all(|(found, begin)| found.starts_with(begin));
        assert!(is_all, "{found:#?}");
    }

    #[test]
    fn every_argument_that_cannot_be_is_a_mistake() {
        let found = mistakes(
            "[[queue]]\nname = \"a\"\n[queue.arguments]\nx-max-length = \"many\"\n\
             x-overflow = \"spill\"\nx-dead-letter-exchange = 5\n\
             [[queue]]\nname = \"b\"\narguments = { x-dead-letter-routing-key = \"k\" }\n",
        );
        let expected = [
            "4:1 queue[0].arguments.x-max-length: expected integer, got longstr",
            "5:1 queue[0].arguments.x-overflow: unknown overflow policy 'spill'",
            "6:1 queue[0].arguments.x-dead-letter-exchange: expected longstr, got long",
            "9:15 queue[1].arguments.x-dead-letter-routing-key: there is no x-dead-letter-exchange",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn an_argument_without_effect_is_a_mistake() {
        let found = mistakes(
            "[[queue]]\nname = \"a\"\narguments = { x-max-lenght = 5, x-max-length = 5 }\n\
             [[exchange]]\nname = \"x\"\ntype = \"topic\"\narguments = { hash-header = \"h\" }\n",
        );
        let expected = [
            "3:15 queue[0].arguments.x-max-lenght: this argument has no effect; did you mean \
             'x-max-length'?",
            "7:15 exchange[0].arguments.hash-header: this argument has no effect; those that have \
             one are alternate-exchange",
        ];
        assert_eq!(found, expected);
    }
}
