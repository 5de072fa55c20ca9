//! The broker of a run: one data folder, many lives.

use crate::broker::{Folder, LISTENERS, crossdock};
use std::cell::Cell;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

const START_TIME: Duration = Duration::from_secs(60);

pub struct Node {
    folder: Folder,
    options: Vec<String>,
    /// Bytes of the log that were read.
    seen: Cell<usize>,
}

/// A process. Killed when dropped.
pub struct Process {
    child: Child,
    started: Instant,
    line: Receiver<String>,
}

/// The addresses in the ready line.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    pub amqp: SocketAddr,
    pub mqtt: SocketAddr,
    pub stomp: SocketAddr,
    pub took: Duration,
}

impl Node {
    pub fn new(options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        Self { folder: Folder::new(), options, seen: Cell::new(0) }
    }

    /// With a configuration file that has these routes, and their module beside it.
    pub fn with_routes(mut self, routes: &str, module: &str) -> Self {
        let file = self.folder.path().join("crash.toml");
        std::fs::write(&file, routes).expect("the folder is writable");
        let module = crate::broker::root().join(module);
        let name = module.file_name().expect("a file");
        std::fs::copy(&module, self.folder.path().join(name)).expect("the module is there");
        self.options.extend(["--config".to_owned(), file.to_string_lossy().into_owned()]);
        self
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// The log lines since the last call.
    pub fn news(&self) -> String {
        let log = self.log();
        let news = log.get(self.seen.get()..).unwrap_or_default().to_owned();
        self.seen.set(log.len());
        news
    }

    /// Copies data and log to a folder that is kept after the run.
    pub fn keep(&self) -> String {
        let kept = std::env::temp_dir().join(format!("crossdock-crash-{}", std::process::id()));
        let copied = Command::new("cp").arg("-r").arg(self.folder.path()).arg(&kept).status();
        match copied {
            Ok(status) if status.success() => {
                format!("data and log are kept in {}", kept.display())
            }
            other => format!("data and log could not be kept: {other:?}"),
        }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What `crossdock ctl audit` says of the running broker when something does not balance, or nothing can be said.
    pub fn imbalance(&self) -> Option<String> {
        let data = self.data_dir();
        let mut audit = crossdock(&["ctl", "audit", "--data-dir", &data.to_string_lossy()]);
        let output = audit.stdin(Stdio::null()).output().expect("the binary is there");
        let said = [output.stdout, output.stderr].concat();
        (!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
    }

    pub fn spawn(&self) -> Process {
        self.spawn_under(&[])
    }

    /// Starts the broker under another program, which must keep it a child of this process.
    pub fn spawn_under(&self, program: &[&str]) -> Process {
        let data = self.data_dir();
        let log = File::options().create(true).append(true).open(self.folder.path().join("log"));
        let mut command = crossdock(&["serve", "--data-dir", &data.to_string_lossy()]);
        for listener in LISTENERS {
            command.args(["--set", &format!("listeners.{listener}.bind=127.0.0.1:0")]);
        }
        command.args(&self.options);
        if let [program, arguments @ ..] = program {
            command = wrapped(command, program, arguments);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(log.expect("the folder is writable"));
        let started = Instant::now();
        let mut child = command.spawn().expect("the binary is there");
        let output = child.stdout.take().expect("it is piped");
        let (line_out, line) = sync_channel(1);
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = BufReader::new(output).read_line(&mut text);
            let _ = line_out.send(text);
        });
        Process { child, started, line }
    }
}

/// A command that runs `inner`, with its arguments and environment, under another program.
fn wrapped(inner: Command, program: &str, arguments: &[&str]) -> Command {
    let mut outer = Command::new(program);
    outer.args(arguments).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

impl Process {
    /// Waits for the ready line; none when it ended or took too long.
    pub fn ready(&self) -> Option<Ready> {
        let text = self.line.recv_timeout(START_TIME).ok()?;
        let took = self.started.elapsed();
        let address = |name: &str| {
            let word = text.split(' ').find_map(|word| word.strip_prefix(name));
            word.and_then(|word| word.trim_start_matches('=').parse().ok())
        };
        Some(Ready {
            amqp: address("amqp")?,
            mqtt: address("mqtt")?,
            stomp: address("stomp")?,
            took,
        })
    }

    /// Kills the broker after this time. Returns whether it was not ready yet.
    pub fn kill_after(self, time: Duration) -> bool {
        match self.line.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => true,
            _ => {
                std::thread::sleep(time.saturating_sub(self.started.elapsed()));
                false
            }
        }
    }

    /// Waits this long for the exit code.
    pub fn ends_within(&mut self, time: Duration) -> Option<Option<i32>> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if let Some(code) = self.ended() {
                return Some(code);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The exit code, if it ended by itself.
    pub fn ended(&mut self) -> Option<Option<i32>> {
        self.child.try_wait().ok().flatten().map(|status| status.code())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
