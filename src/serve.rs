//! The life of the process: recover, bind, declare, print the ready line, serve until a signal, drain, close. A start
//! that fails has declared nothing, unless it was the store that failed.

use crate::certificates;
use crate::config::{Loaded, Mistake};
use crate::figures::Figures;
use crate::listeners::{Port, in_the_clear};
use crate::log_file::LogFile;
use crate::operations::{Desk, Order, Program};
use crate::plan::Plan;
use crate::reload::{Again, Running};
use crate::{ctl, notify, panics, wiring};
use crossdock_console::{Control, NOT_THEIRS, Operations};
use crossdock_core::store::Store;
use crossdock_core::{Broker, Drain, ForeignKind};
use crossdock_net::{Listener, LocalError, LocalListener, bind_local, serve_local};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// After a signal, connections get this long to close in an orderly way.
const DRAIN_TIME: Duration = Duration::from_millis(4500);
/// Closing the store gets this long. Everything acknowledged is stored already, so giving up loses nothing.
const CLOSE_TIME: Duration = Duration::from_millis(400);

/// What was asked at the control socket gets this long to be answered at the end.
const CONTROL_TIME: Duration = Duration::from_millis(100);

/// Why serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// A signal asked for it.
    Asked,
    /// The store failed: nothing could be acknowledged any more.
    StoreFailed,
}

/// The configuration that the broker starts with, and how it changes later.
pub struct Start {
    pub loaded: Loaded,
    /// Reads it again.
    pub again: Again,
    /// Changes what is logged.
    pub set_level: Box<dyn Fn(&str) + Send>,
}

/// Serves until the end.
pub async fn serve(
    plan: Plan,
    store: Arc<dyn Store>,
    start: Start,
    started: Instant,
) -> Result<Stopped, Vec<Mistake>> {
    let Start { loaded, again, set_level } = start;
    plan.plugins.log();
    let broker = plan.recover(store, &loaded).await?;
    warn_of_missing_plugins();
    let prepared = prepare(&plan, &broker, &loaded).await;
    let Prepared { listeners, socket, mut signals, mut hangup } = match prepared {
        Ok(prepared) => prepared,
        Err(mistakes) => {
            close(&broker).await;
            return Err(mistakes);
        }
    };
    let (switch, drain) = Drain::channel();
    let ready = ready_line(&listeners, started.elapsed());
    let (program, mut desk) = Program::new(&broker, &loaded, &listeners, &plan.plugins);
    let program: Arc<dyn Operations> = Arc::new(program);
    plan.protocols.show(program.clone());
    let control = Served::start(socket, &broker, program);
    tokio::spawn(certificates::Watch::over(&listeners).run());
    Figures::start(started, &broker, loaded.config.vhost.sys_interval.0);
    let mut serving = JoinSet::new();
    for listener in listeners {
        serving.spawn(crossdock_net::serve(listener, broker.clone(), drain.clone()));
    }
    announce(&ready);
    notify::ready(&ready);
    notify::watch();
    let mut running = Running::new((&loaded, plan), again, set_level);
    let orders = attend((&mut running, &broker), (&mut hangup, &mut desk), &switch, &ready);
    let failure = tokio::select! {
        () = signals.next() => None,
        error = broker.failed() => Some(error),
        () = orders => None,
    };
    if let Some(error) = failure {
        tracing::error!(
            detail = error.detail(),
            "the store failed: nothing can be acknowledged any more, and the broker stops with exit code 3"
        );
        return Ok(Stopped::StoreFailed);
    }
    tracing::info!("stopping: a signal or crossdock ctl asked for it");
    notify::stopping();
    switch.send_replace(true);
    let goodbyes = async { while serving.join_next().await.is_some() {} };
    tokio::select! {
        () = goodbyes => {}
        () = tokio::time::sleep(DRAIN_TIME) => {
            tracing::warn!("some connections did not close in time and are cut")
        }
        () = signals.next() => {
            tracing::warn!("a second signal came: open connections are cut without waiting for them")
        }
    }
    serving.shutdown().await;
    close(&broker).await;
    control.end().await;
    tracing::info!(panics = panics::caught(), "stopped");
    // The plan owns the host of the routes' modules, which has to outlive the broker.
    drop(running);
    Ok(Stopped::Asked)
}

/// Does what SIGHUP and `crossdock ctl` ask for, until that is to stop.
async fn attend(
    (running, broker): (&mut Running, &Broker),
    (hangup, desk): (&mut Signal, &mut Desk),
    switch: &watch::Sender<bool>,
    ready: &str,
) {
    loop {
        let order = tokio::select! {
            Some(()) = hangup.recv() => None,
            Some(order) = desk.orders.recv() => Some(order),
            else => std::future::pending().await,
        };
        match order {
            None => drop(reload(running, broker, ready).await),
            // Whoever asked may have gone.
            Some(Order::Reload(answer)) => drop(answer.send(reload(running, broker, ready).await)),
            Some(Order::Level(level)) => running.set_level(&level),
            Some(Order::Drain) => {
                tracing::info!(
                    "drained: no connections are taken any more; clients of open ones are asked to close"
                );
                desk.is_draining.store(true, Ordering::Release);
                switch.send_replace(true);
            }
            Some(Order::Stop) => return,
        }
    }
}

async fn reload(
    running: &mut Running,
    broker: &Broker,
    ready: &str,
) -> Result<Vec<String>, Vec<String>> {
    notify::reloading();
    let done = running.reload(broker).await;
    notify::ready(ready);
    done
}

/// The control socket, while it is served.
struct Served {
    switch: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Served {
    fn start(socket: Option<LocalListener>, broker: &Broker, program: Arc<dyn Operations>) -> Self {
        let (switch, drain) = Drain::channel();
        let control = Control::new(broker.clone(), program, wiring::node());
        let serve = move |accepted| control.clone().serve(accepted);
        let serving = |socket| tokio::spawn(serve_local(socket, NOT_THEIRS, drain, serve));
        Self { switch, task: socket.map(serving) }
    }

    /// Answers what was asked, and removes the socket.
    async fn end(self) {
        self.switch.send_replace(true);
        if let Some(mut task) = self.task
            && timeout(CONTROL_TIME, &mut task).await.is_err()
        {
            task.abort();
            // It was aborted.
            let _ = task.await;
        }
    }
}

/// Opens the control socket; none: it cannot be had, and the log says so.
fn control_socket(loaded: &Loaded) -> Result<Option<LocalListener>, Mistake> {
    let path = ctl::socket_in(&loaded.config.data_dir);
    match bind_local(&path) {
        Ok(socket) => {
            tracing::info!(path = %path.display(), "crossdock ctl is answered at this socket");
            Ok(Some(socket))
        }
        Err(LocalError::Io(error)) => {
            tracing::warn!(
                path = %path.display(), %error,
                "the control socket cannot be opened: crossdock ctl and crossdock status do not work, \
                 everything else does"
            );
            Ok(None)
        }
        Err(error) => {
            let reason = format!("the control socket {} cannot be opened: {error}", path.display());
            Err(loaded.mistake("data_dir", reason))
        }
    }
}

/// Closes the store, within a time.
pub async fn close(broker: &Broker) {
    match timeout(CLOSE_TIME, broker.close()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(
                detail = error.detail(),
                "the store was not closed cleanly; the next start reads the journal again"
            )
        }
        Err(_) => {
            tracing::warn!(
                "closing the store took too long; the next start reads the journal again"
            )
        }
    }
}

/// Exchanges that are stored and whose plugins are not configured any more.
fn warn_of_missing_plugins() {
    let (_, missing) = ForeignKind::names();
    let types = missing.join(", ");
    if !missing.is_empty() {
        tracing::warn!(
            types,
            "no plugin brings the type of exchanges that are stored: they stay, and what is published to \
             them is refused"
        );
    }
}

/// What the broker serves with.
struct Prepared {
    listeners: Vec<Listener>,
    socket: Option<LocalListener>,
    signals: Signals,
    hangup: Signal,
}

/// All that can fail before the broker serves. What cannot be declared and what cannot be bound is found before
/// anything is declared: connections that come meanwhile wait until they are accepted.
async fn prepare(plan: &Plan, broker: &Broker, loaded: &Loaded) -> Result<Prepared, Vec<Mistake>> {
    let mut mistakes = plan.declarations.compare(broker, loaded, &plan.settings.objects).await;
    let listeners = bind(&plan.ports, loaded, &mut mistakes).await;
    let socket = control_socket(loaded).unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        None
    });
    let signals = Signals::new().and_then(|ends| Ok((ends, signal(SignalKind::hangup())?)));
    let signals = signals.map_err(|error| {
        mistakes.push(loaded.mistake("", format!("cannot install signal handlers: {error}")));
    });
    match signals {
        Ok((signals, hangup)) if mistakes.is_empty() => {
            plan.set_up(broker, loaded).await?;
            if let Some(listeners) = in_the_clear(&plan.ports, loaded.config.metrics.open) {
                tracing::warn!(
                    listeners,
                    "listeners without TLS can be reached from other machines: passwords and messages cross \
                     the network as they are"
                );
            }
            Ok(Prepared { listeners, socket, signals, hangup })
        }
        _ => Err(mistakes),
    }
}

/// Binds all ports.
async fn bind(ports: &[Port], loaded: &Loaded, mistakes: &mut Vec<Mistake>) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for port in ports {
        match port.bind().await {
            Ok(listener) => listeners.push(listener),
            Err(error) => {
                let key = format!("listeners.{}.bind", port.name);
                let reason = format!("cannot bind {}: {}", error.address, error.source);
                mistakes.push(loaded.mistake(key, reason));
            }
        }
    }
    listeners
}

fn ready_line(listeners: &[Listener], took: Duration) -> String {
    let mut line = "crossdock ready".to_owned();
    for listener in listeners {
        let addresses = listener.addresses().unwrap_or_default();
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        line.push_str(&format!(" {}={}", listener.spec.name, addresses.join(",")));
    }
    line.push_str(&format!(" in {} ms", took.as_millis()));
    line
}

fn announce(ready: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{ready}").and_then(|()| out.flush()) {
        tracing::warn!(%error, "cannot write the ready line to standard output; the broker runs");
    }
    tracing::info!("{ready}");
}

/// From now on SIGUSR1 and SIGUSR2, which monitoring and log rotation send, end nothing: SIGUSR1 has the file of the
/// log opened again, where there is one; otherwise each is logged. SIGHUP ends nothing, and does something as soon as
/// the broker serves. Has to be called within a runtime.
pub fn outlive_idle_signals(log: Option<Arc<LogFile>>) -> std::io::Result<()> {
    // Its handler stays.
    drop(signal(SignalKind::hangup())?);
    let kinds = [
        (SignalKind::user_defined1(), "SIGUSR1", log),
        (SignalKind::user_defined2(), "SIGUSR2", None),
    ];
    for (kind, name, log) in kinds {
        let mut idle = signal(kind)?;
        tokio::spawn(async move {
            while idle.recv().await.is_some() {
                match &log {
                    Some(log) => open_again(log),
                    None => tracing::info!(
                        "{name} came and changes nothing: SIGHUP has the configuration read again"
                    ),
                }
            }
        });
    }
    Ok(())
}

/// Opens the file of the log again.
fn open_again(log: &LogFile) {
    let file = log.path().display();
    match log.reopen() {
        Ok(()) => tracing::info!(%file, "SIGUSR1 came: the file of the log is opened again"),
        Err(error) => tracing::error!(
            %file, %error,
            "cannot open the file of the log again: the log goes on in the file that was open before"
        ),
    }
}

/// The signals that stop the broker.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { terminate, interrupt })
    }

    /// Cancel-safe.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
