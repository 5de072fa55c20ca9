//! What the program does for `crossdock ctl`, beside the broker: users, routes, backups, the log, reload, drain and
//! shutdown. The last ones are done by the loop that signals end, which is asked by orders.

use crate::accounts;
use crate::certificates;
use crate::config::{self, Loaded};
use crate::plugins::Plugins;
use crate::wiring::{self, BackupOptions};
use async_trait::async_trait;
use crossdock_console::{
    BackupMade, BackupOrder, ListenerLook, Operations, PluginLook, UserChange,
};
use crossdock_core::{Actor, Address, Broker, Name};
use crossdock_net::Listener;
use crossdock_net::tls::TlsHandle;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Mutex, mpsc, oneshot};

/// Orders that wait for the loop, at most; whoever asks for more waits.
const ORDERS: usize = 8;

/// Levels of the log, the least talkative first.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// What the loop of `serve` is asked to do.
pub enum Order {
    /// Read the configuration again; a line for each change, or every mistake.
    Reload(oneshot::Sender<Result<Vec<String>, Vec<String>>>),
    /// Log from that level on.
    Level(String),
    /// Take no connections, and tell those that are there to end.
    Drain,
    /// End the process.
    Stop,
}

/// What an operator can ask the program for.
pub struct Program {
    broker: Broker,
    listeners: Vec<(ListenerLook, Option<TlsHandle>)>,
    store: PathBuf,
    /// Bytes of the disk that a backup leaves free.
    leave_free: Option<u64>,
    topic_exchange: Name,
    plugins: Plugins,
    orders: mpsc::Sender<Order>,
    is_draining: Arc<AtomicBool>,
    /// One backup at a time.
    backup: Mutex<()>,
}

/// Where the loop gets its orders.
pub struct Desk {
    pub orders: mpsc::Receiver<Order>,
    pub is_draining: Arc<AtomicBool>,
}

impl Program {
    /// Of a broker with these listeners; orders come to the desk.
    pub fn new(
        broker: &Broker,
        loaded: &Loaded,
        listeners: &[Listener],
        plugins: &Plugins,
    ) -> (Self, Desk) {
        let (sender, orders) = mpsc::channel(ORDERS);
        let is_draining = Arc::new(AtomicBool::new(false));
        let program = Self {
            broker: broker.clone(),
            listeners: listeners.iter().map(|it| (look(it), it.spec.tls.clone())).collect(),
            store: loaded.config.data_dir.join("store"),
            leave_free: loaded.config.store.disk_free_alarm.map(|size| size.0),
            topic_exchange: broker.settings().topic_exchange.clone(),
            plugins: plugins.clone(),
            orders: sender,
            is_draining: is_draining.clone(),
            backup: Mutex::default(),
        };
        (program, Desk { orders, is_draining })
    }

    async fn order(&self, order: Order) -> Result<(), String> {
        self.orders.send(order).await.map_err(|_| "the broker is stopping".to_owned())
    }
}

/// Its certificates are looked at when somebody asks: a reload exchanges them.
fn look(listener: &Listener) -> ListenerLook {
    let addresses = listener.addresses().unwrap_or_default();
    let spec = &listener.spec;
    ListenerLook {
        name: spec.name.to_string(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        protocols: spec.protocols.iter().map(|protocol| protocol.name().to_owned()).collect(),
        tls: spec.tls.is_some(),
        certificates: Vec::new(),
    }
}

#[async_trait]
impl Operations for Program {
    fn address(&self, text: &str) -> Result<Address, String> {
        config::address(text, &self.topic_exchange)
    }

    fn listeners(&self) -> Vec<ListenerLook> {
        if self.is_draining() {
            return Vec::new();
        }
        let now = certificates::now();
        let each = self.listeners.iter().map(|(look, tls)| {
            let times = tls.as_ref().map(TlsHandle::certificates).unwrap_or_default();
            let times = times.iter().map(|one| certificates::look(&look.name, one, now));
            ListenerLook { certificates: times.collect(), ..look.clone() }
        });
        each.collect()
    }

    fn plugins(&self) -> Vec<PluginLook> {
        self.plugins.looks()
    }

    fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    async fn change_user(&self, actor: &Actor, change: UserChange) -> Result<String, String> {
        let changed = accounts::acts::run((&self.broker, actor), change).await;
        changed.map_err(|mistakes| {
            let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    async fn drain_route(&self, name: &str, to: Option<&str>) -> Result<(u64, u64, u64), String> {
        let to = to.map(|text| self.address(text)).transpose()?;
        let drained = self.broker.drain_route(name, to.as_ref()).await;
        let drained = drained.map_err(|error| error.detail().to_owned())?;
        Ok((drained.moved, drained.dead_lettered, drained.left))
    }

    async fn backup(&self, order: BackupOrder) -> Result<BackupMade, String> {
        let _one = self.backup.try_lock().map_err(|_| "another backup is being made".to_owned())?;
        let store = self.store.clone();
        let keep = order.keep.map(|keep| keep as usize);
        let options = BackupOptions { keep, leave_free: self.leave_free };
        let made = tokio::task::spawn_blocking(move || {
            wiring::backup(&store, &order.folder, options).map_err(|error| error.to_string())
        });
        let made = made.await.map_err(|error| error.to_string())?;
        let made = made.map_err(|why| format!("there is no new backup: {why}"))?;
        let damage = made.copied.damage.iter();
        let damage = damage.map(|one| format!("the store is damaged, and so is the backup: {one}"));
        let not_removed = made.not_removed.iter();
        let not_removed =
            not_removed.map(|why| format!("an old backup could not be removed: {why}"));
        Ok(BackupMade {
            copied_bytes: made.copied.copied_bytes,
            reused_bytes: made.copied.reused_bytes,
            troubles: damage.chain(not_removed).collect(),
            folder: made.folder.clone(),
            removed: made.removed.clone(),
        })
    }

    async fn set_log_level(&self, level: &str) -> Result<(), String> {
        match LEVELS.contains(&level) {
            true => self.order(Order::Level(level.to_owned())).await,
            false => Err(format!("'{level}' is none of {}", LEVELS.join(", "))),
        }
    }

    async fn reload(&self) -> Result<Vec<String>, Vec<String>> {
        let (answer, answered) = oneshot::channel();
        self.order(Order::Reload(answer)).await.map_err(|why| vec![why])?;
        answered.await.unwrap_or_else(|_| Err(vec!["the broker is stopping".to_owned()]))
    }

    async fn drain(&self) -> Result<(), String> {
        self.order(Order::Drain).await
    }

    async fn shutdown(&self) -> Result<(), String> {
        self.order(Order::Stop).await
    }
}
