//! A broker process for one measurement, with its own folder and ports; it is ended by its process id.

use super::peers::{Kind, Plan};
use super::processes::{resident_mib, signal, tree, wait_for};
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// All ports are open within this time.
const START_TIME: Duration = Duration::from_secs(120);
/// After SIGTERM it gets this long to end; then it is killed.
const STOP_TIME: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Time from the start to the reading of its memory.
const REST: Duration = Duration::from_secs(1);

/// A temporary folder, removed when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("crossdock-bench-{}", std::process::id()));
        fs::create_dir_all(&path).context("cannot create a temporary folder")?;
        Ok(Self(path))
    }

    /// A new folder in it.
    fn add(&self, name: &str) -> Result<PathBuf> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = self.0.join(format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If it cannot be removed, it stays in the system's folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A broker that accepts connections.
pub struct Running {
    pub kind: Kind,
    /// Protocols and their addresses.
    pub addresses: Vec<(&'static str, SocketAddr)>,
    /// Time from the start until the last port was open.
    pub took: Duration,
    broker: Option<Child>,
    /// A process that has to run beside it.
    companions: Vec<Child>,
    folder: PathBuf,
}

impl Running {
    /// Starts a broker and waits until all of its ports are open.
    pub fn start(kind: Kind, ours: &Path, folder: &Folder) -> Result<Self> {
        let folder = folder.add(kind.name())?;
        let ports = free_ports(5)?;
        let Plan { companions, mut broker, addresses, says } = kind.plan(ours, &folder, &ports)?;
        let mut running = Self {
            kind,
            addresses,
            took: Duration::ZERO,
            broker: None,
            companions: Vec::new(),
            folder,
        };
        for mut companion in companions {
            running.companions.push(spawn(&mut companion, &running.folder, "companion")?);
        }
        let started = Instant::now();
        running.broker = Some(spawn(&mut broker, &running.folder, "output")?);
        running.wait_ready(started, says)?;
        running.took = started.elapsed();
        Ok(running)
    }

    fn wait_ready(&mut self, started: Instant, says: Option<&str>) -> Result<()> {
        let output = self.folder.join("output");
        let said = |words: &str| fs::read_to_string(&output).is_ok_and(|text| text.contains(words));
        loop {
            let open = |(_, address): &(_, SocketAddr)| TcpStream::connect(address).is_ok();
            if self.addresses.iter().all(open) && says.is_none_or(said) {
                return Ok(());
            }
            let ended = self.broker.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || started.elapsed() > START_TIME {
                let text = fs::read_to_string(&output).unwrap_or_default();
                let last: Vec<&str> = text.lines().rev().take(3).collect();
                bail!("{} does not start: {}", self.kind.name(), last.join(" / "));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.broker.as_ref().map(Child::id).unwrap_or_default()
    }

    /// Resident memory before any client has connected.
    pub fn resident_mib_at_rest(&self) -> Result<f64> {
        thread::sleep(REST);
        let resident = resident_mib(self.pid());
        ensure!(resident > 0.0, "{} has ended", self.kind.name());
        Ok(resident)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in self.broker.iter_mut().chain(&mut self.companions) {
            let pids = tree(child.id());
            let _ = signal("TERM", child.id());
            for pid in wait_for(&pids, STOP_TIME) {
                let _ = signal("KILL", pid);
            }
            let _ = child.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn spawn(command: &mut Command, folder: &Path, output: &str) -> Result<Child> {
    let file = File::create(folder.join(output))?;
    let program = command.get_program().to_string_lossy().into_owned();
    command.current_dir(folder).stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file);
    command.spawn().with_context(|| format!("cannot run {program}"))
}

/// Free ports of the loopback interface.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners: Vec<TcpListener> = (0..count).map(bind).collect::<Result<_, _>>()?;
    let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
    listeners.iter().map(port).collect()
}
