//! The broker under test: its own process with its own data folder, on ports that the kernel chooses.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// Longest start: it may have to compile a module.
const START_TIME: Duration = Duration::from_secs(60);

/// The binary named by CROSSDOCK_BIN, or the one that cargo built with these tests.
pub fn binary() -> PathBuf {
    let asked = std::env::var_os("CROSSDOCK_BIN").map(PathBuf::from);
    asked.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_crossdock")))
}

/// The listeners that are there where nothing is configured. Tests give each of them a port of its own, or none.
pub const LISTENERS: [&str; 6] = ["amqp", "metrics", "mqtt", "stomp", "ws-mqtt", "ws-stomp"];

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A `crossdock` command without CROSSDOCK variables of the environment, and without a configuration file of this
/// machine.
pub fn crossdock(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CROSSDOCK_") {
            command.env_remove(name);
        }
    }
    command.env("CROSSDOCK_CONFIG", "");
    // Low marks, so that the tests do not depend on the free disk space of the machine; `--set` has another one.
    command
        .env("CROSSDOCK_STORE__DISK_FREE_ALARM", "64MiB")
        .env("CROSSDOCK_STORE__DISK_FREE_HARD", "32MiB");
    command
}

/// A temporary folder, removed after the test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("crossdock-it-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("the folder is writable");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running broker; killed when dropped.
pub struct Broker {
    child: Option<Child>,
    folder: Folder,
    options: Vec<String>,
    /// File descriptors that it may have open; none: as many as these tests.
    descriptors: Option<usize>,
    pub amqp: SocketAddr,
    pub mqtt: SocketAddr,
    pub stomp: SocketAddr,
    /// The ready line on standard output.
    pub ready: String,
}

impl Broker {
    /// Starts a broker with the built-in configuration.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a broker with further options of `crossdock serve`.
    pub fn with(options: &[&str]) -> Self {
        Self::with_descriptors(None, options)
    }

    /// The same, with so few file descriptors.
    pub fn with_descriptors(descriptors: Option<usize>, options: &[&str]) -> Self {
        Self::in_folder(Folder::new(), descriptors, options)
    }

    /// Starts a broker on the data in a folder.
    pub fn on(folder: Folder, options: &[&str]) -> Self {
        Self::in_folder(folder, None, options)
    }

    fn in_folder(folder: Folder, descriptors: Option<usize>, options: &[&str]) -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut broker = Self {
            child: None,
            folder,
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            descriptors,
            amqp: nowhere,
            mqtt: nowhere,
            stomp: nowhere,
            ready: String::new(),
        };
        broker.spawn();
        broker
    }

    /// Starts a broker with examples/hub.toml.
    pub fn hub() -> Self {
        let file = root().join("examples/hub.toml");
        Self::with(&["--config", &file.to_string_lossy()])
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file beside its data directory.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        self.folder.write(name, text)
    }

    /// The log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn proc(&self, file: &str) -> String {
        let id = self.child.as_ref().expect("it runs").id();
        fs::read_to_string(format!("/proc/{id}/{file}")).expect("it runs")
    }

    /// Bytes of memory that its process takes.
    pub fn resident(&self) -> usize {
        self.memory("VmRSS:")
    }

    /// Bytes of memory that its process took at most so far.
    pub fn peak_resident(&self) -> usize {
        self.memory("VmHWM:")
    }

    fn memory(&self, line: &str) -> usize {
        let status = self.proc("status");
        let line = status.lines().find_map(|text| text.strip_prefix(line));
        let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<usize>().ok());
        kib.expect("a Linux kernel") << 10
    }

    /// CPU time that its process took so far.
    pub fn cpu_time(&self) -> Duration {
        let stat = self.proc("stat");
        // Behind the name, which may have blanks in it: user and system time are the 12th and 13th, in hundredths.
        let rest = stat.rsplit(')').next().unwrap_or_default();
        let ticks = rest.split_whitespace().skip(11).take(2);
        Duration::from_millis(10 * ticks.filter_map(|t| t.parse::<u64>().ok()).sum::<u64>())
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGKILL, and a start with the same data.
    pub fn crash(&mut self) {
        self.kill();
        self.spawn();
    }

    /// A start with the same data, after it was stopped.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        self.spawn();
    }

    /// SIGKILL, and a start with the same data and other options.
    pub fn restart_with(&mut self, options: &[&str]) {
        self.kill();
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self.spawn();
    }

    /// Sends a signal (`HUP`) that must not end it.
    pub fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("it runs");
        send(signal, child);
    }

    /// Sends a signal (`TERM`, `INT`). Returns the exit code, and how long the stop took.
    pub fn stop(&mut self, signal: &str) -> (Option<i32>, Duration) {
        let mut child = self.child.take().expect("it runs");
        let started = Instant::now();
        send(signal, &child);
        while started.elapsed() < Duration::from_secs(20) {
            if let Some(status) = child.try_wait().expect("it is our child") {
                return (status.code(), started.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        panic!("it did not end within 20 s of SIG{signal}\n{}", self.log());
    }

    fn spawn(&mut self) {
        let data = self.data_dir();
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = crossdock(&["serve", "--data-dir", &data.to_string_lossy()]);
        for listener in LISTENERS {
            command.args(["--set", &format!("listeners.{listener}.bind=127.0.0.1:0")]);
        }
        command.args(&self.options);
        if let Some(most) = self.descriptors {
            command = with_descriptors(most, &command);
        }
        command.stdout(Stdio::piped());
        command.stderr(log.expect("the folder is writable"));
        let mut child = command.spawn().expect("the binary is there");
        let output = child.stdout.take().expect("it is piped");
        self.child = Some(child);
        let (line_out, line_in) = sync_channel(1);
        std::thread::spawn(move || {
            let mut line = String::new();
            let _ = BufReader::new(output).read_line(&mut line);
            let _ = line_out.send(line);
        });
        self.ready = line_in.recv_timeout(START_TIME).unwrap_or_default().trim_end().to_owned();
        assert!(self.ready.starts_with("crossdock ready "), "it did not start: {}", self.log());
        self.amqp = self.address("amqp");
        self.mqtt = self.address("mqtt");
        self.stomp = self.address("stomp");
    }

    fn address(&self, listener: &str) -> SocketAddr {
        let prefix = format!("{listener}=");
        let word = self.ready.split(' ').find_map(|word| word.strip_prefix(&prefix));
        word.and_then(|text| text.parse().ok()).unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

/// The command in a shell that lowers the limit first.
fn with_descriptors(most: usize, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

fn send(signal: &str, child: &Child) {
    let kill = format!("kill -{signal} {}", child.id());
    let sent = Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
    assert!(sent.success());
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        let log = self.log();
        if std::thread::panicking() {
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(40);
            eprintln!("--- the broker's log:\n{}", lines[last..].join("\n"));
        } else {
            // A panic costs one connection, and no test may cause one unnoticed. Modules may say that they panicked.
            let is_panic = |line: &str| {
                line.starts_with("thread '") && line.contains("panicked at")
                    || line.contains("a task of the broker panicked")
            };
            assert!(!log.lines().any(is_panic), "the broker panicked:\n{log}");
        }
    }
}

/// The count in release builds, a tenth of it in unoptimised builds.
pub fn scaled(count: usize) -> usize {
    if cfg!(debug_assertions) { count / 10 } else { count }
}
