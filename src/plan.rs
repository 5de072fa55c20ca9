//! The plan of a broker: every setting checked, every module compiled, nothing opened and nothing bound. All mistakes
//! are collected.

use crate::config::{self, Config, Loaded, Mistake, Size};
use crate::declare::Declarations;
use crate::fit::Topology;
use crate::listeners::{self, Port};
use crate::places::Place;
use crate::plugins::Plugins;
use crate::routes::{Purpose, Routes};
use crate::show::Shown;
use crate::wiring::{self, Protocols};
use crate::{circles, fit, login_order, machine, show, tokens, users, vhosts};
use crossdock_auth::TokenHandle;
use crossdock_core::{
    Account, Address, Broker, ClientLimits, ExchangeSpec, Key, Name, ObjectLimits, Settings,
    TopicRules,
};
use std::path::PathBuf;
use std::sync::Arc;

/// Largest number of journal bytes between two snapshots; two segments, if that is less.
const SNAPSHOT_BYTES: usize = 64 << 20;

/// Everything that is needed to open a broker.
pub struct Plan {
    pub settings: Settings,
    pub protocols: Protocols,
    /// Exchanges that the protocols expect.
    pub predeclared: Vec<ExchangeSpec>,
    pub ports: Vec<Port>,
    pub users: Vec<Account>,
    pub tokens: TokenHandle,
    pub declarations: Declarations,
    pub routes: Routes,
    pub plugins: Plugins,
}

/// Makes the plan.
pub fn plan(loaded: &Loaded, purpose: Purpose) -> Result<Plan, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let before = purpose.before().map(|before| &before.plugins);
    // What they bring can be declared.
    let plugins = Plugins::load(loaded, before, &mut mistakes);
    let protocols = Protocols::new(loaded, &plugins);
    wiring::check_limits(loaded, &mut mistakes);
    let settings = settings(loaded, &mut mistakes);
    let ports = listeners::ports(loaded, &protocols.all(), &mut mistakes);
    let users = users::users(loaded, &default_vhost(&settings), &mut mistakes);
    let tokens = tokens::tokens(loaded, &mut mistakes);
    login_order::check(loaded, &plugins, &mut mistakes);
    vhosts::check(loaded, &default_vhost(&settings), &mut mistakes);
    let predeclared = wiring::topology(&protocols.all()).unwrap_or_else(|reason| {
        mistakes.push(loaded.mistake("", reason));
        Vec::new()
    });
    let declarations = Declarations::read(loaded, &predeclared, &mut mistakes);
    let (queues, most) = (declarations.queues.len(), settings.objects.queues);
    if queues > most {
        let reason = format!("allows {most} queues, and {queues} are to be declared");
        mistakes.push(loaded.mistake("objects.queues", reason));
    }
    let topology = Topology::new(loaded, &settings, &predeclared, &declarations);
    fit::check(loaded, &topology, &declarations, &mut mistakes);
    circles::check(loaded, &topology, &mut mistakes);
    let routes = Routes::compile((loaded, &settings), &plugins, purpose, &mut mistakes);
    match mistakes.is_empty() && loaded.mistakes.is_empty() {
        true => {
            let plan = Plan {
                settings,
                protocols,
                predeclared,
                ports,
                users,
                tokens: TokenHandle::new(tokens),
                declarations,
                routes,
                plugins,
            };
            Ok(plan)
        }
        false => Err(loaded.all_mistakes(mistakes)),
    }
}

impl Plan {
    /// Opens the broker on `store` and recovers what is stored there. Nothing is declared yet.
    pub async fn recover(
        &self,
        store: Arc<dyn crossdock_core::store::Store>,
        loaded: &Loaded,
    ) -> Result<Broker, Vec<Mistake>> {
        let setup = self.broker_setup(store, loaded)?;
        Broker::open(setup).await.map_err(|error| not_recovered(loaded, &error))
    }

    /// Opens a stopped store to change users and sessions in it: nothing else in it changes.
    pub async fn recover_at_rest(
        &self,
        store: Arc<dyn crossdock_core::store::Store>,
        loaded: &Loaded,
    ) -> Result<Broker, Vec<Mistake>> {
        let setup = self.broker_setup(store, loaded)?;
        Broker::open_at_rest(setup).await.map_err(|error| not_recovered(loaded, &error))
    }

    fn broker_setup(
        &self,
        store: Arc<dyn crossdock_core::store::Store>,
        loaded: &Loaded,
    ) -> Result<crossdock_core::Setup, Vec<Mistake>> {
        Ok(crossdock_core::Setup {
            settings: self.settings.clone(),
            formats: wiring::formats(&self.protocols.all()),
            topology: self.predeclared.clone(),
            store,
            authenticator: wiring::authenticator(loaded, &self.plugins, self.tokens.clone())?,
            users: self.users.clone(),
        })
    }

    /// Declares what is configured, and starts the routes after it: what they send to is there then.
    pub async fn set_up(&self, broker: &Broker, loaded: &Loaded) -> Result<(), Vec<Mistake>> {
        vhosts::make(broker, loaded, "start").await?;
        self.declarations.apply(broker, loaded).await?;
        let started = broker.start_routes(self.routes.list()).await;
        started.map_err(|error| vec![loaded.mistake("route", error.detail())])
    }

    /// Whether messages can be sent to an address that is not in the configuration.
    pub fn check_destination(&self, address: &Address, loaded: &Loaded) -> Result<(), String> {
        let (settings, declarations) = (&self.settings, &self.declarations);
        let topology = Topology::new(loaded, settings, &self.predeclared, declarations);
        topology.destination(&Place::of(address))
    }

    /// The routes as people read them.
    pub fn show_routes(&self, loaded: &Loaded) -> String {
        let specs = loaded.routes.iter().map(|(_, spec)| spec);
        let shown = specs.filter_map(|spec| {
            let route = self.routes.find(spec.name())?;
            Some(Shown { spec, route })
        });
        let shown: Vec<Shown<'_>> = shown.collect();
        show::routes(&shown, &self.settings.dead_letter, &self.settings.topic_exchange)
    }
}

/// Where compiled modules are stored.
pub fn cache_dir(loaded: &Loaded) -> PathBuf {
    loaded.config.data_dir.join("modules")
}

fn not_recovered(loaded: &Loaded, error: &crossdock_core::Error) -> Vec<Mistake> {
    vec![loaded.mistake("data_dir", format!("the store cannot be recovered: {error}"))]
}

/// The virtual host that the configuration is about.
pub fn default_vhost(settings: &Settings) -> Name {
    settings.vhosts.first().cloned().unwrap_or_else(|| "/".into())
}

/// Limits and marks.
pub fn settings(loaded: &Loaded, mistakes: &mut Vec<Mistake>) -> Settings {
    let config = &loaded.config;
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut settings = Settings {
        memory_high: bytes(config.memory.high.of(machine::memory_bytes())),
        memory_resident: bytes(config.memory.resident.0),
        disk_free_alarm: config.store.disk_free_alarm.map(|size| size.0),
        disk_free_hard: config.store.disk_free_hard.0,
        snapshot_bytes: bytes(config.store.segment_bytes.0).saturating_mul(2).min(SNAPSHOT_BYTES),
        session_share: bytes(config.limits.session_share_bytes.0),
        inbox_bytes_max: bytes(config.limits.inbox_bytes.0),
        message_bytes_max: bytes(config.limits.message_bytes.0),
        topics: TopicRules {
            bytes_max: config.limits.topic_bytes,
            separators_max: config.limits.topic_separators,
            dollar: Vec::new(),
            session_queues: vec![crate::wiring::SESSION_QUEUES.into()],
        },
        objects: objects(config),
        ..Settings::default()
    };
    for (index, text) in config.vhost.dollar_topics.iter().enumerate() {
        match dollar_topics(text) {
            Ok(filter) => settings.topics.dollar.push(filter),
            Err(reason) => {
                mistakes.push(loaded.mistake(format!("vhost.dollar_topics[{index}]"), reason))
            }
        }
    }
    let mqtt = &config.limits.mqtt;
    for (key, text) in [("another_server", &mqtt.another_server), ("moved_to", &mqtt.moved_to)] {
        if let Some(reason) = text.as_deref().and_then(no_server) {
            mistakes.push(loaded.mistake(format!("limits.mqtt.{key}"), reason));
        }
    }
    match config::address(&config.vhost.dead_letter, &settings.topic_exchange) {
        Ok(address) => settings.dead_letter = address,
        Err(reason) => mistakes.push(loaded.mistake("vhost.dead_letter", reason)),
    }
    settings
}

/// Bytes of a Server Reference at most: it has to fit into small packets.
const REFERENCE_BYTES: usize = 255;

/// Why a text names no server for clients of MQTT.
fn no_server(text: &str) -> Option<String> {
    match () {
        () if text.trim().is_empty() => Some("names no server".to_owned()),
        () if text.len() > REFERENCE_BYTES => {
            Some(format!("has {} bytes, and may have {REFERENCE_BYTES}", text.len()))
        }
        () if text.contains(char::is_control) => Some("contains a control character".to_owned()),
        () => None,
    }
}

/// First words of topics that mean something else to the broker.
const OWN_TOPICS: [&str; 7] =
    ["$SYS", "$share", "$q", "$queue", "$reply", "$delayed", "$route-state"];

/// A filter of topics that begin with `$` and are ordinary ones nevertheless.
fn dollar_topics(text: &str) -> Result<Key, String> {
    let (first, rest) = text.split_once('/').unwrap_or((text, ""));
    let joined = |word: &str| word.len() > 1 && word.contains(['+', '#']);
    match () {
        () if !first.starts_with('$') => Err(format!("'{text}' does not begin with '$'")),
        () if text.contains('\0') => Err("must not contain a zero character".to_owned()),
        () if text.split('/').any(joined) => {
            Err(format!("'{text}': + and # must stand alone between slashes"))
        }
        () if rest.split('/').rev().skip(1).any(|word| word == "#") => {
            Err(format!("'{text}': # must be the last word"))
        }
        () if OWN_TOPICS.contains(&first) => {
            Err(format!("'{text}': topics that begin with '{first}' are the broker's own"))
        }
        () => Ok(Key::from(text)),
    }
}

fn objects(config: &Config) -> ObjectLimits {
    let meant = &config.objects;
    let bytes = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
    ObjectLimits {
        queues: meant.queues,
        exchanges: meant.exchanges,
        bindings: meant.bindings,
        sessions: meant.sessions,
        memos: meant.memos,
        parked: meant.parked,
        retained_values: meant.retained_values,
        retained_bytes: bytes(meant.retained_bytes),
        consumers: meant.consumers,
        transaction_items: meant.transaction_items,
        transaction_bytes: bytes(meant.transaction_bytes),
        header_fields: meant.header_fields,
        header_bytes: bytes(meant.header_bytes),
        exchanges_visited: meant.exchanges_visited,
        clients: ClientLimits {
            connections_per_user: config.limits.connections_per_user,
            connections_per_vhost: config.limits.connections_per_vhost,
            subscription_bytes: config.limits.subscription_bytes.0,
            consumer_timeout_ms: u64::try_from(config.limits.consumer_timeout.0.as_millis())
                .unwrap_or(u64::MAX),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Request, load};

    fn mistakes(set: &[&str]) -> Vec<String> {
        let set: Vec<String> = set.iter().map(|s| (*s).to_owned()).collect();
        let loaded = load(&Request { set: &set, ..Request::default() }).expect("well-formed");
        let found = plan(&loaded, Purpose::Check).err().unwrap_or_default();
        found.into_iter().map(|mistake| format!("{}: {}", mistake.key, mistake.reason)).collect()
    }

    #[test]
    fn the_defaults_can_be_built() {
        assert_eq!(mistakes(&[]), Vec::<String>::new());
    }

    #[test]
    fn listeners_are_checked() {
        let found = mistakes(&["listeners.mqtt.protocols=mqqt"]);
        assert_eq!(
            found,
            ["listeners.mqtt.protocols[0]: 'mqqt' is no protocol; did you mean 'mqtt'?"]
        );
        let found = mistakes(&["listeners.stomp.bind=127.0.0.1:1883"]);
        assert_eq!(found, ["listeners.stomp.bind: '127.0.0.1:1883' is another listener's too"]);
        let found = mistakes(&["listeners.stomp.bind=127.0.0.1:01883"]);
        assert_eq!(found, ["listeners.stomp.bind: '127.0.0.1:01883' is another listener's too"]);
        let found =
            mistakes(&["listeners.stomp.bind=127.0.0.1:0", "listeners.mqtt.bind=127.0.0.1:0"]);
        assert_eq!(found, Vec::<String>::new());
        let found = mistakes(&["listeners.mqtt.protocols=mqtt,amqp,mqtt"]);
        assert_eq!(found, ["listeners.mqtt.protocols[2]: 'mqtt' stands twice"]);
        let found = mistakes(&["listeners.mqtt.bind=0.0.0.0:1883"]);
        assert!(found[0].starts_with("listeners.mqtt.bind: '0.0.0.0:1883' can be reached"));
        let found = mistakes(&["listeners.mqtt.bind=0.0.0.0:1883", "auth.stored_users=true"]);
        assert_eq!(found, Vec::<String>::new(), "there are users in the store");
        let found = mistakes(&["listeners.more.bind=127.0.0.1:0"]);
        assert_eq!(found, [format!("listeners.more.protocols: {}", listeners::NO_PROTOCOLS)]);
        let found = mistakes(&["listeners.mqtt.protocols=[]"]);
        assert_eq!(found, ["listeners.mqtt.protocols: names no protocol"]);
        let found = mistakes(&["listeners.more.protocols=amqp"]);
        assert_eq!(found, ["listeners.more.bind: is missing"]);
    }

    #[test]
    fn other_servers_have_names() {
        for (text, why) in
            [(" ", "names no server"), ("a\u{1}", "control"), (&*"x".repeat(256), "256")]
        {
            for key in ["another_server", "moved_to"] {
                let found = mistakes(&[&format!("limits.mqtt.{key}={text}")]);
                let is_right = found[0].starts_with(&format!("limits.mqtt.{key}: "));
                assert!(is_right && found[0].contains(why), "{found:?}");
            }
        }
    }

    #[test]
    fn some_topics_with_a_dollar_can_be_made_ordinary() {
        let set = vec!["vhost.dollar_topics=$aws/#,$a/+/b".to_owned()];
        let loaded = load(&Request { set: &set, ..Request::default() }).expect("well-formed");
        let plan = plan(&loaded, Purpose::Check).map_err(|_| "mistakes").expect("no mistake");
        assert_eq!(plan.settings.topics.dollar, [Key::from("$aws/#"), Key::from("$a/+/b")]);
        for (wrong, why) in [
            ("aws/#", "does not begin"),
            ("#", "does not begin"),
            ("+/a", "does not begin"),
            ("$+", "must stand alone"),
            ("$#", "must stand alone"),
            ("$a/b+", "must stand alone"),
            ("$a/#/b", "must be the last"),
            ("$SYS/#", "are the broker's own"),
            ("$share/g/a", "are the broker's own"),
            ("$q/x", "are the broker's own"),
            ("$queue", "are the broker's own"),
            ("$reply/#", "are the broker's own"),
            ("$delayed/5/a", "are the broker's own"),
        ] {
            let found = mistakes(&[&format!("vhost.dollar_topics={wrong}")]);
            assert_eq!(found.len(), 1, "{wrong}: {found:?}");
            assert!(
                found[0].starts_with("vhost.dollar_topics[0]: ") && found[0].contains(why),
                "{found:?}"
            );
        }
    }

    #[test]
    fn the_dead_letter_address_is_read() {
        let set = vec!["vhost.dead_letter=topic:failed/all".to_owned()];
        let loaded = load(&Request { set: &set, ..Request::default() }).expect("well-formed");
        let plan = plan(&loaded, Purpose::Check).map_err(|_| "mistakes").expect("no mistake");
        assert_eq!(plan.settings.dead_letter.to_string(), "exchange:amq.topic/failed/all");
    }
}
