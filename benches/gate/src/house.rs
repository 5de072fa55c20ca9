//! The broker and its adapters, in this process.

use crate::pipe::Pipe;
use anyhow::{Result, anyhow};
use async_trait::async_trait;
use bytes::BytesMut;
use crossdock_core::memory::MemoryStore;
use crossdock_core::transform::ContentRoute;
use crossdock_core::{
    Accepted, Account, Authenticator, Broker, Directory, Drain, Error, Formats, Identity, Login,
    LoopbackGuest, Protocol, Rights, RightsText, Settings, Setup,
};
use std::sync::Arc;

/// Bytes that a pipe holds each way.
const PIPE_BYTES: usize = 1 << 20;

/// A broker on the memory store.
pub struct House {
    broker: Broker,
    drain: Drain,
    _switch: tokio::sync::watch::Sender<bool>,
}

/// Rights that are not needed, in front of those that are.
const OTHER_RIGHTS: usize = 1_000;
/// The name of the one user.
const USER: &str = "user";

/// Everybody is the one user.
struct Everybody;

#[async_trait]
impl Authenticator for Everybody {
    async fn login(&self, _: &Login, _: &dyn Directory) -> Result<Identity, Error> {
        Ok(Identity::of_account(USER))
    }
}

/// A user with many rights, and in the end those that the scenarios need.
fn user() -> Result<Account> {
    let others = (0..OTHER_RIGHTS).map(|n| format!("topic:other/{n}/{{client_id}}/#"));
    let own = ["queue:gate*", "topic:gate/#"].map(str::to_owned);
    let all: Vec<String> = others.chain(own).collect();
    let (configure, write, read) = (all.clone(), all.clone(), all);
    let text = RightsText { configure, write, read, ..RightsText::default() };
    let rights = Rights::parse(text).map_err(|mistakes| anyhow!(mistakes.join("; ")))?;
    let vhosts = [("/".into(), Arc::new(rights))].into_iter().collect();
    Ok(Account { name: USER.into(), vhosts, ..Account::default() })
}

/// Whom a pipe leads to.
pub fn amqp() -> Arc<dyn Protocol> {
    Arc::new(crossdock_amqp091::Amqp091::default())
}

/// Whom a pipe leads to.
pub fn mqtt() -> Arc<dyn Protocol> {
    Arc::new(crossdock_mqtt::Mqtt::default())
}

/// Whom a pipe leads to.
pub fn stomp() -> Arc<dyn Protocol> {
    Arc::new(crossdock_stomp::Stomp::default())
}

impl House {
    /// Opens it with these content routes. `has_rights`: the clients are a user with many rights.
    pub async fn open(routes: Vec<ContentRoute>, has_rights: bool) -> Result<Self> {
        let authenticator: Arc<dyn Authenticator> = match has_rights {
            true => Arc::new(Everybody),
            false => Arc::new(LoopbackGuest),
        };
        let protocols = [amqp(), mqtt(), stomp()];
        let setup = Setup {
            settings: Settings::default(),
            formats: Formats::new(protocols.iter().flat_map(|p| p.formats()).collect()),
            topology: protocols.iter().flat_map(|p| p.topology()).collect(),
            store: Arc::new(MemoryStore::default()),
            authenticator,
            users: vec![user()?],
        };
        let (switch, drain) = Drain::channel();
        let broker = Broker::open(setup).await?;
        broker.start_routes(routes).await?;
        Ok(Self { broker, drain, _switch: switch })
    }

    /// A connection to that protocol.
    pub fn connect(&self, protocol: Arc<dyn Protocol>) -> Pipe {
        let (near, far) = tokio::io::duplex(PIPE_BYTES);
        let (reader, writer) = tokio::io::split(far);
        let accepted = Accepted {
            reader: Box::new(reader),
            writer: Box::new(writer),
            head: BytesMut::new(),
            peer: "gate".into(),
            loopback: true,
            secure: false,
            certificate: None,
            since: tokio::time::Instant::now(),
            listener: "gate".into(),
            drain: self.drain.clone(),
        };
        let broker = self.broker.clone();
        tokio::spawn(async move {
            if let Err(error) = protocol.serve(accepted, broker).await {
                eprintln!("connection ended: {error}");
            }
        });
        Pipe::new(near)
    }
}
