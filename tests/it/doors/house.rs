//! A broker with users and the ways into it. When it is dropped, no password of these tests stands in its log or in a
//! file of its data folder.

use crate::broker::{Broker, Folder, crossdock};
use crate::wire::{Socket, eventually};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{LazyLock, Mutex};

/// Every password of these tests begins so.
const PASSWORD_MARK: &str = "doors-pw-";

/// A file in which nothing is set that a house does not set itself. An empty one is not taken over.
pub const NOTHING: &str = "[log]\nlevel = \"debug\"\n";

/// The password of a user.
pub fn password(user: &str) -> String {
    format!("{PASSWORD_MARK}{user}")
}

/// What `crossdock hash-password` says of a user's password: the line `password_hash = "…"`.
pub fn hash_line(user: &str) -> String {
    static MADE: LazyLock<Mutex<HashMap<String, String>>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    made.entry(user.to_owned()).or_insert_with(|| hash(&password(user))).clone()
}

fn hash(password: &str) -> String {
    let mut command = crossdock(&["hash-password"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the binary is there");
    let mut input = child.stdin.take().expect("it is piped");
    writeln!(input, "{password}").expect("it reads");
    drop(input);
    let said = child.wait_with_output().expect("it ends");
    let said = String::from_utf8(said.stdout).expect("UTF-8");
    let line = said.lines().find(|line| line.starts_with("password_hash = "));
    line.expect("a line with the hash").to_owned()
}

/// A `[[user]]` with these further lines.
pub fn user(name: &str, lines: &str) -> String {
    format!("[[user]]\nname = \"{name}\"\n{}\n{lines}\n", hash_line(name))
}

/// A `[[user]]` who may do everything with what begins with the user's own name.
pub fn owner(name: &str) -> String {
    let all = |action: &str| {
        format!(
            "{action} = [\"queue:{name}-*\", \"exchange:{name}-*\", \"topic:{name}/#\", \
             \"topic:$SYS/{name}/#\"]\n"
        )
    };
    user(name, &["configure", "write", "read"].map(all).concat())
}

/// One way in.
#[derive(Debug, Clone)]
pub struct Door {
    pub address: SocketAddr,
    /// What is sent before anything else.
    hello: String,
}

impl Door {
    pub fn at(address: SocketAddr) -> Self {
        Self { address, hello: String::new() }
    }

    /// Behind a load balancer that sends this header.
    pub fn behind(address: SocketAddr, header: &str) -> Self {
        Self { address, hello: header.to_owned() }
    }

    pub fn knock(&self) -> Socket {
        let mut socket = Socket::connect(self.address);
        socket.send(self.hello.as_bytes());
        socket
    }
}

/// An address of this machine that is not a loopback one, if it has a network. Nothing is sent to find it out.
pub fn own_address() -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // TEST-NET-1: an address that belongs to nobody.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(own) if !own.ip().is_loopback() && !own.ip().is_unspecified() => {
            Some(*own.ip())
        }
        _ => None,
    }
}

/// A running broker with a configuration file.
pub struct House {
    pub broker: Broker,
    folder: Folder,
}

impl House {
    /// With a file of this text, in which `FOLDER` stands for the file's folder.
    pub fn open(text: &str) -> Self {
        let folder = Folder::new();
        Self::open_in(folder, text)
    }

    /// The same, in a folder that is there.
    pub fn open_in(folder: Folder, text: &str) -> Self {
        let file = write(&folder, text);
        // No secret stands in a debug log either, and what ends a connection does.
        let broker =
            Broker::with(&["--config", &file.to_string_lossy(), "--set", "log.level=debug"]);
        Self { broker, folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes the configuration file anew; it counts from the next reload on.
    pub fn write(&self, text: &str) {
        write(&self.folder, text);
    }

    /// Writes the configuration file anew, and has the broker read it; the log since then.
    pub fn reload(&self, text: &str) -> String {
        self.write(text);
        self.read_again()
    }

    /// Has the broker read its configuration; the log since then.
    pub fn read_again(&self) -> String {
        let before = self.broker.log().len();
        self.broker.signal("HUP");
        eventually("the configuration is read again", || {
            let log = self.broker.log();
            let new = log.get(before..).unwrap_or_default();
            let is_read = new.contains("the configuration was read again");
            let is_refused = new.ends_with('\n') && new.contains("it is not read again");
            (is_read || is_refused).then(|| new.to_owned())
        })
    }

    /// The addresses of a listener, by the ready line.
    pub fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        let prefix = format!("{listener}=");
        let word = self.broker.ready.split(' ').find_map(|word| word.strip_prefix(&prefix));
        let word = word.unwrap_or_else(|| panic!("no {listener} in '{}'", self.broker.ready));
        word.split(',').map(|text| text.parse().expect("an address")).collect()
    }

    /// The only address of a listener.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let addresses = self.addresses(listener);
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        addresses[0]
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let log = self.broker.log();
        for secret in [PASSWORD_MARK, "$argon2id$v="] {
            assert!(!log.contains(secret), "the log has a secret in it:\n{log}");
        }
        let found = files_with(&self.broker.data_dir(), PASSWORD_MARK);
        assert!(found.is_empty(), "a password stands in {found:?}");
    }
}

fn write(folder: &Folder, text: &str) -> PathBuf {
    let text = text.replace("FOLDER", &folder.path().to_string_lossy());
    folder.write("hub.toml", &text)
}

/// The files below a folder that have this text in them.
fn files_with(folder: &Path, text: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("readable").path();
        match path.is_dir() {
            true => found.extend(files_with(&path, text)),
            // A file may be removed while this looks.
            false => {
                let bytes = fs::read(&path).unwrap_or_default();
                let has = bytes.windows(text.len()).any(|window| window == text.as_bytes());
                found.extend(has.then_some(path));
            }
        }
    }
    found
}

/// A listener for all protocols that clients come to from elsewhere.
pub fn far_listener() -> String {
    let (address, proxy) = match own_address() {
        Some(address) => (address, "false"),
        // Without a network a load balancer on this machine says that the client is elsewhere.
        None => (Ipv4Addr::LOCALHOST, "true"),
    };
    format!(
        "[listeners.far]\nbind = \"{address}:0\"\nprotocols = [\"amqp\", \"mqtt\", \"stomp\"]\n\
         proxy = {proxy}\n"
    )
}

/// The way in by [`far_listener`].
pub fn far_door(house: &House) -> Door {
    let hello = match own_address() {
        Some(_) => "",
        None => "PROXY TCP4 198.51.100.7 198.51.100.1 4711 5672\r\n",
    };
    Door::behind(house.address("far"), hello)
}
